"""Which trained models there are, and which one a prediction uses."""

from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import NO_CONDITIONS, ConditionBatch, collate
from autoseg.clinical.encoders import ConditionEncoder, encode
from autoseg.nn.model import Model, build_model
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_json, read_model
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Configuration, Plan


@dataclass(frozen=True)
class TrainedModel:
    """The folder of one configuration: `plan.json` and its finished folds."""

    folder: Path
    folds: tuple[str, ...]

    @property
    def configuration(self) -> str:
        return self.folder.name

    @property
    def planner(self) -> str:
        return self.folder.parent.name

    @property
    def dataset(self) -> str:
        return self.folder.parent.parent.name

    def fold(self, fold: str) -> FoldFolder:
        return FoldFolder(self.folder / f"fold_{fold}")

    def mean_dice(self) -> float:
        """Mean validation Dice of the finished folds; -1 where none has one."""
        scores = [read_json(self.fold(fold).result).get("mean_dice") for fold in self.folds]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else -1.0

    def read_plan(self) -> Plan:
        return read_model(self.folder / "plan.json", Plan)


def trained_model(folder: Path) -> TrainedModel:
    """The model in a folder; a UserError where no fold is finished."""
    if not (folder / "plan.json").is_file():
        raise UserError("there is no trained model", where=folder, expected="a folder with plan.json and fold_*",
                        do="name such a folder with -m, or train one with autoseg_train")
    folds = [path.name[5:] for path in folder.glob("fold_*") if FoldFolder(path).result.is_file()]
    if not folds:
        begun = sorted(path.name for path in folder.glob("fold_*"))
        raise UserError("no fold of this model is finished", where=folder, found=", ".join(begun) or "no fold",
                        do=f"train one: autoseg_train {folder.parent.parent.name} {folder.name} 0")
    # The fold `all` has seen every case; it joins an ensemble only where it is all there is, or is asked for.
    crossed = sorted(fold for fold in folds if fold != "all")
    return TrainedModel(folder, tuple(crossed or folds))


def all_models(workspace: Workspace) -> list[TrainedModel]:
    """Every model of the workspace that has a finished fold."""
    found = []
    for plan in sorted((workspace.home / "models").glob("Dataset*/*/*/plan.json")):
        try:
            found.append(trained_model(plan.parent))
        except UserError:
            continue
    return found


def choose_model(workspace: Workspace, dataset: str | None, configuration: str | None, planner: str | None
                 ) -> TrainedModel:
    """The model that the given names leave; among configurations of one dataset, the one with the best validation Dice.

    Raises UserError where no model fits, or where several datasets do: it lists them and the flag that chooses.
    """
    models = all_models(workspace)
    if not models:
        raise UserError("no trained model was found", where=workspace.home / "models",
                        do="train one with autoseg_train, or name its folder with -m")
    name = None if dataset is None else workspace.dataset(dataset)
    wanted = {"dataset": name, "configuration": configuration, "planner": planner}
    fits = [m for m in models if all(value in (None, getattr(m, key)) for key, value in wanted.items())]
    if not fits:
        known = ", ".join(f"{m.dataset} {m.configuration} ({m.planner})" for m in models)
        asked = ", ".join(f"{key} {value}" for key, value in wanted.items() if value is not None)
        raise UserError("no trained model fits", where=workspace.home / "models", found=known, expected=asked,
                        do="choose one of these with -d, -c and -p, or train it with autoseg_train")
    datasets = sorted({m.dataset for m in fits})
    if len(datasets) > 1:
        raise UserError("several datasets have trained models", where=workspace.home / "models",
                        found=", ".join(datasets), do="choose one with -d")
    return max(fits, key=lambda m: m.mean_dice())


@dataclass(frozen=True)
class FoldModel:
    """A fold's trained model in evaluation mode, and the encoder of its conditions (None: it takes none)."""

    model: Model
    encoder: ConditionEncoder | None = None

    def encoded(self, conditions: CaseConditions) -> ConditionBatch | None:
        """A patient's conditions as this model takes them, with a batch axis of one."""
        return None if self.encoder is None else collate([encode(self.encoder, conditions)])


def load_model(plan: Plan, configuration: Configuration, checkpoint: Path, runtime: Runtime) -> FoldModel:
    """A trained model; a UserError where the weights do not fit the plan."""
    weights, facts = load_weights(checkpoint)
    encoder = None if facts.get("encoder") is None else ConditionEncoder.model_validate(facts["encoder"])
    model = build_model(plan, configuration, NO_CONDITIONS if encoder is None else encoder.layout)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError("the weights do not fit the plan beside them", where=checkpoint,
                        found=str(error).splitlines()[-1].strip(), do="train this fold again with --restart") from error
    return FoldModel(runtime.arranged(model, configuration.dimensions).eval(), encoder)
