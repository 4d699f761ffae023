"""DAFT: scale and shift depend on the patient's vector and on what the image shows, together."""

import torch
from pydantic import Field
from torch import nn

from autoseg.clinical.encoded import ConditionBatch
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.conditioning.patient import PatientVector, keep_variance, modulated, zero_linear
from planners.schema.base import Frozen


class DaftOptions(Frozen):
    """`bottleneck` is the width between the two layers."""

    bottleneck: int = Field(default=7, gt=0)


@CONDITIONERS.register("daft", DaftOptions)
class Daft(nn.Module):
    """Dynamic affine feature map transform (Poelsterl et al. 2021) of what the decoder is given, one block per stage."""

    def __init__(self, options: DaftOptions, context: ConditionerContext):
        super().__init__()
        self.layout = context.layout
        if self.layout.inputs:
            self.patient = PatientVector(self.layout)
            self.blocks = nn.ModuleList(Block(c, self.patient.width, options.bottleneck) for c in context.channels)

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        if conditions is None or not self.layout.inputs:
            return features
        vector_BV, anything_B = self.patient(conditions)
        return [modulated(stage, torch.where(anything_B[:, None], block(stage, vector_BV), 0.0))
                for stage, block in zip(features, self.blocks, strict=True)]


class Block(nn.Module):
    """[mean of each channel over the volume; patient's vector] -> bottleneck -> scales and shifts (B, 2 C), without bias.

    The first layer is written as the sum of two, each initialised by its own width: in a single one, hundreds of
    channels would outweigh a few columns.
    """

    def __init__(self, channels: int, vector: int, bottleneck: int):
        super().__init__()
        self.seen = nn.Linear(channels, bottleneck, bias=False)
        self.told = nn.Linear(vector, bottleneck, bias=False)  # of the patient; the name is in the weights of saved models
        keep_variance(self)
        self.to_affine = zero_linear(bottleneck, 2 * channels)

    def forward(self, stage: torch.Tensor, vector_BV: torch.Tensor) -> torch.Tensor:
        hidden = self.seen(stage.flatten(2).mean(2).to(vector_BV.dtype)) + self.told(vector_BV)
        return self.to_affine(nn.functional.leaky_relu(hidden))
