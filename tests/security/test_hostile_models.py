"""Models, prepared cases and their parts come from elsewhere: nothing in them is unpickled or executed, nothing that they
link to is overwritten.
"""

import json
import os
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.explain import ablate
from autoseg.formats import write_label
from autoseg.formats.arrays import read_features
from autoseg.formats.compression import open_array, refuse_unsafe
from autoseg.formats.packed import PackedArray, open_packed
from autoseg.formats.probabilities import read_probabilities, write_probabilities
from autoseg.formats.transforms import read_transforms, write_transforms
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Transform
from autoseg.workspace.checkpoint import load_state, load_weights, save_weights
from autoseg.workspace.files import append_record, appended, read_model, remove_folder, write_text
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.locks import locked
from planners.schema.plan import Plan

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only administrators make links")


class Bomb:
    """Unpickling it makes a folder of that name."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path):
    """What is made where something is executed; at the end it is not there."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def pickled(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"model": Bomb(mark)}, protocol)


def in_an_archive(path: Path, mark: Path) -> None:
    """As torch saves it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(mark))
        archive.writestr("archive/version", "3\n")


@pytest.mark.parametrize("made_by", ["torch", "archive", "pickle", "old torch"])
def test_a_training_state_with_code_is_not_loaded(tmp_path, mark, made_by):
    path = tmp_path / "state.pt"
    if made_by == "archive":
        in_an_archive(path, mark)
    elif made_by == "pickle":
        path.write_bytes(pickled(mark))
    else:
        torch.save({"model": Bomb(mark)}, path, _use_new_zipfile_serialization=made_by == "torch")
    with suppress(UserError):  # passed over, or refused in a sentence
        assert load_state(path) is None


@pytest.mark.parametrize("protocol", range(6))
def test_weights_that_are_a_pickle_are_refused(tmp_path, mark, protocol):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(pickled(mark, protocol))
    with pytest.raises(UserError, match="weights"):
        load_weights(path)
    in_an_archive(path, mark)
    with pytest.raises(UserError, match="weights"):
        load_weights(path)


def test_an_array_of_objects_is_refused(tmp_path, mark):
    path = tmp_path / "a.npy"
    np.save(path, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="not an array of numbers"):
        read_features(path, axes=1)
    path.write_bytes(pickled(mark))  # numpy takes what is no array of its own for a pickle
    with pytest.raises(UserError, match="not an array of numbers"):
        read_features(path, axes=1)


def test_displacements_that_are_objects_are_refused(tmp_path, mark):
    geometry = Geometry((2, 2, 2), (1.0, 1.0, 1.0))
    transform = Transform(np.eye(3, 4), np.zeros((3, 2, 2, 2), np.float32), geometry)
    write_transforms(tmp_path, "a", {1: Registered("deformable", transform)}, {1: "CT"}, "")
    np.save(tmp_path / "a_0001.displacement.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    record = json.loads((tmp_path / "a.json").read_text())
    record["channels"]["1"]["lattice_digest"] = ""
    write_text(tmp_path / "a.json", json.dumps(record))
    with pytest.raises(UserError, match="displacements"):
        read_transforms(tmp_path, "a")


def stored(path: Path, kind: str, mark: Path) -> None:
    """A file of blosc2 that is no array of numbers."""
    import blosc2

    if kind == "expression":
        operand = blosc2.asarray(np.zeros((3, 4, 4, 4), np.uint8), urlpath=str(path.with_name("operand.b2nd")), mode="w")
        (operand + 1).save(urlpath=str(path))
    elif kind == "pickled bytes":
        blosc2.SChunk(data=blosc2.pack_array(np.array([Bomb(mark)], dtype=object)), urlpath=str(path), mode="w")
    elif kind == "objects":
        array = blosc2.ObjectArray(urlpath=str(path), mode="w")
        array.append({"a": 1})
    elif kind == "texts":
        blosc2.asarray(np.array(["a", "b"]), urlpath=str(path), mode="w")
    else:
        path.write_bytes(pickled(mark))


@pytest.mark.parametrize("kind", ["expression", "pickled bytes", "objects", "texts", "pickle"])
def test_a_compressed_file_that_is_no_array_of_numbers_is_refused(tmp_path, mark, kind):
    path = tmp_path / "a.b2nd"
    stored(path, kind, mark)
    with pytest.raises(UserError, match="damaged"):
        read_probabilities(path)
    place = PackedArray(kind="frame", offset=0, size=path.stat().st_size, dtype="|u1", shape=(3, 4, 4, 4))
    with pytest.raises((ValueError, RuntimeError)):
        open_packed(path, place)


@pytest.mark.parametrize("facts", [
    {"shape": [2, 2, 2], "start": [1, 1, 1]}, {"start": [-1, 0, 0]}, {"start": ["a", 0, 0]}, {"shape": [2, 2]},
    {"regions": "maybe"}, {"checksum": None}, {"more": 1}, None])
def test_what_probabilities_say_of_themselves_is_checked(tmp_path, facts):
    path = tmp_path / "a.b2nd"
    write_probabilities(path, np.full((2, 4, 4, 4), 0.5, np.float32), has_regions=False)
    import blosc2

    array = blosc2.open(str(path), mode="a")
    array.schunk.vlmeta["autoseg"] = None if facts is None else array.schunk.vlmeta["autoseg"] | facts
    with pytest.raises(UserError, match="damaged"):
        read_probabilities(path)


@pytest.mark.parametrize("version", ["2.7.1", "3.0.0", "3.12.2", "4.0.0", "4.9.1", "4.14.0", "4.14.0.dev1"])
def test_a_blosc2_that_executes_what_files_hold_is_refused(version, tmp_path, monkeypatch):
    import blosc2

    with pytest.raises(UserError, match=r"executes code.*4\.14\.1 or later\); pip install"):
        refuse_unsafe(version)
    monkeypatch.setattr(blosc2, "__version__", version)
    with pytest.raises(UserError, match="executes code"):
        open_array(tmp_path / "never_opened.b2nd")


@pytest.mark.parametrize("version", ["4.14.1", "4.14.1.post1", "4.15.0", "5.0", "10.0.0rc1"])
def test_a_later_blosc2_is_taken(version):
    refuse_unsafe(version)


@pytest.mark.parametrize("options", [{"name": "../../x"}, {"name": "os.system"}, {"name": "x", "code": "import os"}])
def test_a_plan_chooses_among_registered_parts_only(options):
    from autoseg.base.parts import check_part
    from autoseg.nn.losses import LOSSES
    from planners.schema.base import Part

    with pytest.raises((UserError, ValueError), match="unknown loss|extra"):
        check_part(LOSSES, Part.model_validate(options), "plan.json")


@pytest.fixture
def foreign(tmp_path):
    """A folder with a file of somebody else, which is as it was at the end."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    file = folder / "precious.txt"
    file.write_text("of somebody else")
    yield file
    assert [path.name for path in folder.iterdir()] == ["precious.txt"] and file.read_text() == "of somebody else"


