#include "search/store.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "kernels/error.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

namespace {

/// Baselines and `generations` generations of 4.
void fill(StoreWriter& writer, int generations, std::vector<StoreRow>& all) {
  for (int g = -1; g < generations; ++g) {
    std::vector<StoreRow> rows;
    for (int i = 0; i < (g < 0 ? 3 : 4); ++i)
      rows.push_back(make_row(static_cast<std::int64_t>(all.size() + rows.size()), g));
    all.insert(all.end(), rows.begin(), rows.end());
    writer.append(rows, make_generation(g, static_cast<std::int64_t>(all.size())),
                  g < 0 ? "" : "state " + std::to_string(g));
  }
}

/// Exit status of `child` run in a forked process; -signal if it died of one.
int in_child(const std::function<int()>& child) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    int result = 99;
    try {
      result = child();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    ::_exit(result);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("a store gives back what was put in") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  const StoreHeader header = make_header();
  std::vector<StoreRow> all;
  {
    StoreWriter writer = StoreWriter::create(file, header);
    CHECK(read_store(file).rows.empty());
    CHECK(read_store(file).open_for_write);
    fill(writer, 5, all);
    const StoreContents live = read_store(file);
    CHECK(live.rows.size() == all.size());
    CHECK(live.header.stage.status == "running");
    StoreTable table{"main", {1.0, 2.0}, {1.0, 1.5}, 1.19, 2048, 256};
    writer.finish("done", {table});
    CHECK_THROWS_AS(writer.append({}, {}, ""), std::logic_error);
  }
  const StoreContents contents = read_store(file);
  CHECK(!contents.open_for_write);
  REQUIRE(contents.rows.size() == all.size());
  for (std::size_t i = 0; i < all.size(); ++i) REQUIRE(equal(contents.rows[i], all[i]));
  CHECK(contents.rows[4].result.reason == all[4].result.reason.substr(0, 64));
  REQUIRE(contents.generations.size() == 6);
  for (int g = -1; g < 5; ++g) {
    CHECK(equal(contents.generations[static_cast<std::size_t>(g + 1)], make_generation(g, 3 + 4 * (g + 1))));
    CHECK(contents.states[static_cast<std::size_t>(g + 1)] == (g < 0 ? "" : "state " + std::to_string(g)));
  }
  const StoreHeader& h = contents.header;
  CHECK(h.program_version == header.program_version);
  CHECK(h.created_utc == header.created_utc);
  CHECK(h.command_line == header.command_line);
  CHECK(h.seed == header.seed);
  CHECK(h.model.name == "tiny");
  CHECK(h.model.theta == 10000.0);
  CHECK(h.model.parameters == 3000000);
  CHECK(h.corpus.sources == header.corpus.sources);
  CHECK(h.corpus.document_names == header.corpus.document_names);
  CHECK(h.corpus.document_tokens == header.corpus.document_tokens);
  CHECK(h.corpus.window_first_token == header.corpus.window_first_token);
  CHECK(h.stage.options == header.stage.options);
  CHECK(h.stage.budget == 400);
  CHECK(h.stage.status == "done");
  const auto tables = read_store_tables(file);
  REQUIRE(tables.size() == 1);
  CHECK(tables[0].long_factors == std::vector<double>{1.0, 2.0});
  CHECK(tables[0].attention_factor == 1.19);
  CHECK(tables[0].original_length == 256);
  CHECK(!std::filesystem::exists(directory / ".job.h5.partial"));
}

TEST_CASE("several objectives, frontiers, a base and held-out text come back as they went in, also through a resume") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  StoreHeader header = make_header();
  header.stage.objectives = "ppl@2048,ppl@512,ppl@256";  // of one window each
  header.stage.base = "pi:factor=2";
  header.stage.base_factors = std::vector<double>(kDim / 2, 2.0);
  StoreHoldout holdout{header.corpus, {}, ""};
  holdout.corpus.document_names = {"held.txt"};
  holdout.corpus.document_tokens = {9000};
  header.holdout = holdout;
  const auto row_of = [](std::int64_t id, std::int32_t generation) {
    StoreRow row = make_row(id, generation);
    const double x = static_cast<double>(id);
    row.result.objectives = {10.0 - x, 5.0 + x, 3.0};
    row.result.status = id == 2 ? Status::raced_out : Status::ok;
    return row;
  };
  std::vector<StoreGeneration> generations;
  const auto append = [&](StoreWriter& writer, std::int64_t first, std::int32_t generation) {
    StoreGeneration g = make_generation(generation, first + 2);
    g.hypervolume = 0.25 * static_cast<double>(first);
    for (std::int64_t id = 0; id < first + 2; ++id)
      if (id != 2) g.frontier.push_back({id, row_of(id, 0).result.objectives});
    writer.append({row_of(first, generation), row_of(first + 1, generation)}, g, "s");
    generations.push_back(g);
  };
  {
    StoreWriter writer = StoreWriter::create(file, header);
    append(writer, 0, 0);
    append(writer, 2, 0);  // the same generation, cut by a budget
    CHECK(read_store(file).generations.back().frontier == generations.back().frontier);
    CHECK(read_store(file).header.holdout->rows.empty());
  }
  StoreContents contents;
  {
    StoreWriter writer = StoreWriter::resume(file, header, contents);
    append(writer, 4, 1);
    StoreEnding ending{"patience", {{"best", 5, row_of(5, 1).result}, {"pi", 0, row_of(0, -1).result}}, "It is so."};
    writer.finish("done", {}, ending);
  }
  contents = read_store(file);
  REQUIRE(contents.generations.size() == 3);
  for (std::size_t g = 0; g < 3; ++g) CHECK(equal(contents.generations[g], generations[g]));
  for (std::int64_t id = 0; id < 6; ++id) {
    const StoreRow& row = contents.rows[static_cast<std::size_t>(id)];
    CHECK(row.result.objectives == row_of(id, 0).result.objectives);
    CHECK((row.result.status == Status::raced_out) == (id == 2));
  }
  CHECK(contents.header.stage.stop_reason == "patience");
  CHECK(contents.header.stage.base_factors == header.stage.base_factors);
  REQUIRE(contents.header.holdout);
  CHECK(contents.header.holdout->verdict == "It is so.");
  CHECK(contents.header.holdout->corpus.document_names == std::vector<std::string>{"held.txt"});
  REQUIRE(contents.header.holdout->rows.size() == 2);
  CHECK(contents.header.holdout->rows[0].name == "best");
  CHECK(contents.header.holdout->rows[1].result.windows[2].nll_nats == row_of(0, -1).result.windows[2].nll_nats);
  header.stage.base_factors[0] = 2.5;
  CHECK(contains(message_of<InputError>([&] { StoreWriter::resume(file, header, contents); }), "base factors"));
}

