"""Seconds per training step of the plans of `step_cost.py` with this code and with another checkout, step by step in turn.

    python benchmarks/step_duel.py OTHER_CHECKOUT [--only WORDS] [--repeats 9]

What slows the machine for a moment slows both. The fastest and the median of the repeats, and the page faults of a step.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from step_cost import CASES

HERE = Path(__file__).parents[1]
WORKER = """
import resource, sys, time
from step_cost import CASES, Runtime, torch, train_step, training_of
torch.set_num_threads(2)
runtime = Runtime(torch.device("cpu"), torch.float32)
case = next(case for case in CASES if case.title == sys.argv[1])
state, loss, batch = training_of(case, runtime)
with runtime.same_shapes():
    for line in sys.stdin:
        start, faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        train_step(state, state.model, loss, batch, runtime)
        print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, flush=True)
"""


def worker(tree: Path, title: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(tree), str(HERE / "benchmarks")])
    return subprocess.Popen([sys.executable, "-c", WORKER, title], cwd=tree, text=True,
                            env=os.environ | {"PYTHONPATH": paths}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def step(process: subprocess.Popen[str]) -> tuple[float, int]:
    """Seconds and page faults of one step."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, faults = process.stdout.readline().split()
    return float(seconds), int(faults)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--only", default="", help="cases whose title contains these words")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for case in CASES:
        if options.only not in case.title:
            continue
        pair = [worker(tree, case.title) for tree in (options.other, HERE)]
        taken = [[step(process) for process in pair] for _ in range(2 + options.repeats)][2:]
        for process in pair:
            process.communicate()
        (other, other_median, other_faults), (mine, mine_median, faults) = map(_summary, zip(*taken, strict=True))
        print(f"{case.title:24} fastest {other:.3f} s, now {mine:.3f} s ({mine / other:.2f}); "
              f"median {other_median:.3f} s, now {mine_median:.3f} s ({mine_median / other_median:.2f}); "
              f"page faults {other_faults}, now {faults}", flush=True)


def _summary(steps: Iterable[tuple[float, int]]) -> tuple[float, float, int]:
    """The fastest and the median seconds, the median page faults."""
    seconds, faults = zip(*steps, strict=True)
    return min(seconds), statistics.median(seconds), round(statistics.median(faults))


if __name__ == "__main__":
    main()
