"""Transforms on the disk: damage is seen, and what is out of date does not outlive what replaces it."""

import json

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats.transforms import is_current, read_transforms, write_transforms
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Transform

NAMES = {0: "CT", 1: "MR"}


def bent(value: float) -> Registered:
    lattice = Geometry((2, 2, 2), (8.0, 8.0, 8.0))
    return Registered("deformable", Transform(np.eye(3, 4), np.full((3, 2, 2, 2), value, np.float32), lattice))


def test_a_lattice_that_was_exchanged_is_damage(tmp_path):
    write_transforms(tmp_path, "a", {1: bent(1.0)}, NAMES, "inputs")
    assert is_current(tmp_path, "a", "inputs")
    assert not is_current(tmp_path, "a", "other inputs")
    np.save(tmp_path / "a_0001.displacement.npy", np.full((3, 2, 2, 2), 2.0, np.float32))
    with pytest.raises(UserError, match="does not match its digest"):
        read_transforms(tmp_path, "a")
    assert not is_current(tmp_path, "a", "inputs")


def test_a_lattice_that_is_missing_is_damage(tmp_path):
    write_transforms(tmp_path, "a", {1: bent(1.0)}, NAMES, "inputs")
    (tmp_path / "a_0001.displacement.npy").unlink()
    with pytest.raises(UserError, match=r"a_0001\.displacement\.npy"):
        read_transforms(tmp_path, "a")


def test_a_record_cut_short_is_damage_and_is_made_anew(tmp_path):
    write_transforms(tmp_path, "a", {1: bent(1.0)}, NAMES, "inputs")
    record = tmp_path / "a.json"
    record.write_text(record.read_text()[:80])
    with pytest.raises(UserError, match="not valid JSON"):
        read_transforms(tmp_path, "a")
    assert not is_current(tmp_path, "a", "inputs")


def test_a_matrix_that_is_no_number_is_damage(tmp_path):
    write_transforms(tmp_path, "a", {1: Registered("rigid", Transform(np.eye(3, 4)))}, NAMES, "inputs")
    record = json.loads((tmp_path / "a.json").read_text())
    del record["file_digest"]
    record["channels"]["1"]["matrix"][0][0] = float("inf")
    (tmp_path / "a.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="matrix of a registered channel"):
        read_transforms(tmp_path, "a")


def test_a_lattice_of_earlier_does_not_stay_beside_a_later_rigid_result(tmp_path):
    write_transforms(tmp_path, "a", {1: bent(1.0)}, NAMES, "inputs")
    write_transforms(tmp_path, "a", {1: Registered("rigid", Transform(np.eye(3, 4)))}, NAMES, "inputs")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_same_result_is_written_as_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        write_transforms(tmp_path / folder, "a", {1: bent(0.25)}, NAMES, "inputs")
    for name in ("a.json", "a_0001.displacement.npy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
