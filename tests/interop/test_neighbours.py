"""Datasets in the layouts of other programs become raw datasets of ours, and what is odd about them is said."""

import json

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import import_
from autoseg.formats import read_image, read_label
from autoseg.interop.foreign import ReadOptions
from autoseg.interop.importing import import_foreign
from autoseg.interop.neighbours.read import read_foreign
from autoseg.workspace.names import Workspace
from neighbour_layouts import bids, csv_table, datalist, msd, nnunet_v1, nnunet_v2, write_image, write_mask
from public_layouts import blocks, image


@pytest.fixture
def imported(tmp_path):
    """Import what lies at a path, and check it as the command does; the result and its dataset.json."""

    def make(kind, source, copy=False, n_faults=0, **options):
        workspace = Workspace(tmp_path / "home")
        foreign = read_foreign(kind, source, ReadOptions(**options))
        result = import_foreign(foreign, source, workspace, number=7, copy=copy)
        if not result.images_alone:
            assert pipeline.verify(result.dataset, home=workspace.home, workers=1).faults == ()
        assert len(result.faults) == n_faults, result.faults
        return result, json.loads((result.folder / "dataset.json").read_text())

    return make


def files(folder, part):
    return sorted(path.name for path in (folder / part).iterdir())


def test_a_raw_dataset_of_nnunet_v2_comes_with_its_folds_and_its_tables(imported, tmp_path):
    folds = [{"train": ["a", "b"], "val": ["case c"]}]
    folder = nnunet_v2(tmp_path / "nnUNet_raw/Dataset042_Tiny", overwrite_image_reader_writer="SimpleITKIO", licence="CC0")
    preprocessed = tmp_path / "nnUNet_preprocessed/Dataset042_Tiny"
    preprocessed.mkdir(parents=True)
    (preprocessed / "splits_final.json").write_text(json.dumps(folds))
    (folder / "patients.csv").write_text("case,age\na,50\nb,61\ncase c,72\n")
    result, content = imported("nnunet_v2", folder)
    assert result.dataset == "Dataset007_Tiny" and result.n_training == 3
    assert content["overwrite_image_reader_writer"] == "SimpleITKIO" and content["licence"] == "CC0"
    assert content["conditions"]["columns"] == {"age": {"kind": "number"}}
    assert json.loads((result.folder / "splits_final.json").read_text()) == folds
    link = result.folder / "imagesTr" / "case c_0000.nii.gz"
    assert link.is_symlink() and link.resolve() == (folder / "imagesTr" / "case c_0000.nii.gz").resolve()


def test_regions_and_the_ignore_label_of_nnunet_v2_come_along(imported, tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    _, content = imported("nnunet_v2", nnunet_v2(tmp_path / "Dataset001_R", labels=labels, regions_class_order=[1, 2]))
    assert content["labels"] == labels and content["regions_class_order"] == [1, 2]


def test_cases_that_dataset_json_lists_become_files_of_their_own(imported, tmp_path):
    folder = nnunet_v2(tmp_path / "Dataset001_L")
    elsewhere = write_image(tmp_path / "pacs/x y.nii.gz", 5)
    content = json.loads((folder / "dataset.json").read_text())
    content["dataset"] = {"one": {"images": [str(elsewhere)], "label": "labelsTr/a.nii.gz"},
                          "two": {"images": ["imagesTr/gone.nii.gz"], "label": "labelsTr/b.nii.gz"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    result, content = imported("nnunet_v2", folder, n_faults=1)
    assert "gone.nii.gz: the file is missing" in result.faults[0]
    assert "dataset" not in content and files(result.folder, "imagesTr") == ["one_0000.nii.gz"]


def test_a_bad_case_of_nnunet_v2_is_left_out_and_named_with_all_others(imported, tmp_path):
    folder = nnunet_v2(tmp_path / "Dataset001_B", cases=("a", "b", "c", "d"), n_channels=2)
    (folder / "imagesTr/a_0001.nii.gz").unlink()
    (folder / "labelsTr/b.nii.gz").unlink()
    (folder / "imagesTr/c_0000.nii.gz").write_bytes(b"no image")
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["a", "d"], "val": ["c"]}]))
    result, content = imported("nnunet_v2", folder, n_faults=3)
    text = "\n".join(result.faults)
    assert "case a" in text and "'MR_T2' is missing" in text and "case b" in text and "c_0000.nii.gz" in text
    assert files(result.folder, "imagesTr") == ["d_0000.nii.gz", "d_0001.nii.gz"] and content["numTraining"] == 1
    assert "the folds name 2 cases that are not here, and go on without (a, c)" in result.warnings


