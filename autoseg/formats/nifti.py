"""NIfTI. ITK says where the grid lies, as in nnU-Net; the voxels are read here.

ITK fills what a truncated NIfTI file lacks with zeros and says nothing (measured with SimpleITK 2.5: 60 % of a .nii.gz
are read as a whole image), so the bytes are counted here, and gzip's checksum finds other damage.
"""

import gzip
import logging
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import damaged, refuse_more_than_memory
from autoseg.formats.inflate import first_bytes, is_gzip, unpack
from autoseg.formats.registry import READERS, Header, Reader, header_of
from autoseg.formats.sitk import FLAT_SPACING, itk_header, refuse_more_than_3d, save_itk, to_itk
from autoseg.grids.geometry import Geometry, triple
from autoseg.workspace.files import write_atomically

logger = logging.getLogger(__name__)

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# ITK's own limit is near: beyond it, it refuses to read an affine.
_ORTHONORMAL = 1e-4
# NIfTI-1, little-endian; only what says where the voxels lie (nifti1.h).
_HEADER = np.dtype({"names": ("sizeof_hdr", "dim", "intent_code", "datatype", "pixdim", "xyzt_units", "qform_code",
                              "sform_code", "quatern", "offset", "srow", "magic"),
                    "formats": ("<i4", ("<i2", 8), "<i2", "<i2", ("<f4", 8), "u1", "<i2", "<i2", ("<f4", 3), ("<f4", 3),
                                ("<f4", (3, 4)), "S4"),
                    "offsets": (0, 40, 68, 70, 76, 123, 252, 254, 256, 268, 280, 344), "itemsize": 348})
_SECOND_BYTES = 540  # of the header of NIfTI-2
_SCALARS = (2, 4, 8, 16, 64, 256, 512, 768)  # codes of 8 to 32 bits and float64
_MILLIMETRES = 2
# Quaternions (b, c, d) of no turn and of half a turn about one axis, and which axes they reverse.
_HALF_TURNS = {(0.0, 0.0, 0.0): (1, 1, 1), (1.0, 0.0, 0.0): (1, -1, -1), (0.0, 1.0, 0.0): (-1, 1, -1),
               (0.0, 0.0, 1.0): (-1, -1, 1)}


def nifti_header(path: Path) -> Header:
    """Grid and channels. An affine with shear, which ITK refuses, is kept as it is through nibabel."""
    plain = plain_geometry(path)
    if plain is not None:
        return Header(plain, 1)
    try:
        return itk_header(path, "NiftiImageIO")
    except UserError:
        if is_gzip(path):
            _content(path, _end(_header_of(first_bytes(path, _SECOND_BYTES))))  # says so where gzip is what is wrong
        header = _nibabel_header(path)
        if header is None:
            raise
        refuse_more_than_3d(path, header.get_data_shape())
        return Header(_sheared(header), 1)


