"""The models in a results folder of nnU-Net v2, or in a zip of it: which there are, and what a checkpoint says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from autoseg.base.errors import UserError, listed
from autoseg.interop.nnunet_plans import differing
from autoseg.workspace.foreign import ForeignFiles

_CHECKPOINT = re.compile(r"(?P<model>(?:.+/)?)fold_(?P<fold>0|[1-9]\d*|all)/checkpoint_(?P<kind>final|best|latest)\.pth")
KINDS = ("final", "best")
_LONGEST_NAME = 100  # of a trainer: the words below can be read in several ways, whose number doubles with each
# The trainers of nnU-Net that change how a network is trained, and not what it computes: a word for each change.
_TRAINER = re.compile(
    r"nnUNetTrainer(?:Benchmark)?(?:_?(?:\d+ep(?:och)?s?|NoMirroring|onlyMirror01|DA5(?:ord0|Segord0)?|DASegOrd0|NoDA|noDummy2DDA"
    r"|noDataLoading|warmup|CosAnneal|(?:Vanilla)?Ada[mn](?:\d+en\d+)?|DiceLoss|DiceCELoss_noSmooth|(?:Dice)?To[pP][kK]10(?:Loss)?"
    r"(?:LS01)?|CELoss|NoDeepSupervision|probabilisticOversampling(?:_\d+)?))*")


@dataclass(frozen=True)
class NnunetModel:
    """One trained model: its folder within the files, and the checkpoint of each fold; `left_out` are folds that have none
    of the kind that the others have.
    """

    folder: str
    checkpoints: dict[str, str]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint of a fold says of itself, and its weights. `mirror_axes` are those that prediction may mirror."""

    fold: str
    name: str
    sha256: str
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]
    epoch: int | None
    plans: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]


def models_in(files: ForeignFiles, kind: str | None = None) -> list[NnunetModel]:
    """The models that have a finished fold, by name. Of each fold the `kind` of checkpoint is taken: `final`, `best`, or by
    default the final one; the best one where no fold of the model has a final one. Raises UserError where there is no model.
    """
    folds: dict[str, dict[str, set[str]]] = {}
    for name in files.sizes:
        if known := _CHECKPOINT.fullmatch(name):
            folds.setdefault(known["model"], {}).setdefault(known["fold"], set()).add(known["kind"])
    models = []
    for folder, kinds in sorted(folds.items()):
        present = set().union(*kinds.values())
        wanted = next((each for each in ((kind,) if kind else KINDS) if each in present), "")
        chosen = {fold: f"{folder}fold_{fold}/checkpoint_{wanted}.pth" for fold, of_fold in sorted(kinds.items())
                  if wanted in of_fold}
        if chosen:
            models.append(NnunetModel(folder, chosen, tuple(sorted(kinds.keys() - chosen.keys()))))
    if not models:
        found = "checkpoints of another kind" if folds else f"{len(files.sizes)} files, none of them a checkpoint"
        raise UserError("there is no trained model of nnU-Net v2 here", where=files.path, found=found,
                        expected=f"plans.json, dataset.json and fold_0/checkpoint_{kind or 'final'}.pth, in this folder or "
                                 "further down", do="name the folder of the dataset or of the model in nnUNet_results")
    return models


def read_checkpoint(files: ForeignFiles, name: str, fold: str) -> Checkpoint:
    """A fold's checkpoint. Raises UserError where it cannot be read without executing code, is not of nnU-Net v2, or is of a
    trainer that may have changed the network.
    """
    content, sha256 = files.checkpoint(name)
    try:
        trainer, arguments = content["trainer_name"], content["init_args"]
        configuration, plans, weights = arguments["configuration"], arguments["plans"], content["network_weights"]
        axes = content.get("inference_allowed_mirroring_axes") or ()
        checkpoint = Checkpoint(fold, name, sha256, str(trainer), str(configuration), tuple(int(axis) for axis in axes),
                                _epoch(content), dict(plans), dict(weights))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError("the checkpoint is not one of nnU-Net v2", where=files.where(name),
                        found=f"keys {listed(sorted(map(str, content)))}",
                        expected="network_weights, trainer_name, init_args",
                        do="a model of nnU-Net v1, or of another program, cannot be imported") from error
    if len(checkpoint.trainer) > _LONGEST_NAME or not _TRAINER.fullmatch(checkpoint.trainer):
        raise UserError("the model was trained by a trainer that is not known here, and may have changed the network or how "
                        "it predicts", where=files.where(name), found=checkpoint.trainer[:_LONGEST_NAME],
                        expected="a trainer of nnU-Net that keeps the network of the plans, such as nnUNetTrainer",
                        do="predict with nnU-Net, or train a model of autoseg on this dataset")
    return checkpoint


def _epoch(content: Mapping[str, Any]) -> int | None:
    epoch = content.get("current_epoch")
    return epoch if isinstance(epoch, int) else None


def check_belong_together(files: ForeignFiles, first: Checkpoint, other: Checkpoint, plans: Mapping[str, Any]) -> None:
    """A UserError where two checkpoints are not folds of one training, or a checkpoint was trained by other plans than those
    beside it.
    """
    for what in ("trainer", "configuration", "mirror_axes"):
        mine, theirs = getattr(first, what), getattr(other, what)
        if mine != theirs:
            raise UserError("the folds of this model were not trained alike", where=files.where(other.name),
                            found=f"{what.replace('_', ' ')} {theirs or 'none'} in fold {other.fold}, {mine or 'none'} in "
                                  f"fold {first.fold}", do="keep the folds of one training in the folder")
    if keys := differing(plans, other.plans, other.configuration):
        raise UserError("the fold was trained by other plans than plans.json", where=files.where(other.name),
                        found=f"different: {', '.join(keys)}", do="take plans.json and the folds from the same training")


def mean_dice(files: ForeignFiles, folder: str, fold: str) -> float | None:
    """The mean Dice of a fold's validation cases as nnU-Net scored them; None where it did not."""
    name = f"{folder}fold_{fold}/validation/summary.json"
    if name not in files.sizes:
        return None
    try:
        dice = float(files.json(name)["foreground_mean"]["Dice"])
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return dice if 0 <= dice <= 1 else None


def configuration_names(models: Sequence[NnunetModel]) -> str:
    """The folders of models in words."""
    return listed([model.folder.rstrip("/").split("/")[-1] or "this folder" for model in models])
