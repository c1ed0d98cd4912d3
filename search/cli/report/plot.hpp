// Charts as inline SVG: curves, steps and dots over two axes, linear or logarithmic, and horizontal bars. Sizes are in
// the units of the drawing (400 wide), which a page scales to the width there is; colours are classes of the page's
// style sheet. Whatever the figures are, the drawing stays within its frame and a few kilobytes of ticks.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace longrope::cli {

struct PlotPoint {
  double x = 0.0, y = 0.0;
  std::string title;  ///< shown where the pointer rests, plain text; "": none
};

struct PlotSeries {
  enum class Kind { line, steps, dots };
  Kind kind = Kind::line;
  std::string css;
  std::vector<PlotPoint> points;  ///< a point that is not finite breaks a line
  double radius = 3.2;            ///< of dots
};

/// A dashed line across the frame.
struct PlotRule {
  bool vertical = true;
  double at = 0.0;
  std::string css, label;  ///< label: plain text
};

struct PlotAxis {
  std::string label;             ///< plain text
  double low = 0.0, high = 1.0;  ///< see frame()
  bool logarithmic = false;
  bool tokens = false;             ///< ticks are counts of tokens: 2048, 128k
  std::vector<double> ticks = {};  ///< empty: chosen here
};

struct Plot {
  std::string title;  ///< for readers of the page who do not see it, plain text
  PlotAxis x, y;
  std::vector<PlotRule> rules;
  std::vector<PlotSeries> series;  ///< later ones lie above
};

/// Sets low and high around the finite values (positive ones for a logarithmic axis), with `margin` of the extent at
/// either end; of one value or none something around it.
void frame(PlotAxis& axis, const std::vector<double>& values, double margin = 0.05);

/// Round values within an axis, at most about eight.
std::vector<double> choose_ticks(const PlotAxis& axis);

std::string draw(const Plot& plot);

struct Bar {
  std::string label, text;                             ///< plain text: above the bar, and beside its end
  std::vector<std::pair<std::string, double>> pieces;  ///< class and length, stacked
};
std::string draw_bars(const std::string& title, const std::vector<Bar>& bars);

}  // namespace longrope::cli
