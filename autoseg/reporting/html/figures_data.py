"""Figures of a fingerprint."""

from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import INK, MANY, SERIES, SIZE, drawn, named, ranked
from autoseg.reporting.html.words import counted, percent, short
from planners.schema.fingerprint import Fingerprint
from planners.schema.labels import LabelStats

AXES = ("z", "y", "x")


def shapes_and_spacings(fingerprint: Fingerprint) -> tuple[Figure, ...]:
    """Histograms along each axis of the files: voxel spacing, and edge lengths of the cropped images."""
    if not fingerprint.cases:
        return ()
    spacings = np.array([case.spacing_mm for case in fingerprint.cases])
    shapes = np.array([case.shape for case in fingerprint.cases])
    # The one slice of a 2D image has no thickness, see Geometry.
    first = 1 if (shapes[:, 0] == 1).all() else 0
    return (_by_axis(spacings[:, first:], AXES[first:], "Voxel spacing", "mm"),
            _by_axis(shapes[:, first:], AXES[first:], "Image size after cropping to the voxels that are not zero", "voxels"))


def intensity_figure(fingerprint: Fingerprint) -> Figure:
    """One bar per channel: percentiles 0.5 to 99.5, mean and standard deviation of its foreground voxels."""
    names = [channel.name for channel in fingerprint.channels]

    def draw(axes) -> None:
        for row, stats in enumerate(fingerprint.intensities):
            axes.barh(row, stats.percentile_99_5 - stats.percentile_00_5, left=stats.percentile_00_5, height=0.5,
                      color=SERIES[5], alpha=0.55)
            axes.errorbar(stats.mean, row, xerr=stats.std, fmt="o", color=INK, markersize=4, linewidth=1.2, capsize=3)
            axes.plot([stats.median] * 2, [row - 0.25, row + 0.25], color=SERIES[1], linewidth=2)
        _rows(axes, names)
        axes.set_xlabel("Intensity (image's own unit)")

    description = "; ".join(f"{name}: mean {short(s.mean)}, standard deviation {short(s.std)}, median {short(s.median)}"
                            for name, s in zip(names, fingerprint.intensities, strict=False))
    return drawn(draw, f"Intensities per channel. {description}.",
                 f"Intensity of foreground voxels, in the image's own unit: percentiles 0.5 to 99.5 (bar), median (line), "
                 f"mean and standard deviation (point and whiskers). {counted(len(fingerprint.cases), 'case')}.",
                 size=_tall(len(names)))


def shares_figure(names: Sequence[str], shares: Sequence[float], what: str, caption: str) -> Figure:
    """One bar per name, from 0 to 100 %."""
    def draw(axes) -> None:
        axes.barh(range(len(names)), [100 * share for share in shares], height=0.5, color=SERIES[0])
        for row, share in enumerate(shares):
            axes.text(100 * share + 2, row, percent(share), va="center", fontsize=8)
        _rows(axes, names)
        axes.set_xlim(0, 118)
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel(what)

    description = "; ".join(f"{name} {percent(share)}" for name, share in zip(names, shares, strict=True))
    return drawn(draw, f"{what}: {description}.", caption, size=_tall(len(names)))


def volumes_figure(volumes_ml: Mapping[str, Sequence[float]]) -> Figure:
    """One strip per label: its true volume in each case that has it; of many cases only some are drawn (`ranked`)."""
    more = f" The first {MANY} of {len(volumes_ml)} labels are shown." if len(volumes_ml) > MANY else ""
    volumes_ml = dict(list(volumes_ml.items())[:MANY])

    def draw(axes) -> None:
        rng = np.random.default_rng(0)
        for row, values in enumerate(volumes_ml.values()):
            points = ranked(values)
            axes.plot(points, row + rng.uniform(-0.18, 0.18, len(points)), "o", color=SERIES[0], markersize=3, alpha=0.75,
                      markeredgewidth=0)
            if len(values):
                axes.plot([np.median(values)] * 2, [row - 0.3, row + 0.3], color=SERIES[1], linewidth=2)
        _rows(axes, list(volumes_ml))
        _log_where_wide(axes, [value for values in volumes_ml.values() for value in values])
        axes.set_xlabel("Volume of the label in a case (mL)")

    n = ", ".join(f"{name} {len(values)}" for name, values in volumes_ml.items())
    description = "; ".join(f"{name}: {len(values)} cases, median {short(float(np.median(values)))} mL" if len(values)
                            else f"{name}: no case" for name, values in volumes_ml.items())
    return drawn(draw, f"Label volumes. {description}.",
                 f"True volume of each label, in mL: one point per validated case that has the label; the line is the "
                 f"median. Cases: {n}.{more}", size=_tall(len(volumes_ml)))


