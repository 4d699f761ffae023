"""The model that a training begins from: the folder or file that a user names, and what its weights were trained with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autoseg.base.errors import UserError, listed
from autoseg.clinical.encoded import NO_CONDITIONS
from autoseg.clinical.encoders import ConditionEncoder
from autoseg.datasets.unlabelled import qualified
from autoseg.nn.transfer import Meaning
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.prediction.trained_with import TrainedWith, trained_with
from autoseg.training.repair import ENCODER
from autoseg.workspace.archive import is_archive, opened
from autoseg.workspace.checkpoint import load_weights, read_digest, read_facts
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import PRETRAINED, FoldFolder, ModelFolder, trained_below
from autoseg.workspace.names import Workspace
from planners.schema.plan import Configuration, Plan, Transfer


@dataclass(frozen=True)
class Source:
    """Trained weights to begin from; `trained` is what they say of their training, None of those of earlier versions."""

    folder: FoldFolder
    plan: Plan
    configuration: Configuration
    name: str  # of the configuration
    facts: dict[str, Any]
    trained: TrainedWith | None

    @property
    def is_pretraining(self) -> bool:
        return _is_of_pretraining(self.folder, self.facts)

    @property
    def digest(self) -> str:
        return read_digest(self.folder.checkpoint)

    @property
    def meaning(self) -> Meaning:
        """What its weights stand for; the outputs of a pre-training are no labels."""
        known = self.facts.get(ENCODER)
        encoder = None if known is None else ConditionEncoder.model_validate(known)
        heads = () if self.is_pretraining else self.plan.labels.heads
        return meaning(self.plan, self.configuration, encoder, heads)

    @property
    def names_its_cases(self) -> bool:
        """Whether it says which cases it was trained on; what other programs have trained does not."""
        return bool(self.facts.get("training"))

    @property
    def seen(self) -> frozenset[str]:
        """Each case that the weights, or those that they began with, were trained on, as `DATASET__CASE`."""
        training = self.facts.get("training", ())
        own = training if self.is_pretraining else (qualified(self.plan.dataset, name) for name in training)
        before = self.trained.initial_weights if self.trained is not None else None
        return frozenset(own) | frozenset(before.seen if before is not None else ())

    @property
    def images(self) -> frozenset[str]:
        """Digests of the images that the weights, or those that they began with, were trained on, as far as they say."""
        if self.trained is None:
            return frozenset()
        known, before = self.trained.cases, self.trained.initial_weights
        own = {known[name]["image"] for name in self.facts.get("training", ()) if "image" in known.get(name, {})}
        return frozenset(own.union(() if before is None else before.images))

    def read_weights(self) -> dict[str, torch.Tensor]:
        return load_weights(self.folder.checkpoint)[0]


def _is_pretraining(folder: FoldFolder) -> bool:
    """Whether these are the weights of a pre-training; those that are not there yet are refused where they are read."""
    return folder.is_trained and _is_of_pretraining(folder, read_facts(folder.checkpoint))


def _is_of_pretraining(folder: FoldFolder, facts: dict[str, Any]) -> bool:
    return str(facts.get("fold", folder.path.name)).startswith(PRETRAINED)


def meaning(plan: Plan, configuration: Configuration, encoder: ConditionEncoder | None, heads: tuple[str, ...]) -> Meaning:
    """What a model's weights stand for, with the conditions that an encoder makes numbers of."""
    if encoder is None:
        return Meaning(plan, configuration, NO_CONDITIONS, heads)
    inputs = tuple(f"{part.name} {getattr(part, 'categories', getattr(part, 'order', ''))}" for part in encoder.parts)
    return Meaning(plan, configuration, encoder.layout, heads, inputs)


def source_path(workspace: Workspace, path: Path) -> str:
    """How a plan names the folder: from the home of the workspace on where it lies there, so that both may be moved."""
    absolute = path.expanduser().absolute()
    return absolute.relative_to(workspace.home).as_posix() if absolute.is_relative_to(workspace.home) else str(absolute)


def transfer_from(workspace: Workspace, path: str | Path | None, freeze: str = "none", *, allow_seen: bool = False
                  ) -> Transfer | None:
    """What a plan says of a training that begins from the model in a folder; None without a folder."""
    if path is None:
        return None
    learned_from = "images" if _is_pretraining(FoldFolder(Path(path))) else "labels"
    return Transfer.model_validate({"source": source_path(workspace, Path(path)), "learned_from": learned_from,
                                    "freeze": freeze, "allow_seen": allow_seen})


@contextmanager
def opened_source(path: Path, fold: int | str) -> Iterator[Source]:
    """`open_source` of a folder, or of a model in one file (autoseg_export_model): of the first that its choice names. What
    comes of a file can be read as long as this lasts.
    """
    if not is_archive(path):
        yield open_source(path, fold)
        return
    with opened(path) as (inside, manifest):
        member = read_model(inside.inference_settings(manifest.dataset), InferenceSettings).members[0]
        yield open_source(inside.model(manifest.dataset, member.planner, member.configuration).path, fold)


def open_source(path: Path, fold: int | str) -> Source:
    """The weights in the folder of a pre-training, of a fold, or of a model: there the fold of the same number is taken,
    else `all`, else the first one that is trained. Raises UserError where there are none.
    """
    folder = _folder(path, fold)
    facts = read_facts(folder.checkpoint)
    trained = trained_with(facts, folder.checkpoint)
    if trained is not None:
        plan, name = trained.plan, trained.configuration
    else:  # weights of an earlier version
        own = folder.path / "plan.json"
        plan = read_model(own, Plan) if own.is_file() else ModelFolder(folder.path.parent).read_plan()
        name = str(facts.get("configuration", folder.path.parent.name))
    if name not in plan.configurations:
        raise UserError("the plan of the model to begin from lacks its configuration", where=folder.path, found=name,
                        expected=listed(plan.configurations))
    return Source(folder, plan, plan.configurations[name], name, facts, trained)


def _folder(path: Path, fold: int | str) -> FoldFolder:
    do = "name the folder of a pre-training (.../pretrained_mae), of a model (with plan.json and fold_0) or of one fold"
    if not path.is_dir():
        raise UserError("there is no model to begin from", where=path, found="a file" if path.exists() else "nothing", do=do)
    if (alone := FoldFolder(path)).is_trained:
        return alone
    trained = {folder.name: folder for folder in ModelFolder(path).all_folds() if folder.is_trained}
    if not trained:
        below = trained_below(path)
        raise UserError("the model to begin from has no trained weights", where=path,
                        found="it was started and is not finished" if alone.is_started else
                        f"models further down: {listed(below)}" if below else "no checkpoint",
                        do="finish its training first" if alone.is_started else do)
    return trained.get(str(fold)) or trained.get("all") or next(iter(trained.values()))
