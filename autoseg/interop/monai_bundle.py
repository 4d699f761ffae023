"""A trained model as a bundle of MONAI: `configs/inference.json`, `configs/metadata.json`, and the folds as one program.

The bundle does with MONAI's transforms what autoseg does with its own: orient, crop, normalise, resample, tile with a
Gaussian, bring the logits back and decide. It does not mirror, and its splines end differently at borders, so that masks are
nearly, not exactly, those of `autoseg_predict --mirroring off`. What it cannot do is refused by name.
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from autoseg.base.command import called
from autoseg.base.errors import UserError
from autoseg.base.version import __version__
from autoseg.interop.onnx_export import normalizer_numbers, refuse_unsupported, silent
from autoseg.interop.share import choice
from autoseg.nn.model import Model
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.member import ConfigurationModel
from autoseg.workspace.files import check_writable, write_json, write_unflushed
from autoseg.workspace.names import Workspace
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)

PROGRAM = "models/model.pt2"
TILES_AT_ONCE = 2
_MONAI = "1.4.0"  # the earliest whose names of transforms are those below
_NORMALIZERS = ("ct", "zscore", "none")


@called
def export_bundle(workspace: Workspace, dataset: str | int, folder: str | Path, *, configuration: str | None = None,
                  planner: str | None = None, folds: Sequence[int | str] | None = None, licence: str = "") -> Path:
    """Write the bundle of a trained model into a folder; that folder.

    The model is chosen as by `autoseg_predict`. Raises UserError for what a bundle cannot do: besides what ONNX cannot,
    slices, regions, channels that may be missing or are brought to a grid, normalisers but `ct`, `zscore` and `none`.
    """
    target, name = Path(folder), workspace.dataset(dataset)
    settings = choice(workspace, name, configuration, planner, folds)
    if len(settings.members) > 1:
        raise UserError("a bundle is of one configuration, and several were chosen together", where=name,
                        found=" + ".join(member.title for member in settings.members), do="choose one with -c")
    (member,) = settings.members
    opened = ConfigurationModel.open(workspace.model(name, member.planner, member.configuration), folds=member.folds,
                                     device="cpu")
    plan, used, where = opened.plan, opened.configuration, f"{name} {member.title}"
    refuse(plan, used, where)
    if settings.postprocessing != Postprocessing():
        logger.warning("%s: the postprocessing that was chosen is no part of the bundle", where)
    check_writable(target)
    write_unflushed(target / PROGRAM, program_bytes([model.model for model in opened.models], plan, used, where))
    write_json(target / "configs" / "inference.json", inference(plan, used))
    write_json(target / "configs" / "metadata.json", metadata(plan, used, licence))
    return target


def refuse(plan: Plan, configuration: Configuration, where: str) -> None:
    """A UserError that names the first thing that a bundle cannot do."""
    refuse_unsupported(plan, configuration, where, "a MONAI bundle")
    faults = [(configuration.dimensions == 2, "a configuration of slices"), (plan.labels.has_regions, "a region"),
              *((not channel.required, f"the channel {channel.name!r}, which may be missing,") for channel in plan.channels),
              *((channel.is_moved, f"the channel {channel.name!r}, which is brought to another grid,")
                for channel in plan.channels),
              *((part.name not in _NORMALIZERS, f"the normaliser {part.name!r}") for part in configuration.normalizers)]
    for wrong, what in faults:
        if wrong:
            raise UserError(f"the model cannot be written as a MONAI bundle: {what} is not supported", where=where,
                            do="give it away as one file (--format zip), or as ONNX")


class _Averaged(nn.Module):
    """The mean logits of several networks, of images whose axes run x, y, z as in MONAI."""

    def __init__(self, models: Sequence[Model], axes: Sequence[int]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.to_plan = (0, 1, *(2 + axis for axis in axes))
        self.back = tuple(int(axis) for axis in np.argsort(self.to_plan))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        turned = image.permute(self.to_plan).contiguous()
        total = self.models[0](turned)
        for model in list(self.models)[1:]:
            total = total + model(turned)
        return (total / len(self.models)).permute(self.back).contiguous()


def monai_axes(plan: Plan) -> tuple[int, int, int]:
    """Which axis (x, y, z) of MONAI each axis of the plan is: arrays of files are z, y, x here."""
    first, second, third = (2 - axis for axis in plan.transpose)
    return first, second, third


def _in_monai_order(values: Sequence[Any], plan: Plan) -> list[Any]:
    return [values[monai_axes(plan).index(axis)] for axis in range(3)]


def program_bytes(models: Sequence[Model], plan: Plan, configuration: Configuration, where: str) -> bytes:
    """The networks as one program of torch.export, for any batch; a UserError where torch cannot write it."""
    image = torch.zeros(2, len(plan.channels), *_in_monai_order(configuration.patch, plan))
    try:
        with silent():
            program = torch.export.export(_Averaged(models, monai_axes(plan)).eval(), (image,), strict=False,
                                          dynamic_shapes=({0: torch.export.Dim("batch")},))
            buffer = io.BytesIO()
            torch.export.save(program, buffer)
    except Exception as error:  # torch raises dozens of kinds for what it cannot trace or write
        raise UserError(f"the model cannot be written as a MONAI bundle: network {configuration.network.name!r} is not "
                        "supported", where=where, found=str(error).strip().splitlines()[0][:200],
                        do="give it away as one file (--format zip)") from error
    return buffer.getvalue()


def inference(plan: Plan, configuration: Configuration) -> dict[str, Any]:
    """`configs/inference.json`: masks of all cases of `dataset_dir`, written to `output_dir` under the cases' names."""
    first, *others = [f"_{number:04d}{plan.file_ending}" for number in plan.numbers]
    files = "[p, " + ", ".join(f"p[:-{len(first)}] + '{other}'" for other in others) + "]" if others else "p"
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": f"$[{{'image': {files}}} for p in sorted(glob.glob(@dataset_dir + '/*{first}'))]",
        "program": f"$torch.export.load(@bundle_root + '/{PROGRAM}').module().to(@device)",
        # An exported program has no eval(), which MONAI calls of whatever has it, and takes plain tensors.
        "network": "$(lambda program: lambda image: program(torch.Tensor.as_subclass(image, torch.Tensor)))(@program)",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(plan, configuration)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False, "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": _in_monai_order(configuration.patch, plan),
                    "sw_batch_size": TILES_AT_ONCE, "overlap": 0.5, "mode": "gaussian", "sigma_scale": 0.125,
                    "padding_mode": "constant"},
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(plan)},
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing"},
        "run": ["$@evaluator.run()"],
    }


