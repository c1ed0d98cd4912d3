// Reading needle runs. Nothing in the file is trusted.
#include "search/needle_store.hpp"

#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

#include "model/utf8.hpp"
#include "search/store_input.hpp"
#include "search/store_schema.hpp"

namespace longrope::search {
namespace {

constexpr std::size_t kMaxRuns = 1000, kMaxRopes = 10000, kMaxGroups = 4'000'000;
constexpr std::int64_t kMaxTrials = std::numeric_limits<std::int32_t>::max();

std::vector<std::string> texts(const Hdf5Object& group, const char* name) {
  const Hdf5Object dataset = group.open_dataset(name);
  const std::vector<std::uint64_t> extents = dataset.extents();
  require(extents.size() == 1, "a list of names has another shape");
  return dataset.read_text(extents[0]);
}

void read_grid(const Hdf5Object& group, NeedleRun& run) {
  run.grid.lengths = column<std::int64_t>(group, "lengths", kAllRows);
  run.grid.depths_percent = column<double>(group, "depths_percent", kAllRows);
  run.grid.trials = group.i64_attribute("trials");
  require(!run.ropes.empty() && run.ropes.size() <= kMaxRopes && !run.grid.lengths.empty() &&
              !run.grid.depths_percent.empty() && run.grid.trials >= 1 && run.grid.trials <= kMaxTrials,
          "a needle run's grid is impossible");
  for (const std::int64_t length : run.grid.lengths) require(length >= 1, "a needle run's length is impossible");
  for (const double depth : run.grid.depths_percent)
    require(depth >= 0.0 && depth <= 100.0, "a needle run's depth is impossible");
  const double groups = static_cast<double>(run.ropes.size()) * static_cast<double>(run.grid.lengths.size()) *
                        static_cast<double>(run.grid.depths_percent.size());
  require(groups <= static_cast<double>(kMaxGroups), "a needle run's grid is impossibly large");
}

/// Rows that fit the grid, each cell once.
void read_rows(const Hdf5Object& group, NeedleRun& run) {
  const auto cell = column<std::int64_t>(group, "cell", kAllRows);  // the commits: first
  const std::size_t count = cell.size();
  require(count <= run.cells(), "a needle run has more rows than cells");
  const auto rope = column<std::int32_t>(group, "rope", count);
  const auto length = column<std::int64_t>(group, "length", count);
  const auto depth = column<double>(group, "depth_percent", count);
  const auto trial = column<std::int64_t>(group, "trial", count);
  const auto document = column<std::int64_t>(group, "document", count);
  const auto prompt_tokens = column<std::int64_t>(group, "prompt_tokens", count);
  const auto answer_tokens = column<std::int64_t>(group, "answer_tokens", count);
  const auto exact = column<std::int32_t>(group, "exact", count);
  const auto nll_nats = column<double>(group, "nll_nats", count);
  const auto status = column<std::int8_t>(group, "status", count);
  const auto answer = group.open_dataset("answer").read_text(count);
  const auto generated = group.open_dataset("generated").read_text(count);
  const auto elapsed_s = column<double>(group, "elapsed_s", count);
  std::vector<std::int64_t> seen = cell;
  std::sort(seen.begin(), seen.end());
  require(std::adjacent_find(seen.begin(), seen.end()) == seen.end(), "a needle run has a cell twice");
  for (std::size_t i = 0; i < count; ++i) {
    require(cell[i] >= 0 && std::cmp_less(cell[i], run.cells()), "a needle cell is not in its grid");
    const std::size_t at = static_cast<std::size_t>(cell[i]) % run.grid.cells();
    const model::NeedleCell expected = run.grid.cell(at);
    require(std::cmp_equal(rope[i], static_cast<std::size_t>(cell[i]) / run.grid.cells()) &&
                length[i] == expected.length && depth[i] == expected.depth_percent && trial[i] == expected.trial,
            "a needle cell contradicts its grid");
    require(document[i] == -1 || (document[i] >= 0 && std::cmp_less(document[i], run.documents.size())),
            "a needle cell's document is not in it");
    require(prompt_tokens[i] >= 1 && prompt_tokens[i] <= length[i] && answer_tokens[i] >= 1 &&
                answer_tokens[i] <= length[i],
            "a needle cell's tokens are impossible");
    require(exact[i] >= -1 && exact[i] <= 1 && status[i] >= 0 && std::cmp_less(status[i], std::size(kStatusNames)),
            "a needle cell's result is impossible");
    NeedleRow row;
    row.cell = cell[i];
    row.rope = rope[i];
    row.length = length[i];
    row.depth_percent = depth[i];
    row.trial = trial[i];
    row.document = document[i];
    row.prompt_tokens = prompt_tokens[i];
    row.answer_tokens = answer_tokens[i];
    row.exact = static_cast<std::int8_t>(exact[i]);
    row.nll_nats = nll_nats[i];
    row.status = static_cast<Status>(status[i]);
    row.answer = answer[i];
    row.generated = generated[i];
    row.elapsed_s = elapsed_s[i];
    run.rows.push_back(std::move(row));
  }
}

NeedleRun read_run(const Hdf5Object& group, const std::string& name) {
  NeedleRun run;
  run.name = name;
  run.program_version = group.text_attribute("program_version");
  run.created_utc = group.text_attribute("created_utc");
  run.command_line = group.text_attribute("command_line");
  run.seed = group.u64_attribute("seed");
  run.model = read_model(group);
  run.task = group.text_attribute("task");
  run.haystack = group.text_attribute("haystack");
  run.options = group.text_attribute("options");
  run.status = group.text_attribute("status");
  require(std::find(std::begin(model::kNeedleTaskNames), std::end(model::kNeedleTaskNames), run.task) !=
              std::end(model::kNeedleTaskNames),
          "a needle run's task is unknown");
  run.ropes = texts(group, "ropes");
  run.documents = texts(group, "documents");
  read_grid(group, run);
  read_rows(group.open_group("cells"), run);
  return run;
}

}  // namespace

std::string needle_row_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0') {
      out += "\xEF\xBF\xBD";  // a text in the file ends at its first NUL
    } else {
      out += c;
    }
  }
  std::size_t bytes = std::min(out.size(), kNeedleTextBytes);
  while (bytes < out.size() && bytes > 0 && (static_cast<unsigned char>(out[bytes]) & 0xC0) == 0x80) --bytes;
  out.resize(bytes);
  return out;
}

std::vector<NeedleRun> read_needle_runs(const std::filesystem::path& path) {
  return read_checked(path, [](const Hdf5Object& file, bool open_for_write) {
    std::vector<NeedleRun> runs;
    if (!file.has("needle")) return runs;
    const Hdf5Object group = file.open_group("needle");
    const std::vector<std::string> names = group.child_names();
    require(names.size() <= kMaxRuns, "its number of needle runs is impossible");
    for (const std::string& name : names) {
      runs.push_back(read_run(group.open_group(name), name));
      runs.back().open_for_write = open_for_write;
    }
    return runs;
  });
}

}  // namespace longrope::search
