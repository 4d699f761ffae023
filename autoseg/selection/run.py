"""From the finished folds of a dataset to `inference.json`: the models that predict, the postprocessing of their masks, and
the quality control. `selection.json` holds everything that was compared.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import GROUPS, CaseScore, scoring_of
from autoseg.formats.files import combined_digest
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing
from autoseg.prediction.postprocess import apply
from autoseg.selection.candidates import Scored, choose, score_candidates
from autoseg.selection.cases import CandidateCase, decision_dice, mapped
from autoseg.selection.gather import CrossValidation, gather, read_cross_validation
from autoseg.selection.quality_control import Learned, fit_quality_control
from autoseg.selection.steps import choose_steps, describe
from autoseg.selection.types import Comparison, Selection
from autoseg.workspace.files import write_json
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since

logger = logging.getLogger(__name__)

SAME_CASES = ("models and postprocessing were chosen and scored on the same cases, so these scores are slightly too good; "
              "only cases that were not used show how good the choice is")
_FINAL = scoring_of(list(GROUPS))


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen among those that were `scored`, and why."""

    best: Scored
    scored: tuple[Scored, ...]
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


def find_best(workspace: Workspace, name: str, *, workers: int = 1, seed: int = 0) -> Selection:
    """Choose by cross-validation how new cases of a dataset are predicted; write `inference.json` and `selection.json`.

    `seed` is for the bootstrap. Raises UserError or ManyFaults where no configuration has finished folds that cover every
    case. The error names each configuration with the commands that finish it; where another process chooses, it names that.
    """
    with locked(workspace.selection(name)):
        return _find_best(workspace, name, workers, seed)


def _find_best(workspace: Workspace, name: str, workers: int, seed: int) -> Selection:
    started = now()
    dataset = read_cross_validation(workspace, name)
    contenders, unfinished = gather(workspace, dataset)
    scored, notes = score_candidates(dataset, contenders, workers)
    best, comparisons = choose(scored, seed)
    choice = Choice(best, tuple(scored), tuple(_reasons(best, comparisons)), tuple(comparisons), (*unfinished, *notes))
    return conclude(workspace, dataset, choice, started, workers=workers, seed=seed)


def conclude(workspace: Workspace, dataset: CrossValidation, choice: Choice, started: datetime, *, workers: int, seed: int
             ) -> Selection:
    """Choose the postprocessing and the rule of quality control of what was chosen; write `inference.json` and
    `selection.json`.
    """
    name, best = dataset.name, choice.best
    steps, tried = choose_steps(best.cases, dataset.labels, workers, seed)
    final = mapped(partial(_final_score, steps=steps), best.cases, workers, "final scores")
    learned, why_not = _learn(best, final, workers)
    inference = InferenceSettings(dataset=name, members=best.candidate.members, postprocessing=steps,
                          quality_control=None if learned is None else learned.quality_control,
                          reasons=(*choice.reasons, *_reasons_of_masks(steps, learned)))
    selection = Selection(dataset=name, n_cases=len(dataset.truths),
                          candidates=tuple(entry.candidate for entry in choice.scored),
                          comparisons=choice.comparisons, postprocessing=tuple(tried),
                          calibration=None if learned is None else learned.calibration,
                          cases=() if learned is None else learned.cases, final=summarize(final, dataset.labels, _FINAL),
                          inference=inference, notes=(SAME_CASES, *choice.notes, *why_not))
    digests = combined_digest(digest for member in inference.members for digest in member.digests)
    made = provenance(started, seconds_since(started), seed=seed, models=digests)
    for path, result in ((workspace.selection(name), selection), (workspace.inference_settings(name), inference)):
        note_result(path, made, best.contenders[0].plan.fingerprint_digest)
        write_json(path, result)
    return selection


def _final_score(case: CandidateCase, steps: Postprocessing) -> CaseScore:
    truth, geometry = case.read_truth()
    label = apply(steps, case.read_mask(), case.labels, geometry)
    return score_case(truth, label, case.labels, geometry.spacing_mm, case.name, scoring=_FINAL, annotated=case.annotated)


def _learn(best: Scored, final: Sequence[CaseScore], workers: int) -> tuple[Learned | None, tuple[str, ...]]:
    """The fit of quality control, or None; and notes, such as why there is none."""
    without = [contender for contender in best.contenders if contender.folds_without_probabilities()]
    if without:
        return None, tuple("quality control is not available, since probabilities were not saved: "
                           f"{contender.commands_for_probabilities()}, then choose again" for contender in without)
    true_dice = [decision_dice(score, case.annotated) for score, case in zip(final, best.cases, strict=True)]
    folds = [best.contenders[0].fold_of[case.name] for case in best.cases]
    learned = fit_quality_control(best.cases, folds, true_dice, workers)
    return learned, learned.notes


def _reasons(best: Scored, comparisons: Sequence[Comparison]) -> list[str]:
    dice = best.candidate.scores.foreground_means["dice"].value
    score = "no Dice is defined" if dice is None else f"mean Dice {dice:.4f}"
    reasons = [f"{best.candidate.title}: {score} over {best.candidate.scores.n_cases} cross-validation cases"]
    accepted = [comparison for comparison in comparisons if comparison.accepted]
    reasons += [f"better than {comparison.incumbent} by {comparison.difference.difference:.4f} "
                f"({comparison.difference.low:.4f} to {comparison.difference.high:.4f})" for comparison in accepted]
    lost = len(comparisons) - len(accepted)
    if lost:
        reasons.append(f"{lost} costlier candidate{'s' if lost > 1 else ''} not significantly better")
    return reasons


def _reasons_of_masks(steps: Postprocessing, learned: Learned | None) -> list[str]:
    reasons = [describe(steps)]
    if learned is not None and learned.quality_control is not None:
        r = learned.quality_control.correlation
        reasons.append(f"cases with a predicted Dice below {learned.quality_control.review_below:.3f} need review"
                       + ("" if r is None else f"; predicted and true Dice correlate by {r:.2f}"))
    return reasons
