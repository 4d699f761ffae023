"""The masks of a BIDS tree: label maps (`dseg`), or binary masks (`mask`), one for each label, and what they are called."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.table import read_table
from autoseg.formats.files import is_file
from autoseg.interop.foreign import listed_labels
from autoseg.interop.neighbours.names import NO_LABELS, values_as_names
from autoseg.interop.recipe import RecipeLabels
from autoseg.workspace.files import read_json

MAP, MASK = "dseg", "mask"
MASK_SUFFIXES = (MAP, MASK)
_NAMING = ("label", "desc", "seg")  # entities that say what a binary mask is of, the first that it has


class MaskFile(Protocol):
    """A mask, and its name without participant, session and run."""

    @property
    def path(self) -> Path: ...

    @property
    def rest(self) -> str: ...


def chosen_kinds(source: Path, masks: Iterable[MaskFile], chosen: Sequence[str]) -> list[str]:
    """Which kinds of masks are the labels: those that were chosen, the only one, or binary masks of different labels.

    Raises UserError where a kind is not there, or where it is not clear which of several is meant.
    """
    known = sorted({mask.rest for mask in masks})
    if unknown := [kind for kind in chosen if kind not in known]:
        raise UserError(f"no mask is called {unknown[0]!r}{hint(unknown[0], known)}", where=source,
                        expected=listed(known, len(known)), do="correct --label")
    kinds = list(chosen) or known
    names = [label_name(kind) for kind in kinds]
    are_masks = all(kind.endswith(MASK) for kind in kinds)
    if len(kinds) > 1 and not (are_masks and len(set(names)) == len(names)):
        raise UserError("which masks are the labels?", where=source, found=listed(kinds, len(kinds)),
                        do=f"say it with --label {kinds[0]}, once for each of several binary masks")
    return kinds


def label_name(kind: str) -> str:
    """What a binary mask is of.

    >>> [label_name(kind) for kind in ("space-T1w_label-lesion_mask", "desc-brain_mask", "mask")]
    ['lesion', 'brain', 'mask']
    """
    entities = dict(text.split("-", 1) for text in kind.split("_") if "-" in text)
    return next((entities[key] for key in _NAMING if key in entities), MASK)


def label_files(kinds: Sequence[str], masks: Mapping[str, Path]) -> Path | dict[str, Path] | None:
    """The label of a case: its map, or its binary masks by their names; None where it has none."""
    if not masks:
        return None
    if kinds[0].endswith(MAP):
        return masks[kinds[0]]
    return {label_name(kind): path for kind, path in masks.items()}


def labels_of_kinds(source: Path, kinds: Sequence[str], masks: Sequence[MaskFile]) -> tuple[RecipeLabels, list[str]]:
    """Names and values: of a map by its table or JSON file, else as its files hold them; of binary masks by their names."""
    if not kinds:
        return listed_labels(NO_LABELS), []
    if kinds[0].endswith(MASK):
        values = {label_name(kind): number for number, kind in enumerate(kinds, start=1)}
        return listed_labels({"background": 0, **values}, values), []
    names = _names_of_map(source, kinds[0], [mask.path for mask in masks])
    if names:
        return listed_labels({"background": 0, **names}), []
    names, warnings = values_as_names([mask.path for mask in masks])
    return listed_labels(names), warnings


def _names_of_map(source: Path, kind: str, paths: Sequence[Path]) -> dict[str, int]:
    """The names of the first table or JSON file that lies beside the masks, or above them: the rule of inheritance."""
    for path in paths[:1]:
        folders = [folder for folder in path.parents if source in (folder, *folder.parents)]
        own = path.name.partition(".")[0]
        for folder in folders:
            for stem in (own, kind, MAP):
                if is_file(folder / f"{stem}.tsv"):
                    return _of_table(folder / f"{stem}.tsv")
                if is_file(folder / f"{stem}.json") and (names := _of_json(folder / f"{stem}.json")):
                    return names
    return {}


def _of_table(path: Path) -> dict[str, int]:
    table = read_table(path)
    index, name = table.position("index"), table.position("name")
    if index is None or name is None:
        raise UserError("the table of labels lacks a column", where=path, found=listed(table.columns),
                        expected="index, name")
    try:
        return {row.cells[name]: int(row.cells[index]) for row in table.rows if int(row.cells[index])}
    except ValueError as error:
        raise UserError("the table of labels has an index that is no whole number", where=path, found=error) from None


def _of_json(path: Path) -> dict[str, int]:
    """The names under `LabelMap` or `Labels` of a JSON file, whichever way round they are written, if it has any."""
    content = read_json(path)
    said: Any = next((content[key] for key in ("LabelMap", "Labels") if isinstance(content, dict) and key in content), None)
    if not isinstance(said, dict):
        return {}
    pairs = [(str(name), value) if isinstance(value, int) else (str(value), name) for name, value in said.items()]
    if not all(str(value).isdecimal() for _, value in pairs):
        return {}
    return {name: int(value) for name, value in pairs if int(value)}