@needs_links
@pytest.mark.parametrize("name", ["metrics.jsonl", "log.txt"])
def test_what_grows_is_not_written_through_a_link(tmp_path, foreign, name):
    path = tmp_path / name
    path.symlink_to(foreign)
    with pytest.raises(UserError, match="is a link"):
        append_record(path, {"iteration": 1})
    with pytest.raises(UserError, match="is a link"), appended(path):
        pass


@needs_links
def test_a_lock_is_not_written_through_a_link(tmp_path, foreign):
    (tmp_path / ".fold_0.lock").symlink_to(foreign)
    with pytest.raises(UserError, match="is a link"), locked(tmp_path / "fold_0"):
        pass


@needs_links
@pytest.mark.parametrize("ending", [".nii.gz", ".mha", ".mhd", ".tif"])
def test_a_file_takes_the_place_of_a_link_and_what_it_leads_to_stays(tmp_path, foreign, ending):
    for name in (f"a{ending}", "a.zraw", "weights.safetensors", "report.html"):
        (tmp_path / name).symlink_to(foreign)
    write_label(tmp_path / f"a{ending}", np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    save_weights(tmp_path / "weights.safetensors", {"a": torch.zeros(1)}, {})
    write_text(tmp_path / "report.html", "ours")
    assert not (tmp_path / f"a{ending}").is_symlink() and not (tmp_path / "report.html").is_symlink()


@needs_links
@pytest.mark.parametrize("within", ["", "validation", "probabilities", "race", "race/rung_0", "race/rung_0/probabilities"])
def test_the_folder_of_a_fold_is_not_written_through_a_link(tmp_path, foreign, within):
    fold = FoldFolder(tmp_path / "fold_0")
    link = fold.path / within
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(foreign.parent, target_is_directory=True)
    with pytest.raises(UserError, match="the folder is a link"):
        fold.refuse_links()
    fold.clear()
    assert not os.path.lexists(fold.path)


@needs_links
def test_removing_a_link_leaves_what_it_leads_to(tmp_path, foreign):
    (tmp_path / "quality").symlink_to(foreign.parent, target_is_directory=True)
    remove_folder(tmp_path / "quality")
    assert not os.path.lexists(tmp_path / "quality")


@needs_links
def test_a_model_behind_a_link_is_read(tmp_path):
    from tests_support import small_plan

    write_text(tmp_path / "elsewhere" / "plan.json", small_plan().model_dump_json())
    (tmp_path / "model").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read_model(tmp_path / "model" / "plan.json", Plan) == small_plan()


@pytest.mark.parametrize("beside", ["a.mha", "a.raw", "whole.mha", "a.nii.gz"])
def test_writing_one_file_spares_the_others_beside_it(tmp_path, beside):
    (tmp_path / beside).write_bytes(b"of somebody else")
    write_label(tmp_path / "a.mhd", np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    assert (tmp_path / beside).read_bytes() == b"of somebody else"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.mhd", "a.zraw", beside])


def test_the_spacing_of_a_stack_spares_another_file_of_that_name(tmp_path):
    write_text(tmp_path / "labels.json", '{"labels": {}}')
    with pytest.raises(UserError, match="would replace another file"):
        write_label(tmp_path / "labels.tif", np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    assert (tmp_path / "labels.json").read_text() == '{"labels": {}}'


def test_a_finished_fold_behind_a_link_is_not_ablated(tmp_path, foreign, monkeypatch):
    from types import SimpleNamespace

    (tmp_path / "fold_0").symlink_to(foreign.parent, target_is_directory=True)
    monkeypatch.setattr(ablate, "_check", lambda job: None)
    with pytest.raises(UserError, match="is a link"):
        ablate.ablate_fold(SimpleNamespace(folder=FoldFolder(tmp_path / "fold_0")), {}, None)
