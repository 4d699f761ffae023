"""Training curves of all folds of a configuration."""

from collections.abc import Sequence

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import DASHES, SERIES, drawn, named, thinned
from autoseg.reporting.html.gather import Fold, Model
from autoseg.reporting.html.words import number


def curves(model: Model) -> tuple[Figure, ...]:
    """Loss, patch Dice and learning rate of each fold that has records."""
    folds = [fold for fold in model.folds if fold.records]
    if not folds:
        return ()
    ends = "; ".join(f"fold {fold.name} after {duration(fold.records[-1]['seconds'])}: loss "
                     f"{number(fold.records[-1].get('train_loss'))}, patch Dice {number(_last_dice(fold))}"
                     for fold in folds)
    n = f"{len(folds)} of {len(model.folds)} folds" if len(folds) != len(model.folds) else _folds(len(folds))
    figures = [
        _curve(folds, "train_loss", "Training loss", ends,
                f"Training loss (no unit), mean per epoch, against the iteration. {n}."),
        _curve(folds, "validation_dice", "Validation Dice (patches)", ends,
                f"Dice of patches of the validation cases, mean over labels (0 to 1), against the iteration: a sign of "
                f"progress, not the score. {n}."),
        _curve(folds, "learning_rate", "Learning rate", "The learning rate of every fold.",
                f"Learning rate (no unit), against the iteration. {n}.")]
    return tuple(figure for figure in figures if figure is not None)


def _curve(folds: Sequence[Fold], key: str, label: str, description: str, caption: str) -> Figure | None:
    lines = [(fold.name, [(record["iteration"], record[key]) for record in fold.records if record.get(key) is not None])
             for fold in folds]
    if not any(points for _, points in lines):
        return None

    def draw(axes) -> None:
        for place, (name, points) in enumerate(lines):
            indices = thinned(points)
            axes.plot([points[i][0] for i in indices], [points[i][1] for i in indices], color=SERIES[place % len(SERIES)],
                      linestyle=DASHES[place % len(DASHES)], linewidth=1.4, label=named(f"fold {name}"),
                      marker="o" if len(indices) < 8 else "", markersize=3)
        axes.set_xlabel("Iteration")
        axes.set_ylabel(label)
        if key == "validation_dice":
            axes.set_ylim(0, 1)
        axes.legend(frameon=False, fontsize=8)

    return drawn(draw, f"{label} over the iterations. {description}", caption)


def _last_dice(fold: Fold) -> float | None:
    known = [record["validation_dice"] for record in fold.records if record.get("validation_dice") is not None]
    return known[-1] if known else None


def _folds(n: int) -> str:
    return f"{n} fold{'' if n == 1 else 's'}"
