"""The plain side of files: their text, their names, their content as a digest."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from autoseg.base.errors import UserError

_BLOCK_BYTES = 1 << 20
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


def digest(path: Path) -> str:
    """BLAKE2b of a file's content, 32 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=16)
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
