"""A folder that one process holds alone."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoseg.base.errors import UserError
from autoseg.workspace.files import open_own, writing

_LONGEST_NOTE = 200
_NOTE = re.compile(r"process (\d{1,9}) on (\S+)")


class Held(UserError):
    """Another process holds the folder."""


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder alone. Where another process holds it: a UserError that names it, or `wait` for its end. The system
    frees what a dead process held. Windows has no such lock.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = _lock_file(folder)
    while True:
        with writing(path):
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = open_own(path, "a+", encoding="utf-8")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise Held("another process works here", where=folder, found=file.read(_LONGEST_NOTE).strip() or None,
                           do="wait for it, or end it") from None
            except OSError:  # a disk without locks, as some that are shared
                pass
            if not _is_at(file, path):  # who held it has removed the file
                continue
            with suppress(OSError):  # a full disk: the note is for people
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                file.flush()
            try:
                yield
            finally:
                with suppress(OSError):
                    path.unlink()
            return


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder now."""
    try:
        with locked(folder):
            return False
    except Held:
        return True


@dataclass(frozen=True)
class Holder:
    """The process that holds a folder, and the machine that it runs on; 0 and empty where its note does not say it."""

    process: int = 0
    machine: str = ""

    @property
    def is_here(self) -> bool:
        return self.machine == socket.gethostname()


def holder(folder: Path) -> Holder | None:
    """Who holds a folder now, else None. For those who look often: where nobody has left a lock, or its process is dead,
    nothing is locked, so that a process that wants the folder at this moment is not refused.
    """
    try:
        import fcntl

        with open(_lock_file(folder), encoding="utf-8", errors="replace") as file:
            words = _NOTE.match(file.read(_LONGEST_NOTE))
            noted = Holder() if words is None else Holder(int(words[1]), words[2])
            if noted.is_here and not _is_alive(noted.process):
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return noted
    except (ImportError, OSError):  # no lock, or a system or a disk without locks
        pass
    return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def remove_lock(folder: Path) -> None:
    """Remove the file that a killed process left when it held a folder."""
    if _lock_file(folder).is_file():
        with suppress(UserError), locked(folder):  # where another process holds the folder, the file is not left over
            pass


def remove_locks(parent: Path) -> None:
    """`remove_lock` of every folder in one where folders are waited for: who does not wait could take this for work."""
    for path in parent.glob(".*.lock"):
        remove_lock(path.with_name(path.name[1:].removesuffix(".lock")))


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder of results for a moment, after whoever else holds it; the lock leaves no file there. Disks and systems
    without such locks do not wait.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
