"""Voxels outside a channel's field of view: cut, moved and mirrored with the image, and never read."""

import numpy as np
import pytest
import torch

from autoseg.batches.augment import AUGMENTATIONS, augment, build_augmentation
from autoseg.batches.augment.channels import Channels, channels_of
from autoseg.batches.batch import Batch
from autoseg.batches.loader import make_batches
from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import store_cases
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from batch_phantoms import LABELS, Lazy, busy, make_batch, make_case, make_configuration, seeded
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from tests_support import SPHERES, small_plan, sphere_case

RESIDENT, STREAMED = 10**9, 0
SHAPE = (8, 10, 12)


def half_seen(name="case", value=0.0):
    """Two channels of ones; the second ends in the middle of the last axis, where it has `value`."""
    absent = np.zeros((2, *SHAPE), bool)
    absent[1, ..., 6:] = True
    image = np.where(absent, value, 1).astype(np.float32)
    return make_case(np.zeros(SHAPE), name, image_CDHW=image, present=(True, True), absent_CDHW=absent)


def draw(cases, patch, limit_bytes=RESIDENT, **configuration):
    store = store_cases(cases, "cpu", limit_bytes)
    return PatchSampler(store, make_configuration(patch, channels=2, **configuration), LABELS, patch,
                        np.random.default_rng(0)).draw()


def test_absent_voxels_count_against_the_limit():
    needed = int(np.prod(SHAPE)) * (2 * (4 + 1) + 2)
    assert store_cases([half_seen()], "cpu", needed).resident
    assert not store_cases([half_seen()], "cpu", needed - 1).resident


@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
def test_absent_voxels_are_cut_with_the_patch(limit_bytes):
    case = half_seen()
    lazy = type(case)(**{**vars(case), "absent_CDHW": Lazy(case.absent_CDHW)})
    batch = draw([lazy], SHAPE, limit_bytes)
    assert batch.absent_BCDHW.dtype == torch.bool
    assert torch.equal(batch.absent_BCDHW, torch.from_numpy(case.absent_CDHW).expand(2, -1, -1, -1, -1))


@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
def test_padding_is_not_absent(limit_bytes):
    batch = draw([half_seen()], (8, 10, 16), limit_bytes)
    assert batch.absent_BCDHW[0, 1, 0, 0].int().tolist() == [0] * 8 + [1] * 6 + [0] * 2
    assert batch.image_BCDHW[0, 0, 0, 0].tolist() == [0] * 2 + [1] * 12 + [0] * 2


def test_2d_patches_have_2d_masks():
    batch = draw([half_seen()], SHAPE[1:])
    assert batch.absent_BCDHW.shape == (2, 2, *SHAPE[1:]) and batch.absent_BCDHW[:, 1, :, 6:].all()


def test_one_case_with_absent_voxels_gives_every_batch_a_mask():
    whole = make_case(np.zeros(SHAPE), image_CDHW=np.ones((2, *SHAPE), np.float32), present=(True, True))
    assert draw([whole], SHAPE).absent_BCDHW is None
    drawn = draw([whole, half_seen()], SHAPE, batch=40).absent_BCDHW.flatten(1).any(1)
    assert drawn.any() and not drawn.all()


@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
def test_what_an_absent_voxel_or_a_missing_channel_holds_is_not_read(limit_bytes):
    case = half_seen(value=np.nan)
    assert draw([case], SHAPE, limit_bytes).image_BCDHW[0, 1, 0, 0].tolist() == [1] * 6 + [0] * 6
    lacking = type(case)(**{**vars(case), "present_C": np.array([True, False])})
    assert draw([lacking], SHAPE, limit_bytes).image_BCDHW[:, 1].abs().max() == 0


@pytest.mark.parametrize("patch", [(12, 10, 14), (4, 20, 18), (20, 16)])
@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_absent_voxels_move_with_the_image(name, patch):
    probabilities = [key for key in dict(AUGMENTATIONS.options(name, {})) if key.startswith("p") and key[1:2] in ("", "_")
                     and key != "p_mirror"]
    still = dict.fromkeys(probabilities, 0.0)
    configuration = make_configuration(patch, augmentation=name, options={**still, **busy(name)}, channels=2)
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    batch = make_batch(augmentation.initial_patch, n_samples=6, channels=2)
    absent = batch.image_BCDHW > 0.6
    shown = Batch(absent.float(), batch.label_BDHW, batch.present_BC, absent_BCDHW=absent)
    result = augment(shown, augmentation, seeded())
    assert result.absent_BCDHW.shape == (6, 2, *patch) and result.absent_BCDHW.any()
    assert torch.equal(result.absent_BCDHW, result.image_BCDHW > 0.5)


