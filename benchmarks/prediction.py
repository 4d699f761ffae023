"""What prediction costs: forward passes, tiles that are skipped as background, memory of a large image, export.

    python benchmarks/prediction.py forward     # one pass of the classic plan against the processor's matrix products
    python benchmarks/prediction.py skip        # trains a small network for `--seconds`, then masks with and without
    python benchmarks/prediction.py memory --shape 800 512 512
    python benchmarks/prediction.py export      # 118 classes, 128x160x160 -> 320x512x512

Each prints one Markdown table. Seconds are those of the processor (all threads), which a busy machine changes least.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.base.runtime import Runtime
from autoseg.datasets.case import PreparedCase
from autoseg.formats import write_array
from autoseg.grids.geometry import Geometry
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from autoseg.prediction.export import restore_label
from autoseg.prediction.prepared import maybe_foreground
from autoseg.prediction.window import predict_logits
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

NAME, DATASET = "3d_fullres", "Dataset001_Prediction"
CPU = Runtime(torch.device("cpu"), torch.float32)


def plan_of(n_labels: int, patch: tuple[int, ...], features: tuple[int, ...], kernel: int = 3,
            mirror_axes: tuple[int, ...] = (0, 1, 2)) -> Plan:
    n, axes = len(features), len(patch)
    architecture = UNet(strides=((1,) * axes, *((2,) * axes,) * (n - 1)), kernel_sizes=((kernel,) * axes,) * n,
                        features=features, blocks_encoder=(2,) * n, convs_decoder=(2,) * (n - 1))
    configuration = Configuration(
        spacing_mm=(1,) * axes, median_shape=patch, patch=patch, batch=2, batch_dice=True, architecture=architecture,
        network=Part(name="unet"), normalizers=(Part(name="ct"),), augmentation=Part(name="none"),
        mirror_axes=mirror_axes, schedule=Schedule(learning_rate=1e-3, iterations=1))
    stats = IntensityStats(mean=0, std=300, min=-1000, max=1000, median=0, percentile_00_5=-1000, percentile_99_5=1000)
    labels = LabelSpec(names={"background": (0,), **{f"l{i}": (i,) for i in range(1, n_labels)}})
    return Plan(dataset=DATASET, planner="none", channels=(ChannelSpec(name="CT"),), labels=labels, transpose=(0, 1, 2),
                intensities=(stats,), configurations={NAME: configuration})


def processor_seconds(work: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times + 1):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])


def forward() -> None:
    """The classic plan of Dataset004: how near a pass is to what the processor can multiply."""
    from torch.utils.flop_counter import FlopCounterMode

    plan = plan_of(3, (40, 56, 40), (32, 64, 128, 256))
    model, image = build_model(plan, plan.configurations[NAME]).eval(), torch.randn(1, 1, 40, 56, 40)
    square = torch.randn(1500, 1500)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model(image)
        flops = counter.get_total_flops()
        last = model.to(memory_format=torch.channels_last_3d)
        plain = build_model(plan, plan.configurations[NAME]).eval()
        traced = torch.jit.optimize_for_inference(torch.jit.trace(plain, (image,)))
        seconds = {"a matrix product": processor_seconds(lambda: square @ square),
                   "a pass": processor_seconds(lambda: plain(image)),
                   "two passes in a batch, each": processor_seconds(lambda: plain(image.expand(2, -1, -1, -1, -1))) / 2,
                   "channels last": processor_seconds(lambda: last(image.to(memory_format=torch.channels_last_3d))),
                   "torch.jit.optimize_for_inference": processor_seconds(lambda: traced(image))}
    print("| what | processor s | GFLOP/s |\n|---|---|---|")
    for what, taken in seconds.items():
        print(f"| {what} | {taken:.3f} | {(2 * 1500**3 if 'matrix' in what else flops) / taken / 1e9:.1f} |")


def phantom(seed: int, shape: tuple[int, int, int], radii: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Bright balls in a noisy body, and darker ones that are no lesions; the label."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape)
    image, label = rng.normal(0, 0.5, shape), np.zeros(shape, np.int64)
    for kind in (1, 1, 0, 0):
        centre, radius = [rng.uniform(n / 6, 5 * n / 6) for n in shape], rng.uniform(*radii)
        ball = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) < radius**2
        image[ball] += 1.5 if kind else -1.5
        label[ball] = kind
    return image[None].astype(np.float32), label


def trained(plan: Plan, seconds: float) -> torch.nn.Module:
    torch.manual_seed(0)
    configuration = plan.configurations[NAME]
    model, loss = build_model(plan, configuration), build_loss(plan.labels, configuration, "cpu")
    optimizer, start, step = torch.optim.AdamW(model.parameters(), 1e-2), time.process_time(), 0
    while time.process_time() - start < seconds:
        pairs = [phantom(10_000 + 2 * step + i, configuration.patch, (1.2, 5)) for i in range(8)]
        loss(model(torch.from_numpy(np.stack([image for image, _ in pairs]))),
             torch.from_numpy(np.stack([label for _, label in pairs]))).backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
    return model.eval()


class Counted(torch.nn.Module):
    """A model that counts its passes."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model, self.passes = model, 0

    def forward(self, image: torch.Tensor, *rest: object) -> torch.Tensor:
        self.passes += len(image)
        return self.model(image, *rest)


