// Greedy decoding behind a prefill, beside what reading the weights and K and V once a token would take.
#include <fmt/core.h>
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_reduce.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "cases.hpp"
#include "kernels/error.hpp"
#include "kernels/memory_format.hpp"
#include "model/generator.hpp"
#include "model/memory_plan.hpp"
#include "model/rope_spec.hpp"
#include "search/store_table.hpp"

namespace longrope::bench {
namespace {

constexpr std::int64_t kNewTokens = 64;

double seconds_since(std::chrono::steady_clock::time_point started) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

/// Bytes a second of reading so many bytes again and again, on as many threads as the caller allows.
double read_rate(std::int64_t bytes) {
  const std::vector<std::uint64_t> memory(static_cast<std::size_t>(bytes / 8), 1);
  double best_s = 1e300;
  volatile std::uint64_t sink = 0;
  for (int repeat = 0; repeat < 10; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    sink = tbb::parallel_reduce(
        tbb::blocked_range<std::size_t>(0, memory.size(), 1 << 16), std::uint64_t{0},
        [&](const tbb::blocked_range<std::size_t>& range, std::uint64_t sum) {
          for (std::size_t i = range.begin(); i != range.end(); ++i) sum += memory[i];
          return sum;
        },
        std::plus<>());
    best_s = std::min(best_s, seconds_since(started));
  }
  static_cast<void>(sink);
  return static_cast<double>(bytes) / best_s;
}

}  // namespace

void run_decode(const cli::Session& session, std::int64_t length) {
  const model::Transformer& transformer = session.transformer();
  const model::ModelConfig& config = transformer.config();
  const kernels::Backend& backend = *session.lanes().lane(0).backend;
  const auto& document = session.corpus().documents.front();
  if (static_cast<std::int64_t>(document.tokens.size()) < length) {
    throw InputError(
        fmt::format("[decode] the first document must have {} tokens but has {}", length, document.tokens.size()));
  }
  const std::vector<std::int32_t> prompt(document.tokens.begin(), document.tokens.begin() + length);
  const std::int64_t capacity = length + kNewTokens;
  const auto table = search::resolve_rope_table(model::RopeSpec::parse("yarn"), config, capacity);
  const auto rotation = transformer.rotation(table, session.rotation_precision(), capacity);

  const auto format = kernels::cpu_memory_format(backend.precision(), 1);
  const std::int64_t weights = model::weights_bytes(config, format, kernels::DType::f32) -
                               format.embedding(config.vocabulary, config.hidden_size, kernels::DType::f32);
  const kernels::AttentionShape shape{config.heads, config.kv_heads, config.head_dim, config.rope.rotary_dim};
  const std::int64_t kv = config.layers * format.kv_buffer(shape, length + kNewTokens / 2);
  fmt::print("\n{} tokens behind {}, {}, {}: a token reads {:.1f} MB of weights and {:.1f} MB of K and V\n", kNewTokens,
             length, session.numerics(), session.model_directory(), static_cast<double>(weights) * 1e-6,
             static_cast<double>(kv) * 1e-6);
  fmt::print("  threads   prefill tokens/s   decode tokens/s   GB/s read   of reading as much\n");
  const auto all = static_cast<std::int64_t>(tbb::info::default_concurrency());
  for (std::int64_t threads = 1; threads <= all; threads = threads < all ? std::min(2 * threads, all) : all + 1) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<std::size_t>(threads));
    model::Generator generator(transformer, *rotation, capacity);
    double prefill_s = 1e300;
    double decode_s = 1e300;
    for (int repeat = 0; repeat < 3; ++repeat) {
      generator.generate({prompt.data(), 1}, 1, {});  // what is held is cut back to one row
      auto started = std::chrono::steady_clock::now();
      generator.generate(prompt, 1, {});
      prefill_s = std::min(prefill_s, seconds_since(started));
      started = std::chrono::steady_clock::now();
      generator.generate(prompt, kNewTokens, {});  // computes the prompt's last row again, then a row a token
      decode_s = std::min(decode_s, seconds_since(started));
    }
    const double rate = static_cast<double>(weights + kv) * static_cast<double>(kNewTokens) / decode_s;
    fmt::print("  {:>7}   {:>16.0f}   {:>15.1f}   {:>9.2f}   {:>17.0f}%\n", threads,
               static_cast<double>(length) / prefill_s, static_cast<double>(kNewTokens) / decode_s, rate * 1e-9,
               100.0 * rate / read_rate(weights + kv));
  }
}

}  // namespace longrope::bench
