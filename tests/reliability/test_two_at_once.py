"""Two processes that would do the same: the second is refused, and told who is first."""

import os

import pytest

from autoseg.cli import find_best_configuration, plan_and_preprocess, run, train
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, NAME

CPU = ["--device", "cpu"]


@pytest.mark.parametrize(("command", "words", "held"), [
    (plan_and_preprocess, ["-d", "1", "--workers", "1", *CPU], lambda w: w.prepared(DATASET)),
    (run, ["1", "--workers", "1", *CPU], lambda w: w.prepared(DATASET)),
    (run, ["1", "--workers", "1", "--total", "1h", *CPU], lambda w: w.race(DATASET)),
    (train, ["1", NAME, "1", *CPU], lambda w: w.fold(DATASET, "budgeted", NAME, 1).path),
    (train, ["1", NAME, "0", "--restart", *CPU], lambda w: w.fold(DATASET, "budgeted", NAME, 0).path),
    (find_best_configuration, ["1", "--workers", "1"], lambda w: w.selection(DATASET)),
], ids=["prepare", "run", "race", "train", "train again", "choose"])
def test_the_second_of_two_is_refused_before_it_changes_anything(trained_home, capsys, command, words, held):
    def written() -> dict:
        return {path: path.stat().st_mtime_ns for path in trained_home.rglob("*") if path.is_file()}

    with locked(held(Workspace(trained_home))):
        before = written()
        assert command.main([*words, "--home", str(trained_home)]) == 2
        said = capsys.readouterr().err
        assert "another process works here" in said and f"process {os.getpid()} on " in said
        assert written() == before
