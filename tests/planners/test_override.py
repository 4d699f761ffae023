"""`--set key=value` on a configuration."""

import pytest

from planners import PLANNERS
from planners.schema.override import override
from tests_support import small_plan


@pytest.fixture
def configuration():
    return small_plan().configurations["3d_fullres"]


def test_a_value_changes_and_nothing_else(configuration):
    changed = override(configuration, ["schedule.iterations=5000"])
    assert changed.schedule.iterations == 5000
    assert changed.model_copy(update={"schedule": configuration.schedule}) == configuration


def test_a_list_is_json(configuration):
    assert override(configuration, ["mirror_axes=[0, 2]"]).mirror_axes == (0, 2)


def test_text_needs_no_quotes(configuration):
    assert override(configuration, ["loss.name=my_loss"]).loss.name == "my_loss"


def test_options_of_a_part_may_be_new(configuration):
    assert override(configuration, ["loss.options.ce_weight=0.5"]).loss.options == {"ce_weight": 0.5}


@pytest.mark.parametrize(("assignment", "said"), [
    ("schedule.iteration=5", "did you mean 'iterations'"), ("nothing=1", "unknown key 'nothing'"),
    ("schedule", "key=value"), ("schedule.iterations=-1", "greater than 0"),
    ("schedule.iterations=many", "valid integer"), ("schedule.learning_rate=Infinity", "finite"),
    ("batch.size=2", "unknown key 'size'")])
def test_a_wrong_assignment_says_what_is_wrong(configuration, assignment, said):
    with pytest.raises(ValueError, match=said):
        override(configuration, [assignment])


def test_every_planner_is_known():
    assert {"budgeted", "classic", "light", "primus", "resenc_l", "resenc_m", "resenc_xl", "vit2d"} <= set(PLANNERS.names())


def test_an_unknown_planner_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"did you mean 'classic'.*known: budgeted, classic"):
        PLANNERS.get("clasic")


def test_a_field_is_found_by_the_name_that_it_had_in_version_0_1(configuration):
    changed = override(configuration, ["topology.features=[4, 8]", "hiding.row=0.5"])
    assert (changed.architecture.features, changed.input_dropout.row) == ((4, 8), 0.5)
