"""Changes of contrast: what they leave, and where they are refused."""

import dataclasses

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.batches.augment import AUGMENTATIONS, UNKNOWN, ChannelTraits, build_appearance, build_augmentation
from autoseg.batches.augment.appearance import apply_bias, bend
from autoseg.planning.check import check_plan
from batch_phantoms import LABELS, make_batch, make_configuration, seeded
from planners.schema.base import Part
from tests_support import small_plan

SHAPES = [(8, 10, 12), (20, 16)]
OFTEN = {"gin": {"p": 1}, "histogram": {"p_histogram": 1, "p_bias": 1}}

each = pytest.mark.parametrize(("name", "patch"), [(n, p) for n in OFTEN for p in SHAPES])


def built(name, patch, normalizer="zscore", traits=UNKNOWN):
    configuration = make_configuration(patch, channels=2, normalizer=normalizer)
    return build_augmentation(Part(name=name, options=OFTEN[name]), configuration, LABELS, "cpu", traits)


@each
def test_labels_stay_and_every_image_changes(name, patch):
    batch = make_batch(patch, n_samples=3, channels=2)
    result = built(name, patch)(batch, seeded())
    assert torch.equal(result.label_BDHW, batch.label_BDHW)
    changed = (result.image_BCDHW - batch.image_BCDHW).flatten(2).abs().amax(2)
    assert (changed > 1e-3).all()


@each
def test_each_channel_changes_in_its_own_way(name, patch):
    batch = make_batch(patch, n_samples=2, channels=2)
    same = batch.image_BCDHW[:, :1].expand_as(batch.image_BCDHW).contiguous()
    result = built(name, patch)(dataclasses.replace(batch, image_BCDHW=same), seeded()).image_BCDHW
    assert not torch.allclose(result[:, 0], result[:, 1], atol=1e-3)


def test_gin_keeps_the_norm_of_each_channel():
    batch = make_batch((8, 10, 12), n_samples=4, channels=2)
    result = built("gin", (8, 10, 12))(batch, seeded())
    norms = [image.flatten(2).norm(dim=2) for image in (batch.image_BCDHW, result.image_BCDHW)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-4, atol=0)


def test_gin_may_invert_the_contrast():
    batch = make_batch((16, 16), n_samples=64, channels=2)
    result = built("gin", (16, 16))(batch, seeded())
    pairs = zip(batch.image_BCDHW.flatten(0, 1), result.image_BCDHW.flatten(0, 1), strict=True)
    correlation = torch.stack([torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in pairs])
    assert (correlation < -0.3).float().mean() > 0.05 and (correlation > 0.3).float().mean() > 0.2


@each
def test_what_is_zero_outside_the_patient_stays_zero(name, patch):
    batch = make_batch(patch, channels=2)
    batch.image_BCDHW[..., :5] = 0
    result = built(name, patch, "zscore_masked", ChannelTraits(zero_outside=(0, 1)))(batch, seeded()).image_BCDHW
    assert (result[..., :5] == 0).all() and (result[..., 5:] != 0).float().mean() > 0.9


@pytest.mark.parametrize("patch", SHAPES)
def test_a_light_augmentation_leaves_zeros_outside_the_patient_for_what_follows_it(patch):
    often = {"p_contrast": 1, "p_brightness": 1, "p_noise": 1, "p_mirror": 0}
    batch, configuration = make_batch(patch, channels=2), make_configuration(patch, channels=2, normalizer="zscore_masked")
    batch.image_BCDHW[..., :5] = 0
    light = build_augmentation(Part(name="light", options=often), configuration, LABELS, "cpu",
                               ChannelTraits(zero_outside=(0, 1)))
    result = light(batch, seeded()).image_BCDHW
    assert (result[..., :5] == 0).all() and (result[..., 5:] != 0).float().mean() > 0.9


def test_a_curve_without_displacement_and_a_field_without_weights_change_nothing():
    rows = make_batch((8, 9, 10)).image_BCDHW[:, 0]
    torch.testing.assert_close(bend(rows, torch.zeros(2, 3)), rows)
    torch.testing.assert_close(apply_bias(rows, torch.zeros(2, 2), [(1, 0, 0), (0, 1, 1)]), rows)


def test_a_bias_field_is_the_exponential_of_its_polynomial():
    rows = torch.tensor([[[0.0, 1.0, 2.0]]])
    result = apply_bias(rows, torch.tensor([[0.5]]), [(0, 1)])
    torch.testing.assert_close(result, rows * torch.tensor([-0.5, 0.0, 0.5]).exp())


def test_gin_on_hounsfield_units_needs_permission():
    plan = small_plan(normalizers=(Part(name="ct"),), appearance=(Part(name="gin"),))
    with pytest.raises(UserError, match="allow-gin-on-ct"):
        check_plan(plan, "3d_fullres")
    allowed = (Part(name="gin", options={"allow_on_ct": True}),)
    check_plan(small_plan(normalizers=(Part(name="ct"),), appearance=allowed), "3d_fullres")


def test_what_moves_voxels_is_no_appearance():
    configuration = make_configuration((8, 8)).model_copy(update={"appearance": (Part(name="light"),)})
    with pytest.raises(UserError, match="gin or histogram"):
        build_appearance(configuration, LABELS, "cpu")
    assert [name for name in AUGMENTATIONS.names() if not AUGMENTATIONS.traits(name).moves] == ["gin", "histogram"]
