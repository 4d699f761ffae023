"""What each input contributes, where that was asked."""

from autoseg.explain.ablation import LEGEND, Ablation
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_scores import ablation_figure
from autoseg.reporting.html.gather import Gathered, Model
from autoseg.reporting.html.words import difference, number, p_value

_SAID = {"helps": "helps", "harms": "harms", "nothing": "does nothing", "unclear": "no difference seen",
         "few": "too few cases", "shortcut": "shortcut suspected"}


def inputs_section(of: Gathered) -> Section:
    """A table, a figure and the findings of every ablation."""
    blocks: list[Block] = []
    for model in of.models:
        for fold in model.folds:
            if fold.ablation is not None:
                blocks += _ablation(model, fold.ablation)
    if blocks:
        blocks.append(Text(" ".join(LEGEND), quiet=True))
    else:
        blocks.append(_none(of))
    return Section("inputs", "What each input contributes", tuple(blocks))


def _ablation(model: Model, of: Ablation) -> list[Block]:
    blocks: list[Block] = [Heading(f"{model.title}, fold {of.fold}")]
    if of.findings:
        blocks.append(table("Findings.", ("Input", "Verdict", "In words"),
                            [(one.input, Cell(_SAID[one.verdict]), Cell(one.sentence)) for one in of.findings]))
    figure = ablation_figure(of)
    if figure is not None:
        blocks.append(Figures((figure,), columns=2))
    blocks.append(_rows(of))
    if of.unscored:
        blocks += [Text("Not scored:"), Bullets(of.unscored)]
    return blocks


def _rows(of: Ablation) -> Table:
    rows = []
    for row in of.rows:
        d = row.difference
        rows.append((row.name, str(row.mean.n if d is None else d.n), number(row.mean.mean if d is None else d.mean_b),
                     "" if d is None else number(d.mean_a), "" if d is None else difference(d),
                     "" if d is None else p_value(d.p_wilcoxon)))
    return table("Mean foreground Dice of the same n cases with and without; predicted "
                 f"{'with' if of.mirroring else 'without'} mirroring, seed {of.seed}.",
                 ("Shown to the model", "n", "Dice", "With all", "Difference (95 %)", "p"), rows)


def _none(of: Gathered) -> Absent:
    finished = next(((model, fold) for model in of.models for fold in model.folds if fold.result is not None), None)
    if finished is None:
        return Absent("It was not asked what each input contributes: no fold is finished.")
    model, fold = finished
    return Absent("It was not asked what each input contributes.",
                  f"autoseg_ablate {of.number} {model.configuration} {fold.name} -p {model.planner}")
