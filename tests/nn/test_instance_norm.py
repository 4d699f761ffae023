"""Instance normalisation: torch's values and gradients, in the layout of the input."""

import pytest
import torch
import torch.nn.functional as F

from autoseg.nn.networks.norm import InstanceNorm

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = InstanceNorm(3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


def with_gradients(run, norm, image):
    result = run(image)
    return result, *torch.autograd.grad(result, (image, norm.weight, norm.bias), torch.arange(result.numel()).view(
        result.shape).to(result.dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_those_of_torch(norm, layout):
    norm.double()
    image = (3 * torch.randn(2, 3, 4, 6, 5, dtype=torch.float64) + 2).to(memory_format=LAYOUTS[layout]).requires_grad_()
    expected = with_gradients(lambda x: F.instance_norm(x, weight=norm.weight, bias=norm.bias), norm, image)
    for mine, theirs in zip(with_gradients(norm, norm, image), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_stays(norm, layout):
    image = torch.randn(2, 3, 4, 6, 5).to(memory_format=LAYOUTS[layout]).requires_grad_()
    result = norm(image)
    result.backward(result.detach())
    assert result.stride() == image.stride() == image.grad.stride()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rectified_values_and_gradients_are_those_of_both_steps_of_torch(norm, layout):
    norm.double()
    image = (3 * torch.randn(2, 3, 4, 6, 5, dtype=torch.float64) + 2).to(memory_format=LAYOUTS[layout]).requires_grad_()
    expected = with_gradients(lambda x: F.leaky_relu(F.instance_norm(x, weight=norm.weight, bias=norm.bias), 0.01), norm,
                              image)
    for mine, theirs in zip(with_gradients(lambda x: norm.rectified(x, 0.01), norm, image), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_gradients_of_what_is_rectified_are_its_differences(norm):
    norm.double()
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight, bias: norm.rectified(x, 0.01), (image, norm.weight, norm.bias))


def test_in_half_precision_statistics_are_single(norm):
    image = (torch.randn(1, 3, 8, 8) + 300).bfloat16().requires_grad_()  # 300 + 0.5 has no bfloat16
    result = norm(image)
    result.float().square().sum().backward()
    assert result.dtype == image.grad.dtype == torch.bfloat16 and norm.weight.grad.dtype == torch.float32
    torch.testing.assert_close(result.float(), norm(image.detach().float()), atol=0.05, rtol=0.02)


def test_what_is_compiled_computes_the_same(norm):
    image = torch.randn(2, 3, 6, 6, requires_grad=True)
    compiled = torch.compile(norm, backend="aot_eager")
    for mine, theirs in zip(with_gradients(compiled, norm, image), with_gradients(norm, norm, image), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-4)


def test_the_state_is_that_of_torchs_own():
    assert list(InstanceNorm(2).state_dict()) == list(torch.nn.InstanceNorm3d(2, affine=True).state_dict())


@pytest.mark.parametrize("shape", [(1, 3, 32, 128, 128), (2, 3, 7, 200, 200), (1, 3, 512, 640)])
def test_large_maps_are_as_exact_as_small_ones(norm, shape):
    layout = torch.channels_last_3d if len(shape) == 5 else torch.channels_last
    image = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 1).to(memory_format=layout)
    exact = F.instance_norm(image.double(), weight=norm.weight.double(), bias=norm.bias.double())
    result = norm(image)
    assert result.stride() == image.stride()
    assert float((result - exact).detach().abs().max()) < 3e-4  # in one sum of float32 it is up to 1e-3


@pytest.mark.parametrize(("mean", "deviation"), [(3, 1), (10, 1), (2, 0.02), (300, 0.3)])
def test_maps_far_from_zero_are_as_exact_as_others(norm, mean, deviation):
    noise = torch.randn((1, 3, 16, 64, 64), generator=torch.Generator().manual_seed(1))
    image = (deviation * noise + mean).to(memory_format=torch.channels_last_3d).requires_grad_()
    exact = F.instance_norm(image.double(), weight=norm.weight.double(), bias=norm.bias.double())
    result = norm(image)
    assert result.stride() == image.stride()
    assert float((result - exact).detach().abs().max()) < 1e-3
    back = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    gradient, = torch.autograd.grad(result, image, back)
    expected, = torch.autograd.grad(exact, image, back.double())
    assert float((gradient - expected).abs().max()) < 2e-3 / deviation


def test_a_part_of_a_map_is_normalised_too(norm):
    image = torch.randn(2, 3, 5, 6, 7)[:, :, 1:, ::2]
    torch.testing.assert_close(norm(image), norm(image.contiguous()))


@pytest.mark.parametrize("shape", [(2, 3, 6, 4, 5), (1, 3, 7, 4, 4)])
def test_slabs_give_the_values_and_gradients_of_the_whole(norm, monkeypatch, shape):
    image = (2 * torch.randn(shape) + 1).to(memory_format=torch.channels_last_3d).requires_grad_()
    whole = with_gradients(lambda x: norm.rectified(x, 0.01), norm, image)
    monkeypatch.setattr("autoseg.nn.networks.norm._SLAB_VOXELS", 40)
    for slabs, expected in zip(with_gradients(lambda x: norm.rectified(x, 0.01), norm, image), whole, strict=True):
        torch.testing.assert_close(slabs, expected, rtol=1e-4, atol=1e-4)
