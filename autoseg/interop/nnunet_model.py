"""Imports trained models of nnU-Net v2: plans, weights and mirroring become a model of ours that predicts the same."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from autoseg.base.errors import TooLarge, UserError, listed
from autoseg.base.memory import free_host_bytes
from autoseg.datasets.manifest import Manifest, parse_manifest
from autoseg.interop.imported import Imported, ImportedFold, ImportedModel
from autoseg.interop.nnunet_architecture import bare, renamed
from autoseg.interop.nnunet_plans import plan_of
from autoseg.interop.nnunet_results import (
    Checkpoint,
    NnunetModel,
    check_belong_together,
    configuration_names,
    mean_dice,
    models_in,
    read_checkpoint,
)
from autoseg.nn.model import build_model
from autoseg.prediction.trained_with import KEY, TrainedWith
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import staged_folder, write_json
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.foreign import ForeignFiles
from autoseg.workspace.names import Workspace
from planners.architectures.unet import UNet
from planners.schema.names import fault_of_name
from planners.schema.plan import Configuration, Plan, ResolvedSchedule

logger = logging.getLogger(__name__)

PROGRAM = "nnU-Net v2"
_STEPS = 250  # iterations of an epoch of nnU-Net
_POSTPROCESSING = ("postprocessing.pkl", "postprocessing.json")


@dataclass(frozen=True)
class Wanted:
    """Which models of a results folder are imported, and as what: the number of the dataset here (None: that of nnU-Net),
    one configuration (empty: all), and the kind of checkpoint (None: final, or best where no fold has a final one).
    """

    number: int | None = None
    configuration: str = ""
    kind: str | None = None


def import_nnunet(source: Path, workspace: Workspace, wanted: Wanted) -> list[Imported]:
    """Import the models of a results folder, or of a zip of it, into the workspace; each is there whole, or not at all.

    They predict as `DATASET <configuration> (<trainer>__<plans>)`. Nothing of the source is executed: checkpoints are read
    as tensors, numbers and texts. Raises UserError for what has no counterpart here, for folds that do not belong together,
    and where a model of this name is in the workspace.
    """
    files = ForeignFiles.open(source)
    models = models_in(files, wanted.kind)
    if wanted.configuration:
        fits = [model for model in models if _name_of(files, model) == wanted.configuration]
        if not fits:
            raise UserError("this configuration is not among the models here", where=files.path,
                            found=configuration_names(models), expected=wanted.configuration,
                            do="name another one with -c, or leave -c out")
        models = fits
    imported = [_import_model(files, model, workspace, wanted.number) for model in models]
    for each in imported:
        _warn_without_first_stage(each)
    return imported


def _name_of(files: ForeignFiles, model: NnunetModel) -> str:
    """The configuration of a model, by the name of its folder; where that is another one, by its first checkpoint."""
    folder = (model.folder.rstrip("/") or files.path.name).split("/")[-1]
    if folder.count("__") == 2:
        return folder.split("__")[-1]
    fold, name = next(iter(model.checkpoints.items()))
    return read_checkpoint(files, name, fold).configuration


def _import_model(files: ForeignFiles, model: NnunetModel, workspace: Workspace, dataset_number: int | None) -> Imported:
    plans, manifest = files.json(f"{model.folder}plans.json"), _manifest(files, f"{model.folder}dataset.json")
    if not isinstance(plans, dict) or not isinstance(plans.get("configurations"), dict):
        raise UserError("the plans are not as nnU-Net v2 writes them", where=files.where(f"{model.folder}plans.json"),
                        found="no configurations")
    (fold, name), *others = model.checkpoints.items()
    first = read_checkpoint(files, name, fold)
    check_belong_together(files, first, first, plans)
    planner = _checked_name(f"{first.trainer}__{plans.get('plans_name', 'nnUNetPlans')}")
    dataset = _dataset_name(workspace, str(plans.get("dataset_name", "")), dataset_number)
    plan = _with_mirroring(plan_of(plans, manifest, [first.configuration], dataset=dataset, planner=planner), first)
    target = workspace.model(dataset, planner, first.configuration)
    if target.has_plan or target.all_folds():
        raise UserError("a model of this name is there already", where=target.path,
                        do="import it under another number with -d, or remove that folder")
    folds: dict[str, ImportedFold] = {}
    with staged_folder(target.path) as folder:
        staged = ModelFolder(folder)
        for checkpoint in chain([first], _checkpoints(files, others)):
            check_belong_together(files, first, checkpoint, plans)
            _write_fold(staged, plan, checkpoint, mean_dice(files, model.folder, checkpoint.fold), files)
            folds[checkpoint.fold] = ImportedFold(checkpoint=checkpoint.name.split("/")[-1], sha256=checkpoint.sha256,
                                                  epoch=checkpoint.epoch)
        write_json(staged.plan, plan)
        record = ImportedModel(program=PROGRAM, trainer=first.trainer, plans=str(plans.get("plans_name", "")), folds=folds,
                               remarks=_remarks(files, model))
        write_json(staged.imported, record)
    return Imported(target, record)


def _checkpoints(files: ForeignFiles, named: Iterable[tuple[str, str]]) -> Iterator[Checkpoint]:
    """The checkpoints of folds, one at a time: together they may not fit into memory."""
    for fold, name in named:
        yield read_checkpoint(files, name, fold)


def _manifest(files: ForeignFiles, name: str) -> Manifest:
    return parse_manifest(files.text(name), files.where(name)).manifest


def _with_mirroring(plan: Plan, checkpoint: Checkpoint) -> Plan:
    """The plan with the axes that the checkpoint's trainer allows."""
    configuration = plan.configurations[checkpoint.configuration].model_copy(update={"mirror_axes": checkpoint.mirror_axes})
    return plan.model_copy(update={"configurations": {checkpoint.configuration: configuration}}).with_content_hash()


