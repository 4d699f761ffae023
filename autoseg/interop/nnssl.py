"""Weights that nnssl has pre-trained (Wald et al. 2024; OpenMind), as a pre-training that trainings here begin from.

A checkpoint of nnssl says how to adapt it (`nnssl_adaptation_plan`): the architecture, and where encoder and stem lie among
its weights. Its U-Nets are those of nnU-Net; `ResEncL` is that of the planner of this name for large isotropic volumes.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autoseg.base.errors import UserError
from autoseg.interop.imported import Imported, ImportedFold, ImportedModel
from autoseg.interop.nnunet_architecture import bare, renamed, unet_of
from autoseg.nn.model import build_model
from autoseg.prediction.trained_with import KEY, TrainedWith
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import staged_folder, write_json
from autoseg.workspace.folders import PRETRAINED, FoldFolder, ModelFolder
from autoseg.workspace.foreign import ForeignFiles
from autoseg.workspace.names import Workspace
from planners.architectures.unet import Block, UNet
from planners.classic import SCHEDULE
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)

PROGRAM = NAME = "nnssl"
CONFIGURATION = "3d_fullres"
_HIGHEST_NUMBER = 999
_MOST_CHANNELS = 1000
_RESENC_L = {"n_stages": 6, "features_per_stage": [32, 64, 128, 256, 320, 320], "kernel_sizes": [[3, 3, 3]] * 6,
             "strides": [[1, 1, 1], *[[2, 2, 2]] * 5], "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
             "n_conv_per_stage_decoder": [1] * 5, "conv_bias": True}
_BLOCKS: dict[str, Block] = {"ResEncL": "residual", "ResidualEncoderUNet": "residual", "PlainConvUNet": "plain"}
_PATCH = (160, 160, 160)  # which nnssl recommends
_ISOTROPIC_MM = (1.0, 1.0, 1.0)  # where it pre-trains without resampling


def import_nnssl(path: Path, workspace: Workspace, number: int | None = None) -> Imported:
    """Import a checkpoint of nnssl as the pre-training `nnssl` of a dataset of its own, whose number is the first that is
    free. `pretrained_nnssl` in the model's folder is what `--from` takes.

    The encoder is taken whole, the decoder where it is that of a U-Net; heads are not. Raises UserError where the checkpoint
    is not one of nnssl, where its architecture is none of our U-Nets, and where the number is taken.
    """
    files = ForeignFiles.of_file(path)
    content, sha256 = files.checkpoint(path.name)
    try:
        adaptation, weights = content["nnssl_adaptation_plan"], content["network_weights"]
        unet, n_channels = architecture_of(adaptation), int(adaptation["pretrain_num_input_channels"])
        plan = plan_of(adaptation, unet, n_channels, _dataset_name(workspace, number))
        prefix = str(adaptation["key_to_encoder"]).removesuffix("encoder.stages")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UserError("the checkpoint is not one that nnssl has pre-trained", where=path,
                        found=f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0],
                        expected="network_weights and nnssl_adaptation_plan") from error
    ours, remarks = adapted({name.removeprefix(prefix): tensor for name, tensor in bare(weights).items()}, plan)
    target = workspace.model(plan.dataset, NAME, CONFIGURATION)
    record = ImportedModel(program=PROGRAM, trainer=str(content.get("trainer_name", "")), plans=adaptation_name(adaptation),
                           folds={f"{PRETRAINED}{NAME}": ImportedFold(checkpoint=path.name, sha256=sha256)}, remarks=remarks)
    with staged_folder(target.path) as folder:
        staged = ModelFolder(folder)
        _write(staged.pretraining(NAME), ours, plan)
        write_json(staged.plan, plan)
        write_json(staged.imported, record)
    return Imported(target, record)


def adaptation_name(adaptation: Mapping[str, Any]) -> str:
    return str(adaptation["architecture_plans"]["arch_class_name"])


def architecture_of(adaptation: Mapping[str, Any]) -> UNet:
    """The U-Net of an adaptation plan; a UserError for another architecture."""
    name, arguments = adaptation_name(adaptation), adaptation["architecture_plans"].get("arch_kwargs")
    if name not in _BLOCKS:
        raise UserError("this architecture of nnssl has no counterpart here", found=name, expected=", ".join(_BLOCKS),
                        do="begin from weights of one of these, or pre-train with autoseg_pretrain")
    return unet_of(_BLOCKS[name], _RESENC_L if name == "ResEncL" else arguments, 3)


def plan_of(adaptation: Mapping[str, Any], unet: UNet, n_channels: int, dataset: str) -> Plan:
    """A plan with the network of the pre-training, on its grid; it has no labels."""
    if not 0 < n_channels <= _MOST_CHANNELS:
        raise ValueError(f"{n_channels} channels")
    pretrained: Mapping[str, Any] = next(iter(adaptation.get("pretrain_plan", {}).get("configurations", {}).values()), {})
    patch = tuple(map(int, adaptation.get("recommended_downstream_patchsize") or pretrained.get("patch_size") or _PATCH))
    spacing = tuple(map(float, pretrained.get("spacing") or _ISOTROPIC_MM))
    configuration = Configuration(
        spacing_mm=spacing, median_shape=tuple(map(float, patch)), patch=patch, batch=2, batch_dice=False, architecture=unet,
        network=Part(name="unet"), normalizers=(Part(name="zscore"),) * n_channels, augmentation=Part(name="nnunet"),
        schedule=SCHEDULE, mirror_axes=(0, 1, 2))
    channels = tuple(ChannelSpec(name=f"pretrained{number or ''}") for number in range(n_channels))
    return Plan(dataset=dataset, planner=NAME, channels=channels, labels=LabelSpec(names={"background": (0,)}),
                transpose=(0, 1, 2), configurations={CONFIGURATION: configuration},
                reasons=(f"as nnssl has pre-trained {adaptation_name(adaptation)}",)).with_content_hash()


def adapted(weights: Mapping[str, torch.Tensor], plan: Plan) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """The weights under our names, and what is left out. Raises UserError where the encoder is not whole."""
    configuration = plan.configurations[CONFIGURATION]
    unet = configuration.architecture
    assert isinstance(unet, UNet)  # `architecture_of` has made it
    with torch.device("meta"):
        ours = dict(build_model(plan, configuration, n_outputs=1).state_dict())
    ours = {name: tensor for name, tensor in ours.items() if name.startswith("network.")}
    decoder = "network.decoder."
    taken = renamed({name: tensor for name, tensor in weights.items() if name.startswith("encoder.")},
                    {name: tensor for name, tensor in ours.items() if not name.startswith(decoder)}, unet)
    try:
        taken |= renamed({name: tensor for name, tensor in weights.items()
                          if name.startswith(("decoder.stages.", "decoder.transpconvs."))},
                         {name: tensor for name, tensor in ours.items()
                          if name.startswith((f"{decoder}stages.", f"{decoder}ups."))}, unet)
    except UserError:
        return taken, ("the decoder of this pre-training is not that of the U-Net, and is left out",)
    return taken, ()


def _write(folder: FoldFolder, weights: Mapping[str, torch.Tensor], plan: Plan) -> None:
    trained = TrainedWith(plan=plan.model_copy(update={"reasons": ()}), training=(), validation=())
    save_weights(folder.checkpoint, weights, {
        "configuration": CONFIGURATION, "fold": folder.path.name, "dataset": plan.dataset, "program": PROGRAM,
        "training": [], KEY: trained.model_dump(mode="json"), "encoder": None})


def _dataset_name(workspace: Workspace, number: int | None) -> str:
    known = workspace.numbered()
    if number is None:
        number = next(free for free in range(1, _HIGHEST_NUMBER + 1) if free not in known)
    elif number in known:
        raise UserError("this number is taken", where=workspace.home, found=known[number],
                        do="choose another one with -d, or leave -d out")
    return f"Dataset{number:03d}_{NAME}"
