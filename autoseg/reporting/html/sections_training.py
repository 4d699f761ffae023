"""How the folds were trained: curves, times, and what is still to come."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Absent, Block, Cell, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_training import curves
from autoseg.reporting.html.gather import Fold, Gathered, Model
from autoseg.reporting.html.words import counted, number


def training_section(of: Gathered) -> Section:
    """A table and curves a configuration; folds that are not finished, with the time that they still need."""
    blocks: list[Block] = []
    for model in of.models:
        blocks += [Heading(model.title), _folds_table(of, model)]
        blocks += _unfinished(of, model)
        figures = curves(model)
        blocks.append(Figures(figures) if figures else Absent("No epoch was recorded yet: there are no curves."))
    if not of.models:
        configuration = next((name for plan in of.plans.values() for name in plan.configurations), "3d_fullres")
        blocks.append(Absent("Nothing was trained.", f"autoseg_train {of.number} {configuration} 0"))
    return Section("training", "Training", tuple(blocks))


def expected_folds(of: Gathered, model: Model) -> tuple[str, ...]:
    """Names of the folds that the dataset's splits have, and of any other that was begun."""
    numbered = [str(number_) for number_ in range(of.n_folds)]
    return (*numbered, *(fold.name for fold in model.folds if fold.name not in numbered))


def seconds_left(fold: Fold) -> float | None:
    """What the latest epoch of a fold in training said; None where it is finished or has no record."""
    return fold.records[-1].get("seconds_left") if fold.result is None and fold.records else None


def _folds_table(of: Gathered, model: Model) -> Table:
    by_name = {fold.name: fold for fold in model.folds}
    rows = [_row(name, by_name.get(name)) for name in expected_folds(of, model) if name != "all" or name in by_name]
    memory = model.plan.memory_bytes
    asked = f"{memory / 2**30:.1f} GiB were asked for" if memory else "what the machine has was planned with"
    return table(f"Folds of {model.title}. Time: training, and with validation; of unfinished folds up to the latest epoch. "
                 f"Memory: {asked}; the most that was used after an epoch of training, on a CPU by the whole process. "
                 "Dice: mean over labels of the mean over the fold's n cases, at full size.",
                 ("Fold", "State", "Iterations", "Training", "In all", "Still to come", "Peak memory", "n", "Dice"), rows)


def _row(name: str, fold: Fold | None) -> tuple[str | Cell, ...]:
    if fold is None:
        return (name, Cell("not begun", mark="bad"), *("–",) * 7)
    last = fold.records[-1] if fold.records else {}
    memory = max((record.get("memory_bytes", 0) for record in fold.records), default=0)
    peak = f"{memory / 2**30:.2f} GiB" if memory else "–"
    iterations = f"{last['iteration']} of {last['iterations']}" if "iterations" in last else "–"
    result = fold.result
    if result is None:
        left = seconds_left(fold)
        trained = duration(last["seconds"]) if "seconds" in last else "–"
        return (name, Cell(fold.state, mark="bad"), iterations, trained, "–", "–" if left is None else duration(left), peak,
                "–", "–")
    n = "–" if result.scores is None else str(result.scores.n_cases)
    return (name, Cell("finished", mark="good"), str(result.schedule.iterations or "–"), duration(result.training_seconds),
            duration(result.total_seconds), "–", peak, n, number(result.mean_dice))


def _unfinished(of: Gathered, model: Model) -> list[Block]:
    finished = {fold.name for fold in model.folds if fold.result is not None}
    if "all" in finished and len(finished) == 1:
        return [Text("The fold “all” trains on every case: it has none left to validate on, and so no score.")]
    waiting = [str(n) for n in range(of.n_folds) if str(n) not in finished]
    if not waiting:
        return []
    left = [seconds for fold in model.folds if (seconds := seconds_left(fold)) is not None]
    times = [result.total_seconds for result in model.finished]
    sentence = f"{counted(len(waiting), 'fold')} of {of.n_folds} not finished ({', '.join(waiting)})."
    if left:
        sentence += f" Those in training need about {duration(sum(left))} more, as their latest epochs said."
    new = [name for name in waiting if name not in {fold.name for fold in model.folds}]
    if new and times:
        sentence += (f" Those not begun need about {duration(len(new) * sum(times) / len(times))} one after the other, if "
                     "they take as long as the finished ones.")
    return [Absent(sentence, f"autoseg_train {of.number} {model.configuration} {waiting[0]} -p {model.planner}")]
