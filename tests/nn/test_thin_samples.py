"""A single thin sample: torch on a CPU would convolve it ten times more slowly than one of two."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autoseg.nn.networks.blocks import convolution

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


class Calls(TorchDispatchMode):
    """The operations that torch calls within this context."""

    def __enter__(self):
        self.names = []
        return super().__enter__()

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.names.append((function.name(), [len(x) for x in arguments[:1] if isinstance(x, torch.Tensor)]))
        return function(*arguments, **(options or {}))


def layer(stride=(1, 1, 1)):
    torch.manual_seed(0)
    return convolution(8, 16, (3, 3, 3), stride)


def sample(depth=6):
    return torch.randn(1, 8, depth, 10, 12, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_alone_it_has_the_values_that_it_has_beside_another(stride):
    x = sample()
    with torch.inference_mode():
        torch.testing.assert_close(layer(stride)(x), layer(stride)(torch.cat([x, x]))[:1])


def test_alone_it_has_the_gradients_of_a_plain_convolution():
    x, other, mine = sample().requires_grad_(), sample().requires_grad_(), layer()
    plain = torch.nn.Conv3d(8, 16, 3, padding=1)
    plain.load_state_dict(mine.state_dict())
    mine(x).square().sum().backward()
    plain(other).square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(mine.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


def test_prediction_calls_onednn_for_it_and_training_never_convolves_it_alone():
    with torch.no_grad(), Calls() as predicting:
        layer()(sample())
    assert "aten::mkldnn_convolution" in [name for name, _ in predicting.names]
    with Calls() as training:
        layer()(sample())
    assert [sizes for name, sizes in training.names if name == "aten::convolution"] == [[2]]


def test_a_sample_that_is_not_thin_is_convolved_as_ever():
    with torch.no_grad(), Calls() as calls:
        layer()(torch.randn(1, 8, 40, 80, 4))
    assert "aten::mkldnn_convolution" not in [name for name, _ in calls.names]
