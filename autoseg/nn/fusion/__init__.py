"""Fusion: aligned channels, of which some may be absent, become the network's input."""

from collections.abc import Callable

from torch import nn

from planners.registry import Registry

FUSIONS: Registry[Callable[..., nn.Module]] = Registry("fusion")

from autoseg.nn.fusion import concat as concat  # noqa: E402  (registers itself)
