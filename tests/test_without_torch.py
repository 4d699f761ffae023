"""Checking, measuring, planning by published rules, preparing what has its grid, and scoring never import torch: its import
takes longer than they do.
"""

import subprocess
import sys

import pytest

from tests_support import write_spheres

# An interpreter in which an import of torch fails. (None in sys.modules would do, but scipy looks there.)
RUN = """
import importlib, sys

class NoTorch:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ImportError("torch is imported")

sys.meta_path.insert(0, NoTorch())
sys.exit(importlib.import_module("autoseg.cli." + sys.argv[1]).main(sys.argv[2:]))
"""


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    write_spheres(home / "raw" / "Dataset001_Spheres", n_cases=3)
    return home


def test_this_would_notice_torch(home):
    assert "torch is imported" in command("train", "1", "3d_fullres", "0", "--home", str(home)).stderr


def test_a_dataset_is_checked_measured_planned_and_prepared(home):
    for arguments in (["verify", "-d", "1"], ["plan_and_preprocess", "-d", "1", "-p", "classic"]):
        done = command(*arguments, "--home", str(home))
        assert done.returncode == 0, done.stderr
    prepared = home / "prepared" / "Dataset001_Spheres" / "classic_3d_fullres"
    assert len(list(prepared.glob("*.arrays"))) == 3


def test_masks_are_scored(home, tmp_path):
    raw = home / "raw" / "Dataset001_Spheres"
    done = command("evaluate", "-r", str(raw / "labelsTr"), "-i", str(raw / "labelsTr"), "-d", "1",
                   "-o", str(tmp_path / "scores.json"), "--home", str(home))
    assert done.returncode == 0, done.stderr
    assert "1.000" in done.stdout
