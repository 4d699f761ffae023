"""The probabilities that training begins with."""

import pytest

from planners import PLANNERS
from planners.fingerprint import CaseMeasure, ChannelSpec, Fingerprint, LabelSpec, LabelStats
from planners.hardware import GIB, Budget, KnownHardware

HARDWARE = KnownHardware(device="cpu", memory_bytes=8 * GIB, flops_per_s=1e12, cores=2)


def configurations(planner: str, **voxels: int):
    """Of ten cases of 1000 voxels each."""
    names = {"background": (0,), **{name: (i,) for i, name in enumerate(("organ", "lesion"), 1)}}
    stats = tuple(LabelStats(name=name, cases=10, voxels=n, volume_ml=1.0, components=10,
                             component_ml_percentiles=(0.1,) * 5) for name, n in voxels.items())
    cases = tuple(CaseMeasure(case=f"c{i}", shape=(10, 10, 10), spacing_mm=(1.0, 1.0, 1.0)) for i in range(10))
    fingerprint = Fingerprint(dataset="D", channels=(ChannelSpec(name="CT"),), labels=LabelSpec(names=names), cases=cases,
                              label_stats=stats)
    return PLANNERS.get(planner)(fingerprint, HARDWARE, Budget(seconds_per_fold=600)).configurations.values()


@pytest.mark.parametrize("planner", ["classic", "resenc_m", "budgeted"])
def test_a_label_begins_at_its_share_of_the_voxels_in_every_configuration(planner):
    for configuration in configurations(planner, organ=2500, lesion=300):
        assert configuration.prior == (0.25, 0.03)


def test_no_label_begins_rarer_than_one_voxel_of_a_hundred_or_nearly_everywhere():
    for configuration in configurations("classic", organ=10_000, lesion=1):
        assert configuration.prior == (0.99, 0.01)


def test_labels_that_were_not_measured_begin_at_even_odds():
    for configuration in configurations("classic", organ=2500):
        assert configuration.prior == ()
