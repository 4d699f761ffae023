"""NRRD and MetaImage (MHA, MHD) through SimpleITK, which is imported on first use, because it takes its time."""

import errno
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.detached import is_plain, refuse_pattern
from autoseg.formats.door import unreadable
from autoseg.formats.layout import check_text, data_file, layout_of, spacing_doubts
from autoseg.formats.oddities import oddities
from autoseg.formats.registry import READERS, Header, Reader, header_of
from autoseg.grids.geometry import Geometry, triple
from autoseg.workspace.files import write_atomically, writing
from autoseg.workspace.partial import partial_folder

# nnU-Net's stand-in for the slice spacing of a 2D image, as a multiple of its largest pixel spacing.
FLAT_SPACING = 999.0
_NAME_FILES = (".nrrd", ".mha", ".mhd")  # formats whose headers may name further files


def itk_header(path: Path) -> Header:
    """Grid and channels as ITK reads them, without the voxels. A fourth axis of one entry is ignored."""
    import SimpleITK as sitk

    if path.name.lower().endswith(_NAME_FILES):
        refuse_pattern(path)
    file = sitk.ImageFileReader()
    file.SetFileName(str(path))
    try:
        file.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, error) from None
    size = file.GetSize()
    refuse_more_than_3d(path, size)
    geometry = flat_or_solid(size, file.GetSpacing(), file.GetOrigin(), file.GetDirection())
    return Header(geometry, file.GetNumberOfComponents())


def text_header(path: Path) -> Header:
    """Grid and channels of a MetaImage or an NRRD. ITK says nothing of a spacing that it invents, of units and of shear."""
    check_text(path)
    header = itk_header(path)
    doubts = (*oddities(header.geometry), *spacing_doubts(path, header.geometry.dimensions))
    return replace(header, warnings=tuple(f"{path}: {doubt}" for doubt in doubts))


def read_itk(path: Path) -> tuple[np.ndarray, Geometry]:
    """Voxels (C, z, y, x) in the file's number type, and the grid; checksums of compressed voxels are compared."""
    header = header_of(path)
    shape, n_channels = header.geometry.shape, header.n_channels
    layout = layout_of(path)
    if layout is None or not (layout.is_plain or layout.is_compressed):
        return through_itk(path, header), header.geometry
    values = layout.read(path, math.prod(shape) * n_channels)
    if not layout.is_plain:
        return through_itk(path, header), header.geometry
    return np.moveaxis(values.reshape(*shape, n_channels), -1, 0), header.geometry


def through_itk(path: Path, header: Header) -> np.ndarray:
    """Voxels (C, z, y, x) as ITK reads them."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return np.moveaxis(array.reshape(*header.geometry.shape, header.n_channels), -1, 0)


def write_itk(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write compressed; several channels become one image of vectors."""
    image = _image(array_CDHW, geometry)
    write_atomically(path, lambda temporary: save_itk(temporary, image))


def write_uncompressed(path: Path, label_DHW: np.ndarray, geometry: Geometry) -> None:
    """Write a label (z, y, x; uint8 or uint16) for viewers that unpack nothing."""
    image = _image(label_DHW[None], geometry)
    write_atomically(path, lambda temporary: save_itk(temporary, image, compressed=False))


def write_mhd(path: Path, array_CDHW: np.ndarray, geometry: Geometry) -> None:
    """Write the voxels beside the header, as CASE.zraw: a header that names a file has to know its final name."""
    with writing(path), partial_folder(path.parent) as folder:  # CASE.mha may be somebody's file
        whole = folder / "whole.mha"
        save_itk(whole, _image(array_CDHW, geometry))
        content = whole.read_bytes()
    voxels = path.with_suffix(".zraw")
    if not is_plain(voxels.name):  # then the voxels follow the header
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
        return
    marker = b"ElementDataFile = LOCAL\n"
    start = content.index(marker)
    write_atomically(voxels, lambda temporary: temporary.write_bytes(content[start + len(marker):]))
    text = content[:start] + f"ElementDataFile = {voxels.name}\n".encode()
    write_atomically(path, lambda temporary: temporary.write_bytes(text))


def _image(array_CDHW: np.ndarray, geometry: Geometry) -> Any:
    vector = len(array_CDHW) > 1
    return to_itk(np.moveaxis(array_CDHW, 0, -1) if vector else array_CDHW[0], geometry, vector)


def to_itk(array: np.ndarray, geometry: Geometry, vector: bool) -> Any:
    """A SimpleITK image of an array (z, y, x[, C]) on a grid; a flat grid gives a 2D image."""
    import SimpleITK as sitk

    n = geometry.dimensions
    image = sitk.GetImageFromArray(np.ascontiguousarray(array if n == 3 else array[0]), isVector=vector)
    image.SetSpacing([float(s) for s in geometry.spacing_mm[::-1][:n]])
    image.SetOrigin([float(o) for o in geometry.origin_mm[:n]])
    image.SetDirection(np.array(geometry.direction, dtype=float).reshape(3, 3)[:n, :n].ravel().tolist())
    return image


def save_itk(path: Path, image: Any, *, compressed: bool = True) -> None:
    import SimpleITK as sitk

    try:
        sitk.WriteImage(image, str(path), useCompression=compressed)
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error).strip().splitlines()[-1]) from error


def flat_or_solid(size: Sequence[int], spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]
                  ) -> Geometry:
    """The grid of ITK's x, y[, z[, 1]] values; an image without z becomes one slice."""
    n = min(len(size), 3)
    axes = np.eye(3)
    axes[:n, :n] = np.array(direction).reshape(len(size), len(size))[:n, :n]
    flat = (1,) if n == 2 else ()
    thick = (FLAT_SPACING * max(spacing),) if n == 2 else ()
    return Geometry(shape=triple((*flat, *(int(s) for s in size[:n][::-1]))),
                    spacing_mm=triple((*thick, *(float(s) for s in spacing[:n][::-1]))),
                    origin_mm=triple((*(float(o) for o in origin[:n]), *(0.0,) * (3 - n))),
                    direction=tuple(float(v) for v in axes.ravel()), dimensions=n)


def refuse_more_than_3d(path: Path, size: Sequence[int]) -> None:
    """A UserError where a file has a fourth axis of more than one entry, or no two axes."""
    if len(size) < 2 or any(s != 1 for s in size[3:]):
        raise UserError(f"the file holds a {len(size)}D volume", where=path, found=f"size (x, y, ...) {tuple(size)}",
                        expected="one 3D volume or 2D image per file",
                        do="split it into one file per channel: CASE_0000, CASE_0001, ...")


for _ending in (".nrrd", ".mha"):
    READERS.register(_ending)(Reader(text_header, read_itk, write_itk, beside=data_file))
READERS.register(".mhd")(Reader(text_header, read_itk, write_mhd, beside=data_file))
