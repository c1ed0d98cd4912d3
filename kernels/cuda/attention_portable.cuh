// FlashAttention-2 on mma.sync: a block owns a tile of query rows of one head and walks over the keys they see, from
// the diagonal back, keeping the running maximum, sum and output of each row in registers. Source: Dao,
// "FlashAttention-2: Faster Attention with Better Parallelism and Work Partitioning" (arXiv 2307.08691), Algorithm 1;
// the rescaling of the output is left out where no row's maximum moved (its factor is exactly 1).
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/cuda/mma_sync.cuh"
#include "kernels/cuda/swizzled_tile.cuh"

namespace longrope::kernels::cuda {

/// AttentionProblem as the kernel sees it.
struct PortableAttentionArguments {
  const __nv_bfloat16* q;
  const __nv_bfloat16* k;
  const __nv_bfloat16* v;
  __nv_bfloat16* out;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t rows;
  std::int64_t first_position;
  std::int64_t sliding_window;
  std::int64_t row_tiles;  ///< rows / Tile::kRows, rounded up
};

/// How the work is cut. A warp owns kRowsPerWarp (16 or 32) query rows; kDim is head_dim rounded up.
template <int kDim_, int kWarps_, int kRowsPerWarp_, int kKeys_, int kStages_, bool kQueryInRegisters_,
          int kBlocksPerMultiprocessor_>
struct PortableAttentionTile {
  static constexpr int kDim = kDim_;
  static constexpr int kRowsPerWarp = kRowsPerWarp_;
  static constexpr int kRows = kWarps_ * kRowsPerWarp_;
  static constexpr int kKeys = kKeys_;      // of a step
  static constexpr int kStages = kStages_;  // steps whose K and V are in shared memory
  static constexpr bool kQueryInRegisters = kQueryInRegisters_;
  static constexpr int kBlocksPerMultiprocessor = kBlocksPerMultiprocessor_;
  static constexpr int kThreads = kWarps_ * 32;
  static constexpr int kChunks = kDim / 8;  // of 16 bytes in a row
  static constexpr int kKeyTileBytes = kKeys * kDim * 2;
  static constexpr int kSharedBytes = kRows * kDim * 2 + 2 * kStages * kKeyTileBytes;
  static_assert(kDim % 32 == 0 && kRowsPerWarp % 16 == 0 && kKeys % 16 == 0 && kStages >= 2);
};

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerMultiprocessor)
    portable_attention_kernel(const PortableAttentionArguments args) {
  constexpr int kDim = Tile::kDim;
  constexpr int kChunks = Tile::kChunks;
  constexpr int kRowTiles = Tile::kRowsPerWarp / 16;
  constexpr int kKeys = Tile::kKeys;
  constexpr int kStages = Tile::kStages;
  constexpr float kLog2E = 1.4426950408889634f;
  constexpr float kNever = -INFINITY;
  constexpr std::int64_t kFar = std::int64_t{1} << 30;  // beyond any offset within a tile
  constexpr unsigned kWholeWarp = 0xffffffffu;
  using QueryCopy = TileCopy<Tile::kRows, kChunks, Tile::kThreads>;
  using KeyCopy = TileCopy<kKeys, kChunks, Tile::kThreads>;

  extern __shared__ __align__(128) unsigned char shared_memory[];
  const std::uint32_t q_shared = shared_address(shared_memory);
  const std::uint32_t kv_shared = q_shared + Tile::kRows * kDim * 2;

  // Blocks start in order of their index: the tiles with most keys go first, all heads of a tile side by side so that
  // they read the same keys at about the same time.
  const std::int64_t head = blockIdx.x % args.heads;
  const std::int64_t first_row = (args.row_tiles - 1 - blockIdx.x / args.heads) * Tile::kRows;
  const std::int64_t kv_head = head / (args.heads / args.kv_heads);
  const int head_dim = static_cast<int>(args.head_dim);
  const std::int64_t q_stride = args.heads * args.head_dim;
  const std::int64_t kv_stride = args.kv_heads * args.head_dim;
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int lane = thread % 32;

  // Keys that rows of this block see: from `begin` up to `end`, in `count` tiles.
  const std::int64_t first_query = args.first_position + first_row;
  const std::int64_t end = min(first_query + Tile::kRows, args.first_position + args.rows);
  const std::int64_t begin = args.sliding_window > 0 ? max(first_query + 1 - args.sliding_window, std::int64_t{0}) : 0;
  const std::int64_t last_tile = (end - 1) / kKeys * kKeys;
  const int count = static_cast<int>(last_tile / kKeys - begin / kKeys + 1);

  const KeyCopy key_copy(thread);
  const std::int64_t kv_first = last_tile * kv_stride + kv_head * args.head_dim;
  const __nv_bfloat16* k_source = key_copy.source(args.k + kv_first, kv_stride);
  const std::int64_t k_to_v = args.v - args.k;
  const auto stage_at = [&](int stage) {
    return kv_shared + static_cast<std::uint32_t>(stage * 2 * Tile::kKeyTileBytes);
  };
  {
    const QueryCopy query_copy(thread);
    const __nv_bfloat16* const q_first = args.q + first_row * q_stride + head * args.head_dim;
    const int rows = static_cast<int>(min(args.rows - first_row, std::int64_t{Tile::kRows}));
    query_copy.start(q_shared, query_copy.source(q_first, q_stride), q_stride, rows, head_dim);
  }
#pragma unroll
  for (int stage = 0; stage < kStages - 1; ++stage) {
    if (stage < count) {
      const int rows = stage == 0 ? static_cast<int>(end - last_tile) : kKeys;
      key_copy.start(stage_at(stage), k_source, kv_stride, rows, head_dim);
      key_copy.start(stage_at(stage) + Tile::kKeyTileBytes, k_source + k_to_v, kv_stride, rows, head_dim);
      k_source -= kKeys * kv_stride;
    }
    cp_async_commit();
  }

  float o[kRowTiles][kDim / 8][4];
  float row_max[kRowTiles][2];  // of the scores seen so far
  float row_sum[kRowTiles][2];  // this lane's share
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[m][n][e] = 0.0f;
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      row_max[m][h] = kNever;
      row_sum[m][h] = 0.0f;
    }
  }

  // Where this lane's ldmatrix rows lie. Matrices 0 to 3 are the 8x8 quarters of 16 rows by 16 elements: of queries and
  // values upper left, lower left, upper right, lower right; of keys upper left, upper right, lower left, lower right.
  const auto quarter = [](int l) { return swizzled<kChunks>(l % 16, l / 16); };
  const auto key_quarter = [](int l) { return swizzled<kChunks>(l % 8 + l / 16 * 8, l / 8 % 2); };
  std::uint32_t q_lane = q_shared + static_cast<std::uint32_t>(warp * Tile::kRowsPerWarp * kDim * 2) + quarter(lane);

  std::uint32_t q_fragments[Tile::kQueryInRegisters ? kDim / 16 : 1][kRowTiles][4];
  if constexpr (Tile::kQueryInRegisters) {
    cp_async_wait<kStages - 2>();
    __syncthreads();
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) ldmatrix_x4(q_fragments[d][m], fragment_at<kChunks>(q_lane, m * 16, d));
    }
  }

  // Step t takes the tile t before the last. Up to whole_step a tile holds keys ahead of some row of the block, from
  // cut_step on keys that have left some row's window: only there scores are compared with positions.
  const int whole_step = static_cast<int>((last_tile + kKeys - 1 - first_query + kKeys - 1) / kKeys);
  const int cut_step =
      args.sliding_window > 0
          ? static_cast<int>(
                max(last_tile - (first_query + Tile::kRows - 1 - args.sliding_window) + kKeys - 1, std::int64_t{0}) /
                kKeys)
          : count;
  int stage = 0;
