"""Compares sets of inputs: trains each on the same folds for the same time, alone and fused, and keeps what pays.

Every set is a plan of its own that differs in nothing but its inputs (`planners.rules.input_sets`), so that what is
finished is kept, whichever sets the next call names.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg import pipeline
from autoseg.base.errors import ManyFaults, UserError, listed
from autoseg.base.processes import cores
from autoseg.base.progress import duration
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_header
from autoseg.orchestrate.folds import ALL_FOLDS, FoldTask, Outcome, begin_folds, choose_folds
from autoseg.orchestrate.race import CLOSING_SHARE
from autoseg.orchestrate.run import ExecutionOptions, train_stages
from autoseg.orchestrate.stopwatch import Stopwatch, running
from autoseg.planning.estimate import LEAST_ITERATIONS, least_fold_seconds
from autoseg.planning.make import make_plan
from autoseg.planning.probe import ProbedHardware
from autoseg.planning.resolve import apply_changes
from autoseg.planning.store import configuration_of, current_plan, is_planned_by_machine, read_plan
from autoseg.preprocessing.run import recipe_digest
from autoseg.selection.candidates import Scored, score_candidates
from autoseg.selection.gather import Contender, CrossValidation, contender_of_folds, read_cross_validation
from autoseg.selection.inputs import TOGETHER, Dice, InputComparison, judge_inputs, reasons
from autoseg.selection.run import Choice, conclude
from autoseg.selection.types import Selection
from autoseg.training.run import check_others
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.provenance import now
from planners.rules.budget import with_budget
from planners.rules.input_sets import InputSet, grid_fault, parse_inputs, planner_of, union, with_inputs
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputOptions:
    """What is compared: sets as `parse_inputs` reads them; `late` adds their pairs as late fusions, and the set of all named
    inputs. `total_seconds` is the time of everything, `budget_seconds` that of each fold; neither: what the plan says.
    """

    configuration: str
    inputs: tuple[str, ...]
    late: bool = False
    folds: tuple[str, ...] = (ALL_FOLDS,)
    total_seconds: float | None = None
    budget_seconds: float | None = None
    memory_bytes: int | None = None
    planner: str = pipeline.DEFAULT_PLANNER
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputResult:
    """The comparison, what was selected, the outcome of every fold, and the report."""

    comparison: InputComparison
    selection: Selection
    outcomes: tuple[Outcome, ...]
    report: Path


def compare_inputs(dataset: str | int, asked: InputOptions, *, execution: ExecutionOptions | None = None,
                   home: str | Path | None = None, allow_outcomes: bool = False,
                   clock: Callable[[], float] = time.monotonic) -> InputResult:
    """Train every set, score all on the same validation cases, and write what pays into `inference.json`.

    The same call goes on where the last one was stopped; with other sets it trains those that are new. Raises UserError for
    sets that cannot be compared, for fewer than two folds, and where a comparison was started with other options.
    """
    execution = execution or ExecutionOptions()
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    remove_leftovers(workspace.input_comparison(name).parent)
    sets = _sets(workspace, name, asked)
    with (locked(workspace.input_comparison(name)),
          running(Stopwatch(workspace.input_seconds(name), clock)) as stopwatch):
        measured = pipeline.fingerprint(name, home=workspace.home, workers=execution.workers, allow_outcomes=allow_outcomes)
        folds = _folds(workspace, name, asked)
        known = _known(workspace, name, asked, folds, execution.seed, measured)
        stopwatch.belong_to(measured.digest, keep=known is not None)
        if known is None:
            comparison = _started(workspace, name, asked, sets, folds, measured, execution, stopwatch)
        else:
            comparison = _with_sets(known, sets, asked, execution)
        plans = _plans(workspace, comparison, measured)
        _prepare(workspace, comparison, plans, execution)
        write_json(workspace.input_comparison(name), comparison)
        outcomes = train_stages([_tasks(workspace, comparison, plans)], execution, workspace.home)
        comparison, selection = _scored(workspace, comparison, outcomes, execution)
    return InputResult(comparison, selection, tuple(outcomes), pipeline.report(name, home=workspace.home))


def _sets(workspace: Workspace, name: str, asked: InputOptions) -> tuple[InputSet, ...]:
    """The sets that are asked for; a UserError where they cannot be compared."""
    manifest = Dataset.open(workspace.raw(name)).manifest
    channels, specs = manifest.channels, manifest.conditions.specs
    try:
        sets = [parse_inputs(text, channels, specs) for text in asked.inputs]
    except ValueError as error:
        raise UserError("a set of inputs cannot be read", where=name, found=error,
                        do='write channels, then conditions: "CT,PET+table"') from None
    twice = [text for text, each in zip(asked.inputs, sets, strict=True) if sets.count(each) > 1]
    if twice:
        raise UserError("a set of inputs is named twice", where=name, found=" and ".join(map(repr, twice)),
                        do="name each set once")
    if len(sets) < 2:
        raise UserError("one set of inputs has nothing to be compared with", where=name, found=listed(asked.inputs),
                        expected="two sets or more", do='name them after --inputs, such as --inputs "CT" "CT,PET"')
    every = union(sets, channels, specs)
    if asked.late and every not in sets:
        logger.info("%s is trained too: the early fusion of all named inputs", every.title)
        sets.append(every)
    faults = [fault for each in sets if (fault := grid_fault(each, channels))]
    if faults:
        raise ManyFaults(f"{name}: not every set can be scored on the labels", faults)
    return tuple(sets)


def _folds(workspace: Workspace, name: str, asked: InputOptions) -> tuple[int, ...]:
    folds = [fold for fold in choose_folds(workspace, name, asked.folds) if isinstance(fold, int)]
    if len(folds) < 2:
        raise UserError("inputs are compared on two folds or more: the cases of one say too little", where=name,
                        found=f"--folds {' '.join(asked.folds)}", do="name more, such as --folds 0 1, or leave out --folds")
    return tuple(folds)


def _known(workspace: Workspace, name: str, asked: InputOptions, folds: tuple[int, ...], seed: int, measured: Fingerprint
           ) -> InputComparison | None:
    """The comparison that was started; a UserError where it is another one than is asked for."""
    path = workspace.input_comparison(name)
    if not path.is_file():
        return None
    known = read_model(path, InputComparison)
    wanted = {"planner": (known.plan.planner, asked.planner), "configuration": (known.configuration, asked.configuration),
              "folds": (known.folds, folds), "seed": (known.seed, seed), "--set": (known.changes, asked.changes),
              "--total": (known.total_seconds, asked.total_seconds), "--memory": (known.memory_bytes, asked.memory_bytes),
              "images, labels or dataset.json": (known.dataset_digest, measured.digest)}
    if asked.total_seconds is None:
        wanted["--budget"] = (known.budget_seconds, asked.budget_seconds)
    differing = [what for what, (before, asked_for) in wanted.items() if before != asked_for]
    if differing:
        models = [workspace.model(name, planner, known.configuration).path for planner in known.planners.values()]
        raise UserError("the comparison was started with other options or data", where=path,
                        found=f"different: {', '.join(differing)}",
                        do="say the same again, or compare anew after you have removed "
                           + ", ".join(map(str, [path, workspace.input_seconds(name), *models])))
    return known


def _started(workspace: Workspace, name: str, asked: InputOptions, sets: Sequence[InputSet], folds: tuple[int, ...],
             measured: Fingerprint, execution: ExecutionOptions, stopwatch: Stopwatch) -> InputComparison:
    """A new comparison, with the time of each fold. Where there is a total, cases are prepared first: that counts."""
    rounds = math.ceil(len(sets) * len(folds) / len(execution.devices))
    seconds = asked.budget_seconds if asked.total_seconds is None else asked.total_seconds / (rounds + 1)
    plan = _base_plan(workspace, name, asked, seconds, execution)
    comparison = InputComparison(
        dataset=name, configuration=asked.configuration, folds=folds, seed=execution.seed, changes=asked.changes,
        total_seconds=asked.total_seconds, budget_seconds=asked.budget_seconds, memory_bytes=asked.memory_bytes,
        dataset_digest=measured.digest, plan=plan, sets=tuple(sets), late=asked.late,
        planners={each.title: planner_of(plan.planner, each) for each in sets})
    if asked.total_seconds is None:
        return comparison
    _prepare(workspace, comparison, _plans(workspace, comparison, measured), execution)
    left = asked.total_seconds * (1 - CLOSING_SHARE) - stopwatch.seconds
    least = least_fold_seconds(plan, asked.configuration, measured, math.ceil(len(measured.cases) / len(folds)),
                               ProbedHardware(execution.devices[0]).speed)
    if left / rounds < least:
        enough = (stopwatch.seconds + rounds * least) / (1 - CLOSING_SHARE)
        raise UserError("the total time is too short to train every set", where=name,
                        found=f"{duration(asked.total_seconds)}, of which {duration(stopwatch.seconds)} are spent",
                        expected=f"at least {math.ceil(enough / 60)}m for {len(sets)} sets on {len(folds)} folds, "
                                 f"{LEAST_ITERATIONS} iterations and a validation each",
                        do="give more time, or name fewer sets or folds")
    logger.info("each of %d folds of %d sets gets %s", len(folds), len(sets), duration(left / rounds))
    return comparison.model_copy(update={"plan": with_budget(plan, left / rounds)})


def _base_plan(workspace: Workspace, name: str, asked: InputOptions, seconds: float | None, execution: ExecutionOptions
               ) -> Plan:
    """The plan of all inputs: the dataset's where it is of this time, else one that is made and not written."""
    budget = Budget(memory_bytes=asked.memory_bytes, seconds_per_fold=seconds)
    plan = current_plan(workspace, name, asked.planner, budget)
    if plan is None and is_planned_by_machine(asked.planner):
        plan = make_plan(workspace, name, asked.planner, budget, execution.devices[0])
    plan = with_budget(plan or read_plan(workspace, name, asked.planner), seconds)
    chosen = configuration_of(plan, asked.configuration)
    if chosen.previous:
        raise UserError(f"{asked.configuration} is the second stage of a cascade, whose earlier stage has all inputs",
                        where=name, do=f"compare inputs of {chosen.previous}")
    plan = apply_changes(plan, asked.configuration, asked.changes)
    return plan.model_copy(update={"configurations": {asked.configuration: plan.configurations[asked.configuration]},
                                   "first": None, "content_hash": ""})


