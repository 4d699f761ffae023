"""The grid of a NIfTI file along the axes of the body is ITK's to the last digit; that of others lies where nibabel says."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest

from autoseg.formats.nifti import nifti_header
from autoseg.formats.nifti_grid import plain_geometry
from autoseg.formats.sitk import itk_header

SPACING_MM = np.array([0.7, 1.25, 3.3], np.float32).astype(float)
ORIGIN_MM = (-101.3, 7.9, 250.2)


def affine(signs=(1, 1, 1), degrees=0.0):
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    made = np.eye(4)
    made[:3, :3] = rotation @ np.diag(signs * SPACING_MM)
    made[:3, 3] = ORIGIN_MM
    return made


def save(path, *, shape=(4, 5, 6), dtype=np.int16, qform=None, sform=None, codes=(1, 1), **fields):
    image = nibabel.Nifti1Image(np.zeros(shape, dtype), None)
    qform = affine() if qform is None else qform
    image.header.set_qform(qform, codes[0], strip_shears=True)
    image.header.set_sform(qform if sform is None else sform, codes[1])
    for key, value in fields.items():
        image.header[key] = value
    image.header["pixdim"][1:4] = SPACING_MM
    nibabel.save(image, path)
    return path


def plain(path):
    content = path.read_bytes()
    return plain_geometry(gzip.decompress(content) if path.name.endswith(".gz") else content)


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_grid_along_the_axes_is_read_without_itk(tmp_path, signs, ending, dtype):
    path = save(tmp_path / f"a{ending}", qform=affine(signs), dtype=dtype)
    assert plain(path) == nifti_header(path).geometry == itk_header(path).geometry


def test_real_grids_are_those_of_itk(shared_data):
    paths = [path for folder in ("Dataset004_Hippocampus", "Dataset010_STS", "samples")
             for path in sorted((shared_data / folder).rglob("*.nii*"))[::9]]
    known = {path: geometry for path in paths if (geometry := plain(path)) is not None}
    assert len(known) > len(paths) / 2
    assert known == {path: itk_header(path).geometry for path in known}
    for path in set(paths) - set(known):
        ours, itk = nifti_header(path).geometry, itk_header(path).geometry
        assert ours.spacing_mm == itk.spacing_mm and ours.voxels_apart(itk) < 1e-3


OTHERS = {
    "oblique": {"qform": affine(degrees=17.0)},
    "turned by a right angle": {"qform": affine(degrees=90.0)},
    "forms that differ": {"sform": affine((1, -1, 1))},
    "forms that differ a little": {"sform": affine() + np.diag([1e-4, 0, 0, 0])},
    "qform only": {"codes": (1, 0)},
    "sform only": {"codes": (0, 2), "sform": affine((-1, -1, 1))},
    "no form": {"codes": (0, 0)},
    "metres": {"xyzt_units": 1},
    "micrometres": {"xyzt_units": 3},
    "2D": {"shape": (4, 5)},
    "fourth axis": {"shape": (4, 5, 6, 1)},
    "complex": {"dtype": np.complex64},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_header_is_read_whole(tmp_path, kind):
    path = save(tmp_path / "a.nii.gz", **OTHERS[kind])
    assert plain(path) is None
    header = nifti_header(path)
    shape = nibabel.load(path).shape
    assert header.n_channels == 1 and header.geometry.shape == (*(1,) * (3 - len(shape)), *shape[2::-1])


def test_colours_and_other_content_are_no_plain_grids(tmp_path):
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "a.nii", dtype=colours.dtype)
    assert plain(path) is None and nifti_header(path).n_channels == 3
    for content in (b"", b"n+1" * 200):
        assert plain_geometry(content) is None
