"""Train folds, preprocess and predict on the machines of a cluster (Ray or Slurm) that share the folder of the workspace.

Tasks carry names, never data. They write each file whole or not at all. When a machine dies, its task runs again on
another machine, finds the finished files and does the rest. Results are counted from the files on the disk.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.dicom_cases import DicomInput
from autoseg.orchestrate.distribute import Nodes, distribute
from autoseg.orchestrate.folds import FoldTask, Outcome, attempt
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

_CHUNKS_PER_NODE = 4  # so that fast machines take over work from slow ones


def plan(nodes: Nodes, dataset: str, *, home: Path, **options: Any) -> Plan:
    """The plan of a dataset, made by `pipeline.plan` on a machine that will train: this machine may have no GPU.

    Raises UserError where the plan cannot be made there.
    """
    ((_, result),) = distribute(partial(_plan, home=home, options=options), [dataset], nodes.resources)
    if isinstance(result, str):
        raise UserError("the plan could not be made on the cluster", where=dataset, found=result)
    return result


def train(nodes: Nodes, tasks: Sequence[FoldTask], *, home: Path, seed: int = 0) -> Iterator[Outcome]:
    """Train folds, one per GPU or per machine; outcomes come in the order in which folds end. A fold whose machine dies
    continues on another from its last saved epoch.
    """
    for task, outcome in distribute(partial(attempt, device="auto", home=home, seed=seed), tasks, nodes.resources):
        yield Outcome(task, None, outcome) if isinstance(outcome, str) else outcome


def preprocess(nodes: Nodes, dataset: str, planner: str, configurations: Sequence[str], workspace: Workspace) -> None:
    """Prepare the cases of a planned dataset in chunks. Call `pipeline.preprocess` afterwards: it checks all cases, prepares
    those that are missing and raises what is wrong.
    """
    names = Dataset.open(workspace.raw(dataset)).names
    work = partial(_prepare, dataset=dataset, planner=planner, configurations=list(configurations), home=workspace.home)
    for chunk, fault in distribute(work, _chunks(names, nodes), nodes.resources_without_gpu):
        if fault:
            logger.warning("%d cases from %s on: %s", len(chunk), chunk[0], fault)


def predict(nodes: Nodes, source: Path | DicomInput, target: Path, *, probabilities: bool = False,
            uncertainty: bool = False, keep_existing: bool = False, table: Path | None = None,
            output_format: str | None = None, **model: Any) -> list[Path]:
    """As `predict_folder` with `Predictor.open(**model)`, in chunks over the machines; `source` and `target` lie on the
    shared disk. Cases that no machine could predict are predicted in this process at the end, which raises the faults.
    """
    source, target = source.absolute(), target.absolute()
    model["home"] = Workspace.open(model.get("home")).home  # other machines have another environment
    if model.get("folder") is not None:
        model["folder"] = Path(model["folder"]).absolute()
    export = partial(predict_folder, probabilities=probabilities, uncertainty=uncertainty, table=table and table.absolute(),
                     output_format=output_format)
    predictor = Predictor.open(**model)
    names = [files.name for files in predictor.find(source, table).files]
    work = partial(_predict, export, source=source, target=target, model=model, keep_existing=keep_existing)
    missing, written = set(names), []
    for chunk, done in distribute(work, _chunks(names, nodes), nodes.resources):
        if isinstance(done, str):
            logger.warning("%d cases from %s on: %s", len(chunk), chunk[0], done)
        else:
            missing -= set(chunk)
            written += done
    logger.info("%d of %d cases were predicted on the cluster", len(names) - len(missing), len(names))
    if missing:
        written += export(predictor, source, target, keep_existing=keep_existing, only=missing)
    return sorted({*written, *export(predictor, source, target, keep_existing=True)})


def _plan(dataset: str, *, home: Path, options: dict[str, Any]) -> Plan:
    return pipeline.plan(dataset, home=home, device="auto", **options)


def _prepare(names: Sequence[str], *, dataset: str, planner: str, configurations: list[str], home: Path) -> None:
    pipeline.preprocess(dataset, planner=planner, configurations=configurations, home=home, only=names)


def _predict(export: Callable[..., list[Path]], names: Sequence[str], *, source: Path | DicomInput, target: Path,
             model: dict[str, Any], keep_existing: bool) -> list[Path]:
    return export(Predictor.open(**model), source, target, keep_existing=keep_existing, only=names)


def _chunks(names: Sequence[str], nodes: Nodes) -> list[list[str]]:
    """The names in order, in a few chunks per machine."""
    size = max(1, -(-len(names) // (_CHUNKS_PER_NODE * nodes.n)))
    return [list(names[first : first + size]) for first in range(0, len(names), size)]
