// Text and token files: what is read, and each broken input by a clear error.
#include <hdf5.h>

#include <array>
#include <fstream>
#include <functional>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/documents.hpp"
#include "model/utf8.hpp"
#include "model/windows.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

namespace fs = std::filesystem;
using longrope::InputError;
using longrope::model::Corpus;
using longrope::model::find_bos;
using longrope::model::read_text;
using longrope::model::read_tokens;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;
using longrope::tests::ScratchDirectory;
using longrope::tests::shared_directory;

constexpr std::int64_t kVocabulary = 300;

bool have_shared(const char* test) {
  if (fs::exists(shared_directory() / "models" / "golden.json")) return true;
  WARN("skipped " << test << ": no " << shared_directory() << " (set LONGROPE_SHARED)");
  return false;
}

std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string bytes = std::string("\x93NUMPY", 6) + version + '\0';
  const std::size_t n = header.size();
  bytes += static_cast<char>(n & 0xFF);
  bytes += static_cast<char>(n >> 8 & 0xFF);
  if (version > 1) bytes += std::string(2, '\0');
  return bytes + header + data;
}

/// Refusal of a token file of this name and these bytes.
std::string refusal(const std::string& name, const std::string& bytes) {
  const ScratchDirectory directory;
  const fs::path file = directory.write(name, bytes);
  return message_of<InputError>([&] { read_tokens(directory.path(), file, kVocabulary, std::nullopt); });
}

std::vector<std::int32_t> tokens_in(const std::string& name, const std::string& bytes) {
  const ScratchDirectory directory;
  const Corpus corpus = read_tokens(directory.path(), directory.write(name, bytes), kVocabulary, std::nullopt);
  REQUIRE(corpus.documents.size() == 1);
  CHECK(corpus.documents[0].name == name);
  return corpus.documents[0].tokens;
}

using Tokens = std::vector<std::int32_t>;

