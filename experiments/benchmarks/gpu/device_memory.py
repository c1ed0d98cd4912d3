"""How much memory of GPU 0 was in use at most while something ran: nvidia-smi asked ten times a second. Counts everything
on the device (CUDA contexts included), so it is the same measure for every program."""
import subprocess
import threading


class PeakMemory:
    """`with PeakMemory() as peak: ...; peak.gb`: NaN where nvidia-smi is not to be had."""

    def __enter__(self):
        self.gb = float("nan")
        try:
            self._process = subprocess.Popen(
                ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "100"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            self._process = None
            return self
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def _read(self):
        for line in self._process.stdout:
            try:
                gb = float(line) * 1.048576e-3  # nvidia-smi's unit is MiB
            except ValueError:
                continue
            if not self.gb >= gb:
                self.gb = gb

    def __exit__(self, *_):
        if self._process is not None:
            self._process.terminate()
            self._thread.join()
            self._process.wait()
        return False
