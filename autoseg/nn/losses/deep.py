"""Deep supervision: the loss of every decoder stage, halved with each halving of the resolution."""

import torch

from autoseg.nn.losses import LOSSES, Loss, LossContext
from autoseg.nn.losses.targets import TargetEncoder, downsampled
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration


class DeepSupervision:
    """Weighted mean of a loss over decoder stages: 1, 1/2, 1/4, ..., the coarsest left out (Isensee et al. 2021)."""

    def __init__(self, loss: Loss, encoder: TargetEncoder):
        self.loss, self.encoder = loss, encoder

    def __call__(self, logits: list[torch.Tensor], label_BDHW: torch.Tensor, annotated_BK: torch.Tensor | None = None
                 ) -> torch.Tensor:
        """`annotated_BK` is as in `Batch`."""
        used = logits[: max(1, len(logits) - 1)]
        weights = [2.0**-stage for stage in range(len(used))]
        terms = [weight * self.loss(stage, self.encoder(downsampled(label_BDHW, stage.shape[2:]), annotated_BK))
                 for weight, stage in zip(weights, used, strict=True)]
        return torch.stack(terms).sum() / sum(weights)


def build_loss(labels: LabelSpec, configuration: Configuration, device: torch.device | str) -> DeepSupervision:
    """The loss that a configuration names, under deep supervision."""
    loss = LOSSES.make(configuration.loss, LossContext(labels.has_regions, configuration.batch_dice,
                                                       configuration.weights_of(labels.foreground)))
    return DeepSupervision(loss, TargetEncoder(labels, device))
