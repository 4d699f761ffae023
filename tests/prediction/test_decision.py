"""From scores to labels: NumPy arrays and tensors by the same rule."""

import numpy as np
import pytest
import torch

from autoseg.prediction.decision import decide_heads, decide_index, decided, label_values
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (3,), "tumour": (7,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))


def coarse_scores(n_heads: int) -> np.ndarray:
    """Scores with many equal ones."""
    return np.random.default_rng(0).integers(-2, 3, (n_heads, 6, 7, 8)).astype(np.float32)


def test_the_first_of_equal_labels_is_decided():
    scores = np.array([[1, 0, 0], [1, 2, 0], [0, 2, 1]], np.float32)
    assert decided(scores, LABELS).tolist() == [0, 3, 7]
    assert decide_index(torch.from_numpy(scores), has_regions=False).tolist() == [0, 1, 2]
    assert decide_heads(scores, has_regions=False).T.tolist() == [[True, False, False], [False, True, False],
                                                                  [False, False, True]]


def test_regions_above_the_threshold_are_painted_in_declared_order():
    scores = np.array([[0.5, 0.6, 0.6, 0.1], [0.5, 0.4, 0.9, 0.9]], np.float32)
    assert decided(scores, REGIONS).tolist() == [0, 1, 2, 2]
    assert decide_index(torch.from_numpy(scores - 0.5), has_regions=True).tolist() == [0, 1, 2, 2]
    assert decide_heads(scores, has_regions=True, threshold=0.5).tolist() == [[False, True, True, False],
                                                                             [False, False, True, True]]


@pytest.mark.parametrize("labels", [LABELS, REGIONS])
def test_arrays_and_tensors_are_decided_alike(labels):
    scores = coarse_scores(labels.n_heads)
    tensor = torch.from_numpy(scores)
    painted = label_values(labels)[decide_index(tensor, labels.has_regions).numpy()]
    assert np.array_equal(decided(scores, labels, threshold=0.0), painted)
    heads = decide_heads(scores, labels.has_regions)
    assert np.array_equal(heads, decide_heads(tensor, labels.has_regions).numpy())
    if not labels.has_regions:
        assert np.array_equal(label_values(labels)[heads.argmax(0)], painted)


def test_values_above_255_need_a_wider_type():
    assert label_values(LABELS).dtype == np.uint8
    assert label_values(LabelSpec(names={"background": (0,), "liver": (300,)})).dtype == np.int16
