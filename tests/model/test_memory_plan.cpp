// The memory plan: worked numbers for an 8B model, the order of its concessions, refusals; and that what it counts is
// what a window really allocates.
#include <malloc.h>

#include <memory>

#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/error.hpp"
#include "model/generator.hpp"
#include "model/memory_plan.hpp"
#include "model/transformer.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::model {
namespace {

using kernels::DType;
using kernels::Precision;
using tests::ContainsSubstring;
using tests::message_of;

constexpr std::int64_t kMillion = std::int64_t{1} << 20;
constexpr std::int64_t kGiga = 1'000'000'000;

ModelConfig llama3_8b() {
  ModelConfig c;
  c.vocabulary = 128256;
  c.hidden_size = 4096;
  c.intermediate_size = 14336;
  c.layers = 32;
  c.heads = 32;
  c.kv_heads = 8;
  c.head_dim = 128;
  c.rope = {128, 5e5, 8192};
  return c;
}

/// One whose windows keep no GPU busy.
ModelConfig small_model() {
  ModelConfig c = llama3_8b();
  c.hidden_size = 256;
  c.intermediate_size = 640;
  c.layers = 4;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.vocabulary = 1024;
  return c;
}

MemoryPlanOptions on_gpu(std::int64_t window_tokens, std::int64_t free_bytes, std::int64_t host_free_bytes = 0) {
  MemoryPlanOptions options;
  options.device = "the GPU";
  options.window_tokens = window_tokens;
  options.free_bytes = free_bytes;
  options.host_free_bytes = host_free_bytes;
  options.preferred_chunk_tokens = 8192;
  return options;
}

MemoryPlan plan(const MemoryPlanOptions& options, Precision precision = Precision::bf16) {
  return plan_memory(llama3_8b(), kernels::cuda_memory_format(precision), options);
}

TEST_CASE("An 8B model at 2M tokens fits one 141 GB GPU", "[memory]") {
  const MemoryPlan p = plan(on_gpu(2 * kMillion, 139 * kGiga));
  // 8.03e9 parameters in bf16: embedding, head, 32 layers of 218,112,000 matrix elements and 2 norms, the last norm.
  const std::int64_t matrices = 32 * (6144 * 4096 + 4096 * 4096 + 3 * std::int64_t{14336} * 4096);
  const std::int64_t outputs = 32 * (6144 + 4096 + 2 * 14336 + 4096);
  CHECK(p.weights_bytes == 2 * (matrices + 2 * std::int64_t{128256} * 4096) + 10 * outputs + 4 * 65 * 4096);
  CHECK(p.hidden_bytes == (2 * kMillion - 1) * 4096 * 4);
  CHECK(p.kv_bytes == (2 * kMillion - 1) * 2 * 8 * 128 * 2);
  CHECK(p.workspace_bytes == 8192 * 2 * (4096 + 6144 + 4096 + 4096 + 2 * 14336 + 14336));
  CHECK_FALSE(p.layout.hidden_on_host);
  CHECK(p.layout.chunk_tokens == 8192);
  CHECK(p.host_bytes == 0);
  CHECK(p.total_bytes() < 63 * kGiga);
  CHECK(p.total_bytes() == p.weights_bytes + p.fixed_bytes + p.window_bytes());

  // Even twice as many tokens, and an 80 GB card takes 2M.
  CHECK_FALSE(plan(on_gpu(4 * kMillion, 139 * kGiga)).layout.hidden_on_host);
  CHECK_FALSE(plan(on_gpu(2 * kMillion, 80 * kGiga)).layout.hidden_on_host);
}

TEST_CASE("Halves of the chunk come first, then the host, then smaller chunks", "[memory]") {
  const MemoryPlan whole = plan(on_gpu(kMillion, 139 * kGiga));
  const auto with = [&](std::int64_t free_bytes, std::int64_t host) {
    return plan(on_gpu(kMillion, free_bytes, host));
  };

  CHECK(with(whole.total_bytes(), 0).layout.chunk_tokens == 8192);
  const MemoryPlan halved = with(whole.total_bytes() - 1, 100 * kGiga);
  CHECK(halved.layout.chunk_tokens == 4096);
  CHECK_FALSE(halved.layout.hidden_on_host);

  // Nothing on the device can be given up any more: the hidden state goes to the host, the chunk is the preferred one.
  const MemoryPlan streamed = with(whole.weights_bytes + whole.fixed_bytes + whole.kv_bytes + 4 * kGiga, 100 * kGiga);
  CHECK(streamed.layout.hidden_on_host);
  CHECK(streamed.layout.chunk_tokens == 8192);
  CHECK(streamed.hidden_bytes == 2 * 8192 * 4096 * 4);
  CHECK(streamed.host_bytes == (kMillion - 1) * 4096 * 4);
  CHECK(streamed.windows_at_once == 1);

  const MemoryPlan small = with(streamed.total_bytes() - 1, 100 * kGiga);
  CHECK(small.layout.hidden_on_host);
  CHECK(small.layout.chunk_tokens < 8192);
  CHECK(small.layout.chunk_tokens >= 256);
  CHECK(small.total_bytes() < streamed.total_bytes());
}

TEST_CASE("What does not fit is refused with the numbers", "[memory]") {
  const std::string weights = message_of<InputError>([] { plan(on_gpu(32768, 10 * kGiga)); });
  CHECK_THAT(weights, ContainsSubstring("[memory] a window of 32768 tokens must fit the GPU but needs at least"));
  CHECK_THAT(weights, ContainsSubstring("weights 16.07 GB"));
  CHECK_THAT(weights, ContainsSubstring("10.00 GB are free"));
  CHECK_THAT(weights, ContainsSubstring("the weights alone do not fit"));

  const std::string host = message_of<InputError>([] { plan(on_gpu(2 * kMillion, 30 * kGiga, 20 * kGiga)); });
  CHECK_THAT(host, ContainsSubstring("34.36 GB of host memory for the hidden state where 20.00 GB are free"));

  // Without streaming there is no word of the host.
  const std::string device = message_of<InputError>([] { plan(on_gpu(2 * kMillion, 30 * kGiga)); });
  CHECK_THAT(device, ContainsSubstring("K and V 8.59 GB"));
  CHECK_THAT(device, !ContainsSubstring("host"));
  CHECK_THAT(device, ContainsSubstring("a shorter length needs less"));

  CHECK_THAT(message_of<InputError>([] { plan(on_gpu(1, kGiga)); }), ContainsSubstring("at least 2 tokens"));
}

TEST_CASE("As many windows at once as fit and are preferred", "[memory]") {
  MemoryPlanOptions options = on_gpu(131072, 139 * kGiga);
  options.preferred_windows_at_once = 3;
  CHECK(plan(options).windows_at_once == 3);
  options.preferred_windows_at_once = 1000;
  const MemoryPlan many = plan(options);
  CHECK(many.windows_at_once > 3);
  CHECK(many.total_bytes() <= options.free_bytes);
  CHECK(many.total_bytes() + many.window_bytes() > options.free_bytes);

  CHECK(windows_to_fill_gpu(llama3_8b(), 131072, 8192) == 1);
  ModelConfig tiny = llama3_8b();
  tiny.hidden_size = 256;
  tiny.intermediate_size = 640;
  tiny.heads = 4;
  tiny.kv_heads = 2;
  tiny.head_dim = 64;
  CHECK(windows_to_fill_gpu(tiny, 2048, 8192) == 32);
}

TEST_CASE("FP8 halves the projections and nothing else of the weights", "[memory]") {
  const std::int64_t bf16 = weights_bytes(llama3_8b(), kernels::cuda_memory_format(Precision::bf16), DType::bf16);
  const std::int64_t fp8 = weights_bytes(llama3_8b(), kernels::cuda_memory_format(Precision::fp8), DType::bf16);
  CHECK(bf16 - fp8 == 32 * (6144 * 4096 + 4096 * 4096 + 3 * std::int64_t{14336} * 4096));
}

TEST_CASE("FP8 attention holds its quantised Q, K and V beside a window", "[memory]") {
  using kernels::AttentionPrecision;
  const kernels::AttentionShape attention{32, 8, 128, 128};
  const kernels::ScratchShape window{1000000, 8192, 4096, 14336, 128256, attention};
  const std::int64_t without = kernels::cuda_memory_format(Precision::fp8).scratch(window);
  const std::int64_t with = kernels::cuda_memory_format(Precision::fp8, AttentionPrecision::fp8).scratch(window);
  const std::int64_t e4m3 = std::int64_t{8192} * 32 * 128 + std::int64_t{2} * 1000000 * 8 * 128;
  CHECK(with > e4m3);
  CHECK(with < e4m3 + e4m3 / 10);  // scales, statistics, what pools lose
  CHECK(with > without);
}

TEST_CASE("The plan counts what a window allocates", "[memory]") {
  const tests::ScratchDirectory directory;
  const tests::TinyShape shape;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const ModelConfig config = read_model_config(directory.path());
  const TensorFiles files(directory.path());
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    if (precision == Precision::bf16 &&
        message_of<InputError>([] { kernels::make_cpu_backend(Precision::bf16); }) != "")
      continue;
    for (const std::int64_t tokens : {2, 300, 1025}) {
      for (const bool on_host : {false, true}) {
        CAPTURE(static_cast<int>(precision), tokens, on_host);
        const auto format = kernels::cpu_memory_format(precision, 1);
        MemoryPlanOptions options = on_gpu(tokens, 100 * kGiga, 100 * kGiga);
        options.preferred_chunk_tokens = 256;
        MemoryPlan p = plan_memory(config, format, options);
        if (on_host) {  // free memory that has no room for the hidden state as a whole
          options.free_bytes = p.total_bytes() - 1;
          if (tokens <= 2 * 256) continue;  // two chunks are no less than the whole
          p = plan_memory(config, format, options);
        }
        REQUIRE(p.layout.hidden_on_host == on_host);

        const tests::WrappingBackend backend(precision);
        const Transformer transformer(config, files, backend, p.layout);
        const auto table = RopeTable::from_factors(
            config.rope, std::vector<double>(static_cast<std::size_t>(config.rope.pairs()), 1.0), 1.0, 0);
        const auto rotation = transformer.rotation(table, kernels::RotationPrecision::exact, tokens);
        transformer.score(tests::random_ids(tokens, shape.vocabulary, 3), 1, *rotation);
        CHECK(backend.peak_device_bytes() == p.hidden_bytes + p.workspace_bytes);
        CHECK(backend.peak_host_bytes() == p.host_bytes);
        CHECK(backend.live_bytes() == 0);

        CHECK(backend.kv_capacity() == tokens - 1);
        const kernels::AttentionShape attention{config.heads, config.kv_heads, config.head_dim, config.rope.rotary_dim};
        const kernels::CpuKvBuffer kv(attention, tokens - 1, backend.activation_dtype());
        const std::int64_t padded = kv.value_panel_stride() / kernels::kPanel;
        CHECK(p.kv_bytes == kv.kv_heads() * padded * (kv.key_cols() + kv.value_cols()) * kernels::bytes_of(kv.dtype()));
      }
    }
  }
}

