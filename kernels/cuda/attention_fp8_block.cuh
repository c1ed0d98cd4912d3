// What the producer and the consumers of an FP8 attention block share: the configuration, the problem and the copies.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_fp8_layout.hpp"
#include "kernels/cuda/attention_hopper_block.cuh"

namespace longrope::kernels::cuda::hopper {

/// As AttentionConfig, in e4m3: a tile's rows are one panel of 128 bytes. kHeadDim: 64 or 128; columns beyond the
/// problem's head_dim are zeros.
template <int kHeadDim_, int kConsumers_, int kStages_>
struct Fp8AttentionConfig {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kTileKeys = fp8::kTileKeys;
  static constexpr int kConsumers = kConsumers_;
  static constexpr int kStages = kStages_;

  static constexpr int kTileRows = 64 * kConsumers;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  static constexpr int kProducerRegisters = kConsumers == 2 ? 40 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 232 : 160;
  static constexpr std::uint32_t kQueryBytes = panel_bytes(kTileRows);
  static constexpr std::uint32_t kKeyBytes = panel_bytes(kTileKeys);
  static constexpr std::uint32_t kValueBytes = panel_bytes(kHeadDim);  ///< a row is a column of V
  static constexpr std::uint32_t kSharedBytes = kQueryBytes + 2 * kStages * kKeyBytes + kSwizzleAtomBytes;
  static_assert(kTileKeys == kRowBytes && kValueBytes <= kKeyBytes && kHeadDim % fp8::kInstructionK == 0);
  static_assert(kSharedBytes + 1024 <= 227 * 1024);
};

/// Of `problem` the tensor maps are e4m3: q [rows, heads, head_dim], k [keys, kv_heads, head_dim] and v [kv_heads,
/// head_dim, padded keys], see fp8::Workspace; the rest is as ever.
struct Fp8AttentionArguments {
  AttentionArguments problem;
  const float* q_scales;   ///< [rows, heads]
  const float* kv_scales;  ///< [kv_heads, 2]
};

/// Starts the copies of an e4m3 tile, with the bytes to expect announced first.
template <class Config>
struct Fp8Copies {
  static __device__ __forceinline__ void queries(std::uint32_t destination, const CUtensorMap& map,
                                                 std::uint64_t& barrier, int head, int first_row) {
    barrier_arrive_expect(barrier, Config::kQueryBytes);
    copy_box(destination, map, barrier, 0, head, first_row);
  }
  static __device__ __forceinline__ void keys(std::uint32_t destination, const CUtensorMap& map, std::uint64_t& barrier,
                                              int head, int tile) {
    barrier_arrive_expect(barrier, Config::kKeyBytes);
    copy_box(destination, map, barrier, 0, head, tile * Config::kTileKeys);
  }
  static __device__ __forceinline__ void values(std::uint32_t destination, const CUtensorMap& map,
                                                std::uint64_t& barrier, int head, int tile) {
    barrier_arrive_expect(barrier, Config::kValueBytes);
    copy_box(destination, map, barrier, tile * Config::kTileKeys, 0, head);
  }
};

}  // namespace longrope::kernels::cuda::hopper
