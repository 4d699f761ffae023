"""The estimate before a training."""

import torch

from autoseg.base.runtime import Runtime
from autoseg.training import memory_estimate
from autoseg.training.memory_estimate import check_step, step_bytes
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

CPU = Runtime(torch.device("cpu"), torch.float32)


def plan(network="unet", batch=2) -> Plan:
    architecture = UNet(strides=((1, 1, 1),), kernel_sizes=((3, 3, 3),), features=(8,), blocks_encoder=(1,),
                        convs_decoder=())
    tiny = Configuration(spacing_mm=(1.0,) * 3, median_shape=(32.0,) * 3, patch=(16,) * 3, batch=batch, batch_dice=False,
                         architecture=architecture, network=Part(name=network), augmentation=Part(name="none"),
                         schedule=Schedule(iterations=1, learning_rate=0.1), normalizers=(Part(name="zscore"),))
    return Plan(dataset="Dataset001_Tiny", planner="classic", channels=(ChannelSpec(name="CT"),), transpose=(0, 1, 2),
                labels=LabelSpec(names={"background": (0,), "organ": (1,)}), configurations={"tiny": tiny})


def test_activations_grow_with_the_batch_and_weights_do_not():
    one, two, three = (step_bytes(plan(batch=batch), "tiny") for batch in (1, 2, 3))
    assert three - two == two - one > 0
    weights = 12 * (8 * 27 + 8 * 3)  # convolution, its bias and its normalisation; without a decoder there is no head
    assert one - (two - one) == weights


def test_a_network_of_unknown_cost_is_not_estimated():
    assert step_bytes(plan("mine"), "tiny") is None
    assert check_step(plan("mine"), "tiny", CPU)


def test_a_training_that_does_not_fit_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr(memory_estimate, "free_host_bytes", lambda: 1000)
    with caplog.at_level("INFO", "autoseg"):
        assert not check_step(plan(), "tiny", CPU)
    assert "training tiny: about" in caplog.text and "it may run out of memory" in caplog.text
    monkeypatch.undo()
    assert check_step(plan(), "tiny", CPU)
