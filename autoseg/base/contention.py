"""How much of the processor other programs take while something is measured."""

import os
import time
from dataclasses import dataclass

_IDLE = 0.1  # share of all cores that is idle: where more is, others take nothing from this process


@dataclass(frozen=True)
class Moment:
    """Seconds since some start: of the clock, of all cores that worked, and of this process."""

    clock: float
    busy: float
    own: float


def now() -> Moment:
    import psutil

    times = psutil.cpu_times()
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    own = psutil.Process().cpu_times()
    return Moment(time.perf_counter(), busy, own.user + own.system)


def share_of_others(before: Moment, after: Moment, n_cores: int | None = None) -> float:
    """The share of all cores that other programs took between two moments; 0 where enough cores were idle."""
    available = (after.clock - before.clock) * (n_cores or os.cpu_count() or 1)
    busy, own = after.busy - before.busy, after.own - before.own
    if available <= 0 or busy < (1 - _IDLE) * available:
        return 0.0
    return min(1.0, max(0.0, busy - own) / available)