def test_a_folder_without_dataset_json_is_refused_with_the_datasets_below_it(tmp_path):
    nnunet_v2(tmp_path / "raw/Dataset001_A")
    with pytest.raises(UserError, match=r"no dataset.json lies here \(found: Dataset001_A"):
        read_foreign("nnunet_v2", tmp_path / "raw", ReadOptions())
    with pytest.raises(UserError, match="no dataset.json lies here"):
        read_foreign("msd", tmp_path, ReadOptions())


def test_the_volumes_of_the_decathlon_become_channels_and_files_of_a_mac_are_ignored(imported, tmp_path):
    result, content = imported("msd", msd(tmp_path / "Task05_Prostate"))
    assert content["channel_names"] == {"0": "T2", "1": "ADC"} and content["labels"] == {"background": 0, "PZ": 1, "TZ": 2}
    assert (result.n_training, result.n_held_out, content["licence"]) == (2, 1, "CC-BY-SA 4.0")
    second, _ = read_image(result.folder / "imagesTr/prostate_01_0001.nii.gz")
    np.testing.assert_array_equal(second, image(11, 0, 900))
    assert files(result.folder, "imagesTs") == ["prostate_90_0000.nii.gz", "prostate_90_0001.nii.gz"]


def test_the_decathlon_is_linked_where_it_has_one_channel(imported, tmp_path):
    result, _ = imported("msd", msd(tmp_path / "Task02_Heart", n_volumes=1))
    assert (result.folder / "imagesTr/prostate_00_0000.nii.gz").is_symlink()


def test_files_that_the_decathlon_lists_and_lacks_are_named(imported, tmp_path):
    folder = msd(tmp_path / "Task05_Prostate")
    (folder / "labelsTr/prostate_00.nii.gz").unlink()
    write_mask(folder / "labelsTr/other.nii.gz", 1)
    result, _ = imported("msd", folder, n_faults=1)
    assert "case prostate_00" in result.faults[0] and "the file is missing" in result.faults[0]
    assert any("does not list the cases of 1 label of labelsTr (other.nii.gz)" in text for text in result.warnings)


def test_nnunet_v1_has_a_file_per_channel_and_its_pickled_folds_are_not_read(imported, tmp_path):
    folder = nnunet_v1(tmp_path / "nnUNet_raw_data/Task005_Prostate")
    (folder / "splits_final.pkl").write_bytes(b"\x80")
    result, content = imported("nnunet_v1", folder)
    assert content["channel_names"] == {"0": "T2", "1": "ADC"} and result.dataset == "Dataset007_Prostate"
    assert files(result.folder, "imagesTs") == ["p_9_0000.nii.gz", "p_9_0001.nii.gz"]
    assert any("a pickle may run programs" in text and "--splits" in text for text in result.warnings)


def test_a_dataset_of_another_version_is_named(tmp_path):
    with pytest.raises(UserError, match="this is a dataset of nnU-Net v2.*autoseg_import nnunet_v2"):
        read_foreign("nnunet_v1", nnunet_v2(tmp_path / "Dataset001_A"), ReadOptions())
    with pytest.raises(UserError, match="a dataset of nnU-Net v1, or of the Decathlon; autoseg_import nnunet_v1"):
        read_foreign("nnunet_v2", nnunet_v1(tmp_path / "Task001_A"), ReadOptions())
    (tmp_path / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "labels": {}, "training": [{"image": "a"}]}))
    with pytest.raises(UserError, match="no image or no label"):
        read_foreign("msd", tmp_path, ReadOptions())


