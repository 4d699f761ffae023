"""Train folds in parallel, one per device. Each fold is a process, whose output goes to a log in the folder of the fold.

Processes are used instead of threads: a crash of CUDA, or a process that the system kills for its memory, ends one fold
and not the others.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from autoseg.base.errors import UserError
from autoseg.base.processes import IMPORTS_NOTHING_FROM_HERE, cores, loaded_plugins
from autoseg.base.runtime import open_runtime
from autoseg.base.stopping import ends_with_this_process, resumable, stoppable
from autoseg.orchestrate.folds import FoldTask, Outcome
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import appended, read_model, tail

logger = logging.getLogger(__name__)

_TAIL_LINES = 12  # of the log of a failed fold: its fault shows them
_SECONDS_TO_STOP = 20.0  # a process that does not stop within this time is killed


def devices_of(asked: str | None, device: str) -> list[str]:
    """The devices that train folds: those named, `cpu,cpu` or `0,1`; else every GPU where `device` is auto.

    Raises UserError for one that this machine does not have.
    """
    if asked is not None:
        named = [f"cuda:{word}" if word.isdecimal() else word for word in asked.replace(" ", "").split(",") if word]
        for name in named:
            open_runtime(name)
        if not named:
            raise UserError("no device is named", found=asked, expected="a list such as cuda:0,cuda:1")
        return named
    import torch

    if device == "auto" and torch.cuda.is_available() and torch.cuda.device_count() > 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [device]


def parallel(tasks: Sequence[FoldTask], devices: Sequence[str], *, home: Path, seed: int = 0) -> Iterator[Outcome]:
    """Train folds in processes of their own, one at a time per device; outcomes come in the order in which folds end.

    A process that fails is reported with the end of its log, and the others continue. All processes stop when the caller
    stops iterating, is interrupted or killed: the next call continues from what they saved.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for device in devices:
        free.put(device)
    running = _Running()
    environment = {"OMP_NUM_THREADS": str(max(1, cores() // len(devices))), **os.environ, **IMPORTS_NOTHING_FROM_HERE,
                   **ends_with_this_process()}

    def work(task: FoldTask) -> Outcome:
        device = free.get()
        try:
            return _finished(task, running.run(_command(task, device, home, seed), environment, task.folder.log))
        finally:
            free.put(device)

    logger.info("%d folds on %s; each logs to its folder", len(tasks), ", ".join(devices))
    with stoppable(), resumable(), ThreadPoolExecutor(len(devices)) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()
            running.stop()


class _Running:
    """The processes that run. After `stop` no process starts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen] = []
        self._stopped = False

    def run(self, command: Sequence[str], environment: dict[str, str], log: Path) -> int:
        """Run a command whose output goes to a log; its exit status, that of SIGTERM where it was not started."""
        with appended(log) as file:
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM
                process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                           env=environment, start_new_session=True)
                self._processes.append(process)
            return process.wait()

    def stop(self) -> None:
        """End the processes; each saves its training, from where it continues later."""
        with self._lock:
            self._stopped = True
        remaining = [process for process in self._processes if process.poll() is None]
        for process in remaining:
            process.terminate()
        for process in remaining:
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()


def _command(task: FoldTask, device: str, home: Path, seed: int) -> list[str]:
    parts = [("--plugin", name) for name in loaded_plugins()] + [("--tracker", name) for name in task.trackers]
    return [sys.executable, "-m", "autoseg.cli.train", task.planned.dataset, task.configuration, str(task.fold),
            "--planner", task.planned.planner, "--plan", str(task.plan_file), "--home", str(home), "--device", device,
            "--seed", str(seed), *(["--save_probabilities"] if task.save_probabilities else []),
            *(["--as_started"] if task.as_started else []), *(word for part in parts for word in part)]


def _finished(task: FoldTask, status: int) -> Outcome:
    ended = f"ended by signal {-status}" if status < 0 else f"ended with status {status}"
    if task.folder.is_finished and (not status or task.folder.is_trained):
        if status:
            logger.warning("%s is finished, but its process %s; see %s", task.title, ended, task.folder.log)
        return Outcome(task, read_model(task.folder.result, FoldResult))
    fault = f"{ended}; the end of {task.folder.log}:\n" + "\n".join(
        f"    {line}" for line in tail(task.folder.log, _TAIL_LINES))
    logger.warning("%s: %s", task.title, fault)
    return Outcome(task, None, fault)
