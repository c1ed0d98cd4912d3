// The rule by which a row's largest logit is found from parts in any order. Host and device.
#pragma once

#include <cstdint>

#include "kernels/cuda/host_device.hpp"

namespace longrope::kernels::cuda {

/// A logit and the entry it is of; entry -1: some logit was not finite, which no other choice replaces.
struct LogitChoice {
  float value;
  std::int32_t entry;
};

/// Loses to every logit that is finite.
LONGROPE_HOST_DEVICE constexpr LogitChoice no_choice() { return {-3.402823466e+38F, INT32_MAX}; }

/// One logit as a choice.
LONGROPE_HOST_DEVICE constexpr LogitChoice choice_of(float logit, std::int32_t entry) {
  return {logit, logit - logit == 0.0F ? entry : -1};
}

/// The larger one, of equal ones the lower entry. Commutative and associative: any order of a reduction gives the same.
LONGROPE_HOST_DEVICE constexpr LogitChoice better(LogitChoice a, LogitChoice b) {
  if (a.entry < 0) return a;
  if (b.entry < 0) return b;
  const bool second = b.value > a.value || (b.value == a.value && b.entry < a.entry);
  return second ? b : a;
}

}  // namespace longrope::kernels::cuda
