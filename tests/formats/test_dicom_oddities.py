"""Forty studies of DICOM and more, each with one oddity: read right, or refused with one sentence; never silently wrong."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.dicom import find_all
from autoseg.formats.dicom.elements import numbers
from autoseg.formats.files import list_tree

pydicom = pytest.importorskip("pydicom")

from dicom_expected import WIDE, Outcome  # noqa: E402  (they need pydicom)
from dicom_oddities import STUDIES, compressed  # noqa: E402
from dicom_pet import PETS  # noqa: E402
from dicom_phases import STACKED  # noqa: E402
from dicom_studies import item, truth, write_series  # noqa: E402


@pytest.mark.parametrize("study", [*STUDIES, *STACKED, *PETS], ids=lambda study: study.__name__)
def test_an_odd_study_is_read_right_or_refused_with_one_sentence(study, tmp_path):
    check(study(tmp_path), tmp_path)


@pytest.mark.parametrize(("syntax", "plugin"), [
    ("1.2.840.10008.1.2.4.80", "jpeg_ls"), ("1.2.840.10008.1.2.4.90", "openjpeg"), ("1.2.840.10008.1.2.5", "rle"),
    ("1.2.840.10008.1.2.1.99", "deflated")], ids=lambda value: value)
def test_a_compressed_series_is_read_right(syntax, plugin, tmp_path):
    if plugin in ("jpeg_ls", "openjpeg"):
        pytest.importorskip(plugin)  # they encode
    check(compressed(syntax)(tmp_path), tmp_path)


def test_a_codec_that_is_missing_is_named_with_its_package(tmp_path, monkeypatch):
    for path in write_series(tmp_path, WIDE, syntax="1.2.840.10008.1.2.5"):
        file = pydicom.dcmread(path)
        file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"
        file.save_as(path)
    monkeypatch.setattr("pydicom.pixels.get_decoder", lambda syntax: item(is_available=False))
    (stack,) = find_all(list_tree(tmp_path)).stacks
    with pytest.raises(UserError, match=r"compressed.*JPEG-LS.*pip install pylibjpeg-libjpeg, or 'autoseg-pipeline"):
        stack.read()


def test_without_pydicom_the_package_to_install_is_named(tmp_path, monkeypatch):
    write_series(tmp_path, truth())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install 'autoseg-pipeline\[dicom\]'"):
        find_all(list_tree(tmp_path))


def check(expected: Outcome, folder: Path) -> None:
    found = find_all(list_tree(folder))
    refusals = [refused.sentence for refused in found.refused]
    read = []
    for stack in found.stacks:
        try:
            read.append(stack.read())
        except UserError as error:
            refusals.append(str(error))
    assert len(refusals) == bool(expected.refusal), refusals
    assert all("\n" not in sentence for sentence in refusals)
    if refusals:
        assert re.search(expected.refusal, refusals[0]), refusals[0]
    assert len(read) == len(expected.volumes)
    for (array_CDHW, geometry), volume in zip(read, expected.volumes, strict=True):
        np.testing.assert_allclose(geometry.spacing_mm, volume.spacing_mm, atol=1e-4)
        np.testing.assert_allclose(geometry.origin_mm, volume.origin_mm, atol=1e-4)
        assert array_CDHW.shape == (1, *volume.values.shape) and geometry.shape == volume.values.shape
        known = np.isfinite(volume.values)
        np.testing.assert_allclose(array_CDHW[0][known], volume.values[known], rtol=1e-5 * bool(volume.tolerance),
                                   atol=volume.tolerance)
    assert tuple(sorted({other.kind for other in found.others})) == expected.others
    assert tuple(remark for stack in found.stacks for remark in stack.remarks) == expected.remarks


def test_texts_of_other_alphabets_and_numbers_that_are_none_are_understood(tmp_path):
    write_series(tmp_path, truth(), description="Schädel nativ", SpecificCharacterSet="ISO_IR 100", EchoTime=None,
                 ProtocolName="a\\b")
    (stack,) = find_all(list_tree(tmp_path)).stacks
    assert (stack.facts.description, stack.facts.protocol) == ("Schädel nativ", "a\\b")
    file = pydicom.dcmread(sorted(tmp_path.iterdir())[0])
    file.add(pydicom.DataElement(0x00280030, "DS", ["wide", "1"], already_converted=True))
    assert numbers(file, "PixelSpacing", 2) is None and numbers(file, "ImagePositionPatient", 2) is None