def test_a_bids_tree_gives_a_case_per_session_with_optional_channels_and_a_table(imported, tmp_path):
    result, content = imported("bids", bids(tmp_path / "study"))
    assert content["channel_names"] == {"0": "T1w", "1": "ce-gd_T1w"} and content["optional_channels"] == ["ce-gd_T1w"]
    assert content["labels"] == {"background": 0, "lesion": 1, "organ": 2}
    assert result.n_training == 4 and content["groups"] == {"patient": "participant_id"}
    assert {"age": {"kind": "number"}, "sex": {"kind": "category"}}.items() <= content["conditions"]["columns"].items()
    label, _ = read_label(result.folder / "labelsTr/sub-01_ses-pre.nii.gz")
    np.testing.assert_array_equal(label, blocks((2, 1)))
    assert "sub-01_ses-post,sub-01,ses-post,61,M,control" in (result.folder / "clinical.csv").read_text()


def test_several_runs_kinds_or_derivatives_of_a_bids_tree_are_a_question_with_its_flag(tmp_path, imported):
    folder = bids(tmp_path / "study")
    anat = folder / "sub-02/ses-pre/anat"
    (anat / "sub-02_ses-pre_T1w.nii.gz").rename(anat / "sub-02_ses-pre_run-1_T1w.nii.gz")
    write_image(anat / "sub-02_ses-pre_run-2_T1w.nii.gz", 77)
    with pytest.raises(UserError, match=r"case sub-02_ses-pre has several runs of T1w.*--run N"):
        read_foreign("bids", folder, ReadOptions())
    write_mask(folder / "derivatives/manual/sub-03/ses-pre/anat/sub-03_ses-pre_dseg.nii.gz", 1, 2)
    with pytest.raises(UserError, match="which masks are the labels.*--label dseg"):
        read_foreign("bids", folder, ReadOptions(run="2"))
    (folder / "derivatives/dseg.tsv").write_text("index\tname\n0\tbackground\n1\tGM\n2\tWM\n")
    result, content = imported("bids", folder, run="2", labels=("dseg",))
    assert content["labels"] == {"background": 0, "GM": 1, "WM": 2}
    assert (result.n_training, result.n_held_out) == (1, 3)
    picture, _ = read_image(result.folder / "imagesTs/sub-02_ses-pre_0000.nii.gz")
    np.testing.assert_array_equal(picture, image(77, 0, 900))
    write_mask(folder / "derivatives/auto/sub-03/anat/sub-03_ses-pre_dseg.nii.gz", 1)
    with pytest.raises(UserError, match=r"Several folders of derivatives.*auto, manual.*--derivative NAME"):
        read_foreign("bids", folder, ReadOptions(run="2"))


def test_a_folder_that_is_no_bids_tree_is_refused(tmp_path):
    with pytest.raises(UserError, match="no image of a BIDS tree lies here"):
        read_foreign("bids", nnunet_v2(tmp_path / "Dataset001_A"), ReadOptions())


def test_a_data_list_of_monai_keeps_its_folds_and_asks_what_its_channels_are(imported, tmp_path):
    path = datalist(tmp_path / "auto3dseg")
    with pytest.raises(UserError, match=r"what are the channels.*expected: 2 names.*--channel NAME"):
        read_foreign("monai_datalist", path, ReadOptions())
    result, content = imported("monai_datalist", path, channels=("MR_T1", "MR_T2"), name="Brains")
    assert result.dataset == "Dataset007_Brains" and (result.n_training, result.n_held_out) == (3, 1)
    assert content["labels"] == {"background": 0, "label_1": 1, "label_2": 2}
    assert any("the names background, label_1, label_2 in dataset.json are made up" in text for text in result.warnings)
    assert json.loads((result.folder / "splits_final.json").read_text()) == [
        {"train": ["p1_seg"], "val": ["p0_seg", "p2_seg"]}, {"train": ["p0_seg", "p2_seg"], "val": ["p1_seg"]}]


