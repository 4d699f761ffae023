"""Parts by name: their options, what they can do, and how they are made."""

import pytest

from planners.registry import NoTraits, Registry
from planners.schema.base import Frozen, Part


class Traits(Frozen):
    careful: bool = False
    copies: int = 2


class Options(Frozen):
    factor: int = 3


def registry() -> Registry:
    parts = Registry("part", Traits)
    parts.register("product", Options, careful=True)(lambda options, context: options.factor * context)
    parts.register("silent")(lambda options, context: context)
    return parts


def test_a_part_is_made_of_its_options_and_of_what_its_kind_is_told():
    assert registry().make(Part(name="product"), 5) == 15
    assert registry().make(Part(name="product", options={"factor": 4}), 5) == 20


def test_a_part_that_states_no_traits_has_the_defaults():
    assert registry().traits("product") == Traits(careful=True, copies=2)
    assert registry().traits("silent") == Traits()


def test_a_name_that_is_not_registered_has_the_defaults_too():
    assert registry().traits("of a plug-in") == Traits()


def test_an_unknown_trait_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValueError, match=r"part 'mine' states an unknown trait 'carefull'; known: careful, copies"):
        registry().register("mine", carefull=True)
    with pytest.raises(ValueError, match="known: none"):
        Registry("planner", NoTraits).register("mine", careful=True)


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="part 'silent' is registered twice"):
        registry().register("silent")(lambda options, context: context)


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(KeyError, match=r"unknown part 'silence' \(did you mean 'silent'\?\); known: product, silent"):
        registry().make(Part(name="silence"), 1)


def test_a_wrong_option_is_refused():
    with pytest.raises(ValueError, match="Extra inputs"):
        registry().make(Part(name="product", options={"width": 1}), 1)
