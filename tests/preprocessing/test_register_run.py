"""A dataset registered in spite of workers that die and of faults that nobody foresaw."""

import json

import numpy as np
import pytest

from autoseg.base.processes import load_plugin
from autoseg.datasets.dataset import Dataset
from autoseg.formats import write_array, write_label
from autoseg.formats.transforms import read_record
from autoseg.grids.transform import Registered, Transform
from autoseg.preprocessing.registration import run
from autoseg.preprocessing.registration.run import register_dataset
from registration_phantoms import cube

# Kills its process at case b, as the system does when memory is short.
PLUGIN = """
import os

from autoseg.preprocessing.registration import run


def deadly(files, channels, seed=0):
    if files.name == "b":
        os._exit(9)
    return {}


run.register_case = deadly
"""


@pytest.fixture
def raw(tmp_path):
    folder, grid = tmp_path / "raw", cube(8)
    for case in "abc":
        for channel in (0, 1):
            image = np.random.default_rng(channel).uniform(1, 9, (1, *grid.shape)).astype(np.float32)
            write_array(folder / "imagesTr" / f"{case}_{channel:04}.nii.gz", image, grid)
        write_label(folder / "labelsTr" / f"{case}.nii.gz", np.zeros(grid.shape, np.int16), grid)
    (folder / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MR_T1", "1": "MR_T2"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz",
        "reference_channel": "MR_T1", "registration": {"MR_T2": "rigid"}}))
    return folder


def test_a_dying_worker_costs_no_case_but_its_own(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "register_case", run.register_case)  # so that it is there again afterwards
    (tmp_path / "deadly_registration.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_plugin("deadly_registration")
    calls = []
    result = register_dataset(Dataset.open(raw), tmp_path / "out", workers=2, progress=lambda: calls.append(1))
    assert result.done == ("a", "c")
    assert len(result.faults) == 1 and result.faults[0].startswith("b: a worker process ended abruptly, working alone")
    assert len(calls) == 3


def test_an_unforeseen_fault_is_reported_with_its_kind(raw, tmp_path, monkeypatch):
    def fail(files, channels, seed=0):
        if files.name == "a":
            raise ZeroDivisionError("of the planets")
        if files.name == "b":
            raise MemoryError
        return {}
    monkeypatch.setattr(run, "register_case", fail)
    result = register_dataset(Dataset.open(raw), tmp_path / "out")
    assert result.faults == ("a: ZeroDivisionError: of the planets", "b: not enough memory")
    assert result.done == ("c",)


def test_what_was_made_of_an_earlier_file_does_not_outlive_a_failure(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "register_case", lambda files, channels, seed=0: {})
    register_dataset(Dataset.open(raw), tmp_path / "out")
    (raw / "imagesTr" / "b_0001.nii.gz").write_bytes(b"no image")
    monkeypatch.undo()
    assert len(register_dataset(Dataset.open(raw), tmp_path / "out").faults) == 1
    assert read_record(tmp_path / "out", "b") is None


def test_a_damaged_record_is_made_anew(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "register_case",
                        lambda files, channels, seed=0: {1: Registered("rigid", Transform(np.eye(3, 4)))})
    register_dataset(Dataset.open(raw), tmp_path / "out")
    (tmp_path / "out" / "b.json").write_text("{")
    assert register_dataset(Dataset.open(raw), tmp_path / "out").done == ("b",)
    assert read_record(tmp_path / "out", "b").channels[1].channel == "MR_T2"