def skip(seconds: float, n_cases: int) -> None:
    """The masks of a coarse look first, and of logits in half precision, against those of every tile and copy.

    On these phantoms next to nothing can be skipped: a small network is sure of few tiles. What is saved on real images
    `skip_background.py` says.
    """
    plan = plan_of(2, (16, 16, 16), (8, 16))
    configuration, model = plan.configurations[NAME], Counted(trained(plan, seconds))
    print("| radius of lesions | Dice with all | with fewer | voxels that differ | of lesion voxels | passes | of | "
          "float16: voxels that differ |\n|---|---|---|---|---|---|---|---|", flush=True)
    for radii in ((3.0, 5.0), (1.2, 2.0)):
        dice, fewer_dice, different, halved, lesion, passes, n_tiles = [], [], 0, 0, 0, 0, 0
        for seed in range(n_cases):
            image, truth = phantom(seed, (56, 40, 40), radii)
            model.passes = 0
            full = predict_logits(model, image, configuration, CPU)
            n_tiles += model.passes
            model.passes = 0
            fewer = predict_logits(model, image, configuration, CPU, maybe=maybe_foreground(plan.labels)).argmax(0).numpy()
            passes += model.passes
            halved += int((full.half().argmax(0) != full.argmax(0)).sum())
            all_of_it = full.argmax(0).numpy()
            different += int((all_of_it != fewer).sum())
            lesion += int(truth.sum())
            for mask, to in ((all_of_it, dice), (fewer, fewer_dice)):
                to.append(2 * (mask * truth).sum() / max(1, mask.sum() + truth.sum()))
        print(f"| {radii[0]} to {radii[1]} | {np.mean(dice):.4f} | {np.mean(fewer_dice):.4f} | {different} | {lesion} | "
              f"{passes} | {n_tiles} | {halved} |", flush=True)


