"""The planner `light` beside `classic`: parameters and processor seconds per case; and which blocks save time on a CPU.

    python benchmarks/light.py cases      # networks of the plans for hippocampi and 2D membranes, untrained, on noise
    python benchmarks/light.py blocks     # plain, Ghost and MedNeXt networks on one tile: prediction and training step
    python benchmarks/light.py train ../shared/data/Dataset004_Hippocampus --budget 30m    # Dice of light and budgeted

Each prints Markdown tables. Seconds are those of the processor (all threads), which a busy machine changes least; of the
repeats the fastest counts. `train` starts benchmarks/train_fold.py for fold 0 of each planner, one after the other.
"""

import argparse
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it

import numpy as np
import torch

from autoseg.base.runtime import Runtime
from autoseg.nn.model import build_model
from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.prediction.window import predict_logits
from planners import PLANNERS
from planners.architectures.unet import UNet
from planners.rules.pooling import pooling, unet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

TILE = (40, 56, 40)
CPU = Runtime(torch.device("cpu"), torch.float32)
LAPTOP = KnownHardware(device="cpu", memory_bytes=16 * GIB, flops_per_s=150e9, cores=2)
# Configuration, shape of every case, spacing, number of cases.
DATASETS = {"hippocampus": ("3d_fullres", (36, 50, 35), (1.0, 1.0, 1.0), 200),
            "membranes": ("2d", (1, 512, 512), (999.0, 1.0, 1.0), 30)}
# Title, block, channels, edge of the kernels, convolutions of a decoder stage.
NETWORKS_COMPARED = (
    ("plain (classic)", "plain", (32, 64, 128, 256), 3, 2),
    ("plain", "plain", (16, 32, 64, 128), 3, 2),
    ("plain (light)", "plain", (16, 32, 48, 48), 3, 1),
    ("plain", "plain", (8, 16, 32, 64), 3, 2),
    ("Ghost", "ghost", (32, 64, 128, 256), 3, 2),
    ("Ghost", "ghost", (16, 32, 64, 80), 3, 2),
    ("MedNeXt", "mednext", (32, 64, 128, 256), 3, 2),
    ("MedNeXt", "mednext", (16, 32, 64, 128), 3, 2),
    ("MedNeXt", "mednext", (16, 32, 64, 128), 5, 2),
)


def plan_by(planner: str, dataset: str, minutes: float) -> Plan:
    _, shape, spacing_mm, n = DATASETS[dataset]
    cases = tuple(CaseMeasure(case=f"c{i}", shape=shape, spacing_mm=spacing_mm, left_right_axis=2) for i in range(n))
    labels = LabelSpec(names={"background": (0,), "anterior": (1,), "posterior": (2,)})
    fingerprint = Fingerprint(dataset="Dataset004_Light", channels=(ChannelSpec(name="MR"),), labels=labels, cases=cases)
    return PLANNERS.get(planner)(fingerprint, LAPTOP, Budget(seconds_per_fold=60 * minutes))


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Processor seconds, after a first run where there are several."""
    taken = []
    for _ in range(repeats + (repeats > 1)):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def cases(options: argparse.Namespace) -> None:
    print("| dataset | planner | parameters | of classic | mirrored copies | s per case | of classic | without mirroring "
          "| of classic |\n|---|---|---|---|---|---|---|---|---|")
    for dataset in options.datasets:
        reference = None
        for planner in ("classic", "light"):
            plan = plan_by(planner, dataset, options.minutes)
            configuration = plan.configurations[DATASETS[dataset][0]]
            model = CPU.arranged(build_model(plan, configuration), configuration.dimensions).eval()
            image = np.random.default_rng(0).normal(size=(1, *DATASETS[dataset][1])).astype(np.float32)
            figures = [sum(p.numel() for p in model.network.parameters())]
            for axes in (configuration.mirror_axes, ()):
                predict = functools.partial(predict_logits, model, image, configuration, CPU, mirror_axes=axes)
                figures.append(fastest(predict, options.repeats))
            reference = reference or figures
            (n, mirrored, once), (n_0, mirrored_0, once_0) = figures, reference
            copies = 2 ** len(configuration.mirror_axes)
            print(f"| {dataset} | {planner} | {n:,} | {n / n_0:.3f} | {copies} | {mirrored:.3f} "
                  f"| {mirrored / mirrored_0:.2f} | {once:.3f} | {once / once_0:.2f} |", flush=True)


def compared(block: str, features: tuple[int, ...], edge: int, convs_decoder: int) -> UNet:
    shape = pooling((1.0, 1.0, 1.0), TILE)
    made = unet(shape, block, (2,), convs_decoder)
    return made.model_copy(update={"features": features, "kernel_sizes": ((edge,) * 3,) * len(features)})


def blocks(options: argparse.Namespace) -> None:
    print("| network | channels | kernels | parameters | GFLOP | s per tile | s per step of two |")
    print("|---|---|---|---|---|---|---|")
    for title, block, features, edge, convs_decoder in NETWORKS_COMPARED:
        if block not in options.only:
            continue
        architecture = compared(block, features, edge, convs_decoder)
        network = CPU.arranged(NETWORKS.make(Part(name="unet"), NetworkContext(architecture, 1, 3)), 3)
        image = CPU.arranged(torch.randn(2, 1, *TILE), 3)

        def predict(network=network, image=image) -> None:
            with torch.inference_mode():
                network.decode(network.encode(image), every_stage=False)

        def step(network=network, image=image) -> None:
            sum(logits.mean() for logits in network.decode(network.encode(image), every_stage=True)).backward()

        cost = architecture.cost(TILE, 1, 3)
        with CPU.same_shapes():
            predicting, training = fastest(predict, options.repeats) / 2, fastest(step, options.repeats)
        print(f"| {title} | {'-'.join(map(str, features))} | {edge}^3 | {cost.parameters:,} "
              f"| {cost.forward_flops / 1e9:.2f} | {predicting:.3f} | {training:.3f} |", flush=True)


def train(options: argparse.Namespace) -> None:
    script = Path(__file__).with_name("train_fold.py")
    for planner in options.planners:
        subprocess.run([sys.executable, script, options.dataset, options.configuration, "-p", planner, "--budget",
                        options.budget, "--seed", options.seed, "--device", "cpu"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("cases")
    command.add_argument("--datasets", nargs="+", choices=tuple(DATASETS), default=tuple(DATASETS))
    command.add_argument("--minutes", type=float, default=30, help="for which light plans a fold")
    command.set_defaults(work=cases)
    command = commands.add_parser("blocks")
    command.add_argument("--only", nargs="+", default=("plain", "ghost", "mednext"), help="networks of these blocks")
    command.set_defaults(work=blocks)
    command = commands.add_parser("train")
    command.add_argument("dataset", type=Path)
    command.add_argument("--configuration", default="3d_fullres")
    command.add_argument("--budget", default="30m")
    command.add_argument("--seed", default="0")
    command.add_argument("--planners", nargs="+", default=("light", "budgeted"))
    command.set_defaults(work=train)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work(options)


if __name__ == "__main__":
    main()
