"""Decisions on probabilities, by the rules of export: for what is not known as logits, such as a mean of configurations."""

import numpy as np

from planners.schema.labels import LabelSpec


def decided(probabilities_KDHW: np.ndarray, labels: LabelSpec, threshold: float = 0.5) -> np.ndarray:
    """The label map (z, y, x; int16) of the probabilities of all heads, or of anything that grows with them.

    Plain labels: the largest, the first of equal ones. Regions: those above the `threshold` (of the same unit as the
    probabilities), painted over each other in declared order.
    """
    if labels.has_regions:
        out_DHW = np.zeros(probabilities_KDHW.shape[1:], np.int16)
        for value, head in zip(labels.region_order, probabilities_KDHW, strict=True):
            out_DHW[head > threshold] = value
        return out_DHW
    values = [first for first, *_ in labels.names.values()]
    best = np.array(probabilities_KDHW[0])
    out_DHW = np.full(best.shape, values[0], np.int16)
    for value, head in zip(values[1:], probabilities_KDHW[1:], strict=True):
        out_DHW[head > best] = value
        np.maximum(best, head, out=best)
    return out_DHW
