"""Mirroring, and labels that have a left and a right."""

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.batches.augment import build_augmentation
from autoseg.batches.augment.channels import Channels
from autoseg.batches.augment.mirror import Mirror
from autoseg.batches.batch import Batch
from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from batch_phantoms import LABELS, make_batch, make_case, make_configuration, seeded
from planners.schema.labels import LabelSpec

PAIRED = LabelSpec(names={"background": (0,), "left": (3,), "spine": (5,), "right": (8,)}, paired=(("left", "right"),))
REGIONS = LabelSpec(names={"background": (0,), "left_kidney": (1, 2), "left_tumour": (2,), "right_kidney": (3, 4),
                           "right_tumour": (4,)}, region_order=(1, 2, 3, 4),
                    paired=(("left_kidney", "right_kidney"), ("left_tumour", "right_tumour")))


def mirrored(axes, labels, *, pair_axis=-1, label=(0, 3, 5, 8), channels=None, n_previous=0):
    """A row of voxels (along the last of three axes) after mirroring every axis of `axes`."""
    label = torch.tensor(label, dtype=torch.int16).expand(1, 2, 2, -1).contiguous()
    image = label[:, None].float() if channels is None else channels
    mirror = Mirror(axes, 1.0, pair_axis, labels, channels=Channels(1, n_previous), dimensions=3, device=torch.device("cpu"))
    mirror(Batch(image, label, torch.ones(1, 1, dtype=torch.bool)), seeded())
    return image[0, :, 0, 0].tolist(), label[0, 0, 0].tolist()


def test_mirroring_along_left_right_swaps_the_pair():
    image, label = mirrored((2,), PAIRED)
    assert image[0] == [8, 5, 3, 0] and label == [3, 5, 8, 0]


def test_mirroring_along_other_axes_swaps_nothing():
    assert mirrored((0, 1), PAIRED)[1] == [0, 3, 5, 8]


def test_the_pair_swaps_when_other_axes_are_mirrored_too():
    assert mirrored((0, 1, 2), PAIRED)[1] == [3, 5, 8, 0]


def test_without_a_left_right_axis_nothing_swaps():
    assert mirrored((2,), PAIRED, pair_axis=None)[1] == [8, 5, 3, 0]


def test_the_left_right_axis_may_be_any_of_the_patch():
    assert mirrored((0,), PAIRED, pair_axis=0)[1] == [0, 8, 5, 3]


def test_without_pairs_nothing_swaps():
    assert mirrored((2,), LABELS, label=(0, 1, 2, 2))[1] == [2, 2, 1, 0]


def test_regions_swap_the_values_that_form_them():
    assert mirrored((2,), REGIONS, label=(0, 1, 2, 3, 4))[1] == [2, 1, 4, 3, 0]


