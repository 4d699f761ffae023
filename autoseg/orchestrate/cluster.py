"""Folds, preprocessing and prediction over the machines of a Ray cluster that share the workspace's folder.

Tasks carry names, never data, and leave files that are written whole or not at all: a task that is done again, because its
machine died, finds what is finished and goes on with the rest. What is reported is counted from what lies on the disk.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.orchestrate.distribute import Nodes, distribute
from autoseg.orchestrate.folds import FoldTask, Outcome, attempt
from autoseg.prediction.ensemble import Ensemble
from autoseg.prediction.folder import predict_folder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

_CHUNKS_PER_NODE = 4  # so that the fast ones help the slow ones


def plan(nodes: Nodes, dataset: str, *, home: Path, **how: Any) -> Plan:
    """The plan of a dataset, as `pipeline.plan` makes it on a machine that will train: this one may have no GPU.

    Raises UserError where it cannot be made there.
    """
    ((_, made),) = distribute(partial(_plan, home=home, how=how), [dataset], nodes.resources)
    if isinstance(made, str):
        raise UserError("the plan could not be made on the cluster", where=dataset, found=made)
    return made


def train(nodes: Nodes, tasks: Sequence[FoldTask], *, home: Path, seed: int = 0) -> Iterator[Outcome]:
    """Train folds, one a GPU or a machine; outcomes in the order of their end. A fold whose machine dies goes on
    elsewhere from its last saved epoch.
    """
    for task, outcome in distribute(partial(attempt, device="auto", home=home, seed=seed), tasks, nodes.resources):
        yield Outcome(task, None, outcome) if isinstance(outcome, str) else outcome


def preprocess(nodes: Nodes, dataset: str, planner: str, configurations: Sequence[str], workspace: Workspace) -> None:
    """Prepare the cases of a planned dataset in chunks. `pipeline.preprocess` afterwards checks all of them, prepares what
    was lost and raises what is wrong.
    """
    names = Dataset.open(workspace.raw(dataset)).names
    work = partial(_prepare, dataset=dataset, planner=planner, configurations=list(configurations), home=workspace.home)
    for chunk, fault in distribute(work, _chunks(names, nodes), {"num_cpus": nodes.cores}):
        if fault:
            logger.warning("%d cases from %s on: %s", len(chunk), chunk[0], fault)


def predict(nodes: Nodes, source: Path, target: Path, *, probabilities: bool = False, uncertainty: bool = False,
            keep_existing: bool = False, table: Path | None = None, **chosen: Any) -> list[Path]:
    """As `predict_folder` with `Ensemble.open(**chosen)`, in chunks over the machines; `source` and `target` lie on the
    shared disk. What no machine could predict is predicted here at the end, or raised.
    """
    source, target = source.absolute(), target.absolute()
    chosen["home"] = Workspace.open(chosen.get("home")).home  # other machines have another environment
    if chosen.get("folder") is not None:
        chosen["folder"] = Path(chosen["folder"]).absolute()
    options = {"probabilities": probabilities, "uncertainty": uncertainty, "table": table and table.absolute()}
    predictor = Ensemble.open(**chosen)
    names = [files.name for files in predictor.find(source, table).files]
    work = partial(_predict, source=source, target=target, chosen=chosen, keep_existing=keep_existing, options=options)
    missing = set(names)
    for chunk, done in distribute(work, _chunks(names, nodes), nodes.resources):
        if isinstance(done, str):
            logger.warning("%d cases from %s on: %s", len(chunk), chunk[0], done)
        else:
            missing -= set(done)
    logger.info("%d of %d cases were predicted on the cluster", len(names) - len(missing), len(names))
    if missing:
        predict_folder(predictor, source, target, keep_existing=keep_existing, only=missing, **options)
    return predict_folder(predictor, source, target, keep_existing=True, **options)


def _plan(dataset: str, *, home: Path, how: dict[str, Any]) -> Plan:
    return pipeline.plan(dataset, home=home, device="auto", **how)


def _prepare(names: Sequence[str], *, dataset: str, planner: str, configurations: list[str], home: Path) -> None:
    pipeline.preprocess(dataset, planner=planner, configurations=configurations, home=home, only=names)


def _predict(names: Sequence[str], *, source: Path, target: Path, chosen: dict[str, Any], keep_existing: bool,
             options: dict[str, Any]) -> list[str]:
    predict_folder(Ensemble.open(**chosen), source, target, keep_existing=keep_existing, only=names, **options)
    return list(names)


def _chunks(names: Sequence[str], nodes: Nodes) -> list[list[str]]:
    """The names in order, in a few chunks a machine."""
    size = max(1, -(-len(names) // (_CHUNKS_PER_NODE * nodes.n)))
    return [list(names[first : first + size]) for first in range(0, len(names), size)]
