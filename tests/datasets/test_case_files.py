"""Every file of a folder is used, or named."""

import gzip

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import verify
from autoseg.datasets.raw import find_cases, scan_cases
from planners.schema.channels import ChannelSpec

ONE = (ChannelSpec(name="MR"),)
CT_PET = (ChannelSpec(name="CT"), ChannelSpec(name="PET", required=False))


def folder_of(tmp_path, *names: str):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def unpacked(path):
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def test_cases_of_other_endings_and_in_capitals_are_trained_with(raw):
    folder = raw()
    for name in ("imagesTr/case0_0000", "labelsTr/case0"):
        unpacked(folder / f"{name}.nii.gz")
    for name in ("imagesTr/case1_0000", "labelsTr/case1"):
        (folder / f"{name}.nii.gz").rename(folder / f"{name}.NII.GZ")
    report = verify(folder)
    assert (report.faults, report.warnings, report.n_cases) == ((), (), 2)


def test_an_optional_channel_of_another_ending_is_present(raw):
    folder = raw(n_channels=2, optional_channels=["MR1"])
    unpacked(folder / "imagesTr/case0_0001.nii.gz")
    assert [path.name for path in Dataset.open(folder).case("case0").images] == ["case0_0000.nii.gz", "case0_0001.nii"]


def test_a_link_to_nothing_is_a_fault_with_its_target(raw):
    folder = raw()
    link = folder / "imagesTr/case0_0000.nii.gz"
    link.unlink()
    link.symlink_to("/archive/ct.nii.gz")
    (fault,) = verify(folder).faults
    assert "case0_0000.nii.gz: the link leads to nothing (found: a link to /archive/ct.nii.gz)" in fault
    with pytest.raises(UserError, match="the link leads to nothing"):
        _ = Dataset.open(folder).cases


def test_a_link_to_itself_is_a_fault(raw):
    folder = raw()
    link = folder / "imagesTr/case0_0000.nii.gz"
    link.unlink()
    link.symlink_to(link.name)
    (fault,) = verify(folder).faults
    assert "the link leads to nothing (found: a link to case0_0000.nii.gz)" in fault


def test_an_optional_channel_that_is_a_link_to_nothing_is_absent_and_named(raw):
    folder = raw(n_channels=2, optional_channels=["MR1"])
    link = folder / "imagesTr/case0_0001.nii.gz"
    link.unlink()
    link.symlink_to("/archive/pet.nii.gz")
    report = verify(folder)
    assert report.faults == () and "case0_0001.nii.gz: the link leads to nothing" in report.warnings[0]
    assert Dataset.open(folder).case("case0").images[1] is None


@pytest.mark.parametrize("name", ["case0_0001.dcm", "case0_0001.png", "case0_0001.nii.bz2"])
def test_a_channel_that_no_reader_takes_is_a_fault_or_of_an_optional_one_a_warning(raw, name):
    folder = raw(n_channels=2)
    (folder / "imagesTr/case0_0001.nii.gz").rename(folder / "imagesTr" / name)
    sentence = f"{name}: the file is not used, and case case0 lacks what it holds"
    assert sentence in verify(folder).faults[0] and "convert the file" in verify(folder).faults[0]
    folder = raw(n_channels=2, optional_channels=["MR1"])
    (folder / "imagesTr/case0_0001.nii.gz").unlink()
    report = verify(folder)
    assert report.faults == () and sentence in report.warnings[0]


def test_a_label_that_no_reader_takes_is_the_fault_of_its_case(raw):
    folder = raw()
    (folder / "labelsTr/case0.nii.gz").rename(folder / "labelsTr/case0.npz")
    (fault,) = verify(folder).faults
    assert "case0.npz: the file is not used" in fault


def test_two_files_of_one_channel_are_a_fault(raw):
    folder = raw()
    (folder / "imagesTr/case0_0000.nii").write_bytes(b"x")
    with pytest.raises(UserError) as raised:
        _ = Dataset.open(folder).cases
    assert "several files have one place (found: case0_0000.nii and case0_0000.nii.gz" in str(raised.value)


def test_what_no_case_lacks_is_only_warned_of(raw):
    folder = raw()
    folder_of(folder / "imagesTr", "case0_0000.png", "case1_0000.json", "notes.txt", "Thumbs.db", "._case0_0000.nii.gz",
              ".hidden_0000.nii.gz", ".gitignore")
    (folder / "imagesTr/excluded").mkdir()
    report = verify(folder)
    assert report.faults == ()
    assert [warning.split("imagesTr: ")[1] for warning in report.warnings] == [
        "5 files are not used (.hidden_0000.nii.gz, Thumbs.db, case0_0000.png, ...)",
        "1 sub-folder is not searched (excluded)"]


