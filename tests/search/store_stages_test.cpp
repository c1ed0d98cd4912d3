// Stores of several stages: each keeps its own model, corpus, rows and seed while another grows.
#include <utility>

#include "kernels/error.hpp"
#include "search/store.hpp"
#include "search/store_table.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

/// A header of the second stage: another length, model, corpus and seed.
StoreHeader second_header() {
  StoreHeader header = make_header();
  header.seed = 7;
  header.command_line = "longrope progressive";
  header.model.name = "tuned";
  header.model.weights_sha256 = std::string(64, 'd');
  header.corpus.tokens_sha256 = std::string(64, 'e');
  header.corpus.window_document = {1, 0};
  header.corpus.window_first_token = {0, 0};
  header.corpus.window_length = {8192, 8192};
  header.stage.name = "8k";
  header.stage.index = 1;
  header.stage.target_length = 8192;
  header.stage.base = "main/1";
  header.stage.base_factors = std::vector<double>(kDim / 2, 3.0);
  header.stage.objectives = "ppl@8192";
  header.stage.baselines = "long,identity,half";
  header.stage.original_objectives = {3.75};
  return header;
}

/// Two rows of `windows` windows; the second is the best.
void append_pair(StoreWriter& writer, std::size_t windows, double best) {
  std::vector<StoreRow> rows(2);
  for (std::size_t i = 0; i < 2; ++i) {
    rows[i].candidate.id = static_cast<std::int64_t>(i);
    rows[i].candidate.generation = 0;
    rows[i].candidate.factors.assign(kDim / 2, 1.0 + static_cast<double>(i));
    rows[i].result.windows.assign(windows, {2.0, 3});
    rows[i].result.objectives = {i == 0 ? best + 1.0 : best};
  }
  StoreGeneration generation;
  generation.generation = 0;
  generation.best_id = 1;
  generation.best_objective = best;
  generation.evaluations = 2;
  writer.append(rows, generation, "state");
}

std::filesystem::path two_stages(const TemporaryDirectory& directory) {
  const auto file = directory / "chain.h5";
  {
    StoreWriter writer = StoreWriter::create(file, make_header());
    append_pair(writer, 3, 5.0);
    StoreTable table;
    table.name = "main";
    table.long_factors = table.short_factors = std::vector<double>(kDim / 2, 2.0);
    table.target_length = 2048;
    table.original_length = 256;
    writer.finish("done", {table});
  }
  StoreWriter writer = StoreWriter::add_stage(file, second_header());
  append_pair(writer, 2, 4.0);
  return file;
}

}  // namespace

TEST_CASE("A stage that is added has its own header and leaves the first one as it was") {
  const TemporaryDirectory directory;
  const auto file = two_stages(directory);
  const std::vector<StoreContents> stages = read_stages(file);
  REQUIRE(stages.size() == 2);
  CHECK(stages[0].header.stage.name == "main");
  CHECK(stages[0].header.stage.status == "done");
  CHECK(stages[0].header.seed == make_header().seed);
  CHECK(stages[0].header.model.name == "tiny");
  CHECK(stages[0].header.corpus.window_length == std::vector<std::int64_t>(3, 2048));
  CHECK(stages[0].rows.size() == 2);
  const StoreHeader& h = stages[1].header;
  CHECK(h.seed == 7);
  CHECK(h.command_line == "longrope progressive");
  CHECK(h.model.weights_sha256 == std::string(64, 'd'));
  CHECK(h.corpus.tokens_sha256 == std::string(64, 'e'));
  CHECK(h.corpus.window_length == std::vector<std::int64_t>(2, 8192));
  CHECK(h.stage.base == "main/1");
  CHECK(h.stage.base_factors == std::vector<double>(kDim / 2, 3.0));
  CHECK(h.stage.baselines == "long,identity,half");
  CHECK(h.stage.original_objectives == std::vector<double>{3.75});
  CHECK(h.stage.status == "running");
  REQUIRE(stages[1].rows.size() == 2);
  CHECK(stages[1].rows[1].result.windows.size() == 2);
  CHECK(read_store(file).header.stage.name == "8k");  // the longest context
  CHECK(read_store(file, "main").header.stage.target_length == 2048);
  CHECK(contains(message_of<InputError>([&] { read_store(file, "4k"); }), "stages \"main\", \"8k\" but got \"4k\""));
}

TEST_CASE("Either stage is resumed without touching the other, and tables stay") {
  const TemporaryDirectory directory;
  const auto file = two_stages(directory);
  StoreContents contents;
  {
    StoreWriter writer = StoreWriter::resume(file, second_header(), contents);
    CHECK(contents.rows.size() == 2);
    StoreTable table;
    table.name = "8k";
    table.long_factors = std::vector<double>(kDim / 2, 9.0);
    table.short_factors = std::vector<double>(kDim / 2, 1.5);
    table.attention_factor = 1.2;
    table.short_attention_factor = 1.1;
    table.start_tokens = 4;
    table.short_start_tokens = 2;
    table.target_length = 8192;
    table.original_length = table.switch_length = 256;
    writer.finish("done", {table});
  }
  StoreWriter::resume(file, make_header(), contents).finish("done", {});
  CHECK(contents.header.stage.name == "main");
  const std::vector<StoreContents> stages = read_stages(file);
  REQUIRE(stages.size() == 2);
  CHECK(stages[1].header.stage.status == "done");
  CHECK(stages[1].rows.size() == 2);
  CHECK(read_store_tables(file).size() == 2);
  CHECK(!choose_table(file, "main").has_short());
  const StoreTable pair = choose_table(file);  // the one with a short table
  CHECK(pair.name == "8k");
  CHECK(pair.has_short());
  CHECK(pair.switch_length == 256);
  CHECK(pair.long_factors == std::vector<double>(kDim / 2, 9.0));
  CHECK(pair.short_factors == std::vector<double>(kDim / 2, 1.5));
  CHECK(pair.attention_factor == 1.2);
  CHECK(pair.short_attention_factor == 1.1);
  CHECK(pair.start_tokens == 4);
  CHECK(pair.short_start_tokens == 2);
  CHECK(contains(message_of<InputError>([&] { choose_table(file, "x"); }), "tables \"8k\", \"main\" but got \"x\""));
}

TEST_CASE("A stage that cannot follow is refused, and the store stays as it is") {
  const TemporaryDirectory directory;
  const auto file = two_stages(directory);
  StoreHeader header = second_header();
  CHECK(contains(message_of<InputError>([&] { StoreWriter::add_stage(file, header); }), "has a stage \"8k\" already"));
  header.stage.name = "32k";
  CHECK_THROWS_AS(StoreWriter::add_stage(file, header), std::logic_error);  // index 1 is taken
  header.stage.index = 2;
  header.model.theta = 5000.0;
  CHECK(contains(message_of<InputError>([&] { StoreWriter::add_stage(file, header); }), "theta 10000"));
  StoreContents contents;
  header = second_header();
  header.model.weights_sha256 = std::string(64, 'f');
  CHECK(contains(message_of<InputError>([&] { StoreWriter::resume(file, header, contents); }), "weights sha256"));
  CHECK(read_stages(file).size() == 2);
}
