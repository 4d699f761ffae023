"""Images of four axes, as the Decathlon has them, and files that are placed into a dataset."""

import nibabel
import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats import read_image
from autoseg.formats.files import checksum, list_tree
from autoseg.formats.nifti import read_volumes
from autoseg.workspace.links import place


@pytest.fixture
def four_axes(tmp_path):
    """Three volumes of 4 x 5 x 6 voxels (x, y, z) with a scale in the header, as nibabel writes them."""
    path, voxels = tmp_path / "a.nii.gz", np.arange(360, dtype=np.int16).reshape(4, 5, 6, 3)
    image = nibabel.Nifti1Image(voxels, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_slope_inter(2.0, 1.0)
    nibabel.save(image, path)
    return path


def test_each_volume_of_four_axes_is_a_channel_with_the_grid_of_the_file(four_axes):
    volumes_CDHW, geometry = read_volumes(four_axes)
    assert volumes_CDHW.shape == (3, 6, 5, 4) and geometry.spacing_mm == (4.0, 3.0, 2.0)
    np.testing.assert_allclose(volumes_CDHW[1], np.asarray(nibabel.load(four_axes).dataobj)[..., 1].T)


def test_an_image_source_still_refuses_four_axes(four_axes):
    with pytest.raises(UserError):
        read_image(four_axes)


def test_a_file_that_is_cut_short_is_a_fault(four_axes):
    four_axes.write_bytes(four_axes.read_bytes()[:200])
    with pytest.raises(UserError, match="a.nii.gz"):
        read_volumes(four_axes)


def test_files_below_a_folder_are_listed_without_hidden_ones(tmp_path):
    for name in ("b/c.txt", "a.txt", "b/._c.txt", ".hidden/d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [path.relative_to(tmp_path).as_posix() for path in list_tree(tmp_path)] == ["a.txt", "b/c.txt"]
    with pytest.raises(UserError, match="the folder is missing"):
        list_tree(tmp_path / "a.txt")


def test_a_checksum_is_that_of_the_named_algorithm(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum(tmp_path / "a", "md5") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_file_is_placed_as_a_link_or_as_a_copy_in_place_of_what_is_there(tmp_path):
    source, path = tmp_path / "source.bin", tmp_path / "raw" / "a.bin"
    source.write_bytes(b"one")
    place(source, path)
    assert path.is_symlink() and path.read_bytes() == b"one"
    place(source, path, copy=True)
    assert not path.is_symlink() and path.read_bytes() == b"one" and source.read_bytes() == b"one"
    assert list(path.parent.iterdir()) == [path]


def test_a_source_that_cannot_be_read_is_blamed_and_not_the_place_of_its_copy(tmp_path):
    with pytest.raises(UserError, match="gone.bin: the file cannot be read"):
        place(tmp_path / "gone.bin", tmp_path / "raw" / "a.bin", copy=True)
