"""Miniature copies of public datasets: names of files, formats and values as in the downloads, with tiny volumes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry

SHAPE = (8, 12, 14)
GRID = Geometry(SHAPE, (2.5, 0.75, 0.75), (-110.0, -90.0, -600.0))
CASES = 2


def image(seed: int, low: int = -100, high: int = 200) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (1, *SHAPE)).astype(np.int16)


def blocks(values: tuple[int, ...]) -> np.ndarray:
    """A label map in which each value has a block of its own, up to 32 of them."""
    label = np.zeros(SHAPE, np.int16)
    for number, value in enumerate(values):
        z, y, x = np.unravel_index(number, (2, 4, 4))
        label[4 * z + 1:4 * z + 3, 3 * y:3 * y + 2, 3 * x:3 * x + 2] = value
    return label


def pair(path: Path, label: Path, values: tuple[int, ...], seed: int, grid: Geometry = GRID) -> None:
    write_array(path, image(seed), grid)
    write_label(label, blocks(values), grid)


def lits(folder: Path) -> None:
    for n in range(CASES):
        pair(folder / f"Training Batch {n + 1}/volume-{n}.nii", folder / f"Training Batch {n + 1}/segmentation-{n}.nii",
             (1, 2), n)
    write_array(folder / "test/test-volume-0.nii", image(9), GRID)


def kits(folder: Path) -> None:
    for n in range(CASES):
        case = folder / f"dataset/case_{n:05d}"
        pair(case / "imaging.nii.gz", case / "segmentation.nii.gz", (1, 2, 3), n)
    (folder / "dataset/kits23.json").write_text("[]")


def cirrmri(folder: Path) -> None:
    for n, part in enumerate(("train", "valid", "test")):
        for sequence in ("T1", "T2"):
            base = folder / f"Cirrhosis_{sequence}_3D"
            pair(base / f"{part}_images/{n + 1}.nii.gz", base / f"{part}_masks/{n + 1}.nii.gz", (1,),
                 n + 10 * (sequence == "T2"))
    (folder / "CirrMRI600+_CompleteData_age_gender_evaluation.csv").write_text(
        "\ufeffPatient ID,Age,Gender,Radiological Evaluation\n1,61,1,2\n2,48,2,3\n3,55,2,1\n", encoding="utf-8")


def brats21(folder: Path) -> None:
    for n in (0, 2):
        case = folder / f"BraTS2021_{n:05d}"
        for k, name in enumerate(("t1", "t1ce", "t2", "flair")):
            write_array(case / f"{case.name}_{name}.nii.gz", image(10 * n + k, 0, 900), GRID)
        write_label(case / f"{case.name}_seg.nii.gz", blocks((1, 2, 4)), GRID)


def brats23(folder: Path) -> None:
    for name in ("BraTS-GLI-00000-000", "BraTS-GLI-00006-000", "BraTS-GLI-00006-001"):
        case = folder / name
        for k, channel in enumerate(("t1n", "t1c", "t2w", "t2f")):
            write_array(case / f"{name}-{channel}.nii.gz", image(int(name[-5]) * 10 + int(name[-1]) * 5 + k, 0, 900), GRID)
        write_label(case / f"{name}-seg.nii.gz", blocks((1, 2, 3)), GRID)


def han_seg(folder: Path) -> None:
    from autoseg.interop.catalogue import find_recipe

    mr = Geometry((6, 10, 10), (3.0, 1.0, 1.0), (-112.0, -92.0, -602.0))
    for n, lacking in ((1, ()), (2, ("Pituitary", "Cochlea_L"))):
        case = folder / f"HaN-Seg/set_1/case_{n:02d}"
        write_array(case / f"{case.name}_IMG_CT.nrrd", image(n), GRID)
        write_array(case / f"{case.name}_IMG_MR_T1.nrrd", image(20 + n)[:, :6, :10, :10], mr)
        for organ, value in find_recipe("HaN-Seg").labels.values.items():
            if organ not in lacking:
                write_label(case / f"{case.name}_OAR_{organ}.seg.nrrd", blocks((*[0] * (value - 1), 1)), GRID)
    (folder / "HaN-Seg/set_1/OAR_data.csv").write_text("case\n")


def mmwhs(folder: Path) -> None:
    for modality in ("ct", "mr"):
        for n in range(CASES):
            stem = folder / f"{modality}_train/{modality}_train_{1001 + n}"
            odd = 421 if modality == "mr" and n else 420
            pair(Path(f"{stem}_image.nii.gz"), Path(f"{stem}_label.nii.gz"), (205, odd, 500, 550, 600, 820, 850),
                 n + 10 * (modality == "mr"))


def amos(folder: Path) -> None:
    for number, part in ((1, "Tr"), (507, "Tr"), (8, "Va")):
        name = f"amos_{number:04d}.nii.gz"
        pair(folder / f"amos22/images{part}" / name, folder / f"amos22/labels{part}" / name, tuple(range(1, 16)), number)
    write_array(folder / "amos22/imagesTs/amos_0002.nii.gz", image(2), GRID)
    (folder / "amos22/dataset.json").write_text("{}")


def msd(folder: Path, task: str, prefix: str, values: tuple[int, ...], n_volumes: int = 1) -> None:
    for n in range(CASES):
        volumes = np.concatenate([image(10 * n + k, 0, 900) for k in range(n_volumes)])
        write_array(folder / task / f"imagesTr/{prefix}_{n + 1:03d}.nii.gz", volumes, GRID)
        write_label(folder / task / f"labelsTr/{prefix}_{n + 1:03d}.nii.gz", blocks(values), GRID)
        write_array(folder / task / f"imagesTs/{prefix}_{n + 90:03d}.nii.gz", volumes + 1, GRID)
        (folder / task / f"imagesTr/._{prefix}_{n + 1:03d}.nii.gz").write_bytes(b"left by a Mac")
    (folder / task / "dataset.json").write_text("{}")


def acdc(folder: Path) -> None:
    for part, patient, end in (("training", 1, 12), ("training", 2, 10), ("testing", 101, 14)):
        case = folder / f"database/{part}/patient{patient:03d}"
        for frame in (1, end):
            stem = case / f"patient{patient:03d}_frame{frame:02d}"
            pair(Path(f"{stem}.nii.gz"), Path(f"{stem}_gt.nii.gz"), (1, 2, 3), 100 * patient + frame)
        write_array(case / f"patient{patient:03d}_4d.nii.gz", np.concatenate([image(1), image(2)]), GRID)
        (case / "Info.cfg").write_text(f"ED: 1\nES: {end}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")


def write_slice(path: Path, pixels_HW: np.ndarray, tags: Mapping[str, object]) -> None:
    """A CT slice, as pydicom writes it; `tags` are those of the series and of the slice."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", tags["SOPInstanceUID"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = pydicom.Dataset()
    file.file_meta, file.SOPClassUID = meta, meta.MediaStorageSOPClassUID
    values = {"Modality": "CT", "PatientID": "x", "StudyInstanceUID": "1.2.3", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
              "PixelSpacing": [0.75, 0.75], "SliceThickness": 2.5, "RescaleSlope": 1, "RescaleIntercept": -1024}
    for name, value in {**values, **tags}.items():
        setattr(file, name, value)
    file.Rows, file.Columns = pixels_HW.shape
    file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelData = pixels_HW.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


def write_series(folder: Path, image_DHW: np.ndarray, series: str, *, acquisition: int = 1, start: int = 0,
                 shift_mm: float = 0.0, name: Callable[[int], str] = lambda k: f"1-{k + 1:03d}.dcm") -> list[str]:
    """The slices of a volume, from the feet upwards; their UIDs. `start` numbers the files and UIDs."""
    uids = []
    for k, pixels_HW in enumerate(image_DHW):
        uids.append(f"{series}.{start + k + 1}")
        write_slice(folder / name(start + k), pixels_HW + 1024, {
            "SOPInstanceUID": uids[-1], "SeriesInstanceUID": series, "AcquisitionNumber": acquisition,
            "InstanceNumber": start + k + 1, "ImagePositionPatient": [-110.0, -90.0, -600.0 + 2.5 * k + shift_mm]})
    return uids


def write_segmentation(path: Path, masks: Mapping[str, np.ndarray], series: str, uids: list[str]) -> None:
    """A DICOM-SEG of some masks (z, y, x); as the public ones, with empty frames left out."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    def item(**values: object) -> pydicom.Dataset:
        dataset = pydicom.Dataset()
        for name, value in values.items():
            setattr(dataset, name, value)
        return dataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", f"{series}.900"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    frames, groups = [], []
    for number, mask_DHW in enumerate(masks.values(), start=1):
        for k in np.flatnonzero(mask_DHW.any((1, 2))):
            frames.append(mask_DHW[k])
            groups.append(item(
                SegmentIdentificationSequence=[item(ReferencedSegmentNumber=number)],
                PlanePositionSequence=[item(ImagePositionPatient=[-110.0, -90.0, -600.0 + 2.5 * int(k)])],
                DerivationImageSequence=[item(SourceImageSequence=[item(ReferencedSOPInstanceUID=uids[k])])]))
    file = item(SOPClassUID=meta.MediaStorageSOPClassUID, SOPInstanceUID=f"{series}.900", SeriesInstanceUID=f"{series}.9",
                Modality="SEG", Rows=SHAPE[1], Columns=SHAPE[2], NumberOfFrames=len(frames), BitsAllocated=1, BitsStored=1,
                HighBit=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0,
                SegmentSequence=[item(SegmentNumber=k, SegmentLabel=name) for k, name in enumerate(masks, start=1)],
                PerFrameFunctionalGroupsSequence=groups, ReferencedSeriesSequence=[item(SeriesInstanceUID=series)],
                SharedFunctionalGroupsSequence=[item(
                    PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
                    PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.75], SliceThickness=2.5)])])
    bits = np.packbits(np.array(frames, bool).ravel(), bitorder="little").tobytes()
    file.file_meta, file.PixelData = meta, bits + b"\0" * (len(bits) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path, enforce_file_format=True)


def hcc_tace(folder: Path) -> None:
    """The first patient has two phases stacked in one series, and the SEG was drawn on the second."""
    from openpyxl import Workbook

    masks = {"Liver": blocks((1, 1, 1)) > 0, "Mass": blocks((0, 1)) > 0, "Portal vein": blocks((0, 0, 0, 1)) > 0,
             "Abdominal aorta": blocks((0, 0, 0, 0, 1)) > 0}
    for n in (1, 2):
        study = folder / f"HCC-TACE-Seg/HCC_{n:03d}/02-15-1998-NA-PP CAPLIVER PROTO.-10975"
        series, place = f"1.2.826.{n}.1", study / "103.000000-LIVER 3 PHASE CAP-83135"
        uids = write_series(place, image(n)[0], series)
        if n == 1:
            uids = write_series(place, image(50)[0], series, acquisition=2, start=SHAPE[0])
        write_series(study / "4.000000-DELAYED-1", image(n + 60)[0], f"1.2.826.{n}.2")
        write_segmentation(study / "300.000000-Segmentation-91221/1-1.dcm", masks, series, uids)
    book = Workbook()
    for row in (("TCIA_ID", "age", "Sex", "TTP", "OS", "Death_1_StillAliveorLostToFU_0", "Censored_0_progressed_1"),
                ("HCC_001", 62, 1, 20, 70.5, 1, 1), ("HCC_002", 57, 2, 31, 120, 0, 0)):
        book.active.append(row)
    book.save(folder / "HCC-TACE-Seg_clinical_data-V2.xlsx")


def tcga_lihc(folder: Path) -> None:
    for n, patient in enumerate(("TCGA-BC-4073", "TCGA-DD-A114")):
        write_series(folder / f"TCGA-LIHC/{patient}/11-08-2003-NA-CT-7/2.000000-ARTERIAL-{n}", image(n)[0], f"1.2.827.{n}")


def chaos(folder: Path) -> None:
    from PIL import Image

    def pictures(place: Path, label_DHW: np.ndarray, name: Callable[[int], str]) -> None:
        place.mkdir(parents=True)
        for k, label_HW in enumerate(label_DHW):
            Image.fromarray(label_HW.astype(np.uint8)).save(place / name(k))

    for n in (1, 2):
        ct = folder / f"CHAOS_Train_Sets/Train_Sets/CT/{n}"
        write_series(ct / "DICOM_anon", image(n)[0], f"1.2.828.{n}", name=lambda k: f"i{k:04d},0000b.dcm")
        pictures(ct / "Ground", blocks((255,)), lambda k: f"liver_GT_{k:03d}.png")
        mr = folder / f"CHAOS_Train_Sets/Train_Sets/MR/{n}"
        for number, (place, first) in enumerate((("T1DUAL/DICOM_anon/InPhase", 2), ("T1DUAL/DICOM_anon/OutPhase", 1),
                                                 ("T2SPIR/DICOM_anon", 1))):
            # as in the download, numbers of the files run against the positions of the slices
            write_series(mr / place, image(10 * n + number, 0, 900)[0], f"1.2.829.{n}.{number}",
                         name=lambda k, first=first: f"IMG-0004-{2 * (SHAPE[0] - k) + first:05d}.dcm")
        for place, first in (("T1DUAL", 2), ("T2SPIR", 1)):
            pictures(mr / place / "Ground", blocks((63, 126, 189, 252)),
                     lambda k, first=first: f"IMG-0004-{2 * (SHAPE[0] - k) + first:05d}.png")


# Of each recipe: how its miniature is written, and the training and held-out cases of it.
LAYOUTS: dict[str, tuple[Callable[[Path], None], tuple[int, int]]] = {
    "LiTS17": (lits, (2, 0)), "KiTS23": (kits, (2, 0)), "CirrMRI600_T1": (cirrmri, (2, 1)),
    "CirrMRI600_T2": (cirrmri, (2, 1)), "BraTS_21": (brats21, (2, 0)), "BraTS_23": (brats23, (3, 0)),
    "HaN-Seg": (han_seg, (2, 0)), "MM-WHS_CT": (mmwhs, (2, 0)), "MM-WHS_MR": (mmwhs, (2, 0)), "MM-WHS_both": (mmwhs, (4, 0)),
    "AMOS": (amos, (2, 1)), "ACDC": (acdc, (4, 2)), "HCC-TACE-SEG": (hcc_tace, (2, 0)), "TCGA-LIHC": (tcga_lihc, (2, 0)),
    "CHAOS_CT": (chaos, (2, 0)), "CHAOS_MR_T1": (chaos, (2, 0)), "CHAOS_MR_T2": (chaos, (2, 0)),
    **{f"MSD_{task}": ((lambda folder, task=task, rest=rest: msd(folder, task, *rest)), (2, 2)) for task, rest in {
        "Task01_BrainTumour": ("BRATS", (1, 2, 3), 4), "Task02_Heart": ("la", (1,)), "Task03_Liver": ("liver", (1, 2)),
        "Task04_Hippocampus": ("hippocampus", (1, 2)), "Task05_Prostate": ("prostate", (1, 2), 2),
        "Task06_Lung": ("lung", (1,)), "Task07_Pancreas": ("pancreas", (1, 2)),
        "Task08_HepaticVessel": ("hepaticvessel", (1, 2)), "Task09_Spleen": ("spleen", (1,)),
        "Task10_Colon": ("colon", (1,))}.items()}}
