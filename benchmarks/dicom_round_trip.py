"""Studies of DICOM in, results in DICOM out, and read again: are they the same masks, at the same place?

    python benchmarks/dicom_round_trip.py --out trip --studies SAMPLES/sts_dicom --source DATASET010 [--budget 20s]

A small model with the channels CT, PET and MR is trained on some cases of the raw dataset for a moment: what it predicts is
a poor mask with many islands and holes, which is what this needs. Each study is predicted three times: as NIfTI, as
DICOM-SEG and as RTSTRUCT. The last two are read again and compared with the first. So are masks that are written without a
model: the structures that came with each series, and lesions of 1 to 27 voxels. The grid of what is written is compared with
that of the NIfTI path, at the farthest corner.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg import pipeline
from autoseg.cli import common
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_header, read_label
from autoseg.formats.dicom import Stack, find_stacks
from autoseg.formats.results import DicomResults
from autoseg.formats.segments import own_grid, read_rtstruct, read_segmentation, read_segments
from autoseg.formats.segments.rtstruct_write import write_rtstruct
from autoseg.formats.segments.seg_write import write_seg
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.links import place

DATASET, FOLD, CONFIGURATION = 10, 0, "3d_fullres"
READ = {"seg": read_segments, "rtstruct": read_rtstruct}
WRITE = {"seg": write_seg, "rtstruct": write_rtstruct}
N_LESIONS, LARGEST = 60, 3


@dataclass(frozen=True)
class Row:
    """What came back of a mask: how many voxels it had, and how many are others."""

    case: str
    mask: str
    kind: str
    voxels: int
    differ: int
    dice: float
    apart_mm: float

    def line(self) -> str:
        return (f"| {self.case} | {self.mask} | {self.kind} | {self.voxels} | {self.differ} | {self.dice:.4f} | "
                f"{self.apart_mm:.1e} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the workspace and of the results")
    parser.add_argument("--studies", type=Path, required=True, help="a folder of DICOM for each patient")
    parser.add_argument("--source", type=Path, required=True, help="the raw dataset of the sarcomas")
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--budget", type=common.seconds, default="20s")
    options = parser.parse_args()
    home = train(options.out / "home", options.source, options.cases, options.budget)
    rows = []
    for study in sorted(folder for folder in options.studies.iterdir() if folder.is_dir()):
        out = options.out / study.name
        rows += [*of_prediction(study, out, home, options.source), *of_masks(study, out)]
    print("| study | mask | written as | voxels | other voxels | Dice | grid apart [mm] |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print(row.line())
    return 0


def train(home: Path, source: Path, n_cases: int, seconds: float) -> Path:
    """A workspace with a model of a moment."""
    raw = home / "raw" / source.name
    for name in Dataset.open(source).names[:n_cases]:
        for image in sorted((source / "imagesTr").glob(f"{name}_*")):
            place(image, raw / "imagesTr" / image.name, copy=False)
        place(source / "labelsTr" / f"{name}.nii.gz", raw / "labelsTr" / f"{name}.nii.gz", copy=False)
    write_json(raw / "dataset.json", {**read_json(source / "dataset.json"), "numTraining": n_cases,
                                     "reference_channel": "CT"})
    pipeline.fingerprint(DATASET, home=home)
    pipeline.plan(DATASET, home=home, budget_seconds=seconds)
    pipeline.preprocess(DATASET, home=home, configurations=[CONFIGURATION])
    pipeline.train(DATASET, CONFIGURATION, FOLD, home=home, budget_seconds=seconds)
    return home


def of_prediction(study: Path, out: Path, home: Path, source: Path) -> Iterator[Row]:
    """The prediction of a study in three formats. The grid of the first is that of the training's file, too."""
    written = {kind: pipeline.predict(study, out / kind, home=home, dataset=DATASET, output_format=kind)
               for kind in ("nifti", *READ)}
    (nifti,) = written["nifti"]
    label_DHW, geometry = read_label(nifti)
    stack = one_stack(study / "CT" / "image")
    known = read_header(source / "imagesTr" / f"{study.name}_0000.nii.gz").geometry
    print(f"{study.name}: NIfTI path apart from the dataset's by {known.farthest_mm(stack.geometry()):.1e} mm",
          file=sys.stderr)
    for kind, read in READ.items():
        (path,) = written[kind]
        for name, mask_DHW in read(path, stack).items():
            yield compared(study.name, f"predicted {name}", kind, label_DHW > 0, mask_DHW,
                           apart(path, kind, stack, geometry))


def of_masks(study: Path, out: Path) -> Iterator[Row]:
    """Masks that were not predicted, on the grid of each series."""
    for series in sorted(folder for folder in study.iterdir() if folder.is_dir()):
        stack = one_stack(series / "image")
        (drawn_DHW,) = read_rtstruct(series / "mask" / "RS.dcm", stack).values()
        for name, mask_DHW in (("drawn", drawn_DHW), ("small lesions", lesions(drawn_DHW.shape))):
            for kind, write in WRITE.items():
                path = out / f"{series.name}_{name.replace(' ', '_')}_{kind}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, mask_DHW.astype(np.uint8), stack, stack.geometry(), DicomResults(kind, {"tumour": (1,)}))
                (again_DHW,) = READ[kind](path, stack).values()
                yield compared(study.name, f"{name}, {series.name}", kind, mask_DHW, again_DHW,
                               apart(path, kind, stack, stack.geometry()))


def lesions(shape: tuple[int, ...]) -> np.ndarray:
    """Boxes of 1 to 3 voxels along each axis, at random places."""
    generator = np.random.default_rng(0)
    mask_DHW = np.zeros(shape, bool)
    for _ in range(N_LESIONS):
        size = generator.integers(1, LARGEST + 1, 3)
        first = [int(generator.integers(0, n - s + 1)) for n, s in zip(shape, size, strict=True)]
        mask_DHW[tuple(slice(a, a + s) for a, s in zip(first, size, strict=True))] = True
    return mask_DHW


def one_stack(folder: Path) -> Stack:
    (stack,) = find_stacks(sorted(folder.iterdir()))
    return stack


def apart(path: Path, kind: str, stack: Stack, geometry: Geometry) -> float:
    """How far a grid is from that of the series and, of a segmentation, from the one in its file [mm]."""
    farthest = geometry.farthest_mm(stack.geometry())
    if kind == "seg":
        own = own_grid(read_segmentation(path))
        steps = np.abs(np.array(own.spacing_mm) - geometry.spacing_mm) * geometry.shape
        farthest = max(farthest, float(steps.max()))
    return farthest


def compared(case: str, mask: str, kind: str, truth_DHW: np.ndarray, again_DHW: np.ndarray, apart_mm: float) -> Row:
    both = int(truth_DHW.sum() + again_DHW.sum())
    dice = 2 * int((truth_DHW & again_DHW).sum()) / both if both else 1.0
    return Row(case, mask, kind, int(truth_DHW.sum()), int((truth_DHW != again_DHW).sum()), dice, apart_mm)


if __name__ == "__main__":
    sys.exit(main())
