"""The probabilities that training begins with."""

import pytest

from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec, LabelStats

HARDWARE = KnownHardware(device="cpu", memory_bytes=8 * GIB, flops_per_s=1e12, cores=2)


def configurations(planner: str, voxels: dict[str, int], *, names=("organ", "lesion"), in_cases: int = 10, **spec):
    """Of ten cases of 1000 voxels each; `voxels` of the labels that were measured, in `in_cases` of them."""
    labels = LabelSpec(names={"background": (0,), **{name: (i,) for i, name in enumerate(names, 1)}}, **spec)
    stats = tuple(LabelStats(name=name, cases=in_cases, voxels=n, volume_ml=1.0, components=10,
                             component_ml_percentiles=(0.1,) * 5) for name, n in voxels.items())
    cases = tuple(CaseMeasure(case=f"c{i}", shape=(10, 10, 10), spacing_mm=(1.0, 1.0, 1.0)) for i in range(10))
    fingerprint = Fingerprint(dataset="D", channels=(ChannelSpec(name="CT"),), labels=labels, cases=cases,
                              label_stats=stats)
    return PLANNERS.get(planner)(fingerprint, HARDWARE, Budget(seconds_per_fold=600)).configurations.values()


@pytest.mark.parametrize("planner", ["classic", "resenc_m", "budgeted"])
def test_a_label_begins_at_its_share_of_the_voxels_in_every_configuration(planner):
    for configuration in configurations(planner, {"organ": 2500, "lesion": 300}):
        assert configuration.prior == (0.25, 0.03)


def test_no_label_begins_rarer_than_one_voxel_of_a_hundred_or_nearly_everywhere():
    for configuration in configurations("classic", {"organ": 10_000, "lesion": 1}):
        assert configuration.prior == (0.99, 0.01)


def test_a_hundred_rare_labels_leave_background_what_it_has():
    names = tuple(f"bone_{i}" for i in range(100))
    for configuration in configurations("classic", dict.fromkeys(names, 1), names=names):
        assert configuration.prior == (0.001,) * 100
    for configuration in configurations("classic", dict.fromkeys(names, 1), names=names,
                                        region_order=tuple(range(1, 101))):
        assert configuration.prior == (0.01,) * 100  # regions do not share the voxels


def test_the_share_is_that_of_the_cases_that_have_the_label():
    for configuration in configurations("classic", {"organ": 500, "lesion": 50}, in_cases=2):
        assert configuration.prior == (0.25, 0.025)


def test_labels_that_were_not_measured_begin_at_even_odds():
    for configuration in configurations("classic", {"organ": 2500}):
        assert configuration.prior == ()


def test_with_an_ignore_label_networks_begin_at_even_odds():
    for configuration in configurations("classic", {"organ": 2500, "lesion": 300}, ignore=3):
        assert configuration.prior == ()