TEST_CASE("a finished store is continued with a larger budget, tables and all") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  std::vector<StoreRow> all;
  {
    StoreWriter writer = StoreWriter::create(file, make_header());
    fill(writer, 2, all);
    writer.finish("interrupted", {{"old", {1.0}, {1.0}, 1.0, 2048, 256}, {"main", {1.0}, {1.0}, 1.0, 2048, 256}});
  }
  StoreHeader header = make_header();
  header.stage.budget = 800;
  header.command_line = "another";
  header.model.name = "moved";
  StoreContents contents;
  {
    StoreWriter writer = StoreWriter::resume(file, header, contents);
    CHECK(contents.rows.size() == 11);
    CHECK(read_store(file).header.stage.status == "running");
    CHECK(read_store(file).header.stage.budget == 800);
    CHECK(read_store(file).header.command_line == make_header().command_line);
    const std::vector<StoreRow> rows{make_row(11, 2)};
    writer.append(rows, make_generation(2, 12), "");
    writer.finish("done", {{"main", {2.0}, {1.0}, 1.0, 2048, 256}});
  }
  CHECK(read_store(file).rows.size() == 12);
  const auto tables = read_store_tables(file);
  REQUIRE(tables.size() == 2);
  for (const StoreTable& table : tables) CHECK(table.long_factors[0] == (table.name == "main" ? 2.0 : 1.0));
}

