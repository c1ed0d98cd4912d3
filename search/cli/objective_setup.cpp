#include "search/cli/objective_setup.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "kernels/error.hpp"
#include "model/sha256.hpp"
#include "search/cli/needle_options.hpp"
#include "search/needle_windows.hpp"

namespace longrope::cli {
namespace {

using Json = nlohmann::ordered_json;
using search::Objective;
using search::ObjectiveWindows;
using search::StoreKeyTokens;

constexpr double kMaxNats = 1e6;
constexpr std::int64_t kMaxContext = std::int64_t{1} << 32;

bool has(std::span<const Objective> objectives, Objective::Kind kind) {
  return std::any_of(objectives.begin(), objectives.end(), [&](const Objective& o) { return o.kind == kind; });
}

void require_kind(const po::variables_map& values, const po::options_description& options,
                  std::span<const Objective> objectives, Objective::Kind kind) {
  if (has(objectives, kind)) return;
  for (const auto& option : options.options()) {
    const std::string& name = option->long_name();
    if (values.count(name) == 0 || values[name].defaulted()) continue;
    const std::string objective = Objective{kind, 0}.to_string();
    throw InputError(fmt::format("[usage] --{} needs {} among what is measured, and would do nothing without", name,
                                 objective.substr(0, objective.find('@'))));
  }
}

/// Digest of what key tokens are chosen from.
std::string digest_of(const ObjectiveWindows& windows, std::size_t first, std::size_t count) {
  std::string text;
  for (std::size_t w = first; w < first + count; ++w) {
    const auto& ids = windows.tokens[w];
    text += model::sha256_hex({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(std::int32_t)});
    text += fmt::format(" {}\n", windows.windows[w].first_scored);
  }
  return model::sha256_hex(text);
}

std::string digest_of(const StoreKeyTokens& keys) {
  std::string text;
  for (std::size_t i = 0; i < keys.window.size(); ++i) text += fmt::format("{} {}\n", keys.window[i], keys.position[i]);
  return model::sha256_hex(text);
}

/// Windows first .. first + count - 1 of one objective.
void choose(const Session& session, const Objective& objective, const search::KeyTokenOptions& options,
            const ObjectiveWindows& windows, std::size_t first, std::size_t count, StoreKeyTokens& keys) {
  const auto on_pass = [&](double share) {
    live_line(fmt::format("{}: choosing key tokens, {:.0f}%", objective.to_string(), 100.0 * share));
  };
  const auto positions = search::choose_key_tokens(session.lanes(), std::span(windows.windows).subspan(first, count),
                                                   std::span(windows.tokens).subspan(first, count),
                                                   session.rotation_precision(), options, on_pass, &stop_requested());
  live_line("");
  for (std::size_t w = 0; w < count; ++w) {
    keys.scored[first + w] = windows.windows[first + w].scored_tokens();
    for (const std::int64_t position : positions[w]) {
      keys.window.push_back(static_cast<std::int64_t>(first + w));
      keys.position.push_back(position);
    }
  }
}

/// Keys of windows first .. first + count - 1.
std::int64_t count_keys(const StoreKeyTokens& keys, search::WindowRange range) {
  return std::count_if(keys.window.begin(), keys.window.end(), [&](std::int64_t w) {
    return std::cmp_greater_equal(w, range.first) && std::cmp_less(w, range.first + range.count);
  });
}

std::int64_t count_scored(const StoreKeyTokens& keys, search::WindowRange range) {
  std::int64_t scored = 0;
  for (std::size_t w = range.first; w < range.first + range.count; ++w) scored += keys.scored[w];
  return scored;
}

/// Every window of the objective has some, or it would score nothing.
void require_keys(const Session& session, const Objective& objective, const search::KeyTokenOptions& options,
                  const ObjectiveWindows& windows, search::WindowRange range, const StoreKeyTokens& keys) {
  const std::int64_t all = count_keys(keys, range);
  for (std::size_t w = range.first; w < range.first + range.count; ++w) {
    if (!windows.windows[w].targets.empty()) continue;
    throw InputError(fmt::format(
        "[{}] every window must have a key token but {} has none (token {} of document {}): of {} scored tokens {} are "
        "key, LSD above {:g} and LCL above {:g} with {} tokens of context (lower --key-lsd, --key-lcl or "
        "--key-context, "
        "or score other or fewer --windows)",
        objective.to_string(), all == 0 ? "not one" : fmt::format("window {}", w - range.first),
        windows.windows[w].first_token,
        static_cast<std::size_t>(windows.windows[w].document) < session.corpus().documents.size()
            ? session.corpus().documents[static_cast<std::size_t>(windows.windows[w].document)].name
            : std::to_string(windows.windows[w].document),
        count_scored(keys, range), all, options.lsd_nats, options.lcl_nats, options.context));
  }
}

}  // namespace

po::options_description key_token_options() {
  const search::KeyTokenOptions defaults;
  po::options_description options("Key tokens");
  options.add_options()(
      "key-lsd", po::value<std::string>()->default_value(fmt::format("{:g}", defaults.lsd_nats)),
      "a token is key when the long context raises its log probability by more than this, in nats (LongPPL's LSD)")(
      "key-lcl", po::value<std::string>()->default_value(fmt::format("{:g}", defaults.lcl_nats)),
      "and brings it above this, in nats (LongPPL's LCL)")(
      "key-context", po::value<std::string>(),
      "tokens of the short context, read with the checkpoint's own rope (default: an eighth of L0, at most 4096)")(
      "key-long", po::value<std::string>(),
      "tokens of the long context at most, or window for all before a token (default: L0)")(
      "key-rope", po::value<std::string>()->default_value(defaults.rope),
      "rope spec under which the model reads the long context; another than config favours tables like it");
  return options;
}

ObjectiveArguments parse_objective_arguments(const po::variables_map& values, std::span<const Objective> objectives) {
  require_kind(values, needle_task_options(), objectives, Objective::Kind::needle);
  require_kind(values, key_token_options(), objectives, Objective::Kind::key_perplexity);
  ObjectiveArguments arguments;
  arguments.needle = parse_needle_task(values, values.count("text") != 0 || values.count("tokens") != 0, kNeedleSeed);
  search::KeyTokenOptions& keys = arguments.key_tokens;
  keys.lsd_nats = parse_number("key-lsd", values["key-lsd"].as<std::string>(), -kMaxNats, kMaxNats);
  keys.lcl_nats = parse_number("key-lcl", values["key-lcl"].as<std::string>(), -kMaxNats, kMaxNats);
  if (values.count("key-context") != 0)
    keys.context = parse_integer("key-context", values["key-context"].as<std::string>(), 1, kMaxContext);
  if (values.count("key-long") != 0) {
    const std::string text = values["key-long"].as<std::string>();
    keys.long_context =
        text == "window" ? search::KeyTokenOptions::kWholeWindow : parse_integer("key-long", text, 1, kMaxContext);
  }
  keys.rope = values["key-rope"].as<std::string>();
  keys.validate();
  return arguments;
}

ObjectiveWindows make_windows(const Session& session, const model::Corpus& corpus,
                              std::span<const Objective> objectives, std::int64_t count,
                              const ObjectiveArguments& arguments, std::int64_t first_trial,
                              std::set<std::string>& keys) {
  search::NeedleMaker needle;
  std::optional<model::TextTokenizer> tokenizer;
  if (has(objectives, Objective::Kind::needle)) {
    tokenizer = needle_tokenizer(session.model_directory());
    needle = [&](std::int64_t length, std::int64_t windows) {
      return search::make_needle_windows(*tokenizer, corpus,
                                         {arguments.needle, first_trial, session.transformer().config().vocabulary},
                                         length, windows, keys);
    };
  }
  return search::make_objective_windows(corpus, session.protocol(), objectives, count, needle);
}

std::string key_token_settings(const Session& session, std::span<const Objective> objectives,
                               const ObjectiveArguments& arguments, const ObjectiveWindows& windows) {
  const search::KeyTokenOptions options =
      arguments.key_tokens.resolved(session.transformer().config().rope.original_length);
  Json json{{"rope", options.rope},           {"context", options.context},
            {"step", options.step()},         {"long_context", options.long_context_text()},
            {"lsd", options.lsd_nats},        {"lcl", options.lcl_nats},
            {"numerics", session.numerics()}, {"weights_sha256", session.transformer().weights_sha256()}};
  json["windows_sha256"] = Json::array();
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    if (objectives[k].kind != Objective::Kind::key_perplexity) continue;
    const auto [first, count] = search::objective_windows(windows.windows.size(), objectives.size(), k);
    json["windows_sha256"].push_back(digest_of(windows, first, count));
  }
  return json.dump();
}

