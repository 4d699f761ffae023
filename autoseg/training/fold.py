"""Trains one fold: resolve the schedule, iterate, log, save; resumes where it was stopped."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from autoseg.base.errors import TrainingFailed, UserError
from autoseg.base.memory import free_host_bytes
from autoseg.base.progress import duration, progress_bar
from autoseg.base.ranks import agreed, is_first, ranks
from autoseg.base.runtime import Runtime, free_device_bytes, is_out_of_memory, used_bytes
from autoseg.base.stopping import Stopped, is_asked_to_stop, postponed
from autoseg.batches.augment import UNAUGMENTED
from autoseg.batches.loader import BatchStream
from autoseg.batches.phased import PhasedStream
from autoseg.batches.store import CaseStore, store_cases
from autoseg.datasets.case import PreparedCase
from autoseg.prediction.trained_with import KEY, trained_with
from autoseg.preprocessing.store import open_cases, open_prepared
from autoseg.training.bend import Finisher, begin_from
from autoseg.training.disturbance import CoresWatch
from autoseg.training.inputs import check_goes_on
from autoseg.training.job import FoldJob, Pause
from autoseg.training.phases import described, n_checks, phased_batches, turned, with_phases
from autoseg.training.repair import ENCODER
from autoseg.training.schedule import learning_rate
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import AveragedWeights, Forward, train_step
from autoseg.training.tasks import EpochScore, Task
from autoseg.training.throughput import Clock, SlowerThanPlanned, iteration_of, measure_throughput, step_of
from autoseg.training.timing import Timing
from autoseg.workspace.checkpoint import load_state, save_state, save_weights
from autoseg.workspace.files import append_record, read_records, write_json, write_records
from planners.rules.budget import Throughput, adopt, before_decay, follow, resolve, revise
from planners.rules.ending import epoch_iterations, weight_of_latest
from planners.rules.phases import left_of_phase, phase_at
from planners.schema.plan import Configuration, InputDropout

logger = logging.getLogger(__name__)

# Share of the device's memory that the data may fill.
_RESIDENT_SHARE = 1 / 3
_EPOCH = "epoch"  # in the state of a training
# Before a pause no epoch is shorter than this share of the others: checking and saving would cost more than it teaches.
_SHORTEST_EPOCH = 0.1


@dataclass(frozen=True)
class _Training:
    """What stays the same over the iterations of a fold."""

    job: FoldJob
    task: Task
    runtime: Runtime
    forward: Forward
    stream: PhasedStream
    patches: BatchStream | None  # of the validation cases
    started: float
    clock: Clock
    on_epoch: Callable[[], object]
    pause: Pause | None
    finisher: Finisher
    timing: Timing

    @property
    def ends_now(self) -> bool:
        """Whether somebody asked the training to end, and it is not paused to go on."""
        return self.pause is None and self.finisher.is_asked


@dataclass(frozen=True)
class _Epoch:
    """An epoch that an earlier run did not finish: its length and the losses so far; of none there are 0 steps."""

    steps: int = 0
    losses: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def unfinished(cls, saved: dict[str, Any], runtime: Runtime) -> "_Epoch":
        """The epoch of a saved state. States of earlier versions were saved between two epochs."""
        epoch = saved.get(_EPOCH) or {"steps": 0, "losses": ()}
        return cls(epoch["steps"], [loss.to(runtime.device) for loss in epoch["losses"]])


def train_fold(job: FoldJob, task: Task, runtime: Runtime, started: float, on_epoch: Callable[[], object] = lambda: None, *,
               truths: Mapping[str, Path] | None = None, pause: Pause | None = None, clock: Clock = time.monotonic) -> float:
    """Train until the schedule ends and write the fold's weights, or until a `pause` and write its weights; the seconds that
    this took, earlier runs included.

    `started` is the time of the `clock` at which the budget starts; `on_epoch` is called when the records of an
    epoch are written. With `truths`, the raw label files of the validation cases, and a budget some of these are predicted
    and scored in between, to know how long that takes. Interrupted at any moment, the same call resumes at the last saved
    epoch. Raises TrainingFailed where the loss is not finite. Of several processes that train together the first writes and
    calls back.
    """
    store = _store(job, job.drawn, runtime, _resident_bytes(runtime), job.weights)
    stream = phased_batches(job.scheduled, lambda sized: task.batches(store, sized, job.sampling_seed, runtime.device,
                                                                      job.layout))
    patches = _validation_patches(job, task, runtime)
    state = _new_state(job, task, runtime)
    saved = load_state(job.folder.state)
    if saved is not None:
        _check_goes_on(job, saved)
    throughput, forward = _measured(job, task, state, store, runtime, clock)
    if saved is not None:
        state.restore(saved["train"])
        _continue(saved, stream, patches)
        started -= state.seconds
        if saved.get("planned_seconds", job.planned_seconds) != job.planned_seconds:
            state.schedule = adopt(state.schedule, job.configuration.schedule, throughput, state.iteration,
                                   agreed(clock() - started))
        logger.info("%s resumes at iteration %d", job.title, state.iteration)
    else:
        state.schedule = resolve(job.schedule, throughput, agreed(clock() - started))
        _warn_if_too_short(job, state)
        if is_first():
            _save(job, state, stream, patches)
    finisher = Finisher(job.folder, state.schedule)
    if pause is None:
        state.schedule = finisher.shortened(state.schedule, state.iteration)
    else:
        state.schedule = before_decay(state.schedule, state.iteration)
    if is_first():
        write_records(job.folder.metrics,
                      [r for r in read_records(job.folder.metrics) if r["iteration"] <= state.iteration])
        if saved is not None:  # a killed process may have saved an epoch, and neither its schedule nor its curves
            write_json(job.folder.schedule, state.schedule)
            on_epoch()
    logger.info("%s: %d iterations%s%s", job.title, state.schedule.iterations,
                f" in {duration(state.schedule.budget_seconds)}" if state.schedule.budget_seconds else "",
                described(job.scheduled, state.schedule))
    timing = Timing(job, truths, runtime, throughput, clock)
    training = _Training(job, task, runtime, forward, stream, patches, started, clock, on_epoch, pause, finisher, timing)
    _iterate_until_stopped(training, state, throughput, _Epoch() if saved is None else _Epoch.unfinished(saved, runtime))
    state.seconds = clock() - started
    if is_first():
        _write_weights(job, state, pause)
    return clock() - started


@contextmanager
def memory_explained(job: FoldJob, runtime: Runtime, do: str) -> Iterator[None]:
    """What torch raises where a device has too little memory, as TrainingFailed that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed(f"{runtime.device} has too little memory for this training", where=job.title,
                             found=str(error).splitlines()[0], do=do) from error


