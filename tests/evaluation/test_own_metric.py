"""A metric of one's own is registered once and is then scored, shown and compared as any other."""

import numpy as np
import pytest
from pydantic import ValidationError

from autoseg.evaluation.comparison import as_text, compare_summaries
from autoseg.evaluation.metrics import METRICS, Metric, register
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.table import table
from autoseg.evaluation.types import Scoring, Summary, scoring_of
from autoseg.workspace.files import read_model, write_json
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,)})


def relative_volume_difference(masks) -> float:
    counts = masks.overlap
    return 200 * (counts.fp - counts.fn) / (2 * counts.tp + counts.fp + counts.fn) if not counts.is_empty else float("nan")


@pytest.fixture
def difference():
    metric = register(Metric("volume_difference_percent", "volume difference", "volume", relative_volume_difference, "lower",
                             best=0.0, worst=200.0, unit="%", margin=1.0, without_sign=True))
    yield metric
    METRICS.pop(metric.name)


def summary_of(length: int) -> Summary:
    """Bars of this length where the truth is ten voxels long."""
    truth, predicted = np.zeros((2, 1, 3, 30), np.int16)
    truth[0, 1, :10], predicted[0, 1, :length] = 1, 1
    scoring = scoring_of(["overlap", "volume"])
    return summarize([score_case(truth, predicted, LABELS, (1.0, 1.0, 1.0), f"case {i}", scoring=scoring) for i in range(8)],
                     LABELS, scoring)


def test_it_is_scored_shown_and_compared(difference, tmp_path):
    longer, shorter = summary_of(15), summary_of(9)
    assert longer.foreground_means[difference.name].value == pytest.approx(40)
    assert longer.cases[0].labels[0].value(difference.name) == pytest.approx(40)
    head, _, row = table(longer).split("\n\n")[1].splitlines()
    assert head.endswith("volume difference %") and row.endswith("40.000")
    (compared,) = [row for row in compare_summaries(longer, shorter).rows if row.metric == difference.name]
    assert (compared.verdict, round(compared.difference.difference, 3)) == ("worse", round(40 - 20 / 1.9, 3))
    assert "volume difference %, absolute of liver: B is better" in as_text(compare_summaries(longer, shorter))
    write_json(tmp_path / "summary.json", longer)
    assert read_model(tmp_path / "summary.json", Summary) == longer


def test_two_empty_masks_have_its_best_value_where_they_count_as_perfect(difference):
    nothing = np.zeros((1, 3, 4), np.int16)
    for empty, expected in (("nan", None), ("one", 0.0)):
        scoring = Scoring(metrics=(difference.name,), empty=empty)
        (liver,) = score_case(nothing, nothing, LABELS, (1.0, 1.0, 1.0), "a", scoring=scoring).labels
        assert liver.value(difference.name) == expected


def test_a_name_is_taken_once(difference):
    with pytest.raises(ValueError, match="'volume_difference_percent' is registered twice"):
        register(difference)


def test_a_metric_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(ValidationError, match="unknown metric mine; known: dice, iou"):
        Scoring(metrics=("dice", "mine"))


def test_scores_with_a_key_that_is_no_metric_are_refused():
    written = summary_of(10).model_dump()
    written["cases"][0]["labels"][0]["dise"] = 1.0
    with pytest.raises(ValidationError, match="unknown metric dise"):
        Summary.model_validate(written)
