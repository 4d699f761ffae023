"""Networks side by side: each planner's network trained on the same fold for the same time.

    python benchmarks/networks.py ../shared/data/Dataset004_Hippocampus --budget 30m --home /tmp/networks
    python benchmarks/networks.py ../shared/data/Dataset020_Membrane --budget 10m --planners budgeted vit2d -c 2d --home ...
    python benchmarks/networks.py ... --seeds 0 1 2 --set schedule.decay=poly

What is finished in --home is kept, so the same command goes on where it was stopped. Prints Markdown: mean Dice of the
validation cases, parameters, iterations, seconds of the training, and seconds per step as planned and as taken.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg import pipeline
from autoseg.cli.common import seconds
from autoseg.nn.model import build_model
from autoseg.workspace.files import read_records
from autoseg.workspace.names import Workspace

HEADER = ("| planner | seed | network | parameters | patch | batch | iterations | seconds | s per step (planned) | Dice |\n"
          "|---|---|---|---|---|---|---|---|---|---|")


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("dataset", type=Path, help="a raw dataset's folder, DatasetNNN_Name")
    command.add_argument("--budget", type=seconds, required=True, help="of each training: 10m, 1h")
    command.add_argument("--home", type=Path, required=True, help="workspace, kept")
    command.add_argument("--planners", nargs="+", default=["budgeted", "primus"])
    command.add_argument("-c", "--configuration", default="3d_fullres")
    command.add_argument("--fold", type=int, default=0)
    command.add_argument("--seeds", type=int, nargs="+", default=[0], help="each seed has a workspace of its own")
    command.add_argument("--device", default="auto")
    command.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    options = command.parse_args()
    rows = [trained(options, planner, seed) for seed in options.seeds for planner in options.planners]
    print(f"\n{options.dataset.name}, {options.configuration}, fold {options.fold}, {options.budget / 60:.0f} min each\n")
    print("\n".join([HEADER, *rows]))


def trained(options: argparse.Namespace, planner: str, seed: int) -> str:
    """Plan, prepare and train; a row of the table."""
    home = options.home / f"seed_{seed}"
    raw = home / "raw" / options.dataset.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(options.dataset.resolve())
    name = options.dataset.name
    pipeline.fingerprint(name, home=home)
    plan = pipeline.plan(name, planner=planner, budget_seconds=options.budget, home=home, device=options.device)
    print("\n".join(plan.reasons))
    pipeline.preprocess(name, planner=planner, configurations=[options.configuration], home=home)
    start = time.monotonic()
    result = pipeline.train(name, options.configuration, options.fold, planner=planner, changes=options.changes, seed=seed,
                            home=home, device=options.device)
    taken = time.monotonic() - start
    folder = Workspace.open(home).fold(name, planner, options.configuration, options.fold)
    last = read_records(folder.metrics)[-1]
    used = Workspace.open(home).model(name, planner, options.configuration).read_plan()
    chosen = used.configurations[options.configuration]
    parameters = sum(p.numel() for p in build_model(used, chosen).parameters())
    dice = result.mean_dice
    patch, planned_step = "x".join(map(str, chosen.patch)), chosen.step_seconds or float("nan")
    return (f"| {planner} | {seed} | {chosen.architecture.title} | {parameters / 1e6:.2f} M | {patch} | {chosen.batch} "
            f"| {last['iteration']} | {taken:.0f} | {last['seconds'] / last['iteration']:.3f} ({planned_step:.3f}) "
            f"| {'-' if dice is None else f'{dice:.4f}'} |")


if __name__ == "__main__":
    main()