def read_nifti(path: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels (C, z, y, x), scaled by the header's slope and intercept where it has them, and the grid."""
    geometry = header_of(path).geometry
    header = _header_of(first_bytes(path, _SECOND_BYTES))
    dtype = header.get_data_dtype()
    voxels = np.frombuffer(_content(path, _end(header)), dtype, math.prod(header.get_data_shape()), _start(header))
    if dtype.names:  # RGB24, RGBA32
        return np.stack([voxels[band].reshape(geometry.shape) for band in dtype.names]), geometry
    slope, intercept = header.get_slope_inter()
    if (slope, intercept) not in ((None, None), (1.0, 0.0)):
        voxels = (voxels * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    return voxels.reshape(1, *geometry.shape), geometry


def write_nifti(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write one channel as a volume, several as a 4D file with the channels last."""
    axes = np.array(geometry.direction).reshape(3, 3)
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHONORMAL:
        write_atomically(path, lambda temporary: _save_sheared(temporary, array_CDHW, geometry))
        return
    volumes = [to_itk(channel_DHW, geometry, False) for channel_DHW in array_CDHW]
    write_atomically(path, lambda temporary: save_itk(temporary, _joined(volumes)))


def _joined(volumes: list) -> Any:
    import SimpleITK as sitk

    return volumes[0] if len(volumes) == 1 else sitk.JoinSeries(volumes)


def _start(header: Any) -> int:
    """The first byte of the voxels; some writers leave it 0."""
    return max(int(header.get_data_offset()), int(header["sizeof_hdr"]) + 4)


def _end(header: Any) -> int:
    return _start(header) + math.prod(header.get_data_shape()) * int(header.get_data_dtype().itemsize)


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
        logger.warning("%s: %d bytes follow the voxels that the header states; they are not read", path, surplus)
    return content


def _header_of(content: bytes) -> Any:
    from nibabel import Nifti1Header, Nifti2Header

    is_second = 540 in (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
    kind, size = (Nifti2Header, 540) if is_second else (Nifti1Header, 348)
    return kind(content[:size], check=False)


def plain_geometry(path: Path) -> Geometry | None:
    """The grid of a volume along the axes of the body, of which qform and sform say the same; None of any other file.

    ITK answers alike, but takes a millisecond, and its import a hundred.
    """
    try:
        with (gzip.open if path.name.lower().endswith(".gz") else open)(path, "rb") as file:
            content = file.read(_HEADER.itemsize)
    except (OSError, EOFError, zlib.error):
        return None
    if len(content) < _HEADER.itemsize:
        return None
    header = np.frombuffer(content, _HEADER)[0]
    size, spacing = header["dim"][1:4], header["pixdim"][1:4]
    rotation = tuple(header["quatern"].tolist())
    is_plain = (header["sizeof_hdr"] == _HEADER.itemsize and header["magic"] == b"n+1" and header["dim"][0] == 3
                and not header["intent_code"] and header["datatype"] in _SCALARS
                and header["xyzt_units"] & 7 in (0, _MILLIMETRES))
    is_along_axes = (header["qform_code"] and header["sform_code"] and rotation in _HALF_TURNS
                     and header["pixdim"][0] in (1, -1))
    if not (is_plain and is_along_axes and (size > 0).all() and (spacing > 0).all() and np.isfinite(header["srow"]).all()):
        return None
    signs = np.array(_HALF_TURNS[rotation]) * (1, 1, header["pixdim"][0])
    if not np.array_equal(header["srow"], np.column_stack((np.diag(signs * spacing), header["offset"]))):
        return None
    return Geometry(shape=triple(map(int, size[::-1])), spacing_mm=triple(map(float, spacing[::-1])),
                    origin_mm=triple(map(float, _RAS_TO_LPS @ header["offset"])),
                    direction=tuple(map(float, (_RAS_TO_LPS @ np.diag(signs)).ravel())), dimensions=3)


def _nibabel_header(path: Path) -> Any:
    """The header as nibabel reads it, None where it does not."""
    import nibabel

    try:
        return nibabel.load(path).header
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, EOFError,
            ValueError, zlib.error):
        return None


def _sheared(header: Any) -> Geometry:
    """The grid of a header's affine: columns are axes in RAS, their lengths the spacing."""
    size = [int(s) for s in header.get_data_shape()[:3]]
    n = len(size)
    affine = header.get_best_affine()
    columns = _RAS_TO_LPS @ affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        axes = columns / spacing
    if n == 2:
        spacing[2] = FLAT_SPACING * spacing[:2].max()
    return Geometry(shape=triple((*size, *(1,) * (3 - n))[::-1]), spacing_mm=triple(float(s) for s in spacing[::-1]),
                    origin_mm=triple(float(o) for o in _RAS_TO_LPS @ affine[:3, 3]),
                    direction=tuple(float(v) for v in axes.ravel()), dimensions=n)


def _save_sheared(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    import nibabel

    affine = np.eye(4)
    affine[:3, :3] = _RAS_TO_LPS @ np.array(geometry.direction).reshape(3, 3) * geometry.spacing_mm[::-1]
    affine[:3, 3] = _RAS_TO_LPS @ np.array(geometry.origin_mm)
    array = array_CDHW.T[..., 0] if len(array_CDHW) == 1 else array_CDHW.T
    image = nibabel.Nifti1Image(array if geometry.dimensions == 3 else np.squeeze(array, 2), affine)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)


for _ending in (".nii", ".nii.gz"):
    READERS.register(_ending)(Reader(nifti_header, read_nifti, write_nifti))
