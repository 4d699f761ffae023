"""Commands that are stopped by a real signal: what they leave, say and return, and that no process goes on without them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.base.stopping import Stopped, stoppable
from autoseg.training import fold as fold_module
from autoseg.training.run import run_fold
from autoseg.workspace.checkpoint import load_state, load_weights
from autoseg.workspace.files import read_records
from orchestrate_folds import NAME, prepared_spheres

CPU = Runtime(torch.device("cpu"), torch.float32)
PATIENCE = 60.0  # seconds until something that must happen counts as not happening


def wait_for(what) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """A process that has ended but was not fetched by its parent has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


def test_a_training_that_is_stopped_saves_the_iteration_and_goes_on_as_if_undisturbed(tmp_path, monkeypatch):
    whole, plan = prepared_spheres(tmp_path / "whole")
    run_fold(whole, plan, NAME, 0, CPU)
    disturbed, _ = prepared_spheres(tmp_path / "disturbed")
    step, calls = fold_module.train_step, iter(range(100))

    def stopping(*arguments):
        if next(calls) == 4:  # in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*arguments)

    monkeypatch.setattr(fold_module, "train_step", stopping)
    with pytest.raises(Stopped) as stop, stoppable():
        run_fold(disturbed, plan, NAME, 0, CPU)
    monkeypatch.setattr(fold_module, "train_step", step)
    folders = [workspace.fold(plan.dataset, plan.planner, NAME, 0) for workspace in (whole, disturbed)]
    assert load_state(folders[1].state)["train"]["iteration"] == 5
    assert stop.value.is_resumable and "fold 0 is saved at iteration 5" in stop.value.saved
    run_fold(disturbed, plan, NAME, 0, CPU)
    first, second = (load_weights(folder.checkpoint)[0] for folder in folders)
    assert all(torch.equal(first[name], second[name]) for name in first)
    losses = [[(r["iteration"], r["train_loss"]) for r in read_records(folder.metrics)] for folder in folders]
    assert losses[0] == losses[1]


def test_autoseg_train_ends_with_143_and_names_the_command_that_goes_on(tmp_path):
    workspace, plan = prepared_spheres(tmp_path)
    fold = workspace.fold(plan.dataset, plan.planner, NAME, 0)
    words = ["1", NAME, "0", "--restart", "--set", "schedule.iterations=100000", "--device", "cpu", "--home", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-m", "autoseg.cli.train", *words], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: fold.metrics.is_file() and read_records(fold.metrics))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 143
    sentence = said.splitlines()[-1]
    assert "stopped by SIGTERM" in sentence and "is saved at iteration" in sentence
    assert "go on with: autoseg_train 1 3d_fullres 0 --set" in sentence and "--restart" not in sentence
    assert "Traceback" not in said and list(fold.path.glob(".partial_*")) == []
    assert load_state(fold.state)["train"]["iteration"] >= 3


WORKERS = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from autoseg.base.parallel import Effort, each_case
from autoseg.cli import common
from autoseg.workspace.files import write_atomically

@dataclass(frozen=True)
class Case:
    name: str

def slowly(temporary):
    temporary.write_text(str(os.getpid()))
    time.sleep(60)

def work(case):
    write_atomically(Path(sys.argv[1]) / case.name, slowly)

if __name__ == "__main__":
    sys.exit(common.run(lambda _: list(each_case(work, [Case("a"), Case("b")], 2)), common.parser(""), []))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_worker_processes_end_with_the_command_and_leave_no_partial_file(tmp_path, number):
    (tmp_path / "script.py").write_text(WORKERS)
    folder = tmp_path / "out"
    folder.mkdir()
    with subprocess.Popen([sys.executable, tmp_path / "script.py", folder], stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: sum(path.is_file() and path.read_text() != "" for path in folder.rglob("*")) == 2)
        workers = [int(path.read_text()) for path in folder.rglob("*") if path.is_file()]
        process.send_signal(number)
        said = process.communicate(timeout=PATIENCE)[1]
    wait_for(lambda: not any(map(is_running, workers)))
    assert list(folder.iterdir()) == []
    if number == signal.SIGINT:
        assert process.returncode == 130 and "stopped by SIGINT; go on with: script.py" in said
        assert "Traceback" not in said and "died" not in said


def test_a_stopped_prediction_names_the_command_that_keeps_what_is_there(trained_home, tmp_path, monkeypatch, capsys):
    from autoseg.cli import predict
    from autoseg.prediction import folder

    write = folder._write

    def stopping(*arguments, **more):
        write(*arguments, **more)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(folder, "_write", stopping)
    words = ["-i", str(trained_home / "raw" / "Dataset001_Spheres" / "imagesTr"), "-o", str(tmp_path / "masks")]
    before = signal.getsignal(signal.SIGTERM)
    assert predict.main([*words, "--home", str(trained_home), "--device", "cpu"]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert "stopped by SIGTERM; go on with: autoseg_predict -i " in said and said.endswith(" --keep_existing\n")
    names = {path.name for path in (tmp_path / "masks").iterdir()}
    assert "labels.json" in names and not any(name.startswith(".partial_") for name in names)
