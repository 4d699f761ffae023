"""The program that is compared with: its virtual environment, and what the two are that were measured."""

import json
import os
import platform
import subprocess
import sys
import venv
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import psutil

from .bench import ROOT

TORCH = "torch==2.13.0"
ALONE = ("nnunetv2==2.8.1", "dynamic_network_architectures", "batchgeneratorsv2", "acvl_utils", "fft_conv_pytorch")
WITH = ("blosc2", "batchgenerators", "SimpleITK", "nibabel", "scikit-image", "scikit-learn", "pandas", "tqdm", "matplotlib",
        "seaborn", "imagecodecs", "tifffile", "einops", "graphviz", "requests", "dicom2nifti", "connected-components-3d",
        "threadpoolctl", "yacs")
_VERSIONS = ("import json, platform; from importlib.metadata import version; print(json.dumps({'python': "
             "platform.python_version(), **{name: version(name) for name in ('nnunetv2', 'torch', 'numpy')}}))")


def find_interpreter(given: Path | None, folder: Path) -> Path:
    """The interpreter that was given, else that of a virtual environment in `folder`, which is made where it is not there.

    Those packages of nnunetv2 that ask for others that are not needed here are installed without their dependencies.
    """
    if given is not None:
        return given.absolute()  # not resolved: a virtual environment's interpreter is a link out of it
    interpreter = folder / "bin" / "python"
    done = folder / "complete"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        for packages in ((TORCH,), ("--no-deps", *ALONE), WITH):
            subprocess.run([interpreter, "-m", "pip", "install", *packages], check=True)
        done.touch()
    return interpreter.absolute()


def facts_of(interpreter: Path, repeats: int) -> dict[str, str]:
    """Date, machine and versions, in words."""
    answer = subprocess.run([interpreter, "-c", _VERSIONS], check=True, capture_output=True, text=True).stdout
    theirs = json.loads(answer)
    ours = {"python": platform.python_version(), **{name: metadata.version(name) for name in ("torch", "numpy")}}
    return {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB, "
                       f"{platform.system()} {platform.release()}; load average {os.getloadavg()[0]:.1f} at the end",
            "autoseg": f"{_commit()}, {_words(ours)}",
            "nnU-Net": f"nnunetv2 {theirs.pop('nnunetv2')}, {_words(theirs)}",
            "threads": f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}",
            "measured": f"in turn, medians of {repeats}; peak memory is that of the whole process tree (PSS), sampled"}


def _words(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items())


def _commit() -> str:
    result = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return f"commit {result.stdout.strip()}" if result.returncode == 0 else f"in {sys.prefix}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
