"""The folds of a dataset: the user's own where there are any, else seeded ones that are written once."""

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from autoseg.base.errors import UserError, raise_faults
from autoseg.workspace.files import keep_copy, read_json, write_json
from autoseg.workspace.names import Workspace
from planners.rules.splits import Split, is_cross_validation, make_splits, split_faults, split_warnings, torn_groups
from planners.schema.base import complaints_of

logger = logging.getLogger(__name__)

N_FOLDS = 5
USERS_OWN = "splits_final.json"  # nnU-Net's name: a list of {"train": [...], "val": [...]}
_MEND = "correct the file, or remove it, and new folds are made"


def read_splits(workspace: Workspace, dataset: str, cases: list[str], groups: Mapping[str, str] | None = None,
                strata: Mapping[str, str] | None = None) -> tuple[Split, ...]:
    """The folds of `cases`; those of one group (a patient) share a fold, those of one stratum (a site) are spread evenly.

    `splits_final.json` in the raw or the prepared folder is used; else folds are made once and kept. With fewer than five
    cases (or groups) each is left out once, with a warning; with fewer than two there are no folds. Raises UserError or
    ManyFaults where a file names cases that are not there, one twice in a fold, or validates one that it trains on. Cases
    that it leaves out, validates never or in several folds, and groups that it tears are warned of.
    """
    kept = _users_folds(workspace, dataset)
    path = kept or workspace.splits(dataset)
    splits = _read(path) if path.is_file() else ()
    if path.is_file() and (kept or not _is_outdated(path, splits, cases, groups)):
        raise_faults(path, _faults(path, splits, cases))
        for warning in _warnings(path, splits, cases, groups):
            _warn(warning)
        return splits
    for warning in _few(cases, groups):
        _warn(f"{path}: {warning}")
    if _number_of_units(cases, groups) < 2:
        return ()
    splits = make_splits(cases, n_folds=N_FOLDS, groups=groups, strata=strata)
    if path.is_file():
        logger.warning("%s: new folds are made; the former ones are kept as %s", path, keep_copy(path).name)
    write_json(path, [split.model_dump(mode="json") for split in splits])
    return splits


def written_splits(workspace: Workspace, dataset: str) -> tuple[Split, ...]:
    """The folds of the file that `read_splits` would take, unchecked; none where there is no file yet."""
    path = _users_folds(workspace, dataset) or workspace.splits(dataset)
    return _read(path) if path.is_file() else ()


def write_partial_splits(workspace: Workspace, dataset: str, known: Sequence[str], groups: Mapping[str, str] | None,
                         strata: Mapping[str, str] | None) -> Path | None:
    """Folds of the cases whose groups are `known`, where there are no folds yet: no patient can be torn by them. They are
    made anew, as `read_splits` does, as soon as the groups of all cases are known. The file that was written, else None.
    """
    path = workspace.splits(dataset)
    if path.is_file() or _users_folds(workspace, dataset):
        return None
    too_few = _number_of_units(known, groups) < 2
    splits = () if too_few else make_splits(known, n_folds=N_FOLDS, groups=groups, strata=strata)
    write_json(path, [split.model_dump(mode="json") for split in splits])
    return path


def check_splits(workspace: Workspace, dataset: str, cases: Sequence[str], groups: Mapping[str, str] | None = None
                 ) -> tuple[list[str], list[str]]:
    """Faults and warnings of the folds that `read_splits` would take from a file; nothing is raised, made or written."""
    path = _users_folds(workspace, dataset) or workspace.splits(dataset)
    if not path.is_file():
        return [], _few(cases, groups)
    try:
        splits = _read(path)
    except UserError as error:
        return [str(error)], []
    if path.name != USERS_OWN and (not splits or is_cross_validation(splits)):  # read_splits makes them anew as needed
        return [], _few(cases, groups)
    faults = _faults(path, splits, cases)
    return faults, [] if faults else _warnings(path, splits, cases, groups)


def _few(cases: Sequence[str], groups: Mapping[str, str] | None) -> list[str]:
    """A sentence where there are fewer cases, or patients, than folds."""
    n, unit = _number_of_units(cases, groups), "patient" if groups else "case"
    if n >= N_FOLDS:
        return []
    return [f"the dataset has only one {unit}: it can be trained without a validation, as fold all" if n < 2 else
            f"the dataset has only {n} {unit}s: each of the {n} folds leaves one out"]


