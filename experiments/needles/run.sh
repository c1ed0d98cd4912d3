#!/usr/bin/env bash
# Needles in the reference model: tables searched for 4096 tokens on PPL, key-PPL and needle-PPL, where each finds a pass key, and
# which objective ranks 30 tables as retrieval does. About an hour on 2 cores; needs python3-numpy and python3-matplotlib.
#
#     bash experiments/needles/run.sh [OUT]        # OUT: build/needles
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-build/needles}
here=experiments/needles
reference=experiments/reference
program=build/release/longrope

bash experiments/install_packages.sh benchmarks
cmake --preset release >/dev/null
cmake --build --preset release --parallel "$(nproc)" -- --quiet
mkdir -p "$out"
python3 "$reference/language.py" --no-pass-keys --documents 16 --bytes 60000 --seed 2001 --out "$out/search" >/dev/null
python3 "$reference/language.py" --no-pass-keys --documents 20 --bytes 60000 --seed 3001 --out "$out/test" >/dev/null
model=(--model "$reference")
keys=(--keys 10000-99999)  # the reference model knows pass keys of five digits

# One table for each objective, the same budget for all. A store that is there is gone on with.
for objective in ppl key-ppl needle; do
  more=()
  if [ $objective = needle ]; then more=("${keys[@]}"); fi
  if [ -e "$out/$objective.h5" ]; then more+=(--resume); fi
  "$program" search "${model[@]}" --text "$out"/search/*.txt --target-length 4096 --objective "$objective" --windows 24 \
    --budget 60 --seed 1 --store "$out/$objective.h5" "${more[@]}"
done

# The tables as one deployment has them: for 4096 tokens, at every length.
ropes=(--rope none --rope pi:target_length=4096 --rope ntk:target_length=4096 --rope yarn:target_length=4096)
names=(--name pi:target_length=4096=PI --name ntk:target_length=4096=NTK --name yarn:target_length=4096=YaRN)
for objective in ppl key-ppl needle; do
  ropes+=(--rope "store:$out/$objective.h5")
  names+=(--name "store:$out/$objective.h5=searched on $objective")
done
more=()
if [ -e "$out/passkey.h5" ]; then more=(--resume); fi
"$program" needle "${model[@]}" --text "$out"/test/*.txt "${keys[@]}" "${ropes[@]}" --length 256,512,1024,2048,4096 --depths 11 --trials 10 \
  --seed 7 --store "$out/passkey.h5" "${more[@]}" --json >"$out/passkey.json"
"$program" report "$out/passkey.h5" -o "$out/passkey.html"
python3 $here/heatmap.py "$out/passkey.json" "${names[@]}" --paired "store:$out/needle.h5" --above 256 --out "$out/passkey.png" | tee "$out/passkey.md"

# Thirty tables for 2048 tokens: the objectives on the text of the searches, retrieval elsewhere.
mapfile -t specs < <(python3 $here/tables.py --rotary-dim 64 --theta 10000 --original-length 256 --target-length 2048 --out "$out/tables")
thirty=()
for spec in "${specs[@]}"; do thirty+=(--rope "$spec"); done
"$program" evaluate "${model[@]}" --text "$out"/search/*.txt "${keys[@]}" "${thirty[@]}" --length 2048 --windows 64 --metrics ppl,key-ppl,needle \
  --json >"$out/objectives.json"
"$program" needle "${model[@]}" --text "$out"/test/*.txt "${keys[@]}" "${thirty[@]}" --length 2048 --depths 11 --trials 10 --seed 7 --json \
  >"$out/thirty.json"
python3 $here/correlate.py "$out/objectives.json" --retrieval "passkey=$out/thirty.json" | tee "$out/correlation.md"
