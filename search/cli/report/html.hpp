// The text of a report: escaping, figures, and the page around the sections. Everything is also well-formed XML, and
// nothing in it comes from outside the file: no script, no font, no link.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longrope::cli {

/// What every report starts with: by it a report is known, and may be replaced by a newer one.
inline constexpr std::string_view kReportStart = "<!doctype html>\n<!-- longrope report -->\n";

/// Untrusted text for element content and attribute values: markup is escaped, bytes that are not UTF-8, control
/// characters and what XML 1.0 does not allow become U+FFFD; at most max_bytes bytes, then an ellipsis.
std::string escape(std::string_view text, std::size_t max_bytes = 400);

/// "3.1901": `digits` significant ones; "-" if it is not finite.
std::string number(double value, int digits = 5);
/// "104.4": so many decimals; "-" if it is not finite.
std::string fixed(double value, int decimals);
/// "1234567" as "1,234,567".
std::string grouped(long long value);
/// A figure that a program can find and read back to the bit: <data data-key="KEY" value="...">shown</data>. KEY is
/// escaped here, `shown` is markup.
std::string figure(std::string_view key, double value, std::string_view shown);
std::string figure(std::string_view key, double value, int digits = 5);

/// A table whose cells are markup; it scrolls sideways by itself where it does not fit. `numeric`: columns from this
/// one on are set to the right.
std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                       std::size_t numeric = 1);

/// A colour and a name (markup), and the line or dot that carries it.
struct LegendEntry {
  std::string css, name;
  bool dot = false;
};

/// A chart with its title, a sentence (markup), a legend and what folds out below it (markup).
std::string chart_card(std::string_view title, const std::string& text, const std::string& svg,
                       const std::vector<LegendEntry>& legend, const std::string& details = "");
/// What folds out.
std::string details(std::string_view summary, const std::string& content);

/// The whole page. title: plain text; body: markup.
std::string html_page(std::string_view title, const std::string& body);

}  // namespace longrope::cli