@pytest.mark.parametrize("ending", [".mhd", ".tif"])
def test_files_that_belong_to_an_image_are_used(raw, ending):
    report = verify(raw(ending=ending, file_ending=ending))
    assert (report.faults, report.warnings) == ((), ())


def test_a_patients_number_that_is_taken_for_a_channel_is_explained(raw):
    folder = raw()
    for part, name in (("imagesTr", "P_0001"), ("labelsTr", "P_0001")):
        (folder / part / f"{name}.nii.gz").write_bytes((folder / "labelsTr/case0.nii.gz").read_bytes())
    faults = "\n".join(verify(folder).faults)
    assert "rename the image P_0001 to P_0001_0000" in faults and "the number of channels is wrong" in faults


def test_cases_that_differ_by_a_channels_suffix_alone_are_warned_of(raw):
    folder = raw()
    for part, old, new in (("imagesTr", "case1_0000", "case0_0000_0000"), ("labelsTr", "case1", "case0_0000")):
        (folder / part / f"{old}.nii.gz").rename(folder / part / f"{new}.nii.gz")
    assert any("case0 and case0_0000 differ only by a channel's suffix" in warning for warning in verify(folder).warnings)


def test_test_images_that_would_be_left_out_are_warned_of(raw):
    folder = raw()
    (folder / "imagesTs").mkdir()
    folder_of(folder / "imagesTs", "t_0000.nii", "u_0000.dcm")
    (folder / "imagesTs/v_0000.nii.gz").symlink_to("/nowhere.nii.gz")
    report = verify(folder)
    assert report.faults == () and len(report.warnings) == 2
    assert "u_0000.dcm: the file is not used" in report.warnings[0] and "the link leads to nothing" in report.warnings[1]


def test_files_that_a_list_of_cases_does_not_name_are_warned_of(raw):
    folder = raw(dataset={"mine": {"images": ["imagesTr/case1_0000.nii.gz"], "label": "labelsTr/case1.nii.gz"}})
    assert [warning.split(": ", 1)[1] for warning in verify(folder).warnings] == [
        f"dataset.json lists its cases, and 1 files here are not among them ({name})"
        for name in ("case0_0000.nii.gz", "case0.nii.gz")]


def test_a_folder_to_predict_may_mix_endings(tmp_path):
    folder = folder_of(tmp_path, "a_0000.nii.gz", "b_0000.nii", "c_0000.NII.GZ", "d_0000.mha")
    (folder / "e_0000.nii.gz").symlink_to("/archive/e.nii.gz")
    assert [case.name for case in find_cases(folder, ONE, ".nii.gz")] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("name", ["b_0000.dcm", "b_0000.png", "b.nii.gz", "b_0000.nii.gz.part"])
def test_what_is_left_out_of_a_prediction_is_named_and_the_rest_is_predicted(tmp_path, name):
    scanned = scan_cases(folder_of(tmp_path, "a_0000.nii.gz", name, "table.csv"), ONE, ".nii.gz")
    assert [case.name for case in scanned.cases] == ["a"]
    assert len(scanned.faults) == 1 and name in scanned.faults[0]
    with pytest.raises(UserError, match="b"):
        find_cases(tmp_path, ONE, ".nii.gz")


def test_of_two_files_for_one_case_to_predict_none_is_chosen(tmp_path):
    scanned = scan_cases(folder_of(tmp_path, "a.nii.gz", "a.mha", "b.nii.gz"), ONE, ".nii.gz")
    assert [case.name for case in scanned.cases] == ["b"]
    assert "several files have one place (found: a.mha and a.nii.gz" in scanned.faults[0]


def test_one_file_brings_channels_of_other_endings(tmp_path):
    folder_of(tmp_path, "a_0000.nii.gz", "a_0001.nii", "b_0000.nii.gz", "b_0001.dcm")
    (case,) = find_cases(tmp_path / "a_0000.nii.gz", CT_PET, ".nii.gz")
    assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii"]
    with pytest.raises(UserError, match=r"b_0001\.dcm: the file is not used"):
        find_cases(tmp_path / "b_0000.nii.gz", CT_PET, ".nii.gz")


def test_several_faults_are_told_together(tmp_path):
    with pytest.raises(ManyFaults, match="2 faults"):
        find_cases(folder_of(tmp_path, "a_0000.nii.gz", "b_0000.dcm", "c_0000.zip"), ONE, ".nii.gz")


def test_a_lost_label_is_a_fault_where_the_first_channel_is_optional_too(raw):
    folder = raw(n_channels=2, optional_channels=["MR0"])
    (folder / "labelsTr/case0.nii.gz").rename(folder / "labelsTr/case0.npz")
    with pytest.raises(UserError, match=r"case0\.npz: the file is not used"):
        _ = Dataset.open(folder).cases