def lesions_figure(stats: Sequence[LabelStats]) -> Figure:
    """One bar per label: percentiles of the volumes of its connected components."""
    def draw(axes) -> None:
        for row, label in enumerate(stats):
            p05, p25, p50, p75, p95 = label.component_ml_percentiles
            axes.plot([p05, p95], [row, row], color=INK, linewidth=1)
            axes.plot([p25, p75], [row, row], color=SERIES[5], linewidth=9, solid_capstyle="butt")
            axes.plot([p50] * 2, [row - 0.25, row + 0.25], color=SERIES[1], linewidth=2.5)
        _rows(axes, [label.name for label in stats])
        _log_where_wide(axes, [value for label in stats for value in label.component_ml_percentiles])
        axes.set_xlabel("Volume of a component (mL)")

    n = ", ".join(f"{label.name} {label.components}" for label in stats)
    description = "; ".join(f"{label.name}: {label.components} components, median "
                            f"{short(label.component_ml_percentiles[2])} mL" for label in stats)
    return drawn(draw, f"Sizes of connected components. {description}.",
                 f"Volume of connected components (lesions; 26 neighbours), in mL: percentiles 5 to 95 (thin), 25 to 75 "
                 f"(thick), median (line). Components: {n}.", size=_tall(len(stats)))


def _by_axis(values_NA: np.ndarray, axes_names: Sequence[str], what: str, unit: str) -> Figure:
    def draw(axes) -> None:
        low, high = float(values_NA.min()), float(values_NA.max())
        pad = 0.02 * (high - low) or max(abs(high), 1) * 0.05
        bins = np.linspace(low - pad, high + pad, 25)
        alike: dict[bytes, list[int]] = {}  # axes with equal values would hide each other: they share a colour
        for column in range(len(axes_names)):
            alike.setdefault(values_NA[:, column].tobytes(), []).append(column)
        for columns in alike.values():
            names = " and ".join(axes_names[column] for column in columns)
            axes.hist(values_NA[:, columns[0]], bins, histtype="stepfilled", alpha=0.5, color=SERIES[columns[0]],
                      label=f"ax{'e' if len(columns) > 1 else 'i'}s {names}", edgecolor=SERIES[columns[0]], linewidth=1.2)
        axes.set_xlabel("Edge length (voxels)" if unit == "voxels" else f"{what} ({unit})")
        axes.set_ylabel("Cases")
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)

    medians = ", ".join(f"{name} {short(float(np.median(values_NA[:, column])))}"
                        for column, name in enumerate(axes_names))
    return drawn(draw, f"Histogram: {what}. Medians in {unit}: {medians}.",
                 f"{what} ({unit}) along each axis of the files' arrays; medians: {medians}. "
                 f"{counted(len(values_NA), 'case')}.")


def _rows(axes, names: Sequence[str]) -> None:
    """One name per row, from top to bottom."""
    axes.set_yticks(range(len(names)), [named(name, 16) for name in names], fontsize=8 if len(names) < 16 else 6)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _log_where_wide(axes, values: Sequence[float]) -> None:
    known = [value for value in values if value > 0]
    if known and max(known) > 100 * min(known):
        axes.set_xscale("log")
        # The usual labels are formulas. Formulas are switched off, since names of users must stay plain text.
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")


def _tall(n_rows: int) -> tuple[float, float]:
    """A height for the number of rows, up to three times the usual one."""
    return SIZE[0], float(np.clip(0.9 + 0.24 * n_rows, 1.5, 3 * SIZE[1]))
