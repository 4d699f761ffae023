"""Which modality a case has in a channel that holds several: declared, read from the table, said at prediction."""

import json
from pathlib import Path

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.digests import case_digest
from autoseg.datasets.integrity import verify
from autoseg.datasets.measure import measure
from autoseg.datasets.modalities import modalities_to_predict
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionTable

CHANNELS = (ChannelSpec(name="image"),)
COLUMNS = {"image": "modality"}
TABLE = ConditionTable(table="clinical.csv")


def manifest(tmp_path, **keys):
    (tmp_path / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "image"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz",
        "conditions": {"table": "clinical.csv"}} | keys))
    return read_manifest(tmp_path)


def mixed(raw, table, **keys):
    """A raw dataset of four cases whose only channel has the modality that a table says."""
    folder = raw(n_cases=4, channel_names={"0": "image"}, conditions={"table": "clinical.csv"}, modality_column="modality",
                 **keys)
    (folder / "clinical.csv").write_text(table)
    return folder


def to_predict(folder: Path, said: str = "", table: Path | None = None):
    cases = [CaseFiles(name, (folder / f"{name}_0000.nii.gz",)) for name in ("a", "b")]
    return modalities_to_predict(cases, CHANNELS, COLUMNS, TABLE, folder=folder, table=table, said=said)


def test_a_text_is_the_column_of_the_only_channel(tmp_path):
    assert manifest(tmp_path).modality_columns == {}
    assert manifest(tmp_path, modality_column="modality").modality_columns == COLUMNS
    assert manifest(tmp_path, modality_column=COLUMNS).modality_columns == COLUMNS


@pytest.mark.parametrize(("keys", "fault"), [
    ({"modality_column": {"imag": "modality"}}, "unknown channel 'imag', did you mean 'image'"),
    ({"modality_column": {"image": 3}}, "the column of channel 'image' is not a text"),
    ({"modality_column": ["modality"]}, "does not say which column is of which channel"),
    ({"modality_column": "modality", "channel_names": {"0": "image", "1": "PET"}}, 'expected: {"image": "modality"}'),
    ({"modality_column": "modality", "conditions": {}}, "'modality_column' names a column, but there is no table"),
])
def test_a_wrong_declaration_is_a_fault_with_its_place(tmp_path, keys, fault):
    with pytest.raises(UserError, match="dataset.json, line 1") as error:
        manifest(tmp_path, **keys)
    assert fault in str(error.value)


def test_training_cases_have_the_modality_that_the_table_says(raw):
    folder = mixed(raw, "case,modality\ncase0,CT\ncase1,MRI\ncase2,T1w\ncase3,PT\n")
    assert [files.modalities for files in Dataset.open(folder).cases] == [("ct",), ("mr",), ("mr",), ("pet",)]


@pytest.mark.parametrize(("table", "faults"), [
    ("case,kind\ncase0,CT\n", ["there is no column 'modality'"]),
    ("case,modality\ncase0,CT\ncase1,--\ncase2,MR\n",
     ["the column 'modality' does not say the modality of 2 cases", "(case case1, line 3), case case3, no row"]),
    ("case,modality\ncase0,CT\ncase1,US\ncase2,PET/CT\ncase3,MR\n",
     ["modalities that are not known", "'US' (case case1, line 3), 'PET/CT' (case case2, line 4)", "expected: CT, MR, PET"]),
])
def test_what_the_table_does_not_say_is_a_fault_that_names_the_cases(raw, table, faults):
    folder = mixed(raw, table)
    with pytest.raises((UserError, ManyFaults)) as error:
        _ = Dataset.open(folder).cases
    reported = "\n".join(verify(folder).faults)
    for fault in faults:
        assert fault in str(error.value) and fault in reported


def test_a_channel_that_a_case_lacks_needs_no_modality(raw):
    folder = raw(n_cases=2, n_channels=2, channel_names={"0": "CT", "1": "extra"}, optional_channels=["extra"],
                 conditions={"table": "clinical.csv"}, modality_column={"extra": "modality"})
    (folder / "clinical.csv").write_text("case,modality\ncase0,MR\ncase1,\n")
    (folder / "imagesTr/case1_0001.nii.gz").unlink()
    assert [files.modalities for files in Dataset.open(folder).cases] == [("", "mr"), ("", "")]


def test_the_statistics_of_a_modality_are_of_its_cases_alone(raw):
    folder = mixed(raw, "case,modality\ncase0,CT\ncase1,MR\ncase2,CT\ncase3,MR\n")
    fingerprint = measure(Dataset.open(folder), "Dataset001_Tiny")
    (stats,) = fingerprint.intensities_of_modalities
    ct, mr = stats["ct"], stats["mr"]
    # Foreground voxels of case n are 1, 2 and 120, and 1000 times n.
    assert (ct.min, ct.max, mr.min, mr.max) == (1, 2120, 1001, 3120)
    assert (ct.mean, mr.mean) == (pytest.approx(1041), pytest.approx(2041))
    assert fingerprint.modality_columns == COLUMNS


def test_another_modality_is_another_case_and_another_dataset(raw):
    folder = mixed(raw, "case,modality\ncase0,CT\ncase1,MR\ncase2,CT\ncase3,MR\n")
    dataset = Dataset.open(folder)
    before = dataset.digest()
    (folder / "clinical.csv").write_text("case,modality\ncase0,MR\ncase1,MR\ncase2,CT\ncase3,MR\n")
    changed = Dataset.open(folder)
    assert changed.digest() != before
    same = [case_digest(old) == case_digest(new) for old, new in zip(dataset.cases, changed.cases, strict=True)]
    assert same == [False, True, True, True]


def test_at_prediction_the_table_beside_the_images_says_it_or_the_one_that_is_named(tmp_path):
    (tmp_path / "clinical.csv").write_text("case,modality\na,CT\nb,MR\n")
    assert [files.modalities for files in to_predict(tmp_path).cases] == [("ct",), ("mr",)]
    other = tmp_path / "other.csv"
    other.write_text("case,modality\na,MR\nb,MR\n")
    assert [files.modalities for files in to_predict(tmp_path, table=other).cases] == [("mr",), ("mr",)]


def test_at_prediction_what_is_said_holds_without_a_table_and_fills_its_gaps(tmp_path):
    assert [files.modalities for files in to_predict(tmp_path, said="mri").cases] == [("mr",), ("mr",)]
    (tmp_path / "clinical.csv").write_text("case,modality\na,MR\nb,\n")
    assert [files.modalities for files in to_predict(tmp_path, said="MR").cases] == [("mr",), ("mr",)]


def test_at_prediction_a_case_without_a_modality_does_not_stop_the_others(tmp_path):
    (tmp_path / "clinical.csv").write_text("case,modality\na,MR\n")
    known = to_predict(tmp_path)
    assert [files.name for files in known.cases] == ["a"]
    assert "does not say the modality of 1 case" in known.faults[0] and "case b, no row" in known.faults[0]


def test_at_prediction_a_contradiction_and_silence_are_faults_that_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="nothing says which one each case has.*--table.*--modality MR"):
        to_predict(tmp_path)
    with pytest.raises(UserError, match="the modality is not known.*US.*CT, MR, PET"):
        to_predict(tmp_path, said="US")
    (tmp_path / "clinical.csv").write_text("case,modality\na,CT\nb,MR\n")
    known = to_predict(tmp_path, said="MR")
    assert [files.name for files in known.cases] == ["b"] and "another modality than --modality" in known.faults[0]
