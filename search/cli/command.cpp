#include "search/cli/command.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::cli {
namespace {

std::atomic<bool> stop_flag{false};
std::atomic<int> first_signal{0};

extern "C" void on_stop_signal(int signal_number) {
  if (stop_flag.load()) _exit(128 + signal_number);
  first_signal.store(signal_number);  // before the flag: who sees the flag sees it
  stop_flag.store(true);
}

}  // namespace

bool parse_options(const std::string& usage, const po::options_description& options,
                   const std::vector<std::string>& arguments, po::variables_map& values,
                   const std::string& positional) {
  po::options_description all(options);
  all.add_options()("config", po::value<std::string>(), "job file with these options, one KEY = VALUE a line");
  all.add_options()("help", "show this text");
  int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  if (positional.empty()) style &= ~po::command_line_style::allow_short;
  try {
    po::positional_options_description words;
    if (!positional.empty()) words.add(positional.c_str(), 1);
    po::store(po::command_line_parser(arguments).options(all).positional(words).style(style).run(), values);
    if (values.count("help") != 0) {
      std::cout << usage << "\n\n" << all;
      return false;
    }
    if (values.count("config") != 0) {
      const auto file = values["config"].as<std::string>();
      std::ifstream in(file);
      if (!in || !std::filesystem::is_regular_file(file))
        throw InputError(fmt::format("[--config] cannot read {}", file));
      po::store(po::parse_config_file(in, all), values);
    }
    po::notify(values);
  } catch (const po::error& error) {
    throw InputError(fmt::format("[usage] {} (see --help)", complaint(error)));
  }
  return true;
}

std::string complaint(const po::error& error) {
  constexpr std::size_t kBytes = 200;
  return model::excerpt(error.what(), kBytes);
}

std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || stop != text.data() + text.size() || value < low || value > high) {
    throw InputError(
        fmt::format("[--{}] must be a whole number from {} to {} but got \"{}\"", option, low, high, text));
  }
  return value;
}

double parse_number(const std::string& option, const std::string& text, double low, double high) {
  double value = 0.0;
  const auto [stop, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || stop != text.data() + text.size() || !(value >= low && value <= high))
    throw InputError(fmt::format("[--{}] must be a number from {} to {} but got \"{}\"", option, low, high, text));
  return value;
}

std::vector<std::int64_t> parse_integers(const std::string& option, const std::string& text, std::int64_t low,
                                         std::int64_t high) {
  std::vector<std::int64_t> values;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    values.push_back(parse_integer(option, text.substr(begin, comma - begin), low, high));
    begin = comma + 1;
  }
  return values;
}

std::string require_option(const po::variables_map& values, const std::string& option) {
  if (values.count(option) == 0) throw InputError(fmt::format("[usage] --{} is missing (see --help)", option));
  return values[option].as<std::string>();
}

void check_choice(const std::string& option, const std::string& value, const std::vector<std::string>& choices) {
  for (const std::string& choice : choices) {
    if (value == choice) return;
  }
  throw InputError(fmt::format("[--{}] must be one of {} but got \"{}\"", option, fmt::join(choices, ", "), value));
}

const std::atomic<bool>& stop_requested() { return stop_flag; }

int stop_signal() { return first_signal; }

void install_stop_signals() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool stderr_is_terminal() {
  static const bool kTerminal = isatty(STDERR_FILENO) != 0;
  return kTerminal;
}

void live_line(const std::string& text) {
  if (!stderr_is_terminal()) return;
  fmt::print(stderr, "\r\x1b[2K{}", text);
  std::fflush(stderr);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  if (total >= 3600) return fmt::format("{}h{:02}m", total / 3600, total % 3600 / 60);
  if (total >= 60) return fmt::format("{}m{:02}s", total / 60, total % 60);
  return fmt::format("{}s", total);
}

}  // namespace longrope::cli
