#include "search/cli/chain/job_file.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace longrope::cli {
namespace {

constexpr const char* kStagePrefix = "stage.";
constexpr const char* kRepair = "repair";

bool is_stage_name(const std::string& name) {
  return !name.empty() && name.size() <= 64 && name != kRepair &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; }) &&
         name.front() != '.';
}

JobSection& section_of(std::vector<JobSection>& sections, const std::string& name) {
  const auto found =
      std::find_if(sections.begin(), sections.end(), [&](const JobSection& section) { return section.name == name; });
  return found != sections.end() ? *found : sections.emplace_back(JobSection{name, {}});
}

bool has(const JobEntries& entries, const std::string& key) {
  return std::any_of(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == key; });
}

}  // namespace

JobFile read_job_file(const std::string& path) {
  std::ifstream in(path);
  if (!in || !std::filesystem::is_regular_file(path)) throw InputError(fmt::format("[--config] cannot read {}", path));
  po::parsed_options parsed(nullptr);
  try {
    parsed = po::parse_config_file(in, po::options_description(), true);
  } catch (const po::error& error) {
    throw InputError(fmt::format("[{}] {}", path, complaint(error)));
  }
  JobFile job;
  for (const po::option& option : parsed.options) {
    const std::string& key = option.string_key;
    const std::string value = option.value.empty() ? "" : option.value.front();
    const std::size_t dot = key.rfind('.');
    if (dot == std::string::npos) {
      job.common.emplace_back(key, value);
      continue;
    }
    const std::string section = key.substr(0, dot), name = key.substr(dot + 1);
    if (section == kRepair) {
      section_of(job.repairs, kRepair).entries.emplace_back(name, value);
      continue;
    }
    const std::string stage = section.starts_with(kStagePrefix) ? section.substr(std::string(kStagePrefix).size()) : "";
    if (!is_stage_name(stage)) {
      throw InputError(fmt::format(
          "[{}] a section must be [repair] or [stage.NAME], NAME of letters, digits, - _ and . but got [{}]", path,
          section));
    }
    if (!job.stages.empty() && job.stages.back().name != stage &&
        std::any_of(job.stages.begin(), job.stages.end(), [&](const JobSection& s) { return s.name == stage; })) {
      throw InputError(fmt::format("[{}] the section [{}] is given twice", path, section));
    }
    section_of(job.stages, stage).entries.emplace_back(name, value);
  }
  if (job.stages.empty())
    throw InputError(fmt::format("[{}] must have a section [stage.NAME] with a target-length but has none", path));
  return job;
}

po::variables_map section_values(const JobFile& job, const JobSection& section, const po::options_description& options,
                                 const std::vector<std::string>& common_only, const JobEntries& command_line) {
  const auto is_common = [&](const std::string& key) {
    return std::find(common_only.begin(), common_only.end(), key) != common_only.end();
  };
  po::parsed_options parsed(&options);
  const auto add = [&](const JobEntries& entries, const std::vector<const JobEntries*>& before, bool own) {
    for (const auto& [key, value] : entries) {
      if (is_common(key)) {
        if (own)
          throw InputError(
              fmt::format("[{}] {} must stand before the sections, for it is of the whole job", section.name, key));
        continue;
      }
      if (std::any_of(before.begin(), before.end(), [&](const JobEntries* b) { return has(*b, key); })) continue;
      po::option option;
      option.string_key = key;
      option.value = {value};
      option.original_tokens = {key, value};
      option.unregistered = options.find_nothrow(key, false) == nullptr;
      if (option.unregistered)
        throw InputError(
            fmt::format("[{}] unrecognised option '{}' (see longrope progressive --help)", section.name, key));
      parsed.options.push_back(std::move(option));
    }
  };
  add(command_line, {}, false);
  add(section.entries, {&command_line}, true);
  add(job.common, {&command_line, &section.entries}, false);
  po::variables_map values;
  try {
    po::store(parsed, values);
    po::notify(values);
  } catch (const po::error& error) {
    throw InputError(fmt::format("[{}] {}", section.name, complaint(error)));
  }
  return values;
}

}  // namespace longrope::cli
