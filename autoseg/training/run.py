"""From the names of a dataset, a configuration and a fold to a finished fold on the disk."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.base.progress import duration
from autoseg.base.ranks import agreed, first_goes_first, is_first, wait_for_all
from autoseg.base.runtime import Runtime
from autoseg.base.stopping import resumable
from autoseg.prediction.models import load_model
from autoseg.training.assemble import assemble, check_finished, check_training
from autoseg.training.bend import Extended, extension_of, planned_iterations, start_extension
from autoseg.training.distributed import check_shareable
from autoseg.training.disturbance import CoresWatch, disturbance_of
from autoseg.training.fold import memory_explained, train_fold
from autoseg.training.inputs import StartedFolds, check_goes_on, check_one_way, plan_of_model
from autoseg.training.job import Extension, FoldJob, Pause
from autoseg.training.mirroring import unmirrored_cases
from autoseg.training.repair import read_schedule, read_started_with
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.training.transfer import Beginning, begin_from, refuse_itself
from autoseg.training.validate import (
    FoldResult,
    predict_again,
    predict_missing,
    validate_fold,
    without_masks,
    without_probabilities,
)
from autoseg.workspace.checkpoint import load_state, read_facts
from autoseg.workspace.extension import take_extension
from autoseg.workspace.files import DamagedFile, read_model, read_records, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import locked, remove_lock
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import remove_leftovers_below
from autoseg.workspace.provenance import PROVENANCE, note, now, provenance
from planners.rules.budget import has_begun_to_decay, with_budget
from planners.schema.plan import Plan, content_hash_of, differing_fields

logger = logging.getLogger(__name__)

@dataclass(frozen=True)
class Paused:
    """A training that can go on: how long it trained, and how long its validation cases took to predict."""

    iterations: int
    training_seconds: float
    validation_seconds: float


def started_plan(workspace: Workspace, dataset: str, planner: str, configuration: str) -> Plan | None:
    """The plan of a model of which a fold was started, else None."""
    model = workspace.model(dataset, planner, configuration)
    return plan_of_model(model) if model.started_folds() else None


def start_model(workspace: Workspace, planned: Plan, configuration: str, folds: Sequence[int | str], *,
                restart: bool = False) -> Path:
    """Write the plan that several folds are to be trained by, before the first of them starts; its file.

    With `restart` the files of these folds are removed, after all checks have passed.
    """
    folders = [workspace.fold(planned.dataset, planned.planner, configuration, fold) for fold in folds]
    check_others(workspace, planned, configuration, [folder.path for folder in folders if restart or not folder.is_started])
    refuse_itself(workspace, planned, configuration)
    if restart:
        for fold in folds:
            begin_from(workspace, assemble(workspace, planned, configuration, fold, restart=True)[0])
        for folder in folders:
            with locked(folder.path):
                folder.clear()
    path = workspace.model(planned.dataset, planned.planner, configuration).plan
    write_json(path, planned)
    return path


def check_others(workspace: Workspace, planned: Plan, configuration: str, restarted: Collection[Path] = ()) -> None:
    """All folds of a model share a plan: a UserError where folds were started with another one.

    Those that are `restarted` do not count, nor one that is started now.
    """
    model = workspace.model(planned.dataset, planned.planner, configuration)
    others = [f"fold {fold.name}" for fold in model.reserved_folds() if fold.path not in restarted]
    known = plan_of_model(model) if others else None
    if known is not None and (fields := differing_fields(known, planned, configuration)):
        raise UserError("folds of this model were started with another plan", where=model.plan,
                        found=", ".join(others),
                        do=f"train with the same options (different: {', '.join(fields)}), remove these folders, or use "
                           "--restart for the only one")


def run_fold(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, runtime: Runtime,
             *, seed: int = 0, restart: bool = False, as_started: bool = False, save_probabilities: bool = False,
             extend_seconds: float | None = None, on_epoch: Callable[[FoldFolder], object] = lambda folder: None
             ) -> FoldResult:
    """Train and validate one fold, resume it, or read its result if it is finished. With `extend_seconds` a finished fold
    goes on for so long; an extension that was started goes on without it too.

    Raises UserError where the plan, the folds or the data are no longer what the training was started with; `as_started`
    goes on with the folds and the prepared cases as they were. With `save_probabilities` those of the validation cases
    are written too. Of a finished fold masks, probabilities, weights and the plan of its model are made again where they
    are missing. Several processes that have joined (`training.distributed`) train together; all of them have the result.
    """
    started, started_at = time.monotonic(), now()
    check_one_way(restart=restart, as_started=as_started)
    fold = int(fold) if str(fold).isdecimal() else fold  # 00 is fold 0
    folder = workspace.fold(planned.dataset, planned.planner, configuration, fold)
    check_others(workspace, planned, configuration, [folder.path] if restart or not folder.is_started else ())
    refuse_itself(workspace, planned, configuration)
    if is_first():
        remove_leftovers_below(folder.path.parent)
        _take_finished_extension(folder)
    wait_for_all()
    extension, before = _extension(folder, extend_seconds, restart)
    if folder.is_finished and folder.is_trained and not restart and extension is None:
        if not as_started:
            check_finished(workspace, planned, configuration, fold)
        if (result := _finished(workspace, planned, configuration, folder, runtime, save_probabilities)) is not None:
            return result
    check_shareable(planned.configurations[configuration], str(folder.path))
    if not restart:
        folder.refuse_links()
    runtime = replace(runtime, deterministic=planned.configurations[configuration].schedule.deterministic)
    with locked(folder.path) if is_first() else nullcontext(), runtime.repeatable():
        with first_goes_first():
            job, truths = assemble(workspace, planned, configuration, fold, seed, restart=restart, as_started=as_started)
            job, beginning = _beginning(workspace, job, restart)
        if not restart:
            check_goes_on(job, read_started_with(folder))
        # From here on files are removed and written: all checks have passed.
        save_probabilities |= folder.is_finished and not restart and folder.all_probabilities.is_dir()
        wait_for_all()
        if extension is None and is_first():
            if folder.is_finished and not folder.is_trained and not restart:
                _validate_anew(folder)
            _start(workspace, job, restart, beginning)
        elif extension is not None:
            job = _extending(job, extension)
        wait_for_all()
        with resumable():
            trained = None
            if not job.folder.is_trained:
                trained = _train(job, truths, runtime, started, lambda: on_epoch(job.folder), beginning)
                wait_for_all()
            result = _validated(job, truths, runtime, save_probabilities, started_at, before, trained)
            if is_first() and extension is not None:
                take_extension(folder)
            wait_for_all()
            return result


def _extension(folder: FoldFolder, seconds: float | None, restart: bool) -> tuple[Extension | None, tuple[Extended, ...]]:
    """The extension that is to be trained, if any, and all of them, as its result says it."""
    if restart:
        return None, ()
    title = f"fold {folder.name} ({folder.path})"
    result = _read_result(folder) if folder.is_finished and (seconds or folder.extension.path.is_dir()) else None
    extension = extension_of(folder, () if result is None else result.extended, seconds, title)
    if extension is None or result is None:
        return None, ()
    if result.schedule.deterministic:
        raise UserError("a deterministic training cannot be extended by a time: nothing of it follows from the clock",
                        where=title, do="train it again with more iterations: --restart --set schedule.iterations=N")
    return extension, (*result.extended, Extended(
        seconds=extension.seconds, iterations_before=result.schedule.iterations, mean_dice_before=result.mean_dice,
        training_seconds_before=result.training_seconds, total_seconds_before=result.total_seconds))


def _extending(job: FoldJob, extension: Extension) -> FoldJob:
    """The job of an extension, in its folder, which says what it is started with."""
    extending = replace(job, folder=job.folder.extension, extension=extension)
    if is_first():
        start_extension(job.folder, extension, job.trained_with)
        logger.info("%s goes on from its finished weights for %s", job.title, duration(extension.seconds))
    wait_for_all()
    return extending


def _take_finished_extension(folder: FoldFolder) -> None:
    """Go on with what a process was killed in: an extension that is finished takes the place of its fold."""
    if folder.extension.is_finished:
        folder.refuse_links()
        with locked(folder.path):
            take_extension(folder)


def _finished(workspace: Workspace, planned: Plan, configuration: str, folder: FoldFolder, runtime: Runtime,
              save_probabilities: bool) -> FoldResult | None:
    """The result of a finished fold, of which is made again what is missing; None where the result is damaged."""
    if is_first():
        remove_lock(folder.path)
        if not workspace.model(planned.dataset, planned.planner, configuration).has_plan:
            _write_plan_again(workspace, planned, configuration)
    result = _read_result(folder)
    if result is None:
        return None
    logger.info("fold %s is finished: %s; --restart trains it again", folder.name, folder.path)
    names = [case.name for case in result.scores.cases] if result.scores is not None else []
    if is_first() and (without_masks(folder, names, planned.file_ending)
                       or (save_probabilities and without_probabilities(folder, names))):
        folder.refuse_links()
        _complete(workspace, planned, configuration, folder.name, runtime, save_probabilities)
    return result


def run_to_pause(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, runtime: Runtime, *, rung: int,
                 seconds: float, seed: int = 0, on_epoch: Callable[[FoldFolder], object] = lambda folder: None) -> Paused:
    """Train a fold until its time and one prediction of its validation cases take `seconds`, and predict these cases.

    Weights and probabilities are kept for this `rung`; what is there is not made again. A later call, or `run_fold`, goes
    on from the pause.
    """
    started = time.monotonic()
    folder = workspace.fold(planned.dataset, planned.planner, configuration, fold)
    check_others(workspace, planned, configuration, () if folder.is_started else [folder.path])
    folder.refuse_links()
    remove_leftovers_below(folder.path.parent)
    weights = folder.rung_weights(rung)
    with locked(folder.path):
        job, beginning = _beginning(workspace, assemble(workspace, planned, configuration, fold, seed)[0], restart=False)
        check_goes_on(job, read_started_with(folder))
        _start(workspace, job, False, beginning)
        if not weights.is_file():
            _train(job, None, runtime, started, lambda: on_epoch(folder), beginning, Pause(seconds, weights))
        validation_start = time.monotonic()
        facts = read_facts(weights)
        model = load_model(job.plan, job.configuration, weights, runtime)
        predict_missing(job, model, runtime, lambda name: folder.rung_probabilities(rung, name))
        return Paused(iterations=facts["iterations"], training_seconds=facts["seconds"],
                      validation_seconds=time.monotonic() - validation_start)


def adopt_plan(workspace: Workspace, planned: Plan, configuration: str) -> Path:
    """Write the plan of a model whose folds were paused, so that they continue with another budget; its file.

    Raises UserError where the plan differs in more than the budget, or where a fold has started to decay: its end is
    fixed.
    """
    model = workspace.model(planned.dataset, planned.planner, configuration)
    if model.has_plan and differing_fields(model.read_plan(), planned, configuration):
        budget = planned.configurations[configuration].schedule.budget_seconds
        started = with_budget(model.read_plan(), budget)
        decaying = [f"fold {fold.name}" for fold in model.started_folds() if _decays(fold)]
        if decaying or differing_fields(started, planned, configuration):
            raise UserError("this model cannot continue with another budget", where=model.plan,
                            found=f"{', '.join(decaying)} past the constant learning rate" if decaying else "another plan",
                            do="train with the same options, or remove these folds")
        write_json(model.plan, planned)
    return model.plan


def _decays(fold: FoldFolder) -> bool:
    """Whether the end of a training is fixed: its rate depends on it from the decay on."""
    records = read_records(fold.metrics)
    if fold.is_trained or not records:
        return fold.is_trained
    return has_begun_to_decay(read_schedule(fold), records[-1]["iteration"])


def _validated(job: FoldJob, truths: Mapping[str, Path], runtime: Runtime, save_probabilities: bool,
               started_at: datetime, extended: tuple[Extended, ...] = (), trained: float | None = None) -> FoldResult:
    """Predict and score the validation cases of a trained fold, and write its result and where it came from.

    `trained` are the seconds of a training that has just ended; of an earlier one its records say them.
    """
    validation_start, cores = time.monotonic(), CoresWatch(runtime)
    records = read_records(job.folder.metrics)
    facts = check_training(job)
    if trained is None:  # weights of earlier versions say it, too
        trained = facts.get("seconds", records[-1]["seconds"] if records else 0.0)
    model = load_model(job.plan, job.configuration, job.folder.checkpoint, runtime)
    schedule = read_schedule(job.folder)
    summary, unscored = validate_fold(job, model, truths, runtime, schedule.validation_mirroring,
                                      save_probabilities=save_probabilities,
                                      seconds_left=schedule.budget_seconds and schedule.budget_seconds - trained)
    mean_dice = None if summary is None else summary.foreground_means["dice"].value
    validating = time.monotonic() - validation_start
    earlier = extended[-1] if extended else None
    spent, total = (earlier.training_seconds_before, earlier.total_seconds_before) if earlier is not None else (0.0, 0.0)
    result = agreed(FoldResult(dataset=job.plan.dataset, planner=job.plan.planner, configuration=job.name, fold=job.fold,
                               seed=job.seed, schedule=schedule, training_seconds=round(spent + trained, 1),
                               total_seconds=round(total + trained + validating, 1), mean_dice=mean_dice, scores=summary,
                               unscored=unscored, extended=extended, unmirrored=unmirrored_cases(job.folder),
                               disturbance=disturbance_of(records, cores.record()),
                               planned_iterations=planned_iterations(job.folder, schedule.iterations)))
    if is_first():
        for sentence in result.about_time():
            logger.info("%s: %s", job.title, sentence)
        plan = content_hash_of(job.plan.model_dump(mode="json"))
        made = provenance(started_at, result.total_seconds, seed=job.seed, plan=plan, models=model.digest,
                          source="" if job.initial_weights is None else job.initial_weights.digest,
                          device=runtime.device_name)
        results = [job.folder.result, job.folder.checkpoint, *([job.folder.summary] if summary is not None else [])]
        note(job.folder.path / PROVENANCE, {result.relative_to(job.folder.path).as_posix(): job.trained_with.data_digest
                                            for result in results}, made)
        write_json(job.folder.result, result)  # last: it says that the fold is finished
    return result


def _read_result(folder: FoldFolder) -> FoldResult | None:
    """The result of a finished fold; None where its file is damaged, with a warning: the fold is validated again."""
    try:
        return read_model(folder.result, FoldResult)
    except DamagedFile as error:
        logger.warning("fold %s is validated again: %s", folder.name, error)
        return None


def _complete(workspace: Workspace, planned: Plan, configuration: str, fold: int | str, runtime: Runtime,
              save_probabilities: bool) -> None:
    """Make again what is missing of a finished fold's validation: masks and, where they are asked for, probabilities."""
    job, _ = assemble(workspace, planned, configuration, fold, as_started=True)
    check_training(job)
    model = load_model(planned, job.configuration, job.folder.checkpoint, runtime)
    schedule = read_schedule(job.folder)
    predict_again(job, model, runtime, schedule.validation_mirroring, save_probabilities=save_probabilities)


