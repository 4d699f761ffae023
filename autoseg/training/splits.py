"""The folds of a dataset: the user's own where there are any, else seeded ones that are written once."""

import logging
from collections.abc import Mapping
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import keep_copy, read_json, write_json
from autoseg.workspace.names import Workspace
from planners.rules.splits import Split, make_splits

logger = logging.getLogger(__name__)

N_FOLDS = 5
USERS_OWN = "splits_final.json"  # nnU-Net's name: a list of {"train": [...], "val": [...]}


def read_splits(workspace: Workspace, dataset: str, cases: list[str], groups: Mapping[str, str] | None = None,
                strata: Mapping[str, str] | None = None) -> tuple[Split, ...]:
    """The folds of `cases`; those of one group (a patient) share a fold, those of one stratum (a site) are spread evenly.

    `splits_final.json` in the raw or the prepared folder is used; else folds are made once and kept. Below five cases
    each is left out once, with a warning. Raises UserError where a file names cases that are not there, or validates one
    that it trains on.
    """
    for own in (workspace.raw(dataset) / USERS_OWN, workspace.prepared(dataset) / USERS_OWN):
        if own.is_file():
            splits = _read_users_splits(own, cases)
            if _divides_a_group(splits, groups):
                logger.warning("%s: a patient's cases are both trained on and validated; scores will be too good", own)
            return splits
    path = workspace.splits(dataset)
    if path.is_file():
        splits = _read_own_splits(path)
        changed = not splits or {*splits[0].train, *splits[0].validation} != set(cases)
        if not changed and not _divides_a_group(splits, groups):
            return splits
        logger.warning("%s: %s since the folds were made; new folds are made, and the former ones are kept as %s", path,
                       "the cases changed" if changed else "groups of cases were declared", keep_copy(path).name)
    if len(cases) < 2:
        return ()
    splits = make_splits(cases, n_folds=N_FOLDS, groups=groups, strata=strata)
    if len(splits) < N_FOLDS:
        logger.warning("%s has only %d cases: each of the %d folds leaves one out", dataset, len(cases), len(splits))
    write_json(path, [split.model_dump(mode="json") for split in splits])
    return splits


def choose_fold(splits: tuple[Split, ...], fold: int | str, cases: list[str]) -> Split:
    """The split of a fold; `all` trains on every case and validates none. A UserError for any other."""
    if str(fold) == "all":
        return Split(train=tuple(sorted(cases)), validation=())
    if not str(fold).isdecimal() or int(fold) >= len(splits):
        known = ", ".join(map(str, range(len(splits))))
        raise UserError(f"unknown fold {fold!r}", found=f"folds {known}" if known else "too few cases for folds",
                        expected="one of these, or all")
    return splits[int(fold)]


def _divides_a_group(splits: tuple[Split, ...], groups: Mapping[str, str] | None) -> bool:
    """Whether a group is both trained on and validated."""
    return groups is not None and any({groups[name] for name in split.train} & {groups[name] for name in split.validation}
                                      for split in splits)


def _read_own_splits(path: Path) -> tuple[Split, ...]:
    try:
        return tuple(Split.model_validate(entry) for entry in read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError("the folds cannot be read", where=path, found=str(error).splitlines()[0],
                        do=f"remove this file, and put folds of your own into {USERS_OWN}") from None


def _read_users_splits(path: Path, cases: list[str]) -> tuple[Split, ...]:
    try:
        splits = tuple(Split(train=tuple(entry["train"]), validation=tuple(entry["val"])) for entry in read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("the folds are not of nnU-Net's form", where=path, found=error,
                        expected='a list of {"train": [...], "val": [...]}') from None
    known = set(cases)
    for number, split in enumerate(splits):
        unknown = sorted({*split.train, *split.validation} - known)
        if unknown:
            raise UserError(f"fold {number} names cases that are not in imagesTr", where=path,
                            found=", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else ""))
        both = sorted(set(split.train) & set(split.validation))
        if both:
            raise UserError(f"fold {number} validates cases that it trains on", where=path, found=", ".join(both[:5]))
        if not split.train:
            raise UserError(f"fold {number} has no training case", where=path)
    return splits
