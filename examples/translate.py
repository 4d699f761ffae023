"""Translate images of one modality into the look of another by a small CycleGAN on slices. For augmentation only.

    python translate.py -a ct/imagesTr -b mr/imagesTr -l ct/labelsTr -o translated --iterations 5000

WARNING: a translated image is invented. Such a network can add lesions that are not there and remove those that are (Cohen,
Luck and Honari, MICCAI 2018), because it learns what images of B usually look like. Never read a translated image, never
validate or test on one, and never translate the image of a patient to predict it. Its use is to show a network more
contrasts in training; `autoseg_train --appearance gin` does that without inventing anything, and is to be tried first.

The images of A and B need not be of the same patients, and B needs no labels. Each image of A is written as
`imagesTr/CASE_translated_0000` with its own label as `labelsTr/CASE_translated`. Add both to a training dataset whose
`splits_final.json` has translated cases in `train` alone, and none of a patient who is validated there. Images have one
channel; slices lie along the first axis of the file.

After Zhu et al. 2017 (arXiv 1703.10593): two generators and two discriminators of patches, least squares, a cycle loss.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autoseg.formats import ending_of, read_image, read_label, write_array, write_label
from autoseg.formats.files import list_files
from autoseg.grids.geometry import Geometry

WARNING = ("WARNING: translated images are invented: lesions may be added or removed. Use them for training alone; never "
           "read, validate, test or predict with them.")
CYCLE, IDENTITY = 10.0, 5.0  # weights of the losses beside the adversarial one
LOW, HIGH = 0.5, 99.5  # percentiles of an image that become -1 and 1
DIVISOR = 4  # of the edges of a slice, by which the generator shrinks it


@dataclass(frozen=True)
class Volume:
    """An image in -1 to 1, and what these stand for in its own unit."""

    path: Path
    scaled_DHW: np.ndarray
    geometry: Geometry
    bounds: tuple[float, float]


def read_volumes(folder: Path) -> list[Volume]:
    """Every image of a folder, scaled by its own percentiles."""
    volumes = []
    for path in list_files(folder):
        image_CDHW, geometry = read_image(path)
        low, high = (float(value) for value in np.percentile(image_CDHW[0], (LOW, HIGH)))
        scaled = 2 * (np.clip(image_CDHW[0], low, high) - low) / max(high - low, 1e-6) - 1
        volumes.append(Volume(path, scaled.astype(np.float32), geometry, (low, high)))
    return volumes


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(width),
                                    nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
                                    nn.InstanceNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def generator(width: int) -> nn.Module:
    """Slices (B, 1, H, W) in -1 to 1 -> the same of the other modality; H and W are multiples of DIVISOR."""
    def step(inside: int, outside: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inside, outside, 3, stride, 1), nn.InstanceNorm2d(outside), nn.ReLU()]

    up = nn.Upsample(scale_factor=2, mode="bilinear")
    return nn.Sequential(*step(1, width, 1), *step(width, 2 * width, 2), *step(2 * width, 4 * width, 2),
                         *(Block(4 * width) for _ in range(3)), up, *step(4 * width, 2 * width, 1), up,
                         *step(2 * width, width, 1), nn.Conv2d(width, 1, 3, padding=1), nn.Tanh())


def discriminator(width: int) -> nn.Module:
    """Slices (B, 1, H, W) -> how real each patch looks, 1: real."""
    return nn.Sequential(nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 2 * width, 4, 2, 1),
                         nn.InstanceNorm2d(2 * width), nn.LeakyReLU(0.2), nn.Conv2d(2 * width, 1, 4, 1, 1))


@dataclass(frozen=True)
class Trained:
    """The generator from A to B, and the cycle loss of each iteration."""

    to_b: nn.Module
    cycle_losses: list[float]


def train(a: Sequence[Volume], b: Sequence[Volume], *, iterations: int, batch: int = 4, size: int = 128, width: int = 32,
          seed: int = 0, device: str = "cpu") -> Trained:
    """Train on random crops (`size` x `size`) of random slices; the same seed gives the same network on a CPU."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    to_b, to_a, judge_b, judge_a = (make(width).to(device) for make in (generator, generator, discriminator, discriminator))
    generators = torch.optim.Adam([*to_b.parameters(), *to_a.parameters()], lr=2e-4, betas=(0.5, 0.999))
    judges = torch.optim.Adam([*judge_b.parameters(), *judge_a.parameters()], lr=2e-4, betas=(0.5, 0.999))
    cycle_losses = []
    for _ in range(iterations):
        real_a, real_b = (random_slices(volumes, batch, size, rng).to(device) for volumes in (a, b))
        fake_b, fake_a = to_b(real_a), to_a(real_b)
        cycle = F.l1_loss(to_a(fake_b), real_a) + F.l1_loss(to_b(fake_a), real_b)
        same = F.l1_loss(to_a(real_a), real_a) + F.l1_loss(to_b(real_b), real_b)
        fooled = ((judge_b(fake_b) - 1) ** 2).mean() + ((judge_a(fake_a) - 1) ** 2).mean()
        generators.zero_grad()
        (fooled + CYCLE * cycle + IDENTITY * same).backward()
        generators.step()
        judged = sum(((judge(real) - 1) ** 2).mean() + (judge(fake.detach()) ** 2).mean()
                     for judge, real, fake in ((judge_b, real_b, fake_b), (judge_a, real_a, fake_a)))
        judges.zero_grad()
        judged.backward()
        judges.step()
        cycle_losses.append(float(cycle.detach()))
    return Trained(to_b.eval(), cycle_losses)


