"""Every recipe imports a miniature copy of its dataset, and the result is checked."""

import json
import shutil

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import CannotWrite, UserError
from autoseg.cli import import_
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_image, read_label
from autoseg.interop.catalogue import find_recipe, recipes
from autoseg.interop.importing import import_dataset
from autoseg.workspace.names import Workspace
from public_layouts import GRID, LAYOUTS, blocks, hcc_tace, image, lits

DICOM = ("HCC-TACE-SEG", "TCGA-LIHC", "CHAOS_CT", "CHAOS_MR_T1", "CHAOS_MR_T2")


@pytest.fixture
def imported(tmp_path):
    """Import the miniature of a recipe; the result and its dataset.json."""

    def make(name: str, write=None, **options):
        if name in DICOM:
            pytest.importorskip("pydicom")
        (write or LAYOUTS[name][0])(tmp_path / "download")
        result = import_dataset(find_recipe(name), tmp_path / "download", Workspace(tmp_path / "home"), **options)
        return result, json.loads((result.folder / "dataset.json").read_text())

    return make


def test_every_recipe_has_a_miniature():
    assert {recipe.name for recipe in recipes()} == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_miniature_is_imported_and_verified_without_fault(name, imported, tmp_path):
    result, content = imported(name)
    assert not result.faults
    assert (result.n_training, result.n_held_out) == LAYOUTS[name][1]
    assert content["numTraining"] == result.n_training and content["licence"]
    if result.images_alone:
        assert name == "TCGA-LIHC"
        return
    report = pipeline.verify(result.dataset, home=tmp_path / "home", workers=1)
    assert report.faults == ()
    assert report.n_cases == result.n_training
    assert not [warning for warning in report.warnings if "is in no case" in warning]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_recipe_says_where_the_data_come_from_and_what_is_expected(name):
    recipe = find_recipe(name)
    assert recipe.home_page.startswith("http") and recipe.licence and recipe.layout and recipe.title
    assert recipe.counts or name == "TCGA-LIHC"


def test_files_that_can_be_used_are_linked_and_copied_on_request(imported, tmp_path):
    linked, _ = imported("LiTS17")
    path = linked.folder / "imagesTr" / "lits_0_0000.nii"
    assert path.is_symlink() and path.resolve() == (tmp_path / "download/Training Batch 1/volume-0.nii").resolve()
    copied, _ = import_again(tmp_path, "LiTS17", copy=True)
    assert copied.dataset == "Dataset002_LiTS17"
    assert not (copied.folder / "imagesTr" / "lits_0_0000.nii").is_symlink()


def import_again(tmp_path, name, **options):
    result = import_dataset(find_recipe(name), tmp_path / "download", Workspace(tmp_path / "home"), **options)
    return result, json.loads((result.folder / "dataset.json").read_text())


def test_other_counts_than_the_published_ones_are_a_warning(imported):
    result, _ = imported("LiTS17")
    assert "2 training cases were found, the published dataset has 131" in result.warnings


def test_volumes_of_a_4d_image_become_channels(imported):
    result, content = imported("MSD_Task01_BrainTumour")
    assert content["channel_names"] == {"0": "MR_FLAIR", "1": "MR_T1", "2": "MR_T1gd", "3": "MR_T2"}
    channel, grid = read_image(result.folder / "imagesTr" / "BRATS_002_0002.nii.gz")
    assert grid.is_at(GRID)
    np.testing.assert_array_equal(channel, image(12, 0, 900))
    assert (result.folder / "labelsTr" / "BRATS_002.nii.gz").is_symlink()


def test_values_of_mmwhs_become_labels_of_one_to_seven(imported):
    result, content = imported("MM-WHS_both")
    label, _ = read_label(result.folder / "labelsTr" / "mr_1002.nii.gz")
    np.testing.assert_array_equal(label, blocks((5, 3, 1, 4, 2, 6, 7)))
    assert content["modality_column"] == {"CT_or_MR": "modality"}
    assert {case.modalities for case in Dataset.open(result.folder).cases} == {("ct",), ("mr",)}


def test_amos_says_the_modality_by_the_number_of_the_case(imported):
    result, _ = imported("AMOS")
    assert (result.folder / "clinical.csv").read_text() == "case,modality\namos_0001,CT\namos_0507,MR\n"
    assert (result.folder / "imagesTs" / "clinical.csv").read_text() == "case,modality\namos_0008,CT\n"


