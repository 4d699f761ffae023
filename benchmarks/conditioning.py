"""Conditioning parts on synthetic tasks: a table that decides, one that says nothing, and what the parts cost.

    python benchmarks/conditioning.py decides        # two identical balls; a column says which is the lesion
    python benchmarks/conditioning.py foreground     # the same, where only the lesion has a label
    python benchmarks/conditioning.py unrelated      # the image decides; the column is drawn by lot
    python benchmarks/conditioning.py cost           # parameters and processor seconds a step
    python benchmarks/conditioning.py decides --parts film tokens --iterations 300 --seed 1

Volumes of 24^3 are made for every step, from a seed; 64 others test. A small plain U-Net, with the project's encoder,
model, input dropout, loss, optimiser, weight average and training step. Prints Markdown; Dice is the mean over volumes and
labels.

In `decides` the other ball has a label of its own, so that the image alone is right in half of the cases at best. In
`foreground` it is background: there, whoever calls both balls the lesion has a Dice of 2/3 without knowing which is.
"""

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.base.runtime import open_runtime
from autoseg.batches.batch import Batch
from autoseg.batches.input_dropout import drop_inputs
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import NO_CONDITIONS, Layout, collate
from autoseg.clinical.encoders import ConditionEncoder, encode, fit_encoder
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import AveragedWeights, train_step
from autoseg.training.tasks.segmentation import Segmentation
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, InputDropout, Plan, Schedule

EDGE, BATCH = 24, 8
N_TEST, TEST_SEED = 64, 999
INPUT_DROPOUT = InputDropout(row=0.3, column=0.15)  # as the planners set it
TWINS = LabelSpec(names={"background": (0,), "lesion": (1,), "twin": (2,)})
LESION = LabelSpec(names={"background": (0,), "lesion": (1,)})
RUNTIME = open_runtime("cpu")
SIDES = ("left", "right")

