#include "search/cli/export/readme.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "model/engine_overrides.hpp"

namespace longrope::cli {
namespace {

std::string shell_word(const std::string& word) {
  const std::string plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./#@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  return model::shell_quoted(word);
}

std::string command_line(const std::vector<std::string>& arguments) {
  std::string line = "longrope export";
  for (const std::string& argument : arguments) line += " " + shell_word(argument);
  return line;
}

std::string table_line(const char* name, const model::RopeTable& table) {
  const auto [least, most] = std::minmax_element(table.factors.begin(), table.factors.end());
  return fmt::format("| {} | {} | {:.6g} | {:.6g} | {:.9g} | {} |\n", name, table.factors.size(), *least, *most,
                     table.attention_factor, table.start_tokens);
}

std::string cost_section(const ExportRequest& request, const std::optional<Measurement>& measurement) {
  if (!measurement) {
    return fmt::format(
        "**Not measured.** The command above with `--text FILE...` (or `--tokens FILE`) added and another `--out` "
        "measures "
        "the\nperplexity at {} tokens and below of the checkpoint as it is and of the exported tables, and writes it "
        "here.\n",
        request.config.rope.original_length);
  }
  std::string text = "| length | table | PPL | difference |\n|---|---|---|---|\n";
  for (const MeasuredRow& row : measurement->rows) {
    std::string difference = "-";
    if (row.table != "checkpoint as it is") {
      difference = fmt::format("{:+.5f}", row.difference.nats_per_token);
      if (std::isfinite(row.difference.standard_error))
        difference += fmt::format(" +- {:.5f}", row.difference.standard_error);
    }
    text += fmt::format("| {} | {} | {:.4f} | {} |\n", row.length, row.table, row.result.first(), difference);
  }
  text += fmt::format(
      "\nPerplexity under protocol `{}`, {} windows a length, {}; text: {}. The difference is of mean NLL to the "
      "checkpoint as\n"
      "it is, nats per token, with its standard error. The tables stand as the engine applies them, attention factor "
      "included.\n",
      measurement->protocol, measurement->windows, measurement->numerics, fmt::join(measurement->sources, ", "));
  return text;
}

}  // namespace

std::string export_readme(const std::string& format_name, const ExportFormat& format, const ExportRequest& request,
                          const std::vector<std::string>& command, const std::optional<Measurement>& measurement) {
  const model::ExportTables tables = format.applied();
  const std::string name = std::filesystem::absolute(request.model_directory).lexically_normal().filename().string();
  std::string text = fmt::format(
      "# {}: RoPE rescale factors for {} tokens ({})\n\nTrained at {} tokens. Made by longrope " LONGROPE_VERSION
      ":\n\n    {}\n\n",
      name.empty() ? request.config.architecture : name, tables.target_length, format_name,
      request.config.rope.original_length, command_line(command));
  text += "| table | factors | least | most | attention factor | start tokens |\n|---|---|---|---|---|---|\n";
  text += table_line("long", tables.long_table);
  if (tables.switches) {
    text += table_line("short", tables.short_table);
  } else {
    text += "\nStatic: the short table is the long one, so that every length sees the same.\n";
  }
  text += "\n## Which table is active\n\n" + format.notes();
  const std::vector<std::string> warnings = format.warnings();
  if (!warnings.empty()) {
    text += "\n## Not as the tables say\n\n";
    for (const std::string& warning : warnings) text += "- " + warning + "\n";
  }
  text += "\n## What it costs at short lengths\n\n" + cost_section(request, measurement);
  return text;
}

}  // namespace longrope::cli
