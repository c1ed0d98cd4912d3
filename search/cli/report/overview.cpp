// The head of a report: the result in a sentence, what the store is, and its stages.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "search/cli/command.hpp"
#include "search/cli/objective_setup.hpp"
#include "search/cli/report/html.hpp"
#include "search/cli/report/view.hpp"

namespace longrope::cli {
namespace {

constexpr std::size_t kShownNames = 12;

std::string status_pill(const StageView& stage) {
  const std::string& status = stage.header().stage.status;
  const std::string& reason = stage.header().stage.stop_reason;
  const std::string text = status == "running" ? "running, or killed" : status + (reason.empty() ? "" : ": " + reason);
  return fmt::format("<span class=\"pill {}\">{}</span>",
                     status == "done" || status == "running" ? status : "interrupted", escape(text, 60));
}

/// The last part of a path, for a heading.
std::string last_name(const std::string& path) {
  const std::size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return path;
  const std::size_t slash = path.find_last_of('/', end);
  return path.substr(slash == std::string::npos ? 0 : slash + 1,
                     end - (slash == std::string::npos ? 0 : slash + 1) + 1);
}

/// The stage for the longest context that has a table; else the first.
const StageView& main_stage(const std::vector<StageView>& stages) {
  const StageView* found = &stages.front();
  for (const StageView& stage : stages) {
    if (stage.best == nullptr) continue;
    if (found->best == nullptr || stage.header().stage.target_length >= found->header().stage.target_length)
      found = &stage;
  }
  return *found;
}

std::string tile(const std::string& value, const std::string& label) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", value, label);
}

std::string lead(const StageView& stage) {
  if (stage.best == nullptr) {
    return stage.contents->generations.empty() ? "No generation is finished yet: there is no figure to show."
                                               : "No candidate has been scored whole yet.";
  }
  const double ppl = stage.best->result.first();
  std::string text = fmt::format("At {} tokens the best table {}has {} {}", grouped(stage.objectives.front().length),
                                 stage.header().stage.status == "done" ? "" : "so far ",
                                 shown_measure(stage.objectives.front()), number(ppl));
  const StageView::Baseline* other = stage.best_baseline();
  if (other != nullptr && other->row != stage.best) {
    const double ratio = ppl / other->row->result.first();
    text += fmt::format(", {} against {} ({}), the best of the {} it was compared with", percent(ratio),
                        escape(shown_name(other->name)), number(other->row->result.first()), stage.baselines.size());
  }
  return text + fmt::format(": protocol {}, {} windows of the search's own text.",
                            escape(stage.header().corpus.protocol), stage.windows());
}

std::string tiles(const std::vector<StageView>& stages) {
  const StageView& stage = main_stage(stages);
  std::string out = "<div class=\"tiles\">\n";
  if (stage.best != nullptr) {
    out += tile(number(stage.best->result.first()), fmt::format("best {}, {}", shown_measure(stage.objectives.front()),
                                                                escape(stage.objectives.front().to_string())));
    if (const auto* other = stage.best_baseline(); other != nullptr && other->row != stage.best)
      out += tile(percent(stage.best->result.first() / other->row->result.first()),
                  "against " + escape(shown_name(other->name)));
  }
  double cost = 0.0, elapsed_s = 0.0;
  std::int64_t evaluations = 0;
  for (const StageView& each : stages) {
    cost += each.cost();
    elapsed_s += each.elapsed_s();
    evaluations += each.evaluations();
  }
  out += tile(grouped(evaluations), "candidates");
  out += tile(number(cost, 4), "full evaluations spent");
  out += tile(format_duration(elapsed_s), stages.size() > 1 ? "searching, all stages" : "searching");
  return out + "</div>\n";
}

std::string facts(const std::string& file, const std::vector<StageView>& stages) {
  const search::StoreHeader& header = stages.front().header();
  const auto line = [](const char* name, const std::string& markup) {
    return fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, markup);
  };
  std::string documents;
  const std::vector<std::string>& names = header.corpus.document_names;
  for (std::size_t i = 0; i < std::min(names.size(), kShownNames); ++i)
    documents += fmt::format("{}{}", i == 0 ? "" : ", ", escape(names[i], 120));
  if (names.size() > kShownNames) documents += fmt::format(" and {} more", names.size() - kShownNames);
  std::string out = "<div class=\"card wide\"><h3>What this store is</h3>\n<dl>\n";
  out += line("Store", escape(file));
  out += line("Model", escape(header.model.name));
  out += line("Architecture", escape(header.model.architecture));
  out += line("Parameters", figure("model.parameters", static_cast<double>(header.model.parameters),
                                   grouped(header.model.parameters)));
  out += line("RoPE", fmt::format("d = {}, \xCE\xB8 = {}",
                                  figure("model.rotary_dim", static_cast<double>(header.model.rotary_dim),
                                         std::to_string(header.model.rotary_dim)),
                                  figure("model.theta", header.model.theta, fmt::format("{:g}", header.model.theta))));
  out +=
      line("Trained on", fmt::format("{} tokens (L<sub>0</sub>)",
                                     figure("model.original_length", static_cast<double>(header.model.original_length),
                                            grouped(header.model.original_length))));
  if (const auto pair = critical_pair(header.model)) {
    out += line("Critical",
                fmt::format("pair {}, dimension {}: from there on a pair turns less than once within L<sub>0</sub>",
                            *pair, 2 * *pair));
  }
  out += line("Text", fmt::format("{} documents: {}", names.size(), documents));
  out += line("Windows",
              fmt::format("{}, protocol {}", header.corpus.window_length.size(), escape(header.corpus.protocol)));
  for (const StageView& stage : stages) {
    const auto keys = key_tokens_json(stage.header().corpus.key_tokens, stage.objectives);
    for (const auto& [objective, counts] : keys.items()) {
      const auto count = counts["tokens"].get<std::int64_t>(), scored = counts["scored"].get<std::int64_t>();
      out +=
          line("Key tokens",
               fmt::format("{}, stage {}: {} of {} scored ones", escape(objective), escape(stage.name()),
                           figure(key_of(stage, "key_tokens." + objective), static_cast<double>(count), grouped(count)),
                           grouped(scored)));
    }
  }
  out += line("Written by", fmt::format("longrope {}, {}, seed {}", escape(header.program_version),
                                        escape(header.created_utc), header.seed));
  std::string commands;
  for (const StageView& stage : stages) {
    if (&stage != stages.data() && stage.header().command_line == header.command_line) continue;
    commands += fmt::format("<pre>{}</pre>", escape(stage.header().command_line, 2000));
  }
  return out + line("Command", commands) + "</dl></div>\n";
}

