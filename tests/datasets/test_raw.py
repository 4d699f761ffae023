import gzip
import re
import shutil

import numpy as np
import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.raw import distinct, find_cases, load_case
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

ONE = (ChannelSpec(name="MR0"),)
TWO = (ChannelSpec(name="MR0"), ChannelSpec(name="MR1"))
LABELS = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})


def load(folder, number: int = 0):
    dataset = Dataset.open(folder)
    manifest = dataset.manifest
    return load_case(dataset.cases[number], manifest.channels, manifest.labels)


def moved(geometry: Geometry, **change) -> Geometry:
    return Geometry(**{"shape": geometry.shape, "spacing_mm": geometry.spacing_mm,
                       "origin_mm": geometry.origin_mm} | change)


def test_cases_are_found_by_name_with_their_channels(raw):
    folder = raw(n_channels=2)
    cases = Dataset.open(folder).cases
    assert [case.name for case in cases] == ["case0", "case1"]
    assert [path.name for path in cases[1].images] == ["case1_0000.nii.gz", "case1_0001.nii.gz"]
    assert cases[1].label.name == "case1.nii.gz"


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".tif"])
def test_a_case_is_loaded_from_any_format(raw, ending, image_DHW, label_DHW):
    case = load(raw(n_channels=2, ending=ending), 1)
    np.testing.assert_array_equal(case.image_CDHW, [image_DHW + 1000, image_DHW + 1100])
    np.testing.assert_array_equal(case.label_DHW, label_DHW)
    assert case.present_C.tolist() == [True, True]
    assert case.geometry.spacing_mm == (3.0, 2.0, 1.0)


def test_what_a_stopped_write_left_is_no_case(raw):
    folder = raw()
    (folder / "imagesTr" / ".partial_x_0000.nii.gz").touch()
    assert len(Dataset.open(folder).cases) == 2


def test_listed_cases_are_taken_instead_of_the_folders(raw):
    listed = {"mine": {"images": ["imagesTr/case1_0000.nii.gz"], "label": "labelsTr/case1.nii.gz"}}
    folder = raw(dataset=listed)
    (case,) = Dataset.open(folder).cases
    assert case.name == "mine" and case.images[0] == folder / "imagesTr/case1_0000.nii.gz"


def test_a_listed_file_that_is_missing_is_an_error(raw):
    folder = raw(dataset={"mine": {"images": ["imagesTr/nope.nii.gz"], "label": "labelsTr/case1.nii.gz"}})
    with pytest.raises(UserError, match=r"nope\.nii\.gz: the file is missing; correct the case 'mine'"):
        _ = Dataset.open(folder).cases


def test_a_case_without_a_label_is_an_error(raw):
    folder = raw()
    (folder / "labelsTr/case1.nii.gz").unlink()
    with pytest.raises(UserError, match=r"case case1: the case has no label .*labelsTr.case1\.nii\.gz"):
        _ = Dataset.open(folder).cases


def test_all_faults_of_the_files_are_told_together(raw):
    folder = raw()
    (folder / "labelsTr/case1.nii.gz").rename(folder / "labelsTr/other.nii.gz")
    (folder / "imagesTr/case0_0000.nii.gz").rename(folder / "imagesTr/case0.nii.gz")
    with pytest.raises(ManyFaults) as raised:
        _ = Dataset.open(folder).cases
    text = "\n".join(raised.value.faults)
    for words in ("case case1: the case has no label", "other.nii.gz: the label has no image",
                  "case0.nii.gz: the name has no channel suffix (expected: case0_0000.nii.gz)"):
        assert words in text


def test_missing_folders_are_an_error(tmp_path, raw):
    folder = raw()
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(folder / "dataset.json", tmp_path / "elsewhere")
    with pytest.raises(ManyFaults, match="imagesTr: the folder is missing"):
        _ = Dataset.open(tmp_path / "elsewhere").cases


def test_a_folder_of_another_ending_is_read(raw):
    folder = raw(file_ending=".nrrd")
    assert [path.name for case in Dataset.open(folder).cases for path in (*case.images, case.label)] == [
        "case0_0000.nii.gz", "case0.nii.gz", "case1_0000.nii.gz", "case1.nii.gz"]


def test_a_folder_without_images_is_an_error(raw):
    folder = raw()
    for path in (folder / "imagesTr").iterdir():
        path.rename(path.with_suffix(".zip"))
    with pytest.raises(UserError, match=r"no image was found .*case0_0000\.nii\.zip"):
        _ = Dataset.open(folder).cases


