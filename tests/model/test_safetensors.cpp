// safetensors: good files as they are, broken ones by a clear error each.
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/safetensors.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

using longrope::InputError;
using longrope::kernels::DType;
using longrope::model::TensorFiles;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;
using longrope::tests::ScratchDirectory;

std::string le64(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

/// A file of this header and `data_bytes` zero bytes.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return le64(header.size()) + header + std::string(data_bytes, '\0');
}

std::string file_of(const std::string& header, const std::string& data) { return le64(header.size()) + header + data; }

template <typename T>
std::string bytes_of_values(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string load(const ScratchDirectory& directory) {
  return message_of<InputError>([&] { TensorFiles files(directory.path()); });
}

}  // namespace

TEST_CASE("tensors of a single file are found as written", "[safetensors]") {
  const ScratchDirectory directory;
  // The header's length is odd, so that every tensor is misaligned; "zero" has no elements.
  std::string header =
      R"({"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[12,20]},"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},)"
      R"("i":{"dtype":"I64","shape":[1],"data_offsets":[22,30]},"h":{"dtype":"F16","shape":[],"data_offsets":[20,22]},)"
      R"("zero":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[22,22]},"__metadata__":{"format":"pt"}})";
  if (header.size() % 2 == 0) header += ' ';
  const std::vector<float> a{1.5F, -2.0F, std::numeric_limits<float>::max()};
  const std::vector<std::uint16_t> b{0x3F80, 0x7F7F, 0x0000, 0xFF7F};
  directory.write("model.safetensors", file_of(header, bytes_of_values(a) + bytes_of_values(b) +
                                                           std::string("\x00\x3C", 2) + std::string(8, '\xFF')));
  const TensorFiles files(directory.path());
  CHECK(files.parameters() == 3 + 4 + 1 + 1);
  CHECK(files.files() == std::vector<std::filesystem::path>{directory.path() / "model.safetensors"});
  CHECK(files.contains("a"));
  CHECK_FALSE(files.contains("__metadata__"));
  CHECK_FALSE(files.contains("c"));

  const auto view = files.require("a", {3});
  CHECK(view.dtype == DType::f32);
  CHECK(view.bytes == 12);
  CHECK(std::memcmp(view.data, a.data(), 12) == 0);
  CHECK(std::memcmp(files.require("b", {2, 2}).data, b.data(), 8) == 0);
  CHECK(files.require("h", {}).dtype == DType::f16);
  CHECK(files.require("zero", {0, std::numeric_limits<std::int64_t>::max()}).bytes == 0);

  struct Row {
    const char* name;
    std::vector<std::int64_t> shape;
    const char* expected;
  };
  for (const Row& row : std::vector<Row>{{"c", {3}, "must hold tensor 'c' of shape [3] but got no such tensor"},
                                         {"a", {1, 3}, "tensor 'a'] must have shape [1, 3] but got [3]"},
                                         {"b", {4}, "must have shape [4] but got [2, 2]"},
                                         {"i", {1}, "must be F32, F16 or BF16 but got I64"}}) {
    CHECK_THAT(message_of<InputError>([&] { (void)files.require(row.name, row.shape); }),
               ContainsSubstring(row.expected));
  }
}

