"""Pictures of the best, the median and the worst validation case of each configuration."""

from dataclasses import dataclass, replace

import numpy as np

from autoseg.base.errors import AutosegError, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.raw import load_case
from autoseg.evaluation.types import CaseScore
from autoseg.formats import read_label
from autoseg.formats.transforms import read_transforms
from autoseg.reporting.contact_sheet import colours_of
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import png_uri
from autoseg.reporting.html.gather import Gathered, Model
from autoseg.reporting.html.words import number, short
from autoseg.reporting.overlay import Plane, Shown, picture_of, planes_of, seen

MODELS_SHOWN = 4  # configurations; so that no report grows beyond a few megabytes
_LABELS_TOLD = 4


@dataclass(frozen=True)
class CasePictures:
    """A case of a configuration: its rank in words, and a picture a plane; `fault` says why there is none."""

    model: str
    title: str
    figures: tuple[Figure, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()  # colour and name
    fault: str = ""


def case_pictures(of: Gathered) -> tuple[CasePictures, ...]:
    """Pictures of every configuration with scores, the best configuration first."""
    models = sorted((model for model in of.models if model.cases), key=_mean_dice, reverse=True)
    if not models or of.raw is None:
        return ()
    files = {case.name: case for case in of.raw.scanned.cases}
    return tuple(_pictures(of, model, files, rank, score) for model in models[:MODELS_SHOWN]
                 for rank, score in chosen_cases(model.cases))


def chosen_cases(cases: tuple[CaseScore, ...]) -> tuple[tuple[str, CaseScore], ...]:
    """Best, median and worst by the mean Dice over labels; as many of them as there are cases that have one."""
    ranked = sorted((case for case in cases if case.mean_dice is not None), key=lambda case: (-case.mean_dice, case.name))
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    wanted = {0: (), 1: ("best",), 2: ("best", "worst")}.get(len(ranked), tuple(places))
    return tuple((rank, ranked[places[rank]]) for rank in wanted)


def _mean_dice(model: Model) -> float:
    known = [case.mean_dice for case in model.cases if case.mean_dice is not None]
    return float(np.mean(known)) if known else -1.0


def _pictures(of: Gathered, model: Model, files: dict[str, CaseFiles], rank: str, score: CaseScore) -> CasePictures:
    dice = [f"{label.name} {number(label.dice)}" for label in score.labels if label.dice is not None]
    told = ", ".join(dice) if len(dice) <= _LABELS_TOLD else f"mean over {len(dice)} labels {number(score.mean_dice)}"
    fold = model.fold_of(score.name)
    title = f"{rank.capitalize()}: {score.name}, fold {fold.name}, Dice {told}"
    try:
        if score.name not in files:
            raise UserError("the case is no longer in the raw folder", where=score.name)
        shown = _shown(of, files[score.name], fold.folder.validation / f"{score.name}{model.plan.file_ending}")
    except AutosegError as error:
        return CasePictures(model.title, title, fault=f"No picture of {score.name}: {error}")
    planes = planes_of(shown)
    colours = colours_of(of.manifest.labels)
    return CasePictures(model.title, title, tuple(_figure(plane, shown, score.name, rank, told) for plane in planes),
                        tuple((colours[name], name) for name in seen(planes, of.manifest.labels)))


def _shown(of: Gathered, files: CaseFiles, mask) -> Shown:
    """The case's reference channel, else the first that it has, with its label and the fold's mask."""
    channels = of.manifest.channels
    present = [index for index, path in enumerate(files.images) if path is not None]
    if not present or files.label is None:
        raise UserError("the case has no image or no label", where=files.name)
    number_ = next((index for index in present if channels[index].reference), present[0])
    transforms = of.workspace.transforms(of.dataset)
    moved = channels[number_].registration not in ("none", "regrid")
    # The other channels need not be read for a picture of this one.
    case = load_case(replace(files, images=tuple(path if i == number_ else None for i, path in enumerate(files.images))),
                     tuple(channel.model_copy(update={"required": False}) for channel in channels), of.manifest.labels,
                     transforms=read_transforms(transforms, files.name) if moved else {})
    predicted, grid = read_label(mask)
    if case.geometry.difference(grid):
        raise UserError("the predicted mask is not on the label's grid", where=mask, found=case.geometry.difference(grid))
    return Shown(case.image_CDHW[number_], case.label_DHW, predicted, case.geometry, channels[number_], of.manifest.labels)


def _figure(plane: Plane, shown: Shown, case: str, rank: str, told: str) -> Figure:
    place = f"{plane.name} plane, slice {plane.position} of {plane.of}" if plane.of > 1 else "the image"
    alt = (f"{rank.capitalize()} case {case}, {place}, channel {shown.channel.name}: contours of the truth (line) and of "
           f"the prediction (dashed). Dice {told}.")
    low, high = plane.limits
    return Figure(png_uri(picture_of(plane, shown.labels)), alt,
                  f"{place[0].upper()}{place[1:]}; {shown.channel.name}, grey from {short(low)} to {short(high)}.")
