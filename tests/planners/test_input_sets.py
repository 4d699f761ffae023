"""Sets of inputs: their names, and plans with some of the inputs."""

import pytest

from planners.rules.input_sets import InputSet, grid_fault, joint_plan, parse_inputs, planner_of, union, with_inputs
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionStats, ConditionTable
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import InputDropout, differing_fields
from tests_support import SPHERES, small_plan

CHANNELS = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", registration="regrid"),
            ChannelSpec(name="MR_T1", required=False), ChannelSpec(name="MR_T2", required=False, registration="rigid"))
SPECS = (ConditionSpec(name="Age", kind="number"), ConditionSpec(name="Sex", kind="category"),
         ConditionSpec(name="genes", kind="vector"), ConditionSpec(name="slides", kind="tokens"))


@pytest.mark.parametrize(("text", "channels", "conditions"), [
    ("CT", ("CT",), ()), ("pet, ct", ("CT", "PET"), ()), ("MR_T2", ("MR_T2",), ()), ("0,2", ("CT", "MR_T1"), ()),
    ("P+table", ("PET",), ("Age", "Sex")), ("CT+Sex+vectors", ("CT",), ("Sex", "genes")),
    ("CT+tokens", ("CT",), ("slides",)),
    ("CT + ag", ("CT",), ("Age",))])
def test_a_set_is_read_as_a_person_writes_it(text, channels, conditions):
    assert parse_inputs(text, CHANNELS, SPECS) == InputSet(channels=channels, conditions=conditions)


@pytest.mark.parametrize(("text", "message"), [
    ("US", "unknown channel 'US'; known: CT, PET, MR_T1, MR_T2"),
    ("MR", "'MR' is ambiguous: it may be MR_T1 or MR_T2"),
    ("CT,PET,ct", "names CT twice"), ("CT+Age+table", "names Age twice"),
    ("+table", "has no image; it begins with a channel: CT, PET"), ("", "has no image"),
    ("CT+weight", "unknown condition 'weight'; known: Age, Sex, genes, slides, table, vectors, tokens"),
    ("9", "unknown channel '9'")])
def test_a_set_that_cannot_be_read_says_what_there_is(text, message):
    with pytest.raises(ValueError, match=message):
        parse_inputs(text, CHANNELS, SPECS)


def test_a_group_without_a_member_says_what_is_declared():
    with pytest.raises(ValueError, match=r"\+tokens names nothing: dataset.json declares Age, Sex"):
        parse_inputs("CT+tokens", CHANNELS, SPECS[:2])


@pytest.mark.parametrize(("channels", "fits"), [
    (("CT", "PET"), True), (("MR_T1",), True),  # it lies on the grid of the labels already
    (("PET",), True), (("PET", "MR_T1"), False), (("MR_T2",), False)])
def test_channels_that_are_brought_to_the_reference_need_it_but_for_one_alone(channels, fits):
    fault = grid_fault(InputSet(channels=channels), CHANNELS)
    assert (fault == "") == fits
    assert fits or "leaves out CT, on whose grid the labels lie, and without it" in fault


def test_two_sets_never_share_a_name():
    sets = [InputSet(channels=("T1", "T2")), InputSet(channels=("T1-T2",)), InputSet(channels=("T1 T2",)),
            InputSet(channels=("T1",), conditions=("T2",)), InputSet(channels=("T1",) * 60), InputSet(channels=("T1",) * 61)]
    names = [planner_of("budgeted", each) for each in sets]
    assert len(set(names)) == len(names) and all(len(name) < 120 for name in names)


def test_the_union_has_every_input_once_in_the_order_of_the_dataset():
    sets = [InputSet(channels=("PET",), conditions=("Sex",)), InputSet(channels=("CT", "PET"), conditions=("Age",))]
    assert union(sets, CHANNELS, SPECS).title == "CT,PET+Age+Sex"


def plan_of_all():
    plan = small_plan(n_channels=4, normalizers=tuple(Part(name=name) for name in ("ct", "zscore", "none", "rescale01")),
                      conditioning=Part(name="tokens"),
                      input_dropout=InputDropout(channels=(0, 0, 0.3, 0.4), shift_voxels=(0, 1, 0, 0), p_shift=0.2, row=0.3,
                                                 column=0.1, swap=("Age", "rna"), p_swap=0.5))
    return plan.model_copy(update={"channels": CHANNELS, "conditions": ConditionTable(table="t.csv", specs=SPECS),
                                   "modality_columns": {"MR_T1": "kind"}})


