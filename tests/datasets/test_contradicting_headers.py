"""What verify says of headers that contradict themselves, and what the common orientation of a dataset is."""

import gzip

import nibabel
import numpy as np
import pytest

from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import verify
from autoseg.datasets.measure import measure
from autoseg.datasets.orientation import common_orientation, orientation_doubt
from autoseg.formats import read_header, read_image, write_label
from autoseg.grids.geometry import Geometry

AFFINE = np.diag([1.0, 2, 3, 1])


def replaced(path, change):
    """The image of a file written again after `change(image)`."""
    image = nibabel.load(path)
    again = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    change(again)
    nibabel.save(again, path)


def warnings_after(folder, change):
    for part in ("imagesTr/case0_0000.nii.gz", "labelsTr/case0.nii.gz"):
        replaced(folder / part, change)
    report = verify(folder)
    assert report.faults == ()
    return [warning for warning in report.warnings if "case0_0000" in warning]


def moved_qform(image):
    qform = image.affine.copy()
    qform[0, 3] += 12.5
    image.set_qform(qform, 1)
    image.set_sform(image.affine, 2)


def sheared(image):
    affine = image.affine.copy()
    affine[1, 2] += 1.5
    image.set_sform(affine, 1)
    image.set_qform(None, 0)


def without_codes(image):
    image.set_qform(None, 0)
    image.set_sform(None, 0)


def in_metres(image):
    image.header["xyzt_units"] = 1


@pytest.mark.parametrize(("change", "words"), [
    (moved_qform, "sform and qform disagree by 12.5 mm"), (sheared, "the axes are not perpendicular"),
    (without_codes, "does not say where the image lies"), (in_metres, "voxels of 3e+03 mm x 2e+03 mm x 1e+03 mm")])
def test_a_header_that_contradicts_itself_is_a_warning(raw, change, words):
    assert any(words in warning for warning in warnings_after(raw(), change))


def test_a_mask_at_the_place_of_another_program_is_taken_with_a_warning(raw):
    folder = raw()
    replaced(folder / "imagesTr/case0_0000.nii.gz", moved_qform)
    report = verify(folder)
    assert report.faults == () or "differs" not in report.faults[0]
    qform = nibabel.load(folder / "imagesTr/case0_0000.nii.gz").header.get_qform()

    def as_itk_wrote(image):
        image.set_qform(qform, 1)
        image.set_sform(qform, 1)

    replaced(folder / "labelsTr/case0.nii.gz", as_itk_wrote)
    report = verify(folder)
    assert report.faults == () and any("case0.nii.gz: lies 12.5 mm from" in warning for warning in report.warnings)


def test_vectors_are_channels(tmp_path):
    voxels = np.arange(4 * 3 * 2 * 2, dtype=np.int16).reshape(4, 3, 2, 1, 2)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.header.set_intent("vector")
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert read_header(tmp_path / "a.nii.gz").n_channels == 2
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz")[0], voxels[:, :, :, 0].T)


def test_an_intercept_that_is_no_number_is_zero_with_a_warning(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((4, 3, 2), 7, np.int16), AFFINE), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:120] = np.array([2, np.nan], "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    assert (read_image(path)[0] == 14).all()
    assert "scl_inter is nan" in read_header(path).warnings[0]


def test_labels_where_all_channels_are_zero_are_counted_and_kept(raw, image_DHW, geometry):
    folder = raw(n_cases=1)
    image_DHW[0] = 0  # with it, the two voxels of label 1
    replaced(folder / "imagesTr/case0_0000.nii.gz", lambda image: image.dataobj.__setitem__((..., 0), 0))
    words = "case case0: 2 labelled voxels lie where all channels are 0"
    assert any(words in warning for warning in verify(folder).warnings)
    assert measure(Dataset.open(folder), "x").cases[0].shape == geometry.shape


def reoriented(path, codes):
    image = nibabel.load(path)
    start, end = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    nibabel.save(image.as_reoriented(nibabel.orientations.ornt_transform(start, end)), path)


def test_measures_are_in_the_orientation_of_most_cases(raw):
    folder = raw(n_cases=3)
    alike = measure(Dataset.open(folder), "x")
    assert (alike.orientation, alike.turned) == ("LPS", 0)
    for part in ("imagesTr/case1_0000.nii.gz", "labelsTr/case1.nii.gz"):
        reoriented(folder / part, "SRA")
    mixed = measure(Dataset.open(folder), "x")
    assert (mixed.orientation, mixed.turned, mixed.cases) == ("LPS", 1, alike.cases)
    assert mixed.label_stats == alike.label_stats and mixed.ceilings == alike.ceilings
    assert any("1 of 3 cases are stored in another orientation" in warning for warning in verify(folder).warnings)


ALONG_THE_BODY = np.eye(3)


def grid(direction=ALONG_THE_BODY, **changes):
    return Geometry((4, 5, 6), (1.0, 1.0, 1.0), direction=tuple(np.asarray(direction, float).ravel()), **changes)


def test_without_orientation_images_are_taken_as_stored():
    assert common_orientation({"a": grid(is_oriented=False), "b": grid(is_oriented=False)}).axes == ""
    common = common_orientation({"a": grid(), "b": grid(is_oriented=False)})
    assert common.axes == "LPS" and "1 of 2 cases do not say how they lie" in common.warnings[0]
    assert "does not say how it lies" in orientation_doubt("b", grid(is_oriented=False), "LPS")[0]
    assert orientation_doubt("a", grid(), "LPS") == orientation_doubt("b", grid(is_oriented=False), "") == ()


def test_oblique_cases_of_several_orientations_have_none_in_common():
    angle = np.radians(40)
    oblique = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    cases = {"a": grid(oblique), "b": grid(oblique @ np.diag([-1, 1, 1])), "c": grid(oblique)}
    common = common_orientation(cases)
    assert common.axes == "" and "no common orientation is clear" in common.warnings[0]
    assert common_orientation({name: cases[name] for name in "ac"}).axes == "LPS"


def test_grids_are_compared_in_voxels():
    small = Geometry((4, 5, 6), (0.0005, 0.0005, 0.0005))
    shifted = Geometry((4, 5, 6), (0.0005, 0.0005, 0.0005), (0.0075, 0.0, 0.0))
    assert "7.5 um apart" in small.difference(shifted)
    thick = Geometry((4, 5, 6), (5.0, 0.5, 0.5))
    assert thick.difference(Geometry((4, 5, 6), (5.0, 0.5, 0.5), (0.01, 0.0, 0.1))) == ""


def test_a_mask_says_what_the_image_said(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((4, 3, 2), np.int16), AFFINE)
    image.set_qform(AFFINE @ np.diag([-1, 1, 1, 1]), 1)
    image.set_sform(AFFINE + np.diag([0, 0, 0.3, 0]), 4)
    image.header["xyzt_units"] = 3
    nibabel.save(image, tmp_path / "a.nii.gz")
    write_label(tmp_path / "b.nii.gz", np.zeros((2, 3, 4), np.int16), read_header(tmp_path / "a.nii.gz").geometry)
    said, says = (nibabel.load(tmp_path / name).header for name in ("a.nii.gz", "b.nii.gz"))
    for field in ("pixdim", "qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_d", "qoffset_x", "srow_x"):
        np.testing.assert_array_equal(np.ravel(said[field])[:4], np.ravel(says[field])[:4])
