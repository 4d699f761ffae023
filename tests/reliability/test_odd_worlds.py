"""Commands and Python calls where something that is usual is missing: a home, a directory, a place to write."""

import sys
from pathlib import Path

import pytest

from autoseg.base import processes
from autoseg.base.errors import UserError
from autoseg.cli.streams import lasting_streams
from autoseg.workspace.names import Workspace


def test_without_a_home_folder_the_option_and_the_variable_are_named(monkeypatch):
    def unknown(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("AUTOSEG_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(UserError, match="the home folder of this user is not known; .*--home, or the variable AUTOSEG_HOME"):
        Workspace.open()


def test_a_name_in_a_directory_that_is_gone_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="the working directory is gone"):
        Workspace.open("here")
    assert Workspace.open(tmp_path).home == tmp_path


def test_a_server_of_workers_that_cannot_start_ends_no_command(monkeypatch):
    def fails():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(processes, "_serve", fails)
    assert processes.expect_workers() is None


def test_characters_that_a_terminal_lacks_are_written_out(tmp_path, monkeypatch):
    with open(tmp_path / "printed", "w", encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with lasting_streams() as printed:
            print("Bär")
        assert printed.fault is None and terminal.errors == "strict"
    assert (tmp_path / "printed").read_text() == "B\\xe4r\n"