TEST_CASE("A generation holds K and V of all layers and one chunk of everything else", "[memory]") {
  MemoryPlanOptions options = on_gpu(131072, 139 * kGiga, 100 * kGiga);
  options.generation = true;
  options.preferred_sequences = 8;
  const MemoryPlan p = plan(options);
  CHECK(p.kv_bytes == std::int64_t{32} * 131072 * 2 * 8 * 128 * 2);
  CHECK(p.hidden_bytes == 8192 * 4096 * 4);
  CHECK(p.host_bytes == 0);
  CHECK(p.sequences == 1);
  CHECK(p.windows_at_once == 1);
  CHECK_THAT(p.describe(), ContainsSubstring("a generation of up to 131072 tokens: K and V of all layers 17.18 GB"));
  options.preferred_windows_at_once = 100;
  const MemoryPlan several = plan(options);
  CHECK(several.windows_at_once == (139 * kGiga - p.weights_bytes - p.fixed_bytes) / p.window_bytes());
  CHECK(several.windows_at_once > 1);

  // Smaller chunks before a refusal; the host is no way out.
  options.preferred_windows_at_once = 1;
  options.free_bytes = p.total_bytes() - 1;
  CHECK(plan(options).layout.chunk_tokens == 4096);
  options.window_tokens = 2 * kMillion;
  options.free_bytes = 139 * kGiga;
  const std::string refusal = message_of<InputError>([&] { plan(options); });
  CHECK_THAT(refusal, ContainsSubstring("[memory] a generation of 2097152 tokens must fit the GPU but needs at least"));
  CHECK_THAT(refusal, ContainsSubstring("K and V of all layers 274.88 GB"));
  CHECK(refusal.find('\n') == std::string::npos);
}

