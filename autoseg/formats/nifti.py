"""NIfTI. Headers and voxels are read here; `formats/nifti_grid.py` says where the grid lies.

ITK fills what a truncated NIfTI file lacks with zeros and says nothing (measured with SimpleITK 2.5: 60 % of a .nii.gz
are read as a whole image), so the bytes are counted here, and gzip's checksum finds other damage. ITK turns the axes of a
sheared grid until they are perpendicular, with a warning that Python does not see, so it reads no header either.
"""

import functools
import gzip
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.formats.door import damaged, not_understood, reading, refuse_more_than_memory
from autoseg.formats.inflate import first_bytes, is_gzip, unpack
from autoseg.formats.nifti_grid import grid_of, plain_geometry, say_grid
from autoseg.formats.registry import READERS, Header, Reader, header_of
from autoseg.formats.sitk import refuse_more_than_3d
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_atomically

logger = logging.getLogger(__name__)

_BYTES_OF_HEADER = {1: 348, 2: 540}
_MOST_VOXELS_OF_NIFTI_1 = 32767  # along an axis
_COMPRESSION = 3  # as small as 6 within 1 % (CT, MR, PET), in a quarter to two thirds of the time


def nifti_header(path: Path) -> Header:
    """Grid, channels and what the header contradicts."""
    start = first_bytes(path, _BYTES_OF_HEADER[2])
    plain = plain_geometry(start)
    if plain is not None:
        return Header(plain, 1)
    header = _header_of(start, path)
    size, n_channels = _layout(path, header)
    geometry, warnings = grid_of(header, size, path)
    _, doubt = _scaling(header, path)
    return Header(geometry, n_channels, (*warnings, *doubt))


