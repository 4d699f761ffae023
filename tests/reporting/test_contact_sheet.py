"""Contact sheets: what is shown, and that a picture comes out for every kind of case."""

import numpy as np
import pytest
from matplotlib.image import imread

from autoseg.datasets.case import Case
from autoseg.datasets.manifest import Manifest
from autoseg.evaluation.score import score_case
from autoseg.grids.geometry import Geometry
from autoseg.reporting.contact_sheet import COLOURS, Row, Shown, best_view, contact_sheet, only_shown, shown_range
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})


def manifest(*channels: str) -> Manifest:
    return Manifest(channels=tuple(ChannelSpec(name=name) for name in channels), labels=LABELS, file_ending=".nii.gz")


def row(shape, spacing, n_channels=2, present=None, name="a"):
    generator = np.random.default_rng(0)
    label = np.zeros(shape, np.int16)
    label[..., 2:10, 3:12] = 1
    label[..., 5:8, 5:8] = 2
    image = generator.normal(size=(n_channels, *shape)).astype(np.float32)
    case = Case(name, image, np.ones(n_channels, bool) if present is None else np.array(present),
                Geometry(shape, spacing))
    predicted = np.roll(label, 1, axis=2)
    return Row(case, label, (Shown("prediction", predicted, score_case(label, predicted, LABELS, spacing, name)),))


def has_colour(picture, colour):
    target = np.array([int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)])
    return (np.abs(picture[..., :3] - target).max(-1) < 0.05).any()


def test_a_sheet_shows_both_labels_in_their_colours(tmp_path):
    contact_sheet(tmp_path / "sheet.png", [row((6, 14, 16), (5.0, 1.0, 1.0))], manifest("CT_a", "CT_b"))
    picture = imread(tmp_path / "sheet.png")
    assert has_colour(picture, COLOURS[0])
    assert has_colour(picture, COLOURS[1])


def test_cases_of_every_shape_are_drawn(tmp_path):
    rows = [row((1, 14, 16), (999.0, 1.0, 1.0)), row((12, 14, 16), (1.0, 1.0, 6.0), name="sagittal"),
            row((6, 14, 16), (5.0, 1.0, 1.0), present=(False, True), name="first phase absent")]
    nothing = np.zeros_like(rows[0].truth_DHW)
    rows.append(Row(rows[0].case, nothing, tuple(Shown(title, nothing, rows[0].predictions[0].score) for title in "ab")))
    contact_sheet(tmp_path / "sheet.png", rows, manifest("MR_T1", "MR_T2"))
    picture = imread(tmp_path / "sheet.png")
    single = tmp_path / "one.png"
    contact_sheet(single, rows[:1], manifest("MR_T1", "MR_T2"))
    assert picture.shape[0] > 3 * imread(single).shape[0]


def test_a_row_that_holds_one_slice_is_drawn_as_the_whole_case(tmp_path):
    rows = [row((6, 14, 16), (5.0, 1.0, 1.0)), row((12, 14, 16), (1.0, 1.0, 6.0), name="sagittal")]
    contact_sheet(tmp_path / "whole.png", rows, manifest("CT_a", "CT_b"))
    thin = [only_shown(whole, LABELS) for whole in rows]
    assert [slim.case.image_CDHW.shape for slim in thin] == [(2, 1, 14, 16), (2, 12, 14, 1)]
    contact_sheet(tmp_path / "thin.png", thin, manifest("CT_a", "CT_b"))
    assert (imread(tmp_path / "thin.png") == imread(tmp_path / "whole.png")).all()


def test_a_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a case"):
        contact_sheet(tmp_path / "sheet.png", [], manifest("CT"))


def test_the_slice_with_most_foreground_is_shown():
    label = np.zeros((5, 8, 8), np.int16)
    label[1, :4] = 1
    label[3, :6] = 1
    assert best_view(label, (5.0, 1.0, 2.0), LABELS).index == 3
    assert best_view(label, (5.0, 1.0, 2.0), LABELS).aspect == 0.5


def test_a_small_label_counts_as_much_as_a_large_one():
    label = np.zeros((5, 8, 8), np.int16)
    label[1, :5] = 1
    label[1, 0, :2] = 2
    label[3, :6] = 1
    assert best_view(label, (5.0, 1.0, 1.0), LABELS).index == 1


def test_slices_are_cut_across_the_axis_with_the_largest_spacing():
    label = np.zeros((6, 7, 8), np.int16)
    label[:, :, 2] = 1
    view = best_view(label, (1.0, 2.0, 6.0), LABELS)
    assert (view.axis, view.index, view.aspect) == (2, 2, 0.5)
    assert view.slice_of(label).shape == (6, 7)


def test_without_foreground_the_middle_slice_is_shown():
    assert best_view(np.zeros((5, 4, 4), np.int16), (2.0, 1.0, 1.0), LABELS).index == 2


def test_ct_has_a_fixed_window_and_other_images_their_percentiles():
    image = np.arange(10001.0)
    assert shown_range(image, ChannelSpec(name="ct venous")) == (-160, 240)
    assert shown_range(image, ChannelSpec(name="MR_T1")) == pytest.approx((100, 9900))
    low, high = shown_range(np.zeros((3, 3)), ChannelSpec(name="MR_T1"))
    assert high > low
