"""The twin of a fold that began from another model: the same fold with the same time, from scratch."""

from autoseg.base.errors import UserError
from autoseg.base.runtime import open_runtime
from autoseg.reporting.curves import LiveCurves
from autoseg.training.run import run_fold
from autoseg.training.validate import FoldResult
from autoseg.workspace.names import Workspace
from planners.rules.transfer import from_scratch
from planners.schema.plan import Plan


def check_twin(planned: Plan, configuration: str) -> None:
    """A UserError where a training has no twin: it begins from scratch itself, or its twin would lack an earlier stage."""
    chosen = planned.configurations[configuration]
    if chosen.transfer is None:
        raise UserError("--twin compares with a training from another model, and this one begins from scratch",
                        where=f"{planned.dataset} {configuration}", do="add --from MODEL, or leave out --twin")
    if chosen.previous:
        raise UserError("the second stage of a cascade has no twin", where=configuration,
                        do=f"compare {chosen.previous}, or train a plan of another name from scratch")


def train_twin(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, *, device: str = "auto",
               seed: int = 0, restart: bool = False, as_started: bool = False) -> FoldResult:
    """Train the twin of a fold by its plan with untrained weights, or resume it, or read its result.

    It lies in `twins/` of the workspace, where no prediction looks for models.
    """
    check_twin(planned, configuration)
    plan = planned.model_copy(update={"configurations": {
        **planned.configurations, configuration: from_scratch(planned.configurations[configuration])}})
    return run_fold(workspace.twins, plan, configuration, fold, open_runtime(device), seed=seed, restart=restart,
                    as_started=as_started, on_epoch=LiveCurves())
