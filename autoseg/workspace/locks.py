"""A folder that one process holds alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import open_own


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder alone. Where another process of this machine holds it: a UserError, or `wait` for its end. Windows has
    no such lock.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open_own(folder.with_name(f".{folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another process works here", where=folder, do="wait for it, or end it") from None
        except OSError:  # a disk without locks, as some that are shared
            pass
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
