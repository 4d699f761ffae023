"""Which patches are cut: how often, where, and what surrounds an image that is smaller than they are."""

import numpy as np
import pytest
import torch

from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import store_cases
from batch_phantoms import LABELS, make_case, make_configuration
from planners.schema.labels import LabelSpec

WITH_IGNORE = LabelSpec(names={"background": (0,), "organ": (1,)}, ignore=9)


def make_sampler(cases, patch, *, labels=LABELS, initial=None, seed=0, **configuration):
    store = store_cases(cases, "cpu", limit_bytes=10**9)
    return PatchSampler(store, make_configuration(patch, **configuration), labels, initial or patch,
                        np.random.default_rng(seed))


def starts(batch, shape):
    """Where each patch begins, read from the voxel numbers of `make_case`."""
    first = batch.image_BCDHW[:, 0].flatten(1)[:, 0].long().numpy() - 1
    return np.stack(np.unravel_index(first, shape), axis=1)


def test_a_lesion_of_8_voxels_is_seen_as_often_as_one_of_1000():
    label = np.zeros((40, 16, 16))
    label[2:12, 2:12, 2:12] = 2
    label[30:32, 5:7, 5:7] = 2
    sampler = make_sampler([make_case(label)], (4, 4, 4), batch=10, share=1.0)
    small = sum(int((starts(sampler.draw(), label.shape)[:, 0] > 20).sum()) for _ in range(100))
    assert abs(small - 500) < 4 * np.sqrt(1000 * 0.5 * 0.5)


def test_a_class_of_one_voxel_is_seen_as_often_as_one_of_1000():
    label = np.zeros((40, 16, 16))
    label[2:12, 2:12, 2:12] = 1
    label[30, 5, 5] = 2
    sampler = make_sampler([make_case(label)], (4, 4, 4), batch=10, share=1.0)
    rare = sum(int((starts(sampler.draw(), label.shape)[:, 0] > 20).sum()) for _ in range(100))
    assert abs(rare - 500) < 4 * np.sqrt(1000 * 0.5 * 0.5)


def test_every_case_is_drawn_equally_often():
    cases = [make_case(np.zeros((4, 4, 4)), f"case_{k}", image_CDHW=np.full((1, 4, 4, 4), k, np.float32))
             for k in range(4)]
    sampler = make_sampler(cases, (4, 4, 4), batch=10)
    drawn = torch.cat([sampler.draw().image_BCDHW[:, 0, 0, 0, 0] for _ in range(100)])
    counts = torch.bincount(drawn.long(), minlength=4)
    assert (counts - 250).abs().max() < 4 * np.sqrt(1000 * 0.25 * 0.75)


@pytest.mark.parametrize(("batch", "share", "n_foreground"), [(2, 0.33, 1), (3, 1 / 3, 1), (12, 0.33, 4), (4, 1.0, 4),
                                                             (5, 0.0, 0)])
def test_the_last_samples_of_a_batch_hold_foreground(batch, share, n_foreground):
    label = np.zeros((30, 30, 30))
    label[0, 0, 0] = 1  # a random patch of 2 voxels an edge holds it once in 29 ** 3
    sampler = make_sampler([make_case(label)], (2, 2, 2), batch=batch, share=share)
    holds = sampler.draw().label_BDHW.flatten(1).any(1)
    assert holds.tolist() == [False] * (batch - n_foreground) + [True] * n_foreground


def test_a_batch_of_one_holds_foreground_by_chance():
    label = np.zeros((30, 30, 30))
    label[15, 15, 15] = 1
    sampler = make_sampler([make_case(label)], (2, 2, 2), batch=1, share=1 / 3)
    found = sum(bool(sampler.draw().label_BDHW.any()) for _ in range(900))
    assert abs(found - 300) < 4 * np.sqrt(900 * (1 / 3) * (2 / 3))


def test_a_foreground_patch_is_centred_on_the_voxel():
    label = np.zeros((20, 20, 20))
    label[9, 10, 11] = 1
    sampler = make_sampler([make_case(label)], (4, 6, 5), batch=1, share=1.0)
    assert starts(sampler.draw(), label.shape).tolist() == [[9 - 2, 10 - 3, 11 - 2]]


def test_a_foreground_patch_at_the_border_stays_inside_the_image():
    label = np.zeros((20, 20, 20))
    label[19, 0, 18] = 1
    sampler = make_sampler([make_case(label)], (4, 4, 4), batch=1, share=1.0)
    assert starts(sampler.draw(), label.shape).tolist() == [[16, 0, 16]]


def test_random_patches_lie_anywhere_inside():
    sampler = make_sampler([make_case(np.zeros((6, 5, 5)))], (4, 5, 4), batch=60)
    found = np.concatenate([starts(sampler.draw(), (6, 5, 5)) for _ in range(10)])
    counts = np.bincount(found[:, 0], minlength=3)
    assert abs(counts - 200).max() < 4 * np.sqrt(600 * (1 / 3) * (2 / 3))
    assert set(found[:, 1]) == {0} and set(found[:, 2]) == {0, 1}


