// SHA-256 (FIPS 180-4), by OpenSSL.
#pragma once

#include <string>
#include <string_view>

namespace longrope::model {

/// Lower-case hex digest of `bytes`.
std::string sha256_hex(std::string_view bytes);

}  // namespace longrope::model
