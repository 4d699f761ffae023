"""From a raw dataset to a report within a total time: a race decides which configurations get it.

The stages are those of `orchestrate.run`. Everything counts: measuring, planning, preparing and the race itself.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.memory import size
from autoseg.base.progress import duration
from autoseg.datasets.dataset import Dataset
from autoseg.orchestrate.folds import ALL_FOLDS, FoldTask, begin_folds, choose_folds
from autoseg.orchestrate.race import CLOSING_SHARE, again, finish, hold
from autoseg.orchestrate.run import ExecutionOptions, RunResult, concluded, current_or_new_plan, in_stages, train_stages
from autoseg.orchestrate.stopwatch import Stopwatch, running
from autoseg.planning.estimate import LEAST_ITERATIONS, least_fold_seconds, step_flops
from autoseg.planning.probe import ProbedHardware
from autoseg.planning.store import read_fingerprint, read_plan
from autoseg.selection.race import RaceTime, admit
from autoseg.selection.race_text import as_lines
from autoseg.selection.race_types import Race, RaceCandidate
from autoseg.training.assemble import known_folds
from autoseg.training.run import adopt_plan, check_others
from autoseg.training.splits import choose_fold, read_splits
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import remove_leftovers
from planners.rules.budget import for_race, with_budget
from planners.rules.splits import Split
from planners.schema.hardware import Budget
from planners.schema.plan import SHARED_FIELDS, Plan, content_hash_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TotalOptions:
    """What a run with a total time is asked for; `configurations` None: all of each plan."""

    seconds: float
    planners: tuple[str, ...] = (pipeline.DEFAULT_PLANNER,)
    configurations: tuple[str, ...] | None = None
    folds: tuple[str, ...] = (ALL_FOLDS,)
    memory_bytes: int | None = None


@dataclass(frozen=True)
class _Entry:
    """What a race is held about."""

    workspace: Workspace
    dataset: str
    asked: TotalOptions
    folds: tuple[int | str, ...]
    plans: dict[str, Plan]  # by planner
    stages: dict[str, list[list[str]]]  # by planner, as `in_stages` gives them
    execution: ExecutionOptions

    @property
    def raced_fold(self) -> int | str:
        return next((fold for fold in self.folds if fold != "all"), "all")

    @property
    def rounds(self) -> int:
        """How many folds of one model run one after the other."""
        return math.ceil(len(self.folds) / len(self.execution.devices))

    @property
    def candidates(self) -> list[RaceCandidate]:
        return [RaceCandidate(planner=planner, configuration=name, step_flops=step_flops(self.plans[planner], name))
                for planner, stages in self.stages.items() for name in stages[0]]


def run_within(dataset: str | int, asked: TotalOptions, *, execution: ExecutionOptions | None = None,
               home: str | Path | None = None, allow_outcomes: bool = False, clock: Callable[[], float] = time.monotonic
               ) -> RunResult:
    """Run all stages for a dataset within a total time. The same call continues where the last one was stopped.

    Every configuration without an earlier stage takes part in the race. The winner gets the time that is left, or two of
    them together where their ensemble is better for the same time. A cascade on the winner gets half. Raises UserError
    where the total is too short for anything, and where a race that was started is asked for something else.
    """
    execution = execution or ExecutionOptions()
    if execution.cluster is not None:
        raise UserError("a race runs on one machine", found=f"--cluster {execution.cluster} with --total",
                        do="leave out --cluster, or use --budget, which is the time of each fold")
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    remove_leftovers(workspace.race(name).parent)
    with locked(workspace.race(name)), running(Stopwatch(workspace.race_seconds(name), clock)) as stopwatch:
        measured = pipeline.fingerprint(name, home=workspace.home, workers=execution.workers, allow_outcomes=allow_outcomes)
        folds = tuple(choose_folds(workspace, name, asked.folds))
        known = read_model(workspace.race(name), Race) if workspace.race(name).is_file() else None
        if known is not None:
            _check_asked(workspace, known, asked, folds, execution.seed)
        stopwatch.belong_to(measured.digest, keep=known is not None)
        if stopwatch.earlier_seconds:
            logger.info("earlier starts have used %s of the total of %s", duration(stopwatch.earlier_seconds),
                        duration(asked.seconds))
        plans = _plans(workspace, name, asked, len(folds), execution) if known is None else _plans_of(workspace, known)
        stages = {planner: in_stages(plan, asked.configurations) for planner, plan in plans.items()}
        entry = _Entry(workspace, name, asked, folds, plans, stages, execution)
        race = _start(entry, stopwatch) if known is None else known
        _check_candidates(entry, race)
        timed = {planner: _race_plan(plan, race) for planner, plan in plans.items()}
        race = hold(workspace, race, timed, execution, stopwatch,
                    n_cascades=lambda decided: len(_cascades(entry, decided)))
    for line in as_lines(race):
        logger.info("%s", line)
    finish(workspace, race)
    outcomes = train_stages(_stages(entry, race), execution, workspace.home)
    return replace(concluded(workspace, name, outcomes, folds, execution), race=race)


def _plans(workspace: Workspace, name: str, asked: TotalOptions, n_folds: int, execution: ExecutionOptions
           ) -> dict[str, Plan]:
    """Plan with every planner. The time of a fold is known only later; one fold more than there are stands for the rest."""
    budget = Budget(memory_bytes=asked.memory_bytes, seconds_per_fold=asked.seconds / (n_folds + 1))
    for planner in asked.planners:
        current_or_new_plan(workspace, name, planner, budget, execution)
    return {planner: read_plan(workspace, name, planner) for planner in asked.planners}


def _plans_of(workspace: Workspace, race: Race) -> dict[str, Plan]:
    """The plans by which a race was started: the dataset's may have been replaced since, for example for a `--budget`.

    Raises UserError where one of them was changed.
    """
    plans = {planner: read_model(workspace.race_plan(race.dataset, planner), Plan) for planner in race.plan_digests}
    changed = [str(workspace.race_plan(race.dataset, planner)) for planner, plan in plans.items()
               if _digest(plan) != race.plan_digests[planner]]
    _refuse_changes(workspace, race, changed)
    for planner, plan in plans.items():
        path = workspace.plan(race.dataset, planner)
        if path.is_file() and _digest(read_model(path, Plan)) != _digest(plan):
            logger.info("%s was made or edited since the race started; the race keeps its own plan", path)
    return plans


def _start(entry: _Entry, stopwatch: Stopwatch) -> Race:
    """The race that is to be held: who takes part, with their cases prepared, and for how long."""
    workspace, name = entry.workspace, entry.dataset
    splits = _splits(workspace, name)
    cases = choose_fold(splits, entry.raced_fold, []).validation if entry.raced_fold != "all" else ()
    if not cases and len(entry.candidates) > 1:
        raise UserError("configurations cannot be compared: no case is validated", where=name,
                        found=f"folds {', '.join(map(str, entry.folds))}", do="name one configuration with -c, or a fold")
    speed = ProbedHardware(entry.execution.devices[0]).speed
    fingerprint = read_fingerprint(workspace, name)
    least = {candidate.title: least_fold_seconds(entry.plans[candidate.planner], candidate.configuration, fingerprint,
                                                 len(cases), speed) for candidate in entry.candidates}
    foreseen, left_out = _admitted(entry, least, stopwatch)
    trained = _trained(entry, left_out)
    for planner, wanted in trained.items():
        plan = _timed(entry.plans[planner], foreseen)
        for configuration in wanted:
            check_others(workspace, plan, configuration)
    for planner, wanted in trained.items():
        pipeline.preprocess(name, planner=planner, configurations=wanted, home=workspace.home,
                            workers=entry.execution.workers)
    time_of_race, left_out = _admitted(entry, least, stopwatch)
    for title, why in left_out.items():
        logger.warning("%s takes no part in the race: %s", title, why)
    race = Race(dataset=name, total_seconds=entry.asked.seconds, folds=entry.folds, fold=entry.raced_fold, cases=cases,
                seed=entry.execution.seed, memory_bytes=entry.asked.memory_bytes,
                dataset_digest=fingerprint.digest, folds_digest=_digest_of_folds(splits),
                plan_digests={planner: _digest(plan) for planner, plan in entry.plans.items()},
                candidates=tuple(c for c in entry.candidates if c.title not in left_out), left_out=left_out,
                spent_before_seconds=stopwatch.seconds, planned_fold_seconds=time_of_race.fold_seconds,
                shares=time_of_race.shares)
    for planner, plan in entry.plans.items():
        write_json(workspace.race_plan(name, planner), plan)
    write_json(workspace.race(name), race)
    return race


def _trained(entry: _Entry, left_out: Collection[str]) -> dict[str, list[str]]:
    """By planner, the configurations that may be trained: those that race, and cascades on them."""
    trained = {}
    for planner, stages in entry.stages.items():
        racing = [name for name in stages[0] if f"{name} ({planner})" not in left_out]
        configurations = entry.plans[planner].configurations
        cascades = [name for stage in stages[1:] for name in stage if configurations[name].previous in racing]
        trained[planner] = racing + cascades
    return {planner: names for planner, names in trained.items() if names}


def _admitted(entry: _Entry, least: dict[str, float], stopwatch: Stopwatch) -> tuple[RaceTime, dict[str, str]]:
    """The time of the race and who is left out; a UserError where nothing can be trained in what is left of the total."""
    left = entry.asked.seconds * (1 - CLOSING_SHARE) - stopwatch.seconds
    time_of_race, left_out = admit(least, left, entry.rounds)
    if len(left_out) == len(least):
        cheapest = min(least, key=lambda title: least[title])
        enough = (stopwatch.seconds + entry.rounds * least[cheapest]) / (1 - CLOSING_SHARE)
        raise UserError("the total time is too short to train anything", where=entry.dataset,
                        found=f"{duration(entry.asked.seconds)}, of which {duration(stopwatch.seconds)} are spent",
                        expected=f"at least {_rounded_up(enough)} for {len(entry.folds)} folds of {cheapest}, "
                                 f"{LEAST_ITERATIONS} iterations and a validation each",
                        do="give more time, or train fewer folds: --folds 0")
    return time_of_race, left_out


def _rounded_up(seconds: float) -> str:
    """As a person would say it, and may type it after --total."""
    return f"{math.ceil(seconds / 60)}m" if seconds < 7200 else f"{math.ceil(seconds / 360) / 10:g}h"


def _check_asked(workspace: Workspace, race: Race, asked: TotalOptions, folds: tuple[int | str, ...], seed: int) -> None:
    """A UserError where a race that was started is asked for something else, or where the data changed since."""
    differing = [] if race.total_seconds == asked.seconds else [f"a total of {duration(race.total_seconds)}"]
    differing += [] if race.folds == folds else [f"the folds {', '.join(map(str, race.folds))}"]
    differing += [] if race.seed == seed else [f"the seed {race.seed}"]
    if asked.memory_bytes not in (None, race.memory_bytes):
        differing.append("no --memory" if race.memory_bytes is None else f"a memory of {size(race.memory_bytes)}")
    differing += [] if set(race.plan_digests) == set(asked.planners) else [f"the planners {' '.join(race.plan_digests)}"]
    if differing:
        raise UserError("the race was started with other options", where=workspace.race(race.dataset),
                        found=" and ".join(differing), do=f"say the same again, or {again(workspace, race)}")
    changed = []
    if read_fingerprint(workspace, race.dataset).digest != race.dataset_digest:
        changed.append("images, labels or dataset.json")
    if _digest_of_folds(_splits(workspace, race.dataset)) != race.folds_digest:
        changed.append("the folds")
    _refuse_changes(workspace, race, changed)


def _check_candidates(entry: _Entry, race: Race) -> None:
    """A UserError where other configurations are asked for than the race was started with."""
    raced = {candidate.title for candidate in race.candidates} | set(race.left_out)
    if raced != {candidate.title for candidate in entry.candidates}:
        raise UserError("the race was started with other configurations", where=entry.workspace.race(race.dataset),
                        found=", ".join(sorted(raced)), do=f"say the same again, or {again(entry.workspace, race)}")


def _refuse_changes(workspace: Workspace, race: Race, changed: Sequence[str]) -> None:
    if changed:
        raise UserError("the race cannot continue: it was started with other data", where=workspace.race(race.dataset),
                        found=f"changed since: {', '.join(changed)}", do=f"restore them, or {again(workspace, race)}")


def _splits(workspace: Workspace, dataset: str) -> tuple[Split, ...]:
    raw = Dataset.open(workspace.raw(dataset))
    return read_splits(workspace, dataset, raw.names, *raw.groups())


def _digest_of_folds(splits: Sequence[Split]) -> str:
    return content_hash_of({str(number): split.model_dump(mode="json") for number, split in enumerate(splits)})


def _digest(plan: Plan) -> str:
    """Of what is trained, without what is only foreseen of it: that is measured anew whenever a plan is made."""
    decided = {name: configuration.decided() for name, configuration in plan.configurations.items()}
    trained = plan.model_copy(update={"configurations": decided}).model_dump(
        mode="json", include={"configurations", *SHARED_FIELDS})
    return content_hash_of(trained)


def _race_plan(plan: Plan, race: Race) -> Plan:
    return _timed(plan, RaceTime(race.fold_seconds or race.planned_fold_seconds, race.shares))


def _timed(plan: Plan, time_of_race: RaceTime) -> Plan:
    """The plan by which everybody races; where there is nobody to race against, the schedule stays the planner's."""
    if not time_of_race.shares:
        return with_budget(plan, time_of_race.fold_seconds)
    if phased := [name for name, configuration in plan.configurations.items()
                  if configuration.schedule.phases and configuration.schedule.decay != "constant"]:
        raise UserError("trainings in phases whose rate decays cannot race: a pause does not know what the decay will cost",
                        where=f"plan {plan.planner}", found=f"schedule.phases in {', '.join(phased)}",
                        do="set schedule.decay=constant with a schedule-free optimiser, or take the phases out of the plan")
    return for_race(plan, time_of_race.fold_seconds)


