"""A PNG of what a pre-trained network makes of held-out patches: as it saw them, as it restored them, as they are."""

from pathlib import Path

from autoseg.training.pretrain import Restored
from autoseg.workspace.files import write_atomically

_INCHES, _DPI = 2.2, 110
_COLUMNS = ("input", "restored", "original")


def draw_restored(path: Path, shown: Restored) -> None:
    """Write one row per patch and channel: the middle slice, in the grey values of the original."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    maps = [part.flatten(0, 1).numpy() for part in (shown.seen_BCDHW, shown.restored_BCDHW, shown.whole_BCDHW)]
    flat = maps[0].ndim == 3
    slices = [rows if flat else rows[:, rows.shape[1] // 2] for rows in maps]
    n_rows, height, width = slices[0].shape
    figure = Figure(figsize=(3 * _INCHES, n_rows * _INCHES * height / width + 0.3), dpi=_DPI, layout="constrained",
                    facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(n_rows, 3, squeeze=False)
    for row in range(n_rows):
        whole = slices[2][row]
        for axes, image, title in zip(grid[row], (rows[row] for rows in slices), _COLUMNS, strict=True):
            axes.imshow(image, cmap="gray", vmin=whole.min(), vmax=whole.max(), interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(title, fontsize=9)
    write_atomically(path, figure.savefig)
