"""What the header of a DICOM file says of the slices in it. pydicom reads the elements that are needed, and no voxel."""

import functools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.formats.dicom.elements import items, macro, number, numbers, private, text, texts
from autoseg.formats.dicom.slices import OtherFile, Series, Slice, Stored, pydicom_for
from autoseg.formats.door import reading
from autoseg.grids.geometry import triple

_NO_IMAGES = {"SEG": "a segmentation", "RTSTRUCT": "structures", "RTDOSE": "a dose", "RTPLAN": "a treatment plan",
              "SR": "a report", "PR": "a presentation state", "KO": "a list of images", "REG": "a registration",
              "DOC": "a document", "RTRECORD": "a treatment record", "ECG": "a signal"}
_WITH_UNITS = ("CT", "PT")  # their values are quantities, however they are shown
_ALWAYS_IMAGES = ("CT", "MR", "PT")
_GREY = ("MONOCHROME1", "MONOCHROME2", "")
_NO_IMAGE = "no image"
_DIRECTORY = "1.2.840.10008.1.3.10"
_B_SIEMENS, _B_GE = (0x0019, 0x100C), (0x0043, 0x1039)
_GE_B_OFFSET = 1_000_000_000  # is added to the number in some versions
_TAGS: list[str | tuple[int, int]] = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "PatientID",
    "SeriesDescription", "ProtocolName", "StudyDate", "FrameOfReferenceUID", "ImageType", "AcquisitionNumber",
    "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentDate", "ContentTime", "TriggerTime", "EchoNumbers",
    "EchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex", "DiffusionBValue", "ImageOrientationPatient",
    "ImagePositionPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ModalityLUTSequence", "RescaleType",
    _B_SIEMENS, _B_GE]


