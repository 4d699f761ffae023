"""A loss of one's own: Tversky, which can mind a missed voxel more than an invented one, plus cross-entropy.

Run in the folder of this file (any module that Python can import will do):

    autoseg_train 4 3d_fullres 0 --plugin plugin_loss --set loss.name=tversky_ce --set loss.options.missed=0.7

Prediction needs no loss, and so no plug-in. A loss is made by `factory(options, LossContext)` and called with logits
(B, K, *space) of one decoder stage and the `Targets` at its resolution; see `autoseg.nn.losses`. As this one does not say
`sums_over_processes=True` where it is registered, several processes refuse to train with it together.
"""

import torch
from pydantic import Field

from autoseg.nn.losses import LOSSES, LossContext
from autoseg.nn.losses.dice_ce import DiceCrossEntropy, DiceCrossEntropyOptions
from autoseg.nn.losses.targets import Targets
from planners.schema.base import Frozen

_SMOOTH = 5e-6  # keeps the index of an empty class defined


class TverskyOptions(Frozen):
    """`missed` weighs false negatives, and what it lacks of 1 false positives. At one half the index is Dice."""

    missed: float = Field(default=0.5, ge=0, le=1)


@LOSSES.register("tversky_ce", TverskyOptions)
class TverskyCrossEntropy:
    """1 - Tversky index of the foreground heads (Salehi et al. 2017) + cross-entropy over all heads.

    Voxels that do not count are left out of both terms. Without options it equals `dice_ce`.
    """

    def __init__(self, options: TverskyOptions, context: LossContext):
        self.options, self.regions, self.batch_dice = options, context.regions, context.batch_dice
        self.entropy = DiceCrossEntropy(DiceCrossEntropyOptions(dice_weight=0), context)

    def __call__(self, logits_BKDHW: torch.Tensor, targets: Targets) -> torch.Tensor:
        logits, counted, truth = logits_BKDHW.float(), targets.counted_B1DHW, targets.truth_BKDHW
        probability = torch.sigmoid(logits) if self.regions else torch.softmax(logits, dim=1)[:, 1:]
        truth = truth if self.regions else truth[:, 1:]
        if counted is not None:
            probability, truth = torch.where(counted, probability, 0.0), truth & counted
        axes = tuple(range(2, logits.ndim))
        hit = torch.where(truth, probability, 0.0).sum(axes)
        sums = torch.stack([hit, truth.sum(axes) - hit, probability.sum(axes) - hit])
        taught = torch.ones_like(hit, dtype=torch.bool) if targets.annotated_BK is None else targets.annotated_BK
        sums = torch.where(taught, sums, 0.0)  # nobody annotated the others: they teach nothing
        if self.batch_dice:
            sums, taught = sums.sum(1), taught.any(0)
        hit, missed, invented = sums
        weight = self.options.missed
        index = (hit + _SMOOTH) / (hit + weight * missed + (1 - weight) * invented + _SMOOTH)
        index = torch.where(taught, index, 0.0).sum() / taught.sum().clamp(min=1)
        return 1 - index + self.entropy(logits_BKDHW, targets)