# Volumes (n, 1, D, H, W), labels (n, D, H, W) and what the table says of each
Patients = tuple[torch.Tensor, torch.Tensor, list[CaseConditions]]
Task = Callable[[torch.Generator, int], Patients]


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def two_balls(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A background that brightens from left to right (n, 1, *space), a ball left and right (n, 2, *space), chosen side (n,).

    Both balls of a volume have the same radius and lie anywhere in their half.
    """
    radius = uniform(generator, 2.5, 3.7, n)
    centre = uniform(generator, 5, EDGE - 6, n, 2, 3)
    centre[:, 0, 2], centre[:, 1, 2] = uniform(generator, 4.7, 7.5, n), uniform(generator, 15.5, 18.3, n)
    axis = torch.arange(EDGE, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    distance = (grid - centre[:, :, None, None, None]).square().sum(-1).sqrt()
    background = torch.linspace(-0.5, 0.5, EDGE) + 0.3 * torch.randn(n, 1, EDGE, EDGE, EDGE, generator=generator)
    return background, distance <= radius[:, None, None, None, None], torch.randint(0, 2, (n,), generator=generator)


def the_table_decides(generator: torch.Generator, n: int, twins: bool = True) -> Patients:
    background, balls, side = two_balls(generator, n)
    row = torch.arange(n)
    label = balls[row, side].long() + 2 * (balls[row, 1 - side].long() if twins else 0)
    return background + 2 * balls.any(1, keepdim=True), label, conditions_of(side)


def the_image_decides(generator: torch.Generator, n: int) -> Patients:
    """The brighter ball is the lesion; the table says a side by lot."""
    background, balls, side = two_balls(generator, n)
    row = torch.arange(n)
    lesion, twin = balls[row, side], balls[row, 1 - side]
    by_lot = torch.randint(0, 2, (n,), generator=generator)
    return background + (2.0 * lesion + 1.0 * twin)[:, None], lesion.long() + 2 * twin.long(), conditions_of(by_lot)


def conditions_of(side: torch.Tensor) -> list[CaseConditions]:
    return [CaseConditions(values={"side": SIDES[index]}) for index in side.tolist()]


def unet(features: Sequence[int]) -> UNet:
    n = len(features)
    return UNet(strides=((1, 1, 1), *((2, 2, 2),) * (n - 1)), kernel_sizes=((3, 3, 3),) * n, features=tuple(features),
                    blocks_encoder=(2,) * n, convs_decoder=(2,) * (n - 1))


def plan_of(part: str, labels: LabelSpec, architecture: UNet, iterations: int, patch: Sequence[int] = (EDGE,) * 3) -> Plan:
    schedule = Schedule(learning_rate=3e-3, iterations=iterations, decay="cosine", warmup_iterations=30, ema=0.98,
                        optimizer=Part(name="adamw"))
    configuration = Configuration(
        spacing_mm=(1, 1, 1), median_shape=tuple(patch), patch=tuple(patch), batch=BATCH, batch_dice=True,
        architecture=architecture, network=Part(name="unet"), normalizers=(Part(name="zscore"),),
        conditioning=Part(name=part), input_dropout=INPUT_DROPOUT if part != "none" else InputDropout(),
        augmentation=Part(name="none"), schedule=schedule)
    return Plan(dataset="conditioning", planner="none", channels=(ChannelSpec(name="MR"),), labels=labels,
                transpose=(0, 1, 2), configurations={"3d_fullres": configuration})


def state_of(plan: Plan, layout: Layout, seed: int):
    configuration = plan.configurations["3d_fullres"]
    goal = Segmentation(plan, configuration)
    return new_state(goal, configuration, RUNTIME, seed, layout), goal.build_loss(RUNTIME.device)


def fitted(task: Task, seed: int) -> ConditionEncoder:
    table = ConditionTable(specs=(ConditionSpec(name="side", kind="category"),))
    return fit_encoder(table, task(torch.Generator().manual_seed(seed), 64)[2])


def trained(part: str, task: Task, labels: LabelSpec, arguments: argparse.Namespace) -> tuple[TrainState, float]:
    """The trained state, and the seconds that it took."""
    generator, mask_generator = (torch.Generator().manual_seed(arguments.seed + offset) for offset in (0, 10**6))
    encoder, started = fitted(task, arguments.seed), time.perf_counter()
    plan = plan_of(part, labels, unet((8, 16, 32)), arguments.iterations)
    state, loss = state_of(plan, encoder.layout, arguments.seed)
    state.model.train()
    while not state.finished:
        image, label, cases = task(generator, BATCH)
        batch = Batch(image, label, torch.ones(BATCH, 1, dtype=torch.bool),
                      collate([encode(encoder, case) for case in cases]))
        batch = drop_inputs(batch, plan.configurations["3d_fullres"].input_dropout, mask_generator, encoder.layout)
        train_step(state, state.model, loss, batch, RUNTIME)
    return state, time.perf_counter() - started


@torch.inference_mode()
def dice(state: TrainState, patients: Patients, encoder: ConditionEncoder, cases: Sequence[CaseConditions], n_labels: int
         ) -> float:
    """Mean over volumes and labels, with the tables of the `cases`."""
    image, label, _ = patients
    with AveragedWeights(state) as model, RUNTIME.autocast():
        conditions = [collate([encode(encoder, case) for case in cases[i : i + 8]]) for i in range(0, len(image), 8)]
        predicted = torch.cat([model(eight, None, known).argmax(1)
                           for eight, known in zip(image.split(8), conditions, strict=True)])
    scores = []
    for value in range(1, n_labels + 1):
        a, b = (predicted == value).flatten(1), (label == value).flatten(1)
        scores.append(2 * (a & b).sum(1) / (a.sum(1) + b.sum(1)))
    return torch.stack(scores).mean().item()


def row(*cells: object) -> None:
    print("|", " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells), "|", flush=True)


def header(*cells: str) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def compared(task: Task, labels: LabelSpec, arguments: argparse.Namespace) -> None:
    """Each part, and the image alone, with the table as it is, permuted between the test volumes, and missing."""
    header("conditioning", "true table", "shuffled table", "all missing", "train s")
    patients = task(torch.Generator().manual_seed(TEST_SEED), N_TEST)
    order = torch.randperm(N_TEST, generator=torch.Generator().manual_seed(TEST_SEED)).tolist()
    shuffled, encoder = [patients[2][i] for i in order], fitted(task, arguments.seed)
    for part in arguments.parts:
        state, seconds = trained(part, task, labels, arguments)
        row(part, *(dice(state, patients, encoder, cases, len(labels.foreground))
                    for cases in (patients[2], shuffled, [CaseConditions()] * N_TEST)), f"{seconds:.0f}")


def cost(arguments: argparse.Namespace) -> None:
    """Parameters, and the processor time (of all threads) of a part's own forward and backward pass, for five columns.

    The difference of two whole steps would drown in what else runs. The fastest of all rounds counts, of the part and of
    the plain network's step; the update of the part's few parameters is left out.
    """
    shape, batch_size, names = (40, 56, 40), 2, [f"column_{i}" for i in range(5)]
    table = ConditionTable(specs=tuple(ConditionSpec(name=name, kind="category") for name in names))
    cases = [CaseConditions(values={name: str(i // 2 % 4) for name in names}) for i in range(16)]
    encoder = fit_encoder(table, cases)
    generator = torch.Generator().manual_seed(arguments.seed)
    image = torch.randn(batch_size, 1, *shape, generator=generator)
    label = torch.randint(0, 3, (batch_size, *shape), generator=generator)
    batch = Batch(image, label, torch.ones(batch_size, 1, dtype=torch.bool),
                  collate([encode(encoder, case) for case in cases[:batch_size]]))
    header("channels", "conditioning", "parameters", "added", "processor ms a step", "added")
    for channels in ((16, 64, 128, 256), (32, 64, 128, 256)):
        plan = plan_of("none", TWINS, unet(channels), 10**4, shape)
        state, loss = state_of(plan, NO_CONDITIONS, 0)
        step = fastest(lambda: train_step(state, state.model, loss, batch, RUNTIME), arguments.rounds)  # noqa: B023
        with torch.no_grad(), RUNTIME.autocast():
            features = [stage.requires_grad_() for stage in state.model.network.encode(image)]
        plain, name = parameters(state.model), "-".join(map(str, channels))
        row(name, "none", plain, "", f"{1000 * step:.0f}", "")
        for part in (part for part in arguments.parts if part != "none"):
            conditioner = CONDITIONERS.make(Part(name=part), ConditionerContext(channels, encoder.layout, 3))
            own = fastest(lambda: there_and_back(conditioner, features, batch), 2 * arguments.rounds)  # noqa: B023
            row(name, part, parameters(conditioner), f"{parameters(conditioner) / plain:.1%}", f"{1000 * own:.0f}",
                f"{own / step:.1%}")


def there_and_back(conditioner: torch.nn.Module, features: list[torch.Tensor], batch: Batch) -> None:
    with RUNTIME.autocast():
        changed = conditioner(features, batch.conditions)
    wanted = [stage for stage, was in zip(changed, features, strict=True) if stage is not was]
    torch.autograd.backward(wanted, [stage.detach() for stage in wanted])


def fastest(run: Callable[[], object], rounds: int) -> float:
    """Processor seconds."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return min(taken)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


TASKS = {"decides": functools.partial(compared, the_table_decides, TWINS),
         "foreground": functools.partial(compared, functools.partial(the_table_decides, twins=False), LESION),
         "unrelated": functools.partial(compared, the_image_decides, TWINS), "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--parts", nargs="+", default=("none", "film", "daft", "tokens"), choices=CONDITIONERS.names())
    parser.add_argument("--iterations", type=int, default=400, help="of each training")
    parser.add_argument("--rounds", type=int, default=8, help="of `cost`: steps of each part")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    TASKS[arguments.task](arguments)


if __name__ == "__main__":
    main()
