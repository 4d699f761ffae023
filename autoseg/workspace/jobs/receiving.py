"""What comes in over the network, as files of a folder: numbered, bounded in bytes and in number, and never named from
outside.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from autoseg.base.errors import TooLarge, UserError
from autoseg.base.memory import size
from autoseg.workspace.files import writing
from autoseg.workspace.zips import NOT_A_ZIP, fault_of_entry

_BLOCK_BYTES = 2**20
_MOST_SHOWN = 100  # characters of a name that is shown
_MOST_ENTRIES = 100_000  # of a zip, most of which need not be files
_MOST_READ = 2**24  # bytes of a zip that are read at once: its list of entries takes 25 times as much memory


@dataclass(frozen=True)
class ReceivedFile:
    """A file that came in. `shown` is what its client calls it, for people to read."""

    path: Path
    shown: str
    n_bytes: int


class Receiving:
    """A folder that is being filled, with at most `most_bytes` in at most `most_files`."""

    def __init__(self, folder: Path, most_bytes: int, most_files: int):
        self.folder, self._most_bytes, self._most_files = folder, most_bytes, most_files
        self._n_bytes, self._n_files = 0, 0
        self._file: IO[bytes] | None = None
        self._shown = ""

    def begin(self, name: str) -> None:
        """The next file comes; its client calls it `name`. Raises TooLarge where there are too many."""
        if self._n_files >= self._most_files:
            raise TooLarge("there are too many files", expected=f"at most {self._most_files}",
                           do="send the series that the model takes, not the whole archive")
        with writing(self.folder):
            self._file = open(self.folder / str(self._n_files), "xb")  # noqa: SIM115 (`end` or `close` closes it)
        self._shown = shown_name(name)
        self._n_files += 1

    def write(self, block: bytes) -> None:
        """Append to the file that comes. Raises TooLarge where all files together hold too much, and CannotWrite where the
        disk is full.
        """
        self._n_bytes += len(block)
        if self._n_bytes > self._most_bytes:
            raise TooLarge("the files are too large together", expected=f"at most {size(self._most_bytes)}",
                           do="send less, or start the service with larger limits")
        if self._file is None:
            raise ValueError("a file begins before it is written")
        with writing(self.folder):
            self._file.write(block)

    def end(self) -> ReceivedFile:
        """The file is whole."""
        if self._file is None:
            raise ValueError("a file begins before it ends")
        n_bytes = self._file.tell()
        with writing(self.folder):  # what is not on the disk yet is written now
            self._file.close()
        self._file = None
        return ReceivedFile(self.folder / str(self._n_files - 1), self._shown, n_bytes)

    def close(self) -> None:
        """No more comes, whether the last file is whole or not."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # of a full disk: the file is not used
                file.close()

    def arrange(self, names: Mapping[Path, str]) -> None:
        """Give these files their names in the folder; all others are removed."""
        for path in sorted(self.folder.iterdir()):
            if path in names:
                path.rename(self.folder / names[path])
            else:
                path.unlink()

    def unzip(self, file: ReceivedFile, most_bytes: int) -> list[ReceivedFile]:
        """The files in a zip, which takes their place; at most `most_bytes` of them, whatever it says of itself.

        Nothing of a name becomes a path. Raises TooLarge, and UserError where the zip is damaged, or holds links or what is
        encrypted.
        """
        self._n_bytes, self._most_bytes = 0, most_bytes
        try:
            with open(file.path, "rb") as content, zipfile.ZipFile(_Bounded(content)) as archive:
                return [self._extracted(archive, entry) for entry in _files_in(archive, file.shown)]
        except NOT_A_ZIP as error:
            raise UserError("the zip is damaged", where=file.shown, found=error, do="pack it again") from None
        finally:
            self.close()
            file.path.unlink()

    def _extracted(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> ReceivedFile:
        self.begin(entry.filename)
        with archive.open(entry) as source:
            while block := source.read(_BLOCK_BYTES):
                self.write(block)
        return self.end()


@dataclass(frozen=True)
class _Bounded:
    """A file that is not read in one piece, as `zipfile` reads a list of entries of any length."""

    file: IO[bytes]

    def read(self, n_bytes: int = -1) -> bytes:
        content = self.file.read(_MOST_READ + 1 if n_bytes < 0 else min(n_bytes, _MOST_READ + 1))
        if len(content) > _MOST_READ:
            raise TooLarge("the zip's list of entries is too long", expected=f"at most {size(_MOST_READ)}",
                           do="send the series that the model takes, not the whole archive")
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


def shown_name(name: str) -> str:
    """What is shown of a name that somebody gave: its last part, without unusual characters.

    >>> shown_name("../../etc/passwd"), shown_name("C:\\\\scans\\\\<script>a.nii.gz")
    ('passwd', '_script_a.nii.gz')
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.+() -]+", "_", last)[-_MOST_SHOWN:].lstrip(".") or "file"


def _files_in(archive: zipfile.ZipFile, shown: str) -> Iterator[zipfile.ZipInfo]:
    """The entries that are files, but for hidden ones. Raises UserError where one is refused."""
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES:
        raise TooLarge("the zip has too many entries", where=shown, expected=f"at most {_MOST_ENTRIES}")
    for entry in entries:
        parts = [part for part in entry.filename.split("/") if part]
        if entry.is_dir() or any(part == "__MACOSX" or part.startswith("._") for part in parts):
            continue
        if fault := fault_of_entry(entry, parts):
            raise UserError("the zip is refused", where=shown, found=f"{shown_name(entry.filename)}: {fault}",
                            expected="plain files", do="pack the study again")
        yield entry
