"""Whether cross-validation has decided how to predict a dataset, and whether what it decided on is still there."""

import logging

from autoseg.base.errors import UserError
from autoseg.formats.files import digest
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing
from autoseg.prediction.models import check_weights, trained_model
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import INFERENCE_JSON, Workspace

logger = logging.getLogger(__name__)


def read_current_settings(workspace: Workspace, dataset: str | None = None) -> InferenceSettings | None:
    """What `inference.json` of a dataset says (default: of the only one with a model); None where there is none.

    Raises UserError where a fold that it names is gone or was trained again, and where only this file is gone.
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
        if workspace.selection(name).is_file():
            raise UserError("the choice of models is missing, but selection.json says that there was one", where=path,
                            do=f"put the file back, choose again with autoseg_find_best_configuration {name}, or name a "
                               "model with -c")
        return None
    settings = read_model(path, InferenceSettings)
    check_current(workspace, settings)
    return settings


def settings_of_model(model: ModelFolder, *, apply: bool) -> InferenceSettings | None:
    """What the `inference.json` of its dataset says, where it chose all finished folds of this model and nothing else.

    None where it did not, where nothing was chosen, or without `apply`; the log says what a prediction then leaves out.
    """
    path = model.path.parent.parent / INFERENCE_JSON
    if not path.is_file():
        return None
    settings = read_model(path, InferenceSettings)
    if settings.postprocessing == Postprocessing() and settings.quality_control is None:
        return None
    (member, *others) = settings.members
    chosen = " + ".join(each.title for each in settings.members)
    reason = ""
    if others or (member.planner, member.configuration, member.folds) != (model.planner, model.configuration, model.folds):
        reason = f": it is for fold {', '.join(member.folds)} of {chosen}"
    elif apply and any(digest(model.fold(fold).checkpoint) != known
                       for fold, known in zip(member.folds, member.digests, strict=False)):
        reason = f": folds of {chosen} were trained again since"
    elif apply:
        logger.info("postprocessing and quality control are as %s says", path)
        return settings
    logger.warning("the postprocessing and quality control that %s has chosen are not applied%s", path, reason)
    return None


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
        check_weights(workspace.model(settings.dataset, member.planner, member.configuration), member.folds)
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
