"""What a race costs and whether it finds the best: `autoseg_run --total T` against each configuration alone with all of it.

    python benchmarks/race.py ../shared/data/Dataset004_Hippocampus --total 2h --home /tmp/race
    python benchmarks/race.py ../shared/data/Dataset004_Hippocampus --total 2h --home /tmp/race --folds 0 1

Each run has a home of its own below --home. Alone, a configuration gets T / folds for each fold. The same command goes on
where it was stopped; it takes (1 + configurations) times T. Prints cross-validation Dice of each.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from autoseg.cli.common import seconds
from autoseg.evaluation.statistics import bootstrap_mean, paired_difference
from autoseg.evaluation.table import text_table
from autoseg.orchestrate.folds import choose_folds
from autoseg.selection.race_text import as_lines
from autoseg.selection.race_types import Race
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("dataset", type=Path, help="a raw dataset's folder, DatasetNNN_Name")
    command.add_argument("--total", type=seconds, required=True, help="time of everything together: 30m, 2h")
    command.add_argument("--home", type=Path, required=True, help="folder for the workspaces; what is there goes on")
    command.add_argument("--folds", nargs="+", default=["all-folds"])
    command.add_argument("--configurations", nargs="+", help="those that are trained alone (default: all that raced)")
    options = command.parse_args()
    raced = _workspace(options, "race")
    _run(raced, options, "--total", f"{options.total:.0f}s")
    race = read_model(raced.race(options.dataset.name), Race)
    print("\n".join(as_lines(race)))
    scores = {"race": _dice(raced, options.dataset.name, [race.candidate(t).configuration for t in race.winners])}
    share = options.total / len(choose_folds(raced, options.dataset.name, options.folds))
    for configuration in options.configurations or [candidate.configuration for candidate in race.candidates]:
        alone = _workspace(options, configuration)
        _run(alone, options, "--budget", f"{share:.0f}s", "-c", configuration)
        scores[configuration] = _dice(alone, options.dataset.name, [configuration])
    _show(scores, race)


def _workspace(options: argparse.Namespace, name: str) -> Workspace:
    """A home of its own, in which the raw dataset is linked."""
    home = options.home / name
    raw = home / "raw" / options.dataset.name
    raw.parent.mkdir(parents=True, exist_ok=True)
    if not raw.exists():
        raw.symlink_to(options.dataset.resolve())
    return Workspace.open(home)


def _run(workspace: Workspace, options: argparse.Namespace, *arguments: str) -> None:
    """One `autoseg_run`, whose output follows what earlier starts of it left in log.txt."""
    command = [sys.executable, "-m", "autoseg.cli.run", options.dataset.name, "--home", str(workspace.home), "--folds",
               *options.folds, *arguments]
    print(" ".join(command[2:]), flush=True)
    with open(workspace.home / "log.txt", "ab") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ), check=False)


def _dice(workspace: Workspace, dataset: str, configurations: list[str]) -> dict[str, float | None]:
    """The Dice of each validated case; of the selection where there is one, for several configurations their mean's."""
    if workspace.selection(dataset).is_file():
        final = json.loads(workspace.selection(dataset).read_text())["final"]["cases"]
        return {case["name"]: _mean([label["dice"] for label in case["labels"]]) for case in final}
    models = [model for model in workspace.models(dataset) if model.configuration in configurations]
    best = max(models, key=ModelFolder.mean_dice)
    results = [read_model(best.fold(name).result, FoldResult) for name in best.folds]
    return {case.name: case.mean_dice for result in results if result.scores for case in result.scores.cases}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _show(scores: dict[str, dict[str, float | None]], race: Race) -> None:
    means = {name: bootstrap_mean(list(dice.values())) for name, dice in scores.items()}
    rows = [["run", "cases", "Dice", "95 % interval"]]
    for name, mean in means.items():
        interval = "-" if mean.low is None else f"{mean.low:.3f} to {mean.high:.3f}"
        rows.append([name, str(mean.n), "-" if mean.mean is None else f"{mean.mean:.4f}", interval])
    print("\n".join(text_table(rows)))
    best = max((name for name in means if name != "race"), key=lambda name: means[name].mean or 0.0)
    shared = [case for case in scores["race"] if case in scores[best]]
    difference = paired_difference([scores["race"][c] for c in shared], [scores[best][c] for c in shared])
    if difference.difference is not None:
        print(f"race less the best single one ({best}): {difference.difference:+.4f} "
              f"({difference.low or 0:+.4f} to {difference.high or 0:+.4f}), {difference.n} cases")
    print(f"the race cost {race.lost_seconds / race.total_seconds:.1%} of the total")


if __name__ == "__main__":
    main()
