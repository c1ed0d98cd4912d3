#!/usr/bin/env bash
# The whole method on the shipped reference model, on a CPU: 256 -> 2048 tokens, fine-tuning under that table, -> 8192,
# repair of the short end; then the perplexities at every length before and after each stage, on text that neither a search
# nor the training saw. Installs what it needs; run again, it goes on where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

model=experiments/reference
out=build/progressive
job=${LONGROPE_JOB:-experiments/jobs/reference.cfg}

say() { printf '\n== %s\n' "$*"; }

say "1/5 packages"
bash experiments/install_packages.sh
if [ -n "${LONGROPE_VENV:-}" ]; then
  venv=$LONGROPE_VENV  # one that has torch, transformers, accelerate and sentencepiece
else
  venv=$out/venv
  if [ ! -e "$venv/complete" ]; then
    echo "python: installing torch, transformers, accelerate and peft into $venv (several GB)"
    bash experiments/install_packages.sh finetune
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch transformers accelerate peft safetensors sentencepiece numpy
    touch "$venv/complete"
  fi
fi
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH

longrope=${LONGROPE:-build/release/longrope}  # LONGROPE: a program that is built already
say "2/5 build ($longrope)"
if [ -z "${LONGROPE:-}" ]; then
  cmake --preset release >/dev/null
  cmake --build --preset release --parallel "$(nproc)" --target longrope -- --quiet
fi

say "3/5 text in the reference language: 3 documents to search on, 60 to train on, 6 held out ($out)"
for set in "3 1001 search-text" "60 3001 train-text" "6 2001 held-out-text"; do
  read -r documents seed name <<<"$set"
  python3 "$model/language.py" --documents "$documents" --bytes 60000 --seed "$seed" --out "$out/$name"
done

say "4/5 the chain ($job)"
"$longrope" progressive --config "$job" --resume

say "5/5 held-out perplexities at every length"
python3 experiments/chain_table.py --longrope "$longrope" --model "$model" --tuned "$out/checkpoints/2k" \
  --store "$out/chain.h5" --text "$out"/held-out-text/*
