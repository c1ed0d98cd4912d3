#include "search/random.hpp"

#include <cmath>
#include <set>
#include <vector>

#include "tests/support/catch.hpp"

using namespace longrope::search;

TEST_CASE("Philox4x32-10 gives the published known answers") {
  // Random123 1.x, kat_vectors.
  using Words = std::array<std::uint32_t, 4>;
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream is blocks of its documented counter") {
  RandomStream stream(0x0123456789abcdefu, 5, 7, 11, Purpose::crossover);
  for (std::uint32_t block = 0; block < 3; ++block) {
    const auto words = philox4x32_10({block, 11, 7, 5u ^ (3u << 16)}, {0x89abcdefu, 0x01234567u});
    for (const std::uint32_t word : words) CHECK(stream.next_u32() == word);
  }
}

TEST_CASE("streams differ in every part of their key") {
  std::set<std::uint32_t> first;
  int streams = 0;
  for (std::uint64_t seed : {0ull, 1ull, 1ull << 32}) {
    for (std::uint32_t stage : {0u, 1u, 65535u}) {
      for (std::uint32_t generation : {0u, 1u, 40u}) {
        for (std::uint32_t candidate : {0u, 1u, 63u}) {
          for (Purpose purpose :
               {Purpose::seed_population, Purpose::mutation, Purpose::crossover, Purpose::parent_choice}) {
            first.insert(RandomStream(seed, stage, generation, candidate, purpose).next_u32());
            ++streams;
          }
        }
      }
    }
  }
  CHECK(static_cast<int>(first.size()) == streams);
}

TEST_CASE("uniform and below are uniform") {
  RandomStream stream(42, 0, 0, 0, Purpose::random);
  double sum = 0.0, squares = 0.0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double x = stream.uniform();
    REQUIRE((x >= 0.0 && x < 1.0));
    sum += x;
    squares += x * x;
  }
  CHECK(std::abs(sum / kDraws - 0.5) < 0.005);
  CHECK(std::abs(squares / kDraws - 1.0 / 3.0) < 0.005);

  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[stream.below(7)];
  for (const int count : counts) CHECK(std::abs(count - 10000) < 500);
  CHECK(stream.below(1) == 0);
  for (int i = 0; i < 100; ++i) CHECK(stream.below((1ull << 63) + 1) <= 1ull << 63);
}
