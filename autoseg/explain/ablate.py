"""Predict the validation cases of a trained fold without some of their inputs, or with the conditions of another case.

Channels: every set of optional channels is withheld, if at least one channel of the case is left. P optional channels give
2^P views of a case, with the complete one, or 2^P - 1 where no channel is required. With more than five optional channels,
each one is withheld alone and each one is shown alone. A case is in the row "without PET, MR" only if it has both.

Conditions: each case that has any is predicted with the conditions of other cases, then without conditions, then without
each column, vector or token bag. The conditions are shuffled in several permutations, in which no case keeps its own; the
mean over the permutations counts.

Equal inputs are predicted once. Rows share predictions, and an interrupted run continues with those that are missing.
`explain.ablation` explains how to read the numbers.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import Runtime
from autoseg.base.version import __version__
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import ConditionEncoder, encode
from autoseg.datasets.case import PreparedCase
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import Scoring, mean
from autoseg.explain.ablation import Ablation, Kind, Row, as_text, findings_of, row_of
from autoseg.formats import read_label
from autoseg.formats.files import combined_digest, digest
from autoseg.prediction.export import restore_label
from autoseg.prediction.memory_plan import PredictionMemory
from autoseg.prediction.models import FoldModel, load_model
from autoseg.prediction.prepared import predict_prepared
from autoseg.preprocessing.store import open_prepared
from autoseg.training.assemble import check_training
from autoseg.training.job import FoldJob
from autoseg.workspace.files import append_record, read_records, write_json, write_text
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.channels import ChannelSpec
from planners.schema.plan import Plan, content_hash_of

logger = logging.getLogger(__name__)
V = TypeVar("V")

MOST_SUBSETS_OF = 5  # optional channels; with more there are too many subsets
PERMUTATIONS = 5

_DICE = Scoring(metrics=("dice",))
_WORD_OF = {"vector": "vector", "tokens": "token bag"}  # every other kind is a column


@dataclass(frozen=True)
class _View:
    """A case as it is shown to the model; equal keys are equal inputs."""

    present_C: tuple[bool, ...]
    conditions: CaseConditions
    key: str


@dataclass(frozen=True)
class _Case:
    """A validation case that can be shown to the model with fewer inputs.

    `known` are the conditions that the case has and the model reads. `stamp` is a digest of everything else that a
    prediction depends on.
    """

    prepared: PreparedCase
    conditions: CaseConditions
    model: FoldModel
    known: frozenset[str]
    stamp: str

    @property
    def name(self) -> str:
        return self.prepared.name

    @property
    def channels(self) -> frozenset[int]:
        return frozenset(np.flatnonzero(self.prepared.present_C).tolist())

    def shown(self, withheld: Collection[int] = (), conditions: CaseConditions | None = None) -> _View:
        """The case without some of its channels, or with these conditions."""
        present = tuple(bool(has_channel) and channel not in withheld
                        for channel, has_channel in enumerate(self.prepared.present_C))
        given = self.conditions if conditions is None else conditions
        state = hashlib.blake2b(f"{self.stamp} {present}".encode(), digest_size=16)
        encoded = self.model.encoded(given)
        for tensor in () if encoded is None else encoded.tensors():
            state.update(f"{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        return _View(present, given, state.hexdigest())


@dataclass(frozen=True)
class _RowViews:
    """A row before prediction: the views of each of its cases. The Dice of a case is the mean over its views."""

    name: str
    kind: Kind
    withheld: tuple[str, ...]
    views: Mapping[str, tuple[_View, ...]]


def ablate_fold(job: FoldJob, truths: Mapping[str, Path], runtime: Runtime, seed: int = 0, *, mirroring: bool = False,
                patients: Mapping[str, str] | None = None) -> Ablation:
    """Score a finished fold with its inputs withheld or shuffled; write `ablation.json` and `ablation.md`.

    `truths` are the raw label files; `patients` says whose scan a case is, where patients have several. Without `mirroring`
    it is up to eight times faster. Raises UserError where the fold is not finished or has no validation case, or where its
    model needs all of its inputs. One bad case does not stop the others.
    """
    started = now()
    _check(job)
    job.folder.refuse_links()
    model = load_model(job.plan, job.configuration, job.folder.checkpoint, runtime)
    context = combined_digest([__version__, digest(job.folder.checkpoint), job.plan.model_dump_json(), job.name,
                               str(mirroring), runtime.device.type, str(runtime.dtype)])
    cases, faults = _opened(job, model, truths, context)
    subsets = _channel_rows(job.plan.channels, cases)
    others, permutations = _condition_rows(model.encoder, cases, patients or {}, seed)
    requested = [_RowViews("all that each case has", "all", (), {case.name: (case.shown(),) for case in cases}),
             *subsets, *others]
    dice_of, unscored = _predicted(job, truths, runtime, cases, requested, mirroring)
    rows = _rows(requested, dice_of, seed)
    if not rows[0].dice:
        raise ManyFaults(job.title, [*faults, *unscored])
    result = Ablation(
        dataset=job.plan.dataset, planner=job.plan.planner, configuration=job.name, fold=job.fold, seed=seed,
        mirroring=mirroring, every_subset=len(_optional(job.plan.channels)) <= MOST_SUBSETS_OF,
        permutations=permutations, rows=rows, findings=findings_of(rows, seed), unscored=(*faults, *unscored))
    made = provenance(started, seconds_since(started), seed=seed, plan=content_hash_of(job.plan.model_dump(mode="json")),
                      models=model.digest, device=runtime.device_name)
    note_result(job.folder.ablation(".json"), made, job.trained_with.data_digest)
    write_json(job.folder.ablation(".json"), result)
    write_text(job.folder.ablation(".md"), as_text(result) + "\n")
    return result


def _check(job: FoldJob) -> None:
    """Raise UserError where there is nothing to score, or nothing to withhold."""
    planned, again = job.plan, f"autoseg_train {job.plan.dataset} {job.name}"
    if not job.validation:
        raise UserError("the fold has no validation case to score", where=job.title,
                        do=f"train a fold that has validation cases: {again} 0")
    if not job.folder.result.is_file():
        raise UserError("the fold is not finished", where=job.title, do=f"finish it: {again} {job.fold}")
    if not job.layout.inputs and not _optional(planned.channels):
        raise UserError("the model needs all of its inputs: there is nothing to ablate", where=job.title,
                        found=f"channels {', '.join(channel.name for channel in planned.channels)}, no conditions",
                        expected="channels that a case may lack, or conditions",
                        do="declare 'optional_channels' or 'conditions' in dataset.json, plan again and train with it")
    check_training(job)


def _opened(job: FoldJob, model: FoldModel, truths: Mapping[str, Path], context: str) -> tuple[list[_Case], list[str]]:
    """The validation cases, and what is wrong with the others."""
    cases, faults = [], []
    for name in job.validation:
        try:
            prepared = open_prepared(job.cases, name)
            conditions = job.conditions.get(name, CaseConditions())
            stamp = combined_digest([context, name, json.dumps(prepared.provenance, sort_keys=True),
                                     digest(truths[name]), str(job.annotated.get(name))])
            cases.append(_Case(prepared, conditions, model, _known(model.encoder, conditions), stamp))
        except AutosegError as error:
            logger.warning("%s is left out: %s", name, error)
            faults.append(f"{name}: {error}")
    return cases, faults


def _known(encoder: ConditionEncoder | None, conditions: CaseConditions) -> frozenset[str]:
    """The inputs beside the image that the case has and the model reads."""
    if encoder is None:
        return frozenset()
    encoded = encode(encoder, conditions)
    return frozenset(item.name for item in encoder.layout.inputs if encoded.knows(item))


def _optional(channels: Sequence[ChannelSpec]) -> list[int]:
    """The channels that can be withheld; a single channel cannot."""
    return [index for index, channel in enumerate(channels) if not channel.required] if len(channels) > 1 else []


def _channel_rows(channels: Sequence[ChannelSpec], cases: Sequence[_Case]) -> list[_RowViews]:
    """One row per set of withheld channels; with more than five optional channels, without each and with each one alone."""
    optional = _optional(channels)
    most = len(optional) if len(optional) <= MOST_SUBSETS_OF else 1
    rows = []
    for subset in (subset for n in range(1, most + 1) for subset in combinations(optional, n)):
        if len(subset) == len(channels):
            continue
        names = tuple(channels[channel].name for channel in subset)
        having = [case for case in cases if case.channels > set(subset)]
        rows.append(_RowViews(f"without {', '.join(names)}", "channels", names,
                              {case.name: (case.shown(subset),) for case in having}))
    for shown in optional if len(optional) > MOST_SUBSETS_OF else ():
        others = {case.name: case.channels & set(optional) - {shown} for case in cases if shown in case.channels}
        rows.append(_RowViews(f"of the optional channels {channels[shown].name} alone", "alone",
                              tuple(channels[channel].name for channel in optional if channel != shown),
                              {case.name: (case.shown(others[case.name]),) for case in cases if others.get(case.name)}))
    return rows


def _condition_rows(encoder: ConditionEncoder | None, cases: Sequence[_Case], patients: Mapping[str, str], seed: int
                    ) -> tuple[list[_RowViews], int]:
    """The rows with shuffled or withheld conditions, over the cases that have conditions; and the number of permutations."""
    if encoder is None or not encoder.parts:
        return [], 0
    having = [case for case in cases if case.known]
    scans = _scans_of(having, patients)
    order = np.random.default_rng(seed).permutation(len(scans))
    # The patients form a random circle, which is turned: none keeps its own conditions or gets the same ones twice.
    turns = range(1, min(PERMUTATIONS, len(scans) - 1) + 1)
    donors: dict[str, list[_Case]] = {case.name: [] for case in having} if turns else {}
    for turn in turns:
        for taker, giver in zip(order, np.roll(order, turn), strict=True):
            for number, case in enumerate(scans[taker]):
                donors[case.name].append(scans[giver][number % len(scans[giver])])
    by_name = {case.name: case for case in having}
    rows = [_RowViews("conditions shuffled between the cases", "shuffled", (),
                      {name: tuple(by_name[name].shown(conditions=giver.conditions) for giver in givers)
                       for name, givers in donors.items()}),
            _RowViews("conditions all missing", "missing", tuple(part.name for part in encoder.parts),
                      {case.name: (case.shown(conditions=CaseConditions()),) for case in having})]
    for part in encoder.parts:
        name = f"{_WORD_OF.get(part.kind, 'column')} {part.name}"
        rows.append(_RowViews(f"without {name}", "condition", (name,),
                              {case.name: (case.shown(conditions=without(case.conditions, part.name)),)
                               for case in having if part.name in case.known}))
    return rows, len(turns)


def patient_of(workspace: Workspace, planned: Plan) -> Mapping[str, str]:
    """The patient of each case of a plan's dataset; empty where the dataset does not declare them."""
    patients, _ = Dataset.open(workspace.raw(planned.dataset)).seen_by(planned).groups()
    return patients or {}


