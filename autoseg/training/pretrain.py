"""Pre-training without labels: images of any datasets, the network of a plan, the loop of every training."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import torch

from autoseg.base.errors import UserError, listed
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import Runtime
from autoseg.base.stopping import resumable
from autoseg.base.version import __version__
from autoseg.batches.corrupt import CORRUPTIONS, make_reconstruction_batches
from autoseg.batches.loader import BatchStream
from autoseg.batches.store import store_cases
from autoseg.datasets.unlabelled import Images
from autoseg.nn.model import Model
from autoseg.prediction.trained_with import trained_with
from autoseg.preprocessing.run import prepare_images
from autoseg.preprocessing.store import open_cases, origin_of
from autoseg.training.fold import memory_explained, train_fold
from autoseg.training.inputs import digests_of
from autoseg.training.job import FoldJob
from autoseg.training.repair import read_schedule
from autoseg.training.tasks.reconstruction import Reconstruction, held_out_errors, restored
from autoseg.workspace.checkpoint import load_state, load_weights, read_facts
from autoseg.workspace.files import read_model, read_records, write_json, write_text
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import PROVENANCE, note, now, provenance, seconds_since
from planners.schema.base import Frozen, Part, versioned
from planners.schema.plan import Configuration, InputDropout, Plan, ResolvedSchedule, content_hash_of

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
    started, started_at = time.monotonic(), now()
    _check(planned, configuration, method, sources)
    folder = workspace.model(planned.dataset, planned.planner, configuration).pretraining(method.name)
    with locked(folder.path):
        job, task = _assembled(workspace, planned, configuration, method, sources, folder, seed, workers)
        if restart:
            folder.clear()
        _check_same(job)
        if folder.is_finished:
            logger.info("the pre-training is finished: %s; --restart does it again", folder.path)
            return read_model(folder.result, PretrainingResult), None
        folder.refuse_links()
        write_json(folder.path / "plan.json", job.plan)
        with resumable():
            if not folder.is_trained:
                with runtime.repeatable(), memory_explained(job, runtime, "take another planner or configuration"):
                    train_fold(job, task, runtime, started, lambda: on_epoch(folder))
            model = _trained(job, task, runtime)
            return _judged(job, task, model, sources, runtime, started_at), _examples(job, task, model, runtime)


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
        "augmentation": _AUGMENTATION, "appearance": (), "conditioning": Part(name="none"), "prior": (), "class_weights": {},
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
                  training=tuple(name for name in names if name not in held_out), validation=held_out,
                  made_from=digests_of({name: origin_of(cases, name) for name in names}, {}, {}, {}))
    return job, Reconstruction(plan, settings, method)


def _held_out(names: Sequence[str]) -> tuple[str, ...]:
    """Every tenth image or so, at most eight; none of a single image."""
    count = min(MOST_HELD_OUT, max(1, round(_HELD_OUT_SHARE * len(names))), len(names) - 1)
    return tuple(names[(2 * number + 1) * len(names) // (2 * count)] for number in range(count))


def _check_same(job: FoldJob) -> None:
    """A UserError where what is there, finished or stopped, is of another plan, other images or another seed."""
    facts = read_facts(job.folder.checkpoint) if job.folder.is_trained else load_state(job.folder.state) or {}
    before = trained_with(facts, job.folder.path)
    changes = [] if before is None else before.changes(job.trained_with)
    changes += [f"the seed ({facts['seed']})"] if facts.get("seed", job.seed) != job.seed else []
    if changes:
        raise UserError("this network was pre-trained otherwise", where=job.folder.path, found="; ".join(changes),
                        do="give the same datasets, folders, fold, seed and time as before, or begin anew with --restart")


def _judged(job: FoldJob, task: Reconstruction, model: Model, sources: Sequence[Images], runtime: Runtime,
            started_at: datetime) -> PretrainingResult:
    """Measure on the held-out images, and write the model card, where it came from, and the result."""
    error = filled = None
    if job.validation:
        with closing(_held_out_batches(job, task, runtime)) as batches:
            error, filled = held_out_errors(model, batches, _BATCHES_PER_VOLUME * len(job.validation), runtime)
    records = read_records(job.folder.metrics)
    seconds = records[-1]["seconds"] if records else 0.0
    result = PretrainingResult(
        dataset=job.plan.dataset, planner=job.plan.planner, configuration=job.name, method=task.method, seed=job.seed,
        autoseg_version=__version__, schedule=read_schedule(job.folder),
        training_seconds=seconds, held_out=job.validation, held_out_error=error,
        mean_fill_error=filled,
        images={images.source: tuple(case.name for case in images.cases) for images in sources},
        left_out={images.source: images.left_out for images in sources if images.left_out})
    write_text(job.folder.path / "model_card.md", card(result))
    origin = provenance(started_at, seconds_since(started_at), seed=job.seed,
                        plan=content_hash_of(job.plan.model_dump(mode="json")), device=runtime.device_name)
    note(job.folder.path / PROVENANCE, dict.fromkeys((job.folder.result.name, job.folder.checkpoint.name),
                                                     job.trained_with.data_digest), origin)
    write_json(job.folder.result, result)
    return result


def _held_out_batches(job: FoldJob, task: Reconstruction, runtime: Runtime) -> BatchStream:
    """Patches of the held-out images, corrupted as in training and not augmented."""
    plain = job.configuration.model_copy(update={"augmentation": Part(name="none")})
    store = store_cases(open_cases(job.cases, job.validation), runtime.device, 0)
    return make_reconstruction_batches(store, plain, task.method, job.seed + 2, runtime.device)


def _examples(job: FoldJob, task: Reconstruction, model: Model, runtime: Runtime) -> Restored | None:
    """Some patches of held-out images with what the network makes of them; None where no image was held out."""
    if not job.validation:
        return None
    shown: list[Restored] = []
    with closing(_held_out_batches(job, task, runtime)) as batches, torch.inference_mode():
        while sum(len(part.whole_BCDHW) for part in shown) < _SHOWN:
            batch = next(batches)
            output = restored(model, batch, runtime)
            assert batch.target_BCDHW is not None and batch.counted_BCDHW is not None
            answer = torch.where(batch.counted_BCDHW, output, batch.target_BCDHW)
            shown.append(Restored(batch.image_BCDHW.cpu(), answer.cpu(), batch.target_BCDHW.cpu()))
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
