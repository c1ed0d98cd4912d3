// Fused projections -> rotated, scaled q and the K and V of attention.
#pragma once

#include "kernels/backend.hpp"
#include "kernels/cpu/kv_buffer.hpp"
#include "kernels/cpu/rotation_table.hpp"

namespace longrope::kernels {

/// As Backend::rotate_qkv.
void rotate_qkv(const RotateQkvOptions& options, ConstMatrix qkv, const CpuRotationTable& table, Matrix q,
                CpuKvBuffer& kv);

}  // namespace longrope::kernels
