#include "model/gguf_writer.hpp"

namespace longrope::model {
namespace {

std::int64_t padding(std::int64_t bytes, std::int64_t alignment) { return (alignment - bytes % alignment) % alignment; }

}  // namespace

GgufNewTensor GgufNewTensor::copy_of(const GgufTensor& tensor) {
  return {std::string(tensor.name), tensor.dims, tensor.type, tensor.data, {}, tensor.row_bytes};
}

void write_gguf(NewFile& file, std::int64_t alignment, const std::vector<std::string>& values,
                const std::vector<GgufNewTensor>& tensors) {
  std::string header = "GGUF" + gguf_bytes(kGgufVersion) + gguf_bytes(static_cast<std::uint64_t>(tensors.size())) +
                       gguf_bytes(static_cast<std::uint64_t>(values.size()));
  for (const std::string& value : values) header += value;
  std::int64_t offset = 0;
  for (const GgufNewTensor& tensor : tensors) {
    header += gguf_string(tensor.name) + gguf_bytes(static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::int64_t extent : tensor.dims) header += gguf_bytes(static_cast<std::uint64_t>(extent));
    header += gguf_bytes(tensor.type) + gguf_bytes(static_cast<std::uint64_t>(offset));
    const auto bytes = static_cast<std::int64_t>(tensor.data.size());
    offset += bytes + padding(bytes, alignment);
  }
  const auto pad = [&] { file.append(std::string(static_cast<std::size_t>(padding(file.size(), alignment)), '\0')); };
  file.append(header);
  pad();
  for (const GgufNewTensor& tensor : tensors) {
    if (tensor.row_source.empty()) file.append(tensor.data);
    for (const std::int64_t row : tensor.row_source) {
      file.append(tensor.data.substr(static_cast<std::size_t>(row * tensor.row_bytes),
                                     static_cast<std::size_t>(tensor.row_bytes)));
    }
    pad();
  }
}

}  // namespace longrope::model
