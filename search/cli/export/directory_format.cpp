// hf and trtllm: a model directory with the table in its config.json.
#include <fmt/core.h>

#include "model/config_table.hpp"
#include "model/hf_export.hpp"
#include "search/cli/export/format.hpp"

namespace longrope::cli {
namespace {

class DirectoryFormat final : public ExportFormat {
 public:
  DirectoryFormat(const ExportRequest& request, model::HfExportOptions options)
      : ExportFormat(request), options_(std::move(options)), warnings_(check_hf_export(options_, request.config)) {}

  std::vector<std::string> warnings() const override { return warnings_; }

  model::ExportTables applied() const override {
    model::ExportTables tables = request().tables;
    tables.short_table.attention_factor = tables.long_table.attention_factor;
    return tables;
  }

  std::string notes() const override {
    const std::int64_t original = original_length();
    const std::int64_t target = request().tables.target_length;
    if (options_.reader == model::HfReader::trtllm) {
      return fmt::format(
          "TensorRT-LLM (PyTorch backend) reads `rope_scaling` from this directory's `config.json`:\n\n"
          "    trtllm-serve {} --max_seq_len {}\n\n"
          "| `max_seq_len` | table |\n|---|---|\n| above {}, or not set | long |\n| up to {} | short |\n\n"
          "The choice is made once, for every request. It computes the attention factor, sqrt(1 + ln s / ln L0), from\n"
          "`max_position_embeddings` and `original_max_position_embeddings`: leave both as they are.\n",
          request().out.string(), target, original, original);
    }
    const bool phi3 = request().config.model_type == "phi3";
    return fmt::format(
        "| engine | setting | table |\n|---|---|---|\n"
        "| transformers v4, v5 | a forward pass over a sequence longer than {0} tokens | long, for the whole batch |\n"
        "| transformers v4, v5 | any other forward pass | short |\n"
        "| vLLM | `--max-model-len` above {0} | long, for every request |\n"
        "| vLLM | `--max-model-len` up to {0}, or **not given** | short |\n"
        "| SGLang | a batch in which some request passes {0} | long, for the whole batch |\n\n"
        "vLLM: `vllm serve {2} --max-model-len {1}`; without it the context is {0}.\n"
        "SGLang: `python3 -m sglang.launch_server --model-path {2} --context-length {1}`.\n\n{3}",
        original, target, request().out.string(),
        phi3 ? "transformers drops the KV cache of a Phi-3 when a sequence crosses the original length, and computes "
               "the\n"
               "attention factor itself.\n"
             : "transformers keeps the K and V cached under the short table when a sequence crosses the original "
               "length.\n"
               "With `--mode static` both tables are one, and nothing of this matters.\n");
  }

  void write(const std::string& readme) const override {
    model::HfExportOptions options = options_;
    options.readme = readme;
    model::write_hf_export(options, request().config);
  }

  model::ExportTables reread() const override {
    const model::ModelConfig config = model::read_model_config(options_.out);
    model::ExportTables tables;
    tables.target_length = config.max_position_embeddings;
    tables.long_table = model::config_rope_table(config, config.max_position_embeddings + 1);
    tables.short_table = model::config_rope_table(config, config.rope.original_length);
    tables.switches = request().tables.switches;
    return tables;
  }

  std::optional<std::filesystem::path> checkpoint() const override {
    if (options_.weights == model::WeightsMode::none) return std::nullopt;
    return options_.out;
  }

  std::string engine() const override { return options_.weights == model::WeightsMode::none ? "" : "transformers"; }

 private:
  model::HfExportOptions options_;
  std::vector<std::string> warnings_;
};

}  // namespace

std::unique_ptr<ExportFormat> make_directory_format(const std::string& name, const ExportRequest& request,
                                                    const std::string& weights) {
  check_choice("weights", weights, {"link", "copy", "none"});
  model::HfExportOptions options;
  options.model_directory = request.model_directory;
  options.out = request.out;
  options.tables = request.tables;
  options.reader = name == "trtllm" ? model::HfReader::trtllm : model::HfReader::transformers;
  options.weights = weights == "link"   ? model::WeightsMode::link
                    : weights == "copy" ? model::WeightsMode::copy
                                        : model::WeightsMode::none;
  return std::make_unique<DirectoryFormat>(request, std::move(options));
}

}  // namespace longrope::cli