/// One-dimensional dataset; `type` is its type in the file.
void put(hid_t group, const char* name, hid_t type, const std::vector<std::int64_t>& values,
         hid_t creation = H5P_DEFAULT) {
  const hsize_t extent = values.size();
  const hid_t space = H5Screate_simple(1, &extent, nullptr);
  const hid_t set = H5Dcreate2(group, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  REQUIRE(set >= 0);
  if (extent != 0) REQUIRE(H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
  H5Dclose(set);
  H5Sclose(space);
}

/// A file whose /documents `fill` makes.
fs::path make_h5(const ScratchDirectory& directory, bool tracked, const std::function<void(hid_t)>& fill) {
  const fs::path path = directory.path() / "tokens.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  REQUIRE(file >= 0);
  const hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
  if (tracked) H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  const hid_t group = H5Gcreate2(file, "documents", H5P_DEFAULT, creation, H5P_DEFAULT);
  REQUIRE(group >= 0);
  fill(group);
  H5Gclose(group);
  H5Pclose(creation);
  H5Fclose(file);
  return path;
}

Corpus read_h5(const ScratchDirectory& directory, const fs::path& file) {
  return read_tokens(directory.path(), file, kVocabulary, std::nullopt);
}

}  // namespace

TEST_CASE("raw and .npy token files are read in any integer type", "[documents]") {
  CHECK(tokens_in("a.u16", std::string("\x01\x00\x2B\x01", 4)) == Tokens{1, 299});
  CHECK(tokens_in("a.u32", std::string("\x01\x00\x00\x00\x2B\x01\x00\x00", 8)) == Tokens{1, 299});
  struct Row {
    const char* descr;
    std::string data;  ///< of 1, 299 (or 1, 255 in a byte)
    Tokens expected;
  };
  const auto le = [](std::size_t bytes) {
    return std::string("\x01", 1) + std::string(bytes - 1, '\0') + std::string("\x2B\x01", 2) +
           std::string(bytes - 2, '\0');
  };
  const auto be = [](std::size_t bytes) {
    return std::string(bytes - 1, '\0') + std::string("\x01", 1) + std::string(bytes - 2, '\0') +
           std::string("\x01\x2B", 2);
  };
  for (const Row& row : std::vector<Row>{{"<u2", le(2), {1, 299}},
                                         {"<i2", le(2), {1, 299}},
                                         {"<u4", le(4), {1, 299}},
                                         {"<i4", le(4), {1, 299}},
                                         {"<i8", le(8), {1, 299}},
                                         {"=u8", le(8), {1, 299}},
                                         {">u2", be(2), {1, 299}},
                                         {">i4", be(4), {1, 299}},
                                         {">i8", be(8), {1, 299}},
                                         {"|u1", "\x01\xFF", {1, 255}},
                                         {"|i1", "\x01\x7F", {1, 127}}}) {
    INFO(row.descr);
    const std::string header =
        std::string("{'descr': '") + row.descr + "', 'fortran_order': False, 'shape': (2,), }   \n";
    for (const char version : {'\1', '\2', '\3'})
      CHECK(tokens_in("a.npy", npy(header, row.data, version)) == row.expected);
  }
}

TEST_CASE("broken raw and .npy token files are refused", "[documents]") {
  struct Row {
    const char* name;
    std::string bytes;
    const char* expected;
  };
  const auto header = [](const char* descr, const char* shape) {
    return std::string("{'descr': ") + descr + ", 'fortran_order': False, 'shape': " + shape + ", }\n";
  };
  const std::string two("\x01\x00\x02\x00", 4);
  const std::vector<Row> rows{
      {"a.u16", "", "must hold tokens but got none"},
      {"a.u16", "x", "must be a multiple of 2 bytes long but got 1 bytes"},
      {"a.u32", "xxxxx", "must be a multiple of 4 bytes long but got 5 bytes"},
      {"a.u16", std::string("\x01\x00\x2C\x01", 4),
       "a.u16: token index 1] must be in the vocabulary [0, 300) but got 300"},
      {"a.u32", std::string("\xFF\xFF\xFF\xFF", 4),
       "token index 0] must be in the vocabulary [0, 300) but got 4294967295"},
      {"a.bin", two, "must end in .h5, .hdf5, .npy, .u16 or .u32 but got '.bin'"},
      {"a", two, "must end in .h5, .hdf5, .npy, .u16 or .u32 but got ''"},
      {"a.npy", "", "must begin with the .npy magic string"},
      {"a.npy", "not numpy at all", "must begin with the .npy magic string but got 'not nu'"},
      {"a.npy", npy("", "", 4), "must be .npy version 1, 2 or 3 but got 4"},
      {"a.npy", std::string("\x93NUMPY\x02\x00\x01\x00", 10), "must be .npy version 1, 2 or 3"},
      {"a.npy", std::string("\x93NUMPY\x01\x00\xFF\xFF", 10),
       "header length at byte offset 8] must be at most 0 but got 65535"},
      {"a.npy", std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF", 12), "must be at most 0 but got 4294967295"},
      {"a.npy", npy("", ""), "descr] must be integers"},
      {"a.npy", npy("{'descr': '<u2'", two), "shape] must be one-dimensional"},
      {"a.npy", npy(header("'<f4'", "(1,)"), two), "descr] must be integers of 1, 2, 4 or 8 bytes but got '<f4'"},
      {"a.npy", npy(header("'|b1'", "(4,)"), two), "descr] must be integers"},
      {"a.npy", npy(header("'<u3'", "(1,)"), two), "descr] must be integers"},
      {"a.npy", npy(header("[('a', '<u2')]", "(2,)"), two), "descr] must be integers"},
      {"a.npy", npy(header("'<u2'", "()"), two), "shape] must be one-dimensional but got ()"},
      {"a.npy", npy(header("'<u2'", "(1, 2)"), two), "shape] must be one-dimensional but got (1, 2)"},
      {"a.npy", npy(header("'<u2'", "(-2,)"), two), "shape] must be one-dimensional"},
      {"a.npy", npy(header("'<u2'", "(2"), two), "shape] must be one-dimensional"},
      {"a.npy", npy(header("'<u2'", "(99999999999999999999,)"), two), "shape] must be one-dimensional"},
      {"a.npy", npy(header("'<u2'", "(3,)"), two), "shape] must fit the 4 data bytes"},
      {"a.npy", npy(header("'<u2'", "(9223372036854775807,)"), two), "shape] must fit the 4 data bytes"},
      {"a.npy", npy(header("'<u2'", "(1,)"), two), "shape] must fit the 4 data bytes"},
      {"a.npy", npy(header("'<u2'", "(0,)"), ""), "must hold tokens but got none"},
      {"a.npy", npy(header("'<i2'", "(2,)"), "\x01\x01\xFF\xFF"),
       "token index 1] must be in the vocabulary [0, 300) but got -1"},
      {"a.npy", npy(header("'<u8'", "(1,)"), std::string(8, '\xFF')), "but got 9223372036854775807"},
  };
  for (const Row& row : rows) {
    INFO(row.expected);
    const std::string message = refusal(row.name, row.bytes);
    CHECK_THAT(message, ContainsSubstring(row.expected));
    CHECK(message.find('\n') == std::string::npos);
  }
  const ScratchDirectory directory;
  for (const char* name : {"none.u16", "none.npy", "none.h5"}) {
    CHECK_THAT(message_of<InputError>([&] { read_h5(directory, directory.path() / name); }),
               ContainsSubstring("No such file"));
  }
  for (const char* name : {"folder.u16", "folder.npy", "folder.h5"}) {
    fs::create_directory(directory.path() / name);
    CHECK_THAT(message_of<InputError>([&] { read_h5(directory, directory.path() / name); }),
               ContainsSubstring("must be a regular file but got a directory"));
  }
}

TEST_CASE("HDF5 documents come in creation order where tracked, else by name", "[documents]") {
  const auto fill = [](hid_t group) {
    put(group, "zulu", H5T_STD_U8LE, {1, 255});
    put(group, "alpha", H5T_STD_I64BE, {2, 299});
    put(group, "mike", H5T_STD_U16BE, {3});
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk = 7;
    H5Pset_chunk(creation, 1, &chunk);
    if (H5Zfilter_avail(H5Z_FILTER_DEFLATE) > 0) H5Pset_deflate(creation, 4);
    std::vector<std::int64_t> many(600'000);  // several slabs
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::int64_t>(i % 300);
    put(group, "chunked", H5T_STD_I32LE, std::vector<std::int64_t>(many.begin(), many.begin() + 20), creation);
    H5Pclose(creation);
    put(group, "long", H5T_STD_I32LE, many);
    H5Lcreate_soft("alpha", group, "soft", H5P_DEFAULT, H5P_DEFAULT);
  };
  for (const bool tracked : {false, true}) {
    const ScratchDirectory directory;
    const Corpus corpus = read_h5(directory, make_h5(directory, tracked, fill));
    std::string names;
    for (const auto& document : corpus.documents) names += document.name + " ";
    CHECK(names == (tracked ? "zulu alpha mike chunked long soft " : "alpha chunked long mike soft zulu "));
    const std::size_t zulu = tracked ? 0 : 5;
    const std::size_t alpha = tracked ? 1 : 0;
    CHECK(corpus.documents[zulu].tokens == Tokens{1, 255});
    CHECK(corpus.documents[alpha].tokens == Tokens{2, 299});
    CHECK(corpus.documents[tracked ? 5 : 4].tokens == Tokens{2, 299});
    CHECK(corpus.documents[tracked ? 4 : 2].tokens.size() == 600'000);
    CHECK(corpus.documents[tracked ? 4 : 2].tokens[599'999] == 599'999 % 300);
    CHECK(corpus.total_tokens() == 2 + 2 + 1 + 20 + 600'000 + 2);
    CHECK(corpus.sources == std::vector<std::string>{(directory.path() / "tokens.h5").string()});
  }
}

TEST_CASE("broken HDF5 documents are refused by name", "[documents]") {
  struct Row {
    const char* expected;
    std::function<void(hid_t)> fill;
  };
  const auto claim = [](hid_t group, hid_t creation, hsize_t extent) {
    const hid_t space = H5Screate_simple(1, &extent, nullptr);
    const hid_t set = H5Dcreate2(group, "d", H5T_STD_I32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    REQUIRE(set >= 0);
    H5Dclose(set);
    H5Sclose(space);
  };
  const std::vector<Row> rows{
      {"/documents] must hold documents but got none", [](hid_t) {}},
      {"/documents/d: token index 2] must be in the vocabulary [0, 300) but got 300",
       [](hid_t g) {
         put(g, "d", H5T_STD_I32LE, {1, 2, 300});
       }},
      {"/documents/d: token index 0] must be in the vocabulary [0, 300) but got -1",
       [](hid_t g) { put(g, "d", H5T_STD_I8LE, {-1}); }},
      {"/documents/d] must hold tokens but got none", [](hid_t g) { put(g, "d", H5T_STD_I32LE, {}); }},
      {"/documents/d] must hold integers of at most 8 bytes",
       [](hid_t g) {
         put(g, "d", H5T_IEEE_F32LE, {1, 2});
       }},
      {"/documents/d] must be a dataset but got a group",
       [](hid_t g) { H5Gclose(H5Gcreate2(g, "d", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); }},
      {"/documents/d] must be a dataset but got a link to nothing",
       [](hid_t g) { H5Lcreate_soft("/nowhere", g, "d", H5P_DEFAULT, H5P_DEFAULT); }},
      {"/documents/d] must be a dataset but got a link to nothing",
       [](hid_t g) { H5Lcreate_soft("d", g, "d", H5P_DEFAULT, H5P_DEFAULT); }},
      {"/documents/d] must be a dataset in this file but got an external link",
       [](hid_t g) { H5Lcreate_external("/etc/passwd", "/x", g, "d", H5P_DEFAULT, H5P_DEFAULT); }},
      {"/documents/d] must be one-dimensional but got 2 dimensions",
       [](hid_t g) {
         const std::array<hsize_t, 2> extents{1, 2};
         const hid_t space = H5Screate_simple(2, extents.data(), nullptr);
         H5Dclose(H5Dcreate2(g, "d", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
         H5Sclose(space);
       }},
      {"/documents/d] must be one-dimensional but got 0 dimensions",
       [](hid_t g) {
         const hid_t space = H5Screate(H5S_SCALAR);
         H5Dclose(H5Dcreate2(g, "d", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
         H5Sclose(space);
       }},
      // extents far beyond what is stored
      {"must hold the 1099511627776 tokens it claims but got 0 stored",
       [&](hid_t g) { claim(g, H5P_DEFAULT, hsize_t{1} << 40); }},
      {"must hold the 1000 tokens it claims but got 0 stored", [&](hid_t g) { claim(g, H5P_DEFAULT, 1000); }},
      {"must hold the 1152921504606846976 tokens it claims but got 0 stored",
       [&](hid_t g) {
         const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
         const hsize_t chunk = 1 << 20;
         H5Pset_chunk(creation, 1, &chunk);
         claim(g, creation, hsize_t{1} << 60);
         H5Pclose(creation);
       }},
      {"must be stored in this file but got an external or virtual layout",
       [&](hid_t g) {
         const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
         H5Pset_external(creation, "/etc/passwd", 0, 400);
         claim(g, creation, 100);
         H5Pclose(creation);
       }},
  };
  for (const Row& row : rows) {
    INFO(row.expected);
    const ScratchDirectory directory;
    const fs::path file = make_h5(directory, false, row.fill);
    const std::string message = message_of<InputError>([&] { read_h5(directory, file); });
    CHECK_THAT(message, ContainsSubstring(row.expected));
    CHECK(message.find('\n') == std::string::npos);
  }
  CHECK_THAT(refusal("a.h5", ""), ContainsSubstring("must be an HDF5 file"));
  CHECK_THAT(refusal("a.hdf5", "this is not HDF5"), ContainsSubstring("must be an HDF5 file"));
  const ScratchDirectory directory;
  const fs::path bare = directory.path() / "bare.h5";
  H5Fclose(H5Fcreate(bare.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  CHECK_THAT(message_of<InputError>([&] { read_h5(directory, bare); }),
             ContainsSubstring("must hold a group /documents"));
  const hid_t file = H5Fopen(bare.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  put(file, "documents", H5T_STD_I32LE, {1});
  H5Fclose(file);
  CHECK_THAT(message_of<InputError>([&] { read_h5(directory, bare); }),
             ContainsSubstring("/documents] must be a group"));
}

TEST_CASE("every truncation of an HDF5 file is refused", "[documents]") {
  const ScratchDirectory directory;
  const fs::path whole = make_h5(directory, false, [](hid_t g) {
    std::vector<std::int64_t> values(200);
    std::iota(values.begin(), values.end(), 0);
    put(g, "d", H5T_STD_U16LE, values);
  });
  const std::string bytes = slurp(whole);
  for (std::size_t size = 0; size < bytes.size(); size += 13)
    CHECK_FALSE(refusal("a.h5", bytes.substr(0, size)).empty());
}

TEST_CASE("UTF-8 is checked as RFC 3629 says", "[documents]") {
  using longrope::model::first_invalid_utf8;
  for (const std::string& good :
       {std::string(), std::string("plain"), std::string("\0", 1), std::string("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"),
        std::string("\xED\x9F\xBF\xEE\x80\x80\xF4\x8F\xBF\xBF\xC2\x80\xE0\xA0\x80\xF0\x90\x80\x80")}) {
    CHECK_FALSE(first_invalid_utf8(good).has_value());
    CHECK_FALSE(first_invalid_utf8("0123456789" + good + "0123456789").has_value());
  }
  for (const char* bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC3", "\xC3(", "\xE0\x80\x80", "\xE0\x9F\xBF",
                          "\xE2\x82", "\xE2\x28\xA1", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80",
                          "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE", "\xFF"}) {
    for (std::size_t before = 0; before < 20; ++before) {
      CHECK(first_invalid_utf8(std::string(before, 'a') + bad) == before);
      CHECK(first_invalid_utf8(std::string(before, 'a') + bad + "tail of ASCII") == before);
    }
  }
  CHECK(longrope::model::excerpt("a\nb\x7F\xFF\xC2\x85\xC3\xA9") == "a\\x0ab\\x7f\\xff\\xc2\\x85\xC3\xA9");
  CHECK(longrope::model::excerpt(std::string(100, 'x'), 5) == "xxxxx...");
}

TEST_CASE("text that cannot be read is refused", "[documents]") {
  const ScratchDirectory directory;
  const fs::path text = directory.write("text.txt", "hello");
  const auto refused = [&](const fs::path& model, const std::vector<fs::path>& files, std::int64_t vocabulary) {
    return message_of<InputError>([&] { read_text(model, files, vocabulary, 1); });
  };
  CHECK_THAT(refused(directory.path(), {text}, 300),
             ContainsSubstring("must hold a SentencePiece tokenizer.model but got no"));
  directory.write("tokenizer.json", "{}");
  CHECK_THAT(refused(directory.path(), {text}, 300), ContainsSubstring("experiments/tokenize.py"));
  for (const char* bytes : {"", "garbage", "\n\x7F", "\x08\x01"}) {
    directory.write("tokenizer.model", bytes);
    CHECK_THAT(refused(directory.path(), {text}, 300), ContainsSubstring("tokenizer.model] must"));
  }
  if (!have_shared("text that cannot be read is refused (with a tokenizer)")) return;
  const fs::path books = shared_directory() / "models" / "books";
  CHECK_THAT(refused(books, {}, 1024), ContainsSubstring("at least one file"));
  CHECK_THAT(refused(books, {directory.write("empty.txt", "")}, 1024),
             ContainsSubstring("must hold text but got an empty file"));
  CHECK_THAT(refused(books, {directory.write("bad.txt", "good so far \xE9t\xE9")}, 1024),
             ContainsSubstring("must be UTF-8 but got byte 0xe9 at byte offset 12"));
  CHECK_THAT(refused(books, {directory.path()}, 1024), ContainsSubstring("must be a regular file but got a directory"));
  CHECK_THAT(refused(books, {directory.path() / "none.txt"}, 1024), ContainsSubstring("No such file"));
  CHECK_THAT(refused(books, {text}, 100), ContainsSubstring("text.txt: token index"));
  CHECK_THAT(refused(books, {text}, 1), ContainsSubstring("BOS] must be in the vocabulary [0, 1) but got 1"));
  // A NUL is a character.
  const Corpus corpus = read_text(books, {text, directory.write("nul.txt", std::string("a\0b", 3))}, 1024, 7);
  CHECK(corpus.documents.size() == 2);
  CHECK(corpus.documents[0].name == "text.txt");
  CHECK(corpus.bos == 1);
}

TEST_CASE("a damaged tokenizer.model is refused or read, never worse", "[documents]") {
  if (!have_shared("a damaged tokenizer.model")) return;
  const std::string good = slurp(shared_directory() / "models" / "stories260k" / "tokenizer.model");
  const ScratchDirectory directory;
  for (std::size_t size = 1; size < good.size(); size += 311) {
    directory.write("tokenizer.model", good.substr(0, size));
    message_of<InputError>([&] { find_bos(directory.path(), std::nullopt); });
  }
  SUCCEED();
}

TEST_CASE("BOS comes from tokenizer.model, tokenizer_config.json or the config", "[documents]") {
  const ScratchDirectory directory;
  CHECK(find_bos(directory.path(), 5) == 5);
  CHECK_FALSE(find_bos(directory.path(), std::nullopt).has_value());
  directory.write("tokenizer_config.json", R"({"bos_token":"<s>"})");
  CHECK(find_bos(directory.path(), 5) == 5);
  directory.write("tokenizer_config.json", R"({"eos_token":"</s>"})");
  CHECK(find_bos(directory.path(), 5) == 5);
  directory.write("tokenizer_config.json", R"({"bos_token":null})");
  CHECK_FALSE(find_bos(directory.path(), 5).has_value());
  directory.write("tokenizer_config.json", "{");
  CHECK_THAT(message_of<InputError>([&] { find_bos(directory.path(), 5); }),
             ContainsSubstring("tokenizer_config.json]"));
  const fs::path file = directory.write("t.u16", std::string(2, '\0'));
  directory.write("tokenizer_config.json", "{}");
  CHECK(read_tokens(directory.path(), file, 10, 9).bos == 9);
  CHECK_THAT(message_of<InputError>([&] { read_tokens(directory.path(), file, 10, 10); }),
             ContainsSubstring("BOS] must be in the vocabulary [0, 10) but got 10"));
  if (!have_shared("BOS of a tokenizer.model")) return;
  CHECK(find_bos(shared_directory() / "models" / "books", 7) == 1);
}

TEST_CASE("windows over a novel are those of golden.json", "[documents]") {
  if (!have_shared("windows over a novel are those of golden.json")) return;
  struct Row {
    const char* model;
    std::int64_t vocabulary;
    std::int64_t length;
    Tokens expected;  ///< golden.json: first_tokens
  };
  const fs::path text = shared_directory() / "text" / "validation" / "middlemarch-145.txt";
  const std::vector<Row> rows{
      {"books", 1024, 256, {1, 952, 947, 969, 952, 817, 336, 481}},
      {"books", 1024, 1024, {1, 375, 293, 448, 847, 794, 787, 333}},
      {"stories260k", 512, 512, {1, 431, 413, 285, 262, 287, 411, 410}},
      {"stories260k", 512, 1024, {1, 291, 276, 419, 412, 419, 382, 276}},
  };
  std::string model;
  Corpus corpus;
  for (const Row& row : rows) {
    if (model != row.model) corpus = read_text(shared_directory() / "models" / row.model, {text}, row.vocabulary, 1);
    model = row.model;
    const auto windows = longrope::model::make_windows(corpus, {}, row.length, 2);
    auto tokens = longrope::model::window_tokens(corpus, windows[1]);
    CHECK(tokens.size() == static_cast<std::size_t>(row.length));
    CHECK(windows[1].scored_tokens() == row.length - 1);
    tokens.resize(row.expected.size());
    CHECK(tokens == row.expected);
  }
}