def test_a_missing_channel_is_an_error_that_names_it(raw):
    folder = raw(n_channels=2)
    (folder / "imagesTr/case0_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"case case0: channel 1 'MR1' is missing .*case0_0001\.nii\.gz"):
        load(folder)


def test_a_missing_optional_channel_is_zeros_and_not_present(raw, image_DHW):
    folder = raw(n_channels=2, optional_channels=["MR0"])
    (folder / "imagesTr/case0_0000.nii.gz").unlink()
    case = load(folder)
    assert case.present_C.tolist() == [False, True]
    assert not case.image_CDHW[0].any()
    np.testing.assert_array_equal(case.image_CDHW[1], image_DHW + 100)


def test_a_channel_on_another_grid_is_an_error_with_both_grids(raw, geometry):
    folder = raw(n_channels=2)
    wider = moved(geometry, shape=(4, 5, 9))
    write_array(folder / "imagesTr/case0_0001.nii.gz", np.zeros((1, 4, 5, 9), np.float32), wider)
    with pytest.raises(UserError) as raised:
        load(folder)
    for words in ("case0_0001.nii.gz", "channel 1 'MR1' differs from that of channel 0 'MR0'", "(4, 5, 9)",
                  "(4, 5, 6)"):
        assert words in str(raised.value)


@pytest.mark.parametrize("change", [{"spacing_mm": (3.0, 2.0, 1.5)}, {"origin_mm": (-7.0, 11.0, 33.0)},
                                    {"direction": (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)}])
def test_a_label_on_another_grid_is_an_error(raw, geometry, label_DHW, change):
    folder = raw()
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW, moved(geometry, **change))
    with pytest.raises(UserError, match=r"case0\.nii\.gz: the grid of the label differs from that of channel 0"):
        load(folder)


def test_a_label_of_another_shape_is_an_error(raw, geometry):
    folder = raw()
    write_label(folder / "labelsTr/case0.nii.gz", np.zeros((3, 5, 6), np.int16), moved(geometry, shape=(3, 5, 6)))
    with pytest.raises(UserError, match=re.escape("found: shape (z, y, x) (3, 5, 6)")):
        load(folder)


def test_a_label_value_that_is_not_declared_is_an_error(raw, geometry, label_DHW):
    folder = raw()
    write_label(folder / "labelsTr/case0.nii.gz", np.where(label_DHW == 2, 7, label_DHW), geometry)
    with pytest.raises(UserError, match=r"label values are not declared \(found: 7; expected: 0, 1, 2\)"):
        load(folder)


def test_the_ignore_label_is_declared(raw, geometry, label_DHW):
    folder = raw(labels={"background": 0, "a": 1, "ignore": 2})
    assert load(folder).label_DHW.max() == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error_that_says_where(raw, geometry, image_DHW, value):
    folder = raw()
    image_DHW[1, 2, 3] = value
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None], geometry)
    with pytest.raises(UserError, match=r"case0_0000\.nii\.gz: the image holds NaN or infinity .*\(1, 2, 3\), 1 such"):
        load(folder)


def test_a_number_beyond_float32_is_not_finite(raw, geometry, image_DHW):
    folder = raw()
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None].astype(np.float64) * 1e40, geometry)
    with pytest.raises(UserError, match="the image holds NaN or infinity"):
        load(folder)


def test_fractions_in_a_label_are_an_error(raw, geometry, label_DHW):
    folder = raw()
    write_array(folder / "labelsTr/case0.nii.gz", label_DHW[None] * np.float32(0.5), geometry)
    with pytest.raises(UserError, match=r"labelsTr.case0\.nii\.gz: label values are not whole numbers"):
        load(folder)


def test_a_soft_mask_of_real_data_is_an_error(shared_data):
    mt = shared_data / "samples/spinal_cord/mt"
    files = CaseFiles("mt1", (mt / "mt1.nii.gz",), mt / "mt1_gmseg.nii.gz")
    with pytest.raises(UserError, match=r"mt1_gmseg\.nii\.gz: label values are not whole numbers"):
        load_case(files, ONE, LABELS)


def test_a_4d_image_is_an_error(raw):
    import nibabel

    folder = raw()
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4, 2), np.int16), np.eye(4))
    nibabel.save(image, folder / "imagesTr/case0_0000.nii.gz")
    with pytest.raises(UserError, match=r"case0_0000\.nii\.gz: the file holds a 4D volume"):
        load(folder)


def test_an_empty_and_a_truncated_file_are_errors(raw):
    folder = raw()
    (folder / "imagesTr/case0_0000.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"case0_0000\.nii\.gz: the file is empty"):
        load(folder)
    label = folder / "labelsTr/case1.nii.gz"
    label.write_bytes(label.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"labelsTr.case1\.nii\.gz: the file is cut short or damaged"):
        load(folder, 1)


def test_several_faults_of_a_case_are_told_together(raw, geometry, image_DHW, label_DHW):
    folder = raw()
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None] * np.nan, geometry)
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW + 5, geometry)
    with pytest.raises(ManyFaults, match="case case0: 2 faults found"):
        load(folder)


