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
    b"", b"<html>", b"\x1f\x8b", b"\x1f\x8b" + b"x" * 99, gzip.compress(b"text"), b"\x89PNG", gzip.compress(b"NRRD0004"),
    b"key = value\n", b"\0" * 400, b"#!/bin/sh\nObjectType = Image"])
def test_anything_else_is_nothing(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    assert ending_of_content(tmp_path / "f") == ""
