"""Images that a caller has in memory, as arrays on a grid, and arrays on this grid as images of the same kind.

SimpleITK and nibabel are not imported to find out whether an image is theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import reading
from autoseg.formats.nifti_grid import grid_of
from autoseg.formats.sitk import flat_or_solid, to_itk
from autoseg.formats.source import ImageSource, open_source
from autoseg.formats.volume import Volume
from autoseg.grids.geometry import Geometry


class ItkImage(Protocol):
    """What is asked of an image of SimpleITK."""

    def GetSpacing(self) -> tuple[float, ...]: ...

    def GetDirection(self) -> tuple[float, ...]: ...


class NiftiImage(Protocol):
    """What is asked of a NIfTI image of nibabel."""

    @property
    def affine(self) -> Any: ...

    @property
    def dataobj(self) -> Any: ...


Image = TypeVar("Image", bound=Volume | ItkImage | NiftiImage)

KINDS = "an autoseg.Volume, a SimpleITK.Image, a nibabel.Nifti1Image, or the path of a file or a DICOM series"

_NUMBERS = "iuf"
_SAME_AFFINE = 1e-3  # mm


@dataclass(frozen=True)
class OpenedImage:
    """An image of one case: channels (C, z, y, x) in their own number type, and their grid.

    `alike(array)` makes an image of the same kind of an array (z, y, x) or (C, z, y, x) on this grid. `source` is the file
    or series that it was read from, None of one that came from memory. `is_zyx`: the order of the axes is certain.
    """

    array_CDHW: np.ndarray
    geometry: Geometry
    alike: Callable[[np.ndarray], Any]
    source: ImageSource | None = None
    is_zyx: bool = True


def open_image(image: Any, where: str) -> OpenedImage:
    """An image of one of the `KINDS`; messages call it `where`. Raises UserError where it is none, or holds no numbers."""
    opened = _opened(image, where)
    if opened.array_CDHW.dtype.kind not in _NUMBERS:
        raise UserError("the voxels are no grey values", where=where, found=f"dtype {opened.array_CDHW.dtype}",
                        expected="integers or floating-point numbers",
                        do="give the image, not a mask of it, and each channel of colours or vectors by itself")
    return opened


def _opened(image: Any, where: str) -> OpenedImage:
    library = type(image).__module__.partition(".")[0]
    if isinstance(image, Volume):
        return OpenedImage(image.array_CDHW, image.geometry, lambda array: Volume.on_grid(array, image.geometry),
                           is_zyx=image.is_zyx)
    if isinstance(image, str | Path):
        source = open_source(Path(image))
        array_CDHW, geometry = source.read()
        return OpenedImage(array_CDHW, geometry, lambda array: Volume.on_grid(array, geometry), source)
    if library == "SimpleITK" and hasattr(image, "GetDirection"):
        return _of_simpleitk(image, where)
    if library == "nibabel" and hasattr(image, "dataobj"):
        return _of_nibabel(image, where)
    do = "autoseg.Volume(array, spacing_mm=(z, y, x))" if hasattr(image, "__array__") else None
    raise UserError("this is no image with a grid", where=where, found=type(image).__name__, expected=KINDS,
                    do=do and f"say its spacing: {do}")


def _of_simpleitk(image: Any, where: str) -> OpenedImage:
    import SimpleITK as sitk

    if image.GetPixelIDTypeAsString().startswith("label of"):  # a LabelMap: what is asked below ends the process
        raise UserError("the image holds labels, not grey values", where=where, found=image.GetPixelIDTypeAsString(),
                        do="give the image, not a mask of it")
    size, n_channels = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    if len(size) not in (2, 3):
        raise _not_three(where, "size (x, y, ...)", size)
    if 0 in size:
        raise UserError("the image is empty", where=where, found=f"size (x, y, ...) {size}")
    geometry = flat_or_solid(size, image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    array = sitk.GetArrayFromImage(image).reshape(*geometry.shape, n_channels)

    def alike(array: np.ndarray) -> Any:
        vector = array.ndim == 4
        result = to_itk(np.moveaxis(array, 0, -1) if vector else array, geometry, vector)
        result.CopyInformation(image)  # its very numbers
        return result

    return OpenedImage(np.moveaxis(array, -1, 0), geometry, alike)


def _of_nibabel(image: Any, where: str) -> OpenedImage:
    """A NIfTI image. Its header says the grid, as that of a file does, and has to agree with its affine."""
    shape, header = tuple(map(int, image.shape)), image.header
    if not hasattr(header, "get_qform"):
        raise UserError("this is no NIfTI image", where=where, found=type(image).__name__, expected="nibabel.Nifti1Image",
                        do="make one of it: nibabel.Nifti1Image(image.get_fdata(), image.affine)")
    if len(shape) < 2 or any(n != 1 for n in shape[3:]):
        raise _not_three(where, "shape (x, y, ...)", shape)
    if 0 in shape:
        raise UserError("the image is empty", where=where, found=f"shape (x, y, ...) {shape}")
    affine = np.full((4, 4), np.nan) if image.affine is None else np.asarray(image.affine)
    apart = np.abs(affine - header.get_best_affine()).max()
    if not apart < _SAME_AFFINE:  # NaN too
        raise UserError("the affine of the image and its header say different grids", where=where,
                        found=f"they differ by {apart:g}",
                        do="make the image again: nibabel.Nifti1Image(image.dataobj, affine)")
    geometry, _ = grid_of(header, shape[:3], Path(where))
    with reading(Path(image.get_filename() or where)):  # the file may be damaged or gone since its header was read
        array = np.asanyarray(image.dataobj).reshape(shape[:3])

    def alike(array: np.ndarray) -> Any:
        last = np.moveaxis(array, 0, -1) if array.ndim == 4 else array[..., None]
        data = last.transpose(2, 1, 0, 3).reshape(*shape[:3], *([] if array.ndim == 3 else [len(array)]))
        said = header.copy()
        said.set_data_dtype(data.dtype)
        said.set_slope_inter(1, 0)
        return type(image)(data, image.affine, said)

    return OpenedImage(array.reshape(geometry.shape[::-1]).T[None], geometry, alike)


def _not_three(where: str, what: str, size: tuple[int, ...]) -> UserError:
    return UserError(f"the image has {len(size)} axes", where=where, found=f"{what} {size}",
                     expected="one 3D volume or 2D image", do="give each channel by itself, by its name")
