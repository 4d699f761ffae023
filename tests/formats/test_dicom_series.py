"""Series of DICOM slices: which of them make a volume, and what is refused."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.dicom import find_stacks
from public_layouts import SHAPE, image, write_series

pydicom = pytest.importorskip("pydicom")


def test_two_volumes_at_one_place_without_numbers_are_a_fault(tmp_path):
    write_series(tmp_path, image(1)[0], "1.2.3.4")
    write_series(tmp_path, image(2)[0], "1.2.3.4", start=SHAPE[0])
    with pytest.raises(UserError, match="several slices of one acquisition lie at the same place"):
        find_stacks(sorted(tmp_path.iterdir()))


def test_two_phases_between_each_other_in_one_series_are_parted_by_the_acquisition(tmp_path):
    write_series(tmp_path, image(1)[0], "1.2.3.4")
    write_series(tmp_path, image(2)[0], "1.2.3.4", acquisition=2, start=SHAPE[0], shift_mm=1.0)
    first, second = find_stacks(sorted(tmp_path.iterdir()))
    np.testing.assert_array_equal(first.read()[0], image(1))
    np.testing.assert_array_equal(second.read()[0], image(2))


def test_a_localiser_is_no_volume(tmp_path):
    write_series(tmp_path, image(1)[0][:2], "1.2.3.4")
    side = pydicom.dcmread(tmp_path / "1-002.dcm")
    side.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    side.save_as(tmp_path / "1-002.dcm")
    with pytest.raises(UserError, match="the slices of a series are not parallel"):
        find_stacks(sorted(tmp_path.iterdir()))


def test_slices_that_are_counted_as_acquisitions_are_one_volume(tmp_path):
    for k, slice_HW in enumerate(image(1)[0]):
        write_series(tmp_path, slice_HW[None], "1.2.3.4", acquisition=k, start=k, shift_mm=2.5 * k)
    (stack,) = find_stacks(sorted(tmp_path.iterdir()))
    np.testing.assert_array_equal(stack.read()[0], image(1))
    (tmp_path / "1-003.dcm").unlink()
    (stack,) = find_stacks(sorted(tmp_path.iterdir()))
    with pytest.raises(UserError, match="not evenly apart"):
        stack.read()