def test_a_larger_initial_patch_reaches_over_the_border_so_that_its_centre_covers_the_image():
    # Shape 10, initial patch 6, final patch 4: starts are -1 to 5, so the final patch begins at 0 to 6.
    sampler = make_sampler([make_case(np.zeros((10, 10, 10)))], (4, 4, 4), initial=(6, 6, 6), batch=200)
    image = sampler.draw().image_BCDHW
    before, after = (image[:, 0, 0] == 0).all((1, 2)), (image[:, 0, -1] == 0).all((1, 2))
    assert before.any() and after.any() and not (before & after).any()
    assert (image[:, 0, 1:5, 1:5, 1:5] > 0).all()


def test_a_small_image_is_padded_on_both_sides_with_zeros():
    case = make_case(np.ones((4, 4, 4)))
    batch = make_sampler([case], (8, 4, 6)).draw()
    assert torch.equal(batch.image_BCDHW[0, 0, 2:6, :, 1:5], torch.from_numpy(case.image_CDHW[0]))
    assert batch.image_BCDHW[0].count_nonzero() == 64
    assert batch.label_BDHW[0].sum() == 64


def test_padding_is_ignored_where_the_dataset_has_an_ignore_label():
    batch = make_sampler([make_case(np.ones((4, 4, 4)), labels=WITH_IGNORE)], (8, 4, 4), labels=WITH_IGNORE).draw()
    assert batch.label_BDHW[0, :, 0, 0].tolist() == [9, 9, 1, 1, 1, 1, 9, 9]


def test_with_an_ignore_label_random_patches_hold_an_annotated_voxel():
    label = np.full((30, 30, 30), 9)
    label[3, 20, 4] = 0
    case = make_case(label, labels=WITH_IGNORE, extra_foreground={"(annotated)": np.array([[3, 20, 4]])})
    sampler = make_sampler([case], (4, 4, 4), labels=WITH_IGNORE, batch=5, share=0.0)
    assert (sampler.draw().label_BDHW.flatten(1) == 0).any(1).all()


def test_with_an_ignore_label_foreground_patches_hold_a_class():
    label = np.full((30, 30, 30), 9)
    label[3, 20, 4], label[20, 3, 3] = 0, 1
    annotated = np.array([[3, 20, 4], [20, 3, 3]])
    case = make_case(label, labels=WITH_IGNORE, extra_foreground={"(annotated)": annotated})
    sampler = make_sampler([case], (4, 4, 4), labels=WITH_IGNORE, batch=20, share=1.0)
    assert (sampler.draw().label_BDHW.flatten(1) == 1).any(1).all()


def test_a_case_without_foreground_gives_random_patches():
    sampler = make_sampler([make_case(np.zeros((10, 10, 10)))], (4, 4, 4), batch=20, share=1.0)
    assert len(np.unique(starts(sampler.draw(), (10, 10, 10)), axis=0)) > 1


def test_2d_patches_are_slices_through_the_voxel():
    label = np.zeros((12, 20, 20))
    label[7, 10, 10] = 2
    sampler = make_sampler([make_case(label)], (8, 6), batch=3, share=1.0)
    batch = sampler.draw()
    assert batch.image_BCDHW.shape == (3, 1, 8, 6) and batch.label_BDHW.shape == (3, 8, 6)
    assert (batch.label_BDHW[:, 4, 3] == 2).all()


def test_random_2d_patches_come_from_every_slice():
    sampler = make_sampler([make_case(np.zeros((5, 6, 6)))], (6, 6), batch=100, share=0.0)
    assert set(starts(sampler.draw(), (5, 6, 6))[:, 0]) == {0, 1, 2, 3, 4}


def test_an_earlier_prediction_becomes_one_channel_a_foreground_name():
    previous = np.zeros((4, 4, 4), np.int16)
    previous[0], previous[1] = 1, 2
    case = make_case(np.zeros((4, 4, 4)), previous_DHW=previous)
    image = make_sampler([case], (4, 4, 4), previous="3d_lowres").draw().image_BCDHW
    assert image.shape == (2, 3, 4, 4, 4)
    assert torch.equal(image[0, 1], torch.from_numpy(previous == 1).float())
    assert torch.equal(image[0, 2], torch.from_numpy(previous == 2).float())


def test_an_earlier_prediction_of_regions_overlaps():
    regions = LabelSpec(names={"background": (0,), "liver": (1, 2), "tumour": (2,)}, region_order=(1, 2))
    previous = np.zeros((4, 4, 4), np.int16)
    previous[0], previous[1] = 1, 2
    case = make_case(np.zeros((4, 4, 4)), labels=regions, previous_DHW=previous)
    image = make_sampler([case], (4, 4, 4), labels=regions, previous="3d_lowres").draw().image_BCDHW
    assert image[0, 1, :, 0, 0].tolist() == [1, 1, 0, 0] and image[0, 2, :, 0, 0].tolist() == [0, 1, 0, 0]


def test_presence_goes_with_the_sample():
    image = np.zeros((2, 4, 4, 4), np.float32)
    case = make_case(np.zeros((4, 4, 4)), image_CDHW=image, present=(True, False))
    assert make_sampler([case], (4, 4, 4), channels=2).draw().present_BC.tolist() == [[True, False]] * 2


def test_a_restored_state_continues_the_sequence():
    label = np.random.default_rng(0).integers(0, 3, (12, 12, 12))
    sampler, other = (make_sampler([make_case(label)], (4, 4, 4), seed=seed) for seed in (1, 2))
    sampler.draw()
    other.set_state(sampler.get_state())
    for _ in range(5):
        assert torch.equal(sampler.draw().image_BCDHW, other.draw().image_BCDHW)
