"""The networks of nnU-Net v2 as ours: what a plan says of one, and the names of its weights.

nnU-Net builds its U-Nets with the package dynamic_network_architectures. They compute what ours compute: convolution,
instance normalisation and leaky rectifier; residual blocks with a pooled shortcut; transposed convolutions whose kernel is
their stride. Weights differ in their names alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from autoseg.base.errors import UserError, listed
from planners.architectures.unet import Block, UNet

_PACKAGE = "dynamic_network_architectures."
_BLOCKS: dict[str, Block] = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_MOST_STAGES = 16  # a patch is halved at each
_EPS, _SLOPE = 1e-5, 0.01  # of normalisation and rectifier, as ours
_SIZES = {"n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder"}
_PARTS = {"conv_op", "norm_op", "norm_op_kwargs", "nonlin", "nonlin_kwargs", "nonlin_first", "stem_channels"}
# What changes nothing of a network that predicts: dropout is off then, and every head is there in any case.
_WITHOUT_EFFECT = {"dropout_op", "dropout_op_kwargs", "deep_supervision", "conv_bias"}
_SAME_TWICE = re.compile(r"\.all_modules\.|^decoder\.encoder\.")  # the package names these tensors twice
_WRAPPERS = re.compile(r"^(?:_orig_mod\.|module\.)+")  # of torch.compile and of training on several GPUs


def architecture_of(configuration: Mapping[str, Any]) -> UNet:
    """The shape of the network of a configuration of nnU-Net's plans, in the present form or in that of 2.0 to 2.2. Raises
    UserError for a network that is not one of nnU-Net's own U-Nets, or has a part that ours lack.
    """
    dimensions = len(configuration["patch_size"])
    if "architecture" not in configuration:
        return _of_former_plans(configuration, dimensions)
    named, arguments = configuration["architecture"]["network_class_name"], configuration["architecture"]["arch_kwargs"]
    kind = named.split(".")[-1]
    if kind not in _BLOCKS or not named.startswith(_PACKAGE):
        raise _custom(f"network {named}")
    return unet_of(_BLOCKS[kind], arguments, dimensions)


def unet_of(block: Block, arguments: Mapping[str, Any], dimensions: int) -> UNet:
    """The shape that the arguments of a U-Net of dynamic_network_architectures describe; a UserError for what ours lack."""
    n = int(arguments["n_stages"])
    if not 0 < n <= _MOST_STAGES:
        raise _custom(f"n_stages = {n}")
    blocks_key = "n_conv_per_stage" if block == "plain" else "n_blocks_per_stage"
    features = _of_each(arguments["features_per_stage"], n)
    _check_parts(arguments, block, dimensions, features[0])
    known = _SIZES | _PARTS | _WITHOUT_EFFECT | {blocks_key}
    if unknown := sorted(key for key, value in arguments.items() if key not in known and value is not None):
        raise _custom(f"{unknown[0]} = {arguments[unknown[0]]}")
    strides, kernels = (tuple(tuple(_of_each(value, dimensions)) for value in _listed(arguments[key], n))
                        for key in ("strides", "kernel_sizes"))
    return UNet(block=block, strides=strides, kernel_sizes=kernels, features=tuple(features),
                blocks_encoder=tuple(_of_each(arguments[blocks_key], n)),
                convs_decoder=tuple(_of_each(arguments["n_conv_per_stage_decoder"], n - 1)))


def _of_former_plans(configuration: Mapping[str, Any], dimensions: int) -> UNet:
    """The shape as plans before 2.3 said it."""
    kind = configuration.get("UNet_class_name", "none")
    if kind not in _BLOCKS:
        raise _custom(f"network {kind}")
    n, most = len(configuration["conv_kernel_sizes"]), int(configuration["unet_max_num_features"])
    blocks_key = "n_conv_per_stage" if _BLOCKS[kind] == "plain" else "n_blocks_per_stage"
    return unet_of(_BLOCKS[kind], {
        "n_stages": n, "kernel_sizes": configuration["conv_kernel_sizes"], "strides": configuration["pool_op_kernel_sizes"],
        "features_per_stage": [min(int(configuration["UNet_base_num_features"]) * 2**stage, most) for stage in range(n)],
        blocks_key: configuration["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"]}, dimensions)


def _check_parts(arguments: Mapping[str, Any], block: Block, dimensions: int, width: int) -> None:
    """A UserError where a layer is of another kind than ours. What is not said is as nnU-Net's planners say it."""
    norm, nonlin = arguments.get("norm_op_kwargs") or {}, arguments.get("nonlin_kwargs") or {}
    expected: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("conv_op", _last(arguments.get("conv_op")), (None, f"Conv{dimensions}d")),
        ("norm_op", _last(arguments.get("norm_op", "InstanceNorm")), ("InstanceNorm", f"InstanceNorm{dimensions}d")),
        ("eps of norm_op", norm.get("eps", _EPS), (_EPS,)),
        ("track_running_stats of norm_op", norm.get("track_running_stats", False), (False,)),
        ("nonlin", _last(arguments.get("nonlin", "LeakyReLU")), ("LeakyReLU",)),
        ("negative_slope of nonlin", nonlin.get("negative_slope", _SLOPE), (_SLOPE,)),
        ("nonlin_first", arguments.get("nonlin_first", False), (False, None)),
        ("stem_channels", arguments.get("stem_channels"), (None, width) if block == "residual" else (None,))]
    for part, given, known in expected:
        if given not in known:
            raise _custom(f"{part} = {given}")


