"""Maps of networks whose reasons are known: one that looks at the first channel voxel by voxel; and real ones."""

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import fit_encoder
from autoseg.explain.attention import fusion_attention, rollout, tokens_attention
from autoseg.explain.gradcam import layer_name, layers_of, seg_grad_cam
from autoseg.explain.restore import restored
from autoseg.explain.smoothgrad import smooth_grad
from autoseg.explain.target import Request, Target, log_odds, padded_mask, parse_request, place_of
from autoseg.nn.networks import NETWORKS, NetworkTraits
from explain_phantoms import SLOPE, FirstChannel, plan_with, prepared_of, subject_with, targets_in, two_boxes
from planners.architectures.vit import ViT
from planners.registry import Entry, NoOptions
from planners.schema.base import Part
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec

REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setitem(NETWORKS._entries, "first", Entry("first", FirstChannel, NoOptions, NetworkTraits()))


def everything(subject, head=-1) -> Target:
    """All voxels as a target, of a network that has learned nothing."""
    mask = torch.ones(subject.tiling.shape, dtype=torch.bool)
    return Target("lesion", head % subject.labels.n_heads, mask, "all of its voxels")


@pytest.mark.parametrize("patch", [(16, 16, 16), (8, 8, 8)])
def test_the_gradient_of_a_target_is_that_of_the_whole_prediction_however_it_is_tiled(patch):
    subject = subject_with(plan_with("first", patch=patch), two_boxes())
    (target,) = targets_in(subject)
    found = subject.unpadded(smooth_grad(subject, target, samples=2, seed=0))
    n = int(target.mask_DHW.sum())
    assert n == 6**3 + 3**3
    torch.testing.assert_close(found[0], target.mask_DHW * SLOPE / n, rtol=1e-4, atol=1e-7)
    assert not found[1].any()


def test_seg_grad_cam_weighs_features_by_their_gradient_even_where_the_decoder_changes_them_in_place():
    subject = subject_with(plan_with("first"), two_boxes())
    (target,) = targets_in(subject)
    found = subject.unpadded(seg_grad_cam(subject, target))
    # The mean gradient of the first feature is the slope over all voxels, that of the second is 0.
    expected = torch.from_numpy(two_boxes()[:1]).float() * SLOPE / 16**3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("labels", [LabelSpec(names={"background": (0,), "lesion": (1,)}), REGIONS])
def test_every_layer_gives_a_map_that_is_finite_and_not_negative(dimensions, labels):
    image = np.random.default_rng(0).normal(size=(2, 3, 18, 16))
    subject = subject_with(plan_with(dimensions=dimensions, labels=labels), image)
    layers = layers_of(subject.model, subject.configuration)
    assert list(layers) == ["encoder_0", "bottleneck", "decoder_0"]
    for layer in layers:
        found = seg_grad_cam(subject, everything(subject), layer)
        assert found.shape == (1, *subject.tiling.padded_shape)
        assert torch.isfinite(found).all() and (found >= 0).all()


@pytest.mark.parametrize(("network", "layer"), [("unet", "decoder_0"), ("first", "bottleneck")])
def test_the_layer_nearest_to_the_logits_is_mapped_unless_another_is_named(network, layer):
    subject = subject_with(plan_with(network), two_boxes())
    assert layer_name("", subject.model, subject.configuration) == layer
    target = everything(subject)
    assert torch.equal(seg_grad_cam(subject, target), seg_grad_cam(subject, target, layer))
    assert layer_name("encoder_0", subject.model, subject.configuration) == "encoder_0"


def test_an_unknown_layer_lists_the_known_ones():
    subject = subject_with(plan_with(), two_boxes())
    with pytest.raises(UserError, match=r"no such layer \(found: neck; expected: encoder_0, bottleneck, decoder_0\)"):
        seg_grad_cam(subject, everything(subject), "neck")


def test_a_missing_channel_has_no_map_and_hooks_are_gone_afterwards():
    subject = subject_with(plan_with(), two_boxes(), present=[True, False])
    found = smooth_grad(subject, everything(subject), samples=1, seed=0)
    assert found[0].any() and not found[1].any()
    seg_grad_cam(subject, everything(subject), "bottleneck")
    assert not subject.model.conditioning._forward_hooks


def test_log_odds_do_not_see_what_all_logits_have_in_common():
    logits = torch.tensor([[1.0], [3.0], [2.0]])
    probability = logits.softmax(0)[1]
    assert float(log_odds(logits, 1, False)) == pytest.approx(float((probability / (1 - probability)).log()), abs=1e-6)
    assert float(log_odds(logits + 7, 1, False)) == pytest.approx(float(log_odds(logits, 1, False)), abs=1e-5)
    assert float(log_odds(logits, 1, True)) == 3.0


def test_components_are_numbered_by_size_and_a_voxel_is_a_target_of_its_label():
    subject = subject_with(plan_with("first"), two_boxes())
    sizes = [int(targets_in(subject, parse_request(f"component:{k}"))[0].mask_DHW.sum()) for k in (1, 2)]
    assert sizes == [6**3, 3**3]
    (target,) = targets_in(subject, parse_request("voxel:11,11,12"))
    assert target.label == "lesion" and target.mask_DHW.nonzero().tolist() == [[11, 11, 12]]


