"""A model in one file: what is written is read, and whatever else a zip may hold is refused in a sentence."""

import json
import pickle
import stat
import zipfile
import zlib

import pytest

from autoseg.base.errors import UserError
from autoseg.workspace.archive import MANIFEST, ArchiveManifest, check_plugins, opened, unpack, write_archive
from autoseg.workspace.files import write_json, write_text
from autoseg.workspace.zips import fault_of_entry

NAME = "models/Dataset001_Spheres/budgeted/3d_fullres/plan.json"


@pytest.fixture
def archive(tmp_path):
    write_json(tmp_path / "tree" / NAME, {"a": 1})
    write_text(tmp_path / "tree" / "MODEL_CARD.md", "# a model\n")
    write_archive(tmp_path / "model.zip", tmp_path / "tree", ArchiveManifest(dataset="Dataset001_Spheres"))
    return tmp_path / "model.zip"


def rewritten(archive, change=lambda name, content: content, more=(), manifest=lambda data: data):
    """The archive with other contents, more entries and another manifest."""
    path = archive.with_name("other.zip")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename == MANIFEST:
                content = json.dumps(manifest(json.loads(content))).encode()
            target.writestr(zipfile.ZipInfo(entry.filename), change(entry.filename, content))
        for entry, content in more:
            target.writestr(entry, content)
    return path


def refused(path, words, tmp_path):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    with pytest.raises(UserError, match=words) as raised:
        unpack(path, folder)
    assert str(path) in str(raised.value)
    assert not [file for file in tmp_path.rglob("*") if "evil" in file.name]


def test_what_is_written_is_opened_and_the_folder_is_gone_afterwards(archive):
    with opened(archive) as (workspace, manifest):
        assert (workspace.home / NAME).is_file() and (workspace.home / "MODEL_CARD.md").read_text() == "# a model\n"
        assert manifest.dataset == "Dataset001_Spheres" and len(manifest.members) == 2
    assert not workspace.home.exists()


def test_the_same_files_are_the_same_archive(archive, tmp_path):
    write_archive(tmp_path / "again.zip", tmp_path / "tree", ArchiveManifest(dataset="Dataset001_Spheres"))
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("name", ["../evil.json", "/evil.json", "models/../../evil.json", "a\\..\\evil.json",
                                  "models//evil.json", ".evil.json", "C:/evil.json\0", "a/b/c/d/e/f/evil.json"])
def test_a_path_outside_of_its_folder_is_refused(archive, tmp_path, name):
    entry = zipfile.ZipInfo("evil.json")
    entry.filename = name
    refused(rewritten(archive, more=[(entry, b"{}")]), "is not opened", tmp_path)


def test_a_link_is_refused(archive, tmp_path):
    entry = zipfile.ZipInfo("models/evil.json")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    refused(rewritten(archive, more=[(entry, b"/etc/passwd")]), "it is a link", tmp_path)


@pytest.mark.parametrize("name", ["models/evil.pkl", "models/evil.pt", "evil.py", "models/evil.npy"])
def test_a_pickle_or_code_is_refused(archive, tmp_path, name):
    refused(rewritten(archive, more=[(name, pickle.dumps({"a": 1}))]), r"it is none of \.json", tmp_path)


def test_a_zip_bomb_is_refused_before_anything_is_written(archive, tmp_path):
    path = archive.with_name("bomb.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("models/evil.json", b"0" * 10_000_000)
    assert path.stat().st_size < 20_000
    refused(path, "compressed", tmp_path)


def test_members_that_overlap_are_refused(archive, tmp_path):
    """Two entries of the directory that show the same bytes: the way of bombs without compression."""
    content, path = b"1" * 5000, archive.with_name("overlap.zip")
    with zipfile.ZipFile(path, "w") as target:
        for number in range(2):
            target.writestr(f"evil_{number}.json", content)
        first = target.infolist()[0]
        for number in range(2, 20):
            entry = zipfile.ZipInfo(f"evil_{number}.json")
            entry.header_offset, entry.file_size, entry.compress_size = first.header_offset, 5000, 5000
            entry.CRC = zlib.crc32(content)
            target.filelist.append(entry)
            target.NameToInfo[entry.filename] = entry
            target._didModify = True
    refused(path, "larger together than the file", tmp_path)


def test_too_many_members_and_twice_the_same_are_refused(archive, tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = rewritten(archive, more=[(NAME, b"{}")])
    refused(path, "two members of one name", tmp_path)
    monkeypatch.setattr("autoseg.workspace.archive._MOST_MEMBERS", 2)
    with pytest.raises(UserError, match="3 members"):
        unpack(archive, tmp_path / "unpacked")


def test_a_changed_byte_is_found_by_the_checksum(archive, tmp_path):
    refused(rewritten(archive, lambda name, content: content.replace(b"1", b"2") if name == NAME else content),
            f"{NAME} does not match its checksum", tmp_path)


def test_a_flipped_bit_of_the_file_itself_is_found(archive, tmp_path):
    content = bytearray(archive.read_bytes())
    content[content.index(b"# a model")] ^= 1
    archive.write_bytes(content)
    refused(archive, "damaged", tmp_path)


@pytest.mark.parametrize(("change", "words"), [
    (lambda data: {**data, "format": "another"}, "cannot be read"), (lambda data: [], "cannot be read"),
    (lambda data: {**data, "schema_version": 99}, "a later version of autoseg"),
    (lambda data: {**data, "members": data["members"][1:]}, "members and the list of them differ"),
    (lambda data: {**data, "dataset": "../x"}, "cannot be read")])
def test_a_wrong_list_of_members_is_refused(archive, tmp_path, change, words):
    refused(rewritten(archive, manifest=change), words, tmp_path)


def test_a_name_that_is_no_utf_8_is_a_damaged_file(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("\u00e9.json", b"{}")
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xff\xff"))
    refused(path, "not a model in one file", tmp_path)


def test_a_second_name_in_an_extra_field_is_refused():
    """Python from 3.12 on takes the name of a file from there, and only the first one was checked."""
    entry = zipfile.ZipInfo("models/plan.json")
    entry.filename = "../../evil.json"
    assert fault_of_entry(entry, ["models", "plan.json"]) == "it has two names"


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    refused(path, "not a model in one file", tmp_path)


def test_a_zip_of_something_else_and_a_file_that_is_not_there_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as target:
        target.writestr("a.json", b"{}")
    refused(tmp_path / "model.zip", "no archive.json", tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        unpack(tmp_path / "absent.zip", tmp_path / "unpacked")


def test_a_plugin_is_named_and_never_imported(tmp_path):
    with pytest.raises(UserError, match=r"plug-in, which is never loaded by itself.*antigravity.*--plugin antigravity"):
        check_plugins(tmp_path, ArchiveManifest(dataset="Dataset001_Spheres", plugins=("json", "antigravity")))


def test_too_little_space_is_said_before_anything_is_unpacked(archive, tmp_path, monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr("autoseg.workspace.archive.shutil.disk_usage", lambda folder: SimpleNamespace(free=3))
    refused(archive, "TMPDIR", tmp_path)
    assert not list((tmp_path / "unpacked").iterdir())
