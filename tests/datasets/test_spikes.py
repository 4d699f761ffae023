import numpy as np
import pytest

from autoseg.datasets.spikes import bulk_of, describe_spikes


def noise(shape=(20, 30, 40), seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


def test_the_bulk_holds_98_percent():
    ramp = np.arange(10_000, dtype=np.float32).reshape(10, 20, 50)
    bulk = bulk_of(ramp)
    assert bulk.low == pytest.approx(100, abs=5) and bulk.high == pytest.approx(9900, abs=5)
    assert bulk.bounds(widths=1)[1] == pytest.approx(9900 + 9800, abs=20)


@pytest.mark.parametrize("image", [np.zeros((9, 9, 9), np.float32), np.ones((2, 2, 2), np.float32),
                                   np.arange(2000).reshape(10, 10, 20) % 2])
def test_a_constant_a_mask_and_a_tiny_image_have_no_bulk(image):
    assert bulk_of(image) is None and describe_spikes(image) == ""


def test_a_view_has_the_bulk_of_its_voxels():
    image = noise()
    assert bulk_of(image[2:-2, ::-1, 3:].transpose(2, 0, 1)).low == pytest.approx(bulk_of(image).low, abs=2)


def test_padding_with_one_number_is_no_part_of_the_bulk():
    image = noise()
    image[:12] = -9999
    assert 60 < bulk_of(image).low < bulk_of(image).high < 140
    assert describe_spikes(image).startswith("14400 of 24000 voxels hide the contrast")
    assert "values reach from -9999 to" in describe_spikes(image)


def test_spikes_are_counted_and_a_bright_lesion_is_none():
    image = noise()
    image[5, 5, :20] = 200  # ten deviations
    assert describe_spikes(image) == ""
    image[0, 0, :7] = 1e6
    assert describe_spikes(image).startswith("7 of 24000 voxels hide")


@pytest.mark.parametrize("shape", ["background", "saturated", "sparse", "heavy tail"])
def test_what_ordinary_images_are_like_is_no_spike(shape):
    image, generator = noise(), np.random.default_rng(1)
    if shape == "background":
        image[:, 10:] = 0
    elif shape == "saturated":
        image = np.clip(image * 3, 0, 255)
    elif shape == "sparse":  # spots of fluorescence, 2 % of the voxels, a thousand times the noise
        image[0, :15, :32] += 10_000
    else:
        image = generator.lognormal(0, 1.5, image.shape).astype(np.float32)
    assert describe_spikes(image) == ""