TEST_CASE("broken safetensors files are refused", "[safetensors]") {
  struct Row {
    std::string bytes;
    const char* expected;
  };
  const auto one = [](const std::string& entry) { return R"({"t":)" + entry + "}"; };
  const std::string nested = std::string(200, '[') + std::string(200, ']');
  const std::vector<Row> rows{
      {"", "must hold an 8-byte header length but got a file of 0 bytes"},
      {"1234567", "file of 7 bytes"},
      {le64(0), "must begin a JSON header"},
      {le64(1), "must be at most 0 but got 1"},
      {le64(UINT64_MAX) + "{}", "must be at most 2 but got 18446744073709551615"},
      {le64(UINT64_MAX - 7) + "{}", "must be at most 2"},
      {le64(1ULL << 63) + "{}", "must be at most 2"},
      {le64(100'000'001) + "{}", "must be at most 2"},
      {le64(3) + "{}", "header length at byte offset 0] must be at most 2 but got 3"},
      {file_of("[]", 0), "must begin a JSON header with '{' but got '['"},
      {file_of(" {}", 0), "must begin a JSON header with '{' but got ' '"},
      {file_of("{", 0), "syntax error at byte offset 9"},
      {file_of("{\"a\":1,}", 0), "syntax error"},
      {file_of("{}x", 0), "syntax error"},
      {file_of("{\"a\":NaN}", 0), "syntax error"},
      {file_of("{\"\xFF\":1}", 0), "must be UTF-8 but got byte 0xff at byte offset 10"},
      {file_of("{\"a\":" + nested + "}", 0), "must nest at most 64 levels"},
      {file_of("{\"a\":" + std::string(1'000'000, '['), 0), "must nest at most 64 levels"},
      {file_of("{}", 1), "must end with its last tensor at byte offset 10 but got 11 bytes"},
      {file_of(one("7"), 0), "tensor 't'] must be an object but got 7"},
      {file_of(one("{}"), 0), "dtype] must be a string but got nothing"},
      {file_of(one(R"({"dtype":5,"shape":[],"data_offsets":[0,4]})"), 4), "dtype] must be a string but got 5"},
      {file_of(one(R"({"dtype":"F32","data_offsets":[0,4]})"), 4), "shape] must be a list"},
      {file_of(one(R"({"dtype":"F32","shape":"x","data_offsets":[0,4]})"), 4), "shape] must be a list"},
      {file_of(one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), 4), "shape[0]] must be an integer from 0"},
      {file_of(one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"), 4), "shape[0]] must be an integer from 0"},
      {file_of(one(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]})"), 4), "shape[0]]"},
      {file_of(one(R"({"dtype":"F32","shape":[1e400],"data_offsets":[0,4]})"), 4), "must be JSON but got"},
      {file_of(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]})"), 4),
       "shape] must have at most"},
      {file_of(one(R"({"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]})"), 4), "must span shape"},
      {file_of(one(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})"), 4),
       "at most 16"},
      {file_of(one(R"({"dtype":"F32","shape":[1]})"), 4), "data_offsets] must be a list of 2"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0]})"), 4), "data_offsets] must be a list of 2"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})"), 4), "data_offsets] must be a list of 2"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})"), 4), "data_offsets[0]] must be an integer"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"), 4), "must be ordered and end within the 4"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), 4), "must be ordered and end within the 4"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807]})"), 4),
       "within the 4"},
      {file_of(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), 4),
       "must span shape [2] of F32 but got 4 bytes"},
      {file_of(one(R"({"dtype":"BF16","shape":[1],"data_offsets":[0,4]})"), 4),
       "must span shape [1] of BF16 but got 4 bytes"},
      {file_of(one(R"({"dtype":"F4","shape":[99],"data_offsets":[0,4]})"), 4), "must fit into 4 bytes"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), 8), "a hole in the data"},
      {file_of(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), 8), "must end with its last tensor"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
           6),
       "tensors overlap"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}})",
           10),
       "a hole in the data"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           8),
       "'a' twice"},
      {file_of(R"({"a":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})", 4), "'dtype' twice"},
      {file_of(R"({"__metadata__":{"format":3}})", 0), "__metadata__: format] must be a string but got 3"},
      {file_of(R"({"__metadata__":[]})", 0), "__metadata__] must be an object"},
      {file_of("{\"line\\nbreak\":7}", 0), "tensor 'line\\x0abreak'"},
  };
  for (const Row& row : rows) {
    const ScratchDirectory directory;
    directory.write("model.safetensors", row.bytes);
    const std::string message = load(directory);
    INFO(row.expected);
    CHECK_THAT(message, ContainsSubstring(row.expected));
    CHECK_THAT(message, ContainsSubstring("model.safetensors"));
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 1000);
  }
}

TEST_CASE("every truncation of a good file is refused", "[safetensors]") {
  const std::string good = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  for (std::size_t size = 0; size < good.size(); ++size) {
    const ScratchDirectory directory;
    directory.write("model.safetensors", good.substr(0, size));
    CHECK_FALSE(load(directory).empty());
  }
}

TEST_CASE("any byte of a header may lie", "[safetensors]") {
  const std::string good = file_of(
      R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"F16","shape":[1],"data_offsets":[8,10]}})",
      10);
  const ScratchDirectory directory;
  for (std::size_t at = 0; at < good.size() - 10; ++at) {
    for (const char value : {'\0', '"', '9', '-', '{', ']', '\x80', '\xFF'}) {
      std::string bad = good;
      bad[at] = value;
      directory.write("model.safetensors", bad);
      message_of<InputError>([&] {  // an InputError or tensors that can be read; nothing else
        const TensorFiles files(directory.path());
        if (files.contains("a")) (void)files.require("a", {2, 1});
      });
    }
  }
  SUCCEED();
}

