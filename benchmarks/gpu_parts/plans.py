"""The plans that are measured, and cases to train on: made here, or read from a prepared dataset."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import Geometry
from autoseg.preprocessing.store import open_prepared, prepared_names
from autoseg.workspace.files import read_json, read_model
from planners import PLANNERS
from planners.classic import CLASSIC, Preset
from planners.resenc import RESENC_L
from planners.rules.pooling import pooling, unet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

NAME = "3d_fullres"
HIPPOCAMPUS = LabelSpec(names={"background": (0,), "Anterior": (1,), "Posterior": (2,)})
_HARDWARE = KnownHardware(memory_bytes=8 * GIB, flops_per_s=1e12, cores=8)


@dataclass(frozen=True)
class Setting:
    """A plan and the cases that it is trained and tried on."""

    title: str
    plan: Plan
    training: tuple[PreparedCase, ...]
    validation: tuple[PreparedCase, ...] = ()

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[NAME]


def hippocampus_plan(planner: str = "classic") -> Plan:
    """The plan of 260 cases of the sizes of Dataset004_Hippocampus; `classic`: batch 7 of 40x56x40, widths 32 to 256."""
    random = np.random.default_rng(0)
    shapes = random.integers((33, 46, 33), (39, 55, 38), (200, 3)).tolist()
    return _planned("Hippocampus", planner, shapes, (1.0, 1.0, 1.0), ("MRI",), HIPPOCAMPUS)


def large_plan() -> Plan:
    """ResEnc-L's network on a batch of two 128^3 patches."""
    architecture = RESENC_L.unet(pooling((1, 1, 1), (128,) * 3))
    return _changed(hippocampus_plan("resenc_l"), patch=(128,) * 3, batch=2, architecture=architecture)


def tiny_plan(preset: Preset = CLASSIC) -> Plan:
    """For a CPU: batch 2 of 16^3, two stages of 4 and 8 features."""
    architecture = unet(pooling((1, 1, 1), (16,) * 3), preset.encoder, preset.blocks_encoder[:2], preset.convs_decoder,
                        base_features=4, max_features=8)
    return _changed(hippocampus_plan(), patch=(16,) * 3, batch=2, architecture=architecture)


def ten_plans(small: bool) -> list[tuple[str, Configuration, int, int]]:
    """(title, configuration, input channels, outputs) of ten networks, among them 2D, anisotropic and residual ones."""
    if small:
        plain = tiny_plan().configurations[NAME]
        other = tiny_plan(RESENC_L).configurations[NAME]
        return [(f"tiny {part.architecture.title}", part, 1, 3) for part in (plain, other)]
    sets = (("hippocampus", [[36, 50, 35]] * 200, (1, 1, 1), 1, 3), ("brain", [[138, 170, 138]] * 400, (1, 1, 1), 4, 4),
            ("abdomen", [[150, 512, 512]] * 100, (2.5, 0.8, 0.8), 1, 14),
            ("heart", [[10, 256, 216]] * 160, (10, 1.5, 1.5), 1, 4))
    settings = []
    for name, shapes, spacing_mm, channels, labels in sets:
        names = {"background": (0,), **{f"label {k}": (k,) for k in range(1, labels)}}
        for planner in ("classic", "resenc_m"):
            plan = _planned(name, planner, shapes, spacing_mm, [f"MR {c}" for c in range(channels)], LabelSpec(names=names))
            settings.append((f"{name} {planner} 3d", plan.configurations[NAME], channels, labels))
            if name == "heart":
                settings.append((f"{name} {planner} 2d", plan.configurations["2d"], channels, labels))
    return settings


def made_cases(n: int, shape: tuple[int, int, int], seed: int = 0) -> tuple[PreparedCase, ...]:
    """Bright balls with brighter cores in noise, at random places, as prepared cases."""
    return tuple(_ball(f"ball_{seed}_{index:02}", np.random.default_rng([seed, index]), shape) for index in range(n))


def given_setting(prepared: Path, planner: str = "classic") -> Setting:
    """Plan, first fold's cases and the others, of a prepared dataset's folder."""
    plans = sorted(prepared.glob("plan_*.json"), key=lambda path: path.stem != f"plan_{planner}")
    for path in plans:
        plan = read_model(path, Plan)
        folder = prepared / f"{plan.planner}_{NAME}"
        if NAME in plan.configurations and folder.is_dir():
            training, validation = first_fold(prepared, folder)
            return Setting(f"{plan.dataset} {plan.planner}", plan, tuple(open_prepared(folder, name) for name in training),
                           tuple(open_prepared(folder, name) for name in validation))
    raise ValueError(f"{prepared} has no plan_*.json with cases prepared for {NAME}")


def first_fold(prepared: Path, folder: Path) -> tuple[list[str], list[str]]:
    """Names of fold 0's training and validation cases: of splits.json, or every fifth case."""
    names = prepared_names(folder)
    if (prepared / "splits.json").is_file():
        fold = read_json(prepared / "splits.json")[0]
        return [n for n in fold["train"] if n in names], [n for n in fold["validation"] if n in names]
    return [n for i, n in enumerate(names) if i % 5], names[::5]


def shortened(plan: Plan, iterations: int) -> Plan:
    """The plan with a short training that anneals to zero, its augmentation light, as short budgets have it."""
    schedule = Schedule(iterations=iterations, iterations_per_epoch=iterations, learning_rate=2e-3, decay="cosine",
                        optimizer=Part(name="adamw"), warmup_iterations=min(10, iterations // 4))
    return _changed(plan, schedule=schedule, augmentation=Part(name="light"))


def _changed(plan: Plan, **changes) -> Plan:
    configuration = plan.configurations[NAME].model_copy(update=changes)
    return plan.model_copy(update={"configurations": {NAME: configuration}})


def _planned(name: str, planner: str, shapes, spacing_mm, channels, labels: LabelSpec) -> Plan:
    cases = [CaseMeasure(case=f"case {i}", shape=shape, spacing_mm=spacing_mm) for i, shape in enumerate(shapes)]
    fingerprint = Fingerprint(dataset=name, channels=[ChannelSpec(name=channel) for channel in channels], labels=labels,
                              cases=cases)
    return PLANNERS.get(planner)(fingerprint, _HARDWARE, Budget())


def _ball(name: str, random: np.random.Generator, shape: tuple[int, int, int]) -> PreparedCase:
    radius = min(shape) / 4
    centre = [random.uniform(radius, edge - radius) for edge in shape]
    square = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(map(slice, shape))], centre, strict=True))
    label = (square < radius**2).astype(np.int16) + (square < (radius / 2) ** 2)
    image = random.standard_normal(shape, np.float32) + np.float32(1.0) * label
    foreground = {key: np.argwhere(label == value)[:10_000] for value, key in ((1, "Anterior"), (2, "Posterior"))}
    return PreparedCase(
        name=name, image_CDHW=image[None], present_C=np.array([True]), geometry=Geometry(shape, (1.0, 1.0, 1.0)),
        transpose=(0, 1, 2), box=tuple((0, edge) for edge in shape), cropped_shape=shape, spacing_mm=(1.0, 1.0, 1.0),
        label_DHW=label.astype(np.int16), foreground=foreground,
        lesions={key: np.zeros(len(voxels), np.int64) for key, voxels in foreground.items()})