def read_slices(path: Path, known: dict[str, Series]) -> tuple[Slice, ...] | OtherFile:
    """The slices of a file, or what it is instead. `known` are the series that were seen already, by their UID; a new one is
    added. Raises UserError where pydicom is missing, or the file is damaged.
    """
    pydicom = pydicom_for(path)
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are no valid text of their type
        try:
            file = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_tags())
        except pydicom.errors.InvalidDicomError:
            is_named_so = path.name.lower().endswith(".dcm")
            return OtherFile(path, "no DICOM file", fault=_no_slice(path, "no DICOM file") if is_named_so else "")
        if str(file.file_meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
            return OtherFile(path, "the directory of a disc (DICOMDIR)")
        uid = text(file, "SeriesInstanceUID")
        if uid not in known:
            known[uid] = _facts(file, uid)
        facts = known[uid]
        kind = _no_image(file, facts)
        if kind:
            # Every object has a modality: where it lacks, the header is cut short.
            should_be_slice = kind.startswith(_NO_IMAGE) and facts.modality in (*_ALWAYS_IMAGES, "")
            return OtherFile(path, kind, facts, _no_slice(path, kind) if should_be_slice else "")
        try:
            _refuse_another(path, file, facts)
            return _slices(path, file, facts)
        except UserError as error:
            return OtherFile(path, "a slice at fault", facts, str(error))


def _no_slice(path: Path, kind: str) -> str:
    return str(UserError("the file should be a slice and is none", where=path, found=kind,
                         do="it may be cut short or damaged; copy the series again"))


def _refuse_another(path: Path, file: Any, facts: Series) -> None:
    """A UserError where the series belongs to two patients, as after a bad removal of identifiers: slices would be mixed."""
    said = [text(file, name) for name in ("PatientID", "StudyInstanceUID", "Modality")]
    if said != [facts.patient, facts.study, facts.modality]:
        raise UserError("files with one series UID belong to different patients, studies or modalities", where=path,
                        found=facts.called, expected="one PatientID, StudyInstanceUID and Modality in all files of a series",
                        do="put each of them into a folder of its own, and read one folder at a time")


def _slices(path: Path, file: Any, facts: Series) -> tuple[Slice, ...]:
    frames = items(file, "PerFrameFunctionalGroupsSequence")
    if not frames:
        return (_of_file(path, file, facts),)
    shared = (items(file, "SharedFunctionalGroupsSequence") or [None])[0]
    return tuple(_of_frame(path, file, facts, (frame, shared), k) for k, frame in enumerate(frames))


@functools.cache
def _tags() -> list[Any]:
    """The elements as pydicom's numbers: it would look up the names for each file."""
    from pydicom.tag import Tag

    return [Tag(tag) for tag in _TAGS]


def _facts(file: Any, uid: str) -> Series:
    return Series(uid=uid, study=text(file, "StudyInstanceUID"), patient=text(file, "PatientID"),
                  number=text(file, "SeriesNumber"), modality=text(file, "Modality"),
                  description=text(file, "SeriesDescription"), protocol=text(file, "ProtocolName"),
                  study_date=text(file, "StudyDate"), frame_of_reference=text(file, "FrameOfReferenceUID"))


def _no_image(file: Any, facts: Series) -> str:
    """What a file is, where it is no slice with a place in the patient; else empty."""
    if facts.modality in _NO_IMAGES or not number(file, "Rows"):
        return f"{_NO_IMAGES.get(facts.modality, _NO_IMAGE)} ({facts.modality or 'no modality'})"
    if (number(file, "SamplesPerPixel") or 1) != 1 or text(file, "PhotometricInterpretation") not in _GREY:
        return "a colour picture"
    if "MOSAIC" in texts(file, "ImageType"):
        return "a mosaic of slices in one picture"
    if items(file, "PerFrameFunctionalGroupsSequence"):
        return ""
    if (number(file, "NumberOfFrames") or 1) > 1:
        return "several frames whose positions are not said"
    if numbers(file, "ImagePositionPatient", 3) is None or numbers(file, "ImageOrientationPatient", 6) is None:
        return "a picture without a position in the patient, such as a secondary capture"
    return ""


def _of_file(path: Path, file: Any, facts: Series) -> Slice:
    """The slice that a file of one image is."""
    if items(file, "ModalityLUTSequence"):
        raise UserError("its values come from a table, which is not read", where=path, found="ModalityLUTSequence",
                        expected="RescaleSlope and RescaleIntercept")
    marks = (("acquisition", text(file, "AcquisitionNumber")),
             ("temporal position", text(file, "TemporalPositionIdentifier") or text(file, "TemporalPositionIndex")),
             ("echo", text(file, "EchoNumbers") or text(file, "EchoTime")),
             ("b-value", _b_value(file)), ("image type", "/".join(texts(file, "ImageType")[2:])),
             ("trigger time", text(file, "TriggerTime")),
             ("acquisition time", _moment(file, "Acquisition")), ("content time", _moment(file, "Content")))
    return _slice(path, file, facts, (file, file, file, file), marks)


def _of_frame(path: Path, file: Any, facts: Series, groups: Sequence[Any], k: int) -> Slice:
    """One frame of an enhanced file (PS3.3 C.7.6.16)."""
    content = macro(groups, "FrameContentSequence")
    echo, diffusion = macro(groups, "MREchoSequence"), macro(groups, "MRDiffusionSequence")
    kind = next((item for name in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
                 if (item := macro(groups, name)) is not None), None)
    cardiac = macro(groups, "CardiacSynchronizationSequence")
    marks = (("acquisition", text(content, "FrameAcquisitionNumber") if content is not None else ""),
             ("temporal position", text(content, "TemporalPositionIndex") if content is not None else ""),
             ("echo", text(echo, "EffectiveEchoTime") if echo is not None else ""),
             ("b-value", text(diffusion, "DiffusionBValue") if diffusion is not None else ""),
             ("image type", "/".join(texts(kind, "FrameType")[2:]) if kind is not None else ""),
             ("trigger time", text(cardiac, "NominalCardiacTriggerDelayTime") if cardiac is not None else ""),
             ("acquisition time", text(content, "FrameAcquisitionDateTime") if content is not None else ""),
             ("content time", text(content, "FrameReferenceDateTime") if content is not None else ""))
    parts = [macro(groups, name) for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
                                             "PixelValueTransformationSequence")]
    return _slice(path, file, facts, parts, marks, k)


