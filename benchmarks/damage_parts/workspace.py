"""A small workspace in which every kind of our own files lies: two folds trained for a moment, a choice, a prediction."""

from pathlib import Path

import numpy as np

from autoseg import pipeline
from autoseg.formats import write_array, write_label
from autoseg.formats.transforms import write_transforms
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Transform
from autoseg.orchestrate.stopwatch import Stopwatch
from autoseg.orchestrate.total import _digest
from autoseg.planning.resolve import resolve_plan
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing, QualityControl
from autoseg.selection.race import SHARES
from autoseg.selection.race_types import Race, RaceCandidate, Rung, RungScore
from autoseg.workspace.files import read_model, write_json, write_text
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

DATASET, NAME = "Dataset001_Spheres", "3d_fullres"
SHAPE = (20, 18, 16)
NAMES = ("ball_00", "ball_01")
TINY = ("schedule.iterations=2", "schedule.iterations_per_epoch=1", "patch=[16,16,16]", "batch=2", "conditioning.name=film",
        "architecture.features=[4,8]", "architecture.strides=[[1,1,1],[2,2,2]]",
        "architecture.kernel_sizes=[[3,3,3],[3,3,3]]", "architecture.blocks_encoder=[1,1]", "architecture.convs_decoder=[1]")


def write_workspace(home: Path) -> Workspace:
    """Everything that the kinds of `damaged_artefacts` damage, and what reads it needs."""
    workspace = Workspace(home)
    _write_raw(home / "raw" / DATASET)
    pipeline.fingerprint(1, home=home, workers=1)
    pipeline.plan(1, planner="classic", home=home, device="cpu")
    pipeline.preprocess(1, planner="classic", configurations=[NAME], home=home, workers=1)
    planned = resolve_plan(workspace, DATASET, NAME, planner="classic", changes=TINY)
    for fold in range(len(NAMES)):
        pipeline.train(1, NAME, fold, planner="classic", planned=planned, save_probabilities=True, home=home, device="cpu")
    pipeline.find_best(1, home=home, workers=1)
    _write_settings(workspace)
    _write_race(workspace, planned)
    _write_registration(workspace.transforms(DATASET))
    pipeline.predict(workspace.raw(DATASET) / "imagesTr", home / "masks", dataset=1, home=home, device="cpu",
                     probabilities=True)
    return workspace


def _write_raw(folder: Path) -> None:
    geometry, rng = Geometry(SHAPE, (1.0, 1.0, 1.0)), np.random.default_rng(0)
    for name in NAMES:
        distance = np.sqrt(sum((axis - rng.uniform(6, edge - 6)) ** 2
                               for axis, edge in zip(np.indices(SHAPE), SHAPE, strict=True)))
        label = (distance < 5).astype(np.int16)
        image = rng.normal(0, 0.3, SHAPE) + 2.0 * label
        write_array(folder / "imagesTr" / f"{name}_0000.nii.gz", image[None].astype(np.float32), geometry)
        write_label(folder / "labelsTr" / f"{name}.nii.gz", label, geometry)
    write_text(folder / "imagesTr" / "table.csv", "id,age\n" + "".join(f"{name},{40 + 7 * n}\n"
                                                                       for n, name in enumerate(NAMES)))
    write_text(folder / "table.csv", (folder / "imagesTr" / "table.csv").read_text())
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "sphere": 1}, "numTraining": len(NAMES),
        "file_ending": ".nii.gz",
        "conditions": {"table": "table.csv", "id": "id", "columns": {"age": {"kind": "number"}}}})


def _write_settings(workspace: Workspace) -> None:
    """With a postprocessing and a quality control, which two cases cannot give."""
    path = workspace.inference_settings(DATASET)
    control = QualityControl(temperature=1.5, intercept=0.1, slope=0.8, review_below=0.7, correlation=0.5, n=3)
    steps = Postprocessing(keep_largest=("sphere",), minimum_ml={"sphere": 0.01})
    settings = read_model(path, InferenceSettings)
    write_json(path, settings.model_copy(update={"postprocessing": steps, "quality_control": control}))


def _write_race(workspace: Workspace, planned: Plan) -> None:
    write_json(workspace.race_plan(DATASET, "classic"), planned)
    Stopwatch(workspace.race_seconds(DATASET)).save()
    scores = (RungScore(candidate=f"{NAME} (classic)", iterations=4, training_seconds=1.5, seconds=2.5, dice=(0.5, 0.25)),)
    write_json(workspace.race(DATASET), Race(
        dataset=DATASET, total_seconds=100.0, folds=(0, 1), fold=0, cases=NAMES, dataset_digest="a",
        folds_digest="b", plan_digests={"classic": _digest(planned)},
        candidates=(RaceCandidate(planner="classic", configuration=NAME, step_flops=1.0),), spent_before_seconds=1.0,
        planned_fold_seconds=20.0, shares=SHARES, rungs=(Rung(share=1 / 8, seconds=5.0, scores=scores),)))


def _write_registration(folder: Path) -> None:
    lattice = Geometry((3, 4, 5), (8.0, 8.0, 8.0))
    displacement_mm = np.random.default_rng(0).normal(0, 1, (3, *lattice.shape)).astype(np.float32)
    bent = Registered("deformable", Transform(np.eye(3, 4), displacement_mm, lattice))
    write_transforms(folder, NAMES[0], {1: bent}, {0: "CT", 1: "MR"}, "inputs")
