"""What predicts an outcome of a new case: models of the outcome, and the anchors of each segmentation model. As safetensors.

B models (one fitted to all cases, the others to bootstrap samples), K segmentation models that see the case, T times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import ValidationError

from autoseg.base.errors import UserError
from autoseg.clinical.outcomes import OutcomeSpec
from autoseg.evaluation.survival import quartiles_of_events, survival_at
from autoseg.outcome.features import Anchors, TableLayout
from autoseg.outcome.fitted import Blocks, Fitted, FittedHeader, FittedState
from autoseg.outcome.fold_features import Segmenter
from autoseg.outcome.gather import Gathered
from autoseg.outcome.models import OUTCOME_MODELS, restore
from autoseg.outcome.report import NULL, OutcomeReport, above_chance, order_of, with_interval
from autoseg.outcome.targets import (
    CategoryEstimate,
    Estimate,
    NumberEstimate,
    NumberTarget,
    SurvivalEstimate,
    SurvivalTarget,
)
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.workspace.checkpoint import load_weights, read_digest, save_weights
from autoseg.workspace.folders import ModelFolder
from planners.schema.base import Frozen, versioned

_TAILS = (2.5, 97.5)


class PredictorFacts(Frozen):
    """What a predictor rests on. `folds` are the digests of the segmentation models' weights."""

    schema_version: int = versioned(1)
    outcome: str
    spec: OutcomeSpec
    model: str
    blocks: tuple[str, ...]
    rests_on: str
    lesion: str
    layout: TableLayout
    headers: tuple[FittedHeader, ...]
    anchors: tuple[str, ...]
    folds: dict[str, str]
    times: tuple[float, ...] = ()  # of survival, at which its probability is given
    postprocessing: Postprocessing = Postprocessing()  # of the masks that it was fitted to


@dataclass(frozen=True)
class OutcomePredictor:
    """Predicts an outcome. `spread_R` are out-of-fold errors of a number, or out-of-fold risks of survival; else empty."""

    facts: PredictorFacts
    models: tuple[Fitted, ...]
    anchors: Mapping[str, Anchors]
    spread_R: np.ndarray

    def estimates(self, blocks: Blocks) -> "tuple[Answer, ...]":
        """What is said of a case, seen by K segmentation models: `blocks` have K rows. The value is the mean of the model
        that was fitted to all cases, the interval is over all models and rows.
        """
        estimates = [model.predict(blocks) for model in self.models]
        if isinstance(estimates[0], SurvivalEstimate):
            return self._survival([estimate for estimate in estimates if isinstance(estimate, SurvivalEstimate)])
        if isinstance(estimates[0], CategoryEstimate):
            probability_BKC = np.stack([e.probability_NK for e in estimates if isinstance(e, CategoryEstimate)])
            return tuple(_answer(f"probability of {name}", probability_BKC[..., code])
                         for code, name in enumerate(self.facts.headers[0].categories))
        value_BK = np.stack([e.value_N for e in estimates if isinstance(e, NumberEstimate)])
        return (_answer(self.facts.spec.column, value_BK, self.spread_R),)

    def _survival(self, estimates: Sequence[SurvivalEstimate]) -> "tuple[Answer, ...]":
        times_T = np.array(self.facts.times)
        survival_BKT = np.stack([survival_at(e.times_T, e.survival_NT, times_T) for e in estimates])
        answers = [_answer(f"probability of no event until {time:g} ({self.facts.spec.time})", survival_BKT[..., k])
                   for k, time in enumerate(self.facts.times)]
        if self.facts.model != NULL and len(self.spread_R):
            rank_BK = np.stack([(self.spread_R[:, None] < e.risk_N).mean(0) for e in estimates])
            answers.append(_answer("share of the patients with a lower risk", rank_BK))
        return tuple(answers)


class Answer(Frozen):
    """A figure about a case with its 95 % interval; it has none where the same is said of every case."""

    what: str
    value: float
    low: float | None = None
    high: float | None = None


