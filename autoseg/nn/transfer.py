"""Weights of one model for another one: by name and shape, channels and labels by their names.

Which axis of a weight counts channels or heads is not a matter of names of layers: the model is built once more, without
memory, with one channel (or head) more, and the axis that grew is the one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from autoseg.nn.model import build_model
from autoseg.nn.networks.mednext import with_grown_kernels
from planners.schema.channels import ChannelSpec
from planners.schema.plan import Configuration, Plan

ENCODER, DECODER, HEADS, CONDITIONING = "encoder", "decoder", "heads", "conditioning"


@dataclass(frozen=True)
class Meaning:
    """What the weights of a model stand for: its plan and configuration, the layout of its conditions, and `heads`, a name
    for each output; empty where the outputs are no labels. `inputs` says what each condition means, beyond its layout.
    """

    plan: Plan
    configuration: Configuration
    layout: Layout = NO_CONDITIONS
    heads: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.plan.channels)

    @property
    def stage_labels(self) -> tuple[str, ...]:
        """The extra inputs of a cascade, which follow the channels."""
        return self.plan.labels.foreground if self.configuration.previous else ()

    @cached_property
    def channel_axes(self) -> dict[str, tuple[int, int]]:
        """The weights that depend on the number of channels: which axis, and its length per channel."""
        return _growing(self._shapes(0, 0), self._shapes(1, 0))

    @cached_property
    def head_axes(self) -> dict[str, tuple[int, int]]:
        """The weights that depend on the number of heads."""
        return _growing(self._shapes(0, 0), self._shapes(0, 1))

    def _shapes(self, more_channels: int, more_heads: int) -> dict[str, torch.Size]:
        plan = self.plan.model_copy(update={
            "channels": (*self.plan.channels, *[ChannelSpec(name="another")] * more_channels)})
        n_heads = len(self.heads) or len(self.plan.channels)
        with torch.device("meta"):
            model = build_model(plan, self.configuration, self.layout, n_outputs=n_heads + more_heads)
        return {name: weight.shape for name, weight in model.state_dict().items()}

    def part_of(self, name: str) -> str:
        """Which part of the model a weight belongs to: encoder (with the fusion), decoder, heads or conditioning."""
        if name in self.head_axes:
            return HEADS
        return CONDITIONING if name.startswith("conditioning.") else ENCODER if is_of_encoder(name) else DECODER


def is_of_encoder(name: str) -> bool:
    """Whether a weight belongs to the fusion or the encoder; a network that names no `decoder` is all encoder."""
    return not name.startswith(("conditioning.", "network.decoder."))


def freeze_encoder(model: nn.Module) -> None:
    """Fusion and encoder get no gradient from now on; a UserError where the network does not say what its decoder is."""
    if not any(name.startswith("network.decoder.") for name, _ in model.named_parameters()):
        raise UserError("the encoder of this network cannot be frozen, because nothing in it is named `decoder`",
                        do="leave out --freeze encoder, or name the decoder's module so")
    for name, parameter in model.named_parameters():
        if is_of_encoder(name):
            parameter.requires_grad_(False)


@dataclass(frozen=True)
class Taken:
    """The state of a model with what was taken over; `left` says of each other weight why it was not taken."""

    weights: dict[str, torch.Tensor]
    left: dict[str, str]
    meaning: Meaning

    def counts(self, part: str, *, taken: bool) -> tuple[int, int]:
        """Tensors and parameters of a part that were taken, or that were left."""
        sizes = [weight.numel() for name, weight in self.weights.items()
                 if self.meaning.part_of(name) == part and (name not in self.left) == taken]
        return len(sizes), sum(sizes)

    @property
    def encoder_share(self) -> float:
        """Share of the encoder's parameters that were taken."""
        taken, left = (self.counts(ENCODER, taken=taken)[1] for taken in (True, False))
        return taken / max(1, taken + left)


def take_over(weights: Mapping[str, torch.Tensor], source: Meaning, fresh: Mapping[str, torch.Tensor], target: Meaning
              ) -> Taken:
    """The `fresh` state of a model of the `target`, with all that fits of the `weights` of the `source`.

    A channel that the source lacks starts as the mean of the source's other channels, and kernels are scaled so that their
    sum over the channels stays. A label that it lacks keeps its fresh head; without a common label all heads do.
    Conditioning is taken where it is the same part with the same inputs.
    """
    taken, left = {}, {}
    may_grow = all(getattr(side.configuration.architecture, "block", "") == "mednext" for side in (source, target))
    for name, value in fresh.items():
        mapped, reason = _mapped(name, weights.get(name), value, source, target)
        if mapped is not None and may_grow and mapped.shape != value.shape:
            mapped = with_grown_kernels({name: mapped}, {name: value.shape})[name]
        if mapped is not None and mapped.shape == value.shape:
            taken[name] = mapped.to(value.dtype)
        else:
            taken[name], left[name] = value, reason if mapped is None else f"{_size(mapped)} there, {_size(value)} here"
    return Taken(taken, left, target)


