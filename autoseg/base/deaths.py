"""What is known of a worker process that ended by itself: its signal or exit status, and the memory at that time."""

import signal
from dataclasses import dataclass

from autoseg.base.memory import free_host_bytes, programs_ended_for_memory, size

# Signals of a process that did what its processor or its system does not allow: a fault of compiled code.
_CRASHES = tuple(getattr(signal, name) for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
                 if hasattr(signal, name))


@dataclass(frozen=True)
class MemoryState:
    """Free bytes, and how many programs the system has ended for lack of memory since it started (None: not known)."""

    free_bytes: int
    ended: int | None

    @classmethod
    def now(cls) -> "MemoryState":
        return cls(free_host_bytes(), programs_ended_for_memory())


def how_it_ended(exit_code: int | None) -> str:
    """In words, from an exit code as `multiprocessing` gives it: negative for a signal, None where it is not known.

    >>> how_it_ended(-11), how_it_ended(3)
    ('killed by signal 11 (SIGSEGV)', 'exit status 3')
    """
    if exit_code is None:
        return "neither signal nor exit status is known"
    if exit_code >= 0:
        return f"exit status {exit_code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by signal {-exit_code} ({names.get(-exit_code, 'unknown')})"


def sentence_of(exit_code: int | None, before: MemoryState, after: MemoryState) -> str:
    """Why a worker that worked alone on a case may have ended: what is known, and what to do.

    Only where the system says that it ended a program for lack of memory, or where a SIGKILL leaves it open, is memory
    named as the cause.
    """
    known = [how_it_ended(exit_code), f"memory free before: {size(before.free_bytes)}, after: {size(after.free_bytes)}"]
    killed = exit_code == -getattr(signal, "SIGKILL", 9)
    for_memory = killed and None not in (before.ended, after.ended) and before.ended != after.ended
    if for_memory:
        known.append("the system ended a program for lack of memory meanwhile")
    return f"a worker process ended abruptly, working alone ({'; '.join(known)}); {_advice(exit_code, killed, for_memory)}"


def _advice(exit_code: int | None, killed: bool, for_memory: bool) -> str:
    if for_memory:
        return "end other programs, or use a machine with more memory"
    if killed:
        return "somebody, a batch system or the system for lack of memory killed it: see the log of the system"
    if exit_code is not None and -exit_code in _CRASHES:
        return "compiled code crashed: check the files of the case, the free space of the disk and of /dev/shm, and plug-ins"
    if exit_code is not None and exit_code < 0:
        return "another program ended it, such as a batch system at the end of its time"
    return "a library or a plug-in ended it: start the command with --workers 1 to see where"
