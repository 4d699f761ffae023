"""From a raw dataset to a report: fingerprint, plan, preprocess, every fold of every configuration, selection, report.

Finished work is kept: the same call continues where the last one was stopped.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg import pipeline
from autoseg.base.errors import AutosegError, CannotWrite, UserError
from autoseg.orchestrate import cluster
from autoseg.orchestrate.distribute import Cluster, Nodes, connected
from autoseg.orchestrate.folds import ALL_FOLDS, FoldTask, Outcome, begin_folds, choose_folds, sequential
from autoseg.orchestrate.processes import parallel
from autoseg.orchestrate.progress import Overview, shown
from autoseg.planning.resolve import check_started, resolve_plan
from autoseg.planning.store import configuration_of, current_plan
from autoseg.selection.race_types import Race
from autoseg.selection.types import Selection
from autoseg.training.assemble import assemble
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExecutionOptions:
    """How folds run: on which devices of this machine, or on a cluster (`distribute.connected`); and whether a run that is
    done again gives the same weights, bit for bit; and which trackers follow them.
    """

    devices: tuple[str, ...] = ("auto",)
    cluster: Cluster | None = None
    workers: int | None = None
    seed: int = 0
    deterministic: bool = False
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """The outcome of every fold, the selection, and the report; `faults` says why nothing was selected. With a total time
    there is the `race` that decided what was trained.
    """

    outcomes: tuple[Outcome, ...]
    selection: Selection | None
    report: Path
    faults: tuple[str, ...] = ()
    race: Race | None = None


def run(dataset: str | int, *, planner: str = pipeline.DEFAULT_PLANNER, configurations: Sequence[str] | None = None,
        folds: Sequence[str] = (ALL_FOLDS,), budget_seconds: float | None = None, memory_bytes: int | None = None,
        execution: ExecutionOptions | None = None, home: str | Path | None = None, allow_outcomes: bool = False
        ) -> RunResult:
    """Run all stages for a dataset. `budget_seconds` is the time of each fold.

    By default every configuration of the plan is trained; a cascade after its earlier stage. A fold that fails does not
    end the others, and the report is written without it.
    """
    execution = execution or ExecutionOptions()
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    with connected(execution.cluster) as nodes:
        with locked(workspace.prepared(name)):  # nobody else plans meanwhile
            pipeline.fingerprint(name, home=workspace.home, workers=execution.workers, allow_outcomes=allow_outcomes)
            budget = Budget(memory_bytes=memory_bytes, seconds_per_fold=budget_seconds)
            planned = current_or_new_plan(workspace, name, planner, budget, execution, nodes)
            stages = in_stages(planned, configurations)
            wanted = choose_folds(workspace, name, folds)
            trained = [configuration for stage in stages for configuration in stage]
            check_started(workspace, planned, trained, budget)
            if nodes is not None:
                cluster.preprocess(nodes, name, planner, trained, workspace)
            pipeline.preprocess(name, planner=planner, configurations=trained, home=workspace.home,
                                workers=execution.workers)
        outcomes = _train(workspace, planned, stages, wanted, execution, nodes)
    return concluded(workspace, name, outcomes, wanted, execution)


def concluded(workspace: Workspace, name: str, outcomes: Sequence[Outcome], wanted: Sequence[int | str],
              execution: ExecutionOptions) -> RunResult:
    """Choose among the trained models, and report; both work with what there is."""
    selection: Selection | None = None
    faults: tuple[str, ...] = ()
    try:
        selection = pipeline.find_best(name, home=workspace.home, workers=execution.workers)
    except AutosegError as error:  # most often folds are not finished; the report shows what there is
        if isinstance(error, CannotWrite) or set(choose_folds(workspace, name, [ALL_FOLDS])) <= set(wanted):
            faults = (str(error),)
        else:
            logger.info("nothing is chosen yet, because only some folds were requested: %s", error)
    return RunResult(tuple(outcomes), selection, pipeline.report(name, home=workspace.home), faults)


def train_tasks(tasks: Sequence[FoldTask], overview: Overview, execution: ExecutionOptions, home: Path,
                nodes: Nodes | None = None) -> Iterator[Outcome]:
    """Train folds as `execution` says; failures are added to the overview."""
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
    """Prepare what the folds of a cascade share. Folds that run in parallel would each write it."""
    cascades = {task.configuration: task for task in tasks if task.planned.configurations[task.configuration].previous}
    for task in cascades.values():
        try:
            assemble(Workspace.open(home), task.planned, task.configuration, task.fold)
        except AutosegError:  # each fold says what is wrong
            logger.debug("%s cannot be prepared yet", task.title)


def in_stages(planned: Plan, configurations: Sequence[str] | None) -> list[list[str]]:
    """The configurations to train: first those without an earlier stage, then the cascades, which need it finished.

    Raises UserError for a configuration that is not planned, and for a cascade without its earlier stage.
    """
    names = list(dict.fromkeys(configurations or planned.configurations))
    for name in names:
        earlier = configuration_of(planned, name).previous
        if earlier and earlier not in names:
            raise UserError(f"{name} needs the predictions of {earlier}", where=planned.dataset,
                            do=f"name both: -c {' '.join([earlier, *names])}")
    later = [name for name in names if planned.configurations[name].previous]
    return [stage for stage in ([name for name in names if name not in later], later) if stage]


def current_or_new_plan(workspace: Workspace, dataset: str, planner: str, budget: Budget, execution: ExecutionOptions,
                        nodes: Nodes | None = None) -> Plan:
    """The plan of the dataset. An existing plan is kept while it is of this data, budget and memory: speed is measured, so
    that a new plan could differ. What was started with the former plan is checked by the caller.
    """
    known = current_plan(workspace, dataset, planner, budget)
    if known is not None:
        logger.info("%s: the plan is kept", dataset)
        return known
    if nodes is not None:
        return cluster.plan(nodes, dataset, home=workspace.home, planner=planner, budget_seconds=budget.seconds_per_fold,
                            memory_bytes=budget.memory_bytes, replan=True)
    return pipeline.plan(dataset, home=workspace.home, device=execution.devices[0], planner=planner,
                         budget_seconds=budget.seconds_per_fold, memory_bytes=budget.memory_bytes, replan=True)


def _train(workspace: Workspace, planned: Plan, stages: Sequence[Sequence[str]], folds: Sequence[int | str],
           execution: ExecutionOptions, nodes: Nodes | None) -> list[Outcome]:
    """Every fold of every configuration, stage by stage."""
    tasks = []
    for stage in stages:
        resolved = [(configuration, resolve_plan(workspace, planned.dataset, configuration, planner=planned.planner,
                                                 deterministic=execution.deterministic))
                    for configuration in stage]
        tasks.append([task for configuration, plan in resolved
                      for task in begin_folds(workspace, plan, configuration, folds, save_probabilities=True,
                                               trackers=execution.trackers)])
    return train_stages(tasks, execution, workspace.home, nodes)


def train_stages(stages: Sequence[Sequence[FoldTask]], execution: ExecutionOptions, home: Path, nodes: Nodes | None = None
                 ) -> list[Outcome]:
    """Train folds, stage by stage; a cascade is not started where its earlier stage failed."""
    overview = Overview([task for stage in stages for task in stage],
                        n_devices=len(execution.devices) if nodes is None else nodes.n_folds_at_once)
    outcomes: list[Outcome] = []
    with shown(overview):
        for stage in stages:
            unfinished = {outcome.task.configuration for outcome in outcomes if outcome.fault}
            tasks = []
            for task in stage:
                earlier = task.planned.configurations[task.configuration].previous
                if earlier in unfinished:
                    outcomes.append(Outcome(task, None, f"not started, because folds of {earlier} failed"))
                    overview.failed.add(task.title)
                else:
                    tasks.append(task)
            outcomes += train_tasks(tasks, overview, execution, home, nodes)
    return outcomes
