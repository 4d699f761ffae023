"""The files of what was trained, by name: a model's folder, and the folders of its folds."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from autoseg.base.errors import UserError
from autoseg.workspace.files import DamagedFile, read_json, read_model, remove_file, remove_folder
from autoseg.workspace.paths import below
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

_FOLD = "fold_"
PRETRAINED = "pretrained_"
_CHECKPOINT = "checkpoint.safetensors"
_ALL_CASES = "all"  # the fold that trains on every case
_FOLD_FOLDER = re.compile(r"fold_(0|[1-9][0-9]*|all)")  # `fold_0_backup` is none


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained fold."""

    path: Path

    @property
    def name(self) -> str:
        """The number of the fold, or `all`."""
        return self.path.name.removeprefix(_FOLD)

    @property
    def transfer(self) -> Path:
        """What this training took over from another model, and what not."""
        return self.path / "transfer.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / _CHECKPOINT

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def started_with(self) -> Path:
        """The plan, the cases and the folds that this training was started with; the first file that it writes."""
        return self.path / "started_with.json"

    @property
    def schedule(self) -> Path:
        return self.path / "schedule.json"

    @property
    def encoder(self) -> Path:
        """How the conditions of this fold become numbers, fitted when its training started."""
        return self.path / "encoder.json"

    @property
    def is_started(self) -> bool:
        """Whether a training has left anything."""
        return any(path.is_file() for path in (self.schedule, self.state, self.checkpoint, self.result))

    @property
    def is_trained(self) -> bool:
        """Whether the weights are there."""
        return self.checkpoint.is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the fold is trained and validated."""
        return self.result.is_file()

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def metrics_before_extend(self) -> Path:
        """The metrics of the training before its last extension."""
        return self.path / "metrics_before_extend.jsonl"

    @property
    def finish(self) -> Path:
        """That the training was asked to end, and how far it was to come."""
        return self.path / "finish.json"

    @property
    def extension(self) -> "FoldFolder":
        """What goes on from this fold, until it is finished and takes its place."""
        return FoldFolder(self.path / "extension")

    @property
    def extension_time(self) -> Path:
        """How long the extension in this folder was asked for."""
        return self.path / "extension.json"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def sheet(self) -> Path:
        """Pictures of some validation cases."""
        return self.path / "contact_sheet.png"

    @property
    def postprocessing(self) -> Path:
        """What is done to masks that this fold predicts alone."""
        return self.path / "postprocessing.json"

    @property
    def outcome_features(self) -> Path:
        """What this fold's model sees in its validation cases, for models of outcomes."""
        return self.path / "outcome_features.safetensors"

    @property
    def validation(self) -> Path:
        """Folder of the predicted validation cases."""
        return self.path / "validation"

    def probabilities(self, name: str) -> Path:
        """The probabilities of a validation case, written where they were asked for."""
        return below(self.all_probabilities, f"{name}.b2nd")

    @property
    def all_probabilities(self) -> Path:
        return self.path / "probabilities"

    @property
    def summary(self) -> Path:
        """The scores of the validation cases, beside their masks."""
        return self.validation / "summary.json"

    @property
    def race(self) -> Path:
        """What a race keeps of this fold until it is decided: a folder for each rung."""
        return self.path / "race"

    @property
    def unmirrored(self) -> Path:
        """The validation cases that were predicted without mirroring because the time budget ended, one record each."""
        return self.validation / "unmirrored.jsonl"

    def rung(self, rung: int) -> Path:
        """What a race keeps of this fold for one rung."""
        return self.race / f"rung_{rung}"

    def rung_weights(self, rung: int) -> Path:
        """The averaged weights at a rung of a race."""
        return self.rung(rung) / "weights.safetensors"

    def rung_probabilities(self, rung: int, name: str) -> Path:
        """The probabilities of a validation case at a rung of a race."""
        return below(self.rung(rung) / "probabilities", f"{name}.b2nd")

    def ablation(self, ending: str) -> Path:
        """What each input contributes: .json, .md to read, and .jsonl with one record per prediction."""
        return self.path / f"ablation{ending}"

    @property
    def explanations(self) -> Path:
        """Folder of maps of what this fold looks at, unless autoseg_explain is given another one."""
        return self.path / "explanations"

    @property
    def tracking(self) -> Path:
        """What trackers keep here, in a folder each."""
        return self.path / "tracking"

    @property
    def tracked(self) -> Path:
        """How far each tracker has followed the training."""
        return self.path / "tracked.json"

    @property
    def log(self) -> Path:
        """The output of the process that trained this fold beside others, or that the web service started."""
        return self.path / "log.txt"

    @property
    def launched(self) -> Path:
        """On which device the web service has started this training last."""
        return self.path / "launched.json"

    @property
    def result(self) -> Path:
        """The scores; its presence says that the fold is finished."""
        return self.path / "result.json"

    def mean_dice(self) -> float | None:
        """The mean validation Dice of a finished fold; None where it validated nothing."""
        value = read_json(self.result).get("mean_dice")
        return None if value is None else float(value)

    def mask(self, name: str, ending: str) -> Path:
        """The mask of a validation case."""
        return below(self.validation, f"{name}{ending}")

    def masks(self, ending: str) -> dict[str, Path]:
        """The predicted validation cases by name."""
        return {mask.name.removesuffix(ending): mask for mask in sorted(self.validation.glob(f"*{ending}"))}

    def refuse_links(self) -> None:
        """A UserError where the folder, or a folder within it, is a link: what is written would replace files elsewhere.

        A model comes as a folder that somebody else may have made. Links above it, as to another disk, are the user's own.
        """
        within = (Path(folder) / name for folder, names, _ in os.walk(self.path) for name in names)
        for path in (self.path, *within):
            if path.is_symlink():
                raise UserError("the folder is a link, and is not written through", where=path, found=os.readlink(path),
                                do="replace the link by the folder itself")

    def clear(self) -> None:
        """Remove what an earlier training left."""
        remove_folder(self.path)

    def clear_validation(self) -> None:
        """Remove what was made with weights that are gone; what says that the fold is finished is the first."""
        for file in (self.result, self.postprocessing, self.sheet, self.ablation(".json"), self.ablation(".md"),
                     self.outcome_features):
            remove_file(file)
        for folder in (self.validation, self.all_probabilities, self.explanations):
            remove_folder(folder)


