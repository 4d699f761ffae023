"""Which configuration a plan advises to train first."""

from measured_volumes import LAPTOP, volumes
from planners import PLANNERS
from planners.rules.advice import advice_of, with_advice
from planners.rules.ceiling import with_ceilings
from planners.schema.ceiling import Ceiling
from planners.schema.hardware import Budget


def advised(fingerprint, planner="budgeted", seconds=900.0, **changes):
    plan = PLANNERS.get(planner)(fingerprint, LAPTOP, Budget(seconds_per_fold=seconds if planner == "budgeted" else None))
    plan = with_ceilings(plan, fingerprint)
    configurations = {name: configuration.model_copy(update=changes.get(name, {}))
                      for name, configuration in plan.configurations.items()}
    return with_advice(plan.model_copy(update={"configurations": configurations}), fingerprint)


def ceiling(dice: float) -> Ceiling:
    return Ceiling(label="organ", dice=dice, dice_p25=dice, kept=1, lowest_kept=1)


def test_volumes_come_first_where_nothing_speaks_against_them():
    for planner in ("budgeted", "classic"):
        assert advised(volumes((96, 96, 96)), planner).first.configuration == "3d_fullres"


def test_slices_come_first_where_the_grid_of_volumes_leaves_less():
    ceilings = {"3d_fullres": {"ceiling": ceiling(0.9)}, "2d": {"ceiling": ceiling(0.97)}}
    first = advised(volumes((96, 96, 96)), **ceilings).first
    assert first.configuration == "2d" and "leaves less" in first.reason


def test_slices_come_first_where_they_are_thick():
    first = advised(volumes((30, 200, 200), 4.0)).first
    assert first.configuration == "2d" and "4.0 times thicker" in first.reason


def test_a_coarse_grid_comes_first_where_voxels_are_seldom_seen():
    first = advised(volumes((400, 400, 400)), **{"3d_fullres": {"views": 2.0}, "2d": {"ceiling": None}}).first
    assert first.configuration == "3d_lowres"


def test_a_dataset_of_flat_images_has_no_choice():
    assert advised(volumes((1, 256, 256))).first.reason.startswith("2d first: there is no other")


def test_the_sentence_names_ceiling_views_and_the_cost_of_a_step():
    reason = advised(volumes((96, 96, 96))).first.reason
    assert all(words in reason for words in ("at best", "views of a voxel", "s per step"))


def test_a_plan_that_says_nothing_is_given_the_usual_answer():
    plan = advised(volumes((96, 96, 96))).model_copy(update={"first": None})
    assert advice_of(plan).configuration == "3d_fullres"
    assert advice_of(plan, ["2d"]).configuration == "2d"


def test_only_what_was_asked_for_is_advised():
    plan = advised(volumes((96, 96, 96)))
    assert advice_of(plan, ["2d"]).configuration == "2d"
