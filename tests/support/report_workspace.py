"""A workspace as two finished folds, one in training and one that is not started leave it, with names that mean harm."""

from pathlib import Path

import numpy as np

from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.statistics import paired_difference
from autoseg.formats import write_array, write_label
from autoseg.prediction.inference_settings import InferenceSettings, Member, Postprocessing, QualityControl
from autoseg.selection.types import Calibration, Candidate, CaseEstimate, Comparison, Selection
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import write_json, write_records
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionStats, ConditionTable
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.labels import LabelSpec, LabelStats
from planners.schema.plan import Schedule
from tests_support import small_plan, sphere_case

DATASET = "Dataset001_Spheres"
EVIL = "<script>alert(1)<script>"  # of a case
EVIL_LABEL = "_core</td><b>$x^{$ & co"
EVIL_COLUMN = '"><img src=http:evil onerror=alert(1)>'
LABELS = LabelSpec(names={"background": (0,), "sphere": (1, 2), EVIL_LABEL: (2,)}, region_order=(1, 2))
CASES = ("ball_00", "ball_01", EVIL, "ball_03")  # two a fold
SPACING_MM = (3.0, 1.0, 1.0)


def write_workspace(home: Path) -> Workspace:
    """Raw data of four cases, fingerprint, plan, folds 0 and 1 finished, fold 2 in training; three folds in all."""
    workspace = Workspace.open(home)
    _write_raw(home / "raw" / DATASET)
    prints = fingerprint()
    plan = small_plan(labels=LABELS).model_copy(update={
        "fingerprint_digest": prints.digest, "reasons": ("channel 'MR_0' is mr: normalised by zscore",)})
    write_json(workspace.fingerprint(DATASET), prints)
    write_json(workspace.plan(DATASET, "budgeted"), plan)
    write_json(workspace.splits(DATASET), [{"train": [], "validation": []}] * 3)
    changed = plan.configurations["3d_fullres"].model_copy(update={"batch": 4})
    write_json(workspace.model(DATASET, "budgeted", "3d_fullres").plan,
               plan.model_copy(update={"configurations": {"3d_fullres": changed}}))
    for fold in (0, 1):
        _write_fold(workspace, fold, CASES[2 * fold:2 * fold + 2])
    unfinished = folder(workspace, 2)
    write_records(unfinished.metrics, records(3, left=120.0))
    write_json(unfinished.schedule, Schedule(iterations=60, learning_rate=0.01))
    return workspace


def folder(workspace: Workspace, fold: int) -> FoldFolder:
    return workspace.fold(DATASET, "budgeted", "3d_fullres", fold)


def fingerprint() -> Fingerprint:
    stats = IntensityStats(mean=2.0, std=0.5, min=-1, max=5, median=2.1, percentile_00_5=-0.5, percentile_99_5=4.5)
    return Fingerprint(
        dataset=DATASET, channels=(ChannelSpec(name="MR_0"),), labels=LABELS, intensities=(stats,), presence=(1.0,),
        cases=tuple(CaseMeasure(case=name, shape=(20, 18, 16), spacing_mm=SPACING_MM) for name in CASES), coverage=(1.0,),
        conditions=ConditionTable(table="t.csv", specs=(ConditionSpec(name=EVIL_COLUMN, kind="number"),)),
        condition_stats=(ConditionStats(name=EVIL_COLUMN, missing=0.25, distinct=3, mean=1.0, std=2.0),),
        label_stats=(LabelStats(name="sphere", cases=4, voxels=2000, volume_ml=6.0, components=4,
                                component_ml_percentiles=(0.1, 0.5, 1.5, 1.6, 1.7)),), digest="ab" * 16)


def records(n: int, left: float = 0.0) -> list[dict]:
    return [{"epoch": e, "iteration": 20 * e, "iterations": 60, "train_loss": 1 / e, "learning_rate": 0.01 / e,
             "validation_dice": 0.2 * e, "seconds": 10.0 * e, "seconds_left": left} for e in range(1, n + 1)]


