// gguf: a copy of a GGUF with the tables in it, for llama.cpp.
#include <fmt/core.h>

#include "model/gguf_export.hpp"
#include "search/cli/export/format.hpp"

namespace longrope::cli {
namespace {

constexpr std::int64_t kContextMultiple = 256;  // llama.cpp's src/llama-context.cpp pads n_ctx to it

class GgufFormat final : public ExportFormat {
 public:
  GgufFormat(const ExportRequest& request, const std::string& gguf)
      : ExportFormat(request), export_(gguf, request.tables, request.config) {}

  std::vector<std::string> warnings() const override { return export_.warnings(); }

  bool uses_long(std::int64_t length) const override {
    return (length + kContextMultiple - 1) / kContextMultiple * kContextMultiple > original_length();
  }

  model::ExportTables applied() const override {
    model::ExportTables tables = request().tables;
    const auto attention_factor = static_cast<float>(tables.long_table.attention_factor);
    tables.long_table = rounded(tables.long_table, attention_factor);
    tables.short_table = rounded(tables.short_table, attention_factor);
    return tables;
  }

  std::string notes() const override {
    const std::int64_t original = original_length();
    const std::int64_t target = request().tables.target_length;
    std::string text = fmt::format(
        "llama.cpp chooses when a context is made, by the tokens *allocated* per sequence and never by a prompt's "
        "length:\n\n"
        "| setting | table |\n|---|---|\n"
        "| `-c` not given: the model's context, {1} | long |\n"
        "| `-c N`, N above {0} after padding to a multiple of 256 | long |\n"
        "| `-c N`, N up to {0} | short |\n"
        "| `llama-server -c N -np P` (unified KV cache, its default) | by N |\n"
        "| `llama-server -c N -np P --no-kv-unified` | by N / P |\n\n"
        "Where `-c` is not given, `--fit` (on by default) may shrink the context to what memory there is, and with it "
        "change\n"
        "the table: give `-c`. `--rope-scaling` and `--rope-freq-scale` stay unset. The file holds "
        "`rope_factors_long.weight`\n"
        "and `rope_factors_short.weight` in float32, one attention factor for both, and `{2}.context_length` {1}.\n",
        original, target, export_.architecture());
    if (export_.architecture() == "llama") {
      text +=
          "Architecture llama reads these tensors since llama.cpp b8694 (2026-04-07); older builds stop with \"wrong "
          "number\n"
          "of tensors\".\n";
    }
    if (export_.architecture() == "minicpm") {
      text += "llama.cpp's builds from 2025-12-16 to 2026-03-29 do not load these tensors for architecture minicpm.\n";
    }
    if (export_.rewrites_qwen2()) {
      text +=
          "\nllama.cpp's graph of Qwen2 takes no factors, so this is the same model as architecture llama: keys "
          "renamed, rows of\n"
          "Q and K (weights and biases, quantised or not) in llama's order. The tokenizer is as it was.\n";
    }
    return text;
  }

  void write(const std::string& readme) const override {
    model::FileWithReadme file(request().out, readme);
    export_.write(file.main());
    file.commit();
  }

  model::ExportTables reread() const override {
    export_.verify(request().out);
    const model::GgufTables read = model::read_gguf_tables(model::GgufFile(request().out));
    model::RopeGeometry geometry = request().config.rope;
    geometry.theta = read.theta == static_cast<float>(geometry.theta) ? geometry.theta : read.theta;
    const auto table = [&](const std::vector<float>& factors) {
      return model::RopeTable::from_factors(geometry, {factors.begin(), factors.end()}, read.attention_factor, 0);
    };
    return {table(read.long_factors), table(read.short_factors), request().tables.switches, read.context_length};
  }

  std::string engine() const override { return "llama.cpp"; }
  bool exact_weights() const override { return export_.all_float32(); }

 private:
  model::RopeTable rounded(const model::RopeTable& table, float attention_factor) const {
    std::vector<double> factors;
    for (const double factor : table.factors) factors.push_back(static_cast<float>(factor));
    return model::RopeTable::from_factors(request().config.rope, factors, attention_factor, table.start_tokens);
  }

  model::GgufExport export_;
};

}  // namespace

std::unique_ptr<ExportFormat> make_gguf_format(const ExportRequest& request, const std::string& gguf) {
  return std::make_unique<GgufFormat>(request, gguf);
}

}  // namespace longrope::cli
