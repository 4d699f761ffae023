"""From logits or probabilities to labels: one rule, for NumPy arrays and for tensors.

With plain labels the head of the largest score wins, the first of equal ones. Each region is decided by itself, where its
score exceeds a threshold. Regions are painted over each other in declared order.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch

from planners.schema.labels import LabelSpec

Scores = TypeVar("Scores", np.ndarray, torch.Tensor)


def label_values(labels: LabelSpec) -> np.ndarray:
    """The label value of each decision (`decide_index`), as uint8, or int16 where a value exceeds 255."""
    values = (0, *(labels.region_order or ())) if labels.has_regions else [first for first, *_ in labels.names.values()]
    return np.array(values, dtype=np.uint8 if max(values) <= 255 else np.int16)


def decided(scores_KX: np.ndarray, labels: LabelSpec, threshold: float = 0.5) -> np.ndarray:
    """The label map (X, ...) of the probabilities of all heads, or of anything that grows with them; its number type is that
    of `label_values`. The `threshold` is of the same unit as the scores.
    """
    values = label_values(labels)
    out_X = np.full(scores_KX.shape[1:], values[0])
    _paint(out_X, scores_KX, values[1:].tolist(), threshold if labels.has_regions else None, np.maximum)
    return out_X


def decide_index(logits_KX: torch.Tensor, has_regions: bool) -> torch.Tensor:
    """(X, ...) int16: the index of the head of a label; of regions 0 for none, else 1 + the index of the last of them."""
    out_X = torch.zeros_like(logits_KX[0], dtype=torch.int16)
    _paint(out_X, logits_KX, range(1, len(logits_KX) + has_regions), 0.0 if has_regions else None, torch.maximum)
    return out_X


def decide_heads(scores_KX: Scores, has_regions: bool, threshold: float = 0.0) -> Scores:
    """For each head where it is decided (K, X; bool); several regions may be at one place."""
    if has_regions:
        return scores_KX > threshold
    best_X = scores_KX.argmax(0)
    heads = [best_X == head for head in range(len(scores_KX))]
    return torch.stack(heads) if isinstance(scores_KX, torch.Tensor) else np.stack(heads)


def _paint(out_X: Scores, scores_KX: Scores, values: Sequence[int], threshold: float | None,
           maximum: Callable[[Scores, Scores], Scores]) -> None:
    """Paint the values of what is decided over `out_X`, which holds the value of no region, or without a threshold of the
    first label.
    """
    if threshold is not None:
        for value, score_X in zip(values, scores_KX, strict=True):
            out_X[score_X > threshold] = value
        return
    # A running maximum reads each head once in the order of memory, which argmax over the first axis does not.
    best_X = scores_KX[0]
    for value, score_X in zip(values, scores_KX[1:], strict=True):
        out_X[score_X > best_X] = value
        best_X = maximum(best_X, score_X)
