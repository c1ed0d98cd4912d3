// `longrope needle`: what a model finds again of what was hidden in a long prompt, by depth and length.
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "model/sha256.hpp"
#include "search/cli/command.hpp"
#include "search/cli/needle_options.hpp"
#include "search/cli/needle_report.hpp"
#include "search/cli/session.hpp"
#include "search/needle_runner.hpp"
#include "search/needle_store.hpp"
#include "search/store_table.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::int64_t kMaxTrials = 1'000'000, kMaxDepths = 101, kMaxNewTokens = 4096;

struct NeedleArguments {
  std::vector<model::RopeSpec> ropes;
  search::NeedleGrid grid;  ///< lengths may be empty: L0
  model::NeedleOptions task;
  std::optional<std::int64_t> new_tokens;  ///< 0: --no-generate
  std::string store, run;
  bool resume = false, json = false;
};

po::options_description needle_options() {
  po::options_description options("Options");
  options.add_options()("rope", po::value<std::vector<std::string>>()->composing(),
                        "scaling to try, repeatable, as evaluate takes it (default: config)")(
      "length", po::value<std::string>(),
      "prompt lengths in tokens, comma-separated, room for the answer included (default: the checkpoint's original "
      "length)")("depths", po::value<std::string>()->default_value("11"),
                 "how many depths from 0 to 100 percent, or a list: 0,50,100 (50% for a single one)")(
      "depth-spacing", po::value<std::string>()->default_value("linear"),
      "linear or sigmoid (closer at both ends), as gkamradt's")(
      "trials", po::value<std::string>()->default_value("10"),
      "prompts a depth and length, each with a key, document and place of its own")(
      "seed", po::value<std::string>()->default_value("42"), "seed of keys and places")(
      "new-tokens", po::value<std::string>(), "tokens to generate at most (default: the longest answer and 4)")(
      "no-generate", "only the NLL of the answers, teacher-forced")(
      "store", po::value<std::string>(), "HDF5 store to add the run to, made where there is none")(
      "run", po::value<std::string>()->default_value("main"), "name of the run in the store")(
      "resume", "continue the run of that name")("json", "print one JSON document instead of tables");
  return options;
}

std::vector<double> parse_depths(const std::string& text, const std::string& spacing) {
  check_choice("depth-spacing", spacing, {"linear", "sigmoid"});
  if (text.find_first_of(",%") == std::string::npos) {
    const std::int64_t count = parse_integer("depths", text, 1, kMaxDepths);
    return spacing == "linear" ? search::linear_depths(count) : search::sigmoid_depths(count);
  }
  std::vector<double> depths;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    std::string word = text.substr(begin, comma - begin);
    if (!word.empty() && word.back() == '%') word.pop_back();
    depths.push_back(parse_number("depths", word, 0.0, 100.0));
    begin = comma + 1;
  }
  return depths;
}

NeedleArguments parse_needle(const po::variables_map& values) {
  NeedleArguments arguments;
  std::vector<std::string> ropes{"config"};
  if (values.count("rope") != 0) ropes = values["rope"].as<std::vector<std::string>>();
  for (const std::string& text : ropes) arguments.ropes.push_back(model::RopeSpec::parse(text));
  if (values.count("length") != 0)
    arguments.grid.lengths = parse_integers("length", values["length"].as<std::string>(), 2, kMaxLength);
  arguments.grid.depths_percent =
      parse_depths(values["depths"].as<std::string>(), values["depth-spacing"].as<std::string>());
  arguments.grid.trials = parse_integer("trials", values["trials"].as<std::string>(), 1, kMaxTrials);
  const auto seed = static_cast<std::uint64_t>(
      parse_integer("seed", values["seed"].as<std::string>(), 0, std::numeric_limits<std::int64_t>::max()));
  arguments.task = parse_needle_task(values, values.count("text") != 0 || values.count("tokens") != 0, seed);
  if (values.count("new-tokens") != 0)
    arguments.new_tokens = parse_integer("new-tokens", values["new-tokens"].as<std::string>(), 1, kMaxNewTokens);
  if (values.count("no-generate") != 0) {
    if (arguments.new_tokens) throw InputError("[usage] --new-tokens and --no-generate exclude each other (give one)");
    arguments.new_tokens = 0;
  }
  if (values.count("store") != 0) arguments.store = values["store"].as<std::string>();
  arguments.run = values["run"].as<std::string>();
  arguments.resume = values.count("resume") != 0;
  arguments.json = values.count("json") != 0;
  if (arguments.resume && arguments.store.empty()) throw InputError("[--resume] needs --store but got none");
  return arguments;
}

/// Of everything in the tables: a store: spec may name another one tomorrow.
std::string digest(const std::vector<std::vector<model::RopeTable>>& tables) {
  std::string text;
  for (const auto& of_rope : tables) {
    for (const model::RopeTable& table : of_rope) {
      for (const double frequency : table.inv_freq) text += fmt::format("{:a} ", frequency);
      text += fmt::format("{:a} {}\n", table.attention_factor, table.start_tokens);
    }
  }
  return model::sha256_hex(text);
}

std::string digest(const model::Corpus& corpus) {
  std::string text;
  for (const model::Document& document : corpus.documents) {
    const auto* bytes = reinterpret_cast<const char*>(document.tokens.data());
    text += model::sha256_hex({bytes, document.tokens.size() * sizeof(std::int32_t)}) + "\n";
  }
  return model::sha256_hex(text);
}

