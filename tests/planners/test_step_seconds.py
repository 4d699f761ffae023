"""The planned seconds of a training step: by arithmetic from the layers and a speed."""

import pytest

from planners.architectures.unet import UNet
from planners.schema.hardware import KnownHardware, Rate, StepSpeed

SPEED = StepSpeed(flat=(Rate(size=16, per_s=5e10), Rate(size=64, per_s=1e11)), solid=(Rate(size=16, per_s=8e10),),
                  strided=0.5, maps=(Rate(size=2**22, per_s=2e10), Rate(size=2**25, per_s=1e10)), seconds_per_weight=5e-9,
                  seconds_per_layer=1e-3, seconds_per_logit=3e-8)


def unet(width=16, blocks=2, **values) -> UNet:
    return UNet(**values, strides=((1, 1), (2, 2), (2, 2)), kernel_sizes=((3, 3),) * 3,
                features=(width, 2 * width, 4 * width), blocks_encoder=(blocks,) * 3, convs_decoder=(2, 2))


def seconds(network=None, patch=(64, 64), n_inputs=1, n_outputs=2, batch=2, speed=SPEED) -> float:
    return (network or unet()).step_seconds(patch, n_inputs, n_outputs, batch=batch, speed=speed)


@pytest.mark.parametrize("more", [dict(network=unet(32)), dict(network=unet(blocks=3)), dict(patch=(64, 128)),
                                  dict(n_inputs=4), dict(n_outputs=9), dict(batch=4),
                                  dict(network=unet(block="residual")), dict(network=unet(skip="gated"))], ids=str)
def test_what_does_more_takes_longer(more):
    assert seconds(**more) > seconds()


@pytest.mark.parametrize("slower", [dict(strided=0.25), dict(maps=(Rate(size=1, per_s=1e9),)), dict(seconds_per_weight=1e-7),
                                    dict(seconds_per_layer=1e-2), dict(seconds_per_logit=1e-6),
                                    dict(flat=(Rate(size=16, per_s=1e10),))], ids=str)
def test_every_part_of_the_speed_counts(slower):
    assert seconds(speed=SPEED.model_copy(update=slower)) > seconds()


def test_a_batch_twice_as_large_takes_less_than_twice_as_long_where_calls_cost():
    assert seconds(batch=2) < seconds(batch=4) < 2 * seconds(batch=2)


def test_where_only_convolutions_cost_the_step_is_their_flops_but_for_the_gradient_of_the_image():
    hardware = KnownHardware(memory_bytes=1, flops_per_s=1e11, cores=1)
    flops = unet().cost((64, 64), 1, 2, batch=2).training_flops
    assert seconds(speed=hardware.speed) == pytest.approx((flops - 2 * 9 * 16 * 64 * 64 * 2) / 1e11)


def test_a_rate_lies_between_those_that_were_measured_and_stays_beyond_them():
    assert [SPEED.convolving(2, n) for n in (8, 16, 64, 320)] == [5e10, 5e10, 1e11, 1e11]
    assert 5e10 < SPEED.convolving(2, 24) < SPEED.convolving(2, 32) == pytest.approx(7.5e10)
    assert SPEED.convolving(3, 99) == 8e10 and SPEED.passing(2**20) == 2e10 and SPEED.passing(2**30) == 1e10
