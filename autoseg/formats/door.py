"""The door of all readers: whatever a library raises for a file becomes one sentence that names the file."""

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autoseg.base.errors import AutosegError, TooLarge, UserError
from autoseg.base.memory import free_host_bytes, size

logger = logging.getLogger(__name__)

_OVERHEAD_BYTES = 4096  # a file of this size may claim what it likes: it is harmless
# Below this, whether an array fits is not asked: the question takes as long as reading a small file.
_BYTES_WORTH_ASKING = 2**26


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within this context any exception of a library is a UserError of the file; its traceback goes to the debug log."""
    try:
        with within_memory(path):
            yield
    except AutosegError:
        raise
    except FileNotFoundError as error:
        if error.filename in (None, path, str(path)):
            raise UserError("the file is missing", where=path) from None
        raise UserError("a file that it names is missing", where=path, found=error.filename) from None
    except Exception as error:  # libraries raise what they like for damaged files
        logger.debug("%s cannot be read", path, exc_info=True)
        raise unreadable(path, error) from None


@contextmanager
def within_memory(where: object) -> Iterator[None]:
    """Within this context a lack of memory is a fault of what is named."""
    try:
        yield
    except MemoryError as error:
        raise _too_large(where, str(error) or "an array that the system refuses") from None


def unreadable(path: Path, error: Exception) -> UserError:
    """The error of a library as one of ours. ITK's last line says most, but for MetaImage, which blames the name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Reason: No such file")] or [type(error).__name__]
    reason = "no image format that ITK knows" if "Unable to determine ImageIO" in lines[-1] else lines[-1]
    if isinstance(error, zlib.error):
        return damaged(path, reason.split(": ")[-1], "a whole compressed file")
    return not_understood(path, reason.replace(str(path), "").strip(" :"))


def not_understood(path: Path, found: object, expected: object = None) -> UserError:
    """What is wrong where a file says what no image can be."""
    return UserError("the file cannot be read", where=path, found=found, expected=expected,
                     do="it may be cut short, damaged or of another format than its ending says; copy it again")


def damaged(path: Path, found: str, expected: str) -> UserError:
    return UserError("the file is cut short or damaged", where=path, found=found, expected=expected,
                     do="copy it again from its source")


def refuse_impossible_size(path: Path, file_bytes: int, claimed: int, most_per_byte: int) -> None:
    """A UserError where a header claims more voxels or bytes than its file can hold, however well it is compressed."""
    if claimed > (file_bytes + _OVERHEAD_BYTES) * most_per_byte:
        raise damaged(path, f"{file_bytes} bytes", f"a file that can hold what its header states, {claimed} voxels or bytes")


def refuse_more_than_memory(where: object, wanted_bytes: int) -> None:
    """A UserError where an array takes more memory than is free now."""
    if wanted_bytes < _BYTES_WORTH_ASKING:
        return
    free = free_host_bytes()
    if wanted_bytes > free:
        raise _too_large(where, f"{size(wanted_bytes)}, {size(free)} are free")


def _too_large(where: object, found: str) -> TooLarge:
    return TooLarge("it takes more memory than there is", where=where, found=found,
                    do="check the size in its header; free memory, or cut or resample the image")
