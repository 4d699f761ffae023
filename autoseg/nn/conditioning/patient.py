"""What conditioners share: reading only what is known, one vector per patient, scaling and shifting of features."""

import torch
from torch import nn

from autoseg.clinical.encoded import ConditionBatch, Layout

BAG_WIDTH = 16  # features of a token bag in a patient's vector
RECTIFIED = 2**0.5  # gain of a layer before a rectifier, which halves the variance (He et al. 2015)


def known_values(conditions: ConditionBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Encoded columns and vectors (B, K), 0 where they are not known, and which are (B, K) bool."""
    return torch.where(conditions.known_BK, conditions.values_BK, 0.0), conditions.known_BK


def known_tokens(conditions: ConditionBatch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of a bag (B, T, E), 0 where they are not known, and which are (B, T) bool."""
    bag = conditions.bags[name]
    return torch.where(bag.known_BT[..., None], bag.tokens_BTE, 0.0), bag.known_BT


class PatientVector(nn.Module):
    """All that is known of a patient as one vector (B, width), and whether anything is (B,) bool.

    The vector is [values; known] of columns and vectors, and of each bag a projection of the mean of its known tokens
    and whether it has any.
    """

    def __init__(self, layout: Layout):
        super().__init__()
        self.bags = tuple(bag.name for bag in layout.bags)
        self.projections = nn.ModuleList(nn.Linear(bag.width, BAG_WIDTH, bias=False) for bag in layout.bags)
        self.width = 2 * layout.n_values + (BAG_WIDTH + 1) * len(self.bags)

    def forward(self, conditions: ConditionBatch) -> tuple[torch.Tensor, torch.Tensor]:
        values_BK, known_BK = known_values(conditions)
        parts, anything_B = [values_BK, known_BK], known_BK.any(1)
        for bag, project in zip(self.bags, self.projections, strict=True):
            tokens_BTE, known_BT = known_tokens(conditions, bag)
            count_B1 = known_BT.sum(1, keepdim=True)
            parts += [project(tokens_BTE.sum(1) / count_B1.clamp(min=1)), count_B1 > 0]
            anything_B = anything_B | known_BT.any(1)
        return torch.cat([part.to(values_BK.dtype) for part in parts], dim=1), anything_B


def zero_linear(n_inputs: int, n_outputs: int) -> nn.Linear:
    """A linear layer without bias that gives 0 until it is trained; its gradient is not 0."""
    layer = nn.Linear(n_inputs, n_outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def keep_variance(module: nn.Module, gain: float = 1.0) -> None:
    """Weights of all linear layers by their fan-in, biases 0: an input of unit variance gives an output of unit variance.

    With torch's own initialisation each layer leaves a third of the variance. After several layers and a gate at zero, the
    conditions would then be learned too late: the network would already have memorised the images.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=gain * part.in_features**-0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def modulated(features: torch.Tensor, gamma_beta_B2C: torch.Tensor) -> torch.Tensor:
    """features * (1 + gamma) + beta, channel by channel (Perez et al. 2018, with the scale written as 1 + gamma)."""
    gamma, beta = gamma_beta_B2C.to(features.dtype)[(..., *[None] * (features.ndim - 2))].chunk(2, dim=1)
    return features * (1 + gamma) + beta
