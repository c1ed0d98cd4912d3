#include "search/cli/needle_options.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "kernels/error.hpp"
#include "model/utf8.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kMaxKey = 1'000'000'000'000'000;

model::NeedleTask parse_task(const std::string& text) {
  const std::vector<std::string> names(std::begin(model::kNeedleTaskNames), std::end(model::kNeedleTaskNames));
  check_choice("task", text, names);
  return static_cast<model::NeedleTask>(std::find(names.begin(), names.end(), text) - names.begin());
}

/// MIN-MAX.
void parse_keys(const std::string& text, model::NeedleOptions& options) {
  const std::size_t dash = text.find('-');
  if (dash == std::string::npos)
    throw InputError(fmt::format("[--keys] must be MIN-MAX, two whole numbers, but got \"{}\"", text));
  options.key_min = parse_integer("keys", text.substr(0, dash), 0, kMaxKey);
  options.key_max = parse_integer("keys", text.substr(dash + 1), options.key_min, kMaxKey);
}

}  // namespace

po::options_description needle_task_options() {
  po::options_description options("Needle");
  options.add_options()(
      "task", po::value<std::string>()->default_value("passkey"),
      "what is hidden: passkey (a number, the text of YaRN and LongRoPE), niah (a sentence, gkamradt's), "
      "niah-single-1 or niah-multikey-1 (RULER's magic numbers, the latter among three others)")(
      "haystack", po::value<std::string>(),
      "filler (the tasks' repeated sentences) or text (documents of --text or --tokens, one after the other by trial); "
      "default: text where documents are given, else filler")(
      "keys", po::value<std::string>(), "passkey: the range MIN-MAX that keys are drawn from (default: 1-50000)")(
      "needle", po::value<std::string>(),
      "niah: the sentence to hide (default: gkamradt's, a sandwich in Dolores Park)")(
      "question", po::value<std::string>(), "niah: what asks for it; needed with --needle")(
      "answer", po::value<std::string>(), "niah: the part of the needle that must be found (default: all of it)");
  return options;
}

model::NeedleOptions parse_needle_task(const po::variables_map& values, bool has_documents, std::uint64_t seed) {
  const auto text_of = [&](const char* name) {
    if (values.count(name) == 0) return std::string();
    auto text = values[name].as<std::string>();
    if (text.empty()) throw InputError(fmt::format("[--{}] must hold text but got none", name));
    return text;
  };
  model::NeedleOptions options;
  options.seed = seed;
  options.task = parse_task(values["task"].as<std::string>());
  std::string haystack = has_documents ? "text" : "filler";
  if (values.count("haystack") != 0) haystack = values["haystack"].as<std::string>();
  check_choice("haystack", haystack, {"filler", "text"});
  if (haystack == "text" && !has_documents)
    throw InputError("[--haystack] text needs documents but got none (give --text or --tokens)");
  options.haystack = haystack == "text" ? model::NeedleOptions::Haystack::text : model::NeedleOptions::Haystack::filler;
  if (values.count("keys") != 0) {
    if (options.task != model::NeedleTask::passkey)
      throw InputError("[--keys] must go with --task passkey (the other tasks' answers are as published)");
    parse_keys(values["keys"].as<std::string>(), options);
  }
  options.needle = text_of("needle");
  options.question = text_of("question");
  options.answer = text_of("answer");
  options.validate();
  return options;
}

model::TextTokenizer needle_tokenizer(const std::string& model_directory) {
  const auto file = std::filesystem::path(model_directory) / "tokenizer.model";
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    throw InputError(
        fmt::format("[{}] must hold a SentencePiece tokenizer.model, with which needles are written, but has none",
                    model::path_text(model_directory)));
  }
  return model::TextTokenizer(file);
}

}  // namespace longrope::cli