def _preprocessing(plan: Plan, configuration: Configuration) -> list[dict[str, Any]]:
    turned = [{"_target_": "Orientationd", "keys": "image", "axcodes": plan.orientation}] if plan.orientation else []
    return [{"_target_": "LoadImaged", "keys": "image", "image_only": True, "ensure_channel_first": True}, *turned,
            {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "$lambda x: x != 0",
             "allow_smaller": True},
            {"_target_": "Lambdad", "keys": "image", "track_meta": True, "func": _normalising(plan, configuration)},
            {"_target_": "Spacingd", "keys": "image", "pixdim": _in_monai_order(configuration.spacing_mm, plan),
             "mode": configuration.resampling.order_image, "padding_mode": "nearest"}]


def _normalising(plan: Plan, configuration: Configuration) -> str:
    """A function of the image (C, x, y, z) as an expression: each channel as its normaliser says."""
    channels = []
    for c, part in enumerate(configuration.normalizers):
        known = normalizer_numbers(part.name, plan.intensities[c] if c < len(plan.intensities) else None)
        image = f"x[{c}:{c + 1}]"
        if known["kind"] == "ct":
            image = f"({image}.clamp({known['low']}, {known['high']}) - {known['mean']}) / {known['std']}"
        elif known["kind"] == "zscore":
            image = f"({image} - {image}.mean()) / ({image}.std(correction=0) or 1.0)"
        channels.append(image)
    return f"$lambda x: torch.cat([{', '.join(channels)}])"


def _postprocessing(plan: Plan) -> list[dict[str, Any]]:
    values = [first for first, *_ in plan.labels.names.values()]
    renamed = [] if values == list(range(len(values))) else [
        {"_target_": "MapLabelValued", "keys": "pred", "orig_labels": list(range(len(values))), "target_labels": values}]
    return [{"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False, "to_tensor": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}, *renamed,
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "",
             "output_ext": plan.file_ending, "separate_folder": False, "resample": False,
             "output_dtype": "$__import__('numpy').uint8"}]


def metadata(plan: Plan, configuration: Configuration, licence: str) -> dict[str, Any]:
    """`configs/metadata.json`."""
    shape = _in_monai_order(configuration.patch, plan)
    channels = {str(c): channel.name for c, channel in enumerate(plan.channels)}
    return {
        "version": "1.0.0", "monai_version": _MONAI, "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__, "required_packages_version": {"pytorch-ignite": "0.4.11", "nibabel": "5.0"},
        "task": f"segmentation of {', '.join(plan.labels.foreground)}", "description": f"Made by autoseg {__version__}.",
        "authors": "", "copyright": licence or "not stated", "intended_use": "Research. It is not a medical device.",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "format": "magnitude", "num_channels": len(plan.channels),
                                 "spatial_shape": shape, "dtype": "float32", "is_patch_data": True,
                                 "channel_def": channels}},
            "outputs": {"pred": {"type": "image", "format": "segmentation", "num_channels": plan.labels.n_heads,
                                 "spatial_shape": shape, "dtype": "float32", "is_patch_data": True,
                                 "channel_def": {str(k): name for k, name in enumerate(plan.labels.heads)}}}}}