def test_a_component_or_voxel_that_does_not_exist_is_a_fault():
    subject = subject_with(plan_with("first"), two_boxes())
    with pytest.raises(UserError, match=r"no such component \(found: lesion: 2; expected: component 3\)"):
        targets_in(subject, parse_request("component:3"))
    with pytest.raises(UserError, match=r"outside the image \(found: \[0, 16, 0\]; expected: z, y, x from \[0, 0, 0\] to"):
        targets_in(subject, parse_request("voxel:0,16,0"))
    with pytest.raises(UserError, match=r"of no known form \(found: component:0"):
        parse_request("component:0")


def test_a_voxel_of_the_file_is_found_on_the_prepared_grid():
    from dataclasses import replace

    from autoseg.grids.geometry import Geometry

    # The file has (z, y, x) = (4, 10, 6); the case was transposed to (y, z, x), flipped along y, cropped, and made finer.
    prepared = replace(prepared_of(np.zeros((1, 12, 4, 6))), geometry=Geometry((4, 10, 6), (1.0, 2.0, 1.0)),
                       transpose=(1, 0, 2), flipped=(True, False, False), box=((2, 8), (0, 4), (0, 6)),
                       cropped_shape=(6, 4, 6), spacing_mm=(1.0, 1.0, 1.0))
    assert place_of((3, 6, 5), prepared) == (3, 3, 5)  # y = 6 is 3 from the end, 1 from the crop, of which each is two
    with pytest.raises(UserError, match="the network does not see this voxel"):
        place_of((3, 9, 5), prepared)
    back = restored(torch.ones(1, 12, 4, 6), prepared, plan_with().configurations["3d_fullres"])
    assert back.shape == (1, 4, 10, 6) and back[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]


def test_attention_of_the_fusion_sums_to_one_and_gives_nothing_to_a_missing_channel():
    plan = plan_with(n_channels=3, fusion=Part(name="attention"))
    subject = subject_with(plan, np.random.default_rng(0).normal(size=(3, 16, 20, 16)), present=[True, False, True])
    found = subject.unpadded(fusion_attention(subject))
    torch.testing.assert_close(found.sum(0), torch.ones(16, 20, 16), rtol=1e-4, atol=1e-4)
    assert float(found[1].abs().max()) == 0 and (found[0] > 0).all()
    assert fusion_attention(subject_with(plan_with(), two_boxes())) is None


def test_attention_to_conditions_sums_to_one_and_reads_nothing_of_a_model_without_them():
    table = ConditionTable(table="t.csv", specs=(ConditionSpec(name="age", kind="number"),
                                                 ConditionSpec(name="sex", kind="category")))
    known = [CaseConditions(values={"age": 40.0, "sex": "f"}), CaseConditions(values={"age": 60.0, "sex": "m"})]
    encoder = fit_encoder(table, known)
    subject = subject_with(plan_with(conditioning=Part(name="tokens")), two_boxes(), encoder=encoder, conditions=known[0])
    found = subject.unpadded(tokens_attention(subject, 2))
    assert found.shape == (3, 16, 16, 16)
    torch.testing.assert_close(found.sum(0), torch.ones(16, 16, 16), rtol=1e-4, atol=1e-4)
    assert tokens_attention(subject_with(plan_with(), two_boxes()), 0) is None


def test_attention_that_is_shown_is_the_attention_that_is_used():
    plan = plan_with(n_channels=2, fusion=Part(name="attention"))
    fusion = subject_with(plan, two_boxes()).model.fusion
    features = torch.randn(1, 2, 8, 5)
    weights, values = fusion._attend(features, None)
    expected = features.mean(1) + fusion.gate[:, None] * fusion.project((weights.unsqueeze(3) * values).sum(1).flatten(1, 2))
    torch.testing.assert_close(fusion._fuse(features, None), expected)
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 2, 5))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_rollout_shares_out_what_a_target_reads_among_the_tokens(dimensions):
    n = dimensions
    shape = ViT(token=(8,) * n, width=24, depth=2, heads=2)
    plan = plan_with("vit", dimensions=n, architecture=shape, patch=(16,) * n)
    subject = subject_with(plan, np.random.default_rng(0).normal(size=(2, 16 if n == 3 else 1, 16, 16)))
    mask = torch.zeros(subject.tiling.shape, dtype=torch.bool)
    mask[0, 2, 3] = True
    found = rollout(subject, Target("lesion", 1, mask, "voxel 0,2,3"))[0]
    tokens = found[::8, ::8, ::8] if n == 3 else found[:, ::8, ::8]
    assert float(tokens.sum()) == pytest.approx(1, abs=1e-4)
    assert float(tokens.max()) == pytest.approx(float(tokens.flatten()[0])) and float(tokens.flatten()[0]) > 0.25  # its own


def test_the_mask_of_a_target_is_padded_like_the_image():
    subject = subject_with(plan_with("first"), two_boxes((16, 16, 14)))
    (target,) = targets_in(subject, Request())
    assert padded_mask(subject, target).shape == (16, 16, 16)
    assert int(padded_mask(subject, target).sum()) == int(target.mask_DHW.sum())
