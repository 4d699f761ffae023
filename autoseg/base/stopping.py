"""A process that is asked to stop: by Ctrl-C (SIGINT), by `kill` or a cluster (SIGTERM), by a terminal that closes (SIGHUP).

Handlers of Python run in the main thread, between two steps of Python. What lies within `postponed` ends where it is good to
end, such as a training after an iteration, to save it.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PARENT = "AUTOSEG_PARENT"  # variable of the environment: the number of the process that this one is to end with
_SECONDS_BETWEEN_LOOKS = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_unfinished: list[Callable[[], object]] = []
_is_handled = False  # whether the handlers of `stoppable` are in place
_is_postponed = False
_asked: signal.Signals | None = None


class Stopped(KeyboardInterrupt):
    """The process was asked to stop. `saved` says what was saved, `is_resumable` that the command need not begin anew."""

    def __init__(self, number: signal.Signals):
        super().__init__(number.name)
        self.number = number
        self.saved = ""
        self.is_resumable = False

    @property
    def status(self) -> int:
        """The exit status that shells give to the signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.number


@contextmanager
def stoppable() -> Iterator[None]:
    """Within this context the first signal raises Stopped in the main thread and ends the worker processes of this one.
    Another Ctrl-C ends the process at once; other signals do not, since a cluster and torchrun send theirs twice.

    A signal that whoever started the process has it ignore (`nohup`) stays ignored. In other threads nothing changes.
    """
    global _is_handled, _asked
    if _is_handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in _SIGNALS
              if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, _stop)
    _is_handled = True
    try:
        yield
    finally:
        _is_handled, _asked = False, None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Iterator[None]:
    """Within this context no signal raises anything: look at `is_asked_to_stop`. Stopped is raised at its end."""
    global _is_postponed
    _is_postponed = True
    try:
        yield
    finally:
        _is_postponed = False
    if _asked is not None:
        raise Stopped(_asked)


def is_asked_to_stop() -> bool:
    return _asked is not None


@contextmanager
def resumable() -> Iterator[None]:
    """Where a command is stopped within this context, the same command goes on, also without its `--restart`."""
    try:
        yield
    except Stopped as stop:
        stop.is_resumable = True
        raise


@contextmanager
def unfinished(remove: Callable[[], object]) -> Iterator[None]:
    """What `remove` removes, such as a temporary file, does not survive the process if that is ended within this context."""
    _unfinished.append(remove)
    try:
        yield
    finally:
        _unfinished.remove(remove)


def remove_unfinished() -> None:
    """Remove what is being written: the process ends now, whatever its threads do."""
    for remove in tuple(_unfinished):
        with suppress(OSError):
            remove()


def end_worker_on_signals() -> None:
    """Let a signal end this process as it does by default, but without leaving unfinished files."""
    def end(number: int, _: FrameType | None) -> None:
        remove_unfinished()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in _SIGNALS:
        signal.signal(number, end)


def ends_with_this_process() -> dict[str, str]:
    """What in the environment of a new command lets it stop when this process has ended, even by SIGKILL."""
    return {_PARENT: str(os.getpid())}


def stop_with_parent() -> None:
    """Stop as if by SIGTERM when the process that asked for it has ended; of torchrun, whose child this is, likewise."""
    own_parent = os.getppid()
    parent = int(os.environ.pop(_PARENT, own_parent if "TORCHELASTIC_RUN_ID" in os.environ else 0))
    if not parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def kill_with_parent() -> None:
    """Let the system kill this process when the thread that started it ends, however that ends (prctl(2)); Linux alone."""
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stop(number: int, _: FrameType | None) -> None:
    global _asked
    if _asked is not None:
        if number == signal.SIGINT:
            remove_unfinished()
            os._exit(128 + number)
        return
    _asked = signal.Signals(number)
    if "multiprocessing" in sys.modules:
        for worker in sys.modules["multiprocessing"].active_children():
            worker.terminate()
    if not _is_postponed:
        raise Stopped(_asked)
