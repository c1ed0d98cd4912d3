// config.json: what is read, what is assumed, what is refused.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernels/error.hpp"
#include "model/model_config.hpp"
#include "model/sha256.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

using longrope::InputError;
using longrope::model::ModelConfig;
using longrope::model::read_model_config;
using longrope::tests::ContainsSubstring;
using longrope::tests::message_of;
using longrope::tests::ScratchDirectory;

/// Keys and their JSON text; a key given again replaces, an empty text removes.
using Keys = std::vector<std::pair<std::string, std::string>>;

const Keys kLlama{{"architectures", R"(["LlamaForCausalLM"])"},
                  {"vocab_size", "1000"},
                  {"hidden_size", "64"},
                  {"intermediate_size", "128"},
                  {"num_hidden_layers", "4"},
                  {"num_attention_heads", "8"},
                  {"max_position_embeddings", "256"}};

std::string config_text(const Keys& changes) {
  Keys keys = kLlama;
  for (const auto& [key, value] : changes) {
    bool replaced = false;
    for (auto& old : keys) {
      if (old.first != key) continue;
      old.second = value;
      replaced = true;
    }
    if (!replaced) keys.emplace_back(key, value);
  }
  std::string text;
  for (const auto& [key, value] : keys) {
    if (!value.empty()) text += (text.empty() ? "{" : ",") + ("\"" + key + "\":") + value;
  }
  return text + "}";
}

ModelConfig read(const Keys& changes) {
  const ScratchDirectory directory;
  directory.write("config.json", config_text(changes));
  return read_model_config(directory.path());
}

std::string architecture(const std::string& name) { return "[\"" + name + "ForCausalLM\"]"; }

}  // namespace

TEST_CASE("a plain Llama config gets transformers' defaults", "[config]") {
  const ModelConfig config = read({});
  CHECK(config.architecture == "LlamaForCausalLM");
  CHECK(config.model_type == "llama");
  CHECK(config.vocabulary == 1000);
  CHECK(config.hidden_size == 64);
  CHECK(config.intermediate_size == 128);
  CHECK(config.layers == 4);
  CHECK(config.heads == 8);
  CHECK(config.kv_heads == 8);
  CHECK(config.head_dim == 8);
  CHECK(config.rms_norm_epsilon == 1e-6F);
  CHECK_FALSE(config.tie_word_embeddings);
  CHECK_FALSE(config.fused_projections);
  CHECK_FALSE(config.per_head_norm);
  CHECK(config.sliding_window == std::vector<std::int64_t>(4, 0));
  CHECK_FALSE(config.bos_token_id.has_value());
  CHECK(config.max_position_embeddings == 256);
  CHECK(config.rope.rotary_dim == 8);
  CHECK(config.rope.theta == 10000.0);
  CHECK(config.rope.original_length == 256);
  CHECK(config.rope_scaling.type == "default");
  CHECK(config.sha256.size() == 64);
  CHECK(config.rope.plain_frequency(0) == 1.0);
  CHECK(config.rope.plain_frequency(3) == Approx(std::pow(10000.0, -0.75)).epsilon(1e-15));
}

TEST_CASE("the digest is SHA-256 of the file's bytes", "[config]") {
  using longrope::model::sha256_hex;
  // FIPS 180-4's examples
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(read({}).sha256 == sha256_hex(config_text({})));
}

TEST_CASE("each architecture has its own defaults", "[config]") {
  const ModelConfig mistral = read({{"architectures", architecture("Mistral")}, {"num_attention_heads", "16"}});
  CHECK(mistral.model_type == "mistral");
  CHECK(mistral.kv_heads == 8);
  CHECK(read({{"architectures", architecture("Mistral")}, {"num_attention_heads", "4"}}).kv_heads == 4);
  CHECK(read({{"architectures", architecture("Mistral")}, {"num_key_value_heads", "null"}}).kv_heads == 8);
  const ModelConfig qwen3 = read({{"architectures", architecture("Qwen3")}});
  CHECK(qwen3.head_dim == 128);
  CHECK(qwen3.rope.rotary_dim == 128);
  CHECK(qwen3.per_head_norm);
  CHECK(read({{"architectures", architecture("Qwen3")}, {"head_dim", "32"}}).head_dim == 32);
  CHECK(read({{"architectures", architecture("Qwen2")}, {"num_key_value_heads", "2"}}).kv_heads == 2);
  const ModelConfig phi3 = read({{"architectures", architecture("Phi3")}});
  CHECK(phi3.fused_projections);
  CHECK(phi3.rms_norm_epsilon == 1e-5F);
  // model_type where architectures says nothing
  for (const char* none : {"", "null", "[]"}) {
    CHECK(read({{"architectures", none}, {"model_type", "\"qwen2\""}}).architecture == "Qwen2ForCausalLM");
  }
}

