// Tables as override JSON, as one JSON object, and what formats refuse; files that appear whole or not at all.
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/error.hpp"
#include "model/atomic_file.hpp"
#include "model/engine_overrides.hpp"
#include "model/hf_export.hpp"
#include "model/mapped_file.hpp"
#include "model/table_json.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

using longrope::InputError;
using longrope::RuntimeError;
using longrope::model::ExportTables;
using longrope::model::FileWithReadme;
using longrope::model::HfExportOptions;
using longrope::model::HfReader;
using longrope::model::ModelConfig;
using longrope::model::NewFile;
using longrope::model::OverrideEngine;
using longrope::model::RopeTable;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;
using longrope::tests::ScratchDirectory;

ModelConfig config_of(const std::string& type) {
  ModelConfig config;
  config.architecture = type;
  config.model_type = type;
  config.head_dim = 4;
  config.sliding_window = {0};
  config.rope = {4, 500000.0, 256};
  return config;
}

/// Factors that no decimal of 16 digits gives back.
ExportTables switching(const ModelConfig& config) {
  ExportTables tables;
  tables.long_table = RopeTable::from_factors(config.rope, {1.0 / 3.0 + 1.0, 7.0 / 9.0}, 1.1000000000000001, 0);
  tables.short_table = RopeTable::from_factors(config.rope, {1.0, 1.0 + 1e-15}, 1.0, 0);
  tables.switches = true;
  tables.target_length = 2048;
  return tables;
}

std::vector<std::string> names_in(const ScratchDirectory& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
    names.push_back(entry.path().filename());
  return names;
}

}  // namespace

TEST_CASE("override JSON holds everything and reads back to the bit", "[export]") {
  for (const auto engine : {OverrideEngine::vllm, OverrideEngine::sglang}) {
    ModelConfig config = config_of("phi3");
    config.head_dim = 8;  // half of it rotates
    const ExportTables tables = switching(config);
    const std::string json = override_json(engine, tables, config);
    CHECK_THAT(json, ContainsSubstring("\"rope_theta\":500000.0"));
    CHECK_THAT(json, ContainsSubstring("\"partial_rotary_factor\":0.5"));
    CHECK(json.find('\n') == std::string::npos);
    const ExportTables back = read_override_json(engine, json, "x", config);
    CHECK(back.long_table.factors == tables.long_table.factors);
    CHECK(back.long_table.inv_freq == tables.long_table.inv_freq);
    CHECK(back.long_table.attention_factor == tables.long_table.attention_factor);
    CHECK(back.short_table.factors == tables.short_table.factors);
    CHECK(back.short_table.attention_factor == 1.0);
    CHECK(back.target_length == 2048);
    CHECK(back.switches);
    // Without the base, engines fall back to 10000 and say nothing: so must not we.
    std::string without = json;
    while (without.find("rope_theta") != std::string::npos)
      without.replace(without.find("rope_theta"), 10, "theta_rope");
    CHECK_THAT(message_of<InputError>([&] { read_override_json(engine, without, "x", config); }),
               ContainsSubstring("rope_theta] must be"));
    CHECK_THAT(message_of<InputError>([&] { read_override_json(engine, "{}", "x", config); }),
               ContainsSubstring("[x: rope_"));
  }
}

TEST_CASE("a serve command quotes for the shell", "[export]") {
  const std::string command = serve_command(OverrideEngine::vllm, R"({"a":1})", "/models/it's $HOME", 2048);
  CHECK_THAT(command, ContainsSubstring(R"('/models/it'\''s $HOME')"));
  CHECK_THAT(command, ContainsSubstring(R"('{"a":1}')"));
  CHECK_THAT(command, ContainsSubstring("--max-model-len 2048"));
  CHECK_THAT(serve_command(OverrideEngine::sglang, "{}", "/m", 4096), ContainsSubstring("--context-length 4096"));
}

