"""Small studies of DICOM, written with pydicom. `**changes` are DICOM keywords; functions get the number of the slice."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (6, 8, 10)
SPACING = (2.5, 0.75, 0.5)  # z, y, x
ORIGIN = (-110.0, -90.0, -600.0)  # x, y, z
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
STUDY = "1.2.826.0.1.3680043.8.498.1"
CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128",
           "CR": "1.2.840.10008.5.1.4.1.1.1", "OT": "1.2.840.10008.5.1.4.1.1.7"}
ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1", "PT": "1.2.840.10008.5.1.4.1.1.130"}
PLAIN, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"  # explicit types of values


def truth(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Values as of a CT (z, y, x), whole numbers from -1000 to 2000."""
    return np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)


def item(**values: Any) -> Any:
    """A dataset of these elements."""
    import pydicom

    dataset = pydicom.Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write_series(folder: Path, array_DHW: np.ndarray, *, spacing_mm: Sequence[float] = SPACING, modality: str = "CT",
                 description: str = "", study: str = STUDY, series: int = 1, patient: str = "P1", first: int = 0,
                 origin_mm: Sequence[float] = ORIGIN, orientation: Sequence[float] = AXIAL,
                 position_mm: Callable[[int], Sequence[float]] | None = None, slope: Any = 1, intercept: Any = None,
                 syntax: str = PLAIN, name: Callable[[int], str] = lambda k: f"{997 * (k + 1) % 1009:04d}.dcm",
                 **changes: Any) -> list[Path]:
    """The slices of a volume, one per file, from the first position along the normal onwards; their paths.

    `array_DHW` holds what a reader must get; stored are `(value - intercept) / slope`, rounded. Names follow another
    order than positions. `series` is the number, from which the UID is made; `first` numbers instances; with
    `position_mm` positions are free. `slope` and `intercept` may be functions of the slice, too.
    """
    from pydicom.uid import UID

    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    if intercept is None:
        intercept = -1024 if modality == "CT" else 0
    paths = []
    for k, values_HW in enumerate(array_DHW):
        position = np.array(origin_mm) + k * spacing_mm[0] * normal if position_mm is None else position_mm(k)
        own = _value(slope, k), _value(intercept, k)
        stored = np.rint((np.asarray(values_HW, float) - float(own[1])) / float(own[0]))
        file = item(
            SOPClassUID=CLASSES.get(modality, CLASSES["OT"]), SOPInstanceUID=f"{study}.{series}.{first + k + 1}",
            StudyInstanceUID=study, SeriesInstanceUID=f"{study}.{series}", SeriesNumber=series, Modality=modality,
            SeriesDescription=description, PatientID=patient, PatientName=f"Name^{patient}", StudyDate="20200102",
            AcquisitionNumber=1, InstanceNumber=first + k + 1, FrameOfReferenceUID=f"{study}.0",
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], ImageOrientationPatient=list(orientation),
            ImagePositionPatient=[round(float(value), 6) for value in position], PixelSpacing=list(spacing_mm[1:]),
            SliceThickness=spacing_mm[0], RescaleSlope=own[0], RescaleIntercept=own[1])
        for key, value in changes.items():
            set_or_remove(file, key, _value(value, k))
        add_pixels(file, stored, UID(syntax))
        paths.append(save(file, folder / name(first + k)))
    return paths


def add_pixels(file: Any, stored: np.ndarray, syntax: Any) -> None:
    """Stored values (H, W) or (N, H, W) of 16 bits, signed where one is negative; compressed as the syntax says."""
    file.Rows, file.Columns = stored.shape[-2:]
    signed = bool(stored.min() < 0)
    file.SamplesPerPixel, file.PixelRepresentation = 1, int(signed)
    if "PhotometricInterpretation" not in file:
        file.PhotometricInterpretation = "MONOCHROME2"
    file.BitsAllocated = 16
    if "BitsStored" not in file:
        file.BitsStored = 16
    file.HighBit = file.BitsStored - 1
    assert stored.min() >= (-2**15 if signed else 0) and stored.max() < 2 ** (15 if signed else 16)
    order = ">" if syntax == BIG_ENDIAN else "<"
    file.PixelData = stored.astype(f"{order}i2" if signed else f"{order}u2").tobytes()
    file["PixelData"].VR = "OW"
    file.ensure_file_meta()
    file.file_meta.TransferSyntaxUID = PLAIN
    if syntax.is_compressed and not syntax.is_deflated:
        file.compress(syntax, generate_instance_uid=False)
    file.file_meta.TransferSyntaxUID = syntax