def _with_sets(known: InputComparison, sets: Sequence[InputSet], asked: InputOptions, execution: ExecutionOptions
               ) -> InputComparison:
    """The comparison with the sets that are asked for now. All have the time per fold that the first had."""
    new = [each.title for each in sets if each.title not in known.planners]
    seconds = known.plan.configurations[known.configuration].schedule.budget_seconds
    if new and seconds is not None:
        more = duration(math.ceil(len(new) * len(known.folds) / len(execution.devices)) * seconds)
        logger.info("%s: new, and trained for %s per fold as the others were, which takes about %s more", listed(new),
                    duration(seconds), more)
    planners = {**known.planners, **{each.title: planner_of(known.plan.planner, each) for each in sets}}
    return known.model_copy(update={"sets": tuple(sets), "late": asked.late, "planners": planners, "scores": (),
                                    "cases": (), "chosen": "", "failed": {}, "left_out": {}})


def _plans(workspace: Workspace, comparison: InputComparison, measured: Fingerprint) -> dict[str, Plan]:
    """The plan of each set, by its title. Sets of the same channels share prepared cases; a set of all channels takes those
    of the dataset's own plan, where it prepares them alike.
    """
    base, name = comparison.plan, comparison.configuration
    own = workspace.plan(comparison.dataset, base.planner)
    is_alike = False
    if own.is_file():
        known = read_plan(workspace, comparison.dataset, base.planner)
        planned = known.configurations.get(name)
        is_alike = (planned is not None and not planned.data
                    and recipe_digest(known, planned) == recipe_digest(base, base.configurations[name]))
    plans = {}
    for each in comparison.sets:
        plan = with_inputs(base, name, each, measured)
        if is_alike and len(each.channels) == len(base.channels):
            plan = plan.model_copy(update={"prepared_by": base.planner})
        plans[each.title] = plan.with_content_hash()
    return plans


