"""A summary as text: one table per group of metrics, then lesions, voxels and the cases that could not be scored."""

from collections.abc import Sequence

from autoseg.base.errors import visible
from autoseg.evaluation.metrics import METRICS, metrics_of
from autoseg.evaluation.types import GROUPS, Detection, DetectionRule, Mean, Summary


def table(summary: Summary) -> str:
    """The summary as text, one block per group: one row per label, then their mean. [low to high]: 95 % interval over cases.

    `n` is the number of cases in the mean of the first metric; a mean over another number has that number in brackets.
    """
    blocks = [_block(summary, [metric for metric in summary.scoring.metrics if METRICS[metric].group == group])
              for group in GROUPS]
    lines = [line for block in blocks if block for line in (*block, "")]
    notes = remarks(summary)
    lines += [*notes, ""] if notes else []
    lines.append(f"{summary.n_cases} case{'s' if summary.n_cases != 1 else ''} scored; {_settings(summary)}")
    if summary.faults:
        lines += [f"{len(summary.faults)} not scored:", *(f"  - {fault}" for fault in summary.faults)]
    return "\n".join(lines)


def remarks(summary: Summary) -> list[str]:
    """Values that are not means per label: lesions over all cases, and voxel accuracy beside that of background alone."""
    return [*(_lesions(label.name, label.detection) for label in summary.labels if label.detection is not None),
            *_voxels(summary)]


def text_table(rows: Sequence[Sequence[str]], *, markdown: bool = False) -> list[str]:
    """Rows of cells, the first of them the head, as lines of equal columns with a rule below the head.

    The first column is aligned on its left, the others on their right. With `markdown` the lines are a Markdown table.

    >>> text_table([("label", "Dice"), ("liver", "0.9")])
    ['label  Dice', '-----------', 'liver   0.9']
    """
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = [[cell.ljust(width) if column == 0 else cell.rjust(width)
               for column, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in rows]
    if markdown:
        rule = "|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|"
        lines = ["| " + " | ".join(cells) + " |" for cells in padded]
    else:
        lines = ["  ".join(cells).rstrip() for cells in padded]
        rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:]]


def _block(summary: Summary, metrics: Sequence[str]) -> list[str]:
    if not metrics:
        return []
    rows = [["label", "n", "empty", *(METRICS[metric].heading for metric in metrics)]]
    for label in summary.labels:
        n = label.means[metrics[0]].n
        rows.append([label.name, str(n), str(label.n_empty), *(_cell(label.means[metric], metric, n) for metric in metrics)])
    if len(summary.labels) > 1:
        n = len(summary.labels)
        rows.append(["mean", "", "", *(_cell(summary.foreground_means[metric], metric, n) for metric in metrics)])
    return text_table(rows)


def _cell(mean: Mean, metric: str, n: int) -> str:
    text = "-" if mean.value is None else f"{mean.value:.3f}"
    if METRICS[metric].shows_interval and mean.low is not None:
        text += f" [{mean.low:.3f} to {mean.high:.3f}]"
    return text if mean.n == n else f"{text} ({mean.n})"


def _lesions(label: str, detection: Detection) -> str:
    sizes = ", ".join(f"{_limits(size.low_ml, size.high_ml)} {size.found} of {size.n}" for size in detection.sizes if size.n)
    n = detection.true_positives + detection.false_negatives
    return (f"{label}, lesions of all cases: {detection.true_positives} of {n} found, {detection.false_positives} false"
            + (f"; found by size: {sizes}" if sizes else "")
            + (f"; below the minimum size and not counted: {detection.small_lesions} true, {detection.small_false} false"
               if detection.small_lesions or detection.small_false else ""))


def _limits(low_ml: float, high_ml: float | None) -> str:
    if high_ml is None:
        return f"from {low_ml:g} mL"
    return f"below {high_ml:g} mL" if low_ml == 0 else f"{low_ml:g} to {high_ml:g} mL"


def _voxels(summary: Summary) -> list[str]:
    if summary.voxels is None:
        return []
    accuracy, baseline = summary.voxels.accuracy, summary.voxels.background_only
    return [f"voxel accuracy {accuracy.value:.4f}, of background alone {baseline.value:.4f} (n {accuracy.n})"]


def _settings(summary: Summary) -> str:
    scoring = summary.scoring
    words = ["two empty masks " + ("are left out of means" if scoring.empty == "nan" else "count as perfect")]
    if "nsd" in scoring.metrics:
        by_label = "".join(f", {name} {mm:g} mm" for name, mm in scoring.nsd_tolerance_mm_of.items())
        words.append(f"NSD within {scoring.nsd_tolerance_mm:g} mm{by_label}")
    if set(scoring.metrics) & set(metrics_of("detection")):
        words.append(_rule(scoring.detection))
    if set(scoring.metrics) & set(metrics_of("surface")):
        words.append(f"surface: {scoring.surface}")
    return "; ".join(words)


def _rule(rule: DetectionRule) -> str:
    matching = (f"lesions match one to one from IoU {rule.min_iou:g}" if rule.matching == "one_to_one"
                else "lesions are found by any overlap")
    dilation = f", joined and met within {rule.dilation} voxels" if rule.dilation else ""
    connectivity = f", {rule.connectivity}-connected" if rule.connectivity != 26 else ""
    if not rule.min_mm3:
        return matching + dilation + connectivity
    return (f"{matching}{dilation}{connectivity}, true lesions count from {rule.min_mm3:g} mm^3, false ones "
            + ("of every size" if rule.small_false == "count" else "too"))
