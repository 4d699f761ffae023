"""Cross-attention: positions of the bottleneck attend to what is known of the patient."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from autoseg.base.errors import UserError
from autoseg.clinical.encoded import ConditionBatch, Layout
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.nn.conditioning.patient import keep_variance, known_tokens, known_values, zero_linear
from planners.schema.base import Frozen

MAX_QUERIES = 512
MIN_WIDTH = 64  # narrower ones learn late or never
_POOL: dict[int, Callable[..., torch.Tensor]] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
_MODE = {2: "bilinear", 3: "trilinear"}


class TokensOptions(Frozen):
    """`width` of the tokens, None: half of the bottleneck's channels, at least 64; a multiple of `heads`."""

    width: int | None = Field(default=None, gt=0)
    layers: int = Field(default=2, gt=0)
    heads: int = Field(default=8, gt=0)


@CONDITIONERS.register("tokens", TokensOptions)
class Tokens(nn.Module):
    """Cross-attention of the bottleneck, pooled to at most 512 places, over the patient's tokens (Vaswani et al. 2017).

    There is a token for each column and vector, one for each token of a bag, and a null token, so that no place attends
    to nothing. What attention gives becomes, by a layer that starts at zero, a scale and a shift of every channel at
    every place, brought back to the bottleneck's resolution. A shift alone is learned late: most of it is removed by
    the normalisation that follows.
    """

    def __init__(self, options: TokensOptions, context: ConditionerContext):
        super().__init__()
        channels, heads = context.channels, options.heads
        width = options.width or heads * (max(MIN_WIDTH, channels[-1] // 2) // heads)
        if width % heads:
            raise UserError("the width of conditioning by tokens is not a multiple of its heads",
                            where="conditioning.options", found=f"{width} and {heads}")
        self.layout, self.dimensions = context.layout, context.dimensions
        self.to_query = nn.Linear(channels[-1], width)
        self.patient = PatientTokens(self.layout, width)
        self.layers = nn.ModuleList(CrossAttention(width, heads) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        keep_variance(self)
        self.gate = zero_linear(width, 2 * channels[-1])

    def forward(self, features: list[torch.Tensor], conditions: ConditionBatch | None) -> list[torch.Tensor]:
        if conditions is None or not self.layout.inputs:
            return features
        bottleneck = features[-1]
        # Small matrices, of which single precision costs little, and in which small differences between patients count.
        with torch.autocast(bottleneck.device.type, enabled=False):
            gamma, beta = self.affine(bottleneck.float(), conditions).to(bottleneck.dtype).chunk(2, dim=1)
        return [*features[:-1], bottleneck * (1 + gamma) + beta]

    def affine(self, bottleneck: torch.Tensor, conditions: ConditionBatch) -> torch.Tensor:
        """Scales and shifts (B, 2 C, *space) of a bottleneck (B, C, *space); 0 where nothing is known of a patient."""
        tokens_BSW, readable_BS, anything_B = self.patient(conditions)
        x_BQW, shape = self._queries(bottleneck)
        for layer in self.layers:
            x_BQW = layer(x_BQW, tokens_BSW, readable_BS)
        affine = self.gate(self.norm(x_BQW)).transpose(1, 2).unflatten(2, shape)
        affine = torch.where(anything_B[(..., *[None] * (affine.ndim - 1))], affine, 0.0)
        if shape == tuple(bottleneck.shape[2:]):
            return affine
        return F.interpolate(affine, size=bottleneck.shape[2:], mode=_MODE[self.dimensions])

    def attention_maps(self, bottleneck: torch.Tensor, conditions: ConditionBatch) -> torch.Tensor:
        """(B, 1 + inputs, *places): what each place of the bottleneck, pooled to at most 512, reads of the null token and of
        each input, all of its tokens together; the mean over heads and layers. The sum over the second axis is 1.
        """
        tokens_BSW, readable_BS, _ = self.patient(conditions)
        x_BQW, shape = self._queries(bottleneck)
        layers = []
        for layer in map(lambda part: cast(CrossAttention, part), self.layers):
            layers.append(layer.scores(x_BQW, tokens_BSW, readable_BS).mean(1))
            x_BQW = layer(x_BQW, tokens_BSW, readable_BS)
        scores_BQS = torch.stack(layers).mean(0)
        counts = [1, *(1 + (1 if item.entries is not None else conditions.bags[item.name].tokens_BTE.shape[1])
                       for item in self.layout.inputs)]  # each input has a token more, which says that it is missing
        inputs = [part.sum(2) for part in scores_BQS.split(counts, dim=2)]
        return torch.stack(inputs, 1).unflatten(2, shape)

    def _queries(self, bottleneck: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
        """The places of a bottleneck (B, Q, W), and how many lie along each axis."""
        shape = pooled_shape(bottleneck.shape[2:])
        return self.to_query(_POOL[self.dimensions](bottleneck, shape).flatten(2).transpose(1, 2)), shape


class PatientTokens(nn.Module):
    """All that is known of a patient as tokens (B, S, W), which of them may be read (B, S), and if anything is known (B,).

    The first is the null token. A column or vector is a linear map of its values and of which are known, plus a
    learned vector of its type. A missing one, and a missing bag, have a learned token of their own.
    """

    def __init__(self, layout: Layout, width: int):
        super().__init__()
        self.inputs = layout.inputs
        self.maps = nn.ModuleList(nn.Linear(item.width * (1 if item.entries is None else 2), width, bias=False)
                                  for item in layout.inputs)
        self.null = nn.Parameter(torch.randn(width))
        self.types = nn.Parameter(torch.randn(len(layout.inputs), width))
        self.missing = nn.Parameter(torch.randn(len(layout.inputs), width))

    def forward(self, conditions: ConditionBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        values_BK, known_BK = known_values(conditions)
        tokens = [self.null.expand(len(values_BK), 1, -1)]
        readable = [known_BK.new_ones(len(values_BK), 1)]
        anything_B = known_BK.any(1)
        for index, (item, to_token) in enumerate(zip(self.inputs, self.maps, strict=True)):
            entries = item.entries
            if entries is None:
                entries_BTE, known_BT = known_tokens(conditions, item.name)
            else:
                known_B1K = known_BK[:, None, entries]
                entries_BTE = torch.cat([values_BK[:, None, entries], known_B1K.to(values_BK.dtype)], dim=2)
                known_BT = known_B1K.any(2)
            lacking_B1 = ~known_BT.any(1, keepdim=True)
            tokens += [to_token(entries_BTE) + self.types[index], self.missing[index].expand(len(values_BK), 1, -1)]
            readable += [known_BT, lacking_B1]
            anything_B = anything_B | ~lacking_B1[:, 0]
        return torch.cat([token.to(self.null.dtype) for token in tokens], dim=1), torch.cat(readable, dim=1), anything_B


class CrossAttention(nn.Module):
    """A transformer's layer without attention among the queries: cross-attention, then a small network for each.

    Queries (B, Q, W), tokens (B, S, W), and which tokens may be read (B, S), of which at least one per row.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_tokens, self.norm_hidden = (nn.LayerNorm(width) for _ in range(3))
        self.to_query, self.to_result = nn.Linear(width, width), nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x_BQW: torch.Tensor, tokens_BSW: torch.Tensor, readable_BS: torch.Tensor) -> torch.Tensor:
        query, keys, values = self._by_head(x_BQW, tokens_BSW)
        answers = F.scaled_dot_product_attention(query, keys, values, attn_mask=readable_BS[:, None, None])
        x_BQW = x_BQW + self.to_result(answers.transpose(1, 2).flatten(2))
        return x_BQW + self.hidden(self.norm_hidden(x_BQW))

    def scores(self, x_BQW: torch.Tensor, tokens_BSW: torch.Tensor, readable_BS: torch.Tensor) -> torch.Tensor:
        """(B, heads, Q, S): how much each query reads of each token; the sum of the last axis is 1."""
        query, keys, _ = self._by_head(x_BQW, tokens_BSW)
        scores = query @ keys.transpose(2, 3) * query.shape[-1] ** -0.5
        return torch.where(readable_BS[:, None, None], scores, -torch.inf).softmax(-1)

    def _by_head(self, x_BQW: torch.Tensor, tokens_BSW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each (B, heads, number, W / heads)."""
        keys, values = self.to_key_value(self.norm_tokens(tokens_BSW)).chunk(2, dim=2)
        query, keys, values = (part.unflatten(2, (self.heads, -1)).transpose(1, 2)
                               for part in (self.to_query(self.norm_queries(x_BQW)), keys, values))
        return query, keys, values


def pooled_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with its longest axes halved (rounded up) until it has at most MAX_QUERIES places."""
    pooled = list(shape)
    while torch.Size(pooled).numel() > MAX_QUERIES:
        axis = pooled.index(max(pooled))
        pooled[axis] = -(-pooled[axis] // 2)
    return tuple(pooled)
