# Flags of our own targets; never of the libraries we use.
option(LONGROPE_WARNINGS_AS_ERRORS "Stop on compiler warnings" OFF)

add_library(longrope_flags INTERFACE)
target_include_directories(longrope_flags INTERFACE ${CMAKE_CURRENT_LIST_DIR}/..)

# -ffp-contract=off: a*b+c is fused where the code says so and nowhere else, so the bits do not depend on inlining.
set(host_flags -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of overlapping copies inside std::string's operator+ (GCC bug 105651).
  list(APPEND host_flags -Wno-restrict)
elseif(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 13 sees fmt's own buffers overrun where it formats a double (fmt 9, bigint::assign).
  list(APPEND host_flags -Wno-array-bounds -Wno-stringop-overflow)
endif()
if(LONGROPE_WARNINGS_AS_ERRORS)
  list(APPEND host_flags -Werror)
  target_compile_options(longrope_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()
target_compile_options(longrope_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${host_flags}>)

# What nvcc writes for the host compiler is neither pedantic nor free of conversions and shadows.
list(REMOVE_ITEM host_flags -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
list(JOIN host_flags "," host_flags)
target_compile_options(longrope_flags INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${host_flags}>)
