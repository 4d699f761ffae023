"""Seconds and peak memory of converting DICOM series into a raw dataset, as a Markdown table.

    python benchmarks/dicom_convert.py                      # 200 slices x 20 series: five patients with four channels each
    python benchmarks/dicom_convert.py --slices 40 --patients 2 --workers 1

Series are synthetic CT of 512 x 512 pixels, uncompressed, with one RTSTRUCT per patient. Peak memory is the sum of the
process and its workers, sampled 20 times a second; pages that several of them share count once, in proportion (PSS).
Seconds are those of a whole process, from its start to `dataset.json`. The second run finds everything done.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

import numpy as np
import psutil

from autoseg.evaluation.table import text_table
from autoseg.interop.dicom_dataset.build import Settings, convert_studies
from autoseg.interop.dicom_dataset.channels import channels_of
from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
from autoseg.interop.dicom_dataset.structures import parse_structures
from autoseg.interop.dicom_dataset.studies import find_studies
from autoseg.workspace.names import Workspace
from dicom_patients import square, write_structures
from dicom_studies import write_series

_PHASES = ("native", "arterial", "venous", "late")
_PIXELS = 512


def write_patients(folder: Path, n_patients: int, n_slices: int) -> None:
    """CT-like volumes: a smooth body and noise of 12 HU, so that they are compressed as real ones are."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:_PIXELS * 1j, -1:1:_PIXELS * 1j]
    body = np.where(x**2 / 0.6 + y**2 / 0.4 < 1, 40, -1000).astype(np.int16)
    for patient in range(n_patients):
        study = f"1.2.826.0.1.3680043.8.498.7.{patient}"
        for number, phase in enumerate(_PHASES):
            noise = generator.normal(0, 12, (n_slices, _PIXELS, _PIXELS)).astype(np.int16)
            write_series(folder / f"{patient}/{number}", body + noise, study=study, series=number + 1, description=phase,
                         patient=f"MRN{patient:06d}", spacing_mm=(1.0, 0.7, 0.7))
        contours = [square(200, 260, 200, 280, k, spacing_mm=(1.0, 0.7, 0.7)) for k in range(n_slices // 4, n_slices // 2)]
        write_structures(folder / f"{patient}/RS.dcm", {"GTV": contours}, study=study, series=1, patient=f"MRN{patient:06d}")


def convert(source: Path, home: Path, workers: int) -> tuple[float, float]:
    """Seconds, and the peak of memory in bytes of a process that converts, with what it starts."""
    command = [sys.executable, __file__, "--convert", str(source), str(home), "--workers", str(workers)]
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, sum(_memory(part) for part in [tree, *_children(tree)]))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the process ended with {process.returncode}")
    return time.perf_counter() - started, peak


def convert_now(source: Path, home: Path, workers: int) -> None:
    channels = channels_of([f"CT_{phase}=modality=CT description~{phase}" for phase in _PHASES])
    settings = Settings(1, "Phases", channels, parse_structures(["GTV=tumour"]))
    converted = convert_studies(find_studies(source, channels).studies, source, Workspace.open(home), settings,
                                Pseudonyms(bytes(32)), workers=workers)
    assert not converted.faults


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--patients", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--convert", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        convert_now(*options.convert, options.workers[0])
        return
    rows = [("slices", "series", "workers", "seconds", "peak memory GB", "seconds of a second run")]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "dicom")
        write_patients(source, options.patients, options.slices)
        for workers in options.workers:
            seconds, peak = convert(source, Path(folder, f"home{workers}"), workers)
            again, _ = convert(source, Path(folder, f"home{workers}"), workers)
            print(f"{workers} workers: {seconds:.0f} s", file=sys.stderr, flush=True)
            rows.append((str(options.slices), str(options.patients * len(_PHASES)), str(workers), f"{seconds:.0f}",
                         f"{peak / 1e9:.2f}", f"{again:.0f}"))
    print("\n".join(text_table(rows, markdown=True)))


if __name__ == "__main__":
    main()
