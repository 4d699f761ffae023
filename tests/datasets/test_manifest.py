import json
import logging
from pathlib import Path

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.manifest import ConditionTable, Groups, parse_manifest

PATH = Path("dataset.json")
PLAIN = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "numTraining": 2,
         "file_ending": ".nii.gz"}


def parsed(**keys):
    """The manifest of a sound file with other keys; None leaves a key out."""
    content = {key: value for key, value in (PLAIN | keys).items() if value is not None}
    return parse_manifest(json.dumps(content, indent=1), PATH).manifest


def faults_of(text=None, **keys) -> list[str]:
    if text is None:
        text = json.dumps({key: value for key, value in (PLAIN | keys).items() if value is not None}, indent=1)
    with pytest.raises((UserError, ManyFaults)) as raised:
        parse_manifest(text, PATH)
    return list(getattr(raised.value, "faults", (str(raised.value),)))


def only_fault(text=None, **keys) -> str:
    faults = faults_of(text, **keys)
    assert len(faults) == 1, faults
    return faults[0]


def test_a_file_of_nnunet_is_read_as_it_is():
    manifest = parsed(channel_names={"1": "PET", "0": "CT"}, reference="somewhere", licence="CC0", release="1.0",
                      tensorImageSize="3D", overwrite_image_reader_writer="SimpleITKIO", description="two channels")
    assert [channel.name for channel in manifest.channels] == ["CT", "PET"]
    assert manifest.labels.names == {"background": (0,), "liver": (1,)}
    assert (manifest.file_ending, manifest.n_training, manifest.description) == (".nii.gz", 2, "two channels")
    assert manifest.cases is None


def test_plain_labels_are_sorted_by_value_and_may_have_gaps():
    labels = parsed(labels={"b": 117, "background": 0, "a": 3}).labels
    assert list(labels.names.items()) == [("background", (0,)), ("a", (3,)), ("b", (117,))]
    assert not labels.has_regions


def test_regions_keep_the_order_in_which_they_are_painted():
    labels = parsed(labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
                    regions_class_order=[1, 2, 3]).labels
    assert labels.foreground == ("whole", "core", "enhancing")
    assert labels.names["whole"] == (1, 2, 3) and labels.names["enhancing"] == (3,)
    assert labels.region_order == (1, 2, 3)


def test_the_ignore_label_is_no_class():
    labels = parsed(labels={"background": 0, "liver": 1, "ignore": 2}).labels
    assert labels.ignore == 2 and labels.foreground == ("liver",) and labels.values == (0, 1, 2)


def test_channels_may_be_optional():
    channels = parsed(channel_names={"0": "CT", "1": "PET"}, optional_channels=["PET"]).channels
    assert [channel.required for channel in channels] == [True, False]


def test_all_keys_of_the_design_are_typed():
    manifest = parsed(
        channel_names={"0": "CT_arterial", "1": "MR_T1"}, reference_channel="CT_arterial",
        registration={"MR_T1": "rigid"}, groups={"patient": "patient_id", "site": "hospital"},
        labels={"background": 0, "kidney_left": 1, "kidney_right": 2}, paired_labels=[["kidney_left", "kidney_right"]],
        conditions={"table": "clinical.csv", "id": "case", "vectors": {"rna": "vectors/rna"},
                    "tokens": {"histology": "tokens/histology"},
                    "columns": {"afp": {"kind": "number", "transform": "log"}, "sex": {"kind": "category"},
                                "ecog": {"kind": "ordinal", "order": ["0", "1"]}}})
    assert [(c.name, c.reference, c.registration) for c in manifest.channels] == [
        ("CT_arterial", True, "none"), ("MR_T1", False, "rigid")]
    assert manifest.groups == Groups(patient="patient_id", site="hospital")
    assert manifest.labels.paired == (("kidney_left", "kidney_right"),)
    assert [(spec.name, spec.kind) for spec in manifest.conditions.specs] == [
        ("afp", "number"), ("sex", "category"), ("ecog", "ordinal"), ("rna", "vector"), ("histology", "tokens")]
    assert manifest.conditions.specs[0].transform == "log"
    assert manifest.conditions.specs[2].order == ("0", "1")
    assert manifest.conditions.specs[3].folder == "vectors/rna"
    assert parsed().conditions == ConditionTable()


