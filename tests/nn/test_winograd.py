"""Winograd's products against the definition, where they are used, and that other dtypes do without them."""

import pytest
import torch
import torch.nn.functional as F

from autoseg.nn.networks import winograd
from autoseg.nn.networks.blocks import Conv3d

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def of_one_thread(monkeypatch):
    """Where it pays depends on how many threads share the work."""
    monkeypatch.setattr(winograd, "threads_to_share", lambda: 1)


def layer_of(c_in, c_out, **options):
    torch.manual_seed(0)
    layer = Conv3d(c_in, c_out, 3, padding=1, **options).to(memory_format=torch.channels_last_3d)
    torch.nn.init.normal_(layer.weight, std=(27 * c_in) ** -0.5)
    return layer


def image_of(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last_3d)


def rounding(result, layer, x):
    """Root mean square of the difference to the same convolution in float64."""
    bias = None if layer.bias is None else layer.bias.double()
    exact = F.conv3d(x.double(), layer.weight.double(), bias, padding=1)
    return float((result - exact).detach().square().mean().sqrt())


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 11, 13])
@pytest.mark.parametrize("bias", [True, False])
def test_every_depth_agrees_with_the_definition(depth, bias):
    layer, x = layer_of(5, 7, bias=bias), image_of(2, 5, depth, 6, 9)
    with torch.no_grad():
        assert rounding(winograd.convolved(x, layer.weight, layer.bias), layer, x) < 3e-6


@pytest.mark.parametrize("values", [1, 6 * 16 * 6 * 9 * 2])
def test_pieces_change_no_value(monkeypatch, values):
    layer, x = layer_of(16, 16), image_of(2, 16, 10, 6, 9)
    with torch.no_grad():
        whole = winograd.convolved(x, layer.weight, layer.bias)
        monkeypatch.setattr(winograd, "_VALUES_AT_ONCE", values)
        torch.testing.assert_close(winograd.convolved(x, layer.weight, layer.bias), whole, rtol=0, atol=1e-5)


def test_another_memory_layout_gives_the_same():
    layer, x = layer_of(4, 6), image_of(2, 4, 8, 6, 5)
    with torch.no_grad():
        assert torch.equal(winograd.convolved(x.contiguous(), layer.weight.contiguous(), layer.bias),
                           winograd.convolved(x, layer.weight, layer.bias))


def test_rounding_is_at_most_three_times_that_of_the_direct_convolution():
    layer, x = layer_of(64, 64), image_of(2, 64, 12, 8, 8)
    with torch.no_grad():
        by_products = winograd.convolved(x, layer.weight, layer.bias)
        directly = F.conv3d(x, layer.weight, layer.bias, padding=1)
    assert rounding(by_products, layer, x) < 3 * rounding(directly, layer, x)


def test_it_is_taken_in_float32_alone(monkeypatch):
    taken = []
    convolved = winograd.convolved
    monkeypatch.setattr(winograd, "convolved", lambda *args: taken.append(len(args)) or convolved(*args))
    layer, x = layer_of(32, 32), image_of(1, 32, 16, 24, 24)
    with torch.no_grad():
        layer(x)
        assert len(taken) == 1
        layer.double()(x.double())
        layer.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x)
    assert len(taken) == 1


@pytest.mark.parametrize("options", [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"padding_mode": "circular"}])
def test_other_convolutions_are_torchs_own(options):
    torch.manual_seed(0)
    layer = Conv3d(16, 16, 3, padding=1, **options)
    for samples in (1, 2):
        x = image_of(samples, 16, 8, 16, 16)
        with torch.no_grad():
            torch.testing.assert_close(layer(x), torch.nn.Conv3d.forward(layer, x))


@pytest.mark.parametrize("c_in, c_out, shape, expected", [
    (32, 32, (1, 32, 40, 56, 40), True), (1, 32, (1, 1, 40, 56, 40), False), (32, 8, (1, 32, 40, 56, 40), False),
    (320, 320, (1, 320, 4, 4, 4), False), (320, 320, (4, 320, 4, 4, 4), False),
    (256, 256, (8, 256, 5, 7, 5), False), (32, 32, (1, 32, 3, 64, 64), False),
    (64, 64, (2, 64, 10, 14, 10), True), (16, 16, (2, 16, 16, 16, 16), False)])
def test_where_it_pays(c_in, c_out, shape, expected):
    assert winograd.pays(torch.empty(shape, device="meta"), c_out) is expected
