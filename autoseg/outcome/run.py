"""Fits the models of an outcome over the folds of a segmentation, and keeps the one that predicts. N counts cases."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autoseg.base.command import called
from autoseg.base.errors import UserError, listed
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import open_runtime
from autoseg.clinical.outcomes import FEWEST_EVENTS, OutcomeValues
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.resampling import OutcomeScore
from autoseg.outcome.choose import choose_model, compared, reference_of
from autoseg.outcome.fitted import Fitted, take
from autoseg.outcome.fold_features import Segmenter, lesion_of
from autoseg.outcome.gather import Gathered, gather, read_outcome
from autoseg.outcome.models import OUTCOME_MODELS, ModelContext, kind_of, models_that_run, n_events
from autoseg.outcome.nested import out_of_fold
from autoseg.outcome.predictor import save_predictor
from autoseg.outcome.report import NULL, ModelOfOutcome, OutcomeReport, order_of
from autoseg.outcome.score import score
from autoseg.outcome.targets import CategoryTarget, Estimate, SurvivalTarget, Target
from autoseg.prediction.current_settings import read_current_settings
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.models import choose_model as choose_segmentation
from autoseg.prediction.models import trained_model
from autoseg.training.assemble import transforms_folder
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import remove_leftovers_below
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.base import Part
from planners.schema.plan import content_hash_of

logger = logging.getLogger(__name__)

N_REFITS = 20  # bootstrap samples that the model which predicts is fitted to, for the interval of a new case


@dataclass(frozen=True)
class FitSettings:
    """How a run is done: the seed, which models run (None: all that can), which one predicts (None: chosen)."""

    seed: int = 0
    only: tuple[str, ...] | None = None
    predicts: str | None = None
    refits: int = N_REFITS
    allow_leaks: bool = False


DEFAULTS = FitSettings()


@called
def fit_outcome(dataset: str | int, outcome: str, how: FitSettings = DEFAULTS, *, configuration: str | None = None,
                planner: str | None = None, lesion: str | None = None, home: str | Path | None = None, device: str = "auto"
                ) -> OutcomeReport:
    """Fit models of an outcome that a dataset declares over the folds of a trained configuration (default: the best), with
    features of the label `lesion`; as `fit_models`.
    """
    workspace = Workspace.open(home)
    name = workspace.dataset(dataset)
    model = trained_model(choose_segmentation(workspace, name, configuration, planner))
    planned = model.read_plan()
    raw = Dataset.open(workspace.raw(name)).seen_by(planned)
    remove_leftovers_below(model.outcomes)
    segmenter = Segmenter(model, raw, planned, transforms_folder(workspace, raw), lesion_of(planned, lesion), device,
                          _postprocessing_of(workspace, model))
    return fit_models(segmenter, outcome, how)


def _postprocessing_of(workspace: Workspace, model: ModelFolder) -> Postprocessing:
    """What `inference.json` does to masks of new patients, where it predicts with this configuration; else nothing."""
    try:
        settings = read_current_settings(workspace, model.dataset)
    except UserError as error:
        logger.warning("outcomes are fitted to masks without postprocessing: %s", error)
        return Postprocessing()
    if settings is None or not any((member.planner, member.configuration) == (model.planner, model.configuration)
                                   for member in settings.members):
        return Postprocessing()
    return settings.postprocessing


def fit_models(segmenter: Segmenter, name: str, how: FitSettings) -> OutcomeReport:
    """Fit and score every model of an outcome, nested in the folds of the segmentation; write `outcome.json` and what
    predicts.

    Raises UserError or ManyFaults: what `read_outcome` raises, a fold that is not trained, no model that can run.
    """
    started = now()
    outcome, warnings = read_outcome(segmenter, name, allow_leaks=how.allow_leaks)
    context = ModelContext(_device_of_models(open_runtime(segmenter.device).device))
    data = gather(segmenter, outcome, how.seed)
    _check_folds(segmenter, data)
    running, skipped = _models(data, how.only)
    _check_wanted(how.predicts, running)
    estimates, without_package = _estimates(running, data, context, how.seed)
    skipped += without_package
    models = [_scored(model, estimate, data, how.seed) for model, estimate in estimates.items()]
    reference = reference_of(models)
    scored = compared(models, reference, estimates, data.target, data.fold_N, how.seed)
    predicts, why = choose_model(scored, reference, how.predicts)
    fitted = _fit(predicts, data, context, how)
    scored = tuple(model.model_copy(update={"coefficients": fitted[0].coefficients()}) if model.name == predicts else model
                   for model in scored)
    report = OutcomeReport(
        dataset=segmenter.plan.dataset, planner=segmenter.model.planner, configuration=segmenter.model.configuration,
        outcome=name, spec=outcome.spec, n_cases=len(data.cases), n_events=outcome.n_events,
        n_folds=len(segmenter.validated), seed=how.seed, lesion=segmenter.lesion,
        blocks={block: features.values_NF.shape[1] for block, features in data.blocks.items()}, models=scored,
        skipped=tuple(skipped), reference=reference, predicts=predicts, why=why,
        refitted=_refitted(predicts, data, context, how.seed), warnings=_warnings(outcome, data, warnings, scored))
    save_predictor(segmenter, report, data, fitted, estimates[predicts])
    path = segmenter.model.outcome(name)
    origin = provenance(started, seconds_since(started), seed=how.seed, device=context.device,
                        plan=content_hash_of(segmenter.plan.model_dump(mode="json")))
    note_result(path, origin, "")
    write_json(path, report)
    return report


def _device_of_models(device: torch.device) -> str:
    """Times are float64, which `mps` does not know; the networks are small."""
    return "cpu" if device.type == "mps" else str(device)


def _estimates(running: Sequence[str], data: Gathered, context: ModelContext, seed: int
               ) -> tuple[dict[str, Estimate], list[str]]:
    """The out-of-fold estimates of each model, and a sentence for each that needs a package which is not installed."""
    estimates: dict[str, Estimate] = {}
    skipped = []
    with progress_bar("fitting", len(running), "model") as bar:
        for name in running:
            try:
                estimates[name] = out_of_fold(name, data.blocks, data.target, data.fold_N, seed, context)
            except UserError as error:
                skipped.append(f"{name} was not fitted: {error}")
            bar.update()
    return estimates, skipped


def _scored(name: str, estimate: Estimate, data: Gathered, seed: int) -> ModelOfOutcome:
    traits = OUTCOME_MODELS.traits(name)
    return ModelOfOutcome(name=name, baseline=traits.baseline,
                          blocks=tuple(block for block in traits.blocks if block in data.blocks),
                          scores=score(data.target, estimate, seed=seed, fold_N=data.fold_N))


def _models(data: Gathered, only: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The models that run, the null model first, and for each other one of this kind of outcome why it does not."""
    unknown = [name for name in only or () if name not in OUTCOME_MODELS.names()]
    if unknown:
        raise UserError(f"unknown model {unknown[0]!r}", expected=", ".join(OUTCOME_MODELS.names()))
    running = [name for name in models_that_run(data.blocks, data.target) if only is None or name in (*only, NULL)]
    skipped = []
    for name in OUTCOME_MODELS.names():
        traits = OUTCOME_MODELS.traits(name)
        if name in running or kind_of(data.target) not in traits.kinds or (only is not None and name not in only):
            continue
        absent = traits.blocks and not set(traits.blocks) & set(data.blocks)
        why = (f"there are no features of the block {' or '.join(traits.blocks)}" if absent else
               f"{n_events(data.target)} events are fewer than {FEWEST_EVENTS}")
        skipped.append(f"{name} was not fitted: {why}")
    return sorted(running, key=lambda name: name != NULL), skipped


