#!/usr/bin/env bash
# Makes a folder that runs on any x86-64 Linux with the glibc it names at the end or a newer one (built on Debian 12:
# 2.36), without root and from wherever it is copied to: programs, the shared libraries they need, relative search paths.
#
#   bash experiments/bundle.sh [--build DIR] --out DIR [--archive FILE.tar.gz] [PROGRAM...]
#
# --build    where the programs were built (build/release)
# --out      the folder; a bundle that is there is replaced, anything else is refused
# --archive  the same as one compressed file, for channels that count bytes
# PROGRAM    names in the build folder, or paths (longrope, and strategy_bench where it was built)
#
# Not copied: glibc; the driver and CUDA's libraries, taken from the machine it runs on (/usr/local/cuda, the system's
# paths, LD_LIBRARY_PATH). Needs patchelf and binutils.
set -euo pipefail
cd "$(dirname "$0")/.."

build=build/release
out=
archive=
programs=()
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --archive) archive=${2:?--archive needs a file}; shift 2 ;;
    -h | --help) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) echo "bundle: no option $1 (see --help)" >&2; exit 2 ;;
    *) programs+=("$1"); shift ;;
  esac
done
fail() { echo "bundle: $*" >&2; exit 1; }
[ -n "$out" ] || { echo "bundle: --out is missing (see --help)" >&2; exit 2; }
for tool in patchelf readelf strip ldd; do
  command -v $tool >/dev/null || fail "$tool is missing (apt-get install patchelf binutils)"
done
if [ ${#programs[@]} -eq 0 ]; then
  programs=(longrope)
  [ ! -x "$build/strategy_bench" ] || programs+=(strategy_bench)
fi

mark="made by experiments/bundle.sh"
if [ -e "$out" ] && ! grep -qs "$mark" "$out/README" && [ -n "$(ls -A "$out" 2>/dev/null || echo file)" ]; then
  fail "$out is there and is no bundle (choose another --out)"
fi

# glibc: its libraries and its loader belong together, and to the machine.
is_glibc() {
  case $1 in
    ld-linux-x86-64.so.* | libc.so.* | libm.so.* | libmvec.so.* | libpthread.so.* | libdl.so.* | librt.so.* | libresolv.so.* | \
      libutil.so.* | libanl.so.* | libnsl.so.* | libnss_* | libthread_db.so.* | libBrokenLocale.so.* | linux-vdso.so.*) return 0 ;;
  esac
  return 1
}
# What comes with a GPU driver or a CUDA toolkit, bar the small runtime.
is_gpu() {
  case $1 in
    libcuda.so.* | libnvidia-* | libcublas*.so.* | libcudnn*.so.* | libnvrtc*.so.* | libnvJitLink.so.* | libcufft*.so.* | \
      libcusolver*.so.* | libcusparse*.so.* | libcurand.so.* | libnccl.so.*) return 0 ;;
  esac
  return 1
}
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

partial=$out.partial
rm -rf "$partial"
mkdir -p "$partial/lib"
trap 'rm -rf "$partial"' EXIT

files=()
for program in "${programs[@]}"; do
  [[ $program == */* ]] && file=$program || file=$build/$program
  [ -x "$file" ] || fail "no program $file (build it first, or name its folder with --build)"
  files+=("$file")
  cp -L "$file" "$partial/"
done

# Where this machine's loader finds each library that the programs lead to, but for what only GPU libraries lead to.
declare -A path_of=()
for file in "${files[@]}"; do
  while read -r name arrow path _; do
    [ "$arrow" = "=>" ] && [ "$path" != not ] && path_of[$name]=$path
  done < <(ldd "$file")
done
queue=("${files[@]}")
declare -A seen=()
while [ ${#queue[@]} -gt 0 ]; do
  current=${queue[0]}
  queue=("${queue[@]:1}")
  for name in $(needed "$current"); do
    if [ -n "${seen[$name]:-}" ] || is_glibc "$name" || is_gpu "$name"; then continue; fi
    seen[$name]=1
    [ -n "${path_of[$name]:-}" ] || fail "$current needs $name, which this machine lacks"
    cp -L "${path_of[$name]}" "$partial/lib/$name"
    queue+=("${path_of[$name]}")
  done
done

cuda=/usr/local/cuda/lib64:/usr/local/cuda/targets/x86_64-linux/lib
for file in "$partial"/lib/*; do
  chmod u+w "$file"
  strip --strip-unneeded "$file"
  patchelf --set-rpath "\$ORIGIN:$cuda" "$file"
done
for file in "${files[@]}"; do
  program=$partial/$(basename "$file")
  strip "$program"
  patchelf --set-rpath "\$ORIGIN/lib:$cuda" "$program"
done

# Check: every library is here, glibc's or the GPU's; which glibc; the programs start from elsewhere, with nothing set.
glibc=$(for file in "$partial"/lib/* "${files[@]/#*\//$partial/}"; do readelf -V "$file"; done |
  sed -n 's/.*Name: GLIBC_\([0-9.]*\) .*/\1/p' | sort -uV | tail -n 1)
for file in "$partial"/lib/* "${files[@]/#*\//$partial/}"; do
  for name in $(needed "$file"); do
    [ -e "$partial/lib/$name" ] || is_glibc "$name" || is_gpu "$name" || fail "$file needs $name, which is not in the bundle"
  done
done
cat >"$partial/README" <<END
longrope, $mark: ${files[*]##*/}, with their libraries in lib/.
Runs on x86-64 Linux with glibc $glibc or newer, from any folder. A GPU is used where its driver and CUDA's libraries are.
END
rm -rf "$out"
mv "$partial" "$out"
trap - EXIT
folder=$(cd "$out" && pwd)
for file in "${files[@]}"; do
  program=$folder/$(basename "$file")
  while read -r name arrow path _; do
    [ "$arrow" = "=>" ] || continue
    if is_gpu "$name"; then continue; fi
    [ "$path" != not ] || fail "the loader does not find $name for $program"
    is_glibc "$name" || [[ $path == "$folder"/* ]] || fail "the loader takes $name for $program from $path"
  done < <(env -i PATH=/usr/bin:/bin ldd "$program")
  if env -i PATH=/usr/bin:/bin ldd "$program" | grep -q 'not found'; then
    echo "bundle: $(basename "$file") not started here, where CUDA's libraries are missing"
  else
    (cd / && env -i "$program" --help >/dev/null) || fail "$program --help failed in an empty environment"
  fi
done
mebibytes() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }
echo "bundle: $out, $(find "$out/lib" -type f | wc -l) libraries, $(mebibytes "$(du -sb "$out" | cut -f1)"), glibc $glibc or newer"
if [ -n "$archive" ]; then
  tar --sort=name --owner=0 --group=0 -C "$(dirname "$folder")" -cf - "$(basename "$folder")" | gzip >"$archive.partial"
  mv "$archive.partial" "$archive"
  echo "bundle: $archive, $(mebibytes "$(stat -c %s "$archive")")"
fi