TEST_CASE("rows that do not fit are refused before anything is written") {
  const TemporaryDirectory directory;
  StoreWriter writer = StoreWriter::create(directory / "job.h5", make_header());
  StoreRow row = make_row(0, 0);
  row.candidate.factors.pop_back();
  CHECK_THROWS_AS(writer.append({row}, make_generation(0, 1), ""), std::logic_error);
  CHECK_THROWS_AS(writer.append({make_row(1, 0)}, make_generation(0, 1), ""), std::logic_error);
  CHECK_THROWS_AS(writer.append({make_row(0, 0)}, make_generation(0, 2), ""), std::logic_error);
  row = make_row(0, 0);
  row.result.objectives.push_back(1.0);
  CHECK_THROWS_AS(writer.append({row}, make_generation(0, 1), ""), std::logic_error);
  StoreGeneration beyond = make_generation(0, 1);
  beyond.frontier = {{1, {1.0}}};
  CHECK_THROWS_AS(writer.append({make_row(0, 0)}, beyond, ""), std::logic_error);
  row = make_row(0, 0);
  row.result.windows.clear();
  writer.append({row}, make_generation(0, 1), "");
  const StoreContents contents = read_store(directory / "job.h5");
  REQUIRE(contents.rows.size() == 1);
  CHECK(std::isnan(contents.rows[0].result.windows.at(2).nll_nats));
}

TEST_CASE("a store of another job is refused with what differs") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  StoreWriter::create(file, make_header()).finish("interrupted", {});
  const auto refusal = [&](const std::function<void(StoreHeader&)>& change) {
    StoreHeader header = make_header();
    change(header);
    StoreContents contents;
    return message_of<InputError>([&] { StoreWriter::resume(file, header, contents); });
  };
  CHECK(refusal([](StoreHeader&) {}).empty());
  const std::string message = refusal([](StoreHeader& h) { h.model.config_sha256 = "c0ffee"; });
  CHECK(contains(message, "[store] " + file.string() + " holds model sha256 '" + std::string(64, 'a') +
                              "' but this job's is 'c0ffee'"));
  CHECK(contains(refusal([](StoreHeader& h) { h.model.rotary_dim = 32; }), "rotary_dim '16' but this job's is '32'"));
  CHECK(contains(refusal([](StoreHeader& h) { h.model.theta = 5e5; }), "theta"));
  CHECK(contains(refusal([](StoreHeader& h) { h.seed = 1; }), "seed"));
  CHECK(contains(refusal([](StoreHeader& h) { h.stage.name = "second"; }), "stage 'main'"));
  CHECK(contains(refusal([](StoreHeader& h) { h.stage.target_length = 4096; }), "target length '2048'"));
  CHECK(contains(refusal([](StoreHeader& h) { h.stage.strategy = "release-ga"; }), "strategy 'paper-ga'"));
  CHECK(contains(refusal([](StoreHeader& h) { h.stage.options = "{}"; }), "options"));
  CHECK(contains(refusal([](StoreHeader& h) { h.corpus.protocol = "half"; }), "protocol"));
  CHECK(contains(refusal([](StoreHeader& h) { h.model.weights_sha256 = "x"; }), "model weights sha256"));
  CHECK(contains(refusal([](StoreHeader& h) { h.corpus.tokens_sha256 = "x"; }), "corpus tokens sha256"));
  CHECK(contains(refusal([](StoreHeader& h) { h.corpus.window_length[2] = 7; }),
                 "length of window 2 '2048' but this job's is '7'"));
  CHECK(contains(refusal([](StoreHeader& h) {
                   h.corpus.window_document.pop_back();
                   h.corpus.window_first_token.pop_back();
                   h.corpus.window_length.pop_back();
                 }),
                 "number of windows '3'"));
  CHECK(read_store(file).header.stage.status == "running");  // what the one resume that was let through left
}

