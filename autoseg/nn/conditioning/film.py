"""FiLM: a small network turns the patient's vector into a scale and a shift of every channel of every stage."""

import torch
from torch import nn

from autoseg.clinical.encoded import ConditionBatch
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.conditioning.patient import RECTIFIED, PatientVector, keep_variance, modulated, zero_linear
from planners.registry import NoOptions

_WIDE, _NARROW = 64, 16


@CONDITIONERS.register("film")
class Film(nn.Module):
    """Feature-wise linear modulation (Perez et al. 2018) of what the decoder is given.

    Vector -> 64 -> 16 -> 2 C of each stage. The normalisation that follows in the decoder removes a shift that is the
    same everywhere; what it cannot remove is the scale, by which one channel outweighs another.
    """

    def __init__(self, options: NoOptions, context: ConditionerContext):
        super().__init__()
        self.layout = context.layout
        if self.layout.inputs:
            self.patient = PatientVector(self.layout)
            self.trunk = nn.Sequential(nn.Linear(self.patient.width, _WIDE), nn.LeakyReLU(),
                                       nn.Linear(_WIDE, _NARROW), nn.LeakyReLU())
            keep_variance(self.trunk, RECTIFIED)
            self.heads = nn.ModuleList(zero_linear(_NARROW, 2 * c) for c in context.channels)

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        if conditions is None or not self.layout.inputs:
            return features
        vector_BV, anything_B = self.patient(conditions)
        hidden_BH = torch.where(anything_B[:, None], self.trunk(vector_BV), 0.0)
        return [modulated(stage, head(hidden_BH)) for stage, head in zip(features, self.heads, strict=True)]
