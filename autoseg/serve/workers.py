"""The worker processes of a service: one per device, started again when they die, and ended when they overrun."""

import logging
import os
import subprocess  # nosec B404
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

from autoseg.base.deaths import how_it_ended
from autoseg.base.processes import IMPORTS_NOTHING_FROM_HERE, loaded_plugins
from autoseg.serve.settings import ServeSettings, WorkerSettings
from autoseg.workspace.jobs.sessions import Sessions
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import Problem

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25  # between two looks at the workers
_GRACE_SECONDS = 60.0  # that a worker has to end a job that takes too long by itself
_LONGEST_WAIT = 60.0  # before a worker that dies again and again is started
_LIVED_LONG = 60.0  # seconds after which a death does not count as another one in a row
_SWEEP_SECONDS = 30.0  # between two removals of what has expired


@dataclass
class _Process:
    """A worker's process and how often it died."""

    name: str
    device: str
    process: "subprocess.Popen[str] | None" = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


class Workers:
    """Starts the workers of a service, watches them, and removes what has expired. `with` ends them."""

    def __init__(self, settings: ServeSettings, spool: Spool, jobs: JobStore) -> None:
        from autoseg.base.runtime import named_device  # and with it torch, which a refused start does not wait for

        self._settings, self._spool, self._jobs = settings, spool, jobs
        self._processes = [_Process(f"worker-{number}", named_device(device))
                           for number, device in enumerate(settings.devices)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._swept = 0.0

    def __enter__(self) -> "Workers":
        """Goes on where a service that ended, or was killed, left off; only who holds the spool may."""
        self._jobs.give_back(result_of=self._spool.result_of)
        self._spool.remove_all_but(self._jobs.with_files())
        for job_id in self._spool.without_files(self._jobs.unfinished()):
            self._jobs.lose(job_id, Problem(what="the files of the job are gone", do="send it again"))
        for worker in self._processes:
            self._start(worker)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for worker in self._processes:
            if worker.process is not None:
                _end(worker.process)
        self._jobs.give_back(result_of=self._spool.result_of, were_stopped=True)

    def states(self) -> list[dict[str, str]]:
        """What each worker does, for people and monitors."""
        running = {job.worker: job for job in self._jobs.running()}
        states = []
        for worker in self._processes:
            is_alive = worker.process is not None and worker.process.poll() is None
            job = running.get(worker.name)
            states.append({"device": worker.device, "state": "dead" if not is_alive else "busy" if job else "idle",
                           "model": job.model if job else ""})
        return states

    def _start(self, worker: _Process) -> None:
        limits = self._settings.limits
        settings = WorkerSettings(
            name=worker.name, spool=self._settings.spool, home=self._settings.home, model_files=self._settings.model_files,
            device=worker.device, job_seconds=limits.job_seconds, result_seconds=limits.result_hours * 3600,
            attempts=limits.attempts, plugins=loaded_plugins())
        worker.process = subprocess.Popen([sys.executable, "-m", "autoseg.serve.worker"], stdin=subprocess.PIPE, text=True,
                                          env={**os.environ, **IMPORTS_NOTHING_FROM_HERE},
                                          start_new_session=True)  # nosec B603 (no word of it comes from outside)
        worker.started = time.monotonic()
        if worker.process.stdin is not None:
            worker.process.stdin.write(settings.model_dump_json() + "\n")
            worker.process.stdin.flush()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self._end_overrun()
                for worker in self._processes:
                    self._revive(worker)
                self._sweep()
            except Exception:  # a full disk, for example: the next look may do better
                logger.exception("the workers could not be looked after")
        self._jobs.close()

    def _revive(self, worker: _Process) -> None:
        now = time.monotonic()
        if worker.process is not None:
            code = worker.process.poll()
            if code is None:
                return
            _end(worker.process)
            lost = self._jobs.give_back([worker.name], self._spool.result_of)  # where this fails, the next look does it
            worker.process = None
            worker.deaths = worker.deaths + 1 if now - worker.started < _LIVED_LONG else 1
            worker.start_at = now + min(_LONGEST_WAIT, 0.25 * 2 ** (worker.deaths - 1))
            logger.error("%s ended: %s; its job: %s", worker.name, how_it_ended(code), ", ".join(lost) or "none")
        if now >= worker.start_at:
            self._start(worker)

    def _end_overrun(self) -> None:
        """A worker that does not obey its time limit is killed, and its job fails."""
        most = self._settings.limits.job_seconds + _GRACE_SECONDS
        for job in self._jobs.running():
            if job.seconds > most:
                self._jobs.fail(job.id, Problem(what="the job takes too long", expected=f"at most {most:.0f} s",
                                                do="send a smaller image"))
                for worker in self._processes:
                    if worker.name == job.worker and worker.process is not None:
                        worker.process.kill()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < _SWEEP_SECONDS:
            return
        self._swept = time.monotonic()
        Sessions(self._settings.spool).remove_expired()
        for job_id in self._jobs.expire():
            self._spool.remove(job_id)
        self._spool.remove_forgotten(self._jobs.ids())
        for job_id in self._jobs.ended_before(self._settings.limits.input_hours * 3600):
            self._spool.remove_inputs(job_id)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a worker now: it ends when its input does. What it worked on is queued again."""
    if process.stdin is not None:
        with suppress(OSError):  # it is dead
            process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
