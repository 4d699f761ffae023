"""A dataset of others as it was read, before anything is written: by a recipe, or by the layout of another program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.recipe import Recipe, RecipeChannel, RecipeLabels
from autoseg.interop.tables import Rows
from planners.rules.splits import Split

_ANY = "{case}"  # the pattern of a recipe whose files are listed, not looked for


@dataclass(frozen=True)
class ForeignDataset:
    """`recipe` says what channels and labels are, and how files become ours. `rows` are what is known of each case beside
    its images, `keys` what dataset.json says beside the recipe's keys or in their place, `splits` the folds. `beside` are
    files that go along, by their places in the new folder. `faults` has a sentence for each case that is left out.

    `is_drafted`: optional channels, the reference channel, conditions and groups are drafted from what was imported.
    """

    recipe: Recipe
    files: SortedFiles
    rows: Rows = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[Split, ...] = ()
    beside: Mapping[str, Path] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    is_drafted: bool = False
    origin: str = ""  # the command's words that brought it in


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of a foreign dataset that its files do not say. Empty: nothing was said.

    `channels` are `NAME` or `NAME=WHERE`, `labels` columns or kinds of masks, by the layout.
    """

    name: str = ""
    channels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    id: str = ""
    group: str = ""
    fold: str = ""
    run: str = ""
    derivative: str = ""
    root: Path | None = None
    splits: Path | None = None


def listed_recipe(name: str, channels: Sequence[str], labels: RecipeLabels, file_ending: str, *, n_frames: int = 0,
                  title: str = "") -> Recipe:
    """The recipe of a dataset whose files are listed one by one. With `n_frames` a case is one file of so many volumes, one
    for each channel.
    """
    return Recipe(name=name, title=title, home_page="", licence="", layout=(_ANY,), file_ending=file_ending, labels=labels,
                  channels=tuple(RecipeChannel(name=channel, files=(_ANY,), frame=number if n_frames else None)
                                 for number, channel in enumerate(channels)))


def listed_labels(names: Mapping[str, Any], values: Mapping[str, int] | None = None) -> RecipeLabels:
    """Labels of files that are listed: label maps as they are or, with `values`, a binary file for each label of these."""
    return RecipeLabels(names={name: tuple(value) if isinstance(value, list) else value for name, value in names.items()},
                        files=(_ANY,), kind="map" if values is None else "organs", values=dict(values or {}))


def listed_case(name: str, images: Sequence[Path | None], label: Path | Mapping[str, Path] | None, *, held_out: bool = False
                ) -> FoundCase:
    """A case with at most one file per channel; its label is a map, or a binary file for each name."""
    masks = label.items() if isinstance(label, Mapping) else () if label is None else [("", label)]
    return FoundCase(name, {"case": name}, tuple(() if path is None else (path,) for path in images), tuple(masks), held_out)


def without_held_out(cases: Sequence[FoundCase]) -> list[FoundCase]:
    """The cases; where none of them has a label, none is held out either: they are images for pre-training."""
    return list(cases) if any(case.labels for case in cases) else [replace(case, held_out=False) for case in cases]
