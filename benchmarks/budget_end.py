"""Where a fold with a time budget ends by its own processor time, which other work on the machine does not change.

    taskset -c 1 python benchmarks/budget_end.py ../shared/data/Dataset004_Hippocampus 3d_fullres --budget 60s --home end
    taskset -c 1 python benchmarks/budget_end.py ../shared/data/Dataset004_Hippocampus 3d_fullres --home end --untimed

The clock of the training and of its validation is the processor time of this process, on one core: waiting for the disk and
for other programs does not count. With `--untimed` no validation case is timed during the training, as before decision 0069.
The plan is made once per workspace. The fold is trained again each time.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder")
    parser.add_argument("configuration")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--home", type=Path, required=True, help="the workspace, kept")
    parser.add_argument("--untimed", action="store_true")
    options = parser.parse_args()
    prepare(options)
    train(options)


def train(options: argparse.Namespace) -> None:
    time.monotonic = time.perf_counter = time.process_time  # before anything binds them
    import autoseg.training.timing as timing
    from autoseg import pipeline
    from autoseg.base import contention
    from autoseg.workspace.files import read_records
    from autoseg.workspace.names import Workspace

    contention.now = lambda: None  # what others take of the core is none of this clock's
    if options.untimed:
        timing.seconds_for_timing = lambda *known: 0.0
    result = pipeline.train(options.dataset.name, options.configuration, options.fold, home=options.home, device="cpu",
                            restart=True)
    budget, n_cases = result.schedule.budget_seconds, len(result.scores.cases)
    folder = Workspace(options.home).fold(result.dataset, result.planner, result.configuration, result.fold)
    print("| fold | timed | budget s | training s | in all s | of the budget | iterations | epochs | unmirrored | Dice |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    print(f"| {result.dataset} {result.configuration} {result.fold} | {'no' if options.untimed else 'yes'} | {budget:.0f} | "
          f"{result.training_seconds:.1f} | {result.total_seconds:.1f} | {result.total_seconds / budget:.1%} | "
          f"{result.schedule.iterations} | {len(read_records(folder.metrics))} | {len(result.unmirrored)} of {n_cases} | "
          f"{result.mean_dice:.3f} |")


def prepare(options: argparse.Namespace) -> None:
    raw = options.home / "raw" / options.dataset.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(options.dataset.resolve())
        subprocess.run([sys.executable, "-m", "autoseg.cli.plan_and_preprocess", "-d", raw.name, "-c", options.configuration,
                        "--budget", options.budget, "--home", str(options.home)], check=True,
                       env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})


if __name__ == "__main__":
    main()
