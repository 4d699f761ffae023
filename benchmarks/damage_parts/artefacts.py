"""Every kind of file that autoseg itself writes: where it lies, and the operation that reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg import pipeline
from autoseg.base.errors import ManyFaults
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.types import Summary
from autoseg.formats.probabilities import read_probabilities
from autoseg.formats.transforms import read_transforms
from autoseg.orchestrate.stopwatch import Stopwatch
from autoseg.orchestrate.total import _plans_of
from autoseg.planning.resolve import resolve_plan
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.sidecar import Sidecar, begin
from autoseg.prediction.uncertainty import QualityReport
from autoseg.preprocessing.store import open_prepared
from autoseg.reporting.html.gather import gather as gather_report
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.selection.race_types import Race
from autoseg.selection.types import Selection
from autoseg.training.inputs import started_splits
from autoseg.training.repair import read_encoder, read_schedule, read_started_with
from autoseg.training.splits import read_splits
from autoseg.workspace.checkpoint import load_state, load_weights
from autoseg.workspace.files import read_model, read_records
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import Workspace
from damage_parts.workspace import DATASET, NAME, NAMES


@dataclass(frozen=True)
class Artefact:
    """`read` is the operation whose result must not change in silence. `is_warning_enough` where people may edit the file,
    or what is lost can only be named. `beside` are files of like names that are not copies of it.
    """

    victim: Callable[[Workspace], Path]
    read: Callable[[Workspace], Any]
    is_warning_enough: bool = False
    beside: tuple[str, ...] = ()


def _model(workspace: Workspace) -> ModelFolder:
    return workspace.model(DATASET, "classic", NAME)


def _fold(workspace: Workspace) -> FoldFolder:
    return _model(workspace).fold(0)


def _cases(workspace: Workspace) -> Path:
    return workspace.cases(DATASET, "classic", NAME)


def _of_fold(read: Callable[[FoldFolder], Any]) -> Callable[[Workspace], Any]:
    return lambda workspace: read(_fold(workspace))


def _unfinished(read: Callable[[FoldFolder], Any]) -> Callable[[Workspace], Any]:
    """As the fold is read while it is trained: there are no weights yet."""
    def read_unfinished(workspace: Workspace) -> Any:
        _fold(workspace).checkpoint.unlink(missing_ok=True)
        return read(_fold(workspace))
    return read_unfinished


def _predicted(workspace: Workspace, **model: Any) -> tuple[Any, ...]:
    """The mask and the quality of a case; what predicts is as `inference.json` says, or the `model` that is named."""
    image = workspace.raw(DATASET) / "imagesTr" / f"{NAMES[0]}_0000.nii.gz"
    named = model or {"dataset": 1, "home": workspace.home}
    predictor = Predictor.open(**named, device="cpu")
    prediction = predictor.predict_file(image)
    return prediction.label_DHW, prediction.quality, predictor.postprocessing, predictor.quality_control


def _prepared(workspace: Workspace) -> tuple[Any, ...]:
    case = open_prepared(_cases(workspace), NAMES[0])
    return (case.image_CDHW[:], case.label_DHW[:], case.foreground, case.lesions, case.geometry, case.box, case.provenance,
            case.spacing_mm, case.transpose, case.flipped, case.raw_files)


def _transforms(workspace: Workspace) -> list[Any]:
    return [(transform.matrix, transform.displacement_mm, transform.lattice)
            for transform in read_transforms(workspace.transforms(DATASET), NAMES[0]).values()]


def _state(workspace: Workspace) -> Any:
    state = load_state(_fold(workspace).state)
    return None if state is None else (state["seed"], state["train"]["schedule"])


def _weights(workspace: Workspace) -> Any:
    weights, facts = load_weights(_fold(workspace).checkpoint)
    return {name: tensor.numpy() for name, tensor in weights.items()}, facts


def _probabilities(workspace: Workspace) -> tuple[Any, ...]:
    saved = read_probabilities(_fold(workspace).probabilities(_validated(workspace)))
    return saved.levels_KDHW, saved.box, saved.shape, saved.has_regions


def _validated(workspace: Workspace) -> str:
    return next(iter(_fold(workspace).masks(".nii.gz")))


def _contenders(workspace: Workspace) -> Any:
    contenders, faults = gather(workspace, read_cross_validation(workspace, DATASET))
    return [(contender.member, contender.plan, contender.fold_of) for contender in contenders], faults


def _begun(workspace: Workspace) -> Any:
    """`labels.json` as another prediction by the same models finds and writes it."""
    own = Sidecar(autoseg_version="", dataset=DATASET, planner="classic", configuration=NAME, folds=3,
                  labels={"background": 0, "sphere": 1}, postprocessing=Postprocessing(), model="another")
    return begin(workspace.home / "masks" / "labels.json", own, ())


def _report_of(workspace: Workspace) -> Any:
    """What the report shows; what it cannot read it lists."""
    data = gather_report(workspace, DATASET)
    if data.faults:
        raise ManyFaults(DATASET, list(data.faults))
    return [model.folds for model in data.models]


def _splits(workspace: Workspace) -> Any:
    return read_splits(workspace, DATASET, Dataset.open(workspace.raw(DATASET)).names)


ARTEFACTS = {
    "fingerprint.json": Artefact(lambda w: w.fingerprint(DATASET),
                                 lambda w: pipeline.fingerprint(1, home=w.home, workers=1)),
    "plan_classic.json": Artefact(lambda w: w.plan(DATASET, "classic"), lambda w: resolve_plan(
        w, DATASET, NAME, planner="classic", restart=True), is_warning_enough=True),
    "plan.json of a model": Artefact(lambda w: _model(w).plan, lambda w: _predicted(w, folder=_model(w).path, folds=[0])),
    "splits.json": Artefact(lambda w: w.splits(DATASET), _splits),
    "splits.json of a model": Artefact(lambda w: _model(w).splits, lambda w: started_splits(_model(w))),
    "CASE.json": Artefact(lambda w: _cases(w) / f"{NAMES[0]}.json", _prepared),
    "CASE.arrays": Artefact(lambda w: _cases(w) / f"{NAMES[0]}.arrays", _prepared),
    "CASE.json of registration": Artefact(lambda w: w.transforms(DATASET) / f"{NAMES[0]}.json", _transforms),
    "CASE_0001.displacement.npy": Artefact(lambda w: w.transforms(DATASET) / f"{NAMES[0]}_0001.displacement.npy",
                                           _transforms),
    "state.pt": Artefact(lambda w: _fold(w).state, _state),
    "checkpoint.safetensors": Artefact(lambda w: _fold(w).checkpoint, _weights),
    "encoder.json": Artefact(lambda w: _fold(w).encoder, _unfinished(read_encoder)),
    "schedule.json": Artefact(lambda w: _fold(w).schedule, _of_fold(read_schedule)),
    "started_with.json": Artefact(lambda w: _fold(w).started_with, _unfinished(read_started_with)),
    "result.json": Artefact(lambda w: _fold(w).result, _contenders),
    "summary.json": Artefact(lambda w: _fold(w).validation / "summary.json",
                             lambda w: read_model(_fold(w).validation / "summary.json", Summary)),
    "metrics.jsonl": Artefact(lambda w: _fold(w).metrics, _of_fold(lambda fold: read_records(fold.metrics)),
                              is_warning_enough=True),
    "probabilities/CASE.b2nd": Artefact(lambda w: _fold(w).probabilities(_validated(w)), _probabilities),
    "postprocessing.json": Artefact(lambda w: _fold(w).postprocessing,
                                    lambda w: _predicted(w, folder=_model(w).path, folds=[0])),
    "inference.json": Artefact(lambda w: w.inference_settings(DATASET), _predicted),
    "selection.json": Artefact(lambda w: w.selection(DATASET), lambda w: read_model(w.selection(DATASET), Selection)),
    "race.json": Artefact(lambda w: w.race(DATASET), lambda w: read_model(w.race(DATASET), Race)),
    "race_plan_classic.json": Artefact(lambda w: w.race_plan(DATASET, "classic"),
                                       lambda w: _plans_of(w, read_model(w.race(DATASET), Race)), is_warning_enough=True),
    "race_seconds.json": Artefact(lambda w: w.race_seconds(DATASET),
                                  lambda w: Stopwatch(w.race_seconds(DATASET)).earlier_seconds),
    "labels.json": Artefact(lambda w: w.home / "masks" / "labels.json", _begun, is_warning_enough=True),
    "quality.json": Artefact(lambda w: w.home / "masks" / "quality.json",
                             lambda w: read_model(w.home / "masks" / "quality.json", QualityReport)),
    "result.json in the report": Artefact(lambda w: _fold(w).result, _report_of),
}