TEST_CASE("The plan counts what a generator allocates", "[memory]") {
  const tests::ScratchDirectory directory;
  const tests::TinyShape shape;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const ModelConfig config = read_model_config(directory.path());
  const TensorFiles files(directory.path());
  for (const std::int64_t tokens : {2, 300, 1025}) {
    CAPTURE(tokens);
    MemoryPlanOptions options = on_gpu(tokens, 100 * kGiga, 100 * kGiga);
    options.generation = true;
    options.preferred_chunk_tokens = 256;
    const MemoryPlan p = plan_memory(config, kernels::cpu_memory_format(Precision::f32, 1), options);
    const tests::WrappingBackend backend;
    const Transformer transformer(config, files, backend, p.layout);
    const auto table = RopeTable::from_factors(
        config.rope, std::vector<double>(static_cast<std::size_t>(config.rope.pairs()), 1.0), 1.0, 0);
    const auto rotation = transformer.rotation(table, kernels::RotationPrecision::exact, tokens);
    {
      Generator generator(transformer, *rotation, tokens);
      generator.generate(tests::random_ids(tokens - 1, shape.vocabulary, 3), 1, {});
      CHECK(backend.peak_device_bytes() == p.hidden_bytes + p.workspace_bytes);
    }
    CHECK(backend.live_bytes() == 0);
    CHECK(backend.kv_capacity() == tokens);
    CHECK(backend.kv_buffers() == config.layers);
    const kernels::AttentionShape attention{config.heads, config.kv_heads, config.head_dim, config.rope.rotary_dim};
    const kernels::CpuKvBuffer kv(attention, tokens, backend.activation_dtype());
    const std::int64_t padded = kv.value_panel_stride() / kernels::kPanel;
    CHECK(p.kv_bytes == config.layers * kv.kv_heads() * padded * (kv.key_cols() + kv.value_cols()) * 4);
  }
}

