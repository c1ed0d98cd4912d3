// Files that are no stores, or no longer: each one an InputError, whatever is wrong with it.
#include <fstream>
#include <iterator>
#include <random>

#include "kernels/error.hpp"
#include "search/hdf5_file.hpp"
#include "search/store.hpp"
#include "tests/search/store_fixture.hpp"
#include "tests/support/catch.hpp"

using namespace longrope;
using namespace longrope::search;
using namespace longrope::search::test;

// HDF5 1.10 leaks its own memory when it meets damage; LeakSanitizer asks for this at the end.
extern "C" const char* __lsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace {

void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read_bytes(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string refusal(const std::filesystem::path& file) {
  return message_of<InputError>([&] { read_store(file); });
}

}  // namespace

TEST_CASE("files that are not stores are refused") {
  const TemporaryDirectory directory;
  CHECK(contains(refusal(directory / "none.h5"), "does not exist"));
  CHECK(contains(refusal(directory / "."), "is not a regular file"));
  CHECK(contains(refusal("/dev/null"), "is not a regular file"));
  const auto file = directory / "file.h5";
  std::mt19937 random(1);
  std::string noise(5000, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  for (const std::string& bytes : {std::string(), std::string("text\n"), noise, std::string("\211HDF\r\n\032\n"),
                                   "\211HDF\r\n\032\n\003" + noise, "\211HDF\r\n\032\n" + std::string(100, '\0')}) {
    write_bytes(file, bytes);
    CHECK(contains(refusal(file), "is not a longrope store"));
    StoreContents contents;
    CHECK(!message_of<InputError>([&] { StoreWriter::resume(file, make_header(), contents); }).empty());
    CHECK(read_bytes(file) == bytes);  // untouched
  }
}

TEST_CASE("other HDF5 files and other schemas are refused") {
  const TemporaryDirectory directory;
  const auto file = directory / "other.h5";
  {
    const Hdf5Object other = Hdf5Object::create_file(file);
    other.create_group("documents").write_fixed("a", std::vector<std::int64_t>{1, 2, 3}, "token");
  }
  CHECK(contains(refusal(file), "is not a longrope store"));
  {
    const Hdf5Object other = Hdf5Object::create_file(file);
    other.set_attribute("schema_version", std::int64_t{2});
    for (const char* name : {"model", "corpus", "stages"}) other.create_group(name);
  }
  CHECK(contains(refusal(file), "must have schema version 1 but has 2"));
  {
    const Hdf5Object other = Hdf5Object::create_file(file);
    other.set_attribute("schema_version", std::int64_t{1});
    for (const char* name : {"model", "corpus", "stages"}) other.create_group(name);
  }
  CHECK(contains(refusal(file), "is damaged"));
  {
    const Hdf5Object other = Hdf5Object::create_file(file);
    other.set_attribute("schema_version", std::string("one"));
    for (const char* name : {"model", "corpus", "stages"}) other.create_group(name);
  }
  CHECK(!refusal(file).empty());
}

TEST_CASE("a store cut short or with changed bytes is read or refused, never more") {
  const TemporaryDirectory directory;
  const auto file = directory / "job.h5";
  {
    StoreWriter writer = StoreWriter::create(file, make_header());
    std::int64_t rows = 0;
    for (int g = -1; g < 3; ++g) {
      std::vector<StoreRow> batch;
      for (int i = 0; i < 4; ++i) batch.push_back(make_row(rows + i, g));
      rows += 4;
      writer.append(batch, make_generation(g, rows), "state");
    }
    writer.finish("done", {{"main", {1.0, 2.0}, {1.0, 1.5}, 1.19, 2048, 256}});
  }
  {
    StoreHeader second = make_header();
    second.stage.name = "repair";
    second.stage.index = 1;
    second.stage.baselines = "long,identity,half";
    second.stage.original_objectives = {3.5};
    StoreWriter writer = StoreWriter::add_stage(file, second);
    writer.append({make_row(0, 0), make_row(1, 0)}, make_generation(0, 2), "state");
    writer.finish("done", {{"repair", {1.0, 2.0}, {1.0, 1.5}, 1.19, 2048, 256, 1.1, 4, 2, 256}});
  }
  const std::string whole = read_bytes(file);
  const auto damaged = directory / "damaged.h5";
  const auto attempt = [&](const std::string& bytes) {
    write_bytes(damaged, bytes);
    bool refused = false;
    try {
      read_store(damaged);
      read_store_tables(damaged);
    } catch (const InputError&) {
      refused = true;
    }
    return refused;
  };
  CHECK(!attempt(whole));
  int refused = 0;
  for (std::size_t size = 0; size < whole.size(); size += 1 + whole.size() / 150)
    refused += attempt(whole.substr(0, size));
  CHECK(refused >= 140);
  std::mt19937 random(7);
  refused = 0;
  for (int trial = 0; trial < 600; ++trial) {
    std::string bytes = whole;
    for (int change = 0; change < 1 + trial % 20; ++change)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    refused += attempt(bytes);
  }
  CHECK(refused > 50);
}
