"""The planners of transformers: size, tokens, patch and schedule for a time and a memory."""

import pytest

from planners import PLANNERS
from planners.primus import LEAST_ITERATIONS, WANTED_ITERATIONS, token_edges
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec

LAPTOP = KnownHardware(device="cpu", memory_bytes=12 * GIB, flops_per_s=300e9, cores=2)
GPU = KnownHardware(device="cuda", memory_bytes=24 * GIB, flops_per_s=60e12, cores=8)
LABELS = LabelSpec(names={"background": (0,), "organ": (1,), "tumour": (2,)})


def dataset(shape, spacing_mm=(1.0, 1.0, 1.0)) -> Fingerprint:
    cases = tuple(CaseMeasure(case=f"c{i:03}", shape=shape, spacing_mm=spacing_mm) for i in range(40))
    return Fingerprint(dataset="Dataset001_X", channels=(ChannelSpec(name="CT"),), labels=LABELS, cases=cases)


def plan(fingerprint, hardware=LAPTOP, planner="primus", **budget):
    return PLANNERS.get(planner)(fingerprint, hardware, Budget(**budget))


SMALL, LARGE, THICK = dataset((36, 50, 35)), dataset((300, 400, 400)), dataset((30, 320, 320), (5.0, 0.8, 0.8))


def test_more_time_gives_a_larger_size():
    widths = [plan(LARGE, GPU, seconds_per_fold=3600 * h).configurations["3d_fullres"].architecture.width
              for h in (4, 10, 100)]
    assert widths == [396, 792, 864]


def test_less_memory_gives_a_smaller_size_or_patch():
    roomy, tight = (plan(LARGE, GPU, seconds_per_fold=2e6, memory_bytes=n * GIB).configurations["3d_fullres"]
                    for n in (24, 3))
    assert (tight.architecture.width, tight.patch) != (roomy.architecture.width, roomy.patch)
    assert tight.architecture.training_bytes(tight.patch, 1, 3, batch=tight.batch, bytes_per_value=2,
                                             moments=2, averaged=True) <= 3 * GIB


@pytest.mark.parametrize("fingerprint", [SMALL, LARGE, THICK, dataset((1, 256, 300)), dataset((6, 7, 5))])
@pytest.mark.parametrize("planner", ["primus", "vit2d"])
def test_every_patch_fits_its_network(fingerprint, planner):
    for name, configuration in plan(fingerprint, planner=planner, seconds_per_fold=600).configurations.items():
        assert configuration.architecture.faults(configuration.patch) == [], name
        assert configuration.network.name == "vit"


def test_a_short_budget_looks_at_less_for_longer():
    short = plan(LARGE, seconds_per_fold=3600).configurations["3d_fullres"]
    assert short.patch < plan(LARGE, GPU).configurations["3d_fullres"].patch
    assert short.architecture.width == 396
    assert 3600 * 0.85 / short.step_seconds >= LEAST_ITERATIONS


def test_the_recipe_is_the_published_one_within_the_budget():
    schedule = plan(SMALL, seconds_per_fold=3600).configurations["3d_fullres"].schedule
    assert (schedule.learning_rate, schedule.clip_norm, schedule.budget_seconds) == (3e-4, 1, 3600)
    assert schedule.optimizer.name == "adamw" and schedule.optimizer.options["weight_decay"] == 5e-2
    assert schedule.warmup_iterations > 0


def test_the_reasons_name_size_iterations_and_why_a_unet_is_usually_better():
    reasons = plan(SMALL, seconds_per_fold=1800).reasons
    assert any("a U-Net is usually the better choice" in reason and "budgeted" in reason for reason in reasons)
    described = next(reason for reason in reasons if reason.startswith("3d_fullres: Primus-S"))
    assert "fit 30 min" in described and "% of those behind the published figures" in described
    assert not any("published rules" in reason for reason in reasons)


@pytest.mark.parametrize(("spacing_mm", "token"), [
    ((1.0, 1.0, 1.0), (8, 8, 8)), ((1.3, 1.0, 1.0), (8, 8, 8)), ((2.0, 1.0, 1.0), (4, 8, 8)), ((5.0, 0.8, 0.8), (1, 8, 8)),
    ((0.7, 0.7), (8, 8))])
def test_tokens_are_about_cubes_in_millimetres(spacing_mm, token):
    assert token_edges(spacing_mm, 8) == token


def test_the_flat_baseline_is_the_published_one():
    flat = plan(LARGE, GPU, planner="vit2d").configurations
    assert list(flat) == ["2d"]
    shape = flat["2d"].architecture
    assert (shape.token, shape.width, shape.depth, shape.heads) == ((16, 16), 512, 8, 8)
    assert flat["2d"].patch == (224, 224)


def test_large_sizes_are_for_trainings_that_are_long_enough():
    for hours in (1, 10, 100, 1000):
        chosen = plan(LARGE, GPU, seconds_per_fold=3600 * hours).configurations["3d_fullres"]
        assert chosen.architecture.width == 396 or 3600 * hours * 0.85 / chosen.step_seconds >= 0.99 * WANTED_ITERATIONS


def test_a_memory_that_suffices_for_none_is_told():
    with pytest.raises(ValueError, match="allow more memory"):
        plan(LARGE, seconds_per_fold=600, memory_bytes=int(0.12 * GIB))
