#!/usr/bin/env bash
# What the Slurm scripts beside this share: runs one job file under srun, and puts the Slurm job back into the queue when it
# was interrupted (exit code 3: the store is complete, and the next run goes on to the same bits).
#     bash experiments/slurm/run.sh JOB.cfg [options of longrope progressive]
# Slurm sends SIGTERM before the time limit (#SBATCH --signal) and at preemption; it is passed on.
set -uo pipefail

longrope=${LONGROPE:-build/release/longrope}
if [ $# -lt 1 ]; then
  echo "usage: run.sh JOB.cfg [options]" >&2
  exit 2
fi
config=$1
shift

child=
stopped=
pass_on() {
  stopped=yes
  [ -n "$child" ] && kill -TERM "$child" 2>/dev/null
}
trap pass_on TERM INT

srun --ntasks=1 --kill-on-bad-exit=0 "$longrope" progressive --config "$config" --resume "$@" &
child=$!
[ -n "$stopped" ] && pass_on
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do  # a signal ends wait before the program has ended
  wait "$child"
  code=$?
done

if [ "$code" -eq 3 ] || { [ -n "$stopped" ] && [ "$code" -ne 0 ]; }; then
  id=${SLURM_JOB_ID:-}
  if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
    id=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
  fi
  if [ -n "$id" ]; then
    echo "interrupted (exit code $code): requeueing $id" >&2
    scontrol requeue "$id" || exit "$code"
    exit 0
  fi
fi
exit "$code"
