// vllm and sglang: a directory with the override JSON and the command that serves the checkpoint with it.
#include <fmt/core.h>

#include "model/atomic_file.hpp"
#include "model/engine_overrides.hpp"
#include "model/mapped_file.hpp"
#include "search/cli/export/format.hpp"

namespace longrope::cli {
namespace {

class OverrideFormat final : public ExportFormat {
 public:
  OverrideFormat(const ExportRequest& request, model::OverrideEngine override_engine)
      : ExportFormat(request),
        engine_(override_engine),
        warnings_(check_overrides(override_engine, request.tables, request.config)) {}

  std::vector<std::string> warnings() const override { return warnings_; }
  model::ExportTables applied() const override { return request().tables; }

  std::string notes() const override {
    const std::int64_t original = original_length();
    const std::int64_t target = request().tables.target_length;
    const std::string files =
        "`serve.sh` is the whole command; `overrides.json` is the JSON in it, `rope_theta` included: the engine "
        "replaces\n"
        "the checkpoint's rope dictionary with it, and what is not in there falls back to a default without a "
        "word.\n\n";
    if (engine_ == model::OverrideEngine::vllm) {
      return files +
             fmt::format(
                 "| vLLM's `--max-model-len` | table |\n|---|---|\n| above {0} | long, for every request at every "
                 "length |\n"
                 "| up to {0} | short |\n\n"
                 "The choice is made once, when the server starts. Keep `--max-model-len {1}`: without it vLLM may\n"
                 "take the original length. vLLM 0.11.1 or newer; cos and sin are rounded to the model's type.\n",
                 original, target);
    }
    return files +
           fmt::format(
               "| SGLang's batch | table |\n|---|---|\n| some request has passed {0} tokens | long, for all of them |\n"
               "| none has | short |\n\n"
               "Keep `--context-length {1}`. The choice is made anew for every forward pass, and cached K and V are "
               "not\n"
               "recomputed: only a static export (`--mode static`, one table) is safe there.\n",
               original, target);
  }

  void write(const std::string& readme) const override {
    const std::string json = override_json(engine_, request().tables, request().config);
    model::NewDirectory directory(request().out);
    model::write_new_file(directory.path() / "overrides.json", json + "\n");
    model::write_new_file(directory.path() / "serve.sh",
                          "#!/bin/sh\nexec " +
                              serve_command(engine_, json, request().model_directory, request().tables.target_length) +
                              " \"$@\"\n");
    std::filesystem::permissions(
        directory.path() / "serve.sh",
        std::filesystem::perms::owner_exec | std::filesystem::perms::group_exec | std::filesystem::perms::others_exec,
        std::filesystem::perm_options::add);
    model::write_new_file(directory.path() / "README.md", readme);
    directory.commit();
  }

  model::ExportTables reread() const override {
    const std::filesystem::path file = request().out / "overrides.json";
    return read_override_json(engine_, model::read_small_file(file, kMaxTableBytes), file.string(), request().config);
  }

 private:
  model::OverrideEngine engine_;
  std::vector<std::string> warnings_;
};

}  // namespace

std::unique_ptr<ExportFormat> make_override_format(const std::string& name, const ExportRequest& request) {
  return std::make_unique<OverrideFormat>(request,
                                          name == "vllm" ? model::OverrideEngine::vllm : model::OverrideEngine::sglang);
}

}  // namespace longrope::cli