def selection(workspace: Workspace) -> Selection:
    """One candidate against an ensemble that is not better, with calibration and quality control; values made by hand."""
    scores = summarize([score for fold in (0, 1) for score in _scores(CASES[2 * fold:2 * fold + 2])], LABELS)
    member = Member(planner="budgeted", configuration="3d_fullres", folds=("0", "1"))
    other = Member(planner="budgeted", configuration="2d", folds=("0", "1"))
    dice = [case.mean_dice for case in scores.cases]
    bins = [{"low": low, "high": low + 0.5, "n": 50, "confidence": low + 0.2, "accuracy": low + 0.3} for low in (0, 0.5)]
    quality_control = QualityControl(temperature=1.3, intercept=0.05, slope=0.9, review_below=0.6, correlation=0.71, n=4)
    return Selection(
        dataset=DATASET, n_cases=4,
        candidates=(Candidate(members=(member,), scores=scores, cost=2e9),
                    Candidate(members=(member, other), scores=scores, cost=3e9)),
        comparisons=(Comparison(incumbent=member.title, candidate=f"{member.title} + {other.title}",
                                difference=paired_difference(dice, dice), accepted=False),),
        postprocessing=(Comparison(incumbent="nothing", candidate="keep the largest sphere",
                                   difference=paired_difference([0.9] * 8, [0.8] * 8), accepted=True),),
        calibration=Calibration.model_validate({
            "temperature": 1.3, "error_before": 0.12, "error_after": 0.03, "bins_before": bins, "bins_after": bins,
            "n_voxels": 100}),
        cases=tuple(CaseEstimate(name=name, predicted_dice=0.5 + 0.1 * i, true_dice=0.9, needs_review=i == 0)
                    for i, name in enumerate(CASES)),
        final=scores, notes=(f"3d_lowres: folds 1, 2 are not finished {EVIL}",),
        inference=InferenceSettings(dataset=DATASET, members=(member,), quality_control=quality_control,
                                    reasons=("the cheapest is as good",),
                                    postprocessing=Postprocessing(keep_largest=("sphere",))))


def _write_raw(raw: Path) -> None:
    write_json(raw / "dataset.json", {
        "name": "Balls", "channel_names": {"0": "MR_0"}, "labels": {"background": 0, "sphere": [1, 2], EVIL_LABEL: 2},
        "regions_class_order": [1, 2], "numTraining": 4, "file_ending": ".nii.gz"})
    for index, name in enumerate(CASES):
        case = _case(index)
        write_array(raw / "imagesTr" / f"{name}_0000.nii.gz", case.image_CDHW, case.geometry)
        write_label(raw / "labelsTr" / f"{name}.nii.gz", case.label_DHW, case.geometry)


def _case(index: int):
    from dataclasses import replace

    case = sphere_case(CASES[index], index)
    return replace(case, geometry=replace(case.geometry, spacing_mm=SPACING_MM))


def _predicted(index: int) -> np.ndarray:
    """Shifted by as many voxels as the case's number; the last one has no core."""
    label = np.roll(_case(index).label_DHW, index, axis=2)
    return np.minimum(label, 1) if index == 3 else label


def _scores(names: tuple[str, ...]):
    return [score_case(_case(CASES.index(name)).label_DHW, _predicted(CASES.index(name)), LABELS, SPACING_MM, name)
            for name in names]


def _write_fold(workspace: Workspace, fold: int, names: tuple[str, ...]) -> None:
    files = folder(workspace, fold)
    for name in names:
        write_label(files.validation / f"{name}.nii.gz", _predicted(CASES.index(name)), _case(CASES.index(name)).geometry)
    summary = summarize(_scores(names), LABELS)
    write_records(files.metrics, records(3))
    write_json(files.result, FoldResult(
        dataset=DATASET, planner="budgeted", configuration="3d_fullres", fold=fold, seed=7,
        schedule=Schedule(iterations=60, learning_rate=0.01), training_seconds=30.0, total_seconds=40.0,
        mean_dice=summary.foreground_means["dice"].value, scores=summary,
        unscored=(f"{EVIL}: the mask is damaged",) if fold == 1 else ()))
