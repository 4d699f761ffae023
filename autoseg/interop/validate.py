"""Predict the labelled cases of another dataset with a trained model, and score them beside its cross-validation."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.command import called
from autoseg.base.errors import ManyFaults, UserError, as_fault, listed
from autoseg.base.parallel import Effort, each_case
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import file_digest
from autoseg.evaluation.folders import BYTES_PER_VOXEL
from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.types import CaseScore, LabelScore, Scoring, Summary
from autoseg.formats import ending_of, read_label
from autoseg.formats.files import combined_digest
from autoseg.formats.memory_estimate import most_voxels
from autoseg.interop.external import ExternalValidation, shifts_of
from autoseg.interop.matching import LabelMatch, match_channels, match_labels
from autoseg.interop.seen import digest_of_taken, seen_cases
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.files import DamagedFile, read_json, remove_file, remove_folder, write_json
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.links import place
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

_IGNORED = 2  # the ignore label of a pair's own masks


@dataclass(frozen=True)
class _Pair:
    """A case to score: its truth and its mask, with the values of each structure in both, and whether it was annotated."""

    name: str
    truth: Path
    predicted: Path
    structures: tuple[tuple[str, tuple[int, ...], tuple[int, ...], bool], ...]
    ignore: int | None
    scoring: Scoring


@called
def validate_external(workspace: Workspace, dataset: str | int, on: str | int, *, configuration: str | None = None,
                      planner: str | None = None, folds: Sequence[int | str] | None = None, labels: Sequence[str] = (),
                      channels: Mapping[str, str] | None = None, scoring: Scoring | None = None, device: str = "auto",
                      workers: int = 1) -> ExternalValidation:
    """Judge the chosen model of a dataset on the labelled cases of another; written to `external_<number>.json`.

    `labels` are pairs `OURS=THEIRS`, where names differ (see `match_labels`); `channels` those of channels. Masks lie below
    `external/` beside it; those that are there already of the same model are kept. Raises UserError where channels or labels
    do not fit, where the model was trained on all cases, or where none could be scored.
    """
    started, name, other_name = now(), workspace.dataset(dataset), workspace.dataset(on)
    if name == other_name:
        raise UserError("this is the dataset that the model was trained on", found=name, expected="another one",
                        do="the scores of its cross-validation are in autoseg_report")
    predictor = Predictor.open(dataset=name, configuration=configuration, planner=planner, folds=folds,
                               home=workspace.home, device=device)
    plan, other = predictor.plan, Dataset.open(workspace.raw(other_name))
    match = match_channels(plan.channels, other.manifest.channels, channels or {})
    pairs = match_labels(plan.labels, other.manifest.labels, labels)
    own = Dataset.open(workspace.raw(name)) if workspace.has_raw(name) else None
    models = [model for member in predictor.members for each in (member, member.previous) if each is not None
              for model in each.models]
    cases = _unseen(other, seen := seen_cases(models, own, other.cases, match.slots))
    warnings = [*match.warnings, *_unknown_origin(predictor, own)]
    for warning in warnings:
        logger.warning("%s", warning)
    folder = workspace.external(name, other_name)
    faults = _predict(predictor, other, cases, match.slots, folder)
    scored = _score(_external_pairs(predictor, other, cases, folder / "masks", pairs, scoring or Scoring()), workers)
    faults += [result for result in scored if isinstance(result, str) and not any(result in fault for fault in faults)]
    external = _summary(scored, pairs, scoring, faults)
    if not external.n_cases:
        raise ManyFaults(other.folder, faults)
    member = predictor.members[0]
    model = workspace.model(name, member.plan.planner, member.name)
    own_pairs = [] if own is None else _internal_pairs(model, member.plan, own, pairs, scoring or Scoring(), folds)
    whose = f"the folds of {member.name}, the first of the {len(predictor.members)} models that predict together"
    whose = whose if len(predictor.members) > 1 else "the model's folds"
    internal, internal_of = _internal(own_pairs, whose, pairs, scoring, workers)
    names = [channel.name for channel in other.manifest.channels]
    result = ExternalValidation(
        dataset=name, on=other_name, model=predictor.name, identity=predictor.identity,
        channels={channel.name: None if slot is None else names[slot]
                  for channel, slot in zip(plan.channels, match.slots, strict=True)},
        labels=tuple(pairs), not_scored=tuple(label for label in plan.labels.foreground
                                              if not any(label in pair.model for pair in pairs)),
        seen=seen, external=external, internal=internal, internal_of=internal_of,
        shifts=shifts_of(external, internal), warnings=tuple(warnings))
    path = workspace.external_result(name, other_name)
    note_result(path, provenance(started, seconds_since(started), models=predictor.identity),
                combined_digest(case.name for case in external.cases))
    write_json(path, result)
    return result


def _unseen(other: Dataset, seen: Mapping[str, str]) -> list[CaseFiles]:
    cases = [files for files in other.cases if files.name not in seen]
    if not cases:
        raise UserError("the model was trained on all cases of this dataset", where=other.folder, found=listed(seen),
                        do="name a dataset that it has not seen")
    return cases


def _unknown_origin(predictor: Predictor, own: Dataset | None) -> list[str]:
    if all(model.trained_with is not None for model in predictor.models) or own is not None:
        return []
    return ["whether the model was trained on these cases is not known: its weights do not say, and its raw dataset is not "
            "here"]


def _predict(predictor: Predictor, other: Dataset, cases: Sequence[CaseFiles], slots: Sequence[int | None], folder: Path
             ) -> list[str]:
    """Write a mask of each case; what went wrong. The images are linked under the numbers of the model's channels, with the
    one on whose grid the labels lie, where the model brings its channel there.
    """
    inputs, table = folder / "inputs", _table(predictor, other)
    table_digest = file_digest(table) if table is not None and table.is_file() else ""
    _forget_masks_of_others(folder, predictor.plan.file_ending, {
        files.name: combined_digest([digest_of_taken(files, slots), table_digest]) for files in cases})
    remove_folder(inputs)
    numbers = dict(zip(predictor.plan.numbers, slots, strict=True))
    if predictor.plan.grid_number is not None:
        numbers[predictor.plan.grid_number] = next(
            (slot for slot, channel in enumerate(other.manifest.channels) if channel.reference), 0)
    for files in cases:
        for number, slot in numbers.items():
            source = None if slot is None else files.images[slot]
            if source is not None:
                place(source, inputs / f"{files.name}_{number:04d}{ending_of(source)}")
    try:
        predict_folder(_with_modality(predictor, other, slots), inputs, folder / "masks", keep_existing=True,
                       table=table)
    except ManyFaults as error:
        return list(error.faults)
    finally:
        remove_folder(inputs)
    return []


def _forget_masks_of_others(folder: Path, ending: str, taken: Mapping[str, str]) -> None:
    """Remove the masks that were made of something else than is `taken` now of each case, such as of another channel: masks
    are kept by the names of their cases. What is taken is noted for the next time.
    """
    path = folder / "taken.json"
    try:
        before = read_json(path) if path.is_file() else {}
    except DamagedFile:
        before = {}
    for name, digest in taken.items():
        if before.get(name) != digest:
            remove_file(folder / "masks" / f"{name}{ending}")
    write_json(path, dict(taken))


def _with_modality(predictor: Predictor, other: Dataset, slots: Sequence[int | None]) -> Predictor:
    """The predictor with the modality of all cases, where its channel may have several and the other dataset's has one."""
    for channel, slot in zip(predictor.plan.channels, slots, strict=True):
        if channel.name in predictor.plan.modality_columns and slot is not None:
            theirs = other.manifest.channels[slot]
            if theirs.name not in other.manifest.modality_columns:
                return Predictor(predictor.members, predictor.postprocessing, predictor.quality_control, theirs.modality)
    return predictor


