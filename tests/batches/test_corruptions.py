"""What pre-training hides: shares, windows, determinism, and that targets stay whole."""

import numpy as np
import pytest
import torch

from autoseg.batches.augment import UNAUGMENTED
from autoseg.batches.corrupt import CORRUPTIONS, make_reconstruction_batches
from autoseg.batches.corrupt.genesis import bend_values, shuffle_windows
from autoseg.batches.store import store_cases
from autoseg.training.tasks.reconstruction import mean_filled, squared_error
from batch_phantoms import make_batch, make_case, make_configuration, seeded
from planners.schema.base import Part

PATCHES = [(16, 32, 64), (12, 10, 14), (20, 16)]
each = pytest.mark.parametrize(("name", "patch"), [(n, p) for n in CORRUPTIONS.names() for p in PATCHES])


def corruption(name, patch, **options):
    return CORRUPTIONS.get(name)(CORRUPTIONS.options(name, options), patch)


@each
def test_the_image_stays_and_the_generator_decides_everything(name, patch):
    image = make_batch(patch, n_samples=3, channels=2).image_BCDHW
    before = image.clone()
    first = corruption(name, patch)(image, seeded(1))
    second = corruption(name, patch)(image, seeded(1))
    assert torch.equal(image, before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].isfinite().all() and first[1].shape == (3, 1, *patch)


@pytest.mark.parametrize("patch", PATCHES)
def test_three_quarters_of_the_blocks_are_hidden_and_only_they_count(patch):
    image = make_batch(patch, n_samples=4, channels=2).image_BCDHW
    seen, counted = corruption("mae", patch)(image, seeded())
    assert (seen[counted.expand_as(seen)] == 0).all()
    assert torch.equal(seen[~counted.expand_as(seen)], image[~counted.expand_as(seen)])
    assert all(0.6 < share < 0.9 for share in counted.float().mean((1, *range(2, counted.ndim))).tolist())


def test_exactly_the_share_of_whole_blocks_is_hidden():
    _, counted = corruption("mae", (32, 32, 32), block=8, share=0.75)(torch.ones(5, 1, 32, 32, 32), seeded())
    assert (counted.float().mean((1, 2, 3, 4)) == 0.75).all()


def test_a_window_keeps_its_values():
    image = torch.arange(2 * 12 * 10.0).view(2, 1, 12, 10)
    shuffled = shuffle_windows(image, [3, 4], seeded())
    assert not torch.equal(shuffled, image)
    for row in range(0, 12, 3):
        for column in (0, 4):
            window = (..., slice(row, row + 3), slice(column, column + 4))
            assert torch.equal(shuffled[window].flatten(1).sort().values, image[window].flatten(1).sort().values)
    assert torch.equal(shuffled[..., 8:], image[..., 8:])  # no whole window is left there


def test_bent_values_stay_within_the_range_and_half_of_the_curves_fall():
    image = torch.linspace(0, 1, 64).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    bent = bend_values(image, seeded()).flatten(1)
    assert bent.min() >= 0 and bent.max() <= 1
    falls = bent[:, 0] > bent[:, -1]
    assert 0.35 < falls.float().mean() < 0.65
    steps = bent.diff(dim=1)
    assert torch.allclose(bent[~falls][:, [0, -1]], torch.tensor([0.0, 1.0]), atol=1e-5) and steps.abs().max() < 0.9


def test_batches_hold_the_whole_image_and_count_no_missing_channel():
    image = np.random.default_rng(0).normal(size=(2, 12, 12, 12)).astype(np.float32)
    case = make_case(np.zeros((12, 12, 12)), image_CDHW=image, present=(True, False))
    configuration = make_configuration((8, 8, 8), channels=2, augmentation=UNAUGMENTED.name)
    batch = next(make_reconstruction_batches(store_cases([case], "cpu", 10**9), configuration, Part(name="mae"), 0, "cpu"))
    assert batch.target_BCDHW.abs().sum() > batch.image_BCDHW.abs().sum() > 0
    assert batch.counted_BCDHW[:, 0].any() and not batch.counted_BCDHW[:, 1].any()
    visible = ~batch.counted_BCDHW[:, 0]
    assert torch.equal(batch.image_BCDHW[:, 0][visible], batch.target_BCDHW[:, 0][visible])


def test_what_lies_outside_the_image_does_not_count():
    case = make_case(np.zeros((6, 6, 6)), image_CDHW=np.ones((1, 6, 6, 6), np.float32))
    configuration = make_configuration((8, 8, 8), augmentation=UNAUGMENTED.name)
    store = store_cases([case], "cpu", 10**9)
    batch = next(make_reconstruction_batches(store, configuration, Part(name="genesis"), 0, "cpu"))
    assert (batch.counted_BCDHW.sum((1, 2, 3, 4)) == 6**3).all()
    assert (batch.target_BCDHW[batch.counted_BCDHW] == 1).all()


@pytest.mark.parametrize("method", ["genesis", "mae"])
def test_the_mean_that_an_error_is_compared_with_is_that_of_the_image(method):
    image = -3 + 0.1 * np.random.default_rng(0).normal(size=(1, 12, 12, 12)).astype(np.float32)
    case = make_case(np.zeros((12, 12, 12)), image_CDHW=image)
    configuration = make_configuration((16, 16, 16), augmentation=UNAUGMENTED.name)
    store = store_cases([case], "cpu", 10**9)
    batch = next(make_reconstruction_batches(store, configuration, Part(name=method), 0, "cpu"))
    assert squared_error(mean_filled(batch), batch) < 0.05  # its variance is 0.01, the padding is 0


def test_an_unknown_method_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"genesis.*mae"):
        CORRUPTIONS.get("simclr")
