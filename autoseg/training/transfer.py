"""A training that begins with the weights of another model: what is taken over, what is refused, and the record of it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from autoseg.base.errors import UserError, listed
from autoseg.datasets.unlabelled import qualified
from autoseg.nn.transfer import (
    CONDITIONING,
    DECODER,
    ENCODER,
    HEADS,
    Meaning,
    Taken,
    common_heads,
    matched_channels,
    take_over,
)
from autoseg.prediction.trained_with import InitialWeights
from autoseg.training.job import FoldJob
from autoseg.training.source import Source, meaning, opened_source
from autoseg.training.splits import USERS_OWN
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.workspace.archive import is_archive
from autoseg.workspace.folders import PRETRAINED
from autoseg.workspace.names import Workspace
from planners.like import name_like
from planners.schema.base import Frozen, versioned
from planners.schema.plan import Plan, Transfer

logger = logging.getLogger(__name__)

LEAST_SHARE = 0.9  # of the encoder's parameters; below, a training is rather one from scratch
_SEEN_IS_NOT_KNOWN = ("a model in one file does not say which cases it was trained on: if some of them are validated here, "
                      "the score is too good")
_OTHER_GRID = 1.25  # ratio of voxel edges beyond which a network sees structures at another size


class PartTaken(Frozen):
    """Tensors and parameters of a part of a model that were taken over, and that were left."""

    taken_tensors: int
    taken_parameters: int
    left_tensors: int
    left_parameters: int


class TransferReport(Frozen):
    """`transfer.json` of a fold: where its weights came from, what was taken over, and what was not and why.

    `channels` says of each channel which of the source's it is, or that it is a mean; `labels` are those whose heads were
    taken, `new_labels` start untrained. `seen` are cases that the fold validates and the source was trained on.
    """

    schema_version: int = versioned(1)
    source: str
    digest: str
    dataset: str
    planner: str
    configuration: str
    is_pretraining: bool
    parts: dict[str, PartTaken]
    encoder_share: float
    channels: dict[str, str]
    labels: tuple[str, ...]
    new_labels: tuple[str, ...]
    left: dict[str, str]
    remarks: tuple[str, ...]
    seen: tuple[str, ...]
    freeze: str


@dataclass(frozen=True)
class Beginning:
    """The weights that a training begins with, what was taken over, and what the fold's record says of the source."""

    weights: dict[str, torch.Tensor]
    report: TransferReport
    record: InitialWeights


def refuse_itself(workspace: Workspace, planned: Plan, configuration: str) -> None:
    """A UserError where a model would begin from itself: its folds would replace what they begin from."""
    transfer = planned.configurations[configuration].transfer
    if transfer is None:
        return
    model = workspace.model(planned.dataset, planned.planner, configuration).path
    source = workspace.home / transfer.source
    if source.resolve() == model.resolve() or (source.resolve().parent == model.resolve()
                                               and not source.name.startswith(PRETRAINED)):
        like = name_like(planned.planner)
        raise UserError("a model cannot begin from itself: the new training would replace it", where=source,
                        do=f"train beside it: autoseg_plan_and_preprocess -d {planned.dataset} --like {source}, then "
                           f"autoseg_train {planned.dataset} {configuration} FOLD -p {like} --from {source}"
                        if like != planned.planner else "copy the older model to another folder, and begin from the copy")


def begin_from(workspace: Workspace, job: FoldJob) -> Beginning | None:
    """The weights that a fold begins with; None of one that begins untrained. Nothing is written.

    Raises UserError where the source is not there, is of other dimensions, fits less than 90 % of the encoder (all of it,
    where the encoder is frozen), or was trained on a case that the fold validates, unless that is allowed.
    """
    transfer = job.configuration.transfer
    if transfer is None:
        return None
    path = workspace.home / transfer.source
    with opened_source(path, job.fold) as source:
        return _beginning(source, job, transfer, path)


def _beginning(source: Source, job: FoldJob, transfer: Transfer, path: Path) -> Beginning:
    if source.configuration.dimensions != job.configuration.dimensions:
        raise UserError("the model to begin from is of other dimensions", where=source.folder.path,
                        found=f"{source.configuration.dimensions}D ({source.name})",
                        expected=f"{job.configuration.dimensions}D ({job.name})",
                        do=f"begin from a model of {job.configuration.dimensions} dimensions, or train "
                           f"autoseg_train {job.plan.dataset} {source.name} {job.fold}")
    seen = _seen(source, job, transfer)
    target = meaning(job.plan, job.configuration, job.encoder, job.plan.labels.heads)
    taken = take_over(source.read_weights(), source.meaning, _fresh(job), target)
    _check_share(taken, source, job, path)
    report = _report(taken, source, target, seen, transfer)
    if is_archive(path):
        report = report.model_copy(update={"remarks": (*report.remarks, _SEEN_IS_NOT_KNOWN)})
    _log(report, job)
    return Beginning(taken.weights, report, InitialWeights(digest=report.digest, seen=tuple(sorted(source.seen)),
                                                              images=tuple(sorted(source.images))))


