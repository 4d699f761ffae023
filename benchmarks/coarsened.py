"""Writes a raw dataset again with few thick slices: averages along the first array axis, labels by the largest share.

    python benchmarks/coarsened.py ../shared/data/Dataset004_Hippocampus HOME/raw/Dataset034_Few [--slices 12] [--cases 60]

The header says the true thickness. For datasets with one channel in NIfTI.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np

from autoseg.formats import read_image, read_label, write_array, write_label
from autoseg.grids.geometry import Geometry


def slabs(values_DHW: np.ndarray, n: int) -> np.ndarray:
    """Means over n slabs of equal thickness along the first axis: (n, H, W)."""
    edges = np.linspace(0, len(values_DHW), n + 1)
    total = np.concatenate([np.zeros((1, *values_DHW.shape[1:])), np.cumsum(values_DHW, axis=0, dtype=np.float64)])
    below = np.floor(edges).astype(int)
    above = np.minimum(below + 1, len(values_DHW))
    share = (edges - below)[:, None, None]
    at_edges = total[below] * (1 - share) + total[above] * share
    return np.diff(at_edges, axis=0) * n / len(values_DHW)


def coarse_label(label_DHW: np.ndarray, n: int) -> np.ndarray:
    """Each voxel takes the label that fills most of it."""
    values = np.unique(label_DHW)
    return values[np.argmax([slabs(label_DHW == value, n) for value in values], axis=0)].astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--cases", type=int, default=60)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.dataset / "dataset.json", options.out)
    for path in sorted((options.dataset / "labelsTr").glob("*.nii.gz"))[:options.cases]:
        name = path.name.removesuffix(".nii.gz")
        image_CDHW, geometry = read_image(options.dataset / "imagesTr" / f"{name}_0000.nii.gz")
        label_DHW, _ = read_label(path)
        z_mm, y_mm, x_mm = geometry.spacing_mm
        coarse = Geometry((options.slices, *label_DHW.shape[1:]),
                          (z_mm * len(label_DHW) / options.slices, y_mm, x_mm))
        write_array(options.out / "imagesTr" / f"{name}_0000.nii.gz",
                    np.stack([slabs(channel, options.slices) for channel in image_CDHW]).astype(np.float32), coarse)
        write_label(options.out / "labelsTr" / path.name, coarse_label(label_DHW, options.slices), coarse)


if __name__ == "__main__":
    main()
