"""The training of the folds: curves, times, and the time that is left."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_training import curves
from autoseg.reporting.html.gather import Fold, Model, ReportData
from autoseg.reporting.html.words import counted, number


def training_section(data: ReportData) -> Section:
    """Per configuration a table, curves, and the folds that are not finished with the time that they still need."""
    blocks: list[Block] = []
    for model in data.models:
        blocks += [Heading(model.title), _folds_table(data, model)]
        notes = tuple(f"Fold {result.fold}: {note}." for result in model.finished for note in result.about_time())
        blocks += [Bullets(notes)] if notes else []
        dropped = data.dropped(model)
        blocks += [Text(f"Dropped in the race: {dropped}.")] if dropped else _unfinished(data, model)
        figures = curves(model)
        blocks.append(Figures(figures) if figures else Absent("No epoch was recorded yet: there are no curves."))
    if not data.models:
        configuration = next((name for plan in data.plans.values() for name in plan.configurations), "3d_fullres")
        blocks.append(Absent("Nothing was trained.", f"autoseg_train {data.number} {configuration} 0"))
    return Section("training", "Training", tuple(blocks))


def expected_folds(data: ReportData, model: Model) -> tuple[str, ...]:
    """The names of the folds of the dataset's splits, and of any other fold that was started."""
    numbered = [str(index) for index in range(data.n_folds)]
    return (*numbered, *(fold.name for fold in model.folds if fold.name not in numbered))


def seconds_left(fold: Fold) -> float | None:
    """The time that a fold in training still needs, by its latest epoch; None for a finished fold or one without epochs."""
    return fold.records[-1].get("seconds_left") if fold.result is None and fold.records else None


def _folds_table(data: ReportData, model: Model) -> Table:
    by_name = {fold.name: fold for fold in model.folds}
    dropped = bool(data.dropped(model))
    rows = [_row(name, by_name.get(name), is_dropped=dropped) for name in expected_folds(data, model)]
    memory = model.plan.memory_bytes
    planned = f"planned for {memory / 2**30:.1f} GiB" if memory else "planned for the memory of the machine"
    return table(f"Folds of {model.title}. Time: of training, and in total with validation; for unfinished folds up to the "
                 f"latest epoch. Memory: {planned}; the peak after an epoch of training, on a CPU of the whole process. "
                 "Dice: mean over the n cases of the fold, then over labels, at full size.",
                 ("Fold", "State", "Iterations", "Training", "Total", "Time left", "Peak memory", "n", "Dice"), rows)


def _row(name: str, fold: Fold | None, *, is_dropped: bool) -> tuple[str | Cell, ...]:
    if fold is None:
        return (name, Cell("not started", mark="" if is_dropped else "bad"), *("–",) * 7)
    last = fold.records[-1] if fold.records else {}
    memory = max((record.get("memory_bytes", 0) for record in fold.records), default=0)
    peak = f"{memory / 2**30:.2f} GiB" if memory else "–"
    iterations = f"{last['iteration']} of {last['iterations']}" if "iterations" in last else "–"
    result = fold.result
    if result is None:
        left = None if is_dropped else seconds_left(fold)
        state = Cell("dropped in the race") if is_dropped else Cell(fold.state, mark="bad")
        trained = duration(last["seconds"]) if "seconds" in last else "–"
        return (name, state, iterations, trained, "–", "–" if left is None else duration(left), peak,
                "–", "–")
    n = "–" if result.scores is None else str(result.scores.n_cases)
    return (name, Cell("finished", mark="good"), str(result.schedule.iterations or "–"), duration(result.training_seconds),
            duration(result.total_seconds), "–", peak, n, number(result.mean_dice))


def _unfinished(data: ReportData, model: Model) -> list[Block]:
    finished = {fold.name for fold in model.folds if fold.result is not None}
    if "all" in finished and len(finished) == 1:
        return [Text("The fold “all” trains on every case, so that no case is left for validation: it has no score.")]
    waiting = [str(n) for n in range(data.n_folds) if str(n) not in finished]
    if not waiting:
        return []
    left = [seconds for fold in model.folds if (seconds := seconds_left(fold)) is not None]
    times = [result.total_seconds for result in model.finished]
    sentence = f"{counted(len(waiting), 'fold')} of {data.n_folds} not finished ({', '.join(waiting)})."
    if left:
        sentence += f" Those in training need about {duration(sum(left))} more, by their latest epochs."
    new = [name for name in waiting if name not in {fold.name for fold in model.folds}]
    if new and times:
        sentence += (f" Those not started need about {duration(len(new) * sum(times) / len(times))} one after the other, if "
                     "they take as long as the finished ones.")
    return [Absent(sentence, f"autoseg_train {data.number} {model.configuration} {waiting[0]} -p {model.planner}")]
