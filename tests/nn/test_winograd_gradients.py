"""Gradients by Winograd's products against torch's own, and where they are used."""

import pytest
import torch
import torch.nn.functional as F

from autoseg.nn.networks import winograd, winograd_gradients
from autoseg.nn.networks.blocks import Conv3d
from autoseg.nn.networks.winograd_gradients import Convolution, weight_gradient

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def of_one_thread(monkeypatch):
    """Where it pays depends on how many threads share the work."""
    monkeypatch.setattr(winograd, "threads_to_share", lambda: 1)


def random_of(*shape, seed=0):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.to(memory_format=torch.channels_last_3d) if len(shape) == 5 else values


def gradients_of(convolve, x, weight, bias, of_result):
    leaves = [values.detach().clone().requires_grad_() for values in (x, weight, bias)]
    result = convolve(*leaves)
    return result.detach(), *torch.autograd.grad(result, leaves, of_result)


def by_definition(x, weight, bias):
    return F.conv3d(x, weight, bias, padding=1)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8, 11, 13])
def test_every_depth_agrees_with_the_definition(depth):
    x, weight, bias, of_result = (random_of(2, 5, depth, 6, 9), random_of(7, 5, 3, 3, 3), random_of(7),
                                  random_of(2, 7, depth, 6, 9, seed=1))
    exact = gradients_of(by_definition, *(values.double() for values in (x, weight, bias, of_result)))
    for ours, theirs in zip(gradients_of(Convolution.apply, x, weight, bias, of_result), exact, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("channels", [(16, 32), (32, 16)])
def test_a_layer_takes_them_and_agrees_with_torchs_own(monkeypatch, channels):
    taken = []
    monkeypatch.setattr(winograd_gradients, "weight_gradient",
                        lambda *args: taken.append(len(args)) or weight_gradient(*args))
    c_in, c_out = channels
    torch.manual_seed(0)
    layer, x = Conv3d(c_in, c_out, 3, padding=1), random_of(2, c_in, 8, 24, 24)
    of_result = random_of(2, c_out, 8, 24, 24, seed=1)
    exact = gradients_of(by_definition, x, layer.weight, layer.bias, of_result)
    x.requires_grad_()
    result = layer(x)
    result.backward(of_result)
    assert taken
    for ours, theirs in zip((result.detach(), x.grad, layer.weight.grad, layer.bias.grad), exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_only_what_is_asked_for_is_computed(monkeypatch):
    """The bias before a normalisation is not trained, frozen weights are not, and images have no gradient."""
    monkeypatch.setattr(winograd_gradients, "weight_gradient", lambda *_: pytest.fail("nobody asked for it"))
    layer, x = Conv3d(16, 16, 3, padding=1).requires_grad_(False), random_of(2, 16, 16, 24, 24).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("values", [1, 6 * 32 * 6 * 9 * 2])
def test_pieces_change_no_value(monkeypatch, values):
    x, of_result = random_of(2, 16, 10, 6, 9), random_of(2, 16, 10, 6, 9, seed=1)
    whole = weight_gradient(x, of_result)
    monkeypatch.setattr(winograd, "_VALUES_AT_ONCE", values)
    torch.testing.assert_close(weight_gradient(x, of_result), whole, rtol=1e-4, atol=1e-3)


def test_the_same_bits_come_again():
    x, of_result = random_of(2, 16, 8, 16, 16), random_of(2, 16, 8, 16, 16, seed=1)
    assert torch.equal(weight_gradient(x, of_result), weight_gradient(x, of_result))


def test_other_dtypes_are_torchs_own(monkeypatch):
    monkeypatch.setattr(Convolution, "apply", lambda *_: pytest.fail("float32 without autocast alone"))
    layer, x = Conv3d(16, 16, 3, padding=1), random_of(2, 16, 16, 24, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x).sum().backward()
    layer.double()(x.double()).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("c_in, c_out, shape, expected", [
    (8, 16, (2, 8, 40, 56, 40), True), (1, 8, (2, 1, 40, 56, 40), False), (16, 4, (2, 16, 40, 56, 40), False),
    (320, 320, (2, 320, 8, 8, 8), True), (320, 320, (2, 320, 4, 4, 4), False),
    (16, 16, (2, 16, 8, 12, 12), False), (32, 32, (2, 32, 3, 64, 64), False),
    (32, 32, (1, 32, 4, 64, 64), False)])
def test_where_it_pays(c_in, c_out, shape, expected):
    assert winograd_gradients.pays(torch.empty(shape, device="meta"), c_out) is expected


def test_more_threads_need_more_work(monkeypatch):
    x = torch.empty((2, 16, 20, 28, 20), device="meta")
    for n, expected in ((1, True), (2, False)):
        monkeypatch.setattr(winograd, "threads_to_share", lambda n=n: n)
        assert winograd_gradients.pays(x, 16) is expected
