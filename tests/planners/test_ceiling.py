"""What a planned grid leaves of the labels, from the grids that were measured."""

import math

import pytest

from planners import PLANNERS
from planners.rules.ceiling import (
    affordable_spacing,
    ceiling,
    grids_to_measure,
    label_ceilings,
    low_ceilings,
    slice_axis,
    thickness,
    with_ceilings,
)
from planners.schema.ceiling import GridCeiling, LabelCeiling
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec, LabelStats

LAPTOP = KnownHardware(device="cpu", memory_bytes=12 * GIB, flops_per_s=300e9, cores=2)


def fingerprint(shape, spacing_mm=(1.0, 1.0, 1.0), losses=None, names=("organ",)) -> Fingerprint:
    """Of 40 cases. `losses` (z, y, x) is what a label loses per (factor - 1) along each axis, beside each other."""
    labels = LabelSpec(names={"background": (0,), **{name: (i,) for i, name in enumerate(names, 1)}})
    cases = tuple(CaseMeasure(case=f"c{i}", shape=shape, spacing_mm=spacing_mm) for i in range(40))
    bare = Fingerprint(dataset="D", channels=(ChannelSpec(name="MR"),), labels=labels, cases=cases)
    if losses is None:
        return bare
    grids = tuple(GridCeiling(factors=factors, labels=tuple(_left(name, factors, losses) for name in names))
                  for factors in grids_to_measure(bare))
    return bare.model_copy(update={"ceilings": grids})


def _left(name, factors, losses) -> LabelCeiling:
    dice = 1 - sum(loss * ((factor or 1.0) - 1) for loss, factor in zip(losses, factors, strict=True))
    return LabelCeiling(name=name, cases=20, dice=dice, dice_p25=dice - 0.01, components=20, kept=1.0)


ISOTROPIC = fingerprint((128, 128, 128), losses=(0.03, 0.03, 0.03))
BRAINS = fingerprint((32, 256, 256), losses=(0.075, 0.015, 0.015))  # of 1x2x2: 0.970, of 2x2x2: 0.895


def test_every_measured_grid_has_its_own_value():
    for measured in (ISOTROPIC, BRAINS):
        for grid in measured.ceilings:
            (label,) = label_ceilings(measured.ceilings, grid.factors)
            assert label.dice == pytest.approx(grid.labels[0].dice, abs=1e-4)


def test_between_measured_grids_logarithms_are_linear():
    (label,) = label_ceilings(ISOTROPIC.ceilings, (math.sqrt(2 * 3), 1.0, 1.0))
    assert label.dice == pytest.approx(math.sqrt(0.97 * 0.94), abs=1e-4)


def test_losses_along_several_axes_add_up():
    (label,) = label_ceilings(BRAINS.ceilings, (2.0, 1.0, 1.5))
    assert label.dice == pytest.approx(0.925 * 0.9925, abs=1e-3)


def test_a_grid_that_is_finer_than_the_full_resolution_counts_as_that():
    assert label_ceilings(ISOTROPIC.ceilings, (0.5, 1.0, 1.0)) == label_ceilings(ISOTROPIC.ceilings, (1.0, 1.0, 1.0))


def test_a_grid_beyond_the_measured_ones_leaves_less():
    dice = [label_ceilings(ISOTROPIC.ceilings, (factor,) * 3)[0].dice for factor in (3.0, 5.0, 8.0)]
    assert dice[0] > dice[1] > dice[2] >= 0


def test_a_label_that_is_lost_on_a_measured_grid_has_a_ceiling_of_nearly_nothing():
    (label,) = label_ceilings(fingerprint((64, 64, 64), losses=(0.6, 0.6, 0.6)).ceilings, (3.0, 3.0, 3.0))
    assert label.dice <= 0.001


def test_a_2d_grid_keeps_the_slices_of_each_case():
    known = ceiling(BRAINS, (2.0, 2.0), (0, 1, 2))
    assert known.dice == pytest.approx(0.97, abs=1e-4)
    assert ceiling(BRAINS, (1.0, 2.0, 2.0), (0, 1, 2)).dice == pytest.approx(0.97, abs=1e-4)
    assert ceiling(BRAINS, (2.0, 2.0, 2.0), (0, 1, 2)).dice == pytest.approx(0.895, abs=1e-4)


def test_flat_images_are_measured_in_plane():
    flat = fingerprint((1, 512, 512), (999.0, 1.0, 1.0), losses=(0.5, 0.02, 0.02))
    assert all(grid.factors[0] in (1.0, None) for grid in flat.ceilings)
    assert ceiling(flat, (2.0, 2.0), (0, 1, 2)).dice == pytest.approx(0.96, abs=1e-4)


@pytest.mark.parametrize("planner", ["classic", "resenc_m", "budgeted"])
def test_every_configuration_of_every_planner_names_its_ceiling(planner):
    plan = with_ceilings(PLANNERS.get(planner)(ISOTROPIC, LAPTOP, Budget(seconds_per_fold=600)), ISOTROPIC)
    for name, configuration in plan.configurations.items():
        assert configuration.ceiling.label == "organ"
        assert configuration.data or any(reason.startswith(f"{name}: its grid leaves at best") for reason in plan.reasons)


