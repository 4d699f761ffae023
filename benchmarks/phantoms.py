"""Writes two raw datasets of phantoms, to try plans on data that chose none of the planner's constants.

    python benchmarks/phantoms.py --home HOME [--cases 40]

Dataset031_Thick: venous CT of 22 to 28 slices of 150 to 208 pixels along each edge, as thick as three pixels, with headers
that say 1 x 1 x 1 mm.
Dataset032_Cubic: the same patients with cubic voxels, 37 x 78 x 98 of them or so. Labels are liver and tumour.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from autoseg.datasets.phantom import LABELS, REFERENCE, Phantom, make_phantom
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_json

SEED = 7


def thick(phantom: Phantom, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Twice as fine in plane, and a header that knows nothing of it."""
    image, label = finer(phantom, (1, 2, 2), random)
    return image, label, Geometry(image.shape, (1.0, 1.0, 1.0))


def cubic(phantom: Phantom, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Slices as thick as their pixels are wide."""
    z_mm, y_mm, x_mm = phantom.geometry.spacing_mm
    image, label = finer(phantom, (z_mm / y_mm, 1, 1), random)
    return image, label, Geometry(image.shape, (y_mm, y_mm, x_mm))


def finer(phantom: Phantom, factors: tuple[float, float, float], random: np.random.Generator
          ) -> tuple[np.ndarray, np.ndarray]:
    """Image (HU, with noise of the finer grid) and label on a finer grid."""
    image = ndimage.zoom(phantom.ct_CDHW[REFERENCE], factors, order=1, mode="nearest", grid_mode=True)
    shares = [ndimage.zoom((phantom.label_DHW == value).astype(np.float32), factors, order=1, mode="nearest", grid_mode=True)
              for value in LABELS.values()]
    return image + random.normal(scale=10, size=image.shape), np.argmax(shares, axis=0).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=40)
    options = parser.parse_args()
    for name, scan in (("Dataset031_Thick", thick), ("Dataset032_Cubic", cubic)):
        folder = options.home / "raw" / name
        for index in range(options.cases):
            phantom = make_phantom(SEED, index)
            image, label, geometry = scan(phantom, np.random.default_rng([SEED, index]))
            write_array(folder / "imagesTr" / f"{phantom.name}_0000.nii.gz", np.rint(image).astype(np.int16)[None], geometry)
            write_label(folder / "labelsTr" / f"{phantom.name}.nii.gz", label, geometry)
        write_json(folder / "dataset.json", {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": options.cases,
                                             "file_ending": ".nii.gz"})


if __name__ == "__main__":
    main()
