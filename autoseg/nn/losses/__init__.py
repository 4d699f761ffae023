"""Losses: logits (B, K, *space) and encoded targets -> a scalar."""

from collections.abc import Callable

import torch

from planners.registry import Registry

Loss = Callable[..., torch.Tensor]
LOSSES: Registry[Callable[..., Loss]] = Registry("loss")

from autoseg.nn.losses import dice_ce as dice_ce  # noqa: E402  (registers itself)
