"""Files of other programs are read without executing or unpacking anything."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.serialization import get_safe_globals

from autoseg.base.errors import UserError
from autoseg.workspace.foreign import ForeignFiles


class Touch:
    """Unpickling this would make a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def saved(folder: Path, content, name: str = "c.pth") -> ForeignFiles:
    torch.save(content, folder / name)
    return ForeignFiles.open(folder)


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def test_tensors_numbers_of_numpy_and_devices_are_read(tmp_path):
    content = {"weights": {"a": torch.ones(2)}, "dice": np.float64(0.5), "rates": [np.float32(0.25), np.int64(3)],
               "device": torch.device("cpu"), "none": None}
    read, digest = saved(tmp_path, content).checkpoint("c.pth")
    assert torch.equal(read["weights"]["a"], torch.ones(2)) and len(digest) == 64
    assert (read["dice"], read["rates"], read["none"]) == (0.5, [0.25, 3], None)


def test_numbers_of_numpy_1_are_read(tmp_path):
    torch.save({"dice": np.float64(0.5)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "c.pth", "w") as old:
        for member in new.infolist():
            old.writestr(member.filename, new.read(member).replace(b"numpy._core.", b"numpy.core."))
    assert ForeignFiles.open(tmp_path).checkpoint("c.pth")[0] == {"dice": 0.5}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_that_would_execute_something_is_refused_and_executes_nothing(tmp_path, legacy):
    touched = tmp_path / "touched"
    if legacy:
        (tmp_path / "c.pth").write_bytes(pickle.dumps({"network_weights": Touch(touched)}))
    else:
        torch.save({"network_weights": Touch(touched)}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"c\.pth: (the checkpoint holds more than tensors.*\.system|the file is no check)"):
        ForeignFiles.open(tmp_path).checkpoint("c.pth")
    assert not touched.exists()


def test_a_checkpoint_that_would_unpack_to_any_size_is_refused(tmp_path):
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "small.pth")
    with zipfile.ZipFile(tmp_path / "small.pth") as source, zipfile.ZipFile(tmp_path / "c.pth", "w") as bomb:
        for member in source.infolist():
            bomb.writestr(member.filename, source.read(member), zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"c\.pth: the checkpoint has compressed parts"):
        ForeignFiles.open(tmp_path).checkpoint("c.pth")


def test_what_torch_is_told_to_load_is_forgotten_afterwards(tmp_path):
    before = set(get_safe_globals())
    saved(tmp_path, {"dice": np.float64(0.5)}).checkpoint("c.pth")
    assert set(get_safe_globals()) == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", pickle.dumps([1])])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"c\.pth: (the file is no checkpoint|the checkpoint is not what)"):
        ForeignFiles.open(tmp_path).checkpoint("c.pth")


@pytest.mark.parametrize("name", ["../out.json", "/etc/out.json", "a/../../out.json", "a//b.json", "./a.json",
                                  "a\\b.json"])
def test_a_zip_with_a_name_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        member = zipfile.ZipInfo("x")
        member.filename = name
        zipped.writestr(member, b"{}")
    with pytest.raises(UserError, match=r"m\.zip: the zip is refused for a file in it"):
        ForeignFiles.open(path)


def test_a_zip_with_a_link_is_refused(tmp_path):
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        link = zipfile.ZipInfo("plans.json")
        link.external_attr = 0o120777 << 16
        zipped.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="'plans.json': it is a link"):
        ForeignFiles.open(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as zipped:
        zipped.writestr("plans.json", "{}")
        zipped.writestr("plans.json", "{}")
    with pytest.raises(UserError, match="its name is given twice"):
        ForeignFiles.open(tmp_path / "m.zip")


def test_what_is_no_zip_and_what_is_not_there_are_said(tmp_path):
    (tmp_path / "m.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match=r"m\.zip: the file is not a readable zip"):
        ForeignFiles.open(tmp_path / "m.zip")
    with pytest.raises(UserError, match="there is nothing to import"):
        ForeignFiles.open(tmp_path / "none")


def test_files_of_a_folder_and_of_a_zip_have_the_same_names(tmp_path):
    (tmp_path / "m" / "fold_0").mkdir(parents=True)
    (tmp_path / "m" / "fold_0" / "a.json").write_text('{"a": 1}')
    path = archive(tmp_path / "m.zip", **{"fold_0/a.json": b'{"a": 1}', "fold_0/": b""})
    for files in (ForeignFiles.open(tmp_path / "m"), ForeignFiles.open(path)):
        assert files.sizes == {"fold_0/a.json": 8}
        assert files.json("fold_0/a.json") == {"a": 1}


def test_json_that_is_none_and_a_missing_file_are_named(tmp_path):
    path = archive(tmp_path / "m.zip", **{"a.json": b"{", "b.json": b"\xff"})
    for name, message in (("a.json", "not valid JSON"), ("b.json", "not text in UTF-8"), ("c.json", "the file is missing")):
        with pytest.raises(UserError, match=f"{name}: .*{message}"):
            ForeignFiles.open(path).json(name)


def test_a_damaged_file_in_a_zip_is_named(tmp_path):
    path = archive(tmp_path / "m.zip", **{"a.json": b'{"a": 1234567}'})
    content = path.read_bytes().replace(b"1234567", b"1234568", 1)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: the file cannot be read"):
        ForeignFiles.open(path).json("a.json")


def test_a_checkpoint_in_a_zip_is_read_as_one_in_a_folder(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3)}, buffer)
    path = archive(tmp_path / "m.zip", **{"c.pth": buffer.getvalue()})
    assert torch.equal(ForeignFiles.open(path).checkpoint("c.pth")[0]["a"], torch.arange(3))