TEST_CASE("The plan counts what windows that go together allocate", "[memory]") {
  const tests::ScratchDirectory directory;
  const tests::TinyShape shape;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const ModelConfig config = read_model_config(directory.path());
  const TensorFiles files(directory.path());
  for (const std::int64_t tokens : {2, 30, 300, 1025}) {
    MemoryPlanOptions options = on_gpu(tokens, 100 * kGiga);
    options.preferred_chunk_tokens = 256;
    options.preferred_sequences = 8;
    const MemoryPlan p = plan_memory(config, kernels::cpu_memory_format(Precision::f32, 1), options);
    CAPTURE(tokens);
    CHECK(p.sequences == std::max<std::int64_t>(8, 256 / (tokens - 1)));
    const tests::WrappingBackend backend;
    const Transformer transformer(config, files, backend, p.layout);
    CHECK(transformer.sequences_at_once(tokens) == p.sequences);
    const auto table = RopeTable::from_factors(
        config.rope, std::vector<double>(static_cast<std::size_t>(config.rope.pairs()), 1.0), 1.0, 0);
    const auto rotation = transformer.rotation(table, kernels::RotationPrecision::exact, tokens);
    const auto ids = tests::random_ids(tokens, shape.vocabulary, 3);
    transformer.score(std::vector<Sequence>(static_cast<std::size_t>(p.sequences), {ids, 1, rotation.get()}));
    CHECK(backend.peak_device_bytes() <= p.hidden_bytes + p.workspace_bytes);
    CHECK(10 * backend.peak_device_bytes() >= 9 * (p.hidden_bytes + p.workspace_bytes));
  }
}

TEST_CASE("Windows go together where that saves work and memory is there", "[memory]") {
  const ModelConfig small = small_model();
  CHECK(sequences_to_join(small, 2048) == 4);
  CHECK(sequences_to_join(small, 65536) == 1);  // attention is all there is
  CHECK(sequences_to_join(llama3_8b(), 4096) == 1);
  CHECK(sequences_to_join(llama3_8b(), 128) == 4);  // short of rows

  MemoryPlanOptions options = on_gpu(8192, 100 * kGiga);
  CHECK(plan_memory(small, kernels::cpu_memory_format(Precision::f32, 1), options).sequences == 1);
  options.preferred_sequences = 8;
  const MemoryPlan joined = plan_memory(small, kernels::cpu_memory_format(Precision::f32, 1), options);
  CHECK(joined.sequences == 8);
  CHECK_THAT(joined.describe(), ContainsSubstring("8 such windows in a pass, 1 pass at once"));
  options.free_bytes = 2 * joined.total_bytes() - 1;  // half of it is not enough
  const MemoryPlan fewer = plan_memory(small, kernels::cpu_memory_format(Precision::f32, 1), options);
  CHECK(fewer.sequences < 8);
  CHECK(fewer.sequences > 1);
  CHECK(2 * fewer.total_bytes() <= options.free_bytes);
}

