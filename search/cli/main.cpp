// The program: finds the command, maps errors to exit codes. Each command is one file.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <new>

#include "kernels/error.hpp"
#include "search/cli/command.hpp"

namespace {

using longrope::cli::Exit;

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const std::vector<std::string>&);
};

constexpr Command kCommands[] = {
    {"evaluate", "perplexity under one or more RoPE scalings", longrope::cli::run_evaluate},
    {"search", "find the best rescale factors for a target length", longrope::cli::run_search},
    {"progressive", "the stages of a job file in order, with fine-tuning between them", longrope::cli::run_progressive},
    {"repair", "a second table for short context on an extended model", longrope::cli::run_repair},
    {"needle", "passkeys and needles in haystacks, by depth and length", longrope::cli::run_needle},
    {"export", "write a table into an engine's format", longrope::cli::run_export},
    {"inspect", "show what a store holds", longrope::cli::run_inspect},
    {"plan", "memory and arithmetic a length takes, before anything runs", longrope::cli::run_plan},
    {"report", "show it as one HTML page with plots", longrope::cli::run_report},
};

/// "evaluate, search or export"
std::string command_names() {
  std::string names;
  const std::size_t count = std::size(kCommands);
  for (std::size_t i = 0; i < count; ++i)
    names += fmt::format("{}{}", i == 0 ? "" : i + 1 == count ? " or " : ", ", kCommands[i].name);
  return names;
}

std::string usage() {
  std::string text =
      "longrope " LONGROPE_VERSION
      ": finds RoPE rescale factors that extend the context of a pretrained language model\n\nUsage: longrope COMMAND "
      "[options]\n\nCommands:\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<12} {}\n", command.name, command.summary);
  return text +
         "\n`longrope COMMAND --help` lists a command's options with defaults and units.\n"
         "Exit codes: 0 done, 1 failed at run time, 2 wrong usage or input, 3 interrupted (resume possible).\n";
}

/// One line on stderr, whatever the message holds.
int fail(const std::string& message, int code) {
  std::string line = message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  longrope::cli::live_line("");
  fmt::print(stderr, "longrope: {}\n", line);
  return code;
}

int dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    throw longrope::InputError(fmt::format("[usage] a command is missing: {} (see longrope --help)", command_names()));
  }
  const std::string& name = arguments.front();
  if (name == "--help" || name == "help") {
    fmt::print("{}", usage());
    return Exit::kDone;
  }
  if (name == "--version") {
    fmt::print("longrope {}\n", LONGROPE_VERSION);
    return Exit::kDone;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run({arguments.begin() + 1, arguments.end()});
  }
  throw longrope::InputError(
      fmt::format("[usage] the command must be {} but got \"{}\" (see longrope --help)", command_names(), name));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return dispatch({argv + 1, argv + argc});
  } catch (const longrope::InputError& error) {
    return fail(error.what(), Exit::kUsage);
  } catch (const longrope::Interrupted& error) {
    return fail(error.what(), Exit::kInterrupted);
  } catch (const std::bad_alloc&) {
    return fail("[memory] there is not enough memory for this (fewer threads or a shorter length need less)",
                Exit::kFailed);
  } catch (const std::exception& error) {
    return fail(error.what(), Exit::kFailed);
  }
}