StoreKeyTokens mark_key_tokens(const Session& session, std::span<const Objective> objectives,
                               const ObjectiveArguments& arguments, ObjectiveWindows& windows,
                               const StoreKeyTokens& stored) {
  StoreKeyTokens keys;
  if (!has(objectives, Objective::Kind::key_perplexity)) return keys;
  const search::KeyTokenOptions options =
      arguments.key_tokens.resolved(session.transformer().config().rope.original_length);
  keys.settings = key_token_settings(session, objectives, arguments, windows);
  keys.scored.assign(windows.windows.size(), 0);
  const bool known = stored.settings == keys.settings && stored.scored.size() == keys.scored.size() &&
                     stored.sha256 == digest_of(stored);
  if (known) keys = stored;
  std::vector<search::WindowRange> ranges;
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    ranges.push_back(search::objective_windows(windows.windows.size(), objectives.size(), k));
    if (!known && objectives[k].kind == Objective::Kind::key_perplexity)
      choose(session, objectives[k], options, windows, ranges[k].first, ranges[k].count, keys);
  }
  keys.sha256 = digest_of(keys);
  for (std::size_t i = 0; i < keys.window.size(); ++i)
    windows.windows[static_cast<std::size_t>(keys.window[i])].targets.push_back(keys.position[i]);
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    if (objectives[k].kind != Objective::Kind::key_perplexity) continue;
    require_keys(session, objectives[k], options, windows, ranges[k], keys);
    const std::int64_t count = count_keys(keys, ranges[k]), scored = count_scored(keys, ranges[k]);
    fmt::print(stderr, "{}: {} of {} scored tokens are key ({:.2f}%){}\n", objectives[k].to_string(), count, scored,
               100.0 * static_cast<double>(count) / static_cast<double>(scored), known ? ", as the store has it" : "");
  }
  return keys;
}

Json key_tokens_json(const StoreKeyTokens& key_tokens, std::span<const Objective> objectives) {
  if (key_tokens.settings.empty()) return nullptr;
  Json json = Json::object();
  for (std::size_t k = 0; k < objectives.size(); ++k) {
    if (objectives[k].kind != Objective::Kind::key_perplexity) continue;
    const search::WindowRange range = search::objective_windows(key_tokens.scored.size(), objectives.size(), k);
    const std::int64_t count = count_keys(key_tokens, range), scored = count_scored(key_tokens, range);
    json[objectives[k].to_string()] = {
        {"tokens", count},
        {"scored", scored},
        {"share", scored > 0 ? static_cast<double>(count) / static_cast<double>(scored) : std::nan("")}};
  }
  return json;
}

}  // namespace longrope::cli
