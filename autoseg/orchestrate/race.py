"""Holds a race of configurations: trains, pauses, compares and drops them, rung by rung (rules: `selection.race`).

What is known is written after every candidate of every rung, so that the race goes on wherever it was stopped.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from autoseg.base.errors import ManyFaults, TrainingFailed
from autoseg.base.processes import cores
from autoseg.base.progress import duration
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.orchestrate.run import ExecutionOptions
from autoseg.orchestrate.stopwatch import Stopwatch
from autoseg.reporting.curves import LiveCurves
from autoseg.selection.gather import read_cross_validation
from autoseg.selection.race import best_two, decide, judge_pair, leader_of, pair_to_test, places, seconds_per_fold
from autoseg.selection.race_scores import rung_dice
from autoseg.selection.race_types import PairTest, Race, RaceCandidate, Rung, RungScore
from autoseg.training.memory_estimate import check_step
from autoseg.training.run import run_to_pause
from autoseg.workspace.files import remove_folder, write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

CLOSING_SHARE = 0.02  # of the total, for the choice and the report after the last fold


def hold(workspace: Workspace, race: Race, plans: Mapping[str, Plan], execution: ExecutionOptions, stopwatch: Stopwatch, *,
         n_cascades: Callable[[Race], int]) -> Race:
    """The decided race. `plans` are those by which candidates race; `n_cascades` says how many share the time after it.

    Raises ManyFaults where every candidate fails.
    """
    if race.winners:
        return race
    runtime = open_runtime(execution.devices[0])
    for number in range(len(race.shares)):
        survivors = _survivors(race)
        if len(survivors) == 1:
            break
        _remove_unused(workspace, race, number)
        if number >= len(race.rungs):
            share = race.shares[number]
            rung = Rung(share=share, seconds=share * race.planned_fold_seconds)
            race = _written(workspace, race, rungs=(*race.rungs, rung))
        for candidate in survivors:
            if race.rungs[number].score(candidate.title) is None:
                score = _score(workspace, race, number, candidate, plans[candidate.planner], runtime, execution)
                runtime.release_cache()  # the folds after the race are trained by other processes on this device too
                rung = race.rungs[number].model_copy(update={"scores": (*race.rungs[number].scores, score)})
                race = _written(workspace, race, rungs=(*race.rungs[:number], rung))
        race = _decided_rung(workspace, race, number, execution.seed)
    return _decided(workspace, race, plans, execution, stopwatch, n_cascades)


def finish(workspace: Workspace, race: Race) -> None:
    """Remove what only a race that goes on needs. The paused trainings stay."""
    for candidate in race.candidates:
        remove_folder(_folder(workspace, race, candidate).race)


def again(workspace: Workspace, race: Race) -> str:
    """What a user does to hold another race in place of this one."""
    models = [workspace.model(race.dataset, c.planner, c.configuration).path for c in race.candidates]
    paths = [workspace.race(race.dataset), workspace.race_seconds(race.dataset), *models]
    return f"race again after you have removed {', '.join(map(str, paths))}"


def _remove_unused(workspace: Workspace, race: Race, number: int) -> None:
    """Remove what earlier rungs kept, but that of the two whose ensemble may be tested against the winner of this rung."""
    for candidate in race.candidates:
        for earlier in range(number):
            if earlier < number - 1 or candidate.title not in best_two(race.rungs[earlier]):
                remove_folder(_folder(workspace, race, candidate).rung(earlier))


def _survivors(race: Race) -> list[RaceCandidate]:
    """Those that no rung dropped, in the order of the candidates."""
    dropped = {decision.candidate for rung in race.rungs for decision in rung.decisions if not decision.kept}
    return [candidate for candidate in race.candidates if candidate.title not in dropped]


def _score(workspace: Workspace, race: Race, number: int, candidate: RaceCandidate, plan: Plan, runtime: Runtime,
           execution: ExecutionOptions) -> RungScore:
    """Train a candidate up to a rung and score it; its predictions and their scoring count as its time."""
    seconds, earlier = race.rungs[number].seconds, race.scores(candidate.title)
    judged_seconds = earlier[-1].seconds - earlier[-1].training_seconds if earlier else 0.0
    folder = _folder(workspace, race, candidate)
    logger.info("race, rung %d of %d: %s up to %s", number + 1, len(race.shares), candidate.title, duration(seconds))
    try:
        check_step(plan, candidate.configuration, runtime)
        paused = run_to_pause(workspace, plan, candidate.configuration, race.fold, runtime, rung=number,
                              seconds=seconds - judged_seconds, seed=execution.seed, on_epoch=LiveCurves())
        start = time.monotonic()
        dice = _dice(workspace, race, number, [folder], execution)
    except TrainingFailed as error:  # for what the user can mend no candidate is dropped
        logger.warning("%s: %s", candidate.title, error)
        return RungScore(candidate=candidate.title, fault=str(error))
    judged_seconds += paused.validation_seconds + time.monotonic() - start
    return RungScore(candidate=candidate.title, iterations=paused.iterations, dice=dice,
                     training_seconds=paused.training_seconds, seconds=round(paused.training_seconds + judged_seconds, 1))


def _decided_rung(workspace: Workspace, race: Race, number: int, seed: int) -> Race:
    rung = race.rungs[number]
    if rung.decisions:
        return race
    flops = {candidate.title: candidate.step_flops for candidate in race.candidates}
    earlier = race.rungs[number - 1].scores if number else ()
    decisions = decide(rung.scores, earlier, flops, places(len(race.candidates), number),
                       is_last=number == len(race.shares) - 1, seed=seed)
    if not any(decision.kept for decision in decisions):
        without = rung.model_copy(update={"scores": ()})  # so that the same command tries again
        _written(workspace, race, rungs=(*race.rungs[:number], without))
        faults = [f"{score.candidate}: {score.fault}" for score in rung.scores]
        raise ManyFaults(f"{race.dataset}: every configuration failed; mend what is listed below and start the same command "
                         f"again, or {again(workspace, race)}", faults)
    for decision in decisions:
        logger.info("race, rung %d: %s %s: %s", number + 1, decision.candidate, "goes on" if decision.kept else "is dropped",
                    decision.reason)
    rung = rung.model_copy(update={"decisions": decisions})
    return _written(workspace, race, rungs=(*race.rungs[:number], rung))


def _decided(workspace: Workspace, race: Race, plans: Mapping[str, Plan], execution: ExecutionOptions, stopwatch: Stopwatch,
             n_cascades: Callable[[Race], int]) -> Race:
    """The race with its winner, or the two whose ensemble was better for the same time, and the time of each fold."""
    winner = leader_of(race) if race.rungs else race.candidates[0].title
    pair = _pair(workspace, race, winner, execution)
    winners = pair.members if pair is not None and pair.accepted else (winner,)
    race = race.model_copy(update={"pair": pair, "winners": winners})
    paused = [scores[-1].training_seconds if (scores := race.scores(title)) else 0.0 for title in winners]
    spent = stopwatch.seconds
    decay_share = max(plans[race.candidate(title).planner].configurations[race.candidate(title).configuration]
                      .schedule.decay_share for title in winners)
    seconds = seconds_per_fold(race.total_seconds * (1 - CLOSING_SHARE) - spent, paused, n_cascades(race),
                               len(race.folds), len(execution.devices), decay_share)
    return _written(workspace, race, spent_seconds=spent, fold_seconds=max(1.0, seconds))


def _pair(workspace: Workspace, race: Race, winner: str, execution: ExecutionOptions) -> PairTest | None:
    found = pair_to_test(race.rungs, winner)
    if found is None:
        return None
    number, members = found
    folders = [_folder(workspace, race, race.candidate(title)) for title in members]
    return judge_pair(members, _dice(workspace, race, number, folders, execution), race.scores(winner)[-1], execution.seed)


def _dice(workspace: Workspace, race: Race, number: int, folders: list[FoldFolder], execution: ExecutionOptions
          ) -> tuple[float | None, ...]:
    def path_of(folder: FoldFolder) -> Callable[[str], Path]:
        return lambda name: folder.rung_probabilities(number, name)

    return rung_dice(read_cross_validation(workspace, race.dataset), race.cases, [path_of(folder) for folder in folders],
                     execution.workers or cores())


def _folder(workspace: Workspace, race: Race, candidate: RaceCandidate) -> FoldFolder:
    return workspace.fold(race.dataset, candidate.planner, candidate.configuration, race.fold)


def _written(workspace: Workspace, race: Race, **changes: object) -> Race:
    changed = race.model_copy(update=changes)
    write_json(workspace.race(race.dataset), changed)
    return changed
