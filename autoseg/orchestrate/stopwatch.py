"""The time that a command has taken, all its starts together: what was stopped goes on counting where it was."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from autoseg.workspace.files import read_model, write_json
from planners.schema.base import Frozen, versioned

_SECONDS_BETWEEN_SAVES = 5.0  # a command that is killed gets back at most these


class Elapsed(Frozen):
    """`race_seconds.json`; without a digest the command was stopped before it was known."""

    schema_version: int = versioned(1)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    dataset_digest: str = ""


class Stopwatch:
    """Counts on from what a file says. Only the time in which a command runs counts."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self._path, self._clock = path, clock
        known = read_model(path, Elapsed) if path.is_file() else Elapsed()
        self._dataset_digest, self.earlier_seconds = known.dataset_digest, known.seconds
        self._started = clock()

    @property
    def seconds(self) -> float:
        return self.earlier_seconds + self._clock() - self._started

    def belong_to(self, dataset_digest: str, *, keep: bool) -> None:
        """Forget what earlier starts took for other data, unless they are to be kept."""
        if not keep and self._dataset_digest not in ("", dataset_digest):
            self.earlier_seconds = 0.0
        self._dataset_digest = dataset_digest

    def save(self) -> None:
        write_json(self._path, Elapsed(seconds=round(self.seconds, 1), dataset_digest=self._dataset_digest))


@contextmanager
def running(stopwatch: Stopwatch, every_seconds: float = _SECONDS_BETWEEN_SAVES) -> Iterator[Stopwatch]:
    """Save the time that has passed from time to time, and at the end, whatever ends this context."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every_seconds):
            stopwatch.save()

    thread = threading.Thread(target=watch, name="stopwatch", daemon=True)
    thread.start()
    try:
        yield stopwatch
    finally:
        stop.set()
        thread.join()
        stopwatch.save()
