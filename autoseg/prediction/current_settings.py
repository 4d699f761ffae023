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
    settings = read_model(path, InferenceSettings)
    check_current(workspace, settings)
    return settings


def check_current(workspace: Workspace, settings: InferenceSettings) -> None:
    """Raises UserError where a fold that the settings name is gone, unfinished, or has other weights than when it was
    chosen, and where the earlier stage of a cascade has other folds.
    """
    earlier = [member.previous for member in settings.members if member.previous is not None]
    for member in earlier:
        model = workspace.model(settings.dataset, member.planner, member.configuration)
        if trained_model(model).folds != member.folds:
            raise _stale(workspace, settings, f"{member.title} has other finished folds than when it was chosen")
    for member in (*settings.members, *earlier):
        for index, fold in enumerate(member.folds):
            folder = workspace.fold(settings.dataset, member.planner, member.configuration, fold)
            if not (folder.is_finished and folder.is_trained):
                raise _stale(workspace, settings, f"fold {fold} of {member.title} is not finished, or is gone")
            if member.digests and digest(folder.checkpoint) != member.digests[index]:
                raise _stale(workspace, settings, f"fold {fold} of {member.title} was trained again since")


def _stale(workspace: Workspace, settings: InferenceSettings, difference: str) -> UserError:
    return UserError("the choice of models is out of date", where=workspace.inference_settings(settings.dataset),
                     found=difference, do=f"choose again with autoseg_find_best_configuration {settings.dataset}, or name "
                                          "a model with -c")
