#!/usr/bin/env bash
# Everything the README of this folder reports, from the build to the plot.
#
#   bash experiments/benchmarks/strategies/run.sh quick|full [--only NAMES] [--bench FILE] [--out DIR] [-- OPTIONS...]
#
# quick    a few minutes on two cores: 3 seeds of the formulas, one of the reference model with 40 evaluations
# full     5 seeds of everything with LongRoPE's 1344 evaluations (auto: 150); hours on a CPU. Started again it goes on.
# --only   comma-separated of analytic, books-2048, books-8192, reference-2048
# --bench  the program (build/release/strategy_bench, built where it is missing)
# --out    where texts, results, summary and plot go (build/strategies)
# OPTIONS  go to strategy_bench for models, as in: -- --backend cuda --parallel-runs 32 --through driver --max-seconds 3000
#
# `books` is looked for in $LONGROPE_SHARED (../shared), with the novels it was not trained on.
set -euo pipefail
here=experiments/benchmarks/strategies
cd "$(dirname "$0")/../../.."

size=${1:-}
case $size in
  quick) seeds=3 model_seeds=1 budget=(--budget 40) sets=analytic,reference-2048 ;;
  full) seeds=5 model_seeds=5 budget=() sets=analytic,books-2048,reference-2048,books-8192 ;;
  *) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$here/run.sh" >&2; exit 2 ;;
esac
shift
bench=build/release/strategy_bench
out=build/strategies
more=()
while [ $# -gt 0 ]; do
  case $1 in
    --only) sets=${2:?}; shift 2 ;;
    --bench) bench=${2:?}; shift 2 ;;
    --out) out=${2:?}; shift 2 ;;
    --) shift; more=("$@"); break ;;
    *) echo "run.sh: no option $1" >&2; exit 2 ;;
  esac
done
# What OPTIONS give is not given twice.
[[ " ${more[*]} " == *" --budget "* ]] || more+=("${budget[@]}")
[[ " ${more[*]} " == *" --seeds "* ]] || more+=(--seeds "$model_seeds")
shared=${LONGROPE_SHARED:-../shared}

if [ ! -x "$bench" ]; then
  bash experiments/install_packages.sh benchmarks
  cmake --preset release -DLONGROPE_BENCHMARKS=ON >/dev/null
  cmake --build --preset release --parallel "$(nproc)" -- --quiet
fi
mkdir -p "$out"

# Runs what is missing; 3: a deadline or a signal ended it, and the next call goes on.
run() {
  local status=0
  echo "== $*"
  "$@" || status=$?
  [ $status -eq 0 ] || [ $status -eq 3 ] || exit $status
}

# Held out: later parts of the novels whose first windows are searched on. The text is ASCII, one paragraph a line.
novels=(great-expectations-1400 middlemarch-145 our-mutual-friend-883)
books() {
  local length=$1
  if [ ! -d "$shared/models/books" ]; then
    echo "== books-$length: not run, there is no $shared/models/books"
    return
  fi
  mkdir -p "$out/books-held-out"
  local search=() held_out=()
  for novel in "${novels[@]}"; do
    search+=("$shared/text/validation/$novel.txt")
    held_out+=("$out/books-held-out/$novel.txt")
    [ -s "$out/books-held-out/$novel.txt" ] ||
      tail -c +500001 "$shared/text/validation/$novel.txt" | tail -n +2 >"$out/books-held-out/$novel.txt"
  done
  run "$bench" --out "$out/books-$length-$size.h5" --problem model --name "books-$length" --model "$shared/models/books" \
    --text "${search[@]}" --windows 3 --target-length "$length" --holdout-text "${held_out[@]}" --holdout-windows 6 "${more[@]}"
}
reference() {
  local length=$1 text=$out/reference-text
  [ -d "$text/search" ] || python3 experiments/reference/language.py --documents 3 --bytes 60000 --seed 1001 --out "$text/search"
  [ -d "$text/held-out" ] || python3 experiments/reference/language.py --documents 6 --bytes 60000 --seed 2001 --out "$text/held-out"
  run "$bench" --out "$out/reference-$length-$size.h5" --problem model --name "reference-$length" --model experiments/reference \
    --text "$text"/search/* --windows 3 --target-length "$length" --holdout-text "$text"/held-out/* --holdout-windows 6 "${more[@]}"
}

for set in ${sets//,/ }; do
  case $set in
    analytic) run "$bench" --out "$out/analytic-$size.h5" --problem analytic --seeds "$seeds" --parallel-runs "$(nproc)" ;;
    books-*) books "${set#books-}" ;;
    reference-*) reference "${set#reference-}" ;;
    *) echo "run.sh: no set $set" >&2; exit 2 ;;
  esac
done

python=/usr/bin/python3  # the distribution's, for its h5py and matplotlib
results=("$out"/*-"$size".h5)
if $python -c 'import h5py, matplotlib' 2>/dev/null; then
  $python $here/summary.py "${results[@]}" >"$out/summary.md"
  $python $here/plot.py "${results[@]}" --out "$out/strategies.png"
  echo "== $out/summary.md, $out/strategies.png"
else
  echo "== ${results[*]} (summary.py and plot.py need python3-h5py and python3-matplotlib)"
fi
