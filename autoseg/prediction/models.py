"""Which trained models there are, and which one a prediction uses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import NO_CONDITIONS, ConditionBatch, collate
from autoseg.clinical.encoders import ConditionEncoder, encode
from autoseg.nn.model import Model, build_model
from autoseg.prediction.trained_with import TrainedWith, check_plan_of, trained_with
from autoseg.workspace.checkpoint import load_weights, read_digest
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Configuration, Plan


def trained_model(model: ModelFolder) -> ModelFolder:
    """The same model; a UserError where it has no finished fold."""
    if not model.has_plan and model.folds:
        raise without_plan(model)
    if not model.has_plan:
        raise UserError("there is no trained model", where=model.path, expected="a folder with plan.json and fold_*",
                        do="name such a folder with -m, or train one with autoseg_train")
    if not model.folds:
        unfinished = ", ".join(f"fold {fold.name}" for fold in model.all_folds())
        raise UserError("no fold of this model is finished", where=model.path, found=unfinished or "no fold",
                        do=f"train one: {train_command(model, 0)}")
    return model


def check_weights(model: ModelFolder, folds: Iterable[str]) -> None:
    """A UserError where the weights of a finished fold are gone; it names the command that mends it."""
    for fold in folds:
        if model.fold(fold).is_finished and not model.fold(fold).is_trained:
            raise UserError(f"the weights of fold {fold} are missing", where=model.fold(fold).checkpoint,
                            do=f"put the file back, or run {train_command(model, fold)}, which takes them from the saved "
                               "state of the training or trains the fold again; or name other folds with -f")


def train_command(model: ModelFolder, fold: int | str) -> str:
    return f"autoseg_train {model.dataset} {model.configuration} {fold} -p {model.planner}"


def without_plan(model: ModelFolder) -> UserError:
    """What is wrong where the plan of a trained model is gone, with the command that mends it."""
    return UserError("the plan of the model is missing", where=model.plan, found=f"fold {', '.join(model.folds)}",
                     do=f"put the file back, or run {train_command(model, model.folds[0])}, which writes it again")


def choose_model(workspace: Workspace, dataset: str | None, configuration: str | None, planner: str | None
                 ) -> ModelFolder:
    """The model that the given names leave; among configurations of one dataset, the one with the best validation Dice.

    Raises UserError where no model fits, or where several datasets do: it lists them and the flag that chooses.
    """
    name = None if dataset is None else workspace.dataset(dataset)
    wanted = {"dataset": name, "configuration": configuration, "planner": planner}
    lacking = [model for model in workspace.models_without_plan() if _fits(model, wanted)]
    models = [model for model in workspace.models() if model.folds]
    if not models and not lacking:
        raise UserError("no trained model was found", where=workspace.models_root,
                        do="train one with autoseg_train, or name its folder with -m")
    fits = [m for m in models if _fits(m, wanted)]
    if not fits and not lacking:
        known = ", ".join(f"{m.dataset} {m.configuration} ({m.planner})" for m in models)
        asked = ", ".join(f"{key} {value}" for key, value in wanted.items() if value is not None)
        raise UserError("no trained model fits", where=workspace.models_root, found=known, expected=asked,
                        do="choose one of these with -d, -c and -p, or train it with autoseg_train")
    datasets = sorted({m.dataset for m in (*fits, *lacking)})
    if len(datasets) > 1:
        raise UserError("several datasets have trained models", where=workspace.models_root,
                        found=", ".join(datasets), do="choose one with -d")
    if lacking:  # which of them has the best Dice is not known before it is back
        raise without_plan(lacking[0])
    return max(fits, key=lambda m: m.mean_dice())


def _fits(model: ModelFolder, wanted: Mapping[str, str | None]) -> bool:
    return all(value in (None, getattr(model, key)) for key, value in wanted.items())


@dataclass(frozen=True)
class FoldModel:
    """A fold's trained model in evaluation mode, the encoder of its conditions (None: it takes none), what it was trained
    with (None: an earlier version did not say), and the digest of its weights (empty: it was made in memory).
    """

    model: Model
    encoder: ConditionEncoder | None = None
    trained_with: TrainedWith | None = None
    digest: str = ""

    def encoded(self, conditions: CaseConditions) -> ConditionBatch | None:
        """A patient's conditions as this model takes them, with a batch axis of one."""
        return None if self.encoder is None else collate([encode(self.encoder, conditions)])


def load_model(plan: Plan, configuration: Configuration, checkpoint: Path, runtime: Runtime) -> FoldModel:
    """A trained model; a UserError where the weights are damaged, were trained by another plan, or do not fit this one."""
    weights, facts = load_weights(checkpoint)
    trained = trained_with(facts, checkpoint)
    check_plan_of(trained, plan, configuration, checkpoint)
    encoder = None if facts.get("encoder") is None else ConditionEncoder.model_validate(facts["encoder"])
    model = build_model(plan, configuration, NO_CONDITIONS if encoder is None else encoder.layout)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError("the weights do not fit the plan beside them", where=checkpoint,
                        found=str(error).splitlines()[-1].strip(), do="train this fold again with --restart") from error
    return FoldModel(runtime.arranged(model, configuration.dimensions).eval(), encoder, trained, read_digest(checkpoint))
