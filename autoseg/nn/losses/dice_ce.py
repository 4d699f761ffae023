"""Soft Dice plus cross-entropy (Milletari et al. 2016; Isensee et al. 2021), also for cases that are annotated in part."""

import torch
import torch.nn.functional as F

from autoseg.base.ranks import average, total
from autoseg.nn.losses import LOSSES, LossContext
from autoseg.nn.losses.targets import Targets
from planners.schema.base import Frozen

_LEAST = 1e-8  # of what is divided by: nothing that counts gives 0


class DiceCrossEntropyOptions(Frozen):
    """`dice_weight` and `ce_weight` scale the two terms; `smooth` keeps the Dice of an empty class defined."""

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    smooth: float = 1e-5


@LOSSES.register("dice_ce", DiceCrossEntropyOptions, sums_over_processes=True, weighs_classes=True)
class DiceCrossEntropy:
    """1 - soft Dice of the foreground heads + cross-entropy over all heads (binary for regions).

    With `batch_dice` the Dice of a class is that of the whole batch as one volume; otherwise it is the mean of the
    samples'. Voxels that do not count are left out of both terms; if none counts the loss is 0. A sample is left out of
    the Dice of what was not annotated in it. The cross-entropy leaves such regions out; such plain labels it takes for
    one class with background, whose probability is their sum (the marginal loss of Shi et al. 2021).

    The Dice term is the mean of the classes by their weights. In the mean of the cross-entropy a voxel counts by the weight
    of its class; background, and what is not annotated, counts once. Of regions a voxel within one counts so in its head.

    Where several processes share a batch, each computes the loss of the whole of it.
    """

    def __init__(self, options: DiceCrossEntropyOptions, context: LossContext):
        self.options, self.regions, self.batch_dice = options, context.regions, context.batch_dice
        self.weights_K = torch.tensor(context.class_weights, dtype=torch.float32)  # of foreground; empty: all are 1

    def __call__(self, logits_BKDHW: torch.Tensor, targets: Targets) -> torch.Tensor:
        logits = logits_BKDHW.float()
        counted, annotated = targets.counted_B1DHW, _broadcast(targets.annotated_BK, logits.ndim)
        scored = counted  # elements of the cross-entropy
        if self.regions:
            probability = torch.sigmoid(logits)
            entropy = F.binary_cross_entropy_with_logits(logits, targets.truth_BKDHW.float(), reduction="none")
            if annotated is not None:
                scored = annotated if counted is None else counted & annotated
            first = 0
        else:
            log_probability = torch.log_softmax(logits, dim=1)
            probability = log_probability.exp()
            entropy = -_log_likelihood(log_probability, targets.truth_BKDHW, annotated)
            first = 1  # background is scored by the cross-entropy alone
        self.weights_K = self.weights_K.to(logits.device)
        dice = self._dice(probability[:, first:], targets.truth_BKDHW[:, first:], counted, targets.annotated_BK)
        mean_entropy = self._mean_entropy(entropy, scored, targets.truth_BKDHW[:, first:], annotated)
        loss = self.options.dice_weight * (1 - dice) + self.options.ce_weight * mean_entropy
        return loss if scored is None else torch.where(_anywhere(scored.any()), loss, logits.sum() * 0)

    def _mean_entropy(self, entropy: torch.Tensor, scored: torch.Tensor | None, truth: torch.Tensor,
                      annotated: torch.Tensor | None) -> torch.Tensor:
        """The mean over the elements that are scored, by the weights of their classes; `truth` is of the foreground."""
        if scored is not None:
            entropy = torch.where(scored, entropy, 0.0)
        if len(self.weights_K):
            weights = self._weights(truth if annotated is None else truth & annotated)
            weights = weights if scored is None else torch.where(scored, weights, 0.0)
            return total((weights * entropy).sum()) / total(weights.sum()).clamp(min=_LEAST)
        if scored is None:
            return average(entropy.mean())
        return total(entropy.sum()) / total(scored.expand_as(entropy).sum()).clamp(min=1)

    def _weights(self, truth: torch.Tensor) -> torch.Tensor:
        """How much each element of the cross-entropy counts: of regions (B, K, *space), else (B, 1, *space)."""
        of_class = self.weights_K[(..., *[None] * (truth.ndim - 2))]
        weights = torch.where(truth, of_class, 1.0)
        return weights if self.regions else weights.prod(1, keepdim=True)

    def _dice(self, probability: torch.Tensor, truth: torch.Tensor, counted: torch.Tensor | None,
              annotated_BK: torch.Tensor | None) -> torch.Tensor:
        """Mean over classes, and samples unless `batch_dice`; 1 where nothing is annotated."""
        if counted is not None:
            probability = torch.where(counted, probability, 0.0)
            truth = truth & counted
        axes = tuple(range(2, probability.ndim))
        overlap = torch.where(truth, probability, 0.0).sum(axes)
        size = probability.sum(axes) + truth.sum(axes)
        if annotated_BK is not None:
            overlap, size = torch.where(annotated_BK, overlap, 0.0), torch.where(annotated_BK, size, 0.0)
        if self.batch_dice:
            overlap, size = total(overlap.sum(0)), total(size.sum(0))
            annotated_BK = None if annotated_BK is None else _anywhere(annotated_BK.any(0))
        smooth = self.options.smooth
        dice = (2 * overlap + smooth) / (size + smooth).clamp(min=1e-8)
        summed, averaged = (_same, _same) if self.batch_dice else (total, average)
        weights = self.weights_K if len(self.weights_K) else dice.new_ones(dice.shape[-1])
        if annotated_BK is None:
            return averaged((dice @ weights).mean() / weights.sum()) if len(self.weights_K) else averaged(dice.mean())
        missed = torch.where(annotated_BK, weights * (1 - dice), 0.0).sum()
        return 1 - summed(missed) / summed((annotated_BK * weights).sum()).clamp(min=_LEAST)


def _same(value: torch.Tensor) -> torch.Tensor:
    """What is the same in all processes is summed already."""
    return value


def _anywhere(in_this_process: torch.Tensor) -> torch.Tensor:
    """Whether it is so in any process."""
    return total(in_this_process.int()) > 0


def _broadcast(annotated_BK: torch.Tensor | None, n_axes: int) -> torch.Tensor | None:
    return None if annotated_BK is None else annotated_BK[(..., *[None] * (n_axes - 2))]


def _log_likelihood(log_probability: torch.Tensor, truth: torch.Tensor, annotated: torch.Tensor | None) -> torch.Tensor:
    """Logarithm (B, 1, *space) of the probability of the true class.

    Background and the classes that are not annotated are one: log(p_0 + sum p_k).
    """
    if annotated is None:
        return torch.where(truth, log_probability, 0.0).sum(1, keepdim=True)
    merged = ~torch.cat([torch.zeros_like(annotated[:, :1]), annotated], dim=1)
    rest = torch.where(merged, log_probability, -torch.inf).logsumexp(1, keepdim=True)
    known = torch.where(truth & ~merged, log_probability, 0.0).sum(1, keepdim=True)
    return known + torch.where((truth & merged).any(1, keepdim=True), rest, 0.0)
