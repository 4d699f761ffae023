"""Devices, precision and memory."""

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.processes import cores
from autoseg.base.progress import duration
from autoseg.base.runtime import Runtime, memory_bytes, open_runtime, used_bytes


def test_the_cpu_is_always_there():
    assert open_runtime("cpu").device.type == "cpu"


def test_a_working_directory_that_is_gone_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="the working directory is gone"):
        open_runtime("cpu")


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="auto, cpu, cuda"):
        open_runtime("tpu")


def test_a_device_of_no_number_is_refused():
    with pytest.raises(UserError, match=r"unknown device.*cpu:x"):
        open_runtime("cpu:x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_says_what_there_is():
    with pytest.raises(UserError, match="no cuda device.*cpu"):
        open_runtime("cuda")


def test_only_half_precision_scales_its_loss():
    cpu = torch.device("cpu")
    assert Runtime(cpu, torch.float16).needs_loss_scaling
    assert not Runtime(cpu, torch.bfloat16).needs_loss_scaling


def test_single_precision_does_not_autocast():
    with Runtime(torch.device("cpu"), torch.float32).autocast():
        assert not torch.is_autocast_enabled("cpu")


def test_channels_come_last_where_convolutions_are_fastest_so():
    image = torch.zeros(1, 2, 4, 4, 4)
    assert open_runtime("cpu").arranged(image, 3).is_contiguous(memory_format=torch.channels_last_3d)
    assert open_runtime("cpu").arranged(image[..., 0], 2).is_contiguous(memory_format=torch.channels_last)


def test_algorithms_are_tried_only_while_shapes_stay_the_same():
    gpu = Runtime(torch.device("cuda"), torch.bfloat16)
    with gpu.same_shapes():
        assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


def test_memory_and_cores_are_positive():
    assert memory_bytes(torch.device("cpu")) > 0
    assert cores() >= 1


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "60 s"), (754, "12 min 34 s"), (8100, "2 h 15 min")])
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_memory_in_use_grows_with_what_is_held():
    before = used_bytes(torch.device("cpu"))
    held = torch.ones(2**26)  # 256 MiB
    assert used_bytes(torch.device("cpu")) - before > 2**27
    del held


def test_a_gpu_gets_back_the_memory_that_nobody_uses(monkeypatch):
    released = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: released.append("cuda"))
    Runtime(torch.device("cuda"), torch.float32).release_cache()
    Runtime(torch.device("cpu"), torch.float32).release_cache()
    assert released == ["cuda"]
