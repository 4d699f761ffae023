"""What memory allows, remembered from case to case."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.datasets.case import Case
from autoseg.formats import write_array
from autoseg.prediction import memory_plan as memory_plan_module
from autoseg.prediction.collect import _Rows
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.memory_plan import MemoryPlan, PredictionMemory, bytes_of_logits
from autoseg.prediction.models import FoldModel
from autoseg.prediction.passes import _sum
from autoseg.prediction.tiles import cover
from predict_phantoms import CASE, member_of, predictor_of

GPU, HOST = torch.device("cuda"), torch.device("cpu")


class NeedsMemory(nn.Module):
    """Runs out of memory with more than one tile at once."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, image, present=None, conditions=None, absent=None):
        self.batches.append(len(image))
        if len(image) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.cat([image, image, image], dim=1)


def test_a_folder_is_warned_of_little_memory_once_and_later_cases_begin_with_what_worked(tmp_path, caplog):
    for name in ("a", "b", "c"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    predictor, model = predictor_of(), NeedsMemory()
    predictor.members[0].models = (FoldModel(model),)
    with caplog.at_level(logging.WARNING):
        predict_folder(predictor, tmp_path / "images", tmp_path / "masks")
    assert len(caplog.records) == 1
    assert "predicting 1 tile at a time, logits collected on cpu" in caplog.text
    assert model.batches.count(1) == 3 * 4  # 20 x 18 x 16 voxels in tiles of 16: two along z, two along y
    assert max(model.batches[3:]) == 1  # 4 and 2 at once failed, in the first case alone


def test_a_case_that_was_too_large_for_a_gpu_does_not_slow_those_after_it(caplog):
    memory = PredictionMemory()
    memory.remember(MemoryPlan(1, HOST), GPU, "CUDA out of memory")
    assert memory.plans(4, GPU) == [MemoryPlan(4, GPU), MemoryPlan(2, GPU), MemoryPlan(1, GPU), MemoryPlan(1, HOST)]
    memory.remember(MemoryPlan(2, GPU), GPU, "CUDA out of memory")
    assert memory.plans(4, GPU)[0] == MemoryPlan(2, GPU)
    assert "logits collected on cpu" in caplog.text
    assert "predicting 2 tiles" in caplog.text


def test_what_works_at_once_changes_nothing():
    memory = PredictionMemory()
    memory.remember(MemoryPlan(4, GPU), GPU, None)
    assert memory.plans(4, GPU)[0] == MemoryPlan(4, GPU)


def test_the_need_of_logits_by_hand():
    assert bytes_of_logits(3, (10, 10, 10)) == (3 * 4 + 12) * 1000


@pytest.mark.parametrize(("free", "dtype"), [(35_000, torch.float32), (33_000, torch.float16)])  # 24 000 are needed, of 70 %
def test_logits_that_do_not_fit_are_collected_in_half_precision_and_this_is_logged(monkeypatch, caplog, free, dtype):
    monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda: free)
    memory = PredictionMemory()
    with caplog.at_level(logging.INFO, logger="autoseg.prediction.memory_plan"):
        assert [memory.allocate(3, (10, 10, 10), HOST).dtype for _ in range(2)] == [dtype, dtype]
    assert len(caplog.records) == (dtype == torch.float16)
    assert memory.allocate(3, (10, 10, 10), HOST, exact=True).dtype == torch.float32


def test_half_precision_keeps_the_masks(monkeypatch):
    predictor = predictor_of()
    whole = predictor.predict(CASE).label_DHW
    monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda: 0)
    assert (predictor_of().predict(CASE).label_DHW == whole).mean() > 0.999


class Elsewhere:
    """Stands for a tensor on a GPU."""

    def __init__(self, value, device):
        self.value, self.device = value, device

    def to(self, device):
        return Elsewhere(self.value, device)

    def add_(self, other):
        assert self.device == other.device
        return Elsewhere(self.value + other.value, self.device)


