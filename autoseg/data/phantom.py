"""Synthetic two-phase abdominal CT with liver and tumours, as a raw dataset: something to try the pipeline on.

Organs are smooth solids in millimetres, painted in the order in which they cover each other, with partial volume at
their borders; densities (HU) are those of late arterial and portal venous CT. Every case is a function of its seed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from autoseg.base.workspace import write_json
from autoseg.data.case import Case
from autoseg.data.geometry import Geometry
from autoseg.data.readers import write_array, write_label

CHANNELS = ("CT_arterial", "CT_venous")
LABELS = {"background": 0, "liver": 1, "tumour": 2}

# HU in the arterial and in the venous phase.
_HU = {
    "air": (-1000, -1000), "fat": (-100, -100), "lung": (-850, -850), "muscle": (55, 62), "cortical bone": (520, 520),
    "marrow": (170, 180), "disc": (85, 90), "cord": (35, 35), "liver": (72, 112), "hepatic vessel": (82, 165),
    "aorta": (310, 155), "vena cava": (85, 145), "spleen": (125, 122), "renal cortex": (185, 170),
    "renal medulla": (85, 160), "renal fat": (-80, -80), "gastric wall": (80, 95), "gastric fluid": (12, 12),
    "pancreas": (108, 92), "gallbladder": (8, 8), "bowel": (42, 55), "gas": (-900, -900),
}
# Tumour less liver, arterial and venous: seen in both phases, in the arterial only, in the venous only.
_TUMOUR_KINDS = {"washout": (62, -48), "arterial": (68, 0), "venous": (0, -62)}

Field = np.ndarray  # signed distance to a solid's surface in mm, about; negative inside


def write_phantoms(folder: Path, n_cases: int, seed: int, *, n_test: int = 4) -> None:
    """Write a raw dataset: `n_cases` training cases, and `n_test` held-out ones in imagesTs and labelsTs.

    The same seed writes the same voxels, however many cases are asked for. `dataset.json` is written last: where it is,
    the dataset is whole.
    """
    for images, n in (("imagesTr", n_cases), ("imagesTs", n_test)):
        for index in range(n):
            case = make_phantom(seed, index, held_out=images == "imagesTs")
            for channel, image_DHW in enumerate(case.image_CDHW):
                write_array(folder / images / f"{case.name}_{channel:04}.nii.gz", image_DHW.astype(np.int16)[None],
                            case.geometry)
            labels = images.replace("images", "labels")
            write_label(folder / labels / f"{case.name}.nii.gz", case.label_DHW, case.geometry)
    write_json(folder / "dataset.json", {
        "name": "AbdomenPhantom", "description": "synthetic two-phase abdominal CT: liver and tumours",
        "channel_names": {str(channel): name for channel, name in enumerate(CHANNELS)}, "labels": LABELS,
        "numTraining": n_cases, "file_ending": ".nii.gz"})


def make_phantom(seed: int, index: int, *, held_out: bool = False) -> Case:
    """One phantom: channels in HU, whole numbers; label 1 liver, 2 tumour."""
    scene = _empty_scene(np.random.default_rng([seed, int(held_out), index]))
    trunk = _paint_trunk(scene)
    _paint_bowel(scene, trunk)
    _paint_spine(scene, trunk)
    _paint_left_side(scene, trunk)
    kidneys = _paint_kidneys(scene, trunk)
    liver = _paint_liver(scene, trunk, kidneys)
    tumours = _paint_tumours(scene, liver)
    _paint_great_vessels(scene, trunk)
    label_DHW = np.where(tumours < 0, 2, np.where(liver < 0, 1, 0)).astype(np.int16)
    name = f"phantom_{'test_' if held_out else ''}{index:03}"
    return Case(name, _scanned(scene), np.ones(len(CHANNELS), dtype=bool), scene.geometry, label_DHW)


@dataclass(frozen=True)
class _Scene:
    """A patient under way. Positions in mm from the image's middle: z up, y to the back, x to the patient's left."""

    random: np.random.Generator
    geometry: Geometry
    z: Field
    y: Field
    x: Field
    hu_2DHW: np.ndarray

    def paint(self, solid: Field, tissue: str) -> None:
        """Cover what is there; a voxel across the border takes its share of both."""
        for image_DHW, hu in zip(self.hu_2DHW, _HU[tissue], strict=True):
            self.cover(image_DHW, solid, hu)

    def cover(self, image_DHW: np.ndarray, solid: Field, hu: float | np.ndarray) -> None:
        share = np.clip(0.5 - solid / self.geometry.spacing_mm[2], 0, 1)
        image_DHW += share * (hu - image_DHW)

    def noise(self, size_mm: float) -> Field:
        """A smooth random field, mean 0 and deviation 1, with blobs of about this size."""
        sigma = [size_mm / 2 / spacing for spacing in self.geometry.spacing_mm]
        field = ndimage.gaussian_filter(self.random.normal(size=self.geometry.shape), sigma, mode="wrap")
        return (field - field.mean()) / field.std()

    def near(self, *values: float, by: float = 4.0) -> tuple[float, ...]:
        """The values, each moved by up to `by`."""
        return tuple(value + self.random.uniform(-by, by) for value in values)

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
        """Centre and radii are (x, y, z); a radius of infinity makes a cylinder."""
        offsets = (self.x - centre[0], self.y - centre[1], self.z - centre[2])
        rho = np.sqrt(sum((offset / radius) ** 2 for offset, radius in zip(offsets, radii, strict=True)))
        return (rho - 1) * min(radii)

    def tube(self, start: tuple[float, float, float], end: tuple[float, float, float], radius: float) -> Field:
        """All points within `radius` of the line from start to end, both (x, y, z)."""
        a, b = np.array(start), np.array(end)
        offsets = (self.x - a[0], self.y - a[1], self.z - a[2])
        along = sum(offset * step for offset, step in zip(offsets, b - a, strict=True)) / ((b - a) @ (b - a))
        along = np.clip(along, 0, 1)
        return np.sqrt(sum((o - along * s) ** 2 for o, s in zip(offsets, b - a, strict=True))) - radius


@dataclass(frozen=True)
class _Trunk:
    """What the organs must fit into."""

    skin: Field
    wall: Field  # middle of the muscular wall, where the ribs run
    cavity: Field
    dome: Field  # the diaphragm: negative below it
    back: float  # y of the vertebral bodies' centre
    half_depth: float


def _empty_scene(random: np.random.Generator) -> _Scene:
    shape = (int(random.integers(22, 28)), int(random.integers(74, 83)), int(random.integers(92, 104)))
    in_plane = random.uniform(3.5, 3.9)
    spacing = (round(random.uniform(5.0, 6.5), 2), *[round(in_plane, 3)] * 2)
    z, y, x = np.ogrid[tuple(slice(0, size) for size in shape)]
    z, y, x = ((axis - (size - 1) / 2) * step for axis, size, step in zip((z, y, x), shape, spacing, strict=True))
    origin = tuple(float(axis.flat[0]) for axis in (x, y, z))
    return _Scene(random, Geometry(shape, spacing, origin), z, y, x, np.full((2, *shape), _HU["air"][0], np.float32))


def _paint_trunk(scene: _Scene) -> _Trunk:
    random = scene.random
    half_width, half_depth = random.uniform(140, 155), random.uniform(105, 116)
    fat, wall = random.uniform(10, 24), random.uniform(9, 12)
    radius = np.hypot(scene.x, scene.y)
    rho = np.sqrt((scene.x / half_width) ** 2 + (scene.y / half_depth) ** 2)
    skin = radius * (1 - 1 / np.maximum(rho, 0.05)) + 0 * scene.z
    cavity = skin + fat + wall
    scene.paint(skin, "fat")
    scene.paint(skin + fat, "muscle")
    scene.paint(cavity, "fat")
    top = scene.z.max() + random.uniform(0, 15)
    steepness = random.uniform(220, 280)
    fall = [((scene.x - x) ** 2 + (scene.y + 5) ** 2) / steepness + lower for x, lower in ((-58, 0), (62, 12))]
    dome = scene.z - top + np.minimum(*fall)
    scene.paint(np.maximum(cavity, -dome), "lung")
    trunk = _Trunk(skin, skin + fat + wall / 2, cavity, dome, half_depth - fat - random.uniform(40, 46), half_depth)
    _paint_ribs(scene, trunk)
    return trunk


def _paint_ribs(scene: _Scene, trunk: _Trunk) -> None:
    pitch = scene.random.uniform(26, 31)
    front = (1 - scene.y / trunk.half_depth) / 2  # 0 at the back, 1 in front, where ribs have descended and end
    height = (scene.z + 105 * front + scene.random.uniform(0, pitch)) % pitch - pitch / 2
    rib = np.maximum(np.hypot(trunk.wall, height) - 5, 60 * (front - 0.8))
    scene.paint(rib, "cortical bone")
    scene.paint(rib + 3, "marrow")


def _paint_bowel(scene: _Scene, trunk: _Trunk) -> None:
    loops = scene.noise(26)
    room = np.maximum(np.maximum(trunk.cavity + 6, scene.z + 8 + 6 * scene.noise(50)), scene.y - trunk.back + 40)
    scene.paint(np.maximum(9 * (0.1 - loops), room), "bowel")
    scene.paint(np.maximum(np.maximum(9 * (1.3 - loops), room), scene.y + 10), "gas")


def _paint_spine(scene: _Scene, trunk: _Trunk) -> None:
    back, pitch = trunk.back, scene.random.uniform(30, 35)
    phase = np.abs((scene.z + scene.random.uniform(0, pitch)) % pitch - pitch / 2)  # 0 in a disc
    everywhere = np.inf
    for side in (-1, 1):
        scene.paint(scene.ellipsoid((side * 34, back + 28, 0), (27, 20, everywhere)), "muscle")
        scene.paint(scene.ellipsoid((side * 33, back + 2, 0), (13, 15, everywhere)) + 0.1 * (scene.z + 30), "muscle")
    across = scene.ellipsoid((0, back + 22, 0), (36, 5, everywhere))
    scene.paint(np.maximum(across, 8 - phase), "cortical bone")
    scene.paint(scene.ellipsoid((0, back + 47, 0), (4, 13, everywhere)), "cortical bone")
    scene.paint(scene.ellipsoid((0, back + 25, 0), (14, 13, everywhere)), "cortical bone")
    scene.paint(scene.ellipsoid((0, back + 25, 0), (10, 9, everywhere)), "cord")
    body = scene.ellipsoid((0, back, 0), (22, 17, everywhere))
    scene.paint(body, "cortical bone")
    scene.paint(body + 3, "marrow")
    scene.paint(np.maximum(body, phase - 4), "disc")


def _paint_left_side(scene: _Scene, trunk: _Trunk) -> None:
    spleen = scene.ellipsoid(scene.near(90, 32, 20), scene.near(31, 47, 52))
    spleen = np.maximum(spleen + 3 * scene.noise(30), np.maximum(trunk.cavity + 3, trunk.dome + 3))
    scene.paint(spleen, "spleen")
    scene.paint(scene.ellipsoid(scene.near(22, trunk.back - 52, -18), scene.near(50, 11, 13, by=2)), "pancreas")
    centre = scene.near(47, -30, 22)
    stomach = scene.ellipsoid(centre, scene.near(42, 32, 42)) + 3 * scene.noise(35)
    stomach = np.maximum(stomach, np.maximum(trunk.cavity + 5, trunk.dome + 3))
    scene.paint(stomach, "gastric wall")
    scene.paint(stomach + 5, "gastric fluid")
    scene.paint(np.maximum(stomach + 5, scene.y - centre[1] + scene.random.uniform(5, 20)), "gas")


def _paint_kidneys(scene: _Scene, trunk: _Trunk) -> Field:
    both = np.full(scene.geometry.shape, np.inf)
    for side, z in ((-1, -42), (1, -26)):
        centre = (side * scene.near(60)[0], *scene.near(trunk.back - 10, z))
        kidney = scene.ellipsoid(centre, scene.near(26, 28, 50, by=3)) + scene.noise(25)
        inner = (centre[0] - side * 6, centre[1] - 4, centre[2])
        scene.paint(kidney - 7, "fat")
        scene.paint(kidney, "renal cortex")
        scene.paint(np.maximum(kidney + 8, 5 * scene.noise(12)), "renal medulla")
        scene.paint(scene.ellipsoid(inner, (13, 9, 24)), "renal fat")
        both = np.minimum(both, kidney)
    return both


def _paint_liver(scene: _Scene, trunk: _Trunk, kidneys: Field) -> Field:
    """The liver with its vessels and the gallbladder beside it; its solid."""
    right = scene.ellipsoid(scene.near(-68, -4, 14), scene.near(68, 76, 72, by=6))
    left = scene.ellipsoid(scene.near(8, -44, 26), scene.near(60, 30, 38, by=6))
    sharpness = 12.0  # mm over which the lobes melt into each other
    liver = -sharpness * np.logaddexp(-right / sharpness, -left / sharpness)
    liver = liver + 5 * scene.noise(45) + 1.5 * scene.noise(18)
    spine = scene.ellipsoid((0, trunk.back, 0), (46, 50, np.inf))
    bladder = scene.ellipsoid(scene.near(-42, -42, -32), scene.near(15, 18, 24, by=3))
    for kept_away, gap in ((-trunk.cavity, 4), (-trunk.dome, 4), (spine, 0), (kidneys, 6), (bladder, 1)):
        liver = np.maximum(liver, gap - kept_away)
    scene.paint(liver, "liver")
    scene.hu_2DHW[:] += np.where(liver < 0, 5 * scene.noise(14), 0)
    hilum, outlet = (-22, trunk.back - 55, -4), (-20, trunk.back - 32, 48)
    ends = [(hilum, (-85, 5, 8)), (hilum, (-62, -42, 18)), (hilum, (-12, -48, 22)), (outlet, (-95, 20, 32)),
            (outlet, (-66, -28, 40)), (outlet, (4, -44, 42))]
    for start, end in ends:
        vessel = scene.tube(start, scene.near(*end, by=9), scene.random.uniform(3.5, 5.5))
        scene.paint(np.maximum(vessel, liver + 3), "hepatic vessel")
    scene.paint(bladder, "gallbladder")
    return liver


def _paint_tumours(scene: _Scene, liver: Field) -> Field:
    """One to three tumours of all sizes in the liver; their solid."""
    random = scene.random
    tumours = np.full(scene.geometry.shape, np.inf)
    for kind in random.choice(list(_TUMOUR_KINDS), random.integers(1, 4), replace=False):
        radius = random.uniform(13, 27)
        # Deep enough to be mostly inside, and apart from the others.
        fitting = (liver < -0.6 * radius) & (tumours > radius + 6)
        if not fitting.any():
            continue
        z, y, x = random.choice(np.argwhere(fitting))
        centre = (scene.x.flat[x], scene.y.flat[y], scene.z.flat[z])
        radii = tuple(radius * random.uniform(0.85, 1.15, 3))
        tumour = np.maximum(scene.ellipsoid(centre, radii) + 1.2 * scene.noise(14), liver + 2)
        texture = 8 * scene.noise(9)
        for image_DHW, organ, contrast in zip(scene.hu_2DHW, _HU["liver"], _TUMOUR_KINDS[kind], strict=True):
            if contrast:
                scene.cover(image_DHW, tumour, organ + contrast + texture)
        tumours = np.minimum(tumours, tumour)
    return tumours


def _paint_great_vessels(scene: _Scene, trunk: _Trunk) -> None:
    bend = 4 * np.sin(scene.z / 45 + scene.random.uniform(0, 6))
    for tissue, x, y, radius in (("aorta", 13, trunk.back - 28, 10), ("vena cava", -19, trunk.back - 30, 11)):
        centre_x, centre_y = scene.near(x, y, by=2)
        scene.paint(np.hypot(scene.x - centre_x - bend, scene.y - centre_y) - radius, tissue)
    scene.paint(scene.tube((10, trunk.back - 48, -28), (-26, trunk.back - 56, -2), 6.5), "hepatic vessel")


def _scanned(scene: _Scene) -> np.ndarray:
    """What a scanner makes of the scene: blurred in plane, with noise of its own in each phase."""
    image_2DHW = ndimage.gaussian_filter(scene.hu_2DHW, (0, 0.3, 0.5, 0.5))
    noise = ndimage.gaussian_filter(scene.random.normal(size=image_2DHW.shape), (0, 0, 0.6, 0.6))
    image_2DHW += scene.random.uniform(9, 15) / noise.std() * noise
    return np.rint(np.clip(image_2DHW, -1024, 3071)).astype(np.float32)