def _scans_of(cases: Sequence[_Case], patients: Mapping[str, str]) -> list[list[_Case]]:
    """The cases of each patient, in order; a case of which no patient is known is one of its own."""
    scans: dict[str, list[_Case]] = {}
    for case in cases:
        scans.setdefault(f"patient {patients[case.name]}" if case.name in patients else f"case {case.name}", []).append(case)
    return list(scans.values())


def without(conditions: CaseConditions, name: str) -> CaseConditions:
    def rest(known: Mapping[str, V]) -> dict[str, V]:
        return {key: value for key, value in known.items() if key != name}

    return CaseConditions(rest(conditions.values), rest(conditions.vectors), rest(conditions.tokens))


def _predicted(job: FoldJob, truths: Mapping[str, Path], runtime: Runtime, cases: Sequence[_Case],
               requested: Sequence[_RowViews], mirroring: bool) -> tuple[dict[str, float | None], list[str]]:
    """The mean Dice of each view by its key, and what is wrong with the cases that have none.

    Each Dice is recorded as soon as it is known, so that the next run continues where this one was stopped.
    """
    records = job.folder.ablation(".jsonl")
    dice_of = {record["key"]: record["dice"] for record in read_records(records)}
    todo = {case.name: {view.key: view for row in requested for view in row.views.get(case.name, ())
                        if view.key not in dice_of} for case in cases}
    faults: list[str] = []
    memory = PredictionMemory()
    with progress_bar(f"ablating fold {job.fold}", sum(map(len, todo.values())), "prediction") as bar:
        for case in cases:
            try:
                for key, view in todo[case.name].items():
                    dice_of[key] = _dice(job, case, view, truths[case.name], runtime, mirroring, memory=memory)
                    append_record(records, {"case": case.name, "key": key, "dice": dice_of[key]})
                    bar.update()
            except AutosegError as error:
                logger.warning("%s was not scored: %s", case.name, error)
                faults.append(f"{case.name}: {error}")
    return dice_of, faults


