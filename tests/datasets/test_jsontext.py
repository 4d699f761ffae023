import json

import pytest

from autoseg.datasets.jsontext import parse

TEXT = '{\n  "a": [1, {"b": "x"}],\n  "c": {}\n}'


@pytest.mark.parametrize(("path", "place"), [
    ((), "line 1, column 1"), (("a",), "line 2, column 8"), (("a", 0), "line 2, column 9"),
    (("a", 1, "b"), "line 2, column 18"), (("c",), "line 3, column 8")])
def test_every_value_has_its_line_and_column(path, place):
    assert parse(TEXT).value(path) == place


@pytest.mark.parametrize(("path", "place"), [(("a",), "line 2, column 3"), (("a", 1, "b"), "line 2, column 13"),
                                             (("a", 0), "line 2, column 9")])
def test_a_key_has_its_own_place_and_an_entry_of_a_list_that_of_its_value(path, place):
    assert parse(TEXT).key(path) == place


def test_a_path_that_is_not_there_is_placed_at_what_would_hold_it():
    assert parse(TEXT).value(("c", "missing", 3)) == "line 3, column 8"


def test_the_data_are_those_of_json():
    text = ' {"nested": {"empty": [], "quote\\"d": -1.5e3, "no": null}, "list": [[], {}, true]} '
    assert parse(text).data == json.loads(text)


def test_a_repeated_key_is_noted_where_it_comes_again():
    located = parse('{"a": 1,\n "b": 2,\n "a": 3}')
    assert [(path, located.at(offset)) for path, offset in located.repeated] == [(("a",), "line 3, column 2")]


def test_the_same_key_of_two_objects_is_no_repetition():
    assert parse('{"a": {"x": 1}, "b": {"x": 1}}').repeated == []


@pytest.mark.parametrize("text", ["", "{", '{"a": 1,}', "[" * 100_000])
def test_what_is_not_json_is_a_decode_error(text):
    with pytest.raises(json.JSONDecodeError):
        parse(text)
