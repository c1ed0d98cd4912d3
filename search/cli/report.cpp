// `longrope report`: what a store holds as one self-contained page, also while the store is being written.
#include <fmt/core.h>

#include <filesystem>
#include <fstream>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "search/cli/command.hpp"
#include "search/cli/report/html.hpp"
#include "search/cli/report/needle.hpp"
#include "search/cli/report/view.hpp"
#include "search/needle_store.hpp"
#include "search/store.hpp"

namespace longrope::cli {
namespace {

/// A report may be replaced by a newer one; anything else (a store, say) may not.
void require_replaceable(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::symlink_status(file, error);
  if (status.type() == std::filesystem::file_type::not_found) return;
  std::string start(kReportStart.size(), '\0');
  if (status.type() == std::filesystem::file_type::regular &&
      std::ifstream(file, std::ios::binary).read(start.data(), static_cast<std::streamsize>(start.size())) &&
      start == kReportStart) {
    return;
  }
  throw InputError(
      fmt::format("[--out] {} exists already and is no report (choose another path, or remove it)", file.string()));
}

std::string stage_section(const StageView& stage) {
  const search::StoreStage& header = stage.header().stage;
  std::string out = fmt::format("<section id=\"stage-{}\"><h2>Stage {}: {} tokens</h2>\n", header.index,
                                escape(stage.name()), grouped(header.target_length));
  if (!header.base.empty()) out += fmt::format("<p class=\"sub\">starts from {}</p>\n", escape(header.base));
  out += "<div class=\"grid\">\n" + repair_card(stage) + factor_chart(stage) + progress_chart(stage) +
         frontier_charts(stage) + racing_charts(stage) + holdout_card(stage) + failures_card(stage) + "</div>\n" +
         factor_table(stage);
  return out + "</section>\n";
}

std::string report_page(const std::string& file, const std::vector<search::StoreContents>& contents,
                        const std::vector<search::StoreTable>& tables, const std::vector<search::NeedleRun>& needles) {
  const std::string name = std::filesystem::path(file).filename().string();
  const std::vector<StageView> stages = view_stages(contents, tables);
  std::string body = stages.empty() ? needle_header(name, needles) : overview_section(name, stages);
  for (const StageView& stage : stages) body += stage_section(stage);
  for (const search::NeedleRun& run : needles) body += needle_section(run);
  body += fmt::format("<footer>Made by longrope {}. Point at a dot to see which candidate it is.</footer>\n",
                      LONGROPE_VERSION);
  return html_page(fmt::format("longrope: {}", name), body);
}

}  // namespace

int run_report(const std::vector<std::string>& arguments) {
  po::options_description options("Options");
  options.add_options()("store", po::value<std::string>(), "HDF5 store of a search (or the first word)")(
      "out,o", po::value<std::string>(),
      "HTML file to write; an older report there is replaced, anything else is refused");
  po::variables_map values;
  if (!parse_options("Usage: longrope report STORE -o FILE.html", options, arguments, values, "store")) return kDone;
  const std::string file = require_option(values, "store"), out = require_option(values, "out");
  require_replaceable(out);
  const std::vector<search::NeedleRun> needles = search::read_needle_runs(file);
  const std::vector<search::StoreContents> stages =
      needles.empty() ? search::read_stages(file) : search::read_any_stages(file);
  const std::vector<search::StoreTable> tables = search::read_store_tables(file);
  const std::string page = report_page(file, stages, tables, needles);
  model::replace_file(out, page);
  fmt::print("{}: {} stage{}, {} kB, no other file needed\n", out, stages.size(), stages.size() == 1 ? "" : "s",
             (page.size() + 999) / 1000);
  return kDone;
}

}  // namespace longrope::cli
