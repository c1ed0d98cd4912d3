// The hidden state streamed from the host: the same values and the same scores as on the device, whether copies run at
// once or as late as the contract allows.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "model/hidden_state.hpp"
#include "model/transformer.hpp"
#include "tests/model/fixtures.hpp"
#include "tests/support/tiny_checkpoint.hpp"
#include "tests/support/wrapping_backend.hpp"

namespace longrope::model {
namespace {

using kernels::Matrix;
using kernels::Precision;
using Access = HiddenState::Access;

TEST_CASE("Rows survive passes over all and over some chunks", "[hidden_state]") {
  constexpr std::int64_t kHidden = 3;
  for (const bool on_host : {false, true}) {
    for (const bool late : {false, true}) {
      const tests::WrappingBackend backend(Precision::f32, late);
      for (const std::int64_t chunk : {1, 7, 32}) {
        for (const std::int64_t tokens : {1, 6, 7, 8, 14, 31, 33, 64, 65}) {
          CAPTURE(on_host, late, chunk, tokens);
          HiddenState state(backend, tokens, kHidden, chunk, on_host);
          std::vector<float> expected(static_cast<std::size_t>(tokens * kHidden));
          std::int64_t next = 0;
          const auto visit_rows = [&](const Matrix& rows, const auto& each) {
            auto* values = static_cast<float*>(rows.data);
            for (std::int64_t i = 0; i < rows.rows * kHidden; ++i) each(values[i]);
          };
          state.for_each_chunk(0, tokens, Access::write, [&](std::int64_t first, const Matrix& rows) {
            CHECK(first == next);
            CHECK(rows.cols == kHidden);
            CHECK(rows.rows <= chunk);
            std::int64_t at = first * kHidden;
            visit_rows(rows, [&](float& value) {
              expected[static_cast<std::size_t>(at)] = std::sin(static_cast<float>(at));
              value = expected[static_cast<std::size_t>(at++)];
            });
            next += rows.rows;
          });
          CHECK(next == tokens);
          for (int pass = 1; pass <= 3; ++pass) {  // layers
            state.for_each_chunk(0, tokens, Access::update, [&](std::int64_t first, const Matrix& rows) {
              std::int64_t at = first * kHidden;
              visit_rows(rows, [&](float& value) {
                float& wanted = expected[static_cast<std::size_t>(at++)];
                CHECK(value == wanted);
                value = wanted = wanted * 1.5F + static_cast<float>(pass);
              });
            });
          }
          for (const std::int64_t first_row : {std::int64_t{0}, tokens / 3, tokens - 1}) {
            std::int64_t at = first_row * kHidden;
            state.for_each_chunk(first_row, tokens - first_row, Access::read, [&](std::int64_t, const Matrix& rows) {
              visit_rows(rows, [&](float& value) {
                CHECK(value == expected[static_cast<std::size_t>(at++)]);
                value = std::nanf("");  // a read keeps nothing
              });
            });
            CHECK(at == tokens * kHidden);
            if (!on_host) break;  // on the device a chunk is the state itself
          }
        }
      }
    }
  }
}

TEST_CASE("A streamed window scores to the same bits", "[hidden_state]") {
  const tests::ScratchDirectory directory;
  const tests::TinyShape shape;
  tests::write_tiny_checkpoint(directory.path(), shape);
  const ModelConfig config = read_model_config(directory.path());
  const TensorFiles files(directory.path());
  const auto table = RopeTable::from_factors(
      config.rope, std::vector<double>(static_cast<std::size_t>(config.rope.pairs()), 2.0), 1.1, 4);
  for (const std::int64_t tokens : {2, 256, 257, 700, 1300}) {
    const auto ids = tests::random_ids(tokens, shape.vocabulary, static_cast<std::uint64_t>(tokens));
    for (const std::int64_t first_scored : {std::int64_t{1}, std::max<std::int64_t>(1, tokens / 2), tokens - 1}) {
      std::vector<double> sums;
      for (const WindowLayout layout : {WindowLayout{1024, false}, WindowLayout{256, false}, WindowLayout{256, true},
                                        WindowLayout{512, true}, WindowLayout{4096, true}}) {
        for (const bool late : {false, true}) {
          const tests::WrappingBackend backend(Precision::f32, late);
          const Transformer transformer(config, files, backend, layout);
          const auto rotation = transformer.rotation(table, kernels::RotationPrecision::exact, tokens);
          const NllSum sum = transformer.score(ids, first_scored, *rotation);
          CHECK(sum.tokens == tokens - first_scored);
          sums.push_back(sum.nll_nats);
        }
      }
      CAPTURE(tokens, first_scored);
      CHECK(std::isfinite(sums.front()));
      for (const double sum : sums) CHECK(sum == sums.front());
    }
  }
}

}  // namespace
}  // namespace longrope::model
