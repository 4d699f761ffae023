"""The models that predict a dataset, written anew without any patient: what is needed to predict, and statistics.

Nothing is copied that is not known to be free of patients: every file is made again from the fields that are listed here.
Names of cases, digests of their images, tables, paths and scores of single cases stay behind; weights keep their bits.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoseg.base.errors import UserError
from autoseg.clinical.encoders import CategoryEncoder, ConditionEncoder
from autoseg.formats.files import digest
from autoseg.prediction.current_settings import read_current_settings
from autoseg.prediction.inference_settings import FoldPostprocessing, InferenceSettings, Member
from autoseg.prediction.member import postprocessing_alone
from autoseg.prediction.models import check_weights, choose_model, trained_model
from autoseg.prediction.trained_with import KEY, InitialWeights, TrainedWith, trained_with
from autoseg.training.repair import ENCODER
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import load_weights, read_facts, save_weights
from autoseg.workspace.files import DamagedFile, read_json, read_model, write_json
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import PROVENANCE, ProvenanceFile
from planners.schema.plan import Configuration, Plan

TABLE = "clinical.csv"  # the name under which any model looks for a table beside the images
HIDDEN = "(a value of too few cases)"  # in the place of a category; no cell of a table is spelled like this
FEWEST = 3  # patients that have a category, from which it may be named; cases of a mean that may be given
_FACTS = ("configuration", "fold", "dataset", "seed", "iterations")  # of weights, that are kept

Rare = Mapping[str, frozenset[str]]  # column -> its categories that are not named


def choice(workspace: Workspace, dataset: str, configuration: str | None = None, planner: str | None = None,
           folds: Sequence[int | str] | None = None) -> InferenceSettings:
    """What `autoseg_predict` would use, given the same: `inference.json`, where nothing but the dataset is named, else one
    model. Raises UserError as `Predictor.open`.
    """
    settings = None
    if configuration is None and planner is None and not folds:
        settings = read_current_settings(workspace, dataset)
    if settings is not None:
        return settings
    model = trained_model(choose_model(workspace, dataset, configuration, planner))
    names = tuple(map(str, folds)) if folds else model.folds
    if absent := [name for name in names if not model.fold(name).is_finished]:
        raise UserError(f"fold {absent[0]} is not trained", where=model.path, found="fold " + ", ".join(model.folds))
    check_weights(model, names)
    member = Member(planner=model.planner, configuration=model.configuration, folds=names, previous=_previous(model))
    return InferenceSettings(dataset=model.dataset, members=(member,), postprocessing=postprocessing_alone(model, names))


def _previous(model: ModelFolder) -> Member | None:
    name = model.read_plan().configurations[model.configuration].previous
    if not name:
        return None
    earlier = trained_model(model.beside(name))
    return Member(planner=earlier.planner, configuration=name, folds=earlier.folds)


def members_of(settings: InferenceSettings) -> Iterator[Member]:
    """Every model of a choice once, the earlier stage of a cascade after it."""
    seen: set[str] = set()
    for member in settings.members:
        for each in (member, member.previous):
            if each is not None and each.title not in seen:
                seen.add(each.title)
                yield each


def share(workspace: Workspace, settings: InferenceSettings, target: Workspace, rare: Rare) -> InferenceSettings:
    """Write the models of a choice and the choice itself into another workspace, without any patient; the choice there.

    `rare` are the categories that are not named: the models take them for "other". A prediction is the same to the bit but
    for cases that have one of these.
    """
    names = known_cases(workspace, settings)
    digests: dict[str, tuple[str, ...]] = {}
    for member in members_of(settings):
        source = workspace.model(settings.dataset, member.planner, member.configuration)
        shared = target.model(settings.dataset, member.planner, member.configuration)
        write_json(shared.plan, cleaned_plan(source.read_plan(), member.configuration))
        for fold in member.folds:
            _share_fold(source.fold(fold), shared.fold(fold), member.configuration, rare, names)
        digests[member.title] = tuple(digest(shared.fold(fold).checkpoint) for fold in member.folds)

    def renewed(member: Member) -> Member:
        previous = None if member.previous is None else renewed(member.previous)
        return member.model_copy(update={"digests": digests[member.title], "previous": previous})

    shared_settings = settings.model_copy(update={
        "members": tuple(map(renewed, settings.members)), "reasons": without(names, settings.reasons)})
    write_json(target.inference_settings(settings.dataset), shared_settings)
    return shared_settings


def cleaned_plan(plan: Plan, configuration: str) -> Plan:
    """The plan with one configuration, without paths, the name of the table, and what was said of the dataset in words."""
    table = plan.conditions.model_copy(update={"table": TABLE if plan.conditions.table else ""})
    used = {configuration: cleaned_configuration(plan.configurations[configuration])}
    return plan.model_copy(update={"conditions": table, "reasons": (), "first": None, "configurations": used,
                                   "fingerprint_digest": ""}).with_content_hash()


def cleaned_configuration(configuration: Configuration) -> Configuration:
    """The configuration without the path of the model that it began from."""
    return configuration.model_copy(update={"transfer": None})


def without(cases: frozenset[str], sentences: Sequence[str]) -> tuple[str, ...]:
    """The sentences that name none of these cases."""
    return tuple(text for text in sentences if not any(mentions(text.casefold(), case.casefold()) for case in cases))


def mentions(text: str, case: str) -> bool:
    """Whether a text has this name as a word: `liver_1` is not in `liver_10`."""
    return case in text and re.search(rf"(?<![^\W_]){re.escape(case)}(?![^\W_])", text) is not None


def known_cases(workspace: Workspace, settings: InferenceSettings) -> frozenset[str]:
    """The names of all cases that the models, and those that they began from, say they have seen."""
    names = set(own_cases(workspace, settings))
    for fold in folds_of(workspace, settings):
        trained = trained_with(read_facts(fold.checkpoint), fold.checkpoint)
        if trained is not None and trained.initial_weights is not None:
            names |= {name.partition("__")[2] or name for name in trained.initial_weights.seen}
    return frozenset(names)


def own_cases(workspace: Workspace, settings: InferenceSettings) -> frozenset[str]:
    """The names of the cases that the folds of the models were trained on or validated with."""
    names: set[str] = set()
    for fold in folds_of(workspace, settings):
        facts = read_facts(fold.checkpoint)
        trained = trained_with(facts, fold.checkpoint)
        names |= set(map(str, facts.get("training", ())))
        if trained is not None:
            names |= {*trained.training, *trained.validation, *trained.cases}
        scores = (_result(fold) or {}).get("scores") or {}
        names |= {case["name"] for case in scores.get("cases", ()) if isinstance(case, dict) and "name" in case}
    return frozenset(names)


def folds_of(workspace: Workspace, settings: InferenceSettings) -> list[FoldFolder]:
    """The folds of all models of a choice, of earlier stages, too."""
    return [workspace.fold(settings.dataset, member.planner, member.configuration, fold)
            for member in members_of(settings) for fold in member.folds]


def _share_fold(source: FoldFolder, target: FoldFolder, configuration: str, rare: Rare, cases: frozenset[str]) -> None:
    weights, facts = load_weights(source.checkpoint)
    save_weights(target.checkpoint, weights, _cleaned_facts(facts, source, configuration, rare))
    write_json(target.result, _cleaned_result(source))
    if source.postprocessing.is_file():
        chosen = read_model(source.postprocessing, FoldPostprocessing)
        if chosen.digest == digest(source.checkpoint):
            write_json(target.postprocessing, chosen.model_copy(update={
                "digest": digest(target.checkpoint), "reasons": without(cases, chosen.reasons)}))
    provenance = source.path / PROVENANCE
    if provenance.is_file():
        known = read_model(provenance, ProvenanceFile)
        write_json(target.path / PROVENANCE, _cleaned_provenance(known, source.checkpoint.name))


def _cleaned_facts(facts: Mapping[str, Any], source: FoldFolder, configuration: str, rare: Rare) -> dict[str, Any]:
    kept = {key: facts[key] for key in _FACTS if key in facts}
    if facts.get(ENCODER) is not None:
        encoder = ConditionEncoder.model_validate(facts[ENCODER])
        kept[ENCODER] = cleaned_encoder(encoder, rare).model_dump(mode="json")
    trained = trained_with(facts, source.checkpoint)
    if trained is not None:
        initial = trained.initial_weights
        kept[KEY] = TrainedWith(
            plan=cleaned_plan(trained.plan, configuration), training=(), validation=(),
            initial_weights=None if initial is None else InitialWeights(digest=initial.digest)).model_dump(mode="json")
    return kept


def cleaned_encoder(encoder: ConditionEncoder, rare: Rare) -> ConditionEncoder:
    """The encoder without categories of too few cases. Its widths stay, so that the weights fit."""
    def cleaned(part: Any) -> Any:
        if not isinstance(part, CategoryEncoder):
            return part
        hidden = rare.get(part.name, frozenset())
        kept = tuple(f"{HIDDEN[:-1]}, {number})" if name in hidden else name
                     for number, name in enumerate(part.categories, start=1))
        return part.model_copy(update={"categories": kept, "rare": (HIDDEN,) if part.rare else ()})

    return encoder.model_copy(update={"parts": tuple(map(cleaned, encoder.parts))})


def _result(fold: FoldFolder) -> dict[str, Any] | None:
    data = read_json(fold.result)
    return data if isinstance(data, dict) else None


def _cleaned_result(fold: FoldFolder) -> FoldResult | dict[str, Any]:
    """The result with means alone, which are left out where they are of one case or two; of an earlier version's, or a
    damaged one, the mean Dice.
    """
    try:
        result = read_model(fold.result, FoldResult)
    except DamagedFile:
        return {"mean_dice": fold.mean_dice()}
    if result.scores is None or result.scores.n_cases < FEWEST:
        return result.model_copy(update={"scores": None, "mean_dice": None, "unscored": (), "unmirrored": ()})
    scores = result.scores.model_copy(update={"cases": (), "faults": (), "warnings": ()})
    return result.model_copy(update={"scores": scores, "unscored": (), "unmirrored": ()})


def _cleaned_provenance(known: ProvenanceFile, name: str) -> ProvenanceFile:
    """What made the weights, without the command, which may hold paths, and without the digests of the data."""
    runs = tuple(run.model_copy(update={"results": {name: ""},
                                        "provenance": run.provenance.model_copy(update={"command": ""})})
                 for run in known.runs if name in run.results)
    return known.model_copy(update={"runs": runs})
