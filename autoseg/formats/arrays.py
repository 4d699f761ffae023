"""Files of numbers beside the images: `CASE.npy`, a vector (E,) or a bag of tokens (T, E). Nothing is unpickled."""

import math
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.files import file_bytes
from autoseg.workspace.files import write_atomically

ENDING = ".npy"
_LEVELS = 2  # below a dataset's folder, at which `array_folders` looks


def read_features(path: Path, axes: int) -> np.ndarray:
    """A vector (`axes=1`) or a bag of tokens (`axes=2`) as float32, finite and not empty; tokens may lie on the disk.

    Raises UserError where the file is anything else.
    """
    array = _opened(path)
    if array.dtype.kind not in "biuf":
        raise UserError("the array does not hold numbers", where=path, found=array.dtype, expected="floats")
    if array.ndim != axes or array.size == 0:
        expected = "(features,)" if axes == 1 else "(tokens, features)"
        raise UserError("the array has the wrong shape", where=path, found=array.shape, expected=expected)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is reported as such
        features = np.array(array, dtype=np.float32) if axes == 1 else np.asarray(array, dtype=np.float32)
    wrong = features.size - np.count_nonzero(np.isfinite(features))
    if wrong:
        raise UserError("the array holds NaN or infinity", where=path, found=f"{wrong} of {features.size} values",
                        expected="finite numbers", do="remove the file where the values are not known")
    return features


def read_raw(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """A label (z, y, x) of a file that holds nothing but its voxels, x fastest: one byte each, or two (little endian).

    Raises UserError where the file has another size.
    """
    n_voxels, n_bytes = math.prod(shape), file_bytes(path)
    if n_bytes not in (n_voxels, 2 * n_voxels):
        raise UserError("the voxels of the label are not as many as those of the image", found=f"{n_bytes} bytes",
                        expected=f"{n_voxels} or {2 * n_voxels}", do="save the label on the grid of the image")
    return np.fromfile(path, np.uint8 if n_bytes == n_voxels else "<u2").reshape(shape)


def write_features(path: Path, features: np.ndarray) -> None:
    """Write a vector (E,) or a bag of tokens (T, E) as float32, atomically."""
    write_atomically(path, lambda temporary: np.save(temporary, np.asarray(features, np.float32)))


def features_shape(path: Path) -> tuple[int, ...]:
    """The shape of an array, from its header. Raises UserError where the file is no array."""
    return _opened(path).shape


def array_files(folder: Path) -> list[Path]:
    """The visible arrays of a folder in the order of their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix == ENDING and not path.name.startswith("."))


def array_folders(folder: Path) -> list[Path]:
    """The folders that hold arrays, at most two levels below a folder."""
    below = [path for level in range(1, _LEVELS + 1) for path in folder.glob("/".join("*" * level)) if path.is_dir()]
    return sorted(path for path in below if not path.name.startswith(".") and array_files(path))


def _opened(path: Path) -> np.ndarray:
    """The array, mapped: bags of many cases need not fit in memory. Written values never reach the file."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except Exception as error:  # NumPy parses a damaged header as Python, which fails in many ways
        raise UserError("the file is not an array of numbers", where=path, found=str(error).split(".")[0],
                        do="write it with numpy.save") from None
    if not isinstance(array, np.ndarray):
        raise UserError("the file holds several arrays", where=path, expected="one, written with numpy.save")
    return array
