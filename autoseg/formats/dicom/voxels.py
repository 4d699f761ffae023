"""The voxels of slices: decoded by pydicom and its plug-ins, as values of the headers' slope and intercept."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.dicom.slices import Slice, pydicom_for
from autoseg.formats.door import reading

# Which package decodes what; RLE needs none. By the end of the UID of the transfer syntax.
_JPEG, _JPEG_2000 = "pylibjpeg-libjpeg", "pylibjpeg-openjpeg"
_CODECS = {"4.50": _JPEG, "4.51": _JPEG, "4.57": _JPEG, "4.70": _JPEG, "4.80": _JPEG, "4.81": _JPEG,
           "4.90": _JPEG_2000, "4.91": _JPEG_2000, "4.201": _JPEG_2000, "4.202": _JPEG_2000, "4.203": _JPEG_2000}
_SYNTAXES = "1.2.840.10008.1.2."


def read_voxels(slices: Sequence[Slice], factor: float = 1.0) -> np.ndarray:
    """The values (z, y, x) of slices times a `factor`; whole numbers where all slopes are, else float32.

    Raises UserError where a file is damaged, or no installed package decodes it.
    """
    shape = (len(slices), *slices[0].shape_HW)
    is_whole = factor == 1.0 and all(part.stored.is_whole for part in slices)
    array_DHW = np.empty(shape, np.int16 if is_whole else np.float32)
    for k, numbers_HW in _decoded(slices):
        stored = slices[k].stored
        if numbers_HW.shape != slices[k].shape_HW:
            raise UserError("the voxels have another size than the header says", where=slices[k].path,
                            found=numbers_HW.shape, expected=slices[k].shape_HW)
        if numbers_HW.dtype.kind not in "iu":  # FloatPixelData, as of parametric maps
            raise UserError("the voxels are stored as fractions, which are not read", where=slices[k].path,
                            found=numbers_HW.dtype, expected="whole numbers with RescaleSlope and RescaleIntercept")
        low, high = stored.limits
        if numbers_HW.min() < low or numbers_HW.max() > high:
            raise UserError("the voxels exceed what the header says can be stored", where=slices[k].path,
                            found=f"{numbers_HW.min()} to {numbers_HW.max()}", expected=f"{low} to {high}")
        kind = np.int64 if is_whole else np.float64
        if stored.is_inverted:
            numbers_HW = low + high - numbers_HW.astype(np.int64)
        slope, intercept = (int(stored.slope), int(stored.intercept)) if is_whole else (stored.slope, stored.intercept)
        values_HW = (numbers_HW.astype(kind) * slope + intercept) * (1 if is_whole else factor)
        if is_whole:
            array_DHW = _widened(array_DHW, values_HW)
        array_DHW[k] = values_HW
    return array_DHW


def _widened(array_DHW: np.ndarray, values_HW: np.ndarray) -> np.ndarray:
    """The array in the smallest of int16, int32 and int64 that holds whole values, too: what could be stored is mostly wider
    than what is, and half of the memory counts.
    """
    low, high = values_HW.min(), values_HW.max()
    holding = (kind for kind in (np.int16, np.int32) if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    kind = next(holding, np.int64)
    return array_DHW.astype(np.promote_types(array_DHW.dtype, kind), copy=False)


def _decoded(slices: Sequence[Slice]) -> Iterator[tuple[int, np.ndarray]]:
    """The number of each slice and its stored numbers (y, x). A file is opened once, however many slices it holds."""
    by_path: dict[Path, list[int]] = {}
    for k, part in enumerate(slices):
        by_path.setdefault(part.path, []).append(k)
    for path, numbers in by_path.items():
        pydicom = pydicom_for(path)
        with reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = pydicom.dcmread(path)
            _refuse_unknown(path, file)
            for k in numbers:
                frame = slices[k].frame
                yield k, _pixels(pydicom, file, frame)


def _pixels(pydicom: Any, file: Any, frame: int | None) -> np.ndarray:
    if frame is None or int(file.get("NumberOfFrames") or 1) == 1:
        return np.asarray(file.pixel_array)
    return np.asarray(pydicom.pixels.pixel_array(file, index=frame))


def _refuse_unknown(path: Path, file: Any) -> None:
    """A UserError where the voxels are compressed and nothing that is installed decodes them: which package does."""
    from pydicom.pixels import get_decoder

    syntax = file.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        is_known = get_decoder(syntax).is_available
    except NotImplementedError:
        is_known = False
    if not is_known:
        package = _CODECS.get(str(syntax).removeprefix(_SYNTAXES), "")
        raise UserError("the voxels are compressed, and no installed package decodes them", where=path, found=syntax.name,
                        do=f"pip install {package}, or 'autoseg-pipeline[dicom]'" if package
                        else "write the series again without compression")
