"""Fusion: aligned channels, of which some may be absent, become the network's input.

A fusion is made by `factory(options, FusionContext)`, says its number of outputs in `n_outputs`, and is called with
an image (B, C, *space) and `available`: bool, (B, C, *space) or (B, C, 1, ...) where absence is that of whole channels, or
None where nothing is absent. What is not available is never read: NaN there changes no bit of the output. A voxel
without any channel becomes what the fusion learned for it; a sample without any channel is a ValueError on the CPU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from planners.registry import NoTraits, Registry


@dataclass(frozen=True)
class FusionContext:
    """What a fusion is made for: the channels of the plan, and the axes of a patch."""

    n_channels: int
    dimensions: int


class Fusion(Protocol):
    """A module that joins the channels of an image."""

    n_outputs: int

    def __call__(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor: ...


FUSIONS: Registry[Callable[[Any, FusionContext], Fusion], NoTraits] = Registry("fusion", NoTraits)

from autoseg.nn.fusion import attention as attention  # noqa: E402  (each registers itself)
from autoseg.nn.fusion import concat as concat  # noqa: E402
from autoseg.nn.fusion import hemis as hemis  # noqa: E402
from autoseg.nn.fusion import weighted as weighted  # noqa: E402
from autoseg.nn.fusion import window as window  # noqa: E402
