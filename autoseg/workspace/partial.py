"""Temporary files and folders for what is unfinished, and the removal of those that killed processes left.

Who writes holds a lock on it. The system frees the lock when the process ends, however it ends: what nobody holds is left
over. Some shared disks keep the locks of each machine apart: what another machine left is removed after a day. Disks
and systems without locks keep what is left there.
"""

import os
import platform
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO

from autoseg.base.stopping import unfinished

PARTIAL = ".partial_"  # how the names of unfinished files begin
_SECONDS_OF_OTHERS = 86400.0  # nothing is written for so long


@contextmanager
def partial_folder(parent: Path) -> Iterator[Path]:
    """A temporary folder in `parent`, which is made if it is not there. At the end it is removed with all that is in it.

    For writers that make the file themselves, and may do so twice.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder, descriptor = _made_and_locked(parent)
    try:
        with unfinished(partial(shutil.rmtree, folder, ignore_errors=True)):
            yield folder
    finally:
        try:
            folder.rmdir()  # where the file got its place
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now is left over
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def partial_file(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path`, which is renamed to it at the end; faster than a folder. Where something is raised, it
    is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, file = _opened_and_locked(path.parent)
    with file, unfinished(partial(temporary.unlink, missing_ok=True)):
        try:
            yield file
            file.flush()
            if os.name == "nt":  # where nothing is renamed that is open, and there are no locks to lose
                file.close()
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder, and nothing that is still written."""
    with suppress(OSError), os.scandir(folder) as entries:  # a folder that is not there has no leftovers
        for name in [entry.name for entry in entries if entry.name.startswith(PARTIAL)]:
            if name.startswith(_prefix()) or time.time() - os.lstat(folder / name).st_mtime > _SECONDS_OF_OTHERS:
                _remove_unless_held(folder / name)


def remove_leftovers_below(folder: Path) -> None:
    """`remove_leftovers` of a folder and of all folders in it."""
    for path, names, _ in os.walk(folder):
        remove_leftovers(Path(path))
        names[:] = [name for name in names if not name.startswith(PARTIAL)]


def _prefix() -> str:
    """How the names begin that this machine gives."""
    return f"{PARTIAL}{blake2b(platform.node().encode(), digest_size=4).hexdigest()}_"


def _made_and_locked(parent: Path) -> tuple[Path, int | None]:
    """A new folder and the descriptor that locks it. Before it was locked, another process may have removed it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_prefix(), dir=parent))
        try:
            descriptor = _lock(folder, wait=True)
        except FileNotFoundError:
            continue
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if folder.is_dir():
            return folder, descriptor
        if descriptor is not None:
            os.close(descriptor)


def _opened_and_locked(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new file that is locked. Before it was, another process may have removed it."""
    while True:
        path = parent / f"{_prefix()}{secrets.token_hex(8)}"
        file = open(path, "xb")  # noqa: SIM115 (the caller closes it)
        _flock(file.fileno(), wait=True)
        if path.is_file():
            return path, file
        file.close()


def _remove_unless_held(path: Path) -> None:
    try:
        descriptor = _lock(path, wait=False)
    except OSError:  # another process writes there, or this one may not
        return
    if descriptor is None:
        return
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> int | None:
    """The descriptor that locks a folder or file, None where there are no locks. BlockingIOError where another process holds
    it and this one does not `wait`.
    """
    if os.name == "nt":  # which opens no folder
        return None
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if _flock(descriptor, wait=wait):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _flock(descriptor: int, *, wait: bool) -> bool:
    """Lock what is opened; False where there are no locks. Raises BlockingIOError as `_lock`."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # Windows, or a disk without locks, as some that are shared
        return False
    return True
