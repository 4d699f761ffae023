"""Meshes of triangles as files: STL (binary) and OBJ. Positions are mm in the world x, y, z of DICOM (LPS).

STL has no place for a unit or an axis system. 3D Slicer reads `SPACE=LPS` in its header, and takes LPS where nothing is
said.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autoseg.workspace.files import write_atomically, write_text

_HEADER_BYTES = 80
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])


def stl_bytes(points_mm: np.ndarray, triangles: np.ndarray) -> bytes:
    """A binary STL of vertices (V, 3) in mm (x, y, z) and triangles (F, 3), anticlockwise seen from outside."""
    facets = np.zeros(len(triangles), _FACET)
    corners = points_mm[triangles].astype(np.float32)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["corners"], facets["normal"] = corners, normals / np.where(lengths > 0, lengths, 1)
    header = b"autoseg SPACE=LPS".ljust(_HEADER_BYTES, b" ")
    return header + np.uint32(len(triangles)).tobytes() + facets.tobytes()


def write_stl(path: Path, points_mm: np.ndarray, triangles: np.ndarray) -> None:
    """Write one surface; atomically."""
    content = stl_bytes(points_mm, triangles)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files of these names into one zip; atomically."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    write_atomically(path, lambda temporary: temporary.write_bytes(packed.getvalue()))


def write_obj(path: Path, surfaces: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write surfaces by their names, each as a group of one OBJ file; atomically."""
    lines, first = ["# autoseg, positions in mm, SPACE=LPS"], 1
    for name, (points_mm, triangles) in surfaces.items():
        lines.append(f"g {'_'.join(name.split())}")
        lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points_mm]
        lines += [f"f {a} {b} {c}" for a, b, c in triangles + first]
        first += len(points_mm)
    write_text(path, "\n".join([*lines, ""]))