def test_the_channels_of_an_earlier_prediction_swap_with_the_labels():
    image = torch.zeros(1, 5, 2, 2, 4)
    image[:, 0] = 7
    image[:, 4, ..., 0] = 1  # a mask of absent voxels, which is nobody's twin
    image[:, 1, ..., 0] = 1  # left, spine and right at the first three places
    image[:, 2, ..., 1] = 1
    image[:, 3, ..., 2] = 1
    rows, _ = mirrored((2,), PAIRED, channels=image, n_previous=3)
    assert rows == [[7] * 4, [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(("axis", "expected"), [(2, [True, False, False]), (1, [False, False, True])])
def test_what_was_annotated_on_the_left_is_then_known_of_the_right(axis, expected):
    mirror = Mirror((axis,), 1.0, -1, PAIRED, channels=Channels(1), dimensions=3, device=torch.device("cpu"))
    annotated = torch.tensor([[False, False, True]])  # left, spine, right
    batch = Batch(torch.zeros(1, 1, 2, 2, 4), torch.zeros(1, 2, 2, 4, dtype=torch.int16), torch.ones(1, 1) > 0,
                  annotated_BK=annotated)
    assert mirror(batch, seeded()).annotated_BK.tolist() == [expected]
    assert annotated.tolist() == [[False, False, True]]


def test_a_pair_of_different_numbers_of_values_is_an_error():
    labels = LabelSpec(names={"background": (0,), "a": (1, 2), "b": (3,)}, region_order=(1, 3), paired=(("a", "b"),))
    with pytest.raises(ValueError, match="'a' and 'b' have 2 and 1"):
        mirrored((2,), labels)


def test_samples_are_mirrored_one_by_one():
    configuration = make_configuration((4, 6), augmentation="light",
                                       options={"p_contrast": 0, "p_brightness": 0, "p_noise": 0})
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    batch = make_batch((4, 6), n_samples=400)
    result = augmentation(batch, seeded())
    counts = []
    for axes in ([], [1], [2], [1, 2]):
        image = batch.image_BCDHW.flip([axis + 1 for axis in axes])
        same = (result.image_BCDHW == image).flatten(1).all(1)
        assert torch.equal(result.label_BDHW[same], batch.label_BDHW.flip(axes)[same])
        counts.append(int(same.sum()))
    assert sum(counts) == 400 and all(abs(count - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5 for count in counts)


def test_axes_that_are_not_to_be_mirrored_are_not():
    configuration = make_configuration((4, 6), augmentation="light",
                                       options={"p_contrast": 0, "p_brightness": 0, "p_noise": 0})
    configuration = configuration.model_copy(update={"mirror_axes": ()})
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    batch: Batch = make_batch((4, 6), n_samples=50)
    assert torch.equal(augmentation(batch, seeded()).image_BCDHW, batch.image_BCDHW)


def alternating(**changes):
    configuration = make_configuration((4, 6), augmentation="light",
                                       options={"p_contrast": 0, "p_brightness": 0, "p_noise": 0, **changes})
    return configuration.model_copy(update={"mirror_views": "alternating"})


def views_of(batch):
    """The axes along which samples whose voxels are numbered were mirrored."""
    image = batch.image_BCDHW[:, 0]
    return [tuple(axis for axis in (0, 1) if (image[sample].diff(dim=axis) < 0).all()) for sample in range(len(image))]


def test_every_mirrored_form_of_a_case_is_seen_once_in_turn():
    store = store_cases([make_case(np.zeros((2, 4, 6)), f"case_{n}") for n in range(3)], "cpu", 10**9)
    stream = make_batches(store, alternating(), LABELS, 0, "cpu")
    seen = {}
    for _ in range(40):
        batch = next(stream)
        before = stream.state_dict()["sampler"]["views"]
        assert len(batch.views) == 2 and max(batch.views) <= max(before)
        for view, axes in zip(batch.views, views_of(batch), strict=True):
            seen.setdefault(view % 4, set()).add(axes)
    assert seen == {0: {()}, 1: {(0,)}, 2: {(1,)}, 3: {(0, 1)}}


def test_each_view_of_a_case_is_one_more_than_the_one_before():
    store = store_cases([make_case(np.zeros((2, 4, 6)))], "cpu", 10**9)
    stream = make_batches(store, alternating(), LABELS, 0, "cpu")
    views = [view for _ in range(5) for view in next(stream).views]
    assert views == list(range(views[0], views[0] + 10))


def test_alternating_views_mirror_half_or_nothing():
    with pytest.raises(UserError, match=r"p_mirror.*half of them.*0\.3"):
        build_augmentation(alternating(p_mirror=0.3).augmentation, alternating(), LABELS, "cpu")
    plain = alternating(p_mirror=0.0)
    batch = make_batch((4, 6), n_samples=4)
    numbered = Batch(batch.image_BCDHW, batch.label_BDHW, batch.present_BC, views=(0, 1, 2, 3))
    result = build_augmentation(plain.augmentation, plain, LABELS, "cpu")(numbered, seeded())
    assert torch.equal(result.image_BCDHW, batch.image_BCDHW)


def test_a_part_of_a_batch_keeps_its_views():
    batch = make_batch((4, 6), n_samples=4)
    numbered = Batch(batch.image_BCDHW, batch.label_BDHW, batch.present_BC, views=(7, 8, 9, 10))
    assert numbered.part(1, 2).views == (9, 10) and numbered.to("cpu").views == (7, 8, 9, 10)