@pytest.mark.parametrize(("a", "b", "where"), [(GPU, GPU, GPU), (GPU, HOST, HOST), (HOST, GPU, HOST), (HOST, HOST, HOST)])
def test_logits_of_members_on_different_devices_are_added_on_the_host(a, b, where):
    total = _sum(Elsewhere(1, a), Elsewhere(2, b))
    assert (total.value, total.device) == (3, where)


def test_large_logits_are_kept_in_half_precision_whatever_is_free(monkeypatch):
    monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda: 2**50)
    assert PredictionMemory().allocate(3, (10, 10, 10), HOST).dtype == torch.float32
    monkeypatch.setattr(memory_plan_module, "_LARGE_BYTES", 4 * 3 * 1000 - 1)
    assert PredictionMemory().allocate(3, (10, 10, 10), HOST).dtype == torch.float16
    assert PredictionMemory().allocate(3, (10, 10, 10), HOST, exact=True).dtype == torch.float32
    assert bytes_of_logits(3, (10, 10, 10)) == (3 * 2 + 12) * 1000


def long_case() -> Case:
    """Three times as many slices."""
    shape = (3 * CASE.geometry.shape[0], *CASE.geometry.shape[1:])
    return replace(CASE, image_CDHW=np.concatenate([CASE.image_CDHW] * 3, axis=1), label_DHW=None,
                   geometry=replace(CASE.geometry, shape=shape))


def test_half_precision_rounds_once(monkeypatch):
    member, case = member_of(), long_case()
    prepared = member.prepare_all(case)
    whole = member.logits(prepared, case)
    monkeypatch.setattr(memory_plan_module, "_LARGE_BYTES", 0)
    halved = member_of().logits(prepared, case)
    assert halved.dtype == torch.float16
    assert torch.equal(halved, whole.half())


def test_where_a_tile_is_half_of_the_case_half_precision_is_for_short_memory_alone(monkeypatch):
    monkeypatch.setattr(memory_plan_module, "_LARGE_BYTES", 0)
    assert PredictionMemory().allocate(3, (10, 10, 10), HOST, depth=5).dtype == torch.float32
    assert bytes_of_logits(3, (10, 10, 10), 5) == (3 * 4 + 12) * 1000
    assert bytes_of_logits(3, (100, 10, 10), 49, exact=True) == (3 * 4 + 12) * 10_000
    assert bytes_of_logits(3, (100, 10, 10), 49) == 3 * 2 * 10_000 + 12 * 10_000
    assert bytes_of_logits(30, (100, 10, 10), 49) == 30 * 2 * 10_000 + 30 * 4 * 4900
    monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda: 0)
    assert PredictionMemory().allocate(3, (10, 10, 10), HOST, depth=5).dtype == torch.float16


def test_a_large_image_is_kept_in_half_precision_and_the_mask_is_the_same(monkeypatch):
    whole = predictor_of().predict(CASE).label_DHW
    monkeypatch.setattr(memory_plan_module, "_LARGE_IMAGE_BYTES", 0)
    assert member_of().prepare(CASE).image_CDHW.dtype == np.float16
    assert (predictor_of().predict(CASE).label_DHW == whole).mean() > 0.999
    monkeypatch.setattr(memory_plan_module, "_LARGEST_VALUE", 0.1)  # as if rounding would lose what the values mean
    assert member_of().prepare(CASE).image_CDHW.dtype == np.float32


@pytest.mark.parametrize("patch", [(4, 6, 5), (6, 5), (30, 6, 5)])
def test_rows_are_summed_exactly_until_they_are_complete(patch):
    tiling = cover((17, 13, 11), patch)
    rng = torch.Generator().manual_seed(0)
    exact = torch.zeros(3, *tiling.padded_shape)
    halved = torch.zeros(3, *tiling.padded_shape, dtype=torch.float16)
    rows = _Rows(halved, tiling.size[0])
    for tile in tiling:
        values = torch.rand(3, *tiling.size, generator=rng)
        exact[(slice(None), *tile.window)] += values
        rows.add(tile.window, values)
    rows.close(halved.shape[1])
    assert torch.equal(halved, exact.half())
