#include "search/cli/chain/finetune_hook.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr const char* kMarker = "longrope_finetune.json";
constexpr std::chrono::seconds kGrace{60};  // between the signal passed on and a kill
constexpr int kCannotRun = 127;

/// In the child: its own process group, so that a signal reaches all it starts; gone when this program is killed.
[[noreturn]] void become(const std::vector<std::string>& words, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kCannotRun);
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));  // execvp's signature
  argv.push_back(nullptr);
  if (dup2(STDERR_FILENO, STDOUT_FILENO) >= 0) execvp(argv[0], argv.data());
  const char* reason = strerror(errno);
  const char* const parts[] = {"longrope: [finetune] ", argv[0], ": ", reason, "\n"};
  for (const char* part : parts) {
    if (write(STDERR_FILENO, part, strlen(part)) < 0) break;
  }
  _exit(kCannotRun);
}

/// Runs the command to its end and returns its wait status. A stop request is passed on, once.
int run_command(const std::vector<std::string>& words) {
  std::fflush(nullptr);
  const pid_t parent = getpid(), child = fork();
  if (child < 0) throw RuntimeError(fmt::format("[finetune] cannot start {}: {}", words.front(), strerror(errno)));
  if (child == 0) become(words, parent);
  setpgid(child, child);  // here too: whoever comes first
  int status = 0;
  bool passed_on = false;
  Clock::time_point deadline;
  for (;;) {
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR)
      throw RuntimeError(fmt::format("[finetune] lost its process: {}", strerror(errno)));
    if (stop_requested() && !passed_on) {
      kill(-child, stop_signal());
      passed_on = true;
      deadline = Clock::now() + kGrace;
    }
    if (passed_on && Clock::now() > deadline) kill(-child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (passed_on) kill(-child, SIGKILL);  // what it left behind
  return status;
}

std::string describe(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  if (WEXITSTATUS(status) == kCannotRun) return "could not be run (exit code 127)";
  return fmt::format("failed with exit code {}", WEXITSTATUS(status));
}

/// What a checkpoint was made from; a marker beside its weights says it.
nlohmann::ordered_json origin_of(const FinetuneJob& job) {
  return {{"stage", job.stage},
          {"model_weights_sha256", job.model_sha256},
          {"target_length", job.table.target_length},
          {"factors", job.table.long_factors},
          {"attention_factor", job.table.attention_factor},
          {"start_tokens", job.table.start_tokens}};
}

/// The text of a small file; empty if it cannot be read.
std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Throws InputError unless what is there is of this job and verifies.
void require_reusable(const FinetuneJob& job, const VerifyCheckpoint& verify) {
  const std::string hint = "remove it, and what was made from it, to fine-tune again";
  if (text_of(job.out() / kMarker) != origin_of(job).dump(1) + "\n") {
    throw InputError(
        fmt::format("[finetune] {} was not made by this job from this model and table ({})", job.out().string(), hint));
  }
  try {
    verify(job.out());
  } catch (const InputError& error) {
    throw InputError(
        fmt::format("[finetune] {} is from an earlier run but {} ({})", job.out().string(), error.what(), hint));
  }
}

/// The table as the command reads it: the same bytes whenever it is written.
fs::path write_table(const FinetuneJob& job) {
  const nlohmann::ordered_json root{{"factors", job.table.long_factors},
                                    {"attention_factor", job.table.attention_factor},
                                    {"start_tokens", job.table.start_tokens},
                                    {"target_length", job.table.target_length},
                                    {"original_length", job.table.original_length}};
  const fs::path file = job.work / (job.stage + ".table.json");
  const std::string text = root.dump(1) + "\n";
  if (text_of(file) == text) return file;
  std::error_code error;
  fs::remove(file, error);
  model::write_new_file(file, text);
  return file;
}

}  // namespace

HookTemplate::HookTemplate(const std::string& text) {
  if (std::count(text.begin(), text.end(), '"') % 2 != 0)
    throw InputError(fmt::format("[--finetune] a quote must be closed but got {}", text));
  try {
    words_ = po::split_unix(text);
  } catch (const std::exception& error) {  // boost::escaped_list_error
    throw InputError(fmt::format("[--finetune] must be a command but got \"{}\": {}", text, error.what()));
  }
  if (words_.empty()) throw InputError("[--finetune] must be a command but got nothing");
  bool has_out = false;
  for (const std::string& word : words_) {
    has_out = has_out || word.find("{out}") != std::string::npos;
    for (std::size_t at = word.find('{'); at != std::string::npos; at = word.find('{', at + 1)) {
      const std::size_t end = word.find('}', at);
      const std::string name = end == std::string::npos ? word.substr(at) : word.substr(at, end - at + 1);
      if (name != "{model}" && name != "{table}" && name != "{length}" && name != "{out}") {
        throw InputError(
            fmt::format("[--finetune] knows {{model}}, {{table}}, {{length}} and {{out}} but got \"{}\"", name));
      }
    }
  }
  if (!has_out) throw InputError("[--finetune] must say where the checkpoint goes, {out}");
}

std::vector<std::string> HookTemplate::command(const fs::path& model, const fs::path& table, std::int64_t length,
                                               const fs::path& out) const {
  std::vector<std::string> words = words_;
  // One pass over a copy of each word: what is put in is not looked at again.
  const std::pair<std::string, std::string> names[] = {{"{model}", model.string()},
                                                       {"{table}", table.string()},
                                                       {"{length}", std::to_string(length)},
                                                       {"{out}", out.string()}};
  for (std::string& word : words) {
    std::string made;
    for (std::size_t at = 0; at < word.size();) {
      const auto* name = std::find_if(std::begin(names), std::end(names),
                                      [&](const auto& n) { return word.compare(at, n.first.size(), n.first) == 0; });
      made += name == std::end(names) ? std::string(1, word[at]) : name->second;
      at += name == std::end(names) ? 1 : name->first.size();
    }
    word = made;
  }
  return words;
}

void finetune(const HookTemplate& hook, const FinetuneJob& job, const VerifyCheckpoint& verify) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(job.out(), error))) {
    require_reusable(job, verify);
    fmt::print(stderr, "longrope: [finetune] {} is there from an earlier run, and verified\n", job.out().string());
    return;
  }
  const fs::path making = job.work / fmt::format("{}.partial", job.stage);
  fs::remove_all(making, error);  // of a command that was interrupted
  const std::vector<std::string> words = hook.command(job.model, write_table(job), job.table.target_length, making);
  fmt::print(stderr, "longrope: [finetune] after {}: {}\n", job.stage, fmt::join(words, " "));
  const int status = run_command(words);
  if (stop_requested()) throw Interrupted("[finetune] interrupted; the store is complete, --resume continues it");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw RuntimeError(
        fmt::format("[finetune] the command after stage {} {}: {} (the store is complete; --resume runs "
                    "it again)",
                    job.stage, describe(status), words.front()));
  }
  try {
    if (!fs::is_directory(making, error))
      throw InputError(fmt::format("[{}] must be a checkpoint directory but is not there", making.string()));
    verify(making);
  } catch (const InputError& wrong) {
    throw RuntimeError(
        fmt::format("[finetune] what the command after stage {} made cannot be used: {}", job.stage, wrong.what()));
  }
  fs::remove(making / kMarker, error);
  model::write_new_file(making / kMarker, origin_of(job).dump(1) + "\n");
  model::sync_path(making);
  fs::rename(making, job.out(), error);
  if (error) throw RuntimeError(fmt::format("[finetune] cannot rename {}: {}", making.string(), error.message()));
  model::sync_path(job.work);
}

}  // namespace longrope::cli
