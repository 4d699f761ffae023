"""The results of a search as Markdown."""

import math
from collections.abc import Sequence
from statistics import mean, median

from autoseg.base.contention import DISTURBED
from autoseg.evaluation.table import text_table
from speedrun_parts.search import Search, results_of, scores_of
from speedrun_parts.types import BASELINE, Result
from speedrun_parts.verdict import Verdict, noise_of_tasks, verdict_of

_SLOW = 1.25  # times the usual seconds per step of the same recipe and task


def report(search: Search, results: Sequence[Result]) -> str:
    """Paired differences to the baseline, what it reached, and runs that were disturbed."""
    own = results_of(search, results)
    scores = scores_of(search, own)
    baseline = scores[BASELINE]
    if not baseline:
        return "The baseline has no result yet."
    verdicts = [verdict_of(scores, name) for name in search.recipes if name != BASELINE and scores[name]]
    lines = [f"Folds that {search.role}; version {search.version}; {_machines(own)}.", ""]
    lines += text_table(_baseline_rows(search, own, scores), markdown=True)
    lines += ["", *text_table(_rows(search, verdicts), markdown=True)]
    failed = [f"- {result.recipe} on {result.block.task}: {result.error}" for result in own if result.dice is None]
    lines += ["", "Failed:", *failed] if failed else []
    lines += ["", _disturbance(own)]
    if search.role == "choose":
        lines.append("These cases chose: who is best here is a little too good. Judge it on the other folds (--role judge).")
    return "\n".join(lines)


def is_disturbed(result: Result) -> bool:
    """Whether other programs took a part of the machine during a run."""
    others = result.machine.get("others", 0.0)
    return isinstance(others, (int, float)) and others > DISTURBED


def slow_runs(results: Sequence[Result]) -> list[Result]:
    """Runs whose steps took much longer than those of the same recipe, fold or seed apart."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.seconds_per_step:
            groups.setdefault((result.recipe, result.block.task), []).append(result)
    return [result for group in groups.values() for result in group
            if (result.seconds_per_step or 0) > _SLOW * median(each.seconds_per_step or 0 for each in group)]


def _baseline_rows(search: Search, results: Sequence[Result], scores: dict) -> list[tuple[str, ...]]:
    rows, noise = [("task", "budget s", "runs", "Dice of the baseline", "noise over seeds", "iterations", "s per step")], {}
    noise = noise_of_tasks(scores[BASELINE])
    for task in noise:
        runs = [r for r in results if r.recipe == BASELINE and r.block.task == task and r.dice is not None]
        steps = [r.seconds_per_step for r in runs if r.seconds_per_step]
        known = noise[task]
        rows.append((task, f"{search.tasks[task].budget_seconds:g}", str(len(runs)), f"{mean(r.dice for r in runs):.4f}",
                     "one seed" if known is None else f"{known:.4f}", f"{mean(r.iterations or 0 for r in runs):.0f}",
                     f"{mean(steps):.3g}" if steps else "-"))
    return rows


def _rows(search: Search, verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    head = ("recipe", "blocks", "difference", "95 % interval", *search.tasks,
            "by the rule" if search.role == "judge" else "by the rule, on the cases that chose")
    rows = [head]
    for verdict in sorted(verdicts, key=lambda v: -v.difference):
        low, high = verdict.interval
        by_task = (verdict.by_task.get(task, math.nan) for task in search.tasks)
        rows.append((verdict.recipe, str(verdict.n_blocks), f"{verdict.difference:+.4f}", f"{low:+.4f} to {high:+.4f}",
                     *("-" if math.isnan(value) else f"{value:+.4f}" for value in by_task), verdict.words))
    return rows


def _machines(results: Sequence[Result]) -> str:
    keys = ("processor", "instructions", "threads", "precision")
    known = {", ".join(str(result.machine.get(key, "?")) for key in keys) for result in results}
    return ("several machines, whose runs are not comparable: " if len(known) > 1 else "") + "; ".join(sorted(known))


def _disturbance(results: Sequence[Result]) -> str:
    disturbed, slow = [r for r in results if is_disturbed(r)], slow_runs(results)
    if not disturbed and not slow:
        return f"No run of {len(results)} was disturbed."
    return (f"Of {len(results)} runs others took over {DISTURBED:.0%} of the cores in {len(disturbed)}, and {len(slow)} had "
            f"steps {_SLOW:g} times as long as usual: run them again with --again disturbed, on a quiet machine.")
