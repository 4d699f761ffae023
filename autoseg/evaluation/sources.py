"""Compare folders of masks, or files of scores, that a user names."""

from collections.abc import Callable
from pathlib import Path

from autoseg.base.errors import ManyFaults
from autoseg.evaluation.comparison import PairedComparison, compare_summaries
from autoseg.evaluation.folders import PREDICTION_MISSING
from autoseg.evaluation.types import Summary
from autoseg.workspace.files import read_model


def compare_sources(a: Path, b: Path, evaluate: Callable[[Path], Summary], *, seed: int = 0) -> PairedComparison:
    """Compare two sources of scores of the same cases: each is a summary.json, or a folder that `evaluate` scores.

    A case that one of the two lacks is left out, and the comparison lists it. Raises ManyFaults where a case cannot be
    scored: a verdict on only some of the cases would mislead.
    """
    first, second = (_scores(source, evaluate) for source in (a, b))
    return compare_summaries(first, second, str(a), str(b), seed=seed)


def _scores(source: Path, evaluate: Callable[[Path], Summary]) -> Summary:
    summary = read_model(source, Summary) if source.suffix == ".json" else evaluate(source)
    faults = [fault for fault in summary.faults if PREDICTION_MISSING not in fault]
    if faults:
        raise ManyFaults(source, faults)
    return summary