TEST_CASE("bos_token_id is an integer, null or a list", "[config]") {
  CHECK(read({{"bos_token_id", "5"}}).bos_token_id == 5);
  CHECK(read({{"bos_token_id", "0"}}).bos_token_id == 0);
  CHECK_FALSE(read({{"bos_token_id", "null"}}).bos_token_id.has_value());
  CHECK(read({{"bos_token_id", "[7, 8]"}}).bos_token_id == 7);
  CHECK_FALSE(read({{"bos_token_id", "[]"}}).bos_token_id.has_value());
}

TEST_CASE("sliding windows are off unless the config turns them on", "[config]") {
  struct Row {
    const char* architecture;
    Keys keys;
    std::vector<std::int64_t> expected;
  };
  const Keys on{{"use_sliding_window", "true"}, {"sliding_window", "32"}};
  const auto with = [](Keys keys, const Keys& more) {
    keys.insert(keys.end(), more.begin(), more.end());
    return keys;
  };
  const std::vector<Row> rows{
      {"Llama", {{"sliding_window", "32"}}, {0, 0, 0, 0}},
      {"Mistral", {}, {0, 0, 0, 0}},
      {"Mistral", {{"sliding_window", "null"}}, {0, 0, 0, 0}},
      {"Mistral", {{"sliding_window", "100000"}}, {100000, 100000, 100000, 100000}},
      {"Phi3", {{"sliding_window", "2047"}}, {2047, 2047, 2047, 2047}},
      {"Phi3", {{"sliding_window", "null"}}, {0, 0, 0, 0}},
      {"Qwen2", {{"sliding_window", "32"}, {"max_window_layers", "0"}}, {0, 0, 0, 0}},
      {"Qwen2", {{"sliding_window", "32"}, {"use_sliding_window", "false"}, {"max_window_layers", "0"}}, {0, 0, 0, 0}},
      {"Qwen2", with(on, {{"max_window_layers", "3"}}), {0, 0, 0, 32}},
      {"Qwen3", with(on, {{"max_window_layers", "0"}}), {32, 32, 32, 32}},
      {"Qwen2", on, {0, 0, 0, 0}},  // max_window_layers defaults to 28
      {"Qwen3",
       with(on, {{"layer_types", R"(["full_attention","sliding_attention","full_attention","sliding_attention"])"}}),
       {0, 32, 0, 32}},
      {"Qwen2", {{"use_sliding_window", "true"}, {"sliding_window", "null"}, {"max_window_layers", "0"}}, {0, 0, 0, 0}},
  };
  for (const Row& row : rows) {
    Keys keys = row.keys;
    keys.emplace_back("architectures", architecture(row.architecture));
    INFO(config_text(keys));
    CHECK(read(keys).sliding_window == row.expected);
  }
}

