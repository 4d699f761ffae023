"""Runs recipes block by block; what is there is not run again, and who is hopeless is not run on."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.workspace.files import append_record, read_records
from speedrun_parts.types import BASELINE, Block, Recipe, Result, Role, Task, key_of
from speedrun_parts.verdict import survivors

logger = logging.getLogger(__name__)

# Trains one recipe on one block. What is wrong with the recipe is said in the result, not raised.
Run = Callable[[str, Recipe, Task, Block, Role, str], Result]


@dataclass(frozen=True)
class Search:
    """All that a search is asked for. `results` is a file of JSON lines."""

    recipes: Mapping[str, Recipe]
    tasks: Mapping[str, Task]
    seeds: int
    role: Role
    version: str
    results: Path


def blocks_of(search: Search) -> list[list[Block]]:
    """The blocks of each round: every task and fold once, with one seed. So an early choice knows all tasks."""
    return [[Block(task=name, fold=fold, seed=seed) for name, task in search.tasks.items()
             for fold in task.folds(search.role)] for seed in range(search.seeds)]


def run_search(search: Search, run: Run, again: Callable[[Result], bool] = lambda result: False) -> list[str]:
    """Run every round; the recipes that are left. After each round that chooses, the hopeless are dropped; where the role is
    to judge, nobody is. Within a block all recipes run one after the other, so that the machine is alike for them.

    A result that is to be run `again`, such as one of a disturbed run, is replaced by the new line.
    """
    alive, done = list(search.recipes), known_results(search)
    for number, blocks in enumerate(blocks_of(search), start=1):
        for block in blocks:
            for name in _in_turn(alive, block):
                key = _key(search, name, block)
                if key not in done or again(done[key]):
                    done[key] = run(name, search.recipes[name], search.tasks[block.task], block, search.role, key)
                    append_record(search.results, done[key].model_dump(mode="json"))
                if done[key].dice is None and name != BASELINE:
                    logger.warning("%s is dropped: %s", name, done[key].error)
            alive = [name for name in alive if name == BASELINE or done[_key(search, name, block)].dice is not None]
        if search.role == "choose":
            left = survivors(scores_of(replace(search, seeds=number), done.values()), alive)  # what was known then
            logger.warning("round %d: %s", number, _dropped(alive, left))
            alive = left
    return alive


def known_results(search: Search) -> dict[str, Result]:
    """The results that are there by their key, the last of each; lines of other versions or roles stay apart by it."""
    lines = [Result.model_validate({k: v for k, v in record.items() if k in Result.model_fields})
             for record in read_records(search.results)]
    return {result.key: result for result in lines}


def scores_of(search: Search, results: Iterable[Result]) -> dict[str, dict[Block, float]]:
    """Dice by recipe and block, of this search's role and version."""
    by_key, scores = {result.key: result for result in results}, {}
    for name in search.recipes:
        found = {block: by_key.get(_key(search, name, block)) for blocks in blocks_of(search) for block in blocks}
        scores[name] = {block: result.dice for block, result in found.items()
                        if result is not None and result.dice is not None}
    return scores


def results_of(search: Search, results: Iterable[Result]) -> list[Result]:
    """The results of this search, under the names that its recipes have now."""
    by_key = {result.key: result for result in results}
    wanted = [(name, block) for blocks in blocks_of(search) for block in blocks for name in search.recipes]
    return [by_key[key].model_copy(update={"recipe": name}) for name, block in wanted
            if (key := _key(search, name, block)) in by_key]


def _in_turn(alive: Sequence[str], block: Block) -> list[str]:
    """The recipes, each block beginning with another: none always has the first minutes of a block."""
    shift = (block.seed + block.fold) % len(alive)
    return [*alive[shift:], *alive[:shift]]


def _key(search: Search, name: str, block: Block) -> str:
    return key_of(search.recipes[name], search.tasks[block.task], block, search.version)


def _dropped(before: Sequence[str], after: Sequence[str]) -> str:
    gone = [name for name in before if name not in after]
    return f"{len(after)} of {len(before)} go on" + (f"; dropped: {', '.join(gone)}" if gone else "")
