"""How long listing and reading a large study of DICOM takes, and its peak memory.

    python benchmarks/dicom_reading.py                        # 20 series of 200 slices of 256 x 256, in a temporary folder
    python benchmarks/dicom_reading.py --folder STUDY         # a study of your own
    python benchmarks/dicom_reading.py --series 5 --slices 40 # a trial

Prints Markdown. The target: at most 1 GB, however many series there are. The step that reads takes one volume at a time.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests" / "support")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a study that is there already")
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--pixels", type=int, default=256, help="rows and columns of the written study")
    options = parser.parse_args()
    with folder_of(options) as folder:
        measure(folder)


@contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[Path]:
    if options.folder is not None:
        yield options.folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        write_study(Path(temporary), options)
        yield Path(temporary)


def write_study(folder: Path, options: argparse.Namespace) -> None:
    """Each slice is the first one with another position: writing is no part of what is measured."""
    import numpy as np
    import pydicom

    from dicom_studies import write_series

    image = np.random.default_rng(0).integers(-1000, 2000, (1, options.pixels, options.pixels)).astype(np.int16)
    for number in range(1, options.series + 1):
        part = folder / f"{number:03d}"
        (first,) = write_series(part, image, series=number, description=f"series {number}", spacing_mm=(1.25, 0.8, 0.8))
        file = pydicom.dcmread(first)
        first.unlink()
        uid, (x, y, z) = file.SOPInstanceUID, file.ImagePositionPatient
        for k in range(options.slices):
            file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{k}"
            file.InstanceNumber, file.ImagePositionPatient = k + 1, [x, y, float(z) + 1.25 * k]
            file.save_as(part / f"{(k * 7919) % 10007:05d}")


def measure(folder: Path) -> None:
    from autoseg.datasets.dicom_cases import read_study

    start = time.perf_counter()
    found = read_study(folder)
    listed_s, listed_mb = time.perf_counter() - start, peak_mb()
    start = time.perf_counter()
    for stack in found.stacks:
        stack.read()
    n_files = len({part.path for stack in found.stacks for part in stack.slices})
    print(f"{len(found.stacks)} volumes, {n_files} files\n")
    print("| step | seconds | per file, ms | peak memory, MB |\n|---|---|---|---|")
    for name, seconds, memory in (("list", listed_s, listed_mb), ("read all", time.perf_counter() - start, peak_mb())):
        print(f"| {name} | {seconds:.1f} | {1000 * seconds / n_files:.2f} | {memory:.0f} |")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
