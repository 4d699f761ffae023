"""Small things that many tests need: a plan, a prepared dataset of spheres."""

from pathlib import Path

import numpy as np

from autoseg.datasets.case import Case
from autoseg.grids.geometry import Geometry
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

SPHERES = LabelSpec(names={"background": (0,), "sphere": (1,), "core": (2,)})
BALL = (20, 18, 16)  # voxels of an image


def small_plan(dimensions: int = 3, labels: LabelSpec = SPHERES, n_channels: int = 1, **changes) -> Plan:
    """A plan of one tiny configuration, `3d_fullres` or `2d`."""
    n = dimensions
    architecture = UNet(strides=((1,) * n, (2,) * n), kernel_sizes=((3,) * n,) * 2, features=(8, 16),
                        blocks_encoder=(1, 1), convs_decoder=(1,))
    values = {"spacing_mm": (1.0,) * n, "median_shape": (16.0,) * n, "patch": (16,) * n, "batch": 2, "batch_dice": True,
              "architecture": architecture, "network": Part(name="unet"),
              "normalizers": (Part(name="zscore"),) * n_channels, "augmentation": Part(name="light"),
              "mirror_axes": tuple(range(n)),
              "schedule": Schedule(iterations=6, iterations_per_epoch=3, learning_rate=1e-2, decay="cosine", ema=0.9,
                                   optimizer=Part(name="adamw"))}
    name = "3d_fullres" if n == 3 else "2d"
    stats = IntensityStats(mean=0, std=1, min=-5, max=5, median=0, percentile_00_5=-3, percentile_99_5=3)
    return Plan(dataset="Dataset001_Spheres", planner="budgeted", labels=labels, transpose=(0, 1, 2),
                channels=tuple(ChannelSpec(name=f"MR_{c}") for c in range(n_channels)),
                intensities=(stats,) * n_channels, configurations={name: Configuration(**{**values, **changes})})


def sphere_case(name: str, seed: int, shape: tuple[int, int, int] = BALL) -> Case:
    """A bright ball with a brighter core somewhere in noise: a task that a tiny network learns in seconds."""
    rng = np.random.default_rng(seed)
    centre = [rng.uniform(7, edge - 7) for edge in shape]
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(shape), centre, strict=True)))
    label = (distance < 5).astype(np.int16) + (distance < 2.5)
    image = rng.normal(0, 0.3, shape) + 2.0 * (label > 0) + 2.0 * (label > 1)
    return Case(name, image[None].astype(np.float32), np.array([True]), Geometry(shape, (1.0, 1.0, 1.0)),
                label.astype(np.int16))


def write_spheres(folder: Path, n_cases: int = 6, file_ending: str = ".nii.gz", shape: tuple[int, int, int] = BALL) -> Path:
    """A raw dataset of spheres in nnU-Net's form."""
    from autoseg.formats import write_array, write_label
    from autoseg.workspace.files import write_json

    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "sphere": 1, "core": 2}, "numTraining": n_cases,
        "file_ending": file_ending})
    for index in range(n_cases):
        case = sphere_case(f"ball_{index:02}", index, shape)
        write_array(folder / "imagesTr" / f"{case.name}_0000{file_ending}", case.image_CDHW, case.geometry)
        write_label(folder / "labelsTr" / f"{case.name}{file_ending}", case.label_DHW, case.geometry)
    return folder
