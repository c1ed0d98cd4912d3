// The command that fine-tunes a checkpoint between two stages: a template, run without a shell, its output on our
// stderr. What it makes is verified and then appears under its final name, so a name that is there is a whole one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "search/store.hpp"

namespace longrope::cli {

/// A command template. Split into words as a POSIX shell splits plain words and quotes, nothing else of a shell; then
/// {model}, {table}, {length} and {out} are replaced inside words.
class HookTemplate {
 public:
  /// Throws InputError: empty, an open quote, {out} missing, another name in braces.
  explicit HookTemplate(const std::string& text);
  std::vector<std::string> command(const std::filesystem::path& model, const std::filesystem::path& table,
                                   std::int64_t length, const std::filesystem::path& out) const;

 private:
  std::vector<std::string> words_;
};

struct FinetuneJob {
  std::string stage;            ///< after which it runs
  std::filesystem::path model;  ///< checkpoint to start from
  std::string model_sha256;     ///< of its weights (StoreModel)
  search::StoreTable table;     ///< the long one is trained with
  std::filesystem::path work;   ///< directory of the job's checkpoints
  std::filesystem::path out() const { return work / stage; }
};

/// Checks a checkpoint; throws InputError for what is wrong with it.
using VerifyCheckpoint = std::function<void(const std::filesystem::path&)>;

/// Makes job.out(), or finds it there from an earlier run: made from the same model and table, and verified again.
/// Throws RuntimeError: the command cannot be run, fails, or makes nothing that verifies; InputError: out() is there
/// but of another job, or does not verify (saying what to remove); Interrupted: SIGTERM or SIGINT came, the command got
/// it.
void finetune(const HookTemplate& hook, const FinetuneJob& job, const VerifyCheckpoint& verify);

}  // namespace longrope::cli