def test_a_plan_without_measured_ceilings_says_so():
    bare = fingerprint((64, 64, 64))
    plan = with_ceilings(PLANNERS.get("classic")(bare, LAPTOP, Budget()), bare)
    assert all(configuration.ceiling is None for configuration in plan.configurations.values())
    assert any("was not measured" in reason for reason in plan.reasons)


def test_a_label_that_no_case_has_is_named():
    measured = fingerprint((64, 64, 64), losses=(0.03, 0.03, 0.03), names=("organ", "lesion"))
    only = tuple(grid.model_copy(update={"labels": grid.labels[:1]}) for grid in measured.ceilings)
    measured = measured.model_copy(update={"ceilings": only})
    plan = with_ceilings(PLANNERS.get("classic")(measured, LAPTOP, Budget()), measured)
    assert any("the ceiling of lesion is not known" in reason for reason in plan.reasons)


def test_thick_slices_with_a_header_of_1_mm_are_kept_when_the_grid_is_coarsened():
    assert affordable_spacing(BRAINS, (1.0, 1.0, 1.0), 8) == (1.0, 2.0, 2.0)
    assert affordable_spacing(BRAINS, (1.0, 1.0, 1.0), 2) == (1.0, 1.5, 1.5)
    assert affordable_spacing(BRAINS, (1.0, 1.0), 4) == (2.0, 2.0)


def test_no_grid_is_coarsened_that_loses_a_small_lesion():
    def losing(kept):
        grids = tuple(grid.model_copy(update={"labels": tuple(
            label.model_copy(update={"kept": kept if grid.factors != (1.0, 1.0, 1.0) else 1.0}) for label in grid.labels)})
            for grid in ISOTROPIC.ceilings)
        return ISOTROPIC.model_copy(update={"ceilings": grids})

    assert affordable_spacing(losing(0.9), (1.0, 1.0, 1.0), 8) == (1.0, 1.0, 1.0)
    assert affordable_spacing(losing(0.99), (1.0, 1.0, 1.0), 8) == (1.5, 1.5, 1.5)


def test_the_default_planner_coarsens_by_the_ceiling():
    plan = PLANNERS.get("budgeted")(BRAINS, LAPTOP, Budget(seconds_per_fold=300))
    assert plan.configurations["3d_fullres"].spacing_mm == (1.0, 2.0, 2.0)


def test_isotropic_images_are_as_thick_as_their_header_says():
    assert thickness(ISOTROPIC) == 1.0


@pytest.mark.parametrize(("losses", "thick"), [((0.06, 0.02, 0.02), 3.0), ((0.02, 0.02, 0.02), 1.0),
                                               ((0.2, 0.002, 0.002), 8.0), ((0.01, 0.02, 0.02), 1.0)])
def test_slices_are_as_thick_as_what_they_lose(losses, thick):
    assert thickness(fingerprint((32, 256, 256), losses=losses)) == pytest.approx(thick)


def test_the_axis_across_slices_is_the_coarsest_or_that_of_the_fewest_voxels():
    assert slice_axis(fingerprint((100, 100, 100), (1.0, 3.0, 1.0))) == 1
    assert slice_axis(fingerprint((256, 256, 20))) == 2
    assert slice_axis(fingerprint((100, 120, 110))) == 0


def test_a_low_ceiling_warns_with_the_size_of_the_label_and_what_to_do():
    stats = LabelStats(name="organ", cases=40, voxels=400, volume_ml=4.0, components=40,
                       component_ml_percentiles=(0.01, 0.02, 0.03, 0.04, 0.05), extent_mm=(3.0, 4.0, 5.0))
    measured = BRAINS.model_copy(update={"label_stats": (stats,)})
    base = PLANNERS.get("classic")(measured, LAPTOP, Budget())
    fine = with_ceilings(base, measured)
    assert low_ceilings(fine, measured) == ()
    full = base.configurations["3d_fullres"]
    coarse = base.model_copy(update={"configurations": {
        "3d_fullres": full.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})}})
    (warning,) = low_ceilings(with_ceilings(coarse, measured), measured)
    for words in ("3d_fullres", "2x2x2 mm", "0.895", "organ (3x4x5 mm, 1.5 voxels across", "0.03 mL", "allow more time"):
        assert words in warning


def test_where_even_the_full_resolution_leaves_little_the_label_is_said_to_be_too_small():
    tiny = fingerprint((64, 64, 64), losses=(0.03, 0.03, 0.03))
    grids = tuple(grid.model_copy(update={"labels": tuple(label.model_copy(update={"dice": 0.8}) for label in grid.labels)})
                  for grid in tiny.ceilings)
    tiny = tiny.model_copy(update={"ceilings": grids})
    plan = with_ceilings(PLANNERS.get("classic")(tiny, LAPTOP, Budget()), tiny)
    warnings = low_ceilings(plan, tiny)
    assert len(warnings) == len([c for c in plan.configurations.values() if not c.data])
    assert all("even the full resolution leaves no more" in warning for warning in warnings)
