#include "search/cli/export/format.hpp"

#include "kernels/error.hpp"

namespace longrope::cli {

po::options_description export_format_options() {
  po::options_description options("Single formats");
  options.add_options()("weights", po::value<std::string>()->default_value("link"),
                        "hf and trtllm: link, copy or none")("gguf", po::value<std::string>(),
                                                             "gguf: a GGUF of the same model, which is copied");
  return options;
}

std::unique_ptr<ExportFormat> make_export_format(const std::string& name, const ExportRequest& request,
                                                 const po::variables_map& values) {
  const bool has_gguf = values.count("gguf") != 0;
  if (has_gguf != (name == "gguf")) {
    throw InputError(has_gguf ? "[usage] --gguf belongs to --to gguf"
                              : "[usage] --gguf is missing: a GGUF of the same model, which is copied");
  }
  if (name == "hf" || name == "trtllm")
    return make_directory_format(name, request, values["weights"].as<std::string>());
  if (name == "vllm" || name == "sglang") return make_override_format(name, request);
  if (name == "gguf") return make_gguf_format(request, values["gguf"].as<std::string>());
  return make_table_format(name, request);
}

}  // namespace longrope::cli
