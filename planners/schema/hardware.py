"""What the machine has and what the user allows, as data."""

import itertools
import math
from collections.abc import Sequence
from typing import Protocol

from pydantic import Field

from planners.schema.base import Frozen

GIB = 1024**3


class Rate(Frozen):
    """What is reached per second at a size: FLOPs at so many channels, or bytes in maps of so many bytes."""

    size: int = Field(gt=0)
    per_s: float = Field(gt=0)


class StepSpeed(Frozen):
    """What the parts of a training step reach on a device, in one precision and with one number of threads.

    Rates are FLOP/s of a convolution's forward and backward pass by the channels of its narrower side, in two and in three
    dimensions, and bytes/s of element-wise passes by the size of a map: small ones stay in the cache. `strided` is the share
    of the rate that a strided convolution reaches. A convolution costs seconds per weight besides, where its map is small,
    and each layer costs its calls; the loss costs seconds per logit.
    """

    flat: tuple[Rate, ...] = Field(min_length=1)
    solid: tuple[Rate, ...] = Field(min_length=1)
    strided: float = Field(default=1.0, gt=0)
    maps: tuple[Rate, ...] = ()
    seconds_per_weight: float = Field(default=0.0, ge=0)
    seconds_per_layer: float = Field(default=0.0, ge=0)
    seconds_per_logit: float = Field(default=0.0, ge=0)

    def convolving(self, dimensions: int, channels: int) -> float:
        """FLOP/s."""
        return _between(self.flat if dimensions == 2 else self.solid, channels)

    def passing(self, map_bytes: int) -> float:
        """Bytes/s; infinite where nothing was measured."""
        return _between(self.maps, map_bytes) if self.maps else math.inf


def _between(rates: Sequence[Rate], size: int) -> float:
    """The rate at a size: linear in its logarithm between what was measured, constant beyond."""
    ordered = sorted(rates, key=lambda rate: rate.size)
    for low, high in itertools.pairwise(ordered):
        if size < high.size:
            share = max(0.0, math.log(size / low.size) / math.log(high.size / low.size))
            return low.per_s + share * (high.per_s - low.per_s)
    return ordered[-1].per_s


class Hardware(Protocol):
    """The device that trains. `speed` is measured, not a data sheet's figure. That takes three seconds, so a planner asks
    for it only where it plans to a time."""

    @property
    def device(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def speed(self) -> StepSpeed: ...
    @property
    def cores(self) -> int: ...


class KnownHardware(Frozen):
    """Hardware of which everything is known; its step is convolutions, equally fast at every width."""

    device: str = "cpu"
    memory_bytes: int = Field(gt=0)
    flops_per_s: float = Field(gt=0)
    cores: int = Field(gt=0)

    @property
    def speed(self) -> StepSpeed:
        rates = (Rate(size=1, per_s=self.flops_per_s),)
        return StepSpeed(flat=rates, solid=rates)


class Budget(Frozen):
    """What a fold may use: memory on the device and wall-clock time, validation included; None: the planner's default."""

    memory_bytes: int | None = Field(default=None, gt=0)
    seconds_per_fold: float | None = Field(default=None, gt=0)
