"""Explain the cases of a folder by one fold of a model: maps, their controls, occlusions; written beside each other."""

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from autoseg.base.errors import ManyFaults, UserError, as_fault, listed, raise_faults
from autoseg.base.progress import inner_bar, progress
from autoseg.datasets.case import Case, CaseFiles, PreparedCase
from autoseg.evaluation.folders import find_masks
from autoseg.explain.attention import rolls_out
from autoseg.explain.explanations import EXPLANATIONS, CaseExplanation, Explanations, MapRecord, Occlusion
from autoseg.explain.gradcam import layer_name
from autoseg.explain.maps import MapSettings, RecordedMap, maps_of
from autoseg.explain.occlusion import Occluded, Regions, occlusions
from autoseg.explain.restore import restored
from autoseg.explain.subject import Subject, stitched_logits, subject_of
from autoseg.explain.target import Request, check_labels, targets_of
from autoseg.formats import read_label
from autoseg.formats.files import is_folder, list_entries
from autoseg.prediction.export import restore_label
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.outputs import Outputs
from autoseg.prediction.predictor import CasesToPredict, Predictor
from autoseg.workspace.files import DamagedFile, check_writable, read_model, write_json
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.locks import held
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.paths import below
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import content_hash_of

logger = logging.getLogger(__name__)

Kind = Literal["gradcam", "smoothgrad", "attention", "occlusion"]
KINDS: tuple[Kind, ...] = ("gradcam", "smoothgrad", "attention", "occlusion")


@dataclass(frozen=True)
class Settings:
    """What is explained, and how: of which labels (empty: of all that are predicted), at which target, of which `layer`
    (empty: the nearest to the logits), by which methods, with how many noisy copies and random deletions.
    """

    kinds: tuple[Kind, ...] = KINDS
    layer: str = ""
    request: Request = field(default_factory=Request)
    only: tuple[str, ...] = ()
    samples: int = 8
    draws: int = 5
    regions: Regions = "components"
    seed: int = 0


@dataclass(frozen=True)
class Drawing:
    """What a picture of a map needs: a channel of the case, the map and the predicted label map, all on the file's grid."""

    case: Case
    channel: int
    spec: ChannelSpec
    heat_DHW: np.ndarray
    predicted_DHW: np.ndarray
    labels: LabelSpec
    record: MapRecord


Draw = Callable[[Path, Drawing], None]


@dataclass(frozen=True)
class Explainer:
    """The fold that is explained, and where explanations are written."""

    predictor: Predictor
    outputs: Outputs
    settings: Settings
    draw: Draw

    @property
    def member(self) -> ConfigurationModel:
        return self.predictor.members[0]


def open_fold(trained: ModelFolder, fold: str | None, device: str, modality: str = "") -> tuple[Predictor, str]:
    """One fold of a trained model, by default the first that is finished, and its name. A UserError for a cascade."""
    chosen = fold or trained.folds[0]
    member = ConfigurationModel.open(trained, folds=[chosen], device=device, mirroring=False)
    if member.previous is not None:
        raise UserError("a cascade is not explained: half of its input is the mask of the earlier stage",
                        where=trained.title, do=f"explain that stage: -c {member.configuration.previous}")
    return Predictor([member], modality=modality), chosen


def explain_folder(predictor: Predictor, source: Path, target: Path, about: Explanations, settings: Settings, draw: Draw, *,
                   truths: Path | None = None, cases: Collection[str] = (), table: Path | None = None) -> Explanations:
    """Explain every case of a folder or file, or those named, into the folder `target`; what is known of all cases there.

    `about` says which fold it is and has no cases. `truths` is a folder of true labels. Raises UserError where a layer,
    label or case does not exist; at the end, what is wrong with cases that were not explained.
    """
    started, member, known = now(), predictor.members[0], about
    check_labels(settings.only, member.plan.labels)
    settings = replace(settings, layer=layer_name(settings.layer, member.models[0].model, member.configuration))
    to_predict = predictor.find(source, table)
    files = _chosen(to_predict, cases, source)
    true_labels = _true_labels(truths, member.plan.file_ending)
    check_writable(target)
    remove_leftovers(target)
    explainer = Explainer(predictor, Outputs(target, member.plan.file_ending), settings, draw)
    faults = [*([] if cases else to_predict.left_out)]
    for case_files in progress(files, "explaining", len(files)):
        try:
            case = predictor.load(case_files, to_predict.conditions)
            explained = _explained(explainer, case, true_labels)
        except Exception as error:
            fault = str(as_fault(error))
            logger.warning("%s was not explained: %s", case_files.name, fault)
            faults.append(fault if case_files.name in fault else f"case {case_files.name}: {fault}")
            continue
        origin = provenance(started, seconds_since(started), seed=settings.seed, models=member.models[0].digest,
                            plan=content_hash_of(member.plan.model_dump(mode="json")), device=member.runtime.device_name)
        note_result(target / EXPLANATIONS, origin)
        known = _noted(target, about, explained)
    if len(faults) > 1:
        raise ManyFaults(f"{len(files)} cases asked for", faults)
    raise_faults(source, faults)
    return known


def _chosen(to_predict: CasesToPredict, cases: Collection[str], source: Path) -> list[CaseFiles]:
    """The cases that were asked for; a UserError where one of them has no image."""
    names = {files.name for files in to_predict.files}
    lacking = [name for name in cases if name not in names]
    if lacking:
        left_out = [fault for fault in to_predict.left_out if any(name in fault for name in lacking)]
        raise UserError(f"there is no image of case {listed(lacking)}", where=source,
                        found=listed(left_out or sorted(names)) or "no case", do="name a case that is there with --cases")
    return [files for files in to_predict.files if not cases or files.name in cases]


