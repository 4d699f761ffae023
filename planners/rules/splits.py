"""Seeded folds: a group is never split, and strata are spread evenly. What is wrong, or odd, about folds of others."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from planners.schema.base import Frozen

_SHOWN = 3  # examples in a sentence


class Split(Frozen):
    """One fold: the cases it trains on and those it validates on, both in sorted order."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def make_splits(cases: Sequence[str], seed: int = 12345, n_folds: int = 5, groups: Mapping[str, str] | None = None,
                strata: Mapping[str, str] | None = None) -> tuple[Split, ...]:
    """Folds in which every case is validated once.

    `groups` says to whom a case belongs (a patient): all cases of a group share a fold. `strata` says what a case is
    (its site, its foreground): each stratum is spread over the folds as evenly as the groups allow. With fewer groups
    than folds, each group is left out once. Without either, the folds are nnU-Net's (scikit-learn's shuffled KFold over
    the sorted cases).

    Raises ValueError for fewer than two folds or groups, a case named twice, and a case without group or stratum.
    """
    names = sorted(cases)
    _check(names, n_folds, groups, strata)
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(groups[name] if groups else name, []).append(name)
    if len(members) < 2:
        raise ValueError(f"folds need at least two groups of cases, got {len(members)} of {len(names)} case(s); "
                         "add cases, or train on all of them")
    blocks = list(members.values())
    n_folds = min(n_folds, len(blocks))
    if groups or strata:
        validations = _balanced(blocks, seed, n_folds, strata or dict.fromkeys(names, ""))
    else:
        validations = [[names[i] for i in part] for part in _shuffled_parts(len(names), seed, n_folds)]
    return tuple(_split(names, validation) for validation in validations)


def split_faults(splits: Sequence[Split], cases: Collection[str]) -> list[str]:
    """Why folds cannot be used for `cases`, a sentence for each reason; empty where they can."""
    faults = [] if splits else ["there is no fold"]
    for number, split in enumerate(splits):
        train, validation = set(split.train), set(split.validation)
        reasons = (("names cases that are not in the dataset", (train | validation) - set(cases)),
                   ("validates cases that it trains on", train & validation),
                   ("names cases twice", {*_repeated(split.train), *_repeated(split.validation)}))
        faults += [f"fold {number} {reason}: {_listed(names)}" for reason, names in reasons if names]
        if not train:
            faults.append(f"fold {number} has no training case")
    return faults


def split_warnings(splits: Sequence[Split], cases: Collection[str], groups: Mapping[str, str] | None = None) -> list[str]:
    """What a person should know of folds that can be used for `cases`: left out, scored never or twice, torn groups."""
    used = {name for split in splits for name in (*split.train, *split.validation)}
    validated = [name for split in splits for name in split.validation]
    counts = (("in no fold, neither trained on nor validated", set(cases) - used),
              ("validated in no fold, so that no score counts them", used - set(validated)),
              ("validated in several folds", _repeated(validated)))
    warnings = [f"{len(names)} of {len(cases)} cases are {what}: {_listed(names)}" for what, names in counts if names]
    for number, split in enumerate(splits):
        left_out = used - {*split.train, *split.validation}
        if left_out:
            warnings.append(f"fold {number} neither trains on nor validates {len(left_out)} of {len(cases)} cases: "
                            f"{_listed(left_out)}")
        if not split.validation:
            warnings.append(f"fold {number} validates no case")
        torn = torn_groups(split, groups)
        if torn:
            warnings.append(f"fold {number} trains on and validates cases of the same patient, so that its scores will be "
                            f"too good: {_listed(torn)}")
    return warnings


def torn_groups(split: Split, groups: Mapping[str, str] | None) -> set[str]:
    """The groups of which a fold both trains on cases and validates some."""
    if groups is None:
        return set()
    return {groups[name] for name in split.train} & {groups[name] for name in split.validation}


def is_cross_validation(splits: Sequence[Split]) -> bool:
    """Whether folds are as `make_splits` makes them: each has the same cases, and each case is validated once."""
    if not splits:
        return False
    whole = sorted(name for split in splits for name in split.validation)
    return len(set(whole)) == len(whole) and all(sorted((*split.train, *split.validation)) == whole for split in splits)


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _listed(names: Iterable[str]) -> str:
    """The first few, with an ellipsis where there are more."""
    known = sorted(names)
    return ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")


def _check(names: list[str], n_folds: int, *tables: Mapping[str, str] | None) -> None:
    if n_folds < 2:
        raise ValueError(f"cross-validation needs at least two folds, got {n_folds}")
    twice = _repeated(names)
    if twice:
        raise ValueError(f"cases named twice: {', '.join(sorted(twice))}; every case needs a name of its own")
    for kind, table in zip(("group", "stratum"), tables, strict=True):
        missing = [name for name in names if table and name not in table]
        if missing:
            raise ValueError(f"no {kind} is given for {len(missing)} case(s): {', '.join(missing[:5])}")


def _shuffled_parts(n: int, seed: int, n_parts: int) -> list[np.ndarray]:
    """Indices 0..n-1, shuffled and cut into parts whose sizes differ by one at most, the larger first."""
    # the legacy generator is what scikit-learn shuffles with; a new one would give other folds than nnU-Net's
    order = np.random.RandomState(seed).permutation(n)
    return np.array_split(order, n_parts)


def _balanced(blocks: list[list[str]], seed: int, n_folds: int, strata: Mapping[str, str]) -> list[list[str]]:
    """Each block of cases, the largest first, goes to the fold that has least of its strata, then fewest cases.

    Blocks of equal size come in a seeded order, those of one stratum together, so that a rare stratum is spread too.
    """
    shuffled = [blocks[i] for i in np.random.default_rng(seed).permutation(len(blocks))]
    shuffled.sort(key=lambda block: (-len(block), sorted(strata[name] for name in block)))
    folds: list[list[str]] = [[] for _ in range(n_folds)]
    held: list[Counter[str]] = [Counter() for _ in range(n_folds)]
    for block in shuffled:
        kinds = Counter(strata[name] for name in block)
        # the growth of the sum of squares over the strata: least where the block's strata are rarest
        load = [sum(count * (2 * have[kind] + count) for kind, count in kinds.items()) for have in held]
        emptiest = min(range(n_folds), key=lambda fold: (load[fold], len(folds[fold]), fold))
        folds[emptiest] += block
        held[emptiest].update(kinds)
    return folds


def _split(names: Sequence[str], validation: Sequence[str]) -> Split:
    held_out = set(validation)
    return Split(train=tuple(name for name in names if name not in held_out),
                 validation=tuple(name for name in names if name in held_out))