def memory(shape: tuple[int, int, int], n_labels: int) -> None:
    """Peak of `autoseg_predict` on one CT whose grid is the plan's, by a network that needs next to nothing itself."""
    plan = plan_of(n_labels, (64, 64, 64), (2, 4), kernel=1, mirror_axes=())
    with tempfile.TemporaryDirectory() as folder:
        workspace, images = Workspace(Path(folder)), Path(folder) / "images"
        write_json(workspace.model(DATASET, plan.planner, NAME).plan, plan)
        fold = workspace.fold(DATASET, plan.planner, NAME, 0)
        save_weights(fold.checkpoint, build_model(plan, plan.configurations[NAME]).state_dict(), {})
        write_json(fold.result, {"mean_dice": 0.5})
        image_DHW = np.full(shape, -1000, np.int16)
        image_DHW[:, shape[1] // 8 : -shape[1] // 8, shape[2] // 8 : -shape[2] // 8] = 40
        image_DHW[::7, ::11] = 0
        write_array(images / "big_0000.nii.gz", image_DHW[None], Geometry(shape, (1.0, 1.0, 1.0)))
        del image_DHW
        command = [sys.executable, "-m", "autoseg.cli.predict", "-i", str(images), "-o", f"{folder}/masks", "--home", folder,
                   "--device", "cpu"]
        run = psutil.Popen(command, stdout=subprocess.DEVNULL)
        peak, seconds = watched(run)
    voxels = int(np.prod(shape))
    logits = 4 * n_labels * voxels
    print("| shape | peak GB | image (float32) | logits (float32) | over both | processor s |\n|---|---|---|---|---|---|")
    print(f"| {'x'.join(map(str, shape))} | {peak / 1e9:.2f} | {4 * voxels / 1e9:.2f} | {logits / 1e9:.2f} | "
          f"{(peak - 4 * voxels - logits) / 1e9:.2f} | {seconds:.0f} |")


def watched(process: psutil.Process) -> tuple[int, float]:
    """Peak of resident memory and processor seconds of a process until it ends."""
    peak, seconds = 0, 0.0
    while process.poll() is None:
        try:
            peak, seconds = max(peak, process.memory_info().rss), sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    return peak, seconds


def export() -> None:
    """118 ball-like organs from 1.5 mm to the file's grid; the peak includes the logits themselves."""
    n_classes, shape, full = 118, (128, 160, 160), (320, 512, 512)
    plan, generator = plan_of(n_classes, (128,) * 3, (8, 16)), torch.Generator().manual_seed(0)
    z, y, x = (torch.arange(n, dtype=torch.float32) for n in shape)
    logits = torch.zeros(n_classes, *shape)
    for head in logits[1:]:
        c = [float(torch.rand(1, generator=generator)) * n for n in shape]
        radius = 6 + 12 * float(torch.rand(1, generator=generator))
        distance = (((z - c[0]) ** 2)[:, None, None] + ((y - c[1]) ** 2)[:, None] + (x - c[2]) ** 2).sqrt_()
        head += ((radius - distance) * 0.8).clamp_(-12, 8) + 0.3 * torch.randn(1, generator=generator)
    spacing = tuple(1.5 * n / m for n, m in zip(shape, full, strict=True))
    prepared = PreparedCase("organs", np.zeros((1, 0, 0, 0), np.float32), np.ones(1, bool), Geometry(full, spacing),
                            (0, 1, 2), tuple((0, n) for n in full), full, (1.5, 1.5, 1.5))
    process, peak, ended = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    threading.Thread(target=watch, daemon=True).start()
    start, started = time.process_time(), time.perf_counter()
    restore_label(logits, prepared, plan, plan.configurations[NAME])
    seconds, wall = time.process_time() - start, time.perf_counter() - started
    ended.set()
    print("| classes | logits GB | peak GB | processor s | wall s |\n|---|---|---|---|---|")
    print(f"| {n_classes} | {logits.nbytes / 1e9:.2f} | {peak[0] / 1e9:.2f} | {seconds:.0f} | {wall:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("forward", "skip", "memory", "export"))
    parser.add_argument("--shape", nargs=3, type=int, default=(800, 512, 512), help="of the CT of `memory`")
    parser.add_argument("--labels", type=int, default=4, help="of `memory`, with background")
    parser.add_argument("--seconds", type=float, default=120, help="processor seconds of training for `skip`")
    parser.add_argument("--cases", type=int, default=4, help="of each size for `skip`")
    options = parser.parse_args()
    {"forward": forward, "skip": lambda: skip(options.seconds, options.cases),
     "memory": lambda: memory(tuple(options.shape), options.labels), "export": export}[options.what]()