#pragma unroll 1
  for (int step = 0; step < count; ++step) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // this step's tiles have arrived for all, and all are done with the stage that is filled next
    const int thread_again = this_thread();  // recomputing addresses from it is cheaper than registers to keep them in
    if (step + kStages - 1 < count) {
      const KeyCopy next_copy(thread_again);
      const std::uint32_t at = stage_at(stage == 0 ? kStages - 1 : stage - 1);
      next_copy.start_whole(at, k_source, kv_stride, head_dim);
      next_copy.start_whole(at + Tile::kKeyTileBytes, k_source + k_to_v, kv_stride, head_dim);
      k_source -= kKeys * kv_stride;
    }
    cp_async_commit();
    const std::uint32_t k_lane = stage_at(stage) + key_quarter(thread_again % 32);
    const std::uint32_t v_lane = stage_at(stage) + Tile::kKeyTileBytes + quarter(thread_again % 32);
    stage = stage == kStages - 1 ? 0 : stage + 1;

    // To the compiler the address changes at every step: its variations are not worth registers.
    if constexpr (!Tile::kQueryInRegisters) asm volatile("" : "+r"(q_lane));

    float s[kRowTiles][kKeys / 8][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) s[m][n][e] = 0.0f;
      }
    }
#pragma unroll
    for (int d = 0; d < kDim / 16; ++d) {
      std::uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        if constexpr (Tile::kQueryInRegisters) {
#pragma unroll
          for (int e = 0; e < 4; ++e) a[m][e] = q_fragments[d][m][e];
        } else {
          ldmatrix_x4(a[m], fragment_at<kChunks>(q_lane, m * 16, d));
        }
      }
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        std::uint32_t b[4];
        ldmatrix_x4(b, fragment_at<kChunks>(k_lane, n * 16, d));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma_bf16_16x8x16(s[m][2 * n], a[m], b[0], b[1]);
          mma_bf16_16x8x16(s[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }

    if (step < whole_step || step >= cut_step) {
      const std::int64_t window = args.sliding_window > 0 ? args.sliding_window : args.first_position + args.rows;
      const int l = this_thread();
      const std::int64_t position = first_query + l / 32 * Tile::kRowsPerWarp + l % 32 / 4;  // of its first row
      const std::int64_t key = last_tile - std::int64_t{step} * kKeys + l % 4 * 2;           // of its first column
      const std::int64_t distance = position - key;
      const int nearest = static_cast<int>(max(min(-distance, kFar), -kFar));  // row - column must not be below it
      const int farthest = static_cast<int>(max(min(window - distance, kFar), -kFar));  // but below this
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int offset = m * 16 + e / 2 * 8 - n * 8 - e % 2;
            if (offset < nearest || offset >= farthest) s[m][n][e] = kNever;
          }
        }
      }
    }

    // Online softmax, in base 2.
    float scale[kRowTiles][2];
    bool moved = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float highest = row_max[m][h];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          highest = fmaxf(highest, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
        }
        highest = fmaxf(highest, __shfl_xor_sync(kWholeWarp, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(kWholeWarp, highest, 2));
        const float origin = highest == kNever ? 0.0f : highest * kLog2E;  // a row that has seen no key yet
        scale[m][h] = exp2_approx(fmaf(row_max[m][h], kLog2E, -origin));
        moved |= highest != row_max[m][h];
        row_max[m][h] = highest;
        float sum = 0.0f;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int e = 2 * h; e < 2 * h + 2; ++e) {
            s[m][n][e] = exp2_approx(fmaf(s[m][n][e], kLog2E, -origin));
            sum += s[m][n][e];
          }
        }
        row_sum[m][h] = fmaf(row_sum[m][h], scale[m][h], sum);
      }
    }
    if (__any_sync(kWholeWarp, moved)) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
          for (int e = 0; e < 4; ++e) o[m][n][e] *= scale[m][e / 2];
        }
      }
    }

