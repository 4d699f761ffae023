"""Whether cross-validation has decided how to predict a dataset, and whether what it decided on is still there."""

from autoseg.base.errors import UserError
from autoseg.formats.files import digest
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.prediction.models import trained_model
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace


def read_current_settings(workspace: Workspace, dataset: str | None = None) -> InferenceSettings | None:
    """What `inference.json` of a dataset says (default: of the only one with a model); None where there is none.

    Raises UserError where a fold that it names is gone or was trained again.
    """
    if dataset is None:
        names = workspace.datasets_with_models()
        if len(names) != 1:
            return None
        name = names[0]
    else:
        name = workspace.dataset(dataset)
    path = workspace.inference_settings(name)
    if not path.is_file():
        return None
    inference = read_model(path, InferenceSettings)
    check_current(workspace, inference)
    return inference


def check_current(workspace: Workspace, inference: InferenceSettings) -> None:
    """Raises UserError where a fold that `inference` names is gone, unfinished, or has other weights than it was given, and
    where the earlier stage of a cascade has other folds.
    """
    earlier = [member.previous for member in inference.members if member.previous is not None]
    for member in earlier:
        model = workspace.model(inference.dataset, member.planner, member.configuration)
        if trained_model(model).folds != member.folds:
            raise _stale(workspace, inference, f"{member.title} has other finished folds than when it was chosen")
    for member in (*inference.members, *earlier):
        for index, fold in enumerate(member.folds):
            folder = workspace.fold(inference.dataset, member.planner, member.configuration, fold)
            if not (folder.is_finished and folder.is_trained):
                raise _stale(workspace, inference, f"fold {fold} of {member.title} is not finished, or is gone")
            if member.digests and digest(folder.checkpoint) != member.digests[index]:
                raise _stale(workspace, inference, f"fold {fold} of {member.title} was trained again since")


def _stale(workspace: Workspace, inference: InferenceSettings, found: str) -> UserError:
    return UserError("the choice of models is out of date", where=workspace.inference_settings(inference.dataset), found=found,
                     do=f"choose again with autoseg_find_best_configuration {inference.dataset}, or name a model with -c")