def test_organs_of_one_file_each_become_one_label_map_with_those_that_are_missing_named(imported):
    result, content = imported("HaN-Seg")
    label, _ = read_label(result.folder / "labelsTr" / "case_01.nrrd")
    np.testing.assert_array_equal(label, blocks(tuple(range(1, 31))))
    assert ["Parotid_L", "Parotid_R"] in content["paired_labels"]
    assert set(content["labels"]) - set(content["labels_present"]["case_02"]) == {"background", "Pituitary", "Cochlea_L"}
    assert "case_01" not in content["labels_present"]


def test_acdc_says_the_phase_of_each_frame_and_keeps_patients_together(imported):
    result, content = imported("ACDC")
    rows = (result.folder / "clinical.csv").read_text().splitlines()
    assert rows[:3] == ["case,patient,phase,Group,Height,Weight", "patient001_frame01,patient001,ED,DCM,184.0,95.0",
                        "patient001_frame12,patient001,ES,DCM,184.0,95.0"]
    assert content["groups"] == {"patient": "patient"}
    assert set(content["conditions"]["columns"]) == {"phase"}


def test_the_label_of_a_dicom_seg_belongs_to_the_phase_that_it_was_drawn_on(imported):
    result, content = imported("HCC-TACE-SEG")
    stacked, grid = read_image(result.folder / "imagesTr" / "HCC_001_0000.nii.gz")
    np.testing.assert_array_equal(stacked[0], image(50)[0])  # the second phase of the series, in HU
    assert grid.is_at(GRID)
    label, _ = read_label(result.folder / "labelsTr" / "HCC_001.nii.gz")
    np.testing.assert_array_equal(label, blocks((1, 4, 1, 2, 3)))
    assert content["outcomes"]["os"] == {"time": "OS", "event": "Death_1_StillAliveorLostToFU_0", "kind": "survival"}
    assert "HCC_002,HCC_002,57,2,31,120,0,0" in (result.folder / "clinical.csv").read_text()
    assert set(content["conditions"]["columns"]) == {"age", "Sex"}


def test_pictures_of_slices_are_brought_to_the_order_of_positions(imported):
    result, _ = imported("CHAOS_MR_T1")
    label, grid = read_label(result.folder / "labelsTr" / "mr_1.nii.gz")
    np.testing.assert_array_equal(label, blocks((1, 2, 3, 4)))
    assert grid.is_at(GRID)


def test_several_rows_of_a_patient_in_the_published_table_are_said(imported, caplog):
    def write(folder):
        LAYOUTS["CirrMRI600_T1"][0](folder)
        with open(folder / "CirrMRI600+_CompleteData_age_gender_evaluation.csv", "a") as table:
            table.write("2,50,2,3\n")

    result, _ = imported("CirrMRI600_T1", write)
    assert "has several rows of 2: the last one is taken" in caplog.text
    assert "cirrt1_2,2,2,50,2,3" in (result.folder / "clinical.csv").read_text()


def test_a_published_table_without_rows_is_refused_before_anything_is_written(imported, tmp_path):
    def write(folder):
        LAYOUTS["CirrMRI600_T1"][0](folder)
        (folder / "CirrMRI600+_CompleteData_age_gender_evaluation.csv").write_text("Patient ID,Age,Gender\n")

    with pytest.raises(UserError, match="the table is empty"):
        imported("CirrMRI600_T1", write)
    assert not (tmp_path / "home").exists()


def test_a_dataset_without_public_masks_is_imported_for_pre_training(imported, tmp_path):
    result, content = imported("TCGA-LIHC")
    assert result.images_alone and not (result.folder / "labelsTr").exists()
    assert content["groups"] == {"patient": "patient"}


def test_a_folder_of_something_else_is_refused_with_the_layout_and_what_is_there(imported, tmp_path):
    with pytest.raises(UserError) as fault:
        imported("KiTS23", write=lits)
    for words in ("no image of KiTS23 lies here", "found: Training Batch 1/segmentation-0.nii",
                  "expected: dataset/case_00000/imaging.nii.gz", "kits-challenge.org"):
        assert words in str(fault.value)
    assert not (tmp_path / "home").exists()


