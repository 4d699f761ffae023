"""The default planner: as large a network as the time can train."""

import math

import pytest

from planners import PLANNERS
from planners.budgeted import LEAST_ITERATIONS, SIZES, TRADED_ITERATIONS, TRAINING_SHARE
from planners.rules.phases import sizes_of
from planners.rules.pooling import pooling
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec, LabelStats

LAPTOP = KnownHardware(device="cpu", memory_bytes=12 * GIB, flops_per_s=300e9, cores=2)
GPU = KnownHardware(device="cuda", memory_bytes=24 * GIB, flops_per_s=30e12, cores=8)


def dataset(shape, spacing_mm=(1.0, 1.0, 1.0), n=40, paired=(), axes=None) -> Fingerprint:
    labels = LabelSpec(names={"background": (0,), "left": (1,), "right": (2,)}, paired=paired)
    cases = tuple(CaseMeasure(case=f"c{i:03}", shape=shape, spacing_mm=spacing_mm,
                              left_right_axis=axes[i] if axes else 2) for i in range(n))
    return Fingerprint(dataset="Dataset001_X", channels=(ChannelSpec(name="CT"),), labels=labels, cases=cases)


def plan(fingerprint, hardware=LAPTOP, **budget):
    return PLANNERS.get("budgeted")(fingerprint, hardware, Budget(**budget))


def training_seconds(configuration, hardware) -> float:
    return configuration.architecture.step_seconds(configuration.patch, 1, 3, batch=configuration.batch,
                                                   speed=hardware.speed)


SMALL, LARGE = dataset((36, 50, 35)), dataset((200, 400, 400), (2.0, 0.8, 0.8))


def test_more_time_gives_a_larger_network():
    channels = [sum(plan(SMALL, seconds_per_fold=60 * minutes).configurations["3d_fullres"].architecture.features)
                for minutes in (5, 30, 240)]
    assert channels[0] < channels[1] < channels[2]


def test_twice_the_channels_are_worth_half_of_1800_iterations_and_not_fewer():
    found = []
    for minutes in (2, 3):
        configuration = plan(SMALL, seconds_per_fold=60 * minutes).configurations["3d_fullres"]
        wide = SIZES[-1].unet(pooling(configuration.spacing_mm, configuration.patch))
        seconds = training_seconds(configuration.model_copy(update={"architecture": wide}), LAPTOP)
        iterations = 60 * minutes * TRAINING_SHARE / seconds
        found.append((configuration.architecture.features[0], iterations >= TRADED_ITERATIONS / 2))
    assert found == [(8, False), (16, True)]


def test_channels_come_in_sixteens_or_are_half_of_that_for_more_context():
    for minutes in (5, 30, 240):
        for configuration in plan(LARGE, seconds_per_fold=60 * minutes).configurations.values():
            first, *deeper = configuration.architecture.features
            assert first in (8, 16, 32) and all(n % 16 == 0 for n in deeper)


