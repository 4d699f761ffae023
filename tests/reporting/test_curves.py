"""Training curves are drawn from whatever records there are."""

import numpy as np
import pytest
from matplotlib.image import imread

from autoseg.reporting import curves
from autoseg.reporting.curves import LiveCurves, plot_curves
from autoseg.workspace.files import write_records
from autoseg.workspace.folders import FoldFolder


def record(epoch, dice=0.5, **more):
    return {"epoch": epoch, "iteration": 10 * epoch, "train_loss": 1 / (epoch + 1), "validation_dice": dice,
            "learning_rate": 0.01, "seconds": 3.0 * epoch, **more}


@pytest.mark.parametrize("records", [
    [record(1)],
    [record(epoch) for epoch in range(1, 50)],
    [record(1), record(2, dice=None), record(3)],
    [record(1, dice=None)],
    [record(epoch, validation_dice_by_label={"a": 0.5, "b": None}) for epoch in (1, 2)],
    [record(1, validation_dice_by_label={str(label): 0.5 for label in range(40)})],
])
def test_curves_are_drawn(tmp_path, records):
    plot_curves(tmp_path / "curves.png", records)
    picture = imread(tmp_path / "curves.png")
    assert picture.shape[:2] == (700, 800)
    assert np.unique(picture[..., 0]).size > 10


def test_one_epoch_is_seen(tmp_path):
    plot_curves(tmp_path / "one.png", [record(1, dice=None)])
    plot_curves(tmp_path / "other.png", [{**record(1, dice=None), "train_loss": 0.1}])
    assert (imread(tmp_path / "one.png") != imread(tmp_path / "other.png")).any()


def test_no_record_gives_no_file(tmp_path):
    plot_curves(tmp_path / "curves.png", [])
    assert not (tmp_path / "curves.png").exists()


def test_curves_that_cost_more_than_their_share_wait_but_for_the_last(tmp_path, monkeypatch):
    folder, drawn = FoldFolder(tmp_path), []
    monkeypatch.setattr(curves, "plot_curves", lambda path, records: drawn.append(len(records)))
    monkeypatch.setattr(curves.time, "monotonic", iter([0, 1, 10, 60, 61, 70, 71]).__next__)
    live = LiveCurves()
    for epoch in range(1, 5):
        write_records(folder.metrics, [record(e, iterations=40) for e in range(1, epoch + 1)])
        live(folder)
    assert drawn == [1, 3, 4]  # one second of drawing buys fifty: at 10 it is too soon, and the fourth is the last
