"""A picture of what registration did to a channel: reference and channel over each other, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.workspace import write_atomically
from autoseg.data.case import Case, CaseFiles
from autoseg.data.raw import load_case
from autoseg.data.readers.transforms import ChannelRecord, read_record, read_transforms
from planners.fingerprint import ChannelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PLANES = ("axial", "coronal", "sagittal")
_SQUARES = 8  # of the chequerboard along the longer side


def draw_registration(folder: Path, files: CaseFiles, channels: Sequence[ChannelSpec]) -> list[Path]:
    """Write `CASE_CCCC.png` for each registered channel of a case beside its record; their paths.

    Three planes through the middle of the common field of view, a chequerboard of both images each, as the files' headers
    say (above) and as registered (below).
    """
    record = read_record(folder, files.name)
    if record is None or not record.channels:
        return []
    after = load_case(files, channels, transforms=read_transforms(folder, files.name))
    try:
        before = load_case(files, channels)
    except UserError:  # the files' own frames have nothing in common
        before = after
    reference = next((n for n, channel in enumerate(channels) if channel.reference), int(after.present_C.argmax()))
    paths = []
    for number, found in record.channels.items():
        path = folder / f"{files.name}_{number:04}.png"
        _draw(path, (before, after), reference, number, found)
        paths.append(path)
    return paths


def _draw(path: Path, cases: tuple[Case, Case], reference: int, number: int, found: ChannelRecord) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    middle = _middle(cases[1], number)
    for row, case in zip(axes, cases, strict=True):
        for axis, ax in enumerate(row):
            _draw_plane(ax, case, (reference, number), axis, middle[axis])
            ax.set_title(_PLANES[axis], fontsize=8)
    stages = ", ".join(f"{stage.kind} {'kept' if stage.accepted else 'not kept'}"
                       + (f" ({stage.before:.3f} to {stage.after:.3f})" if stage.before and stage.after else "")
                       for stage in found.stages)
    figure.suptitle(f"{cases[0].name}, {found.channel}: above as the files say, below {found.kept}\n"
                    f"shared information: {stages or 'no stage'}{'; ' + found.reason if found.reason else ''}", fontsize=8)
    write_atomically(path, figure.savefig)


def _middle(case: Case, number: int) -> tuple[int, ...]:
    """The centre of what the channel covers of the reference's grid."""
    covered_DHW = np.ones(case.geometry.shape, bool) if case.absent_CDHW is None else ~case.absent_CDHW[number]
    middles = []
    for axis in range(3):
        used = np.flatnonzero(covered_DHW.any(axis=tuple(other for other in range(3) if other != axis)))
        middles.append(int(used[len(used) // 2]) if used.size else case.geometry.shape[axis] // 2)
    return tuple(middles)


def _draw_plane(ax: "Axes", case: Case, channels: tuple[int, int], axis: int, index: int) -> None:
    planes = [_scaled(case.image_CDHW[channel].take(index, axis)) for channel in channels]
    absent_HW = np.zeros(planes[0].shape, bool)
    if case.absent_CDHW is not None:
        absent_HW = case.absent_CDHW[channels[1]].take(index, axis)
    spacing = [mm for other, mm in enumerate(case.geometry.spacing_mm) if other != axis]
    extent = [n * mm for n, mm in zip(planes[0].shape, spacing, strict=True)]
    edge = max(extent) / _SQUARES
    rows, columns = np.ogrid[tuple(slice(0, n) for n in planes[0].shape)]
    chequered_HW = ((rows * spacing[0] // edge + columns * spacing[1] // edge) % 2).astype(bool)
    shown_HW = np.where(chequered_HW & ~absent_HW, planes[1], planes[0])
    ax.imshow(shown_HW, cmap="gray", vmin=0, vmax=1, aspect=spacing[0] / spacing[1],
              origin="upper" if axis == 0 else "lower")
    ax.set_axis_off()


def _scaled(plane_HW: np.ndarray) -> np.ndarray:
    low, high = np.percentile(plane_HW, (1, 99))
    return np.clip((plane_HW - low) / max(high - low, 1e-6), 0, 1)
