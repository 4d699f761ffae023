"""Data lists of MONAI and its Auto3DSeg: a JSON file with lists of cases, each with the paths of images and a label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.base.errors import AutosegError, UserError, listed
from autoseg.datasets.case_files import broken_files, stem_of
from autoseg.formats import known_ending
from autoseg.formats.nifti import count_volumes
from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.foreign import (
    ForeignDataset,
    ReadOptions,
    listed_case,
    listed_labels,
    listed_recipe,
    without_held_out,
)
from autoseg.interop.neighbours.names import (
    NO_LABELS,
    case_name,
    names_of_files,
    repeated,
    splits_of,
    values_as_names,
)
from autoseg.interop.recipe import RecipeLabels
from autoseg.training.splits import users_splits
from autoseg.workspace.files import read_json
from planners.rules.splits import Split

_TRAINING, _VALIDATION, _TESTS = "training", "validation", ("testing", "test")
_NAMES = ("id", "case", "case_id", "name", "subject_id")  # keys of an item that may name its case
_FOLD = "fold"
_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class _Item:
    """A case of a list: its images (None: it lacks the channel), its label (a file, or one for each name), and the key
    `fold`.
    """

    part: str
    images: tuple[Path | None, ...]
    label: Path | dict[str, Path] | None
    name: str
    fold: str

    @property
    def files(self) -> list[Path]:
        labels = [] if self.label is None else [self.label] if isinstance(self.label, Path) else [*self.label.values()]
        return [*filter(None, self.images), *labels]

    @property
    def naming(self) -> Path:
        """The file whose name is the case's where nothing else names it."""
        return self.label if isinstance(self.label, Path) else next(filter(None, self.images))


def read_monai_datalist(source: Path, options: ReadOptions) -> ForeignDataset:
    """The dataset of a data list; paths are relative to its folder, or to `options.root`.

    Items of `testing`, and those of `validation` where the training items have folds, are held out. Raises UserError where
    the file is no such list, or does not say what the channels are.
    """
    content = read_json(source)
    items, faults = _items(source, content, options.root or source.parent)
    if not items:
        raise UserError("this is no data list of MONAI", where=source,
                        found="; ".join(faults) or listed(content) or "nothing",
                        expected='{"training": [{"image": ..., "label": ...}]}')
    names = _names(items)
    twice = repeated(names)
    has_folds = any(item.fold for item in items)
    n_frames = _n_frames(items)
    n_files = max(len(item.images) for item in items)
    n_channels = n_frames or n_files
    cases, kept = list[FoundCase](), dict[str, _Item]()
    for name, item in zip(names, items, strict=True):
        wrong = _faults(name, item, n_files, is_twice=name in twice)
        faults += [f"{source}, {item.part}, case {name or '?'}: {fault}" for fault in wrong]
        if not wrong:
            held_out = item.part in _TESTS or (item.part == _VALIDATION and has_folds) or item.label is None
            images = list(item.images) * (n_frames or 1)
            cases.append(listed_case(name, images, item.label, held_out=held_out))
            kept[name] = item
    labels, warnings = _labels(content, cases)
    ending = next((known for item in items for path in filter(None, item.images) if (known := known_ending(path.name))),
                  ".nii.gz")
    recipe = listed_recipe(options.name or str(content.get("name") or source.stem),
                           _channels(source, content, options.channels, n_channels), labels, ending, n_frames=n_frames)
    splits = users_splits(options.splits) if options.splits else _splits(kept, has_folds=has_folds)
    files = SortedFiles(tuple(without_held_out(cases)), None, tuple(warnings))
    return ForeignDataset(recipe, files, splits=splits, faults=tuple(faults), origin="monai_datalist", is_drafted=True)


def _items(source: Path, content: Any, root: Path) -> tuple[list[_Item], list[str]]:
    """The cases of all lists, and a sentence for each entry that is none."""
    items, faults = list[_Item](), list[str]()
    parts = content if isinstance(content, dict) else {}
    for part in (_TRAINING, _VALIDATION, *_TESTS):
        entries = parts.get(part)
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            entry = {"image": entry} if isinstance(entry, str | list) else entry
            images, label = _paths(root, _value(entry, "image")), _label(root, _value(entry, "label"))
            if not any(images):
                faults.append(f"{source}, {part}, entry {number}: it names no image")
                continue
            named = next((str(entry[key]) for key in _NAMES if entry.get(key)), "")
            fold = entry.get(_FOLD)
            items.append(_Item(part, images, label, named, "" if fold is None else str(fold)))
    return items, faults


