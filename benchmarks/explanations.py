"""Whether maps find what decides: phantoms whose label depends on one channel, or on a marker in a corner.

    python benchmarks/explanations.py                        # both phantoms
    python benchmarks/explanations.py marker --iterations 600 --cases 8

channel: balls in two channels; those of the first are the label, those of the second are not.
marker:  balls; they are the label where a small cube lies in a corner, and background where it does not.

A small U-Net learns each from volumes of 24^3, made afresh for every step from a seed. Then maps of other volumes are made
with their controls. Prints Markdown. `times chance`: the share of a map's sum that lies in the deciding region (the balls in
the first channel; the cube), over the region's share of all voxels. `area`: between the deletion curves of random and of
chosen voxels, mean over the cases with its interval. `correlation`: of ranks, with the map of a network whose weights are
all shuffled, among voxels at the same distance from the target.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.case import PreparedCase
from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.explain.controls import deletion_of, shuffled_of
from autoseg.explain.gradcam import seg_grad_cam
from autoseg.explain.smoothgrad import smooth_grad
from autoseg.explain.subject import Subject, stitched_logits, subject_of
from autoseg.explain.target import Request, Target, targets_of
from autoseg.grids.geometry import Geometry
from autoseg.prediction.models import FoldModel
from autoseg.training.state import new_state
from autoseg.training.step import AveragedWeights, train_step
from autoseg.training.tasks.segmentation import Segmentation
from fusion import BATCH, EDGE, LABELS, RUNTIME, ball, plan_of, unet, uniform

MARKER = 5  # edge of the cube, in voxels
NET = unet((12, 16, 24, 32), convolutions=1)
TEST_SEED = 999

# n volumes by a generator: images (n, C, D, H, W), labels (n, D, H, W), deciding voxels (n, C, D, H, W; bool)
Task = Callable[[torch.Generator, int], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def _balls(generator: torch.Generator, n: int) -> torch.Tensor:
    """(n, EDGE, EDGE, EDGE) bool: two balls, away from the corner of the marker."""
    pairs = [ball(uniform(generator, 8, EDGE - 4, n, 3), uniform(generator, 2.5, 4, n)) for _ in range(2)]
    return pairs[0] | pairs[1]


def channel(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shown = torch.stack([_balls(generator, n), _balls(generator, n)], 1)
    image = 2.0 * shown + 0.3 * torch.randn(shown.shape, generator=generator)
    deciding = shown.clone()
    deciding[:, 1] = False
    return image, shown[:, 0].to(torch.int16), deciding


def marker(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    balls, marked = _balls(generator, n), torch.rand(n, generator=generator) < 0.5
    cube = torch.zeros(n, EDGE, EDGE, EDGE, dtype=torch.bool)
    cube[:, 1:1 + MARKER, 1:1 + MARKER, 1:1 + MARKER] = True
    image = 2.0 * balls + 3.0 * (cube & marked[:, None, None, None])
    image = image + 0.3 * torch.randn(balls.shape, generator=generator)
    label = balls & marked[:, None, None, None]
    return image[:, None], label.to(torch.int16), cube[:, None]


TASKS: dict[str, Task] = {"channel": channel, "marker": marker}


def trained(task: Task, iterations: int, seed: int) -> FoldModel:
    generator = torch.Generator().manual_seed(seed)
    plan = plan_of("concat", task(generator, 1)[0].shape[1], NET, iterations)
    configuration = plan.configurations["3d_fullres"]
    goal = Segmentation(plan, configuration)
    state, loss = new_state(goal, configuration, RUNTIME, seed), goal.build_loss(RUNTIME.device)
    state.model.train()
    while not state.finished:
        image, label, _ = task(generator, BATCH)
        train_step(state, state.model, loss, Batch(image, label, torch.ones(image.shape[:2], dtype=torch.bool)), RUNTIME)
    with AveragedWeights(state) as model:
        weights = {name: value.clone() for name, value in model.state_dict().items()}
    state.model.load_state_dict(weights)
    return FoldModel(state.model.eval())


def seen(fold: FoldModel, image_CDHW: torch.Tensor, runtime: Runtime = RUNTIME) -> Subject:
    plan = plan_of("concat", len(image_CDHW), NET, 1)
    shape = (EDGE, EDGE, EDGE)
    prepared = PreparedCase("phantom", image_CDHW.numpy(), np.ones(len(image_CDHW), bool), Geometry(shape, (1.0, 1.0, 1.0)),
                            (0, 1, 2), tuple((0, n) for n in shape), shape, (1.0, 1.0, 1.0))
    return subject_of(fold, prepared, CaseConditions(), (plan, plan.configurations["3d_fullres"]), runtime)


def whole_label(subject: Subject) -> list[Target]:
    """The predicted label as a target; none where nothing was predicted."""
    logits = subject.unpadded(stitched_logits(subject, list(subject.tiling)))
    return targets_of(Request(), (), None, LABELS, logits)


def measured(name: str, arguments: argparse.Namespace) -> list[str]:
    task = TASKS[name]
    fold = trained(task, arguments.iterations, arguments.seed)
    generator = torch.Generator().manual_seed(TEST_SEED)
    methods = {
        **{f"Seg-Grad-CAM, {layer}": lambda subject, target, layer=layer: seg_grad_cam(subject, target, layer)
           for layer in ("bottleneck", "decoder_2", "decoder_0")},
        "SmoothGrad": lambda subject, target: smooth_grad(subject, target, samples=arguments.samples, seed=0)}
    rows: dict[str, list[tuple[float, float, float]]] = {method: [] for method in methods}
    dice, n = [], 0
    while n < arguments.cases:
        image, label, deciding = (values[0] for values in task(generator, 1))
        subject = seen(fold, image)
        targets = whole_label(subject)
        if not targets or not label.any():
            continue
        n += 1
        found = targets[0].mask_DHW
        dice.append(float(2 * (found & (label > 0)).sum() / (found.sum() + (label > 0).sum())))
        for method, make in methods.items():
            rows[method].append(_row(subject, targets[0], make, deciding, arguments.draws))
    lines = [f"| {name} | {method} | {np.mean([row[0] for row in values]):.1f} | {_interval([row[1] for row in values])} | "
             f"{np.mean([row[2] for row in values]):.2f} |" for method, values in rows.items()]
    return [*lines, f"| {name} | (Dice of the network {np.mean(dice):.2f}, {n} cases) | | | |"]


def _row(subject: Subject, target: Target, make: Callable[..., torch.Tensor], deciding_CDHW: torch.Tensor, draws: int
         ) -> tuple[float, float, float]:
    """Times chance, area, correlation."""
    attribution = make(subject, target)
    region = deciding_CDHW if len(attribution) == len(deciding_CDHW) else deciding_CDHW.any(0, keepdim=True)
    mass = float((attribution * region).sum() / attribution.sum().clamp(min=1e-12))
    deletion = deletion_of(subject, target, attribution, draws=draws, seed=0)
    shuffled = shuffled_of(subject, target, attribution, lambda other: make(other, target), seed=0)
    return mass / float(region.float().mean()), deletion.area.mean or 0.0, shuffled[-1].correlation


def _interval(values: list[float]) -> str:
    mean = bootstrap_mean(values)
    return f"{mean.mean:.2f}" + (f" ({mean.low:.2f} to {mean.high:.2f})" if mean.low is not None else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="TASK", help="channel, marker (default: both)")
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| phantom | map | times chance | area (95 %) | correlation |\n|---|---|---|---|---|")
    for name in arguments.tasks:
        print("\n".join(measured(name, arguments)), flush=True)


if __name__ == "__main__":
    main()