def _true_labels(folder: Path | None, ending: str) -> dict[str, Path]:
    """The label file of each case of a folder; none where there is no folder to look into."""
    if folder is None:
        return {}
    if not is_folder(folder):
        raise UserError("there is no such folder", where=folder, expected=f"CASE{ending} with true labels")
    return find_masks(folder, list_entries(folder), ending)


def _noted(target: Path, about: Explanations, explained: CaseExplanation) -> Explanations:
    """Write what is known of a case beside what the folder knows of others; all of it."""
    with held(target):
        before = _known(target, about)
        others = [case for case in before.cases if case.case != explained.case]
        cases = sorted([*others, explained], key=lambda case: case.case)
        known = before.model_copy(update={"cases": tuple(cases)})
        write_json(target / EXPLANATIONS, known)
    return known


def _known(target: Path, about: Explanations) -> Explanations:
    """What the folder knows of the same fold, explained with the same settings; else nothing yet."""
    try:
        before = read_model(target / EXPLANATIONS, Explanations) if (target / EXPLANATIONS).is_file() else about
    except DamagedFile as error:
        logger.warning("the cases explained before are no longer listed: %s", error)
        return about
    return before if before.model_copy(update={"cases": ()}) == about else about


def _explained(explainer: Explainer, case: Case, true_labels: Mapping[str, Path]) -> CaseExplanation:
    member, settings = explainer.member, explainer.settings
    fold, labels = member.models[0], member.plan.labels
    prepared = member.prepare(case)
    subject = subject_of(fold, prepared, case.conditions, (member.plan, member.configuration), member.runtime)
    logits = stitched_logits(subject, list(subject.tiling))
    targets = targets_of(settings.request, settings.only, prepared, labels, subject.unpadded(logits))
    remarks = list(_remarks(explainer, [target.label for target in targets]))
    inputs = () if fold.encoder is None else tuple(item.name for item in fold.encoder.layout.inputs)
    wanted = MapSettings(kinds=settings.kinds, layer=settings.layer, samples=settings.samples, draws=settings.draws,
                         seed=settings.seed, channels=tuple(channel.name for channel in member.plan.channels), inputs=inputs)
    maps: list[RecordedMap] = []
    with inner_bar(case.name, "map", 2) as show:
        for new in maps_of(subject, targets, wanted):
            maps.append(new)
            show(len(maps), max(len(maps), len(targets) * len(settings.kinds)))
    rows: list[Occlusion] = []
    if "occlusion" in settings.kinds:
        truth, remark = _truth(case, true_labels)
        remarks += [remark] if remark else []
        rows, fall_FDHW = occlusions(Occluded(subject, fold, prepared, case.conditions, member.plan, logits, truth),
                                     settings.regions)
        if fall_FDHW is not None:
            maps.append(RecordedMap.of_blocks(fall_FDHW, labels.foreground))
    records = tuple(_written(explainer, case, prepared, (subject, logits), each) for each in maps)
    return CaseExplanation(case=case.name, maps=records, occlusions=tuple(rows), remarks=tuple(remarks))


def _remarks(explainer: Explainer, explained: Sequence[str]) -> Iterator[str]:
    """Why something that was asked for is not there."""
    settings, plan = explainer.settings, explainer.member.plan
    lacking = [name for name in settings.only or plan.labels.foreground if name not in explained]
    if settings.request.kind != "voxel" and lacking:
        yield f"no map of {', '.join(lacking)}: nothing of it was predicted" + (
            "" if settings.request.kind == "class" else ", or fewer components")
    if "attention" in settings.kinds and not rolls_out(explainer.member.models[0].model.network):
        yield "no attention rollout: the network is no transformer"


def _truth(case: Case, true_labels: Mapping[str, Path]) -> tuple[np.ndarray | None, str]:
    """The true label of a case, or None and perhaps why."""
    path = true_labels.get(case.name)
    if path is None:
        return None, "no Dice: the case has no label among those given" if true_labels else ""
    truth_DHW, geometry = read_label(path)
    difference = geometry.difference(case.geometry)
    if difference:
        raise UserError("the label is not on the grid of the image", where=path, found=difference)
    return truth_DHW, ""


def _written(explainer: Explainer, case: Case, prepared: PreparedCase, seen: tuple[Subject, torch.Tensor],
             recorded: RecordedMap) -> MapRecord:
    """Write a map and its picture; the record with the names of both."""
    (subject, logits), member = seen, explainer.member
    map_CDHW = restored(subject.unpadded(recorded.map_CDHW), prepared, member.configuration)
    labels = member.plan.labels
    label = recorded.record.label
    number = f"_{1 + labels.foreground.index(label)}_{_slug(label)}" if label else ""
    kind = f"{recorded.record.method}{number}"
    path = explainer.outputs.array(case.name, kind)
    picture = below(explainer.outputs.folder, f"{case.name}_{kind}.png")
    case.results.write_array(path, map_CDHW)
    record = recorded.record.model_copy(update={"file": path.name, "picture": picture.name})
    strongest = int(np.argmax(map_CDHW.reshape(len(map_CDHW), -1).sum(1)))
    present = np.flatnonzero(case.present_C)
    channel = strongest if len(map_CDHW) == len(case.present_C) and strongest in present else int(present[0])
    predicted = restore_label(subject.unpadded(logits).contiguous(), prepared, member.plan, member.configuration)
    explainer.draw(picture, Drawing(case, channel, member.plan.channels[channel], map_CDHW[strongest], predicted, labels,
                                    record))
    return record


def _slug(label: str) -> str:
    """A label as a part of a file's name; its number beside it makes the name unique."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", label).strip("-")[:40] or "label"
