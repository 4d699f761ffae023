"""Probabilities as nnU-Net saves them: `CASE.npz` with one array (K, z, y, x). Pickles within are never opened."""

import zipfile
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import not_understood, reading, refuse_impossible_size, refuse_more_than_memory
from autoseg.formats.inflate import MOST_UNPACKED
from autoseg.workspace.files import write_atomically

KEY = "probabilities"
_KEY_OF_VERSION_1 = "softmax"


def read_npz(path: Path) -> np.ndarray:
    """The probabilities (K, z, y, x; float32). Raises UserError where the file is damaged, or holds no such array."""
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        key = next((key for key in (KEY, _KEY_OF_VERSION_1) if key in sizes), None)
        if key is None:
            raise UserError("the file holds no probabilities", where=path, found=", ".join(sizes) or "nothing", expected=KEY)
        refuse_impossible_size(path, path.stat().st_size, sizes[key], MOST_UNPACKED)
        refuse_more_than_memory(path, 2 * sizes[key])
        with np.load(path, allow_pickle=False) as content:
            array_KDHW = content[key]
        if array_KDHW.ndim != 4 or array_KDHW.dtype.kind != "f":
            raise not_understood(path, f"{array_KDHW.ndim} axes of {array_KDHW.dtype}", "4 axes (K, z, y, x) of floats")
        return np.ascontiguousarray(array_KDHW, np.float32)


def write_npz(path: Path, probabilities_KDHW: np.ndarray) -> None:
    """Write the probabilities (K, z, y, x) in their own number type, atomically."""
    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, probabilities=probabilities_KDHW)

    write_atomically(path, write)
