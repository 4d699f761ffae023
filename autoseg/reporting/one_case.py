"""The overlay of one case, given the names of its files."""

import logging
import re
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import checked_image
from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import CaseScore
from autoseg.formats import ending_of, read_header, read_label
from autoseg.grids.geometry import Geometry
from autoseg.grids.regrid import regrid
from autoseg.reporting.html.words import number
from autoseg.reporting.overlay import Shown, overlay
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_LABELS_NAMED = 4  # in the title, with their Dice


def draw_case(path: Path, image: Path, label: Path, predicted: Path | None, manifest: Manifest | None) -> Path:
    """Write the planes of a case as a PNG. An image on another grid than its label is resampled to the grid of the label.

    Raises UserError where a file cannot be read, the prediction is on another grid than the label, a label value is not
    declared, or the name of the picture does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise UserError("the picture's format is not known", where=path, expected="a name that ends in .png")
    truth_DHW, grid = read_label(label)
    predicted_DHW = None
    if predicted is not None:
        predicted_DHW, other = read_label(predicted)
        if grid.difference(other):
            raise UserError("the prediction is not on the label's grid", where=predicted, found=grid.difference(other),
                            do="predict from the image that the label was drawn on")
    labels = manifest.labels if manifest is not None else _values(truth_DHW, predicted_DHW)
    name, index = _name_of(image)
    image_DHW, channel = _channel(image, index, manifest, grid)
    known = truth_DHW if predicted_DHW is None else predicted_DHW
    score = score_case(truth_DHW, known, labels, grid.spacing_mm, name)  # raises for a value that is not declared
    title = name if predicted_DHW is None else f"{name}\n{_dice(score)}"
    overlay(path, Shown(image_DHW, truth_DHW, predicted_DHW, grid, channel, labels), title)
    return path


def _name_of(image: Path) -> tuple[str, int]:
    """The case and the channel number in the name of a file."""
    stem = image.name[:-len(ending_of(image))]
    parts = _CHANNEL.fullmatch(stem)
    return (stem, 0) if parts is None else (parts.group(1), int(parts.group(2)))


def _channel(path: Path, index: int, manifest: Manifest | None, grid: Geometry) -> tuple[np.ndarray, ChannelSpec]:
    """The first channel of a file on the grid of the label, and its description."""
    image_CDHW, own = checked_image(path), read_header(path).geometry
    if own.difference(grid):
        logger.info("%s is resampled to the grid of the label: %s", path.name, own.difference(grid))
        image_CDHW, _ = regrid(image_CDHW, own, grid, names=(path, "the label"))
    if manifest is None or index >= len(manifest.channels):
        return image_CDHW[0], ChannelSpec(name="image")
    return image_CDHW[0], manifest.channels[index]


def _values(truth_DHW: np.ndarray, predicted_DHW: np.ndarray | None) -> LabelSpec:
    """A name for each value in the label maps, where no dataset.json names them."""
    values = {int(value) for label_DHW in (truth_DHW, predicted_DHW) if label_DHW is not None
             for value in np.unique(label_DHW)} - {0}
    return LabelSpec(names={"background": (0,), **{f"label {value}": (value,) for value in sorted(values)}})


def _dice(score: CaseScore) -> str:
    if len(score.labels) > _LABELS_NAMED:
        return f"mean Dice of {len(score.labels)} labels {number(score.mean_dice)}"
    return "Dice: " + ", ".join(f"{label.name} {number(label.dice)}" for label in score.labels)