def test_a_folder_that_is_missing_is_refused(tmp_path):
    with pytest.raises(UserError, match="the folder is missing"):
        import_dataset(find_recipe("KiTS23"), tmp_path / "none", Workspace(tmp_path))


def test_a_case_without_its_label_or_a_channel_is_left_out_and_named(imported, tmp_path):
    def write(folder):
        LAYOUTS["BraTS_21"][0](folder)
        (folder / "BraTS2021_00002/BraTS2021_00002_t2.nii.gz").unlink()

    result, _ = imported("BraTS_21", write)
    assert result.n_training == 1
    assert any("the channel MR_T2 is missing" in warning and "BraTS2021_00002" in warning for warning in result.warnings)


def test_a_case_that_cannot_be_read_does_not_stop_the_others(imported):
    def write(folder):
        LAYOUTS["MM-WHS_CT"][0](folder)
        (folder / "ct_train/ct_train_1001_label.nii.gz").write_bytes(b"damaged")

    result, content = imported("MM-WHS_CT", write)
    assert content["numTraining"] == 1
    (fault,) = result.faults
    assert fault.startswith("case ct_1001: ")


def test_a_label_value_that_the_recipe_does_not_know_is_a_fault(imported):
    def write(folder):
        from autoseg.formats import write_label

        LAYOUTS["MM-WHS_CT"][0](folder)
        write_label(folder / "ct_train/ct_train_1001_label.nii.gz", blocks((7,)), GRID)

    result, _ = imported("MM-WHS_CT", write)
    assert "holds values that the recipe does not know (found: 7" in result.faults[0]


def test_a_missing_slice_is_a_fault(imported):
    def write(folder):
        hcc_tace(folder)
        next(folder.rglob("HCC_002/*/103*/1-003.dcm")).unlink()

    result, _ = imported("HCC-TACE-SEG", write)
    assert "not evenly apart" in result.faults[0] and "usually 2.5 mm" in result.faults[0]


def test_a_recipe_of_one_task_takes_no_case_of_another_beside_it(imported):
    def write(folder):
        LAYOUTS["MSD_Task03_Liver"][0](folder)
        LAYOUTS["MSD_Task09_Spleen"][0](folder)

    result, _ = imported("MSD_Task09_Spleen", write)
    assert (result.n_training, result.n_held_out) == (2, 2)
    assert all(path.name.startswith("spleen_") for path in (result.folder / "imagesTr").iterdir())


def test_two_files_of_one_organ_leave_the_case_out(imported):
    def write(folder):
        LAYOUTS["HaN-Seg"][0](folder)
        (folder / "again/case_01").mkdir(parents=True)
        shutil.copy(folder / "HaN-Seg/set_1/case_01/case_01_OAR_Lips.seg.nrrd", folder / "again/case_01")

    result, _ = imported("HaN-Seg", write)
    assert result.n_training == 1
    assert any("several files are there for one organ (case_01)" in warning for warning in result.warnings)


def test_held_out_cases_alone_are_no_dataset(imported, tmp_path):
    def write(folder):
        LAYOUTS["MSD_Task09_Spleen"][0](folder)
        shutil.rmtree(folder / "Task09_Spleen/imagesTr")

    with pytest.raises(UserError, match="only held-out cases of MSD_Task09_Spleen are here.*unpack the training part"):
        imported("MSD_Task09_Spleen", write)
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_said_once(tmp_path):
    kits = LAYOUTS["KiTS23"][0]
    kits(tmp_path / "download")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/raw").write_text("no folder")
    with pytest.raises(CannotWrite, match="it cannot be written"):
        import_dataset(find_recipe("KiTS23"), tmp_path / "download", Workspace(tmp_path / "home"))


def test_a_number_that_is_taken_is_refused_and_a_stopped_import_is_begun_again(imported, tmp_path):
    first, _ = imported("KiTS23")
    with pytest.raises(UserError, match="this number is taken"):
        import_again(tmp_path, "KiTS23", number=1)
    (first.folder / "dataset.json").unlink()
    assert import_again(tmp_path, "KiTS23")[0].dataset == first.dataset