def _iterate_until_stopped(training: _Training, state: TrainState, throughput: Throughput, epoch: _Epoch) -> None:
    """Train to the end; what stops it says how far it came. Whatever ends it, no batch is read ahead any more."""
    title = training.job.title
    try:
        with training.runtime.same_shapes(), postponed() if ranks().n == 1 else nullcontext():
            _iterate(training, state, throughput, epoch)
    except Stopped as stop:
        stop.saved = f"{title} is saved at " + (f"iteration {state.iteration}" if ranks().n == 1 else "its last epoch")
        raise
    except KeyboardInterrupt:
        logger.warning("stopped at iteration %d; the same command resumes at the last epoch", state.iteration)
        raise
    finally:
        training.stream.close()
        if training.patches is not None:
            training.patches.close()


def _new_state(job: FoldJob, task: Task, runtime: Runtime) -> TrainState:
    """An untrained state; that of an extension begins with the finished weights."""
    state = new_state(task, job.scheduled, runtime, job.seed, job.layout)
    if job.extension is not None:
        begin_from(state, job.extension.weights)
    return state


def _warn_if_too_short(job: FoldJob, state: TrainState) -> None:
    if state.schedule.budget_seconds and state.schedule.iterations == 1:
        logger.warning("%s: a budget of %s is too short to train here, and will not be kept", job.title,
                       duration(state.schedule.budget_seconds))


def _check_goes_on(job: FoldJob, saved: dict[str, Any]) -> None:
    """A UserError where what was saved is of another training. States of earlier versions say less."""
    check_goes_on(job, trained_with(saved, job.folder.state))
    if saved.get("training", list(job.training)) != list(job.training):
        raise UserError("the folds were changed since this training started", where=job.title,
                        do="restore the folds, or start this one again with --restart")
    if saved.get("seed", job.seed) != job.seed:
        raise UserError("this training started with another seed", where=job.title, found=saved["seed"], expected=job.seed,
                        do=f"resume with --seed {saved['seed']}, or start again with --restart")


def _continue(saved: dict[str, Any], stream: PhasedStream, patches: BatchStream | None) -> None:
    """Sample on from where a state was saved. States of earlier versions do not say it of the validation patches."""
    stream.load_state_dict(saved["stream"])
    if patches is not None and saved.get("patches") is not None:
        patches.load_state_dict(saved["patches"])


