"""Training curves as a PNG: loss, validation Dice and learning rate over the iterations."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.base.progress import duration
from autoseg.reporting.contact_sheet import COLOURS
from autoseg.workspace.files import read_records, write_atomically
from autoseg.workspace.folders import FoldFolder

Record = Mapping[str, Any]

# The share of the training time that drawing may take: an epoch of a short training lasts only seconds.
_SHARE = 0.02


class LiveCurves:
    """Draws the curves of a fold while it trains, in a small share of the training time, and after its last epoch."""

    def __init__(self) -> None:
        self._not_before = 0.0

    def __call__(self, folder: FoldFolder) -> None:
        started, records = time.monotonic(), read_records(folder.metrics)
        if not records or (started < self._not_before and records[-1]["iteration"] < records[-1]["iterations"]):
            return
        plot_curves(folder.curves, records)
        now = time.monotonic()
        self._not_before = now + (now - started) / _SHARE


def plot_curves(path: Path, records: Sequence[Record]) -> None:
    """Write the curves of the metric records of a fold, one record per epoch; nothing where there is no record.

    A record has `iteration`, `train_loss`, `validation_dice` (None where nothing was validated), `learning_rate` and
    `seconds`, and may have `validation_dice_by_label`: per label name a Dice or None.
    """
    if not records:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    loss, dice, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    iterations = [record["iteration"] for record in records]
    # A line does not show a single epoch: it needs a marker.
    style = {"marker": "o" if len(records) < 30 else "", "markersize": 3, "linewidth": 1.3}
    loss.plot(iterations, _values(records, "train_loss"), color=COLOURS[6], **style)
    loss.set_ylabel("training loss")
    if "validation_loss" in records[-1]:
        _plot_held_out(dice, iterations, records, style)
    else:
        _plot_dice(dice, iterations, records, style)
    rate.plot(iterations, _values(records, "learning_rate"), color="0.3", **style)
    rate.set_ylabel("learning rate")
    rate.set_xlabel("iteration")
    rate.set_ylim(bottom=0)
    for axes in (loss, dice, rate):
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    loss.set_title(_title(records), fontsize=10, loc="left")
    write_atomically(path, figure.savefig)


def _plot_dice(axes, iterations: list[int], records: Sequence[Record], style: dict) -> None:
    by_label = [record.get("validation_dice_by_label") or {} for record in records]
    names = list(dict.fromkeys(name for labels in by_label for name in labels))
    if 1 < len(names) <= len(COLOURS) - 1:
        for name, colour in zip(names, COLOURS, strict=False):
            axes.plot(iterations, [_number(labels.get(name)) for labels in by_label], color=colour, label=name,
                      **{**style, "linewidth": 0.9})
    axes.plot(iterations, _values(records, "validation_dice"), color="black", label="mean", **style)
    axes.set_ylabel("validation Dice (patches)")
    axes.set_ylim(0, 1)
    for text in axes.legend(fontsize=8, frameon=False, loc="lower right").get_texts():
        text.set_parse_math(False)


def _plot_held_out(axes: Any, iterations: list[int], records: Sequence[Record], style: dict) -> None:
    """Of a pre-training: the error on held-out images beside that of filling in the mean."""
    axes.plot(iterations, _values(records, "mean_fill_loss"), color="0.6", label="filling in the mean", **style)
    axes.plot(iterations, _values(records, "validation_loss"), color="black", label="network", **style)
    axes.set_ylabel("held-out squared error")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def _values(records: Sequence[Record], key: str) -> list[float]:
    return [_number(record.get(key)) for record in records]


def _number(value: float | None) -> float:
    """NaN leaves a gap in a line."""
    return float("nan") if value is None else value


def _title(records: Sequence[Record]) -> str:
    last = records[-1]
    known = [value for value in _values(records, "validation_dice") if value == value]
    best = f", validation Dice {known[-1]:.3f} (best {max(known):.3f})" if known else ""
    return f"{last['iteration']} iterations in {duration(last['seconds'])}{best}"
