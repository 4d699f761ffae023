"""What lists of files do not say, and what follows from their paths: names of cases, values of labels, folds."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autoseg.base.errors import AutosegError, UserError, listed
from autoseg.base.progress import progress
from autoseg.datasets.case_files import stem_of
from autoseg.datasets.raw import distinct
from autoseg.formats import read_label
from autoseg.interop.patterns import filled
from planners.rules.splits import Split
from planners.schema.names import fault_of_name

logger = logging.getLogger(__name__)

NO_LABELS = {"background": 0, "label_1": 1}  # of a dataset of images alone, which may be labelled later
_MOST_FOLDERS = 4  # whose names a case's name may begin with
_MOST_VALUES = 256
_TRAIN, _VALIDATION, _TEST = {"train", "training"}, {"val", "valid", "validation"}, {"test", "testing", "held_out"}


def case_name(text: str) -> str:
    """A text as the name of a case; empty where it can be none.

    >>> case_name("Patient 7 / left")
    'Patient-7-left'
    """
    name = filled("{name}", {"name": text}) or ""
    return "" if fault_of_name(name) else name


def names_of_files(paths: Sequence[Path]) -> list[str]:
    """A name for each file: its own, with those of as many folders above as make all names different.

    >>> names_of_files([Path("a/seg.nii.gz"), Path("b/seg.nii.gz")])
    ['a_seg', 'b_seg']
    """
    for n_folders in range(_MOST_FOLDERS):
        names = [case_name("_".join((*path.parts[:-1][len(path.parts) - 1 - n_folders:], stem_of(path)))) for path in paths]
        if len(set(names)) == len(set(paths)):  # a file that is listed twice is a fault of its two cases alone
            return names
    return [case_name(stem_of(path)) for path in paths]


def repeated(names: Iterable[str]) -> set[str]:
    """The names that come several times."""
    return {name for name, n in Counter(names).items() if n > 1}


def values_as_names(paths: Sequence[Path]) -> tuple[dict[str, int], list[str]]:
    """Names for the values that label files hold, because nothing says what they mean, and a sentence that says so. All
    files are read; those that cannot be are left to the check of the whole dataset.
    """
    values: set[int] = set()
    for path in progress(paths, "reading the values of labels", len(paths)):
        try:
            values |= set(distinct(read_label(path)[0]))
        except AutosegError as error:
            logger.debug("%s", error)
    if len(values) > _MOST_VALUES or min(values, default=0) < 0:
        raise UserError("these files look like images, not like labels", where=paths[0].parent,
                        found=f"{len(values)} values from {min(values)} to {max(values)}",
                        do="see whether --label names the right files")
    names = {"background": 0, **{f"label_{value}": value for value in sorted(values - {0})}}
    return names, [f"nothing says what the labels are called: the names {listed(names)} in dataset.json are made up; "
                   "correct them before you train"]


def splits_of(folds: Mapping[str, str]) -> tuple[tuple[Split, ...], frozenset[str]]:
    """The folds of cases of which each says its own, and the cases that are held out.

    Numbers are folds, each validated once; words (train, val, test) are one fold. Raises UserError for anything else.

    >>> splits_of({"a": "train", "b": "val"})[0]
    (Split(train=('a',), validation=('b',)),)
    """
    words = {case: fold.strip().lower() for case, fold in folds.items() if fold.strip()}
    held_out = frozenset(case for case, word in words.items() if word in _TEST)
    inside = {case: word for case, word in words.items() if case not in held_out}
    if all(word in _TRAIN | _VALIDATION for word in inside.values()):
        train = tuple(sorted(case for case, word in inside.items() if word in _TRAIN))
        validation = tuple(sorted(case for case, word in inside.items() if word in _VALIDATION))
        return ((Split(train=train, validation=validation),) if train and validation else ()), held_out
    if odd := sorted({word for word in inside.values() if not word.removesuffix(".0").isdecimal()}):
        raise UserError("the folds are neither numbers nor train, val and test", found=listed(odd),
                        expected="0, 1, 2, ... or train, val, test; empty: in no fold")
    numbers = {case: int(word.removesuffix(".0")) for case, word in inside.items()}
    splits = [Split(train=tuple(sorted(case for case in numbers if numbers[case] != fold)),
                    validation=tuple(sorted(case for case in numbers if numbers[case] == fold)))
              for fold in sorted(set(numbers.values()))]
    return (tuple(splits) if len(splits) > 1 else ()), held_out