@pytest.mark.parametrize("previous", [0, 2])
@pytest.mark.parametrize("name", ["light", "nnunet"])
def test_absent_voxels_change_nothing_of_images_and_earlier_predictions(name, previous):
    options = {"p_rotation": 0.5, "p_scaling": 0.5, "p_elastic": 0.5, "cascade": {"p_morphology": 1.0, "p_loss": 1.0}}
    configuration = make_configuration((12, 12, 12), augmentation=name, options=options, channels=2,
                                       previous="3d_lowres" if previous else "")
    labels = LabelSpec(names=LABELS.names, paired=(("organ", "tumour"),))
    configuration = configuration.model_copy(update={"pair_axis": 2})
    augmentation = build_augmentation(configuration.augmentation, configuration, labels, "cpu")
    plain = make_batch(augmentation.initial_patch, n_samples=6, channels=2, previous=previous)
    masked = Batch(plain.image_BCDHW, plain.label_BDHW, plain.present_BC,
                   absent_BCDHW=plain.image_BCDHW[:, :2] > 0.6)
    one, other = augment(plain, augmentation, seeded()), augment(masked, augmentation, seeded())
    assert torch.equal(one.image_BCDHW, other.image_BCDHW) and torch.equal(one.label_BDHW, other.label_BDHW)


def test_outside_the_patch_nothing_is_absent():
    # At half its size the patch fills the middle of itself: its surroundings are padding.
    configuration = make_configuration((12, 12, 12), augmentation="light", options={
        "p_scaling": 1, "scaling": (2, 2), "p_rotation": 1, "rotation_degrees": 0, "p_mirror": 0})
    augmentation = build_augmentation(configuration.augmentation, configuration, LABELS, "cpu")
    size = augmentation.initial_patch
    batch = Batch(torch.ones(1, 1, *size), torch.zeros(1, *size, dtype=torch.int16), torch.ones(1, 1) > 0,
                  absent_BCDHW=torch.ones(1, 1, *size, dtype=torch.bool))
    absent = augment(batch, augmentation, seeded()).absent_BCDHW[0, 0]
    assert absent[6, 6, 6] and not absent[0].any() and not absent[..., -1].any()


def test_channels_are_images_then_the_names_of_an_earlier_prediction():
    configuration = make_configuration((8, 8), channels=3)
    assert channels_of(configuration, LABELS) == Channels(3, 0)
    cascade = channels_of(configuration.model_copy(update={"previous": "3d_lowres"}), LABELS)
    assert cascade == Channels(3, 2) and cascade.previous == slice(3, 5)


def trained_on(value, augmentation):
    """Loss and gradients of a step on a case of three channels, with `value` where a channel is absent or missing."""
    plan = small_plan(n_channels=3, augmentation=Part(name=augmentation, options=busy(augmentation, 0.7)))
    (configuration,) = plan.configurations.values()
    ball = sphere_case("case", 0)
    image = np.repeat(ball.image_CDHW, 3, axis=0)
    absent = np.zeros(image.shape, bool)
    absent[1, :, 9:] = True
    image[absent] = value
    image[2] = value
    case = make_case(ball.label_DHW, image_CDHW=image, labels=SPHERES, present=(True, True, False), absent_CDHW=absent)
    batch = next(make_batches(store_cases([case], "cpu", RESIDENT), configuration, plan.labels, 0, "cpu"))
    torch.manual_seed(0)
    model = build_model(plan, configuration).train()
    logits = model(batch.image_BCDHW, batch.present_BC, batch.conditions, batch.absent_BCDHW)
    loss = build_loss(plan.labels, configuration, "cpu")(logits, batch.label_BDHW, batch.annotated_BK)
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("augmentation", AUGMENTATIONS.names())
def test_no_bit_of_a_training_step_depends_on_what_is_absent(augmentation):
    loss, gradients = trained_on(0.0, augmentation)
    for value in (np.nan, 1e6):
        other, others = trained_on(value, augmentation)
        assert loss.isfinite() and torch.equal(loss, other)
        assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
