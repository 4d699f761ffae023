"""Seg-Grad-CAM (Vinogradova et al. 2020, after Selvaraju et al. 2017): which features of a layer speak for a target."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from autoseg.base.errors import UserError
from autoseg.explain.subject import Subject, batches, logits_of, stitched
from autoseg.explain.target import Target, padded_mask, pull_of
from autoseg.nn.model import Model
from autoseg.prediction.tiles import Tile
from planners.schema.plan import Configuration

BOTTLENECK = "bottleneck"
_DECODER_STAGE = re.compile(r"network\.decoder\.stages\.\d+")
_MODE = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Layer:
    """A module of the model by name; `stage` is the one of its outputs that is taken, where it gives a list."""

    module: str
    stage: int | None = None


def layers_of(model: Model, configuration: Configuration) -> dict[str, Layer]:
    """The layers whose features can be mapped: what the decoder is given of each encoder stage, behind the conditioning, the
    bottleneck, which is the last of them, and what each stage of the decoder gives. Stage 0 has full resolution.
    """
    n_encoder = len(configuration.architecture.channels)
    encoder = {f"encoder_{stage}": Layer("conditioning", stage) for stage in range(n_encoder - 1)}
    decoder = [name for name, _ in model.named_modules() if _DECODER_STAGE.fullmatch(name)]
    return {**encoder, BOTTLENECK: Layer("conditioning", -1),
            **{f"decoder_{len(decoder) - 1 - index}": Layer(name) for index, name in enumerate(decoder)}}


def layer_named(name: str, model: Model, configuration: Configuration) -> Layer:
    """A layer by its name; a UserError that lists them where there is none of this name."""
    known = layers_of(model, configuration)
    if name not in known:
        raise UserError("the network has no such layer", found=name, expected=", ".join(known),
                        do="name one of these with --layer")
    return known[name]


def seg_grad_cam(subject: Subject, target: Target, layer: str = BOTTLENECK) -> torch.Tensor:
    """The map (1, D, H, W; padded, at least 0) of a target: relu(sum over channels k of a_k * A_k), where A_k are the
    features of the layer and a_k the mean gradient of the target's log-odds with respect to them.

    It is computed tile by tile and stitched by the weights of prediction. Where tiles are smaller than the image, a_k is
    that of the tile.
    """
    chosen = layer_named(layer, subject.model, subject.configuration)
    pull_KDHW, flat = pull_of(subject, target), subject.configuration.dimensions == 2

    def parts() -> Iterator[tuple[Tile, torch.Tensor]]:
        for batch in batches(subject, subject.reached(padded_mask(subject, target)), gradients=True):
            with _kept(subject.model, chosen) as outputs:
                score = (logits_of(subject, batch) * batch.cut(pull_KDHW)).sum()
            (gradient,) = torch.autograd.grad(score, outputs)
            weights = gradient.flatten(2).mean(2)[(..., *[None] * (gradient.ndim - 2))]
            cam = F.relu((weights * outputs[0].detach()).sum(1, keepdim=True))
            size = batch.image_BCDHW.shape[3 if flat else 2:]
            cam = F.interpolate(cam, size=size, mode=_MODE[subject.configuration.dimensions], align_corners=False)
            yield from zip(batch.tiles, cam[:, :, None] if flat else cam, strict=True)

    return stitched(subject, 1, parts())


@contextmanager
def _kept(model: Model, layer: Layer) -> Iterator[list[torch.Tensor]]:
    """What a layer gives while the model is called. What follows is handed a copy, which it may change in place."""
    outputs: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
        outputs.append(output if layer.stage is None else output[layer.stage])
        if layer.stage is None:
            return output.clone()
        index = layer.stage % len(output)
        return [feature.clone() if i == index else feature for i, feature in enumerate(output)]

    handle = model.get_submodule(layer.module).register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
