"""Writes a trained model into one file that names no patient: models, choice, checksums and a card."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from autoseg.base.command import called
from autoseg.base.errors import AutosegError, UserError, listed
from autoseg.clinical.encoders import CategoryEncoder, ConditionEncoder, spelled
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.preprocessors import PREPROCESSORS
from autoseg.evaluation.types import CaseScore
from autoseg.explain.ablation import Ablation
from autoseg.interop.external import ExternalValidation
from autoseg.interop.share import (
    FEWEST,
    Rare,
    choice,
    cleaned_plan,
    folds_of,
    known_cases,
    members_of,
    mentions,
    own_cases,
    share,
)
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.nn.fusion import FUSIONS
from autoseg.nn.networks import NETWORKS
from autoseg.planning.store import read_fingerprint
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.prediction.trained_with import trained_with
from autoseg.preprocessing.normalize import NORMALIZERS
from autoseg.reporting.model_card import CardData, FoldFacts, card
from autoseg.selection.types import Selection
from autoseg.training.repair import ENCODER
from autoseg.training.validate import FoldResult
from autoseg.workspace.archive import CARD, ArchiveManifest, texts_of, unfinished_folder, write_archive
from autoseg.workspace.checkpoint import read_facts
from autoseg.workspace.files import read_model, write_text
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import PROVENANCE, ProvenanceFile
from planners.registry import Registry
from planners.schema.base import Part
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)

ENDING = ".zip"
RareValues = Literal["hide", "name"]
_SHORTEST = 4  # letters of a name that is looked for: a shorter one is in many words


@called
def export_model(workspace: Workspace, dataset: str | int, output: str | Path, *, configuration: str | None = None,
                 planner: str | None = None, folds: Sequence[int | str] | None = None, licence: str = "",
                 rare_values: RareValues = "hide") -> Path:
    """Write what `autoseg_predict` would use, given the same, into the file `output` (.zip); its path.

    Categories of the table that fewer than three patients have are not named unless `rare_values` is `name`: a model then
    takes them for any other value. Raises UserError where there is no model, where the choice is out of date, where the
    table is needed to count the patients of a category and is not here, and where the name of a case would be in the file.
    """
    path, name = Path(output), workspace.dataset(dataset)
    if path.suffix != ENDING:
        raise UserError("a model in one file is a zip", found=path.name, expected=f"a name that ends with {ENDING}")
    settings = choice(workspace, name, configuration, planner, folds)
    rare = rare_categories(workspace, settings) if rare_values == "hide" else {}
    plugins = plugins_of(workspace, settings)
    with unfinished_folder(path) as folder:
        shared = share(workspace, settings, Workspace(folder), rare)
        data = _card_data(workspace, settings.model_copy(update={"reasons": shared.reasons}), rare, licence, plugins)
        write_text(folder / CARD, card(data))
        _check_no_case(workspace, settings, data.plan, folder)
        write_archive(path, folder, ArchiveManifest(dataset=name, plugins=plugins, licence=licence))
    if data.outcomes:
        logger.warning("models of outcomes are left out, because they hold features of patients: %s", listed(data.outcomes))
    for column, n in data.rare.items():
        logger.warning("column %s: %d values of fewer than %d patients are not named in the file; the model takes them for "
                       "any other value", column, n, FEWEST)
    return path


def rare_categories(workspace: Workspace, settings: InferenceSettings) -> Rare:
    """The categories that a model knows and fewer than three patients have, by column (where no groups are declared, each
    case is a patient). A UserError where nobody can count.
    """
    parts = [part for fold in folds_of(workspace, settings) for part in _encoder(fold).parts
             if isinstance(part, CategoryEncoder) and part.categories]
    if not parts:
        return {}
    if not workspace.has_raw(settings.dataset):
        raise UserError("the model knows values of a table, and how many patients have each is not known without "
                        "the dataset", where=settings.dataset,
                        found=f"column {listed(dict.fromkeys(part.name for part in parts))}",
                        do="bring the raw dataset back, or say --rare_values name, if no value tells who a patient is")
    raw = Dataset.open(workspace.raw(settings.dataset))
    member = settings.members[0]
    declared = workspace.model(settings.dataset, member.planner, member.configuration).read_plan().conditions
    cases = raw.conditions(raw.names, declared).cases
    patients = raw.known_groups().groups[0] or {}
    rare: dict[str, frozenset[str]] = {}
    for part in parts:
        having: dict[str, set[str]] = {}
        for name, case in cases.items():
            if (cell := case.values.get(part.name)) is not None:
                having.setdefault(spelled(cell, part.spelling), set()).add(patients.get(name, name))
        few = frozenset(category for category in part.categories if len(having.get(category, ())) < FEWEST)
        if few:
            rare[part.name] = rare.get(part.name, frozenset()) | few
    return rare


def plugins_of(workspace: Workspace, settings: InferenceSettings) -> tuple[str, ...]:
    """The modules outside of autoseg that register parts that a prediction needs. A UserError where a part is not known."""
    modules: dict[str, None] = {}
    for member in members_of(settings):
        model = workspace.model(settings.dataset, member.planner, member.configuration)
        for registry, part in _parts(model.read_plan().configurations[member.configuration]):
            try:
                module = registry.get(part.name).__module__
            except KeyError as error:
                raise UserError(error.args[0], where=model.plan,
                                do="name the module that registers it with --plugin, so that the file can say it") from None
            if module.partition(".")[0] not in ("autoseg", "planners"):
                modules[module] = None
    return tuple(modules)


def _parts(configuration: Configuration) -> list[tuple[Registry[Any, Any], Part]]:
    return [(NETWORKS, configuration.network), (FUSIONS, configuration.fusion), (CONDITIONERS, configuration.conditioning),
            (PREPROCESSORS, configuration.preprocess), *((NORMALIZERS, part) for part in configuration.normalizers)]


def _encoder(fold: FoldFolder) -> ConditionEncoder:
    return ConditionEncoder.model_validate(read_facts(fold.checkpoint).get(ENCODER) or {})


def _card_data(workspace: Workspace, settings: InferenceSettings, rare: Rare, licence: str, plugins: Sequence[str]
               ) -> CardData:
    dataset, member = settings.dataset, settings.members[0]
    plan = cleaned_plan(workspace.model(dataset, member.planner, member.configuration).read_plan(), member.configuration)
    scores: dict[str, list[CaseScore]] = {}
    folds: list[FoldFacts] = []
    ablations: list[Ablation] = []
    outcomes: dict[str, None] = {}
    for each in members_of(settings):
        model = workspace.model(dataset, each.planner, each.configuration)
        outcomes |= dict.fromkeys(model.fitted_outcomes())
        for name in each.folds:
            fold = model.fold(name)
            result = _readable(fold.result, FoldResult)
            if result is not None and result.scores is not None:
                scores.setdefault(each.title, []).extend(result.scores.cases)
            folds.append(_fold_facts(each.title, fold, result))
            ablation = _readable(fold.ablation(".json"), Ablation)
            ablations += [] if ablation is None else [ablation]
    selection = _readable(workspace.selection(dataset), Selection)
    is_choice = selection is not None and selection.inference.members == settings.members
    external = [_readable(path, ExternalValidation) for path in workspace.external_results(dataset)]
    return CardData(settings=settings, plan=plan, n_cases=len(own_cases(workspace, settings)),
                    fingerprint=read_fingerprint(workspace, dataset) if workspace.fingerprint(dataset).is_file() else None,
                    scores=scores, final=selection.final if selection is not None and is_choice else None,
                    ablations=ablations, external=[known for known in external if known is not None], folds=folds,
                    rare={column: len(few) for column, few in rare.items()}, outcomes=tuple(outcomes), licence=licence,
                    plugins=plugins)


def _fold_facts(title: str, fold: FoldFolder, result: FoldResult | None) -> FoldFacts:
    known = _readable(fold.path / PROVENANCE, ProvenanceFile)
    trained = trained_with(read_facts(fold.checkpoint), fold.checkpoint)
    initial = None if trained is None else trained.initial_weights
    return FoldFacts(title, fold.name, None if result is None else result.total_seconds,
                     None if known is None else known.of(fold.checkpoint.name), "" if initial is None else initial.digest)


def _readable(path: Path, model: Any) -> Any:
    """What a file says, for the card; None where there is none, or it cannot be read, which is logged."""
    if not path.is_file():
        return None
    try:
        return read_model(path, model)
    except AutosegError as error:
        logger.info("the card does not say it: %s", error)
        return None


def _check_no_case(workspace: Workspace, settings: InferenceSettings, plan: Plan, folder: Path) -> None:
    """A UserError where a file that would be given away names a case, a patient, or a folder of this machine."""
    names = set(known_cases(workspace, settings))
    if workspace.has_raw(settings.dataset):
        raw = Dataset.open(workspace.raw(settings.dataset))
        names |= {*raw.names, *(raw.known_groups().groups[0] or {}).values()}
    declared = {name.casefold() for name in (
        *plan.labels.names, *(channel.name for channel in plan.channels), settings.dataset,
        *(spec.name for spec in plan.conditions.specs))}
    wanted = sorted(name for name in names
                    if len(name) >= _SHORTEST and not name.isdecimal() and name.casefold() not in declared)
    folders = [str(root) for root in (workspace.home, *workspace.raw_roots())]
    for file, text in texts_of(folder):
        folded = text.casefold()
        leaked = next((name for name in wanted if any(mentions(folded, each) for each in _spellings(name))), None) or next(
            (root for root in folders if any(each in folded for each in _spellings(root))), None)
        if leaked is not None:
            raise UserError("the file would name a case, a patient or a folder of this machine, and is not written",
                            where=file, found=leaked,
                            do="if a label, a channel, a column or one of its values has the name of a case, give it "
                               "another one; if not, please report it")


def _spellings(name: str) -> set[str]:
    """A name as a text says it and as JSON does, in small letters."""
    return {name.casefold(), json.dumps(name)[1:-1].casefold()}
