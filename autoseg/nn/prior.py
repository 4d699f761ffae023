"""The probabilities that an untrained network predicts (Lin et al. 2017, section 3.3)."""

import math
from collections.abc import Sequence

import torch

from autoseg.base.errors import UserError
from autoseg.nn.networks import Network

_LEAST_BACKGROUND = 0.01


def start_at(network: Network, prior: Sequence[float], *, regions: bool) -> None:
    """Set the biases of the network's `logit_layers` so that its logits start near those of the `prior` of each
    foreground name.

    Each region starts at the logit of its own prior. With plain labels background gets what the others leave, at least 1 %.
    Without a prior, and in a network that names no such layers, nothing changes. Raises UserError where such a layer has no
    bias of one value per output.

    A network that starts with equal probabilities learns background first. With a momentum of .99 it continues in that
    direction for too long: foreground becomes so improbable that its Dice has no gradient left (docs/decisions/0016).
    """
    if not prior:
        return
    if regions:
        bias_K = torch.tensor([math.log(p / (1 - p)) for p in prior])
    else:
        bias_K = torch.tensor([max(1 - sum(prior), _LEAST_BACKGROUND), *prior]).log()
    for layer in getattr(network, "logit_layers", ()):
        bias = getattr(layer, "bias", None)
        if not isinstance(bias, torch.Tensor) or bias.shape != bias_K.shape:
            raise UserError("a layer of logits has no bias that could start at the prior", where=type(network).__name__,
                            found=layer, expected=f"a bias of {len(bias_K)} values",
                            do="name other logit_layers, or train with --set 'prior=[]'")
        with torch.no_grad():
            bias.copy_(bias_K)
