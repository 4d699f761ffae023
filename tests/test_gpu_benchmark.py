"""The GPU benchmark in small, on a CPU and without the libraries of image files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import write_prepared
from autoseg.workspace.files import write_json
from tests_support import small_plan, sphere_case

pytestmark = pytest.mark.slow  # two trainings and every step that is measured

ROOT = Path(__file__).parents[1]
RUN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("SimpleITK", "nibabel"):
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, "benchmarks")
import gpu

gpu.main(["--device", "cpu", "--prepared", sys.argv[1], "--limit", "1h"])
gpu.main(["--device", "cpu", "--train", sys.argv[1], "--budget", "4s"])
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> str:
    """What the benchmark prints of six prepared spheres: all parts, then a fold within a budget."""
    folder = tmp_path_factory.mktemp("prepared")
    plan = small_plan()
    for seed in range(6):
        case = prepare(sphere_case(f"ball_{seed}", seed), plan, plan.configurations["3d_fullres"])
        write_prepared(folder / "budgeted_3d_fullres", case)
    write_json(folder / "plan_budgeted.json", plan)
    done = subprocess.run([sys.executable, "-c", RUN, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    return done.stdout


def test_no_part_fails(printed):
    assert "failed" not in printed and "no time was left" not in printed
    assert printed.count("| what | measured | target or remark |") == 2


@pytest.mark.parametrize("row", ["ours (fastest) / plain (not compiled), no data", "ours with data / without",
                                 "streamed from the disk",
                                 "Dice in bf16 less float32", "fold 0, budget 4 s | mean Dice"])
def test_every_figure_has_its_row(printed, row):
    assert row in printed


@pytest.mark.parametrize("what", ["our step compiled", "the host waits for the device", "memory of tiny plain U-Net"])
def test_what_a_cpu_cannot_measure_is_not_invented(printed, what):
    rows = [line for line in printed.splitlines() if what in line]
    assert rows and all("not measured" in line for line in rows)
