"""Label maps and probabilities as DICOM segmentations (SEG, PS3.3 A.51); highdicom writes them (extra `dicom`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.version import __version__
from autoseg.formats.dicom.stack import Stack
from autoseg.formats.results import DicomResults
from autoseg.formats.segments.concepts import SCHEME, Code, concept_of
from autoseg.formats.segments.headers import (
    CHARACTER_SET,
    MAKER,
    colours,
    quiet,
    series_description,
    series_number,
    source_headers,
    text,
)
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import points_of
from autoseg.workspace.files import write_atomically

# A fractional segmentation has 8 bits (PS3.3 C.8.20.2.3).
_LARGEST = 255


def write_seg(path: Path, label_DHW: np.ndarray, stack: Stack, geometry: Geometry, results: DicomResults) -> None:
    """Write a label map (z, y, x) on a grid as a binary segmentation of a series, a segment for each structure; atomically.

    Structures may overlap. Slices without any are left out. What is read again is the same mask.
    """
    planes = np.flatnonzero(label_DHW.any((1, 2)))
    planes = planes if len(planes) else np.array([0])  # a segmentation has at least one frame
    _write(path, _segments(label_DHW[planes], results), stack, (geometry, planes), results)


def write_fractions(path: Path, probabilities_KDHW: np.ndarray, stack: Stack, geometry: Geometry, results: DicomResults
                    ) -> None:
    """Write the probabilities (K, z, y, x) of `results.heads` as a fractional segmentation, in steps of 1/255, a segment for
    each structure; atomically.
    """
    chosen = [results.heads.index(name) for name in results.structures]
    steps_DHWS = np.stack([np.rint(np.clip(probabilities_KDHW[head], 0, 1) * _LARGEST) for head in chosen], axis=-1)
    planes = np.flatnonzero(steps_DHWS.any((1, 2, 3)))
    planes = planes if len(planes) else np.array([0])
    _write(path, steps_DHWS[planes].astype(np.float32) / _LARGEST, stack, (geometry, planes), results)


def _segments(label_DHW: np.ndarray, results: DicomResults) -> np.ndarray:
    """Numbers of segments (z, y, x) from 1 on, or where structures overlap their masks (z, y, x, S)."""
    values = list(results.structures.values())
    if len({value for part in values for value in part}) == sum(map(len, values)):
        largest = max(int(label_DHW.max()), *(value for part in values for value in part))
        number_of = np.zeros(largest + 1, np.uint8 if len(values) <= np.iinfo(np.uint8).max else np.uint16)
        for number, part in enumerate(values, start=1):
            number_of[list(part)] = number
        return np.take(number_of, label_DHW)
    return np.stack([np.isin(label_DHW, part) for part in values], axis=-1)


@quiet()
def _write(path: Path, pixels: np.ndarray, stack: Stack, at: tuple[Geometry, np.ndarray], results: DicomResults) -> None:
    hd = _highdicom(path)
    geometry, planes = at
    headers = source_headers(stack)
    first = headers[0]
    axes = np.array(geometry.direction).reshape(3, 3)
    positions = points_of(geometry, np.column_stack([planes, np.zeros((len(planes), 2))]))
    is_fractional = pixels.dtype.kind == "f"
    try:
        file = hd.seg.Segmentation(
            source_images=headers, pixel_array=pixels,
            segmentation_type="FRACTIONAL" if is_fractional else "BINARY", max_fractional_value=_LARGEST,
            segment_descriptions=_descriptions(hd, results),
            series_instance_uid=hd.UID(), series_number=series_number(first), sop_instance_uid=hd.UID(), instance_number=1,
            manufacturer=MAKER, manufacturer_model_name=MAKER, software_versions=__version__,
            device_serial_number=results.identity or "0", content_label="SEGMENTATION",
            content_description=text(f"Segmentation by {MAKER} {__version__}"),
            plane_positions=[hd.PlanePositionSequence("PATIENT", position.tolist()) for position in positions],
            plane_orientation=hd.PlaneOrientationSequence("PATIENT", [*axes[:, 0].tolist(), *axes[:, 1].tolist()]),
            pixel_measures=hd.PixelMeasuresSequence(geometry.spacing_mm[1:], geometry.spacing_mm[0], geometry.spacing_mm[0]),
            series_description=series_description(results.model), specific_character_set=CHARACTER_SET,
            omit_empty_frames=bool(pixels.any()))
    except (AttributeError, KeyError, ValueError) as error:  # of headers that it cannot take over
        raise UserError("a segmentation cannot refer to the series", where=headers[0].filename, found=repr(error),
                        do="choose --output-format rtstruct or nifti, or correct the header of the series") from error
    write_atomically(path, file.save_as)


def _descriptions(hd: Any, results: DicomResults) -> Sequence[Any]:
    from pydicom.sr.codedict import codes

    algorithm = hd.AlgorithmIdentificationSequence(MAKER, codes.cid7162.ArtificialIntelligence, __version__, source=MAKER)
    descriptions = []
    palette = colours(len(results.structures))
    for number, (name, colour) in enumerate(zip(results.structures, palette, strict=True), start=1):
        concept = concept_of(name)
        description = hd.seg.SegmentDescription(
            segment_number=number, segment_label=text(name), segmented_property_category=_coded(hd, concept.category),
            segmented_property_type=_coded(hd, concept.kind), algorithm_type="AUTOMATIC", algorithm_identification=algorithm,
            display_color=hd.color.CIELabColor.from_rgb(*colour))
        if concept.side is not None:  # PS3.3 C.8.20.2: the modifier lies within the type
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
                _coded(hd, concept.side)]
        descriptions.append(description)
    return descriptions


def _coded(hd: Any, code: Code) -> Any:
    return hd.sr.CodedConcept(code.value, SCHEME, code.meaning)


def _highdicom(path: Path) -> Any:
    try:
        import highdicom
    except ImportError:
        raise UserError("the file shall be a DICOM segmentation, and the package highdicom is not installed", where=path,
                        do="pip install 'autoseg-pipeline[dicom]'") from None
    return highdicom
