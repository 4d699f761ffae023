"""Attention among the channels of a voxel and within windows: against torch's own, and how far it reaches."""

import pytest
import torch

from autoseg.nn.fusion import FUSIONS, FusionContext
from autoseg.nn.fusion.window import _displacements, _joined, _nearness, _windows
from planners.schema.base import Part


def make(name, n_channels, dimensions=2, **options):
    torch.manual_seed(0)
    fusion = FUSIONS.make(Part(name=name, options=options), FusionContext(n_channels, dimensions))
    torch.nn.init.ones_(fusion.gate)
    return fusion


def touched(fusion, shape, channel, voxel):
    """Voxels (*space) whose output changes when one voxel of a channel does."""
    image = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[(0, channel, *voxel)] += 10
    with torch.no_grad():
        return (fusion(other, None) != fusion(image, None)).any(1)[0]


def test_attention_among_channels_is_what_torch_computes():
    fusion = make("attention", 3, features=8, heads=2)
    image = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    available = torch.tensor([[True, True, True], [True, False, True]])
    tokens = fusion.stem(image, available[..., None, None]).flatten(3).permute(0, 3, 1, 2)  # (B, N, C, F)
    q, k, v = (part.unflatten(-1, (2, 4)).transpose(2, 3) for part in
               (tokens @ fusion.to_qkv.weight[..., 0].T + fusion.to_qkv.bias).chunk(3, -1))
    answers = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=available[:, None, None, None])
    answers = answers.transpose(2, 3).flatten(3) @ fusion.project.weight[..., 0].T + fusion.project.bias
    share = (available / available.sum(1, keepdim=True))[:, None, :, None]
    expected = ((tokens + answers) * share).sum(2).transpose(1, 2).unflatten(-1, (4, 5))
    torch.testing.assert_close(fusion(image, available[..., None, None]), expected)


@pytest.mark.parametrize("name", ["attention", "window"])
def test_the_size_of_the_chunks_changes_neither_output_nor_gradients(name):
    image = torch.randn(2, 3, 9, 20, generator=torch.Generator().manual_seed(0))
    available = torch.rand(2, 3, 9, 20, generator=torch.Generator().manual_seed(1)) > 0.3
    whole, parts = make(name, 3, chunk=10_000), make(name, 3, chunk=7)
    results = []
    for fusion in (whole, parts):
        fused = fusion(image, available)
        fused.square().mean().backward()
        results.append(fused)
    torch.testing.assert_close(*results)
    for (key, expected), found in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=key)


def kept_values(name, n_channels, edge):
    """What the backward pass keeps a voxel and channel, weights excluded."""
    fusion = make(name, n_channels)
    weights = {parameter.untyped_storage().data_ptr() for parameter in fusion.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes() // 4, storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fused = fusion(torch.randn(1, n_channels, edge, edge), None)
    assert fused.requires_grad
    return sum(values for values, _ in kept.values()) / (n_channels * edge**2)


def test_memory_grows_with_the_features_and_not_with_the_scores_between_channels():
    few, many = kept_values("attention", 2, 32), kept_values("attention", 8, 32)
    # 8 features a voxel and channel, the image, and 8 features a voxel of each chunk's and the whole result
    assert many <= few < 40


@pytest.mark.parametrize("name", ["attention", "window"])
def test_memory_is_linear_in_voxels(name):
    assert kept_values(name, 2, 128) == pytest.approx(kept_values(name, 2, 64), rel=0.1)


def test_attention_among_channels_sees_no_farther_than_its_stem():
    seen = touched(make("attention", 2), (16, 16), channel=1, voxel=(8, 8))
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[7:10, 7:10] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("border", [7, 8])
def test_windows_reach_over_their_border(border):
    # tokens of two voxels, windows of four tokens: voxels 0 to 7 and 8 to 15
    seen = touched(make("window", 2), (16, 16), channel=1, voxel=(border, 4))
    assert seen[:, 4].nonzero().min() <= 5 and seen[:, 4].nonzero().max() >= 10


def test_without_a_halo_windows_end_at_their_border():
    seen = touched(make("window", 2, halo=0), (16, 16), channel=1, voxel=(3, 3))
    assert seen[:8, :8].all() and not seen[8:].any() and not seen[:, 8:].any()


def test_displacements_are_numbered_from_the_farthest_before_to_the_farthest_behind():
    # a window of one position in two dimensions, its eight neighbours around it
    assert _displacements(1, 1, 2).tolist() == [list(range(9))]
    # two positions along an axis without a halo: from each to each are -1, 0 or +1
    assert _displacements(2, 0, 1).tolist() == [[1, 2], [0, 1]]


def test_nearness_is_flat_up_to_the_halo():
    assert _nearness(2, 1, 1).tolist() == [-3, 0, 0, 0, -3]
    assert _nearness(1, 1, 2).tolist() == [0] * 9


def test_windows_are_cut_and_joined_again():
    tokens = torch.arange(2 * 4 * 6 * 3.0).view(2, 1, 4, 6, 3)
    windows = _windows(tokens, [(0, 0), (0, 0)], 2, 2)
    assert windows.shape == (2 * 2 * 3, 4, 3)
    assert windows[0].tolist() == tokens[0, 0, :2, :2].flatten(0, 1).tolist()
    assert torch.equal(_joined(windows, [2, 3], 2), tokens[:, 0].movedim(-1, 1))
