// Causal, grouped-query attention of a chunk of queries over the K and V of a layer so far.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cpu/kv_buffer.hpp"

namespace longrope::kernels {

/// As Backend::attention.
void attention(const AttentionShape& shape, ConstMatrix q, const CpuKvBuffer& kv, std::int64_t first_position,
               std::int64_t sliding_window, Matrix out);

}  // namespace longrope::kernels
