"""Segmentations (SEG) and structure sets (RTSTRUCT) of DICOM: on the grid of their series, or refused with a reason."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.dicom import find_stacks
from autoseg.formats.segments import masks_on, own_grid, read_rtstruct, read_segmentation, read_segments, read_structures
from dicom_masks import FRAME_OF_REFERENCE, Contour, as_label_map, change, square, write_seg_file, write_structures
from dicom_studies import ORIGIN, SHAPE, SPACING, truth, write_series

pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def stack(tmp_path):
    (stack,) = find_stacks(write_series(tmp_path / "ct", truth()))
    return stack


def block(*slices: slice) -> np.ndarray:
    mask_DHW = np.zeros(SHAPE, bool)
    mask_DHW[slices] = True
    return mask_DHW


LIVER, MASS = block(slice(1, 4), slice(2, 6), slice(3, 8)), block(slice(2, 5), slice(3, 4), slice(0, 5))


def test_segments_are_read_on_the_slices_that_they_have(tmp_path, stack):
    write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER, "Mass": MASS, "Empty": np.zeros(SHAPE, bool)})
    masks = read_segments(tmp_path / "seg.dcm", stack)
    assert list(masks) == ["Liver", "Mass", "Empty"]
    np.testing.assert_array_equal(masks["Liver"], LIVER)
    np.testing.assert_array_equal(masks["Mass"], MASS)  # it overlaps the liver
    assert not masks["Empty"].any()


def test_some_segments_alone_are_read_by_their_names(tmp_path, stack):
    write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER, "Mass": MASS})
    assert list(read_segments(tmp_path / "seg.dcm", stack, ["Mass"])) == ["Mass"]
    with pytest.raises(UserError, match=r"no such segment \(found: Spleen; expected: Liver, Mass\)"):
        read_segments(tmp_path / "seg.dcm", stack, ["Spleen"])


def test_segments_of_one_name_are_one_structure(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Lesion": LIVER, "other": MASS})
    with change(path) as file:
        file.SegmentSequence[1].SegmentLabel = "Lesion"
    np.testing.assert_array_equal(read_segments(path, stack)["Lesion"], LIVER | MASS)


def test_what_all_frames_share_is_read(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": block(slice(2, 3), slice(2, 6), slice(3, 8))})
    with change(path) as file:
        (group,), (shared,) = file.PerFrameFunctionalGroupsSequence, file.SharedFunctionalGroupsSequence
        for name in ("PlanePositionSequence", "SegmentIdentificationSequence"):
            setattr(shared, name, getattr(group, name))
            delattr(group, name)
    assert read_segments(path, stack)["Liver"].sum() == 20


def test_a_fraction_belongs_to_a_segment_from_a_half_on(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    values = np.where(LIVER[1:4], 128, 127).astype(np.uint8)
    values[:, 0, 0] = 0
    with change(path) as file:
        file.SegmentationType, file.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
        file.MaximumFractionalValue = 255
        file.BitsAllocated = file.BitsStored = 8
        file.HighBit, file.PixelData = 7, values.tobytes()
    np.testing.assert_array_equal(read_segments(path, stack)["Liver"], LIVER)


def test_a_label_map_is_read_by_the_numbers_of_its_segments(tmp_path, stack):
    path = as_label_map(write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER & ~MASS, "Mass": MASS}))
    masks = read_segments(path, stack)
    np.testing.assert_array_equal(masks["Liver"], LIVER & ~MASS)
    np.testing.assert_array_equal(masks["Mass"], MASS)


def test_a_kind_that_is_not_known_is_refused(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        file.SegmentationType = "SURFACE"
    with pytest.raises(UserError, match="kind of the segmentation is not known.*found: SURFACE"):
        read_segments(path, stack)


def test_a_segmentation_of_another_series_is_refused(tmp_path, stack):
    (other,) = find_stacks(write_series(tmp_path / "other", truth(), series=2))
    path = write_seg_file(tmp_path / "seg.dcm", other, {"Liver": LIVER})
    with pytest.raises(UserError, match="drawn on another series.*name the series that it was drawn on"):
        read_segments(path, stack)
    with change(path) as file:  # without the images it names the series, without both the frame of reference
        for group in file.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
    with pytest.raises(UserError, match="drawn on another series"):
        read_segments(path, stack)
    with change(path) as file:
        del file.ReferencedSeriesSequence
        file.FrameOfReferenceUID = "1.2.3.4"
    with pytest.raises(UserError, match=r"drawn on another series \(found: frame of reference 1.2.3.4"):
        read_segments(path, stack)
    with change(path) as file:
        file.FrameOfReferenceUID = FRAME_OF_REFERENCE
    np.testing.assert_array_equal(read_segments(path, stack)["Liver"], LIVER)


def test_a_frame_beyond_the_slices_is_refused_with_its_distance(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        for group in file.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient[2] += 10
    with pytest.raises(UserError, match=r"outside the slices of the series.*Liver, up to 2.5 mm beyond"):
        read_segments(path, stack)


def test_frames_that_are_unevenly_apart_between_slices_are_refused(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        file.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] += 1
    with pytest.raises(UserError, match="not evenly apart"):
        read_segments(path, stack)


def test_a_finer_grid_is_brought_to_that_of_the_series(tmp_path, stack, caplog):
    fine = np.repeat(np.repeat(LIVER, 2, 1), 2, 2)  # pixels of half the size over the same extent
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": fine})
    half = [SPACING[1] / 2, SPACING[2] / 2]
    with change(path) as file:
        file.Rows, file.Columns = fine.shape[1:]
        file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = half
        for group in file.PerFrameFunctionalGroupsSequence:
            x, y, z = group.PlanePositionSequence[0].ImagePositionPatient
            group.PlanePositionSequence[0].ImagePositionPatient = [x - half[1] / 2, y - half[0] / 2, z]
    np.testing.assert_array_equal(read_segments(path, stack)["Liver"], LIVER)
    assert "to which it is interpolated" in caplog.text


def test_frames_across_the_slices_are_turned(tmp_path, stack):
    """A sagittal frame: its columns run along y and its rows downwards."""
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": block(slice(2, 3))})
    sagittal = np.zeros((SHAPE[0], SHAPE[1]), bool)
    sagittal[1, 2:5] = True  # row 1 is the second slice from above
    with change(path) as file:
        file.Rows, file.Columns = sagittal.shape
        shared = file.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        shared.PixelMeasuresSequence[0].PixelSpacing = [SPACING[0], SPACING[1]]
        file.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [
            ORIGIN[0] + 3 * SPACING[2], ORIGIN[1], ORIGIN[2] + (SHAPE[0] - 1) * SPACING[0]]
        file.PixelData = np.packbits(sagittal.ravel(), bitorder="little").tobytes()
    np.testing.assert_array_equal(read_segments(path, stack)["Liver"],
                                  block(slice(SHAPE[0] - 2, SHAPE[0] - 1), slice(2, 5), slice(3, 4)))


def test_as_many_pixels_half_a_pixel_away_are_those_of_the_series(tmp_path, stack, caplog):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        for group in file.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient[0] += SPACING[2] / 2
    np.testing.assert_array_equal(read_segments(path, stack)["Liver"], LIVER)
    assert "its pixels lie 0.25 mm from those of the series" in caplog.text


def test_the_grid_of_a_segmentation_counts_the_slices_that_it_leaves_out(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER & ~block(slice(2, 3)), "Mass": block(slice(5, 6))})
    segmentation = read_segmentation(path)  # slices 1, 3 and 5
    with change(path) as file:
        file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = SPACING[0]
    grid = own_grid(read_segmentation(path))
    assert (grid.shape[0], grid.spacing_mm[0]) == (5, SPACING[0])
    assert own_grid(segmentation).shape[0] == 3  # nothing but the distance of frames is known
    np.testing.assert_array_equal(masks_on(segmentation, grid)["Liver"], (LIVER & ~block(slice(2, 3)))[1:])


def test_without_places_in_the_patient_a_segmentation_is_refused(tmp_path, stack):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        for group in file.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence
    with pytest.raises(UserError, match="does not say where its frames lie"):
        read_segments(path, stack)


def test_other_files_are_refused_by_both_readers(tmp_path, stack):
    with pytest.raises(UserError, match="no DICOM segmentation.*found: CT"):
        read_segments(stack.slices[0].path, stack)
    with pytest.raises(UserError, match="no RTSTRUCT.*found: CT"):
        read_rtstruct(stack.slices[0].path, stack)
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(UserError, match="cannot be read"):
        read_rtstruct(tmp_path / "text.dcm", stack)


@pytest.mark.parametrize(("name", "values"), [("ImagePositionPatient", ["NaN", 0, 0]), ("PixelSpacing", [0, 1])])
def test_a_frame_at_no_place_is_refused(tmp_path, stack, name, values):
    path = write_seg_file(tmp_path / "seg.dcm", stack, {"Liver": LIVER})
    with change(path) as file:
        shared, group = file.SharedFunctionalGroupsSequence[0], file.PerFrameFunctionalGroupsSequence[0]
        setattr(group.PlanePositionSequence[0] if "Position" in name else shared.PixelMeasuresSequence[0], name, values)
    with pytest.raises(UserError, match="a frame lies at no place in the patient"):
        read_segments(path, stack)


def test_contour_data_that_are_no_numbers_are_refused(tmp_path, stack):
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": [Contour(float("nan"), square(0.5, 3.5))]})
    with pytest.raises(UserError, match="cannot be read.*no finite numbers"):
        read_structures(path)


def test_contours_are_filled_where_the_centres_of_voxels_lie_in_them(tmp_path, stack):
    contours = [Contour(2, square(0.6, 4.4)), Contour(3, square(1.5, 2.5))]
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": contours})
    expected = block(slice(2, 3), slice(1, 5), slice(1, 5)) | block(slice(3, 4), slice(2, 3), slice(2, 3))
    np.testing.assert_array_equal(read_rtstruct(path, stack)["GTV"], expected)


def test_a_contour_in_another_is_a_hole_and_one_beside_it_an_island(tmp_path, stack):
    contours = [Contour(2, square(-0.5, 5.5)), Contour(2, square(1.5, 3.5)), Contour(2, square(5.6, 7.4))]
    mask_DHW = read_rtstruct(write_structures(tmp_path / "rs.dcm", stack, {"GTV": contours}), stack)["GTV"]
    expected = block(slice(2, 3), slice(0, 6), slice(0, 6)) & ~block(slice(2, 3), slice(2, 4), slice(2, 4))
    np.testing.assert_array_equal(mask_DHW, expected | block(slice(2, 3), slice(6, 8), slice(6, 8)))


def test_a_channel_to_a_hole_is_no_part_of_it(tmp_path, stack):
    keyhole = [(-0.5, -0.5), (5.5, -0.5), (5.5, 5.5), (-0.5, 5.5), (-0.5, 1.2), (1.5, 1.2), (1.5, 3.5), (3.5, 3.5),
               (3.5, 1.2), (1.5, 1.2), (-0.5, 1.2)]
    mask_DHW = read_rtstruct(write_structures(tmp_path / "rs.dcm", stack, {"GTV": [Contour(2, keyhole)]}), stack)["GTV"]
    expected = block(slice(2, 3), slice(0, 6), slice(0, 6)) & ~block(slice(2, 3), slice(2, 4), slice(2, 4))
    np.testing.assert_array_equal(mask_DHW, expected)


def test_a_contour_that_is_drawn_twice_is_no_hole(tmp_path, stack):
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": 2 * [Contour(2, square(0.5, 3.5))]})
    assert read_rtstruct(path, stack)["GTV"].sum() == 9


def test_points_and_open_lines_enclose_nothing(tmp_path, stack, caplog):
    structures = {"GTV": [Contour(2, square(0.5, 3.5)), Contour(2, square(4, 6), "OPEN_PLANAR")],
                  "isocentre": [Contour(2, [(1, 1)], "POINT")]}
    masks = read_rtstruct(write_structures(tmp_path / "rs.dcm", stack, structures), stack)
    assert masks["GTV"].sum() == 9 and not masks["isocentre"].any()
    assert "1 contours of isocentre enclose nothing" in caplog.text


def test_contours_off_the_slices_are_refused_with_their_distance(tmp_path, stack):
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": [Contour(2.4, square(0.5, 3.5))], "lung": []})
    with pytest.raises(UserError, match=r"off the slices of the series.*GTV, up to 1 mm from slice 3 of 6"):
        read_rtstruct(path, stack)
    assert not read_rtstruct(path, stack, ["lung"])["lung"].any()  # a structure that is not asked for harms nobody
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": [Contour(8, square(0.5, 3.5))]})
    with pytest.raises(UserError, match=r"GTV, up to 7.5 mm from slice 6 of 6, the nearest"):
        read_rtstruct(path, stack)


def test_rounded_positions_are_on_their_slice(tmp_path, stack):
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": [Contour(2.02, square(0.5, 3.5))]})
    assert read_rtstruct(path, stack)["GTV"][2].sum() == 9


def test_contours_on_every_other_slice_are_told(tmp_path, stack, caplog):
    contours = [Contour(k, square(0.5, 3.5)) for k in (0, 2, 4)]
    mask_DHW = read_rtstruct(write_structures(tmp_path / "rs.dcm", stack, {"GTV": contours}), stack)["GTV"]
    assert mask_DHW.any((1, 2)).tolist() == [True, False, True, False, True, False]
    assert "GTV has no contours on neighbouring slices" in caplog.text


def test_structures_of_another_series_are_refused(tmp_path, stack):
    (other,) = find_stacks(write_series(tmp_path / "other", truth(), series=2))
    path = write_structures(tmp_path / "rs.dcm", other, {"GTV": [Contour(2, square(0.5, 3.5))]})
    with pytest.raises(UserError, match="the structures were drawn on another series"):
        read_rtstruct(path, stack)


def test_two_structures_of_one_name_are_refused(tmp_path, stack):
    path = write_structures(tmp_path / "rs.dcm", stack, {"GTV": [], "other": []})
    with change(path) as file:
        file.StructureSetROISequence[1].ROIName = "GTV"
    with pytest.raises(UserError, match=r"several structures have one name \(found: GTV\)"):
        read_structures(path)