def _mapped(name: str, weight: torch.Tensor | None, fresh: torch.Tensor, source: Meaning, target: Meaning
            ) -> tuple[torch.Tensor | None, str]:
    """A weight with the target's channels and heads; None and a reason where there is none."""
    if weight is None:
        return None, "not in the source"
    if name.startswith("conditioning."):
        same = (source.configuration.conditioning == target.configuration.conditioning
                and (source.layout, source.inputs) == (target.layout, target.inputs))
        return (weight, "") if same else (None, "the conditions are others")
    if name in target.head_axes:
        return _with_heads(name, weight, fresh, source, target)
    if name in target.channel_axes and name in source.channel_axes:
        return _with_channels(name, weight, fresh, source, target), ""
    return weight, ""


def common_heads(source: Meaning, target: Meaning) -> dict[str, tuple[int, int]]:
    """The heads that both have by name: its position in the source and in the target. None where only background is common,
    or where labels are regions on one side only.
    """
    if source.plan.labels.has_regions != target.plan.labels.has_regions:
        return {}
    common = {name: (source.heads.index(name), place) for place, name in enumerate(target.heads) if name in source.heads}
    return common if common.keys() & set(target.plan.labels.foreground) else {}


def _with_heads(name: str, weight: torch.Tensor, fresh: torch.Tensor, source: Meaning, target: Meaning
                ) -> tuple[torch.Tensor | None, str]:
    common = common_heads(source, target)
    if not common or source.head_axes.get(name) != (target.head_axes[name][0], 1) or target.head_axes[name][1] != 1:
        return None, "no label is the same" if not common else "another kind of head"
    axis = target.head_axes[name][0]
    weight, mixed = weight.movedim(axis, 0), fresh.clone().movedim(axis, 0)
    if weight.shape[1:] != mixed.shape[1:]:
        return None, "another width of the decoder"
    for there, here in common.values():
        mixed[here] = weight[there]
    return mixed.movedim(0, axis), ""


def _with_channels(name: str, weight: torch.Tensor, fresh: torch.Tensor, source: Meaning, target: Meaning) -> torch.Tensor:
    axis, length = source.channel_axes[name]
    is_kernel = axis == 1 and weight.ndim > 2
    by_channel = weight.movedim(axis, 0)
    n = length * len(source.channels)
    blocks = by_channel[:n].unflatten(0, (len(source.channels), length))
    matrix = channel_matrix(source.channels, target.channels, is_sum=is_kernel).to(weight.dtype)
    parts = [torch.tensordot(matrix, blocks, 1).flatten(0, 1)]
    if fresh.shape[axis] - length * len(target.channels) == len(target.stage_labels) > 0:
        # The labels of the earlier stage follow; one that the source has not seen is not looked at.
        known = [source.stage_labels.index(label) if label in source.stage_labels else None
                 for label in target.stage_labels]
        rest = by_channel[n:]
        parts += [rest[place : place + 1] if place is not None else torch.zeros_like(by_channel[:1]) for place in known]
    return torch.cat(parts).movedim(0, axis)


def matched_channels(source: Sequence[str], target: Sequence[str]) -> dict[int, int]:
    """The position in the source of each target channel whose name it has; case does not matter."""
    known = [name.lower() for name in source]
    return {place: known.index(name.lower()) for place, name in enumerate(target) if name.lower() in known}


def channel_matrix(source: Sequence[str], target: Sequence[str], *, is_sum: bool) -> torch.Tensor:
    """(target, source): how much of each source channel a target channel takes.

    Channels of one name are the same. A new one is the mean of those that no target channel has, or of all. Where the
    channels are summed up (`is_sum`), the columns are such that the sum over the channels stays: new channels share what the
    unused ones gave; where all are used, every channel gives less.
    """
    matched = matched_channels(source, target)
    new = [place for place in range(len(target)) if place not in matched]
    unused = sorted(set(range(len(source))) - set(matched.values()))
    matrix = torch.zeros(len(target), len(source), dtype=torch.float64)
    for here, there in matched.items():
        matrix[here, there] = 1
    others = unused or list(range(len(source)))
    for place in new:
        matrix[place, others] = 1 / len(others)
    if is_sum and new:
        if unused:
            matrix[new] *= len(unused) / len(new)
        else:
            matrix *= len(source) / len(target)
    return matrix


def _growing(shapes: Mapping[str, torch.Size], larger: Mapping[str, torch.Size]) -> dict[str, tuple[int, int]]:
    """The weights of which one axis is longer in the larger model: this axis, and by how much."""
    growing = {}
    for name, shape in shapes.items():
        axes = [axis for axis, (a, b) in enumerate(zip(shape, larger[name], strict=True)) if a != b]
        if len(axes) == 1:
            growing[name] = (axes[0], larger[name][axes[0]] - shape[axes[0]])
    return growing


def _size(weight: torch.Tensor) -> str:
    return "x".join(map(str, weight.shape))
