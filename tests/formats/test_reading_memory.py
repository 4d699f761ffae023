"""What reading the largest case takes."""

import numpy as np

from autoseg.datasets.case import CaseFiles
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.measure import case_bytes
from autoseg.formats import read_header, write_array
from autoseg.formats.memory_estimate import most_voxels
from autoseg.grids.geometry import Geometry
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec


def write(path, shape, n_channels=1):
    write_array(path, np.zeros((n_channels, *shape), np.float32), Geometry(shape, (1.0, 1.0, 1.0)))
    return path


def test_the_largest_image_counts_and_what_cannot_be_read_does_not(tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"x" * 10_000)
    files = [write(tmp_path / "a.nii.gz", (2, 3, 4)), write(tmp_path / "b.nii.gz", (5, 6, 7)), tmp_path / "broken.nii.gz",
             tmp_path / "missing.nii.gz", None]
    assert most_voxels(files) == 5 * 6 * 7
    assert most_voxels([]) == 0


def test_measuring_takes_more_where_channels_are_brought_to_another_grid(tmp_path):
    case = CaseFiles("a", (write(tmp_path / "a_0000.nii.gz", (5, 6, 7)), None))
    labels = LabelSpec(names={"background": (0,), "organ": (1,)})
    there, brought = (Manifest(channels=(ChannelSpec(name="CT"), ChannelSpec(name="MR", registration=how)), labels=labels,
                               file_ending=".nii.gz") for how in ("none", "regrid"))
    assert case_bytes([case], there) == 5 * 6 * 7 * (2 * 4 + 20)
    assert case_bytes([case], brought) == 5 * 6 * 7 * (2 * 2 * 4 + 20)


def test_a_header_is_read_again_once_its_file_has_changed(tmp_path):
    path = write(tmp_path / "a.nii.gz", (2, 3, 4))
    assert read_header(path) is not None and read_header(path).geometry.shape == (2, 3, 4)
    write(path, (5, 6, 7))
    assert read_header(path).geometry.shape == (5, 6, 7)
