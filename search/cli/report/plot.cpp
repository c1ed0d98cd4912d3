#include "search/cli/report/plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/cli/report/html.hpp"

namespace longrope::cli {
namespace {

constexpr double kWidth = 400.0, kHeight = 280.0;
constexpr double kLeft = 48.0, kRight = 10.0, kTop = 28.0, kBottom = 40.0;
constexpr double kInnerWidth = kWidth - kLeft - kRight, kInnerHeight = kHeight - kTop - kBottom;

/// Where a value stands along an axis: 0 at low, 1 at high; not finite where it has no place.
double place(const PlotAxis& axis, double value) {
  if (!axis.logarithmic) return (value - axis.low) / (axis.high - axis.low);
  if (!(value > 0.0)) return std::numeric_limits<double>::quiet_NaN();
  return std::log(value / axis.low) / std::log(axis.high / axis.low);
}

/// Where the drawing begins: names of vertical rules take a line of their own.
double top_of(const Plot& plot) {
  const bool named = std::any_of(plot.rules.begin(), plot.rules.end(), [](const PlotRule& r) { return r.vertical; });
  return named ? -18.0 : 0.0;
}

/// Coordinates stay small: a point far outside the frame is drawn somewhat outside it.
double bounded(double share) { return std::clamp(share, -4.0, 5.0); }

struct Place {
  double x, y;
  bool finite() const { return std::isfinite(x) && std::isfinite(y); }
  bool inside() const { return x >= -1e-9 && x <= 1.0 + 1e-9 && y >= -1e-9 && y <= 1.0 + 1e-9; }
  double left() const { return kInnerWidth * bounded(x); }
  double top() const { return kInnerHeight * (1.0 - bounded(y)); }
};

std::string tick_text(const PlotAxis& axis, double value) {
  if (axis.tokens && value >= 16384.0 && std::fmod(value, 1024.0) == 0.0) return fmt::format("{:g}k", value / 1024.0);
  if (axis.tokens && value < 1e6) return fmt::format("{:.0f}", value);
  return std::abs(value) >= 1e5 || (value != 0.0 && std::abs(value) < 1e-4) ? fmt::format("{:.1e}", value)
                                                                            : fmt::format("{:.6g}", value);
}

std::string titled(const std::string& title) {
  return title.empty() ? "/>" : fmt::format("><title>{}</title></circle>", escape(title));
}

std::string draw_dots(const Plot& plot, const PlotSeries& series) {
  std::string out;
  for (const PlotPoint& point : series.points) {
    const Place at{place(plot.x, point.x), place(plot.y, point.y)};
    if (!at.finite() || !at.inside()) continue;
    out += fmt::format("<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:g}\"{}\n", series.css, at.left(),
                       at.top(), series.radius, titled(point.title));
  }
  return out;
}

std::string draw_line(const Plot& plot, const PlotSeries& series) {
  std::string path;
  bool pen_down = false;
  double last_y = 0.0;
  for (const PlotPoint& point : series.points) {
    const Place at{place(plot.x, point.x), place(plot.y, point.y)};
    if (!at.finite()) {
      pen_down = false;
      continue;
    }
    if (pen_down && series.kind == PlotSeries::Kind::steps) path += fmt::format("L{:.1f} {:.1f}", at.left(), last_y);
    path += fmt::format("{}{:.1f} {:.1f}", pen_down ? "L" : "M", at.left(), at.top());
    pen_down = true;
    last_y = at.top();
  }
  return path.empty() ? "" : fmt::format("<path class=\"line {}\" d=\"{}\"/>\n", series.css, path);
}

std::string draw_rule(const Plot& plot, const PlotRule& rule) {
  const double share = place(rule.vertical ? plot.x : plot.y, rule.at);
  if (!(share >= 0.0 && share <= 1.0)) return "";
  return rule.vertical ? fmt::format("<path class=\"rule {}\" d=\"M{:.1f} 0V{:g}\"/>\n", rule.css, kInnerWidth * share,
                                     kInnerHeight)
                       : fmt::format("<path class=\"rule {}\" d=\"M0 {:.1f}H{:g}\"/>\n", rule.css,
                                     kInnerHeight * (1.0 - share), kInnerWidth);
}

/// Names of vertical rules, above the frame.
std::string draw_rule_names(const Plot& plot) {
  std::string out;
  for (const PlotRule& rule : plot.rules) {
    const double share = place(plot.x, rule.at);
    if (!rule.vertical || !(share >= 0.0 && share <= 1.0)) continue;
    const char* anchor = share < 0.2 ? "start" : share > 0.8 ? "end" : "middle";
    out += fmt::format("<text class=\"strong\" x=\"{:.1f}\" y=\"{:g}\" text-anchor=\"{}\">{}</text>\n",
                       kLeft + kInnerWidth * share, kTop - 7.0, anchor, escape(rule.label));
  }
  return out;
}

std::string draw_axes(const Plot& plot) {
  std::string out;
  double last_end = -1e9;
  for (const double tick : plot.x.ticks.empty() ? choose_ticks(plot.x) : plot.x.ticks) {
    const double share = place(plot.x, tick);
    if (!(share >= -1e-9 && share <= 1.0 + 1e-9)) continue;
    const double x = kLeft + kInnerWidth * share;
    out += fmt::format("<path class=\"grid-line\" d=\"M{:.1f} {:g}v{:g}\"/>", x, kTop, kInnerHeight);
    const std::string text = tick_text(plot.x, tick);
    const double half = 3.6 * static_cast<double>(text.size());  // a digit is about 7 wide
    if (x - half < last_end + 6.0) continue;
    last_end = x + half;
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:g}\" text-anchor=\"{}\">{}</text>\n", std::min(x, kWidth - half),
                       kHeight - kBottom + 16.0, "middle", text);
  }
  for (const double tick : plot.y.ticks.empty() ? choose_ticks(plot.y) : plot.y.ticks) {
    const double share = place(plot.y, tick);
    if (!(share >= -1e-9 && share <= 1.0 + 1e-9)) continue;
    const double y = kTop + kInnerHeight * (1.0 - share);
    out += fmt::format(
        "<path class=\"grid-line\" d=\"M{:g} {:.1f}h{:g}\"/><text x=\"{:g}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>\n",
        kLeft, y, kInnerWidth, kLeft - 6.0, y + 4.0, tick_text(plot.y, tick));
  }
  out += fmt::format("<text x=\"{:g}\" y=\"{:g}\" text-anchor=\"end\">{}</text>\n", kWidth - kRight, kHeight - 6.0,
                     escape(plot.x.label));
  out += fmt::format("<text x=\"4\" y=\"{:g}\">{}</text>\n", top_of(plot) + 14.0, escape(plot.y.label));
  return out;
}

