"""How fast a device convolves: the figure that planning to a time budget starts from."""

import time

import torch
from torch import nn

from autoseg.base.runtime import Runtime

_CHANNELS, _SIDE, _BATCH = 32, 32, 2
_SECONDS = 1.0


def convolution_flops_per_s(runtime: Runtime) -> float:
    """FLOP/s of the forward and backward pass of 3x3x3 convolutions of a U-Net's shape; takes a second."""
    side = _SIDE if runtime.device.type == "cpu" else 3 * _SIDE
    layer = runtime.arranged(nn.Sequential(*[nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1) for _ in range(2)]), 3)
    image = runtime.arranged(torch.zeros(_BATCH, _CHANNELS, side, side, side), 3).requires_grad_()

    def run() -> None:
        with runtime.autocast():
            total = layer(image).sum()
        total.backward()
        total.item()  # waits for the device

    run()
    first_start, fastest = time.perf_counter(), float("inf")
    while time.perf_counter() - first_start < _SECONDS:
        start = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - start)  # other work of the machine slows the other runs
    flops = 3 * 2 * len(layer) * 27 * _CHANNELS**2 * _BATCH * side**3
    return flops / fastest
