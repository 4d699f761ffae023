"""What a recipe finds below a folder: cases with the files of each channel and of their labels. Nothing is opened."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.base.errors import UserError, listed
from autoseg.formats.files import list_tree
from autoseg.interop.patterns import filled, parts_of_path, plain
from autoseg.interop.recipe import Recipe
from planners.schema.names import fault_of_name

_SHOWN = 4


@dataclass(frozen=True)
class FoundCase:
    """A case: its files by channel (a series has several, a missing channel none) and those of its labels, each with the
    organ that it holds (empty: all labels).
    """

    name: str
    parts: Mapping[str, str]
    images: tuple[tuple[Path, ...], ...]
    labels: tuple[tuple[str, Path], ...]
    held_out: bool
    info: Path | None = None


@dataclass(frozen=True)
class SortedFiles:
    """The cases that can be imported, the clinical table, and a sentence for each case that is left out."""

    cases: tuple[FoundCase, ...]
    table: Path | None
    warnings: tuple[str, ...]


@dataclass
class _Growing:
    parts: dict[str, str] = field(default_factory=dict)
    images: dict[int, list[Path]] = field(default_factory=dict)
    labels: list[tuple[str, Path]] = field(default_factory=list)
    info: Path | None = None


def find_cases(recipe: Recipe, folder: Path) -> SortedFiles:
    """The cases of a dataset as it was unpacked. Raises UserError where the folder holds no image of this recipe."""
    paths = list_tree(folder)
    growing: dict[str, _Growing] = {}
    for path in paths:
        _sort(recipe, path, growing)
    growing = {name: case for name, case in growing.items() if case.images}
    if not growing:
        raise UserError(f"no image of {recipe.name} lies here", where=folder,
                        found=listed((path.relative_to(folder).as_posix() for path in paths), _SHOWN) or "no file",
                        expected=listed(recipe.layout, len(recipe.layout)),
                        do=f"name the folder where the download was unpacked ({recipe.home_page})")
    _add_info(recipe, paths, growing)
    has_labels = any(case.labels for case in growing.values()) or not recipe.labels.optional
    cases, left_out = [], dict[str, list[str]]()
    for name, case in sorted(growing.items()):
        candidate = _found_case(recipe, name, case, has_labels=has_labels)
        why = _fault(recipe, candidate, has_labels=has_labels)
        if why:
            left_out.setdefault(why, []).append(name)
        else:
            cases.append(candidate)
    warnings = tuple(f"{len(names)} case{'s are' if len(names) > 1 else ' is'} left out, {why} ({listed(names, _SHOWN)})"
                     for why, names in left_out.items())
    if not cases:
        raise UserError(f"no case of {recipe.name} is whole here", where=folder, found="; ".join(warnings),
                        expected=listed(recipe.layout, len(recipe.layout)))
    if all(case.held_out for case in cases):
        raise UserError(f"only held-out cases of {recipe.name} are here", where=folder, found=f"{len(cases)} cases",
                        expected=listed(recipe.layout, len(recipe.layout)), do="unpack the training part, too")
    return SortedFiles(tuple(cases), _table(recipe, paths), warnings)


def _sort(recipe: Recipe, path: Path, growing: dict[str, _Growing]) -> None:
    """Put a file where it belongs: labels first, since a series of theirs may lie among those of images."""
    for pattern in recipe.labels.files:
        if (case := _case(recipe, pattern, path, growing)) is not None:
            case[0].labels.append((case[1].get("organ", ""), path))
            return
    for number, channel in enumerate(recipe.channels):
        for pattern in channel.files:
            if (case := _case(recipe, pattern, path, growing)) is not None:
                case[0].images.setdefault(number, []).append(path)
                case[0].parts.update(case[1])
                break


def _add_info(recipe: Recipe, paths: Iterable[Path], growing: Mapping[str, _Growing]) -> None:
    """The file of what is known of each case: the one whose named parts are among the case's."""
    if recipe.table is None or not recipe.table.info:
        return
    infos = [(parts, path) for path in paths if (parts := parts_of_path(recipe.table.info, path)) is not None]
    for case in growing.values():
        case.info = next((path for parts, path in infos if parts.items() <= case.parts.items()), None)


def _case(recipe: Recipe, pattern: str, path: Path, growing: dict[str, _Growing]
          ) -> tuple[_Growing, dict[str, str]] | None:
    parts = parts_of_path(pattern, path)
    name = None if parts is None else filled(recipe.case, parts)
    if parts is None or name is None or fault_of_name(name):
        return None
    return growing.setdefault(name, _Growing()), parts


def _found_case(recipe: Recipe, name: str, case: _Growing, *, has_labels: bool) -> FoundCase:
    held_out = any(case.parts.get(part) in values for part, values in recipe.held_out.items())
    held_out |= has_labels and recipe.labels.optional and not case.labels
    images = tuple(tuple(case.images.get(number, ())) for number in range(len(recipe.channels)))
    return FoundCase(name, dict(case.parts), images, tuple(case.labels), held_out, case.info)


def _fault(recipe: Recipe, case: FoundCase, *, has_labels: bool) -> str:
    """Why a case cannot be imported, in words; empty where it can."""
    for channel, files in zip(recipe.channels, case.images, strict=True):
        if not files and not channel.optional:
            return f"the channel {channel.name} is missing: {plain(channel.files[0])}"
        if len(files) > 1 and recipe.format == "files":
            return f"several files are there for the channel {channel.name}"
    if has_labels and not case.labels and not case.held_out:
        return f"the label is missing: {plain(recipe.labels.files[0])}"
    if recipe.labels.kind in ("map", "segments") and len(case.labels) > 1:
        return "several files are there for the label"
    organs = [organ for organ, _ in case.labels if recipe.labels.kind == "organs"]
    if len(set(organs)) < len(organs):
        return "several files are there for one organ"
    return ""


def _table(recipe: Recipe, paths: Iterable[Path]) -> Path | None:
    patterns: Sequence[str] = () if recipe.table is None else recipe.table.files
    return next((path for pattern in patterns for path in paths if parts_of_path(pattern, path) is not None), None)
