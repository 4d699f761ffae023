"""From a raw dataset to a report: fingerprint, plan, preprocess, every fold of every configuration, selection, report.

Everything that is done is kept: the same call again goes on where the last one was stopped.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg import pipeline
from autoseg.base.errors import AutosegError, UserError
from autoseg.orchestrate import cluster
from autoseg.orchestrate.distribute import Nodes, connected
from autoseg.orchestrate.folds import ALL_FOLDS, FoldTask, Outcome, begin_folds, choose_folds, sequential
from autoseg.orchestrate.processes import parallel
from autoseg.orchestrate.progress import Overview, shown
from autoseg.planning.resolve import check_started, resolve_plan
from autoseg.planning.store import configuration_of, current_plan
from autoseg.selection.types import Selection
from autoseg.training.assemble import assemble
from autoseg.workspace.names import Workspace
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExecutionOptions:
    """Where folds run and how: on which devices of this machine, or on a Ray cluster of an address."""

    devices: tuple[str, ...] = ("auto",)
    cluster: str | None = None
    workers: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class RunResult:
    """How every fold ended, what was chosen, and the report; `faults` says why nothing was chosen."""

    outcomes: tuple[Outcome, ...]
    selection: Selection | None
    report: Path
    faults: tuple[str, ...] = ()


def run(dataset: str | int, *, planner: str = pipeline.DEFAULT_PLANNER, configurations: Sequence[str] | None = None,
        folds: Sequence[str] = (ALL_FOLDS,), budget_seconds: float | None = None, memory_bytes: int | None = None,
        execution: ExecutionOptions | None = None, home: str | Path | None = None, allow_outcomes: bool = False) -> RunResult:
    """Do everything for a dataset, unattended. `budget_seconds` is the time of each fold.

    By default every configuration of the plan is trained; a cascade after its earlier stage. A fold that fails does not
    end the others; what can be said without it is said.
    """
    execution = execution or ExecutionOptions()
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    pipeline.fingerprint(name, home=workspace.home, workers=execution.workers, allow_outcomes=allow_outcomes)
    with connected(execution.cluster) as nodes:
        budget = Budget(memory_bytes=memory_bytes, seconds_per_fold=budget_seconds)
        planned = _planned(workspace, name, planner, budget, execution, nodes)
        stages = in_stages(planned, configurations)
        chosen = choose_folds(workspace, name, folds)
        every = [configuration for stage in stages for configuration in stage]
        check_started(workspace, planned, every, budget)
        if nodes is not None:
            cluster.preprocess(nodes, name, planner, every, workspace)
        pipeline.preprocess(name, planner=planner, configurations=every, home=workspace.home, workers=execution.workers)
        outcomes = _train(workspace, planned, stages, chosen, execution, nodes)
    selection, faults = None, ()
    try:
        selection = pipeline.find_best(name, home=workspace.home, workers=execution.workers)
    except AutosegError as error:  # most often folds that are not finished; the report says what is there
        if set(choose_folds(workspace, name, [ALL_FOLDS])) <= set(chosen):
            faults = (str(error),)
        else:
            logger.info("nothing is chosen yet, as not all folds were asked for: %s", error)
    return RunResult(tuple(outcomes), selection, pipeline.report(name, home=workspace.home), faults)


def train_tasks(tasks: Sequence[FoldTask], overview: Overview, execution: ExecutionOptions, home: Path,
                nodes: Nodes | None = None) -> Iterator[Outcome]:
    """Train folds where `execution` say; the overview learns of failures."""
    _join_stages(tasks, home)
    if nodes is not None:
        outcomes = cluster.train(nodes, tasks, home=home, seed=execution.seed)
    elif len(execution.devices) > 1:
        outcomes = parallel(tasks, execution.devices, home=home, seed=execution.seed)
    else:
        outcomes = sequential(tasks, execution.devices[0], home=home, seed=execution.seed)
    for outcome in outcomes:
        if outcome.fault:
            overview.failed.add(outcome.task.title)
        yield outcome


def _join_stages(tasks: Sequence[FoldTask], home: Path) -> None:
    """Prepare what the folds of a cascade share before they run side by side and would each write it."""
    of_cascade = {task.configuration: task for task in tasks if task.planned.configurations[task.configuration].previous}
    for task in of_cascade.values():
        try:
            assemble(Workspace.open(home), task.planned, task.configuration, task.fold)
        except AutosegError:  # each fold says what is wrong
            logger.debug("%s cannot be prepared yet", task.title)


def in_stages(planned: Plan, configurations: Sequence[str] | None) -> list[list[str]]:
    """The configurations to train: first those that stand alone, then the cascades, which need an earlier one finished.

    Raises UserError for one that is not planned, and for a cascade without its earlier stage.
    """
    chosen = list(dict.fromkeys(configurations or planned.configurations))
    for one in chosen:
        earlier = configuration_of(planned, one).previous
        if earlier and earlier not in chosen:
            raise UserError(f"{one} needs the predictions of {earlier}", where=planned.dataset,
                            do=f"name both: -c {' '.join([earlier, *chosen])}")
    later = [one for one in chosen if planned.configurations[one].previous]
    return [stage for stage in ([one for one in chosen if one not in later], later) if stage]


def _planned(workspace: Workspace, dataset: str, planner: str, budget: Budget, execution: ExecutionOptions, nodes: Nodes | None) -> Plan:
    """The dataset's plan: the one that is there while it is of this dataset, budget and memory, as speed is measured."""
    known = current_plan(workspace, dataset, planner, budget)
    if known is not None:
        logger.info("%s: the plan is kept", dataset)
        return known
    how = {"planner": planner, "budget_seconds": budget.seconds_per_fold, "memory_bytes": budget.memory_bytes}
    if nodes is not None:
        return cluster.plan(nodes, dataset, home=workspace.home, **how)
    return pipeline.plan(dataset, home=workspace.home, device=execution.devices[0], **how)


def _train(workspace: Workspace, planned: Plan, stages: Sequence[Sequence[str]], folds: Sequence[int | str],
           execution: ExecutionOptions, nodes: Nodes | None) -> list[Outcome]:
    """Every fold of every configuration, a stage after the other; a cascade without its earlier stage is not begun."""
    of = {}
    for configuration in (one for stage in stages for one in stage):
        resolved = resolve_plan(workspace, planned.dataset, configuration, planner=planned.planner)
        of[configuration] = begin_folds(workspace, resolved, configuration, folds, save_probabilities=True)
    overview = Overview([task for tasks in of.values() for task in tasks],
                        n_devices=len(execution.devices) if nodes is None else nodes.n_folds_at_once)
    outcomes: list[Outcome] = []
    with shown(overview):
        for stage in stages:
            unfinished = {outcome.task.configuration for outcome in outcomes if outcome.fault}
            tasks = []
            for task in (task for configuration in stage for task in of[configuration]):
                earlier = planned.configurations[task.configuration].previous
                if earlier in unfinished:
                    outcomes.append(Outcome(task, None, f"not begun, as folds of {earlier} failed"))
                    overview.failed.add(task.title)
                else:
                    tasks.append(task)
            outcomes += train_tasks(tasks, overview, execution, workspace.home, nodes)
    return outcomes