def _answer(what: str, value_BK: np.ndarray, errors_R: np.ndarray | None = None) -> Answer:
    """The mean of the first model with an interval over all, with the errors of new cases added."""
    value = float(value_BK[0].mean())
    if errors_R is not None and len(errors_R):
        spread = np.add.outer(value_BK.ravel(), errors_R).ravel()
    elif value_BK.size == 1 or np.ptp(value_BK) == 0:
        return Answer(what=what, value=value)
    else:
        spread = value_BK.ravel()
    low, high = np.percentile(spread, _TAILS)
    return Answer(what=what, value=value, low=min(float(low), value), high=max(float(high), value))


def save_predictor(segmenter: Segmenter, report: OutcomeReport, data: Gathered, fitted: Sequence[Fitted], estimate: Estimate
                   ) -> None:
    """Write what predicts: the fitted models, the anchors, and what out-of-fold estimates say of new cases."""
    states = [model.state() for model in fitted]
    first = next(iter(data.anchors.values()))
    model = report.model(report.predicts)
    name, score, _ = order_of(model.scores)
    what = {"survival": f"{report.n_events} events of {report.n_cases} patients",
            "category": f"{report.n_cases} patients, {report.n_events} of the rarest category"}
    seen = what.get(report.spec.kind, f"{report.n_cases} patients")
    times: tuple[float, ...] = ()
    if isinstance(data.target, SurvivalTarget):
        times = tuple(quartiles_of_events(data.target.time_N, data.target.event_N, float(data.target.time_N.max())).tolist())
    doubt = "" if report.predicts == NULL or above_chance(model.scores) else "; it is not shown to be better than chance"
    facts = PredictorFacts(
        outcome=report.outcome, spec=report.spec, model=report.predicts, blocks=model.blocks, lesion=report.lesion,
        rests_on=f"{report.predicts}, fitted to {seen}; out-of-fold {name} {with_interval(score)}; {report.why}{doubt}",
        layout=data.layout, headers=tuple(state.header for state in states), anchors=first.names, times=times,
        postprocessing=segmenter.postprocessing,
        folds={fold: read_digest(segmenter.model.fold(fold).checkpoint) for fold in data.anchors})
    arrays = {f"model_{number}/{key}": array for number, state in enumerate(states) for key, array in state.arrays.items()}
    arrays |= {f"anchors/{fold}": anchors.embeddings_AE for fold, anchors in data.anchors.items()}
    arrays["spread"] = _spread(data, estimate)
    save_weights(segmenter.model.outcome_predictor(report.outcome),
                 {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()},
                 {"predictor": facts.model_dump(mode="json")})


def _spread(data: Gathered, estimate: Estimate) -> np.ndarray:
    if isinstance(data.target, NumberTarget) and isinstance(estimate, NumberEstimate):
        return data.target.value_N - estimate.value_N
    return estimate.risk_N if isinstance(estimate, SurvivalEstimate) else np.zeros(0)


def open_predictor(folder: ModelFolder, name: str) -> OutcomePredictor:
    """What predicts an outcome; a UserError where it is damaged, or the segmentation was trained again since."""
    path = folder.outcome_predictor(name)
    tensors, known = load_weights(path)
    again = f"autoseg_outcome {folder.dataset} {name} -c {folder.configuration} -p {folder.planner}"
    try:
        facts = PredictorFacts.model_validate(known.get("predictor"))
    except ValidationError as error:
        raise UserError("what predicts the outcome cannot be read", where=path, found=str(error).splitlines()[0],
                        do=f"use the version of autoseg that wrote it, or fit it again: {again}") from error
    changed = [fold for fold, digest in facts.folds.items() if not folder.fold(fold).is_trained
               or read_digest(folder.fold(fold).checkpoint) != digest]
    if changed:
        raise UserError("the segmentation was trained again since the outcome was fitted", where=path,
                        found=f"other weights of fold {', '.join(changed)}", do=f"fit it again: {again}")
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    if facts.model not in OUTCOME_MODELS.names():
        raise UserError(f"unknown outcome model {facts.model!r}", where=path, expected=", ".join(OUTCOME_MODELS.names()),
                        do="a part of your own is known only with --plugin MODULE")
    models = tuple(restore(facts.model, FittedState(header, {
        key.removeprefix(f"model_{number}/"): array for key, array in arrays.items() if key.startswith(f"model_{number}/")}))
        for number, header in enumerate(facts.headers))
    return OutcomePredictor(facts, models, {fold: Anchors(facts.anchors, arrays[f"anchors/{fold}"]) for fold in facts.folds},
                            arrays["spread"])
