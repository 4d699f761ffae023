"""The grid of a NIfTI file is ITK's, whether ITK is asked or the header is read here."""

import itertools

import nibabel
import numpy as np
import pytest

from autoseg.formats.nifti import nifti_header, plain_geometry
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


@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_grid_along_the_axes_is_read_without_itk(tmp_path, signs, ending, dtype):
    path = save(tmp_path / f"a{ending}", qform=affine(signs), dtype=dtype)
    assert plain_geometry(path) == itk_header(path).geometry


def test_real_grids_are_those_of_itk(shared_data):
    paths = [path for folder in ("Dataset004_Hippocampus", "Dataset010_STS", "samples")
             for path in sorted((shared_data / folder).rglob("*.nii*"))[::9]]
    plain = {path: plain_geometry(path) for path in paths}
    known = {path: geometry for path, geometry in plain.items() if geometry is not None}
    assert len(known) > len(paths) / 2
    assert known == {path: itk_header(path).geometry for path in known}


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
def test_any_other_header_is_left_to_itk(tmp_path, kind):
    path = save(tmp_path / "a.nii.gz", **OTHERS[kind])
    assert plain_geometry(path) is None
    assert nifti_header(path) == itk_header(path)


def test_colours_and_other_content_are_left_to_itk(tmp_path):
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    path = save(tmp_path / "a.nii", dtype=colours.dtype)
    assert plain_geometry(path) is None and nifti_header(path).n_channels == 3
    for content in (b"", b"\x1f\x8b and no more", b"n+1" * 200):
        (tmp_path / "b.nii.gz").write_bytes(content)
        assert plain_geometry(tmp_path / "b.nii.gz") is None
