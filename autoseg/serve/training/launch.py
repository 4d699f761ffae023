"""Trainings and reports as processes of their own, which go on when the service ends."""

import logging
import os
import secrets
import signal
import subprocess  # nosec B404
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg import pipeline
from autoseg.base.deaths import how_it_ended
from autoseg.base.errors import UserError, visible
from autoseg.orchestrate.detached import Training, report_command, start_detached, training_command
from autoseg.serve.problems import without_paths
from autoseg.serve.training.folds import FoldKey, Launch, Launched, device_of, fold_folder, key_of, state_of, title_of
from autoseg.serve.training.types import ReportState
from autoseg.workspace.files import changed_at, tail, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import holder
from autoseg.workspace.names import Workspace

logger = logging.getLogger(__name__)

Process = subprocess.Popen[bytes]
Start = Callable[[Sequence[str], Path], Process]

_STOPPED = {0, 128 + signal.SIGINT, 128 + signal.SIGTERM, 128 + signal.SIGHUP, -signal.SIGTERM}  # no fault
_LINK_SECONDS = 60.0


class Busy(UserError):
    """Something runs already, or does not run at all, so that this cannot be done now."""


@dataclass
class Launcher:
    """The processes that this service has started. Safe in threads. `start` starts a command with its log."""

    workspace: Workspace
    devices: Sequence[str]
    start: Start = start_detached
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _trainings: dict[FoldKey, Process] = field(default_factory=dict)
    _reports: dict[str, Process] = field(default_factory=dict)
    _links: dict[str, tuple[str, float]] = field(default_factory=dict)  # ticket -> dataset and when it ends

    def launch(self, key: FoldKey) -> Launch:
        """What is known of the process that this service has started for a fold."""
        with self._lock:
            process = self._trainings.get(key)
        status = 0 if process is None else process.poll()
        if process is None or status in _STOPPED:
            return Launch()
        if status is None:
            return Launch(is_alive=True)
        lines = tail(fold_folder(self.workspace, key).log, 1)
        last = without_paths(visible(" ".join(lines[-1:])), (str(self.workspace.home),))
        return Launch(fault=f"its process ended: {how_it_ended(status)}. {last}".strip())

    def train(self, training: Training) -> None:
        """Start a training whose words are checked. Raises Busy where no device is free of another one."""
        key = FoldKey(training.dataset, training.planner, training.configuration, training.fold)
        folder = fold_folder(self.workspace, key)
        with self._lock:
            running = self.running()
            if any(other == key for other, _ in running):
                raise Busy("this fold is being trained", where=title_of(key), do="stop it first")
            device = self._free(running)
            process = self.start(training_command(training, device, self.workspace.home), folder.log)
            self._trainings[key] = process
            write_json(folder.launched, Launched(device=device, process=process.pid))
        logger.info("started %s on %s", title_of(key), device)

    def running(self) -> list[tuple[FoldKey, str]]:
        """All folds that run on this machine, whoever started them, with their devices; empty: not known."""
        return [(key_of(folder), device_of(folder)) for folder in self.folders()
                if state_of(folder, self.launch(key_of(folder))) in ("starting", "running") and _is_here(folder.path)]

    def folders(self) -> list[FoldFolder]:
        """Every fold that has a folder, of all datasets; first those that this service has started."""
        with self._lock:
            known = [fold_folder(self.workspace, key) for key in self._trainings]
        return list(dict.fromkeys([*known, *(fold for model in self.workspace.models() for fold in model.all_folds())]))

    def stop(self, key: FoldKey) -> None:
        """What Ctrl-C does: the training saves itself after its iteration, and can go on. Raises Busy where none runs."""
        held = holder(fold_folder(self.workspace, key).path)
        with self._lock:
            own = self._trainings.get(key)
        if held is None and own is not None and own.poll() is None:
            own.terminate()
            return
        if held is None:
            raise Busy("this fold is not being trained", where=title_of(key), do="there is nothing to stop")
        if not held.is_here or held.process in (0, os.getpid()):
            raise Busy("this training runs on another machine", where=title_of(key), found=held.machine or "not known",
                       do="stop it there")
        try:
            os.kill(held.process, signal.SIGTERM)
        except ProcessLookupError:  # it has just ended
            return
        except PermissionError:
            raise Busy("another user runs this training", where=title_of(key), do="stop it as that user") from None

    def finish(self, key: FoldKey) -> None:
        """Let a training that runs end with what it has. Raises Busy where none runs."""
        if holder(fold_folder(self.workspace, key).path) is None:
            raise Busy("this fold is not being trained", where=title_of(key),
                       do="a stopped one is ended by autoseg_train --finish")
        pipeline.ask_to_finish(key.dataset, key.configuration, key.fold, planner=key.planner, home=self.workspace.home)

    def make_report(self, dataset: str) -> None:
        """Begin to write the report of a dataset. Raises Busy while one is being written."""
        with self._lock:
            if self.report_state(dataset)[0] == "being made":
                raise Busy("the report is being made", where=dataset, do="wait for it")
            self._reports[dataset] = self.start(report_command(dataset, self.workspace.home),
                                                self.workspace.report_log(dataset))

    def report_state(self, dataset: str) -> tuple[ReportState, float | None]:
        """Whether there is a report, and of when."""
        process, made = self._reports.get(dataset), changed_at(self.workspace.report(dataset))
        status = 0 if process is None else process.poll()
        if status is None:
            return "being made", made
        if status:
            return "failed", made
        return ("none" if made is None else "made"), made

    def ticket(self, dataset: str) -> str:
        """A secret that shows the report of a dataset once, within a minute."""
        now = time.monotonic()
        with self._lock:
            self._links = {ticket: link for ticket, link in self._links.items() if link[1] > now}
            ticket = secrets.token_hex(16)
            self._links[ticket] = dataset, now + _LINK_SECONDS
        return ticket

    def redeemed(self, ticket: str) -> str | None:
        """The dataset of a ticket, which is then worth nothing; None of one that is not known or too old."""
        with self._lock:
            dataset, ends = self._links.pop(ticket, (None, 0.0))
        return dataset if ends > time.monotonic() else None

    def _free(self, running: Sequence[tuple[FoldKey, str]]) -> str:
        taken = {device for _, device in running}
        free = [device for device in dict.fromkeys(self.devices) if device not in taken and "" not in taken]
        if not free:
            raise Busy("each device has a training", found=", ".join(title_of(key) for key, _ in running),
                       expected="one at a time per device", do="wait for it, or stop it")
        return free[0]


def _is_here(folder: Path) -> bool:
    held = holder(folder)
    return held is None or held.is_here or not held.machine  # a lock is there a moment before its note
