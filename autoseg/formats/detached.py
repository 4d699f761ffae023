"""The names of further files in the headers of MetaImage and NRRD, which ITK gives to C's `printf` as its format.

A header whose file is called `%s%n` writes into the memory of whoever reads it. What is left are names, and plain patterns
such as `slice%03d.raw 1 40 1`. A file that comes from a client may name no file at all: it would be read as voxels, and
shown.
"""

import mmap
import re
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.formats.door import not_understood

_HEADER_BYTES = 2**20
_FILE = re.compile(rb"^[ \t]*(?:ElementDataFile[ \t]*[=:]|data ?file:)([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"^[ \t]*ElementDataFile|\r?\n\r?\n", re.MULTILINE)  # of the header, in one format or the other
_HARMLESS = re.compile(rb"[^%]*(?:%0?\d{0,2}d[^%]*)?")
# Wherever they stand: what of a header ITK takes for a new line is not second-guessed.
_META_FILE = re.compile(rb"ElementDataFile[ \t]*[=:]?[ \t]*(LOCAL[ \t]*\r?\n)?", re.IGNORECASE)
_NRRD_FILE = re.compile(rb"data[ \t]*file[ \t]*:", re.IGNORECASE)
_NRRD_END = re.compile(rb"\n\r?\n")
_PLAIN = re.compile(r"\w[\w.+ -]*")


def refuse_pattern(path: Path) -> None:
    """A UserError where the header of a MetaImage or NRRD file names its data by more than a name or a plain pattern."""
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) == _HEADER_BYTES and not _END.search(header):
        raise not_understood(path, "a header without an end")
    for name in _FILE.findall(header):
        if not _HARMLESS.fullmatch(name):
            raise UserError("the header names the file of its voxels by a pattern that is not safe to read", where=path,
                            found=name.strip()[:80].decode(errors="replace"), expected="a name, or a pattern with one %d",
                            do="save the image again as one file")


def holds_voxels(path: Path) -> bool:
    """Whether a MetaImage or NRRD file holds its voxels itself, and its header names no other file, nor may name one.

    In a MetaImage no more than `ElementDataFile = LOCAL` may stand, in all of the file. The header of an NRRD file must end
    within its first MiB.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"NRRD":
            end = _NRRD_END.search(content, 0, _HEADER_BYTES)
            return end is not None and not _NRRD_FILE.search(content, 0, end.start() + 1)
        named = [match[1] is not None for match in _META_FILE.finditer(content)]
        return bool(named) and all(named)


def is_plain(name: str) -> bool:
    """Whether a header can name this file. ITK reads `%` as a pattern, `LIST` as a list of files, and `=` as a new key."""
    return _PLAIN.fullmatch(name) is not None and not name.startswith("LIST")