/// 1, 2 or 5 times a power of ten, at least `step`.
double round_step(double step) {
  const double decade = std::pow(10.0, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * decade >= step * (1.0 - 1e-9)) return factor * decade;
  }
  return 10.0 * decade;
}

std::vector<double> linear_ticks(double low, double high) {
  const double step = round_step((high - low) / 5.0);
  std::vector<double> ticks;
  if (!std::isfinite(step) || !(step > 0.0)) return {low, high};
  for (double k = std::ceil(low / step - 1e-9); ticks.size() < 12 && k * step <= high + 1e-9 * step; k += 1.0)
    ticks.push_back(k == 0.0 ? 0.0 : k * step);
  return ticks;
}

}  // namespace

void frame(PlotAxis& axis, const std::vector<double>& values, double margin) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values) {
    if (!std::isfinite(value) || std::abs(value) > 1e300 || (axis.logarithmic && !(value > 1e-300))) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (!(low <= high)) low = high = 1.0;
  if (axis.logarithmic) {
    if (!(high > low * (1.0 + 1e-9))) {
      axis.low = low / 1.1;
      axis.high = high * 1.1;
      return;
    }
    const double pad = margin * std::log(high / low);
    axis.low = low * std::exp(-pad);
    axis.high = high * std::exp(pad);
    return;
  }
  const double extent = high - low > 1e-12 * std::abs(high) ? high - low : std::max(0.1 * std::abs(high), 1e-3);
  axis.low = low - margin * extent;
  axis.high = high + margin * extent;
}