TEST_CASE("rope keys of transformers v4 and v5 are read alike", "[config]") {
  struct Row {
    Keys keys;
    double theta;
    std::int64_t original_length;
    const char* type;
  };
  const std::vector<Row> rows{
      {{{"rope_theta", "500000"}}, 500000.0, 256, "default"},
      {{{"rope_scaling", "null"}, {"rope_theta", "1e6"}}, 1e6, 256, "default"},
      {{{"rope_parameters", R"({"rope_theta":20000.0,"rope_type":"default"})"}}, 20000.0, 256, "default"},
      {{{"rope_parameters", R"({"rope_theta":20000.0})"}}, 20000.0, 256, "default"},
      {{{"rope_parameters", R"({"rope_type":"linear","factor":4})"}, {"rope_theta", "30000"}}, 30000.0, 256, "linear"},
      {{{"rope_parameters", R"({"rope_type":"linear","factor":4,"rope_theta":7.0})"}, {"rope_theta", "30000"}},
       7.0,
       256,
       "linear"},
      // rope_parameters wins where both are
      {{{"rope_parameters", R"({"rope_type":"linear","factor":4})"},
        {"rope_scaling", R"({"type":"dynamic","factor":2})"}},
       10000.0,
       256,
       "linear"},
      {{{"rope_parameters", R"({"full_attention":{"rope_theta":9.5},"sliding_attention":{"rope_theta":9.5}})"}},
       9.5,
       256,
       "default"},
      {{{"rope_scaling", R"({"type":"dynamic","factor":2.0})"}}, 10000.0, 256, "dynamic"},
      {{{"rope_scaling", R"({"rope_type":"yarn","type":"linear","factor":2.0})"}}, 10000.0, 256, "yarn"},
      {{{"rope_scaling", R"({"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":128})"}},
       10000.0,
       128,
       "yarn"},
      {{{"rope_scaling", R"({"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":128})"},
        {"original_max_position_embeddings", "64"}},
       10000.0,
       64,
       "yarn"},
      {{{"original_max_position_embeddings", "64"}}, 10000.0, 64, "default"},
      {{{"rope_scaling", R"({"type":"su","short_factor":[1,1,1,1],"long_factor":[1,2,3.5,4]})"}},
       10000.0,
       256,
       "longrope"},
  };
  for (const Row& row : rows) {
    INFO(config_text(row.keys));
    const ModelConfig config = read(row.keys);
    CHECK(config.rope.theta == row.theta);
    CHECK(config.rope.original_length == row.original_length);
    CHECK(config.rope_scaling.type == row.type);
  }
}