def fingerprint_of_all():
    stats = tuple(ConditionStats(name=spec.name, missing=0.0, distinct=3) for spec in SPECS)
    return Fingerprint(dataset="Dataset001_Spheres", channels=CHANNELS, labels=SPHERES, cases=(), condition_stats=stats,
                       conditions=ConditionTable(specs=SPECS))


def plan_with(*channels, conditions=()):
    return with_inputs(plan_of_all(), "3d_fullres", InputSet(channels=channels, conditions=conditions), fingerprint_of_all())


def test_a_plan_of_some_inputs_differs_in_nothing_but_these():
    plan = plan_with("PET", "MR_T2")
    all_inputs, chosen = plan_of_all().configurations["3d_fullres"], plan.configurations["3d_fullres"]
    assert plan.planner == "budgeted_of_PET-MR_T2" and plan.numbers == (1, 3) and plan.prepared_by == ""
    assert plan.grid_number == 0  # of CT, which is left out
    assert [channel.name for channel in plan.channels] == ["PET", "MR_T2"] and plan.modality_columns == {}
    assert [part.name for part in chosen.normalizers] == ["zscore", "rescale01"]
    assert chosen.input_dropout == InputDropout(channels=(0, 0.4), shift_voxels=(1, 0), p_shift=0.2)
    assert chosen.conditioning == Part(name="none") and plan.conditions.specs == ()
    kept = {"normalizers", "input_dropout", "conditioning"}
    assert chosen.model_dump(exclude=kept) == all_inputs.model_dump(exclude=kept)


def test_conditions_that_are_left_out_change_how_a_network_is_conditioned():
    names = {conditions: plan_with("CT", conditions=conditions).configurations["3d_fullres"].conditioning.name
             for conditions in ((), ("Age",), ("Age", "slides"))}
    assert names == {(): "none", ("Age",): "film", ("Age", "slides"): "tokens"}


def test_conditions_that_are_left_out_are_not_swapped():
    of_age = plan_with("CT", conditions=("Age",)).configurations["3d_fullres"].input_dropout
    assert (of_age.swap, of_age.p_swap) == (("Age",), 0.5)


def test_sets_of_the_same_channels_share_prepared_cases():
    assert plan_with("CT", conditions=("Age",)).preparer == plan_with("CT").planner == "budgeted_of_CT"


def test_all_channels_keep_their_numbers_unsaid():
    assert plan_with("CT", "PET", "MR_T1", "MR_T2").channel_numbers == ()


def test_the_grid_of_the_reference_is_asked_for_only_where_a_channel_is_brought_to_it():
    assert plan_with("CT", "PET").grid_number is None and plan_with("MR_T1").grid_number is None
    assert joint_plan([plan_with("PET"), plan_with("CT")]).grid_number is None
    assert joint_plan([plan_with("PET"), plan_with("MR_T1")]).grid_number == 0


def test_weights_of_one_channel_do_not_fit_the_files_of_another():
    plan = plan_with("PET")
    assert differing_fields(plan, plan, "3d_fullres") == []
    moved = plan.model_copy(update={"channel_numbers": (0,)})
    assert differing_fields(plan, moved, "3d_fullres") == ["channel_numbers"]


def test_a_cascade_is_refused():
    plan = plan_of_all()
    second = plan.configurations["3d_fullres"].model_copy(update={"previous": "3d_lowres"})
    with pytest.raises(ValueError, match="second stage of a cascade; compare inputs of its first, 3d_lowres"):
        with_inputs(plan.model_copy(update={"configurations": {"3d_fullres": second}}), "3d_fullres",
                    InputSet(channels=("CT",)), fingerprint_of_all())


def test_several_plans_take_the_files_of_all():
    both = joint_plan([plan_with("MR_T2", conditions=("Sex",)), plan_with("PET", conditions=("Age",))])
    assert both.numbers == (1, 3) and [channel.name for channel in both.channels] == ["PET", "MR_T2"]
    assert {spec.name for spec in both.conditions.specs} == {"Age", "Sex"}
    assert joint_plan([plan_with("PET"), plan_of_all()]).channel_numbers == ()
    assert joint_plan([plan_with("PET")]) == plan_with("PET")