def _value(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _paths(root: Path, value: Any) -> tuple[Path | None, ...]:
    """The files of a path or of a list of paths; None in the place of what is no path."""
    texts = value if isinstance(value, list) else [value]
    return tuple(root / text if isinstance(text, str) and text else None for text in texts)


def _label(root: Path, value: Any) -> Path | dict[str, Path] | None:
    if isinstance(value, dict):
        return {str(name): root / text for name, text in value.items() if isinstance(text, str) and text} or None
    paths = [path for path in _paths(root, value) if path is not None]
    return paths[0] if len(paths) == 1 else {stem_of(path): path for path in paths} or None


def _names(items: Sequence[_Item]) -> list[str]:
    if all(item.name for item in items):
        return [case_name(item.name) for item in items]
    return names_of_files([item.naming for item in items])


def _faults(name: str, item: _Item, n_files: int, *, is_twice: bool) -> list[str]:
    if not name:
        return ["it has no name that can be one of files"]
    if is_twice:
        return ["several entries are of this case"]
    if len(item.images) != n_files:
        return [f"it names {len(item.images)} of {n_files} images; write null in the place of one that it lacks"]
    return broken_files(item.files)


def _n_frames(items: Sequence[_Item]) -> int:
    """The number of volumes of images of four axes, of the first item that can be read; 0 where they have three."""
    for item in items:
        image = item.images[0]
        if len(item.images) == 1 and image is not None and known_ending(image.name) in _NIFTI and not broken_files([image]):
            try:
                n = count_volumes(image)
            except AutosegError:
                continue
            return n if n > 1 else 0
    return 0


def _channels(source: Path, content: Mapping[str, Any], chosen: Sequence[str], n: int) -> list[str]:
    said = content.get("modality")
    names = list(chosen)
    if not names and isinstance(said, dict):
        names = [str(said[key]) for key in sorted(said, key=lambda key: (len(str(key)), str(key)))]
    elif not names and isinstance(said, str):
        names = [said] if n == 1 else [f"{said}_{number}" for number in range(n)]
    if len(names) != n:
        raise UserError(f"what {'are the channels' if n > 1 else 'is the channel'} of the images? It decides how they are "
                        "normalised", where=source, found=listed(names) or "no names", expected=f"{n} names",
                        do=f"say it with --channel NAME (such as CT or MR_T1){', once for each in their order' * (n > 1)}")
    return names


def _labels(content: Mapping[str, Any], cases: Sequence[FoundCase]) -> tuple[RecipeLabels, list[str]]:
    """Names and values, as the file says them (`labels` of the Decathlon) or as the label files hold them."""
    paths = [path for case in cases for _, path in case.labels]
    organs = list(dict.fromkeys(organ for case in cases for organ, _ in case.labels if organ))
    if organs and not any({organ for organ, _ in case.labels} == {*organs} for case in cases):
        raise UserError("the label files of the cases do not have the same names", found=listed(organs),
                        expected='one name for each label: {"label": {"liver": "a.nii.gz", "tumour": "b.nii.gz"}}')
    if organs:
        values = {organ: number for number, organ in enumerate(organs, start=1)}
        return listed_labels({"background": 0, **values}, values), []
    said = content.get("labels")
    if isinstance(said, dict) and said:
        pairs = [(name, value) if isinstance(value, int) else (value, name) for name, value in said.items()]
        if all(str(value).isdecimal() for _, value in pairs):
            return listed_labels({"background": 0} | {str(name): int(value) for name, value in pairs if int(value)}), []
    if not paths:
        return listed_labels(NO_LABELS), []
    names, warnings = values_as_names(paths)
    return listed_labels(names), warnings


def _splits(items: Mapping[str, _Item], *, has_folds: bool) -> tuple[Split, ...]:
    """Folds by the key `fold` or, without any, the lists `training` and `validation` as one fold."""
    if has_folds:
        return splits_of({name: item.fold for name, item in items.items() if item.part == _TRAINING and item.label})[0]
    return splits_of({name: item.part for name, item in items.items() if item.part not in _TESTS and item.label})[0]
