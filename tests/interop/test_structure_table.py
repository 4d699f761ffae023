"""Structures become labels by a small table; overlaps are settled by what people say, never by a guess."""

import json

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.interop.dicom_dataset.labels import CaseLabel, painted
from autoseg.interop.dicom_dataset.structures import (
    StructureTable,
    counted,
    parse_structures,
    read_structures,
    with_overlaps,
)


def row(text: str) -> np.ndarray:
    """A mask of one row: `.xx.` has two voxels."""
    return np.array([[[letter == "x" for letter in text]]])


def drawn(table: StructureTable, **masks: str) -> CaseLabel:
    """The label map of a case with these structures."""
    def mask_of(label: str) -> np.ndarray | None:
        own = [row(text) for name, text in masks.items() if table.label_of(name) == label]
        return np.any(own, axis=0) if own else None

    return painted(mask_of, table, (1, 1, len(next(iter(masks.values())))))


def values(table: StructureTable, **masks: str) -> list[int]:
    return drawn(table, **masks).label_DHW[0, 0].tolist()


def test_names_are_compared_without_case_white_space_and_underscores():
    table = parse_structures(["GTV_Mass=tumour"])
    assert [table.label_of(name) for name in ("gtv mass", "GTVMASS ", "GTV_Mass", "GTV_Mass_CT")] == ["tumour"] * 3 + [None]


def test_a_star_stands_for_any_text_and_a_full_name_comes_first():
    table = parse_structures(["GTV*=tumour", "GTV_LN=node"])
    assert table.label_of("GTV_Mass_CT") == "tumour" and table.label_of("gtv ln") == "node"


def test_a_structure_that_fits_two_labels_is_a_question():
    table = parse_structures(["GTV*=tumour", "*LN=node"])
    with pytest.raises(UserError, match="fits two labels.*tumour and node"):
        table.label_of("GTV_LN")


def test_a_text_without_a_label_keeps_the_name_of_the_structure():
    table = parse_structures(["liver", "Tumor=lesion", "Met=lesion"])
    assert table.labels == {"liver": ("liver",), "lesion": ("Tumor", "Met")}


@pytest.mark.parametrize("text", ["=tumour", "GTV=", ""])
def test_half_a_rule_is_refused(text):
    with pytest.raises(UserError, match="a structure and its label are expected"):
        parse_structures([text])


def test_the_table_of_a_csv_and_of_a_json_say_the_same(tmp_path):
    (tmp_path / "s.csv").write_text("structure,label\nGTV,tumour\nGTV 1,tumour\nHeart,heart\n")
    (tmp_path / "s.json").write_text(json.dumps({"labels": {"tumour": ["GTV", "GTV 1"], "heart": "Heart"}}))
    assert read_structures(tmp_path / "s.csv") == read_structures(tmp_path / "s.json")


@pytest.mark.parametrize(("name", "text", "said"), [
    ("s.csv", "name,label\nGTV,tumour\n", "lacks a column"),
    ("s.csv", "structure,label\nGTV,\n", "line 2: a row names a structure or a label"),
    ("s.csv", "structure,label\nGTV,tumour\ngtv,node\n", "of two labels"),
    ("s.json", "[1]", "no JSON object"),
    ("s.json", '{"labels": {"tumour": ["GTV"]}, "priority": ["tumor"]}', "did you mean 'tumour'"),
    ("s.json", '{"labels": {"background": ["GTV"]}}', "cannot be called 'background'"),
    ("s.json", '{"labels": {"tumour": ["GTV"]}, "regions": ["tumour"]}', "two labels or more"),
    ("s.json", '{"labels": {}}', "labels")])
def test_a_wrong_table_is_a_sentence(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=said):
        read_structures(tmp_path / name)


def test_several_structures_of_one_label_are_joined():
    assert values(parse_structures(["a=node", "b=node"]), a="xx..", b="..x.") == [1, 1, 1, 0]


def test_labels_that_overlap_are_a_question_with_both_answers():
    with pytest.raises(UserError, match="'heart' and 'tumour' overlap.*1 voxels.*--priority tumour,heart.*--regions"):
        values(parse_structures(["heart", "GTV=tumour"]), heart="xx..", GTV=".xx.")


def test_the_label_of_higher_priority_is_kept():
    table = parse_structures(["heart", "GTV=tumour"])
    assert values(with_overlaps(table, "tumour,heart", None), heart="xx..", GTV=".xx.") == [1, 2, 2, 0]
    assert values(with_overlaps(table, "heart,tumour", None), heart="xx..", GTV=".xx.") == [1, 1, 2, 0]
    assert values(with_overlaps(table, "tumour", None), heart="xx..", GTV=".xx.") == [1, 2, 2, 0]


def test_nested_labels_become_regions_of_which_the_outer_one_holds_all():
    table = with_overlaps(parse_structures(["GTV", "CTV", "cord"]), None, "CTV,GTV")
    assert values(table, GTV="..x..", CTV=".xxx.", cord="....x") == [0, 1, 2, 1, 3]
    assert table.declared() == {"labels": {"background": 0, "CTV": [1, 2], "GTV": 2, "cord": 3},
                                "regions_class_order": [1, 2, 3]}


def test_an_inner_label_that_leaves_the_outer_one_is_told():
    table = with_overlaps(parse_structures(["GTV", "CTV"]), None, "CTV,GTV")
    label = drawn(table, GTV="xx..", CTV=".xx.")
    assert label.label_DHW[0, 0].tolist() == [2, 2, 1, 0]
    assert label.warnings == ("50% of 'GTV' lies outside 'CTV', and counts as 'CTV', too",)


def test_a_structure_without_voxels_was_not_annotated():
    label = drawn(parse_structures(["GTV", "heart"]), GTV="x.", heart="..")
    assert label.present == ("GTV",)
    with pytest.raises(UserError, match="no chosen structure has a voxel"):
        values(parse_structures(["heart"]), heart="..", GTV="x.")


def test_structures_are_counted_per_case_by_their_usual_spelling():
    rows = counted({"a": ["GTV", "Heart"], "b": ["GTV", "gtv "], "c": ["gtv"], "d": ["GTV"]})
    assert rows == [("GTV", 4), ("Heart", 1)]
