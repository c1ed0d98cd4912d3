// From a job file to a plan.
#include <fmt/core.h>

#include <algorithm>
#include <system_error>

#include "kernels/error.hpp"
#include "model/rope_spec.hpp"
#include "search/cli/chain/chain.hpp"
#include "search/cli/session.hpp"

namespace longrope::cli {
namespace {

/// Of the whole job: never of one section.
const std::vector<std::string> kCommonOnly = {"model", "store", "work", "resume", "json", "check", "config"};

/// The option's text, from the command line or the lines before the sections; "" if nobody gives it.
std::string common_value(const JobFile& job, const JobEntries& command_line, const std::string& key) {
  for (const JobEntries* entries : {&command_line, &job.common}) {
    for (const auto& [name, value] : *entries) {
      if (name == key) return value;
    }
  }
  return "";
}

bool yes(const std::string& option, const std::string& text) {
  check_choice(option, text, {"yes", "no"});
  return text == "yes";
}

/// Without options that only the other kind of section has.
JobEntries without(JobEntries entries, const po::options_description& others, const po::options_description& own) {
  std::erase_if(entries, [&](const auto& entry) {
    return others.find_nothrow(entry.first, false) != nullptr && own.find_nothrow(entry.first, false) == nullptr;
  });
  return entries;
}

ChainStage plan_stage(const JobFile& job, const JobSection& section, const JobEntries& command_line,
                      const std::string& store, bool first) {
  po::options_description options;
  options.add(session_options()).add(search_options()).add(chain_stage_options());
  ChainStage stage;
  stage.name = section.name;
  stage.values = section_values(job, section, options, kCommonOnly, without(command_line, repair_options(), options));
  stage.values.insert({"store", po::variable_value(store, false)});
  in_section(section.name, [&] {
    stage.base = stage.values.count("base") != 0 ? stage.values["base"].as<std::string>() : first ? "none" : "previous";
    stage.values.erase("base");
    if (stage.base == "previous") {
      if (first) throw InputError("[--base] the first stage has no previous one (none, or a rope spec)");
    } else {
      model::RopeSpec::parse(stage.base);
    }
    stage.search = parse_search(stage.values, true);
    // The command is checked wherever it is given, and kept where it runs.
    std::optional<HookTemplate> hook;
    if (stage.values.count("finetune") != 0) hook.emplace(stage.values["finetune"].as<std::string>());
    if (yes("finetune-after", stage.values["finetune-after"].as<std::string>())) {
      if (!hook) throw InputError("[--finetune-after] needs the command that fine-tunes, --finetune");
      stage.finetune = hook;
    }
    const auto search_on = stage.values["search-on"].as<std::string>();
    check_choice("search-on", search_on, {"latest", "original"});
    stage.on_original = search_on == "original";
    stage.pick = stage.values["pick"].as<std::string>();
  });
  return stage;
}

ChainRepair plan_repair(const JobFile& job, const JobSection& section, const JobEntries& command_line,
                        const std::string& store) {
  po::options_description options;
  options.add(session_options()).add(search_options()).add(repair_options());
  ChainRepair repair;
  JobFile own = job;  // a stage's own options, given for all, are none of the repair
  own.common = without(job.common, chain_stage_options(), options);
  repair.values =
      section_values(own, section, options, kCommonOnly, without(command_line, chain_stage_options(), options));
  repair.values.insert({"store", po::variable_value(store, false)});
  in_section(section.name, [&] {
    po::variables_map checked = repair.values;
    repair.arguments = parse_repair(checked, 0);
  });
  return repair;
}

}  // namespace

po::options_description chain_stage_options() {
  po::options_description options("Stage");
  options.add_options()("finetune", po::value<std::string>(),
                        "command that fine-tunes, with {model} {table} {length} {out}; run without a shell")(
      "finetune-after", po::value<std::string>()->default_value("no"),
      "yes: the command of --finetune trains the checkpoint under this stage's table; later stages "
      "search on what it makes")("search-on", po::value<std::string>()->default_value("latest"),
                                 "latest (what the last fine-tuning made) or original (the checkpoint of --model)")(
      "pick", po::value<std::string>()->default_value("best"),
      "the point of the frontier that goes on: best, knee, mean, short:X% or ppl@N<=X%");
  return options;
}

ChainPlan plan_chain(const std::string& file, const JobEntries& command_line) {
  const JobFile job = read_job_file(file);
  ChainPlan plan;
  for (const auto& [key, target] : {std::pair{"model", &plan.model}, std::pair{"store", &plan.store}}) {
    *target = common_value(job, command_line, key);
    if (target->empty()) throw InputError(fmt::format("[usage] --{} is missing (here or in {})", key, file));
  }
  const std::string work = common_value(job, command_line, "work");
  plan.work = work.empty() ? std::filesystem::path(plan.store).replace_extension(".work") : std::filesystem::path(work);
  std::int64_t longest = 0;
  for (const JobSection& section : job.stages) {
    const ChainStage& stage =
        plan.stages.emplace_back(plan_stage(job, section, command_line, plan.store, plan.stages.empty()));
    if (stage.base == "previous" && stage.search.target_length < longest) {
      throw InputError(fmt::format("[{}] [--target-length] must be at least the previous stage's {} but got {}",
                                   stage.name, longest, stage.search.target_length));
    }
    longest = stage.search.target_length;
  }
  for (const JobSection& section : job.repairs) plan.repair = plan_repair(job, section, command_line, plan.store);
  return plan;
}

std::string describe(const ChainPlan& plan) {
  std::string text = fmt::format("model {}, store {}\n", plan.model, plan.store);
  for (const ChainStage& stage : plan.stages) {
    text += fmt::format("stage {}: {} tokens, {}, {}, budget {}, base {}, on the {} checkpoint{}\n", stage.name,
                        stage.search.target_length, search::to_string(stage.search.objectives), stage.search.strategy,
                        stage.search.budget, stage.base, stage.on_original ? "original" : "latest",
                        stage.finetune ? "; then fine-tune" : "");
  }
  if (plan.repair) {
    std::string lengths;
    for (const std::int64_t length : plan.repair->arguments.lengths)
      lengths += fmt::format("{}{}", lengths.empty() ? "" : ",", length);
    text += fmt::format("repair: {} tokens, {}, budget {}\n", lengths.empty() ? "L0" : lengths,
                        plan.repair->arguments.search.strategy, plan.repair->arguments.search.budget);
  }
  return text;
}

}  // namespace longrope::cli
