"""What a job leaves in its folder: the mask in every form that can be fetched, and what is said of it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from autoseg.datasets.case import Case
from autoseg.evaluation.mesh import surface_mesh
from autoseg.formats.meshes import stl_bytes, write_obj, write_stl, write_zip
from autoseg.formats.source import FileWriter
from autoseg.grids.geometry import Geometry
from autoseg.prediction.segmentation import Segmentation
from autoseg.reporting.contact_sheet import colours_of
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.spool import JobFolder
from autoseg.workspace.jobs.types import InputFile, JobResult, LabelVolume
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

_MOST_MESHED = 2**24  # voxels of a mask whose surface is computed in full
_INT16 = (-(2**15), 2**15 - 1)

@dataclass(frozen=True)
class Known:
    """What a prediction rests on: channels and columns that were there, and those that were missing."""

    present: tuple[str, ...]
    absent: tuple[str, ...]


def write_outputs(segmentation: Segmentation[Any], plan: Plan, folder: JobFolder, files_sent: Sequence[InputFile],
                  known: Known, *, identity: str, seconds: float, warnings: Sequence[str]) -> JobResult:
    """Write all files of a result; what the service says of it. `result.json` comes last: the result is whole."""
    prediction, case = segmentation.prediction, segmentation.prediction.case
    writer = FileWriter(case.geometry)
    writer.write_label(folder.result / "mask.nii.gz", prediction.label_DHW)
    files = ["nifti"]
    for name, array in (("entropy", prediction.entropy_DHW), ("disagreement", prediction.disagreement_DHW)):
        if array is not None:
            writer.write_array(folder.result / f"{name}.nii.gz", array[None])
            files.append(name)
    if case.source is not None and case.source.is_dicom:
        for kind in ("seg", "rtstruct"):
            segmentation.save(folder.result / f"{kind}.dcm", dicom=kind)
            files.append(kind)
    if case.geometry.dimensions == 3:
        files += write_meshes(folder, prediction.label_DHW, case.geometry, plan.labels)
    images = write_images(case, plan, folder, files_sent)
    quality = segmentation.quality
    result = JobResult(
        labels=volumes_of(prediction.label_DHW, case.geometry, plan.labels),
        spacing_mm=case.geometry.spacing_mm[3 - case.geometry.dimensions:],
        shape=case.geometry.shape[3 - case.geometry.dimensions:], files=tuple(files), images=images, present=known.present,
        absent=known.absent, predicted_dice=None if quality is None else quality.predicted_dice,
        needs_review=None if quality is None else quality.needs_review, model_identity=identity, seconds=round(seconds, 3),
        warnings=tuple(warnings))
    write_json(folder.result / "result.json", result)
    return result


def volumes_of(label_DHW: np.ndarray, geometry: Geometry, labels: LabelSpec) -> tuple[LabelVolume, ...]:
    """The voxels and the mL of each foreground name; a region has those of all its values."""
    n_values = int(label_DHW.max(initial=0)) + 1
    counts = np.zeros(n_values, np.int64)
    for label_HW in label_DHW:  # since counting takes 8 bytes per voxel
        counts += np.bincount(label_HW.ravel(), minlength=n_values)
    voxels = {name: int(sum(counts[value] for value in labels.names[name] if value < len(counts)))
              for name in labels.foreground}
    return tuple(LabelVolume(name=name, values=labels.names[name], color=color.lower(), voxels=voxels[name],
                             volume_ml=round(voxels[name] * geometry.voxel_ml(), 4))
                 for name, color in colours_of(labels).items())


def write_images(case: Case, plan: Plan, folder: JobFolder, sent: Sequence[InputFile]) -> tuple[str, ...]:
    """Write the channels that the case has, on the grid of the case; their names. A file that is compressed NIfTI already is
    shown as it came.
    """
    as_sent = {file.channel: file.number for file in sent if file.ending == ".nii.gz"}
    present = [number for number in range(len(plan.channels)) if case.present_C[number]]
    for number in present:
        name = plan.channels[number].name
        if name in as_sent:
            folder.show_input(as_sent[name], number)
        else:
            FileWriter(case.geometry).write_array(folder.image(number), small(case.image_CDHW[number])[None])
    return tuple(plan.channels[number].name for number in present)


def small(image_DHW: np.ndarray) -> np.ndarray:
    """The same image as int16 where its values are such numbers, as those of a CT: a quarter of the time to compress."""
    whole_DHW = np.nan_to_num(image_DHW).clip(*_INT16).astype(np.int16)
    return whole_DHW if np.array_equal(whole_DHW, image_DHW) else image_DHW


def write_meshes(folder: JobFolder, label_DHW: np.ndarray, geometry: Geometry, labels: LabelSpec) -> list[str]:
    """Write the surface of each name that has voxels, alone and together; the forms that there are."""
    boxes = ndimage.find_objects(label_DHW)
    surfaces = {}
    for name in labels.foreground:
        parts = [boxes[value - 1] for value in labels.names[name] if 0 < value <= len(boxes)]
        parts = [part for part in parts if part is not None]
        if parts:
            box = tuple(slice(min(part[axis].start for part in parts), max(part[axis].stop for part in parts))
                        for axis in range(3))
            surfaces[name] = surface_of(np.isin(label_DHW[box], labels.names[name]), geometry,
                                        tuple(part.start for part in box))
    for number, name in enumerate(labels.foreground):
        if name in surfaces:
            write_stl(folder.result / f"{number}.stl", *surfaces[name])
            write_obj(folder.result / f"{number}.obj", {name: surfaces[name]})
    if not surfaces:
        return []
    write_zip(folder.result / "stl.zip", {f"{number}_{plain_name(name)}.stl": stl_bytes(*surfaces[name])
                                          for number, name in enumerate(labels.foreground) if name in surfaces})
    write_obj(folder.result / "mesh.obj", surfaces)
    return ["stl", "obj"]


def plain_name(name: str) -> str:
    """A label's name as part of that of a file."""
    return re.sub(r"[^\w.+-]+", "_", name)


def surface_of(mask_DHW: np.ndarray, geometry: Geometry, start: tuple[int, ...] = (0, 0, 0)
               ) -> tuple[np.ndarray, np.ndarray]:
    """The closed surface of a mask (z, y, x; not empty) that begins at a voxel of the grid: vertices (V, 3) in mm (x, y, z;
    LPS), and triangles (F, 3) whose corners run anticlockwise seen from outside.

    Of a mask of more than 2^24 voxels, such as that of a whole body, every second voxel along each axis is taken, or fewer.
    """
    step = max(1, math.ceil((mask_DHW.size / _MOST_MESHED) ** (1 / 3)))
    thinned_DHW = mask_DHW[::step, ::step, ::step]
    if not thinned_DHW.any():  # thin sheets between the voxels that were taken
        step, thinned_DHW = 1, mask_DHW
    spacing = np.array(geometry.spacing_mm)
    mesh = surface_mesh(thinned_DHW, tuple(float(side) for side in spacing * step))
    direction = np.array(geometry.direction).reshape(3, 3)
    points_mm = (mesh.points_mm + np.array(start) * spacing)[:, ::-1] @ direction.T + geometry.origin_mm
    corners = points_mm[mesh.simplices] - points_mm.mean(axis=0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    return points_mm, mesh.simplices[:, ::-1] if volume < 0 else mesh.simplices