def _cascades(entry: _Entry, race: Race) -> list[RaceCandidate]:
    """The cascades on the winner; none beside an ensemble, or where not every fold is trained, whose cases they need."""
    if len(race.winners) != 1 or not set(known_folds(entry.workspace, entry.dataset)) <= set(entry.folds):
        return []
    winner = race.candidate(race.winners[0])
    plan = entry.plans[winner.planner]
    return [RaceCandidate(planner=winner.planner, configuration=name, step_flops=step_flops(plan, name))
            for stage in entry.stages[winner.planner][1:] for name in stage
            if plan.configurations[name].previous == winner.configuration]


def _stages(entry: _Entry, race: Race) -> list[list[FoldTask]]:
    """All folds of the winners, then those of a cascade on them, by plans with the time that each fold has now."""
    stages = []
    for stage in ([race.candidate(title) for title in race.winners], _cascades(entry, race)):
        tasks: list[FoldTask] = []
        for candidate in stage:
            plan = _race_plan(entry.plans[candidate.planner], race)
            adopt_plan(entry.workspace, plan, candidate.configuration)
            tasks += begin_folds(entry.workspace, plan, candidate.configuration, entry.folds, save_probabilities=True,
                                 trackers=entry.execution.trackers)
        stages.append(tasks)
    return [tasks for tasks in stages if tasks]
