#include "model/memory_plan.hpp"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "kernels/error.hpp"

namespace longrope::model {
namespace {

constexpr std::int64_t kSmallestChunk = 256;         // the CPU's products take 256 rows at a time
constexpr std::int64_t kSmallestDeviceChunk = 1024;  // below it streaming a larger chunk is the faster way
constexpr std::int64_t kMaxWindowsAtOnce = 32;
constexpr double kBusyFlops = 5e11;  // about a millisecond of a large GPU

kernels::AttentionShape attention_shape(const ModelConfig& c) {
  return {c.heads, c.kv_heads, c.head_dim, c.rope.rotary_dim};
}

std::string size_text(std::int64_t bytes) {
  const double value = static_cast<double>(bytes);
  return value < 1e8 ? fmt::format("{:.1f} MB", value * 1e-6) : fmt::format("{:.2f} GB", value * 1e-9);
}

/// The terms of a plan for one chunk size and placement.
MemoryPlan make_plan(const ModelConfig& c, const kernels::MemoryFormat& format, const MemoryPlanOptions& options,
                     WindowLayout layout) {
  // The last token of a window is a target only.
  const std::int64_t inputs = options.generation ? options.window_tokens : options.window_tokens - 1;
  const std::int64_t sequences =
      layout.max_sequences == 1 ? 1 : std::max(layout.max_sequences, layout.chunk_tokens / inputs);
  const std::int64_t rows = std::min(sequences * inputs, layout.chunk_tokens);
  const kernels::AttentionShape shape = attention_shape(c);
  const std::int64_t q_columns = c.heads * c.head_dim;
  MemoryPlan plan;
  plan.device = options.device;
  plan.window_tokens = options.window_tokens;
  plan.generation = options.generation;
  plan.layout = layout;
  plan.layout.chunk_tokens = rows;
  plan.sequences = sequences;
  plan.free_bytes = options.free_bytes;
  plan.weights_bytes = weights_bytes(c, format, options.embedding);
  plan.fixed_bytes = format.fixed_bytes;
  const std::int64_t hidden_row = c.hidden_size * bytes_of(kernels::DType::f32);
  const std::int64_t device_rows = options.generation ? rows : sequences * inputs;
  plan.hidden_bytes = (layout.hidden_on_host ? 2 * rows : device_rows) * hidden_row;
  plan.host_bytes = layout.hidden_on_host ? sequences * inputs * hidden_row : 0;
  plan.kv_bytes = (options.generation ? c.layers : sequences) * format.kv_buffer(shape, inputs);
  plan.rotation_bytes = sequences * format.rotation(shape.rotary_dim / 2, options.window_tokens);
  plan.workspace_bytes =
      rows * ((c.hidden_size + q_columns + c.intermediate_size) * bytes_of(format.activation) +
              (shape.qkv_cols() + q_columns + 2 * c.intermediate_size) * bytes_of(format.projection));
  plan.scratch_bytes =
      format.scratch({options.window_tokens, rows, c.hidden_size, c.intermediate_size, c.vocabulary, shape});
  return plan;
}

/// The same with as many sequences in a pass as leave half of the memory free and as many passes at once.
MemoryPlan joined(const MemoryPlan& alone, const ModelConfig& config, const kernels::MemoryFormat& format,
                  const MemoryPlanOptions& options) {
  for (std::int64_t sequences = options.preferred_sequences; sequences > 1; sequences /= 2) {
    std::int64_t chunk = options.preferred_chunk_tokens;
    if (options.joined_at_once) chunk = std::min(chunk, sequences * (options.window_tokens - 1));
    MemoryPlan plan = make_plan(config, format, options, {chunk, alone.layout.hidden_on_host, sequences});
    plan.windows_at_once = alone.windows_at_once;
    if (options.joined_at_once) {  // as many passes as hold as many windows, or as there is room for; but two
      const std::int64_t least = std::min<std::int64_t>(2, alone.windows_at_once);
      const std::int64_t passes = (alone.windows_at_once + plan.sequences - 1) / plan.sequences;
      const std::int64_t room = (options.free_bytes / 2 - plan.weights_bytes - plan.fixed_bytes) / plan.window_bytes();
      plan.windows_at_once = std::max(least, std::min(passes, room));
    }
    if (plan.total_bytes() <= options.free_bytes / 2) return plan;
  }
  return alone;
}

}  // namespace

std::int64_t weights_bytes(const ModelConfig& c, const kernels::MemoryFormat& format, kernels::DType embedding) {
  const std::int64_t q_columns = c.heads * c.head_dim;
  const std::int64_t layer =
      format.linear(attention_shape(c).qkv_cols(), c.hidden_size) + format.linear(c.hidden_size, q_columns) +
      format.linear(2 * c.intermediate_size, c.hidden_size) + format.linear(c.hidden_size, c.intermediate_size) +
      4 * (2 * c.hidden_size + (c.per_head_norm ? 2 * c.head_dim : 0));
  return format.embedding(c.vocabulary, c.hidden_size, embedding) + format.lm_head(c.vocabulary, c.hidden_size) +
         c.layers * layer + 4 * c.hidden_size;
}

MemoryPlan plan_memory(const ModelConfig& config, const kernels::MemoryFormat& format,
                       const MemoryPlanOptions& options) {
  if (options.window_tokens < 2 || options.preferred_chunk_tokens < 1) {
    throw InputError(fmt::format("[memory] a window must have at least 2 tokens and a chunk 1 but got {} and {}",
                                 options.window_tokens, options.preferred_chunk_tokens));
  }
  const std::int64_t host_limit = options.generation ? 0 : options.host_free_bytes;
  MemoryPlan plan;
  for (const bool on_host : {false, true}) {
    if (on_host && host_limit == 0) break;
    const std::int64_t smallest = host_limit == 0 || on_host ? kSmallestChunk : kSmallestDeviceChunk;
    for (std::int64_t chunk = options.preferred_chunk_tokens;; chunk /= 2) {
      plan = make_plan(config, format, options, {chunk, on_host});
      if (plan.total_bytes() <= options.free_bytes && plan.host_bytes <= host_limit) {
        std::int64_t most = std::max<std::int64_t>(1, options.preferred_windows_at_once);
        most = std::min(most, (options.free_bytes - plan.weights_bytes - plan.fixed_bytes) / plan.window_bytes());
        if (on_host) most = std::min(most, host_limit / plan.host_bytes);
        plan.windows_at_once = most;
        return options.generation ? plan : joined(plan, config, format, options);
      }
      if (chunk / 2 < smallest) break;
    }
  }
  std::string hint = "a shorter length needs less";
  if (plan.weights_bytes + plan.fixed_bytes > options.free_bytes)
    hint = "the weights alone do not fit: a larger device";
  std::string host;
  if (plan.host_bytes > host_limit) {
    host = fmt::format(", and {} of host memory for the hidden state where {} are free", size_text(plan.host_bytes),
                       size_text(host_limit));
  }
  throw InputError(fmt::format(
      "[memory] a {} of {} tokens must fit {} but needs at least {} (weights {}, K and V{} {}, hidden state {}, the "
      "rest {}){} and {} are free ({})",
      options.generation ? "generation" : "window", options.window_tokens, options.device,
      size_text(plan.total_bytes()), size_text(plan.weights_bytes), options.generation ? " of all layers" : "",
      size_text(plan.kv_bytes), size_text(plan.hidden_bytes),
      size_text(plan.total_bytes() - plan.weights_bytes - plan.kv_bytes - plan.hidden_bytes), host,
      size_text(options.free_bytes), hint));
}

std::string MemoryPlan::describe() const {
  if (generation) {
    return fmt::format(
        "{}: {} free; weights {}, taken once beside them {}\n"
        "  a generation of up to {} tokens: K and V of all layers {}, rotation {}, hidden state and buffers of a chunk "
        "of "
        "{} rows {}, scratch {}\n"
        "  {} at once, {} in all",
        device, size_text(free_bytes), size_text(weights_bytes), size_text(fixed_bytes), window_tokens,
        size_text(kv_bytes), size_text(rotation_bytes), layout.chunk_tokens, size_text(hidden_bytes + workspace_bytes),
        size_text(scratch_bytes), windows_at_once, size_text(total_bytes()));
  }
  return fmt::format(
      "{}: {} free; weights {}, taken once beside them {}\n"
      "  a pass of windows of {} tokens: hidden state {}{}, K and V of one layer {}, rotation {}, buffers of a chunk "
      "of {} rows "
      "{}, "
      "scratch {}\n"
      "  {} such window{} in a pass, {} pass{} at once, {} in all",
      device, size_text(free_bytes), size_text(weights_bytes), size_text(fixed_bytes), window_tokens,
      size_text(hidden_bytes),
      layout.hidden_on_host ? fmt::format(" (and {} on the host, streamed)", size_text(host_bytes)) : "",
      size_text(kv_bytes), size_text(rotation_bytes), layout.chunk_tokens, size_text(workspace_bytes),
      size_text(scratch_bytes), sequences, sequences == 1 ? "" : "s", windows_at_once, windows_at_once == 1 ? "" : "es",
      size_text(total_bytes()));
}

std::int64_t sequences_to_join(const ModelConfig& c, std::int64_t window_tokens) {
  constexpr std::int64_t kJoined = 4;  // of more, a chunk has too few positions for attention to read K and V seldom
  constexpr double kWorthwhile = 0.01;
  const auto hidden = static_cast<double>(c.hidden_size);
  const auto query = static_cast<double>(c.heads * c.head_dim);
  const double qkv = static_cast<double>(attention_shape(c).qkv_cols()) * hidden;
  const double attention = query * static_cast<double>(window_tokens);  // Q K^T and P V, half of the pairs each
  const double layer = qkv + query * hidden + 3.0 * static_cast<double>(c.intermediate_size) * hidden + attention;
  const double all = static_cast<double>(c.layers) * layer + static_cast<double>(c.vocabulary) * hidden;
  const bool short_of_rows = window_tokens <= 4 * kSmallestChunk;
  return short_of_rows || qkv >= kWorthwhile * all ? kJoined : 1;
}

std::int64_t windows_to_fill_gpu(const ModelConfig& c, std::int64_t window_tokens, std::int64_t chunk_tokens) {
  const double rows = static_cast<double>(std::min(window_tokens - 1, chunk_tokens));
  const double weights = static_cast<double>((attention_shape(c).qkv_cols() + c.heads * c.head_dim) * c.hidden_size +
                                             3 * c.intermediate_size * c.hidden_size);
  const double attention = static_cast<double>(c.heads * c.head_dim) * static_cast<double>(window_tokens);
  const double layer_flops = 2.0 * rows * (weights + attention);  // half of 2 * 2 * N * heads * head_dim per row
  return std::clamp(static_cast<std::int64_t>(std::ceil(kBusyFlops / layer_flops)), std::int64_t{1}, kMaxWindowsAtOnce);
}

std::int64_t sequences_to_fill_chunk(const ModelConfig& c, std::int64_t window_tokens, std::int64_t chunk_tokens) {
  const std::int64_t fit = chunk_tokens / std::max<std::int64_t>(1, window_tokens - 1);
  return fit > 1 && windows_to_fill_gpu(c, window_tokens, chunk_tokens) > 1 ? fit : 1;
}

std::int64_t host_free_bytes() {
  std::int64_t bytes = std::numeric_limits<std::int64_t>::max();
  rlimit limit{};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
      limit.rlim_cur < static_cast<rlim_t>(bytes)) {
    bytes = static_cast<std::int64_t>(limit.rlim_cur);
  }
  std::int64_t container = 0;  // of a control group, version 2; the word "max" where there is no limit
  std::ifstream control_group("/sys/fs/cgroup/memory.max");
  if (control_group >> container) bytes = std::min(bytes, container);
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::int64_t kibibytes = 0;
  std::string unit;
  while (file >> name >> kibibytes) {
    std::getline(file, unit);
    if (name == "MemAvailable:") return std::min(bytes, kibibytes * 1024);
  }
  return bytes;
}

}  // namespace longrope::model