def _measured(job: FoldJob, task: Task, state: TrainState, store: CaseStore, runtime: Runtime, clock: Clock
              ) -> tuple[Throughput, Forward]:
    """The throughput here and the form of the model that trains fastest; the state is as it was."""
    untrained = copy.deepcopy(state.to_plain())

    def trial_of(configuration: Configuration) -> BatchStream:
        return task.batches(store, configuration, job.seed + 1, runtime.device, job.layout)

    trial = trial_of(job.configuration)
    with runtime.same_shapes():
        throughput, forward = measure_throughput(job.scheduled, task, state, trial, _opened(job), runtime, clock=clock)
        trial.close()
        throughput = with_phases(throughput, job.scheduled, trial_of, task, state, forward, runtime, clock)
    state.restore(untrained)
    return throughput, forward


def _iterate(training: _Training, state: TrainState, throughput: Throughput, epoch: _Epoch) -> None:
    job, task, runtime, clock = training.job, training.task, training.runtime, training.clock
    loss, warning_of, cores = task.build_loss(runtime.device), task.watch(), CoresWatch(runtime)
    slower = SlowerThanPlanned(job.configuration.step_seconds)
    _warn_if_slower(job, slower, throughput)
    state.model.train()
    state.seconds = agreed(clock() - training.started)
    with progress_bar(f"training fold {job.fold}", state.schedule.iterations, "it", state.iteration) as bar:
        while not is_asked_to_stop() and (steps := epoch.steps or _steps(training, state, throughput)):
            epoch_start, first = clock(), state.iteration
            losses, epoch = epoch.losses, _Epoch()
            steps = min(steps, len(losses) + left_of_phase(state.schedule, first))
            phase = turned(training.stream, job, state.schedule, first)
            rate = learning_rate(state.schedule, first - len(losses))
            while len(losses) < steps and not is_asked_to_stop():
                losses.append(train_step(state, training.forward, loss, next(training.stream), runtime))
                bar.update()
                if training.ends_now:
                    steps = len(losses)
            if not losses:
                return
            mean_loss = torch.stack(losses).mean().item()
            _check_finite(job, state, mean_loss)
            stepping = clock() - epoch_start  # after the mean of the losses, for which a GPU must be ready
            if len(losses) < steps:
                state.seconds = clock() - training.started
                _save(job, state, training.stream, training.patches, _Epoch(steps, losses))
                return
            with AveragedWeights(state) as model:
                score = task.score(model, training.patches, n_checks(job, phase, steps), runtime)
            state.epoch += 1
            state.seconds, stepping = agreed((clock() - training.started, stepping))
            if state.iteration > first:
                throughput = _followed(training, state, throughput, stepping, state.iteration - first, phase)
            _adapt(training, state, throughput, bar)
            _warn_if_slower(job, slower, throughput)
            if is_first():
                left = throughput.seconds_left(state.schedule, state.schedule.iterations, state.iteration)
                _log(job, state, score, train_loss=mean_loss, learning_rate=rate, seconds_left=left,
                     memory_bytes=used_bytes(runtime.device), **({"phase": phase + 1} if state.schedule.phases else {}),
                     **cores.record())
                if warning := warning_of(score, state.iteration / state.schedule.iterations):
                    logger.warning("%s: %s", job.title, warning)
                _save(job, state, training.stream, training.patches)
                bar.set_postfix_str(", ".join(filter(None, (f"loss {mean_loss:.3f}", score.text))))
                training.on_epoch()


def _followed(training: _Training, state: TrainState, throughput: Throughput, stepping: float, steps: int, phase: int
              ) -> Throughput:
    """The throughput after an epoch of so many steps, which took so many seconds without the check.

    The check is counted as its usual share: an epoch of small patches, or the rest of one that was stopped, has a larger one
    than what is left.
    """
    seconds = iteration_of(stepping / steps)
    left = throughput.seconds_left(state.schedule, state.schedule.iterations, state.iteration)
    throughput = follow(throughput, seconds, weight_of_latest(seconds * steps, left), phase)
    throughput = training.timing.after_epoch(state, throughput, seconds / training.timing.start.seconds_in(phase))
    state.seconds = agreed(training.clock() - training.started)
    return throughput


def _steps(training: _Training, state: TrainState, throughput: Throughput) -> int:
    """The iterations of the next epoch, which ends early at a pause; 0 where the training ends or pauses."""
    steps = epoch_iterations(state.schedule, state.iteration)
    if training.pause is None:
        return steps
    left = training.pause.seconds - throughput.reserve_seconds(mirroring=False) - state.seconds
    affordable = int(left / throughput.seconds_in(phase_at(state.schedule, state.iteration)))
    if affordable >= max(1, steps * _SHORTEST_EPOCH):
        return min(steps, affordable)
    return min(steps, 0 if state.iteration else 1)  # a network that was never trained says nothing


