"""One case in three planes, with the contours of its truth and of a prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoseg.grids.boxes import extent, joint_box
from autoseg.grids.geometry import Geometry
from autoseg.reporting.contact_sheet import colours_of, shown_range, view_across
from autoseg.workspace.files import write_atomically
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = ("axial", "coronal", "sagittal")
_MARGIN_MM = 20.0  # around the foreground, at least
_PIXELS = 380  # of the longer side of one plane's picture
_LIGHTER = 0.55  # of white in the colour of a prediction


@dataclass(frozen=True)
class Shown:
    """A channel of a case, its true and its predicted label map (None: there is none), all on one grid."""

    image_DHW: np.ndarray
    truth_DHW: np.ndarray
    predicted_DHW: np.ndarray | None
    geometry: Geometry
    channel: ChannelSpec
    labels: LabelSpec


@dataclass(frozen=True)
class Plane:
    """One slice as it is shown: columns run to the patient's left or back, rows run downwards or from the front.

    `position` is the number of the slice, from 1 to `n_slices`; `aspect` is the height of a pixel over its width.
    """

    name: str
    position: int
    n_slices: int
    aspect: float
    image_HW: np.ndarray
    truth_HW: np.ndarray
    predicted_HW: np.ndarray | None
    limits: tuple[float, float]

    @property
    def tall(self) -> float:
        """Height over width, in mm."""
        return self.image_HW.shape[0] * self.aspect / self.image_HW.shape[1]


def planes_of(shown: Shown) -> tuple[Plane, ...]:
    """Axial, coronal and sagittal planes through the slices with the most true foreground, cropped around it.

    Where there is no true foreground, the predicted one decides, or else the middle slice. A 2D image has one plane. The
    patient's left is on the right, the front is above or on the left, and the head is above, as far as the axes of the
    file follow those of the patient.
    """
    order, flips = upright(shown.geometry)

    def turned(array_DHW: np.ndarray) -> np.ndarray:
        return np.flip(array_DHW.transpose(order), tuple(a for a in range(3) if flips[a]))

    z, y, x = order
    spacing_mm = (shown.geometry.spacing_mm[z], shown.geometry.spacing_mm[y], shown.geometry.spacing_mm[x])
    image_DHW, truth_DHW = turned(shown.image_DHW), turned(shown.truth_DHW)
    predicted_DHW = None if shown.predicted_DHW is None else turned(shown.predicted_DHW)
    leading_DHW = truth_DHW if truth_DHW.any() or predicted_DHW is None else predicted_DHW
    window = _window([label for label in (truth_DHW, predicted_DHW) if label is not None], spacing_mm)
    limits = shown_range(image_DHW[window], shown.channel)
    planes = []
    flat = image_DHW.shape[0] == 1
    for axis, name in enumerate(NAMES[:1] if flat else NAMES):
        view = view_across(leading_DHW, axis, spacing_mm, shown.labels)
        box = tuple(view.index if a == axis else window[a] for a in range(3))
        # Rows of an axial slice run from front to back. In the other planes rows are slices, which are reversed: head up.
        rows = slice(None) if axis == 0 else slice(None, None, -1)
        planes.append(Plane("image" if flat else name, view.index + 1, image_DHW.shape[axis], view.aspect,
                            image_DHW[box][rows], truth_DHW[box][rows],
                            None if predicted_DHW is None else predicted_DHW[box][rows], limits))
    return tuple(planes)


def draw_plane(ax: "Axes", plane: Plane, labels: LabelSpec) -> None:
    """Draw the slice in grey and each label in its colour: the truth as a line, the prediction dashed and lighter."""
    ax.set_axis_off()
    low, high = plane.limits
    ax.imshow(plane.image_HW, cmap="gray", vmin=low, vmax=high, aspect=plane.aspect, interpolation="nearest")
    limits = ax.get_xlim(), ax.get_ylim()
    for name, colour in colours_of(labels).items():
        contour(ax, np.isin(plane.truth_HW, labels.names[name]), colours=[colour], linewidths=1.6)
    if plane.predicted_HW is not None:
        for name, colour in colours_of(labels).items():
            contour(ax, np.isin(plane.predicted_HW, labels.names[name]), colours=[lighter(colour)], linewidths=1.4,
                     linestyles=[(0, (2.2, 1.6))])
    ax.set(xlim=limits[0], ylim=limits[1])


def picture_of(plane: Plane, labels: LabelSpec) -> np.ndarray:
    """A plane as an RGB picture (H, W, 3; uint8) whose longer side has 380 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tall = float(np.clip(plane.tall, 0.35, 2.5))
    width, height = (_PIXELS, round(_PIXELS * tall)) if tall < 1 else (round(_PIXELS / tall), _PIXELS)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    draw_plane(figure.add_axes((0, 0, 1, 1)), plane, labels)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def overlay(path: Path, shown: Shown, title: str) -> None:
    """Write the planes of a case beside each other, with a legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    planes = planes_of(shown)
    widths = [1 / float(np.clip(plane.tall, 0.35, 2.5)) for plane in planes]
    figure = Figure(figsize=(4.2 * sum(widths), 5.2), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for ax, plane in zip(figure.subplots(1, len(planes), squeeze=False, width_ratios=widths)[0], planes, strict=True):
        draw_plane(ax, plane, shown.labels)
        ax.set_title(f"{plane.name}, {plane.position} of {plane.n_slices}", fontsize=12)
    figure.suptitle(title, fontsize=13, parse_math=False)
    _legend(figure, planes, shown.labels)
    write_atomically(path, figure.savefig)


def seen(planes: Sequence[Plane], labels: LabelSpec) -> tuple[str, ...]:
    """The label names in the truth or the prediction of some planes."""
    values = {int(value) for plane in planes for label_HW in (plane.truth_HW, plane.predicted_HW)
              if label_HW is not None for value in np.unique(label_HW)}
    return tuple(name for name in labels.foreground if values & set(labels.names[name]))


def lighter(colour: str) -> str:
    """The colour of a prediction, from that of its truth."""
    parts = (int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * _LIGHTER):02x}" for part in parts)


def _legend(figure, planes: Sequence[Plane], labels: LabelSpec) -> None:
    from matplotlib.lines import Line2D

    colours = colours_of(labels)
    lines = [(Line2D([], [], color=colours[name], linewidth=2.5), name) for name in seen(planes, labels)]
    lines.append((Line2D([], [], color="0.2", linewidth=1.6), "line: truth"))
    if any(plane.predicted_HW is not None for plane in planes):
        lines.append((Line2D([], [], color="0.2", linewidth=1.4, linestyle=(0, (2.2, 1.6))), "dashed: prediction"))
    legend = figure.legend(*zip(*lines, strict=True), loc="outside lower center", ncols=min(len(lines), 6), fontsize=11,
                           frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def contour(ax: "Axes", mask_HW: np.ndarray, *, colours: Sequence[str], **style) -> None:
    if mask_HW.any():
        # A border of background closes contours at the edge of the image.
        grid = (np.arange(-1, mask_HW.shape[1] + 1), np.arange(-1, mask_HW.shape[0] + 1))
        ax.contour(*grid, np.pad(mask_HW, 1).astype(float), levels=[0.5], colors=colours, **style)


def upright(geometry: Geometry) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The array axes nearest to the patient's z, y and x, and which of them run in the opposite direction (world: LPS)."""
    direction = np.array(geometry.direction).reshape(3, 3)[:, ::-1]  # columns: the world directions of axes z, y, x
    nearest = np.abs(direction).argmax(axis=0)  # 0: x, 1: y, 2: z
    if geometry.dimensions == 2 or sorted(nearest) != [0, 1, 2]:
        return (0, 1, 2), (False, False, False)
    z, y, x = (int(np.flatnonzero(nearest == world)[0]) for world in (2, 1, 0))
    flip_z, flip_y, flip_x = (bool(direction[nearest[axis], axis] < 0) for axis in (z, y, x))
    return (z, y, x), (flip_z, flip_y, flip_x)


def _window(label_maps: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> tuple[slice, ...]:
    """The box of all foreground with a margin of half its longest edge; the whole image where there is no foreground."""
    boxes = [box for box in map(extent, label_maps) if box is not None]
    if not boxes:
        return (slice(None),) * 3
    box = joint_box(boxes)
    longest_mm = max((side.stop - side.start) * mm for side, mm, n in
                     zip(box, spacing_mm, label_maps[0].shape, strict=True) if n > 1)
    margin_mm = max(_MARGIN_MM, longest_mm / 2)
    return tuple(slice(max(0, int(side.start - margin_mm / mm)), int(side.stop + np.ceil(margin_mm / mm)))
                 for side, mm in zip(box, spacing_mm, strict=True))
