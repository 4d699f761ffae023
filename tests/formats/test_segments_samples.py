"""The DICOM masks of the shared samples: each is what its makers say, or is refused with a reason."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats import read_header, read_label
from autoseg.formats.dicom import find_stacks
from autoseg.formats.results import DicomResults
from autoseg.formats.segments import masks_on, own_grid, read_rtstruct, read_segmentation, read_segments
from autoseg.formats.segments.rtstruct_write import write_rtstruct
from autoseg.formats.segments.seg_write import write_seg

pytest.importorskip("pydicom")


@pytest.fixture
def samples(shared_data):
    return shared_data / "samples"


def stack_in(folder):
    (stack,) = find_stacks(sorted(folder.iterdir()))
    return stack


def test_segments_are_those_of_the_decoded_files(samples):
    folder = samples / "dicom_seg" / "dcmqi"
    stack = stack_in(folder / "ct-3slice")
    liver_DHW, _ = read_label(folder / "liver_seg.nrrd")
    np.testing.assert_array_equal(read_segments(folder / "liver.dcm", stack)["Liver"], liver_DHW)
    masks = list(read_segments(folder / "partial_overlaps.dcm", stack).values())
    assert len(masks) == 5
    for k in (1, 2, 3):  # segments that do not overlap lie in one file
        label_DHW, _ = read_label(folder / f"partial_overlaps-{k}.nrrd")
        for value in np.unique(label_DHW)[1:]:
            np.testing.assert_array_equal(masks[value - 1], label_DHW == value)


@pytest.mark.parametrize(("name", "voxels"), [("binary", [638]), ("binary_fractional", [638]), ("true_fractional", [638]),
                                              ("binary_single_frame", [1832]), ("binary_overlap", [64, 16])])
def test_segmentations_of_highdicom_are_what_simpleitk_reads(samples, name, voxels):
    import SimpleITK as sitk

    path = samples / "dicom_seg" / "highdicom" / f"seg_image_ct_{name}.dcm"
    segmentation = read_segmentation(path)
    masks = list(masks_on(segmentation, own_grid(segmentation)).values())
    assert [int(mask_DHW.sum()) for mask_DHW in masks] == voxels
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))  # frame after frame
    assert sum(voxels) == (values >= 127.5 if segmentation.kind == "FRACTIONAL" else values > 0).sum()
    if name != "binary_overlap":  # ITK knows no segments
        rows = masks[0][masks[0].any((1, 2))]
        np.testing.assert_array_equal(rows, values >= 127.5 if segmentation.kind == "FRACTIONAL" else values > 0)


def test_a_segmentation_and_an_image_of_other_series_are_refused(samples):
    folder = samples / "dicom_seg" / "highdicom"
    (stack,) = find_stacks([folder / "ct_image.dcm"])
    assert read_segments(folder / "seg_image_ct_binary_single_frame.dcm", stack)["first segment"].sum() == 1832
    with pytest.raises(UserError, match="drawn on another series"):
        read_segments(folder / "seg_image_ct_binary.dcm", stack)
    with pytest.raises(UserError, match="no DICOM segmentation.*found: DX"):
        read_segments(folder / "dx_image.dcm", stack)
    with pytest.raises(UserError, match="no slice with a position in the patient"):
        find_stacks([folder / "dx_image.dcm"])


def test_the_segmentation_of_some_slices_is_the_mask_of_the_volume(samples):
    label_DHW, geometry = read_label(samples / "breast_dce" / "mask.nii.gz")
    masks = masks_on(read_segmentation(samples / "breast_dce" / "mask_dicom_seg.dcm"), geometry)
    np.testing.assert_array_equal(masks["Breast"], label_DHW > 0)


@pytest.mark.parametrize("patient", ["STS_002", "STS_008"])
def test_structures_are_the_labels_of_the_dataset_and_come_back_as_they_are(shared_data, samples, tmp_path, patient):
    label_DHW, geometry = read_label(shared_data / "Dataset010_STS" / "labelsTr" / f"{patient}.nii.gz")
    for name in ("CT", "MR_T1", "PET"):
        folder = samples / "sts_dicom" / patient / name
        stack = stack_in(folder / "image")
        (mask_DHW,) = read_rtstruct(folder / "mask" / "RS.dcm", stack).values()
        if name == "CT":
            np.testing.assert_array_equal(mask_DHW, label_DHW > 0)
            assert geometry.farthest_mm(stack.geometry()) < 1e-3
            image = read_header(shared_data / "Dataset010_STS" / "imagesTr" / f"{patient}_0000.nii.gz").geometry
            assert image.farthest_mm(stack.geometry()) < 1e-3
        write_rtstruct(tmp_path / "rs.dcm", mask_DHW, stack, stack.geometry(), DicomResults("rtstruct", {"tumour": (1,)}))
        np.testing.assert_array_equal(read_rtstruct(tmp_path / "rs.dcm", stack)["tumour"], mask_DHW)
        pytest.importorskip("highdicom")
        write_seg(tmp_path / "seg.dcm", mask_DHW, stack, stack.geometry(), DicomResults("seg", {"tumour": (1,)}))
        np.testing.assert_array_equal(read_segments(tmp_path / "seg.dcm", stack)["tumour"], mask_DHW)
