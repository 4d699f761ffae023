"""The logits of an untrained network lie around those of the plan's prior."""

import math

import pytest
import torch
from torch import nn

from autoseg.base.errors import UserError
from autoseg.nn.prior import start_at


class Heads(nn.Module):
    """The last layers of a network, alone; their weights are 0, so that logits are the biases."""

    def __init__(self, n_outputs: int):
        super().__init__()
        self.logit_layers = nn.ModuleList(nn.Conv3d(4, n_outputs, 1) for _ in range(2))
        for head in self.logit_layers:
            nn.init.zeros_(head.weight)

    def logits(self) -> list[torch.Tensor]:
        return [head(torch.ones(1, 4, 1, 1, 1)).flatten() for head in self.logit_layers]


def test_labels_begin_at_their_prior_and_background_at_the_rest():
    network = Heads(3)
    start_at(network, (0.2, 0.05), regions=False)
    for logits in network.logits():
        assert torch.allclose(logits.softmax(0), torch.tensor([0.75, 0.2, 0.05]))


def test_regions_begin_at_their_prior_each():
    network = Heads(2)
    start_at(network, (0.5, 0.01), regions=True)
    for logits in network.logits():
        assert torch.allclose(logits, torch.tensor([0.0, math.log(0.01 / 0.99)]))


def test_a_frequent_label_is_answered_as_often_as_it_occurs():
    network = Heads(2)
    start_at(network, (0.7,), regions=False)
    for logits in network.logits():
        assert torch.allclose(logits.softmax(0), torch.tensor([0.3, 0.7]))


def test_labels_that_fill_the_image_leave_background_a_hundredth():
    network = Heads(3)
    start_at(network, (0.6, 0.4), regions=False)
    for logits in network.logits():
        assert torch.allclose(logits.softmax(0), torch.tensor([0.01, 0.6, 0.4]) / 1.01)


@pytest.mark.parametrize("layer", [nn.Conv3d(4, 3, 1, bias=False), nn.Conv3d(4, 2, 1), nn.Sequential()])
def test_a_layer_without_a_bias_an_output_is_refused(layer):
    network = nn.Module()
    network.logit_layers = nn.ModuleList([layer])
    with pytest.raises(UserError, match=r"a bias of 3 values.*prior=\[\]"):
        start_at(network, (0.2, 0.05), regions=False)


def test_without_a_prior_nothing_changes():
    network = Heads(3)
    before = [head.bias.clone() for head in network.logit_layers]
    start_at(network, (), regions=False)
    assert all(torch.equal(head.bias, bias) for head, bias in zip(network.logit_layers, before, strict=True))


def test_a_network_that_names_no_such_layers_is_left_alone():
    network = nn.Conv3d(1, 2, 1)
    before = network.bias.clone()
    start_at(network, (0.1,), regions=False)
    assert torch.equal(network.bias, before)


@pytest.mark.parametrize("regions", [True, False])
def test_the_values_can_be_trained(regions):
    network = Heads(2 if regions else 3)
    start_at(network, (0.2, 0.05), regions=regions)
    assert all(head.bias.requires_grad and head.bias.is_leaf for head in network.logit_layers)
