"""The key `preprocess` of dataset.json: what it accepts, and what it says of anything else."""

import json
from pathlib import Path

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.manifest import Manifest, parse_manifest
from planners.schema.base import Part

COLOURS = {"0": "rgb_to_0_1", "1": "rgb_to_0_1", "2": "rgb_to_0_1"}


def parsed(preprocess, channels=COLOURS, **keys) -> Manifest:
    content = {"channel_names": channels, "labels": {"background": 0, "nucleus": 1}, "file_ending": ".png",
               "preprocess": preprocess} | keys
    return parse_manifest(json.dumps(content, indent=1), Path("dataset.json")).manifest


@pytest.mark.parametrize(("given", "part"), [
    ("macenko", Part(name="macenko")), ({"name": "macenko"}, Part(name="macenko")), ("none", Part(name="none")),
    ({"name": "macenko", "options": {"light": 245, "eosin": [0.1, 0.9, 0.3]}},
     Part(name="macenko", options={"light": 245, "eosin": [0.1, 0.9, 0.3]}))])
def test_a_name_alone_or_with_options_is_read(given, part):
    assert parsed(given).preprocess == part


def test_nothing_declared_is_none():
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    assert parse_manifest(json.dumps(content), Path("dataset.json")).manifest.preprocess == Part(name="none")


@pytest.mark.parametrize(("given", "channels", "keys", "words"), [
    ("macenco", COLOURS, {}, ("unknown preprocessor 'macenco'", "did you mean 'macenko'", "macenko, none", "line")),
    (True, COLOURS, {}, ("neither a name", '"macenko"')),
    ({"name": "macenko", "option": {}}, COLOURS, {}, ("neither a name", "option")),
    ({"name": "macenko", "options": {"lihgt": 3}}, COLOURS, {}, ("options of preprocessor 'macenko'", "lihgt", "light")),
    ({"name": "macenko", "options": {"eosin": [0.5626, 0.7201, 0.4062]}}, COLOURS, {}, ("cannot be separated",)),
    ("macenko", {"0": "CT"}, {}, ("cannot work", "1 channel: 'CT' (ct)", "3 channels of modality rgb", "rgb_to_0_1")),
    ("macenko", {"0": "rgb", "1": "rgb"}, {}, ("2 channels", "3 channels of modality rgb")),
    ("macenko", COLOURS | {"3": "rgb"}, {}, ("4 channels", "3 channels of modality rgb")),
    ("macenko", {"0": "R", "1": "G", "2": "B"}, {}, ("'R' (other)", "3 channels of modality rgb")),
    ("macenko", {"0": "rgb_to_0_1", "1": "RGB to 0 1", "2": "rgb"}, {"optional_channels": ["rgb"]},
     ("'rgb' is optional", "which every case has"))])
def test_anything_else_is_one_fault_that_says_what_is_expected(given, channels, keys, words):
    with pytest.raises((UserError, ManyFaults)) as raised:
        parsed(given, channels, **keys)
    assert len(getattr(raised.value, "faults", [""])) == 1
    for word in words:
        assert word in str(raised.value)
