"""Drafting what dataset.json could declare: what is used, what is refused, and why."""

import json
import shutil

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.cli import describe_inputs as command
from autoseg.clinical.columns import Column, judge_column
from autoseg.datasets.dataset import read_manifest
from autoseg.datasets.describe import describe_inputs
from autoseg.formats import write_array
from autoseg.grids.geometry import Geometry

COARSE = Geometry(shape=(4, 5, 3), spacing_mm=(3.0, 2.0, 2.0), origin_mm=(-7.0, 11.0, 30.0))


def judged(name, *cells, n_cases=None, times=1):
    """The verdict on a column of cells, each of which is there several times."""
    return judge_column(Column(name, cells * times, n_cases or len(cells) * times))


def test_a_plain_dataset_has_nothing_to_declare(raw):
    found = describe_inputs(raw(n_cases=3, n_channels=2))
    assert found.block == {} and found.refused == () and found.remarks == ()


def test_channels_that_some_cases_lack_are_optional(raw):
    folder = raw(n_cases=3, n_channels=3)
    (folder / "imagesTr" / "case1_0002.nii.gz").unlink()
    found = describe_inputs(folder)
    assert found.block == {"optional_channels": ["MR2"]}
    assert found.remarks == ("channel 'MR2' is missing in 1 of 3 cases",)


def test_the_channel_on_the_labels_grid_is_the_reference(raw):
    folder = raw(n_cases=2, n_channels=2)
    for number in range(2):
        write_array(folder / "imagesTr" / f"case{number}_0000.nii.gz", np.ones((1, *COARSE.shape), np.float32), COARSE)
    assert describe_inputs(folder).block == {"reference_channel": "MR1", "registration": {"MR0": "regrid"}}


def test_a_channel_that_cases_lack_is_no_reference(raw):
    folder = raw(n_cases=2, n_channels=2)
    for number in range(2):
        write_array(folder / "imagesTr" / f"case{number}_0000.nii.gz", np.ones((1, *COARSE.shape), np.float32), COARSE)
    (folder / "imagesTr" / "case0_0001.nii.gz").unlink()
    found = describe_inputs(folder)
    assert found.block == {"optional_channels": ["MR1"]}
    assert any("the labels lie on that of no channel that every case has" in remark for remark in found.remarks)


def test_the_table_that_names_the_cases_is_found_with_its_column(raw):
    folder = raw(n_cases=6)
    rows = "".join(f"{i};case{i};{50 + i},5;{'fm'[i % 2]}\n" for i in range(6))
    (folder / "patients.csv").write_text("row;scan;age;sex\n" + rows)
    (folder / "codes.csv").write_text("code,meaning\n1,male\n2,female\n")
    found = describe_inputs(folder)
    assert found.block == {"conditions": {"table": "patients.csv", "id": "scan", "columns": {
        "age": {"kind": "number"}, "sex": {"kind": "category"}}}}
    assert [(verdict.name, verdict.reason) for verdict in found.refused] == [("row", "an identifier: it numbers the rows")]
    assert found.remarks == ("codes.csv: no column holds the names of the cases",)


@pytest.mark.parametrize(("ids", "match"), [
    (["case0", "case1", "case2", "case3"], {}),
    (["0", "1", "2", "3"], {"match": "pattern", "pattern": "^[^0-9]*([0-9]+)$"}),
    (["y", "case2", "case1", "x"], {})])
def test_the_match_of_a_table_is_found(raw, ids, match):
    folder = raw(n_cases=4)
    (folder / "t.csv").write_text("id,age\n" + "".join(f"{name},{50.5 + i}\n" for i, name in enumerate(ids)))
    found = describe_inputs(folder)
    assert found.block == {"conditions": {"table": "t.csv", "id": "id", **match, "columns": {"age": {"kind": "number"}}}}
    assert any("check that they fit" in remark for remark in found.remarks) == bool(match)
    assert any("2 of 4 cases have no row" in remark for remark in found.remarks) == ("x" in ids)


def test_a_table_with_a_row_per_patient_groups_the_scans(raw):
    folder = raw(n_cases=4)
    for part, suffix in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        for i in range(4):
            (folder / part / f"case{i}{suffix}").rename(folder / part / f"T_0{i // 2}_199{i}{suffix}")
    (folder / "t.csv").write_text("number,who,age\n7,T_00,50\n9,T_01,60\n")
    found = describe_inputs(folder)
    assert found.block["conditions"]["match"] == "prefix" and found.block["groups"] == {"patient": "who"}
    assert "t.csv: its ids are parts of the names of cases, such as T_00 of T_00_1990; check that they fit" in found.remarks


