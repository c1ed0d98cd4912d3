// Tables into GGUFs: keys and tensors that llama.cpp needs, everything else untouched; Qwen2's rows in llama's order.
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/gguf_export.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/gguf_builder.hpp"

namespace {

using longrope::InputError;
using longrope::RuntimeError;
using longrope::model::ExportTables;
using longrope::model::GgufExport;
using longrope::model::GgufFile;
using longrope::model::ModelConfig;
using longrope::model::NewFile;
using longrope::model::RopeTable;
using longrope::tests::ContainsSubstring;
using longrope::tests::floats;
using longrope::tests::GgufBuilder;
using longrope::tests::message_of;
using longrope::tests::ScratchDirectory;

/// hidden 8, 2 heads of 4, 1 KV head, trained at 256 tokens.
ModelConfig config_of(const std::string& type) {
  ModelConfig config;
  config.model_type = type;
  config.hidden_size = 8;
  config.layers = 1;
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 4;
  config.sliding_window = {0};
  config.rope = {4, 10000.0, 256};
  return config;
}

ExportTables tables_of(const ModelConfig& config) {
  ExportTables tables;
  tables.long_table = RopeTable::from_factors(config.rope, {1.1, 3.7}, 1.25, 0);
  tables.short_table = tables.long_table;
  tables.target_length = 2048;
  return tables;
}

GgufBuilder gguf_of(const std::string& arch) {
  GgufBuilder b;
  b.text("general.architecture", arch).u32(arch + ".context_length", 256).u32(arch + ".embedding_length", 8);
  b.u32(arch + ".block_count", 1).u32(arch + ".attention.head_count", 2).u32(arch + ".attention.head_count_kv", 1);
  b.f32(arch + ".rope.freq_base", 10000.0F).f32(arch + ".rope.scaling.factor", 4.0F);
  b.f32(arch + ".rope.scale_linear", 4.0F).text(arch + ".rope.scaling.type", "yarn");
  b.text("tokenizer.ggml.model", "none");
  b.tensor("rope_freqs.weight", {2}, 0, floats(2, 1.0F));
  b.tensor("blk.0.attn_q.weight", {8, 8}, 0, floats(64));
  b.tensor("blk.0.attn_q.bias", {8}, 0, floats(8, 100.0F));
  b.tensor("blk.0.attn_k.weight", {8, 4}, 0, floats(32, 200.0F));
  b.tensor("blk.0.attn_v.weight", {8, 4}, 0, floats(32, 300.0F));
  return b;
}

std::string refused(const ScratchDirectory& directory, const GgufBuilder& builder, const ModelConfig& config,
                    const ExportTables& tables) {
  const auto path = directory.write("in.gguf", builder.bytes());
  return message_of<InputError>([&] { GgufExport made(path, tables, config); });
}

/// Rows of `width` floats from `first`, in this order.
std::string rows_of(float first, int width, const std::vector<int>& order) {
  std::string bytes;
  for (const int row : order) bytes += floats(static_cast<std::size_t>(width), first + static_cast<float>(row * width));
  return bytes;
}

/// Where a GGUF of this architecture was exported, and verified.
std::filesystem::path exported(const ScratchDirectory& directory, const std::string& type) {
  const ModelConfig config = config_of(type);
  const GgufExport made(directory.write("in.gguf", gguf_of(type).bytes()), tables_of(config), config);
  const std::filesystem::path path = directory.path() / "out.gguf";
  NewFile out(path);
  made.write(out);
  out.commit();
  made.verify(path);
  return path;
}

}  // namespace

