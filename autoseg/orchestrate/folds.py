"""The folds to train, the outcome of each, and the table of all. On one device folds run one after the other."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg import pipeline
from autoseg.base.errors import AutosegError, UserError
from autoseg.base.progress import duration
from autoseg.base.ranks import ranks
from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.table import text_table
from autoseg.evaluation.types import LabelSummary
from autoseg.tracking.follow import FollowedFold, tracked
from autoseg.training.assemble import known_folds
from autoseg.training.run import start_model
from autoseg.training.splits import too_few_for_folds
from autoseg.training.validate import FoldResult
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

ALL_FOLDS = "all-folds"


@dataclass(frozen=True)
class FoldTask:
    """A fold to train by a resolved plan, which is also in a file."""

    planned: Plan
    plan_file: Path
    configuration: str
    fold: int | str
    folder: FoldFolder
    save_probabilities: bool = False
    as_started: bool = False
    trackers: tuple[str, ...] = ()  # that follow its training
    name: str = ""  # in place of the configuration's, where several models have that

    @property
    def title(self) -> str:
        return f"{self.name or self.configuration} fold {self.fold}"


@dataclass(frozen=True)
class Outcome:
    """How a fold ended: with its result, or with a fault."""

    task: FoldTask
    result: FoldResult | None
    fault: str = ""


def is_fold(word: str) -> bool:
    """Whether a word of a command names folds, not a configuration: `0`, `0,1`, `all` or `all-folds`."""
    return word in ("all", ALL_FOLDS) or word.replace(",", "").isdecimal()


def choose_folds(workspace: Workspace, dataset: str, asked: Sequence[str]) -> list[int | str]:
    """The folds that are named by words such as `all-folds`, `0 1 2`, `0,1,2` or `all`, each once.

    `all` is the training on every case. Raises UserError for a fold that the dataset does not have.
    """
    words = [word for text in asked for word in text.split(",") if word]
    if set(words) == {"all"}:
        return ["all"]
    known = known_folds(workspace, dataset)
    if not known:
        raise too_few_for_folds(dataset)
    folds: list[int | str] = []
    for word in words:
        named = known if word == ALL_FOLDS else ["all"] if word == "all" else [int(word)] if word.isdecimal() else None
        if named is None or not set(named) <= {*known, "all"}:
            raise UserError(f"unknown fold {word!r}", where=dataset, found=f"folds {', '.join(map(str, known))}",
                            expected=f"some of these, {ALL_FOLDS}, or all (train on every case)")
        folds += [fold for fold in named if fold not in folds]
    if not folds:
        raise UserError("no fold is named", where=dataset, expected=f"{', '.join(map(str, known))}, {ALL_FOLDS}, or all")
    if len(folds) > 1 and ranks().n > 1:
        raise UserError("several processes train one fold at a time", found=", ".join(map(str, folds)),
                        do="start torchrun once per fold, or use --devices to train one fold per GPU")
    return folds


def begin_folds(workspace: Workspace, planned: Plan, configuration: str, folds: Sequence[int | str], *,
                restart: bool = False, as_started: bool = False, save_probabilities: bool = False,
                trackers: Sequence[str] = ()) -> list[FoldTask]:
    """Write the plan of a configuration; its tasks. Raises UserError where folds were started with another plan."""
    path = start_model(workspace, planned, configuration, folds, restart=restart)
    return [FoldTask(planned, path, configuration, fold,
                     workspace.fold(planned.dataset, planned.planner, configuration, fold), save_probabilities, as_started,
                     tuple(trackers))
            for fold in folds]


def sequential(tasks: Iterable[FoldTask], device: str, *, home: Path, seed: int = 0) -> Iterator[Outcome]:
    """Train one fold after the other in this process; a fold that fails does not end the others."""
    for task in tasks:
        yield attempt(task, device, home, seed)


def attempt(task: FoldTask, device: str, home: Path, seed: int) -> Outcome:
    """Train one fold, or continue it, or read its result; a failure is part of the outcome."""
    try:
        with tracked(task.trackers, FollowedFold(task.planned, task.configuration, task.fold, task.folder, seed)):
            result = pipeline.train(task.planned.dataset, task.configuration, task.fold, planner=task.planned.planner,
                                    planned=task.planned, seed=seed, save_probabilities=task.save_probabilities,
                                    as_started=task.as_started, home=home, device=device)
        return Outcome(task, result)
    except AutosegError as error:
        fault = str(error)
    except Exception as error:  # a bug in one fold must not end the others; the log keeps its traceback
        logger.error("%s failed", task.title, exc_info=True)
        fault = f"{type(error).__name__}: {error}"
    logger.warning("%s: %s", task.title, fault)
    return Outcome(task, None, fault)


def failures(outcomes: Iterable[Outcome]) -> list[str]:
    return [f"{outcome.task.title}: {outcome.fault}" for outcome in outcomes if outcome.fault]


def fold_table(outcomes: Sequence[Outcome]) -> str:
    """Validation Dice of the finished folds of a configuration, one column per label, and the mean over all their cases
    with its 95 % bootstrap interval; empty where no fold was validated.
    """
    scored = [(outcome.result, outcome.result.scores) for outcome in outcomes
              if outcome.result is not None and outcome.result.scores is not None]
    if not scored:
        return ""
    labels = [label.name for label in scored[0][1].labels]
    rows = [["fold", "cases", *labels, "mean", "time"]]
    for result, scores in scored:
        rows.append([str(result.fold), str(scores.n_cases), *map(_dice, scores.labels),
                     _number(result.mean_dice), duration(result.total_seconds)])
    lines = text_table(rows)
    dice = bootstrap_mean([case.mean_dice for _, scores in scored for case in scores.cases])
    interval = "" if dice.low is None else f" (95 % interval {dice.low:.3f} to {dice.high:.3f})"
    lines.append(f"mean over all {dice.n} cases: Dice {_number(dice.mean)}{interval}"
                 + (f"; {dice.n_left_out} cases without foreground are left out" if dice.n_left_out else ""))
    return "\n".join(lines)


def _dice(label: LabelSummary) -> str:
    return _number(label.means["dice"].value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
