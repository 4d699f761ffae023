"""Seconds per tile of 16x32x64 voxels, predicted alone and in a batch of eight, by a plain U-Net of 16 to 128 channels; and
seconds per sample of a training step (forward and backward) on one sample and on two.

    python benchmarks/thin_tile.py [--threads 2]

torch on a CPU convolves a single thin sample ten times more slowly than one of several, unless it is called in another way
(`autoseg.nn.networks.blocks.Conv3d`).
"""

import argparse
import statistics
import time

import torch

from autoseg.nn.networks import NETWORKS, NetworkContext
from planners.architectures.unet import UNet
from planners.schema.base import Part

PATCH = (16, 32, 64)
SHAPE = UNet(strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 4, features=(16, 32, 64, 128),
             blocks_encoder=(2,) * 4, convs_decoder=(2,) * 3)
REPEATS = 7


def seconds_per_tile(network: torch.nn.Module, n_tiles: int, *, training: bool) -> float:
    """Median over the repeats; the first run is not counted."""
    tiles = torch.randn(n_tiles, 1, *PATCH).contiguous(memory_format=torch.channels_last_3d)
    measured = []
    with torch.inference_mode(not training):
        for _ in range(1 + REPEATS):
            started = time.perf_counter()
            logits = network.decode(network.encode(tiles), every_stage=training)
            if training:
                torch.stack([stage.square().mean() for stage in logits]).sum().backward()
            measured.append(time.perf_counter() - started)
    return statistics.median(measured[1:]) / n_tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    network = NETWORKS.make(Part(name="unet"), NetworkContext(SHAPE, 1, 3)).to(memory_format=torch.channels_last_3d).eval()
    for title, n_tiles, training in (("predicting", 8, False), ("training", 2, True)):
        alone, together = (seconds_per_tile(network, n, training=training) for n in (1, n_tiles))
        print(f"{title}: alone {alone:.3f} s, in a batch of {n_tiles} {together:.3f} s per tile: {alone / together:.2f}")


if __name__ == "__main__":
    main()
