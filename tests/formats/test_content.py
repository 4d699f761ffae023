"""What a file is by its first bytes."""

import gzip
import zipfile

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.formats.content import ending_of_content


def image():
    return sitk.GetImageFromArray(np.zeros((3, 4, 5), np.float32))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_images_are_known_whatever_their_name(tmp_path, ending):
    path = tmp_path / f"image{ending}"
    sitk.WriteImage(image(), str(path))
    assert ending_of_content(path.rename(tmp_path / "3")) == ending


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_both_versions_of_nifti_are_known(tmp_path, kind):
    for ending in (".nii", ".nii.gz"):
        path = tmp_path / f"image{ending}"
        nibabel.save(kind(np.zeros((2, 3, 4), np.float32), np.eye(4)), path)
        assert ending_of_content(path) == ending


def test_dicom_and_zip_are_known(tmp_path):
    (tmp_path / "d").write_bytes(b"\0" * 128 + b"DICM")
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a", "b")
    assert (ending_of_content(tmp_path / "d"), ending_of_content(tmp_path / "z")) == (".dcm", ".zip")


@pytest.mark.parametrize("content", [
    b"", b"<html>", b"\x1f\x8b", b"\x1f\x8b" + b"x" * 99, gzip.compress(b"text", mtime=0), b"\x89PNG",
    gzip.compress(b"NRRD0004", mtime=0), b"key = value\n", b"\0" * 400, b"#!/bin/sh\nObjectType = Image"])
def test_anything_else_is_nothing(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert ending_of_content(tmp_path / "f") == ""


_META = b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
_NRRD = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"


@pytest.mark.parametrize("content", [
    _META + b"ElementDataFile = /etc/passwd\n", _META + b"ElementDataFile = LIST\n/etc/passwd\n",
    _META + b"Comment =\nElementDataFile = LOCAL\nElementDataFile = /etc/passwd\n", _META,
    _META + b"ElementDataFileX = 1\nComment = " + b"x" * 2**20 + b"\nElementDataFile = /etc/passwd\n",
    _META + b"\x0bElementDataFile : ../../1/input/0.raw\n",
    _NRRD + b"data file: /etc/passwd\n\n", _NRRD + b"datafile: LIST\n/etc/passwd\n\n", _NRRD + b"Data  File: ../x\r\n\r\n",
    _NRRD + b"# " + b"x" * 2**20 + b"\ndata file: /etc/passwd\n\n"])
def test_a_header_that_names_another_file_of_the_machine_is_no_image(tmp_path, content):
    (tmp_path / "0").write_bytes(content)
    assert ending_of_content(tmp_path / "0") == ""


@pytest.mark.parametrize("content", [_META + b"ElementDataFile = LOCAL\n" + b"\1" * 8,
                                     _META + b"ElementDataFile = LOCAL\r\n" + b"\1" * 8, _NRRD + b"\n" + b"\1" * 8,
                                     _NRRD.replace(b"\n", b"\r\n") + b"\r\n" + b"data file: x"])
def test_a_header_with_its_voxels_is_an_image(tmp_path, content):
    (tmp_path / "0").write_bytes(content)
    assert ending_of_content(tmp_path / "0") in (".mha", ".nrrd")
