"""What a grid says that is unlikely, whatever the format of its file: a sentence each."""

from autoseg.grids.geometry import Geometry, length

# Edges of a voxel (mm) between which its unit is believed without a word.
PLAUSIBLE_MM = (1e-5, 100.0)
# A corner that a shear moves by more than this share of the smallest side of a voxel.
_SHEAR_WARNED = 0.5


def oddities(geometry: Geometry, unit: str = "") -> list[str]:
    """Voxels of unlikely size, and axes that are not perpendicular. `unit` names where the header says its unit."""
    low, high = PLAUSIBLE_MM
    edges_mm = geometry.spacing_mm[3 - geometry.dimensions:]
    odd = []
    if min(edges_mm) <= low or max(edges_mm) >= high:
        odd.append(f"voxels of {' x '.join(length(mm) for mm in edges_mm)} (z, y, x) are unlikely: look at the unit in the "
                   f"header{f' ({unit})' if unit else ''}")
    sheared_mm = geometry.sheared_mm() if geometry.dimensions == 3 else 0.0
    if sheared_mm > _SHEAR_WARNED * min(edges_mm):
        odd.append(f"the axes are not perpendicular, as after a tilt of the gantry: a corner lies {length(sheared_mm)} from "
                   "where it would; masks are written with the same axes, and the network sees the voxels as stored")
    return odd