def test_a_table_that_cannot_be_read_is_a_remark(raw):
    folder = raw(n_cases=2)
    (folder / "clinical.csv").write_text("case,age,age\n")
    found = describe_inputs(folder)
    assert found.block == {} and "columns have the same name" in found.remarks[0]


def test_groups_are_told_from_patient_and_hospital(raw):
    folder = raw(n_cases=6)
    rows = "".join(f"case{i},p{i // 2},{'XY'[i % 2]}\n" for i in range(6))
    (folder / "t.csv").write_text("case,patient_id,hospital\n" + rows)
    found = describe_inputs(folder)
    assert found.block == {"conditions": {"table": "t.csv", "id": "case"},
                           "groups": {"patient": "patient_id", "site": "hospital"}}


def test_folders_of_arrays_are_vectors_or_tokens(raw):
    folder = raw(n_cases=2)
    for place, array in (("vectors/rna", np.zeros(5)), ("tokens/tiles", np.zeros((3, 4))), ("survival", np.zeros(2))):
        (folder / place).mkdir(parents=True)
        np.save(folder / place / "case0.npy", array)
    (folder / "mixed").mkdir()
    np.save(folder / "mixed" / "case0.npy", np.zeros(2))
    np.save(folder / "mixed" / "case1.npy", np.zeros(3))
    (folder / "others").mkdir()
    np.save(folder / "others" / "x.npy", np.zeros(2))
    found = describe_inputs(folder)
    assert found.block == {"conditions": {"tokens": {"tiles": "tokens/tiles"}, "vectors": {"rna": "vectors/rna"}}}
    assert [verdict.reason for verdict in found.accepted] == ["1 of 2 cases, 4 features", "1 of 2 cases, 5 features"]
    assert {verdict.name: verdict.reason.split(":")[0] for verdict in found.refused} == {
        "mixed": "its arrays are neither vectors of one width nor tokens of one width",
        "others": "no array is named after a case", "survival": "an outcome, by the word 'survival'"}


@pytest.mark.parametrize(("verdict", "kind"), [
    (judged("age", "59", "61", ">=90", "47.5", "33", n_cases=6), "number"),
    (judged("Time to scan", "1", "2"), ""),
    (judged("sex", "f", "m", times=5), "category"),
    (judged("smoker", "0", "1", times=5), "category"),
    (judged("grade", "1", "2", "3", times=5), "category"),
    (judged("platelets", *map(str, range(100, 400, 17))), "number"),
    (judged("site of the tumour", "left thigh", "right arm", times=5), "category"),
])
def test_what_is_known_at_baseline_is_used(verdict, kind):
    assert verdict.kind == kind


@pytest.mark.parametrize(("verdict", "words"), [
    (judged("Treatment", "a", "b"), "an outcome, by the word 'treatment'"),
    (judged("os", "12", "30"), "an outcome, by the word 'os'"),
    (judged("patient id", "7", "9", "11"), "an identifier of the patient"),
    (judged("lab no", "17", "3", "99", "4", "55"), "an identifier: whole numbers of which no two are the same"),
    (judged("row", "1", "2", "3", "4", "5"), "an identifier: it numbers the rows"),
    (judged("surname", "Ames", "Bell", "Cole", "Dunn", "Eads"), "an identifier or free text: 5 different values in 5 cases"),
    (judged("report", *["a mass of the left thigh that grew over years"] * 3, "nothing to see"), "free text"),
    (judged("scanned", "2020-01-31", "3.2.2020"), "a date"),
    (judged("date of birth", "1960", "unclear"), "a date"),
    (judged("year of diagnosis", "2010", "2012"), "a date"),
    (judged("Scanner", "A", "B"), "the site's habits"),
    (judged("Time – diagnosis to MRI scan (days)", "-7", "3"), "the site's habits"),
    (judged("hospital", "A", "B"), "the site: a model would learn who drew the contours"),
    (judged("site", "A", "B"), "the site: a model would learn who drew the contours"),
    (judged("species", "human", "human"), "constant: 'human' in every case"),
    (judged("empty"), "constant: it is empty"),
    (judged("age", "59", "61", "47", "33", "old"), "numbers with text among them: 'old'"),
])
def test_what_could_harm_is_refused_with_the_reason(verdict, words):
    assert not verdict.accepted and words in verdict.reason


