"""Miniature datasets in the layouts of other programs, with tiny volumes."""

import json
from pathlib import Path

import numpy as np

from autoseg.formats import write_array, write_label
from public_layouts import GRID, blocks, image


def write_image(path: Path, seed: int, n_volumes: int = 1) -> Path:
    write_array(path, np.concatenate([image(seed + k, 0, 900) for k in range(n_volumes)]), GRID)
    return path


def write_mask(path: Path, *values: int) -> Path:
    write_label(path, blocks(values), GRID)
    return path


def nnunet_v2(folder: Path, cases: tuple[str, ...] = ("a", "b", "case c"), n_channels: int = 1, **keys) -> Path:
    """A raw dataset of nnU-Net v2; `keys` are added to its dataset.json."""
    for number, case in enumerate(cases):
        for channel in range(n_channels):
            write_image(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", 10 * number + channel)
        write_mask(folder / "labelsTr" / f"{case}.nii.gz", 1, 2)
    content = {"channel_names": {str(k): f"MR_T{k + 1}" for k in range(n_channels)},
               "labels": {"background": 0, "organ": 1, "lesion": 2}, "numTraining": len(cases),
               "file_ending": ".nii.gz", **keys}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def described(modality: dict[str, str], training: list[str], test: list[str], **keys) -> str:
    """A dataset.json of the Decathlon, or of nnU-Net v1."""
    return json.dumps({
        "name": "Prostate", "description": "two zones", "licence": "CC-BY-SA 4.0", "modality": modality,
        "labels": {"0": "background", "1": "PZ", "2": "TZ"}, "numTraining": len(training), "numTest": len(test),
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in training],
        "test": [f"./imagesTs/{name}.nii.gz" for name in test], **keys})


def msd(folder: Path, n_volumes: int = 2) -> Path:
    for number, name in enumerate(("prostate_00", "prostate_01")):
        write_image(folder / f"imagesTr/{name}.nii.gz", 10 * number, n_volumes)
        write_mask(folder / f"labelsTr/{name}.nii.gz", 1, 2)
        (folder / f"imagesTr/._{name}.nii.gz").write_bytes(b"left by a Mac")
    write_image(folder / "imagesTs/prostate_90.nii.gz", 90, n_volumes)
    modality = dict([("0", "T2"), ("1", "ADC")][:n_volumes])
    names = ["prostate_00", "prostate_01", "._prostate_00"]
    (folder / "dataset.json").write_text(described(modality, names, ["prostate_90", "._prostate_90"]))
    return folder


def nnunet_v1(folder: Path) -> Path:
    for part, names in (("imagesTr", ("p_1", "p_2")), ("imagesTs", ("p_9",))):
        for number, name in enumerate(names):
            for channel in range(2):
                write_image(folder / part / f"{name}_{channel:04d}.nii.gz", 10 * number + channel)
    for name in ("p_1", "p_2"):
        write_mask(folder / f"labelsTr/{name}.nii.gz", 1, 2)
    (folder / "dataset.json").write_text(described({"0": "T2", "1": "ADC"}, ["p_1", "p_2"], ["p_9"]))
    return folder


def bids(folder: Path) -> Path:
    """Three participants, one with two sessions, one without the contrast image; a lesion and an organ mask each."""
    (folder / "derivatives/manual").mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\tgroup\nsub-01\t61\tM\tcontrol\nsub-02\t48\tF\tcase\n"
                                             "sub-03\t55\tF\tn/a\n")
    sessions = (("sub-01", "ses-pre"), ("sub-01", "ses-post"), ("sub-02", "ses-pre"), ("sub-03", "ses-pre"))
    for number, (subject, session) in enumerate(sessions):
        stem = f"{subject}_{session}"
        anat, masks = folder / subject / session / "anat", folder / "derivatives/manual" / subject / session / "anat"
        write_image(anat / f"{stem}_T1w.nii.gz", 10 * number)
        if subject != "sub-02":
            write_image(anat / f"{stem}_ce-gd_T1w.nii.gz", 10 * number + 1)
        (anat / f"{stem}_T1w.json").write_text("{}")
        write_image(folder / subject / session / "func" / f"{stem}_task-rest_bold.nii.gz", 3, 2)
        write_mask(masks / f"{stem}_label-lesion_mask.nii.gz", 0, 1)
        write_mask(masks / f"{stem}_label-organ_mask.nii.gz", 1)
    return folder


def datalist(folder: Path, **keys) -> Path:
    """An Auto3DSeg list of three cases in folders of their own, whose files have the same names."""
    entries = []
    for number, fold in enumerate((0, 1, 0)):
        place = folder / "data" / f"p{number}"
        for channel in ("t1", "t2"):
            write_image(place / f"{channel}.nii.gz", 10 * number + (channel == "t2"))
        write_mask(place / "seg.nii.gz", 1, 2)
        entries.append({"image": [f"data/p{number}/t1.nii.gz", f"data/p{number}/t2.nii.gz"],
                        "label": f"data/p{number}/seg.nii.gz", "fold": fold})
    write_image(folder / "data/p9/t1.nii.gz", 90)
    write_image(folder / "data/p9/t2.nii.gz", 91)
    tests = [{"image": ["data/p9/t1.nii.gz", "data/p9/t2.nii.gz"]}]
    path = folder / "list.json"
    path.write_text(json.dumps({"training": entries, "testing": tests, **keys}))
    return path


def csv_table(folder: Path, header: str = "case,CT,PET,label,patient,age,sex", rows: tuple[str, ...] = ()) -> Path:
    """A table of three cases, of which one has no PET; files have spaces in their names."""
    for number in range(3):
        write_image(folder / f"my images/ct {number}.nii.gz", 10 * number)
        write_image(folder / f"my images/pet {number}.nii.gz", 10 * number + 1)
        write_mask(folder / f"my images/seg {number}.nii.gz", 1)
    usual = tuple(f"c{number},my images/ct {number}.nii.gz,{'' if number == 1 else f'my images/pet {number}.nii.gz'},"
                  f"my images/seg {number}.nii.gz,p{number // 2},{60 + number},{'MF'[number % 2]}" for number in range(3))
    path = folder / "cohort.csv"
    path.write_text("\n".join((header, *(rows or usual))) + "\n")
    return path
