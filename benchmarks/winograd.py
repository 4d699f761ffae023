"""Convolutions by Winograd's products against oneDNN's direct ones (`autoseg/nn/networks/winograd.py`): time and rounding.

    python benchmarks/winograd.py layers
    python benchmarks/winograd.py gradients
    python benchmarks/winograd.py steps [--threads 2]
    python benchmarks/winograd.py pass
    python benchmarks/winograd.py cases ../shared/models/nnunet_2.8.1_Dataset004 ../shared/data --cases 60

`layers`: single convolutions; errors are root mean squares against float64, on inputs and results of variance 1.
`gradients`: those of the weights; errors are the largest differences to oneDNN's, of the largest value.
`steps`: training steps of U-Nets on noise, both ways in turn; the fastest of five; with `--threads 2` by the clock.
`pass`: the classic plan of Dataset004, untrained, two copies of a tile of noise in a batch.
`cases`: a model of nnU-Net, imported into a temporary workspace, predicts cases of its dataset in both ways, in turn: the
largest difference of a probability, and the voxels whose label differs. Seconds are those of the processor, which other work
on the machine changes least; one thread. Prints Markdown.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.grad import conv3d_weight

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.base.runtime import freed_memory_kept
from autoseg.cli import import_model
from autoseg.nn.model import build_model
from autoseg.nn.networks import winograd, winograd_gradients
from autoseg.prediction.export import restore_label
from autoseg.prediction.predictor import Predictor
from autoseg.training.step import train_step
from autoseg.workspace.names import Workspace
from benchmarks.prediction import CPU, NAME, plan_of
from benchmarks.step_cost import CUBE, Case, training_of

WAYS = ("direct", "winograd")
# Samples, channels in and out, space.
LAYERS = ((2, 32, 32, (40, 56, 40)), (2, 64, 32, (40, 56, 40)), (2, 64, 64, (20, 28, 20)), (2, 128, 64, (20, 28, 20)),
          (2, 128, 128, (10, 14, 10)), (2, 256, 128, (10, 14, 10)), (2, 256, 256, (5, 7, 5)), (1, 32, 32, (64, 64, 64)),
          (1, 320, 320, (8, 8, 8)), (1, 320, 320, (4, 4, 4)), (2, 320, 320, (4, 4, 4)),
          (2, 16, 16, (40, 56, 40)), (2, 8, 8, (40, 56, 40)),
          (1, 32, 32, (7, 64, 64)))

# The same, of trainings.
TRAINED = ((2, 8, 8, (40, 56, 40)), (2, 16, 8, (40, 56, 40)), (2, 16, 16, (20, 28, 20)), (2, 32, 16, (20, 28, 20)),
           (2, 32, 32, (10, 14, 10)), (2, 16, 16, (40, 56, 40)), (2, 48, 16, (40, 56, 40)), (2, 32, 32, (40, 56, 40)),
           (2, 64, 32, (40, 56, 40)), (2, 64, 64, (20, 28, 20)), (2, 128, 128, (10, 14, 10)), (2, 320, 320, (8, 8, 8)),
           (2, 320, 320, (4, 4, 4)), (1, 16, 16, (16, 16, 16)), (2, 16, 16, (8, 12, 12)))
PATCH = (40, 56, 40)
STEPS = (Case("8 to 64 channels, lean", CUBE, PATCH, 2, (8, 16, 32, 64), classes=2, blocks=(1, 2), convs_decoder=1),
         Case("8 to 64 channels, lean", CUBE, (32, 32, 32), 2, (8, 16, 32, 64), classes=2, blocks=(1, 2), convs_decoder=1),
         Case("16 to 128 channels, lean", CUBE, PATCH, 2, (16, 32, 64, 128), classes=2, blocks=(1, 2), convs_decoder=1),
         Case("32 to 256 channels: the classic plan", CUBE, PATCH, 9, (32, 64, 128, 256), classes=2))


def seconds_of(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> tuple[Any, float]:
    started = clock()
    result = work()
    return result, clock() - started


def layers() -> None:
    print("| samples, channels, space | direct, ms | Winograd, ms | ratio | error, direct | Winograd | is used |\n"
          "|---|---|---|---|---|---|---|")
    for n, c_in, c_out, space in LAYERS:
        torch.manual_seed(0)
        x = torch.randn(n, c_in, *space).contiguous(memory_format=torch.channels_last_3d)
        weight = (torch.randn(c_out, c_in, 3, 3, 3) / (27 * c_in) ** 0.5).contiguous(memory_format=torch.channels_last_3d)
        seconds, errors = one_layer(x, weight)
        a, b = (1000 * seconds[way] for way in WAYS)
        used = "yes" if winograd.pays(x, c_out) else "no"
        print(f"| {n}, {c_in} to {c_out}, {'x'.join(map(str, space))} | {a:.1f} | {b:.1f} | {b / a:.2f} | "
              f"{errors['direct']:.1e} | {errors['winograd']:.1e} | {used} |", flush=True)


def one_layer(x: torch.Tensor, weight: torch.Tensor, repeats: int = 3) -> tuple[dict[str, float], dict[str, float]]:
    """The median seconds of both ways, and their errors on a corner of the image, twice: float64 is slow."""
    corners = x[:1, :, :16, :16, :16].repeat(2, 1, 1, 1, 1).contiguous(memory_format=torch.channels_last_3d)
    exact = torch.nn.functional.conv3d(corners.double(), weight.double(), padding=1)
    errors = {way: float((convolve(way, corners, weight) - exact).square().mean().sqrt()) for way in WAYS}
    for way in WAYS:
        convolve(way, x, weight)
    taken = [{way: seconds_of(partial(convolve, way, x, weight))[1] for way in WAYS} for _ in range(repeats)]
    return {way: statistics.median(each[way] for each in taken) for way in WAYS}, errors


def convolve(way: str, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    ones = (1, 1, 1)
    if way == "direct":
        return torch.ops.aten.mkldnn_convolution(x, weight, None, ones, ones, ones, 1)
    return winograd.convolved(x, weight, None)


def gradients(repeats: int = 5) -> None:
    print("| samples, channels, space | direct, ms | Winograd, ms | ratio | largest difference | is used |\n"
          "|---|---|---|---|---|---|")
    for n, c_in, c_out, space in TRAINED:
        torch.manual_seed(0)
        x, gradient = (torch.randn(n, channels, *space).contiguous(memory_format=torch.channels_last_3d)
                       for channels in (c_in, c_out))
        ways = {"direct": partial(conv3d_weight, x, (c_out, c_in, 3, 3, 3), gradient, padding=1),
                "winograd": partial(winograd_gradients.weight_gradient, x, gradient)}
        exact, found = (work() for work in ways.values())
        a, b = (1000 * min(seconds_of(work)[1] for _ in range(repeats)) for work in ways.values())
        used = "yes" if winograd_gradients.pays(x, c_out) else "no"
        print(f"| {n}, {c_in} to {c_out}, {'x'.join(map(str, space))} | {a:.1f} | {b:.1f} | {b / a:.2f} | "
              f"{float((found - exact).abs().max() / exact.abs().max()):.1e} | {used} |", flush=True)


def steps(threads: int, repeats: int = 5) -> None:
    clock = time.process_time if threads == 1 else time.perf_counter
    print("| U-Net, patches | direct, s | Winograd, s | ratio | GFLOP/s of the definition, direct | Winograd |\n"
          "|---|---|---|---|---|---|")
    for case in STEPS:
        state, loss, batch = training_of(case, CPU)
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        with CPU.same_shapes():
            for _ in range(repeats + 1):
                for way in WAYS:
                    with direct() if way == "direct" else nullcontext():
                        taken[way].append(seconds_of(partial(train_step, state, state.model, loss, batch, CPU), clock)[1])
        a, b = (min(taken[way][1:]) for way in WAYS)
        flops = case.batch * case.architecture.cost(case.patch, case.channels, case.classes + 1).training_flops
        print(f"| {case.title}; {case.batch} of {'x'.join(map(str, case.patch))} | {a:.3f} | {b:.3f} | {b / a:.2f} | "
              f"{flops / a / 1e9:.0f} | {flops / b / 1e9:.0f} |", flush=True)


def whole_pass(repeats: int = 5) -> None:
    torch.manual_seed(0)
    plan = plan_of(3, (40, 56, 40), (32, 64, 128, 256))
    model = CPU.arranged(build_model(plan, plan.configurations[NAME]), 3).eval()
    image = CPU.arranged(torch.randn(2, 1, 40, 56, 40), 3)
    logits, taken = {}, {way: [] for way in WAYS}
    for _ in range(repeats + 1):
        for way in WAYS:
            with direct() if way == "direct" else nullcontext():
                logits[way], seconds = seconds_of(partial(model, image))
            taken[way].append(seconds / len(image))
    a, b = (statistics.median(taken[way][1:]) for way in WAYS)
    difference = float((logits["direct"] - logits["winograd"]).abs().max())
    largest = float(logits["direct"].abs().max())
    print(f"| direct, s per copy | Winograd, s per copy | ratio | largest logit | largest difference |\n"
          f"|---|---|---|---|---|\n| {a:.3f} | {b:.3f} | {b / a:.2f} | {largest:.1f} | {difference:.1e} |")


@contextmanager
def direct() -> Iterator[None]:
    """Within this context nothing is convolved by Winograd's products."""
    modules = winograd, winograd_gradients
    before = [module.pays for module in modules]
    for module in modules:
        module.pays = lambda *_: False
    try:
        yield
    finally:
        for module, pays in zip(modules, before, strict=True):
            module.pays = pays


