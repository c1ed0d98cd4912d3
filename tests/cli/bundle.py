"""experiments/bundle.sh: the bundle runs from another place with nothing set, in a root that holds glibc and nothing else,
gives the same bits as the program it was made from, and is small.

    python3 tests/cli/bundle.py --longrope build/release/longrope
"""
import ctypes.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import driver  # noqa: E402
import random_checkpoint as rc  # noqa: E402

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "bundle.sh"
GLIBC = re.compile(r"(ld-linux-x86-64|libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl)\.so\.\d+$")
GPU = re.compile(r"lib(cuda|nvidia|cublas|cudnn|nvrtc|nvJitLink|cufft|cusolver|cusparse|curand|nccl)[A-Za-z_-]*\.so")
LIMIT_BYTES = 40 * 2**20


def bundle(*arguments):
    return subprocess.run(["bash", str(SCRIPT), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=600)


def needed(file):
    text = subprocess.run(["readelf", "-d", str(file)], stdout=subprocess.PIPE, text=True, check=True).stdout
    paths = re.findall(r"\(RUNPATH\).*\[(.*)\]", text)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", text), paths[0].split(":") if paths else []


def bare_root(directory):
    """A root with glibc's libraries where the loader looks for them, and nothing else."""
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    (directory / "lib64").mkdir(parents=True)
    shutil.copy2(loader.resolve(), directory / "lib64" / loader.name)
    libraries = directory / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (directory / "lib").symlink_to("usr/lib")
    (directory / "tmp").mkdir()
    (directory / "proc").mkdir()
    for file in Path("/usr/lib/x86_64-linux-gnu").iterdir():
        if GLIBC.match(file.name):
            shutil.copy2(file.resolve(), libraries / file.name)
    return directory


WITH_PROC = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'  # the loader learns $ORIGIN from /proc/self/exe


def way_into(root):
    """How this machine lets a test run something in another root; None: not at all."""
    plain = ["chroot", str(root)], {"LD_ORIGIN_PATH": "/opt/longrope"}  # without /proc the loader is told $ORIGIN
    ways = [(["unshare", "--mount", "sh", "-c", WITH_PROC, str(root)], {}),
            (["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", WITH_PROC, str(root)], {}), plain]
    for command, variables in ways:
        if shutil.which(command[0]) and subprocess.run([*command, "/lib64/ld-linux-x86-64.so.2", "--version"],
                                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            return command, {"PATH": os.environ["PATH"], **variables}
    return None


def test(program, checks, directory, arguments):
    for tool in ("patchelf", "readelf", "strip", "ldd"):
        if not shutil.which(tool):
            raise driver.Skip(f"{tool} is missing")
    if b"libasan" in subprocess.run(["ldd", program.path], stdout=subprocess.PIPE).stdout:
        raise driver.Skip("a program with sanitizers is not for other machines")

    checks.equal(bundle().returncode, 2, "without --out: exit code")
    occupied = directory / "occupied"
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("years of work")
    refused = bundle("--out", occupied, program.path)
    checks.true(refused.returncode == 1 and (occupied / "thesis.txt").exists(), "a folder of something else",
                "refused and untouched", refused)
    missing = bundle("--build", directory, "--out", directory / "none")
    checks.true(missing.returncode == 1 and "no program" in missing.stderr and not (directory / "none").exists(),
                "a program that was not built", "refused", missing)

    folder, archive = directory / "bundle", directory / "bundle.tar.gz"
    for attempt in ("made", "made again in its place"):
        done = bundle("--out", folder, "--archive", archive, program.path)
        if not checks.equal(done.returncode, 0, f"{attempt}: exit code"):
            raise driver.Failed(done.stdout + done.stderr)
    print(done.stdout.strip())
    checks.true(archive.stat().st_size < LIMIT_BYTES, "bytes of the archive", f"below {LIMIT_BYTES}", archive.stat().st_size)
    checks.equal(sorted(p.name for p in folder.iterdir()), ["README", "lib", "longrope"], "the bundle's entries")

    gpu = False
    for file in [folder / "longrope", *(folder / "lib").iterdir()]:
        names, paths = needed(file)
        home = "$ORIGIN/lib" if file.name == "longrope" else "$ORIGIN"
        checks.true(paths[:1] == [home], f"{file.name}: first search path", home, paths)
        gpu = gpu or any(GPU.match(name) for name in names)
        strays = [n for n in names if not (folder / "lib" / n).exists() and not GLIBC.match(n) and not GPU.match(n)]
        checks.equal(strays, [], f"{file.name}: libraries neither in the bundle nor the machine's")
        checks.true(not GLIBC.match(file.name) and not GPU.match(file.name), "what must not be copied", "not there", file.name)

    if gpu and not ctypes.util.find_library("cuda"):
        raise driver.Skip("the program needs CUDA's libraries, which this machine lacks: checked but not started")

    # From somewhere else, nothing set, and the archive: the same numbers as the program gives.
    model = rc.make_checkpoint(directory / "model", "llama", seed=5)
    tokens = rc.write_raw(directory / "tokens.u16", rc.random_documents(9, 320, [600])[0])
    task = ["evaluate", "--tokens", None, "--length", "64,128", "--windows", "2", "--rope", "yarn", "--rope", "ntk", "--json",
            "--threads", "2", "--model", None]

    def arguments_in(root):
        places = iter([f"{root}/tokens.u16", f"{root}/model"])
        return [next(places) if a is None else a for a in task]

    def numbers(text):
        return [(r["rope"], r["length"], r["ppl"], r["windows"]) for r in json.loads(text)["results"]]

    expected = numbers(program.run(*arguments_in(directory)).stdout)
    checks.equal(len(expected), 4, "results of the program itself")
    elsewhere = directory / "else" / "where"
    elsewhere.mkdir(parents=True)
    subprocess.run(["tar", "xf", str(archive), "-C", str(elsewhere)], check=True)
    shutil.move(folder, directory / "moved")
    for place in (directory / "moved", elsewhere / "bundle"):
        done = subprocess.run([str(place / "longrope"), *arguments_in(directory)], env={}, cwd="/", stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=300)
        if checks.equal(done.returncode, 0, f"{place.name} in an empty environment: exit code"):
            checks.equal(numbers(done.stdout), expected, f"{place.name}: results against the program's")
        else:
            print(done.stderr[-1000:])

    root = bare_root(directory / "root")
    way = way_into(root)
    if way is None or gpu:
        print("skipped: the bare root, for which chroot is needed, and a program that needs no GPU libraries")
        return
    command, environment = way
    shutil.copytree(directory / "moved", root / "opt" / "longrope")
    shutil.copytree(model, root / "model")
    shutil.copy(tokens, root / "tokens.u16")
    done = subprocess.run([*command, "/opt/longrope/longrope", *arguments_in("")], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    if checks.equal(done.returncode, 0, "in a root with glibc and nothing else: exit code"):
        checks.equal(numbers(done.stdout), expected, "in the bare root: results against the program's")
    else:
        print(done.stderr[-1000:])
    # The check can fail: without one of its libraries the program does not start there.
    victim = next((root / "opt" / "longrope" / "lib").glob("libtbb.so*"))
    victim.unlink()
    done = subprocess.run([*command, "/opt/longrope/longrope", "--help"], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    checks.true(done.returncode != 0 and victim.name in done.stderr, "the bare root lacks what the bundle lacks",
                f"an error that names {victim.name}", done)


if __name__ == "__main__":
    driver.main(test, __doc__, at_least=20)