def trained_below(path: Path) -> list[Path]:
    """The folders of trained folds up to three levels below a folder, such as one of a dataset's models."""
    return sorted(file.parent for depth in (1, 2, 3) for file in path.glob("*/" * depth + _CHECKPOINT))


@dataclass(frozen=True)
class ModelFolder:
    """The files of one configuration of one planner: its plan, and a folder for each fold."""

    path: Path

    @property
    def configuration(self) -> str:
        return self.path.name

    @property
    def planner(self) -> str:
        return self.path.parent.name

    @property
    def dataset(self) -> str:
        return self.path.parent.parent.name

    @property
    def title(self) -> str:
        return f"{self.configuration} ({self.planner})"

    @property
    def plan(self) -> Path:
        """The plan that the folds were trained with."""
        return self.path / "plan.json"

    @property
    def splits(self) -> Path:
        """The folds of the dataset as they were when the first fold of this model was started."""
        return self.path / "splits.json"

    @property
    def imported(self) -> Path:
        """Where a model that another program has trained came from."""
        return self.path / "imported.json"

    @property
    def has_plan(self) -> bool:
        return self.plan.is_file()

    def read_plan(self) -> Plan:
        """The plan that the folds were trained with; a UserError where it is missing or not valid, and no fold has it."""
        try:
            return read_model(self.plan, Plan)
        except DamagedFile as error:
            for fold in self.all_folds():
                try:
                    plan = Plan.model_validate(read_json(fold.started_with)["plan"])
                except (UserError, KeyError, TypeError, ValidationError):  # missing, damaged, or of something else
                    continue
                logger.warning("taken from %s: %s", fold.started_with, error)
                return plan
            raise

    def fold(self, name: int | str) -> FoldFolder:
        return FoldFolder(below(self.path, f"{_FOLD}{name}"))

    @property
    def outcomes(self) -> Path:
        """Folder of the models of outcomes that rest on all folds: a folder for each outcome."""
        return self.path / "outcomes"

    def outcome(self, name: str) -> Path:
        """How well an outcome is predicted, by which models."""
        return below(self.outcomes, name) / "outcome.json"

    def outcome_predictor(self, name: str) -> Path:
        """What predicts an outcome of new cases."""
        return below(self.outcomes, name) / "predictor.safetensors"

    def fitted_outcomes(self) -> tuple[str, ...]:
        """The names of the outcomes that new cases can be given."""
        return tuple(sorted(path.parent.name for path in self.outcomes.glob("*/predictor.safetensors")))

    def pretraining(self, name: str) -> FoldFolder:
        """A pre-training of this model's network, which is no fold."""
        return FoldFolder(below(self.path, f"{PRETRAINED}{name}"))

    def all_folds(self) -> tuple[FoldFolder, ...]:
        """Every fold that has a folder: by number, `all` last. Names are exact: a copy of a fold is none."""
        folds = [FoldFolder(path) for path in self.path.glob(f"{_FOLD}*") if _FOLD_FOLDER.fullmatch(path.name)]
        return tuple(sorted(folds, key=lambda fold: (not fold.name.isdecimal(), fold.name.zfill(9), fold.name)))

    def started_folds(self) -> tuple[FoldFolder, ...]:
        """The folds of which a training has left anything."""
        return tuple(fold for fold in self.all_folds() if fold.is_started)

    def reserved_folds(self) -> tuple[FoldFolder, ...]:
        """The folds that were started, and those that are about to be, of which only `started_with` is written."""
        return tuple(fold for fold in self.all_folds() if fold.is_started or fold.started_with.is_file())

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the finished folds that predict together. The fold `all` has seen every case: it counts only alone."""
        finished = sorted(fold.name for fold in self.all_folds() if fold.is_finished)
        return tuple([name for name in finished if name != _ALL_CASES] or finished)

    @property
    def folds_left_out(self) -> tuple[str, ...]:
        """Names of finished folds that are not among `folds`."""
        return tuple(fold.name for fold in self.all_folds() if fold.is_finished and fold.name not in self.folds)

    def mean_dice(self) -> float:
        """Mean validation Dice of the finished folds; -1 where none has one."""
        scores = [self.fold(name).mean_dice() for name in self.folds]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else -1.0

    def beside(self, configuration: str) -> "ModelFolder":
        """Another configuration of the same planner."""
        return ModelFolder(below(self.path.parent, configuration))
