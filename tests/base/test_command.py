"""The command that provenance shows, without names of people and machines."""

import platform
from pathlib import Path

import pytest

from autoseg.base.command import command_line, running, running_command


@pytest.fixture(autouse=True)
def somebody(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/jsmith")
    monkeypatch.setenv("USERPROFILE", "/home/jsmith")
    monkeypatch.setenv("USER", "JSmith")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("typed", "shown"), [
    (["-i", "imgs", "-o", "masks"], "-i imgs -o masks"),
    (["-m", "/data/work/models/D/b/2d"], "-m WORKSPACE/models/D/b/2d"),
    (["--home", "/data/work"], "--home WORKSPACE"),
    (["--home=/data/work"], "--home=WORKSPACE"),
    (["-i", "/home/jsmith/scans"], "-i USER_HOME/scans"),
    (["-i", "~/scans"], "-i USER_HOME/scans"),
    (["-i", "/mnt/hospital/Dr_X/scans"], "-i ELSEWHERE/scans"),
    (["-i", "../jsmith/scans"], "-i ../NAME/scans"),
    (["--cluster", "ray://user:secret@10.0.0.7:10001"], "--cluster ADDRESS"),
    (["--cluster=10.0.0.7"], "--cluster=ADDRESS"),
    (["--set", "schedule.iterations=20"], "--set schedule.iterations=20"),
    (["-i", "my scans"], "-i 'my scans'"),
])
def test_a_command_is_shown_as_it_was_typed_without_names_of_people_and_machines(typed, shown):
    assert command_line("autoseg_predict", typed, "/data/work") == f"autoseg_predict {shown}"


def test_paths_below_the_working_directory_are_relative_to_it():
    assert command_line("autoseg_predict", ["-i", str(Path.cwd() / "scans")], None) == "autoseg_predict -i ./scans"


def test_the_name_of_the_machine_is_not_shown(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "Ward-7")
    assert "ward" not in command_line("autoseg_train", ["runs/ward-7/plan.json"], None)


def test_a_working_directory_that_was_removed_stops_no_command(tmp_path, monkeypatch):
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("os.getcwd", gone)
    assert command_line("autoseg_predict", ["-i", "/mnt/scans"], "work") == "autoseg_predict -i ELSEWHERE/scans"


def test_the_outermost_command_counts():
    with running("autoseg_run 1"), running("autoseg.train"):
        assert running_command() == "autoseg_run 1"
    assert running_command() == ""
