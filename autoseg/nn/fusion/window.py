"""Fusion by attention within windows, which finds in one channel what another shows a few voxels beside."""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.masking import masked_mean, of_channels, or_empty, recomputed, usable
from autoseg.nn.fusion.stem import SharedStem
from autoseg.nn.networks.blocks import TRANSPOSED
from planners.schema.base import Frozen

_STRIDE = 2  # voxels per token along every axis: at full resolution the scores alone would cost more than the network
_FALL = -3.0  # of the bias for each token beyond the halo: a twentieth of the weight
_POOL = {2: F.max_pool2d, 3: F.max_pool3d}
# Windows whose scores are held at a time: what a core's cache holds; on other devices, what keeps them busy.
_WINDOWS_AT_ONCE = {"cpu": 2**3}
_WINDOWS_AT_ONCE_ELSEWHERE = 2**10


class WindowOptions(Frozen):
    """`features` are the outputs, `width` the features of a token, shared out among `heads`.

    `window` and `halo` are in tokens of two voxels: queries of a window see keys up to `halo` beyond its border, so
    that a channel may lie 2 * halo voxels off. `chunk` is the number of windows at a time; None: by the device.
    """

    features: int = Field(default=8, gt=0)
    width: int = Field(default=16, gt=0)
    heads: int = Field(default=2, gt=0)
    window: int = Field(default=4, gt=0)
    halo: int = Field(default=1, ge=0)
    chunk: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "WindowOptions":
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads cannot share a width of {self.width} evenly")
        return self


