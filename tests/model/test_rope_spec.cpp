// Rope specs and the formulas they name, against values computed by hand and against published numbers.
#include <cmath>
#include <string>

#include "kernels/error.hpp"
#include "model/factor_file.hpp"
#include "model/rope_spec.hpp"
#include "model/scaling_methods.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/catch.hpp"

namespace {

using namespace longrope;
using model::RopeSpec;

model::ModelConfig llama2() {
  model::ModelConfig config;
  config.model_type = "llama";
  config.rope = {128, 10000.0, 4096};
  config.max_position_embeddings = 4096;
  return config;
}

std::string message_of(const std::string& spec) {
  try {
    model::make_rope_table(RopeSpec::parse(spec), llama2(), 8192);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a spec is split into method, file and options") {
  const RopeSpec yarn = RopeSpec::parse("yarn:beta_fast=16,factor=4");
  CHECK(yarn.method == "yarn");
  CHECK(yarn.options.at("beta_fast") == 16.0);
  CHECK(yarn.options.at("factor") == 4.0);
  const RopeSpec file = RopeSpec::parse("longrope:a:b/c=d.csv:start_tokens=4,attention_factor=1.5");
  CHECK(file.argument == "a:b/c=d.csv");
  CHECK(file.options.at("start_tokens") == 4.0);
  const RopeSpec store = RopeSpec::parse("store:job.h5#main/12");
  CHECK(store.argument == "job.h5#main/12");
  CHECK(store.options.empty());
}

TEST_CASE("a wrong spec says what is wrong") {
  const std::pair<const char*, const char*> cases[] = {
      {"bogus", "must be one of"},
      {"", "must be one of"},
      {"pi:scale=2", "keys"},
      {"none:factor=2", "no key=value"},
      {"pi:factor=nan", "finite"},
      {"pi:factor=inf", "finite"},
      {"pi:factor=0.5", "at least 1"},
      {"pi:factor=-3", "at least 1"},
      {"pi:factor=2,factor=3", "twice"},
      {"pi:factor=", "finite"},
      {"yarn:target_length=2048.5", "whole number"},
      {"yarn:beta_fast=1,beta_slow=2", "beta_fast must exceed"},
      {"llama3:high_freq_factor=1", "high_freq_factor must exceed"},
      {"longrope", "needs a file"},
      {"longrope:/nonexistent/table.csv", "readable file"},
  };
  for (const auto& [spec, expected] : cases) {
    INFO(spec);
    CHECK_THAT(message_of(spec), tests::ContainsSubstring(expected));
  }
}

TEST_CASE("the scale is length/L0, never below 1, unless the spec fixes it") {
  const model::RopeGeometry g = llama2().rope;
  CHECK(model::spec_scale(RopeSpec::parse("pi"), g, 16384) == 4.0);
  CHECK(model::spec_scale(RopeSpec::parse("pi"), g, 100) == 1.0);
  CHECK(model::spec_scale(RopeSpec::parse("pi:factor=7.5"), g, 100) == 7.5);
  CHECK(model::spec_scale(RopeSpec::parse("pi:target_length=8192"), g, 16384) == 2.0);
  CHECK(model::spec_scale(RopeSpec::parse("pi:original_length=2048"), g, 16384) == 8.0);
}

TEST_CASE("formulas give their published values") {
  const model::RopeGeometry g = llama2().rope;
  const auto ntk = model::ntk_factors(g, 8.0);
  CHECK(ntk.front() == 1.0);
  CHECK(std::abs(ntk.back() - 8.0) < 1e-12);  // the last pair is interpolated in full
  const double base = 10000.0 * std::pow(8.0, 128.0 / 126.0);
  for (std::int64_t i = 0; i < g.pairs(); ++i) {
    const double expected = std::pow(base, -2.0 * static_cast<double>(i) / 128.0);
    CHECK(std::abs(g.plain_frequency(i) / ntk[static_cast<std::size_t>(i)] / expected - 1.0) < 1e-12);
  }
  // LLaMA-2, YaRN: the ramp runs from pair 20 to pair 46 (jquesnelle/yarn, find_correction_range(32, 1)).
  const auto yarn = model::yarn_factors(g, 16.0);
  CHECK(yarn[20] == 1.0);
  CHECK(yarn[21] > 1.0);
  CHECK(yarn[45] < 16.0);
  CHECK(std::abs(yarn[46] - 16.0) < 1e-12);
  CHECK(std::abs(model::yarn_attention_factor(16.0) - 1.2772588722239782) < 1e-15);
  // Values of _compute_longrope_parameters: 4k x 32, 8k x 16.
  CHECK(std::abs(model::longrope_attention_factor(32.0, 4096) - 1.1902380714238083) < 1e-14);
  CHECK(std::abs(model::longrope_attention_factor(16.0, 8192) - std::sqrt(1.0 + std::log(16.0) / std::log(8192.0))) <
        1e-15);
  CHECK(model::longrope_attention_factor(1.0, 4096) == 1.0);
  CHECK(model::dynamic_ntk_scale(1.0, 8192, 4096) == 2.0);
  CHECK(model::dynamic_ntk_scale(2.0, 8192, 4096) == 3.0);
  CHECK(model::dynamic_ntk_scale(2.0, 4096, 4096) == 1.0);
}

TEST_CASE("a factor file may be CSV, a JSON list, an object or a config.json") {
  const tests::ScratchDirectory directory;
  const auto write = [&](const std::string& name, const std::string& text) { return directory.write(name, text); };
  const std::vector<double> expected = {1.0, 1.5, 0.1};
  CHECK(model::read_factor_file(write("a.csv", "1\n1.5\n\n 0.1\r\n")).factors == expected);
  CHECK(model::read_factor_file(write("b.json", "[1, 1.5, 0.1]")).factors == expected);
  const auto object = model::read_factor_file(
      write("c.json", R"({"best": {"factors": [1, 1.5, 0.1], "attention_factor": 1.25, "start_tokens": 8}})"));
  CHECK(object.factors == expected);
  CHECK(object.attention_factor.value() == 1.25);
  CHECK(object.start_tokens.value() == 8);
  CHECK(model::read_factor_file(
            write("config.json", R"({"rope_scaling": {"long_factor": [1, 1.5, 0.1], "short_factor": [1]}})"))
            .factors == expected);
  for (const char* bad : {"", "abc", "1\nnan\n", "1,2\n", "[1, \"2\"]", "{}", "[", "{\"factors\": []}", "[1e999]"}) {
    INFO(bad);
    CHECK_THROWS_AS(model::read_factor_file(write("bad", bad)), InputError);
  }
}

TEST_CASE("a table refuses factors that are not finite and positive, or too few") {
  const model::RopeGeometry g{4, 10000.0, 16};
  CHECK_THROWS_AS(model::RopeTable::from_factors(g, {1.0}, 1.0, 0), InputError);
  CHECK_THROWS_AS(model::RopeTable::from_factors(g, {1.0, 0.0}, 1.0, 0), InputError);
  CHECK_THROWS_AS(model::RopeTable::from_factors(g, {1.0, std::nan("")}, 1.0, 0), InputError);
  CHECK_THROWS_AS(model::RopeTable::from_factors(g, {1.0, 1.0}, 0.0, 0), InputError);
  CHECK_THROWS_AS(model::RopeTable::from_factors(g, {1.0, 1.0}, 1.0, -1), InputError);
  const auto table = model::RopeTable::from_factors(g, {1.0, 8.0}, 1.1, 2);
  CHECK(table.inv_freq[1] == 0.01 / 8.0);
  CHECK(table.rotation(g, kernels::RotationPrecision::exact).leading_inv_freq == std::vector<double>{1.0, 0.01});
}
