"""The card of a model that is given away, in Markdown: what it was trained on, how good it is, what it is for, its limits.

It has means, quantiles and counts; no case is named. What is of one case or two alone is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.table import text_table
from autoseg.evaluation.types import CaseScore, Summary
from autoseg.explain.ablation import Ablation
from autoseg.interop.external import ExternalValidation
from autoseg.interop.share import FEWEST
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing, QualityControl
from autoseg.workspace.provenance import Provenance
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan

_QUANTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class FoldFacts:
    """What the card says of a fold's training: the member's title, the fold, its iterations and what made it."""

    title: str
    fold: str
    seconds: float | None
    provenance: Provenance | None
    initial_weights: str  # the digest of the weights that it began with; empty: of none


@dataclass(frozen=True)
class CardData:
    """All that the card is written from. `fingerprint` is None where the dataset was not measured here; `scores` are of
    each member's validation cases by title, and `final` those of the choice with its postprocessing, where that was made.
    """

    settings: InferenceSettings
    plan: Plan
    n_cases: int
    fingerprint: Fingerprint | None
    scores: Mapping[str, Sequence[CaseScore]]
    final: Summary | None
    ablations: Sequence[Ablation]
    external: Sequence[ExternalValidation]
    folds: Sequence[FoldFacts]
    rare: Mapping[str, int]  # column -> how many of its categories are not named
    outcomes: Sequence[str]  # models of outcomes that are left out
    licence: str
    plugins: Sequence[str]


def card(data: CardData) -> str:
    """The whole card."""
    sections = (_head, _inputs, _training_data, _scores, _ablation, _external, _use, _privacy, _provenance)
    return "\n\n".join("\n".join(section(data)) for section in sections) + "\n"


def _head(data: CardData) -> list[str]:
    settings = data.settings
    models = [f"- {member.title}: fold {', '.join(member.folds)}"
              + ("" if member.previous is None else f"; its earlier stage is {member.previous.title}")
              for member in settings.members]
    how = ("Their probabilities are averaged." if len(settings.members) > 1 else "The logits of its folds are averaged.")
    return [f"# {settings.dataset}", "", f"Segments {', '.join(data.plan.labels.foreground)}. Models in this file:", "",
            *models, "", f"{how} Afterwards: {_steps(settings.postprocessing)}. {_quality(settings.quality_control)}",
            *(["", "Chosen because:", "", *(f"- {reason}" for reason in settings.reasons)] if settings.reasons else []), "",
            "Predict without importing: `autoseg_predict -m FILE.zip -i imgs -o masks`. Licence: "
            f"{data.licence or 'not stated; ask whom you have it from'}."]


def _steps(steps: Postprocessing) -> str:
    said = ["the largest component of all"] if steps.keep_largest_of_all else []
    said += [f"the largest component of {', '.join(steps.keep_largest)}"] if steps.keep_largest else []
    said += [f"holes of {', '.join(steps.fill_holes)} are filled"] if steps.fill_holes else []
    said += [f"components of {name} below {least:g} mL are removed" for name, least in steps.minimum_ml.items()]
    return "; ".join(said) or "no postprocessing"


def _quality(rule: QualityControl | None) -> str:
    if rule is None:
        return "There is no rule that says which masks need a review."
    known = "not known" if rule.correlation is None else f"{rule.correlation:.2f}"
    return (f"A case needs a review where its predicted Dice is below {rule.review_below:.2f}; predicted and true Dice "
            f"correlate by {known} on {rule.n} cases that the rule never saw.")


def _inputs(data: CardData) -> list[str]:
    plan = data.plan
    rows = [("channel", "file ends with", "modality", "required", "brought to the grid by")]
    rows += [(channel.name, f"_{number:04d}{plan.file_ending}", channel.modality, "yes" if channel.required else "no",
              channel.registration) for number, channel in zip(plan.numbers, plan.channels, strict=True)]
    lines = ["## Inputs", "", *text_table(rows, markdown=True)]
    if plan.conditions.specs:
        columns = [("beside the images", "kind", "width")]
        columns += [(spec.name, spec.kind, "" if spec.width is None else str(spec.width)) for spec in plan.conditions.specs]
        lines += ["", *text_table(columns, markdown=True)]
        if plan.conditions.table:
            lines += ["", f"The table is {plan.conditions.table} beside the images, or named with --table; its column "
                          f"{plan.conditions.id} says the case. What is missing is taken as missing."]
    labels = [("label", "values in the mask")] + [(name, ", ".join(map(str, values)))
                                                  for name, values in plan.labels.names.items()]
    return [*lines, "", *text_table(labels, markdown=True)]


def _training_data(data: CardData) -> list[str]:
    lines = ["## Training data", "", f"{data.n_cases} cases." if data.n_cases else "How many cases is not known."]
    known = data.fingerprint
    if known is None:
        return [*lines, "Their sizes were not measured on the machine that exported the model."]
    if len(known.cases) < FEWEST:
        return [*lines, "They are too few to say their sizes."]
    percent = [f"{q} %" for q in _QUANTILES]
    rows: list[tuple[str, ...]] = [("quantiles over the cases", *percent)]
    for axis, name in enumerate("zyx"):
        rows.append((f"spacing {name} [mm]", *_quantiles([case.spacing_mm[axis] for case in known.cases])))
        rows.append((f"size {name} after cropping [voxels]", *_quantiles([case.shape[axis] for case in known.cases])))
    lines += ["", *text_table(rows, markdown=True)]
    if known.label_stats:
        rows = [("label", "cases", "mean volume [mL]", *(f"component {q} [mL]" for q in percent))]
        rows += [(stats.name, str(stats.cases), *_of_several(stats.cases, (
            f"{stats.volume_ml / max(1, stats.cases):.4g}",
            *(f"{value:.4g}" for value in stats.component_ml_percentiles)))) for stats in known.label_stats]
        lines += ["", *text_table(rows, markdown=True)]
    if any(share < 1 for share in known.presence):
        lines += ["", "Share of the cases that have the channel: " + ", ".join(
            f"{channel.name} {share:.0%}" for channel, share in zip(known.channels, known.presence, strict=True)) + "."]
    if known.condition_stats:
        rows = [("beside the images", "missing", "mean", "deviation")]
        rows += [(stats.name, f"{stats.missing:.0%}", *_of_several(
            round(len(known.cases) * (1 - stats.missing)), (_number(stats.mean), _number(stats.std))))
            for stats in known.condition_stats]
        lines += ["", *text_table(rows, markdown=True)]
    return lines


def _of_several(n: int, cells: tuple[str, ...]) -> tuple[str, ...]:
    """The cells, empty where they are of one case or two: they would say the value of a case."""
    return cells if n >= FEWEST else ("",) * len(cells)


def _quantiles(values: Iterable[float]) -> tuple[str, ...]:
    return tuple(f"{value:.4g}" for value in np.percentile(list(values), _QUANTILES))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _scores(data: CardData) -> list[str]:
    lines = ["## Scores", "",
             "Dice of the validation cases of cross-validation, each predicted by the fold that never saw it, before "
             "postprocessing. Means with 95 % bootstrap intervals, and quantiles over the cases. Of fewer than three cases "
             "nothing is said."]
    rows: list[tuple[str, ...]] = [("model and label", "cases", "mean", "95 % interval", *(f"{q} %" for q in _QUANTILES))]
    for title, cases in data.scores.items():
        for name in data.plan.labels.foreground:
            dice = [label.dice for case in cases for label in case.labels if label.name == name]
            rows.append(_score_row(f"{title}: {name}", [value for value in dice if value is not None]))
    lines += ["", *text_table(rows, markdown=True)] if len(rows) > 1 else ["", "They are not known."]
    if data.final is not None:
        rows = [("what is in this file, all steps", "metric", "cases", "mean", "95 % interval")]
        rows += [(label.name, metric, str(mean.n), *_of_several(mean.n, (
            f"{mean.value:.4f}", _interval(mean.low, mean.high))))
                 for label in data.final.labels for metric, mean in label.means.items() if mean.value is not None]
        lines += ["", *text_table(rows, markdown=True)]
    return lines


def _score_row(title: str, dice: Sequence[float]) -> tuple[str, ...]:
    mean = bootstrap_mean(dice)
    if mean.mean is None:
        return title, "0", "", "", *("" for _ in _QUANTILES)
    return title, str(mean.n), *_of_several(mean.n, (f"{mean.mean:.4f}", _interval(mean.low, mean.high), *_quantiles(dice)))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"


def _ablation(data: CardData) -> list[str]:
    lines = ["## What each input contributes", ""]
    if not data.ablations:
        return [*lines, "Not measured (autoseg_ablate)."]
    for ablation in data.ablations:
        rows: list[tuple[str, ...]] = [
            (f"{ablation.configuration}, fold {ablation.fold}", "cases", "Dice", "loss without it")]
        for row in ablation.rows:
            loss = row.difference
            rows.append((row.name, str(row.mean.n), *_of_several(row.mean.n, (
                _number(row.mean.mean), "" if loss is None or loss.difference is None else
                f"{loss.difference:+.4f} ({_interval(loss.low, loss.high)})"))))
        lines += [*text_table(rows, markdown=True), ""]
        lines += [f"- {finding.input}: {finding.verdict}" for finding in ablation.findings]
    return lines


def _external(data: CardData) -> list[str]:
    if not data.external:
        return ["## Other datasets", "", "Not measured (autoseg_external): how it does elsewhere is not known."]
    rows: list[tuple[str, ...]] = [("dataset and label", "cases", "Dice", "95 % interval")]
    rows += [(f"{validation.on}: {label.name}", str(mean.n), *_of_several(mean.n, (
        f"{mean.value:.4f}", _interval(mean.low, mean.high))))
             for validation in data.external for label in validation.external.labels
             if (mean := label.means.get("dice")) is not None and mean.value is not None]
    return ["## Other datasets", "", *text_table(rows, markdown=True)]


def _use(data: CardData) -> list[str]:
    modalities = ", ".join(dict.fromkeys(channel.modality for channel in data.plan.channels))
    lines = ["## Intended use and limits", "",
             f"- For research on images like the training data ({modalities}; see the quantiles above). It is not a medical "
             "device; a person checks its masks before anything follows from them.",
             "- Scores hold for images of the same origin. Other scanners, protocols, ages and diseases may do worse, and "
             "nothing in a mask says so, but for the rule of review where there is one.",
             "- It knows the labels above and nothing else: what it was not trained on becomes background or one of them."]
    if any(not channel.required for channel in data.plan.channels):
        lines.append("- It predicts without the channels that are not required; what is lost is said above, if measured.")
    if data.rare:
        lines.append("- Values of the table that fewer than three patients have are not named in this file and are "
                     f"taken for any other value: {', '.join(f'{n} of {column}' for column, n in data.rare.items())}.")
    if data.plugins:
        lines.append(f"- It needs parts of {', '.join(data.plugins)}, which are not in this file: read this module before "
                     "you load it (--plugin).")
    return lines


def _privacy(data: CardData) -> list[str]:
    lines = ["## What is not in this file", "",
             "No case, patient, file, folder, row of a table, score of a single case, or digest of an image. Which cases "
             "the model has seen is therefore not known to whoever has only this file: do not judge it on data that it may "
             "have seen."]
    if data.outcomes:
        lines.append(f"Models of outcomes ({', '.join(data.outcomes)}) are left out: they hold features of patients.")
    return lines


def _provenance(data: CardData) -> list[str]:
    rows: list[tuple[str, ...]] = [("model and fold", "autoseg", "torch", "device", "seed", "started", "hours")]
    for fold in data.folds:
        known = fold.provenance
        hours = "" if fold.seconds is None else f"{fold.seconds / 3600:.2f}"
        rows.append((f"{fold.title}, fold {fold.fold}", *(("", "", "", "", "") if known is None else (
            known.autoseg_version, known.packages.get("torch", ""), known.machine.device,
            "" if known.seed is None else str(known.seed), known.started[:10])), hours))
    initial = sorted({fold.initial_weights for fold in data.folds if fold.initial_weights})
    return ["## Provenance", "", *text_table(rows, markdown=True),
            *(["", f"Trainings began from other weights, of digest {', '.join(initial)}."] if initial else [])]
