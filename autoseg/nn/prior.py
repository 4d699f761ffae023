"""The probabilities that an untrained network answers with (Lin et al. 2017, section 3.3)."""

import math
from collections.abc import Sequence

import torch

from autoseg.nn.networks import Network


def start_at(network: Network, prior: Sequence[float], *, regions: bool) -> None:
    """Set the biases of the network's heads so that its logits begin around those of the `prior` of each foreground name.

    Of regions that is the logit of each; else background takes what the others leave. Without a prior, and in a network
    that names no `heads`, nothing changes.

    A head that begins at even odds spends its first iterations on background, and with a momentum of .99 it goes on long
    after there is nothing to gain: foreground is then so improbable that its Dice has no gradient left
    (docs/decisions/0016).
    """
    if not prior:
        return
    if regions:
        bias_K = [math.log(p / (1 - p)) for p in prior]
    else:
        rest = max(1 - sum(prior), min(prior))  # rounding, or labels that fill the whole image, leave something
        bias_K = [math.log(p) for p in (rest, *prior)]
    with torch.no_grad():
        for head in getattr(network, "heads", ()):
            head.bias.copy_(torch.tensor(bias_K))
