"""Where a model came from that another program has trained: what an import wrote, and what it leaves out."""

from dataclasses import dataclass

from autoseg.base.version import __version__
from autoseg.workspace.folders import PRETRAINED, ModelFolder
from planners.schema.base import Frozen, versioned


class ImportedFold(Frozen):
    """The checkpoint of a fold, its SHA-256, and the epoch that it was saved after (None: it does not say)."""

    checkpoint: str
    sha256: str
    epoch: int | None = None


class ImportedModel(Frozen):
    """`imported.json` of a model: the program that trained it, its trainer and plans, and the folds. `remarks` say what
    differs from that program, or was left out.
    """

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    program: str
    trainer: str = ""
    plans: str = ""
    folds: dict[str, ImportedFold]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """A model that was imported: its folder, and what its `imported.json` says."""

    model: ModelFolder
    record: ImportedModel


def in_words(imported: Imported) -> list[str]:
    """What was imported, and what should be known of it: a line each."""
    model, record = imported.model, imported.record
    checkpoints = sorted({fold.checkpoint for fold in record.folds.values()})
    folds = ", ".join(fold.replace("_", " ") if fold.startswith(PRETRAINED) else f"fold {fold}" for fold in record.folds)
    return [f"{model.dataset} {model.title} of {record.program}, {folds} ({', '.join(checkpoints)}): {model.path}",
            *(f"note: {remark}" for remark in record.remarks)]