TEST_CASE("a second writer is refused, in this process and in another") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  StoreContents contents;
  const auto second = [&] {
    StoreContents ignored;
    return message_of<InputError>([&] { StoreWriter::resume(file, make_header(), ignored); });
  };
  {
    StoreWriter writer = StoreWriter::create(file, make_header());
    CHECK(contains(second(), "is being written by another process"));
    CHECK(contains(message_of<InputError>([&] { StoreWriter::create(file, make_header()); }),
                   "exists already (--resume"));
    writer.append({make_row(0, 0)}, make_generation(0, 1), "x");
    CHECK(contains(second(), "is being written by another process"));
  }
  {
    StoreWriter writer = StoreWriter::resume(file, make_header(), contents);
    CHECK(contains(second(), "is being written by another process"));
    // The parent's writer is not the child's to close: only the message counts.
    CHECK(in_child([&] { return contains(second(), "is being written by another process") ? 0 : 1; }) == 0);
    writer.append({make_row(1, 1)}, make_generation(1, 2), "y");
    writer.finish("done", {});
    CHECK(contains(second(), "is being written by another process"));  // until the writer is gone
  }
  CHECK(second().empty());
  CHECK(read_store(file).rows.size() == 2);
}

TEST_CASE("a store is read while another process writes it") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  const pid_t pid = ::fork();
  if (pid == 0) {
    try {
      run_job(file, 600, 10, [] { ::usleep(1000); });
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  std::size_t last = 0;
  int reads = 0, growths = 0, status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) {
    if (!std::filesystem::exists(file)) continue;
    const StoreContents contents = read_store(file);
    REQUIRE(contents.rows.size() >= last);
    growths += contents.rows.size() > last;
    last = contents.rows.size();
    for (const StoreRow& row : contents.rows) REQUIRE(equal(row.result.first(), score(row.candidate, kScale, true)));
    for (const StoreGeneration& generation : contents.generations) {
      REQUIRE(generation.hypervolume == static_cast<double>(generation.evaluations));
      REQUIRE(generation.frontier == std::vector<StorePoint>{{generation.best_id, {generation.best_objective}}});
    }
    ++reads;
  }
  CHECK(status == 0);
  CHECK(growths > 2);
  CHECK(read_store(file).rows.size() == 600);
  INFO("reads " << reads);
}

TEST_CASE("places where no store can be") {
  const TemporaryDirectory directory;
  const auto create = [&](const std::filesystem::path& file) {
    return message_of<InputError>([&] { StoreWriter::create(file, make_header()); });
  };
  CHECK(contains(create(directory / "missing/job.h5"), "cannot create"));
  std::ofstream(directory / "plain") << "text";
  CHECK(contains(create(directory / "plain/job.h5"), "cannot create"));
  CHECK(contains(create(directory / "plain"), "exists already"));
  CHECK(contains(create(directory / ""), "must name a file"));
  CHECK(contains(create("/proc/job.h5"), "cannot create"));
  StoreContents contents;
  CHECK(
      !message_of<InputError>([&] { StoreWriter::resume(directory / "nothing.h5", make_header(), contents); }).empty());
  if (::geteuid() != 0) {
    std::filesystem::create_directory(directory / "locked");
    ::chmod((directory / "locked").c_str(), 0555);
    CHECK(contains(create(directory / "locked/job.h5"), "cannot create"));
  }
  // Nothing is left behind.
  std::size_t left = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory / ".")) ++left;
  CHECK(left == (::geteuid() != 0 ? 2 : 1));
}

