"""Nothing in the working directory runs, unless it is named as a plug-in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autoseg.base.processes import IMPORTS_NOTHING_FROM_HERE
from autoseg.orchestrate import processes
from autoseg.orchestrate.processes import parallel
from orchestrate_folds import prepared_spheres, tasks_of

ROOT = Path(__file__).resolve().parents[2]
SHADOWS = ("torch", "json", "numpy", "argparse", "pydantic", "logging", "multiprocessing", "sitecustomize", "encodings")

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot leave out the working directory")


def hostile(folder: Path) -> Path:
    """A folder with modules that are named like those that every command imports; each leaves a mark where it runs."""
    folder.mkdir()
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'a').write('{name} ')\n"
                                           "raise SystemExit('of a stranger')\n")
    return folder


def test_folds_side_by_side_import_nothing_from_the_working_directory(tmp_path, monkeypatch):
    workspace, plan = prepared_spheres(tmp_path)
    tasks = tasks_of(workspace, plan, (0,))
    folder = hostile(tmp_path / "downloads")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = processes._command
    monkeypatch.setattr(processes, "_command", lambda *arguments: [*command(*arguments), "--help"])
    (outcome,) = parallel(tasks, ["cpu"], home=workspace.home)
    assert "usage:" in tasks[0].folder.log.read_text() and "ended with status 0" in outcome.fault
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("is_package", [False, True])
def test_a_plugin_in_the_working_directory_is_found_and_brings_nothing_with_it(tmp_path, is_package):
    folder = hostile(tmp_path / "downloads")
    plugin = folder / "mine" / "parts.py" if is_package else folder / "mine.py"
    plugin.parent.mkdir(exist_ok=True)
    plugin.write_text("import json, numpy\nprint('the plug-in ran', json.dumps([1]))\n")
    done = subprocess.run(
        [sys.executable, "-m", "autoseg.cli.verify", "-d", "1", "--home", str(tmp_path), "--plugin",
         "mine.parts" if is_package else "mine"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **IMPORTS_NOTHING_FROM_HERE})
    assert done.returncode == 2 and "the plug-in ran [1]" in done.stdout and "unknown dataset" in done.stderr, done.stderr
    assert not (folder / "executed").exists()


def test_an_installed_plugin_does_not_open_the_working_directory(tmp_path):
    (tmp_path / "no_such_package_of_anybody.py").write_text("raise SystemExit('of a stranger')")
    code = ("from autoseg.base.processes import load_plugin\nload_plugin('json.tool')\n"
            "try:\n    import no_such_package_of_anybody\nexcept ImportError:\n    print('not found')\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **IMPORTS_NOTHING_FROM_HERE})
    assert done.stdout == "not found\n", done.stderr
