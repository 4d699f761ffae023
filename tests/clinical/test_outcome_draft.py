"""Outcomes that are proposed from the names and cells of columns."""

from autoseg.clinical.columns import Column
from autoseg.clinical.outcome_draft import draft_outcomes


def column(name, *cells, times=3) -> Column:
    return Column(name, cells * times, len(cells) * times)


def test_times_and_events_of_one_abbreviation_are_one_survival():
    found = draft_outcomes([column("OS_months", "12.5", "3", "40"), column("PFS_months", "2", "3", "9"),
                            column("PFS_event", "0", "1", "1"), column("OS_event", "1", "0", "0"),
                            column("age", "60", "70", "80")])
    assert found == {"pfs": {"kind": "survival", "time": "PFS_months", "event": "PFS_event"},
                     "os": {"kind": "survival", "time": "OS_months", "event": "OS_event"}}


def test_words_of_a_status_are_given_their_meaning():
    found = draft_outcomes([column("vital status", "Alive", "Dead", "Alive"),
                            column("days to last contact", "9", "10", "11")])
    assert found == {"survival": {"kind": "survival", "time": "days to last contact", "event": "vital status",
                                  "event_values": {"Alive": 0, "Dead": 1}}}


def test_a_status_of_unknown_words_is_a_category():
    assert draft_outcomes([column("response", "CR", "PR", "SD")]) == {"response": {"kind": "category", "column": "response"}}


def test_a_change_after_treatment_is_a_number_and_a_treatment_is_no_outcome():
    found = draft_outcomes([column("posttreatment volume change", *[f"{k}.5" for k in range(9)]),
                            column("Treatment", "surgery", "none")])
    assert found == {"posttreatment_volume_change": {"kind": "number", "column": "posttreatment volume change"}}


def test_a_category_that_one_case_has_is_not_proposed():
    assert draft_outcomes([column("response", "CR", "PR", "SD", times=1)]) == {}


def test_columns_that_are_known_before_are_no_outcomes():
    assert draft_outcomes([column("age", "60", "70", "80"), column("ECOG status", "0", "1", "2")]) == {}
