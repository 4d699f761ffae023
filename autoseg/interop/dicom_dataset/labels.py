"""The label map of a case: masks of labels, painted in the stated order, one in memory at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.interop.dicom_dataset.structures import StructureTable

# A contour that leaves its outer structure by less than this is an edge of voxels, not another structure.
_OUTSIDE_SHARE = 0.01


@dataclass(frozen=True)
class CaseLabel:
    """A label map (z, y, x), the labels that the case was annotated with, and what should be known of it."""

    label_DHW: np.ndarray
    present: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def painted(mask_of: Callable[[str], np.ndarray | None], table: StructureTable, shape: tuple[int, int, int]) -> CaseLabel:
    """Paint the masks (bool; z, y, x) of the labels; None: the case has no structure of the label. One without voxels counts
    as not annotated, because planning systems write such structures for organs that nobody drew.

    Raises UserError where no label has a voxel, and where two overlap of which nobody said which is kept.
    """
    values, present, warnings = table.values, set[str](), list[str]()
    label_DHW = np.zeros(shape, np.uint8 if len(values) <= np.iinfo(np.uint8).max else np.uint16)
    for label in _painting_order(table):
        mask_DHW = mask_of(label)
        if mask_DHW is None or not mask_DHW.any():
            continue
        covered = set(np.unique(label_DHW[mask_DHW]).tolist())
        for other in (name for name in values if values[name] in covered):
            if not _is_settled(label, other, table):
                n_voxels = int(np.count_nonzero(label_DHW[mask_DHW] == values[other]))
                raise UserError(f"the labels {other!r} and {label!r} overlap", found=f"{n_voxels} voxels",
                                do=f"say which one is kept, --priority {label},{other}; or, if one lies within the other, "
                                   "--regions OUTER,INNER")
        warnings += _outside(label, label_DHW[mask_DHW], present, table)
        label_DHW[mask_DHW] = values[label]
        present.add(label)
    if not present:
        raise UserError("no chosen structure has a voxel on the grid of the image", expected=listed(values, len(values)))
    return CaseLabel(label_DHW, tuple(name for name in values if name in present), tuple(warnings))


def _painting_order(table: StructureTable) -> list[str]:
    """Later ones cover earlier ones: labels that are not named, then those of a low priority; nested ones outside in."""
    rank = {name: number for number, name in enumerate(table.priority)}
    order = sorted(table.labels, key=lambda name: -rank.get(name, len(rank)))
    nested = iter(table.regions)
    return [next(nested) if name in table.regions else name for name in order]


def _is_settled(label: str, other: str, table: StructureTable) -> bool:
    return {label, other} <= set(table.regions) or bool({label, other} & set(table.priority))


def _outside(label: str, below: np.ndarray, present: set[str], table: StructureTable) -> list[str]:
    """A sentence where a nested label leaves the one around it; `below` is what its voxels were before."""
    before = table.regions[:table.regions.index(label)] if label in table.regions else ()
    around = [name for name in before if name in present]
    if not around:
        return []
    outer = around[-1]
    share = float(np.mean(below != table.values[outer]))
    return [f"{share:.0%} of {label!r} lies outside {outer!r}, and counts as {outer!r}, too"] * (share > _OUTSIDE_SHARE)
