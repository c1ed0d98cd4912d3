// The options that say which needle is hidden in which haystack: of `needle`, and of every command whose objectives may
// be needle perplexities.
#pragma once

#include <cstdint>
#include <string>

#include "model/needle_text.hpp"
#include "model/text_tokenizer.hpp"
#include "search/cli/command.hpp"

namespace longrope::cli {

/// --task --haystack --keys --needle --question --answer.
po::options_description needle_task_options();

/// has_documents: whether --text or --tokens is given, which are then the haystack unless --haystack says otherwise.
/// Reads no file. Throws InputError naming the option.
model::NeedleOptions parse_needle_task(const po::variables_map& values, bool has_documents, std::uint64_t seed);

/// The checkpoint's tokenizer.model, with which needles and questions are written. Throws InputError if there is none.
model::TextTokenizer needle_tokenizer(const std::string& model_directory);

}  // namespace longrope::cli
