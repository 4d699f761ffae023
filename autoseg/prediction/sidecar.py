"""`labels.json` beside the masks: what their values mean, which models made them, and which masks these are.

It is written before the first mask, so that a later prediction into the same folder knows whose masks lie there even if this
one is stopped. Several predictions may write into one folder: each adds its masks.
"""

import logging
from collections.abc import Collection
from pathlib import Path

from autoseg.formats.files import is_file
from autoseg.prediction.inference_settings import Adaptation, Postprocessing
from autoseg.workspace.files import DamagedFile, keep_copy, read_model, write_json
from autoseg.workspace.locks import held
from planners.schema.base import Frozen, versioned

logger = logging.getLogger(__name__)

SIDECAR = "labels.json"


class Sidecar(Frozen):
    """`model`, a digest of weights and of how they predict, separates models; earlier versions have none.

    `masks` are of these models. Of `masks_of_other_models` it is known that others made them, of `masks_of_unknown_origin`
    nothing.
    """

    schema_version: int = versioned(1)
    autoseg_version: str
    dataset: str
    planner: str
    configuration: str
    folds: int
    labels: dict[str, int]
    postprocessing: Postprocessing
    model: str = ""
    adaptation: Adaptation | None = None  # networks were adapted to each case; None: they were not
    masks: tuple[str, ...] = ()
    masks_of_other_models: tuple[str, ...] = ()
    masks_of_unknown_origin: tuple[str, ...] = ()

    def is_of_the_models_of(self, other: "Sidecar") -> bool:
        """Whether both are of the same models, as far as is known."""
        if self.model and other.model:
            return self.model == other.model
        keys = ("dataset", "planner", "configuration", "folds", "postprocessing")
        return all(getattr(self, key) == getattr(other, key) for key in keys)


def begin(path: Path, own: Sidecar, there: Collection[str]) -> Sidecar:
    """Write whose masks lie in the folder before any is added, and return it. `there` are names of masks that a prediction
    by the models of `own` would write, and that are there already.
    """
    with held(path.parent):
        before = _read(path)
        if before is None and is_file(path):
            keep_copy(path)  # it may be another program's
        known = _as_seen_by(own, before, path.parent)
        unlisted = set(there).difference(known.masks, known.masks_of_other_models, known.masks_of_unknown_origin)
        if before is None:
            kind = "masks_of_unknown_origin"
        else:  # a prediction by the models of `before` was stopped
            kind = "masks" if before.is_of_the_models_of(own) else "masks_of_other_models"
        known = _with(known, kind, unlisted)
        write_json(path, known)
        return known


def add_masks(path: Path, own: Sidecar, written: Collection[str]) -> None:
    """Note masks that the models of `own` wrote, beside what others have noted meanwhile."""
    with held(path.parent):
        write_json(path, _with(_as_seen_by(own, _read(path), path.parent), "masks", set(written)))


def _as_seen_by(own: Sidecar, before: Sidecar | None, folder: Path) -> Sidecar:
    """What is known of the masks that still lie in the folder, as the models of `own` say it."""
    if before is None:
        return own
    if before.is_of_the_models_of(own):
        mine, others = before.masks, before.masks_of_other_models
    else:
        mine, others = (), (*before.masks, *before.masks_of_other_models)
    lists = {"masks": mine, "masks_of_other_models": others, "masks_of_unknown_origin": before.masks_of_unknown_origin}
    return own.model_copy(update={kind: tuple(name for name in names if is_file(folder / name))
                                  for kind, names in lists.items()})


def _with(sidecar: Sidecar, kind: str, names: Collection[str]) -> Sidecar:
    """The names in one list, and in no other."""
    kinds = ("masks", "masks_of_other_models", "masks_of_unknown_origin")
    return sidecar.model_copy(update={other: tuple(sorted(set(getattr(sidecar, other)).union(names) if other == kind
                                                          else set(getattr(sidecar, other)).difference(names)))
                                      for other in kinds})


def _read(path: Path) -> Sidecar | None:
    """What is noted; None where there is nothing, or, with a warning, a file that is damaged or of something else.

    Raises UserError for one of a later version.
    """
    if not is_file(path):
        return None
    try:
        return read_model(path, Sidecar)
    except DamagedFile as error:
        logger.warning("masks that are there already count as of unknown origin: %s", error)
        return None