def test_lists_of_training_and_validation_are_one_fold_and_binary_labels_are_merged(imported, tmp_path):
    entries = []
    for number in range(2):
        write_image(tmp_path / f"im{number}.nii.gz", number)
        label = {"liver": str(write_mask(tmp_path / f"liver{number}.nii.gz", 1)),
                 "tumour": str(write_mask(tmp_path / f"tumour{number}.nii.gz", 0, 1))}
        entries.append({"image": f"im{number}.nii.gz", "label": label})
    path = tmp_path / "msd_like.json"
    path.write_text(json.dumps({"modality": {"0": "CT"}, "training": [entries[0], "gone.nii.gz"],
                                "validation": [entries[1]]}))
    result, content = imported("monai_datalist", path, n_faults=1)
    assert "case gone" in result.faults[0]
    assert content["channel_names"] == {"0": "CT"} and content["labels"] == {"background": 0, "liver": 1, "tumour": 2}
    assert json.loads((result.folder / "splits_final.json").read_text()) == [{"train": ["im0"], "val": ["im1"]}]


def test_images_of_four_axes_in_a_data_list_are_split(imported, tmp_path):
    write_image(tmp_path / "a.nii.gz", 3, 2)
    write_mask(tmp_path / "a_seg.nii.gz", 1)
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": [{"image": "a.nii.gz", "label": "a_seg.nii.gz"}], "labels": {"0": "background",
                                                                                                       "1": "liver"}}))
    result, content = imported("monai_datalist", path, channels=("CT", "PET"))
    assert content["labels"] == {"background": 0, "liver": 1}
    np.testing.assert_array_equal(read_image(result.folder / "imagesTr/a_seg_0001.nii.gz")[0], image(4, 0, 900))


def test_a_json_file_that_is_no_data_list_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"this is no data list of MONAI \(found: a"):
        read_foreign("monai_datalist", tmp_path / "x.json", ReadOptions())


def test_a_table_gives_channels_labels_conditions_and_groups(imported, tmp_path):
    result, content = imported("csv", csv_table(tmp_path / "work"))
    assert result.dataset == "Dataset007_cohort" and content["channel_names"] == {"0": "CT", "1": "PET"}
    assert content["optional_channels"] == ["PET"] and content["groups"]["patient"] == "patient"
    assert content["conditions"]["columns"]["age"] == {"kind": "number"}
    assert files(result.folder, "imagesTr") == ["c0_0000.nii.gz", "c0_0001.nii.gz", "c1_0000.nii.gz", "c2_0000.nii.gz",
                                                "c2_0001.nii.gz"]


def test_a_column_of_patients_that_names_the_cases_groups_none_of_them(imported, tmp_path):
    rows = tuple(f"p{number},my images/ct {number}.nii.gz,my images/seg {number}.nii.gz,{age}"
                 for number, age in enumerate((61, 45, 70)))
    result, content = imported("csv", csv_table(tmp_path / "work", "patient_id,CT,mask,age", rows))
    assert result.n_training == 3 and "patient" not in content.get("groups", {})


def test_rows_of_one_case_missing_files_and_empty_cells_are_named_at_once(imported, tmp_path):
    rows = ("c0,my images/ct 0.nii.gz,my images/seg 0.nii.gz", "c1,my images/ct 1.nii.gz,my images/seg 1.nii.gz",
            "c1,my images/ct 2.nii.gz,my images/seg 2.nii.gz", "c3,my images/gone.nii.gz,my images/seg 2.nii.gz",
            "c4,,my images/seg 2.nii.gz", "c5,my images/ct 2.nii.gz,")
    result, _ = imported("csv", csv_table(tmp_path, "id,CT,mask", rows), n_faults=4)
    assert "cohort.csv, line 3, case c1: several rows are of this case" in result.faults[0]
    assert "line 5, case c3" in result.faults[2] and "gone.nii.gz: the file is missing" in result.faults[2]
    assert "line 6, case c4: it names no image" in result.faults[3]
    assert (result.n_training, result.n_held_out) == (1, 1)
    assert "1 row has no label: held out, in imagesTs" in result.warnings