def save(file: Any, path: Path) -> Path:
    file.ensure_file_meta()
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def write_frames(path: Path, frames_NHW: np.ndarray, positions_mm: Sequence[Sequence[float]], *, modality: str = "CT",
                 spacing_mm: Sequence[float] = SPACING, orientations: Sequence[Sequence[float]] | None = None,
                 description: str = "", study: str = STUDY, series: int = 1, patient: str = "P1", slope: Any = 1,
                 intercept: Any = None, content: Callable[[int], dict[str, Any]] = lambda k: {},
                 groups: Callable[[int], dict[str, Any]] = lambda k: {}, **changes: Any) -> Path:
    """An enhanced multi-frame file. `content` is of each frame's FrameContentSequence, `groups` its further macros."""
    from pydicom.uid import UID

    if intercept is None:
        intercept = -1024 if modality == "CT" else 0
    per_frame, stored = [], []
    for k, (values_HW, position) in enumerate(zip(frames_NHW, positions_mm, strict=True)):
        own = _value(slope, k), _value(intercept, k)
        stored.append(np.rint((np.asarray(values_HW, float) - float(own[1])) / float(own[0])))
        orientation = AXIAL if orientations is None else orientations[k]
        per_frame.append(item(
            FrameContentSequence=[item(**content(k))],
            PlanePositionSequence=[item(ImagePositionPatient=[round(float(value), 6) for value in position])],
            PlaneOrientationSequence=[item(ImageOrientationPatient=list(orientation))],
            PixelValueTransformationSequence=[item(RescaleSlope=own[0], RescaleIntercept=own[1], RescaleType="US")],
            **groups(k)))
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=list(spacing_mm[1:]), SliceThickness=spacing_mm[0])])
    file = item(SOPClassUID=ENHANCED[modality], SOPInstanceUID=f"{study}.{series}.1", StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.{series}", SeriesNumber=series, Modality=modality, SeriesDescription=description,
                PatientID=patient, PatientName=f"Name^{patient}", StudyDate="20200102", InstanceNumber=1,
                ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], FrameOfReferenceUID=f"{study}.0",
                NumberOfFrames=len(stored), SharedFunctionalGroupsSequence=[shared],
                PerFrameFunctionalGroupsSequence=per_frame)
    for key, value in changes.items():
        set_or_remove(file, key, value)
    add_pixels(file, np.stack(stored), UID(PLAIN))
    return save(file, path)


def write_other(path: Path, modality: str, *, study: str = STUDY, series: int = 90, **changes: Any) -> Path:
    """An object without voxels of a patient, such as a report (SR) or structures (RTSTRUCT)."""
    classes = {"SR": "1.2.840.10008.5.1.4.1.1.88.11", "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
               "PR": "1.2.840.10008.5.1.4.1.1.11.1"}
    file = item(SOPClassUID=classes[modality], SOPInstanceUID=f"{study}.{series}.1", StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.{series}", SeriesNumber=series, Modality=modality, PatientID="P1", **changes)
    file.ensure_file_meta()
    file.file_meta.TransferSyntaxUID = PLAIN
    return save(file, path)


def write_directory(path: Path) -> Path:
    """A DICOMDIR that lists nothing: readers must look at the files themselves."""
    file = item(FileSetID="DISC", DirectoryRecordSequence=[])
    file.ensure_file_meta()
    file.file_meta.MediaStorageSOPClassUID, file.file_meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3.9"
    file.file_meta.TransferSyntaxUID = PLAIN
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)
    return path


def radiopharmaceutical(**changes: Any) -> list[Any]:
    """What was injected: 370 MBq of F-18 at 12:00 on the day of the scan."""
    values = {"RadionuclideTotalDose": 3.7e8, "RadionuclideHalfLife": 6586.2,
              "RadiopharmaceuticalStartDateTime": "20200102120000"}
    made = item(**values)
    for key, value in changes.items():
        set_or_remove(made, key, value)
    return [made]


def set_or_remove(dataset: Any, key: str, value: Any) -> None:
    if value is None:
        if key in dataset:
            delattr(dataset, key)
    else:
        setattr(dataset, key, value)


def _value(value: Any, k: int) -> Any:
    return value(k) if callable(value) else value
