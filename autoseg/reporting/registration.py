"""A picture of the registration of a channel: reference and channel on top of each other, before and after."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoseg.base.errors import AutosegError
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.raw import load_case
from autoseg.formats.transforms import ChannelRecord, read_record, read_transforms
from autoseg.grids.boxes import extent
from autoseg.reporting.contact_sheet import shown_range
from autoseg.workspace.files import write_atomically
from autoseg.workspace.paths import below
from planners.schema.channels import ChannelSpec

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLANES = ("sagittal", "coronal", "axial")  # across the patient's x, y and z
_SQUARES = 8  # of the checkerboard along the longer side


def draw_registration(folder: Path, files: CaseFiles, channels: Sequence[ChannelSpec]) -> list[Path]:
    """Write `CASE_CCCC.png` for each registered channel of a case beside its record; the paths of the pictures.

    A picture has three planes through the middle of the common field of view. Each plane is a checkerboard of both images:
    above as placed by the headers of the files, below as registered.
    """
    record = read_record(folder, files.name)
    if record is None or not record.channels:
        return []
    try:
        after = load_case(files, channels, transforms=read_transforms(folder, files.name))
    except AutosegError as error:  # a rejected channel may cover nothing; measuring the case reports the fault in full
        logger.warning("%s: registration is not drawn: %s", files.name, error)
        return []
    try:
        before = load_case(files, channels)
    except AutosegError:  # by their headers the images do not overlap
        before = after
    reference = next((n for n, channel in enumerate(channels) if channel.reference), int(after.present_C.argmax()))
    paths = []
    for number, channel_record in record.channels.items():
        path = below(folder, f"{files.name}_{number:04}.png")
        _draw(path, (before, after), (reference, number), channels, channel_record)
        paths.append(path)
    return paths


def _draw(path: Path, cases: tuple[Case, Case], shown: tuple[int, int], channels: Sequence[ChannelSpec],
          record: ChannelRecord) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    middle = _middle(cases[1], shown[1])
    ranges = [shown_range(_available(cases[1], number), channels[number]) for number in shown]
    directions = np.abs(np.array(cases[1].geometry.direction).reshape(3, 3))
    for row, case in zip(axes, cases, strict=True):
        for axis, ax in enumerate(row):
            _draw_plane(ax, case, shown, ranges, (axis, middle[axis]))
            ax.set_title(_PLANES[int(directions[:, 2 - axis].argmax())], fontsize=8)
    stages = ", ".join(f"{stage.kind} {'kept' if stage.accepted else 'not kept'}"
                       + (f" ({stage.before:.3f} to {stage.after:.3f})" if stage.before and stage.after else "")
                       for stage in record.stages)
    reason = f"\n{record.reason}" if record.reason else ""
    figure.suptitle(f"{cases[0].name}, {record.channel} in {channels[shown[0]].name}: above by the file headers, below "
                    f"{record.kept}\nshared information: {stages or 'no stage'}{reason}", fontsize=8, parse_math=False)
    write_atomically(path, figure.savefig)


def _middle(case: Case, number: int) -> tuple[int, ...]:
    """The centre of the part of the reference's grid that the channel covers."""
    covered = None if case.absent_CDHW is None else extent(~case.absent_CDHW[number])
    box = covered or tuple(slice(0, n) for n in case.geometry.shape)
    return tuple((side.start + side.stop) // 2 for side in box)


def _available(case: Case, channel: int) -> np.ndarray:
    """The voxels (N,) that a channel has."""
    image_DHW = case.image_CDHW[channel]
    return image_DHW.ravel() if case.absent_CDHW is None else image_DHW[~case.absent_CDHW[channel]]


def _draw_plane(ax: "Axes", case: Case, shown: tuple[int, int], ranges: Sequence[tuple[float, float]],
                place: tuple[int, int]) -> None:
    axis, index = place
    planes = [np.clip((case.image_CDHW[channel].take(index, axis) - low) / (high - low), 0, 1)
              for channel, (low, high) in zip(shown, ranges, strict=True)]
    absent_HW = np.zeros(planes[0].shape, bool)
    if case.absent_CDHW is not None:
        absent_HW = case.absent_CDHW[shown[1]].take(index, axis)
    spacing = [mm for other, mm in enumerate(case.geometry.spacing_mm) if other != axis]
    extent = [n * mm for n, mm in zip(planes[0].shape, spacing, strict=True)]
    edge = max(extent) / _SQUARES
    rows, columns = np.ogrid[tuple(slice(0, n) for n in planes[0].shape)]
    checkered_HW = ((rows * spacing[0] // edge + columns * spacing[1] // edge) % 2).astype(bool)
    shown_HW = np.where(checkered_HW & ~absent_HW, planes[1], planes[0])
    ax.imshow(shown_HW, cmap="gray", vmin=0, vmax=1, aspect=spacing[0] / spacing[1],
              origin="upper" if axis == 0 else "lower")
    ax.set_axis_off()