def cases(model: Path, data: Path, n_cases: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        import_model.main(["nnunet", str(model), "--home", folder])
        (trained,) = Workspace.open(folder).models()
        predictor = Predictor.open(trained.path, device="cpu")
        compare(predictor, sorted((data / trained.dataset / "imagesTr").iterdir())[:n_cases])


def compare(predictor: Predictor, images: list[Path]) -> None:
    (member,) = predictor.members
    seconds, voxels, foreground, different, largest = dict.fromkeys(WAYS, 0.0), 0, 0, 0, 0.0
    for number, image in enumerate(images):
        found = predictor.find(image)
        case = predictor.load(found.files[0], found.conditions)
        prepared = member.prepare_all(case)
        logits = {}
        for way in WAYS if number % 2 else reversed(WAYS):
            with direct() if way == "direct" else nullcontext():
                logits[way], taken = seconds_of(partial(member.logits, prepared, case))
            seconds[way] += taken
        a, b = (logits[way].softmax(0) for way in WAYS)
        largest = max(largest, float((a - b).abs().max()))
        a, b = (restore_label(logits[way], prepared, member.plan, member.configuration) for way in WAYS)
        voxels, foreground = voxels + a.size, foreground + int(np.count_nonzero(a))
        different += int(np.count_nonzero(a != b))
    print(f"| cases | voxels | foreground | other label | largest difference of a probability | direct, s | Winograd, s | "
          f"ratio |\n|---|---|---|---|---|---|---|---|\n"
          f"| {len(images)} | {voxels} | {foreground} | {different} | {largest:.1e} | "
          f"{seconds['direct']:.1f} | {seconds['winograd']:.1f} | {seconds['winograd'] / seconds['direct']:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("layers")
    commands.add_parser("gradients")
    commands.add_parser("steps").add_argument("--threads", type=int, default=1)
    commands.add_parser("pass")
    of_cases = commands.add_parser("cases")
    of_cases.add_argument("model", type=Path)
    of_cases.add_argument("data", type=Path)
    of_cases.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "cases":
        cases(options.model, options.data, options.cases)
    elif options.what == "steps":
        torch.set_num_threads(options.threads)
        steps(options.threads)
    else:
        with torch.no_grad(), freed_memory_kept():
            {"layers": layers, "gradients": gradients, "pass": whole_pass}[options.what]()


if __name__ == "__main__":
    main()
