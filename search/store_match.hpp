// Whether a store may be continued by a job.
#pragma once

#include <filesystem>

#include "search/store.hpp"

namespace longrope::search {

/// Throws InputError that names the first thing that decides the result and differs, and both values. Names and paths,
/// times, the command line, budget and status do not decide it.
void require_same_job(const std::filesystem::path& file, const StoreHeader& stored, const StoreHeader& job);

}  // namespace longrope::search
