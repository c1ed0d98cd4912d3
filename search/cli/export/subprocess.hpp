// Another program: started with arguments, given text, its output taken.
#pragma once

#include <string>
#include <vector>

namespace longrope::cli {

struct ProcessResult {
  int exit_code = -1;  ///< 128 + signal if a signal ended it
  std::string output;  ///< its stdout; its stderr is ours
};

/// Runs program (looked up on PATH) to its end. Throws InputError if it cannot be started.
ProcessResult run_process(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace longrope::cli
