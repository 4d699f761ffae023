"""Soft Dice plus cross-entropy (Milletari et al. 2016; Isensee et al. 2021)."""

import torch
import torch.nn.functional as F

from autoseg.nn.losses import LOSSES
from autoseg.nn.losses.targets import Targets
from planners.base import Frozen


class DiceCrossEntropyOptions(Frozen):
    """`dice_weight` and `ce_weight` scale the two terms; `smooth` keeps the Dice of an empty class defined."""

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    smooth: float = 1e-5


@LOSSES.register("dice_ce", DiceCrossEntropyOptions)
class DiceCrossEntropy:
    """1 - soft Dice of the foreground heads + cross-entropy over all heads (binary for regions).

    With `batch_dice` the Dice of a class is that of the whole batch as one volume; otherwise it is the mean of the
    samples'. Voxels that do not count are left out of both terms; if none counts the loss is 0.
    """

    def __init__(self, options: DiceCrossEntropyOptions, regions: bool, batch_dice: bool):
        self.options, self.regions, self.batch_dice = options, regions, batch_dice

    def __call__(self, logits_BKDHW: torch.Tensor, targets: Targets) -> torch.Tensor:
        logits = logits_BKDHW.float()
        counted = targets.counted_B1DHW
        if self.regions:
            probability = torch.sigmoid(logits)
            entropy = F.binary_cross_entropy_with_logits(logits, targets.truth_BKDHW.float(), reduction="none")
            first = 0
        else:
            log_probability = torch.log_softmax(logits, dim=1)
            probability = log_probability.exp()
            entropy = -torch.where(targets.truth_BKDHW, log_probability, 0.0).sum(1, keepdim=True)
            first = 1  # background is scored by the cross-entropy alone
        dice = self._dice(probability[:, first:], targets.truth_BKDHW[:, first:], counted)
        if counted is None:
            mean_entropy = entropy.mean()
        else:
            kept = torch.where(counted, entropy, 0.0)
            mean_entropy = kept.sum() / (counted.sum() * kept.shape[1]).clamp(min=1)
        loss = self.options.dice_weight * (1 - dice) + self.options.ce_weight * mean_entropy
        return loss if counted is None else torch.where(counted.any(), loss, logits.sum() * 0)

    def _dice(self, probability: torch.Tensor, truth: torch.Tensor, counted: torch.Tensor | None) -> torch.Tensor:
        if counted is not None:
            probability = torch.where(counted, probability, 0.0)
            truth = truth & counted
        axes = tuple(range(2, probability.ndim))
        overlap = torch.where(truth, probability, 0.0).sum(axes)
        size = probability.sum(axes) + truth.sum(axes)
        if self.batch_dice:
            overlap, size = overlap.sum(0), size.sum(0)
        smooth = self.options.smooth
        return ((2 * overlap + smooth) / (size + smooth).clamp(min=1e-8)).mean()