def test_listed_cases_are_read_with_their_environment_variables(monkeypatch):
    monkeypatch.setenv("IMAGES", "/data")
    cases = parsed(dataset={"b": {"images": ["b.nii.gz", None], "label": "lb.nii.gz"},
                            "a": {"images": ["$IMAGES/a.nii.gz"], "label": "la.nii.gz"}}).cases
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].images == ("/data/a.nii.gz",) and cases[1].images == ("b.nii.gz", None)


def test_the_fault_is_at_the_line_and_column_of_the_value():
    text = '{"channel_names": {"0": "CT"},\n "labels": {"background": 0,\n   "liver": 1.5},\n "file_ending": ".nii.gz"}'
    fault = only_fault(text)
    assert fault.startswith("dataset.json, line 3, column 13: the value of label 'liver' is not an integer")
    assert "found: 1.5" in fault


def test_all_faults_are_told_at_once():
    faults = faults_of(labels={"background": 0, "a": "x"}, file_ending=".nii.gzz", numTraining="two")
    assert len(faults) == 3
    assert any("label 'a'" in fault for fault in faults)
    assert any("did you mean '.nii.gz'?" in fault for fault in faults)
    assert any("'numTraining' is not a number of cases" in fault for fault in faults)


def test_a_repeated_key_is_a_fault():
    fault = only_fault(json.dumps(PLAIN)[:-1] + ',\n"numTraining": 3}')
    assert fault == "dataset.json, line 2, column 1: the key 'numTraining' is given twice; remove one of them"


def test_a_near_miss_of_a_key_is_a_fault():
    assert "unknown key 'paired_label', did you mean 'paired_labels'?" in only_fault(paired_label=[])


def test_another_unknown_key_is_only_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        parsed(my_own_note=1)
    assert "'my_own_note' is not known" in caplog.text and "line 11, column 2" in caplog.text


def test_labels_of_the_first_version_are_shown_as_the_second_wants_them():
    fault = only_fault(labels={"0": "background", "1": "liver"})
    assert 'write "labels": {"background": 0, "liver": 1}' in fault


def test_modality_of_the_first_version_is_named_as_such():
    assert "'modality' is a key of nnU-Net v1 (expected: 'channel_names')" in only_fault(
        channel_names=None, modality={"0": "CT"})