def test_what_a_table_does_not_say_is_a_question_with_its_flag(tmp_path, imported):
    rows = ("x,q,my images/ct 0.nii.gz,my images/seg 0.nii.gz,my images/seg 1.nii.gz,val",
            "y,r,my images/ct 1.nii.gz,my images/seg 1.nii.gz,my images/seg 1.nii.gz,train")
    path = csv_table(tmp_path, "case,name,scan,mask,seg,split", rows)
    with pytest.raises(UserError, match=r"which column holds the labels\?.*mask, seg.*--label COLUMN"):
        read_foreign("csv", path, ReadOptions())
    with pytest.raises(UserError, match=r"which column names the cases\?.*case, name.*--id COLUMN"):
        read_foreign("csv", path, ReadOptions(labels=("mask",)))
    with pytest.raises(UserError, match="no column 'scans', did you mean 'scan'"):
        read_foreign("csv", path, ReadOptions(labels=("mask",), id="case", channels=("CT=scans",)))
    result, content = imported("csv", path, labels=("mask",), id="case", channels=("CT=scan",))
    assert content["channel_names"] == {"0": "CT"}
    assert json.loads((result.folder / "splits_final.json").read_text()) == [{"train": ["y"], "val": ["x"]}]


def test_a_table_without_labels_is_for_pretraining(imported, tmp_path):
    result, _ = imported("csv", csv_table(tmp_path), labels=("none",), channels=("CT",))
    assert result.images_alone and result.n_training == 3


@pytest.mark.parametrize(("words", "message"), [
    (["list", "KiTS23", "LiTS17"], "list takes [NAME] (found: KiTS23 LiTS17"),
    (["list", "--copy"], "list takes no --copy"),
    (["recipe", "KiTS23"], "recipe takes NAME SRC (found: KiTS23"),
    (["msd", "a", "--run", "2"], "msd takes no --run"),
    (["csv", "/no/such.csv"], "/no/such.csv: the file is missing"),
    (["bids", "/no/such"], "/no/such: the folder is missing")])
def test_what_has_no_effect_on_a_source_is_refused(words, message, tmp_path, capsys):
    assert import_.main([*words, "--home", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_the_command_imports_checks_and_lists_the_bad_cases(tmp_path, capsys):
    folder = nnunet_v2(tmp_path / "Dataset001_B")
    (folder / "labelsTr/b.nii.gz").unlink()
    home = ["--home", str(tmp_path / "home"), "--workers", "1"]
    assert import_.main(["nnunet_v2", str(folder), "-d", "12", "--copy", *home]) == 2
    printed = capsys.readouterr()
    assert "2 cases: " in printed.out and "checked: no fault" in printed.out and "autoseg_run 12" in printed.out
    assert "1 failed:" in printed.err and "case b" in printed.err
    assert import_.main(["nnunet_v2", str(folder), "-d", "12", *home]) == 2
    assert "this number is taken (found: Dataset012_B" in capsys.readouterr().err


@pytest.mark.parametrize("keys, message", [
    ({"labels": {"background": "0", "PZ": "1"}}, "labels: 'background' is no number"),
    ({"modality": {"T2": "0", "ADC": "1"}}, "modality: 'T2' is no number"),
    ({"labels": {"0": "background", "1": "PZ", "2": "PZ"}}, "several values are called 'PZ'")])
def test_odd_keys_of_the_decathlon_are_named(keys, message, tmp_path):
    folder = msd(tmp_path / "Task05_Prostate")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, **keys}))
    with pytest.raises(UserError, match=message):
        read_foreign("msd", folder, ReadOptions())


def test_the_background_of_the_decathlon_may_have_another_name_or_none(imported, tmp_path):
    folder = msd(tmp_path / "Task05_Prostate")
    text = (folder / "dataset.json").read_text()
    for labels in ({"0": "BG", "1": "PZ", "2": "TZ"}, {"1": "PZ", "2": "TZ"}):
        (folder / "dataset.json").write_text(json.dumps({**json.loads(text), "labels": labels}))
        foreign = read_foreign("msd", folder, ReadOptions())
        assert foreign.recipe.labels.names == {"background": 0, "PZ": 1, "TZ": 2}