def _write_fold(model: ModelFolder, plan: Plan, checkpoint: Checkpoint, dice: float | None, files: ForeignFiles) -> None:
    """The weights of a fold and, last, the result that says that it is there."""
    name, configuration = checkpoint.configuration, plan.configurations[checkpoint.configuration]
    unet = configuration.architecture
    assert isinstance(unet, UNet)  # `architecture_of` has made it
    try:
        weights = renamed(with_regions(bare(checkpoint.weights), plan, configuration),
                          _own_weights(plan, configuration), unet)
    except UserError as error:
        raise UserError(f"fold {checkpoint.fold} cannot be imported", where=files.where(checkpoint.name),
                        found=error) from error
    fold, epochs = model.fold(checkpoint.fold), checkpoint.epoch or 0
    number = int(checkpoint.fold) if checkpoint.fold.isdecimal() else checkpoint.fold
    trained = TrainedWith(plan=plan.model_copy(update={"reasons": (), "first": None}), training=(), validation=())
    save_weights(fold.checkpoint, weights, {
        "configuration": name, "fold": number, "dataset": plan.dataset, "iterations": epochs * _STEPS, "program": PROGRAM,
        "training": [], KEY: trained.model_dump(mode="json"), "encoder": None})
    schedule = ResolvedSchedule.model_validate(
        {**configuration.schedule.model_dump(), "iterations": max(1, epochs * _STEPS), "budget_seconds": None})
    write_json(fold.result, FoldResult(
        dataset=plan.dataset, planner=plan.planner, configuration=name, fold=number, seed=0, schedule=schedule,
        training_seconds=0, total_seconds=0, mean_dice=dice, scores=None))


def _own_weights(plan: Plan, configuration: Configuration) -> Mapping[str, torch.Tensor]:
    """The weights of our untrained network; a TooLarge where the plans describe one that would fill the memory."""
    with torch.device("meta"):
        tensors = build_model(plan, configuration).state_dict().values()
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    most = free_host_bytes() // 2
    if n_bytes > most:
        raise TooLarge("the network that the plans describe is too large for the memory", found=f"{n_bytes >> 20} MiB",
                       expected=f"at most {most >> 20} MiB")
    return build_model(plan, configuration).state_dict()


