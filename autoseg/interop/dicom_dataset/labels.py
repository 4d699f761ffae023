"""The label map of a case: masks of structures, joined by label and painted in the stated order."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autoseg.base.errors import UserError
from autoseg.interop.dicom_dataset.structures import StructureTable

# A contour that leaves its outer structure by less than this is an edge of voxels, not another structure.
_OUTSIDE_SHARE = 0.01


@dataclass(frozen=True)
class CaseLabel:
    """A label map (z, y, x), the labels that the case was annotated with, and what should be known of it."""

    label_DHW: np.ndarray
    present: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def label_of_masks(masks: Mapping[str, np.ndarray], table: StructureTable, shape: tuple[int, int, int]) -> CaseLabel:
    """Paint the masks (bool; z, y, x) of structures. A structure that is not chosen is left out; one without voxels counts as
    not annotated, because planning systems write such structures for organs that nobody drew.

    Raises UserError where no chosen structure has voxels, and where two labels overlap of which nobody said which is kept.
    """
    joined: dict[str, np.ndarray] = {}
    for structure, label in table.chosen(masks).items():
        if masks[structure].any():
            joined[label] = masks[structure] | joined[label] if label in joined else masks[structure]
    if not joined:
        raise UserError("no chosen structure has a voxel on the grid of the image", found=", ".join(masks) or "no structure",
                        expected=", ".join(name for names in table.labels.values() for name in names))
    values, label_DHW = table.values, np.zeros(shape, np.uint8 if len(table.labels) < 256 else np.uint16)
    warnings = [] if not table.regions else _outside(joined, table)
    for label in _painting_order(joined, table):
        covered = {name for name, value in values.items() if value in np.unique(label_DHW[joined[label]])}
        for other in covered:
            if not _is_settled(label, other, table):
                n_voxels = int(np.count_nonzero(joined[label] & (label_DHW == values[other])))
                raise UserError(f"the labels {other!r} and {label!r} overlap", found=f"{n_voxels} voxels",
                                do=f"say which one is kept, --priority {label},{other}; or, if one lies within the other, "
                                   f"--regions OUTER,INNER")
        label_DHW[joined[label]] = values[label]
    return CaseLabel(label_DHW, tuple(name for name in values if name in joined), tuple(warnings))


def _painting_order(joined: Mapping[str, np.ndarray], table: StructureTable) -> list[str]:
    """Later ones cover earlier ones: labels that are not named, then those of a low priority; nested ones outside in."""
    rank = {name: number for number, name in enumerate(table.priority)}
    depth = {name: number for number, name in enumerate(table.regions)}
    order = sorted(joined, key=lambda name: (-rank.get(name, len(rank)), depth.get(name, -1)))
    nested = iter(sorted((name for name in order if name in depth), key=lambda name: depth[name]))
    return [next(nested) if name in depth else name for name in order]


def _is_settled(label: str, other: str, table: StructureTable) -> bool:
    return {label, other} <= set(table.regions) or bool({label, other} & set(table.priority))


def _outside(joined: Mapping[str, np.ndarray], table: StructureTable) -> list[str]:
    """Sentences for inner labels that leave the label around them."""
    warnings = []
    chain = [name for name in table.regions if name in joined]
    for outer, inner in zip(chain, chain[1:], strict=False):
        share = float(np.count_nonzero(joined[inner] & ~joined[outer]) / np.count_nonzero(joined[inner]))
        if share > _OUTSIDE_SHARE:
            warnings.append(f"{share:.0%} of {inner!r} lies outside {outer!r}, and counts as {outer!r}, too")
    return warnings
