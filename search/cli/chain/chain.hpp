// A progressive job: what its file says, checked before anything runs, and the run of its stages in order.
// LongRoPE, section 3.4: search, fine-tune under the table, search again on what came out, repair the short end.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "search/cli/chain/finetune_hook.hpp"
#include "search/cli/chain/job_file.hpp"
#include "search/cli/chain/repair_stage.hpp"
#include "search/cli/search_options.hpp"

namespace longrope::cli {

struct ChainStage {
  std::string name;
  po::variables_map values;  ///< of session and search options, without --model
  SearchArguments search;
  std::string base;                      ///< "previous", "none" or a rope spec
  bool on_original = false;              ///< searched on the first checkpoint, not on the last one that was fine-tuned
  std::optional<HookTemplate> finetune;  ///< runs after it
  std::string pick;
};

struct ChainRepair {
  po::variables_map values;
  RepairArguments arguments;  ///< lengths may be empty: L0, once the checkpoint is read
};

struct ChainPlan {
  std::string model, store, command_line;
  std::filesystem::path work;  ///< of the checkpoints
  bool resume = false;
  std::vector<ChainStage> stages;
  std::optional<ChainRepair> repair;
};

/// Options of a stage beside those of session and search: --finetune --finetune-after --search-on --pick.
po::options_description chain_stage_options();

/// Reads the job file and nothing else. command_line: options given there, which hold for all stages. Throws InputError
/// naming the section and the option.
ChainPlan plan_chain(const std::string& file, const JobEntries& command_line);
/// One line a stage.
std::string describe(const ChainPlan& plan);

/// Runs or resumes it. Returns the exit code; `report` gets what there is to say of each stage, also when it is
/// interrupted. Throws as run_stage and finetune do.
int run_chain(const ChainPlan& plan, nlohmann::ordered_json& report);
/// The report of a finished run as text.
void print_chain(const nlohmann::ordered_json& report);

}  // namespace longrope::cli
