"""The schema of a recipe: how a public dataset, as it is downloaded, becomes a raw dataset. A recipe is data, not code.

Patterns name files below the folder that the user gives: `{case}/{case}_t1.nii.gz`. A part in braces stands for any text
within one name, or for what a regular expression says (`{set:train|valid}`); a part that comes twice is the same text both
times. Folders may lie before a pattern.
"""

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from autoseg.interop.patterns import compiled, filled
from planners.schema.base import Frozen, versioned
from planners.schema.channels import Registration


class RecipeChannel(Frozen):
    """A channel of the images. `frame` is its number (from 0) in files of several volumes (x, y, z, channel)."""

    name: str
    files: tuple[str, ...] = Field(min_length=1)
    frame: int | None = None
    optional: bool = False
    registration: Registration | None = None


class RecipeLabels(Frozen):
    """The labels and their files.

    `map`: one file per case. `organs`: a binary file for each label, which the part `{organ}` names. `slices`: a picture
    for each slice of the first channel, by the same name or else in the same order. `segments`: a DICOM-SEG, which also says
    which series is the image. `values` maps what the files hold (a value, a range such as `55-70`, an organ, a segment in
    lower case) to label values; of two that overlap, the later one is kept. Empty: the values are as they are.
    """

    names: dict[str, int | tuple[int, ...]]
    files: tuple[str, ...] = Field(min_length=1)
    kind: Literal["map", "organs", "slices", "segments"] = "map"
    values: dict[str, int] = Field(default_factory=dict)
    regions_class_order: tuple[int, ...] | None = None
    paired: tuple[tuple[str, str], ...] = ()
    optional: bool = False


class NameColumn(Frozen):
    """A column of the table that names of files say: the named part itself; or a word by its number, of the highest limit
    that it reaches (`from_number`); or which of some keys of the `info` file has this number (`among`).
    """

    part: str
    from_number: dict[str, str] = Field(default_factory=dict)
    among: tuple[str, ...] = ()


class RecipeTable(Frozen):
    """What is known of each case beside its images. All of it is written to one table.

    `info` is the pattern of a file of lines `key: value` beside each case; `info_columns` are taken over. `files` is the
    published clinical table, whose column `id` holds the named part `id_part` (empty: the name of the case).
    """

    columns: dict[str, NameColumn] = Field(default_factory=dict)
    info: str = ""
    info_columns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    id: str = ""
    id_part: str = ""
    conditions: dict[str, dict[str, Any]] = Field(default_factory=dict)  # as in dataset.json, conditions: columns
    patient: str = ""  # the column that says which cases are of one patient
    modality_column: dict[str, str] = Field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = Field(default_factory=dict)  # as in dataset.json


class Figure(Frozen):
    """A published figure to compare with."""

    figure: str
    source: str


class Archive(Frozen):
    """A published checksum of a file that is downloaded."""

    file: str
    kind: Literal["md5", "sha256"]
    checksum: str


class Recipe(Frozen):
    """One public dataset, or one variant of it."""

    schema_version: int = versioned(1)
    name: str = ""  # of its file, and of the variant
    aliases: tuple[str, ...] = ()
    title: str
    home_page: str
    licence: str
    citation: str = ""
    layout: tuple[str, ...] = Field(min_length=1)  # lines that show what lies below the folder
    format: Literal["files", "dicom"] = "files"  # of the images
    case: str = "{case}"
    file_ending: str = ".nii.gz"
    channels: tuple[RecipeChannel, ...] = Field(min_length=1)
    reference_channel: str = ""
    labels: RecipeLabels
    held_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # cases whose named part is one of these
    table: RecipeTable | None = None
    counts: dict[Literal["training", "held_out"], int] = Field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    phases: str = ""
    notes: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()  # what this recipe says that nobody has checked on the data
    published: tuple[Figure, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Recipe":
        known = {value for entry in self.labels.names.values() for value in ((entry,) if isinstance(entry, int) else entry)}
        if unknown := set(self.labels.values.values()) - known:
            raise ValueError(f"label values {sorted(unknown)} have no name")
        if self.labels.kind in ("organs", "segments") and not self.labels.values:
            raise ValueError(f"labels of the kind {self.labels.kind!r} need 'values'")
        for pattern in (*(file for channel in self.channels for file in channel.files), *self.labels.files):
            _check_pattern(pattern, self.case)
        return self


def _check_pattern(pattern: str, case: str) -> None:
    """ValueError where a pattern is no expression, or lacks a part of the template that names the case: it would find no
    file, and nobody would know why.
    """
    try:
        parts = compiled(pattern).groupindex
        named = filled(case, dict.fromkeys(parts, "x"))
    except (re.error, ValueError, AttributeError) as error:
        raise ValueError(f"the pattern {pattern!r} or the name of a case {case!r} cannot be read: {error}") from None
    if named is None:
        raise ValueError(f"the pattern {pattern!r} lacks a part of the name of a case, {case!r}")


class RecipeFile(Frozen):
    """A file of the catalogue: what all variants share, and what each variant has of its own, under its name."""

    schema_version: int = versioned(1)
    shared: dict[str, Any]
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def recipes(self, name: str) -> list[Recipe]:
        """The recipe of this name, or one `NAME_VARIANT` for each variant."""
        if not self.variants:
            return [Recipe.model_validate({**self.shared, "name": name})]
        return [Recipe.model_validate({**self.shared, **own, "name": f"{name}_{variant}"})
                for variant, own in self.variants.items()]
