"""Trains one fold with several patches and widths for the same time, to see what context and channels are worth.

    python benchmarks/phantoms.py --home HOME
    AUTOSEG_HOME=HOME autoseg_plan_and_preprocess -d 31 --budget 15m        (and -d 32)
    python benchmarks/patch_and_width.py --home HOME 31 --seconds 240
    python benchmarks/patch_and_width.py --home DEMO 1 --seconds 180      (of `autoseg_demo --home DEMO`)

The time is counted in training steps: each is timed first, on a machine that does nothing else, and the number of iterations
follows. So the Dice of the validation cases does not depend on what else runs meanwhile.
"""

import argparse
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from planners.rules.pooling import pooling, unet
from planners.schema.plan import Plan


@dataclass(frozen=True)
class Variant:
    """A patch on a grid `coarser` than that of the images, with slices `thick` times as thick as their header says."""

    coarser: tuple[float, ...]
    thick: float
    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]

    @property
    def configuration(self) -> str:
        return "2d" if len(self.patch) == 2 else "3d_fullres"


HEADER_MM = {"Dataset031_Thick": (1.0, 1.0, 1.0)}  # whose plans are coarser than their images; the others' are not
USUAL, NARROW, FLAT = (16, 32, 64, 128), (8, 16, 32, 64, 128), (16, 32, 64, 128, 192)
VARIANTS = {
    1: {"narrow": Variant((1, 1, 1), 1, (24, 40, 56), 2, NARROW),
        "usual": Variant((1, 1, 1), 1, (24, 40, 56), 2, FLAT),
        "wide": Variant((1, 1, 1), 1, (24, 80, 56), 2, FLAT),
        "whole_narrow": Variant((1, 1, 1), 1, (24, 80, 96), 2, NARROW)},
    31: {"as_headers_say": Variant((1.5, 1.5, 1.5), 1, (16, 56, 40), 2, USUAL),
         "slices_kept": Variant((1, 1.5, 1.5), 3, (16, 64, 64), 2, (*USUAL, 128)),
         "slices_kept_wide": Variant((1, 1.5, 1.5), 3, (16, 96, 96), 2, NARROW),
         "slices_kept_wider": Variant((1, 2, 2), 3, (16, 80, 96), 2, NARROW),
         "flat": Variant((1.5, 1.5), 1, (56, 80), 9, USUAL),
         "flat_wide": Variant((1.5, 1.5), 1, (96, 128), 4, FLAT)},
    32: {"small": Variant((1, 1, 1), 1, (16, 40, 56), 2, USUAL),
         "usual": Variant((1, 1, 1), 1, (40, 40, 56), 2, USUAL),
         "usual_narrow": Variant((1, 1, 1), 1, (40, 40, 56), 2, (8, 32, 64, 128)),
         "wide": Variant((1, 1, 1), 1, (40, 80, 96), 2, NARROW),
         "flat": Variant((1, 1), 1, (80, 56), 15, USUAL),
         "flat_wide": Variant((1, 1), 1, (80, 96), 8, FLAT)},
}


def planned(plan: Plan, name: str, variant: Variant) -> Plan:
    """The plan of a variant alone, on a grid relative to that of the images."""
    base = plan.configurations[variant.configuration]
    images = HEADER_MM.get(plan.dataset, base.spacing_mm)
    spacing = tuple(mm * factor for mm, factor in zip(images[-len(variant.coarser):], variant.coarser, strict=True))
    thick = (variant.thick, 1.0, 1.0) if len(spacing) == 3 else (1.0, 1.0)
    shape = pooling([mm * factor for mm, factor in zip(spacing, thick, strict=True)], variant.patch)
    architecture = unet(shape, "plain", (2,), 2).model_copy(update={"features": variant.features[: shape.stages]})
    median = tuple(float(round(n * old / new)) for n, old, new in
                   zip(base.median_shape, base.spacing_mm, spacing, strict=True))
    configuration = base.model_copy(update={"spacing_mm": spacing, "median_shape": median, "patch": shape.patch,
                                            "batch": variant.batch, "architecture": architecture})
    return plan.model_copy(update={"planner": name, "configurations": {variant.configuration: configuration},
                                   "content_hash": ""})


def step_seconds(plan: Plan, name: str) -> float:
    """Median of five steps."""
    configuration = plan.configurations[name]
    layout = torch.channels_last_3d if configuration.dimensions == 3 else torch.channels_last
    model, loss = build_model(plan, configuration).to(memory_format=layout), build_loss(plan.labels, configuration, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    image = torch.randn(configuration.batch, len(plan.channels), *configuration.patch).to(memory_format=layout)
    label = torch.randint(0, plan.labels.n_heads, (configuration.batch, *configuration.patch))
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        loss(model(image), label).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=int, choices=VARIANTS)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--seed", default="0")
    options = parser.parse_args()
    workspace = Workspace.open(options.home)
    dataset = workspace.dataset(options.dataset)
    plan = read_model(workspace.plan(dataset, "budgeted"), Plan)
    for name, variant in VARIANTS[options.dataset].items():
        own = planned(plan, name, variant)
        write_json(workspace.plan(dataset, name), own)
        iterations = round(options.seconds / step_seconds(own, variant.configuration))
        common = ["--home", str(options.home), "-p", name]
        subprocess.run(["autoseg_plan_and_preprocess", "-d", str(options.dataset), *common], check=True, capture_output=True)
        subprocess.run(["autoseg_train", str(options.dataset), variant.configuration, "0", *common, "--seed", options.seed,
                        "--set", f"schedule.iterations={iterations}",
                        "--set", f"schedule.iterations_per_epoch={iterations // 5}",
                        "--set", "schedule.validation_mirroring=false"], check=True, capture_output=True)
        dice = workspace.fold(dataset, name, variant.configuration, 0).mean_dice()
        print(f"{name:20} {variant.patch!s:14} batch {variant.batch:2} {variant.features!s:24} {iterations:5} iterations: "
              f"Dice {dice:.4f}", flush=True)


if __name__ == "__main__":
    main()
