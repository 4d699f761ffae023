"""How far the prediction of a case is, for callers who show it, and how they end it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoseg.base.errors import AutosegError, UserError
from autoseg.prediction.collect import Progress

Cancel = threading.Event | Callable[[], bool]

_STEPS = 100  # of each stage
_SECONDS = 0.1  # between two looks at whether a case that waits for its turn is cancelled


class Cancelled(AutosegError):
    """The caller ended the prediction. The predictor is as it was before, and can predict the next case."""


class Watch:
    """Counts the stages of one case and says so to `progress(done, total)`; ends it where `cancel` says so.

    `total` stays the same for a case, and `done` never becomes less. A stage is all passes of one model, or of models whose
    logits are averaged. Raises UserError where what was given cannot be called or asked.
    """

    def __init__(self, progress: Progress | None = None, cancel: Cancel | None = None) -> None:
        if not (progress is None or callable(progress)):
            raise UserError("progress is no function", found=type(progress).__name__, expected="progress(done, total)")
        if not (cancel is None or callable(cancel) or hasattr(cancel, "is_set")):
            raise UserError("cancel is neither an event nor a function", found=type(cancel).__name__,
                            expected="threading.Event()")
        self._progress, self._cancel = progress, cancel
        self._stages, self._stage, self._done = 1, 0, 0

    def begin(self, stages: int) -> None:
        """So many stages follow."""
        self._stages = max(1, stages)
        self._tell(0)

    @contextmanager
    def stage(self) -> Iterator[Progress]:
        """What a stage calls with the passes that are done, and their number."""
        self.check()
        yield lambda done, total: self._tell(self._stage * _STEPS + _STEPS * done // max(1, total))
        self._stage += 1

    def finish(self) -> None:
        """The case is predicted."""
        self._tell(self._stages * _STEPS)

    def check(self) -> None:
        """Raises Cancelled where the caller asked for it."""
        if self._cancel is not None and (self._cancel() if callable(self._cancel) else self._cancel.is_set()):
            raise Cancelled("the prediction was cancelled")

    @contextmanager
    def turn(self, lock: threading.Lock) -> Iterator[None]:
        """The `lock` within this context; a case that waits for it can be cancelled, too."""
        while not lock.acquire(timeout=_SECONDS if self._cancel is not None else -1):
            self.check()
        try:
            yield
        finally:
            lock.release()

    def _tell(self, done: int) -> None:
        self.check()
        last = self._stages * _STEPS
        if self._progress is not None and (done > self._done or done == 0):
            self._progress(min(done, last), last)
        self._done = max(self._done, done)