def read_nifti(path: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels (C, z, y, x), scaled by the header's slope and intercept where it has them, and the grid."""
    known = header_of(path)
    header = _header_of(first_bytes(path, _BYTES_OF_HEADER[2]), path)
    dtype = header.get_data_dtype()
    stored = math.prod(map(int, header.get_data_shape()))
    offset = _offset(header, path)
    voxels = np.frombuffer(_content(path, offset + stored * dtype.itemsize), dtype, stored, offset)
    shape = known.geometry.shape
    if dtype.names:  # RGB24, RGBA32
        return np.stack([voxels[band].reshape(shape) for band in dtype.names]), known.geometry
    (slope, intercept), _ = _scaling(header, path)
    if (slope, intercept) != (1.0, 0.0):
        voxels = (voxels * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    return voxels.reshape(known.n_channels, *shape), known.geometry


def read_volumes(path: Path) -> tuple[np.ndarray, Geometry]:
    """The volumes of a NIfTI of four axes (C, z, y, x), in the file's number type where it states no scale, and the grid of
    each; of three axes, one volume. Image sources refuse such a file, because its fourth axis may be time.
    """
    with reading(path):
        header = _header_of(first_bytes(path, _BYTES_OF_HEADER[2]), path)
        shape = tuple(map(int, header.get_data_shape()))
        if len(shape) not in (3, 4) or min(shape, default=0) < 1:
            raise not_understood(path, f"size (x, y, ...) {shape}", "a size of three or four axes")
        dtype, offset, stored = header.get_data_dtype(), _offset(header, path), math.prod(shape)
        geometry, _ = grid_of(header, shape[:3], path)
        voxels = np.frombuffer(_content(path, offset + stored * dtype.itemsize), dtype, stored, offset)
        (slope, intercept), _ = _scaling(header, path)
        if (slope, intercept) != (1.0, 0.0):
            voxels = (voxels * np.float64(slope) + np.float64(intercept)).astype(np.float32)
        return voxels.reshape(shape[3] if len(shape) == 4 else 1, *geometry.shape), geometry


def count_volumes(path: Path) -> int:
    """How many volumes a NIfTI holds: the entries of its fourth axis, 1 where it has none."""
    with reading(path):
        shape = tuple(map(int, _header_of(first_bytes(path, _BYTES_OF_HEADER[2]), path).get_data_shape()))
    return shape[3] if len(shape) == 4 else 1


def write_nifti(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write one channel as a volume, several as a 4D file with the channels last; what the header of the image said of its
    grid (`geometry.nifti`) is said again.
    """
    from nibabel import Nifti1Header, Nifti2Header

    array_CDHW = array_CDHW.astype(np.uint8) if array_CDHW.dtype == bool else array_CDHW
    several = len(array_CDHW) > 1
    size = geometry.shape[::-1] if several else geometry.shape[::-1][:geometry.dimensions]
    header = (Nifti1Header if max(size) <= _MOST_VOXELS_OF_NIFTI_1 else Nifti2Header)()
    header.set_data_shape((*size, len(array_CDHW)) if several else size)
    header.set_data_dtype(array_CDHW.dtype.newbyteorder("<"))
    header.set_slope_inter(1, 0)
    say_grid(header, geometry)
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    write_atomically(path, lambda temporary: _save(temporary, header, array_CDHW))


def _save(path: Path, header: Any, array_CDHW: np.ndarray) -> None:
    with open(path, "wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed:
                _write_parts(packed, header, array_CDHW)
        else:
            _write_parts(file, header, array_CDHW)


def _write_parts(file: Any, header: Any, array_CDHW: np.ndarray) -> None:
    file.write(header.binaryblock + b"\0\0\0\0")
    dtype = array_CDHW.dtype.newbyteorder("<")
    for array_DHW in array_CDHW:
        for array_HW in array_DHW:
            file.write(np.ascontiguousarray(array_HW, dtype).data)


def _content(path: Path, n_bytes: int) -> np.ndarray:
    """The first bytes of the file, unpacked: as many as the header asks for. More is a warning."""
    refuse_more_than_memory(path, n_bytes)
    held = path.stat().st_size
    with open(path, "rb") as file:
        if is_gzip(path):
            content, surplus = unpack(path, file, n_bytes)
        else:
            if held < n_bytes:
                raise damaged(path, f"{held} bytes", f"{n_bytes} bytes")
            content, surplus = np.fromfile(file, np.uint8, n_bytes), held - n_bytes
    if surplus:
        _warn_of_surplus(path, surplus)
    return content


@functools.lru_cache(maxsize=1024)  # a command reads a file several times
def _warn_of_surplus(path: Path, surplus: int) -> None:
    logger.warning("%s: %d bytes follow the voxels that the header states; they are not read", path, surplus)


def _header_of(content: bytes, path: Path) -> Any:
    """The header as nibabel holds it, NIfTI-1 or 2 in either byte order."""
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    sizes = [int.from_bytes(content[:4], order) for order in ("little", "big")]
    version = next((version for version, size in _BYTES_OF_HEADER.items() if size in sizes), None)
    if version is None:
        raise not_understood(path, f"{len(content[:4])} bytes that are no NIfTI header")
    if len(content) < _BYTES_OF_HEADER[version]:
        raise damaged(path, f"{len(content)} bytes of a header", f"{_BYTES_OF_HEADER[version]} bytes")
    kind = (Nifti1Header, Nifti2Header)[version - 1]
    header = kind(content[:_BYTES_OF_HEADER[version]], check=False)
    try:
        header.get_data_dtype()
        header.get_data_shape()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise not_understood(path, error) from None
    return header


def _layout(path: Path, header: Any) -> tuple[tuple[int, ...], int]:
    """Size along x, y(, z) and the number of channels. The fifth axis of NIfTI is a vector at each voxel."""
    shape: Sequence[int] = header.get_data_shape()
    if not shape or min(shape) < 1:
        raise not_understood(path, f"size (x, y, ...) {tuple(map(int, shape))}")
    if len(shape) == 5 and shape[3] == 1:
        return tuple(map(int, shape[:3])), int(shape[4])
    refuse_more_than_3d(path, tuple(map(int, shape)))
    names = header.get_data_dtype().names
    return tuple(map(int, shape[:3])), len(names) if names else 1


def _offset(header: Any, path: Path) -> int:
    """Where the voxels begin; some writers leave it 0."""
    said = float(header["vox_offset"])
    if not 0 <= said < 2**53:  # NaN too
        raise not_understood(path, f"vox_offset {said}")
    return max(int(said), int(header["sizeof_hdr"]) + 4)


def _scaling(header: Any, path: Path) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Slope and intercept of the voxels, and what is odd about them. A slope of 0, or that is no number, says that there are
    none; with a slope, an intercept that is no number is 0, as in ITK.
    """
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return (1.0, 0.0), ()
    if np.isfinite(intercept):
        return (slope, intercept), ()
    return (slope, 0.0), (f"{path}: scl_slope is {slope:g}, but scl_inter is {intercept}: it is taken as 0",)


for _ending in (".nii", ".nii.gz"):
    READERS.register(_ending)(Reader(nifti_header, read_nifti, write_nifti, reads_channels=False))
