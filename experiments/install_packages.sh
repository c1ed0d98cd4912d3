#!/usr/bin/env bash
# Installs what longrope needs to build, run and test on Debian 12 or Ubuntu 24.04: the one list of packages.
# Works as root and with sudo; does nothing when everything is there. `install_packages.sh tests`: also what runs the notebooks
# and looks at reports; `benchmarks`: also the outside peers and the plots of experiments/benchmarks; `finetune`: also what makes
# a Python environment for experiments/finetune.py.
set -euo pipefail

packages=(
  # toolchain
  git cmake ninja-build g++ clang-format
  # libraries
  libboost-program-options-dev libceres-dev libdnnl-dev libeigen3-dev libfmt-dev libhdf5-dev libhwy-dev libsentencepiece-dev libssl-dev libtbb-dev
  nlohmann-json3-dev
  # tests, and the reference language that quickstart writes its text with
  catch2 python3 python3-h5py python3-numpy
  # experiments/bundle.sh, and its test
  patchelf
)
if [ "${1:-}" = tests ]; then
  packages+=(python3-ipykernel python3-matplotlib python3-nbclient python3-pandas)
  # Ubuntu's package of that name only fetches a snap.
  if grep -q '^ID=debian' /etc/os-release; then packages+=(chromium); fi
elif [ "${1:-}" = benchmarks ]; then
  packages+=(libnlopt-dev libpagmo-dev python3-matplotlib)
elif [ "${1:-}" = finetune ]; then
  packages+=(python3-venv)
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "packages: all ${#packages[@]} are installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "packages: run as root or install sudo to get: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "packages: installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
