"""What each input contributes: the results of ablation."""

from autoseg.explain.ablation import LEGEND, Ablation
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_scores import ablation_figure
from autoseg.reporting.html.gather import Model, ReportData
from autoseg.reporting.html.words import difference, number, p_value

_VERDICTS = {"helps": "helps", "harms": "harms", "nothing": "does nothing", "unclear": "no difference seen",
             "few": "too few cases", "shortcut": "shortcut suspected"}


def inputs_section(data: ReportData) -> Section:
    """The findings, a figure and a table of each ablation."""
    blocks: list[Block] = []
    for model in data.models:
        for fold in model.folds:
            if fold.ablation is not None:
                blocks += _ablation(model, fold.ablation)
    if blocks:
        blocks.append(Text(" ".join(LEGEND), quiet=True))
    else:
        blocks.append(_none(data))
    return Section("inputs", "What each input contributes", tuple(blocks))


def _ablation(model: Model, ablation: Ablation) -> list[Block]:
    blocks: list[Block] = [Heading(f"{model.title}, fold {ablation.fold}")]
    if ablation.findings:
        blocks.append(table("Findings.", ("Input", "Verdict", "In words"),
                            [(finding.input, Cell(_VERDICTS[finding.verdict]), Cell(finding.sentence))
                             for finding in ablation.findings]))
    figure = ablation_figure(ablation)
    if figure is not None:
        blocks.append(Figures((figure,), columns=2))
    blocks.append(_rows(ablation))
    if ablation.unscored:
        blocks += [Text("Not scored:"), Bullets(ablation.unscored)]
    return blocks


def _rows(ablation: Ablation) -> Table:
    rows = []
    for row in ablation.rows:
        d = row.difference
        rows.append((row.name, str(row.mean.n if d is None else d.n), number(row.mean.mean if d is None else d.mean_b),
                     "" if d is None else number(d.mean_a), "" if d is None else difference(d),
                     "" if d is None else p_value(d.p_wilcoxon)))
    return table("Mean foreground Dice of the same n cases with all inputs and with those of the row; predicted "
                 f"{'with' if ablation.mirroring else 'without'} mirroring, seed {ablation.seed}.",
                 ("Shown to the model", "n", "Dice", "With all", "Difference (95 %)", "p"), rows)


def _none(data: ReportData) -> Absent:
    finished = next(((model, fold) for model in data.models for fold in model.folds if fold.result is not None), None)
    if finished is None:
        return Absent("The contribution of each input was not measured: no fold is finished.")
    model, fold = finished
    return Absent("The contribution of each input was not measured.",
                  f"autoseg_ablate {data.number} {model.configuration} {fold.name} -p {model.planner}")