@pytest.mark.parametrize(("keys", "words"), [
    ({"channel_names": None}, "the key 'channel_names' is missing"),
    ({"channel_names": {}}, "'channel_names' is not an object with one entry per channel"),
    ({"channel_names": {"1": "CT"}}, "not the channels' numbers (found: '1'; expected: \"0\")"),
    ({"channel_names": {"0": ""}}, "the name of channel 0 is not a text"),
    ({"optional_channels": "CT"}, "'optional_channels' is not a list"),
    ({"optional_channels": ["ct"]}, "unknown channel 'ct', did you mean 'CT'?"),
    ({"channel_names": {"0": "A", "1": "A"}, "optional_channels": ["A"]}, "2 channels are called 'A'"),
    ({"labels": None}, "the key 'labels' is missing"),
    ({"labels": ["liver"]}, "'labels' is not an object"),
    ({"labels": {"liver": 1, "fat": 2}}, "the label 'background' is missing"),
    ({"labels": {"background": 1, "liver": 2}}, "'background' is not 0"),
    ({"labels": {"background": 0}}, "no label beside the background"),
    ({"labels": {"background": 0, "a": True}}, "the value of label 'a' is not an integer (found: True"),
    ({"labels": {"background": 0, "a": -1}}, "label 'a' is out of range (found: -1; expected: 0 to 32767)"),
    ({"labels": {"background": 0, "a": 40000}}, "out of range (found: 40000"),
    ({"labels": {"background": 0, "a": []}}, "the region 'a' is empty"),
    ({"labels": {"background": 0, "a": 1, "b": 1}}, "labels 'a' and 'b' have the same value"),
    ({"labels": {"background": 0, "a": 2, "ignore": 1}}, "the label 'ignore' is not the highest value"),
    ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, "the label 'ignore' is not the highest value"),
    ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "'regions_class_order' is missing"),
    ({"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1]}, "does not fit the regions"),
    ({"paired_labels": [["liver", "lever"]]}, "unknown label 'lever', did you mean 'liver'?"),
    ({"paired_labels": [["liver"]]}, "a pair of labels is not two names"),
    ({"paired_labels": [["liver", "liver"]]}, "a label is paired twice"),
    ({"file_ending": None}, "the key 'file_ending' is missing"),
    ({"file_ending": "nii.gz"}, "the file ending is not known, did you mean '.nii.gz'?"),
    ({"numTraining": -1}, "'numTraining' is not a number of cases"),
    ({"reference_channel": "MR"}, "unknown channel 'MR'"),
    ({"registration": {"MR": "rigid"}}, "unknown channel 'MR'"),
    ({"registration": {"CT": "rigid"}}, "the reference channel cannot be registered to itself"),
    ({"channel_names": {"0": "CT", "1": "MR"}, "registration": {"MR": "rgid"}}, "'rigid', 'affine' or 'deformable'"),
    ({"channel_names": {"0": "CT", "1": "MR"}, "reference_channel": "MR", "registration": {"MR": "rigid"}},
     "the reference channel cannot be registered to itself"),
    ({"channel_names": {"0": "CT", "1": "MR"}, "registration": {"MR": "rigid"}}, "a reference, but none is named"),
    ({"channel_names": {"0": "CT", "1": "MR"}, "reference_channel": "CT", "optional_channels": ["CT"]},
     "the reference channel 'CT' is optional"),
    ({"channel_names": {"0": "CT", "1": "CT"}, "reference_channel": "CT"}, "2 channels are called 'CT'"),
    ({"conditions": {"columns": {"age": {"kind": "number"}}}}, "'columns' need the file that holds them"),
    ({"conditions": {"table": "t.csv", "columns": {"age": {"kind": "num"}}}}, "'number', 'category' or 'ordinal'"),
    ({"conditions": {"table": "t.csv", "columns": {"e": {"kind": "ordinal"}}}}, "an ordinal column, and no other"),
    ({"conditions": {"table": "t.csv", "colums": {}}}, "unknown key 'colums'"),
    ({"groups": {"patient": "p"}}, "'groups' names columns, but there is no table"),
    ({"dataset": {"a": {"images": ["a.nii.gz"]}}}, "Field required"),
    ({"name": 3}, "'name' is not a text"),
])
def test_a_wrong_key_is_one_fault_with_its_place(keys, words):
    fault = only_fault(**keys)
    assert words in fault
    assert fault.startswith("dataset.json, line ")


@pytest.mark.parametrize("text", ["[]", "3", '"text"', "null"])
def test_a_file_that_is_no_object_is_a_fault(text):
    assert "the file is not a JSON object" in only_fault(text)


def test_malformed_json_is_told_with_its_place():
    assert only_fault('{"a": 1,\n "b" 2}').startswith("dataset.json, line 2, column 6: the file is not valid JSON")


def test_a_missing_file_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match=r"dataset.json: the file is missing"):
        Dataset.open(tmp_path)


def test_a_missing_folder_is_a_users_error(tmp_path):
    with pytest.raises(UserError, match="the dataset's folder is missing"):
        Dataset.open(tmp_path / "nowhere")


def test_reading_raises_all_faults(tmp_path):
    (tmp_path / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    with pytest.raises(ManyFaults) as raised:
        Dataset.open(tmp_path)
    assert len(raised.value.faults) == 2


@pytest.mark.parametrize("dataset", ["Dataset004_Hippocampus", "Dataset010_STS", "Dataset020_Membrane"])
def test_real_datasets_are_read(shared_data, dataset):
    manifest = read_manifest(shared_data / dataset)
    assert manifest.n_training in (200, 31, 20)
    assert manifest.labels.names["background"] == (0,)


@pytest.mark.parametrize("name", ["dataset.json", "labels_of_site_b.json"])
def test_a_folder_or_the_file_itself_can_be_named(tmp_path, name):
    (tmp_path / name).write_text(json.dumps(PLAIN))
    assert read_manifest(tmp_path / name).labels.foreground == ("liver",)
    if name == "dataset.json":
        assert read_manifest(tmp_path) == read_manifest(tmp_path / name)
