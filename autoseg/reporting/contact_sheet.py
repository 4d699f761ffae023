"""A PNG of predictions: one row per case, with its channels, the true and the predicted contours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autoseg.datasets.case import Case
from autoseg.datasets.manifest import Manifest
from autoseg.evaluation.types import CaseScore
from autoseg.workspace.files import write_atomically
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which colour-blind people can tell apart, without the black and grey of the images.
COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")

_WIDTH_INCHES = 2.6  # of one picture
_DPI = 110
_TITLE: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # names are no mathematics, whatever they hold
_SOFT_TISSUE_HU = (-160.0, 240.0)


@dataclass(frozen=True)
class Shown:
    """One prediction of a case: its title, its label map and its scores."""

    title: str
    label_DHW: np.ndarray
    score: CaseScore


@dataclass(frozen=True)
class Row:
    """A case with its true label map and its predictions, on its own grid."""

    case: Case
    truth_DHW: np.ndarray
    predictions: tuple[Shown, ...]


@dataclass(frozen=True)
class View:
    """A slice: the array axis perpendicular to it, its index, and the height of a pixel over its width."""

    axis: int
    index: int
    aspect: float

    def slice_of(self, volume_DHW: np.ndarray) -> np.ndarray:
        return volume_DHW.take(self.index, self.axis)


def contact_sheet(path: Path, rows: Sequence[Row], manifest: Manifest) -> None:
    """Write one row per case: every channel, the first one with the true contours, and with those of each prediction.

    For a volume the slice with the most true foreground is shown; every label has the same weight. The place of a channel
    that a case lacks stays empty.
    """
    if not rows:
        raise ValueError("a contact sheet needs a case")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    views = [best_view(row.truth_DHW, row.case.geometry.spacing_mm, manifest.labels) for row in rows]
    heights = [_height(view.slice_of(row.truth_DHW), view.aspect) for row, view in zip(rows, views, strict=True)]
    n_columns = len(manifest.channels) + 1 + max(len(row.predictions) for row in rows)
    size = (_WIDTH_INCHES * n_columns, _WIDTH_INCHES * sum(heights) + 0.45 * len(rows) + 0.4)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), n_columns, squeeze=False, height_ratios=heights)
    for row, view, axes_of_row in zip(rows, views, axes, strict=True):
        _draw_row(axes_of_row, row, view, manifest)
    _draw_legend(figure, rows, views, manifest.labels)
    write_atomically(path, figure.savefig)


def only_shown(row: Row, labels: LabelSpec) -> Row:
    """The row with only the slice that the sheet shows: whole cases are large, and a sheet shows several."""
    view = best_view(row.truth_DHW, row.case.geometry.spacing_mm, labels)

    def thin(volume: np.ndarray) -> np.ndarray:
        return volume.take([view.index], view.axis + volume.ndim - 3)

    geometry = replace(row.case.geometry, shape=thin(row.truth_DHW).shape)
    case = replace(row.case, image_CDHW=thin(row.case.image_CDHW), geometry=geometry, label_DHW=None, absent_CDHW=None)
    predictions = tuple(replace(prediction, label_DHW=thin(prediction.label_DHW)) for prediction in row.predictions)
    return Row(case, thin(row.truth_DHW), predictions)


def best_view(label_DHW: np.ndarray, spacing_mm: tuple[float, float, float], labels: LabelSpec) -> View:
    """The slice with the most foreground, across the axis with the largest spacing; the middle one where there is none.

    The area of each label is divided by that of its largest slice, so that small labels count as much as large ones.
    """
    axis = max(range(3), key=lambda a: round(spacing_mm[a], 2))  # the first of equal ones
    return view_across(label_DHW, axis, spacing_mm, labels)


def view_across(label_DHW: np.ndarray, axis: int, spacing_mm: tuple[float, float, float], labels: LabelSpec) -> View:
    """The slice with the most foreground across an axis; the middle one where there is none."""
    others = tuple(a for a in range(3) if a != axis)
    top = max(int(label_DHW.max(initial=0)), *labels.values) + 1
    # One pass over the voxels, however many labels there are.
    counts_NV = np.stack([np.bincount(slice_HW.ravel(), minlength=top) for slice_HW in np.moveaxis(label_DHW, axis, 0)])
    weights_N = np.zeros(label_DHW.shape[axis])
    for name in labels.foreground:
        areas = counts_NV[:, list(labels.names[name])].sum(axis=1)
        weights_N += areas / max(1, areas.max())
    index = int(weights_N.argmax()) if weights_N.any() else len(weights_N) // 2
    return View(axis, index, spacing_mm[others[0]] / spacing_mm[others[1]])


def shown_range(image_HW: np.ndarray, channel: ChannelSpec) -> tuple[float, float]:
    """The values shown as black and white: the soft tissue window in CT, else percentiles 1 and 99."""
    if channel.modality == "ct":
        return _SOFT_TISSUE_HU
    low, high = np.percentile(image_HW, (1, 99)).tolist()
    return low, high if high > low else low + 1


def _height(slice_HW: np.ndarray, aspect: float) -> float:
    # A spine is tall and narrow: the height is bounded, so that its picture is not too narrow.
    return float(np.clip(slice_HW.shape[0] * aspect / slice_HW.shape[1], 0.4, 2.0))


def _draw_row(axes: Sequence["Axes"], row: Row, view: View, manifest: Manifest) -> None:
    present = np.flatnonzero(row.case.present_C)
    reference = next((n for n, channel in enumerate(manifest.channels) if channel.reference), None)
    first = reference if reference is not None else int(present[0]) if present.size else 0
    for number, (ax, channel) in enumerate(zip(axes, manifest.channels, strict=False)):
        _draw_channel(ax, row, view, number, channel)
        ax.set_title(channel.name, **_TITLE)
    drawn = [("truth", row.truth_DHW), *((f"{prediction.title}\n{_dice_of(prediction.score)}", prediction.label_DHW)
                                         for prediction in row.predictions)]
    for ax, (title, label_DHW) in zip(axes[len(manifest.channels) :], drawn, strict=False):
        _draw_channel(ax, row, view, first, manifest.channels[first])
        _draw_contours(ax, view.slice_of(label_DHW), manifest.labels)
        ax.set_title(title, **_TITLE)
    axes[0].set_title(f"{row.case.name}\n{manifest.channels[0].name}", **_TITLE)


def _draw_channel(ax: "Axes", row: Row, view: View, number: int, channel: ChannelSpec) -> None:
    # Rows of an axial slice go from front to back; where rows are slices, the head is up.
    origin: Literal["upper", "lower"] = "upper" if view.axis == 0 else "lower"
    ax.set_axis_off()
    if not row.case.present_C[number]:
        ax.text(0.5, 0.5, "absent", ha="center", va="center", transform=ax.transAxes, fontsize=8, color="0.4")
        return
    image_HW = view.slice_of(row.case.image_CDHW[number])
    low, high = shown_range(image_HW, channel)
    ax.imshow(image_HW, cmap="gray", vmin=low, vmax=high, origin=origin, aspect=view.aspect, interpolation="nearest")


def _draw_contours(ax: "Axes", label_HW: np.ndarray, labels: LabelSpec) -> None:
    limits = ax.get_xlim(), ax.get_ylim()
    for name, colour in colours_of(labels).items():
        mask_HW = np.isin(label_HW, labels.names[name])
        if mask_HW.any():
            # A border of background closes contours at the edge of the image.
            grid = (np.arange(-1, mask_HW.shape[1] + 1), np.arange(-1, mask_HW.shape[0] + 1))
            padded_HW = np.pad(mask_HW, 1).astype(float)
            ax.contourf(*grid, padded_HW, levels=[0.5, 1.5], colors=[colour], alpha=0.25)
            ax.contour(*grid, padded_HW, levels=[0.5], colors=[colour], linewidths=0.9)
    ax.set(xlim=limits[0], ylim=limits[1])


def _draw_legend(figure, rows: Sequence[Row], views: Sequence[View], labels: LabelSpec) -> None:
    """Names of the labels that the pictures show."""
    from matplotlib.lines import Line2D

    shown = {int(value) for row, view in zip(rows, views, strict=True)
             for label_DHW in (row.truth_DHW, *(prediction.label_DHW for prediction in row.predictions))
             for value in np.unique(view.slice_of(label_DHW))}
    lines = [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in colours_of(labels).items()
             if shown & set(labels.names[name])]
    if lines:
        legend = figure.legend(handles=lines, loc="outside lower center", ncols=min(len(lines), 5), fontsize=8,
                               frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)


def colours_of(labels: LabelSpec) -> dict[str, str]:
    """The colour of each foreground name; colours repeat from the eighth name on."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(labels.foreground)}


def _dice_of(score: CaseScore) -> str:
    """The Dice of each label, or their mean where they are many."""
    if len(score.labels) > 3:
        return f"mean Dice {_number(score.mean_dice)}"
    return "Dice " + ", ".join(f"{label.name} {_number(label.dice)}" for label in score.labels)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