def test_the_real_dataset_is_described(shared_data, tmp_path):
    source, folder = shared_data / "Dataset010_STS", tmp_path / "raw" / "Dataset010_STS"
    folder.mkdir(parents=True)
    for name in ("imagesTr", "labelsTr", "clinical.csv"):
        (folder / name).symlink_to(source / name)
    shutil.copyfile(source / "dataset.json", folder / "dataset.json")
    found = describe_inputs(folder)
    assert found.block == {
        "reference_channel": "CT", "registration": {"PET": "regrid", "MR_T1": "regrid"},
        "conditions": {"table": "clinical.csv", "id": "case", "columns": {
            "Age": {"kind": "number"}, "Sex": {"kind": "category"}, "Histological type": {"kind": "category"},
            "MSKCC type": {"kind": "category"}, "Site of primary STS": {"kind": "category"}, "Grade": {"kind": "category"}}},
        "outcomes": {"survival": {"kind": "survival", "time": "Time – diagnosis to last follow-up (days)",
                                  "event": "Status (NED, AWD, D)", "event_values": {"AWD": 0, "D": 1, "NED": 0}}}}
    reasons = {verdict.name: verdict.reason for verdict in found.refused}
    outcomes = ("Treatment", "Outcome (recurrence, mets)", "Time – diagnosis to outcome (days)", "Status (NED, AWD, D)",
                "Time – diagnosis to last follow-up (days)")
    habits = ("Time – diagnosis to MRI scan (days)", "Time – MRI scan to PET scan (days)")
    assert set(reasons) == {*outcomes, *habits}
    assert all(reasons[name].startswith("an outcome") for name in outcomes)
    assert all("site's habits" in reasons[name] for name in habits)


@pytest.fixture
def home(raw):
    """A workspace with a dataset that lacks a channel in one case and has a table with an outcome."""
    folder = raw(n_cases=4, n_channels=2)
    (folder / "imagesTr" / "case1_0001.nii.gz").unlink()
    rows = "".join(f"case{i},{i}.5,{i}\n" for i in range(4))
    (folder / "clinical.csv").write_text("case,Größe,OS\n" + rows, encoding="utf-8")
    target = folder.parent / "raw" / folder.name
    target.parent.mkdir()
    return shutil.move(folder, target).parents[1]


def test_the_command_prints_the_block_and_the_reasons(home, capsys):
    assert command.main(["-d", "1", "--home", str(home)]) == 0
    printed = capsys.readouterr().out
    block = json.loads(printed[printed.index("{"):printed.rindex("}") + 1])
    assert block["optional_channels"] == ["MR1"] and block["conditions"]["columns"] == {"Größe": {"kind": "number"}}
    assert "refused:\n  OS  an outcome, by the word 'os'" in printed and "--write" in printed
    assert not (home / "raw" / "Dataset001_Tiny" / "dataset.json.bak").exists()


def test_the_command_adds_only_keys_that_are_not_there(home, capsys):
    path = home / "raw" / "Dataset001_Tiny" / "dataset.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"conditions": {}}))
    before = path.read_text()
    assert command.main(["-d", "1", "--write", "--home", str(home)]) == 0
    printed = capsys.readouterr().out
    assert "added to" in printed and "already there and not changed: conditions" in printed
    assert json.loads(path.read_text()) == data | {"conditions": {}, "optional_channels": ["MR1"]}
    assert path.with_name("dataset.json.bak").read_text() == before
    assert [channel.required for channel in read_manifest(path.parent).channels] == [True, False]


def test_what_was_added_can_be_read(home):
    path = home / "raw" / "Dataset001_Tiny" / "dataset.json"
    assert command.main(["-d", "1", "--write", "--home", str(home)]) == 0
    assert read_manifest(path.parent).conditions.specs[0].name == "Größe"
    assert "Größe" in path.read_text(encoding="utf-8")


def test_a_dataset_without_cases_is_an_error(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz",
                                                       "labels": {"background": 0, "liver": 1}}))
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    with pytest.raises(UserError, match="no image was found in the folder"):
        describe_inputs(tmp_path)
