"""Synthetic patients with liver tumours, as a raw dataset: something to try the pipeline on.

Three phases of abdominal CT, T2-weighted magnetic resonance on a grid of its own that covers a part of the CT, and a
clinical table. Of most training patients something is missing. One column of the table matters: a nodule that enhances
in the arterial phase alone is a tumour where the liver is cirrhotic, and benign elsewhere (the rule of LI-RADS), so the
images cannot tell. Organs are smooth solids in millimetres, painted in the order in which they cover each other, with
partial volume at their borders. Every case is a function of its seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_json, write_text
from autoseg.workspace.partial import remove_leftovers_below

CHANNELS = ("CT_arterial", "CT_venous", "CT_delayed", "MR_T2")
REFERENCE = 1  # the phase that no patient lacks, on whose grid the labels lie
LABELS = {"background": 0, "liver": 1, "tumour": 2}
TABLE = "clinical.csv"
# Share of the training patients that lack a channel, or a cell of the table.
_LACKING = {"CT_arterial": 0.15, "CT_delayed": 0.35, "MR_T2": 0.35}
_HOLES = 0.12

# HU in the arterial, venous and delayed phase, and the T2 signal.
_SIGNAL = {
    "air": (-1000, -1000, -1000, 0), "fat": (-100, -100, -100, 380), "lung": (-850, -850, -850, 15),
    "muscle": (55, 62, 60, 90), "cortical bone": (520, 520, 520, 15), "marrow": (170, 180, 175, 230),
    "disc": (85, 90, 90, 140), "cord": (35, 35, 35, 330), "liver": (72, 112, 98, 130),
    "hepatic vessel": (82, 165, 120, 40), "aorta": (310, 155, 115, 25), "vena cava": (85, 145, 115, 35),
    "spleen": (125, 122, 105, 260), "renal cortex": (185, 170, 140, 270), "renal medulla": (85, 160, 150, 350),
    "renal fat": (-80, -80, -80, 370), "gastric wall": (80, 95, 90, 150), "gastric fluid": (12, 12, 12, 720),
    "pancreas": (108, 92, 85, 190), "gallbladder": (8, 8, 8, 820), "bowel": (42, 55, 55, 240), "gas": (-900, -900, -900, 5),
}
# Lesion less liver. The last one is a tumour in a cirrhotic liver only.
_LESIONS = {"washout": (72, -58, -50, 130), "venous": (0, -72, -40, 160), "arterial": (78, 0, 0, 0)}
_AMBIGUOUS = "arterial"
_P_AMBIGUOUS = {True: 0.85, False: 0.4}  # by whether the liver is cirrhotic, where such nodules are common

Triple = tuple[float, float, float]
Field = np.ndarray  # signed distance to a solid's surface in mm, about; negative inside


@dataclass(frozen=True)
class Phantom:
    """A patient: the CT phases and the label on one grid, the magnetic resonance on another, a row of the table."""

    name: str
    ct_CDHW: np.ndarray  # HU, whole numbers
    geometry: Geometry
    mr_DHW: np.ndarray
    mr_geometry: Geometry
    label_DHW: np.ndarray
    row: dict[str, str]

    def channels(self) -> Iterator[tuple[np.ndarray, Geometry]]:
        """Every channel with its grid, in the order of `CHANNELS`."""
        yield from ((image_DHW, self.geometry) for image_DHW in self.ct_CDHW)
        yield self.mr_DHW, self.mr_geometry


def write_phantoms(folder: Path, n_cases: int, seed: int, *, n_test: int = 4) -> None:
    """Write a raw dataset: `n_cases` training cases, and `n_test` held-out ones in imagesTs and labelsTs.

    Training patients lack some channels and cells of the table; the held-out ones have everything. The same seed writes
    the same voxels, however many cases are asked for. `dataset.json` is written last: where it is, the dataset is whole.
    """
    remove_leftovers_below(folder)
    for images, n in (("imagesTr", n_cases), ("imagesTs", n_test)):
        held_out = images == "imagesTs"
        rows = []
        for index in range(n):
            phantom = make_phantom(seed, index, held_out=held_out)
            lacking, row = (set(), phantom.row) if held_out else _with_holes(phantom, seed, index)
            rows.append(row)
            for number, (image_DHW, geometry) in enumerate(phantom.channels()):
                if CHANNELS[number] not in lacking:
                    write_array(folder / images / f"{phantom.name}_{number:04}.nii.gz", image_DHW.astype(np.int16)[None],
                                geometry)
            labels = images.replace("images", "labels")
            write_label(folder / labels / f"{phantom.name}.nii.gz", phantom.label_DHW, phantom.geometry)
        if rows:
            write_text(folder / TABLE if not held_out else folder / images / TABLE, _csv(rows))
    write_json(folder / "dataset.json", {
        "name": "AbdomenPhantom", "description": "synthetic abdominal CT and MR: liver and tumours",
        "channel_names": {str(channel): name for channel, name in enumerate(CHANNELS)}, "labels": LABELS,
        "numTraining": n_cases, "file_ending": ".nii.gz", "optional_channels": list(_LACKING),
        "reference_channel": CHANNELS[REFERENCE],
        "conditions": {"table": TABLE, "id": "patient", "columns": {
            "cirrhosis": {"kind": "category"}, "age": {"kind": "number"}, "sex": {"kind": "category"},
            "afp": {"kind": "number", "transform": "log"}}}})


def make_phantom(seed: int, index: int, *, held_out: bool = False) -> Phantom:
    """One phantom, of whom nothing is missing; label 1 liver, 2 tumour."""
    random = np.random.default_rng([seed, int(held_out), index])
    row = _clinical_row(random, "yes" if (seed + index) % 2 else "no")
    scene = _empty_scene(random)
    trunk = _paint_trunk(scene)
    _paint_bowel(scene, trunk)
    _paint_spine(scene, trunk)
    _paint_left_side(scene, trunk)
    kidneys = _paint_kidneys(scene, trunk)
    liver = _paint_liver(scene, trunk, kidneys)
    tumours = _paint_lesions(scene, liver, cirrhotic=row["cirrhosis"] == "yes")
    _paint_great_vessels(scene, trunk)
    label_DHW = np.where(tumours < 0, 2, np.where(liver < 0, 1, 0)).astype(np.int16)
    name = f"phantom_{'test_' if held_out else ''}{index:03}"
    ct_CDHW, mr_DHW = _scanned_ct(scene), scene.signal_CDHW[-1]
    mr_DHW, mr_geometry = _scanned_mr(scene, mr_DHW)
    return Phantom(name, ct_CDHW, scene.geometry, mr_DHW, mr_geometry, label_DHW, {"patient": name, **row})


def _clinical_row(random: np.random.Generator, cirrhosis: str) -> dict[str, str]:
    """Cirrhosis decides on the ambiguous nodule; age, sex and alpha-fetoprotein decide nothing."""
    return {"cirrhosis": cirrhosis,
            "age": str(int(random.integers(38, 82))), "sex": str(random.choice(["female", "male"])),
            "afp": f"{np.exp(random.normal(3, 1.5)):.1f}"}


def _with_holes(phantom: Phantom, seed: int, index: int) -> tuple[set[str], dict[str, str]]:
    """The channels that a training patient lacks, and the row with holes as tables have them."""
    random = np.random.default_rng([seed, 2, index])
    lacking = {name for name, share in _LACKING.items() if random.random() < share}
    holes = {key: str(random.choice(["", "--", "N/A"])) for key in phantom.row
             if key != "patient" and random.random() < _HOLES}
    return lacking, phantom.row | holes


def _csv(rows: list[dict[str, str]]) -> str:
    return "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n"


@dataclass(frozen=True)
class _Scene:
    """A patient under way. Positions in mm from the image's middle: z up, y to the back, x to the patient's left."""

    random: np.random.Generator
    geometry: Geometry
    z: Field
    y: Field
    x: Field
    signal_CDHW: np.ndarray

    def paint(self, solid: Field, tissue: str) -> None:
        """Cover what is there; a voxel across the border takes its share of both."""
        for image_DHW, value in zip(self.signal_CDHW, _SIGNAL[tissue], strict=True):
            self.cover(image_DHW, solid, value)

    def cover(self, image_DHW: np.ndarray, solid: Field, value: float | np.ndarray) -> None:
        share = np.clip(0.5 - solid / self.geometry.spacing_mm[2], 0, 1)
        image_DHW += share * (value - image_DHW)

    def noise(self, size_mm: float) -> Field:
        """A smooth random field, mean 0 and deviation 1, with blobs of about this size."""
        sigma = [size_mm / 2 / spacing for spacing in self.geometry.spacing_mm]
        field = ndimage.gaussian_filter(self.random.normal(size=self.geometry.shape), sigma, mode="wrap")
        normal: Field = (field - field.mean()) / field.std()
        return normal

    def near(self, value: float, by: float = 4.0) -> float:
        """The value, moved by up to `by`."""
        return value + self.random.uniform(-by, by)

    def around(self, x: float, y: float, z: float, by: float = 4.0) -> Triple:
        """The three values, each moved by up to `by`."""
        return self.near(x, by), self.near(y, by), self.near(z, by)

    def ellipsoid(self, centre: Triple, radii: Triple) -> Field:
        """Centre and radii are (x, y, z); a radius of infinity makes a cylinder."""
        offsets = (self.x - centre[0], self.y - centre[1], self.z - centre[2])
        rho: Field = np.sqrt(sum((offset / radius) ** 2 for offset, radius in zip(offsets, radii, strict=True)))
        return (rho - 1) * min(radii)

    def tube(self, start: Triple, end: Triple, radius: float) -> Field:
        """All points within `radius` of the line from start to end, both (x, y, z)."""
        a, b = np.array(start), np.array(end)
        offsets = (self.x - a[0], self.y - a[1], self.z - a[2])
        along = sum(offset * step for offset, step in zip(offsets, b - a, strict=True)) / ((b - a) @ (b - a))
        along = np.clip(along, 0, 1)
        distance: Field = np.sqrt(sum((o - along * s) ** 2 for o, s in zip(offsets, b - a, strict=True)))
        return distance - radius


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
    spacing = (round(random.uniform(5.0, 6.5), 2), round(in_plane, 3), round(in_plane, 3))
    z, y, x = np.ogrid[tuple(slice(0, size) for size in shape)]
    z, y, x = ((axis - (size - 1) / 2) * step for axis, size, step in zip((z, y, x), shape, spacing, strict=True))
    origin = (float(x.flat[0]), float(y.flat[0]), float(z.flat[0]))
    air_CDHW = np.broadcast_to(np.array(_SIGNAL["air"], np.float32)[:, None, None, None], (len(CHANNELS), *shape))
    return _Scene(random, Geometry(shape, spacing, origin), z, y, x, air_CDHW.copy())


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
    space = np.maximum(np.maximum(trunk.cavity + 6, scene.z + 8 + 6 * scene.noise(50)), scene.y - trunk.back + 40)
    scene.paint(np.maximum(9 * (0.1 - loops), space), "bowel")
    scene.paint(np.maximum(np.maximum(9 * (1.3 - loops), space), scene.y + 10), "gas")


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
    spleen = scene.ellipsoid(scene.around(90, 32, 20), scene.around(31, 47, 52))
    spleen = np.maximum(spleen + 3 * scene.noise(30), np.maximum(trunk.cavity + 3, trunk.dome + 3))
    scene.paint(spleen, "spleen")
    scene.paint(scene.ellipsoid(scene.around(22, trunk.back - 52, -18), scene.around(50, 11, 13, by=2)), "pancreas")
    centre = scene.around(47, -30, 22)
    stomach = scene.ellipsoid(centre, scene.around(42, 32, 42)) + 3 * scene.noise(35)
    stomach = np.maximum(stomach, np.maximum(trunk.cavity + 5, trunk.dome + 3))
    scene.paint(stomach, "gastric wall")
    scene.paint(stomach + 5, "gastric fluid")
    scene.paint(np.maximum(stomach + 5, scene.y - centre[1] + scene.random.uniform(5, 20)), "gas")


def _paint_kidneys(scene: _Scene, trunk: _Trunk) -> Field:
    both = np.full(scene.geometry.shape, np.inf)
    for side, z in ((-1, -42), (1, -26)):
        centre = (side * scene.near(60), scene.near(trunk.back - 10), scene.near(z))
        kidney = scene.ellipsoid(centre, scene.around(26, 28, 50, by=3)) + scene.noise(25)
        inner = (centre[0] - side * 6, centre[1] - 4, centre[2])
        scene.paint(kidney - 7, "fat")
        scene.paint(kidney, "renal cortex")
        scene.paint(np.maximum(kidney + 8, 5 * scene.noise(12)), "renal medulla")
        scene.paint(scene.ellipsoid(inner, (13, 9, 24)), "renal fat")
        both = np.minimum(both, kidney)
    return both


def _paint_liver(scene: _Scene, trunk: _Trunk, kidneys: Field) -> Field:
    """The liver with its vessels and the gallbladder beside it; its solid."""
    right = scene.ellipsoid(scene.around(-68, -4, 14), scene.around(68, 76, 72, by=6))
    left = scene.ellipsoid(scene.around(8, -44, 26), scene.around(60, 30, 38, by=6))
    sharpness = 12.0  # mm over which the lobes melt into each other
    liver: Field = -sharpness * np.logaddexp(-right / sharpness, -left / sharpness)
    liver = liver + 5 * scene.noise(45) + 1.5 * scene.noise(18)
    spine = scene.ellipsoid((0, trunk.back, 0), (46, 50, np.inf))
    bladder = scene.ellipsoid(scene.around(-42, -42, -32), scene.around(15, 18, 24, by=3))
    for other, gap in ((-trunk.cavity, 4), (-trunk.dome, 4), (spine, 0), (kidneys, 6), (bladder, 1)):
        liver = np.maximum(liver, gap - other)
    scene.paint(liver, "liver")
    scene.signal_CDHW[:] += np.where(liver < 0, 5 * scene.noise(14), 0)
    hilum, outlet = (-22, trunk.back - 55, -4), (-20, trunk.back - 32, 48)
    ends = [(hilum, (-85, 5, 8)), (hilum, (-62, -42, 18)), (hilum, (-12, -48, 22)), (outlet, (-95, 20, 32)),
            (outlet, (-66, -28, 40)), (outlet, (4, -44, 42))]
    for start, end in ends:
        vessel = scene.tube(start, scene.around(*end, by=9), scene.random.uniform(3.5, 5.5))
        scene.paint(np.maximum(vessel, liver + 3), "hepatic vessel")
    scene.paint(bladder, "gallbladder")
    return liver


def _paint_lesions(scene: _Scene, liver: Field, *, cirrhotic: bool) -> Field:
    """One or two sure tumours and often an ambiguous nodule, of all sizes, in the liver; the solid of what is a tumour."""
    random = scene.random
    sure = [kind for kind in _LESIONS if kind != _AMBIGUOUS]
    ambiguous = [_AMBIGUOUS] * (random.random() < _P_AMBIGUOUS[cirrhotic])
    kinds = [*random.choice(sure, random.integers(1, 3), replace=False), *ambiguous]
    lesions, tumours = (np.full(scene.geometry.shape, np.inf) for _ in range(2))
    for kind in kinds:
        radius = random.uniform(15, 28)
        # Deep enough to be mostly inside, and apart from the others.
        fitting = (liver < -0.6 * radius) & (lesions > radius + 6)
        if not fitting.any():
            continue
        z, y, x = random.choice(np.argwhere(fitting))
        centre = (scene.x.flat[x], scene.y.flat[y], scene.z.flat[z])
        radii = tuple(radius * random.uniform(0.85, 1.15, 3))
        lesion = np.maximum(scene.ellipsoid(centre, radii) + 1.2 * scene.noise(14), liver + 2)
        texture = 8 * scene.noise(9)
        for image_DHW, organ, contrast in zip(scene.signal_CDHW, _SIGNAL["liver"], _LESIONS[kind], strict=True):
            if contrast:
                scene.cover(image_DHW, lesion, organ + contrast + texture)
        lesions = np.minimum(lesions, lesion)
        if kind != _AMBIGUOUS or cirrhotic:
            tumours = np.minimum(tumours, lesion)
    return tumours


def _paint_great_vessels(scene: _Scene, trunk: _Trunk) -> None:
    bend = 4 * np.sin(scene.z / 45 + scene.random.uniform(0, 6))
    for tissue, x, y, radius in (("aorta", 13, trunk.back - 28, 10), ("vena cava", -19, trunk.back - 30, 11)):
        centre_x, centre_y = scene.near(x, by=2), scene.near(y, by=2)
        scene.paint(np.hypot(scene.x - centre_x - bend, scene.y - centre_y) - radius, tissue)
    scene.paint(scene.tube((10, trunk.back - 48, -28), (-26, trunk.back - 56, -2), 6.5), "hepatic vessel")


def _scanned_ct(scene: _Scene) -> np.ndarray:
    """What a scanner makes of the scene: blurred in plane, with noise of its own in each phase."""
    image_CDHW = ndimage.gaussian_filter(scene.signal_CDHW[:-1], (0, 0.3, 0.5, 0.5))
    noise = ndimage.gaussian_filter(scene.random.normal(size=image_CDHW.shape), (0, 0, 0.6, 0.6))
    image_CDHW += scene.random.uniform(9, 15) / noise.std() * noise
    scanned_CDHW: np.ndarray = np.rint(np.clip(image_CDHW, -1024, 3071)).astype(np.float32)
    return scanned_CDHW


def _scanned_mr(scene: _Scene, signal_DHW: np.ndarray) -> tuple[np.ndarray, Geometry]:
    """Thicker slices of the upper part, a narrower field of view, a gain that no two scanners share, and a bias field."""
    random, ct = scene.random, scene.geometry
    between, within = round(random.uniform(6.5, 8.0), 2), round(random.uniform(4.0, 4.5), 2)
    spacing = (between, within, within)
    extent = [n * mm for n, mm in zip(ct.shape, ct.spacing_mm, strict=True)]
    covered = (random.uniform(0.7, 0.85), random.uniform(0.85, 0.95), random.uniform(0.85, 0.95))
    depth, height, width = (int(share * mm / step) for share, mm, step in zip(covered, extent, spacing, strict=True))
    shape = (depth, height, width)
    first = [whole - share * whole for share, whole in zip(covered, extent, strict=True)]
    start = (first[0], first[1] / 2, first[2] / 2)  # mm from the CT's first voxel: the upper end, centred in plane
    x, y, z = (o + offset for o, offset in zip(ct.origin_mm, start[::-1], strict=True))
    offset, step, mm = np.array(start), np.array(spacing), np.array(ct.spacing_mm)
    blurred = ndimage.gaussian_filter(signal_DHW, 0.4 * step / mm)
    image_DHW = ndimage.affine_transform(blurred, step / mm, offset / mm, output_shape=shape, order=1, mode="nearest")
    bias = 1 + 0.15 * np.linspace(-1, 1, shape[2]) * random.uniform(-1, 1)
    image_DHW = random.uniform(0.7, 1.6) * bias * image_DHW + random.normal(scale=8, size=shape)
    return np.rint(np.clip(image_DHW, 0, 4095)).astype(np.float32), Geometry(shape, spacing, (x, y, z))
