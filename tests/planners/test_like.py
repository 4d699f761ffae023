"""A plan with the topology of another model: what is taken, what stays the dataset's own, what does not fit."""

import pytest

from planners.classic import classic
from planners.like import like, name_like
from planners.rules.transfer import for_transfer, from_scratch
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.hardware import Budget
from planners.schema.labels import LabelSpec
from planners.schema.plan import Transfer
from tests_support import small_plan

STATS = IntensityStats(mean=7, std=1, min=0, max=9, median=7, percentile_00_5=1, percentile_99_5=8)


def fingerprint(spacing_mm=(1.0, 1.0, 1.0), shape=(64, 64, 64), channels=("MR_0",), orientation="LPS"):
    return Fingerprint(dataset="Dataset002_Others", channels=tuple(ChannelSpec(name=name) for name in channels),
                       labels=LabelSpec(names={"background": (0,), "liver": (1,)}), intensities=(STATS,) * len(channels),
                       cases=tuple(CaseMeasure(case=f"c{n}", shape=shape, spacing_mm=spacing_mm) for n in range(8)),
                       orientation=orientation)


def own_plan(measured):
    return classic(measured, None, Budget()).model_copy(update={"orientation": measured.orientation})


def planned(measured, source=None):
    return like(own_plan(measured), source or small_plan(normalizers=(Part(name="rescale01"),)), "3d_fullres", measured)


def test_the_topology_is_the_models_and_the_rest_is_the_datasets():
    measured = fingerprint(channels=("other", "mr_0"))
    plan = planned(measured)
    known, source = plan.configurations["3d_fullres"], small_plan().configurations["3d_fullres"]
    assert plan.planner == "like_budgeted" and plan.labels == measured.labels and plan.intensities == measured.intensities
    assert (known.architecture, known.patch, known.batch) == (source.architecture, source.patch, source.batch)
    assert [part.name for part in known.normalizers] == ["zscore", "rescale01"]  # by the name of the channel
    assert known.median_shape == (64, 64, 64) and known.augmentation.name == "nnunet"
    assert known.schedule.learning_rate == 1e-2 and known.schedule.iterations == 250_000


def test_the_same_dataset_keeps_the_intensities_that_its_weights_know():
    source = small_plan().model_copy(update={"dataset": "Dataset002_Others"})
    assert planned(fingerprint(), source).intensities == source.intensities


def test_cases_are_turned_as_the_models_were_where_only_directions_differ():
    source = small_plan().model_copy(update={"orientation": "RAS"})
    assert planned(fingerprint(), source).orientation == "RAS"
    assert planned(fingerprint(orientation="PIR"), source).orientation == "PIR"


def test_axes_are_ordered_as_in_the_model_unless_slices_are_thick():
    source = small_plan().model_copy(update={"transpose": (2, 0, 1)})
    assert planned(fingerprint(), source).transpose == (2, 0, 1)
    thick = small_plan(spacing_mm=(5.0, 1.0, 1.0)).model_copy(update={"transpose": (2, 0, 1)})
    assert planned(fingerprint((1.0, 5.0, 1.0), (64, 16, 64)), thick).transpose == (1, 0, 2)


@pytest.mark.parametrize(("measured", "words"), [
    (fingerprint((6.0, 1.0, 1.0), (20, 64, 64)), "anisotropy"),
    (fingerprint((0.05, 0.05, 0.05)), "patch"),
    (fingerprint((1.0, 1.0, 1.0), (1, 64, 64)), "dimensions")])
def test_what_cannot_fit_is_refused(measured, words):
    with pytest.raises(ValueError, match=words):
        planned(measured)


@pytest.mark.parametrize(("optimizer", "learned_from", "rate"), [
    ("adamw", "labels", 0.5), ("adamw", "images", 1.0), ("sgd", "labels", 0.1), ("sgd", "images", 0.1)])
@pytest.mark.parametrize("warmup_share", [0.0, 0.02, 0.1])
def test_the_rate_is_planned_and_warmed_up_and_from_scratch_undoes_it(optimizer, learned_from, rate, warmup_share):
    plan = small_plan()
    known = plan.configurations["3d_fullres"]
    changes = {"optimizer": Part(name=optimizer), "warmup_share": warmup_share}
    known = known.model_copy(update={"schedule": known.schedule.model_copy(update=changes)})
    plan = plan.model_copy(update={"configurations": {"3d_fullres": known}})
    started = for_transfer(plan, "3d_fullres", Transfer(source="a", learned_from=learned_from))
    schedule = started.configurations["3d_fullres"].schedule
    assert schedule.learning_rate == pytest.approx(rate * 1e-2) and schedule.warmup_share == max(0.05, warmup_share)
    other = Transfer(source="b", learned_from=learned_from, freeze="encoder")
    again = for_transfer(started, "3d_fullres", other).configurations["3d_fullres"]
    assert again.schedule == schedule and again.transfer.source == "b"
    assert from_scratch(again) == known
    assert name_like("like_budgeted") == "like_budgeted"
