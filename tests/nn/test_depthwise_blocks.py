"""Ghost and MedNeXt blocks, gated skips and kernels that grow."""

import pytest
import torch

from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.nn.networks.blocks import CONV, ConvBlock, Gate
from autoseg.nn.networks.depthwise import filtered
from autoseg.nn.networks.ghost import GhostBlock
from autoseg.nn.networks.mednext import MedNeXtBlock, with_grown_kernels
from planners.architectures.unet import UNet
from planners.schema.base import Part

both_dimensions = pytest.mark.parametrize("n", [2, 3])


def image_of(n: int, channels: int = 4) -> torch.Tensor:
    return torch.randn(2, channels, *(8,) * n, generator=torch.Generator().manual_seed(0))


def network_of(n: int, seed: int = 0, **values) -> torch.nn.Module:
    architecture = UNet(**{"strides": ((1,) * n, (2,) * n, (1,) + (2,) * (n - 1)), "kernel_sizes": ((3,) * n,) * 3,
                           "features": (4, 6, 8), "blocks_encoder": (1, 1, 1), "convs_decoder": (1, 1), **values})
    torch.manual_seed(seed)
    return NETWORKS.make(Part(name="unet"), NetworkContext(architecture, 1, 2))


def logits_of(network: torch.nn.Module, n: int) -> torch.Tensor:
    return network.decode(network.encode(image_of(n, 1)), every_stage=False)[0]


def n_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@both_dimensions
def test_a_ghost_block_has_little_more_than_half_of_the_parameters(n):
    kernel = (3,) * n
    assert n_parameters(GhostBlock(32, 64, kernel)) < 0.6 * n_parameters(ConvBlock(32, 64, kernel))


@both_dimensions
@pytest.mark.parametrize("c_out", [2, 5, 8])
def test_a_ghost_block_gives_any_number_of_channels_and_every_weight_is_trained(n, c_out):
    block = GhostBlock(4, c_out, (3,) * n, (2,) * n)
    result = block(image_of(n))
    assert result.shape == (2, c_out, *(4,) * n)
    (result * torch.randn_like(result)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters() if p.requires_grad)


def test_cheap_channels_are_each_made_from_one_other():
    block = GhostBlock(4, 6, (3, 3))
    intrinsic = block.primary(image_of(2))
    changed = intrinsic.clone()
    changed[:, 1] = 0
    differs = (block.cheap(intrinsic) != block.cheap(changed)).flatten(2).any(2).any(0)
    assert differs.tolist() == [False, True, False]


@both_dimensions
def test_a_mednext_block_adds_to_its_shortcut(n):
    block = MedNeXtBlock(4, 4, (5,) * n, expansion=3)
    torch.nn.init.zeros_(block.compress.weight)
    torch.nn.init.zeros_(block.compress.bias)
    assert torch.equal(block(image_of(n)), image_of(n))


@both_dimensions
def test_a_new_gate_changes_nothing_and_a_closed_one_lets_nothing_through(n):
    plain, gated = network_of(n), network_of(n, skip="gated")
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == [] and all(".gates." in name for name in missing)
    assert torch.equal(logits_of(gated, n), logits_of(plain, n))
    for gate in gated.modules():
        if isinstance(gate, Gate):
            torch.nn.init.constant_(gate.score.bias, -100)
    features = gated.encode(image_of(n, 1))
    without = gated.decode([*map(torch.zeros_like, features[:-1]), features[-1]], every_stage=False)[0]
    assert torch.allclose(logits_of(gated, n), without) and not torch.equal(logits_of(gated, n), logits_of(plain, n))


@both_dimensions
def test_a_gate_learns_which_voxels_to_let_through(n):
    gate = Gate(4, 6, (2,) * n)
    skip, below = image_of(n), torch.randn(2, 6, *(4,) * n, generator=torch.Generator().manual_seed(1))
    (gate(skip, below) * torch.randn_like(skip)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gate.parameters())
    assert gate.score.weight.grad.abs().sum() > 0


@both_dimensions
def test_kernels_grow_and_all_else_is_handed_through(n):
    small, large = network_of(n, block="mednext"), network_of(n, 1, block="mednext", kernel_sizes=((5,) * n,) * 3)
    shapes = {name: weight.shape for name, weight in large.state_dict().items()}
    grown = with_grown_kernels(small.state_dict(), shapes)
    large.load_state_dict(grown)
    for name, weight in small.state_dict().items():
        assert ("depthwise.weight" in name) == (grown[name].shape != weight.shape)
        if grown[name].shape == weight.shape:
            assert torch.equal(grown[name], weight)
    assert logits_of(large, n).isfinite().all()


def test_a_grown_kernel_runs_linearly_between_the_values_of_the_small_one():
    flat = torch.full((2, 1, 3, 3), 0.5)
    assert torch.equal(with_grown_kernels({"w": flat}, {"w": torch.Size((2, 1, 5, 5))})["w"], torch.full((2, 1, 5, 5), 0.5))
    ramp = torch.tensor([0.0, 1.0, 2.0]).expand(1, 1, 3, 3)
    grown = with_grown_kernels({"w": ramp}, {"w": torch.Size((1, 1, 5, 5))})["w"][0, 0, 0]
    assert torch.allclose(grown, torch.tensor([0.0, 0.4, 1.0, 1.6, 2.0]))
    assert with_grown_kernels({"w": ramp}, {}) == {"w": ramp}


@both_dimensions
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("edge", [3, 5])
def test_gradients_of_a_depthwise_convolution_are_torchs(n, samples, edge):
    layer = CONV[n](4, 4, (1, *(edge,) * (n - 1)), padding=(0, *(edge // 2,) * (n - 1)), groups=4)
    results = []
    for convolve in (layer, lambda image: filtered(layer, image)):
        image = image_of(n)[:samples].requires_grad_()
        result = convolve(image)
        layer.zero_grad()
        (result * torch.linspace(0, 1, result.numel()).view_as(result)).sum().backward()
        results.append((result, image.grad, layer.weight.grad.clone(), layer.bias.grad.clone()))
    for torchs, ours in zip(*results, strict=True):
        assert torch.allclose(torchs, ours, rtol=1e-4, atol=1e-4)