def _table(predictor: Predictor, other: Dataset) -> Path | None:
    """The table of the other dataset, where the model reads one and finds its cases in it by the same column."""
    wanted, there = predictor.plan.conditions, other.manifest.conditions
    if not (wanted.table and there.table):
        return None
    if (wanted.id, wanted.match, wanted.pattern) != (there.id, there.match, there.pattern):
        logger.warning("%s is not read: its cases are named by %r, in the model's table by %r; the model predicts without "
                       "its columns", other.folder / there.table, there.id, wanted.id)
        return None
    return other.folder / there.table


def _external_pairs(predictor: Predictor, other: Dataset, cases: Sequence[CaseFiles], masks: Path,
                    matches: Sequence[LabelMatch], scoring: Scoring) -> list[_Pair]:
    """The cases of which there is a mask."""
    annotated, plan = other.annotated() or {}, predictor.plan
    pairs = []
    for files in cases:
        mask = masks / f"{files.name}{plan.file_ending}"
        if files.label is not None and mask.is_file():
            known = annotated.get(files.name)
            structures = tuple((match.name, _values(other.manifest.labels, match.other), _values(plan.labels, match.model),
                                known is None or set(match.other) <= set(known)) for match in matches)
            pairs.append(_Pair(files.name, files.label, mask, structures, other.manifest.labels.ignore, scoring))
    return pairs


