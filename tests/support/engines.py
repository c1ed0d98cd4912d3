"""Which Pythons here have an inference engine. LONGROPE_ENGINE_PYTHON names one to ask before `python3` on PATH."""
import os
import subprocess
import sys

MODULES = {"transformers": "import torch, transformers", "llama.cpp": "import llama_cpp, numpy"}


def find_python(engine):
    """A Python that imports the engine, or None."""
    for python in (os.environ.get("LONGROPE_ENGINE_PYTHON"), "python3", sys.executable):
        if not python:
            continue
        try:
            if subprocess.run([python, "-c", MODULES[engine]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=300).returncode == 0:
                return python
        except (OSError, subprocess.TimeoutExpired):
            pass
    return None
