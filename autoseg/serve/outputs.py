"""What a job leaves in its folder: the mask in every form that can be fetched, and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.datasets.case import Case
from autoseg.evaluation.mesh import surface_mesh
from autoseg.formats.meshes import stl_bytes, write_obj, write_stl, write_zip
from autoseg.formats.source import FileWriter
from autoseg.grids.geometry import Geometry
from autoseg.prediction.segmentation import Segmentation
from autoseg.reporting.contact_sheet import colours_of
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.spool import JobFolder
from autoseg.workspace.jobs.types import JobResult, LabelVolume
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan


@dataclass(frozen=True)
class Known:
    """What a prediction rests on: channels and columns that were there, and those that were missing."""

    present: tuple[str, ...]
    absent: tuple[str, ...]


def write_outputs(segmentation: Segmentation[Any], plan: Plan, folder: JobFolder, known: Known, *, identity: str,
                  seconds: float, warnings: Sequence[str]) -> JobResult:
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
    images = write_images(case, plan, folder)
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
    counts = np.bincount(label_DHW.ravel())
    voxels = {name: int(sum(counts[value] for value in labels.names[name] if value < len(counts)))
              for name in labels.foreground}
    return tuple(LabelVolume(name=name, values=labels.names[name], color=color.lower(), voxels=voxels[name],
                             volume_ml=round(voxels[name] * geometry.voxel_ml(), 4))
                 for name, color in colours_of(labels).items())


def write_images(case: Case, plan: Plan, folder: JobFolder) -> tuple[str, ...]:
    """Write the channels that the case has as the model sees them, on the grid of the case; their names."""
    present = [number for number in range(len(plan.channels)) if case.present_C[number]]
    for number in present:
        FileWriter(case.geometry).write_array(folder.image(number), case.image_CDHW[number][None])
    return tuple(plan.channels[number].name for number in present)


def write_meshes(folder: JobFolder, label_DHW: np.ndarray, geometry: Geometry, labels: LabelSpec) -> list[str]:
    """Write the surface of each name that has voxels, alone and together; the forms that there are."""
    surfaces = {}
    for name in labels.foreground:
        mask_DHW = np.isin(label_DHW, labels.names[name])
        if mask_DHW.any():
            surfaces[name] = surface_of(mask_DHW, geometry)
    for number, name in enumerate(labels.foreground):
        if name in surfaces:
            write_stl(folder.result / f"{number}.stl", *surfaces[name])
            write_obj(folder.result / f"{number}.obj", {name: surfaces[name]})
    if not surfaces:
        return []
    write_zip(folder.result / "stl.zip", {f"{number}.stl": stl_bytes(*surface)
                                          for number, surface in enumerate(surfaces.values())})
    write_obj(folder.result / "mesh.obj", surfaces)
    return ["stl", "obj"]


def surface_of(mask_DHW: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """The closed surface of a mask (z, y, x; not empty): vertices (V, 3) in mm (x, y, z; LPS), and triangles (F, 3) whose
    corners run anticlockwise seen from outside.
    """
    box = tuple(slice(int(places.min()), int(places.max()) + 1) for places in np.nonzero(mask_DHW))
    mesh = surface_mesh(mask_DHW[box], geometry.spacing_mm)
    start_mm = np.array([part.start for part in box]) * geometry.spacing_mm
    direction = np.array(geometry.direction).reshape(3, 3)
    points_mm = (mesh.points_mm + start_mm)[:, ::-1] @ direction.T + geometry.origin_mm
    corners = points_mm[mesh.simplices] - points_mm.mean(axis=0)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    return points_mm, mesh.simplices[:, ::-1] if volume < 0 else mesh.simplices
