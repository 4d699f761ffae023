"""Runs a command and says how long it took and how much memory its whole process tree held at most."""

import os
import resource
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL_SECONDS = 0.1
_SHARE_OF_A_CORE = 0.05  # that sampling may take: reading the pages of a large process takes a while


class CommandFailed(Exception):
    """A measured command ended with an error; says where its output lies, and its last lines."""


@dataclass(frozen=True)
class Usage:
    """Wall seconds of a command, the seconds that cores worked for it and its children, and the largest memory of its
    process tree in bytes, pages that are shared counted once.
    """

    seconds: float
    core_seconds: float
    peak_bytes: int


def run_measured(command: Sequence[str], environment: Mapping[str, str], log: Path, directory: Path) -> Usage:
    """Run a command to its end, its output going to `log`; CommandFailed where it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        start, worked = time.perf_counter(), _children_seconds()
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, env={**os.environ, **environment}, cwd=directory,
                                   start_new_session=True)  # so that all of it can be ended together
        peak = _Peak(process.pid)
        peak.start()
        try:
            status = process.wait()
        finally:
            peak.stopped.set()
            _end(process)
        seconds = time.perf_counter() - start
    peak.join()
    if status:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise CommandFailed(f"{' '.join(map(str, command))} ended with {status} ({log}):\n{last}")
    return Usage(seconds, _children_seconds() - worked, peak.bytes)


def _end(process: subprocess.Popen) -> None:
    """End a process that still runs, as the measurement was interrupted, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Peak:
    """Samples the memory of a process and its descendants in a thread."""

    def __init__(self, pid: int):
        self.bytes = 0
        self.stopped = threading.Event()
        self._root = psutil.Process(pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _watch(self) -> None:
        while not self.stopped.is_set():
            start = time.thread_time()
            self.bytes = max(self.bytes, tree_bytes(self._root))
            taken = time.thread_time() - start
            self.stopped.wait(max(_INTERVAL_SECONDS, taken / _SHARE_OF_A_CORE))


def tree_bytes(root: psutil.Process) -> int:
    """Proportional set size of a process and its descendants; where the system has none, the resident set size."""
    try:
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_held_bytes, family))


def _held_bytes(process: psutil.Process) -> int:
    try:
        held = process.memory_full_info()
        return getattr(held, "pss", 0) or held.rss
    except psutil.AccessDenied:
        return process.memory_info().rss
    except psutil.Error:  # it has ended
        return 0


def folder_bytes(folder: Path) -> int:
    """What the files of a folder hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def median(values: Sequence[float]) -> float:
    return statistics.median(values)