def _internal_pairs(model: ModelFolder, plan: Plan, own: Dataset, matches: Sequence[LabelMatch], scoring: Scoring,
                    folds: Sequence[int | str] | None) -> list[_Pair]:
    """The same structures in the validation cases of the folds, of which there is a mask."""
    truths, annotated = {files.name: files.label for files in own.cases}, own.annotated() or {}
    pairs: dict[str, _Pair] = {}
    for fold in model.folds if folds is None else map(str, folds):
        for name, truth in truths.items():
            mask = model.fold(fold).validation / f"{name}{plan.file_ending}"
            if truth is not None and name not in pairs and mask.is_file():
                known = annotated.get(name)
                structures = tuple((match.name, values := _values(plan.labels, match.model), values,
                                    known is None or set(match.model) <= set(known)) for match in matches)
                pairs[name] = _Pair(name, truth, mask, structures, plan.labels.ignore, scoring)
    return list(pairs.values())


def _internal(pairs: Sequence[_Pair], whose: str, matches: Sequence[LabelMatch], scoring: Scoring | None, workers: int
              ) -> tuple[Summary | None, str]:
    """The scores of the model's own validation cases, and what they are, in words; `whose` they are is said in them."""
    if not pairs:
        return None, "not known, because the raw dataset of the model or the masks of its validation cases are not here"
    scored = _score(pairs, workers)
    return (_summary(scored, matches, scoring, [result for result in scored if isinstance(result, str)]),
            f"{len(pairs)} validation cases of {whose}, as each fold predicted those that it never saw")


def _values(labels: LabelSpec, names: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted({value for name in names for value in labels.names[name]}))


def _score(pairs: Sequence[_Pair], workers: int) -> list[CaseScore | str]:
    effort = Effort("scoring", most_voxels(pair.truth for pair in pairs) * BYTES_PER_VOXEL, tried=2)
    return list(each_case(_score_pair, pairs, workers, effort=effort, died=lambda pair, why: f"case {pair.name}: {why}"))


def _score_pair(pair: _Pair) -> CaseScore | str:
    """Each structure as a label of its own, since regions and unions overlap; or what is wrong with the case."""
    try:
        truth_DHW, geometry = read_label(pair.truth)
        predicted_DHW, grid = read_label(pair.predicted)
        if difference := geometry.difference(grid):
            raise UserError("the label and the mask lie on different grids", where=f"case {pair.name}", found=difference,
                            do="the model's reference channel must be the image that the label was drawn on")
        scores: list[LabelScore] = []
        for name, theirs, ours, is_annotated in pair.structures:
            truth, predicted = (np.isin(label_DHW, values).astype(np.int16)
                                for label_DHW, values in ((truth_DHW, theirs), (predicted_DHW, ours)))
            if pair.ignore is not None:
                truth[truth_DHW == pair.ignore] = _IGNORED
            spec = LabelSpec(names={"background": (0,), name: (1,)}, ignore=_IGNORED)
            scores += score_case(truth, predicted, spec, geometry.spacing_mm, f"case {pair.name}", scoring=pair.scoring,
                                 annotated=None if is_annotated else ()).labels
        return CaseScore(name=pair.name, labels=tuple(scores))
    except Exception as error:
        return str(as_fault(error, f"case {pair.name}"))


def _summary(scored: Sequence[CaseScore | str], matches: Sequence[LabelMatch], scoring: Scoring | None,
             faults: Sequence[str]) -> Summary:
    names = {"background": (0,), **{match.name: (number,) for number, match in enumerate(matches, start=1)}}
    return summarize([case for case in scored if isinstance(case, CaseScore)], LabelSpec(names=names), scoring,
                     faults=faults)
