"""The coded concepts of structures."""

import pytest

from autoseg.formats.segments.concepts import SCHEME, Code, concept_of, concept_table


@pytest.mark.parametrize("name", ["kidney_left", "left kidney", "Left-Kidney", "Kidney L"])
def test_a_side_is_a_code_of_its_own(name):
    concept = concept_of(name)
    assert concept.kind == Code("64033007", "Kidney")
    assert concept.side == Code("7771000", "Left")


def test_other_names_of_a_structure_have_its_code():
    assert concept_of("Tumor") == concept_of("tumour") == concept_of("GTV")
    assert concept_of("tumour").category.meaning == "Morphologically Abnormal Structure"
    assert concept_of("vertebrae_L3").kind.meaning == "L3 vertebra"


def test_a_side_that_belongs_to_the_name_is_no_side():
    assert concept_of("left ventricle").side is None
    assert concept_of("heart_ventricle_left").kind.meaning == "Left ventricle"


def test_a_name_that_is_not_known_is_an_anatomical_structure():
    concept = concept_of("left something")
    assert concept.kind == concept.category == Code("91723000", "Anatomical Structure")
    assert concept.side is None


def test_codes_and_their_meanings_are_those_of_dicom():
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts[SCHEME]
    known = {code for values in concepts.values() for code in values}
    table = concept_table()
    codes = {code for code, _ in [*table.categories.values(), *table.laterality.values()]}
    assert codes | {code for _, code, _ in table.structures.values()} <= known
    assert {kind for kind, _, _ in table.structures.values()} == set(table.categories)
    assert set(table.other_names.values()) <= set(table.structures)
