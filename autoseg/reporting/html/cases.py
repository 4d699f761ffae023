"""Pictures of the best, median and worst validation case of each configuration."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoseg.base.errors import AutosegError, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import load_case
from autoseg.evaluation.types import CaseScore
from autoseg.formats import read_label
from autoseg.formats.transforms import read_transforms
from autoseg.reporting.contact_sheet import colours_of
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import png_uri
from autoseg.reporting.html.gather import Model, ReportData
from autoseg.reporting.html.words import number, short
from autoseg.reporting.overlay import Plane, Shown, picture_of, planes_of, seen

MODELS_SHOWN = 4  # configurations, so that a report has no more than a few megabytes
_LABELS_NAMED = 4  # in a title, with their Dice


@dataclass(frozen=True)
class CasePictures:
    """A case of a configuration: its rank in words, and one picture per plane; `fault` says why there is none."""

    model: str
    title: str
    figures: tuple[Figure, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()  # colour and name
    fault: str = ""


def case_pictures(data: ReportData) -> tuple[CasePictures, ...]:
    """Pictures of every configuration with scores, the best configuration first."""
    models = sorted((model for model in data.models if model.cases), key=_mean_dice, reverse=True)
    if not models or data.raw is None:
        return ()
    files = {case.name: case for case in data.raw.scanned.cases}
    transforms = data.workspace.transforms(data.dataset)
    return tuple(_pictures(model, files.get(score.name), data.raw.manifest, transforms, rank, score)
                 for model in models[:MODELS_SHOWN] for rank, score in example_cases(model.cases))


def example_cases(cases: tuple[CaseScore, ...]) -> tuple[tuple[str, CaseScore], ...]:
    """The best, median and worst case by the mean Dice over labels; fewer where fewer than three cases have one."""
    known = [(-case.mean_dice, case.name, case) for case in cases if case.mean_dice is not None]
    ranked = [case for *_, case in sorted(known, key=lambda entry: entry[:2])]
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    wanted = {0: (), 1: ("best",), 2: ("best", "worst")}.get(len(ranked), tuple(places))
    return tuple((rank, ranked[places[rank]]) for rank in wanted)


def _mean_dice(model: Model) -> float:
    known = [case.mean_dice for case in model.cases if case.mean_dice is not None]
    return float(np.mean(known)) if known else -1.0


def _pictures(model: Model, files: CaseFiles | None, manifest: Manifest, transforms: Path, rank: str, score: CaseScore
              ) -> CasePictures:
    by_label = [f"{label.name} {number(label.dice)}" for label in score.labels if label.dice is not None]
    dice_text = (", ".join(by_label) if len(by_label) <= _LABELS_NAMED
                 else f"mean over {len(by_label)} labels {number(score.mean_dice)}")
    fold = model.fold_of(score.name)
    title = f"{rank.capitalize()}: {score.name}, fold {fold.name}, Dice {dice_text}"
    try:
        if files is None:
            raise UserError("the case is no longer in the raw folder", where=score.name)
        shown = _shown(files, fold.folder.mask(score.name, model.plan.file_ending), manifest, transforms)
    except AutosegError as error:
        return CasePictures(model.title, title, fault=f"No picture of {score.name}: {error}")
    planes = planes_of(shown)
    colours = colours_of(manifest.labels)
    return CasePictures(model.title, title, tuple(_figure(plane, shown, score.name, rank, dice_text) for plane in planes),
                        tuple((colours[name], name) for name in seen(planes, manifest.labels)))


def _shown(files: CaseFiles, mask: Path, manifest: Manifest, transforms: Path) -> Shown:
    """The reference channel of a case, or else its first channel, with its label and the mask of the fold."""
    channels = manifest.channels
    present = [index for index, path in enumerate(files.images) if path is not None]
    if not present or files.label is None:
        raise UserError("the case has no image or no label", where=files.name)
    shown = next((index for index in present if channels[index].reference), present[0])
    registered = channels[shown].is_registered
    # The picture shows one channel: the others are not read.
    case = load_case(replace(files, images=tuple(path if i == shown else None for i, path in enumerate(files.images))),
                     tuple(channel.model_copy(update={"required": False}) for channel in channels), manifest.labels,
                     transforms=read_transforms(transforms, files.name) if registered else {})
    if case.label_DHW is None:
        raise UserError("the case has no label", where=files.name)
    predicted, grid = read_label(mask)
    if case.geometry.difference(grid):
        raise UserError("the predicted mask is not on the label's grid", where=mask, found=case.geometry.difference(grid))
    return Shown(case.image_CDHW[shown], case.label_DHW, predicted, case.geometry, channels[shown], manifest.labels)


def _figure(plane: Plane, shown: Shown, case: str, rank: str, dice_text: str) -> Figure:
    place = f"{plane.name} plane, slice {plane.position} of {plane.n_slices}" if plane.n_slices > 1 else "the image"
    alt = (f"{rank.capitalize()} case {case}, {place}, channel {shown.channel.name}: contours of the truth (line) and of "
           f"the prediction (dashed). Dice {dice_text}.")
    low, high = plane.limits
    return Figure(png_uri(picture_of(plane, shown.labels)), alt,
                  f"{place[0].upper()}{place[1:]}; {shown.channel.name}, grey from {short(low)} to {short(high)}.")
