#!/usr/bin/env bash
# From an empty machine to an extended model: installs packages, builds, searches the rescale factors that take the
# shipped reference model from 256 to 2048 tokens, compares them with PI, NTK and YaRN on text the search did not see,
# and exports the result. About five minutes on two cores; safe to run again.
set -euo pipefail
cd "$(dirname "$0")/.."

model=experiments/reference
out=build/quickstart
length=2048
budget=${LONGROPE_QUICKSTART_BUDGET:-100}  # full evaluations

say() { printf '\n== %s\n' "$*"; }

say "1/5 packages"
bash experiments/install_packages.sh

say "2/5 build (build/release/longrope)"
cmake --preset release >/dev/null
cmake --build --preset release --parallel "$(nproc)" -- --quiet

say "3/5 text in the reference language: 3 documents to search on, 6 others to compare on ($out)"
rm -rf "$out"
mkdir -p "$out"
python3 "$model/language.py" --documents 3 --bytes 60000 --seed 1001 --out "$out/search-text"
python3 "$model/language.py" --documents 6 --bytes 60000 --seed 2001 --out "$out/held-out-text"

say "4/5 search: 256 -> $length tokens, at most $budget full evaluations, and its result on text it did not see"
build/release/longrope search --model "$model" --text "$out"/search-text/* --target-length $length --windows 3 \
  --budget "$budget" --store "$out/search.h5" --holdout-text "$out"/held-out-text/* --holdout-windows 6

say "5/5 every table on the text the search did not see, and the export"
build/release/longrope evaluate --model "$model" --text "$out"/held-out-text/* --length $length --windows 6 \
  --rope yarn --rope none --rope pi --rope ntk --rope "store:$out/search.h5"
build/release/longrope export --to hf --model "$model" --store "$out/search.h5" --out "$out/model-$length" >/dev/null

cat <<END

store:    $out/search.h5    (build/release/longrope inspect --store $out/search.h5)
exported: $out/model-$length/config.json    (loads in transformers, beside links to the weights)
END
