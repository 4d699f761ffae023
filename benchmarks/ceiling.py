"""The ceilings of a dataset's grids: what each leaves of the labels, and the thickness of slices that they tell.

    python benchmarks/ceiling.py FOLDER [FOLDER ...] [--thick N]

FOLDER is a raw dataset. With `--thick` every N-th slice of its labels alone is kept, and the header says what it said: a
phantom of thick slices.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

from autoseg.datasets.dataset import Dataset
from autoseg.datasets.measure import measure
from autoseg.formats import read_label, write_array, write_label
from autoseg.grids.geometry import Geometry
from planners.rules.ceiling import thickness
from planners.schema.fingerprint import Fingerprint


def thinned(folder: Path, thick: int, target: Path) -> Path:
    """A dataset of every `thick`-th slice of a dataset's labels; the image of a case is its label."""
    source = Dataset.open(folder)
    names = {name: list(values) if len(values) > 1 else values[0] for name, values in source.manifest.labels.names.items()}
    content = {"channel_names": {"0": "MRI"}, "labels": names, "file_ending": ".nii.gz", "numTraining": len(source.cases)}
    (target / "dataset.json").write_text(json.dumps(content))
    for files in source.cases:
        assert files.label is not None
        label_DHW, original = read_label(files.label)
        label_DHW = np.ascontiguousarray(label_DHW[thick // 2::thick])
        geometry = Geometry(label_DHW.shape, original.spacing_mm)
        write_array(target / f"imagesTr/{files.name}_0000.nii.gz", (1 + label_DHW)[None].astype(np.float32), geometry)
        write_label(target / f"labelsTr/{files.name}.nii.gz", label_DHW, geometry)
    return target


def show(title: str, fingerprint: Fingerprint, seconds: float) -> None:
    print(f"{title}: measured in {seconds:.1f} s, slices {thickness(fingerprint):.2f} times as thick as their spacing")
    for grid in fingerprint.ceilings:
        factors = " x ".join("own" if factor is None else f"{factor:g}" for factor in grid.factors)
        labels = (f"{label.name} {label.dice:.3f} ({label.dice_p25:.3f}), kept {label.kept:.1%} of {label.components}"
                  for label in grid.labels)
        print(f"  {factors:16} " + "; ".join(labels))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--thick", type=int, default=1)
    options = parser.parse_args()
    for folder in options.folders:
        with tempfile.TemporaryDirectory() as scratch:
            source = folder if options.thick == 1 else thinned(folder, options.thick, Path(scratch))
            started = time.perf_counter()
            fingerprint = measure(Dataset.open(source), folder.name)
            show(folder.name, fingerprint, time.perf_counter() - started)


if __name__ == "__main__":
    main()
