"""Parts of the report: numbers in words, tables that end, an ablation, labels by the dozen."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest

from autoseg.evaluation.statistics import BootstrapMean
from autoseg.evaluation.types import CaseScore, LabelScore
from autoseg.explain.ablation import Ablation, findings_of, row_of
from autoseg.reporting.html.blocks import Cell, table
from autoseg.reporting.html.figures import named, png_uri, thinned
from autoseg.reporting.html.figures_data import volumes_figure
from autoseg.reporting.html.figures_scores import ablation_figure, dice_figure
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.sections_inputs import inputs_section
from autoseg.reporting.html.words import by, counted, number, p_value, short, signed, with_interval
from report_workspace import DATASET, write_workspace


def test_numbers_in_words():
    assert number(0.81651) == "0.817"
    assert number(None) == "–"
    assert signed(-0.0123) == "−0.012"
    assert [short(value) for value in (12345.6, 0.00123, 61.0, -3.5)] == ["12346", "0.00123", "61", "−3.5"]
    assert with_interval(BootstrapMean(n=9, n_left_out=0, mean=0.8, low=0.7, high=0.9)) == "0.800 (0.700 to 0.900)"
    assert with_interval(BootstrapMean(n=1, n_left_out=0, mean=0.8, low=None, high=None)) == "0.800"
    assert [p_value(p) for p in (None, 0.0001, 0.2)] == ["–", "<0.001", "0.200"]
    assert counted(1, "case") + counted(2, "case") == "1 case2 cases"
    assert by((28, 40, 56)) == "28 × 40 × 56"


def test_a_long_table_says_what_it_leaves_out():
    long = table("Caption.", ("a", "b", "c"), [("x", "1", "y")] * 5, texts=(2,), limit=3)
    assert len(long.rows) == 3
    assert long.caption == "Caption. 2 more rows are not shown."
    assert long.rows[0] == (Cell("x"), Cell("1", number=True), Cell("y"))


def test_names_in_figures_are_short_and_never_hidden():
    assert named("x" * 40, 10) == "x" * 9 + "…"
    assert not named("_nolegend_").startswith("_")


def test_long_lines_are_thinned_and_keep_their_ends():
    indices = thinned(range(5000))
    assert len(indices) == 300
    assert (indices[0], indices[-1]) == (0, 4999)
    assert list(thinned(range(4))) == [0, 1, 2, 3]


def test_pictures_have_few_colours_and_few_bytes():
    noise = np.random.default_rng(0).integers(0, 255, (380, 380, 1), dtype=np.uint8).repeat(3, axis=2)
    assert len(png_uri(noise)) < 210_000  # the worst that a plane can cost: 36 of them stay below 8 MB


def test_scores_of_many_labels_are_drawn_in_part():
    labels = tuple(LabelScore(name=f"label {i}", true_positives=1, false_positives=0, false_negatives=0, truth_ml=1,
                              predicted_ml=1, volume_error_ml=0, dice=1.0) for i in range(104))
    figure = dice_figure([CaseScore(name="a", labels=labels)], [label.name for label in labels], "2d")
    assert "The first 24 of 104 labels" in figure.caption
    assert len(figure.uri) < 60_000


@pytest.fixture
def ablation():
    full = {f"case {i}": 0.9 for i in range(8)}
    rows = (row_of("all that each case has", "all", (), full, full, 0),
            row_of("without PET", "channels", ("PET",), dict.fromkeys(full, 0.7), full, 0))
    return Ablation(dataset=DATASET, planner="budgeted", configuration="3d_fullres", fold=0, seed=3, mirroring=False,
                    every_subset=True, permutations=0, rows=rows, findings=findings_of(rows, 0), unscored=("case 9: gone",))


def test_volumes_of_any_range_have_plain_ticks():
    figure = volumes_figure({"liver": [1200.0, 1500.0], "_tumour": [0.02, 30.0], "absent": []})
    drawing = base64.b64decode(figure.uri.partition(",")[2]).decode()
    assert "mathdefault" not in drawing
    assert ">0.1<" in drawing.replace("\n", "")
    assert "absent: no case" in figure.alt
    assert "_tumour 2, absent 0" in figure.caption


def test_drawings_follow_the_scheme_of_the_reader():
    drawing = base64.b64decode(volumes_figure({"liver": [1.0, 2.0]}).uri.partition(",")[2]).decode()
    assert "prefers-color-scheme:dark" in drawing
    assert "currentColor" in drawing
    assert "#010203" not in drawing
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", drawing).replace("http://www.w3.org", "")


def test_an_ablation_is_told_with_its_rows_and_findings(tmp_path, ablation):
    data = gather(write_workspace(tmp_path), DATASET)
    fold = replace(data.models[0].folds[0], ablation=ablation)
    text = repr(inputs_section(replace(data, models=(replace(data.models[0], folds=(fold,)),))))
    assert "PET helps: with it the Dice is 0.200 higher" in text
    assert "+0.200 (+0.200 to +0.200)" in text
    assert "case 9: gone" in text
    assert "seed 3" in text


def test_an_ablation_without_a_pair_has_no_figure(ablation):
    assert ablation_figure(ablation.model_copy(update={"rows": ablation.rows[:1]})) is None
    assert "n: 8 cases" in ablation_figure(ablation).caption
