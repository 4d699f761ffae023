"""Pre-training without labels: images of any datasets, the network of a plan, the loop of every training."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from autoseg.base.errors import UserError, listed
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import Runtime
from autoseg.base.version import __version__
from autoseg.batches.corrupt import CORRUPTIONS, make_reconstruction_batches
from autoseg.batches.loader import BatchStream
from autoseg.batches.store import store_cases
from autoseg.datasets.unlabelled import Images
from autoseg.nn.model import Model
from autoseg.preprocessing.run import prepare_images
from autoseg.preprocessing.store import open_cases
from autoseg.training.fold import train_fold
from autoseg.training.job import FoldJob
from autoseg.training.repair import read_schedule
from autoseg.training.tasks.reconstruction import Reconstruction, held_out_errors, restored
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model, read_records, write_json, write_text
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from planners.schema.base import Frozen, Part, versioned
from planners.schema.plan import Configuration, InputDropout, Plan, ResolvedSchedule

logger = logging.getLogger(__name__)

MOST_HELD_OUT = 8  # volumes
_HELD_OUT_SHARE = 0.1
_BATCHES_PER_VOLUME = 4  # of the last measure on the held-out volumes
_SHOWN = 4
# Patches are turned and scaled a little and mirrored; the corruption changes intensities enough.
_AUGMENTATION = Part(name="light", options={"p_contrast": 0.0, "p_brightness": 0.0, "p_noise": 0.0, "p_rotation": 0.2,
                                            "p_scaling": 0.2})


class PretrainingResult(Frozen):
    """What a finished pre-training says of itself. `images` names the cases of each source that it was trained on or judged
    by, `left_out` those that it was not to see; errors are mean squares in units of the normalised image.
    """

    schema_version: int = versioned(1)
    dataset: str
    planner: str
    configuration: str
    method: Part
    seed: int
    autoseg_version: str
    schedule: ResolvedSchedule
    training_seconds: float
    images: dict[str, tuple[str, ...]]
    left_out: dict[str, tuple[str, ...]]
    held_out: tuple[str, ...]
    held_out_error: float | None = None  # None: no image was held out
    mean_fill_error: float | None = None  # of filling in the mean of what is visible


@dataclass(frozen=True)
class Restored:
    """Patches of held-out images (B, C, *space): as the network saw them, as it restored them, as they are."""

    seen_BCDHW: torch.Tensor
    restored_BCDHW: torch.Tensor
    whole_BCDHW: torch.Tensor


def run_pretraining(workspace: Workspace, planned: Plan, configuration: str, method: Part, sources: Sequence[Images],
                    runtime: Runtime, *, seed: int = 0, restart: bool = False, workers: int = 1,
                    on_epoch: Callable[[FoldFolder], object] = lambda folder: None
                    ) -> tuple[PretrainingResult, Restored | None]:
    """Prepare the images by the plan and train its network to restore them, or go on, or read the result; and some held-out
    patches as they were restored, None of a pre-training that was finished before, or that holds out nothing.

    The time is the schedule's of `planned`. Raises UserError where there is no image, where the plan cannot be pre-trained,
    and where what was started was of another plan, method or set of images.
    """
    _check(planned, configuration, method, sources)
    folder = workspace.model(planned.dataset, planned.planner, configuration).pretraining(method.name)
    with locked(folder.path):
        if restart:
            folder.clear()
        job, task = _assembled(workspace, planned, configuration, method, sources, folder, seed, workers)
        if folder.is_finished:
            logger.info("the pre-training is finished: %s; --restart does it again", folder.path)
            return read_model(folder.result, PretrainingResult), None
        folder.refuse_links()
        write_json(folder.path / "plan.json", job.plan)
        if not folder.is_trained:
            with runtime.repeatable():
                train_fold(job, task, runtime, time.monotonic(), lambda: on_epoch(folder))
        return _judged(job, task, sources, runtime), _examples(job, task, runtime)


def _trained(job: FoldJob, task: Reconstruction, runtime: Runtime) -> Model:
    """The trained network, in evaluation mode."""
    model = task.build_model()
    weights, _ = load_weights(job.folder.checkpoint)
    model.load_state_dict(weights)
    return runtime.arranged(model, job.configuration.dimensions).eval()


def for_pretraining(configuration: Configuration) -> Configuration:
    """The configuration whose network is pre-trained: images alone, nothing hidden but by the method."""
    schedule = configuration.schedule.model_copy(update={"foreground_share": 0.0, "validation_mirroring": False})
    return configuration.model_copy(update={
        "augmentation": _AUGMENTATION, "appearance": (), "conditioning": Part(name="none"), "prior": (),
        "input_dropout": InputDropout(), "schedule": schedule})


def _check(planned: Plan, configuration: str, method: Part, sources: Sequence[Images]) -> None:
    if method.name not in CORRUPTIONS.names():
        raise UserError("the method of pre-training is not known", found=method.name, expected=listed(CORRUPTIONS.names()))
    if not any(images.cases for images in sources):
        left_out = sum(len(images.left_out) for images in sources)
        raise UserError("there is no image to pre-train on", where=planned.dataset,
                        found=f"{left_out} images, all of which are left out" if left_out else "none",
                        do="name other datasets with -d or a folder with -i, or use --all-images")
    if planned.configurations[configuration].previous:
        raise UserError("a cascade's second stage reads masks of the first, and cannot be pre-trained", where=configuration,
                        do="pre-train 3d_fullres, whose network is the same but for the input")


def _assembled(workspace: Workspace, planned: Plan, configuration: str, method: Part, sources: Sequence[Images],
               folder: FoldFolder, seed: int, workers: int) -> tuple[FoldJob, Reconstruction]:
    """The job, of images that are prepared."""
    settings = for_pretraining(planned.configurations[configuration])
    plan = planned.model_copy(update={"configurations": {configuration: settings}, "reasons": (), "first": None})
    cases = workspace.cases(planned.dataset, "pretraining", f"{planned.planner}_{configuration}")
    files = [case for images in sources for case in images.named()]
    with progress_bar("preparing images", len(files)) as bar:
        prepare_images(files, plan, configuration, cases, workers=workers, progress=bar.update).raise_faults()
    names = sorted(case.name for case in files)
    held_out = _held_out(names)
    job = FoldJob(plan=plan, name=configuration, fold=folder.path.name, folder=folder, cases=cases, seed=seed,
                  training=tuple(name for name in names if name not in held_out), validation=held_out)
    return job, Reconstruction(plan, settings, method)


def _held_out(names: Sequence[str]) -> tuple[str, ...]:
    """Every tenth image or so, at most eight; none of a single image."""
    count = min(MOST_HELD_OUT, max(1, round(_HELD_OUT_SHARE * len(names))), len(names) - 1)
    return tuple(names[(2 * number + 1) * len(names) // (2 * count)] for number in range(count))


def _judged(job: FoldJob, task: Reconstruction, sources: Sequence[Images], runtime: Runtime) -> PretrainingResult:
    """Measure on the held-out images, and write the result and the model card."""
    error = filled = None
    if job.validation:
        batches = _held_out_batches(job, task, runtime)
        model = _trained(job, task, runtime)
        error, filled = held_out_errors(model, batches, _BATCHES_PER_VOLUME * len(job.validation), runtime)
        batches.close()
    result = PretrainingResult(
        dataset=job.plan.dataset, planner=job.plan.planner, configuration=job.name, method=task.method, seed=job.seed,
        autoseg_version=__version__, schedule=read_schedule(job.folder),
        training_seconds=read_records(job.folder.metrics)[-1]["seconds"], held_out=job.validation, held_out_error=error,
        mean_fill_error=filled,
        images={images.source: tuple(case.name for case in images.cases) for images in sources},
        left_out={images.source: images.left_out for images in sources if images.left_out})
    write_text(job.folder.path / "model_card.md", card(result))
    write_json(job.folder.result, result)
    return result


def _held_out_batches(job: FoldJob, task: Reconstruction, runtime: Runtime) -> BatchStream:
    """Patches of the held-out images, corrupted as in training and not augmented."""
    plain = job.configuration.model_copy(update={"augmentation": Part(name="none")})
    store = store_cases(open_cases(job.cases, job.validation), runtime.device, 0)
    return make_reconstruction_batches(store, plain, task.method, job.seed + 2, runtime.device)


def _examples(job: FoldJob, task: Reconstruction, runtime: Runtime) -> Restored | None:
    """Some patches of held-out images with what the network makes of them; None where no image was held out."""
    if not job.validation:
        return None
    model, batches = _trained(job, task, runtime), _held_out_batches(job, task, runtime)
    shown: list[Restored] = []
    with torch.inference_mode():
        while sum(len(part.whole_BCDHW) for part in shown) < _SHOWN:
            batch = next(batches)
            output = restored(model, batch, runtime)
            assert batch.target_BCDHW is not None and batch.counted_BCDHW is not None
            answer = torch.where(batch.counted_BCDHW, output, batch.target_BCDHW)
            shown.append(Restored(batch.image_BCDHW.cpu(), answer.cpu(), batch.target_BCDHW.cpu()))
    batches.close()
    parts = zip(*((part.seen_BCDHW, part.restored_BCDHW, part.whole_BCDHW) for part in shown), strict=True)
    return Restored(*(torch.cat(column)[:_SHOWN] for column in parts))


def card(result: PretrainingResult) -> str:
    """The model card, in Markdown."""
    lines = [f"# Pre-trained network: {result.dataset} {result.configuration} ({result.planner})", "",
             f"Method: {result.method.name}, {result.schedule.iterations} iterations, {result.training_seconds:.0f} s, seed "
             f"{result.seed}, autoseg {result.autoseg_version}. No label was read.", "", "## Images", ""]
    for source, names in result.images.items():
        lines += [f"- {source}: {len(names)} images: {', '.join(names)}"]
        if source in result.left_out:
            left_out = result.left_out[source]
            lines += [f"- {source}: not used, because a fold is tested on them: {len(left_out)}: {', '.join(left_out)}"]
    lines += ["", "## Held-out images", ""]
    if result.held_out_error is None or result.mean_fill_error is None:
        lines += ["None: there was a single image."]
    else:
        lines += [f"{', '.join(result.held_out)}: mean squared error {result.held_out_error:.4f}; filling in the mean gives "
                  f"{result.mean_fill_error:.4f}."]
    lines += ["", "The error says how well images are restored, not how well anything is segmented: compare a training from "
              "this network with one from scratch.", ""]
    return "\n".join(lines)
