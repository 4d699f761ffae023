"""What holds for every registered augmentation, in 2D and 3D."""

import pytest
import torch

from autoseg.batches.augment import AUGMENTATIONS, build_augmentation
from autoseg.training.tasks.segmentation import channel_traits
from batch_phantoms import LABELS, busy, make_batch, make_configuration, seeded
from planners.schema.base import Part

PATCHES = [(12, 10, 14), (4, 20, 18), (20, 16)]  # isotropic, anisotropic (dummy 2D), 2D

each = pytest.mark.parametrize(("name", "patch"), [(n, p) for n in AUGMENTATIONS.names() for p in PATCHES])


def built(name, patch, *, channels=2, previous=""):
    configuration = make_configuration(patch, augmentation=name, options=busy(name), channels=channels, previous=previous)
    return build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")


@each
def test_the_result_has_the_configurations_patch(name, patch):
    augmentation = built(name, patch)
    batch = make_batch(augmentation.initial_patch, n_samples=4, channels=2)
    result = augmentation(batch, seeded())
    assert result.image_BCDHW.shape == (4, 2, *patch) and result.label_BDHW.shape == (4, *patch)
    assert result.image_BCDHW.dtype == torch.float32 and result.label_BDHW.dtype == torch.int16
    assert torch.equal(result.present_BC, batch.present_BC)


@each
def test_the_input_is_left_unchanged(name, patch):
    augmentation = built(name, patch)
    batch = make_batch(augmentation.initial_patch, n_samples=4, channels=2)
    image, label = batch.image_BCDHW.clone(), batch.label_BDHW.clone()
    generator = seeded()
    for _ in range(5):
        augmentation(batch, generator)
    assert torch.equal(batch.image_BCDHW, image) and torch.equal(batch.label_BDHW, label)


@each
def test_the_generator_decides_everything(name, patch):
    augmentation = built(name, patch)
    batch = make_batch(augmentation.initial_patch, n_samples=4, channels=2)
    generator = seeded(3)
    augmentation(batch, generator)
    saved = generator.get_state()
    torch.manual_seed(0)
    first = augmentation(batch, generator)
    torch.manual_seed(1)
    second = augmentation(batch, torch.Generator().set_state(saved))
    assert torch.equal(first.image_BCDHW, second.image_BCDHW) and torch.equal(first.label_BDHW, second.label_BDHW)


@each
def test_images_stay_finite_and_labels_keep_their_values(name, patch):
    augmentation = built(name, patch)
    batch = make_batch(augmentation.initial_patch, n_samples=4, channels=2)
    batch.image_BCDHW[0] = 0  # an absent or empty channel has no contrast
    generator = seeded()
    for _ in range(10):
        result = augmentation(batch, generator)
        assert torch.isfinite(result.image_BCDHW).all()
        assert set(result.label_BDHW.unique().tolist()) <= {0, 1, 2}


@each
def test_an_earlier_prediction_stays_binary(name, patch):
    augmentation = built(name, patch, previous="3d_lowres")
    batch = make_batch(augmentation.initial_patch, n_samples=4, channels=2, previous=2)
    generator = seeded()
    for _ in range(10):
        result = augmentation(batch, generator).image_BCDHW
        assert result.shape == (4, 4, *patch)
        assert set(result[:, 2:].unique().tolist()) <= {0.0, 1.0}


def test_an_unknown_augmentation_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"light.*nnunet"):
        build_augmentation(Part(name="nnuet"), make_configuration((4, 4)), LABELS, "cpu")


@pytest.mark.parametrize("options", [{"p_blur": 1.5}, {"scaling": (1.4, 0.7)}, {"scaling": (0.0, 1.0)},
                                     {"blur": 1.0}, {"rotation_degrees": 400}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        build_augmentation(Part(name="nnunet", options=options), make_configuration((4, 4)), LABELS, "cpu")


@pytest.mark.parametrize(("normalizer", "stays_zero"), [("zscore_masked", True), ("zscore", False)])
def test_outside_the_patient_channels_that_were_normalised_within_it_stay_zero(normalizer, stays_zero):
    options = {"p_noise": 1, "p_blur": 1, "p_contrast": 1, "p_gamma": 1, "p_mirror": 0, "p_rotation": 0, "p_scaling": 0}
    configuration = make_configuration((10, 10, 10), augmentation="nnunet", options=options, normalizer=normalizer)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu",
                                      channel_traits(configuration.normalizers))
    batch = make_batch((10, 10, 10))
    batch.image_BCDHW[..., :5] = 0
    result = augmentation(batch, seeded()).image_BCDHW
    assert bool((result[..., :5] == 0).all()) is stays_zero
    assert (result[..., 5:] != 0).float().mean() > 0.99