TEST_CASE("NaN and infinity are found where they are", "[safetensors]") {
  struct Row {
    const char* dtype;
    std::size_t item_bytes;
    std::uint32_t bad;
    const char* expected;
  };
  const std::vector<Row> rows{
      {"F32", 4, 0x7FC00000U, "NaN"},   {"F32", 4, 0xFF800000U, "infinity"}, {"F32", 4, 0x7F800001U, "NaN"},
      {"F16", 2, 0x7E00U, "NaN"},       {"F16", 2, 0xFC00U, "infinity"},     {"BF16", 2, 0xFFC0U, "NaN"},
      {"BF16", 2, 0x7F80U, "infinity"},
  };
  const std::int64_t count = 5000;
  for (const Row& row : rows) {
    for (const std::int64_t index : {0, 1, 4095, 4096, 4999}) {
      const std::size_t data_bytes = static_cast<std::size_t>(count) * row.item_bytes;
      std::string header = std::string(R"({"t":{"dtype":")") + row.dtype + R"(","shape":[5000],"data_offsets":[0,)" +
                           std::to_string(data_bytes) + "]}}";
      if (header.size() % 2 == 0) header += ' ';
      std::string data(data_bytes, '\x11');
      const std::size_t at = static_cast<std::size_t>(index) * row.item_bytes;
      std::memcpy(data.data() + at, &row.bad, row.item_bytes);
      const ScratchDirectory directory;
      directory.write("model.safetensors", file_of(header, data));
      const TensorFiles files(directory.path());
      const std::string expected = std::string("must hold finite numbers but got ") + row.expected + " at index " +
                                   std::to_string(index) + " (byte offset " + std::to_string(8 + header.size() + at) +
                                   ")";
      for (int twice = 0; twice < 2; ++twice) {
        CHECK_THAT(message_of<InputError>([&] { (void)files.require("t", {count}); }), ContainsSubstring(expected));
      }
    }
  }
}

TEST_CASE("shards are joined by their index, which must not lie", "[safetensors]") {
  const auto shard = [](const std::string& name) {
    return file_of("{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4);
  };
  const char* const index = "model.safetensors.index.json";
  {
    const ScratchDirectory directory;
    directory.write("s1.safetensors", shard("a"));
    directory.write("s2.safetensors", shard("b"));
    directory.write(index, R"({"metadata":{"total_size":8},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
    const TensorFiles files(directory.path());
    CHECK(files.files().size() == 2);
    CHECK(files.contains("a"));
    CHECK(files.contains("b"));
    // A single file beside the index wins, as in transformers.
    directory.write("model.safetensors", shard("c"));
    const TensorFiles single(directory.path());
    CHECK(single.contains("c"));
    CHECK_FALSE(single.contains("a"));
  }
  struct Row {
    const char* index;
    const char* expected;
  };
  const std::vector<Row> rows{
      {"", "must hold data but got an empty file"},
      {"{", "syntax error"},
      {"[]", "must be a JSON object"},
      {"{}", "weight_map] must be an object"},
      {R"({"weight_map":[]})", "weight_map] must be an object"},
      {R"({"weight_map":{}})", "weight_map] must be an object"},
      {R"({"weight_map":{"a":1}})", "weight_map['a']] must be a file name but got 1"},
      {R"({"weight_map":{"a":""}})", "must be a plain file name"},
      {R"({"weight_map":{"a":".."}})", "must be a plain file name"},
      {R"({"weight_map":{"a":"../s1.safetensors"}})", "must be a plain file name"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "must be a plain file name"},
      {R"({"weight_map":{"a":"s1.safetensors\u0000x"}})", "must be a plain file name"},
      {R"({"weight_map":{"a":"none.safetensors"}})", "must name existing shards but got 'none.safetensors'"},
      {R"({"weight_map":{"a":"s2.safetensors","b":"s1.safetensors"}})", "must name the shard that holds the tensor"},
      {R"({"weight_map":{"a":"s1.safetensors","x":"s1.safetensors"}})", "weight_map['x']] must name the shard"},
      {R"({"weight_map":{"a":"s1.safetensors","b":"again.safetensors"}})", "tensor 'a'] must be in one shard only"},
      {R"({"weight_map":{"a":"folder"}})", "must be a regular file but got a directory"},
  };
  for (const Row& row : rows) {
    const ScratchDirectory directory;
    directory.write("s1.safetensors", shard("a"));
    directory.write("s2.safetensors", shard("b"));
    directory.write("again.safetensors", shard("a"));
    std::filesystem::create_directory(directory.path() / "folder");
    directory.write(index, row.index);
    INFO(row.index);
    CHECK_THAT(load(directory), ContainsSubstring(row.expected));
  }
}

TEST_CASE("a directory without safetensors says what it looked for", "[safetensors]") {
  const ScratchDirectory directory;
  CHECK_THAT(load(directory), ContainsSubstring("must hold model.safetensors or model.safetensors.index.json"));
  directory.write("pytorch_model-00001-of-00002.bin", "x");
  CHECK_THAT(load(directory), ContainsSubstring("(convert pytorch_model-00001-of-00002.bin to safetensors first)"));
  const auto absent = message_of<InputError>([&] { TensorFiles files(directory.path() / "none"); });
  CHECK_THAT(absent, ContainsSubstring("must be a checkpoint directory but got no such directory"));
  std::filesystem::create_directory(directory.path() / "model.safetensors");
  CHECK_THAT(load(directory), ContainsSubstring("must be a regular file but got a directory"));
}