TEST_CASE("a llama GGUF gets tables and keys, and loses what would scale twice", "[gguf]") {
  const ScratchDirectory directory;
  const GgufFile file(exported(directory, "llama"));
  CHECK(file.find_string("llama.rope.scaling.type") == "longrope");
  CHECK(file.find_integer("llama.rope.scaling.original_context_length") == 256);
  CHECK(file.find_integer("llama.context_length") == 2048);
  CHECK(file.find_float("llama.rope.scaling.attn_factor") == 1.25F);
  CHECK(file.find("llama.rope.scaling.factor") == nullptr);
  CHECK(file.find("llama.rope.scale_linear") == nullptr);
  CHECK(file.find_string("tokenizer.ggml.model") == "none");
  CHECK(file.values().size() == 11);
  CHECK(file.find_tensor("rope_freqs.weight") == nullptr);
  CHECK(file.tensors().size() == 6);
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    REQUIRE(file.find_tensor(name) != nullptr);
    CHECK(file.find_tensor(name)->data == longrope::tests::raw(1.1F) + longrope::tests::raw(3.7F));
  }
  CHECK(file.find_tensor("blk.0.attn_q.weight")->data == floats(64));
  CHECK(file.find_tensor("blk.0.attn_k.weight")->data == floats(32, 200.0F));
}

TEST_CASE("a Qwen2 becomes a llama with its Q and K rows interleaved", "[gguf]") {
  const ScratchDirectory directory;
  const GgufFile file(exported(directory, "qwen2"));
  CHECK(file.find_string("general.architecture") == "llama");
  CHECK(file.find_integer("llama.embedding_length") == 8);
  CHECK(file.find("qwen2.embedding_length") == nullptr);
  const std::vector<int> head{0, 2, 1, 3};  // pairs (i, i + 2) become neighbours
  CHECK(file.find_tensor("blk.0.attn_q.weight")->data == rows_of(0.0F, 8, {0, 2, 1, 3, 4, 6, 5, 7}));
  CHECK(file.find_tensor("blk.0.attn_q.bias")->data == rows_of(100.0F, 1, {0, 2, 1, 3, 4, 6, 5, 7}));
  CHECK(file.find_tensor("blk.0.attn_k.weight")->data == rows_of(200.0F, 8, head));
  CHECK(file.find_tensor("blk.0.attn_v.weight")->data == floats(32, 300.0F));
}

TEST_CASE("verify finds one changed bit", "[gguf]") {
  const ScratchDirectory directory;
  for (const std::string arch : {"llama", "qwen2"}) {
    const ModelConfig config = config_of(arch);
    const GgufExport made(directory.write("in.gguf", gguf_of(arch).bytes()), tables_of(config), config);
    NewFile out(directory.path() / (arch + ".gguf"));
    made.write(out);
    out.commit();
    const GgufFile file(directory.path() / (arch + ".gguf"));
    for (const char* name : {"rope_factors_long.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"}) {
      const longrope::model::MappedFile mapped(directory.path() / (arch + ".gguf"));
      std::string bytes(mapped.bytes());
      const auto at = bytes.find(std::string(file.find_tensor(name)->data));
      REQUIRE(at != std::string::npos);
      bytes[at + 1] ^= 1;
      const auto changed = directory.write("changed.gguf", bytes);
      CHECK_THAT(message_of<RuntimeError>([&] { made.verify(changed); }), ContainsSubstring(name));
    }
  }
}

