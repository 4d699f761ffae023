"""Worker processes: there at once, without torch until it is needed, and with their share of the cores."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autoseg.base import processes
from autoseg.base.processes import cores, expect_workers, process_pool, start_at_once


def modules() -> set[str]:
    return set(sys.modules)


def threads() -> int:
    import torch

    return torch.get_num_threads()


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked from a server on Linux only")
def test_a_worker_has_what_it_needs_and_no_torch():
    expect_workers()
    assert start_at_once() == (cores() > 1 or processes._is_served)
    with process_pool(2) as pool:
        there = pool.submit(modules).result()
        assert pool.submit(os.getpid).result() != os.getpid()
    assert "autoseg.preprocessing.run" in there and "blosc2" in there
    assert not {"torch", "SimpleITK"} & there


@pytest.mark.parametrize("n", [1, 2])
def test_workers_share_the_cores(n):
    with process_pool(n) as pool:
        assert pool.submit(threads).result() == max(1, cores() // n)


def test_the_server_imports_nothing_from_the_working_directory(tmp_path):
    (tmp_path / "nibabel.py").write_text("raise RuntimeError('of somebody else')")
    script = tmp_path / "script.py"
    script.write_text("import os\nfrom autoseg.base.processes import process_pool\nif __name__ == '__main__':\n"
                      "    with process_pool(1) as pool:\n        print(pool.submit(os.getpid).result())\n")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-P", str(script)], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0 and "somebody else" not in done.stderr, done.stderr


def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, time\nfrom autoseg.base.processes import process_pool\nif __name__ == '__main__':\n"
                      "    pool = process_pool(1)\n    print(pool.submit(os.getpid).result(), flush=True)\n"
                      "    time.sleep(60)\n")
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": str(root)})
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running()
