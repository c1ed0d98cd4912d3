// The runner with decoders that only count: each cell once, shared prefixes computed once a worker, devices that fail,
// stopping, cells that are done; and the decoders of a real model against its scores.
#include "search/needle_runner.hpp"

#include <tbb/global_control.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "kernels/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/wrapping_backend.hpp"

using namespace longrope;
using namespace longrope::search;
using longrope::model::NeedleOptions;
using longrope::model::NeedlePromptMaker;
using longrope::model::TextTokenizer;

namespace {

const TextTokenizer& reference_tokenizer() {
  static const TextTokenizer tokenizer(std::filesystem::path(LONGROPE_REFERENCE) / "tokenizer.model");
  return tokenizer;
}

/// Finds every needle: it "generates" the digits of the first key in the prompt.
class FakeDecoder : public NeedleDecoder {
 public:
  FakeDecoder(bool fails, std::int64_t calls_before) : fails_(fails), calls_left_(calls_before) {}
  std::vector<std::int32_t> generate(std::span<const std::int32_t> prompt, std::int64_t max_new) override {
    if (fails_ && calls_left_-- == 0) throw RuntimeError("[device] gone");
    take(prompt);
    const std::string text = reference_tokenizer().decode(prompt);
    const std::string key = text.substr(text.find("The pass key is ") + 16, 5);
    std::vector<std::int32_t> ids = reference_tokenizer().encode(key);
    ids.resize(std::min(ids.size(), static_cast<std::size_t>(max_new)));
    return ids;
  }
  model::NllSum score(std::span<const std::int32_t> ids, std::int64_t first_scored) override {
    take(ids);
    const auto scored = static_cast<std::int64_t>(ids.size()) - first_scored;
    return {0.25 * static_cast<double>(scored), scored};
  }
  bool finite() const override { return true; }
  std::int64_t computed_tokens() const override { return computed_; }

 private:
  void take(std::span<const std::int32_t> ids) {
    const auto shared = std::mismatch(ids.begin(), ids.end(), held_.begin(), held_.end()).first - ids.begin();
    computed_ += static_cast<std::int64_t>(ids.size()) - shared;
    held_.assign(ids.begin(), ids.end());
  }
  bool fails_;
  std::int64_t calls_left_;
  std::vector<std::int32_t> held_;
  std::int64_t computed_ = 0;
};

NeedleOptions keys_of_five() {
  NeedleOptions options;
  options.key_min = 10000;
  options.key_max = 99999;
  return options;
}

std::unique_ptr<DeviceLanes> bare_lanes(std::size_t count) {
  std::vector<DeviceLane> list;
  for (std::size_t i = 0; i < count; ++i)
    list.push_back({"lane", std::make_shared<tests::WrappingBackend>(), nullptr, 1, true});
  return std::make_unique<DeviceLanes>(std::move(list));
}

}  // namespace

TEST_CASE("every cell runs once, and what prompts share is computed once a worker", "[needle]") {
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, keys_of_five());
  const NeedleJob job{{{256, 300}, {0, 20, 50, 80, 100}, 3}, 2, 10};
  for (const std::size_t workers : {1U, 3U}) {
    std::map<std::int64_t, NeedleRow> rows;
    const auto lanes = bare_lanes(workers);
    const NeedlePrefill prefill = run_needles(
        *lanes, maker, reference_tokenizer(), job,
        [](std::size_t, std::int64_t, std::size_t) { return std::make_unique<FakeDecoder>(false, 0); },
        [&](NeedleRow row) { REQUIRE(rows.emplace(row.cell, row).second); }, nullptr);
    REQUIRE(rows.size() == 60);
    std::int64_t tokens = 0;
    for (const auto& [cell, row] : rows) {
      const model::NeedleCell expected = job.grid.cell(static_cast<std::size_t>(cell) % 30);
      CHECK(row.rope == cell / 30);
      CHECK((row.length == expected.length && row.depth_percent == expected.depth_percent &&
             row.trial == expected.trial));
      CHECK(row.exact == 1);
      CHECK(row.generated == row.answer);
      CHECK(row.nll_nats == 0.25 * static_cast<double>(row.answer_tokens));
      CHECK(row.prompt_tokens + 10 == row.length);
      CHECK(row.status == Status::ok);
      tokens += row.prompt_tokens;
    }
    CHECK(prefill.tokens == tokens);
    // Of 15 prompts of a length and scaling, the header and the filler before the deeper needle are shared.
    CHECK(prefill.computed < 7 * tokens / 10);
  }
}

TEST_CASE("a device that fails gives its cells to another, no cell twice, and without another they are failed",
          "[needle]") {
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, keys_of_five());
  const NeedleJob job{{{256}, {0, 50, 100}, 8}, 1, 10};
  for (const std::size_t lane_count : {2U, 1U}) {
    const auto lanes = bare_lanes(lane_count);
    std::map<std::int64_t, NeedleRow> rows;
    run_needles(
        *lanes, maker, reference_tokenizer(), job,
        [](std::size_t, std::int64_t, std::size_t lane) { return std::make_unique<FakeDecoder>(lane == 0, 3); },
        [&](NeedleRow row) { REQUIRE(rows.emplace(row.cell, row).second); }, nullptr);
    CHECK(rows.size() == 24);
    const auto failed =
        std::count_if(rows.begin(), rows.end(), [](const auto& row) { return row.second.status == Status::failed; });
    CHECK(failed == (lane_count == 2 ? 0 : 21));
    for (const auto& [cell, row] : rows) {
      if (row.status == Status::failed) CHECK((std::isnan(row.nll_nats) && row.exact == -1));
    }
  }
}

TEST_CASE("cells that are done are not run again, and stopping leaves whole cells", "[needle]") {
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, keys_of_five());
  NeedleJob job{{{256}, {0, 100}, 6}, 1, 0};
  const MakeDecoder make = [](std::size_t, std::int64_t, std::size_t) {
    return std::make_unique<FakeDecoder>(false, 0);
  };
  const auto lanes = bare_lanes(1);
  std::set<std::int64_t> cells;
  std::atomic<bool> stop{false};
  job.done.assign(12, false);
  const auto take = [&](const NeedleRow& row) {
    REQUIRE(cells.insert(row.cell).second);
    CHECK(row.exact == -1);  // nothing was generated
    job.done[static_cast<std::size_t>(row.cell)] = true;
    if (cells.size() == 5) stop = true;
  };
  run_needles(*lanes, maker, reference_tokenizer(), job, make, take, &stop);
  CHECK(cells.size() == 5);
  stop = false;
  const NeedleJob rest = job;
  run_needles(*lanes, maker, reference_tokenizer(), rest, make, take, &stop);
  CHECK(cells.size() == 12);
}

TEST_CASE("prompts are checked before any is run", "[needle]") {
  const NeedlePromptMaker maker(reference_tokenizer(), nullptr, keys_of_five());
  CHECK(longest_answer(maker, {{256}, {0}, 3}) == 6);
  check_prompts(maker, {{256}, {0, 100}, 2}, 10, 1024);
  CHECK_THROWS_AS(check_prompts(maker, {{256, 60}, {0, 100}, 2}, 10, 1024), InputError);
  CHECK_THROWS_AS(check_prompts(maker, {{256}, {0, 100}, 2}, 10, 1000), InputError);
}
