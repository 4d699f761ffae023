"""Seconds per tile of 16x32x64 voxels, predicted alone and in a batch of eight, by a plain U-Net of 16 to 128 channels.

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


def seconds_per_tile(network: torch.nn.Module, n_tiles: int) -> float:
    """Median over the repeats."""
    tiles = torch.randn(n_tiles, 1, *PATCH).contiguous(memory_format=torch.channels_last_3d)
    measured = []
    with torch.inference_mode():
        for _ in range(1 + REPEATS):
            started = time.perf_counter()
            network.decode(network.encode(tiles), every_stage=False)
            measured.append(time.perf_counter() - started)
    return statistics.median(measured[1:]) / n_tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    network = NETWORKS.make(Part(name="unet"), NetworkContext(SHAPE, 1, 3)).to(memory_format=torch.channels_last_3d).eval()
    alone, together = seconds_per_tile(network, 1), seconds_per_tile(network, 8)
    print(f"alone {alone:.4f} s, in a batch of eight {together:.4f} s per tile: {alone / together:.2f}")


if __name__ == "__main__":
    main()