def _custom(found: str) -> UserError:
    return UserError("the network is not one of nnU-Net's own U-Nets, and is not imported", found=found,
                     expected="PlainConvUNet or ResidualEncoderUNet with instance normalisation and leaky rectifiers, as "
                              "nnU-Net's planners make them",
                     do="predict with nnU-Net, or train a model of autoseg on this dataset (docs/how-to/nnunet.md)")


def bare(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights without what torch.compile and training on several GPUs put before their names."""
    return {_WRAPPERS.sub("", name): tensor for name, tensor in weights.items()}


def renamed(weights: Mapping[str, torch.Tensor], ours: Mapping[str, torch.Tensor], unet: UNet) -> dict[str, torch.Tensor]:
    """The weights of one of nnU-Net's networks under the names of ours, whose own state `ours` gives names and shapes.

    A convolution without a bias gets one of 0, a normalisation without scale and shift gets 1 and 0; what nnU-Net's networks
    do not have keeps our value. Raises UserError where tensors are missing, of another shape, or left over.
    """
    weights = {name: tensor for name, tensor in bare(weights).items() if not _SAME_TWICE.search(name)}
    taken: dict[str, torch.Tensor] = {}
    used, faults = set(), []
    for name, own in ours.items():
        theirs = name_in_nnunet(name, unet)
        tensor = weights.get(theirs) if theirs else own
        if tensor is None and _may_be_missing(theirs, weights):
            tensor = torch.full(own.shape, float(theirs.endswith(".norm.weight")))
        if tensor is None:
            faults.append(f"{theirs} is missing")
        elif tensor.shape != own.shape:
            faults.append(f"{theirs} has shape {list(tensor.shape)} in place of {list(own.shape)}")
        else:
            taken[name] = tensor.to(own.dtype)
            used.add(theirs)
    faults += [f"{name} is not known" for name in weights if name not in used]
    if faults:
        raise UserError("the weights are not those of the network that the plans describe", found=listed(faults, 3),
                        do="a trainer or network of your own cannot be imported; otherwise take plans.json and checkpoint "
                           "from the same training")
    return taken


def _may_be_missing(theirs: str, weights: Mapping[str, torch.Tensor]) -> bool:
    """Whether a layer may lack this tensor: a bias, or scale and shift of a normalisation of which none has them."""
    if ".norm." in theirs:
        return not any(".norm." in name for name in weights)
    return theirs.endswith(".bias") and theirs.removesuffix("bias") + "weight" in weights


def name_in_nnunet(name: str, unet: UNet) -> str:
    """How nnU-Net calls a tensor of our model; empty for what its networks do not have.

    >>> name_in_nnunet("network.decoder.ups.0.weight", unet)
    'decoder.transpconvs.0.weight'
    """
    for pattern, theirs in _NAMES:
        known = re.fullmatch(pattern, name)
        if known is not None:
            return theirs(known.groups(), unet)
    return ""


def _layer(number: str) -> str:
    return ("conv", "norm")[int(number)]


def _shortcut(parts: Sequence[str], unet: UNet) -> str:
    """Of a shortcut, which pools first where its block strides."""
    stage, block, place, tensor = parts
    first = int(block == "0" and max(unet.strides[int(stage)]) > 1)
    return f"encoder.stages.{stage}.blocks.{block}.skip.{first}.{_layer(str(int(place) - first))}.{tensor}"


_Renamed = Callable[[Sequence[str], UNet], str]
_NAMES: tuple[tuple[str, _Renamed], ...] = (
    (r"network\.stem\.(\d)\.(\w+)", lambda p, unet: f"encoder.stem.convs.0.{_layer(p[0])}.{p[1]}"),
    (r"network\.encoder\.(\d+)\.(\d+)\.(\d)\.(\w+)",
     lambda p, unet: f"encoder.stages.{p[0]}.0.convs.{p[1]}.{_layer(p[2])}.{p[3]}"),
    (r"network\.encoder\.(\d+)\.(\d+)\.first\.(\d)\.(\w+)",
     lambda p, unet: f"encoder.stages.{p[0]}.blocks.{p[1]}.conv1.{_layer(p[2])}.{p[3]}"),
    (r"network\.encoder\.(\d+)\.(\d+)\.second\.(\d)\.(\w+)",
     lambda p, unet: f"encoder.stages.{p[0]}.blocks.{p[1]}.conv2.{_layer(p[2])}.{p[3]}"),
    (r"network\.encoder\.(\d+)\.(\d+)\.shortcut\.(\d)\.(\w+)", _shortcut),
    (r"network\.decoder\.ups\.(\d+)\.(\w+)", lambda p, unet: f"decoder.transpconvs.{p[0]}.{p[1]}"),
    (r"network\.decoder\.stages\.(\d+)\.(\d+)\.(\d)\.(\w+)",
     lambda p, unet: f"decoder.stages.{p[0]}.convs.{p[1]}.{_layer(p[2])}.{p[3]}"),
    (r"network\.decoder\.heads\.(\d+)\.(\w+)", lambda p, unet: f"decoder.seg_layers.{p[0]}.{p[1]}"))


def _last(name: Any) -> Any:
    return name.split(".")[-1] if isinstance(name, str) else name


def _of_each(value: Any, n: int) -> list[int]:
    """A number for each of n; one that is given once is for all."""
    values = [value] * n if isinstance(value, int) else list(value)
    return [int(number) for number in values]


def _listed(value: Any, n: int) -> list[Any]:
    return [value] * n if isinstance(value, int) else list(value)
