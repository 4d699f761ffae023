"""Trains one fold of a raw dataset within a budget and prints what came of it, as a row of a Markdown table.

    python benchmarks/train_fold.py ../shared/data/Dataset004_Hippocampus 3d_fullres --budget 30m
    python benchmarks/train_fold.py ../shared/data/Dataset004_Hippocampus 3d_fullres -p classic --set schedule.iterations=200

The dataset is linked, not copied, into a workspace that is kept where --home says, else thrown away. The budget begins
with the training command; planning and preparing come before it and are reported apart.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder")
    parser.add_argument("configuration")
    parser.add_argument("--fold", default="0")
    parser.add_argument("-p", "--planner", default="budgeted")
    parser.add_argument("--budget", help="such as 30m; without it the plan's own length is trained")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    if options.home is not None:
        run(options, options.home)
    else:
        with tempfile.TemporaryDirectory() as home:
            run(options, Path(home))


def run(options: argparse.Namespace, home: Path) -> None:
    raw = home / "raw" / options.dataset.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(options.dataset.resolve())
    budget = ["--budget", options.budget] if options.budget else []
    common = ["-p", options.planner, "--home", str(home), "--device", options.device]
    name = options.dataset.name
    preparing = timed("plan_and_preprocess", "-d", name, "-c", options.configuration, *budget, *common)
    changes = [part for change in options.changes for part in ("--set", change)]
    training = timed("train", name, options.configuration, options.fold, "--seed", options.seed, *changes, *common)
    report(options, home, preparing, training)


def timed(command: str, *arguments: str) -> float:
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{command}", *arguments], check=True,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})
    return time.monotonic() - start


def report(options: argparse.Namespace, home: Path, preparing: float, training: float) -> None:
    from autoseg.training.validate import FoldResult
    from autoseg.workspace.files import read_model
    from autoseg.workspace.names import Workspace

    folder = Workspace(home).fold(options.dataset.name, options.planner, options.configuration, options.fold)
    result = read_model(folder.result, FoldResult)
    labels = ", ".join(f"{label.name} {label.means['dice'].value:.4f}" for label in result.scores.labels)
    granted = result.schedule.budget_seconds
    share = f"{training / granted:.1%} of {granted / 60:.0f} min" if granted else "no budget"
    print("| dataset | configuration | planner | fold | iterations | prepare s | train s | of the budget | mean Dice | n "
          "| by label |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    print(f"| {result.dataset} | {result.configuration} | {result.planner} | {result.fold} | {result.schedule.iterations} "
          f"| {preparing:.0f} | {training:.0f} | {share} | {result.mean_dice:.4f} | {result.scores.n_cases} | {labels} |")


if __name__ == "__main__":
    main()
