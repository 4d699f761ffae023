"""Tiny raw datasets whose every number is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry

SHAPE = (4, 5, 6)


@pytest.fixture
def geometry() -> Geometry:
    """4 x 5 x 6 voxels of 3 x 2 x 1 mm, away from the world's origin."""
    return Geometry(shape=SHAPE, spacing_mm=(3.0, 2.0, 1.0), origin_mm=(-7.0, 11.0, 30.0))


@pytest.fixture
def image_DHW() -> np.ndarray:
    return np.arange(1, 121, dtype=np.float32).reshape(SHAPE)


@pytest.fixture
def label_DHW() -> np.ndarray:
    """Two voxels of 1 at one end, one of 2 at the other."""
    label = np.zeros(SHAPE, dtype=np.int16)
    label[0, 0, :2] = 1
    label[3, 4, 5] = 2
    return label


@pytest.fixture
def raw(tmp_path, geometry, image_DHW, label_DHW):
    """Make a raw dataset of sound cases; keyword arguments are keys of dataset.json, None leaves a key out."""

    def make(n_cases: int = 2, ending: str = ".nii.gz", n_channels: int = 1, **keys) -> Path:
        folder = tmp_path / "Dataset001_Tiny"
        channels = {str(k): f"MR{k}" for k in range(n_channels)}
        content = {"channel_names": channels, "labels": {"background": 0, "a": 1, "b": 2}, "numTraining": n_cases,
                   "file_ending": ending} | keys
        for number in range(n_cases):
            for channel in range(n_channels):
                image = image_DHW + 1000 * number + 100 * channel
                write_array(folder / "imagesTr" / f"case{number}_{channel:04d}{ending}", image[None], geometry)
            write_label(folder / "labelsTr" / f"case{number}{ending}", label_DHW, geometry)
        text = json.dumps({key: value for key, value in content.items() if value is not None}, indent=1)
        (folder / "dataset.json").write_text(text)
        return folder

    return make


@pytest.fixture
def sarcomas(shared_data, tmp_path):
    """Links to some of the real CT + PET + MR cases, of which each image has a grid of its own, on that of the CT."""

    def make(*cases: str, **keys) -> Path:
        source, folder = shared_data / "Dataset010_STS", tmp_path / "Dataset010_STS"
        content = json.loads((source / "dataset.json").read_text())
        content |= {"reference_channel": "CT", "numTraining": len(cases)} | keys
        for part, suffixes in (("imagesTr", ("_0000", "_0001", "_0002")), ("labelsTr", ("",))):
            (folder / part).mkdir(parents=True)
            for name in (f"{case}{suffix}.nii.gz" for case in cases for suffix in suffixes):
                (folder / part / name).symlink_to(source / part / name)
        (folder / "dataset.json").write_text(json.dumps(content))
        return folder

    return make
