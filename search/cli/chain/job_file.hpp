// A job file of several stages: Boost.Program_options' format, KEY = VALUE a line, # begins a comment. Lines before the
// first section hold for all stages; [stage.NAME] sections follow in their order, then at most one [repair].
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "search/cli/command.hpp"

namespace longrope::cli {

/// (key, value) in their order; a key may come again where the option takes several values.
using JobEntries = std::vector<std::pair<std::string, std::string>>;

struct JobSection {
  std::string name;
  JobEntries entries;
};

struct JobFile {
  JobEntries common;
  std::vector<JobSection> stages;   ///< at least one
  std::vector<JobSection> repairs;  ///< none or one, named "repair"
};

/// Throws InputError with the file's name: unreadable, a line that is none, another section, a section given twice, no
/// stage. Keys and values are checked by section_values.
JobFile read_job_file(const std::string& path);

/// The options of one section: what the command line says, else the section, else the lines before the sections.
/// `options`: what a section may hold; `common_only`: keys that only the lines before the sections may hold, left out
/// here. Throws InputError naming the section.
po::variables_map section_values(const JobFile& job, const JobSection& section, const po::options_description& options,
                                 const std::vector<std::string>& common_only, const JobEntries& command_line);

/// Runs read(), a check of one section's options, and puts the section's name in front of what it refuses.
template <typename Read>
auto in_section(const std::string& name, Read read);

}  // namespace longrope::cli

#include <fmt/core.h>

#include "kernels/error.hpp"

template <typename Read>
auto longrope::cli::in_section(const std::string& name, Read read) {
  try {
    return read();
  } catch (const InputError& error) {
    throw InputError(fmt::format("[{}] {}", name, error.what()));
  }
}
