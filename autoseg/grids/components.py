"""Connected components of a mask; sharing a corner is enough (26-connected; 8-connected in one slice)."""

import numpy as np
import scipy

TOUCHING = np.ones((3, 3, 3), dtype=bool)


def components(mask_DHW: np.ndarray) -> tuple[np.ndarray, int]:
    """Component number of each voxel (int32, 0 outside the mask) and how many there are."""
    component_DHW, n = scipy.ndimage.label(  # type: ignore[call-overload]  # the stub knows no number type as output
        mask_DHW, structure=TOUCHING, output=np.int32)
    return component_DHW, int(n)


def component_voxels(mask_DHW: np.ndarray) -> np.ndarray:
    """Voxels of each component (N,), in the order of the components' numbers."""
    component_DHW, n = components(mask_DHW)
    return np.bincount(component_DHW.ravel(), minlength=n + 1)[1:]
