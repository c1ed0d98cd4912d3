#include "search/cli/report/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "model/utf8.hpp"
#include "search/cli/report/style.hpp"

namespace longrope::cli {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

/// Bytes of the well-formed UTF-8 sequence at the start of `text` (not empty); 0: there is none.
std::size_t sequence_bytes(std::string_view text) {
  for (std::size_t bytes = 1; bytes <= std::min<std::size_t>(4, text.size()); ++bytes) {
    if (!model::first_invalid_utf8(text.substr(0, bytes))) return bytes;
  }
  return 0;
}

/// Controls (C0, DEL, C1), the marks that turn the direction of text, and what XML does not allow.
bool is_shown(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(sequence[i]); };
  if (sequence.size() == 1) return byte(0) >= 0x20 && byte(0) != 0x7F;
  if (sequence.size() == 2) return !(byte(0) == 0xC2 && byte(1) < 0xA0);
  if (sequence.size() != 3) return true;
  const bool bidi = byte(0) == 0xE2 && ((byte(1) == 0x80 && byte(2) >= 0x8B && byte(2) <= 0xAE && byte(2) != 0x90) ||
                                        (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9));
  const bool no_character = byte(0) == 0xEF && byte(1) == 0xBF && byte(2) >= 0xBE;
  return !bidi && !no_character;
}

}  // namespace

std::string escape(std::string_view text, std::size_t max_bytes) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (at >= max_bytes) return out + "\xE2\x80\xA6";
    const std::size_t bytes = sequence_bytes(text.substr(at));
    const std::string_view sequence = text.substr(at, std::max<std::size_t>(bytes, 1));
    at += sequence.size();
    const char c = sequence.front();
    if (bytes == 1 && (c == '\n' || c == '\t' || c == '\r')) {
      out += ' ';
    } else if (bytes == 0 || !is_shown(sequence)) {
      out += kReplacement;
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += sequence;
    }
  }
  return out;
}

std::string number(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  if (value == 0.0) return "0";
  std::string text = fmt::format("{:#.{}g}", value, digits);
  if (text.find('e') != std::string::npos) return fmt::format("{:.3g}", value);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "-";
  return std::abs(value) < 1e9 ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.3g}", value);
}

std::string grouped(long long value) {
  std::string text = fmt::format("{}", value);
  for (std::size_t at = text.size(); at > (value < 0 ? 4U : 3U);) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string figure(std::string_view key, double value, std::string_view shown) {
  return fmt::format("<data data-key=\"{}\" value=\"{}\">{}</data>", escape(key), value, shown);
}

std::string figure(std::string_view key, double value, int digits) { return figure(key, value, number(value, digits)); }

std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                       std::size_t numeric) {
  const auto cells = [&](const std::vector<std::string>& texts, const char* tag) {
    std::string line = "<tr>";
    for (std::size_t i = 0; i < texts.size(); ++i)
      line += fmt::format("<{0}{1}>{2}</{0}>", tag, i >= numeric ? " class=\"n\"" : "", texts[i]);
    return line + "</tr>\n";
  };
  std::string out = "<div class=\"scroll\"><table><thead>" + cells(head, "th") + "</thead><tbody>\n";
  for (const auto& row : rows) out += cells(row, "td");
  return out + "</tbody></table></div>\n";
}

std::string chart_card(std::string_view title, const std::string& text, const std::string& svg,
                       const std::vector<LegendEntry>& legend, const std::string& details) {
  std::string out = fmt::format("<figure class=\"card\"><figcaption><h3>{}</h3>", escape(title));
  if (!text.empty()) out += fmt::format("<p>{}</p>", text);
  out += "</figcaption>\n" + svg;
  if (!legend.empty()) out += "<ul class=\"legend\">";
  for (const LegendEntry& entry : legend)
    out += fmt::format("<li><i class=\"{} {}\"></i>{}</li>", entry.dot ? "dot" : "bar", entry.css, entry.name);
  if (!legend.empty()) out += "</ul>";
  return out + details + "</figure>\n";
}

std::string details(std::string_view summary, const std::string& content) {
  return fmt::format("<details><summary>{}</summary>{}</details>", escape(summary), content);
}

std::string html_page(std::string_view title, const std::string& body) {
  return fmt::format(
      "{}<html lang=\"en\"><head><meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
      "<title>{}</title>\n<style>{}</style></head>\n<body><main>\n{}</main></body></html>\n",
      kReportStart, escape(title), kReportStyle, body);
}

}  // namespace longrope::cli
