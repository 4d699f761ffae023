"""Trains recipes at fixed budgets over several tasks and seeds, and says by evidence which one is better.

    python benchmarks/speedrun.py --out OUT                         (the folds that choose; hours, may be stopped)
    python benchmarks/speedrun.py --out OUT --role judge --only muon              (the folds that judge, with the best few)
    python benchmarks/speedrun.py --out OUT --table                                         (what is there so far, at once)

Recipes and tasks are JSON files (benchmarks/speedrun_recipes.json, speedrun_tasks.json). Each finished run is a line of
OUT/results.jsonl; the same command again goes on with what is missing. The rules of the search and of the choice are in
docs/decisions/0061-how-recipes-are-chosen.md. Run it on a machine that does nothing else: a budget is a time.
"""

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

from autoseg.base.progress import duration
from speedrun_parts.machine import version
from speedrun_parts.runs import Trainer
from speedrun_parts.search import Search, blocks_of, known_results, run_search
from speedrun_parts.table import is_disturbed, report
from speedrun_parts.types import BASELINE, Result, read_recipes, read_tasks

HERE = Path(__file__).resolve().parent
AGAIN = {"nothing": lambda result: False, "failed": lambda result: result.dice is None, "disturbed": is_disturbed}


def parser() -> argparse.ArgumentParser:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--out", type=Path, required=True, help="results and workspaces, kept")
    command.add_argument("--recipes", type=Path, default=HERE / "speedrun_recipes.json")
    command.add_argument("--tasks", type=Path, default=HERE / "speedrun_tasks.json")
    command.add_argument("--data", type=Path, default=os.environ.get("AUTOSEG_TEST_DATA", "../shared/data"),
                         help="folder of the raw datasets")
    command.add_argument("--role", choices=("choose", "judge"), default="choose", help="which folds (default: choose)")
    command.add_argument("--only", nargs="+", metavar="RECIPE", help="these and the baseline")
    command.add_argument("--task", nargs="+", metavar="TASK", help="these tasks alone; the rule asks for all")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--again", choices=tuple(AGAIN), default="nothing", help="runs of this search that are run again")
    command.add_argument("--version", help="name of the program's version (default: a digest of its sources)")
    command.add_argument("--device", default="auto")
    command.add_argument("--keep", action="store_true", help="keep the models, not the results alone")
    command.add_argument("--table", action="store_true", help="run nothing")
    return command


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    search = asked(options)
    if not options.table:
        rounds = blocks_of(search)
        most = sum(search.tasks[block.task].budget_seconds for blocks in rounds for block in blocks) * len(search.recipes)
        print(f"at most {duration(most)} of training, {sum(map(len, rounds))} blocks of {len(search.recipes)} recipes",
              flush=True)
        trainer = Trainer(options.data, options.out, options.device, search.version, keep=options.keep)
        run_search(search, trainer.run, again_once(AGAIN[options.again]))
    print(report(search, list(known_results(search).values())))
    return 0


def asked(options: argparse.Namespace) -> Search:
    """The search that the options ask for."""
    recipes, tasks = read_recipes(options.recipes), read_tasks(options.tasks)
    search = Search(recipes, tasks, options.seeds, options.role, options.version or version(), options.out / "results.jsonl")
    if options.only:
        search = replace(search, recipes=_chosen(recipes, {BASELINE, *options.only}, "recipe"))
    if options.task:
        search = replace(search, tasks=_chosen(tasks, set(options.task), "task"))
    return search


def _chosen(known: dict, names: set[str], kind: str) -> dict:
    unknown = sorted(names - set(known))
    if unknown:
        raise SystemExit(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
    return {name: value for name, value in known.items() if name in names}


def again_once(wanted):
    """Whether a result is to be run again: those that were there, not those of now."""
    seen: set[str] = set()

    def again(result: Result) -> bool:
        is_new = result.key in seen
        seen.add(result.key)
        return not is_new and wanted(result)

    return again


if __name__ == "__main__":
    sys.exit(main())
