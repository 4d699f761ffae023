"""The U-Nets of nnU-Net in plain torch, with the names that dynamic_network_architectures gives their tensors, twice where
it does; and results folders as nnU-Net writes them. Nothing here is imported from either.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
POOL = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
PACKAGE = "dynamic_network_architectures.architectures.unet."


class Layer(nn.Module):
    """Convolution, normalisation and perhaps a rectifier, each under two names."""

    def __init__(self, c_in, c_out, kernel, stride, *, bias=True, rectified=True):
        super().__init__()
        n = len(kernel)
        self.conv = CONV[n](c_in, c_out, kernel, stride, [(k - 1) // 2 for k in kernel], bias=bias)
        self.norm = NORM[n](c_out, eps=1e-5, affine=True)
        self.all_modules = nn.Sequential(self.conv, self.norm, *([nn.LeakyReLU(inplace=True)] if rectified else []))

    def forward(self, x):
        return self.all_modules(x)


class Stacked(nn.Module):
    def __init__(self, n_layers, c_in, c_out, kernel, stride, bias):
        super().__init__()
        ones = [1] * len(kernel)
        self.convs = nn.Sequential(Layer(c_in, c_out, kernel, stride, bias=bias),
                                   *(Layer(c_out, c_out, kernel, ones, bias=bias) for _ in range(n_layers - 1)))

    def forward(self, x):
        return self.convs(x)


class Residual(nn.Module):
    def __init__(self, c_in, c_out, kernel, stride, bias):
        super().__init__()
        n = len(kernel)
        ones = [1] * n
        self.conv1 = Layer(c_in, c_out, kernel, stride, bias=bias)
        self.conv2 = Layer(c_out, c_out, kernel, ones, bias=bias, rectified=False)
        shortcut = [POOL[n](stride, stride)] if max(stride) > 1 else []
        if c_in != c_out:
            shortcut.append(Layer(c_in, c_out, ones, ones, bias=False, rectified=False))
        if shortcut:
            self.skip = nn.Sequential(*shortcut)

    def forward(self, x):
        shortcut = self.skip(x) if hasattr(self, "skip") else x
        return nn.functional.leaky_relu(self.conv2(self.conv1(x)) + shortcut)


class Blocks(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x):
        return self.blocks(x)


class Encoder(nn.Module):
    def __init__(self, arguments, c_in):
        super().__init__()
        kernels, strides, features = arguments["kernel_sizes"], arguments["strides"], arguments["features_per_stage"]
        bias, stages = arguments["conv_bias"], []
        self.stem = None
        residual = "n_blocks_per_stage" in arguments
        if residual:
            self.stem, c_in = Stacked(1, c_in, features[0], kernels[0], [1] * len(kernels[0]), bias), features[0]
        for stage, c_out in enumerate(features):
            if residual:
                kernel, ones = kernels[stage], [1] * len(kernels[0])
                stages.append(Blocks([Residual(c_out if i else c_in, c_out, kernel, ones if i else strides[stage], bias)
                                      for i in range(arguments["n_blocks_per_stage"][stage])]))
            else:
                stages.append(nn.Sequential(Stacked(arguments["n_conv_per_stage"][stage], c_in, c_out, kernels[stage],
                                                    strides[stage], bias)))
            c_in = c_out
        self.stages = nn.Sequential(*stages)

    def forward(self, x):
        x = x if self.stem is None else self.stem(x)
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class Decoder(nn.Module):
    def __init__(self, encoder, arguments, n_classes):
        super().__init__()
        self.encoder = encoder  # which names all its tensors a second time
        kernels, strides, features = arguments["kernel_sizes"], arguments["strides"], arguments["features_per_stage"]
        bias, n = arguments["conv_bias"], len(kernels[0])
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for s in range(1, len(features)):
            below, width = features[-s], features[-s - 1]
            self.transpconvs.append(TRANSPOSED[n](below, width, strides[-s], strides[-s], bias=bias))
            self.stages.append(Stacked(arguments["n_conv_per_stage_decoder"][s - 1], 2 * width, width, kernels[-s - 1],
                                       [1] * n, bias))
            self.seg_layers.append(CONV[n](width, n_classes, 1))

    def forward(self, skips):
        x = skips[-1]
        for s, stage in enumerate(self.stages):
            x = stage(torch.cat([self.transpconvs[s](x), skips[-s - 2]], 1))
        return self.seg_layers[-1](x)


class Unet(nn.Module):
    """Logits at full resolution."""

    def __init__(self, arguments: Mapping[str, Any], c_in: int, n_classes: int):
        super().__init__()
        self.encoder = Encoder(arguments, c_in)
        self.decoder = Decoder(self.encoder, arguments, n_classes)

    def forward(self, x):
        return self.decoder(self.encoder(x))


def arguments_of(block: str, strides, kernels, features=(4, 6, 8), bias=True) -> dict[str, Any]:
    """The arguments of a small U-Net as a plan holds them."""
    n = len(strides[0])
    blocks = {"n_conv_per_stage": [2] * len(features)} if block == "plain" else {"n_blocks_per_stage": [1, 2, 2]}
    convs = 2 if block == "plain" else 1
    return {"n_stages": len(features), "features_per_stage": list(features), "conv_op": f"torch.nn.modules.conv.Conv{n}d",
            "kernel_sizes": [list(k) for k in kernels], "strides": [list(s) for s in strides], **blocks,
            "n_conv_per_stage_decoder": [convs] * (len(features) - 1), "conv_bias": bias,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{n}d", "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True}}


def configuration(block: str = "plain", patch=(16, 16, 16), spacing=(1.0, 1.0, 1.0), *, strides=None, kernels=None,
                  schemes=("ZScoreNormalization",), masked: bool = False, **more: Any) -> dict[str, Any]:
    """A configuration of a plan."""
    n = len(patch)
    strides = strides or [[1] * n, [2] * n, [2] * n]
    arguments = arguments_of(block, strides, kernels or [[3] * n] * 3)
    resampling = {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")}
    orders = {f"resampling_fn_{kind}_kwargs": {"is_seg": kind == "seg", "order": order, "order_z": 0,
                                               "force_separate_z": None}
              for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1))}
    network = {"plain": "PlainConvUNet", "residual": "ResidualEncoderUNet"}[block]
    return {"data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2, "patch_size": list(patch),
            "median_image_size_in_voxels": [20.0] * n, "spacing": list(spacing), "normalization_schemes": list(schemes),
            "use_mask_for_norm": [masked] * len(schemes), **resampling, **orders, "batch_dice": True,
            "architecture": {"network_class_name": PACKAGE + network, "arch_kwargs": arguments,
                             "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}, **more}


STATS = {"max": 900.0, "mean": 50.0, "median": 40.0, "min": -900.0, "percentile_00_5": -300.0, "percentile_99_5": 400.0,
         "std": 150.0}


def plans(configurations: Mapping[str, Any], *, transpose=(0, 1, 2), n_channels: int = 1, **more: Any) -> dict[str, Any]:
    return {"dataset_name": "Dataset321_Tiny", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
            "transpose_forward": list(transpose), "transpose_backward": [list(transpose).index(i) for i in range(3)],
            "configurations": dict(configurations), "experiment_planner_used": "ExperimentPlanner",
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {str(c): STATS for c in range(n_channels)}, **more}


def dataset_json(labels: Mapping[str, Any] | None = None, channels=("MR",), **more: Any) -> dict[str, Any]:
    return {"channel_names": {str(c): name for c, name in enumerate(channels)},
            "labels": labels or {"background": 0, "organ": 1, "tumour": 2}, "numTraining": 5, "file_ending": ".nii.gz",
            **more}


def random_unet(arguments: Mapping[str, Any], c_in: int, n_classes: int, seed: int = 0) -> Unet:
    """A network of random weights, biases, scales and shifts, whose classes are about equally probable."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = Unet(arguments, c_in, n_classes)
        for parameter in network.parameters():
            parameter.copy_(parameter + 0.2 * torch.randn_like(parameter))
        n = len(arguments["strides"][0])
        logits = network(torch.randn(2, c_in, *(16,) * n))
        network.decoder.seg_layers[-1].bias -= logits.mean((0, *range(2, 2 + n)))
    return network.eval()


