// Frequencies of several sequences in one kernel parameter: nothing is lost, and what does not fit is left.
#include <algorithm>
#include <vector>

#include "kernels/cuda/rotation_batch.hpp"
#include "tests/support/catch.hpp"

using namespace longrope::kernels::cuda;

namespace {

RotationFrequencies frequencies(std::int64_t pairs, int number, std::int64_t start_tokens) {
  RotationFrequencies f{};
  f.pairs = pairs;
  f.start_tokens = start_tokens;
  f.attention_factor = 1.0 + number;
  f.hf = number % 2 == 1;
  for (std::int64_t i = 0; i < pairs; ++i) {
    f.inv_freq[i] = 1000.0 * number + static_cast<double>(i);
    f.leading_inv_freq[i] = -f.inv_freq[i] - 0.5;
  }
  return f;
}

}  // namespace

TEST_CASE("packed rotations are each sequence's own, in order", "[rotation]") {
  for (const std::int64_t pairs : {0, 1, 12, 32, 40, 64, 128}) {
    for (const int leading : {0, 1, 2}) {  // none has leading frequencies, all have, some have
      std::vector<RotationFrequencies> all;
      std::vector<const RotationFrequencies*> pointers;
      for (int n = 0; n < 41; ++n)
        all.push_back(frequencies(pairs, n, leading == 0 || (leading == 2 && n % 3 == 0) ? 0 : 7 + n));
      for (const auto& f : all) pointers.push_back(&f);
      std::size_t first = 0;
      std::size_t least = 100;
      while (first < all.size()) {
        RotationBatch batch;
        const std::size_t count = pack_rotations(std::span(pointers).subspan(first), batch);
        REQUIRE(count >= 1);
        REQUIRE(count <= all.size() - first);
        CHECK(batch.count == static_cast<int>(count));
        CHECK(batch.pairs == pairs);
        if (first + count < all.size()) least = std::min(least, count);
        for (std::size_t i = 0; i < count; ++i) {
          const RotationFrequencies& f = all[first + i];
          const RotationBatch::Sequence& s = batch.sequences[i];
          CHECK(s.start_tokens == f.start_tokens);
          CHECK(s.attention_factor == f.attention_factor);
          CHECK((s.hf != 0) == f.hf);
          bool same = s.first + (f.start_tokens > 0 ? 2 : 1) * pairs <= RotationBatch::kMaxFrequencies;
          for (std::int64_t p = 0; same && p < pairs; ++p) {
            same = batch.frequencies[s.first + p] == f.inv_freq[p] &&
                   (f.start_tokens == 0 || batch.frequencies[s.first + pairs + p] == f.leading_inv_freq[p]);
          }
          CHECK(same);
        }
        first += count;
      }
      if (pairs == 32) CHECK(least >= 6);
      if (pairs == 64) CHECK(least >= 3);
    }
  }
  RotationBatch none;
  CHECK(pack_rotations({}, none) == 0);
  CHECK(none.count == 0);
}
