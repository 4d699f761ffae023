"""What ITK takes from the headers of NRRD and MetaImage without a word is a warning that names the file."""

import numpy as np
import pytest

from autoseg.formats import read_header

VOXELS = np.arange(24, dtype=np.uint8).tobytes()
ALONG = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"
SHEARED = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,1.5,2)\n"
MATRIX = "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
NONE = "the header states the spacing along 0 of 3 axes: 1 mm is taken where it states none"


def warnings_of(path, lines):
    """Those of a NRRD or a MetaImage of 4 x 3 x 2 voxels with these lines in its header."""
    if path.suffix == ".nrrd":
        head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nencoding: raw\n{lines}\n"
    else:
        head = ("ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
                f"{lines}DimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n")
    path.write_bytes(head.encode() + VOXELS)
    return read_header(path).warnings


@pytest.mark.parametrize(("name", "lines", "words"), [
    ("a.nrrd", SHEARED, "the axes are not perpendicular, as after a tilt of the gantry: a corner lies"),
    ("a.nrrd", "", NONE),
    ("a.nrrd", "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) none\n", "along 2 of 3 axes"),
    ("a.nrrd", "spacings: 1 1 nan\n", "along 2 of 3 axes"),
    ("a.nrrd", ALONG + 'space units: "m" "m" "m"\n', "the header states its spacing in m: it is read as mm"),
    ("a.nrrd", ALONG.replace("(0,0,2)", "(0,0,2000)"), "are unlikely: look at the unit in the header"),
    ("a.mha", "ElementSpacing = 1 1 2\nTransformMatrix = 1 0 0 0 1 0 0 0.6 0.8\n", "not perpendicular"),
    ("a.mha", MATRIX, NONE),
    ("a.mha", MATRIX + "ElementSpaceing = 1 1 2\n", NONE)])
def test_a_doubtful_header_is_told(tmp_path, name, lines, words):
    (warning,) = warnings_of(tmp_path / name, lines)
    assert warning.startswith(f"{tmp_path / name}: ") and words in warning


@pytest.mark.parametrize(("name", "lines"), [
    ("a.nrrd", ALONG), ("a.nrrd", ALONG + 'space units: "mm" "mm" "mm"\n'), ("a.nrrd", "spacings: 1 1 2\n"),
    ("a.mha", MATRIX + "ElementSpacing = 1 1 2\n"), ("a.mha", "ElementSize = 1 1 2\n")])
def test_a_header_that_says_where_its_voxels_lie_is_told_nothing_of(tmp_path, name, lines):
    assert warnings_of(tmp_path / name, lines) == ()