def with_regions(weights: Mapping[str, torch.Tensor], plan: Plan, configuration: Configuration) -> dict[str, torch.Tensor]:
    """The weights of a cascade of regions for our inputs. nnU-Net gives its second stage a channel per label value, ours has
    one per region, the sum of its labels. So each label's kernel must be the sum of those of the regions that hold it: a
    system of linear equations, which nested regions solve. Raises UserError where the regions do not determine the labels.
    """
    labels = plan.labels
    if not configuration.previous or not labels.has_regions:
        return dict(weights)
    values = sorted({value for name in labels.foreground for value in labels.names[name]})
    holds_VR = torch.tensor([[float(value in labels.names[name]) for name in labels.foreground] for value in values],
                            dtype=torch.float64)
    n, out = len(plan.channels), dict(weights)
    for name in ("encoder.stem.convs.0.conv.weight", "encoder.stages.0.0.convs.0.conv.weight"):
        if name in weights and weights[name].shape[1] == n + len(values):
            kernels_V = weights[name][:, n:].double().movedim(1, 0).flatten(1)
            kernels_R = torch.linalg.lstsq(holds_VR, kernels_V, driver="gelsd").solution
            if not torch.allclose(holds_VR @ kernels_R, kernels_V, atol=1e-6):
                raise UserError("the regions of this cascade do not say which label a voxel has, so that its second stage "
                                "cannot be given its inputs", where="dataset.json", found=listed(labels.foreground),
                                do="import the configuration without cascade")
            of_regions = kernels_R.unflatten(1, weights[name][:, :1].movedim(1, 0).shape[1:]).movedim(0, 1)
            out[name] = torch.cat([weights[name][:, :n], of_regions.to(weights[name].dtype)], dim=1)
            break
    return out


def _checked_name(name: str) -> str:
    if fault := fault_of_name(name):
        raise UserError("the name of this model cannot be that of a folder", found=f"{name[:80]!r}, {fault}",
                        do="correct plans_name in plans.json")
    return name


def _dataset_name(workspace: Workspace, name: str, number: int | None) -> str:
    """The dataset that the model is imported into: that of this number here, else nnU-Net's with the number."""
    known = workspace.numbered()
    if number is None:
        digits, _, rest = name.removeprefix("Dataset").partition("_")
        if not (digits.isascii() and digits.isdecimal()) or not rest or not name.startswith("Dataset"):
            raise UserError("the plans do not name their dataset", where="plans.json", found=repr(name[:80]),
                            expected="such as Dataset004_Hippocampus", do="give the number of a dataset with -d")
        if known.get(int(digits), name) != name:
            raise UserError("another dataset has the number of this model's", where=workspace.home, found=known[int(digits)],
                            expected=name, do="choose a number with -d: one that is free, or that of the same dataset here")
        return _checked_name(name)
    rest = name.partition("_")[2] or "nnUNet"
    return known.get(number) or _checked_name(f"Dataset{number:03d}_{rest}")


def _remarks(files: ForeignFiles, model: NnunetModel) -> tuple[str, ...]:
    """What is left out."""
    remarks = [f"fold {', '.join(model.left_out)} has no such checkpoint and is left out"] if model.left_out else []
    pickles = sorted({name.split("/")[-1] for name in files.sizes if name.split("/")[-1] in _POSTPROCESSING})
    if pickles:
        remarks.append(f"{' and '.join(pickles)} of nnU-Net are not used: pickles are never opened, and nnU-Net applies "
                       "postprocessing in a step of its own")
    return tuple(remarks)


def _warn_without_first_stage(imported: Imported) -> None:
    previous = imported.model.read_plan().configurations[imported.model.configuration].previous
    if previous and not imported.model.beside(previous).folds:
        logger.warning("%s predicts only beside its first stage: import %s of the same training, too", imported.model.path,
                       previous)