@FUSIONS.register("window", WindowOptions)
class Window(nn.Module):
    """(B, C, *space) -> (B, F, *space): masked mean + gate * window attention, which the gate, zero at first, leaves out.

    The mean is of the channels' features at full resolution. Tokens are features of 2^n voxels of a channel. The query
    of a position is the mean of its channels' tokens; keys are the tokens of all channels in its window of 4^n and the halo
    around it (Liu et al., Swin, 2021; the halo: Vaswani et al. 2021), with one learned bias per displacement and channel. A
    transposed convolution brings the result back to full resolution.
    """

    displacement_TS: torch.Tensor

    def __init__(self, options: WindowOptions, context: FusionContext):
        super().__init__()
        n_channels, dimensions = context.n_channels, context.dimensions
        features = self.n_outputs = options.features
        width, window, halo, heads = options.width, options.window, options.halo, options.heads
        self.heads, self.window, self.halo, self.chunk = heads, window, halo, options.chunk
        self.stem = SharedStem(n_channels, dimensions, features)
        self.tokens = SharedStem(n_channels, dimensions, width, stride=_STRIDE)
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.bias = nn.Parameter(_nearness(window, halo, dimensions).repeat(heads, n_channels, 1))
        self.displacement_TS: torch.Tensor
        self.register_buffer("displacement_TS", _displacements(window, halo, dimensions), persistent=False)
        self.up = TRANSPOSED[dimensions](width, features, _STRIDE, _STRIDE)
        self.gate = nn.Parameter(torch.zeros(features))
        self.empty = nn.Parameter(torch.zeros(features))

    def forward(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        mean = masked_mean(self.stem(image_BCDHW, available), None if available is None else available.unsqueeze(2))
        attended = self.up(self._attended(image_BCDHW, available))
        attended = _starts(attended, image_BCDHW.shape[2:])  # the last token of an odd axis is half outside
        gate = self.gate.to(mean.dtype).view(-1, *[1] * (image_BCDHW.ndim - 2))
        return or_empty(mean + gate * attended, available, self.empty)

    def _attended(self, image_BCDHW: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
        """What the windows answer: (B, width, *tokens)."""
        tokens = self.norm(self.tokens(image_BCDHW, available).movedim(2, -1))  # (B, C, *tokens, width)
        grid = tokens.shape[2:-1]
        known = _known_tokens(available, tokens.shape[:-1], tokens.device).unsqueeze(-1)
        counts = [-(-n // self.window) for n in grid]
        missing = [count * self.window - n for count, n in zip(counts, grid, strict=True)]
        queries = _windows(masked_mean(tokens, known).unsqueeze(1), [(0, more) for more in missing], self.window,
                           self.window)
        around = [(self.halo, more + self.halo) for more in missing]
        keys, known = (_windows(x, around, self.window + 2 * self.halo, self.window) for x in (tokens, known))
        bias = self.bias[:, :, self.displacement_TS].transpose(1, 2).flatten(2)  # (heads, T, S)
        size = self.chunk or _WINDOWS_AT_ONCE.get(image_BCDHW.device.type, _WINDOWS_AT_ONCE_ELSEWHERE)
        parts = zip(*(x.split(size) for x in (queries, keys, known.squeeze(-1))), strict=True)
        answers = torch.cat([recomputed(self._answer, *part, bias) for part in parts])
        return _starts(_joined(answers, counts, self.window), grid)

    def _answer(self, queries_WTE: torch.Tensor, keys_WSE: torch.Tensor, known_WS: torch.Tensor, bias: torch.Tensor
                ) -> torch.Tensor:
        """W windows of T positions that ask S tokens, of all channels: (W, T, width)."""
        q = self.to_q(queries_WTE).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.to_kv(keys_WSE).chunk(2, -1))
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
        scores = scores.masked_fill(~usable(known_WS)[:, None, None], -torch.inf)
        return (torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2)


def _known_tokens(available: torch.Tensor | None, shape: torch.Size, device: torch.device) -> torch.Tensor:
    """(B, C, *tokens) bool: the stem read an available voxel for the token."""
    if available is None:
        return torch.ones((), dtype=torch.bool, device=device).expand(shape)
    if of_channels(available):
        return available.expand(shape)
    return _POOL[available.ndim - 2](available.float(), 3, _STRIDE, padding=1) > 0


def _nearness(window: int, halo: int, dimensions: int) -> torch.Tensor:
    """The bias that a displacement starts with, in the order of `_displacements`: 0 up to the halo, then falling.

    So the answers are at first of the tokens around a position, wherever in its window it lies.
    """
    reach = window + halo - 1
    beyond = (torch.arange(-reach, reach + 1).abs() - halo).clamp(min=0).float()
    return _FALL * torch.stack(torch.meshgrid(*[beyond] * dimensions, indexing="ij")).amax(0).flatten()


def _displacements(window: int, halo: int, dimensions: int) -> torch.Tensor:
    """(T, S): the number of the displacement from each of the T positions of a window to each of the S around it."""
    span = 2 * (window + halo) - 1
    asking = torch.tensor(list(itertools.product(range(window), repeat=dimensions)))
    asked = torch.tensor(list(itertools.product(range(-halo, window + halo), repeat=dimensions)))
    steps = asked[None] - asking[:, None] + window + halo - 1
    return (steps * span ** torch.arange(dimensions - 1, -1, -1)).sum(-1)


def _starts(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The first `shape` entries along the last axes, a view."""
    for axis, length in enumerate(shape, x.ndim - len(shape)):
        x = x.narrow(axis, 0, length)
    return x


def _windows(x: torch.Tensor, padding: list[tuple[int, int]], size: int, step: int) -> torch.Tensor:
    """(B, C, *tokens, E) -> (B * windows, C * size^n, E): padded by zeros (False), in windows that may overlap."""
    n = len(padding)
    x = F.pad(x, [0, 0, *itertools.chain.from_iterable(reversed(padding))])
    for axis in range(2, 2 + n):
        x = x.unfold(axis, size, step)
    batch, channels, *counts, features = x.shape[: 3 + n]
    order = (0, *range(2, 2 + n), 1, *range(3 + n, 3 + 2 * n), 2 + n)
    return x.permute(order).reshape(batch * math.prod(counts), channels * size**n, features)


def _joined(windows_WTE: torch.Tensor, counts: list[int], window: int) -> torch.Tensor:
    """(B * windows, T, E) -> (B, E, *tokens)."""
    n = len(counts)
    x = windows_WTE.reshape(-1, *counts, *[window] * n, windows_WTE.shape[-1])
    order = [0, 1 + 2 * n]
    for axis in range(1, n + 1):
        order += [axis, axis + n]
    return x.permute(order).reshape(len(x), -1, *(count * window for count in counts))
