"""The models that the service offers: those of a workspace, and models in one file.

They are described from JSON and from the headers of weights; no weights are loaded. What changes on the disk is seen at the
next question. A model that cannot be read is left out, with a sentence in the log; the others stay.
"""

import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.base.errors import AutosegError, UserError, hint, listed
from autoseg.clinical.encoders import ConditionEncoder
from autoseg.formats.files import file_state
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.serve.served import ServedModel, served_model
from autoseg.workspace.archive import opened
from autoseg.workspace.files import read_json, read_model
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import Workspace
from planners.rules.input_sets import joint_plan
from planners.schema.plan import Plan

if TYPE_CHECKING:
    from autoseg.prediction.predictor import Predictor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Offer:
    """A model that is offered, the arguments of `Predictor.open` that open it, and the state of its files."""

    served: ServedModel
    opened_by: Mapping[str, Any]
    state: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Known:
    """What was read of a part of the catalogue, and the state of its files then."""

    state: tuple[Any, ...]
    offers: tuple[Offer, ...] = ()


class Catalogue:
    """The models of a workspace and of some files, by names that are safe in a URL. Threads may share it."""

    def __init__(self, home: Path, model_files: Sequence[Path] = ()):
        self.workspace, self.model_files = Workspace.open(home), tuple(model_files)
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def served(self) -> list[ServedModel]:
        """All models that can be asked for, in the order of their names; models in one file come last."""
        return [offer.served for offer in self._offers().values()]

    def find(self, name: str) -> ServedModel | None:
        """The model of this name; None where there is none."""
        offer = self._offers().get(name)
        return None if offer is None else offer.served

    def predictor(self, name: str, device: str) -> "Predictor":
        """The model of this name in memory. Raises UserError where there is none, or where it cannot be opened."""
        from autoseg.prediction.predictor import Predictor

        offers = self._offers()
        if name not in offers:
            raise UserError(f"there is no model {name!r}{hint(name, offers)}", found=listed(offers) or "no model",
                            do="ask /v1/models for those that there are")
        return Predictor.open(device=device, **offers[name].opened_by)

    def plan(self, name: str) -> Plan:
        """The plan by which the model of this name was trained; of several models, with the inputs of all. Raises UserError
        where there is none.
        """
        offers = self._offers()
        if name not in offers:
            raise UserError(f"there is no model {name!r}{hint(name, offers)}")
        opened_by = offers[name].opened_by
        if "folder" not in opened_by:
            return _plan(self.workspace, opened_by)
        with opened(opened_by["folder"]) as (workspace, manifest):
            models = [model for model in workspace.models(manifest.dataset) if model.folds]
            return _plan(workspace, next(_offers_of(workspace, manifest.dataset, models)).opened_by)

    def state(self, name: str) -> tuple[Any, ...]:
        """What changes when the files of a model change; empty where there is none."""
        offer = self._offers().get(name)
        return () if offer is None else offer.state

    def _offers(self) -> dict[str, Offer]:
        with self._lock:
            offers: dict[str, Offer] = {}
            for offer in self._current():
                name, number = offer.served.name, 2
                while name in offers:
                    name, number = f"{offer.served.name}-{number}", number + 1
                served = offer.served.model_copy(update={"name": name})
                offers[name] = replace(offer, served=served)
            return offers

    def _current(self) -> Iterator[Offer]:
        """What is offered now. Only what changed since the last call is read."""
        folders: dict[str, list[ModelFolder]] = {}
        for model in self.workspace.models():
            if model.folds:
                folders.setdefault(model.dataset, []).append(model)
        for dataset in self.workspace.datasets_with_models():
            models = folders.get(dataset, [])
            yield from self._read(dataset, _state(_files_of(self.workspace, dataset, models)),
                                  lambda dataset=dataset, models=models: _offers_of(self.workspace, dataset, models))
        for path in self.model_files:
            yield from self._read(str(path), _state([path]), lambda path=path: _offers_in(path))

    def _read(self, key: str, state: tuple[Any, ...], read: Any) -> tuple[Offer, ...]:
        known = self._known.get(key)
        if known is None or known.state != state:
            known = self._known[key] = Known(state, tuple(replace(offer, state=state) for offer in read()))
        return known.offers


def _plan(workspace: Workspace, opened_by: Mapping[str, Any]) -> Plan:
    dataset = opened_by["dataset"]
    if "configuration" in opened_by:
        return workspace.model(dataset, opened_by["planner"], opened_by["configuration"]).read_plan()
    settings = read_model(workspace.inference_settings(dataset), InferenceSettings)
    return joint_plan([workspace.model(dataset, member.planner, member.configuration).read_plan()
                       for member in settings.members])


