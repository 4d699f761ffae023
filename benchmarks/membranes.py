"""Says how well predicted membranes part the cells of electron microscopy: V_rand and V_info of the ISBI challenge of 2012.

    python benchmarks/membranes.py --masks MODEL/fold_2/validation [--truth ../shared/data/Dataset020_Membrane/labelsTr]

Cells are the components (4 neighbours) of what is no membrane. Predicted membranes are thinned to no width: a watershed
gives their pixels to the nearest cell. True membranes are left out. Both scores are 1 for equal cells and join splits and
merges evenly (Arganda-Carreras et al. 2015, doi 10.3389/fnana.2015.00142, equations 3 and 6 with alpha = 1/2). The
challenge takes the best threshold of a probability; these are masks, so one threshold.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from scipy import ndimage
from skimage.io import imread
from skimage.segmentation import watershed

DATA = Path(os.environ.get("AUTOSEG_TEST_DATA", "../shared/data"))


def cells(mask_HW: np.ndarray) -> np.ndarray:
    """The number of each pixel's cell, membranes thinned to no width; (H, W), from 1."""
    parted_HW, n_cells = ndimage.label(mask_HW == 0)
    if n_cells == 0:
        return np.ones_like(parted_HW)
    filled_HW: np.ndarray = watershed(ndimage.distance_transform_edt(mask_HW != 0), parted_HW)
    return filled_HW


def parted(truth_HW: np.ndarray, mask_HW: np.ndarray) -> tuple[float, float]:
    """V_rand and V_info of a mask of membranes (1) against the true one, over the pixels of true cells.

    >>> import numpy as np
    >>> two_cells = np.zeros((5, 7)); two_cells[:, 3] = 1
    >>> parted(two_cells, two_cells), parted(two_cells, np.zeros((5, 7)))
    ((1.0, 1.0), (0.6666666666666666, 0.0))
    """
    true_HW, n_cells = ndimage.label(truth_HW == 0)
    inside_HW = true_HW > 0
    predicted_HW = cells(mask_HW)
    shared_PT = np.zeros((predicted_HW.max() + 1, n_cells + 1))
    np.add.at(shared_PT, (predicted_HW[inside_HW], true_HW[inside_HW]), 1.0)
    shared_PT /= shared_PT.sum()
    predicted_P, true_T = shared_PT.sum(axis=1), shared_PT.sum(axis=0)
    rand = 2 * (shared_PT**2).sum() / ((predicted_P**2).sum() + (true_T**2).sum())
    entropies = _entropy(predicted_P) + _entropy(true_T)
    information = 2 * (entropies - _entropy(shared_PT)) / entropies if entropies else 1.0
    return float(rand), float(information)


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=Path, required=True, nargs="+", help="folders of predicted masks, PNG")
    parser.add_argument("--truth", type=Path, default=DATA / "Dataset020_Membrane" / "labelsTr")
    options = parser.parse_args()
    for folder in options.masks:
        masks = sorted(folder.glob("*.png"))
        scores = {path.stem: parted(imread(options.truth / path.name), imread(path)) for path in masks}
        if not scores:
            raise SystemExit(f"no PNG in {folder}: give a folder of predicted masks")
        for name, (rand, information) in scores.items():
            print(f"{name}: V_rand {rand:.4f}, V_info {information:.4f}")
        rand, information = np.mean(list(scores.values()), axis=0)
        print(f"{folder}: mean of {len(scores)}: V_rand {rand:.4f}, V_info {information:.4f}")


if __name__ == "__main__":
    main()
