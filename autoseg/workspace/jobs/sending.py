"""A file on its way to a client: it stays whole although it is removed meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_BLOCK_BYTES = 2**18


def opened_to_send(path: Path) -> tuple[IO[bytes], int] | None:
    """A file that is open, and its size; None where it is not there."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (`blocks` closes it)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return file, os.fstat(file.fileno()).st_size


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """What is in a file, which is then closed."""
    with file:
        while block := file.read(_BLOCK_BYTES):
            yield block