def checkpoint(network: nn.Module, all_plans: Mapping[str, Any], name: str, fold: int | str = 0, *,
               trainer: str = "nnUNetTrainer", axes: tuple[int, ...] | None = (0, 1, 2), prefix: str = "") -> dict[str, Any]:
    """What nnU-Net's trainer saves, with the NumPy numbers that it logs."""
    return {"network_weights": {prefix + key: value for key, value in network.state_dict().items()}, "optimizer_state": {},
            "grad_scaler_state": None, "logging": {"mean_fg_dice": [np.float64(0.5)], "lrs": [np.float32(0.01)]},
            "_best_ema": np.float64(0.7), "current_epoch": 1000, "trainer_name": trainer,
            "init_args": {"plans": dict(all_plans), "configuration": name, "fold": fold, "device": torch.device("cpu")},
            "inference_allowed_mirroring_axes": axes}


def write_model(folder: Path, all_plans: Mapping[str, Any], dataset: Mapping[str, Any], checkpoints: Mapping[str, Any],
                name: str = "3d_fullres", trainer: str = "nnUNetTrainer") -> Path:
    """A model's folder below `folder`, with checkpoints by their names within it."""
    model = folder / f"{trainer}__{all_plans['plans_name']}__{name}"
    model.mkdir(parents=True, exist_ok=True)
    (model / "plans.json").write_text(json.dumps(all_plans))
    (model / "dataset.json").write_text(json.dumps(dataset))
    for place, content in checkpoints.items():
        (model / place).parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, model / place)
    return model
