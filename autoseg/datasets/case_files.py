"""Which files of a folder are the images and the labels of cases. Whatever is not used is named.

Files of every ending that is read are used, in upper and lower case; pictures (PNG, JPEG, BMP) only where the dataset's own
format is one, volumes and TIFF only where it is none: a preview beside a volume is no channel of it.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, listed
from autoseg.formats import READERS, known_ending
from autoseg.formats.files import Entries, is_file, list_entries, no_file

_CHANNEL_SUFFIX = re.compile(r"(.+)_(\d{4})")
_IMAGE_NAME = re.compile(r"(.+?)_(\d{4})(?:\..*)?")  # whatever the ending
# They lie beside images, but nobody takes them for one.
_DOCUMENTS = (".json", ".txt", ".csv", ".tsv", ".xls", ".xlsx", ".ods", ".md", ".html", ".pdf", ".yaml", ".yml", ".xml",
              ".log", ".bval", ".bvec", ".py", ".sh", ".ini", ".db", ".md5", ".sha256", ".bak", ".ds_store")
_EXAMPLES = 3

Slot = tuple[str, int]  # case and channel


@dataclass(frozen=True)
class LostFile:
    """A file that is not used although nothing else holds what it holds: what is wrong with it, and where it belongs."""

    case: str
    channel: int
    sentence: str


@dataclass(frozen=True)
class SortedFolder:
    """The files of a folder: by case and channel, those without a channel, and what is not used."""

    slots: dict[str, dict[int, Path]]
    unnamed: tuple[Path, ...] = ()  # their names have no channel suffix
    lost: tuple[LostFile, ...] = ()
    warnings: tuple[str, ...] = ()


def stem_of(path: Path) -> str:
    """The name of a file without its registered ending."""
    return path.name[:-len(known_ending(path.name) or "")]


def channel_of(stem: str) -> Slot | None:
    """Case and channel that a name without its ending says; None where it has no channel suffix."""
    parts = _CHANNEL_SUFFIX.fullmatch(stem)
    return None if parts is None else (parts[1], int(parts[2]))


def sort_images(folder: Path, file_ending: str, *, any_format: bool = False, suffix_optional: bool = False) -> SortedFolder:
    """The images of a folder by case and channel. A link to nothing has its place, too: whoever reads it says so.

    With `any_format` other formats are taken where the dataset's own is not there. With `suffix_optional` (of a single
    channel) names without a channel suffix are cases, where no name has one.
    """
    entries = list_entries(folder)
    used = _used(entries, file_ending, any_format)
    named = [(slot, path) for path in used if (slot := channel_of(stem_of(path))) is not None]
    unnamed = [path for path in used if channel_of(stem_of(path)) is None]
    if suffix_optional and not named:
        named, unnamed = [((stem_of(path), 0), path) for path in unnamed], []
    slots, lost = _without_duplicates(folder, named)
    cases = {case for case, _ in slots}

    def lost_slot(path: Path) -> Slot | None:
        parts = _IMAGE_NAME.fullmatch(path.name)
        slot = (parts[1], int(parts[2])) if parts else None
        if slot is None and suffix_optional and known_ending(path.name) is not None and stem_of(path) not in cases:
            slot = (stem_of(path), 0)
        return None if slot is None or slot in slots else slot

    others, warnings = _others(folder, entries, used, file_ending, lost_slot)
    by_case: dict[str, dict[int, Path]] = {}
    for (case, channel), path in slots.items():
        by_case.setdefault(case, {})[channel] = path
    return SortedFolder(by_case, tuple(unnamed), (*lost, *others), warnings)


def sort_labels(folder: Path, file_ending: str, cases: Collection[str]) -> SortedFolder:
    """The labels of a folder by case (their channel is 0); other files matter where one of `cases` has no label."""
    entries = list_entries(folder)
    used = _used(entries, file_ending, any_format=False)
    slots, lost = _without_duplicates(folder, [((stem_of(path), 0), path) for path in used])

    def lost_slot(path: Path) -> Slot | None:
        stems = [path.name, *(path.name[:i] for i, letter in enumerate(path.name) if letter == ".")]
        return next(((stem, 0) for stem in stems if stem in cases and (stem, 0) not in slots), None)

    others, warnings = _others(folder, entries, used, file_ending, lost_slot)
    return SortedFolder({case: {0: path} for (case, _), path in slots.items()}, (), (*lost, *others), warnings)


def broken_files(paths: Iterable[Path | None]) -> list[str]:
    """A fault for each path at which no file lies."""
    return [str(no_file(path)) for path in paths if path is not None and not is_file(path)]


def no_suffix(path: Path) -> str:
    """The fault of a name that says no channel."""
    expected = f"{stem_of(path)}_0000{known_ending(path.name) or ''}"
    return str(UserError("the name has no channel suffix", where=path, expected=expected, do="rename the file"))


def twins(cases: Collection[str]) -> list[str]:
    """Warnings of cases that differ by a channel suffix alone: likely one case, of which a name has two suffixes."""
    return [f"the cases {parts[0]} and {case} differ only by a channel's suffix; if they are one case, rename its files"
            for case in sorted(cases) if (parts := channel_of(case)) is not None and parts[0] in cases]


def _used(entries: Entries, file_ending: str, any_format: bool) -> list[Path]:
    """What is read as an image: files, links to nothing and folders with the name of a file."""
    named = [path for path in (*entries.files, *entries.broken, *entries.folders)
             if known_ending(path.name) is not None and not path.name.startswith(".")]
    flat = READERS.get(file_ending.lower()).flat
    used = [path for path in named if _is_flat(path) == flat]
    return sorted(named if any_format and not used else used)


def _is_flat(path: Path) -> bool:
    ending = known_ending(path.name)
    return ending is not None and READERS.get(ending).flat


def _without_duplicates(folder: Path, named: list[tuple[Slot, Path]]) -> tuple[dict[Slot, Path], list[LostFile]]:
    """One file per channel of a case. Of several nobody knows which is right: the case has none of them, and a fault."""
    paths_of: dict[Slot, list[Path]] = {}
    for slot, path in named:
        paths_of.setdefault(slot, []).append(path)
    lost = [LostFile(case, channel, str(UserError("several files have one place", where=folder, expected="one file",
                                                           found=" and ".join(path.name for path in paths),
                                                  do="remove or rename the others")))
            for (case, channel), paths in paths_of.items() if len(paths) > 1]
    ambiguous = {fault.case for fault in lost}
    return {slot: paths[0] for slot, paths in paths_of.items() if slot[0] not in ambiguous}, lost


def _others(folder: Path, entries: Entries, used: list[Path], file_ending: str,
            lost_slot: Callable[[Path], Slot | None]) -> tuple[list[LostFile], tuple[str, ...]]:
    """What is neither used nor belongs to a used file: lost, where a case lacks it, else a warning that names it."""
    taken = {*used, *_companions(entries, used)}
    lost, idle = [], []
    for path in sorted({*entries.files, *entries.broken} - taken):
        slot = None if path.name.lower().endswith(_DOCUMENTS) or path.name.startswith(".") else lost_slot(path)
        if slot is not None:
            lost.append(LostFile(*slot, _not_read(path, slot, file_ending)))
        elif not path.name.startswith(".") or known_ending(path.name) is not None:
            idle.append(path)
    folders = [path for path in entries.folders if path not in taken and not path.name.startswith(".")]
    sentences = ((idle, "file is not used", "files are not used"),
                 (folders, "sub-folder is not searched", "sub-folders are not searched"))
    return lost, tuple(f"{folder}: {len(paths)} {singular if len(paths) == 1 else plural} ({examples(paths)})"
                       for paths, singular, plural in sentences if paths)


def examples(paths: Collection[Path]) -> str:
    """The first names, and dots where there are more."""
    return listed([path.name for path in paths], _EXAMPLES)


def _companions(entries: Entries, used: list[Path]) -> set[Path]:
    """Files that belong to an image: what says more about it, and the voxels of a MetaImage header."""
    finders = ((path, READERS.get(known_ending(path.name) or "").beside) for path in used)
    beside = {other for path, find in finders if find is not None and (other := find(path)) is not None}
    stems = {stem_of(path) for path in used if path.name.lower().endswith(".mhd")}
    return beside | {path for path in entries.files if stems & {path.stem, Path(path.stem).stem}}


def _not_read(path: Path, slot: Slot, file_ending: str) -> str:
    ending = known_ending(path.name)
    if ending is None:
        kind = "an ending that is not read"
    elif READERS.get(ending).flat:
        kind = "a picture among volumes"
    else:
        kind = "a volume or TIFF among pictures"
    return str(UserError(f"the file is not used, and case {slot[0]} lacks what it holds", where=path, found=kind,
                         expected=f"a file in the format of the others ({file_ending})",
                         do="convert the file, or move it to another folder"))
