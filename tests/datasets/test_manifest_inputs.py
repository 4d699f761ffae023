"""What dataset.json declares beside images and labels."""

import json
import logging
from pathlib import Path

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import parse_manifest

PATH = Path("dataset.json")
PLAIN = {"channel_names": {"0": "CT", "1": "PET", "2": "MR"}, "labels": {"background": 0, "liver": 1, "spleen": 2},
         "file_ending": ".nii.gz"}


def parsed(**keys):
    """The manifest of a sound file, in which no condition looks like an outcome."""
    declared = parse_manifest(json.dumps(PLAIN | keys, indent=1), PATH)
    assert declared.outcomes == ()
    return declared.manifest


def only_fault(**keys) -> str:
    with pytest.raises(UserError) as raised:
        parse_manifest(json.dumps(PLAIN | keys, indent=1), PATH)
    assert str(raised.value).startswith("dataset.json, line ")
    return str(raised.value)


def only_outcome(**keys) -> str:
    (sentence,) = parse_manifest(json.dumps(PLAIN | keys, indent=1), PATH).outcomes
    assert sentence.startswith("dataset.json, line ")
    return sentence


def columns(**specs):
    return {"conditions": {"table": "clinical.csv", "columns": specs}}


def alignment(**keys):
    return [(c.name, c.required, c.reference, c.registration) for c in parsed(**keys).channels]


def test_without_a_reference_every_channel_must_lie_on_one_grid():
    assert alignment() == [("CT", True, False, "none"), ("PET", True, False, "none"), ("MR", True, False, "none")]


def test_with_a_reference_the_other_channels_are_regridded_unless_said_otherwise():
    assert alignment(reference_channel="CT", optional_channels=["PET", "MR"], registration={"MR": "deformable"}) == [
        ("CT", True, True, "none"), ("PET", False, False, "regrid"), ("MR", False, False, "deformable")]


def test_a_channel_that_must_lie_on_the_references_grid_can_say_so():
    assert alignment(reference_channel="CT", registration={"PET": "none"})[1] == ("PET", True, False, "none")


@pytest.mark.parametrize(("keys", "match", "pattern"), [
    ({}, "exact", ""), ({"match": "prefix"}, "prefix", ""), ({"match": "pattern", "pattern": "^0*([0-9]+)$"}, "pattern",
                                                             "^0*([0-9]+)$")])
def test_a_table_says_how_its_rows_belong_to_cases(keys, match, pattern):
    table = parsed(conditions={"table": "clinical.csv", **keys}).conditions
    assert (table.match, table.pattern) == (match, pattern)


@pytest.mark.parametrize(("keys", "words"), [
    ({"match": "suffix"}, "'exact', 'prefix' or 'pattern'"), ({"match": "pattern"}, "belong together"),
    ({"pattern": "(a)"}, "belong together"),
    ({"match": "pattern", "pattern": "(a"}, "'pattern' is not a regular expression"),
    ({"match": "pattern", "pattern": "a"}, "'pattern' has 0 groups in parentheses, and needs one"),
    ({"match": "pattern", "pattern": "(a)(b)"}, "'pattern' has 2 groups"), ({"match": "prefix", "table": ""}, "no 'table'"),
    ({"match": "pattern", "pattern": 3}, "string")])
def test_a_match_that_cannot_be_made_is_refused(keys, words):
    assert words in only_fault(conditions={"table": "clinical.csv"} | keys)


def region_faults(labels, order):
    text = json.dumps(PLAIN | {"labels": {"background": 0, **labels}, "regions_class_order": order}, indent=1)
    return parse_manifest(text, PATH).region_faults


