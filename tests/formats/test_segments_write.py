"""Label maps become objects of DICOM, which refer to their series; what is read again is the same mask."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.dicom import DicomSource, find_stacks
from autoseg.formats.results import DicomResults
from autoseg.formats.segments import read_rtstruct, read_segmentation, read_segments
from autoseg.formats.source import FileSource
from dicom_standard import faults_of
from dicom_studies import AXIAL, ORIGIN, SHAPE, SPACING, truth, write_frames, write_series

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

STRUCTURES = {"liver": (1,), "kidney_left": (2,), "whole": (1, 2)}  # the last is a region of both
READ = {"seg": read_segments, "rtstruct": read_rtstruct}
KINDS = tuple(READ)


def label(seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Islands, holes and single voxels; the first slice is empty."""
    label_DHW = np.random.default_rng(seed).choice([0, 1, 2], size=shape, p=[0.5, 0.3, 0.2]).astype(np.uint8)
    label_DHW[0] = 0
    return label_DHW


def stack_of(paths):
    (stack,) = find_stacks(paths)
    return stack


def written(tmp_path, stack, kind, label_DHW=None, structures=None, **more):
    """A file of results of a stack."""
    results = DicomResults(kind, structures or STRUCTURES, **more)
    path = tmp_path / f"case_{kind}.dcm"
    DicomSource(stack).writer(stack.geometry(), results).write_label(path, label() if label_DHW is None else label_DHW)
    return path


@pytest.fixture
def stack(tmp_path):
    return stack_of(write_series(tmp_path / "ct", truth()))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_again_is_the_same_mask(tmp_path, stack, kind):
    masks = READ[kind](written(tmp_path, stack, kind), stack)
    assert list(masks) == list(STRUCTURES)
    for name, values in STRUCTURES.items():
        np.testing.assert_array_equal(masks[name], np.isin(label(), values))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [AXIAL, (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, 0.36, -0.48, 0.8)])
