"""The computed ceiling of a coarse grid against the Dice that a training on it reaches.

    python benchmarks/ceiling_reached.py FOLDER [--iterations 600] [--mm 3]

Phantoms of 96x96x96 voxels of 1 mm whose intensities give the labels away: bright solids (balls and boxes) and brighter,
small ones on dark ground, with mild noise. What a network then misses is what its grid takes from it.
"""

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

from autoseg import pipeline
from autoseg.planning.probe import ProbedHardware
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners import PLANNERS
from planners.rules.ceiling import full_spacing, label_ceilings, with_ceilings
from planners.schema.base import Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

EDGE, N_CASES, NOISE = 96, 30, 0.15
DATASET = "Dataset900_Solids"


def write_phantoms(folder: Path) -> None:
    """Solids of 6 to 14 mm radius (label 1, brightness 1) and small ones of 3 to 5 mm (label 2, brightness 2)."""
    random = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    zyx = np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij")).astype(np.float32)
    for case in range(N_CASES):
        label_DHW = np.zeros((EDGE,) * 3, dtype=np.uint8)
        for value, radii, n in ((1, (6, 14), 5), (2, (3, 5), 6)):
            for number in range(n):
                radius = random.uniform(*radii)
                centre = random.uniform(radius + 2, EDGE - radius - 2, 3).reshape(3, 1, 1, 1)
                order = np.inf if number == 0 else 2  # the first is a box
                inside = np.linalg.norm(zyx - centre, ord=order, axis=0) < radius
                label_DHW[inside & (label_DHW == 0)] = value
        image_DHW = label_DHW + random.normal(scale=NOISE, size=label_DHW.shape).astype(np.float32)
        for array, name in ((image_DHW, f"imagesTr/case_{case:02}_0000"), (label_DHW, f"labelsTr/case_{case:02}")):
            nib.save(nib.Nifti1Image(array.T, np.eye(4)), folder / f"{name}.nii.gz")
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MRI"}, "labels": {"background": 0, "solid": 1, "small": 2}, "numTraining": N_CASES,
        "file_ending": ".nii.gz"})


def coarse_plan(fingerprint: Fingerprint, mm: float, iterations: int) -> Plan:
    """The default plan of cases that had this spacing, with half of the channels and without augmentation: intensities
    leave little to learn, and only the grid is to limit what is reached.
    """
    n = round(EDGE / mm)
    cases = tuple(case.model_copy(update={"shape": (n, n, n), "spacing_mm": (mm, mm, mm)}) for case in fingerprint.cases)
    coarse = fingerprint.model_copy(update={"cases": cases, "ceilings": ()})
    plan = PLANNERS.get("budgeted")(coarse, ProbedHardware("cpu"), Budget(seconds_per_fold=600))
    default = plan.configurations["3d_fullres"]
    features = tuple(n // 2 for n in default.architecture.features)
    configuration = default.model_copy(update={
        "architecture": default.architecture.model_copy(update={"features": features}), "augmentation": Part(name="none"),
        "schedule": default.schedule.model_copy(update={"iterations": iterations, "budget_seconds": None,
                                                        "iterations_per_epoch": 50})})
    plan = plan.model_copy(update={"configurations": {"3d_fullres": configuration}, "planner": "coarse"})
    return with_ceilings(plan, fingerprint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--mm", type=float, default=3.0)
    options = parser.parse_args()
    workspace = Workspace.open(options.folder)
    raw = workspace.home / "raw" / DATASET
    if not raw.is_dir():
        write_phantoms(raw)
    fingerprint = pipeline.fingerprint(DATASET, home=options.folder)
    write_json(workspace.plan(DATASET, "coarse"), coarse_plan(fingerprint, options.mm, options.iterations))
    pipeline.preprocess(DATASET, planner="coarse", configurations=["3d_fullres"], home=options.folder)
    result = pipeline.train(DATASET, "3d_fullres", 0, planner="coarse", home=options.folder, device="cpu", restart=True)
    assert result.scores is not None
    z, y, x = (options.mm / full for full in full_spacing(fingerprint))
    computed = {label.name: label.dice for label in label_ceilings(fingerprint.ceilings, (z, y, x))}
    for label in result.scores.labels:
        reached = label.means["dice"].value
        assert reached is not None  # each case has both labels
        print(f"{label.name}: computed {computed[label.name]:.3f}, reached {reached:.3f}, "
              f"difference {reached - computed[label.name]:+.3f}")


if __name__ == "__main__":
    main()