def _slice(path: Path, file: Any, facts: Series, parts: Sequence[Any], marks: tuple[tuple[str, str], ...],
           frame: int | None = None) -> Slice:
    """A slice of what says its position, its orientation, its pixels and its values; a UserError where one lacks."""
    where, plane, pixels, values = parts
    position = None if where is None else numbers(where, "ImagePositionPatient", 3)
    orientation = None if plane is None else numbers(plane, "ImageOrientationPatient", 6)
    spacing = None if pixels is None else numbers(pixels, "PixelSpacing", 2)
    if position is None or orientation is None or spacing is None or min(spacing) <= 0:
        lacking = [name for name, value in (("position", position), ("orientation", orientation)) if value is None]
        raise UserError("the file does not say where its voxels lie", where=path,
                        found=f"no {' and no '.join(lacking or ['pixel spacing'])}"
                              + ("" if frame is None else f", frame {frame + 1}"))
    rows, columns = _unit(orientation[:3], path), _unit(orientation[3:], path)
    if abs(_dot(rows, columns)) > 1e-3:
        raise UserError("rows and columns are not perpendicular", where=path, found=orientation)
    normal = (rows[1] * columns[2] - rows[2] * columns[1], rows[2] * columns[0] - rows[0] * columns[2],
              rows[0] * columns[1] - rows[1] * columns[0])
    thickness = number(pixels, "SliceThickness") or number(pixels, "SpacingBetweenSlices")
    slope = None if values is None else number(values, "RescaleSlope")
    intercept = None if values is None else number(values, "RescaleIntercept")
    if slope == 0:
        raise UserError("all its values are the same: their slope is 0", where=path, found="RescaleSlope 0")
    if facts.modality in _WITH_UNITS and (slope is None or intercept is None):  # type 1 in PS3.3 C.8.2.1 and C.8.9.1
        raise UserError("the file does not say how its numbers become quantities, such as HU", where=path,
                        found="no RescaleSlope and RescaleIntercept, of both", do="export the series again")
    inverted = text(file, "PhotometricInterpretation") == "MONOCHROME1" and facts.modality not in _WITH_UNITS
    stored = Stored(1.0 if slope is None else slope, intercept or 0.0, int(number(file, "BitsStored") or 16),
                    number(file, "PixelRepresentation") == 1, inverted,
                    "" if values is None else text(values, "RescaleType").upper())
    return Slice(
        path=path, uid=text(file, "SOPInstanceUID"), series=facts.uid, acquisition=marks[0][1], position_mm=triple(position),
        normal=normal, along_mm=_dot(normal, position), orientation=(*rows, *columns),
        shape_HW=(int(number(file, "Rows") or 0), int(number(file, "Columns") or 0)), spacing_mm=(spacing[0], spacing[1]),
        facts=facts, thickness_mm=thickness, frame=frame, marks=tuple(mark for mark in marks if mark[1]),
        image_type=texts(file, "ImageType"), stored=stored)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))  # NumPy takes ten times as long for three numbers


def _unit(vector: Sequence[float], path: Path) -> tuple[float, ...]:
    length = math.sqrt(_dot(vector, vector))
    if abs(length - 1) > 1e-2:
        raise UserError("the orientation is no pair of directions", where=path, found=tuple(vector))
    return tuple(value / length for value in vector)


def _moment(file: Any, kind: str) -> str:
    """Date and time as one text that sorts, as far as they are said."""
    time = text(file, f"{kind}Time")
    if not time and kind == "Acquisition":
        return text(file, "AcquisitionDateTime")
    return text(file, f"{kind}Date") + time if time else ""


def _b_value(file: Any) -> str:
    said = text(file, "DiffusionBValue") or private(file, *_B_SIEMENS)
    if said:
        return said
    value = private(file, *_B_GE)
    return str(int(value) % _GE_B_OFFSET) if value.isdigit() else ""
