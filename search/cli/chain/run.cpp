// The run of a plan: what the store and the work directory hold already is not done again.
#include <fmt/core.h>

#include <algorithm>
#include <limits>

#include "kernels/error.hpp"
#include "model/model_config.hpp"
#include "model/safetensors.hpp"
#include "search/cli/chain/chain.hpp"
#include "search/cli/search_report.hpp"
#include "search/cli/session.hpp"
#include "search/cli/stage_setup.hpp"
#include "search/file_lock.hpp"
#include "search/frontier_pick.hpp"
#include "search/make_space.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t longest_of(const SearchArguments& arguments) {
  std::int64_t longest = arguments.target_length;
  for (const search::Objective& objective : arguments.objectives) longest = std::max(longest, objective.length);
  return longest;
}

/// The table that a stage hands on.
struct StageTable {
  std::string id;  ///< "STAGE/ID"
  search::StoreTable table;
};

StageTable table_of(const search::StoreContents& contents, const std::string& pick) {
  const std::int64_t id = search::pick_from_frontier(contents, pick);
  const search::Candidate& candidate = contents.rows[static_cast<std::size_t>(id)].candidate;
  StageTable made;
  made.id = fmt::format("{}/{}", contents.header.stage.name, id);
  made.table.name = contents.header.stage.name;
  made.table.long_factors = made.table.short_factors = candidate.factors;
  made.table.attention_factor = made.table.short_attention_factor = candidate.attention_factor;
  made.table.start_tokens = made.table.short_start_tokens = candidate.start_tokens;
  made.table.target_length = contents.header.stage.target_length;
  made.table.original_length = contents.header.model.original_length;
  return made;
}

class Chain {
 public:
  explicit Chain(const ChainPlan& plan) : plan_(plan), latest_(plan.model) {}

