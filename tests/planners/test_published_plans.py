"""The published planners, held against what nnU-Net answers, and the script that compares them."""

import importlib.util
import json
from pathlib import Path

import pytest

from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

FIXTURE = Path(__file__).with_name("published_plans.json")  # nnU-Net 2.8.1's answers to odd fingerprints
HARDWARE = KnownHardware(memory_bytes=8 * GIB, flops_per_s=1e12, cores=4)
PRESETS = ("classic", "resenc_m", "resenc_l", "resenc_xl")


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/plans.py as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / "plans.py"
    spec = importlib.util.spec_from_file_location("benchmark_plans", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fingerprint(shape=(100, 300, 300), spacing_mm=(2.5, 0.8, 0.8), n_cases=40, **changes) -> Fingerprint:
    values = {"dataset": "D", "channels": (ChannelSpec(name="CT"),),
              "labels": LabelSpec(names={"background": (0,), "organ": (1,)}),
              "cases": tuple(CaseMeasure(case=str(i), shape=shape, spacing_mm=spacing_mm) for i in range(n_cases))}
    return Fingerprint(**{**values, **changes})


def plan(name="classic", memory_gib=None, **changes) -> Plan:
    budget = Budget(memory_bytes=None if memory_gib is None else round(memory_gib * GIB))
    return PLANNERS.get(name)(fingerprint(**changes), HARDWARE, budget)


def test_odd_fingerprints_are_planned_as_published(benchmark):
    entries = json.loads(FIXTURE.read_text())
    faults, _ = benchmark.compare(entries)
    assert faults == [""] * len(entries)


def test_all_facts_are_planned_as_published_and_fast(benchmark, shared_data):
    file = shared_data.parent / "facts" / "plans_nnunet_2.8.1.json"
    if not file.is_file():
        pytest.skip(f"published plans are not at {file}")
    entries = json.loads(file.read_text())
    faults, times_ms = benchmark.compare(entries)
    assert faults == [""] * len(entries)
    assert sorted(times_ms)[len(times_ms) // 2] < 50


def test_comparison_exits_with_zero_where_all_match(benchmark, capsys):
    assert benchmark.main([str(FIXTURE)]) == 0
    assert "28 of 28 plans match" in capsys.readouterr().out


def test_comparison_exits_with_one_and_names_what_differs(benchmark, tmp_path, capsys):
    entries = json.loads(FIXTURE.read_text())[:2]
    entries[1]["plan"]["configurations"]["2d"]["batch_size"] = 99
    entries[1]["plan"]["configurations"]["3d_lowres"] = {}
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(entries))
    assert benchmark.main([str(file)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 plans match" in printed
    assert "configurations.2d.batch_size: expected 99, answered 4" in printed
    assert "configurations.3d_lowres: expected {}, answered absent" in printed


def test_small_volumes_need_neither_low_resolution_nor_batch_dice():
    configurations = plan(shape=(100, 120, 110), spacing_mm=(1, 1, 1)).configurations
    assert list(configurations) == ["2d", "3d_fullres"]
    assert not configurations["3d_fullres"].batch_dice
    assert configurations["2d"].batch_dice


def test_large_volumes_get_a_low_resolution_and_its_cascade():
    configurations = plan(shape=(500, 500, 500), spacing_mm=(1, 1, 1)).configurations
    assert list(configurations) == ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"]
    low, full, cascade = (configurations[f"3d_{name}"] for name in ("lowres", "fullres", "cascade_fullres"))
    assert (low.batch_dice, full.batch_dice) == (False, True)
    assert low.spacing_mm[0] > full.spacing_mm[0]
    assert (cascade.data, cascade.previous) == ("3d_fullres", "3d_lowres")
    assert cascade.model_copy(update={"data": "", "previous": ""}) == full


def test_single_slices_are_planned_in_two_dimensions_only():
    assert list(plan(shape=(1, 512, 512), spacing_mm=(999, 1, 1)).configurations) == ["2d"]


def test_coarsest_axis_comes_first():
    found = plan(shape=(300, 300, 60), spacing_mm=(0.8, 0.7, 3.0))
    assert found.transpose == (2, 0, 1)
    assert found.configurations["3d_fullres"].spacing_mm == (3.0, 0.8, 0.7)
    assert found.configurations["2d"].spacing_mm == (0.8, 0.7)


def test_batch_of_classic_sees_at_most_a_twentieth_of_the_dataset_and_two_patches_at_least():
    small = {"shape": (32, 32, 32), "spacing_mm": (1, 1, 1)}
    assert plan(n_cases=100, **small).configurations["3d_fullres"].batch == 5
    assert plan(n_cases=3, **small).configurations["3d_fullres"].batch == 2
    assert plan("resenc_m", n_cases=3, **small).configurations["3d_fullres"].batch == 3


def test_memory_target_scales_the_patch():
    sizes = [plan(memory_gib=gib).configurations["3d_fullres"].patch for gib in (4, 8, 24)]
    assert sizes[1] == plan().configurations["3d_fullres"].patch
    assert sizes[0] < sizes[1] < sizes[2]


def test_presets_plan_for_their_own_memory():
    assert plan("resenc_l") == plan("resenc_l", memory_gib=24)
    assert plan("resenc_xl") == plan("resenc_xl", memory_gib=40)


def test_memory_too_small_for_any_patch_is_an_error():
    with pytest.raises(ValueError, match="no patch fits the memory target"):
        plan(memory_gib=1e-6)


def test_ignore_label_counts_as_an_output_though_it_has_no_head():
    def batch(labels: LabelSpec) -> int:
        return plan("resenc_l", labels=labels, shape=(64, 64, 64), spacing_mm=(1, 1, 1)).configurations["2d"].batch

    two = {"background": (0,), "organ": (1,)}
    three = {**two, "lesion": (2,)}
    assert batch(LabelSpec(names=two, ignore=2)) == batch(LabelSpec(names=three)) < batch(LabelSpec(names=two))


def test_regions_count_with_their_background():
    regions = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
    labels = LabelSpec(names={"background": (0,), "edema": (1,), "core": (2,)})
    assert plan(labels=regions).configurations == plan(labels=labels).configurations


@pytest.mark.parametrize("name", PRESETS)
def test_recipe_is_the_published_one(name):
    one = plan(name).configurations["3d_fullres"]
    assert one.network.name == "unet"
    assert one.architecture.block == ("plain" if name == "classic" else "residual")
    assert (one.loss.name, one.augmentation.name, one.mirror_axes) == ("dice_ce", "nnunet", (0, 1, 2))
    schedule = one.schedule
    assert (schedule.iterations, schedule.iterations_per_epoch) == (250_000, 250)
    assert (schedule.optimizer.name, schedule.optimizer.options["momentum"]) == ("sgd", 0.99)
    assert (schedule.learning_rate, schedule.decay, schedule.clip_norm, schedule.ema) == (1e-2, "poly", 12, 0)


def test_plan_carries_what_prediction_needs_and_says_why():
    stats = IntensityStats(mean=1, std=2, min=0, max=9, median=1, percentile_00_5=0, percentile_99_5=8)
    found = plan(intensities=(stats,), digest="abc")
    assert (found.dataset, found.planner, found.fingerprint_digest) == ("D", "classic", "abc")
    assert found.intensities == (stats,)
    assert any("'CT' is ct" in reason for reason in found.reasons)
    assert Plan.model_validate_json(found.model_dump_json()) == found


def test_unknown_planner_is_an_error_that_lists_the_known():
    with pytest.raises(KeyError, match=r"unknown planner 'clasic'.*did you mean 'classic'.*resenc_xl"):
        PLANNERS.get("clasic")