TEST_CASE("GGUFs that cannot carry the table are refused", "[gguf]") {
  const ScratchDirectory directory;
  const ModelConfig llama = config_of("llama");
  const ExportTables tables = tables_of(llama);
  const auto changed = [](const std::string& arch, auto change) {
    GgufBuilder builder = gguf_of(arch);
    change(builder);
    return builder;
  };
  using B = GgufBuilder;
  CHECK(refused(directory, gguf_of("llama"), llama, tables).empty());
  CHECK(refused(directory, gguf_of("llama"), config_of("mistral"), tables).empty());
  CHECK(refused(directory, gguf_of("minicpm"), llama, tables).empty());
  CHECK(refused(directory, gguf_of("phi3"), config_of("phi3"), tables).empty());
  CHECK_THAT(refused(directory, gguf_of("qwen3"), config_of("qwen3"), tables), ContainsSubstring("q_norm and k_norm"));
  CHECK_THAT(refused(directory, gguf_of("gemma"), llama, tables), ContainsSubstring("but got 'gemma'"));
  CHECK_THAT(refused(directory, gguf_of("llama"), config_of("qwen2"), tables), ContainsSubstring("a qwen2"));
  CHECK_THAT(refused(directory, changed("llama", [](B& b) { b.keys.erase(b.keys.begin()); }), llama, tables),
             ContainsSubstring("general.architecture"));
  CHECK_THAT(refused(directory, changed("llama", [](B& b) { b.u32("split.count", 2); }), llama, tables),
             ContainsSubstring("one part of a split one"));
  CHECK_THAT(refused(directory, changed("qwen2", [](B& b) { b.tensor("output.bias", {4}, 0, floats(4)); }),
                     config_of("qwen2"), tables),
             ContainsSubstring("output.bias"));
  CHECK_THAT(refused(directory,
                     changed("qwen2",
                             [](B& b) {
                               b.tensors[3].dims = {4, 8};
                             }),
                     config_of("qwen2"), tables),
             ContainsSubstring("blk.0.attn_k.weight'] must have 4 rows"));
  struct Row {
    std::int64_t ModelConfig::*member;
    const char* expected;
  };
  for (const Row& row : std::vector<Row>{{&ModelConfig::hidden_size, "llama.embedding_length"},
                                         {&ModelConfig::layers, "llama.block_count"},
                                         {&ModelConfig::heads, "llama.attention.head_count"},
                                         {&ModelConfig::kv_heads, "llama.attention.head_count_kv"}}) {
    ModelConfig other = llama;
    other.*row.member = 16;
    CHECK_THAT(refused(directory, gguf_of("llama"), other, tables), ContainsSubstring(row.expected));
  }
  ModelConfig other = llama;
  other.rope.theta = 5e5;
  CHECK_THAT(refused(directory, gguf_of("llama"), other, tables), ContainsSubstring("llama.rope.freq_base"));
  other = llama;
  other.rope.rotary_dim = 2;
  CHECK_THAT(refused(directory, gguf_of("llama"), other, tables), ContainsSubstring("llama.rope.dimension_count"));

  ExportTables bad = tables;
  bad.long_table.start_tokens = 4;
  CHECK_THAT(refused(directory, gguf_of("llama"), llama, bad), ContainsSubstring("cannot express start_tokens"));
  bad = tables;
  bad.target_length = 128;
  CHECK_THAT(refused(directory, gguf_of("llama"), llama, bad), ContainsSubstring("original length 256 but got 128"));
  bad.target_length = std::int64_t{1} << 32;
  CHECK_THAT(refused(directory, gguf_of("llama"), llama, bad), ContainsSubstring("at most 4294967295"));
  bad = tables;
  bad.long_table.factors[1] = 1e300;
  CHECK_THAT(refused(directory, gguf_of("llama"), llama, bad), ContainsSubstring("factors must be float32"));
}

TEST_CASE("what llama.cpp does otherwise is said", "[gguf]") {
  const ScratchDirectory directory;
  const auto path = directory.write("in.gguf", gguf_of("llama").bytes());
  ModelConfig config = config_of("llama");
  ExportTables tables = tables_of(config);
  CHECK(GgufExport(path, tables, config).warnings().empty());
  tables.short_table = RopeTable::from_factors(config.rope, {1.0, 1.0}, 1.0, 0);
  REQUIRE(GgufExport(path, tables, config).warnings().size() == 1);
  CHECK_THAT(GgufExport(path, tables, config).warnings()[0], ContainsSubstring("one attention factor, 1.25"));
  tables = tables_of(config);
  config.rope.original_length = 300;
  config.sliding_window = {128};
  REQUIRE(GgufExport(path, tables, config).warnings().size() == 2);
  CHECK_THAT(GgufExport(path, tables, config).warnings()[0], ContainsSubstring("128 tokens at most"));
  CHECK_THAT(GgufExport(path, tables, config).warnings()[1], ContainsSubstring("a context of 300 counts as 512"));
}