def test_regions_that_can_be_written_are_no_fault():
    assert region_faults({"WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, [1, 2, 3]) == ()
    assert parse_manifest(json.dumps(PLAIN), PATH).region_faults == ()


@pytest.mark.parametrize(("labels", "order", "words"), [
    ({"WT": [1, 2, 3, 4], "TC": [1, 2, 3], "ET": 1}, [1, 2, 3],
     "'regions_class_order' can never be right (found: [1, 2, 3] paints 3 where 'ET' is, of which the values are 1; "
     "expected: [4, 2, 1] for WT, TC, ET)"),
    ({"ET": 3, "WT": [1, 2, 3]}, [3, 1],
     "[3, 1] paints 1 (WT) where the label is 3 (ET, WT) and the prediction is perfect, since later regions cover earlier "
     "ones; expected: [1, 3] for WT, ET, and the labels declared in this order"),
    ({"a": [1, 2], "b": [2, 3]}, [1, 3], "declare what a and b share (2) as a region of its own, after them"),
    ({"a": [0, 1], "b": 1}, [1, 1], "the region 'a' holds 0, which is the background"),
    ({"a": 0, "b": [1, 2]}, [1], "the region 'a' holds 0, which is the background"),
    ({"a": [1, 2], "b": 2, "ignore": 3}, [1, 3], "paints 3 where 'b' is")])
def test_regions_that_even_a_perfect_prediction_cannot_be_written_as_are_told(labels, order, words):
    (sentence,) = region_faults(labels, order)
    assert sentence.startswith("dataset.json, line ") and words in sentence


def test_an_order_without_regions_has_no_effect_and_is_told(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    assert parsed(regions_class_order=[1, 2]).labels.region_order is None
    assert "'regions_class_order' has no effect" in caplog.text


def test_a_date_is_refused_with_the_reason():
    fault = only_fault(**columns(scanned={"kind": "date"}))
    assert "a date cannot condition a model" in fault and "such as the age" in fault


@pytest.mark.parametrize("name", ["Outcome", "vital status", "Status (NED, AWD, D)", "overallSurvival", "OS", "os_months",
                                  "PFS24", "TTP", "recurrence", "cause of death", "last follow-up", "Treatment", "response",
                                  "Überleben", "pCR", "days to progression"])
def test_a_column_named_like_an_outcome_is_refused(name):
    fault = only_outcome(**columns(**{name: {"kind": "number"}}))
    assert f"an outcome as a condition: {name!r}" in fault and "--allow-outcome-conditions" in fault
    assert "line 16, column 4" in fault  # of the name


@pytest.mark.parametrize("name", ["dosage", "position", "costs", "ECOG status", "HER2 status", "prior treatment",
                                  "pre-treatment PSA", "correspondence", "Time – diagnosis to MRI scan", "Grade"])
def test_a_column_that_only_resembles_an_outcome_is_none(name):
    assert parsed(**columns(**{name: {"kind": "number"}})).conditions.specs[0].name == name


def test_a_column_that_is_known_later_is_an_outcome():
    fault = only_outcome(**columns(margin={"kind": "category", "available_at": "surgery"}))
    assert "an outcome as a condition: 'margin' is not known when the patient is scanned (found: 'surgery'" in fault


def test_baseline_may_be_written_in_capitals():
    (spec,) = parsed(**columns(age={"kind": "number", "available_at": "Baseline"})).conditions.specs
    assert spec.available_at == "baseline"


def test_vectors_named_like_an_outcome_are_refused():
    assert "an outcome as a condition: 'survival'" in only_outcome(conditions={"vectors": {"survival": "v"}})


def test_outcomes_are_read_and_refused_only_by_who_asks(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(PLAIN | columns(OS={"kind": "number", "available_at": "end"})))
    dataset = Dataset.open(tmp_path)
    assert dataset.manifest.conditions.specs[0].name == "OS"
    with pytest.raises(UserError, match="line 1, column .*: an outcome as a condition"):
        dataset.refuse_outcomes()


def test_several_outcomes_are_refused_together(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(PLAIN | columns(OS={"kind": "number"}, died={"kind": "category"})))
    with pytest.raises(ManyFaults, match="2 faults found"):
        Dataset.open(tmp_path).refuse_outcomes()


def test_without_outcomes_nothing_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(PLAIN | columns(age={"kind": "number"})))
    dataset = Dataset.open(tmp_path)
    dataset.refuse_outcomes()
    assert dataset.outcomes == ()


@pytest.mark.parametrize(("conditions", "words"), [
    ({"table": "t.csv", "id": "case", "columns": {"case": {"kind": "category"}}}, "'case' names the cases"),
    ({"table": "t.csv", "columns": {"e": {"kind": "ordinal", "order": ["1", "1"]}}}, "listed twice under 'order'"),
    ({"table": "t.csv", "columns": {"e": {"kind": "category", "transform": "log"}}}, "only a number can be transformed"),
    ({"table": "t.csv", "columns": {"rna": {"kind": "number"}}, "vectors": {"rna": "v"}}, "share a name"),
])
def test_a_wrong_condition_is_a_fault_with_its_place(conditions, words):
    assert words in only_fault(conditions=conditions)


def test_the_labels_of_partly_annotated_cases_are_listed_in_the_labels_order():
    manifest = parsed(labels_present={"a": ["spleen", "liver"], "b": ["spleen"]})
    assert manifest.labels_present == {"a": ("liver", "spleen"), "b": ("spleen",)}
    assert parsed().labels_present is None and parsed().labels_present_column == ""


def test_the_labels_of_partly_annotated_cases_may_be_in_a_column():
    manifest = parsed(conditions={"table": "t.csv"}, labels_present={"column": "annotated"})
    assert manifest.labels_present is None and manifest.labels_present_column == "annotated"


def test_a_case_may_be_called_column():
    assert parsed(labels_present={"column": ["liver"]}).labels_present == {"column": ("liver",)}


@pytest.mark.parametrize(("value", "words"), [
    ({"a": ["lever"]}, "unknown foreground label 'lever', did you mean 'liver'?"),
    ({"a": ["background"]}, "unknown foreground label 'background'"),
    ({"a": []}, "the labels of case 'a' are not a list of names"),
    ({"a": "liver"}, "the labels of case 'a' are not a list of names"),
    (["a"], "'labels_present' is not an object"),
    ({"column": "annotated"}, "'labels_present' names a column, but there is no table"),
])
def test_wrong_names_of_annotated_labels_are_a_fault_with_their_place(value, words):
    assert words in only_fault(labels_present=value)


def test_an_unknown_key_beside_the_column_is_a_fault():
    assert "unknown key 'sep'" in only_fault(conditions={"table": "t.csv"}, labels_present={"column": "x", "sep": ";"})
