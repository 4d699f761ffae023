"""A folder that one process holds alone."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import check_writable, open_own

_LONGEST_NOTE = 200


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
    check_writable(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open_own(folder.with_name(f".{folder.name}.lock"), "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError("another process works here", where=folder, found=file.read(_LONGEST_NOTE).strip() or None,
                            do="wait for it, or end it") from None
        except OSError:  # a disk without locks, as some that are shared
            pass
        with suppress(OSError):  # a full disk: the note is for people
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder of results for a moment, after whoever else holds it; the lock leaves no file there. Disks and systems
    without such locks do not wait.
    """
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
