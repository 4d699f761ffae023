"""How much of the cores that this process may use other programs take while something is measured."""

import math
import os
import time
from dataclasses import dataclass
from typing import Any

from autoseg.base.processes import cores

DISTURBED = 0.1  # share of the cores that others took, from which a measurement is disturbed
_IDLE = 0.1  # share of the cores that is idle: where more is, others take nothing from this process
_COUNTED = 0.5  # share of this process's own time that a system which counts the work of its cores must have counted


@dataclass(frozen=True)
class Moment:
    """Seconds since some start: of the clock, of the cores that worked, and of this process with its children."""

    clock: float
    busy: float
    own: float


def now() -> Moment | None:
    """This moment; None where the system does not say what its cores do."""
    import psutil

    try:
        all_cores = psutil.cpu_times(percpu=True)
        mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(all_cores))
        busy = sum(_busy(all_cores[core]) for core in mine)
        own = _own_seconds()
    except (psutil.Error, OSError, LookupError, NotImplementedError):
        return None
    return Moment(time.perf_counter(), busy, own)


def share_of_others(before: Moment | None, after: Moment | None, n_cores: int | None = None) -> float | None:
    """The share of the cores that other programs took between two moments; 0 where enough cores were idle.

    None where it cannot be known: a moment is missing, or the system did not count this process's own work.
    """
    if before is None or after is None:
        return None
    available = (after.clock - before.clock) * (n_cores or cores())
    busy, own = after.busy - before.busy, after.own - before.own
    if available <= 0 or busy < _COUNTED * own:
        return None
    if busy < (1 - _IDLE) * available:
        return 0.0
    return min(1.0, max(0.0, busy - own) / available)


class Watch:
    """Measures what other programs take from one look to the next; the first is from when it was made."""

    def __init__(self) -> None:
        self._before = now()

    def look(self) -> tuple[float | None, float]:
        """The share of the cores that others took since the last look (None: not known), and the seconds since then."""
        before, self._before = self._before, now()
        if before is None or self._before is None:
            return None, 0.0
        return share_of_others(before, self._before), self._before.clock - before.clock


def _busy(times: Any) -> float:
    """Seconds that a core worked. What the host of a virtual machine took (`steal`) counts: this process lacked it."""
    # Guests are counted in `user` and `nice`, too.
    not_worked = ("idle", "iowait", "guest", "guest_nice")
    return math.fsum(times) - math.fsum(getattr(times, name, 0.0) for name in not_worked)


def _own_seconds() -> float:
    """Of this process and of all that it started, those that have ended included."""
    import psutil

    this = psutil.Process()
    own = [this.cpu_times()[:4]]  # on Linux and macOS the third and fourth are of ended children
    for child in this.children(recursive=True):
        try:
            own.append(child.cpu_times()[:4])
        except psutil.Error:  # it has ended since; its parent counts it
            continue
    return math.fsum(value for times in own for value in times)
