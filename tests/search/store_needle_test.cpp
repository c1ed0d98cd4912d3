// Needle runs in a store: what is written is read back, a search's file carries them, and damage is refused.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "kernels/error.hpp"
#include "search/needle_store.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

NeedleRun make_run() {
  const StoreHeader header = make_header();
  NeedleRun run;
  run.program_version = "0.1.0";
  run.created_utc = header.created_utc;
  run.command_line = "longrope needle --model 'ü'";
  run.seed = 42;
  run.model = header.model;
  run.task = "niah";
  run.haystack = "text";
  run.options = R"({"new_tokens":10})";
  run.status = "running";
  run.ropes = {"none", "store:größer.h5"};
  run.documents = {"a.txt", "größer.txt"};
  run.grid = {{256, 512}, {0, 50, 100}, 2};
  return run;
}

NeedleRow make_row_of(const NeedleRun& run, std::int64_t cell) {
  const model::NeedleCell at = run.grid.cell(static_cast<std::size_t>(cell) % run.grid.cells());
  NeedleRow row;
  row.cell = cell;
  row.rope = static_cast<std::int32_t>(cell / static_cast<std::int64_t>(run.grid.cells()));
  row.length = at.length;
  row.depth_percent = at.depth_percent;
  row.trial = at.trial;
  row.document = at.trial;
  row.prompt_tokens = at.length - 10;
  row.answer_tokens = 6;
  row.exact = static_cast<std::int8_t>(cell % 3 - 1);
  row.nll_nats = 0.125 * static_cast<double>(cell);
  row.answer = "12345";
  row.generated = "12345. ü";
  row.elapsed_s = 0.5;
  return row;
}

bool same(const NeedleRow& a, const NeedleRow& b) {
  return a.cell == b.cell && a.rope == b.rope && a.length == b.length && a.depth_percent == b.depth_percent &&
         a.trial == b.trial && a.document == b.document && a.prompt_tokens == b.prompt_tokens &&
         a.answer_tokens == b.answer_tokens && a.exact == b.exact && a.nll_nats == b.nll_nats && a.status == b.status &&
         a.answer == b.answer && a.generated == b.generated && a.elapsed_s == b.elapsed_s;
}

std::string read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

}  // namespace

TEST_CASE("a needle run is read back as it was written, in the order of its cells", "[needle]") {
  const TemporaryDirectory directory;
  const auto file = directory / "needle.h5";
  const NeedleRun run = make_run();
  {
    NeedleWriter writer = NeedleWriter::create(file, run);
    for (const std::int64_t cell : {5, 3, 20}) writer.append(make_row_of(run, cell));
    const std::vector<NeedleRun> beside = read_needle_runs(file);  // while it is written
    REQUIRE(beside.size() == 1);
    CHECK(beside[0].rows.size() == 3);
    CHECK(beside[0].open_for_write);
    CHECK(contains(message_of<InputError>([&] { NeedleWriter::create(file, run); }), "being written"));
  }  // as a kill would leave it
  CHECK(
      contains(message_of<InputError>([&] { NeedleWriter::create(file, run); }), "has a needle run \"main\" already"));
  NeedleRun other = run;
  other.grid.trials = 3;
  CHECK(contains(message_of<InputError>([&] { NeedleWriter::resume(file, other); }), "trials 2 but this one 3"));
  other = run;
  other.options = R"({"new_tokens":11})";
  CHECK(contains(message_of<InputError>([&] { NeedleWriter::resume(file, other); }), "new_tokens 10 but this one 11"));
  other.name = "next";
  CHECK(contains(message_of<InputError>([&] { NeedleWriter::resume(file, other); }), "no needle run \"next\""));

  NeedleRun again = run;
  NeedleWriter writer = NeedleWriter::resume(file, again);
  CHECK(again.rows.size() == 3);
  writer.append(make_row_of(run, 0));
  writer.finish("interrupted");
  const NeedleRun found = read_needle_runs(file).at(0);
  CHECK(found.status == "interrupted");
  CHECK_FALSE(found.open_for_write);
  CHECK((found.task == run.task && found.haystack == run.haystack && found.options == run.options));
  CHECK((found.ropes == run.ropes && found.documents == run.documents && found.seed == 42));
  CHECK((found.grid.lengths == run.grid.lengths && found.grid.depths_percent == run.grid.depths_percent));
  CHECK(found.model.weights_sha256 == run.model.weights_sha256);
  REQUIRE(found.rows.size() == 4);
  const std::int64_t cells[] = {0, 3, 5, 20};
  for (std::size_t i = 0; i < 4; ++i) CHECK(same(found.rows[i], make_row_of(run, cells[i])));
  CHECK(contains(message_of<InputError>([&] { read_stages(file); }), "has needle runs only"));
  CHECK(read_any_stages(file).empty());
}

TEST_CASE("a search's store carries needle runs through everything that rewrites it", "[needle]") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  run_job(file, 60, 60, [] {});
  const NeedleRun run = make_run();
  {
    NeedleWriter writer = NeedleWriter::create(file, run);
    writer.append(make_row_of(run, 1));
    writer.finish("done");
  }
  const StoreContents before = read_store(file);
  StoreHeader second = make_header();
  second.stage.name = "next";
  second.stage.index = 1;
  {
    StoreWriter writer = StoreWriter::add_stage(file, second);
    writer.finish("interrupted", {});
  }
  {
    StoreContents contents;
    StoreWriter writer = StoreWriter::resume(file, second, contents);
    writer.finish("done", {});
  }
  CHECK(equal(read_store(file, before.header.stage.name), before));
  REQUIRE(read_needle_runs(file).size() == 1);
  CHECK(same(read_needle_runs(file)[0].rows.at(0), make_row_of(run, 1)));
  CHECK(read_stages(file).size() == 2);
}

TEST_CASE("texts of a row are cut between characters and hold no NUL", "[needle]") {
  CHECK(needle_row_text("key") == "key");
  CHECK(needle_row_text(std::string("a\0b", 3)) ==
        "a\xEF\xBF\xBD"
        "b");
  const std::string cut = needle_row_text(std::string(255, 'x') + "ü");
  CHECK(cut == std::string(255, 'x'));
  CHECK(needle_row_text(std::string(254, 'x') + "ü").size() == 256);
}

TEST_CASE("a needle run with changed bytes is read or refused, never more", "[needle]") {
  const TemporaryDirectory directory;
  const auto file = directory / "needle.h5", damaged = directory / "damaged.h5";
  const NeedleRun run = make_run();
  {
    NeedleWriter writer = NeedleWriter::create(file, run);
    for (std::int64_t cell = 0; cell < 24; ++cell) writer.append(make_row_of(run, cell));
    writer.finish("done");
  }
  const std::string whole = read_bytes(file);
  const auto refused = [&](const std::string& bytes) {
    std::ofstream(damaged, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return !message_of<InputError>([&] {
              read_needle_runs(damaged);
              read_any_stages(damaged);
            }).empty();
  };
  CHECK_FALSE(refused(whole));
  int count = 0;
  for (std::size_t size = 0; size < whole.size(); size += 1 + whole.size() / 60)
    count += refused(whole.substr(0, size));
  CHECK(count >= 55);
  std::mt19937 random(7);
  count = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bytes = whole;
    for (int change = 0; change < 1 + trial % 20; ++change)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    count += refused(bytes);
  }
  CHECK(count > 25);
}