def _prepare(workspace: Workspace, comparison: InputComparison, plans: dict[str, Plan], execution: ExecutionOptions) -> None:
    """Prepare the cases of every set, once for all sets of the same channels; write the plans."""
    name = comparison.configuration
    for plan in plans.values():
        check_others(workspace, plan, name)
    _check_files(workspace, comparison, plans)
    for plan in plans.values():
        write_json(workspace.plan(comparison.dataset, plan.planner), plan)
    for plan in {plan.preparer: plan for plan in plans.values()}.values():
        pipeline.preprocess(comparison.dataset, planned=plan, configurations=[name], home=workspace.home,
                            workers=execution.workers)


def _check_files(workspace: Workspace, comparison: InputComparison, plans: dict[str, Plan]) -> None:
    """A UserError where a file holds several channels, ManyFaults where a case has no image of a set: all sets are scored on
    the same cases.
    """
    raw = Dataset.open(workspace.raw(comparison.dataset))
    first = next((path for path in raw.cases[0].images if path is not None), None) if raw.cases else None
    if first is not None and read_header(first).n_channels > 1:
        raise UserError("the channels of this dataset lie in one file, of which none can be left out", where=first,
                        do="write one file per channel: CASE_0000, CASE_0001, ...")
    faults = []
    for title, plan in plans.items():
        lacking = [files.name for files in raw.seen_by(plan).cases if not any(files.images)]
        if lacking:
            faults.append(f"the set {title} has no image of {listed(lacking)}; add a channel that these cases have")
    if faults:
        raise ManyFaults(f"{comparison.dataset}: sets are scored on the same cases", faults)