def _dice(job: FoldJob, case: _Case, view: _View, truth_path: Path, runtime: Runtime, mirroring: bool, *,
          memory: PredictionMemory) -> float | None:
    truth, geometry = read_label(truth_path)
    prepared = replace(case.prepared, present_C=np.array(view.present_C))
    difference = geometry.difference(prepared.geometry)
    if difference:
        raise UserError("the label is not on the grid of the prepared case", where=truth_path, found=difference,
                        do="run autoseg_plan_and_preprocess again")
    logits = predict_prepared([case.model], prepared, job.plan, job.configuration, runtime, mirroring=mirroring,
                              conditions=view.conditions, memory=memory)
    predicted = restore_label(logits, prepared, job.plan, job.configuration)
    return score_case(truth, predicted, job.plan.labels, geometry.spacing_mm, case.name, scoring=_DICE,
                      annotated=job.annotated.get(case.name)).mean_dice


def _rows(requested: Sequence[_RowViews], dice_of: Mapping[str, float | None], seed: int) -> tuple[Row, ...]:
    """The requested rows, over the cases of which every view was predicted; the first row has all inputs."""
    unknown = {name for row in requested for name, views in row.views.items()
               if any(view.key not in dice_of for view in views)}
    full: dict[str, float | None] = {}
    rows = []
    for row in requested:
        dice = {name: mean([dice_of[view.key] for view in views]).value
                for name, views in row.views.items() if name not in unknown}
        full = full or dice
        rows.append(row_of(row.name, row.kind, row.withheld, dice, full, seed))
    return tuple(rows)
