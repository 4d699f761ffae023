"""Fusion parts on synthetic tasks that say what each is for: what a missing channel costs, what a displaced one, and time.

    python benchmarks/fusion.py missing              # a lesion that one of three phases shows, with and without dropout
    python benchmarks/fusion.py alone                # a lesion that phase 0 shows, against phase 1 alone
    python benchmarks/fusion.py displaced            # two channels of which both are needed; the second displaced at test
    python benchmarks/fusion.py cost                 # parameters and seconds a step
    python benchmarks/fusion.py missing --fusions hemis attention --iterations 500 --seed 1

Volumes of 24^3 are made afresh for every step, from a seed; 64 others test. A small plain U-Net, with the project's model,
loss, optimiser, weight average and training step. Prints Markdown; Dice is the mean over the test volumes, each of which has
a lesion.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.nn.fusion import FUSIONS
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import AveragedWeights, train_step
from autoseg.training.tasks.segmentation import Segmentation
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

EDGE, BATCH = 24, 2
N_TEST, TEST_SEED = 64, 999
LABELS = LabelSpec(names={"background": (0,), "lesion": (1,)})
RUNTIME = Runtime(torch.device("cpu"), torch.float32)

# n volumes by a generator: images (n, C, D, H, W) and labels (n, D, H, W)
Task = Callable[[torch.Generator, int], tuple[torch.Tensor, torch.Tensor]]


def unet(features: Sequence[int], convolutions: int = 2, context: bool = True) -> UNet:
    """A plain U-Net of so many `convolutions` a stage; without `context` it sees one voxel at a time."""
    n = len(features)
    stride, kernel = ((2,) * 3, (3,) * 3) if context else ((1,) * 3, (1,) * 3)
    return UNet(strides=((1, 1, 1), *(stride,) * (n - 1)), kernel_sizes=(kernel,) * n, features=tuple(features),
                    blocks_encoder=(convolutions,) * n, convs_decoder=(convolutions,) * (n - 1))


SMALL = unet((16, 16, 32), convolutions=1)


def ball(centre_B3: torch.Tensor, radius_B: torch.Tensor) -> torch.Tensor:
    """(B, EDGE, EDGE, EDGE) bool: voxels within the radius of a centre, in voxels."""
    axis = torch.arange(EDGE, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = (grid - centre_B3[:, None, None, None]).square().sum(-1).sqrt()
    return distance <= radius_B[:, None, None, None]


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def phases(generator: torch.Generator, n: int, showing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Three phases of the same tissue, as uneven as lesions are bright; a lesion is brighter in the phase that shows it."""
    coarse = torch.randn(n, 1, *[EDGE // 3] * 3, generator=generator)
    tissue = torch.nn.functional.interpolate(coarse, size=(EDGE,) * 3, mode="trilinear")
    lesion = ball(uniform(generator, 5, EDGE - 6, n, 3), uniform(generator, 3, 4.5, n))
    seen = torch.nn.functional.one_hot(showing, 3).bool()[:, :, None, None, None] & lesion[:, None]
    image = 2 * tissue + torch.where(seen, 2.0, 0.0)
    return image + 0.2 * torch.randn(image.shape, generator=generator), lesion.to(torch.int16)


def seen_at_random(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return phases(generator, n, torch.randint(0, 3, (n,), generator=generator))


def seen_in_the_first(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return phases(generator, n, torch.zeros(n, dtype=torch.long))


def second_alone(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    image, label = seen_in_the_first(generator, n)
    return image[:, 1:2], label


def confirmed(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Balls in either channel; a lesion is a ball of the first that the second shows too."""
    corners = torch.cartesian_prod(*[torch.tensor([6.0, 17.0])] * 3)  # eight places, far enough apart
    image = torch.zeros(n, 2, EDGE, EDGE, EDGE)
    label = torch.zeros(n, EDGE, EDGE, EDGE, dtype=torch.int16)
    for sample in range(n):
        order = torch.randperm(8, generator=generator)[:6]
        centres = corners[order] + uniform(generator, -1.5, 1.5, 6, 3)
        balls = ball(centres, uniform(generator, 2, 3, 6))
        image[sample, 0] = balls[:4].any(0)  # two of the first alone, two of both
        image[sample, 1] = balls[2:].any(0)  # two of both, two of the second alone
        label[sample] = balls[2:4].any(0)
    image = 2 * image - 0.5
    return image + 0.3 * torch.randn(image.shape, generator=generator), label


def displaced(image_BCDHW: torch.Tensor, voxels_B3: torch.Tensor) -> torch.Tensor:
    """The second channel of each sample displaced by whole voxels, around the border."""
    moved = image_BCDHW.clone()
    for sample, voxels in enumerate(voxels_B3.tolist()):
        moved[sample, 1] = torch.roll(moved[sample, 1], voxels, (0, 1, 2))
    return moved


def hidden(generator: torch.Generator, shape: tuple[int, int], probability: float) -> torch.Tensor:
    """Presence (B, C): each channel is hidden with a probability, but never the last of a sample."""
    present = torch.rand(shape, generator=generator) >= probability
    spared = torch.nn.functional.one_hot(torch.randint(0, shape[1], shape[:1], generator=generator), shape[1]).bool()
    return torch.where(present.any(1, keepdim=True), present, spared)


def plan_of(fusion: str, n_channels: int, architecture: UNet, iterations: int, patch: Sequence[int] = (EDGE,) * 3) -> Plan:
    schedule = Schedule(learning_rate=6e-3, iterations=iterations, decay="cosine", warmup_iterations=20, ema=0.98,
                        optimizer=Part(name="adamw"))
    configuration = Configuration(
        spacing_mm=(1, 1, 1), median_shape=tuple(patch), patch=tuple(patch), batch=BATCH, batch_dice=True,
        architecture=architecture, network=Part(name="unet"), normalizers=(Part(name="zscore"),) * n_channels,
        fusion=Part(name=fusion), augmentation=Part(name="none"), schedule=schedule)
    return Plan(dataset="fusion", planner="none", channels=tuple(ChannelSpec(name=f"CT_{i}") for i in range(n_channels)),
                labels=LABELS, transpose=(0, 1, 2), configurations={"3d_fullres": configuration})


def trained(fusion: str, task: Task, arguments: argparse.Namespace, *, architecture: UNet = SMALL, hide: float = 0.0,
            displace: int = 0) -> TrainState:
    """Trained on a task; channels are hidden with probability `hide`, or displaced by up to `displace` voxels an axis."""
    generator = torch.Generator().manual_seed(arguments.seed)
    n_channels = task(generator, 1)[0].shape[1]
    plan = plan_of(fusion, n_channels, architecture, arguments.iterations)
    configuration = plan.configurations["3d_fullres"]
    goal = Segmentation(plan, configuration)
    state, loss = new_state(goal, configuration, RUNTIME, arguments.seed), goal.build_loss(RUNTIME.device)
    state.model.train()
    while not state.finished:
        image, label = task(generator, BATCH)
        if displace:
            image = displaced(image, torch.randint(-displace, displace + 1, (BATCH, 3), generator=generator))
        batch = Batch(image, label, hidden(generator, (BATCH, n_channels), hide))
        train_step(state, state.model, loss, batch, RUNTIME)
    return state


@torch.inference_mode()
def dice(state: TrainState, image: torch.Tensor, label: torch.Tensor, present: Sequence[bool]) -> float:
    """Mean over the volumes, all with the same channels present."""
    present_BC = torch.tensor(present).expand(len(image), -1)
    with AveragedWeights(state) as model:
        predicted = torch.cat([model(part, known).argmax(1) == 1 for part, known in zip(image.split(8), present_BC.split(8),
                                                                                   strict=True)])
    truth = label == 1
    axes = (1, 2, 3)
    return (2 * (predicted & truth).sum(axes) / (predicted.sum(axes) + truth.sum(axes))).mean().item()


def test_volumes(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    return task(torch.Generator().manual_seed(TEST_SEED), N_TEST)


def row(*cells: object) -> None:
    print("|", " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells), "|", flush=True)


def header(*cells: str) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def missing(arguments: argparse.Namespace) -> None:
    """Every subset of the phases. Where one is missing, no other shows a third of the lesions: 0.67 is then all there is."""
    image, label = test_volumes(seen_at_random)
    subsets = [(True,) * 3, *((False, True, True), (True, False, True), (True, True, False)),
               *((True, False, False), (False, True, False), (False, False, True))]
    header("fusion", "hidden in training", "all", "no 0", "no 1", "no 2", "worst of one missing", "0", "1", "2", "seconds")
    for fusion, hide in itertools.product(arguments.fusions, arguments.hide):
        started = time.perf_counter()
        state = trained(fusion, seen_at_random, arguments, hide=hide)
        scores = [dice(state, image, label, subset) for subset in subsets]
        row(fusion, f"p = {hide}", *scores[:4], min(scores[1:4]), *scores[4:], round(time.perf_counter() - started))


def alone(arguments: argparse.Namespace) -> None:
    header("fusion", "phases", "Dice", "seconds")
    runs = [("concat", "1 alone", second_alone), *((fusion, "0, 1, 2", seen_in_the_first) for fusion in arguments.fusions)]
    for fusion, phases_seen, task in runs:
        started = time.perf_counter()
        image, label = test_volumes(task)
        score = dice(trained(fusion, task, arguments), image, label, (True,) * image.shape[1])
        row(fusion, phases_seen, score, round(time.perf_counter() - started))


def displacement(arguments: argparse.Namespace) -> None:
    """Trained with displacements of up to 2 voxels along each axis, as misalignment augmentation does; tested with exactly
    so many along all axes at once. The network that sees one voxel at a time leaves it all to the fusion.
    """
    image, label = test_volumes(confirmed)
    header("fusion", "network after it", "aligned", "1 voxel", "2 voxels", "3 voxels", "lost at 2", "seconds")
    networks = {"one voxel at a time": unet((16, 16), context=False), "U-Net": SMALL}
    for (name, architecture), fusion in itertools.product(networks.items(), arguments.fusions):
        if arguments.network not in ("both", name):
            continue
        started = time.perf_counter()
        state = trained(fusion, confirmed, arguments, architecture=architecture, displace=2)
        scores = [dice(state, displaced(image, signs(voxels)), label, (True, True)) for voxels in range(4)]
        row(fusion, name, *scores, scores[0] - scores[2], round(time.perf_counter() - started))


def signs(voxels: int) -> torch.Tensor:
    """(N_TEST, 3): so many voxels along each axis, to either side."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    return voxels * (2 * torch.randint(0, 2, (N_TEST, 3), generator=generator) - 1)


def cost(arguments: argparse.Namespace) -> None:
    """Three channels, one of which half of the samples lack; the fusions take turns, so that what else runs slows all."""
    shape = (40, 56, 40)
    generator = torch.Generator().manual_seed(arguments.seed)
    image = torch.randn(BATCH, 3, *shape, generator=generator)
    label = torch.randint(0, 2, (BATCH, *shape), generator=generator)
    batch = Batch(image, label, torch.tensor([[True] * 3, [True, False, True]]))
    header("channels", "fusion", "parameters", "added", "s a step", "added")
    for features in ((16, 64, 128, 256), (32, 64, 128, 256)):
        states = {}
        for fusion in dict.fromkeys(("concat", *arguments.fusions)):
            plan = plan_of(fusion, 3, unet(features), iterations=100, patch=shape)
            configuration = plan.configurations["3d_fullres"]
            goal = Segmentation(plan, configuration)
            states[fusion] = (new_state(goal, configuration, RUNTIME, 0), goal.build_loss(RUNTIME.device), [])
        for _ in range(arguments.rounds):
            for state, loss, seconds in states.values():
                started = time.perf_counter()
                train_step(state, state.model, loss, batch, RUNTIME)
                seconds.append(time.perf_counter() - started)
        plain = min(states["concat"][2]), parameters(states["concat"][0])
        for fusion, (state, _, seconds) in states.items():
            row("-".join(map(str, features)), fusion, parameters(state), f"{parameters(state) / plain[1] - 1:.2%}",
                min(seconds), f"{min(seconds) / plain[0] - 1:.0%}")


def parameters(state: TrainState) -> int:
    return sum(parameter.numel() for parameter in state.model.parameters())


TASKS = {"missing": (missing, 800), "alone": (alone, 300), "displaced": (displacement, 500), "cost": (cost, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--fusions", nargs="+", default=FUSIONS.names(), choices=FUSIONS.names())
    parser.add_argument("--iterations", type=int, help="of each training; default: the task's own")
    parser.add_argument("--hide", nargs="+", type=float, default=(0.0, 0.3), help="of `missing`: probability a channel")
    parser.add_argument("--network", default="both", choices=("both", "one voxel at a time", "U-Net"), help="of `displaced`")
    parser.add_argument("--rounds", type=int, default=4, help="of `cost`: steps of each fusion, of which the fastest counts")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    run, iterations = TASKS[arguments.task]
    arguments.iterations = arguments.iterations or iterations
    run(arguments)


if __name__ == "__main__":
    main()
