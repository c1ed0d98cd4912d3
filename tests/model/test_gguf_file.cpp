// GGUF: good files as they are, broken ones by a clear error each, before anything large is allocated.
#include <limits>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/gguf_file.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/gguf_builder.hpp"

namespace {

using longrope::InputError;
using longrope::model::GgufFile;
using longrope::model::GgufType;
using longrope::tests::ContainsSubstring;
using longrope::tests::floats;
using longrope::tests::gguf_text;
using longrope::tests::GgufBuilder;
using longrope::tests::message_of;
using longrope::tests::raw;
using longrope::tests::ScratchDirectory;

GgufBuilder sound() {
  GgufBuilder builder;
  builder.text("general.architecture", "llama").u32("llama.block_count", 2).f32("llama.rope.freq_base", 5e5F);
  builder.raw_key("tokens", 9, raw<std::uint32_t>(8) + raw<std::uint64_t>(2) + gguf_text("a") + gguf_text("\xFF\xFE"));
  builder.raw_key("flags", 9, raw<std::uint32_t>(7) + raw<std::uint64_t>(3) + std::string("\1\0\1", 3));
  builder.raw_key("big", 10, raw<std::uint64_t>(std::numeric_limits<std::uint64_t>::max()));
  builder.raw_key("negative", 5, raw<std::int32_t>(-1));
  builder.tensor("a", {3}, 0, floats(3));
  builder.tensor("q", {32, 2}, 8, std::string(68, 'q'));  // Q8_0: 34 bytes for 32 elements
  builder.tensor("b", {2, 2, 1, 1}, 1, std::string(8, 'b'));
  return builder;
}

std::string load(const ScratchDirectory& directory, const std::string& bytes) {
  const auto path = directory.write("file.gguf", bytes);
  return message_of<InputError>([&] { GgufFile file(path); });
}

}  // namespace

TEST_CASE("a GGUF is read as written", "[gguf]") {
  const ScratchDirectory directory;
  const GgufFile file(directory.write("file.gguf", sound().bytes()));
  CHECK(file.alignment() == 32);
  REQUIRE(file.values().size() == 7);
  REQUIRE(file.tensors().size() == 3);
  CHECK(file.find_string("general.architecture") == "llama");
  CHECK(file.find_integer("llama.block_count") == 2);
  CHECK(file.find_float("llama.rope.freq_base") == 5e5F);
  CHECK_FALSE(file.find_string("absent"));
  CHECK_FALSE(file.find_integer("absent"));
  CHECK_FALSE(file.find_float("absent"));
  const auto* tokens = file.find("tokens");
  REQUIRE(tokens != nullptr);
  CHECK(tokens->type == GgufType::array);
  CHECK(tokens->element == GgufType::string);
  CHECK(tokens->count == 2);
  CHECK(tokens->payload == gguf_text("a") + gguf_text("\xFF\xFE"));
  CHECK(tokens->encoded == sound().keys[3]);
  const auto* tensor = file.find_tensor("q");
  REQUIRE(tensor != nullptr);
  CHECK(tensor->dims == std::vector<std::int64_t>{32, 2});
  CHECK(tensor->rows() == 2);
  CHECK(tensor->row_bytes == 34);
  CHECK(tensor->data == std::string(68, 'q'));
  CHECK(file.find_tensor("a")->data == floats(3));
  CHECK(file.find_tensor("b")->data == std::string(8, 'b'));
  CHECK(file.find_tensor("c") == nullptr);
  const auto refused = [&](auto call) { return message_of<InputError>(call); };
  CHECK_THAT(refused([&] { file.find_string("llama.block_count"); }), ContainsSubstring("must be a string"));
  CHECK_THAT(refused([&] { file.find_integer("general.architecture"); }), ContainsSubstring("must be an integer >= 0"));
  CHECK_THAT(refused([&] { file.find_integer("negative"); }), ContainsSubstring("must be an integer >= 0"));
  CHECK_THAT(refused([&] { file.find_integer("big"); }), ContainsSubstring("must be an integer >= 0"));
  CHECK_THAT(refused([&] { file.find_float("llama.block_count"); }), ContainsSubstring("must be a float32"));
}

TEST_CASE("a GGUF without padding at its end, and one of another alignment, are read", "[gguf]") {
  const ScratchDirectory directory;
  const std::string whole = sound().bytes();
  CHECK(load(directory, whole.substr(0, whole.size() - 24)).empty());
  GgufBuilder wide = sound();
  wide.u32("general.alignment", 4096);
  wide.alignment = 4096;
  CHECK(load(directory, wide.bytes()).empty());
  GgufBuilder narrow = sound();
  narrow.u32("general.alignment", 1);
  narrow.alignment = 1;
  const GgufFile file(directory.write("narrow.gguf", narrow.bytes()));
  CHECK(file.find_tensor("b")->data == std::string(8, 'b'));
}

TEST_CASE("every truncation of a GGUF is refused", "[gguf]") {
  const ScratchDirectory directory;
  const std::string whole = sound().bytes();
  for (std::size_t bytes = 0; bytes + 24 < whole.size(); ++bytes) {
    INFO("cut to " << bytes << " bytes");
    CHECK_THAT(load(directory, whole.substr(0, bytes)), ContainsSubstring("must"));
  }
}

