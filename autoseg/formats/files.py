"""The plain side of files: their text, their names, their content as a digest."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.partial import PARTIAL

_BLOCK_BYTES = 1 << 20
_LEFT_BEHIND = ("._", PARTIAL)  # how the names of files begin that a Mac or a stopped write leaves behind
_MOST_TEXT_BYTES = 1 << 28


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; a UserError where it is missing, is not text or is huge."""
    if file_bytes(path) > _MOST_TEXT_BYTES:
        raise UserError("the file is too large for a text", where=path, found=f"{file_bytes(path) >> 20} MiB",
                        expected=f"at most {_MOST_TEXT_BYTES >> 20} MiB")
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the file cannot be read as UTF-8 text", where=path, found=error) from None


def list_files(folder: Path) -> list[Path]:
    """Visible files of a folder in the order of their names; none where there is no folder.

    Names with a leading dot are left out: what a stopped write, or a Mac, leaves behind.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())


@dataclass(frozen=True)
class Entries:
    """All that lies in a folder, in the order of the names; `broken` are links to nothing, and what is no file."""

    files: tuple[Path, ...] = ()
    broken: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()


def list_entries(folder: Path) -> Entries:
    """What lies in a folder; nothing where there is no folder. What a stopped write or a Mac leaves behind is left out."""
    if not folder.is_dir():
        return Entries()
    files: list[Path] = []
    broken: list[Path] = []
    folders: list[Path] = []
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError("the folder cannot be read", where=folder, found=error.strerror) from None
    for entry in entries:
        if not entry.name.startswith(_LEFT_BEHIND):
            kind = broken if _is_circle(entry) else files if entry.is_file() else folders if entry.is_dir() else broken
            kind.append(folder / entry.name)
    return Entries(tuple(files), tuple(broken), tuple(folders))


def list_tree(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their paths, but for hidden ones. Links to folders are not followed.

    Raises UserError where there is no such folder.
    """
    if not folder.is_dir():
        raise UserError("the folder is missing", where=folder, found="a file" if folder.exists() else "nothing")
    paths: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(paths)


def _is_circle(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a link that leads back to itself, or through what is no folder."""
    try:
        return entry.is_symlink() and not entry.is_file() and not entry.is_dir()
    except OSError:
        return True


def no_file(path: Path) -> UserError:
    """What is wrong where no file lies at a path: a link to nothing, a folder, or nothing at all."""
    if path.is_dir():
        return UserError("a file was expected", where=path, found="a folder")
    if path.is_symlink():
        return UserError("the link leads to nothing", where=path, found=f"a link to {os.readlink(path)}",
                         do="mount the disk that holds the file, or copy the file here")
    if os.path.lexists(path):
        return UserError("a file was expected", where=path, found="something that is neither a file nor a folder")
    return UserError("the file is missing", where=path)


def is_folder(path: Path) -> bool:
    return path.is_dir()


def is_file(path: Path) -> bool:
    return path.is_file()


def file_bytes(path: Path) -> int:
    """The size of a file; 0 where it is missing."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def file_state(path: Path) -> tuple[int, int, int]:
    """Number, size and time of a file: what changes with its content, or where another file takes its place."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def file_times(path: Path) -> tuple[int, int, int]:
    """Size, time of the content and time of the entry [ns]: where all are the same, nobody has written to the file."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def digest(path: Path) -> str:
    """BLAKE2b of a file's content, 32 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def checksum(path: Path, kind: str) -> str:
    """A checksum of a file's content by the name of its algorithm, such as `md5`: to compare with what others published."""
    state = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


def combined_digest(parts: Iterable[str]) -> str:
    """One digest of many texts, which depends on their order."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part.encode() + b"\0")
    return state.hexdigest()