def test_folds_that_are_empty_without_missing_cases_are_not_taken_over(imported, tmp_path):
    folder = nnunet_v2(tmp_path / "Dataset001_A", overwrite_image_reader_writer=["odd"])
    (folder / "splits_final.json").write_text(json.dumps([{"train": ["q", "r"], "val": ["a"]}]))
    result, _ = imported("nnunet_v2", folder)
    assert any("the folds are not taken over" in warning and "(q, r)" in warning for warning in result.warnings)
    assert not (result.folder / "splits_final.json").exists()


def test_a_case_without_the_run_or_the_channel_is_named_and_the_others_come(imported, tmp_path):
    folder = bids(tmp_path / "study")
    anat = folder / "sub-01/ses-pre/anat"
    (anat / "sub-01_ses-pre_T1w.nii.gz").unlink()
    for run in (1, 2):
        write_image(anat / f"sub-01_ses-pre_run-{run}_T1w.nii.gz", run)
    result, _ = imported("bids", folder, run="3", channels=("T1w",), n_faults=1)
    assert result.n_training == 3 and "no single file of T1w is of run 3" in result.faults[0]
    (folder / "derivatives/manual/sub-02/ses-pre/anat/sub-02_ses-pre_label-lesion_mask.nii.gz").unlink()
    (folder / "derivatives/manual/sub-02/ses-pre/anat/sub-02_ses-pre_label-organ_mask.nii.gz").unlink()
    foreign = read_foreign("bids", folder, ReadOptions(channels=("ce-gd_T1w",)))
    assert "cases with no image of the channels are left out (sub-02_ses-pre)" in foreign.files.warnings


def test_two_rows_of_one_participant_are_refused(tmp_path):
    folder = bids(tmp_path / "study")
    with open(folder / "participants.tsv", "a") as file:
        file.write("sub-01\t11\tM\tcase\n")
    with pytest.raises(UserError, match=r"several rows are of one participant_id \(found: sub-01\)"):
        read_foreign("bids", folder, ReadOptions())


def test_an_image_that_a_data_list_lacks_is_null_and_never_the_last_by_guess(imported, tmp_path):
    path = datalist(tmp_path / "auto3dseg")
    content = json.loads(path.read_text())
    content["training"][0]["image"][0] = None
    content["training"].append(content["training"][1])
    content["testing"][0]["image"].pop(0)
    path.write_text(json.dumps(content))
    result, described = imported("monai_datalist", path, channels=("MR_T1", "MR_T2"), n_faults=3)
    assert files(result.folder, "imagesTr") == ["p0_seg_0001.nii.gz", "p2_seg_0000.nii.gz", "p2_seg_0001.nii.gz"]
    assert described["optional_channels"] == ["MR_T1"]
    assert all("several entries are of this case" in fault for fault in result.faults[:2])
    assert "it names 1 of 2 images; write null" in result.faults[2]


def test_label_files_of_a_data_list_need_names_that_all_cases_share(tmp_path):
    path = datalist(tmp_path / "auto3dseg")
    content = json.loads(path.read_text())
    for number, entry in enumerate(content["training"]):
        entry["label"] = [str(write_mask(tmp_path / f"case{number}_{organ}.nii.gz", 1)) for organ in ("liver", "tumour")]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="the label files of the cases do not have the same names.*one name for each label"):
        read_foreign("monai_datalist", path, ReadOptions(channels=("MR_T1", "MR_T2")))


@pytest.mark.parametrize("channels, message", [(("A=CT", "A=PET"), "two channels are called 'A'"),
                                               (("CT", "MR=label"), "'label' cannot be a channel and the label")])
def test_channels_of_a_table_that_collide_are_refused(channels, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_foreign("csv", csv_table(tmp_path), ReadOptions(channels=channels))


def test_a_name_without_letters_is_refused_before_anything_is_written(tmp_path):
    folder = nnunet_v2(tmp_path / "Dataset001_A")
    foreign = read_foreign("nnunet_v2", folder, ReadOptions(name="///"))
    with pytest.raises(UserError, match="no letter and no digit .*--name"):
        import_foreign(foreign, folder, Workspace(tmp_path / "home"))
    assert not (tmp_path / "home").exists()