TEST_CASE("broken GGUF files are refused", "[gguf]") {
  const auto with = [](auto change) {
    GgufBuilder builder = sound();
    change(builder);
    return builder.bytes();
  };
  struct Row {
    std::string bytes;
    const char* expected;
  };
  using B = GgufBuilder;
  const auto key = [&](std::uint32_t type, const std::string& payload) {
    return with([&](B& b) { b.raw_key("k", type, payload); });
  };
  const auto tensor = [&](std::vector<std::uint64_t> dims, std::uint32_t type, std::size_t bytes) {
    return with([&](B& b) { b.tensor("t", std::move(dims), type, std::string(bytes, '\0')); });
  };
  const auto aligned = [&](std::uint32_t value) { return with([&](B& b) { b.u32("general.alignment", value); }); };
  const std::uint64_t huge = 1ULL << 62U;
  const std::vector<Row> rows{
      {with([](B& b) { b.magic = "GGML"; }), "must begin with 'GGUF' but got 'GGML'"},
      {with([](B& b) { b.version = 2; }), "be 3 but got 2"},
      {with([](B& b) { b.version = 4; }), "be 3 but got 4"},
      {with([](B& b) { b.version = 0x03000000; }), "big-endian"},
      {with([](B& b) { b.key_count = 8; }), "must"},
      {with([](B& b) { b.key_count = 6; }), "must"},
      {with([](B& b) { b.key_count = std::numeric_limits<std::int64_t>::max(); }),
       "key count at byte offset 24] must fit"},
      {with([](B& b) { b.tensor_count = std::numeric_limits<std::int64_t>::max(); }), "tensor count at byte offset"},
      {with([](B& b) { b.tensor_count = 4; }), "must"},
      {with([](B& b) { b.tensor_count = 2; }), "end with the last tensor"},
      {with([](B& b) { b.u32("", 1); }), "not be empty"},
      {with([](B& b) { b.u32("a\xFF", 1); }), "UTF-8 but got byte 0xff at its byte 1"},
      {with([](B& b) { b.u32(std::string(65536, 'k'), 1); }), "at most 65535 bytes but got 65536"},
      {with([](B& b) { b.keys.push_back(raw(huge) + "k"); }), "at most 65535 bytes but got 4611686018427387904"},
      {with([](B& b) { b.u32("llama.block_count", 2); }), "key 'llama.block_count'"},
      {key(13, "\0\0\0\0"), "value type from 0 to 12 but got 13"},
      {key(8, raw(huge) + "text"), "but got 4611686018427387904 bytes"},
      {key(8, gguf_text("\xC0\x80")), "key 'k' at byte offset"},
      {key(7, "\2"), "boolean 0 or 1 but got 2"},
      {key(9, raw<std::uint32_t>(9) + raw<std::uint64_t>(1)), "array of arrays"},
      {key(9, raw<std::uint32_t>(99) + raw<std::uint64_t>(1)), "value type from 0 to 12 but got 99"},
      {key(9, raw<std::uint32_t>(4) + raw(huge)), "as many elements as the file has bytes for"},
      {key(9, raw<std::uint32_t>(12) + raw(huge / 4)), "as many elements as the file has bytes for"},
      {key(9, raw<std::uint32_t>(8) + raw(huge)), "as many elements as the file has bytes for"},
      {key(9, raw<std::uint32_t>(8) + raw<std::uint64_t>(1) + raw(huge)), "end within the file's"},
      {key(9, raw<std::uint32_t>(7) + raw<std::uint64_t>(1) + "\7"), "boolean 0 or 1 but got 7"},
      {aligned(0), "power of two up to"},
      {aligned(24), "power of two up to 1048576 but got 24"},
      {aligned(1U << 31U), "power of two up to"},
      {with([](B& b) { b.raw_key("general.alignment", 10, raw<std::uint64_t>(32)); }), "be a u32"},
      {with([](B& b) { b.tensor("a", {1}, 0, floats(1)); }), "tensor 'a' at byte offset"},
      {with([](B& b) { b.tensor("\xFF", {1}, 0, floats(1)); }), "name of tensor 3"},
      {with([](B& b) { b.tensor(std::string(64, 'n'), {1}, 0, floats(1)); }), "at most 63 bytes but got 64"},
      {tensor({}, 0, 4), "1 to 4 dimensions but got 0"},
      {tensor({1, 1, 1, 1, 1}, 0, 4), "1 to 4 dimensions but got 5"},
      {tensor({0}, 0, 0), "dimension 0 is 0"},
      {tensor({std::numeric_limits<std::uint64_t>::max()}, 0, 4), "dimension 0 is 18446744073709551615"},
      {tensor({1ULL << 32U, 1ULL << 32U}, 0, 4), "dimension 1 is 4294967296"},
      {tensor({1ULL << 62U}, 0, 4), "size within"},
      {tensor({32}, 4, 4), "known tensor type but got 4"},
      {tensor({32}, 4294967295U, 4), "known tensor type"},
      {tensor({33}, 8, 68), "rows of whole Q8_0 blocks of 32 but got 33"},
      {tensor({1000}, 0, 4), "end within the"},
      {with([](B& b) { b.tensors[1].offset = 64; }),
       "begin where the tensor before it ends, at data offset 32, but got 64"},
      {with([](B& b) { b.tensors[1].offset = 0; }), "at data offset 32, but got 0"},
      {with([](B& b) { b.tensors[2].offset = std::numeric_limits<std::int64_t>::max(); }), "at data offset 128"},
      {sound().bytes() + std::string(32, '\0'), "end with the last tensor"},
  };
  const ScratchDirectory directory;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    INFO("row " << i);
    const std::string message = load(directory, rows[i].bytes);
    CHECK_THAT(message, ContainsSubstring(rows[i].expected));
    CHECK_THAT(message, ContainsSubstring("file.gguf"));
  }
}