def test_a_picture_in_colour_is_three_channels(tmp_path):
    from PIL import Image

    colours_HWC = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    Image.fromarray(colours_HWC).save(tmp_path / "a_0000.png")
    channels = tuple(ChannelSpec(name=name) for name in "RGB")
    (files,) = find_cases(tmp_path, channels, ".png")
    case = load_case(files, channels)
    np.testing.assert_array_equal(case.image_CDHW[:, 0], np.moveaxis(colours_HWC, -1, 0))
    assert case.present_C.all()
    with pytest.raises(UserError, match=r"number of channels is wrong \(found: 3 \(3 in a_0000\.png\); expected: 1"):
        load_case(find_cases(tmp_path, ONE, ".png")[0], ONE)


def test_a_folder_of_images_is_found_for_prediction(raw):
    folder = raw(n_channels=2)
    cases = find_cases(folder / "imagesTr", TWO, ".nii.gz")
    assert [case.name for case in cases] == ["case0", "case1"] and cases[0].label is None
    assert load_case(cases[0], TWO).label_DHW is None


def test_more_channels_than_the_model_knows_are_an_error(raw):
    folder = raw(n_channels=2)
    with pytest.raises(UserError, match=r"case case0: the number of channels is wrong .*expected: 1 \(MR0\)"):
        load_case(find_cases(folder / "imagesTr", ONE, ".nii.gz")[0], ONE)


def test_fewer_channels_than_the_model_knows_are_an_error(raw):
    folder = raw(n_channels=1)
    with pytest.raises(UserError, match="channel 1 'MR1' is missing"):
        load_case(find_cases(folder / "imagesTr", TWO, ".nii.gz")[0], TWO)


def test_one_file_is_a_case_and_brings_its_other_channels(raw):
    images = raw(n_channels=2) / "imagesTr"
    (files,) = find_cases(images / "case1_0001.nii.gz", TWO, ".nii.gz")
    assert files == CaseFiles("case1", (images / "case1_0000.nii.gz", images / "case1_0001.nii.gz"))


@pytest.mark.parametrize(("name", "case"), [("scan_0000.nii.gz", "scan"), ("scan.nii.gz", "scan"),
                                            ("slice_0012.nii.gz", "slice_0012")])
def test_one_file_of_one_channel_may_have_any_name(tmp_path, geometry, image_DHW, name, case):
    write_array(tmp_path / name, image_DHW[None], geometry)
    assert find_cases(tmp_path / name, ONE, ".nrrd") == (CaseFiles(case, (tmp_path / name,)),)


def test_a_folder_of_one_channel_needs_no_suffix(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "scan.mha", image_DHW[None], geometry)
    assert find_cases(tmp_path, ONE, ".nii.gz") == (CaseFiles("scan", (tmp_path / "scan.mha",)),)


def test_names_without_a_suffix_are_an_error_where_there_are_several_channels(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "scan.nii.gz", image_DHW[None], geometry)
    with pytest.raises(UserError, match=r"scan\.nii\.gz: the name has no channel suffix"):
        find_cases(tmp_path, TWO, ".nii.gz")


def test_an_input_without_images_is_an_error(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(UserError, match=r"no image was found .*readme\.txt"):
        find_cases(tmp_path, ONE, ".nii.gz")
    with pytest.raises(UserError, match="the input is missing"):
        find_cases(tmp_path / "nowhere", ONE, ".nii.gz")
    with pytest.raises(UserError, match="the format is not known"):
        find_cases(tmp_path / "readme.txt", ONE, ".nii.gz")


def test_distinct_values_are_sorted_and_may_be_negative():
    assert distinct(np.array([[5, -1], [0, 5]], dtype=np.int16)) == [-1, 0, 5]


def test_a_gzip_of_two_members_is_one_file(raw):
    folder = raw()
    path = folder / "imagesTr/case0_0000.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    assert load(folder).image_CDHW.shape == (1, 4, 5, 6)


def test_three_grids_of_real_data_are_an_error_that_names_the_channels(shared_data):
    folder = shared_data / "Dataset010_STS"
    with pytest.raises(ManyFaults) as raised:
        load(folder)
    pet, mr = raised.value.faults
    assert "the grid of channel 1 'PET' differs from that of channel 0 'CT'" in pet and "(59, 43, 41)" in pet
    assert "the grid of channel 2 'MR_T1' differs from that of channel 0 'CT'" in mr and "(59, 202, 198)" in mr
