"""How fast this device convolves, measured in a second: the figure that planning to a time budget starts from."""

import time
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from autoseg.base.runtime import Runtime, cores, memory_bytes

_CHANNELS, _SIDE, _BATCH = 32, 32, 2
_SECONDS = 1.0


@dataclass(frozen=True)
class ProbedHardware:
    """The hardware of a runtime (`planners.hardware.Hardware`); its speed is measured when it is first asked for."""

    runtime: Runtime

    @property
    def device(self) -> str:
        return self.runtime.device.type

    @property
    def memory_bytes(self) -> int:
        return max(1, memory_bytes(self.runtime.device))

    @property
    def cores(self) -> int:
        return cores()

    @cached_property
    def flops_per_s(self) -> float:
        """Of a 3x3x3 convolution's forward and backward pass on a U-Net's shape."""
        return _convolution_flops_per_s(self.runtime)


def _convolution_flops_per_s(runtime: Runtime) -> float:
    side = _SIDE if runtime.device.type == "cpu" else 3 * _SIDE
    layer = runtime.arranged(nn.Sequential(*[nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1) for _ in range(2)]), 3)
    image = runtime.arranged(torch.zeros(_BATCH, _CHANNELS, side, side, side), 3).requires_grad_()

    def run() -> None:
        with runtime.autocast():
            total = layer(image).sum()
        total.backward()
        total.item()  # waits for the device

    run()
    begun, fastest = time.perf_counter(), float("inf")
    while time.perf_counter() - begun < _SECONDS:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)  # what else the machine does slows the others
    flops = 3 * 2 * len(layer) * 27 * _CHANNELS**2 * _BATCH * side**3
    return flops / fastest
