"""Raw files that are still the same, without reading them again; and those that are not."""

import os

import pytest

from autoseg.datasets import digests
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.digests import changed_kinds, raw_files


@pytest.fixture
def case(tmp_path) -> CaseFiles:
    for name in ("a_0000.nii", "a_0002.nii", "a.nii"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    return CaseFiles("a", (tmp_path / "a_0000.nii", None, tmp_path / "a_0002.nii"), tmp_path / "a.nii")


def test_files_that_nobody_touched_are_not_read(case, monkeypatch):
    known = raw_files(case)
    monkeypatch.setattr(digests, "digest", lambda path: pytest.fail(f"{path} is read"))
    digests._hashed.clear()
    assert changed_kinds(case, known) == ()


def test_a_file_of_the_same_size_and_time_and_other_content_is_noticed(case):
    known, before = raw_files(case), case.label.stat()
    case.label.write_bytes(case.label.read_bytes()[::-1])
    os.utime(case.label, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed_kinds(case, known) == ("label",)


def test_copies_with_other_times_are_the_same(case):
    known = raw_files(case)
    for path in (*case.images, case.label):
        if path is not None:
            os.utime(path, ns=(1, 1))
    assert changed_kinds(case, known) == ()


def test_an_image_of_another_channel_is_another_image(case):
    known = raw_files(case)
    first, _, third = case.images
    assert changed_kinds(CaseFiles("a", (first, third, None), case.label), known) == ("image",)
    assert changed_kinds(CaseFiles("a", (first, None, None), case.label), known) == ("image",)
    assert changed_kinds(CaseFiles("a", case.images, None), known) == ("label",)
