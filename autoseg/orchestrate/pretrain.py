"""Pre-training of a dataset's network on the images of several datasets and folders."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from autoseg.base.command import called
from autoseg.base.errors import UserError, listed
from autoseg.base.processes import cores
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.measure import measure
from autoseg.datasets.unlabelled import Images, dataset_images, folder_images, is_unlabelled, without_labels
from autoseg.pipeline import DEFAULT_PLANNER, fingerprint
from autoseg.planning.make import plan_dataset
from autoseg.planning.store import configuration_of, read_plan
from autoseg.reporting.curves import LiveCurves
from autoseg.reporting.reconstructions import draw_restored
from autoseg.training.pretrain import PretrainingResult, run_pretraining
from autoseg.training.splits import choose_fold, read_splits
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.rules.advice import advice_of
from planners.rules.budget import with_budget
from planners.schema.base import Part
from planners.schema.hardware import Budget
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


@called
def pretrain(datasets: Sequence[str | int], *, folders: Sequence[str | Path] = (), method: str = "mae",
             configuration: str | None = None, fold: int | None = 0, planner: str = DEFAULT_PLANNER,
             budget_seconds: float | None = None, seed: int = 0, restart: bool = False, all_images: bool = False,
             workers: int | None = None, home: str | Path | None = None, device: str = "auto") -> PretrainingResult:
    """Pre-train the network of the first dataset's plan on the images of all `datasets` and `folders`; no label is read.

    The plan of the first dataset is taken as it is, or made now. The images that `fold` is validated on are left out, of
    every dataset that has labels, and so are test images (`imagesTs`), unless `all_images`. Raises UserError where there is
    no image, or none fits the plan.
    """
    workspace, runtime = Workspace.open(home), open_runtime(device)
    if not datasets:
        raise UserError("no dataset is named whose plan says what is trained", do="name one, also for folders")
    names = [workspace.dataset(dataset) for dataset in datasets]
    raws = [Dataset.open(workspace.raw(name)) for name in names]
    plan = _plan(workspace, names[0], raws[0], planner, workers or cores(), device)
    name = configuration or advice_of(plan).configuration
    configuration_of(plan, name)
    left_out = [() if all_images or fold is None else _validated(workspace, raw, fold) for raw in raws]
    sources = [dataset_images(raw, plan.channels, names, with_test_images=all_images)
               for raw, names in zip(raws, left_out, strict=True)]
    sources += [folder_images(Path(folder), plan.channels, plan.file_ending) for folder in folders]
    alike = [name for name, count in Counter(images.source for images in sources).items() if count > 1]
    if alike:
        raise UserError("two sources of images have one name, by which the model card and prepared cases know them",
                        found=listed(alike), do="rename one of the folders, or put their images into one")
    for images in sources:
        logger.info("%s: %d images%s", images.source, len(images.cases),
                    f", {len(images.left_out)} left out, on which fold {fold} is tested" if images.left_out else "")
    return _run(workspace, with_budget(plan, budget_seconds), name, Part(name=method), sources, runtime, seed=seed,
                restart=restart, workers=workers or cores())


def _run(workspace: Workspace, plan: Plan, configuration: str, method: Part, sources: Sequence[Images], runtime: Runtime, *,
         seed: int, restart: bool, workers: int) -> PretrainingResult:
    result, shown = run_pretraining(workspace, plan, configuration, method, sources, runtime, seed=seed, restart=restart,
                                    workers=workers, on_epoch=LiveCurves())
    if shown is not None:
        folder = workspace.model(plan.dataset, plan.planner, configuration).pretraining(method.name)
        draw_restored(folder.sheet, shown)
    return result


def _plan(workspace: Workspace, name: str, raw: Dataset, planner: str, workers: int, device: str) -> Plan:
    """The plan that a dataset has, or one made now, of images alone where it has no labels."""
    if workspace.plan(name, planner).is_file():
        return read_plan(workspace, name, planner)
    if not is_unlabelled(raw):
        fingerprint(name, home=workspace.home, workers=workers)
    else:
        alone = without_labels(raw)
        with progress_bar("measuring", len(alone.cases)) as bar:
            started, measured = now(), measure(alone, name, workers, bar.update)
        note_result(workspace.fingerprint(name), provenance(started, seconds_since(started)), measured.digest)
        write_json(workspace.fingerprint(name), measured)
    return plan_dataset(workspace, name, planner, Budget(), device)


def _validated(workspace: Workspace, raw: Dataset, fold: int) -> tuple[str, ...]:
    """The cases of a labelled dataset that a fold is validated on."""
    if is_unlabelled(raw):
        return ()
    splits = read_splits(workspace, raw.folder.name, raw.names, *raw.groups())
    return choose_fold(splits, fold, raw.names).validation
