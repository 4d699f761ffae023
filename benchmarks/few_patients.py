"""Conditioners in a short training on few patients, by the recipe of narrow networks: is it learned which column decides?

    python benchmarks/few_patients.py film                        # with the input dropout that the planner sets
    python benchmarks/few_patients.py film --hidden 0.1 0.05      # with other shares of hidden rows and columns
    python benchmarks/few_patients.py film daft --decides number  # the sign of a number decides, not a category
    python benchmarks/few_patients.py film daft --decides nothing

Volumes of 24^3 with three channels. Each has a lesion that two or three channels show. Often it has a second ball that
channel 1 alone shows: a lesion where one of four columns says so, background elsewhere; where it would be one, it is more
common (0.85 against 0.4). 20 training patients lack channel 1 (15 %), channel 2 (35 %) and cells of the table (12 %); 40
others, of which nothing is missing, test. Seeds make other patients and other trainings. Prints Markdown: mean Dice with
everything, without the table and without channel 1, and the share of the second balls that is called lesion, of those
that are lesions and of the others.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.base.runtime import open_runtime
from autoseg.batches.batch import Batch
from autoseg.batches.input_dropout import drop_inputs
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import collate
from autoseg.clinical.encoders import ConditionEncoder, encode, fit_encoder
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import AveragedWeights, train_step
from autoseg.training.tasks.segmentation import Segmentation
from planners.architectures.unet import UNet
from planners.budgeted import CONDITIONING_RATE, SCHEDULE_FREE_RATE, SCHEDULE_FREE_WARM_UP
from planners.rules.budget import WARM_UP
from planners.rules.inputs import HIDE_CHANNEL, HIDE_COLUMN, HIDE_ROW
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, InputDropout, Plan, Schedule

EDGE, N_TRAINING, N_TEST = 24, 20, 40
HOLES, LACKING = 0.12, (0.0, 0.15, 0.35)
RUNTIME = open_runtime("cpu")
TABLE = ConditionTable(specs=(ConditionSpec(name="disease", kind="category"), ConditionSpec(name="age", kind="number"),
                              ConditionSpec(name="sex", kind="category"), ConditionSpec(name="marker", kind="number")))
SHAPE = UNet(strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)), kernel_sizes=((3, 3, 3),) * 3, features=(8, 16, 32),
             blocks_encoder=(1, 2, 2), convs_decoder=(1, 1))


@dataclass(frozen=True)
class Patients:
    """Images (N, 3, *space), labels (N, *space), second balls (N, *space) bool, whether these are lesions, and the table."""

    images: torch.Tensor
    labels: torch.Tensor
    balls: torch.Tensor
    lesions: list[bool]
    rows: list[dict[str, float | str]]


def patients(generator: torch.Generator, n: int, decides: str) -> Patients:
    axis = torch.arange(EDGE, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand(1, generator=generator).item()

    def ball(low: float) -> torch.Tensor:
        centre = torch.tensor([uniform(5, 18), uniform(5, 18), uniform(low, low + 2)])
        return (grid - centre).square().sum(-1).sqrt() <= uniform(2.5, 4)

    images = 0.5 * torch.randn(n, 3, EDGE, EDGE, EDGE, generator=generator)
    labels, balls = torch.zeros(n, EDGE, EDGE, EDGE, dtype=torch.long), torch.zeros(n, EDGE, EDGE, EDGE, dtype=torch.bool)
    lesions, rows = [], []
    for number in range(n):
        marker = torch.randn(1, generator=generator).item()
        lesions.append(marker > 0 if decides == "number" else number % 2 == 1)
        first, second = (ball(low) for low in ((6, 15) if uniform(0, 1) < 0.5 else (15, 6)))
        for channel, contrast in enumerate((-1.2, 1.2 * (uniform(0, 1) < 0.5), -0.8)):
            images[number, channel][first] += contrast
        labels[number][first] = 1
        if uniform(0, 1) < (0.85 if lesions[-1] else 0.4):
            images[number, 1][second] += 1.4
            balls[number] = second
            labels[number][second] = int(lesions[-1])
        said = lesions[-1] if decides == "category" else uniform(0, 1) < 0.5
        rows.append({"disease": "yes" if said else "no", "age": 60 + 12 * torch.randn(1, generator=generator).item(),
                     "sex": "f" if uniform(0, 1) < 0.5 else "m",
                     "marker": marker if decides == "number" else torch.randn(1, generator=generator).item()})
    return Patients(images, labels, balls, lesions, rows)


def trained(conditioner: str, hidden: tuple[float, float], options: argparse.Namespace, seed: int
            ) -> tuple[TrainState, ConditionEncoder]:
    generator = torch.Generator().manual_seed(100 + seed)
    cases = patients(generator, N_TRAINING, options.decides)
    known = [CaseConditions(values={key: value for key, value in row.items() if torch.rand(1, generator=generator) >= HOLES})
             for row in cases.rows]
    present = torch.rand(N_TRAINING, 3, generator=generator) >= torch.tensor(LACKING)
    encoder = fit_encoder(TABLE, known)
    plan = plan_of(conditioner, hidden, options.iterations)
    configuration = plan.configurations["3d_fullres"]
    goal = Segmentation(plan, configuration)
    state, loss = new_state(goal, configuration, RUNTIME, seed, encoder.layout), goal.build_loss(RUNTIME.device)
    draws, masks = (torch.Generator().manual_seed(seed + offset) for offset in (0, 10**6))
    encoded = [encode(encoder, case) for case in known]
    state.model.train()
    while not state.finished:
        drawn = torch.randint(0, N_TRAINING, (2,), generator=draws)
        image, label = cases.images[drawn], cases.labels[drawn]
        mirrored = [axis for axis in (1, 2, 3) if torch.rand(1, generator=draws) < 0.5]
        image, label = image.flip([axis + 1 for axis in mirrored]), label.flip(mirrored)
        image = image + 0.2 * torch.randn(image.shape, generator=draws)
        batch = Batch(image, label, present[drawn], collate([encoded[number] for number in drawn.tolist()]))
        train_step(state, state.model, loss, drop_inputs(batch, configuration.input_dropout, masks, encoder.layout), RUNTIME)
    return state, encoder


def plan_of(conditioner: str, hidden: tuple[float, float], iterations: int) -> Plan:
    schedule = Schedule(learning_rate=SCHEDULE_FREE_RATE, iterations=iterations, decay="constant", warmup_iterations=WARM_UP,
                        warmup_share=SCHEDULE_FREE_WARM_UP, optimizer=Part(
                            name="schedule_free_adamw", options={"conditioning_rate": CONDITIONING_RATE}))
    dropout = InputDropout(channels=(0.0, HIDE_CHANNEL, HIDE_CHANNEL), row=hidden[0], column=hidden[1])
    configuration = Configuration(
        spacing_mm=(1, 1, 1), median_shape=(EDGE,) * 3, patch=(EDGE,) * 3, batch=2, batch_dice=True, architecture=SHAPE,
        network=Part(name="unet"), normalizers=(Part(name="zscore"),) * 3, conditioning=Part(name=conditioner),
        input_dropout=dropout, augmentation=Part(name="none"), prior=(0.02,), schedule=schedule)
    return Plan(dataset="few_patients", planner="none", channels=tuple(ChannelSpec(name=f"MR_{k}") for k in range(3)),
                labels=LabelSpec(names={"background": (0,), "lesion": (1,)}), transpose=(0, 1, 2),
                configurations={"3d_fullres": configuration})


@torch.inference_mode()
def scores(state: TrainState, encoder: ConditionEncoder, tested: Patients) -> list[float]:
    """Dice with everything, without the table, without channel 1; the shares of lesions and of other balls called lesion."""
    everything = collate([encode(encoder, CaseConditions(values=row)) for row in tested.rows])
    nothing = collate([encode(encoder, CaseConditions())] * N_TEST)
    without = torch.tensor([[True, False, True]] * N_TEST)
    with AveragedWeights(state) as model:
        masks = [model(tested.images, present, known).argmax(1) == 1
                 for present, known in ((None, everything), (None, nothing), (without, everything))]
    truth = tested.labels == 1
    dice = [(2 * (mask & truth).flatten(1).sum(1) / (mask.flatten(1).sum(1) + truth.flatten(1).sum(1))).mean().item()
            for mask in masks]
    shares = [torch.stack([mask[ball].float().mean() for mask, ball, lesion in
                           zip(masks[0], tested.balls, tested.lesions, strict=True) if ball.any() and lesion == wanted])
              for wanted in (True, False)]
    return [*dice, *(share.mean().item() for share in shares)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=CONDITIONERS.names())
    parser.add_argument("--hidden", nargs=2, type=float, default=(HIDE_ROW, HIDE_COLUMN), metavar=("ROW", "COLUMN"),
                        help="shares of the samples in which all columns are hidden, and each (default: the planner's)")
    parser.add_argument("--decides", choices=("category", "number", "nothing"), default="category")
    parser.add_argument("--iterations", type=int, default=450)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    options = parser.parse_args()
    print("| conditioning | rows, columns hidden | Dice | no table | no channel 1 | lesions | other balls | Dice by seed | "
          "processor s |\n" + "|---" * 9 + "|")
    for part in options.parts:
        hidden, started, rows = tuple(options.hidden), time.process_time(), []
        for seed in options.seeds:
            tested = patients(torch.Generator().manual_seed(9999 + seed), N_TEST, options.decides)
            rows.append(scores(*trained(part, hidden, options, seed), tested))
        means = " | ".join(f"{value:.3f}" for value in torch.tensor(rows).mean(0).tolist())
        print(f"| {part} | {hidden[0]:g}, {hidden[1]:g} | {means} | {', '.join(f'{row[0]:.3f}' for row in rows)} | "
              f"{(time.process_time() - started) / len(rows):.0f} |", flush=True)


if __name__ == "__main__":
    main()