  int run(Json& report) {
    report = {{"store", plan_.store}, {"model", plan_.model}, {"stages", Json::array()}, {"repair", nullptr}};
    lock();
    reread();
    require_known_stages();
    for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
      const ChainStage& stage = plan_.stages[i];
      if (!run_stage(stage, static_cast<std::int32_t>(i))) return kInterrupted;
      report["stages"].push_back(stage_report(stage));
      if (stage.finetune) finetune_after(stage);
      report["stages"].back()["checkpoint"] = latest_;
    }
    report["checkpoint"] = latest_;
    return plan_.repair ? run_repair(report) : kDone;
  }

 private:
  /// While a command fine-tunes, nobody writes the store: this keeps a second run of the job out then, too.
  void lock() {
    const bool trains = std::any_of(plan_.stages.begin(), plan_.stages.end(),
                                    [](const ChainStage& stage) { return stage.finetune.has_value(); });
    if (!trains) return;
    std::error_code error;
    std::filesystem::create_directories(plan_.work, error);
    if (error) throw InputError(fmt::format("[--work] cannot make {}: {}", plan_.work.string(), error.message()));
    lock_ = search::FileLock::acquire(plan_.work / ".lock", true);
  }

  void reread() {
    std::error_code error;
    stored_.clear();
    if (std::filesystem::exists(plan_.store, error)) stored_ = search::read_stages(plan_.store);
  }

  const search::StoreContents* find(const std::string& name) const {
    const auto found = std::find_if(stored_.begin(), stored_.end(),
                                    [&](const search::StoreContents& s) { return s.header.stage.name == name; });
    return found == stored_.end() ? nullptr : &*found;
  }

  /// A store whose stages are not the first ones of this job is of another job.
  void require_known_stages() const {
    for (std::size_t i = 0; i < stored_.size(); ++i) {
      const std::string& name = stored_[i].header.stage.name;
      const bool known = i < plan_.stages.size() ? name == plan_.stages[i].name
                                                 : plan_.repair && i == plan_.stages.size() && name == "repair";
      if (known) continue;
      throw InputError(fmt::format(
          "[store] {} holds stage {} \"{}\" but this job's is {} (--resume continues the same "
          "job only)",
          plan_.store, i + 1, name, i < plan_.stages.size() ? fmt::format("\"{}\"", plan_.stages[i].name) : "another"));
    }
  }

  /// Of a stage that is done: what can be checked without loading its checkpoint. Throws InputError.
  void require_same(const ChainStage& stage, const search::StoreContents& stored, const std::string& directory) const {
    const search::StoreHeader& h = stored.header;
    const auto same = [&](const char* what, const auto& in_store, const auto& in_job) {
      if (in_store == in_job) return;
      throw InputError(
          fmt::format("[store] {} holds stage {} with {} '{}' but this job's is '{}' (it is done: later "
                      "stages rest on it)",
                      plan_.store, stage.name, what, in_store, in_job));
    };
    same("target length", h.stage.target_length, stage.search.target_length);
    same("strategy", h.stage.strategy, stage.search.strategy);
    same("objectives", h.stage.objectives, search::to_string(stage.search.objectives));
    same("budget", h.stage.budget, stage.search.budget);
    same("seed", h.seed, stage.search.seed);
    same("base", h.stage.base, base_name(stage));
    same("model weights sha256", h.model.weights_sha256, model::TensorFiles(directory).sample_sha256());
  }

  std::string base_name(const ChainStage& stage) const {
    return stage.base == "previous" ? previous_.id : stage.base == "none" ? "" : stage.base;
  }

  /// Whether it is done; false: interrupted.
  bool run_stage(const ChainStage& stage, std::int32_t index) {
    const std::string& directory = stage.on_original ? plan_.model : latest_;
    const search::StoreContents* stored = find(stage.name);
    // The last one in the store may go on with a larger budget; anything else that is done stays as it is.
    const bool last = stored != nullptr && stored == &stored_.back();
    if (stored != nullptr && stored->header.stage.status == "done" &&
        (!last || stored->header.stage.budget == stage.search.budget)) {
      require_same(stage, *stored, directory);
      fmt::print(stderr, "longrope: [progressive] stage {} is done\n", stage.name);
    } else {
      const Session session(with_model(stage.values, directory), longest_of(stage.search), kTablesOfAStep);
      SearchArguments arguments = stage.search;
      arguments.resume = true;
      arguments.space.base = base_name(stage);
      if (stage.base == "previous") {
        arguments.space.base_table = search::BaseTable{previous_.table.long_factors, previous_.table.target_length};
      }
      const search::Space space =
          search::make_space(session.transformer().config(), arguments.target_length, arguments.space);
      PreparedStage prepared = prepare_stage(arguments, session, {stage.name, index, plan_.command_line}, space);
      prepared.options.other_stages = index > 0;
      prepared.options.pick = stage.pick;
      const search::StageResult result = run_prepared(
          session, prepared,
          fmt::format("stage {}: searching {} factors for {} tokens (s = {:g}{}) with {}, {} windows, into {}",
                      stage.name, space.geometry.pairs(), arguments.target_length, space.scale,
                      arguments.space.base.empty() ? "" : " on " + arguments.space.base, arguments.strategy,
                      prepared.evaluator->windows().size(), plan_.store));
      reread();
      if (result.interrupted()) return false;
    }
    previous_ = table_of(*find(stage.name), stage.pick);
    return true;
  }

  Json stage_report(const ChainStage& stage) const {
    const search::StoreContents& c = *find(stage.name);
    Json json{{"name", stage.name},
              {"target_length", c.header.stage.target_length},
              {"searched_on", c.header.model.name},
              {"base", c.header.stage.base},
              {"strategy", c.header.stage.strategy},
              {"status", c.header.stage.status},
              {"stop_reason", c.header.stage.stop_reason}};
    const std::vector<std::string> names = search::baseline_names(c.header.stage);
    json["baselines"] = Json::object();
    for (std::size_t i = 0; i < c.rows.size() && c.rows[i].candidate.generation < 0 && i < names.size(); ++i)
      json["baselines"][names[i]] = c.rows[i].result.objectives;
    json["objectives"] = c.header.stage.objectives;
    const std::int64_t id = search::pick_from_frontier(c, stage.pick);
    const search::StoreRow& row = c.rows[static_cast<std::size_t>(id)];
    json["table"] = {{"id", id},
                     {"factors", row.candidate.factors},
                     {"attention_factor", row.candidate.attention_factor},
                     {"start_tokens", row.candidate.start_tokens},
                     {stage.search.objectives.front().key(), row.result.objectives}};
    json["cost_full_evaluations"] = c.generations.back().cost;
    json["elapsed_s"] = c.generations.back().elapsed_s;
    return json;
  }

  /// Throws InputError unless the checkpoint is the same model, of the same geometry, and loads.
  void verify(const ChainStage& stage, const std::filesystem::path& directory) const {
    const model::ModelConfig parent = model::read_model_config(latest_), made = model::read_model_config(directory);
    const auto same = [&](const char* what, const auto& expected, const auto& got) {
      if (expected == got) return;
      throw InputError(
          fmt::format("[{}] must have the {} {} of {} but has {}", directory.string(), what, expected, latest_, got));
    };
    same("model_type", parent.model_type, made.model_type);
    same("vocabulary", parent.vocabulary, made.vocabulary);
    same("layers", parent.layers, made.layers);
    same("hidden_size", parent.hidden_size, made.hidden_size);
    same("rotary_dim", parent.rope.rotary_dim, made.rope.rotary_dim);
    same("theta", parent.rope.theta, made.rope.theta);
    same("original length", parent.rope.original_length, made.rope.original_length);
    const Session loads(with_model(stage.values, directory.string()), 0, 1);  // all weights there and finite
  }

  void finetune_after(const ChainStage& stage) {
    FinetuneJob job;
    job.stage = stage.name;
    job.model = latest_;
    job.model_sha256 = model::TensorFiles(latest_).sample_sha256();
    job.table = previous_.table;
    job.work = plan_.work;
    finetune(*stage.finetune, job, [&](const std::filesystem::path& directory) { verify(stage, directory); });
    latest_ = job.out().string();
  }

  int run_repair(Json& report) {
    RepairJob job;
    job.index = static_cast<std::int32_t>(plan_.stages.size());
    job.command_line = plan_.command_line;
    job.long_table = previous_.table;
    if (latest_ != plan_.model) job.original = plan_.model;
    po::variables_map values = with_model(plan_.repair->values, latest_);
    RepairArguments arguments = in_section(
        "repair", [&] { return parse_repair(values, model::read_model_config(latest_).rope.original_length); });
    arguments.search.resume = true;
    const RepairResult result = run_repair_stage(values, arguments, job);
    if (result.search.interrupted()) return kInterrupted;
    report["repair"] = repair_json(result);
    return kDone;
  }

  const ChainPlan& plan_;
  std::string latest_;  ///< checkpoint
  StageTable previous_;
  search::FileLock lock_;
  std::vector<search::StoreContents> stored_;
};

}  // namespace

