"""The job files and Slurm scripts that are shipped: every job file means something, and the scripts run a job to its end through
stops and requeues, with stand-ins for srun and scontrol.

    python3 tests/cli/jobs.py --longrope build/release/longrope
"""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402
import stores  # noqa: E402

JOBS, SLURM = ROOT / "experiments" / "jobs", ROOT / "experiments" / "slurm"
HOOK = ROOT / "tests" / "support" / "fake_finetune.py"

SRUN = """#!/usr/bin/env bash
echo "srun $*" >>"{log}"
while [[ $1 == --* ]]; do shift; done
"$@" &
child=$!
trap 'kill -TERM $child' TERM
wait $child; code=$?
while kill -0 $child 2>/dev/null; do wait $child; code=$?; done
exit $code
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >>"{log}"
"""


def shipped_jobs(program, checks):
    files = sorted(JOBS.glob("*.cfg"))
    checks.true(len(files) >= 4, "job files", "at least 4", files)
    for path in files:
        done = program.run("progressive", "--config", path, "--check", cwd=ROOT)
        checks.equal(done.returncode, 0, f"{path.name} --check: {done.stderr}")
        checks.true("stage " in done.stdout and "repair: " in done.stdout, f"{path.name}: stages and a repair", "both", done.stdout)
    targets = program.run("progressive", "--config", JOBS / "llama2-7b.cfg", "--check").stdout
    for words in ("stage 128k: 131072 tokens, ppl@131072, paper-ga, budget 1344", "base none, on the original checkpoint; then fine-tune",
                  "stage 2048k: 2097152 tokens, ppl@2097152, paper-ga, budget 672, base previous, on the latest checkpoint\n"):
        checks.true(words in targets, f"the paper's chain: {words!r}", words, targets)


class Cluster:
    """Stand-ins on the PATH, and what they were asked."""

    def __init__(self, directory, program):
        self.log, bin_directory = directory / "slurm.log", directory / "bin"
        bin_directory.mkdir()
        for name, script in (("srun", SRUN), ("scontrol", SCONTROL)):
            (bin_directory / name).write_text(script.format(log=self.log))
            (bin_directory / name).chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{bin_directory}:{os.environ['PATH']}", "LONGROPE": program.path,
                            "SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": "77"}
        self.errors = directory / "slurm.err"

    def start(self, script, *arguments, **environment):
        self.log.write_text("")
        with open(self.errors, "wb") as errors:
            return subprocess.Popen(["bash", str(SLURM / script), *map(str, arguments)], stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=errors, env={**self.environment, **environment})

    def asked(self, name):
        return [line for line in self.log.read_text().splitlines() if line.startswith(name)]


def slurm_scripts(program, checks, directory):
    cluster = Cluster(directory, program)
    model = rc.make_checkpoint(directory / "model", "llama", seed=51, layers=2)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(52, 320, [3000])[0])
    job, store, hook_log = directory / "job.cfg", directory / "job.h5", directory / "hook.log"

    def write(seconds):
        job.write_text(f"""model = {model}
tokens = {tokens}
store = {store}
windows = 2
strategy = random
budget = 6
[stage.one]
target-length = 128
finetune-after = yes
finetune = {sys.executable} {HOOK} --model {{model}} --table {{table}} --length {{length}} --out {{out}} --log {hook_log} --seconds {seconds}
[stage.two]
target-length = 256
""")

    for script, arguments, environment, identity in (
            ("single.sbatch", [job], {}, "77"),
            ("array.sbatch", [directory / "list.txt"], {"SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "2"}, "70_2")):
        for path in (store, hook_log):
            path.unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", str(store.with_suffix(".work"))], check=True)
        (directory / "list.txt").write_text(f"nothing.cfg\n{job} --seed 9\n")
        write(30)
        process = cluster.start(script, *arguments, **environment)
        deadline = time.monotonic() + 60
        while not hook_log.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)  # as Slurm does before the time limit
        checks.equal(process.wait(60), 0, f"{script}: exit code of an interrupted run ({cluster.errors.read_text()[-400:]})")
        checks.equal(cluster.asked("scontrol"), [f"scontrol requeue {identity}"], f"{script}: what was asked of scontrol")
        checks.true("SIGTERM" in hook_log.read_text(), f"{script}: the signal reached the fine-tuning", "SIGTERM", hook_log.read_text())
        write(0)
        process = cluster.start(script, *arguments, **environment)
        checks.equal(process.wait(driver.TIMEOUT_S), 0, f"{script}: exit code of the requeued run ({cluster.errors.read_text()[-400:]})")
        checks.equal(cluster.asked("scontrol"), [], f"{script}: nothing more to requeue")
        checks.true("--resume" in cluster.asked("srun")[0], f"{script}: the run resumes", "--resume", cluster.asked("srun"))
        names = sorted(name.split("/")[2] for name in stores.contents(store) if name.count("/") == 2 and name.startswith("/stages/"))
        checks.equal([name for name in names if "@" not in name], ["one", "two"], f"{script}: stages of the store")

    job.write_text("model = x\n")  # a failure is no interruption
    process = cluster.start("single.sbatch", job)
    checks.equal(process.wait(60), 2, "a wrong job file: exit code")
    checks.equal(cluster.asked("scontrol"), [], "a wrong job file is not requeued")
    process = cluster.start("array.sbatch", directory / "list.txt", SLURM_ARRAY_TASK_ID="3")
    checks.equal(process.wait(60), 2, "a task without a line: exit code")


def test(program, checks, directory, arguments):
    shipped_jobs(program, checks)
    slurm_scripts(program, checks, directory)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=20)