def _tasks(workspace: Workspace, comparison: InputComparison, plans: dict[str, Plan]) -> list[FoldTask]:
    """All folds of all sets, fold by fold: a comparison that is stopped has something of every set."""
    by_set = [[replace(task, name=title) for task in begin_folds(workspace, plan, comparison.configuration, comparison.folds,
                                                                save_probabilities=True)]
              for title, plan in plans.items()]
    return [task for tasks in zip(*by_set, strict=True) for task in tasks]


def _scored(workspace: Workspace, comparison: InputComparison, outcomes: Sequence[Outcome], execution: ExecutionOptions
            ) -> tuple[InputComparison, Selection]:
    """Score what was trained, choose, and write all results; a set that failed is left out and named."""
    started, name = now(), comparison.dataset
    titles = {planner: title for title, planner in comparison.planners.items()}
    dataset = _cases_of(read_cross_validation(workspace, name), comparison.folds)
    failed = {titles[outcome.task.planned.planner]: outcome.fault for outcome in outcomes if outcome.fault}
    contenders: dict[str, Contender] = {}
    for each in comparison.sets:
        model = workspace.model(name, comparison.planners[each.title], comparison.configuration)
        contender = contender_of_folds(model, dataset, [str(fold) for fold in comparison.folds])
        if isinstance(contender, Contender):
            contenders[each.title] = contender
        else:
            failed.setdefault(each.title, contender)
    if len(contenders) < 2:
        raise ManyFaults(f"{name}: there are not two sets to compare; start the same command again",
                         [f"{title}: {fault}" for title, fault in failed.items()])
    workers = execution.workers or cores()
    scored, notes = score_candidates(dataset, list(contenders.values()), workers, 2 if comparison.late else 1)
    by_sets = {tuple(titles[member.member.planner] for member in entry.contenders): entry for entry in scored}
    left_out = _not_together(comparison, by_sets)
    by_sets = {sets: entry for sets, entry in by_sets.items() if TOGETHER.join(sets) not in left_out}
    comparison = comparison.model_copy(update={"failed": failed, "left_out": left_out, "cases": tuple(dataset.truths)})
    comparison = _decided(comparison, by_sets, outcomes)
    best = by_sets[comparison.score(comparison.chosen).sets]
    with locked(workspace.selection(name)):
        choice = Choice(best, tuple(by_sets.values()), tuple(reasons(comparison)), notes=tuple(notes))
        selection = conclude(workspace, dataset, choice, started, workers=workers, seed=execution.seed)
    write_json(workspace.input_comparison(name), comparison)
    return comparison, selection


def _not_together(comparison: InputComparison, scored: Iterable[tuple[str, ...]]) -> dict[str, str]:
    """The late fusions that could not predict as they were scored, since their files lie on different grids; and why."""
    known = {each.title: each for each in comparison.sets}
    channels, specs = comparison.plan.channels, comparison.plan.conditions.specs
    faults = {TOGETHER.join(sets): grid_fault(union([known[title] for title in sets], channels, specs), channels)
              for sets in scored if len(sets) > 1}
    return {title: fault for title, fault in faults.items() if fault}


def _decided(comparison: InputComparison, scored: dict[tuple[str, ...], Scored], outcomes: Sequence[Outcome]
             ) -> InputComparison:
    sets = {each.title: each for each in comparison.sets}
    sizes = {titles: len({name for title in titles for name in (*sets[title].channels, *sets[title].conditions)})
             for titles in scored}
    dice: dict[tuple[str, ...], Dice] = {titles: entry.dice for titles, entry in scored.items()}
    try:
        scores, chosen = judge_inputs(dice, sizes, comparison.seed)
    except ValueError as error:
        raise UserError("inputs cannot be compared", where=comparison.dataset, found=error) from None
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        title = next(t for t, planner in comparison.planners.items() if planner == outcome.task.planned.planner)
        seconds[title] = seconds.get(title, 0.0) + (0.0 if outcome.result is None else outcome.result.total_seconds)
    return comparison.model_copy(update={"scores": tuple(scores), "chosen": chosen.title, "seconds": seconds})


def _cases_of(dataset: CrossValidation, folds: Sequence[int]) -> CrossValidation:
    """The validation cases of some folds alone."""
    names = {name for fold in folds for name in dataset.validation[fold]}
    return replace(dataset, truths={name: path for name, path in dataset.truths.items() if name in names})
