"""The layers of a vision transformer: attention with rotary positions, SwiGLU, layer scale and drop path.

Tokens are (B, N, W): samples, places, width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from autoseg.base.ranks import ranks

_SLOWEST = 100.0  # tokens over which the slowest pair of channels turns by one radian (Heo et al. 2024)


class Layer(nn.Module):
    """Attention among all tokens, then SwiGLU for each; both behind a normalisation, beside a shortcut."""

    def __init__(self, width: int, hidden: int, heads: int, scale: float):
        super().__init__()
        self.norm_attention, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.gated = SwiGLU(width, hidden)
        self.scale_attention = nn.Parameter(torch.full((width,), scale))
        self.scale_hidden = nn.Parameter(torch.full((width,), scale))

    def forward(self, x_BNW: torch.Tensor, turns_2NP: torch.Tensor, kept_2B: torch.Tensor | None) -> torch.Tensor:
        """`kept_2B` is the factor of either branch in each sample; None: 1."""
        kept = (1.0, 1.0) if kept_2B is None else kept_2B[..., None, None].to(x_BNW.dtype).unbind()
        x_BNW = x_BNW + self.attention(self.norm_attention(x_BNW), turns_2NP) * self.scale_attention * kept[0]
        return x_BNW + self.gated(self.norm_hidden(x_BNW)) * self.scale_hidden * kept[1]


class Attention(nn.Module):
    """Attention of every token to every token, whose scores depend on how far apart two are (Su et al. 2021)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_query_key = nn.Linear(width, 2 * width, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.to_result = nn.Linear(width, width)

    def forward(self, x_BNW: torch.Tensor, turns_2NP: torch.Tensor) -> torch.Tensor:
        query, key = self._query_key(x_BNW, turns_2NP)
        answers = F.scaled_dot_product_attention(query, key, self._by_head(self.to_value(x_BNW)))
        return self.to_result(answers.transpose(1, 2).flatten(2))

    def scores(self, x_BNW: torch.Tensor, turns_2NP: torch.Tensor) -> torch.Tensor:
        """(B, heads, N, N): how much each token (third axis) takes from each (fourth); the sum of the fourth is 1."""
        query, key = self._query_key(x_BNW, turns_2NP)
        return (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(-1)

    def _query_key(self, x_BNW: torch.Tensor, turns_2NP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query, key = self.to_query_key(x_BNW).chunk(2, dim=2)
        return turned(self._by_head(query), turns_2NP), turned(self._by_head(key), turns_2NP)

    def _by_head(self, x_BNW: torch.Tensor) -> torch.Tensor:
        return x_BNW.unflatten(2, (self.heads, -1)).transpose(1, 2)


class SwiGLU(nn.Module):
    """A token's own network, of which one half gates the other (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.to_hidden, self.to_result = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x_BNW: torch.Tensor) -> torch.Tensor:
        gate, values = self.to_hidden(x_BNW).chunk(2, dim=2)
        return self.to_result(F.silu(gate) * values)


class DropPath(nn.Module):
    """Which branches of which samples take part in a step (Huang et al. 2016): later layers are left out more often.

    The draws follow from a counter that is saved with the weights, so that a training that was stopped goes on with the
    draws that it would have had.
    """

    counter: torch.Tensor

    def __init__(self, depth: int, most: float):
        super().__init__()
        self.register_buffer("counter", torch.zeros((), dtype=torch.long))
        self.rates = [most * layer / max(1, depth - 1) for layer in range(depth)]

    def forward(self, n_samples: int) -> torch.Tensor:
        """(depth, 2, B): 0 where a branch is left out, else what keeps its mean. Of several processes that train together
        each has the draws of its part of the batch.
        """
        device, part = self.counter.device, ranks()
        whole = part.n * n_samples
        places = torch.arange(2 * len(self.rates) * whole, device=device).view(len(self.rates), 2, whole)
        places = places[..., part.rank * n_samples : (part.rank + 1) * n_samples]
        rates = torch.tensor(self.rates, device=device)[:, None, None]
        kept = _uniform(self.counter * 2**20 + places) >= rates
        self.counter += 1
        return kept / (1 - rates)


def _uniform(numbers: torch.Tensor) -> torch.Tensor:
    """A number in [0, 1) for each integer, as if drawn (the mixing of SplitMix, Steele et al. 2014)."""
    x = (numbers + 1) * -7046029254386353131  # 2**64 over the golden ratio, as a signed number
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return ((x >> 32) & 0xFFFFFF) / float(1 << 24)


def turns_of(grid: tuple[int, ...], head_width: int, device: torch.device) -> torch.Tensor:
    """Cosine and sine (2, N, P) by which the pairs of channels of each token are turned.

    Each axis turns an equal share of the pairs, by its index times rates from 1 down to 1 / 100. There is no table of
    places, so every grid has its turns.
    """
    pairs = head_width // (2 * len(grid))
    rates = _SLOWEST ** -(torch.arange(pairs, device=device, dtype=torch.float32) / pairs)
    places = torch.meshgrid(*[torch.arange(n, device=device, dtype=torch.float32) for n in grid], indexing="ij")
    angles = torch.cat([place.flatten()[:, None] * rates for place in places], dim=1)
    return torch.stack([angles.cos(), angles.sin()])


def turned(x_BHND: torch.Tensor, turns_2NP: torch.Tensor) -> torch.Tensor:
    """The first 2 P channels in pairs, turned; what no axis has a share in stays."""
    cosine, sine = turns_2NP.to(x_BHND.dtype)
    n = cosine.shape[1]
    first, second, rest = x_BHND[..., :n], x_BHND[..., n : 2 * n], x_BHND[..., 2 * n :]
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine, rest], dim=-1)
