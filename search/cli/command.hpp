// What every command of the program shares: its entry point, option parsing and messages.
#pragma once

#include <atomic>
#include <boost/program_options.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace longrope::cli {

namespace po = boost::program_options;

/// Exit codes of the program.
enum Exit : int { kDone = 0, kFailed = 1, kUsage = 2, kInterrupted = 3 };

/// The most that an option may ask for; a length is of a window or a context, in tokens.
inline constexpr std::int64_t kMaxLength = std::int64_t{1} << 32, kMaxWindows = 1'000'000, kMaxThreads = 4096;

// Each command: arguments after its name in, exit code out; throws longrope::Error.
int run_evaluate(const std::vector<std::string>& arguments);
int run_search(const std::vector<std::string>& arguments);
int run_progressive(const std::vector<std::string>& arguments);
int run_needle(const std::vector<std::string>& arguments);
int run_repair(const std::vector<std::string>& arguments);
int run_export(const std::vector<std::string>& arguments);
int run_inspect(const std::vector<std::string>& arguments);
int run_plan(const std::vector<std::string>& arguments);
int run_report(const std::vector<std::string>& arguments);

/// What the parser complains of, cut: it quotes whole lines of a file that may be anything.
std::string complaint(const po::error& error);

/// Parses a command line and the job file named by --config (same option names, KEY = VALUE; the command line wins).
/// Returns false after printing help. Throws InputError with one line for anything wrong. positional: the option that a
/// word without a dash is for, at most one; such commands also take the short names of their options.
bool parse_options(const std::string& usage, const po::options_description& options,
                   const std::vector<std::string>& arguments, po::variables_map& values,
                   const std::string& positional = "");

/// A whole number option in [low, high]. Throws InputError naming the option.
std::int64_t parse_integer(const std::string& option, const std::string& text, std::int64_t low, std::int64_t high);
/// A finite number option in [low, high]. Throws InputError naming the option.
double parse_number(const std::string& option, const std::string& text, double low, double high);
/// Comma-separated whole numbers.
std::vector<std::int64_t> parse_integers(const std::string& option, const std::string& text, std::int64_t low,
                                         std::int64_t high);
/// The option's text; throws InputError "missing" if it is absent.
std::string require_option(const po::variables_map& values, const std::string& option);
/// Throws InputError unless value is one of choices.
void check_choice(const std::string& option, const std::string& value, const std::vector<std::string>& choices);

/// Set by SIGINT and SIGTERM once installed; a second signal ends the process at once.
const std::atomic<bool>& stop_requested();
/// Which of them came first; 0: none.
int stop_signal();
void install_stop_signals();

/// Whether stderr is a terminal.
bool stderr_is_terminal();
/// Rewrites the live line on stderr; an empty text clears it. Nothing if stderr is not a terminal.
void live_line(const std::string& text);
/// "1h02m", "3m05s", "12s"; "?" if not finite.
std::string format_duration(double seconds);

}  // namespace longrope::cli