def _write_plan_again(workspace: Workspace, planned: Plan, configuration: str) -> None:
    path = workspace.model(planned.dataset, planned.planner, configuration).plan
    logger.warning("%s is missing; it is written again, as the folds were started with it", path)
    write_json(path, planned)


def _validate_anew(folder: FoldFolder) -> None:
    """Forget the results of weights that are gone. They are taken from the saved state or, without one, trained again."""
    logger.warning("fold %s was finished, but its weights are missing: they are %s, and the validation cases predicted anew",
                   folder.name, "taken from its saved state" if folder.state.is_file() else "trained again")
    folder.clear_validation()


def _beginning(workspace: Workspace, job: FoldJob, restart: bool) -> tuple[FoldJob, Beginning | None]:
    """The job with its record of the weights that it begins with, and these weights; None where it goes on from its own, or
    begins untrained.
    """
    if job.configuration.transfer is None:
        return job, None
    folder = job.folder
    known = None if restart else read_started_with(folder)
    if known is not None and known.initial_weights and (folder.is_trained or load_state(folder.state) is not None):
        return replace(job, initial_weights=known.initial_weights), None
    beginning = begin_from(workspace, job)
    return (job, None) if beginning is None else (replace(job, initial_weights=beginning.record), beginning)


def _start(workspace: Workspace, job: FoldJob, restart: bool, beginning: Beginning | None) -> None:
    """Write what the training is started with, first of all. Folds that begin at the same time wait for each other here, so
    that all of them see by which plan the first of them began.
    """
    model = workspace.model(job.plan.dataset, job.plan.planner, job.name)
    with locked(model.path, wait=True):
        mine = [job.folder.path] if restart or not job.folder.is_started else []
        check_others(workspace, job.plan, job.name, mine)
        if restart:
            job.folder.clear()
        if not model.splits.is_file() or not [fold for fold in model.reserved_folds() if fold.path != job.folder.path]:
            write_json(model.splits, StartedFolds(folds=job.splits))
        write_json(model.plan, job.plan)
        write_json(job.folder.started_with, job.trained_with)
        if beginning is not None:
            write_json(job.folder.transfer, beginning.report)
    if job.encoder is not None:
        write_json(job.folder.encoder, job.encoder)


def _train(job: FoldJob, truths: Mapping[str, Path] | None, runtime: Runtime, started: float,
           on_epoch: Callable[[], object], beginning: Beginning | None, pause: Pause | None = None) -> float:
    """Train, or go on; the seconds that the training took."""
    task = Segmentation(job.plan, job.configuration, None if beginning is None else beginning.weights)
    smaller = "start again with a smaller plan, such as --restart with --memory 8G or --set batch=2"
    with memory_explained(job, runtime, smaller):
        return train_fold(job, task, runtime, started, on_epoch, truths=truths, pause=pause)