def test_slices_may_lie_in_any_direction(tmp_path, kind, orientation):
    stack = stack_of(write_series(tmp_path / "ct", truth(), orientation=orientation))
    mask_DHW = READ[kind](written(tmp_path, stack, kind), stack)["whole"]
    np.testing.assert_array_equal(mask_DHW, label() > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tilted_stack_has_its_results_on_its_straight_grid(tmp_path, kind):
    stack = stack_of(write_series(tmp_path / "ct", truth(), position_mm=lambda k: (
        ORIGIN[0], ORIGIN[1] + 0.9 * k, ORIGIN[2] + SPACING[0] * k)))
    assert stack.is_tilted
    label_DHW = label(shape=stack.geometry().shape)
    mask_DHW = READ[kind](written(tmp_path, stack, kind, label_DHW), stack)["whole"]
    np.testing.assert_array_equal(mask_DHW, label_DHW > 0)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_an_enhanced_file_are_referred_to(tmp_path, kind):
    positions = [(ORIGIN[0], ORIGIN[1], ORIGIN[2] + SPACING[0] * k) for k in range(SHAPE[0])]
    stack = stack_of([write_frames(tmp_path / "enhanced.dcm", truth(), positions)])
    path = written(tmp_path, stack, kind)
    np.testing.assert_array_equal(READ[kind](path, stack)["whole"], label() > 0)
    file = pydicom.dcmread(path)
    if kind == "seg":
        images = [group.DerivationImageSequence[0].SourceImageSequence[0] for group in file.PerFrameFunctionalGroupsSequence]
    else:
        images = [contour.ContourImageSequence[0] for roi in file.ROIContourSequence for contour in roi.ContourSequence]
    assert {image.ReferencedSOPInstanceUID for image in images} == {stack.slices[0].uid}
    assert {image.ReferencedFrameNumber for image in images} == set(range(2, SHAPE[0] + 1))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_is_written_too(tmp_path, stack, kind):
    masks = READ[kind](written(tmp_path, stack, kind, np.zeros(SHAPE, np.uint8)), stack)
    assert list(masks) == list(STRUCTURES) and not any(mask_DHW.any() for mask_DHW in masks.values())


@pytest.mark.parametrize("kind", KINDS)
def test_it_belongs_to_the_patient_and_the_study_of_its_series(tmp_path, kind):
    stack = stack_of(write_series(tmp_path / "ct", truth(), PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100",
                                  PatientSex="F", StudyDescription="Abdomen", AccessionNumber="A1"))
    source = pydicom.dcmread(stack.slices[0].path)
    file = pydicom.dcmread(written(tmp_path, stack, kind, model="Dataset007_Liver 3d_fullres", identity="abc"))
    for name in ("PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "AccessionNumber", "FrameOfReferenceUID"):
        assert getattr(file, name) == getattr(source, name), name
    assert str(file.PatientName) == "Müller^Jörg"
    assert file.SeriesDescription == "autoseg Dataset007_Liver 3d_fullres"
    assert file.SeriesInstanceUID != source.SeriesInstanceUID
    assert pydicom.uid.UID(file.SeriesInstanceUID).is_valid and pydicom.uid.UID(file.SOPInstanceUID).is_valid
    assert file.Manufacturer == "autoseg" and file.DeviceSerialNumber == "abc"


@pytest.mark.parametrize("kind", KINDS)
def test_dates_that_are_none_and_the_largest_number_of_a_series_are_no_obstacle(tmp_path, kind):
    stack = stack_of(write_series(tmp_path / "ct", truth(), PatientBirthDate="00000000", SeriesNumber=2**31 - 1))
    path = written(tmp_path, stack, kind)
    np.testing.assert_array_equal(READ[kind](path, stack)["whole"], label() > 0)
    assert (pydicom.dcmread(path).PatientBirthDate, pydicom.dcmread(path).SeriesNumber) == ("", 1000)


def test_a_series_to_which_no_segmentation_can_refer_is_said(tmp_path):
    stack = stack_of(write_series(tmp_path / "ct", truth(), SOPClassUID="1.2.3"))
    with pytest.raises(UserError, match=r"cannot refer to the series.*1\.2\.3.*rtstruct or nifti"):
        written(tmp_path, stack, "seg")


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_what_the_standard_asks_for(tmp_path, stack, kind):
    assert faults_of(pydicom.dcmread(written(tmp_path, stack, kind))) == []


def test_segments_carry_codes_and_the_algorithm(tmp_path, stack):
    liver, kidney, whole = pydicom.dcmread(written(tmp_path, stack, "seg")).SegmentSequence
    assert liver.SegmentLabel == "liver" and liver.SegmentAlgorithmType == "AUTOMATIC"
    (code,) = liver.SegmentedPropertyTypeCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == ("10200004", "SCT", "Liver")
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == "autoseg" and algorithm.AlgorithmVersion
    (side,) = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
    assert side.CodeMeaning == "Left"
    assert whole.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Anatomical Structure"


def test_structures_are_closed_contours_with_their_images(tmp_path, stack):
    label_DHW = np.zeros(SHAPE, np.uint8)
    label_DHW[2, 1:6, 1:6], label_DHW[2, 3, 3], label_DHW[4, 0, 0] = 1, 0, 1
    file = pydicom.dcmread(written(tmp_path, stack, "rtstruct", label_DHW, {"tumour": (1,)}))
    assert file.StructureSetROISequence[0].ROIName == "tumour"
    assert file.StructureSetROISequence[0].ROIGenerationAlgorithm == "AUTOMATIC"
    ring, voxel = file.ROIContourSequence[0].ContourSequence
    assert {ring.ContourGeometricType, voxel.ContourGeometricType} == {"CLOSED_PLANAR"}
    assert ring.ContourImageSequence[0].ReferencedSOPInstanceUID == stack.slices[2].uid
    points_mm = np.array(voxel.ContourData, float).reshape(-1, 3)
    half = np.array([SPACING[2], SPACING[1], 0]) / 2
    np.testing.assert_allclose(points_mm.min(0), np.array(stack.slices[4].position_mm) - half)
    np.testing.assert_allclose(points_mm.max(0), np.array(stack.slices[4].position_mm) + half)
    assert int(ring.NumberOfContourPoints) == 10  # 4 + 4 corners, and both ends of the channel to the hole


def test_probabilities_are_fractions_of_a_segmentation(tmp_path, stack):
    probabilities_KDHW = np.random.default_rng(0).random((3, *SHAPE)).astype(np.float32)
    results = DicomResults("seg", {"liver": (1,), "mass": (2,)}, heads=("background", "liver", "mass"))
    DicomSource(stack).writer(stack.geometry(), results).write_array(tmp_path / "p.dcm", probabilities_KDHW)
    file = pydicom.dcmread(tmp_path / "p.dcm")
    assert (file.SegmentationType, file.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    for frame, values_HW in zip(read_segmentation(tmp_path / "p.dcm").frames, file.pixel_array, strict=True):
        plane = round((frame.position_mm[2] - ORIGIN[2]) / SPACING[0])
        np.testing.assert_allclose(values_HW / 255, probabilities_KDHW[frame.segment, plane], atol=0.5 / 255 + 1e-6)
    masks = read_segments(tmp_path / "p.dcm", stack)
    np.testing.assert_array_equal(masks["mass"], np.rint(probabilities_KDHW[2] * 255) > 127)


def test_other_arrays_are_files_of_their_own(tmp_path, stack):
    writer = DicomSource(stack).writer(stack.geometry(), DicomResults("rtstruct", STRUCTURES))
    writer.write_array(tmp_path / "entropy.nii.gz", np.ones((1, *SHAPE), np.float32))
    assert FileSource(tmp_path / "entropy.nii.gz").header().geometry.difference(stack.geometry()) == ""


def test_without_a_frame_of_reference_there_is_nothing_to_refer_to(tmp_path):
    stack = stack_of(write_series(tmp_path / "ct", truth(), FrameOfReferenceUID=None))
    with pytest.raises(UserError, match="no frame of reference.*--output-format nifti"):
        written(tmp_path, stack, "seg")
    assert not (tmp_path / "case_seg.dcm").exists()


def test_a_file_that_is_no_dicom_has_no_results_in_dicom():
    geometry = None
    with pytest.raises(UserError, match="this image is none.*--output-format nifti, nrrd or mha"):
        FileSource("case_0000.nii.gz").writer(geometry, DicomResults("seg", STRUCTURES))


def test_many_segments_are_numbered_as_they_are_named(tmp_path, stack):
    n = 260  # more than a byte holds
    label_DHW = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint16)
    label_DHW[label_DHW > n] = 0
    path = written(tmp_path, stack, "seg", label_DHW, {f"part {value}": (value,) for value in range(1, n + 1)})
    assert len(read_segmentation(path).names) == n
    np.testing.assert_array_equal(read_segments(path, stack, [f"part {n}"])[f"part {n}"], label_DHW == n)
