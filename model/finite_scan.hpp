// Finds the first NaN or infinity in an array of floats on disk.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/matrix.hpp"

namespace longrope::model {

/// Index of the first of `count` elements that is NaN or infinite; nullopt if all are finite. `data` may be misaligned.
std::optional<std::int64_t> first_non_finite(const void* data, kernels::DType dtype, std::int64_t count);

/// Whether element `index` is NaN (else infinity). Precondition: it is one of the two.
bool is_nan_at(const void* data, kernels::DType dtype, std::int64_t index);

}  // namespace longrope::model
