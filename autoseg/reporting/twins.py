"""A fold that began from another model beside its twin, which was trained from scratch."""

from autoseg.evaluation.comparison import PairedComparison, compare_summaries
from autoseg.training.validate import FoldResult

TRANSFERRED, FROM_SCRATCH = "from another model", "from scratch"


def compared(fold: FoldResult, twin: FoldResult) -> PairedComparison | None:
    """Their scores on the cases that both have validated; None where one of them has validated none."""
    if fold.scores is None or twin.scores is None:
        return None
    return compare_summaries(fold.scores, twin.scores, TRANSFERRED, FROM_SCRATCH, seed=fold.seed)