def random_slices(volumes: Sequence[Volume], n: int, size: int, rng: np.random.Generator) -> torch.Tensor:
    """Crops (n, 1, size, size) of slices that hold something; what a slice lacks is -1."""
    crops = np.full((n, 1, size, size), -1, np.float32)
    for crop in crops:
        volume = volumes[rng.integers(len(volumes))].scaled_DHW
        filled = np.flatnonzero(volume.std(axis=(1, 2)) > 0)
        image_HW = volume[rng.choice(filled if len(filled) else len(volume))]
        corner = [rng.integers(max(edge - size, 0) + 1) for edge in image_HW.shape]
        part = image_HW[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
        crop[0, : part.shape[0], : part.shape[1]] = part
    return torch.from_numpy(crops)


@torch.no_grad()
def translated(to_b: nn.Module, volume: Volume, bounds_b: tuple[float, float], device: str = "cpu") -> np.ndarray:
    """The volume (D, H, W) slice by slice in the look of B, within `bounds_b`, in the unit of B."""
    height, width = volume.scaled_DHW.shape[1:]
    padding = (0, -width % DIVISOR, 0, -height % DIVISOR)
    slices = [to_b(F.pad(torch.from_numpy(image_HW)[None, None], padding, value=-1).to(device))[0, 0, :height, :width].cpu()
              for image_HW in volume.scaled_DHW]
    low, high = bounds_b
    return (low + (torch.stack(slices).numpy() + 1) / 2 * (high - low)).astype(np.float32)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-a", type=Path, required=True, help="images to translate, one channel each")
    parser.add_argument("-b", type=Path, required=True, help="images of the modality that they shall look like")
    parser.add_argument("-l", "--labels", type=Path, required=True, help="labels of the images to translate")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--size", type=int, default=128, help="edge of a crop, a multiple of 4")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    print(WARNING)
    a, b = read_volumes(options.a), read_volumes(options.b)
    result = train(a, b, iterations=options.iterations, size=options.size, width=options.width, seed=options.seed,
                   device=options.device)
    bounds = tuple(float(value) for value in np.median([volume.bounds for volume in b], axis=0))
    for volume in a:
        ending = ending_of(volume.path)
        case = volume.path.name.removesuffix(ending).removesuffix("_0000")
        image_DHW = translated(result.to_b, volume, (bounds[0], bounds[1]), options.device)
        write_array(options.output / "imagesTr" / f"{case}_translated_0000{ending}", image_DHW[None], volume.geometry)
        label_DHW, geometry = read_label(options.labels / f"{case}{ending}")
        write_label(options.output / "labelsTr" / f"{case}_translated{ending}", label_DHW, geometry)
    print(f"{len(a)} images translated; cycle loss {result.cycle_losses[0]:.3f} -> {result.cycle_losses[-1]:.3f}. {WARNING}")


if __name__ == "__main__":
    main()