TEST_CASE("scaling values are read", "[config]") {
  const auto yarn =
      read({{"rope_scaling",
             R"({"type":"yarn","factor":4,"attention_factor":1.25,"beta_fast":16,"beta_slow":2,"mscale":0.5,)"
             R"("mscale_all_dim":0.0,"truncate":false})"}})
          .rope_scaling;
  CHECK(yarn.factor == 4.0);
  CHECK(yarn.attention_factor == 1.25);
  CHECK(yarn.beta_fast == 16.0);
  CHECK(yarn.beta_slow == 2.0);
  CHECK(yarn.mscale == 0.5);
  CHECK(yarn.mscale_all_dim == 0.0);
  CHECK_FALSE(yarn.truncate);
  const auto llama3 =
      read({{"rope_scaling", R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0})"}})
          .rope_scaling;
  CHECK(llama3.low_freq_factor == 1.0);
  CHECK(llama3.high_freq_factor == 4.0);
  const auto phi3 = read({{"architectures", architecture("Phi3")},
                          {"partial_rotary_factor", "0.75"},
                          {"rope_scaling", R"({"type":"yarn","short_factor":[1,1.5,2],"long_factor":[1,2,3]})"}});
  CHECK(phi3.rope.rotary_dim == 6);
  CHECK(phi3.rope_scaling.type == "longrope");  // Phi-3's first files call it yarn
  CHECK(phi3.rope_scaling.short_factor == std::vector<double>{1, 1.5, 2});
  CHECK(phi3.rope_scaling.long_factor == std::vector<double>{1, 2, 3});
  CHECK_FALSE(phi3.rope_scaling.factor.has_value());
  CHECK(read({{"architectures", architecture("Phi3")}, {"rope_parameters", R"({"partial_rotary_factor":0.5})"}})
            .rope.rotary_dim == 4);
  // Only Phi-3 rotates a part of the head.
  CHECK(read({{"partial_rotary_factor", "0.5"}}).rope.rotary_dim == 8);
}

TEST_CASE("impossible configs are refused by key", "[config]") {
  struct Row {
    Keys keys;
    const char* expected;
  };
  std::vector<Row> rows{
      {{{"architectures", R"(["GPT2LMHeadModel"])"}},
       "architectures] must be a supported architecture but got 'GPT2LMHeadModel' (supported: LlamaForCausalLM, "
       "MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Phi3ForCausalLM)"},
      {{{"architectures", R"(["Llama\nForCausalLM"])"}}, "Llama\\x0aForCausalLM"},
      {{{"architectures", "\"LlamaForCausalLM\""}}, "architectures] must be a list of names"},
      {{{"architectures", "[3]"}}, "architectures] must be a list of names"},
      {{{"architectures", ""}}, "model_type] must be a supported architecture but got ''"},
      {{{"architectures", ""}, {"model_type", "\"gemma\""}},
       "model_type] must be a supported architecture but got 'gemma'"},
      {{{"architectures", ""}, {"model_type", "4"}}, "model_type] must be a string but got 4"},
      {{{"hidden_act", "\"gelu\""}}, "hidden_act] must be 'silu' but got \"gelu\""},
      {{{"mlp_bias", "true"}}, "mlp_bias] must be false"},
      {{{"quantization_config", R"({"quant_method":"gptq"})"}}, "quantisation method 'gptq'"},
      {{{"vocab_size", "16777217"}}, "vocab_size] must be an integer from 1 to 16777216 but got 16777217"},
      {{{"num_hidden_layers", "10001"}}, "num_hidden_layers] must be an integer from 1 to 10000"},
      {{{"hidden_size", "1048577"}}, "hidden_size] must be"},
      {{{"num_attention_heads", "7"}}, "hidden_size] must be a multiple of num_attention_heads 7 but got 64"},
      {{{"num_key_value_heads", "3"}}, "num_key_value_heads] must divide num_attention_heads 8 but got 3"},
      {{{"num_key_value_heads", "16"}}, "must divide num_attention_heads"},
      {{{"head_dim", "7"}}, "must give an even number of rotary dimensions, at least 2, but got 7"},
      {{{"head_dim", "16384"}, {"num_attention_heads", "65536"}}, "head_dim] must keep"},
      {{{"architectures", R"(["Phi3ForCausalLM"])"}, {"partial_rotary_factor", "0.4"}},
       "rotary dimensions, at least 2, but got 3"},
      {{{"architectures", R"(["Phi3ForCausalLM"])"}, {"partial_rotary_factor", "0.1"}}, "but got 0"},
      {{{"partial_rotary_factor", "1.5"}}, "partial_rotary_factor] must be at most 1 but got 1.5"},
      {{{"partial_rotary_factor", "-1"}}, "partial_rotary_factor] must be a finite number greater than 0"},
      {{{"rms_norm_eps", "0"}}, "rms_norm_eps] must be a finite number greater than 0"},
      {{{"rms_norm_eps", "1e-300"}}, "rms_norm_eps] must be a positive float32"},
      {{{"rms_norm_eps", "1e300"}}, "rms_norm_eps] must be a positive float32"},
      {{{"rms_norm_eps", "\"1e-5\""}}, "rms_norm_eps] must be a finite number"},
      {{{"rope_theta", "1"}}, "rope_theta] must be a finite number greater than 1"},
      {{{"rope_theta", "1e999"}}, "must be JSON"},
      {{{"rope_theta", "NaN"}}, "syntax error"},
      {{{"rope_theta", "Infinity"}}, "syntax error"},
      {{{"tie_word_embeddings", "1"}}, "tie_word_embeddings] must be true or false but got 1"},
      {{{"bos_token_id", "-1"}}, "bos_token_id] must be an integer from 0"},
      {{{"bos_token_id", "4294967296"}}, "bos_token_id] must be an integer from 0"},
      {{{"bos_token_id", "[null]"}}, "bos_token_id] must be an integer from 0"},
      {{{"bos_token_id", "\"<s>\""}}, "bos_token_id] must be an integer from 0"},
      {{{"architectures", R"(["MistralForCausalLM"])"}, {"sliding_window", "0"}},
       "sliding_window] must be an integer from 1"},
      {{{"architectures", R"(["MistralForCausalLM"])"}, {"sliding_window", "\"4096\""}},
       "sliding_window] must be an integer from 1"},
      {{{"architectures", R"(["Qwen2ForCausalLM"])"},
        {"use_sliding_window", "true"},
        {"sliding_window", "8"},
        {"layer_types", R"(["full_attention"])"}},
       "layer_types] must be a list of 4 names"},
      {{{"architectures", R"(["Qwen2ForCausalLM"])"},
        {"use_sliding_window", "true"},
        {"sliding_window", "8"},
        {"layer_types", R"(["full_attention","full_attention","mamba","x"])"}},
       "layer_types[2]] must be full_attention or sliding_attention but got \"mamba\""},
      {{{"rope_scaling", "[]"}}, "rope_scaling] must be an object"},
      {{{"rope_scaling", "\"yarn\""}}, "rope_scaling] must be an object"},
      {{{"rope_scaling", "{}"}}, "rope_scaling: rope_type] must be one of"},
      {{{"rope_scaling", R"({"type":"proportional"})"}},
       "type] must be one of default, linear, dynamic, yarn, llama3, longrope but got \"proportional\""},
      {{{"rope_scaling", R"({"type":7})"}}, "type] must be a string but got 7"},
      {{{"rope_scaling", R"({"type":"linear"})"}},
       "factor] must be a finite number greater than 0 but got nothing (rope type linear requires it)"},
      {{{"rope_scaling", R"({"type":"linear","factor":0})"}},
       "factor] must be a finite number greater than 0 but got 0"},
      {{{"rope_scaling", R"({"type":"linear","factor":"2"})"}}, "factor] must be a finite number"},
      {{{"rope_scaling", R"({"type":"llama3","factor":2})"}}, "low_freq_factor] must be"},
      {{{"rope_scaling", R"({"type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4})"}},
       "high_freq_factor] must be a finite number greater than 4"},
      {{{"rope_scaling", R"({"type":"longrope","short_factor":[1,1,1,1]})"}},
       "long_factor] must be a list of 4 finite numbers greater than 0 but got nothing"},
      {{{"rope_scaling", R"({"type":"longrope","short_factor":[1,1,1],"long_factor":[1,1,1,1]})"}},
       "short_factor] must be a list of 4 finite numbers greater than 0 but got a list of 3"},
      {{{"rope_scaling", R"({"type":"longrope","short_factor":[1,1,0,1],"long_factor":[1,1,1,1]})"}},
       "short_factor[2]] must be a finite number greater than 0 but got 0"},
      {{{"rope_scaling", R"({"type":"longrope","short_factor":[1,1,null,1],"long_factor":[1,1,1,1]})"}},
       "short_factor[2]] must be a finite number greater than 0 but got null"},
      {{{"rope_scaling", R"({"type":"yarn","factor":2,"original_max_position_embeddings":0})"}},
       "original_max_position_embeddings] must be an integer from 1"},
      {{{"rope_parameters", R"({"full_attention":{"rope_theta":9.5},"sliding_attention":{"rope_theta":9.0}})"}},
       "rope_parameters] must be the same for all layer types"},
      {{{"original_max_position_embeddings", "-4"}}, "original_max_position_embeddings] must be an integer from 1"},
  };
  for (const char* required : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                               "num_attention_heads", "max_position_embeddings"}) {
    for (const char* value : {"", "null", "0", "-1", "1.5", "\"8\"", "[8]", "true", "9007199254740993",
                              "18446744073709551615", "99999999999999999999"}) {
      rows.push_back({{{required, value}}, required});
    }
  }
  for (const Row& row : rows) {
    INFO(config_text(row.keys));
    const std::string message = message_of<InputError>([&] { read(row.keys); });
    CHECK_THAT(message, ContainsSubstring(row.expected));
    CHECK_THAT(message, ContainsSubstring("config.json"));
    CHECK_THAT(message, ContainsSubstring("but got"));
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("files that are no config are refused", "[config]") {
  struct Row {
    std::string text;
    const char* expected;
  };
  const std::vector<Row> rows{
      {"", "must hold data but got an empty file"},
      {"{", "syntax error at byte offset 1, line 1"},
      {"{\n\n\"a\": }", "syntax error at byte offset 8, line 3"},
      {"null", "must be a JSON object but got null"},
      {"[{}]", "must be a JSON object but got a list of 1"},
      {std::string("{\"a\":\"\xC0\x80\"}"), "must be UTF-8 but got byte 0xc0 at byte offset 6"},
      {std::string("{}\0", 3), "must be JSON but got a NUL at byte offset 2"},
      {"{\"a\":" + std::string(100'000, '['), "must nest at most 64 levels"},
      {R"({"vocab_size":1,"vocab_size":2})", "'vocab_size' twice"},
      {std::string((16 << 20) + 1, ' '), "must be at most 16777216 bytes"},
  };
  for (const Row& row : rows) {
    const ScratchDirectory directory;
    directory.write("config.json", row.text);
    INFO(row.expected);
    CHECK_THAT(message_of<InputError>([&] { read_model_config(directory.path()); }), ContainsSubstring(row.expected));
  }
  const ScratchDirectory directory;
  CHECK_THAT(message_of<InputError>([&] { read_model_config(directory.path()); }), ContainsSubstring("No such file"));
  std::filesystem::create_directory(directory.path() / "config.json");
  CHECK_THAT(message_of<InputError>([&] { read_model_config(directory.path()); }),
             ContainsSubstring("must be a regular file but got a directory"));
}