@pytest.mark.parametrize("fingerprint", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("minutes", [10, 60, 600])
def test_every_configuration_can_be_trained_for_enough_iterations(fingerprint, minutes):
    for name, configuration in plan(fingerprint, seconds_per_fold=60 * minutes).configurations.items():
        iterations = 0.85 * 60 * minutes / training_seconds(configuration, LAPTOP)
        assert iterations >= LEAST_ITERATIONS, name


def test_a_large_volume_on_a_laptop_gets_a_smaller_patch():
    laptop, gpu = (plan(LARGE, hardware).configurations["3d_fullres"].patch for hardware in (LAPTOP, GPU))
    assert all(a <= b for a, b in zip(laptop, gpu, strict=True)) and laptop != gpu


@pytest.mark.parametrize("gib", [1, 4, 16])
def test_activations_fit_the_memory(gib):
    for configuration in plan(LARGE, GPU, memory_bytes=gib * GIB).configurations.values():
        needed = configuration.architecture.cost(configuration.patch, 1, 3, batch=configuration.batch)
        assert needed.activation_bytes <= gib * GIB


def test_the_budget_is_an_hour_on_a_cpu_and_four_on_a_gpu():
    assert plan(SMALL).configurations["3d_fullres"].schedule.budget_seconds == 3600
    assert plan(SMALL, GPU).configurations["3d_fullres"].schedule.budget_seconds == 4 * 3600


def test_patches_are_divided_by_their_strides():
    for minutes in (10, 60, 600):
        for configuration in plan(LARGE, seconds_per_fold=60 * minutes).configurations.values():
            for axis, edge in enumerate(configuration.patch):
                divisor = 1
                for stride in configuration.architecture.strides:
                    divisor *= stride[axis]
                assert edge % divisor == 0


def test_a_cascade_shares_the_grid_of_full_resolution_and_names_its_earlier_stage():
    planned = plan(LARGE)
    cascade = planned.configurations["3d_cascade_fullres"]
    assert (cascade.data, cascade.previous) == ("3d_fullres", "3d_lowres")
    assert cascade.spacing_mm == planned.configurations["3d_fullres"].spacing_mm


def test_the_reasons_are_words():
    assert any("iterations" in reason and "30 min" in reason for reason in plan(SMALL, seconds_per_fold=1800).reasons)
    assert any("iterations" in reason and "fit 25 s" in reason for reason in plan(SMALL, seconds_per_fold=25).reasons)


def test_few_cases_are_augmented_more_strongly_and_the_plan_says_so():
    few, many = (plan(dataset((36, 50, 35), n=n), seconds_per_fold=900) for n in (20, 2000))
    assert "rotation_degrees" in few.configurations["3d_fullres"].augmentation.options
    assert any("stronger augmentation" in reason and "20 cases" in reason for reason in few.reasons)
    assert many.configurations["3d_fullres"].augmentation.options == {}
    assert not any("stronger augmentation" in reason for reason in many.reasons)


def test_paired_labels_swap_along_the_left_right_axis():
    planned = plan(dataset((36, 50, 35), paired=(("left", "right"),)))
    assert planned.configurations["3d_fullres"].pair_axis == planned.transpose.index(2)
    assert any("swaps left/right" in reason for reason in planned.reasons)


def test_paired_labels_of_cases_that_lie_differently_are_not_mirrored():
    planned = plan(dataset((36, 50, 35), n=4, paired=(("left", "right"),), axes=(0, 2, 0, 2)))
    assert planned.configurations["3d_fullres"].mirror_axes == ()
    assert any("nothing is mirrored" in reason for reason in planned.reasons)


@pytest.mark.parametrize("fingerprint", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("mib", [1, 30, 100, 300])
def test_a_memory_that_is_too_small_is_refused_and_never_exceeded(fingerprint, mib):
    try:
        configurations = plan(fingerprint, memory_bytes=mib * 2**20).configurations.values()
    except ValueError as error:
        assert "allow more memory" in str(error)
        assert mib < 300
        return
    for configuration in configurations:
        needed = configuration.architecture.cost(configuration.patch, 1, 3, batch=configuration.batch)
        assert needed.activation_bytes <= mib * 2**20


CT = dataset((60, 300, 300), (3.0, 1.0, 1.0), n=30)


def with_lesions(ml: float) -> Fingerprint:
    """`CT` with lesions of which a quarter are smaller than so many millilitres."""
    stats = LabelStats(name="left", cases=30, voxels=9, volume_ml=9.0, components=30,
                       component_ml_percentiles=(0.5 * ml, ml, 2 * ml, 3 * ml, 4 * ml))
    return CT.model_copy(update={"label_stats": (stats,)})


def test_what_would_be_seen_too_seldom_is_resampled_coarser_in_plane():
    short, long = (plan(CT, seconds_per_fold=seconds) for seconds in (600, 12 * 3600))
    assert short.configurations["3d_fullres"].spacing_mm == (3.0, 2.0, 2.0)
    assert long.configurations["3d_fullres"].spacing_mm == (3.0, 1.0, 1.0)
    assert any("3d_fullres: resampled to voxels 1x2x2 times coarser than" in reason for reason in short.reasons)
    assert not any("coarser" in reason for reason in long.reasons)


def test_too_little_memory_makes_no_grid_coarser():
    many = dataset((128, 160, 128), (1.2, 1.2, 1.2), n=100)
    many = many.model_copy(update={"labels": LabelSpec(names={"background": (0,)} | {f"p{k}": (k,) for k in range(1, 134)})})
    small_gpu = KnownHardware(device="cuda", memory_bytes=8 * GIB, flops_per_s=30e12, cores=8)
    made = plan(many, small_gpu, seconds_per_fold=20 * 3600)
    assert made.configurations["3d_fullres"].spacing_mm == (1.2, 1.2, 1.2)
    assert not any("coarser" in reason for reason in made.reasons)


def test_a_voxel_of_the_coarse_grid_is_seen_more_often():
    configurations = plan(dataset((500, 512, 512), (1.0, 0.8, 0.8), n=100), GPU).configurations
    low, full = (configurations[name] for name in ("3d_lowres", "3d_fullres"))
    gain = math.prod(low.spacing_mm) / math.prod(full.spacing_mm)
    assert gain > 3 and low.views > gain / 2 * full.views


def test_layers_that_read_a_table_learn_at_a_quarter_of_the_rate():
    ages = ConditionTable(specs=(ConditionSpec(name="age", kind="number"),))
    with_table = SMALL.model_copy(update={"conditions": ages})
    options = [plan(fingerprint, seconds_per_fold=600).configurations["3d_fullres"].schedule.optimizer.options
               for fingerprint in (with_table, SMALL)]
    assert options[0]["conditioning_rate"] == 0.25 and "conditioning_rate" not in options[1]


def test_a_small_lesion_keeps_four_voxels_along_each_axis():
    # 3 x 1.5 x 1.5 mm are 0.00675 mL, 64 of them 0.432; 3 x 2 x 2 mm are 0.012 mL, 64 of them 0.768.
    for ml, spacing in ((0.3, 1.0), (0.5, 1.5), (0.8, 2.0)):
        made = plan(with_lesions(ml), seconds_per_fold=600)
        assert made.configurations["3d_fullres"].spacing_mm == (3.0, spacing, spacing)


def test_the_plan_says_how_long_a_step_is_to_take():
    for configuration in plan(SMALL).configurations.values():
        assert configuration.step_seconds == pytest.approx(training_seconds(configuration, LAPTOP), abs=1e-4)


def test_narrow_networks_train_schedule_free_and_wide_ones_as_they_were_measured():
    narrow, wide = (plan(SMALL, hardware, seconds_per_fold=600).configurations["3d_fullres"] for hardware in (LAPTOP, GPU))
    assert narrow.architecture.features[0] < 32 <= wide.architecture.features[0]
    recipes = [(each.schedule.optimizer.name, each.schedule.decay, each.schedule.ema) for each in (narrow, wide)]
    assert recipes == [("schedule_free_adamw", "constant", 0), ("adamw", "cosine", 0.98)]
    assert narrow.architecture.blocks_encoder[0] == 1 and set(narrow.architecture.convs_decoder) == {1}


def test_narrow_networks_see_small_patches_first_and_the_reason_counts_their_iterations():
    planned = plan(SMALL, seconds_per_fold=600)
    narrow, wide = planned.configurations["3d_fullres"], plan(SMALL, GPU, seconds_per_fold=600).configurations["3d_fullres"]
    assert [phase.patch_share for phase in narrow.schedule.phases] == [0.5, 0.75] and wide.schedule.phases == ()
    (reason,) = (reason for reason in planned.reasons if reason.startswith("3d_fullres: about"))
    iterations = int(reason.split("about ")[1].split(" iterations")[0])
    assert "smaller ones at first" in reason
    assert iterations > 1.2 * 0.85 * 600 / training_seconds(narrow, LAPTOP)


def test_a_patch_that_holds_little_of_a_case_is_not_made_smaller():
    configuration = plan(LARGE, seconds_per_fold=600).configurations["3d_fullres"]
    assert math.prod(configuration.patch) < 0.25 * math.prod(configuration.median_shape)
    assert configuration.architecture.features[0] < 32 and configuration.schedule.phases == ()


def test_patches_that_cannot_be_smaller_have_no_phases():
    for fingerprint in (dataset((32, 32, 32)), dataset((1, 32, 32))):
        for configuration in plan(fingerprint, seconds_per_fold=60).configurations.values():
            assert len(sizes_of(configuration)) == 1 and configuration.schedule.phases == ()
