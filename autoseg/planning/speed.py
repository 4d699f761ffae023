"""What the parts of a training step reach on a device, measured: what planning to a time budget starts from."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.nn.losses import LOSSES, LossContext
from autoseg.nn.losses.targets import Targets
from autoseg.nn.networks.blocks import CONV, SLOPE, ConvBlock
from autoseg.nn.networks.norm import InstanceNorm
from planners.architectures.step import BYTES, PASSES
from planners.schema.base import Part
from planners.schema.hardware import Rate, StepSpeed

# Maps that stand for those of U-Nets: by channels, the edges of a batch of two; a GPU is asked for more voxels.
_SOLID = {2: (12, 32, 56), 16: (12, 32, 56), 32: (10, 20, 28), 64: (8, 12, 14), 128: (6, 8, 10)}
_FLAT = {2: (160, 136), 16: (160, 136), 32: (112, 104), 64: (56, 56), 128: (28, 30)}
_MAPS = ((16, (16, 32, 64)), (32, (40, 56, 40)))  # channels and edges: within the cache of most processors, and beyond
_DEEP = (128, (4, 4, 8))  # few voxels and many weights
_TINY = (16, (4, 4, 4))
_LOGITS = (4, (32, 32, 64))
_LARGER_ON_GPU = 3
_BATCH = 2
_NARROWEST = 16  # channels on the wider side: a U-Net's first convolution reads few and writes these
_ROUNDS = 2
_SECONDS = 0.02  # of measuring for each part in a round, after a first run
_RUNS = (1, 50)


def measured_speed(runtime: Runtime) -> StepSpeed:
    """The speed of a device in its precision, with torch's number of threads; takes about three seconds.

    Of several runs the fastest counts: other work of the machine slows the others. It may do so for half a second, so all
    parts are measured in rounds.
    """
    with runtime.same_shapes(), _drawing_nothing():
        probe = _Probe(runtime)
        return [_speed(probe) for _ in range(_ROUNDS)][-1]


def _speed(probe: "_Probe") -> StepSpeed:
    solid, flat = ([Rate(size=channels, per_s=probe.convolution(channels, edges)) for channels, edges in maps.items()]
                   for maps in (_SOLID, _FLAT))
    reached = {rate.size: rate.per_s for rate in solid}
    layer = probe.block_seconds(*_TINY)
    return StepSpeed(
        solid=tuple(solid), flat=tuple(flat), maps=tuple(probe.passing(*shape) for shape in _MAPS),
        strided=min(1.0, probe.convolution(32, _SOLID[32], strided=True) / reached[32]),
        seconds_per_weight=probe.seconds_per_weight(*_DEEP, reached[_DEEP[0]], layer),
        seconds_per_layer=layer, seconds_per_logit=probe.seconds_per_logit(*_LOGITS))


@contextmanager
def _drawing_nothing() -> Iterator[None]:
    """Weights are drawn as if nobody had drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class _Probe:
    """Measures parts; one that is measured again has the fastest of all its runs."""

    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self.fastest: dict[str, float] = {}

    def convolution(self, channels: int, edges: Sequence[int], strided: bool = False) -> float:
        """FLOP/s of the forward and backward pass."""
        edges, n = self._size(edges), len(edges)
        stride = 2 if strided else 1
        wider = max(channels, _NARROWEST)
        layer = CONV[n](channels, wider, (3,) * n, stride, 1)
        outputs = math.prod(edge // stride for edge in edges) * _BATCH
        return 3 * 2 * 3**n * channels * wider * outputs / self._seconds(layer, channels, edges)

    def passing(self, channels: int, edges: Sequence[int]) -> Rate:
        """Bytes/s of normalisation and rectifier."""
        edges = self._size(edges)
        n_bytes = BYTES * channels * math.prod(edges) * _BATCH
        norm = InstanceNorm(channels)
        seconds = self._seconds(norm, channels, edges, lambda image: norm.rectified(image, SLOPE))
        return Rate(size=n_bytes, per_s=PASSES["normalised and rectified"] * n_bytes / seconds)

    def block_seconds(self, channels: int, edges: Sequence[int]) -> float:
        """Seconds of a block that has next to nothing to compute."""
        return self._seconds(ConvBlock(channels, channels, (3,) * len(edges)), channels, edges)

    def seconds_per_weight(self, channels: int, edges: Sequence[int], flops_per_s: float, layer_seconds: float) -> float:
        """What a convolution of few voxels costs beyond its FLOPs."""
        weights = 3 ** len(edges) * channels**2
        seconds = self._seconds(CONV[len(edges)](channels, channels, 3, padding=1), channels, edges)
        computing = 3 * 2 * weights * math.prod(edges) * _BATCH / flops_per_s
        return max(0.0, seconds - computing - layer_seconds) / weights

    def seconds_per_logit(self, classes: int, edges: Sequence[int]) -> float:
        """Of the default loss, on logits as heads give them."""
        edges = self._size(edges)
        loss = LOSSES.make(Part(name="dice_ce"), LossContext(regions=False, batch_dice=True))
        label = torch.zeros(_BATCH, *edges, dtype=torch.long, device=self.runtime.device)

        def compare(logits: torch.Tensor) -> torch.Tensor:
            truth = torch.eye(classes, dtype=torch.bool, device=label.device)[label].movedim(-1, 1)
            return loss(logits, Targets(truth, None))

        seconds = self._seconds(nn.Identity(), classes, edges, compare, contiguous=True)
        return seconds / (classes * math.prod(edges) * _BATCH)

    def _size(self, edges: Sequence[int]) -> tuple[int, ...]:
        return tuple(edge * (1 if self.runtime.device.type == "cpu" else _LARGER_ON_GPU) for edge in edges)

    def _seconds(self, layer: nn.Module, channels: int, edges: Sequence[int],
                 forward: Callable[[torch.Tensor], torch.Tensor] | None = None, contiguous: bool = False) -> float:
        """Seconds of the forward and backward pass of a layer, or of what is done with it; the fastest run."""
        layer = self.runtime.arranged(layer, len(edges))
        image = torch.randn(_BATCH, channels, *edges)
        image = image.to(self.runtime.device) if contiguous else self.runtime.arranged(image, len(edges))
        image.requires_grad_()
        forward = forward or layer
        with self.runtime.autocast():
            gradient = torch.randn_like(forward(image))

        def run() -> None:
            with self.runtime.autocast():
                result = forward(image)
            result.backward(gradient)
            image.grad = None
            self.runtime.wait()

        part = f"{layer}, {channels}, {edges}"
        if part not in self.fastest:
            run()
        taken: list[float] = []
        while len(taken) < _RUNS[0] or (sum(taken) < _SECONDS and len(taken) < _RUNS[1]):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
        self.fastest[part] = min([*taken, self.fastest.get(part, math.inf)])
        return self.fastest[part]