TEST_CASE("a table as JSON reads back to the bit", "[export]") {
  const ModelConfig config = config_of("llama");
  ExportTables tables = switching(config);
  tables.long_table.start_tokens = 5;
  const ExportTables back = read_table_json(table_json(tables, config, "name"), "x", config);
  CHECK(back.long_table.factors == tables.long_table.factors);
  CHECK(back.long_table.attention_factor == tables.long_table.attention_factor);
  CHECK(back.long_table.start_tokens == 5);
  CHECK(back.short_table.factors == tables.short_table.factors);
  CHECK(back.switches);
  tables.switches = false;
  const ExportTables fixed = read_table_json(table_json(tables, config, "name"), "x", config);
  CHECK_FALSE(fixed.switches);
  CHECK(fixed.short_table.factors == tables.long_table.factors);
}

TEST_CASE("what a format cannot express is refused or said", "[export]") {
  HfExportOptions options;
  const ModelConfig llama = config_of("llama");
  options.tables = switching(llama);
  CHECK(check_hf_export(options, llama).size() == 2);  // one attention factor for both; cached K and V
  CHECK(check_overrides(OverrideEngine::vllm, options.tables, llama).empty());
  CHECK(check_overrides(OverrideEngine::sglang, options.tables, llama).size() == 1);
  ModelConfig mistral = config_of("mistral");
  mistral.sliding_window = {0, 1024};
  const auto warnings = check_overrides(OverrideEngine::vllm, options.tables, mistral);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], ContainsSubstring("sliding window of 1024"));

  const auto refused = [&](const ModelConfig& config) {
    return message_of<InputError>([&] { check_hf_export(options, config); });
  };
  CHECK_THAT(refused(config_of("phi3")), ContainsSubstring("Phi-3's config cannot carry an attention factor"));
  options.reader = HfReader::trtllm;
  CHECK_THAT(refused(llama), ContainsSubstring("TensorRT-LLM cannot be told an attention factor"));
  options.tables.long_table.attention_factor = longrope::model::longrope_attention_factor(8.0, 256);
  CHECK(refused(llama).empty());
  options.tables.short_table.start_tokens = 1;
  CHECK_THAT(refused(llama), ContainsSubstring("TensorRT-LLM cannot express start_tokens"));
  CHECK_THAT(message_of<InputError>([&] { check_overrides(OverrideEngine::sglang, options.tables, llama); }),
             ContainsSubstring("SGLang cannot express start_tokens"));
  options.tables.short_table.start_tokens = 0;
  options.tables.target_length = 255;
  CHECK_THAT(refused(llama), ContainsSubstring("at least the original length 256 but got 255"));
}

TEST_CASE("a new file appears whole at commit, and not without", "[export]") {
  const ScratchDirectory directory;
  const std::string piece(700'000, 'p');  // pieces are gathered up to 2^20 bytes
  const std::string large(3'000'000, 'l');
  {
    NewFile file(directory.path() / "kept");
    file.append("a");
    file.append(piece);
    file.append(piece);
    file.append(large);
    file.append("z");
    CHECK(file.size() == 4'400'002);
    CHECK_FALSE(std::filesystem::exists(directory.path() / "kept"));
    file.commit();
    NewFile dropped(directory.path() / "dropped");
    dropped.append(large);
  }
  CHECK(names_in(directory) == std::vector<std::string>{"kept"});
  const longrope::model::MappedFile written(directory.path() / "kept");
  CHECK((written.bytes() == "a" + piece + piece + large + "z"));
  CHECK_THAT(message_of<InputError>([&] { NewFile again(directory.path() / "kept"); }),
             ContainsSubstring("exists already"));
}

TEST_CASE("a file and its README appear together or not at all", "[export]") {
  const ScratchDirectory directory;
  {
    FileWithReadme file(directory.path() / "table", "about\n");
    file.main().append("1\n");
  }
  CHECK(names_in(directory).empty());
  {
    FileWithReadme file(directory.path() / "table", "about\n");
    file.main().append("1\n");
    std::filesystem::create_directory(directory.path() / "table");  // comes in the way of the rename
    CHECK_FALSE(message_of<longrope::Error>([&] { file.commit(); }).empty());
  }
  CHECK(names_in(directory) == std::vector<std::string>{"table"});
  std::filesystem::remove(directory.path() / "table");
  FileWithReadme file(directory.path() / "table", "about\n");
  file.main().append("1\n");
  file.commit();
  CHECK(longrope::model::read_small_file(directory.path() / "table", 10) == "1\n");
  CHECK(longrope::model::read_small_file(directory.path() / "table.README.md", 10) == "about\n");
}