search::NeedleRun describe(const NeedleArguments& arguments, const Session& session, std::int64_t new_tokens,
                           const std::vector<std::vector<model::RopeTable>>& tables, const std::string& command_line) {
  const bool text = arguments.task.haystack == model::NeedleOptions::Haystack::text;
  search::NeedleRun run;
  run.name = arguments.run;
  run.program_version = LONGROPE_VERSION;
  run.created_utc = utc_now();
  run.command_line = command_line;
  run.seed = arguments.task.seed;
  run.model = session.stored_model();
  run.task = model::kNeedleTaskNames[static_cast<std::size_t>(arguments.task.task)];
  run.haystack = text ? "text" : "filler";
  run.status = "running";
  for (const model::RopeSpec& rope : arguments.ropes) run.ropes.push_back(rope.text);
  run.grid = arguments.grid;
  Json options{{"numerics", session.numerics()}, {"new_tokens", new_tokens}, {"tables_sha256", digest(tables)}};
  if (arguments.task.task == model::NeedleTask::passkey)
    options["keys"] = fmt::format("{}-{}", arguments.task.key_min, arguments.task.key_max);
  if (arguments.task.task == model::NeedleTask::niah) {
    options["needle"] = arguments.task.needle;
    options["question"] = arguments.task.question;
    options["answer"] = arguments.task.answer;
  }
  if (text) {
    options["haystack_sha256"] = digest(session.corpus());
    for (const model::Document& document : session.corpus().documents) run.documents.push_back(document.name);
  }
  run.options = options.dump();
  return run;
}

/// "cell 12/100  8s left"
class CellProgress {
 public:
  explicit CellProgress(std::size_t cells, std::size_t done) : cells_(cells), done_(done), first_(done) {}
  void step() {
    ++done_;
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
    live_line(fmt::format(
        "cell {}/{}  {} left", done_, cells_,
        format_duration(elapsed_s * static_cast<double>(cells_ - done_) / static_cast<double>(done_ - first_))));
  }

 private:
  std::size_t cells_, done_, first_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace

int run_needle(const std::vector<std::string>& texts) {
  po::options_description all;
  all.add(session_options(false)).add(needle_task_options()).add(needle_options());
  po::variables_map values;
  if (!parse_options("Usage: longrope needle --model DIR --rope SPEC... --length N[,N] [--text FILE...] [options]", all,
                     texts, values)) {
    return kDone;
  }
  NeedleArguments arguments = parse_needle(values);
  search::NeedleGrid& grid = arguments.grid;
  const Session session(values, grid.lengths.empty() ? 0 : *std::max_element(grid.lengths.begin(), grid.lengths.end()),
                        static_cast<std::int64_t>(arguments.ropes.size()), {true, true});
  const model::ModelConfig& config = session.transformer().config();
  if (grid.lengths.empty()) grid.lengths.push_back(config.rope.original_length);
  grid.validate();
  const model::TextTokenizer tokenizer = needle_tokenizer(session.model_directory());
  const model::NeedlePromptMaker maker(tokenizer, &session.corpus(), arguments.task);
  const std::int64_t new_tokens =
      arguments.new_tokens ? *arguments.new_tokens : search::longest_answer(maker, grid) + search::kSpareTokens;
  search::check_prompts(maker, grid, new_tokens, config.vocabulary);  // all are possible before the first is run
  std::vector<std::vector<model::RopeTable>> tables;
  for (const model::RopeSpec& rope : arguments.ropes) {
    tables.emplace_back();
    for (const std::int64_t length : grid.lengths)
      tables.back().push_back(search::resolve_rope_table(rope, config, length));
  }

  search::NeedleRun run =
      describe(arguments, session, new_tokens, tables, fmt::format("longrope needle {}", fmt::join(texts, " ")));
  std::optional<search::NeedleWriter> writer;
  if (!arguments.store.empty()) {
    writer.emplace(arguments.resume ? search::NeedleWriter::resume(arguments.store, run)
                                    : search::NeedleWriter::create(arguments.store, run));
  }
  search::NeedleJob job{grid, tables.size(), new_tokens, std::vector<bool>(run.cells())};
  for (const search::NeedleRow& row : run.rows) job.done[static_cast<std::size_t>(row.cell)] = true;

  install_stop_signals();
  const auto started = std::chrono::steady_clock::now();
  CellProgress progress(run.cells(), run.rows.size());
  const auto on_row = [&](search::NeedleRow row) {
    if (writer) writer->append(row);
    run.rows.push_back(std::move(row));
    progress.step();
  };
  const search::NeedlePrefill prefill = search::run_needles(
      session.lanes(), maker, tokenizer, job,
      search::generator_decoders(session.lanes(), tables, grid.lengths, session.rotation_precision()), on_row,
      &stop_requested());
  live_line("");
  const bool interrupted = run.rows.size() < run.cells();
  if (writer) writer->finish(interrupted ? "interrupted" : "done");

  if (arguments.json) {
    Json root = needle_json(run, true);
    if (!arguments.store.empty()) root["store"] = arguments.store;
    root["prefill"] = {{"tokens", prefill.tokens}, {"computed", prefill.computed}};
    root["elapsed_s"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    std::cout << root.dump(1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print_needle_run(run);
  }
  if (interrupted) {
    fmt::print(stderr, "longrope: [needle] interrupted{}\n",
               writer ? "; the store is complete, --resume continues it" : "");
    return kInterrupted;
  }
  const auto failed = std::count_if(run.rows.begin(), run.rows.end(),
                                    [](const search::NeedleRow& row) { return row.status == search::Status::failed; });
  if (failed > 0)
    throw RuntimeError(fmt::format("[needle] {} of {} cells failed on their device", failed, run.cells()));
  return kDone;
}

}  // namespace longrope::cli