std::string stage_table(const std::vector<StageView>& stages) {
  std::vector<std::vector<std::string>> rows;
  for (const StageView& s : stages) {
    const auto whole = [&](const char* what, std::int64_t value) {
      return figure(key_of(s, what), static_cast<double>(value), grouped(value));
    };
    const StageView::Baseline* other = s.best_baseline();
    rows.push_back({fmt::format("<a href=\"#stage-{}\">{}</a>", s.header().stage.index, escape(s.name())),
                    status_pill(s), escape(s.header().stage.strategy, 40), escape(s.header().stage.objectives, 80),
                    whole("target_length", s.header().stage.target_length), whole("evaluations", s.evaluations()),
                    fmt::format("{} / {}", figure(key_of(s, "cost"), s.cost(), number(s.cost(), 4)),
                                grouped(s.header().stage.budget)),
                    figure(key_of(s, "elapsed_s"), s.elapsed_s(), format_duration(s.elapsed_s())),
                    s.best == nullptr
                        ? "-"
                        : figure(key_of(s, fmt::format("best.{}", s.objectives.front().key())), s.best->result.first()),
                    other == nullptr
                        ? "-"
                        : fmt::format("{} {}", escape(shown_name(other->name)), number(other->row->result.first()))});
  }
  return html_table({"stage", "status", "strategy", "objectives", "tokens", "candidates", "cost / budget", "time",
                     "best", "best baseline"},
                    rows, 4);
}

}  // namespace

std::string overview_section(const std::string& file, const std::vector<StageView>& stages) {
  const StageView& stage = main_stage(stages);
  return fmt::format(
             "<header><h1>{}</h1>\n<p class=\"sub\">RoPE rescale factors by longrope, {} {}</p>\n<p "
             "class=\"lead\">{}</p></header>\n",
             escape(last_name(stages.front().header().model.name), 120), escape(file, 200), status_pill(stages.back()),
             lead(stage)) +
         tiles(stages) + stage_table(stages) + "<section><div class=\"grid\">\n" + cost_chart(stages) +
         length_chart(stages) + facts(file, stages) + "</div></section>\n";
}

}  // namespace longrope::cli