TEST_CASE("On a GPU windows of a small model fill a chunk, with fewer passes at once", "[memory]") {
  const ModelConfig small = small_model();
  CHECK(sequences_to_fill_chunk(small, 2048, 8192) == 4);
  CHECK(sequences_to_fill_chunk(small, 257, 8192) == 32);
  CHECK(sequences_to_fill_chunk(small, 4097, 8192) == 2);
  CHECK(sequences_to_fill_chunk(small, 4098, 8192) == 1);  // two do not fit
  CHECK(sequences_to_fill_chunk(small, 131072, 8192) == 1);
  CHECK(sequences_to_fill_chunk(llama3_8b(), 4096, 8192) == 1);  // busy with one
  CHECK(sequences_to_fill_chunk(llama3_8b(), 513, 8192) == 16);

  const auto planned = [&](const ModelConfig& config, const MemoryPlanOptions& options) {
    return plan_memory(config, kernels::cuda_memory_format(Precision::bf16), options);
  };
  MemoryPlanOptions options = on_gpu(2048, 100 * kGiga);
  options.preferred_windows_at_once = 32;
  options.joined_at_once = true;
  const MemoryPlan alone = planned(small, options);
  CHECK(alone.sequences == 1);
  CHECK(alone.windows_at_once == 32);
  CHECK(alone.layout.chunk_tokens == 2047);
  options.preferred_sequences = 4;
  const MemoryPlan joined = planned(small, options);
  CHECK(joined.sequences == 4);
  CHECK(joined.layout.max_sequences == 4);
  CHECK(joined.layout.chunk_tokens == 4 * 2047);
  CHECK(joined.windows_at_once == 8);
  CHECK(joined.hidden_bytes == 4 * alone.hidden_bytes);
  CHECK(joined.kv_bytes == 4 * alone.kv_bytes);
  CHECK(joined.workspace_bytes == 4 * alone.workspace_bytes);
  CHECK_THAT(joined.describe(), ContainsSubstring("4 such windows in a pass, 8 passes at once"));

  options.preferred_sequences = 3;  // as many as there are to score
  CHECK(planned(small, options).sequences == 3);
  CHECK(planned(small, options).windows_at_once == 11);
  options.preferred_sequences = 4;

  options.preferred_windows_at_once = 3;  // less than a pass holds: still one computes while one is fetched
  CHECK(planned(small, options).windows_at_once == 2);
  options.preferred_windows_at_once = 1;
  CHECK(planned(small, options).windows_at_once == 1);
  options.preferred_windows_at_once = 32;
  options.free_bytes = 2 * joined.total_bytes() - 1;  // half of it is not enough: fewer passes
  const MemoryPlan fewer = planned(small, options);
  CHECK(fewer.sequences == 4);
  CHECK(fewer.windows_at_once == 7);
  options.free_bytes = 2 * (joined.weights_bytes + joined.fixed_bytes + 2 * joined.window_bytes()) - 2;
  const MemoryPlan smaller = planned(small, options);  // not even for two: fewer windows in each
  CHECK(smaller.layout.max_sequences == 2);
  CHECK(smaller.windows_at_once == 2);
  CHECK(2 * smaller.total_bytes() <= options.free_bytes);
}

TEST_CASE("The plan counts what packed weights take", "[memory]") {
  const tests::ScratchDirectory directory;
  tests::TinyShape shape;
  shape.hidden = 512;
  shape.intermediate = 1024;
  shape.head_dim = 64;
  shape.heads = 8;
  shape.vocabulary = 4096;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const ModelConfig config = read_model_config(directory.path());
  const TensorFiles files(directory.path());
  const auto backend = kernels::make_cpu_backend(Precision::f32);
  const auto in_use = [] {
    const struct mallinfo2 info = mallinfo2();
    return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
  };
  const std::int64_t before = in_use();
  const Transformer transformer(config, files, *backend, {256, false});
  const std::int64_t taken = in_use() - before;
  if (taken <= 0) {
    WARN("this allocator does not say what is in use: not checked");
    return;
  }
  const std::int64_t counted = weights_bytes(config, kernels::cpu_memory_format(Precision::f32, 1), DType::f32);
  CHECK(static_cast<double>(taken) == Approx(static_cast<double>(counted)).epsilon(0.05));
}

}  // namespace
}  // namespace longrope::model
