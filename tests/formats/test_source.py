"""Image sources: what an image consists of, and how results are written on its grid."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.raw import load_case
from autoseg.formats import files_of, open_source, read_header, read_label, write_array
from autoseg.formats.source import FileWriter
from autoseg.grids.geometry import Geometry
from planners.schema.channels import ChannelSpec

GRID = Geometry((3, 4, 5), (2.0, 1.0, 1.5), (10.0, 20.0, 30.0))
VOXELS = np.arange(60, dtype=np.float32).reshape(1, *GRID.shape)


@pytest.fixture()
def image(tmp_path):
    write_array(tmp_path / "ball_0000.nii.gz", VOXELS, GRID)
    return tmp_path / "ball_0000.nii.gz"


def test_a_file_is_read_with_its_grid(image):
    source = open_source(image)
    voxels_CDHW, geometry = source.read()
    np.testing.assert_array_equal(voxels_CDHW, VOXELS)
    assert not geometry.difference(GRID) and source.header() == read_header(image)
    assert source.path == image and source.files() == files_of(image) == [image]


def test_the_spacing_file_of_a_tiff_belongs_to_the_image(tmp_path):
    path = tmp_path / "ball.tif"
    write_array(path, VOXELS, GRID)
    assert open_source(path).files() == [path, tmp_path / "ball.json"]


def test_opening_a_source_reads_nothing(tmp_path):
    source = open_source(tmp_path / "missing.nii.gz")
    with pytest.raises(UserError, match=r"missing\.nii\.gz: the file is missing"):
        source.header()


def test_results_have_the_grid_of_the_image_in_the_format_of_their_name(image, tmp_path):
    source = open_source(image)
    writer = source.writer(source.header().geometry)
    for name in ("mask.nii.gz", "mask.mha"):
        writer.write_label(tmp_path / name, np.ones(GRID.shape, np.int16))
        label_DHW, geometry = read_label(tmp_path / name)
        assert label_DHW.all() and not geometry.difference(GRID)


def test_a_case_writes_results_as_the_source_of_its_reference_channel_does(image, tmp_path):
    channels = (ChannelSpec(name="CT"), ChannelSpec(name="MR", required=False))
    case = load_case(CaseFiles("ball", (image, None)), channels)
    assert case.source == open_source(image)
    case.results.write_label(tmp_path / "mask.nii.gz", np.ones(GRID.shape, np.int16))
    assert not read_label(tmp_path / "mask.nii.gz")[1].difference(GRID)


def test_a_case_that_was_made_in_memory_writes_results_on_its_grid():
    assert Case("ball", VOXELS, np.array([True]), GRID).results == FileWriter(GRID)
