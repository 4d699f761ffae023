"""Trees of BIDS (bids-specification.readthedocs.io, v1.10): images of participants and sessions, masks below derivatives.

The name of a file is a chain of entities `key-value` and a suffix. What is left of it without participant, session and run
is the name of a channel, such as `T1w` or `ce-gadolinium_T1w`; of a mask it says which kind it is: `label-lesion_mask`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.table import read_table
from autoseg.formats.files import is_file, list_tree
from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.foreign import (
    ForeignDataset,
    ReadOptions,
    listed_case,
    listed_recipe,
    without_held_out,
)
from autoseg.interop.neighbours.bids_labels import MASK_SUFFIXES, chosen_kinds, label_files, labels_of_kinds
from autoseg.interop.neighbours.names import repeated
from autoseg.interop.neighbours.nnunet import plain_name
from autoseg.interop.recipe import RecipeTable
from autoseg.interop.tables import Rows
from autoseg.training.splits import users_splits

_ENDINGS = (".nii.gz", ".nii")
_NAME = re.compile(r"((?:[a-zA-Z0-9]+-[a-zA-Z0-9.+]+_)+)([a-zA-Z0-9]+)")
_DERIVATIVES = "derivatives"
_SERIES = {"bold", "sbref", "dwi", "asl", "m0scan", "cbv"}  # suffixes of images over time, and what belongs to them
_NO_CHANNELS = {"fmap", "func", "dwi", "perf", "mrs"}  # folders whose files are no images of a moment
_PARTICIPANT, _SESSION = "participant_id", "session_id"


@dataclass(frozen=True)
class BidsFile:
    """A file by what its name says: the case (participant and session), the run, and the rest."""

    path: Path
    participant: str
    session: str
    run: str
    rest: str  # the other entities and the suffix
    suffix: str
    part: str = ""  # the folder in derivatives that it is from

    @property
    def case(self) -> str:
        return "_".join(filter(None, (self.participant, self.session)))


@dataclass
class _Case:
    images: dict[str, list[BidsFile]] = field(default_factory=dict)
    masks: dict[str, list[BidsFile]] = field(default_factory=dict)
    file: BidsFile | None = None


def read_bids(source: Path, options: ReadOptions) -> ForeignDataset:
    """The dataset of a BIDS tree. Channels that some cases lack are optional; cases without a mask are held out, if others
    have one. Raises UserError where the tree holds no image, or asks a question (several runs, several kinds of masks).
    """
    files = [file for path in list_tree(source) if (file := parsed(path, source)) is not None]
    images = [file for file in files if not file.part and file.suffix not in MASK_SUFFIXES]
    if not images:
        raise UserError("no image of a BIDS tree lies here", where=source,
                        expected="sub-ID/[ses-ID/]anat/sub-ID_T1w.nii.gz, masks in derivatives/NAME/sub-ID/...",
                        do="name the folder that holds sub-... and dataset_description.json")
    channels = _channels(source, images, options.channels)
    masks = _masks(source, files, options)
    kinds = chosen_kinds(source, masks, options.labels)
    cases: dict[str, _Case] = {}
    for kept, place in ((images, "images"), (masks, "masks")):
        for file in kept:
            if file.rest in (channels if place == "images" else kinds):
                case = cases.setdefault(file.case, _Case(file=file))
                getattr(case, place).setdefault(file.rest, []).append(file)
    _refuse_runs(source, cases, options.run)
    faults = _without_run(cases, options.run)
    listed_cases, warnings = _cases({name: case for name, case in cases.items() if name not in faults}, channels, kinds,
                                    options.run)
    if others := sorted({file.case for file in images} - cases.keys()):
        warnings.append(f"cases with no image of the channels are left out ({listed(others)})")
    labels, more = labels_of_kinds(source, kinds, [file for file in masks if file.rest in kinds])
    recipe = listed_recipe(options.name or plain_name(source), channels, labels, _ENDINGS[0])
    recipe = recipe.model_copy(update={"table": RecipeTable(patient=_PARTICIPANT)})
    rows = _rows(source, {name: case.file for name, case in cases.items() if case.file is not None})
    return ForeignDataset(recipe, SortedFiles(tuple(without_held_out(listed_cases)), None, (*warnings, *more)), rows,
                          splits=users_splits(options.splits) if options.splits else (), faults=tuple(faults.values()),
                          origin="bids", is_drafted=True)


def parsed(path: Path, source: Path) -> BidsFile | None:
    """An image or mask by its name; None for any other file."""
    ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
    match = _NAME.fullmatch(path.name.removesuffix(ending)) if ending else None
    folders = path.relative_to(source).parts[:-1]
    if match is None:
        return None
    entities = dict(text.split("-", 1) for text in match[1].strip("_").split("_"))
    part = folders[1] if len(folders) > 1 and folders[0] == _DERIVATIVES else ""
    is_other = folders[:1] != (_DERIVATIVES,) and (not folders or not folders[0].startswith("sub-"))
    if "sub" not in entities or is_other or match[2] in _SERIES or (not part and set(folders) & _NO_CHANNELS):
        return None
    rest = "_".join((*(f"{key}-{value}" for key, value in entities.items() if key not in ("sub", "ses", "run")), match[2]))
    session = f"ses-{entities['ses']}" if "ses" in entities else ""
    return BidsFile(path, f"sub-{entities['sub']}", session, entities.get("run", ""), rest, match[2], part)


def _channels(source: Path, images: Iterable[BidsFile], chosen: Sequence[str]) -> list[str]:
    """The channels: those that were chosen, else all that there are."""
    known = sorted({file.rest for file in images})
    if unknown := [name for name in chosen if name not in known]:
        raise UserError(f"no image is called {unknown[0]!r}{hint(unknown[0], known)}", where=source,
                        expected=listed(known, len(known)), do="correct --channel")
    return list(chosen) or known


def _masks(source: Path, files: Sequence[BidsFile], options: ReadOptions) -> list[BidsFile]:
    """The masks of one folder of derivatives, or of the raw tree where there are none."""
    masks = [file for file in files if file.suffix in MASK_SUFFIXES]
    parts = sorted({file.part for file in masks if file.part})
    if options.derivative and options.derivative not in parts:
        raise UserError(f"no masks lie in derivatives/{options.derivative}", where=source, found=listed(parts) or "none",
                        do="correct --derivative")
    if len(parts) > 1 and not options.derivative:
        raise UserError("which masks are the labels? Several folders of derivatives hold some", where=source,
                        found=listed(parts), do="say it with --derivative NAME")
    part = options.derivative or (parts[0] if parts else "")
    return [file for file in masks if file.part == part]


def _refuse_runs(source: Path, cases: Mapping[str, _Case], run: str) -> None:
    """A UserError where a case has several runs of one channel or mask, and nobody said which."""
    for name, case in cases.items():
        for rest, files in (*case.images.items(), *case.masks.items()):
            if len(files) > 1 and not run:
                raise UserError(f"case {name} has several runs of {rest}", where=source,
                                found=listed(f"run-{file.run}" if file.run else file.path.name for file in files),
                                do="say which one is taken with --run N")


def _without_run(cases: Mapping[str, _Case], run: str) -> dict[str, str]:
    """A sentence for each case with several files of a channel or a mask, of which not exactly one is of the run."""
    return {name: f"case {name}: no single file of {rest} is of run {run} ({listed(file.path.name for file in files)})"
            for name, case in cases.items() for rest, files in (*case.images.items(), *case.masks.items())
            if len(files) > 1 and len(_of_the_run(files, run)) != 1}


def _of_the_run(files: Sequence[BidsFile], run: str) -> list[BidsFile]:
    return [file for file in files if file.run.lstrip("0") == run.lstrip("0")]


def _of_run(files: Sequence[BidsFile], run: str) -> BidsFile | None:
    """The file of a run, with or without leading zeros; the only one where there is one."""
    fits = _of_the_run(files, run) if len(files) > 1 else list(files)
    return fits[0] if fits else None


def _cases(cases: Mapping[str, _Case], channels: Sequence[str], kinds: Sequence[str], run: str
           ) -> tuple[list[FoundCase], list[str]]:
    has_masks = any(case.masks for case in cases.values())
    listed_cases, without = list[FoundCase](), list[str]()
    alone = sorted(name for name, case in cases.items() if not case.images)
    for name, case in sorted(cases.items()):
        files = [_of_run(case.images.get(channel, ()), run) for channel in channels]
        masks = {kind: mask.path for kind in kinds if (mask := _of_run(case.masks.get(kind, ()), run)) is not None}
        if not any(files):
            continue
        without += [name] if has_masks and not masks else []
        listed_cases.append(listed_case(name, [None if file is None else file.path for file in files],
                                        label_files(kinds, masks), held_out=has_masks and not masks))
    warnings = [f"{len(without)} case{'s' * (len(without) > 1)} without a mask: held out, in imagesTs ({listed(without)})"
                ] if without else []
    warnings += [f"masks without an image are left out ({listed(alone)})"] if alone else []
    return listed_cases, warnings


def _rows(source: Path, files: Mapping[str, BidsFile]) -> Rows:
    """What participants.tsv says of the participant and sub-ID_sessions.tsv of the session of each case."""
    participants = _table(source / "participants.tsv", _PARTICIPANT)
    rows: Rows = {}
    for name, file in sorted(files.items()):
        known = participants.get(file.participant) or participants.get(file.participant.removeprefix("sub-"), {})
        sessions = _table(source / file.participant / f"{file.participant}_sessions.tsv", _SESSION) if file.session else {}
        session = {_SESSION: file.session} if file.session else {}
        rows[name] = {_PARTICIPANT: file.participant, **session,
                      **{key: cell for key, cell in {**known, **sessions.get(file.session, {})}.items()
                         if key not in (_PARTICIPANT, _SESSION)}}
    return rows


def _table(path: Path, column: str) -> dict[str, dict[str, str]]:
    """The rows of a table by the text of a column; nothing where there is no table."""
    if not is_file(path):
        return {}
    table = read_table(path)
    place = table.position(column)
    if place is None:
        raise UserError("the table lacks a column", where=path, found=listed(table.columns), expected=column)
    if twice := sorted(repeated(row.cells[place] for row in table.rows)):
        raise UserError(f"several rows are of one {column}", where=path, found=listed(twice), do="keep one of each")
    return {row.cells[place]: dict(zip(table.columns, row.cells, strict=True)) for row in table.rows}