def _check_finite(job: FoldJob, state: TrainState, loss: float) -> None:
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss is {loss} at iteration {state.iteration}; the state before is kept", where=job.title,
                             do="start again with a lower rate (--restart --set "
                                f"schedule.learning_rate={state.schedule.learning_rate / 3:.1g})")


def _warn_if_slower(job: FoldJob, slower: SlowerThanPlanned, throughput: Throughput) -> None:
    if is_first() and (sentence := slower.sentence(step_of(throughput))):
        logger.warning("%s: %s", job.title, sentence)


def _adapt(training: _Training, state: TrainState, throughput: Throughput, bar: tqdm) -> None:
    schedule = revise(state.schedule, throughput, state.iteration, state.seconds)
    if training.pause is None:
        schedule = training.finisher.shortened(schedule, state.iteration)
    else:
        schedule = before_decay(schedule, state.iteration)
    if schedule.iterations != state.schedule.iterations:
        logger.debug("the throughput changed: %d iterations instead of %d", schedule.iterations, state.schedule.iterations)
        state.schedule = schedule
        bar.total = schedule.iterations
        bar.refresh()


def _log(job: FoldJob, state: TrainState, score: EpochScore, **measured: float) -> None:
    append_record(job.folder.metrics, {
        "epoch": state.epoch, "iteration": state.iteration, "iterations": state.schedule.iterations,
        "seconds": state.seconds, **score.record, **measured})


def _save(job: FoldJob, state: TrainState, stream: PhasedStream, patches: BatchStream | None, epoch: _Epoch | None = None
          ) -> None:
    """Save what a resume needs; of an `epoch` that was stopped also how long it is to be, and its losses so far."""
    stopped = {"steps": epoch.steps, "losses": torch.stack(epoch.losses).cpu()} if epoch and epoch.losses else {}
    save_state(job.folder.state, {"train": state.to_plain(), "stream": stream.state_dict(), _EPOCH: stopped,
                                 "patches": None if patches is None else patches.state_dict(),
                                 "training": list(job.training), "seed": job.seed,
                                 "planned_seconds": job.planned_seconds, KEY: job.trained_with.model_dump(mode="json"),
                                 ENCODER: _plain_encoder(job)})
    write_json(job.folder.schedule, state.schedule)


def _write_weights(job: FoldJob, state: TrainState, pause: Pause | None) -> None:
    """Write the averaged weights. Final ones say nothing of the clock: those of the same training are the same file."""
    path = job.folder.checkpoint if pause is None else pause.weights
    seconds = {} if pause is None else {"seconds": round(state.seconds, 1)}
    with AveragedWeights(state) as model:
        save_weights(path, model.state_dict(),
                     {"configuration": job.name, "fold": job.fold, "dataset": job.plan.dataset, "seed": job.seed,
                      "iterations": state.iteration, **seconds, "training": list(job.training),
                      KEY: job.trained_with.model_dump(mode="json"), ENCODER: _plain_encoder(job)})


def _plain_encoder(job: FoldJob) -> dict[str, Any] | None:
    return None if job.encoder is None else job.encoder.model_dump(mode="json")


def _validation_patches(job: FoldJob, task: Task, runtime: Runtime) -> BatchStream | None:
    """Patches of the validation cases, sampled as in training and not augmented; None where there are no such cases."""
    if not job.validation:
        return None
    plain = job.configuration.model_copy(
        update={"augmentation": UNAUGMENTED, "appearance": (), "input_dropout": InputDropout(), "class_weights": {}})
    store = _store(job, job.validation, runtime, _resident_bytes(runtime) // 2)
    return task.batches(store, plain, job.seed + 2, runtime.device, job.layout)


def _store(job: FoldJob, names: Sequence[str], runtime: Runtime, limit_bytes: int, weights: Mapping[str, float] | None = None
           ) -> CaseStore:
    return store_cases(open_cases(job.cases, names), runtime.device, limit_bytes, conditions=job.encoded(names),
                       annotated=job.annotated_heads(), weights=weights)


def _opened(job: FoldJob) -> list[PreparedCase]:
    return [open_prepared(job.cases, name) for name in job.validation]


def _resident_bytes(runtime: Runtime) -> int:
    if runtime.device.type == "cuda":
        return int(free_device_bytes(runtime.device) * _RESIDENT_SHARE)
    return int(free_host_bytes() * _RESIDENT_SHARE / ranks().n_local)
