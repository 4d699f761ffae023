"""What folds look at: maps with their controls, and what predictions become without an input."""

import numpy as np

from autoseg.base.errors import AutosegError
from autoseg.explain.explanations import CaseExplanation, Explanations, MapRecord, Occlusion
from autoseg.formats import read_image
from autoseg.reporting.html.blocks import Block, Bullets, Cell, Figure, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures import png_uri
from autoseg.reporting.html.gather import Fold, Model, ReportData
from autoseg.reporting.html.words import number, signed, with_interval
from autoseg.workspace.paths import below

PICTURES_SHOWN = 12  # of a fold, so that a report has no more than a few megabytes
_BLOCKS_SHOWN = 10  # those that matter most
_LEGEND = (
    "Area: between two deletion curves of the target's probability, that of random voxels and that of the map's strongest; "
    "above 0 where the map finds what counts. Correlation: of ranks, with the map of the same network with all weights "
    "shuffled, among voxels at the same distance from the target; a map that keeps its look shows the image, not the "
    "network. A map that failed is no reason for anything. "
    "Without a label of the case, occlusions are measured by the predicted volume alone: a fall may be good or bad.")


def explanations_section(data: ReportData) -> Section | None:
    """The maps and occlusions of every fold that was explained; None where none was."""
    blocks: list[Block] = []
    for model in data.models:
        for fold in model.folds:
            if fold.explanations is not None and fold.explanations.cases:
                blocks += _fold(model, fold, fold.explanations)
    return Section("explanations", "What it looks at", (*blocks, Text(_LEGEND, quiet=True))) if blocks else None


def _fold(model: Model, fold: Fold, known: Explanations) -> list[Block]:
    blocks: list[Block] = [Heading(f"{model.title}, fold {fold.name}")]
    maps = [(case, record) for case in known.cases for record in case.maps]
    if maps:
        blocks.append(_maps(maps, known))
    occlusions = [(case, row) for case in known.cases for row in _shown(case)]
    if occlusions:
        blocks.append(_occlusions(occlusions))
    remarks = tuple(f"{case.case}: {remark}" for case in known.cases for remark in case.remarks)
    if remarks:
        blocks.append(Bullets(remarks))
    shown = [(case, record) for case, record in maps if record.picture][:PICTURES_SHOWN]
    figures, faults = [], []
    for case, record in shown:
        try:
            figures.append(_figure(fold, case, record))
        except AutosegError as error:
            faults.append(f"no picture of {case.case}, {record.title}: {error}")
    if figures:
        blocks.append(Figures(tuple(figures), columns=1))
    if len(maps) > len(shown):
        blocks.append(Text(f"{len(maps) - len(shown)} more maps are in {fold.folder.explanations.name}/ of the fold.",
                           quiet=True))
    return [*blocks, *([Bullets(tuple(faults))] if faults else [])]


def _maps(maps: list[tuple[CaseExplanation, MapRecord]], known: Explanations) -> Table:
    rows = []
    for case, record in maps:
        verdict = {True: Cell("passed", mark="good"), False: Cell("failed", mark="bad"), None: Cell("no control")}
        shares = ", ".join(f"{name} {share:.0%}" for name, share in zip(record.channels, record.shares, strict=False))
        rows.append((case.case, record.title, record.target, shares,
                     "" if record.deletion is None else with_interval(record.deletion.area, 2),
                     number(record.shuffled[-1].correlation, 2) if record.shuffled else "", verdict[record.passed]))
    return table(f"Maps and their controls; {known.draws} random deletions, seed {known.seed}.",
                 ("Case", "Map", "Target", "Share of its sum", "Area (95 %)", "Correlation", "Verdict"), rows,
                 texts=(1, 2, 3))


def _shown(case: CaseExplanation) -> list[Occlusion]:
    """The occlusions of a case; of blocks those that change the predicted volume most."""
    blocks = [row for row in case.occlusions if row.kind == "block"]
    largest = sorted(blocks, key=lambda row: -max(abs(effect.change_ml) for effect in row.effects))
    return [row for row in case.occlusions if row.kind != "block"] + largest[:_BLOCKS_SHOWN]


def _occlusions(rows: list[tuple[CaseExplanation, Occlusion]]) -> Table:
    cells = []
    for case, row in rows:
        for effect in row.effects:
            dice = "" if effect.dice is None or effect.dice_before is None else signed(effect.dice - effect.dice_before)
            cells.append((case.case, f"{row.kind} {row.name}", effect.label, number(effect.volume_ml_before, 2),
                          signed(effect.change_ml, 2), dice))
    return table("What the prediction becomes without an input.",
                 ("Case", "Without", "Label", "Volume (ml)", "Change (ml)", "Change of Dice"), cells, texts=(1, 2))


def _figure(fold: Fold, case: CaseExplanation, record: MapRecord) -> Figure:
    image_CDHW, _ = read_image(below(fold.folder.explanations, record.picture))
    picture_HWC = np.moveaxis(image_CDHW[:3, 0], 0, -1).astype(np.uint8)
    return Figure(png_uri(np.ascontiguousarray(picture_HWC)), f"{record.title} of case {case.case} over the image. "
                  f"{record.sentence}", f"{case.case}: {record.title}. {record.sentence}")
