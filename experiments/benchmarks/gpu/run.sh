#!/usr/bin/env bash
# The series of measurements on one GPU machine: every step has a time limit, a log of its own and may fail without
# stopping the series. Needs the program, kernel_check and kernel_bench, and a Python with torch and transformers.
#
#   bash run.sh --longrope DIR/longrope --kernels DIR --books DIR --text FILE --out OUT [--work DIR] [--pack FILE] [STEP...]
#
# Steps, in this order (default: all but those marked *):
#   device check memcheck racecheck bench attention checkpoint evaluate-32k evaluate-128k transformers agreement search
#   evaluate-1m * evaluate-2m * evaluate-fp8 * agreement-fp8 *
# --layers N: the checkpoint gets N layers only (its own step must run again), for lengths whose full depth takes too long.
# --pack FILE: all logs as one archive, rewritten after every step.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

longrope= kernels= books= text= out= work=/dev/shm/longrope-bench pack= layers= python=python3
steps=()
while [ $# -gt 0 ]; do
  case $1 in
    --longrope | --kernels | --books | --text | --out | --work | --pack | --layers | --python)
      [ $# -ge 2 ] || { echo "[run.sh] $1 must have a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"; shift 2 ;;
    -*) echo "[run.sh] unknown option $1 (see the head of the file)" >&2; exit 2 ;;
    *) steps+=("$1"); shift ;;
  esac
done
[ -n "$out" ] || { echo "[run.sh] --out must be given" >&2; exit 2; }
[ ${#steps[@]} -gt 0 ] || steps=(device check memcheck racecheck bench attention checkpoint evaluate-32k evaluate-128k transformers agreement search)
mkdir -p "$out" "$work"
checkpoint=$work/checkpoint
tokens=$work/tokens.u32

# run NAME SECONDS COMMAND...: log to OUT/NAME.log, a line of exit code and seconds, never stops the series.
run() {
  local name=$1 limit=$2 began code
  shift 2
  printf '\n== %s (at most %s s)\n' "$name" "$limit"
  began=$(date +%s.%N)
  timeout -k 5 "$limit" "$@" 2>&1 | tee "$out/$name.log"
  code=${PIPESTATUS[0]}
  local seconds
  seconds=$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
  echo "-- $name: exit $code, $seconds s$([ "$code" = 124 ] && echo ' (over its limit)')"
  "$python" -c 'import sys; sys.path.insert(0, sys.argv[1]); from records import record
record(sys.argv[2], "step", step=sys.argv[3], exit=int(sys.argv[4]), seconds=float(sys.argv[5]))' "$here" "$out" "$name" "$code" "$seconds"
  if [ -n "$pack" ]; then
    tar -C "$out" -czf "$pack.part" --exclude="$(basename "$pack")*" . && mv "$pack.part" "$pack"
  fi
  return 0
}

evaluate() {  # NAME LIMIT LENGTH [option...]
  local name=$1 limit=$2 length=$3
  shift 3
  run "$name" "$limit" "$python" "$here/longrope_evaluate.py" --longrope "$longrope" --model "$checkpoint" --tokens "$tokens" \
    --length "$length" --limit "$((limit - 5))" --records "$out" "$@"
}

# A sanitizer makes kernels 10 to 100 times slower: racecheck looks at the groups whose kernels share memory between threads.

sanitize() {  # TOOL GROUPS: part of the names of kernel_check's groups
  run "$1${2:+-${2// /-}}" 120 compute-sanitizer --tool "$1" --error-exitcode 9 "$kernels/kernel_check" --seed 1 --only "$2"
}

for step in "${steps[@]}"; do
  case $step in
    device) run device 20 nvidia-smi --query-gpu=name,memory.total,driver_version,compute_cap --format=csv,noheader ;;
    check) run check 180 "$kernels/kernel_check" ;;
    memcheck) sanitize memcheck "" ;;
    racecheck) for group in rms_norm "vocabulary 1000" "grouped heads"; do sanitize racecheck "$group"; done ;;
    bench) run bench 120 "$kernels/kernel_bench" --json "$out/bench.json" ;;
    attention) run attention 60 "$python" "$here/attention_peer.py" --records "$out" ;;
    checkpoint)
      run checkpoint 90 "$python" "$here/random_checkpoint.py" --shape llama3-8b ${layers:+--layers "$layers"} --out "$checkpoint" \
        --tokens "$tokens" --records "$out" ;;
    evaluate-32k) evaluate evaluate-32k 60 32768 ;;
    evaluate-128k) evaluate evaluate-128k 90 131072 ;;
    evaluate-1m) evaluate evaluate-1m 590 1048576 ;;
    evaluate-2m) evaluate evaluate-2m 2400 2097152 ;;
    evaluate-fp8)
      evaluate evaluate-fp8 90 131072 --precision fp8
      evaluate evaluate-fp8-attention 90 131072 --precision fp8 --attention fp8 ;;
    transformers)
      run transformers 150 "$python" "$here/transformers_peer.py" --model "$checkpoint" --tokens "$tokens" --length 32768 131072 --records "$out" ;;
    agreement) run agreement 120 "$python" "$here/agreement.py" --longrope "$longrope" --model "$books" --text "$text" --records "$out" ;;
    # What a screening needs is the ranking: the NLL itself may move by more than in bf16.
    agreement-fp8)
      run agreement-fp8 120 "$python" "$here/agreement.py" --longrope "$longrope" --model "$books" --text "$text" --precision fp8 \
        --attention fp8 --tolerance 0.05 --tau 0.9 --records "$out" ;;
    search) run search 120 "$python" "$here/search_rate.py" --longrope "$longrope" --model "$books" --text "$text" --limit 55 --records "$out" ;;
    *) echo "[run.sh] no step is called $step" >&2 ;;
  esac
done
"$python" "$here/summary.py" --records "$out" --model "$checkpoint" 2>&1 | tee "$out/summary.txt"