def _fresh(job: FoldJob) -> dict[str, torch.Tensor]:
    """The untrained weights of the fold, as its seed gives them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        return dict(Segmentation(job.plan, job.configuration).build_model(job.layout).state_dict())


def _seen(source: Source, job: FoldJob, transfer: Transfer) -> tuple[str, ...]:
    """The cases that the fold validates and that the source was trained on, by their names or by their images."""
    seen = tuple(name for name in job.validation if qualified(job.plan.dataset, name) in source.seen
                 or job.made_from.get(name, {}).get("image", "") in source.images)
    if seen and not transfer.allow_seen:
        folds = source.folder.path.parent / "splits.json"
        older = (f"; after cases were added, keep the folds of the older model ({folds}) and add the new cases to them in "
                 f"{USERS_OWN}" if source.plan.dataset == job.plan.dataset else "")
        raise UserError("the model to begin from was trained on cases that this fold is validated on: its score would be "
                        "too good", where=source.folder.path, found=listed(seen),
                        do=f"begin from a training that left them out (a pre-training with --fold {job.fold}, the fold of "
                           f"the same number){older}; or use --allow-seen and say so where you report the score")
    return seen


def _check_share(taken: Taken, source: Source, job: FoldJob, path: Path) -> None:
    frozen = job.configuration.transfer is not None and job.configuration.transfer.freeze == "encoder"
    least = 1.0 if frozen else LEAST_SHARE
    if taken.encoder_share >= least:
        return
    like, dataset = name_like(source.plan.planner), job.plan.dataset
    left = [f"{name}: {reason}" for name, reason in taken.left.items() if taken.meaning.part_of(name) == ENCODER]
    commands = (f"autoseg_plan_and_preprocess -d {dataset} --like {path}, then autoseg_train {dataset} {source.name} "
                f"{job.fold} -p {like} --from {path}")
    raise UserError("too little of the encoder fits the model to begin from", where=source.folder.path,
                    found=f"{_percent(taken.encoder_share)} of its parameters fit; not these: {listed(left, 3)}",
                    expected="all, because the encoder is frozen" if frozen else f"at least {_percent(LEAST_SHARE)}",
                    do=f"plan the network like that of the model: {commands}")


def _report(taken: Taken, source: Source, target: Meaning, seen: tuple[str, ...], transfer: Transfer) -> TransferReport:
    there = source.meaning
    matched, heads = matched_channels(there.channels, target.channels), common_heads(there, target)
    unused = [name for place, name in enumerate(there.channels) if place not in matched.values()]
    channels = {name: there.channels[matched[place]] if place in matched
                else f"mean of {', '.join(unused or there.channels)}" for place, name in enumerate(target.channels)}
    parts = {}
    for part in (ENCODER, DECODER, HEADS, CONDITIONING):
        counts = PartTaken(**dict(zip(PartTaken.model_fields,
                                      (*taken.counts(part, taken=True), *taken.counts(part, taken=False)), strict=True)))
        if counts.taken_tensors or counts.left_tensors:
            parts[part] = counts
    return TransferReport(
        source=transfer.source, digest=source.digest, dataset=source.plan.dataset, planner=source.plan.planner,
        configuration=source.name, is_pretraining=source.is_pretraining, parts=parts, encoder_share=taken.encoder_share,
        channels=channels, labels=tuple(heads), new_labels=tuple(name for name in target.heads if name not in heads),
        left=taken.left, remarks=(*_remarks(there, target, matched), *_unknown_cases(source)), seen=seen,
        freeze=transfer.freeze)


def _unknown_cases(source: Source) -> tuple[str, ...]:
    """A sentence where nobody can say whether the source has seen a validation case."""
    if source.names_its_cases:
        return ()
    return ("the source does not say which cases it was trained on: if a validation case is among them, the score of this "
            "fold is too good",)


def _remarks(there: Meaning, here: Meaning, matched: dict[int, int]) -> tuple[str, ...]:
    """How the images differ from those that the source was trained on."""
    remarks = []
    ratios = [b / a for a, b in zip(there.configuration.spacing_mm, here.configuration.spacing_mm, strict=True)]
    if any(max(ratio, 1 / ratio) > _OTHER_GRID for ratio in ratios):
        remarks.append(f"the grid is another one ({_spacing(there)} there, {_spacing(here)} here): structures have another "
                       "size in voxels; a plan by --like takes over the grid")
    kinds = [[part.name for part in side.configuration.normalizers] for side in (there, here)]
    others = [here.channels[place] for place, source in matched.items() if kinds[0][source] != kinds[1][place]]
    if others:
        remarks.append(f"intensities of {', '.join(others)} are normalised in another way than there")
    return tuple(remarks)


def _log(report: TransferReport, job: FoldJob) -> None:
    counts = [f"{part} {known.taken_tensors} of {known.taken_tensors + known.left_tensors} tensors "
              f"({known.taken_parameters:,} of {known.taken_parameters + known.left_parameters:,} parameters)"
              for part, known in report.parts.items()]
    logger.info("%s begins from %s; taken over: %s; %s of the encoder", job.title, report.source, ", ".join(counts),
                _percent(report.encoder_share))
    for name, origin in report.channels.items():
        if origin != name:
            logger.info("channel %s: %s", name, origin)
    if report.labels and report.new_labels:
        logger.info("labels taken over: %s; new: %s", ", ".join(report.labels), ", ".join(report.new_labels))
    if report.left:
        logger.info("not taken over: %s", listed([f"{name} ({reason})" for name, reason in report.left.items()]))
    if report.seen:
        logger.warning("%d validation cases were seen by the model that this training begins from: %s; the score of this "
                       "fold is too good", len(report.seen), listed(report.seen))
    for remark in report.remarks:
        logger.warning("%s", remark)


def _spacing(side: Meaning) -> str:
    return " x ".join(f"{edge:g}" for edge in side.configuration.spacing_mm) + " mm"


def _percent(share: float) -> str:
    """Rounded down: 89.97 % is not 90 %."""
    return f"{int(share * 1000) / 10:g} %"