def _files_of(workspace: Workspace, dataset: str, models: Sequence[ModelFolder]) -> Iterator[Path]:
    """The files whose change changes what is offered of a dataset."""
    yield workspace.inference_settings(dataset)
    for model in models:
        yield model.plan
        for fold in model.folds:
            yield model.fold(fold).result
            yield model.fold(fold).checkpoint


def _state(files: Iterable[Path]) -> tuple[Any, ...]:
    states: list[Any] = []
    for file in files:
        try:
            states.append((str(file), file_state(file)))
        except OSError:
            states.append((str(file), None))
    return tuple(states)


def _offers_of(workspace: Workspace, dataset: str, models: Sequence[ModelFolder]) -> Iterator[Offer]:
    """The choice of a dataset, then each of its configurations."""
    at_home = {"dataset": dataset, "home": workspace.home}
    sound: list[tuple[Offer, float]] = []
    for model in models:
        try:
            plan = model.read_plan()
            served = _described(f"{dataset}.{model.planner}.{model.configuration}", f"{_title(dataset)}: {model.title}",
                                [_Used(model, model.folds)], quality=False, plans=[plan])
            offer = Offer(served, {**at_home, "configuration": model.configuration, "planner": model.planner})
            sound.append((offer, model.mean_dice()))
        except AutosegError as error:
            logger.warning("%s is not offered: %s", model.path, error)
    is_chosen = False
    try:
        settings_file = workspace.inference_settings(dataset)
        if settings_file.is_file():
            settings = read_model(settings_file, InferenceSettings)
            used = [_Used(workspace.model(dataset, member.planner, member.configuration), member.folds)
                    for member in settings.members]
            quality = settings.quality_control is not None
            offer, is_chosen = Offer(_described(dataset, _title(dataset), used, quality=quality), at_home), len(used) == 1
            yield offer
        elif sound:
            best = max(sound, key=lambda pair: pair[1])[0]  # as prediction chooses where nothing else is said
            yield Offer(best.served.model_copy(update={"name": _url_safe(dataset), "title": _title(dataset)}),
                        best.opened_by)
            is_chosen = True
    except AutosegError as error:
        logger.warning("the choice of models of %s is not offered: %s", dataset, error)
    if not (is_chosen and len(sound) == 1):  # the choice is that one
        yield from (offer for offer, _ in sound)


def _offers_in(path: Path) -> Iterator[Offer]:
    """The model in a file, which is unpacked for this and compared with its checksums."""
    try:
        with opened(path) as (workspace, manifest):
            models = [model for model in workspace.models(manifest.dataset) if model.folds]
            for offer in _offers_of(workspace, manifest.dataset, models):
                served = offer.served.model_copy(update={"name": _url_safe(path.stem), "title": path.stem})
                yield Offer(served, {"folder": path})
                return
        logger.warning("%s is not offered: it holds no finished model", path)
    except AutosegError as error:
        logger.warning("%s is not offered: %s", path, error)


@dataclass(frozen=True)
class _Used:
    """The folds of a model that predict."""

    model: ModelFolder
    folds: tuple[str, ...]
    fold_folders: tuple[FoldFolder, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fold_folders", tuple(self.model.fold(fold) for fold in self.folds))


def _described(name: str, title: str, used: Sequence[_Used], *, quality: bool, plans: Sequence[Plan] = ()) -> ServedModel:
    """The description of models that predict together. Raises UserError where a file of them is missing or damaged."""
    known = list(plans) or [each.model.read_plan() for each in used]
    folds = [fold for each in used for fold in each.fold_folders]
    for fold in folds:
        if not (fold.is_finished and fold.is_trained):
            raise UserError("the weights of a fold, or its result, are missing", where=fold.path)
    encoders = _encoders(folds) if any(plan.conditions.specs for plan in known) else []
    dimensions = max(plan.configurations[each.model.configuration].dimensions
                     for plan, each in zip(known, used, strict=True))
    return served_model(_url_safe(name), title, known, encoders, dimensions=dimensions, n_models=len(folds), quality=quality,
                        results=[read_json(fold.result) for fold in folds])


def _encoders(folds: Sequence[FoldFolder]) -> list[ConditionEncoder]:
    """How the networks read the clinical table, from the headers of their weights."""
    from autoseg.workspace.checkpoint import read_facts  # and with it torch

    found = [read_facts(fold.checkpoint).get("encoder") for fold in folds]
    return [ConditionEncoder.model_validate(encoder) for encoder in found if encoder]


def _title(dataset: str) -> str:
    """`Dataset004_Hippocampus` as people say it: Hippocampus."""
    return dataset.partition("_")[2].replace("_", " ")


def _url_safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", name) or "model"