std::vector<double> choose_ticks(const PlotAxis& axis) {
  if (!axis.logarithmic || axis.high / axis.low < 8.0) return linear_ticks(axis.low, axis.high);
  const double decades = std::log10(axis.high) - std::log10(axis.low);
  std::vector<double> ticks;
  const auto step = std::max(1.0, std::ceil(decades / 7.0));
  for (double k = std::floor(std::log10(axis.low)); k <= std::log10(axis.high); k += step) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10.0, k);
      if ((factor == 1.0 || decades < 2.5) && tick >= axis.low && tick <= axis.high) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string draw(const Plot& plot) {
  const double top = top_of(plot);
  std::string out = fmt::format("<svg class=\"chart\" viewBox=\"0 {:g} {:g} {:g}\" role=\"img\" aria-label=\"{}\">\n",
                                top, kWidth, kHeight - top, escape(plot.title)) +
                    draw_axes(plot) + draw_rule_names(plot);
  out += fmt::format(  // an inner drawing, which cuts off what lies outside it
      "<svg x=\"{0:g}\" y=\"{1:g}\" width=\"{2:g}\" height=\"{3:g}\" viewBox=\"0 0 {2:g} {3:g}\">\n", kLeft, kTop,
      kInnerWidth, kInnerHeight);
  for (const PlotRule& rule : plot.rules) out += draw_rule(plot, rule);
  for (const PlotSeries& series : plot.series)
    out += series.kind == PlotSeries::Kind::dots ? draw_dots(plot, series) : draw_line(plot, series);
  return out + fmt::format("</svg><rect class=\"frame\" x=\"{:g}\" y=\"{:g}\" width=\"{:g}\" height=\"{:g}\"/></svg>\n",
                           kLeft, kTop, kInnerWidth, kInnerHeight);
}

std::string draw_bars(const std::string& title, const std::vector<Bar>& bars) {
  constexpr double kRow = 46.0, kThick = 14.0;
  double longest = 0.0;
  for (const Bar& bar : bars) {
    double sum = 0.0;
    for (const auto& [css, length] : bar.pieces) sum += std::isfinite(length) ? std::max(length, 0.0) : 0.0;
    longest = std::max(longest, sum);
  }
  std::string out = fmt::format("<svg class=\"chart\" viewBox=\"0 0 {:g} {:g}\" role=\"img\" aria-label=\"{}\">\n",
                                kWidth, kRow * static_cast<double>(bars.size()), escape(title));
  double y = 0.0;
  for (const Bar& bar : bars) {
    out += fmt::format(
        "<text class=\"strong\" x=\"0\" y=\"{0:g}\">{1}</text><text x=\"{2:g}\" y=\"{0:g}\" "
        "text-anchor=\"end\">{3}</text>\n<rect class=\"back\" x=\"0\" y=\"{4:g}\" width=\"{2:g}\" height=\"{5:g}\" "
        "rx=\"3\"/>",
        y + 13.0, escape(bar.label, 26), kWidth, escape(bar.text), y + 20.0, kThick);
    double x = 0.0;
    for (const auto& [css, length] : bar.pieces) {
      if (!std::isfinite(length) || !(length > 0.0)) continue;
      const double width = kWidth * length / longest;
      out += fmt::format("<rect class=\"fill {}\" x=\"{:.1f}\" y=\"{:g}\" width=\"{:.1f}\" height=\"{:g}\" rx=\"3\"/>",
                         css, x, y + 20.0, std::max(width, 1.0), kThick);
      x += width;
    }
    out += "\n";
    y += kRow;
  }
  return out + "</svg>\n";
}

}  // namespace longrope::cli
