"""Predictions back on the file's grid."""

import numpy as np
import pytest
import torch

from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import Geometry
from autoseg.prediction import export
from autoseg.prediction.decision import decide_index
from autoseg.prediction.export import restore_label, restore_probabilities
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Resampling, Schedule

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "spleen": (7,), "tumour": (300,)})
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)},
                    region_order=(1, 2, 3))


def plan_of(labels, rules=None):
    architecture = UNet(strides=((1,) * 3,), kernel_sizes=((3,) * 3,), features=(4,), blocks_encoder=(1,),
                        convs_decoder=())
    configuration = Configuration(
        spacing_mm=(1.0, 1.0, 1.0), median_shape=(8.0,) * 3, patch=(8,) * 3, batch=1, batch_dice=False,
        architecture=architecture, network=Part(name="unet"), normalizers=(Part(name="zscore"),),
        resampling=rules or Resampling(), augmentation=Part(name="none"),
        schedule=Schedule(iterations=1, learning_rate=0.1))
    return Plan(dataset="Dataset001_Tiny", planner="test", channels=(ChannelSpec(name="CT"),), labels=labels,
                transpose=(0, 1, 2), configurations={"tiny": configuration})


def prepared_of(shape, cropped, *, spacing=(1.0, 1.0, 1.0), file=None, transpose=(0, 1, 2), offset=(0, 0, 0),
                file_spacing=None):
    """A case of prepared `shape` that was `cropped` out of a `file` (transposed order) at `offset`."""
    file = file or cropped
    back = np.argsort(transpose)
    file_spacing = file_spacing or tuple(mm * n / m for mm, n, m in zip(spacing, shape, cropped, strict=True))
    geometry = Geometry(tuple(file[a] for a in back), tuple(file_spacing[a] for a in back))
    box = tuple((o, o + n) for o, n in zip(offset, cropped, strict=True))
    return PreparedCase("case", np.zeros((1, *shape), np.float32), np.ones(1, bool), geometry, transpose, box, cropped,
                        spacing)


def restore(logits, prepared, labels, rules=None):
    plan = plan_of(labels, rules)
    return restore_label(logits, prepared, plan, plan.configurations["tiny"])


def random_logits(heads, shape, seed=0):
    return torch.randn((heads, *shape), generator=torch.Generator().manual_seed(seed))


def test_equal_grids_take_the_largest_logit_and_its_declared_value():
    logits = torch.tensor([[5.0, 0, 0, 0], [0, 5, 0, 0], [0, 0, 5, 5], [0, 0, 0, 6]]).reshape(4, 1, 1, 4)
    out = restore(logits, prepared_of((1, 1, 4), (1, 1, 4)), LABELS)
    assert out.ravel().tolist() == [0, 1, 7, 300] and out.dtype == np.int16


def test_small_values_fit_a_byte():
    labels = LabelSpec(names={"background": (0,), "liver": (255,)})
    out = restore(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), prepared_of((1, 1, 1), (1, 1, 1)), labels)
    assert out.dtype == np.uint8 and out.item() == 255


def test_regions_are_painted_in_order_above_one_half():
    logits = torch.tensor([[1.0, 1, 1, -1, 0], [-1, 1, 1, 1, 0], [-1, -1, 1, -1, 0]]).reshape(3, 1, 1, 5)
    assert restore(logits, prepared_of((1, 1, 5), (1, 1, 5)), REGIONS).ravel().tolist() == [1, 2, 3, 2, 0]


def test_crop_and_transpose_are_undone():
    logits = torch.zeros(4, 2, 3, 4)
    logits[2, 1, 2, 3] = 1
    out = restore(logits, prepared_of((2, 3, 4), (2, 3, 4), file=(6, 7, 8), offset=(1, 2, 3), transpose=(2, 0, 1)),
                  LABELS)
    assert out.shape == (7, 8, 6)  # transposed axes 0, 1, 2 are the file's 2, 0, 1
    assert np.argwhere(out).tolist() == [[4, 6, 2]] and out[4, 6, 2] == 7
    assert out.flags.c_contiguous


def test_linear_resampling_by_hand():
    logits = torch.tensor([[0.0, 0.0], [-1.0, 2.0]]).reshape(2, 1, 1, 2)  # four voxels: -1, -.25, 1.25, 2
    labels = LabelSpec(names={"background": (0,), "liver": (1,)})
    assert restore(logits, prepared_of((1, 1, 2), (1, 1, 4)), labels).ravel().tolist() == [0, 0, 1, 1]


