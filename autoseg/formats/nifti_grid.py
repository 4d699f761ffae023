"""Where the grid of a NIfTI file lies, which its header may say in two forms (docs/decisions/0024).

The sform where its code is above 0, else the qform where its code is; where neither is, the grid that nibabel and SPM take:
along the axes of the body, with its centre at the origin. What the forms contradict is a warning, in mm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.formats.oddities import PLAUSIBLE_MM, oddities
from autoseg.formats.sitk import FLAT_SPACING
from autoseg.grids.geometry import Geometry, length, triple
from autoseg.grids.nifti_forms import RAS_TO_LPS, NiftiForms

_MILLIMETRES_AND_SECONDS = 10
_SCANNER = 1  # the code of a form that ITK writes
# Corners that are apart by less (in voxels) say the same in other words; what is apart by more is a warning.
_SAME_WORDS = 1e-3
_WARNED = 0.1
# NIfTI-1, little-endian; only what says where the voxels lie (nifti1.h).
_HEADER = np.dtype({"names": ("sizeof_hdr", "dim", "intent_code", "datatype", "pixdim", "slope_inter", "xyzt_units",
                              "qform_code", "sform_code", "quatern", "offset", "srow", "magic"),
                    "formats": ("<i4", ("<i2", 8), "<i2", "<i2", ("<f4", 8), ("<f4", 2), "u1", "<i2", "<i2", ("<f4", 3),
                                ("<f4", 3), ("<f4", (3, 4)), "S4"),
                    "offsets": (0, 40, 68, 70, 76, 112, 123, 252, 254, 256, 268, 280, 344), "itemsize": 348})
_SCALARS = (2, 4, 8, 16, 64, 256, 512, 768)  # codes of 8 to 32 bits and float64
_MILLIMETRES = 2
# Quaternions (b, c, d) of no turn and of half a turn about one axis, and which axes they reverse.
_HALF_TURNS = {(0.0, 0.0, 0.0): (1, 1, 1), (1.0, 0.0, 0.0): (1, -1, -1), (0.0, 1.0, 0.0): (-1, 1, -1),
               (0.0, 0.0, 1.0): (-1, -1, 1)}


def plain_geometry(start: bytes) -> Geometry | None:
    """The grid of a volume along the axes of the body, of which qform and sform say the same; None of any other header.

    `grid_of` answers alike, but needs nibabel, whose import takes a hundred milliseconds.
    """
    if len(start) < _HEADER.itemsize:
        return None
    header = np.frombuffer(start, _HEADER, 1)[0]
    size, spacing = header["dim"][1:4], header["pixdim"][1:4]
    rotation = tuple(header["quatern"].tolist())
    is_plain = (header["sizeof_hdr"] == _HEADER.itemsize and header["magic"] == b"n+1" and header["dim"][0] == 3
                and not header["intent_code"] and header["datatype"] in _SCALARS
                and header["xyzt_units"] & 7 in (0, _MILLIMETRES)
                and (np.isfinite(header["slope_inter"][1]) or not np.isfinite(header["slope_inter"][0])))
    is_along_axes = (header["qform_code"] > 0 and header["sform_code"] > 0 and rotation in _HALF_TURNS
                     and header["pixdim"][0] in (1, -1))
    low, high = PLAUSIBLE_MM
    if not (is_plain and is_along_axes and (size > 0).all() and (spacing > low).all() and (spacing < high).all()
            and np.isfinite(header["srow"]).all()):
        return None
    signs = np.array(_HALF_TURNS[rotation]) * (1, 1, header["pixdim"][0])
    if not np.array_equal(header["srow"], np.column_stack((np.diag(signs * spacing), header["offset"]))):
        return None
    return Geometry(shape=triple(map(int, size[::-1])), spacing_mm=triple(map(float, spacing[::-1])),
                    origin_mm=triple(map(float, RAS_TO_LPS @ header["offset"])),
                    direction=tuple(map(float, (RAS_TO_LPS @ np.diag(signs)).ravel())), dimensions=3,
                    nifti=_forms(header, header["quatern"], header["offset"], header["srow"]))


def grid_of(header: Any, size: tuple[int, ...], path: Path) -> tuple[Geometry, tuple[str, ...]]:
    """The grid that a header (of nibabel) says, for a size along x, y(, z), and a sentence for each contradiction."""
    forms = _forms(header, [header[f"quatern_{axis}"] for axis in "bcd"], [header[f"qoffset_{axis}"] for axis in "xyz"],
                   [header[f"srow_{axis}"] for axis in "xyz"])
    n = len(size)
    coded = {"sform": (forms.sform_code, forms.sform(n)), "qform": (forms.qform_code, forms.qform(n))}
    said = {name: affine for name, (_, affine) in coded.items() if affine is not None}
    warnings = [f"{name}_code is {code}, but the {name} is no grid: it is left out"
                for name, (code, affine) in coded.items() if code > 0 and affine is None]
    frame, pixdim = _Frame(triple((*size, *(1,) * (3 - n))[::-1]), n, forms.unit_mm), forms.spacing(n)
    if "sform" in said:
        geometry, warning = _by_sform(frame, said, pixdim)
        warnings += warning
    elif "qform" in said:
        geometry = frame.placed(said["qform"], pixdim)
    else:
        geometry = frame.placed(forms.centred(frame.shape, n), pixdim)
        warnings.append("the header does not say where the image lies (qform_code and sform_code are 0): it is taken to lie "
                        "along the axes of the body in the order of its voxels")
    warnings += oddities(geometry, "xyzt_units")
    return (replace(geometry, is_oriented=bool(said), nifti=forms), tuple(f"{path}: {warning}" for warning in warnings))


@dataclass(frozen=True)
class _Frame:
    """What a grid is beside its affine."""

    shape: tuple[int, int, int]  # z, y, x
    dimensions: int
    unit_mm: float

    def placed(self, affine: np.ndarray, spacing: np.ndarray | None = None) -> Geometry:
        """The grid of an affine (RAS, in the header's unit). `spacing` (x, y, z) replaces the lengths of its columns."""
        columns = RAS_TO_LPS @ affine[:3, :3]
        lengths = np.linalg.norm(columns, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            axes = np.nan_to_num(columns / lengths)
        steps_mm = (lengths if spacing is None else spacing) * self.unit_mm
        if self.dimensions == 2:
            axes[:, 2] = np.cross(axes[:, 0], axes[:, 1]) * (1 if axes[:, 2] @ np.cross(axes[:, 0], axes[:, 1]) >= 0 else -1)
            steps_mm = np.array([*steps_mm[:2], FLAT_SPACING * steps_mm[:2].max()])
        return Geometry(shape=self.shape, spacing_mm=triple(float(mm) for mm in steps_mm[::-1]),
                        origin_mm=triple(float(mm) for mm in RAS_TO_LPS @ affine[:3, 3] * self.unit_mm),
                        direction=tuple(float(v) for v in axes.ravel()), dimensions=self.dimensions)


def _by_sform(frame: _Frame, said: Mapping[str, np.ndarray], pixdim: np.ndarray) -> tuple[Geometry, list[str]]:
    """The grid of the sform, in the numbers of the qform or of pixdim where these say the same: they are those that ITK and
    nnU-Net take.
    """
    geometry, by_pixdim = frame.placed(said["sform"]), frame.placed(said["sform"], pixdim)
    name, other = ("qform", frame.placed(said["qform"], pixdim)) if "qform" in said else ("pixdim", by_pixdim)
    apart = geometry.voxels_apart(other)
    if apart < _SAME_WORDS:
        return other, []
    warnings = [f"sform and {name} disagree by {length(geometry.farthest_mm(other))} at the farthest corner: the sform is "
                "taken, as viewers do"] if apart > _WARNED else []
    return (by_pixdim if geometry.voxels_apart(by_pixdim) < _SAME_WORDS else geometry), warnings


def say_grid(header: Any, geometry: Geometry) -> None:
    """Write into a header (of nibabel) what the image's own said or, for an image of another format, both forms."""
    forms = geometry.nifti
    if forms is not None:
        header["pixdim"][:4] = forms.pixdim
        header["qform_code"], header["sform_code"] = forms.qform_code, forms.sform_code
        header["xyzt_units"] = forms.xyzt_units
        for name, values in (("quatern_bcd", forms.quatern), ("qoffset_xyz", forms.offset)):
            stem, axes = name.split("_")
            for axis, value in zip(axes, values, strict=True):
                header[f"{stem}_{axis}"] = value
        for axis, row in zip("xyz", np.array(forms.srow).reshape(3, 4), strict=True):
            header[f"srow_{axis}"] = row
        return
    affine = np.eye(4)
    affine[:3, :3] = RAS_TO_LPS @ np.array(geometry.direction).reshape(3, 3) * geometry.spacing_mm[::-1]
    affine[:3, 3] = RAS_TO_LPS @ np.array(geometry.origin_mm)
    if geometry.dimensions == 2:
        affine[:3, 2] /= geometry.spacing_mm[0]
    is_sheared = geometry.sheared_mm() > _SAME_WORDS * min(geometry.spacing_mm)
    header.set_qform(affine, 0 if is_sheared else _SCANNER, strip_shears=True)
    header.set_sform(affine, _SCANNER)
    header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header["xyzt_units"] = _MILLIMETRES_AND_SECONDS


def _forms(header: Any, quatern: Any, offset: Any, srow: Any) -> NiftiForms:
    """The numbers of both forms. A form that holds a number that is none is no grid: so are these zeros and twos."""
    qfac, *pixdim = np.nan_to_num(np.asarray(header["pixdim"][:4], np.float64), posinf=0.0, neginf=0.0).tolist()
    is_turn = np.isfinite([*quatern, *offset]).all()
    is_affine = np.isfinite(np.asarray(srow, np.float64)).all()
    return NiftiForms(
        qform_code=int(header["qform_code"]), sform_code=int(header["sform_code"]), xyzt_units=int(header["xyzt_units"]),
        pixdim=(qfac, *triple(pixdim)), quatern=triple(map(float, quatern)) if is_turn else (2.0, 2.0, 2.0),
        offset=triple(map(float, offset)) if is_turn else (0.0, 0.0, 0.0),
        srow=tuple(np.asarray(srow, np.float64).ravel().tolist()) if is_affine else (0.0,) * 12)
