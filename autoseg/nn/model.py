"""Plan -> nn.Module: fusion before a network, conditioning between its encoder and decoder."""

import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.clinical.encoded import NO_CONDITIONS, ConditionBatch, Layout
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.fusion import FUSIONS, Fusion, FusionContext
from autoseg.nn.networks import NETWORKS, Network, NetworkContext
from autoseg.nn.prior import start_at
from planners.schema.plan import Configuration, Plan


class Model(nn.Module):
    """A segmentation model.

    `forward` takes an image (B, C, *space), presence (B, C) or None (all present), conditions or None, and the voxels
    outside each channel's field of view (B, C, *space) or None (there are none). Beyond the plan's channels the image may
    have extra ones (a cascade's earlier prediction), which fusion does not touch. In training it gives logits
    (B, K, *space) of every decoder stage, full resolution first; in evaluation only the first.
    """

    def __init__(self, fusion: Fusion, network: Network, conditioning: nn.Module, n_channels: int):
        super().__init__()
        self.fusion = fusion
        self.network = network
        self.conditioning = conditioning
        self.n_channels = n_channels

    def forward(self, image_BCDHW: torch.Tensor, present_BC: torch.Tensor | None = None,
                conditions: ConditionBatch | None = None, absent_BCDHW: torch.Tensor | None = None
                ) -> list[torch.Tensor] | torch.Tensor:
        features = self.conditioning(self.encode(image_BCDHW, present_BC, absent_BCDHW), conditions)
        logits = self.network.decode(features, every_stage=self.training)
        return logits if self.training else logits[0]

    def encode(self, image_BCDHW: torch.Tensor, present_BC: torch.Tensor | None = None,
               absent_BCDHW: torch.Tensor | None = None) -> list[torch.Tensor]:
        """Features of every stage from the image alone, before anything conditions them; the bottleneck is the last."""
        return self.network.encode(self.fused(image_BCDHW, present_BC, absent_BCDHW))

    def fused(self, image_BCDHW: torch.Tensor, present_BC: torch.Tensor | None, absent_BCDHW: torch.Tensor | None
              ) -> torch.Tensor:
        """What the network is given, of the same arguments as `forward`."""
        fused = self.fusion(image_BCDHW[:, : self.n_channels], available(present_BC, absent_BCDHW, image_BCDHW.ndim))
        if image_BCDHW.shape[1] > self.n_channels:
            fused = torch.cat([fused, image_BCDHW[:, self.n_channels :]], dim=1)
        return fused


def build_model(plan: Plan, configuration: Configuration, layout: Layout = NO_CONDITIONS, *, n_outputs: int | None = None
                ) -> Model:
    """The untrained model of a configuration, for conditions of a layout. It has a head per label of the plan, or
    `n_outputs` heads of another meaning.

    An unknown part is a UserError that names the known ones.
    """
    n_channels = len(plan.channels)
    n_extra = len(plan.labels.foreground) if configuration.previous else 0
    architecture = configuration.architecture
    try:
        fusion = FUSIONS.make(configuration.fusion, FusionContext(n_channels, configuration.dimensions))
        network = NETWORKS.make(configuration.network, NetworkContext(architecture, fusion.n_outputs + n_extra,
                                                                      n_outputs or plan.labels.n_heads))
        conditioning = CONDITIONERS.make(configuration.conditioning, ConditionerContext(
            architecture.channels, layout, configuration.dimensions))
    except KeyError as error:
        raise UserError(f"the plan of {plan.dataset} cannot be built", found=error.args[0],
                        do="a part of your own is known only with --plugin MODULE") from error
    if n_outputs is None:
        start_at(network, configuration.prior, regions=plan.labels.has_regions)
    return Model(fusion, network, conditioning, n_channels)


def available(present_BC: torch.Tensor | None, absent_BCDHW: torch.Tensor | None, n_axes: int) -> torch.Tensor | None:
    """What fusion may read, as `autoseg.nn.fusion` wants it."""
    present = None if present_BC is None else present_BC[(..., *[None] * (n_axes - 2))]
    if absent_BCDHW is None:
        return present
    return ~absent_BCDHW if present is None else present & ~absent_BCDHW