def _check_wanted(predicts: str | None, running: Sequence[str]) -> None:
    """A UserError, before anything is fitted, where the model that is to predict does not run."""
    if predicts is not None and predicts not in running:
        raise UserError(f"the model {predicts!r} is to predict, but is not fitted", expected=", ".join(running),
                        do="name one of those, or leave it out")


def _check_folds(segmenter: Segmenter, data: Gathered) -> None:
    """A UserError where the cases with an outcome are all of one fold."""
    if len(np.unique(data.fold_N)) < 2:
        raise UserError("the cases with this outcome are all of one fold: nothing is left to fit a model to",
                        where=segmenter.model.path, found=f"{len(data.cases)} cases",
                        do="fill in the outcome of more cases")


def _fit(name: str, data: Gathered, context: ModelContext, how: FitSettings) -> list[Fitted]:
    """The model that predicts, fitted to all cases, then to bootstrap samples with as many cases of each stratum."""
    model = OUTCOME_MODELS.make(Part(name=name), context)
    rng = np.random.default_rng(how.seed)
    fitted = [model.fit(data.blocks, data.target, how.seed)]
    if name == NULL:
        return fitted
    with progress_bar(f"fitting {name} to samples of the cases", how.refits, "sample") as bar:
        for number in range(how.refits):
            rows_N = _sample(data.target, rng)
            fitted.append(model.fit(take(data.blocks, rows_N), data.target.take(rows_N), how.seed + 1 + number))
            bar.update()
    return fitted


def _sample(target: Target, rng: np.random.Generator) -> np.ndarray:
    """Rows drawn with replacement, of each event state or category as many as there are."""
    if isinstance(target, SurvivalTarget):
        strata_N = target.event_N.astype(np.int64)
    else:
        strata_N = target.code_N if isinstance(target, CategoryTarget) else np.zeros(len(target), np.int64)
    return np.concatenate([rng.choice(np.flatnonzero(strata_N == stratum), int((strata_N == stratum).sum()))
                           for stratum in np.unique(strata_N)])


def _refitted(name: str, data: Gathered, context: ModelContext, seed: int) -> OutcomeScore | None:
    """The score of the model fitted to outcomes that are shuffled among the cases: what it has when there is nothing to
    learn. None of the null model.
    """
    if name == NULL:
        return None
    shuffled = data.target.take(np.random.default_rng(seed).permutation(len(data.target)))
    estimate = out_of_fold(name, data.blocks, shuffled, data.fold_N, seed, context)
    return order_of(score(shuffled, estimate, seed=seed, fold_N=data.fold_N))[1]


def _warnings(outcome: OutcomeValues, data: Gathered, read: Collection[str], models: Sequence[ModelOfOutcome]
              ) -> tuple[str, ...]:
    """What to doubt, each sentence once. Few events are said already; of scores that are too good the best is named."""
    suspect = [(model, text) for model in models for text in model.scores.warnings if "suspect" in text]
    others = f" (also of {listed([model.name for model, _ in suspect[1:]])})" if len(suspect) > 1 else ""
    return (*read, *data.notes, *(f"{model.name}{others}: {text}" for model, text in suspect[:1]))