#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      std::uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        a[m][0] = pack_bf16(s[m][2 * n][0], s[m][2 * n][1]);
        a[m][1] = pack_bf16(s[m][2 * n][2], s[m][2 * n][3]);
        a[m][2] = pack_bf16(s[m][2 * n + 1][0], s[m][2 * n + 1][1]);
        a[m][3] = pack_bf16(s[m][2 * n + 1][2], s[m][2 * n + 1][3]);
      }
#pragma unroll
      for (int d = 0; d < kDim / 16; ++d) {
        std::uint32_t b[4];
        ldmatrix_x4_trans(b, fragment_at<kChunks>(v_lane, n * 16, d));
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          mma_bf16_16x8x16(o[m][2 * d], a[m], b[0], b[1]);
          mma_bf16_16x8x16(o[m][2 * d + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  cp_async_wait<0>();

  // Normalise, round once, and pass through this warp's own rows of the query tile for 16-byte stores.
  __syncwarp();
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = row_sum[m][h];
      sum += __shfl_xor_sync(kWholeWarp, sum, 1);
      sum += __shfl_xor_sync(kWholeWarp, sum, 2);
      const float inverse = __frcp_rn(sum);
      const int row = warp * Tile::kRowsPerWarp + m * 16 + h * 8 + lane / 4;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const std::uint32_t pair = pack_bf16(o[m][n][2 * h] * inverse, o[m][n][2 * h + 1] * inverse);
        *reinterpret_cast<std::uint32_t*>(shared_memory + swizzled<kChunks>(row, n) + lane % 4 * 4) = pair;
      }
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int i = 0; i < Tile::kRowsPerWarp * kChunks / 32; ++i) {
    const int row = warp * Tile::kRowsPerWarp + (i * 32 + lane) / kChunks;
    const int chunk = (i * 32 + lane) % kChunks;
    if (first_row + row < args.rows && chunk * 8 < head_dim) {
      const uint4 values = *reinterpret_cast<const uint4*>(shared_memory + swizzled<kChunks>(row, chunk));
      *reinterpret_cast<uint4*>(args.out + (first_row + row) * q_stride + head * args.head_dim + chunk * 8) = values;
    }
  }
}

}  // namespace longrope::kernels::cuda
