"""Passes of a prediction on a CPU side by side, each by one thread, against one after another by all threads.

    python benchmarks/side_by_side.py
    OMP_NUM_THREADS=1 python benchmarks/side_by_side.py --cases hippocampus

Untrained U-Nets on cases of noise, in both ways, in turn: median seconds of the clock and of the processor, page faults, the
most memory beside what the process held before, the largest difference of a logit. Prints Markdown. Run it on a machine that
does nothing else.
"""

import argparse
import math
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.nn.model import build_model
from autoseg.prediction import window
from benchmarks.prediction import CPU, NAME, plan_of

WAYS = ("one after another", "side by side")


@dataclass(frozen=True)
class Example:
    """A case of a shape, in tiles of a patch, by a network of a width."""

    what: str
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    features: tuple[int, ...]
    mirror_axes: tuple[int, ...]
    n_folds: int = 1


EXAMPLES = {
    "hippocampus": Example("`classic`, 8 copies", (36, 50, 36), (40, 56, 40), (32, 64, 128, 256), (0, 1, 2)),
    "narrow": Example("narrow, 2 copies", (36, 50, 36), (40, 56, 40), (8, 16, 32, 64), (2,)),
    "folds": Example("narrow, 2 copies, 5 folds", (36, 50, 36), (40, 56, 40), (8, 16, 32, 64), (2,), 5),
    "validation": Example("narrow, 3 tiles, no copies", (72, 50, 36), (40, 56, 40), (8, 16, 32, 64), ()),
    "small": Example("tiles of 32, 8 copies", (48, 48, 32), (32, 32, 32), (16, 32, 64, 128), (0, 1, 2)),
    "slices": Example("20 slices of 256x256, no copies", (20, 256, 256), (256, 256), (16, 32, 64, 128, 256), ()),
    "cube": Example("tiles of 96, 4 copies", (96, 96, 96), (96, 96, 96), (16, 32, 64, 128, 256), (0, 2)),
    "large": Example("one tile of 128, 2 copies", (128, 128, 128), (128, 128, 128), (32, 64, 128, 256, 320), (0,)),
    "odd": Example("3 tiles of 96, no copies", (192, 96, 96), (96, 96, 96), (16, 32, 64, 128, 256), ()),
}


@contextmanager
def chosen(way: str) -> Iterator[None]:
    """Within this context all passes are made in one of the ways; batches are as large as it would choose."""
    before = window._LARGEST_SIDE_BY_SIDE
    window._LARGEST_SIDE_BY_SIDE = math.inf if way == WAYS[1] else 0
    try:
        yield
    finally:
        window._LARGEST_SIDE_BY_SIDE = before


@dataclass(frozen=True)
class Usage:
    seconds: float
    processor_seconds: float
    faults: int
    peak_bytes: int


def measured(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, Usage]:
    """What the work gives, and what it took."""
    process, ended = psutil.Process(), threading.Event()
    held = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(0.01):
            held.append(process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start, worked = time.perf_counter(), time.process_time()
    result = work()
    usage = Usage(time.perf_counter() - start, time.process_time() - worked,
                  resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, max(held) - held[0])
    ended.set()
    watching.join()
    return result, usage


def compare(example: Example, repeats: int) -> None:
    torch.manual_seed(0)
    plan = plan_of(3, example.patch, example.features, mirror_axes=example.mirror_axes)
    configuration = plan.configurations[NAME]
    models = [CPU.arranged(build_model(plan, configuration), len(example.patch)).eval() for _ in range(example.n_folds)]
    predict = partial(window.predict_logits, models, torch.randn(1, *example.shape), configuration, CPU, n_heads=3)
    usages: dict[str, list[Usage]] = {way: [] for way in WAYS}
    logits = {}
    for repeat in range(repeats + 1):
        for way in WAYS if repeat % 2 else reversed(WAYS):
            with chosen(way):
                logits[way], usage = measured(predict)
            usages[way].append(usage)
    a, b = (usages[way][1:] for way in WAYS)  # the first of each warms up
    difference = float((logits[WAYS[0]] - logits[WAYS[1]]).abs().max())
    columns = [both(a, b, "seconds", "{:.3f}"), both(a, b, "processor_seconds", "{:.3f}"), both(a, b, "faults", "{:.0f}")]
    peaks = " / ".join(f"{max(usage.peak_bytes for usage in each) / 2**20:.0f}" for each in (a, b))
    ratio = middle(b, "seconds") / middle(a, "seconds")
    print(f"| {example.what} | {' | '.join(columns)} | {peaks} | {difference:.0e} | {ratio:.2f} |", flush=True)


def both(a: list[Usage], b: list[Usage], key: str, form: str) -> str:
    return " / ".join(form.format(middle(each, key)) for each in (a, b))


def middle(usages: list[Usage], key: str) -> float:
    return statistics.median(getattr(usage, key) for usage in usages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(EXAMPLES), default=list(EXAMPLES))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads\n\n"
          f"| case | s, {WAYS[0]} / {WAYS[1]} | processor s | page faults | MiB | largest difference | ratio of s |\n"
          "|---|---|---|---|---|---|---|")
    for name in options.cases:
        compare(EXAMPLES[name], options.repeats)


if __name__ == "__main__":
    main()
