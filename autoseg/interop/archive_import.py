"""Brings a model in one file into a workspace."""

import re
from pathlib import Path

from autoseg.base.errors import UserError, listed
from autoseg.interop.share import folds_of
from autoseg.prediction.current_settings import read_current_settings
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.workspace.archive import CARD, ArchiveManifest, blaming, take_file, take_models, unfinished_folder, unpack
from autoseg.workspace.checkpoint import read_facts
from autoseg.workspace.files import read_json, read_model, write_json
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

_NUMBER = re.compile(r"Dataset(\d{3,})_(.+)")


def import_archive(path: str | Path, workspace: Workspace, number: int | None = None) -> Path:
    """Unpack a model that `autoseg_export_model` wrote; the folder of its models. A `number` is that of its dataset here.

    All or nothing. Raises UserError where the file is refused (`workspace.archive`), where its models cannot be read, where
    the workspace has models of this dataset already, and where the number belongs to another dataset.
    """
    source, models = Path(path), workspace.models_root
    with unfinished_folder(models / source.name) as folder, blaming(source, folder):
        manifest = unpack(source, folder)
        dataset = manifest.dataset if number is None else _renumbered(source, manifest, number)
        _check_free(source, workspace, dataset)
        tree = Workspace(folder)
        _check_models(tree, manifest.dataset)
        if dataset != manifest.dataset:
            _rename(tree, manifest.dataset, dataset)
        take_file(folder / CARD, tree.models_root / manifest.dataset / CARD)
        return take_models(tree, manifest.dataset, workspace, dataset)


def _renumbered(path: Path, manifest: ArchiveManifest, number: int) -> str:
    known = _NUMBER.fullmatch(manifest.dataset)
    if known is None or number < 0:
        raise UserError("the dataset of the model has no number", where=path, found=manifest.dataset,
                        expected="DatasetNNN_Name")
    return f"Dataset{number:03d}_{known[2]}"


def _check_free(path: Path, workspace: Workspace, dataset: str) -> None:
    """A UserError where the workspace has models under this name, or another dataset of this number."""
    if (workspace.models_root / dataset).exists():
        raise UserError("the workspace has models of this dataset already", where=workspace.models_root / dataset,
                        do=f"import under another number: autoseg_import_model {path} -d N")
    known = _NUMBER.fullmatch(dataset)
    others = [name for name in workspace.datasets() if known is not None and name != dataset
              and (other := _NUMBER.fullmatch(name)) is not None and int(other[1]) == int(known[1])]
    if others:
        raise UserError("another dataset has this number", where=workspace.home, found=listed(others),
                        do=f"import under another number: autoseg_import_model {path} -d N")


def _check_models(tree: Workspace, dataset: str) -> None:
    """A UserError where the choice, a plan or the facts of weights cannot be read: what lies in a workspace can be read."""
    settings = read_current_settings(tree, dataset)
    if settings is None or settings.dataset != dataset:
        raise UserError("the file does not say how its models predict", where=tree.inference_settings(dataset),
                        found="nothing" if settings is None else f"the dataset {settings.dataset}", expected=dataset,
                        do="ask for the file as it was exported")
    for model in tree.models(dataset):
        model.read_plan()
    for fold in folds_of(tree, settings):
        read_facts(fold.checkpoint)


def _rename(tree: Workspace, before: str, dataset: str) -> None:
    """Call the dataset otherwise in the files that say its name. Weights say it too, where nobody reads it."""
    for model in tree.models(before):
        write_json(model.plan, read_model(model.plan, Plan).model_copy(update={"dataset": dataset}).with_content_hash())
        for fold in model.folds:
            result = read_json(model.fold(fold).result)
            if "dataset" in result:
                write_json(model.fold(fold).result, {**result, "dataset": dataset})
    path = tree.inference_settings(before)
    write_json(path, read_model(path, InferenceSettings).model_copy(update={"dataset": dataset}))
