"""The postprocessing of a fold that predicts alone, chosen on its validation cases by the rule of cross-validation.

It lies in the folder of the fold. `inference.json`, which is of all folds together, takes its place.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.formats.files import digest
from autoseg.prediction.inference_settings import FoldPostprocessing
from autoseg.selection.cases import CandidateCase
from autoseg.selection.steps import choose_steps, describe
from autoseg.workspace.files import DamagedFile, read_model, write_json
from autoseg.workspace.folders import FoldFolder
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


def choose_fold_postprocessing(folder: FoldFolder, plan: Plan, truths: Mapping[str, Path],
                               annotated: Mapping[str, Sequence[str]], *, workers: int = 1, seed: int = 0
                               ) -> FoldPostprocessing:
    """Choose the steps that improve the masks of the fold's validation cases (name -> label file), and write them.

    A step is accepted where the 95 % interval of the paired difference in Dice lies above 0. With fewer than six cases
    none is. A choice for the same weights and the same cases is kept.
    """
    weights = digest(folder.checkpoint)
    known = _known(folder)
    if known is not None and (known.digest, known.n_cases) == (weights, len(truths)):
        return known
    cases = [CandidateCase(name=name, truth=truth, labels=plan.labels, mask=folder.mask(name, plan.file_ending),
                           annotated=tuple(annotated.get(name, plan.labels.foreground)), probabilities=())
             for name, truth in truths.items()]
    steps, comparisons = choose_steps(cases, plan.labels, workers, seed)
    reasons = [f"{comparison.candidate}: Dice {comparison.difference.difference:+.4f} "
               f"({comparison.difference.low:+.4f} to {comparison.difference.high:+.4f})"
               for comparison in comparisons if comparison.accepted]
    choice = FoldPostprocessing(digest=weights, n_cases=len(cases), postprocessing=steps, reasons=tuple(reasons))
    write_json(folder.postprocessing, choice)
    logger.info("postprocessing of fold %s where it predicts alone, chosen on %d validation cases: %s (%d of %d steps "
                "accepted)", folder.name, len(cases), describe(steps), len(reasons), len(comparisons))
    return choice


def _known(folder: FoldFolder) -> FoldPostprocessing | None:
    """What was chosen before; None where nothing was, or where its file is damaged, with a warning."""
    try:
        return read_model(folder.postprocessing, FoldPostprocessing) if folder.postprocessing.is_file() else None
    except DamagedFile as error:
        logger.warning("the postprocessing is chosen again: %s", error)
        return None
