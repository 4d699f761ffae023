"""Linear FiLM: scales and shifts are linear in what is known of a patient, before the decoder and in each of its stages."""

import torch
from torch import nn

from autoseg.clinical.encoded import ConditionBatch, Layout
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.conditioning.patient import PatientVector, modulated, zero_linear
from autoseg.nn.networks import Modulate
from planners.registry import NoOptions

SIZE = 3.0  # of the vector; as the layers start at zero, it is how fast they learn beside the network (docs/decisions/0067)
FEW_INPUTS = 4  # so many columns were measured; of more, each moves a scale less, and all together as far as these


@CONDITIONERS.register("linear_film", in_decoder=True)
class LinearFilm(nn.Module):
    """Feature-wise linear modulation (Perez et al. 2018) without hidden layers, of what the decoder is given and of what its
    stages make, from which the logits are taken.

    An adaptive optimiser moves every weight about equally far in a step. So what a column says consistently adds up in a
    linear layer, and what others say by chance does not; a hidden layer mixes them before anything is learned
    (docs/decisions/0067).
    """

    inputs_NK: torch.Tensor

    def __init__(self, options: NoOptions, context: ConditionerContext):
        super().__init__()
        self.layout = context.layout
        if self.layout.inputs:
            self.patient = PatientVector(self.layout)
            width = self.patient.width - self.layout.n_values
            self.register_buffer("inputs_NK", inputs_of(self.layout), persistent=False)
            self.encoder_affine, self.decoder_affine = (
                nn.ModuleList(zero_linear(width, 2 * c) for c in channels)
                for channels in (context.channels, context.decoder_channels))

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        if conditions is None or not self.layout.inputs:
            return features
        vector_BV = self._known(conditions)
        return [modulated(stage, layer(vector_BV))
                for stage, layer in zip(features, self.encoder_affine, strict=True)]

    def in_decoder(self, conditions: ConditionBatch | None) -> Modulate | None:
        """What changes the features of each stage of the decoder; None where nothing does."""
        if conditions is None or not self.layout.inputs:
            return None
        vector_BV = self._known(conditions)
        return lambda stage, features: modulated(features, self.decoder_affine[stage](vector_BV))

    def _known(self, conditions: ConditionBatch) -> torch.Tensor:
        """The patient's vector (B, V), every input about as large as any other, and 0 where it is not known.

        So in one step a vector of a thousand entries moves a scale as far as a number does, or a category, of whose entries
        one is not 0. Which values are known is left out: a patient of whom nothing is known is the median one, not one of
        a kind of its own, from which a short training would have to learn again what is common to all.
        """
        vector_BV, _ = self.patient(conditions)
        n_values, n_inputs = self.layout.n_values, len(self.layout.inputs)
        values_BK, _, bags = vector_BV.tensor_split((n_values, 2 * n_values), dim=1)
        size = SIZE * min(1.0, FEW_INPUTS / n_inputs)
        return size * torch.cat([values_BK / self._entries_beside(values_BK), bags], dim=1)

    def _entries_beside(self, values_BK: torch.Tensor) -> torch.Tensor:
        """For every entry (B, K), how many entries of its input are not 0, at least 1."""
        inputs_NK = self.inputs_NK.to(values_BK.dtype)
        return ((values_BK != 0).to(values_BK.dtype) @ inputs_NK.T).clamp(min=1) @ inputs_NK


def inputs_of(layout: Layout) -> torch.Tensor:
    """(N, K): 1 where an encoded value belongs to a column or vector."""
    owned = [item.entries for item in layout.inputs if item.entries is not None]
    inputs_NK = torch.zeros(len(owned), layout.n_values)
    for number, entries in enumerate(owned):
        inputs_NK[number, entries] = 1
    return inputs_NK
