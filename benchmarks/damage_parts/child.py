"""Many inputs in a process that may crash or hang: its outcomes lie on the disk, one letter per input, so a run goes on.

KIND.outcomes holds a letter per input, KIND.faults a line of JSON per fault. Input `index` depends on the seed, the kind and
its index alone.
"""

import faulthandler
import json
import random
import resource
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

SECONDS = 5.0  # an input that takes longer hangs
MEMORY_BYTES = 2**30
REFUSED, SAME, OTHER, UNSEEN, TRACEBACK, DIED, SLOW, LARGE = "rsoutdhm"
FAULTS = {OTHER: "other content in silence", TRACEBACK: "traceback", DIED: "crash, or over 5 s", SLOW: "over 5 s",
          LARGE: "over 1 GB"}

Judge = Callable[[random.Random], tuple[str, str]]  # an outcome, and what to say of it


def slug(kind: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in kind)


def run_here(kind: str, judge: Judge, until: int, seed: int, folder: Path) -> None:
    """Judge the inputs that were not judged yet, up to `until`."""
    path = folder / f"{slug(kind)}.outcomes"
    with open(path, "ab", buffering=0) as outcomes, open(folder / f"{slug(kind)}.faults", "a", buffering=1) as faults:
        for index in range(path.stat().st_size, until):
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            before, started = _peak_bytes(), time.perf_counter()
            try:
                outcome, text = judge(random.Random(f"{seed} {kind} {index}"))
            except Exception:
                outcome, text = TRACEBACK, traceback.format_exc(limit=-4)
            faulthandler.cancel_dump_traceback_later()
            if time.perf_counter() - started > SECONDS:
                outcome, text = SLOW, f"{time.perf_counter() - started:.1f} s"
            if _peak_bytes() > max(before, MEMORY_BYTES):
                outcome, text = LARGE, f"{_peak_bytes() / 2**20:.0f} MiB"
            outcomes.write(outcome.encode())
            if outcome in FAULTS:
                faults.write(json.dumps({"index": index, "outcome": FAULTS[outcome], "text": text[-1500:]}) + "\n")


def run_guarded(script: Path, kind: str, until: int, seed: int, folder: Path) -> Counter[str]:
    """Run the script's `--child KIND` until all inputs are judged; what kills a child is a fault of one input."""
    path = folder / f"{slug(kind)}.outcomes"
    path.touch()
    command = [sys.executable, str(script), "--child", kind, "--n", str(until), "--seed", str(seed), "--out", str(folder)]
    while (judged := path.stat().st_size) < until:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 1 and path.stat().st_size == judged and "Timeout" not in done.stderr:
            raise SystemExit(f"{kind}: the sample cannot be made\n{done.stderr}")
        if done.returncode and path.stat().st_size < until:
            with open(folder / f"{slug(kind)}.faults", "a") as faults:
                faults.write(json.dumps({"index": path.stat().st_size, "outcome": FAULTS[DIED],
                                         "text": f"status {done.returncode}\n{done.stderr[-1500:]}"}) + "\n")
            with open(path, "ab") as outcomes:
                outcomes.write(DIED.encode())
    return Counter(path.read_text()[:until])


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