def _number_of_units(cases: Sequence[str], groups: Mapping[str, str] | None) -> int:
    """Of patients where groups are known, else of cases."""
    return len({groups[name] for name in cases} if groups else set(cases))


def choose_fold(splits: tuple[Split, ...], fold: int | str, cases: list[str]) -> Split:
    """The split of a fold; `all` trains on every case and validates none. A UserError for any other."""
    if str(fold) == "all":
        return Split(train=tuple(sorted(cases)), validation=())
    if not str(fold).isdecimal() or int(fold) >= len(splits):
        known = ", ".join(map(str, range(len(splits))))
        raise UserError(f"unknown fold {fold!r}", found=f"folds {known}" if known else "too few cases for folds",
                        expected="one of these, or all")
    return splits[int(fold)]


def too_few_for_folds(dataset: str) -> UserError:
    """What to say where `read_splits` gives no folds."""
    return UserError("the dataset has too few cases for folds", where=dataset,
                     expected="two cases or more, of two patients or more where dataset.json declares groups",
                     do="train on all of them, without a validation: write all for the number of the fold")


def _users_folds(workspace: Workspace, dataset: str) -> Path | None:
    """The user's own folds, those in the raw folder first; None where there are none."""
    own = [path for path in (workspace.raw(dataset) / USERS_OWN, workspace.prepared(dataset) / USERS_OWN) if path.is_file()]
    if len(own) > 1 and read_json(own[0]) != read_json(own[1]):
        _warn(f"{own[1]}: these folds are not used, since {own[0]} has others")
    return own[0] if own else None


def _is_outdated(path: Path, splits: Sequence[Split], cases: Sequence[str], groups: Mapping[str, str] | None) -> bool:
    """Whether folds that were made here are to be made anew: the cases changed since, or groups were declared.

    Folds that a person has edited are not outdated, so that they are checked like a user's own.
    """
    reason = ""
    if not splits:
        reason = "it has no fold"
    elif is_cross_validation(splits):
        if {*splits[0].train, *splits[0].validation} != set(cases):
            reason = "the cases changed since the folds were made"
        elif any(torn_groups(split, groups) for split in splits):
            reason = "groups of cases were declared since the folds were made"
    if reason:
        logger.warning("%s: %s", path, reason)
    return bool(reason)


def _faults(path: Path, splits: Sequence[Split], cases: Sequence[str]) -> list[str]:
    return [str(UserError(fault, where=path, do=_MEND)) for fault in split_faults(splits, cases)]


def _warnings(path: Path, splits: Sequence[Split], cases: Sequence[str], groups: Mapping[str, str] | None) -> list[str]:
    return [f"{path}: {warning}" for warning in split_warnings(splits, cases, groups)]


@functools.cache
def _warn(warning: str) -> None:
    """Say it once: a command reads the folds several times."""
    logger.warning("%s", warning)


def _read(path: Path) -> tuple[Split, ...]:
    """The folds of a file: a user's, of nnU-Net's form, or ours."""
    if path.name == USERS_OWN:
        return users_splits(path)
    return _parsed(path, "validation", f"remove this file, and put folds of your own into {USERS_OWN}")


def users_splits(path: Path) -> tuple[Split, ...]:
    """The folds of a file of nnU-Net's form, whatever its name. Raises UserError where it holds no folds."""
    return _parsed(path, "val", "write it in this form, or remove it")


def _parsed(path: Path, validation: str, do: str) -> tuple[Split, ...]:
    try:
        content = read_json(path)
        if not isinstance(content, list):
            raise TypeError("one object, not a list of them" if isinstance(content, dict) else repr(content))
        for k, entry in enumerate(content):
            lacks = [key for key in ("train", validation) if not isinstance(entry, dict) or key not in entry]
            if lacks:
                raise TypeError(f"fold {k} has no {' and no '.join(map(repr, lacks))}")
        return tuple(Split(train=entry["train"], validation=entry[validation]) for entry in content)
    except (TypeError, ValueError) as error:
        found = complaints_of(error) if isinstance(error, ValidationError) else str(error)
        raise UserError("the folds cannot be read", where=path, found=found, do=do,
                        expected=f'a list of {{"train": [...], "{validation}": [...]}} with names of cases') from None
