"""A process that looks like a training: it holds the folder of a fold, and ends as one does."""

import sys
import time

from autoseg.orchestrate.detached import start_detached

# It imports nothing of ours, so that it starts at once.
PRETENDED = """
import fcntl, json, os, signal, socket, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def stop(*_):
    (folder / "state.pt").write_text("saved")
    print("stopped; the same command goes on", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
lock = open(folder.with_name(f".{folder.name}.lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(f"process {os.getpid()} on {socket.gethostname()}", file=lock, flush=True)
if len(sys.argv) == 2:
    (folder / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "iteration": 20, "iterations": 60, "seconds": 2.0,
        "train_loss": 0.5, "validation_dice": 0.4, "learning_rate": 0.01, "seconds_left": 4.0}) + "\\n")
print("training", flush=True)
time.sleep(60)
"""


def pretend(folder, log, *, writes=True):
    """Start it. It writes one epoch, unless it is to leave the records as they are."""
    return start_detached([sys.executable, "-S", "-c", PRETENDED, str(folder), *([] if writes else ["writes nothing"])], log)


def until(is_true, seconds=20.0, pause=0.02):
    """Wait for what another process does. A service takes 600 questions a minute: a long wait needs a longer pause."""
    ends = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(pause)