namespace {

/// The first objective of a stage's table, whatever it is.
double best_of(const Json& stage) {
  for (const char* key : {"ppl", "key_ppl", "needle_ppl"}) {
    if (stage["table"].contains(key)) return stage["table"][key][0].get<double>();
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

void print_chain(const Json& report) {
  fmt::print("{:<12}  {:>8}  {:>10}  {:>10}  {:>10}  {:>8}  {}\n", "stage", "tokens", "objective", "baseline", "cost",
             "seconds", "checkpoint after it");
  for (const Json& stage : report["stages"]) {
    double baseline = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < search::kBaselineCandidates; ++i)
      baseline = std::min(baseline, stage["baselines"][search::kBaselineNames[i]][0].get<double>());
    fmt::print("{:<12}  {:>8}  {:>10.4f}  {:>10.4f}  {:>10.1f}  {:>8.0f}  {}\n", stage["name"].get<std::string>(),
               stage["target_length"].get<std::int64_t>(), best_of(stage), baseline,
               stage["cost_full_evaluations"].get<double>(), stage["elapsed_s"].get<double>(),
               stage["checkpoint"].get<std::string>());
  }
  if (report["repair"].is_null()) return;
  fmt::print("\n{:<12}  {:>10}  {:>10}  {:>10}\n", "repair", "original", "long", "repaired");
  for (const auto& [objective, original] : report["repair"]["original"].items()) {
    fmt::print("{:<12}  {:>10.4f}  {:>10.4f}  {:>10.4f}\n", objective, original.get<double>(),
               report["repair"]["long"][objective].get<double>(),
               report["repair"]["repaired"][objective].get<double>());
  }
}

int run_chain(const ChainPlan& plan, Json& report) {
  Chain chain(plan);
  return chain.run(report);
}

}  // namespace longrope::cli
