"""Outcomes of patients: what dataset.json declares, and what is wrong with it and with the table."""

import json

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.outcome_leaks import leaks
from autoseg.clinical.outcomes import OutcomeSpec, OutcomeValues, read_outcomes
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.describe import describe_inputs
from autoseg.datasets.integrity import verify
from planners.schema.conditions import ConditionTable

SURVIVAL = {"kind": "survival", "time": "months", "event": "dead"}


@pytest.fixture
def table(tmp_path):
    """Write the cells of a table below its header; what `read_outcomes` gives of it."""

    def read(header, *rows, **spec):
        lines = [f"case,{header}", *(f"c{number},{row}" for number, row in enumerate(rows))]
        (tmp_path / "clinical.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        names = [f"c{number}" for number in range(len(rows))]
        found = read_outcomes(tmp_path, ConditionTable(table="clinical.csv"), {"os": OutcomeSpec(**spec)}, names)
        return found.outcomes["os"], found.warnings

    return read


def test_times_and_events_are_read_and_cases_without_them_left_out(table):
    outcome, warnings = table("months,dead", "12.5,1", "3,0", "--,1", "7,", "9,1", **SURVIVAL)
    assert outcome.cases == ("c0", "c1", "c4")
    assert outcome.values == (12.5, 3.0, 9.0) and outcome.events == (True, False, True)
    assert "not known of 2 of 5 cases" in warnings[-1]


def test_words_of_a_status_become_events(table):
    values = {"D": 1, "NED": 0, "AWD": 0}
    outcome, _ = table("months,dead", "12,D", "3,NED", "4,AWD", **SURVIVAL, event_values=values)
    assert outcome.events == (True, False, False)


def test_an_empty_cell_and_any_other_text_can_be_given_a_meaning_and_a_time_of_their_own(table):
    outcome, _ = table("months,dead,last", "12,Mets lung,30", "--,--,40", "5,Local,9", **SURVIVAL, censored="last",
                       event_values={"*": 1, "": 0})
    assert outcome.values == (12.0, 40.0, 5.0) and outcome.events == (True, False, True)


def test_a_formula_that_failed_is_no_empty_cell_which_says_that_nothing_happened(table):
    outcome, warnings = table("months,dead", "12,Local", "3,", "8,#REF!", **SURVIVAL, event_values={"*": 1, "": 0})
    assert outcome.cases == ("c0", "c1") and outcome.events == (True, False)
    assert "not known of 1 of 3 cases" in warnings[-1]


def test_negative_times_are_faults_that_name_the_cells(table):
    with pytest.raises(UserError, match=r"negative times of the outcome 'os' \(found: -3\.0 \(case c1, line 3\)"):
        table("months,dead", "12,1", "-3,0", **SURVIVAL)


@pytest.mark.parametrize("dates", [("20200131", "20210412"), ("2020-01-31", "12"), ("31.1.2020", "12")])
def test_dates_in_place_of_times_are_faults_that_say_so(table, dates):
    with pytest.raises(UserError, match="dates in the column 'months' of the outcome 'os'.*number of days"):
        table("months,dead", f"{dates[0]},1", f"{dates[1]},0", **SURVIVAL)


def test_events_that_are_neither_0_nor_1_are_faults_that_say_what_to_declare(table):
    with pytest.raises(UserError, match='events of the outcome \'os\' are not 0 or 1.*"event_values": {"2": ...}'):
        table("months,dead", "12,1", "3,2", **SURVIVAL)


def test_all_faults_of_the_table_come_at_once(table):
    with pytest.raises(ManyFaults) as raised:
        table("months,dead", "soon,1", "-3,maybe", "-5,0", **SURVIVAL)
    faults = " ".join(raised.value.faults)
    assert "text in the column 'months'" in faults and "not 0 or 1" in faults and "negative times" in faults


def test_few_events_are_a_warning_with_the_number(table):
    _, warnings = table("months,dead", *[f"{month + 1},{int(month < 7)}" for month in range(20)], **SURVIVAL)
    assert any("has 7 events, fewer than 10" in warning for warning in warnings)
    _, warnings = table("months,dead", *[f"{month + 1},{int(month < 4)}" for month in range(20)], **SURVIVAL)
    assert any("has 4 events" in warning and "one feature at a time" in warning for warning in warnings)
    _, warnings = table("months,dead", *[f"{month + 1},{int(month < 10)}" for month in range(20)], **SURVIVAL)
    assert warnings == ()


def test_a_time_of_zero_is_left_out_with_a_warning(table):
    outcome, warnings = table("months,dead", "0,0", "3,1", **SURVIVAL)
    assert outcome.cases == ("c1",) and "followed up for no time" in warnings[0]


def test_an_outcome_without_any_event_is_a_fault(table):
    with pytest.raises(UserError, match="tells no case from another.*no event"):
        table("months,dead", "12,0", "3,0", **SURVIVAL)


def test_a_category_of_one_case_is_a_fault(table):
    with pytest.raises(UserError, match="a category of the outcome 'os' has one case.*found: partial"):
        table("CR", "yes", "no", "no", "partial", "yes", kind="category", column="CR")


def test_positive_texts_are_one_category_against_all_others(table):
    outcome, _ = table("CR", "CR", "PR", "SD", "CR", "PD", kind="category", column="CR", positive=["CR", "PR"])
    assert outcome.names == ("other", "CR or PR") and outcome.values == (1, 1, 0, 1, 0)


def test_the_positive_text_may_be_other(table):
    outcome, _ = table("cause", "other", "tumour", "other", "tumour", kind="category", column="cause", positive="other")
    assert outcome.names == ("not other", "other") and outcome.values == (1, 0, 1, 0)


def test_a_positive_text_that_no_case_has_is_a_fault(table):
    with pytest.raises(UserError, match="positive category.*is in no case"):
        table("CR", "a", "b", "a", "b", kind="category", column="CR", positive="c")


def test_a_number_is_read_as_it_is(table):
    outcome, _ = table("change", "-10%", "20%", "3.5%", kind="number", column="change")
    assert outcome.values == (-10.0, 20.0, 3.5) and outcome.n_events == 3


def test_a_column_that_is_not_there_is_a_fault(table):
    with pytest.raises(UserError, match="deaths"):
        table("months,dead", "12,0", kind="survival", time="months", event="deaths")


@pytest.mark.parametrize(("spec", "word"), [
    ({"kind": "survival", "time": "t"}, "'time' and 'event'"),
    ({"kind": "category", "time": "t"}, "'column'"),
    ({"kind": "number", "column": "c", "positive": ["x"]}, "'positive'"),
    ({"kind": "survival", "time": "t", "event": "e", "event_values": {"D": 2}}, "'event_values'"),
    ({"kind": "date", "column": "c"}, "survival")])
def test_a_declaration_that_means_nothing_is_a_fault_with_its_line(raw, spec, word):
    folder = raw(conditions={"table": "clinical.csv"}, outcomes={"os": spec})
    with pytest.raises(UserError, match=f"line .*{word}"):
        Dataset.open(folder)


def test_a_column_that_is_a_condition_cannot_be_an_outcome(raw):
    folder = raw(conditions={"table": "clinical.csv", "columns": {"grade": {"kind": "category"}}},
                 outcomes={"response": {"kind": "category", "column": "grade"}})
    with pytest.raises(UserError, match="'grade' is a condition and belongs to the outcome 'response'"):
        Dataset.open(folder)


def test_a_condition_that_is_spelled_with_other_spaces_cannot_be_an_outcome(raw):
    folder = raw(conditions={"table": "clinical.csv", "columns": {"tumour  grade ": {"kind": "category"}}},
                 outcomes={"response": {"kind": "category", "column": "tumour grade"}})
    with pytest.raises(UserError, match="'tumour grade' is a condition and belongs to the outcome 'response'"):
        Dataset.open(folder)


def test_the_column_of_names_cannot_be_an_outcome_and_outcomes_need_a_table(raw):
    with pytest.raises(UserError, match="'case' names the cases"):
        Dataset.open(raw(conditions={"table": "clinical.csv"}, outcomes={"os": {"kind": "number", "column": "case"}}))
    with pytest.raises(UserError, match="there is no table"):
        Dataset.open(raw(outcomes={"os": {"kind": "number", "column": "x"}}))


def outcome_of(kind, values, events=()):
    cases = tuple(f"c{number}" for number in range(len(values)))
    spec = OutcomeSpec(kind=kind, column="" if kind == "survival" else "y", time="t" if kind == "survival" else "",
                       event="e" if kind == "survival" else "")
    return OutcomeValues("os", spec, cases, tuple(map(float, values)), tuple(events), ("no", "yes"))


def conditions_of(**columns):
    n = len(next(iter(columns.values())))
    return {f"c{k}": CaseConditions({name: cells[k] for name, cells in columns.items()}) for k in range(n)}


def test_a_condition_of_which_the_category_is_a_function_is_a_leak_by_name():
    answer = [0, 1] * 10
    stage = ["b" if code else "a" for code in answer]
    (leak,) = leaks(outcome_of("category", answer), conditions_of(stage=stage, sex=["f", "f", "m", "m"] * 5))
    assert "is a function of the condition 'stage': that is a leak" in leak


def test_a_condition_that_differs_in_every_case_is_no_leak_of_a_category():
    assert leaks(outcome_of("category", [0, 1] * 10), conditions_of(age=[float(k) for k in range(20)])) == ()


def test_a_number_whose_limit_separates_the_categories_is_a_leak():
    change = [-60.0 + 4 * k + k / 10 for k in range(24)]
    (leak,) = leaks(outcome_of("category", [int(value < -30) for value in change]), conditions_of(change=change))
    assert "'change'" in leak and "its limits say the category, in 24 cases" in leak
    swapped = [int(k in (0, 1, 2, 3, 4, 5, 6, 9)) for k in range(24)]  # one case beyond the limit
    assert leaks(outcome_of("category", swapped), conditions_of(change=change)) == ()


def test_a_limit_that_separates_few_cases_is_no_leak():
    assert leaks(outcome_of("category", [0, 0, 0, 1, 1, 1]), conditions_of(age=[40.0, 41, 42, 60, 61, 62])) == ()


def test_a_rank_correlation_above_099_is_a_leak():
    times = [3.0, 5, 8, 13, 21, 34, 55, 89, 90, 95]
    days = [30.4 * time for time in times]
    (leak,) = leaks(outcome_of("survival", times, [True, False] * 5), conditions_of(days=days))
    assert "'days'" in leak and "rank correlation 1.000" in leak
    assert leaks(outcome_of("number", times), conditions_of(days=[*days[1:], days[0]])) == ()


def test_a_condition_that_says_who_dies_is_a_leak():
    events = [True, False] * 8
    (leak,) = leaks(outcome_of("survival", range(1, 17), events), conditions_of(x=["d" if e else "a" for e in events]))
    assert "whether the event happens" in leak


def test_verify_lists_faults_and_warnings_of_outcomes(raw):
    folder = raw(n_cases=3, conditions={"table": "clinical.csv"}, outcomes={"os": SURVIVAL})
    (folder / "clinical.csv").write_text("case,months,dead\ncase0,12,1\ncase1,-2,0\ncase2,4,1\n")
    assert any("negative times" in fault for fault in verify(folder).faults)
    (folder / "clinical.csv").write_text("case,months,dead\ncase0,12,1\ncase1,2,0\ncase2,4,1\n")
    report = verify(folder)
    assert report.faults == () and any("2 events, fewer than 10" in warning for warning in report.warnings)


def test_verify_refuses_a_leak_unless_it_is_allowed(raw):
    folder = raw(n_cases=16, conditions={"table": "clinical.csv", "columns": {"stage": {"kind": "category"}}},
                 outcomes={"response": {"kind": "category", "column": "CR"}})
    rows = [f"case{k},{'ab'[k % 2]},{k % 2}" for k in range(16)]
    (folder / "clinical.csv").write_text("\n".join(["case,stage,CR", *rows]) + "\n")
    assert any("function of the condition 'stage'" in fault for fault in verify(folder).faults)
    assert verify(folder, allow_outcomes=True).faults == ()


def test_outcomes_are_proposed_from_a_real_table_and_can_be_read(shared_data, tmp_path):
    source = shared_data / "Dataset010_STS"
    folder = tmp_path / "Dataset010_STS"
    folder.mkdir()
    for name in ("imagesTr", "labelsTr", "clinical.csv"):
        (folder / name).symlink_to(source / name)
    declared = json.loads((source / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(declared))
    found = describe_inputs(folder).block
    (name,) = found["outcomes"]
    assert found["outcomes"][name] == {
        "kind": "survival", "time": "Time – diagnosis to last follow-up (days)", "event": "Status (NED, AWD, D)",
        "event_values": {"AWD": 0, "D": 1, "NED": 0}}
    (folder / "dataset.json").write_text(json.dumps(declared | {"conditions": found["conditions"],
                                                                "outcomes": found["outcomes"]}))
    dataset = Dataset.open(folder)
    outcome = dataset.outcomes_of(dataset.names).outcomes[name]
    assert len(outcome.cases) == 31 and outcome.n_events == 10