def test_a_download_with_another_checksum_is_a_warning(imported, tmp_path):
    def write(folder):
        LAYOUTS["MSD_Task09_Spleen"][0](folder)
        (folder / "Task09_Spleen.tar").write_bytes(b"half")

    result, _ = imported("MSD_Task09_Spleen", write)
    assert any("Task09_Spleen.tar: its md5 checksum is not the published one" in warning for warning in result.warnings)


def test_an_unknown_recipe_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'KiTS23'"):
        find_recipe("KITS-23")
    with pytest.raises(UserError, match="several recipes .*CHAOS_CT, CHAOS_MR_T1, CHAOS_MR_T2"):
        find_recipe("chaos")
    assert find_recipe("hippocampus").name == "MSD_Task04_Hippocampus"


def test_a_recipe_of_ones_own_is_read_from_its_file(tmp_path):
    shared = {"title": "mine", "home_page": "https://example.org", "licence": "none", "layout": ["a.nii"],
              "channels": [{"name": "CT", "files": ["{case}.nii"]}],
              "labels": {"names": {"background": 0, "a": 1}, "files": ["{case}_gt.nii"]}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"shared": shared}))
    assert find_recipe(str(path)).name == "mine"
    path.write_text(json.dumps({"shared": {**shared, "chanels": []}}))
    with pytest.raises(UserError, match="the recipe is not valid"):
        find_recipe(str(path))
    for pattern, message in (("{case:[}.nii", "cannot be read"), ("{number}.nii", "lacks a part of the name of a case")):
        labels = {**shared["labels"], "files": [pattern]}
        path.write_text(json.dumps({"shared": {**shared, "labels": labels}}))
        with pytest.raises(UserError, match=f"the recipe is not valid.*{message}"):
            find_recipe(str(path))
    with pytest.raises(UserError, match="the file is missing"):
        find_recipe(str(tmp_path / "none.json"))


def test_masks_of_ones_own_make_training_cases_of_a_dataset_that_has_none(imported, tmp_path):
    def write(folder):
        from autoseg.formats import write_label

        LAYOUTS["TCGA-LIHC"][0](folder)
        write_label(folder / "masks/TCGA-BC-4073_2.000000-ARTERIAL-0.nii.gz", blocks((1, 2)), GRID)

    result, _ = imported("TCGA-LIHC", write)
    assert (result.n_training, result.n_held_out, result.images_alone) == (1, 1, False)
    assert pipeline.verify(result.dataset, home=tmp_path / "home", workers=1).faults == ()


def test_the_command_prints_what_was_imported_what_is_not_verified_and_what_comes_next(tmp_path, capsys):
    LAYOUTS["MM-WHS_CT"][0](tmp_path / "download")
    words = ["recipe", "mm-whs_ct", str(tmp_path / "download"), "-d", "12", "--home", str(tmp_path / "home")]
    assert import_.main([*words, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    for line in ("2 cases: ", "warning: 2 training cases were found, the published dataset has 20", "checked: no fault",
                 "not verified on the data: that 421 stands for 420", "to compare with: challenge: CT 0.908",
                 f"  autoseg_plan_and_preprocess -d 12 --home {tmp_path / 'home'}"):
        assert line in printed


def test_the_command_ends_with_2_where_a_case_cannot_be_read(tmp_path, capsys):
    LAYOUTS["MM-WHS_CT"][0](tmp_path / "download")
    (tmp_path / "download/ct_train/ct_train_1001_label.nii.gz").write_bytes(b"damaged")
    words = ["recipe", "MM-WHS_CT", str(tmp_path / "download"), "--home", str(tmp_path / "home"), "--workers", "1"]
    assert import_.main(words) == 2
    assert "1 failed:" in capsys.readouterr().err


def test_the_list_names_every_recipe_and_tells_all_of_one(capsys):
    assert import_.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(recipe.name in printed for recipe in recipes())
    assert import_.main(["list", "HCC-TACE-SEG"]) == 0
    printed = capsys.readouterr().out
    assert "outcomes: os, ttp" in printed and "licence: CC BY 4.0" in printed


def test_words_that_are_missing_are_said(capsys):
    assert import_.main(["recipe", "KiTS23"]) == 2
    assert "expected: autoseg_import recipe NAME SRC" in capsys.readouterr().err
