"""From the finished folds of a dataset to `inference.json`: which models predict, what is done to their masks, and how far
they are to be trusted. `selection.json` holds everything that was compared.
"""

import logging
from collections.abc import Sequence
from functools import partial

from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import GROUPS, CaseScore, scoring_of
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing
from autoseg.prediction.postprocess import apply
from autoseg.selection.candidates import Scored, choose, score_candidates
from autoseg.selection.cases import CandidateCase, decision_dice, mapped
from autoseg.selection.gather import gather, read_dataset
from autoseg.selection.quality_control import Learned, fit_quality_control
from autoseg.selection.steps import choose_steps, describe
from autoseg.selection.types import Comparison, Selection
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace

logger = logging.getLogger(__name__)

SAME_CASES = ("models and postprocessing were chosen on the cases on which they are scored here, so that these scores are a "
              "little too good; cases that took no part say how good the choice is")
_FINAL = scoring_of(list(GROUPS))


def find_best(workspace: Workspace, name: str, *, workers: int = 1, seed: int = 0) -> Selection:
    """Choose by cross-validation how new cases of a dataset are predicted; writes `inference.json` and `selection.json`.

    `seed` is that of the bootstraps. Raises UserError or ManyFaults where no configuration has finished folds that cover
    every case: each is named with the commands that finish it.
    """
    dataset = read_dataset(workspace, name)
    contenders, unfinished = gather(workspace, dataset)
    scored, notes = score_candidates(dataset, contenders, workers)
    best, comparisons = choose(scored, seed)
    steps, tried = choose_steps(best.cases, dataset.labels, workers, seed)
    final = mapped(partial(_final_score, steps=steps), best.cases, workers, "final scores")
    learned, why_not = _learn(best, final, workers)
    inference = InferenceSettings(dataset=name, members=best.candidate.members, postprocessing=steps,
                          quality_control=None if learned is None else learned.quality_control,
                          reasons=tuple(_reasons(best, comparisons, steps, learned)))
    selection = Selection(dataset=name, n_cases=len(dataset.truths), candidates=tuple(one.candidate for one in scored),
                          comparisons=tuple(comparisons), postprocessing=tuple(tried),
                          calibration=None if learned is None else learned.calibration,
                          cases=() if learned is None else learned.cases, final=summarize(final, dataset.labels, _FINAL),
                          inference=inference, notes=(SAME_CASES, *unfinished, *notes, *why_not))
    write_json(workspace.selection(name), selection)
    write_json(workspace.inference_settings(name), inference)
    return selection


def _final_score(case: CandidateCase, steps: Postprocessing) -> CaseScore:
    truth, geometry = case.read_truth()
    label = apply(steps, case.read_mask(), case.labels, geometry)
    return score_case(truth, label, case.labels, geometry.spacing_mm, case.name, scoring=_FINAL, annotated=case.annotated)


def _learn(best: Scored, final: Sequence[CaseScore], workers: int) -> tuple[Learned | None, tuple[str, ...]]:
    """What can be learned for quality control, and why nothing can."""
    without = [one for one in best.contenders if one.folds_without_probabilities()]
    if without:
        return None, tuple("nothing is known of how far a case can be trusted, since probabilities were not saved: "
                           f"{one.how_to_save_probabilities()}, then choose again" for one in without)
    true_dice = [decision_dice(score, case.annotated) for score, case in zip(final, best.cases, strict=True)]
    folds = [best.contenders[0].fold_of[case.name] for case in best.cases]
    learned = fit_quality_control(best.cases, folds, true_dice, workers)
    return learned, learned.notes


def _reasons(best: Scored, comparisons: Sequence[Comparison], steps: Postprocessing, learned: Learned | None) -> list[str]:
    dice = best.candidate.scores.foreground_means["dice"].value
    said = "no Dice is defined" if dice is None else f"mean Dice {dice:.4f}"
    reasons = [f"{best.candidate.title}: {said} over {best.candidate.scores.n_cases} cross-validation cases"]
    won = [one for one in comparisons if one.accepted]
    reasons += [f"better than {one.incumbent} by {one.difference.difference:.4f} "
                f"({one.difference.low:.4f} to {one.difference.high:.4f})" for one in won]
    lost = len(comparisons) - len(won)
    if lost:
        reasons.append(f"{lost} costlier choice{'s' if lost > 1 else ''} not significantly better")
    reasons.append(describe(steps))
    if learned is not None and learned.quality_control is not None:
        r = learned.quality_control.correlation
        reasons.append(f"look at cases of a predicted Dice below {learned.quality_control.review_below:.3f}"
                       + ("" if r is None else f"; predicted and true Dice correlate by {r:.2f}"))
    return reasons
