"""The data of the comparison: links to real cases, and synthetic CT from a seed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

TARGET_MM = (1.0, 0.7, 0.7)  # what the CT are resampled to, in both programs
ORGANS = {"background": 0, "liver": 1, "kidney": 2, "tumour": 3}
_AIR, _OUTSIDE, _TISSUE = -1000.0, -1024, 40.0
# Centre (z, y, x), radii and Hounsfield units, in shares of the half edges; lungs and spine have no label.
_SHAPES = ((0, -850, (-0.6, -0.1, 0.35), (0.45, 0.4, 0.25)), (0, -850, (-0.6, -0.1, -0.35), (0.45, 0.4, 0.25)),
           (0, 450, (0.0, 0.5, 0.0), (2.0, 0.1, 0.1)), (1, 110, (0.15, -0.05, -0.3), (0.3, 0.35, 0.3)),
           (2, 160, (0.45, 0.3, 0.35), (0.2, 0.13, 0.12)), (3, 70, (0.15, -0.05, -0.35), (0.06, 0.08, 0.08)))


def link_dataset(source: Path, raw: Path, n_cases: int, name: str = "", channels: Sequence[int] | None = None) -> str:
    """Links to the first cases of a raw dataset, with some of its channels; the name of the new dataset."""
    manifest = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    ending, target = manifest["file_ending"], raw / (name or source.name)
    shown = list(channels if channels is not None else range(len(manifest["channel_names"])))
    labels = sorted((source / "labelsTr").glob(f"*{ending}"))[:n_cases]
    for label in labels:
        case = label.name.removesuffix(ending)
        _link(label, target / "labelsTr" / label.name)
        for new, old in enumerate(shown):
            _link(source / "imagesTr" / f"{case}_{old:04}{ending}", target / "imagesTr" / f"{case}_{new:04}{ending}")
    names = {str(new): manifest["channel_names"][str(old)] for new, old in enumerate(shown)}
    write_manifest(target, {**manifest, "channel_names": names}, len(labels))
    return target.name


def link_images(source: Path, target: Path, n_cases: int) -> None:
    """Links to the images of the first cases, as input of a prediction."""
    for path in sorted((source / "imagesTr").iterdir())[:n_cases]:
        _link(path, target / path.name)


def write_manifest(folder: Path, manifest: Mapping[str, Any], n_cases: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**manifest, "numTraining": n_cases}, indent=1)
    (folder / "dataset.json").write_text(text, encoding="utf-8")


def make_ct_dataset(folder: Path, n_cases: int, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> None:
    """A raw dataset of synthetic CT, axes z, y, x; files that are there are kept."""
    for seed in range(n_cases):
        image, label = folder / "imagesTr" / f"ct_{seed:03}_0000.nii.gz", folder / "labelsTr" / f"ct_{seed:03}.nii.gz"
        if not label.is_file():
            image_DHW, label_DHW = synthetic_ct(shape, seed)
            write_volume(image, image_DHW, spacing_mm)
            write_volume(label, label_DHW, spacing_mm)
    write_manifest(folder, {"channel_names": {"0": "CT"}, "labels": ORGANS, "file_ending": ".nii.gz"}, n_cases)


def synthetic_ct(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A trunk in air (int16 Hounsfield units) and its organs (uint8): smooth shapes, noise with the grain of CT.

    Outside of the round field of view all is -1024, as in a scanner's images.
    """
    random = np.random.default_rng(seed)
    depth, height, width = shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij", sparse=True)
    shapes = [(value, units, np.add(centre, random.uniform(-0.04, 0.04, 3)), np.multiply(radii, random.uniform(0.9, 1.1, 3)))
              for value, units, centre, radii in _SHAPES]
    texture = gaussian_filter(random.normal(size=(height, width)), height / 25, mode="wrap")
    texture *= 12 / texture.std()
    image = np.empty(shape, np.int16)
    label = np.zeros(shape, np.uint8)
    for index, z in enumerate(np.linspace(-1, 1, depth)):
        body = (y / 0.62)**2 + (x / 0.85)**2 < 1
        values = np.where(body, _TISSUE + texture, _AIR)
        for value, units, (cz, cy, cx), (rz, ry, rx) in shapes:
            inside = body & (((z - cz) / rz)**2 + ((y - cy) / ry)**2 + ((x - cx) / rx)**2 < 1)
            values[inside] = units + texture[inside]
            label[index][inside] = value
        grain = gaussian_filter(random.normal(size=(height, width)).astype(np.float32), 0.8)
        values = values + grain / grain.std() * np.where(body, 18, 6)
        image[index] = np.where(y**2 + x**2 <= 1, np.clip(values, _OUTSIDE, 3071), _OUTSIDE)
    return image, label


def write_volume(path: Path, array_DHW: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    """A compressed NIfTI file; `spacing_mm` is in the order of the array's axes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array_DHW)
    image.SetSpacing(tuple(map(float, reversed(spacing_mm))))
    partial = path.with_name(f"partial_{path.name}")
    sitk.WriteImage(image, str(partial), useCompression=True, compressionLevel=1)
    partial.replace(path)


def anisotropic_measures(n_cases: int) -> tuple[list[list[int]], list[list[float]]]:
    """Shapes and spacings (z, y, x) of abdominal CT with slices of 2.5 to 7.5 mm."""
    random = np.random.default_rng(5)
    spacings = [[float(random.choice((2.5, 5.0, 5.0, 7.5))), *[round(float(random.uniform(0.6, 0.95)), 4)] * 2]
                for _ in range(n_cases)]
    return [[round(random.uniform(380, 480) / z), 512, 512] for z, _, _ in spacings], spacings


def read_through(folder: Path) -> None:
    """Read every file once, so that neither program is the first to fetch it from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_symlink():
        target.symlink_to(source.resolve())
