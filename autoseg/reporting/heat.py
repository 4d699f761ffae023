"""A map over the image that it explains, in the planes where it is strongest; one that failed its controls says so."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoseg.explain.run import Drawing
from autoseg.reporting.contact_sheet import colours_of, shown_range
from autoseg.reporting.overlay import NAMES, contour, lighter, upright
from autoseg.workspace.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OPACITY = 0.65  # of the strongest voxels; it falls to 0 with the map
_LETTERS = 105  # of a line of the sentence


@dataclass(frozen=True)
class HeatPlane:
    """A slice as it is shown: `position` is its number from 1 to `n_slices`, `aspect` a pixel's height over its width."""

    name: str
    position: int
    n_slices: int
    aspect: float
    image_HW: np.ndarray
    heat_HW: np.ndarray
    label_HW: np.ndarray

    @property
    def tall(self) -> float:
        """Height over width, in mm."""
        return self.image_HW.shape[0] * self.aspect / self.image_HW.shape[1]


def heat_planes(drawing: Drawing) -> tuple[HeatPlane, ...]:
    """Axial, coronal and sagittal planes, each through the slice with the largest sum of the map; of a 2D image, the image.

    They are whole: what decides may lie far from what is segmented.
    """
    geometry = drawing.case.geometry
    order, flips = upright(geometry)
    spacing_mm = [geometry.spacing_mm[axis] for axis in order]

    def turned(array_DHW: np.ndarray) -> np.ndarray:
        return np.flip(array_DHW.transpose(order), tuple(axis for axis in range(3) if flips[axis]))

    image, heat, label = map(turned, (drawing.case.image_CDHW[drawing.channel], drawing.heat_DHW, drawing.predicted_DHW))
    planes, flat = [], image.shape[0] == 1
    for axis, name in enumerate(NAMES[:1] if flat else NAMES):
        others = tuple(other for other in range(3) if other != axis)
        index = int(np.abs(heat).sum(others).argmax())
        rows = slice(None) if axis == 0 else slice(None, None, -1)  # head up
        slices = (array.take(index, axis)[rows] for array in (image, heat, label))
        planes.append(HeatPlane("image" if flat else name, index + 1, image.shape[axis],
                                spacing_mm[others[0]] / spacing_mm[others[1]], *slices))
    return tuple(planes)


def draw_map(path: Path, drawing: Drawing) -> None:
    """Write the planes of a map beside each other with its sentence; in red, and across each plane, where it failed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    planes, record = heat_planes(drawing), drawing.record
    widths = [1 / float(np.clip(plane.tall, 0.35, 2.5)) for plane in planes]
    figure = Figure(figsize=(max(7.0, 3.6 * sum(widths)), 5.0), dpi=90, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    failed = record.passed is False
    for ax, plane in zip(figure.subplots(1, len(planes), squeeze=False, width_ratios=widths)[0], planes, strict=True):
        _draw(ax, plane, drawing)
        ax.set_title(f"{plane.name}, {plane.position} of {plane.n_slices}", fontsize=10)
        if failed:
            ax.text(0.5, 0.5, "FAILED ITS CONTROLS", color="red", fontsize=13, ha="center", va="center", rotation=30,
                    weight="bold", transform=ax.transAxes)
    figure.suptitle(f"{drawing.case.name}: {record.title}\non {drawing.spec.name}", fontsize=11, parse_math=False)
    figure.supxlabel(textwrap.fill(record.sentence, _LETTERS), fontsize=9, color="red" if failed else "0.2",
                     parse_math=False)
    write_atomically(path, figure.savefig)


def _draw(ax: "Axes", plane: HeatPlane, drawing: Drawing) -> None:
    """The slice in grey, the map in colour, and the contours of the prediction dashed."""
    ax.set_axis_off()
    low, high = shown_range(drawing.case.image_CDHW[drawing.channel], drawing.spec)
    ax.imshow(plane.image_HW, cmap="gray", vmin=low, vmax=high, aspect=plane.aspect, interpolation="nearest")
    most = float(np.abs(drawing.heat_DHW).max()) or 1.0
    strength_HW = np.clip(np.abs(plane.heat_HW) / most, 0, 1)
    ax.imshow(strength_HW, cmap="inferno", vmin=0, vmax=1, alpha=_OPACITY * np.sqrt(strength_HW), aspect=plane.aspect,
              interpolation="nearest")
    limits = ax.get_xlim(), ax.get_ylim()
    for name, colour in colours_of(drawing.labels).items():
        contour(ax, np.isin(plane.label_HW, drawing.labels.names[name]), colours=[lighter(colour)], linewidths=1.2,
                linestyles=[(0, (2.2, 1.6))])
    ax.set(xlim=limits[0], ylim=limits[1])