TEST_CASE("a link stands for its target, a leftover of a kill is taken over") {
  const TemporaryDirectory directory;
  std::ofstream(directory / ".job.h5.partial") << "leftover";
  { StoreWriter writer = StoreWriter::create(directory / "job.h5", make_header()); }
  std::filesystem::create_symlink("job.h5", directory / "link.h5");
  StoreContents contents;
  StoreWriter::resume(directory / "link.h5", make_header(), contents).finish("done", {});
  CHECK(std::filesystem::is_symlink(directory / "link.h5"));
  CHECK(read_store(directory / "job.h5").header.stage.status == "done");
  CHECK(!std::filesystem::exists(directory / ".job.h5.partial"));
}

TEST_CASE("a full disk is a RuntimeError, and loses no generation that was committed") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  const int result = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    int committed = 0;
    {
      StoreWriter writer = StoreWriter::create(file, make_header());
      std::int64_t rows = 0;
      const struct rlimit limit { 400000, 400000 };
      ::setrlimit(RLIMIT_FSIZE, &limit);
      for (int g = 0; g < 10000; ++g, ++committed) {
        std::vector<StoreRow> batch;
        for (int i = 0; i < 100; ++i) batch.push_back(make_row(rows + i, g));
        if (!message_of<RuntimeError>([&] { writer.append(batch, make_generation(g, rows + 100), "state"); }).empty()) {
          if (!contains(message_of<RuntimeError>([&] { writer.finish("interrupted", {}); }), "given up")) return 1;
          break;
        }
        rows += 100;
      }
    }
    return committed > 3 && committed < 100 ? committed : 0;
  });
  REQUIRE(result > 3);
  CHECK(static_cast<int>(read_store(file).generations.size()) >= result);
  StoreContents contents;
  StoreWriter::resume(file, make_header(), contents).finish("done", {});
  CHECK(read_store(file).rows.size() == static_cast<std::size_t>(contents.generations.back().evaluations));
}

TEST_CASE("key tokens and needles of a corpus are kept, and those that are not in their windows refused") {
  const TemporaryDirectory directory;
  StoreHeader header = make_header();
  header.corpus.window_document = {-1, 1, 0};
  header.corpus.window_needle_first = {7, -1, -1};
  StoreKeyTokens& keys = header.corpus.key_tokens;
  keys.settings = "{\"lsd\":2.0}";
  keys.sha256 = std::string(64, 'd');
  keys.window = {1, 1, 2};
  keys.position = {300, 2047, 5};
  keys.scored = {0, 2047, 2047};
  header.holdout = {header.corpus, {}, ""};
  const auto written = [&](const StoreHeader& h, const std::string& name) {
    StoreWriter::create(directory / name, h).finish("done", {});
    return directory / name;
  };
  const StoreContents contents = read_store(written(header, "a.h5"));
  for (const StoreCorpus* corpus : {&contents.header.corpus, &contents.header.holdout->corpus}) {
    CHECK(corpus->window_document == header.corpus.window_document);
    CHECK(corpus->window_needle_first == header.corpus.window_needle_first);
    CHECK(corpus->key_tokens.settings == keys.settings);
    CHECK(corpus->key_tokens.sha256 == keys.sha256);
    CHECK(corpus->key_tokens.window == keys.window);
    CHECK(corpus->key_tokens.position == keys.position);
    CHECK(corpus->key_tokens.scored == keys.scored);
  }
  header.holdout.reset();
  int number = 0;
  const auto refused = [&](std::vector<std::int64_t> windows, std::vector<std::int64_t> positions) {
    StoreHeader bad = header;
    bad.corpus.key_tokens.window = std::move(windows);
    bad.corpus.key_tokens.position = std::move(positions);
    const std::string name = "bad" + std::to_string(number++) + ".h5";
    return message_of<InputError>([&] { read_store(written(bad, name)); });
  };
  CHECK(refused({1}, {1}).empty());
  for (const auto& [window, position] : {std::pair(3, 5), std::pair(-1, 5), std::pair(1, 0), std::pair(1, 2048)})
    CHECK(contains(refused({window}, {position}), "a key token is not in its window"));
  CHECK(contains(refused({1, 1}, {5, 5}), "its key tokens are not in order"));
  CHECK(contains(refused({2, 1}, {5, 6}), "its key tokens are not in order"));
}
