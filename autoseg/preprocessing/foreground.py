"""Where the foreground is: sampled voxels of each class, and the connected component that each belongs to."""

import hashlib

import numpy as np

from autoseg.grids.boxes import box_of_values, boxes_of_values
from autoseg.grids.components import components
from planners.schema.labels import LabelSpec

VOXELS_PER_CLASS = 10_000
# Voxels sampled of every component at least (or all of it), so that patches can be drawn lesion by lesion.
VOXELS_PER_COMPONENT = 20
# The key of voxels that carry any label, background too; present where the dataset has an ignore label.
ANNOTATED = "(annotated)"

Index = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]


def sample_foreground(label_DHW: np.ndarray, labels: LabelSpec, rng: np.random.Generator) -> Index:
    """Sampled voxels (N, 3) of each foreground class or region, and their components (N,), numbered from 1.

    At most VOXELS_PER_CLASS voxels, and more where a component would have too few. Classes without a voxel are
    left out. Voxels are in array order.
    """
    boxes = boxes_of_values(label_DHW)
    foreground, lesions = {}, {}
    for name in labels.foreground:
        box = box_of_values(boxes, labels.names[name])
        if box is None:
            continue
        inside = label_DHW[box]
        values = labels.names[name]
        mask = inside == values[0] if len(values) == 1 else np.isin(inside, values)
        voxels, component = _sample(mask, rng)
        foreground[name] = voxels + np.array([side.start for side in box], dtype=np.int32)
        lesions[name] = component
    if labels.ignore is not None:
        annotated = np.flatnonzero(label_DHW != labels.ignore)
        if annotated.size:
            foreground[ANNOTATED] = _coordinates(_draw(annotated, rng), label_DHW.shape)
            lesions[ANNOTATED] = np.ones(len(foreground[ANNOTATED]), dtype=np.int32)
    return foreground, lesions


def case_generator(case: str) -> np.random.Generator:
    """A generator seeded by the case's name: the index depends neither on the worker nor on the order."""
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(case.encode(), digest_size=8).digest(), "little"))


def _sample(mask_DHW: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (N, 3) and components (N,) of a mask that has at least one voxel."""
    component_DHW, n_components = components(mask_DHW)
    voxels = np.flatnonzero(mask_DHW)
    component = component_DHW.reshape(-1)[voxels]
    selected = np.zeros(len(voxels), dtype=bool)
    selected[_draw(np.arange(len(voxels)), rng)] = True
    have = np.bincount(component[selected], minlength=n_components + 1)
    size = np.bincount(component, minlength=n_components + 1)
    lacking = np.flatnonzero(np.isin(component, np.flatnonzero(have < np.minimum(size, VOXELS_PER_COMPONENT))))
    # Of the components that the draw passed over, the first few voxels in a random order.
    lacking = lacking[np.lexsort((rng.random(len(lacking)), component[lacking]))]
    first = np.searchsorted(component[lacking], component[lacking], side="left")
    selected[lacking[np.arange(len(lacking)) - first < VOXELS_PER_COMPONENT]] = True
    return _coordinates(voxels[selected], mask_DHW.shape), component[selected]


def _draw(items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most VOXELS_PER_CLASS items, each as likely, in their order."""
    if len(items) <= VOXELS_PER_CLASS:
        return items
    return np.sort(rng.choice(items, VOXELS_PER_CLASS, replace=False, shuffle=False))


def _coordinates(flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.unravel_index(flat, shape), axis=1).astype(np.int32)
