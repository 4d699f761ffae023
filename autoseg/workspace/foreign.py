"""What other programs left: the files of a folder or of a zip by their names, and checkpoints of tensors.

Nothing is executed and nothing is unpacked: checkpoints are loaded by torch with `weights_only=True`, which knows tensors,
numbers, texts and containers. Of NumPy it may read scalars alone, because trainers log them.
"""

import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from autoseg.base.errors import TooLarge, UserError, listed
from autoseg.base.memory import free_host_bytes
from autoseg.workspace.files import parse_json
from autoseg.workspace.zips import NOT_A_ZIP, fault_of_entry

_MOST_FILES = 200_000  # of a folder or zip: a training of five folds leaves one per case and fold
_MOST_TEXT_BYTES = 2**28
_MOST_CHECKPOINT_BYTES = 2**34  # the largest published networks take about 4 GiB with the state of their optimiser
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class ForeignFiles:
    """The files below a folder, or in a zip, with their sizes in bytes; names have a slash between folders."""

    path: Path
    sizes: dict[str, int]

    @classmethod
    def open(cls, path: Path) -> "ForeignFiles":
        """The files of a folder or of a zip. Raises UserError where there is neither, and for a zip with a link, a name that
        leads out of its folder, a name that is given twice, or a password.
        """
        path = path.expanduser().absolute()
        if path.is_dir():
            return cls(path, _sizes_below(path))
        if not path.is_file():
            raise UserError("there is nothing to import", where=path, expected="a folder or a .zip")
        try:
            with zipfile.ZipFile(path) as archive:
                return cls(path, _checked_sizes(path, archive))
        except (OSError, *NOT_A_ZIP) as error:
            raise UserError("the file is not a readable zip", where=path, found=error,
                            expected="a folder or a .zip", do="copy or download it again") from error

    @classmethod
    def of_file(cls, path: Path) -> "ForeignFiles":
        """A file alone; a UserError where there is none."""
        path = path.expanduser().absolute()
        if not path.is_file():
            raise UserError("there is nothing to import", where=path, expected="a file")
        return cls(path.parent, {path.name: path.stat().st_size})

    def where(self, name: str) -> Path:
        """How messages name a file."""
        return self.path / name

    def text(self, name: str) -> str:
        """A text in UTF-8; a UserError where it is missing or no text."""
        try:
            return self._content(name, _MOST_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError("the file is not text in UTF-8", where=self.where(name), found=error) from None

    def json(self, name: str) -> Any:
        """The data of a JSON file; a UserError where it is missing or no JSON."""
        try:
            return parse_json(self.text(name))
        except json.JSONDecodeError as error:
            raise UserError("the file is not valid JSON", where=self.where(name), found=error) from None

    def checkpoint(self, name: str) -> tuple[dict[str, Any], str]:
        """What a file of `torch.save` holds, on the CPU, and the SHA-256 of the file. Raises UserError where it is no such
        file, or holds anything but tensors, numbers, texts and containers of them.
        """
        content = self._content(name, _MOST_CHECKPOINT_BYTES)
        _check_stored(self.where(name), BytesIO(content))
        return _loaded(self.where(name), BytesIO(content)), sha256(content).hexdigest()

    def _content(self, name: str, most_bytes: int) -> bytes:
        if name not in self.sizes:
            raise UserError("the file is missing", where=self.where(name))
        where, size = self.where(name), self.sizes[name]
        if size > min(most_bytes, free_host_bytes() // 2):
            raise TooLarge("the file is too large to be read", where=where, found=f"{size / 2**20:.0f} MiB",
                           expected=f"at most {min(most_bytes, free_host_bytes() // 2) / 2**20:.0f} MiB")
        try:
            with self._opened(name) as file:
                return file.read(size)
        except (OSError, zlib.error, *NOT_A_ZIP) as error:
            raise UserError("the file cannot be read", where=where, found=error, do="copy or download it again") from error

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            with open(self.path / name, "rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as member:
                yield member


def _sizes_below(folder: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            if path.is_file():
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        _check_number(folder, len(sizes))
    return sizes


def _checked_sizes(path: Path, archive: zipfile.ZipFile) -> dict[str, int]:
    members = archive.infolist()
    _check_number(path, len(members))
    sizes: dict[str, int] = {}
    for member in members:
        fault = _fault_of(member)
        if not fault and member.filename in sizes:
            fault = "its name is given twice"
        if fault:
            raise UserError("the zip is refused for a file in it", where=path, found=f"{member.filename[:120]!r}: {fault}",
                            do="ask its sender for another one")
        if not member.is_dir():
            sizes[member.filename] = member.file_size
    return sizes


def _fault_of(member: zipfile.ZipInfo) -> str:
    """Why a file of a zip is refused; empty where it is not."""
    names = member.filename.removesuffix("/").split("/")
    return fault_of_entry(member, [name.lstrip(".-") or name for name in names])  # hidden files are not read, and do no harm


def _check_number(path: Path, n: int) -> None:
    if n > _MOST_FILES:
        raise UserError("there are too many files", where=path, found=f"more than {_MOST_FILES}",
                        do="name the folder of the model itself")


def _check_stored(where: Path, file: IO[bytes]) -> None:
    """A UserError where a checkpoint is a zip with compressed parts: torch writes none, but would unpack them."""
    if not zipfile.is_zipfile(file):  # the form before torch 1.6
        return
    with suppress(*NOT_A_ZIP), zipfile.ZipFile(file) as archive:  # what cannot be read is an error of torch
        compressed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise UserError("the checkpoint has compressed parts, which torch never writes, and is not read", where=where,
                            found=listed(compressed), do="ask its author for the file as it was saved")


def _loaded(where: Path, file: IO[bytes]) -> dict[str, Any]:
    import torch

    with _scalars_allowed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other protocols of pickles: what cannot be read is an error below
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch, pickle and zipfile raise several kinds
            unsafe = _GLOBAL.search(str(error))
            if unsafe is not None:
                raise UserError("the checkpoint holds more than tensors, numbers and texts, and is not read: loading it "
                                "would execute code", where=where, found=unsafe[1],
                                do="ask its author for a checkpoint as nnU-Net's own trainer saves it") from None
            raise UserError("the file is no checkpoint that can be read", where=where,
                            found=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
                            do="copy or download it again") from error
    if not isinstance(content, dict):
        raise UserError("the checkpoint is not what a trainer saves", where=where, found=type(content).__name__,
                        expected="a dictionary")
    return content


@contextmanager
def _scalars_allowed() -> Iterator[None]:
    """Within this context torch also loads NumPy's numbers, by the names that NumPy 1 and 2 give them."""
    from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

    scalar: Any = np.float64(0).__reduce__()[0]
    types = [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    before = get_safe_globals()
    add_safe_globals([(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *types])
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)
