#!/usr/bin/env bash
# Installs packages, builds and runs the tests: `bash tests/run.sh [PRESET] [ctest options]`, PRESET ci by default
# (dev, asan-ubsan: see CMakePresets.json). Ends with ctest's own summary.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=ci
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
  preset=$1
  shift
fi

bash experiments/install_packages.sh tests
echo "build: preset $preset in build/$preset"
cmake --preset "$preset" >/dev/null
cmake --build --preset "$preset" --parallel "$(nproc)" -- --quiet
ctest --preset "$preset" --parallel "$(nproc)" "$@"
