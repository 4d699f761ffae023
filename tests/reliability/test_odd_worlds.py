"""Commands and Python calls where something that is usual is missing: a home, a directory, a place to write, a main file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoseg.base import processes
from autoseg.base.errors import UserError
from autoseg.cli.streams import lasting_streams
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET

# As root: without the privilege to write where permissions forbid it.
IS_ROOT = os.name == "posix" and os.geteuid() == 0
WITHOUT_PRIVILEGES = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if IS_ROOT else []
needs_setpriv = pytest.mark.skipif(IS_ROOT and shutil.which("setpriv") is None, reason="setpriv is missing")


@pytest.fixture
def images(trained_home, tmp_path) -> Path:
    """One case, whose name no ASCII terminal can show."""
    folder = tmp_path / "imgs"
    folder.mkdir()
    shutil.copy(sorted((trained_home / "raw" / DATASET / "imagesTr").iterdir())[0], folder / "Bär_0000.nii.gz")
    return folder


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


@needs_setpriv
def test_a_command_predicts_where_nothing_usual_is_there(trained_home, images, tmp_path):
    """No HOME, no place for temporary files, a working directory that is gone, no terminal, POSIX, a read-only model."""
    home = shutil.copytree(trained_home, tmp_path / "home")
    (tmp_path / "gone").mkdir()
    masks = tmp_path / "masks"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "no"),
                   "LC_ALL": "POSIX", "COLUMNS": "0", "OMP_NUM_THREADS": "1"}
    for folder, _, files in os.walk(home):
        for name in files:
            os.chmod(Path(folder) / name, 0o444)
        os.chmod(folder, 0o555)
    try:
        script = 'cd "$1"; rmdir "$1"; shift; exec "$@" >&- 2>&- <&-'
        done = subprocess.run(["bash", "-c", script, "bash", tmp_path / "gone", *WITHOUT_PRIVILEGES, sys.executable, "-m",
                               "autoseg.cli.predict", "-i", images, "-o", masks, "--home", home, "--device", "cpu"],
                              env=environment, timeout=120)
    finally:
        for folder, _, _ in os.walk(home):
            os.chmod(folder, 0o755)
    assert done.returncode == 0
    assert sorted(path.name for path in masks.iterdir()) == ["Bär.nii.gz", "labels.json"]


NOTEBOOK = """
import asyncio, multiprocessing, sys
import autoseg
home, images, masks = sys.argv[1:]

def predict(target):
    autoseg.predict(images, target, dataset=1, home=home, device="cpu")

async def cell():
    print(len(autoseg.verify(1, home=home, workers=2).faults), "faults")
    predict(masks + "_in_a_loop")

worker = multiprocessing.get_context("fork").Process(target=predict, args=(masks + "_in_a_daemon",), daemon=True)
worker.start()
worker.join()
asyncio.run(cell())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_running_loop_a_daemon_and_a_script_without_file_and_guard_predict(trained_home, images, tmp_path):
    done = subprocess.run([sys.executable, "-", trained_home, images, tmp_path / "masks"], input=NOTEBOOK, text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 faults\n" and "Traceback" not in done.stderr
    for name in ("masks_in_a_loop", "masks_in_a_daemon"):
        assert (tmp_path / name / "Bär.nii.gz").is_file()
