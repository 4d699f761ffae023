"""Datasets of the Medical Segmentation Decathlon, and of nnU-Net v1, which took over its dataset.json.

The Decathlon has all channels of a case in one file of four axes, nnU-Net v1 in files CASE_0000, CASE_0001, ...
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case_files import broken_files, channel_of, stem_of
from autoseg.formats import known_ending
from autoseg.formats.files import is_file, list_files
from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.foreign import ForeignDataset, ReadOptions, listed_case, listed_labels, listed_recipe
from autoseg.interop.neighbours.names import repeated
from autoseg.interop.neighbours.nnunet import found_splits, held_out_labels, plain_name, refuse_no_description
from autoseg.workspace.files import read_json
from autoseg.workspace.names import DATASET_JSON
from planners.schema.base import Frozen, complaints_of
from planners.schema.names import fault_of_name

_TEXTS = ("name", "description", "reference", "licence", "license", "release")
_LEFT_BY_A_MAC = "._"

_Files = tuple[str, Sequence[Path | None]]  # the name of a case, and its file of each channel


class _Description(Frozen):
    """What is read of a dataset.json; it has many other keys."""

    modality: dict[str, str] = Field(min_length=1)
    labels: dict[str, str]
    training: tuple[dict[str, Any], ...]
    test: tuple[str | dict[str, Any], ...] = ()

    @property
    def channels(self) -> list[str]:
        return [self.modality[key] for key in sorted(self.modality, key=int)]

    @property
    def values(self) -> dict[str, int]:
        """The labels by name; 0 is the background, whatever it is called."""
        return {"background": 0} | {name: int(value) for value, name in self.labels.items() if int(value)}


def read_msd(source: Path, options: ReadOptions) -> ForeignDataset:
    """A task of the Decathlon. Raises UserError where its dataset.json is missing or is another one's."""
    description, content = _described(source)
    channels = description.channels

    def files_of(path: Path) -> _Files:
        return stem_of(path), [path] * len(channels)

    return _read(source, options, description, content, files_of, "msd", len(channels) if len(channels) > 1 else 0)


def read_nnunet_v1(source: Path, options: ReadOptions) -> ForeignDataset:
    """A folder TaskNNN_Name of nnU-Net v1. Raises UserError where its dataset.json is missing or is another one's."""
    description, content = _described(source)

    def files_of(path: Path) -> _Files:
        slot = channel_of(stem_of(path)) if is_file(path) else None  # some lists name the first channel's file
        stem, ending = slot[0] if slot is not None else stem_of(path), known_ending(path.name) or ""
        return stem, [path.with_name(f"{stem}_{number:04d}{ending}") for number in range(len(description.channels))]

    return _read(source, options, description, content, files_of, "nnunet_v1")


def _described(source: Path) -> tuple[_Description, Mapping[str, Any]]:
    refuse_no_description(source, "TaskNN_Name")
    path = source / DATASET_JSON
    content = read_json(path)
    if isinstance(content, dict) and "channel_names" in content:
        raise UserError("this is a dataset of nnU-Net v2", where=path, do=f"autoseg_import nnunet_v2 {source}")
    try:
        known = {key: content[key] for key in _Description.model_fields if key in content}
        description = _Description.model_validate(known)
        _refuse_odd_keys(description)
        return description.model_copy(update={"training": tuple(map(_checked_pair, description.training))}), content
    except (ValidationError, ValueError, TypeError) as error:
        found = complaints_of(error) if isinstance(error, ValidationError) else error
        raise UserError("this is no dataset.json of the Decathlon or of nnU-Net v1", where=path, found=found,
                        expected="modality, labels, training and test") from None


def _refuse_odd_keys(description: _Description) -> None:
    """ValueError where channels or labels are not called by numbers, or two labels have one name."""
    for key, names in (("modality", description.modality), ("labels", description.labels)):
        if odd := [number for number in names if not number.isdecimal()]:
            raise ValueError(f"{key}: {odd[0]!r} is no number; it has the form {{\"0\": \"name\", \"1\": ...}}")
    if twice := sorted(repeated(description.labels.values())):
        raise ValueError(f"labels: several values are called {twice[0]!r}; give each a name of its own")


def _checked_pair(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A training case as it is listed; ValueError where it names no image or no label."""
    if not all(isinstance(pair.get(key), str) and pair[key] for key in ("image", "label")):
        raise ValueError(f"training: {str(pair)[:80]} names no image or no label")
    return dict(pair)


def _read(source: Path, options: ReadOptions, description: _Description, content: Mapping[str, Any],
          files_of: Callable[[Path], _Files], origin: str, n_frames: int = 0) -> ForeignDataset:
    pairs = [(source / pair["image"], source / pair["label"]) for pair in description.training]
    pairs = [pair for pair in pairs if not pair[0].name.startswith(_LEFT_BY_A_MAC)]
    listed_tests = [entry if isinstance(entry, str) else str(entry.get("image", "")) for entry in description.test]
    tests = [source / text for text in listed_tests if not Path(text).name.startswith(_LEFT_BY_A_MAC)]
    images = [*(image for image, _ in pairs), *tests]
    ending = next((known for path in images if (known := known_ending(path.name))), ".nii.gz")
    cases, faults = list[FoundCase](), list[str]()
    names = [stem_of(label) for _, label in pairs]
    twice = repeated(names)
    for name, (image, label) in zip(names, pairs, strict=True):
        _add(cases, faults, name, files_of(image)[1], label, is_twice=name in twice)
    warnings = _unlisted(source, [label for _, label in pairs])
    slots = [files_of(path) for path in tests]
    labels = held_out_labels(source / "labelsTs", ending, [name for name, _ in slots])
    for name, channels in slots:
        _add(cases, faults, name, channels, labels.get(name), held_out=True)
    splits, more = found_splits(source, options.splits)
    recipe = listed_recipe(options.name or plain_name(source), description.channels, listed_labels(description.values),
                           ending, n_frames=n_frames, title=str(content.get("description", "")))
    keys = {key: content[key] for key in _TEXTS if isinstance(content.get(key), str) and content[key]}
    return ForeignDataset(recipe, SortedFiles(tuple(cases), None, (*warnings, *more)), keys=keys, splits=splits,
                          faults=tuple(faults), origin=origin)


def _add(cases: list[FoundCase], faults: list[str], name: str, images: Sequence[Path | None], label: Path | None, *,
         held_out: bool = False, is_twice: bool = False) -> None:
    """A case, or why it is left out."""
    wrong = fault_of_name(name) or ("dataset.json lists it twice" if is_twice else "")
    missing = list(dict.fromkeys(broken_files((*images, label))))
    if wrong or missing:
        sentences = [f"case {name}: {text}" for text in ([wrong] if wrong else missing)]
        faults += [sentence for sentence in sentences if sentence not in faults]
    else:
        cases.append(listed_case(name, images, label, held_out=held_out))


def _unlisted(source: Path, labels: Sequence[Path]) -> list[str]:
    """A sentence where labels lie in the folder whose cases dataset.json does not list."""
    known = {path.name for path in labels}
    idle = [path.name for path in list_files(source / "labelsTr") if known_ending(path.name) and path.name not in known]
    return [f"dataset.json does not list the cases of {len(idle)} label{'s' * (len(idle) > 1)} of labelsTr "
            f"({listed(idle)}): they do not come along"] if idle else []
