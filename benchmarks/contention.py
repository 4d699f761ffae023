"""Whether a training keeps the end of its time budget while another process takes half of its cores for a while.

    taskset -c 1 python benchmarks/contention.py train ../shared/data/Dataset004_Hippocampus --out contention
    taskset -c 1 python benchmarks/contention.py train ../shared/data/Dataset004_Hippocampus --out contention --only bursts
    python benchmarks/contention.py simulate

`train` trains fold 0 of `3d_fullres` once per scenario, in a process of its own, with a plan that was made while nothing
else ran. The other work is a loop that never waits, one per core that this process may use: it takes half of each. Its
moments are shares of the budget, counted from the start of the training. Results are kept in --out as one line each; the
table has all that are there. `fold` is the time that the fold says of itself, which is the one that the budget is for;
`command` that of the whole command, with the start of Python. A scenario is kept where the fold ends within 5 % of its
budget.

`simulate` trains nothing: the rules run on a simulated clock, in the same scenarios and with random changes of the speed,
beside the rules that there were before.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it

from autoseg.base.processes import cores
from autoseg.cli.common import seconds
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from contention_parts.simulated import (
    EARLIER,
    HALF,
    RULE,
    UNTIMED,
    Fold,
    Machine,
    Rule,
    changes_of,
    fold_of,
    wrongly_expected,
)

NAME = "3d_fullres"
KEPT = 0.05  # of the budget, too late or too early
BURST = 0.1
SHORT_BUDGETS = (60.0, 120.0, 180.0, 300.0)
Changes = Callable[[random.Random, float], list[tuple[float, float]]]
# When the other work runs, from and to, in shares of the budget.
SCENARIOS: dict[str, tuple[tuple[float, float], ...]] = {
    "nothing else": (),
    "from the start": ((0.0, 9.0),),
    "from the middle": ((0.5, 9.0),),
    "last tenth": ((0.9, 9.0),),
    "first half": ((0.0, 0.5),),
    "bursts": tuple((2 * i * BURST, (2 * i + 1) * BURST) for i in range(8)),
}
_LOOP = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training, simulated = commands.add_parser("train"), commands.add_parser("simulate")
    training.add_argument("dataset", type=Path, help="a raw dataset's folder")
    training.add_argument("--out", type=Path, required=True, help="workspaces and results, kept")
    training.add_argument("--budget", type=seconds, default=180.0)
    training.add_argument("--only", choices=SCENARIOS, nargs="+", help="scenarios (default: all that have no result yet)")
    training.add_argument("--seed", type=int, default=0)
    simulated.add_argument("--folds", type=int, default=1000, help="folds with random changes of the speed")
    options = parser.parse_args()
    train_all(options) if options.command == "train" else simulate(options.folds)


def simulate(n_folds: int) -> None:
    """Ends in shares of the budget: a fold like that of the hippocampus in 2 minutes, and random folds."""
    hippocampus = Fold(budget=120, step=0.35, case_pass=0.04, case_rest=0.1)
    print("| other work | end before | end now |\n|---|---|---|")
    for name, times in SCENARIOS.items():
        changes = sorted((share * hippocampus.budget, left) for first, last in times for share, left in
                         ((first, HALF), (last, 1.0)))
        ends = [hippocampus.run(Machine(changes), rule) for rule in (EARLIER, RULE)]
        print(f"| {name} | {ends[0]:.1%} | {ends[1]:.1%} |")
    print("\n| speed | validation of the budget | rule | earliest | 5 % | median | 95 % | latest | missed |")
    print("|---|---|---|---|---|---|---|---|---|")
    for speed, changes in (("kept", lambda draw, budget: []), ("changes", changes_of)):
        for validation in (0.02, 0.05, 0.1, 0.15):
            for title, rule in (("before", UNTIMED), ("now", RULE)):
                ends = [wrong_end(seed, validation, rule, changes) for seed in range(n_folds)]
                print(f"| {speed} | {validation:.1%} | {title} | {spread_of(ends)} |")
    print("\n| validation of the budget | rule | earliest | 5 % | median | 95 % | latest | missed |")
    print("|---|---|---|---|---|---|---|---|")
    for validation in (0.02, 0.03, 0.07):
        for title, rule in (("before", EARLIER), ("now", RULE)):
            ends = [random_end(seed, validation, rule) for seed in range(n_folds)]
            print(f"| {validation:.1%} | {title} | {spread_of(ends)} |")


def spread_of(ends: list[float]) -> str:
    """Cells of a table: some quantiles of the ends, and how many missed the budget."""
    ordered = sorted(ends)
    at = [f"{ordered[round(share * (len(ends) - 1))]:.1%}" for share in (0, 0.05, 0.5, 0.95, 1)]
    return f"{' | '.join(at)} | {sum(abs(end - 1) > KEPT for end in ends)} of {len(ends)}"


def wrong_end(seed: int, validation: float, rule: Rule, changes: Changes) -> float:
    """Of a fold of 1 to 5 minutes whose validation is expected wrongly."""
    draw = random.Random(seed)
    fold = wrongly_expected(draw, fold_of(draw, validation, SHORT_BUDGETS))
    return fold.run(Machine(changes(draw, fold.budget)), rule)


def random_end(seed: int, validation: float, rule: Rule) -> float:
    draw = random.Random(seed)
    fold = fold_of(draw, validation)
    return fold.run(Machine(changes_of(draw, fold.budget)), rule)


def train_all(options: argparse.Namespace) -> None:
    results = options.out / "results.jsonl"
    prepared = prepare(options)
    done = {row["scenario"] for row in read(results)}
    for scenario in options.only or [name for name in SCENARIOS if name not in done]:
        row = run(options, prepared, scenario)
        with results.open("a") as file:
            file.write(f"{json.dumps(row)}\n")
    print(table(read(results)))


def prepare(options: argparse.Namespace) -> Path:
    home = options.out / "prepared"
    link = home / "raw" / options.dataset.name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(options.dataset.resolve())
        command(home, "plan_and_preprocess", "-d", link.name, "-c", NAME, "--budget", f"{options.budget}s").wait()
    return home


def run(options: argparse.Namespace, prepared: Path, scenario: str) -> dict[str, Any]:
    """Train in a copy of what was prepared, beside the other work of the scenario."""
    home = options.out / scenario.replace(" ", "_")
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(prepared, home, symlinks=True)
    start = time.monotonic()
    training = command(home, "train", options.dataset.name, NAME, "0", "--seed", str(options.seed))
    others: list[subprocess.Popen[bytes]] = []
    try:
        while training.poll() is None:
            share = (time.monotonic() - start) / options.budget
            is_on = any(first <= share < last for first, last in SCENARIOS[scenario])
            if is_on and not others:
                others = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(cores())]
            if not is_on:
                end(others)
            time.sleep(0.1)
    finally:
        end(others)
    whole = time.monotonic() - start
    if training.returncode:
        raise SystemExit(f"the training failed: {home}")
    result = read_model(Workspace(home).fold(options.dataset.name, "budgeted", NAME, 0).result, FoldResult)
    return {"scenario": scenario, "budget": options.budget, "fold": result.total_seconds, "command": round(whole, 1),
            "training": result.training_seconds, "iterations": result.schedule.iterations, "dice": result.mean_dice}


def end(others: list[subprocess.Popen[bytes]]) -> None:
    while others:
        process = others.pop()
        process.kill()
        process.wait()


def command(home: Path, name: str, *arguments: str) -> "subprocess.Popen[bytes]":
    log = (home / f"{name}.log").open("ab")
    return subprocess.Popen([sys.executable, "-m", f"autoseg.cli.{name}", *arguments, "--home", str(home)], stdout=log,
                            stderr=log, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| other work | budget s | fold s | of the budget | kept | training s | command s | iterations | mean Dice |",
             "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        share = row["fold"] / row["budget"]
        lines.append(f"| {row['scenario']} | {row['budget']:.0f} | {row['fold']:.1f} | {share:.1%} | "
                     f"{'yes' if abs(share - 1) <= KEPT else 'no'} | {row['training']:.1f} | {row['command']:.1f} | "
                     f"{row['iterations']} | {row['dice']:.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
