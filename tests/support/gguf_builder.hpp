// Builds GGUF files for tests, sound or broken, from its own reading of ggml/docs/gguf.md.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace longrope::tests {

template <typename T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));  // the tests run on little-endian machines, as the program does
  return bytes;
}

inline std::string gguf_text(const std::string& text) { return raw<std::uint64_t>(text.size()) + text; }

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;
    std::uint32_t type = 0;
    std::string data;
    std::int64_t offset = -1;  ///< -1: where it belongs
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::int64_t key_count = -1;     ///< -1: as many as there are
  std::int64_t tensor_count = -1;  ///< -1: as many as there are
  std::uint64_t alignment = 32;
  std::vector<std::string> keys;
  std::vector<Tensor> tensors;

  GgufBuilder& raw_key(const std::string& key, std::uint32_t type, const std::string& payload) {
    keys.push_back(gguf_text(key) + raw(type) + payload);
    return *this;
  }
  GgufBuilder& u32(const std::string& key, std::uint32_t value) { return raw_key(key, 4, raw(value)); }
  GgufBuilder& f32(const std::string& key, float value) { return raw_key(key, 6, raw(value)); }
  GgufBuilder& text(const std::string& key, const std::string& value) { return raw_key(key, 8, gguf_text(value)); }
  GgufBuilder& tensor(const std::string& name, std::vector<std::uint64_t> dims, std::uint32_t type, std::string data) {
    tensors.push_back({name, std::move(dims), type, std::move(data), -1});
    return *this;
  }

  std::string bytes() const {
    std::string file = magic + raw(version);
    file += raw<std::uint64_t>(tensor_count < 0 ? tensors.size() : static_cast<std::uint64_t>(tensor_count));
    file += raw<std::uint64_t>(key_count < 0 ? keys.size() : static_cast<std::uint64_t>(key_count));
    for (const std::string& key : keys) file += key;
    std::string data;
    for (const Tensor& tensor : tensors) {
      file += gguf_text(tensor.name) + raw<std::uint32_t>(static_cast<std::uint32_t>(tensor.dims.size()));
      for (const std::uint64_t extent : tensor.dims) file += raw(extent);
      file += raw(tensor.type);
      file += raw<std::uint64_t>(tensor.offset < 0 ? data.size() : static_cast<std::uint64_t>(tensor.offset));
      data += tensor.data;
      data.resize((data.size() + alignment - 1) / alignment * alignment);
    }
    file.resize((file.size() + alignment - 1) / alignment * alignment);
    return file + data;
  }
};

/// `count` float32 values: first, first + 1, ...
inline std::string floats(std::size_t count, float first = 0.0F) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += raw(first + static_cast<float>(i));
  return bytes;
}

}  // namespace longrope::tests
