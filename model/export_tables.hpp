// What an export carries: the table beyond the original length, the one up to it, and the context they are for.
#pragma once

#include <cstdint>

#include "model/rope_table.hpp"

namespace longrope::model {

struct ExportTables {
  RopeTable long_table;            ///< beyond original_length
  RopeTable short_table;           ///< up to it; the long table in a static export
  bool switches = false;           ///< whether the two are meant to differ (--mode switch)
  std::int64_t target_length = 0;  ///< tokens
};

}  // namespace longrope::model