def test_a_class_that_wins_only_between_two_others_is_found():
    logits = torch.tensor([[10.0, 0.0], [9.0, 9.0], [0.0, 10.0]]).reshape(3, 1, 1, 2)  # halfway 5, 9, 5
    labels = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})
    assert restore(logits, prepared_of((1, 1, 2), (1, 1, 4)), labels).ravel().tolist() == [0, 1, 1, 2]


CASES = [((7, 8, 9), (12, 15, 11), None), ((12, 9, 8), (5, 4, 20), None), ((6, 9, 8), (11, 12, 13), (5.0, 1.0, 1.0)),
         ((9, 6, 8), (13, 11, 10), (1.0, 6.0, 1.0)), ((1, 12, 12), (1, 19, 17), (999.0, 1.0, 1.0))]


@pytest.mark.parametrize("labels", [LABELS, REGIONS], ids=["labels", "regions"])
@pytest.mark.parametrize("shape, cropped, file_spacing", CASES)
def test_deciding_only_at_borders_equals_deciding_everywhere(shape, cropped, file_spacing, labels):
    logits = random_logits(labels.n_heads, shape)
    prepared = prepared_of(shape, cropped, file_spacing=file_spacing)
    plan = plan_of(labels)
    resize = export._resize_back(logits, prepared, plan, plan.configurations["tiny"])
    (_, _, whole), = export._logit_slabs(logits, resize)
    values = np.array([0, 1, 2, 3]) if labels.has_regions else np.array([0, 1, 7, 300])
    expected = values[decide_index(whole, labels.has_regions).numpy()]
    np.testing.assert_array_equal(restore(logits, prepared, labels), expected)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_slab_by_slab_equals_whole(order, monkeypatch):
    logits = random_logits(4, (9, 10, 11))
    prepared = prepared_of((9, 10, 11), (20, 14, 15))
    plan = plan_of(LABELS, Resampling(order_logits=order))
    arguments = (logits, prepared, plan, plan.configurations["tiny"])
    label, probabilities = restore_label(*arguments), restore_probabilities(*arguments, dtype=np.float32)
    monkeypatch.setattr(export, "_SLAB_BYTES", 4 * 4 * 14 * 15 * 3)
    monkeypatch.setattr("autoseg.grids.vote._SLAB_VOXELS", 1000)
    np.testing.assert_array_equal(restore_label(*arguments), label)
    np.testing.assert_allclose(restore_probabilities(*arguments, dtype=np.float32), probabilities, atol=1e-6)
    assert (label == np.array([0, 1, 7, 300])[probabilities.argmax(0)]).all()


def test_probabilities_sum_to_one_and_background_is_certain_outside():
    prepared = prepared_of((3, 4, 5), (6, 5, 5), file=(8, 9, 9), offset=(1, 2, 2), transpose=(1, 0, 2))
    plan = plan_of(LABELS)
    probabilities = restore_probabilities(random_logits(4, (3, 4, 5)), prepared, plan, plan.configurations["tiny"])
    assert probabilities.shape == (4, 9, 8, 9) and probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities.astype(float).sum(0), 1, atol=5e-3)
    assert probabilities[:, 0, 0, 0].tolist() == [1, 0, 0, 0]
    assert probabilities[0, 2:7, 1:7, 2:7].max() < 1


def test_probabilities_of_regions_are_independent_and_zero_outside():
    prepared = prepared_of((2, 2, 2), (2, 2, 2), file=(4, 4, 4), offset=(1, 1, 1))
    plan = plan_of(REGIONS)
    probabilities = restore_probabilities(torch.zeros(3, 2, 2, 2), prepared, plan, plan.configurations["tiny"])
    assert probabilities[:, 1:3, 1:3, 1:3].min() == probabilities.max() == 0.5 and probabilities[:, 0].max() == 0


def test_logits_are_left_unchanged_and_half_precision_is_accepted():
    logits = random_logits(3, (4, 5, 6)).half()
    before = logits.clone()
    prepared, plan = prepared_of((4, 5, 6), (8, 9, 7)), plan_of(REGIONS)
    label = restore_label(logits, prepared, plan, plan.configurations["tiny"])
    probabilities = restore_probabilities(logits, prepared, plan, plan.configurations["tiny"])
    same = restore_probabilities(logits, prepared_of((4, 5, 6), (4, 5, 6)), plan, plan.configurations["tiny"])
    assert torch.equal(logits, before)
    assert label.shape == (8, 9, 7) and probabilities.shape == (3, 8, 9, 7)
    np.testing.assert_allclose(same, logits.float().sigmoid().numpy(), atol=1e-3)


def test_logits_of_another_plan_are_refused():
    with pytest.raises(ValueError, match="case: logits have 2 heads, the plan 4"):
        restore(torch.zeros(2, 3, 3, 3), prepared_of((3, 3, 3), (3, 3, 3)), LABELS)
