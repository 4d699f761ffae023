"""The planner for prediction on a CPU: a tenth of the parameters of `classic`."""

import pytest

from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec

LAPTOP = KnownHardware(device="cpu", memory_bytes=12 * GIB, flops_per_s=300e9, cores=2)
DATASETS = {"hippocampus": ((36, 50, 35), (1.0, 1.0, 1.0)), "thick slices": ((24, 400, 400), (6.0, 0.8, 0.8)),
            "CT": ((200, 400, 400), (2.0, 0.8, 0.8)), "tiny": ((20, 18, 16), (1.0, 1.0, 1.0)),
            "flat": ((1, 500, 600), (999.0, 1.0, 1.0))}
every_dataset = pytest.mark.parametrize("dataset", DATASETS)


def plan(planner, dataset, minutes=30):
    shape, spacing_mm = DATASETS[dataset]
    cases = tuple(CaseMeasure(case=f"c{i}", shape=shape, spacing_mm=spacing_mm, left_right_axis=2) for i in range(40))
    labels = LabelSpec(names={"background": (0,), "left": (1,), "right": (2,)})
    fingerprint = Fingerprint(dataset="Dataset001_X", channels=(ChannelSpec(name="MR"),), labels=labels, cases=cases)
    return PLANNERS.get(planner)(fingerprint, LAPTOP, Budget(seconds_per_fold=60 * minutes))


def cost(configuration):
    return configuration.architecture.cost(configuration.patch, 1, 3)


@every_dataset
@pytest.mark.parametrize("minutes", [2, 30, 600])
def test_a_network_has_at_most_a_tenth_of_the_parameters_of_classic(dataset, minutes):
    classic = plan("classic", dataset).configurations
    for name, configuration in plan("light", dataset, minutes).configurations.items():
        assert cost(configuration).parameters <= 0.1 * cost(classic[name]).parameters, name


@every_dataset
def test_a_voxel_costs_less_than_a_third_of_the_flops_of_classic_and_half_of_its_elementwise_work(dataset):
    classic = plan("classic", dataset).configurations
    for name, configuration in plan("light", dataset).configurations.items():
        per_voxel = [[value / classic_or_light.patch[0] / classic_or_light.patch[1] / classic_or_light.patch[-1]
                      for value in (cost(classic_or_light).forward_flops, cost(classic_or_light).normalized_values)]
                     for classic_or_light in (configuration, classic[name])]
        assert per_voxel[0][0] < per_voxel[1][0] / 3 and per_voxel[0][1] < per_voxel[1][1] / 2, name


def test_recipe_and_grid_are_those_of_budgeted():
    ours, theirs = (plan(planner, "hippocampus").configurations["3d_fullres"] for planner in ("light", "budgeted"))
    same = ("spacing_mm", "patch", "schedule", "loss", "normalizers", "mirror_axes", "batch_dice")
    assert [getattr(ours, field) for field in same] == [getattr(theirs, field) for field in same]
    assert cost(ours).parameters < cost(theirs).parameters


def test_more_time_widens_a_network_no_further_than_its_tenth():
    configurations = [plan("light", "CT", minutes).configurations["3d_fullres"] for minutes in (5, 600, 6000)]
    assert configurations[0].architecture.features[0] == 8
    assert configurations[1].architecture == configurations[2].architecture
    assert configurations[2].architecture.features[0] == 16


def test_the_plan_says_what_it_is_for():
    made = plan("light", "hippocampus")
    assert made.planner == "light" and made.reasons[-1].startswith("light: at most 10% of the parameters of classic")
