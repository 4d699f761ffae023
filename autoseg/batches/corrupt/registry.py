"""The registry of corruptions, and what one is. It is made by `factory(options, patch)`."""

from collections.abc import Callable
from typing import Any, Protocol

import torch

from planners.registry import NoTraits, Registry


class Corruption(Protocol):
    """Makes the input of a network that has to restore an image (B, C, *space), which is left unchanged.

    Returns what the network sees, and the voxels (B, 1, *space; bool) in which its answer counts. All random values are
    drawn from `generator`, which lives on the CPU.
    """

    def __call__(self, image_BCDHW: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]: ...


CORRUPTIONS: Registry[Callable[[Any, tuple[int, ...]], Corruption], NoTraits] = Registry("pre-training method", NoTraits)
