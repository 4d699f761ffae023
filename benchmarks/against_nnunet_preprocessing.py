"""Compares autoseg's preprocessing and export with nnU-Net's own, case by case, each on one thread.

    python benchmarks/against_nnunet_preprocessing.py --nnunet-python /path/to/nnunet/bin/python [--data DATA]

`--nnunet-python` is an interpreter that has nnunetv2 installed; DATA holds Dataset004_Hippocampus, Dataset020_Membrane
and samples/ (cases whose files are missing are left out; synthetic ones always run). Exit status 1 where an image
differs by 1e-3 or more, or any label differs. `--write-fixtures` keeps what the tests compare with: whole synthetic
cases, and of real ones a digest of the label and a sample of voxels.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autoseg.datasets.case import Case
from autoseg.formats import read_image, read_label, write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.prediction.export import restore_label, restore_probabilities
from autoseg.preprocessing.prepare import prepare
from autoseg.workspace.files import write_atomically
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "fixtures" / "nnunet_preprocessed"
SCHEMES = {"ct": "CTNormalization", "zscore": "ZScoreNormalization", "zscore_masked": "ZScoreNormalization",
           "rescale01": "RescaleTo01Normalization", "rgb": "RGBTo01Normalization", "none": "NoNormalization"}
SAMPLED_VOXELS = 500
TOLERANCE = 1e-3
LOGIT_STEP = 2.0**-12  # fine enough that no two heads are equal after interpolation


@dataclass(frozen=True)
class Comparison:
    """One case and the plan that it is prepared by. `image` is a path in the data folder, or "" where synthetic."""

    name: str
    image: str
    label: str
    spacing_mm: tuple[float, ...]
    normalizers: tuple[str, ...] = ("zscore",)
    transpose: tuple[int, int, int] = (0, 1, 2)
    labels: tuple = (0, 1)  # values; a tuple among them is a region


HIPPOCAMPUS = ("Dataset004_Hippocampus/imagesTr/{}_0000.nii.gz", "Dataset004_Hippocampus/labelsTr/{}.nii.gz")
SPLEEN = ("samples/spleen_crop/ct.nii.gz", "samples/spleen_crop/seg.nii.gz")
CORD = ("samples/spinal_cord/t2s/t2s.nii.gz", "samples/spinal_cord/t2s/t2s_gmseg_manual.nii.gz")
BODY = ("samples/totalseg_ct/example_ct_sm.nii.gz", "samples/totalseg_ct/example_seg_fast.nii.gz")
BREAST = ("samples/breast_dce/dce_phase1.nii.gz", "samples/breast_dce/mask.nii.gz")
MEMBRANE = ("Dataset020_Membrane/imagesTr/{}_0000.png", "Dataset020_Membrane/labelsTr/{}.png")

COMPARISONS = (
    Comparison("hippocampus_native", *HIPPOCAMPUS, (1., 1., 1.), labels=(0, 1, 2)),
    Comparison("hippocampus_finer", *HIPPOCAMPUS, (.8, .7, .9), labels=(0, 1, 2)),
    Comparison("hippocampus_halved", *HIPPOCAMPUS, (2., 2., 2.), labels=(0, 1, 2)),
    Comparison("hippocampus_to_slices", *HIPPOCAMPUS, (4., .9, .9), labels=(0, 1, 2)),
    Comparison("hippocampus_region", *HIPPOCAMPUS, (1.5, .8, 1.2), labels=(0, (1, 2), 2)),
    Comparison("spleen_3mm", *SPLEEN, (3., .9, .9), ("ct",)),
    Comparison("spleen_2mm_finer", *SPLEEN, (2., .6, .6), ("ct",)),
    Comparison("spleen_2d", *SPLEEN, (1.1, 1.1), ("ct",)),
    Comparison("spleen_transposed", *SPLEEN, (.9, 2.5, .7), ("ct",), (1, 0, 2)),
    Comparison("cord", *CORD, (5., .55, .55)),
    Comparison("cord_isotropic", *CORD, (1., 1., 1.), ("rescale01",)),
    Comparison("body_41_labels", *BODY, (2.2, 2.6, 3.5), ("ct",), (2, 0, 1), labels=tuple(range(118))),
    Comparison("breast", *BREAST, (2.5, 1.1, 1.1), transpose=(2, 1, 0)),
    Comparison("membrane_2d", *MEMBRANE, (1.7, 1.3), ("rgb",)),
    Comparison("membrane_native", *MEMBRANE, (1., 1.)),
    Comparison("synthetic_brain", "", "", (1.2, .8, 1.1), ("zscore_masked", "zscore_masked"), labels=(0, 1, 2, 3)),
    Comparison("synthetic_brain_halved", "", "", (3.4, 2., 2.4), ("zscore_masked", "zscore"), labels=(0, 1, 2, 3)),
    Comparison("synthetic_brain_slices", "", "", (3.5, 1.2, 1.2), ("zscore_masked", "none"),
               labels=(0, (1, 2, 3), (2, 3))),
    Comparison("synthetic_transposed", "", "", (1.4, .9, 1.3), ("zscore", "rescale01"), (2, 0, 1), labels=(0, 1, 2, 3)),
    Comparison("synthetic_2d", "", "", (1.3, .7), ("none", "zscore"), labels=(0, 1, 2, 3)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nnunet-python", required=True, help="interpreter with nnunetv2 installed")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real datasets")
    parser.add_argument("--write-fixtures", action="store_true", help=f"write {FIXTURES.relative_to(ROOT)}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        candidates = [_find(comparison, arguments.data, Path(scratch)) for comparison in COMPARISONS]
        compared = [comparison for comparison in candidates if comparison]
        failed = compare(compared, arguments.nnunet_python, Path(scratch), arguments.write_fixtures)
    print(f"{len(compared) - failed} of {len(compared)} cases agree; {len(COMPARISONS) - len(compared)} without data")
    sys.exit(1 if failed else 0)


def compare(compared: list, nnunet_python: str, scratch: Path, write_fixtures: bool) -> int:
    """Print one line per case; the number of cases that differ."""
    jobs, ours = [], {}
    for comparison, images, label in compared:
        case, plan, ours[comparison.name] = prepare_ours(comparison, images, label)
        prepared = ours[comparison.name][0]
        logits = make_logits(comparison, prepared.image_CDHW.shape[1:])
        np.savez(scratch / f"{comparison.name}_logits.npz", logits=logits)
        jobs.append({"images": [str(path) for path in images], "label": str(label),
                     "reader": "png" if label.suffix == ".png" else "nifti", "plans": nnunet_plans(plan),
                     "dataset": nnunet_dataset(plan), "output": str(scratch / f"{comparison.name}.npz"),
                     "logits": str(scratch / f"{comparison.name}_logits.npz")})
        configuration = plan.configurations["compared"]
        ours[comparison.name] += (case, plan, restore_label(torch.from_numpy(logits), prepared, plan, configuration),
                                  restore_probabilities(torch.from_numpy(logits), prepared, plan, configuration))
    (scratch / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([nnunet_python, str(Path(__file__).with_name("nnunet_worker.py")), str(scratch / "jobs.json")],
                   check=True, env=_environment(scratch))
    print(f"{'case':24} {'shape':>16} {'seconds':>7} {'nnU-Net':>7} {'image':>9} {'labels':>6} {'export':>6} "
          f"{'probability':>11}")
    failed = 0
    for comparison, _, _ in compared:
        with np.load(scratch / f"{comparison.name}.npz") as file:
            theirs = {key: file[key] for key in file.files}
        failed += not report(comparison, ours[comparison.name], theirs)
        if write_fixtures:
            write_fixture(comparison, ours[comparison.name], theirs)
    return failed


def report(comparison: Comparison, ours: tuple, theirs: dict) -> bool:
    """Print how the two differ; whether they agree."""
    prepared, seconds, _, _, restored, probabilities = ours
    label = np.maximum(theirs["label"], 0)
    if prepared.image_CDHW.shape != theirs["image"].shape or prepared.label_DHW.shape != label.shape:
        print(f"{comparison.name:24} shapes differ: {prepared.image_CDHW.shape} and {theirs['image'].shape}")
        return False
    image = float(np.abs(prepared.image_CDHW - theirs["image"]).max())
    labels = int((prepared.label_DHW != label).sum())
    exported = int((restored != theirs["restored"]).sum())
    probability = float(np.abs(probabilities.astype(np.float32) - theirs["probabilities"]).max())
    shape = "x".join(map(str, label.shape))
    print(f"{comparison.name:24} {shape:>16} {seconds:7.2f} {float(theirs['seconds']):7.2f} {image:9.1e} {labels:6d} "
          f"{exported:6d} {probability:11.1e}")
    return image < TOLERANCE and labels == 0 and exported == 0 and probability < TOLERANCE


def prepare_ours(comparison: Comparison, images: list[Path], label: Path) -> tuple[Case, Plan, tuple]:
    channels, geometry = zip(*(read_image(path) for path in images), strict=True)
    label_DHW, _ = read_label(label)
    image_CDHW = np.concatenate(channels)
    case = Case(comparison.name, image_CDHW, np.ones(len(image_CDHW), dtype=bool), geometry[0], label_DHW)
    plan = make_plan(comparison, case)
    begin = time.perf_counter()
    prepared = prepare(case, plan, plan.configurations["compared"])
    return case, plan, (prepared, time.perf_counter() - begin)


def make_plan(comparison: Comparison, case: Case) -> Plan:
    """A plan whose configuration `compared` does what the comparison asks; CT statistics are of the foreground."""
    stats = []
    for channel in case.image_CDHW:
        values = channel[case.label_DHW > 0].astype(np.float64)
        low, median, high = np.percentile(values, (0.5, 50, 99.5))
        stats.append(IntensityStats(mean=values.mean(), std=values.std(), min=values.min(), max=values.max(),
                                    median=median, percentile_00_5=low, percentile_99_5=high))
    names = {"background": (0,)} | {f"class_{i}": values if isinstance(values, tuple) else (values,)
                                    for i, values in enumerate(comparison.labels) if i}
    regions = any(isinstance(values, tuple) for values in comparison.labels)
    n = len(comparison.spacing_mm)
    architecture = UNet(strides=((1,) * n,), kernel_sizes=((3,) * n,), features=(8,), blocks_encoder=(1,),
                        convs_decoder=())
    configuration = Configuration(
        spacing_mm=comparison.spacing_mm, median_shape=(32.0,) * n, patch=(32,) * n, batch=1, batch_dice=False,
        architecture=architecture, network=Part(name="unet"), augmentation=Part(name="none"),
        schedule=Schedule(iterations=1, learning_rate=0.1),
        normalizers=tuple(Part(name=name) for name in comparison.normalizers))
    return Plan(dataset=comparison.name, planner="compared", transpose=comparison.transpose, intensities=tuple(stats),
                channels=tuple(ChannelSpec(name=f"channel_{c}") for c in range(len(stats))),
                labels=LabelSpec(names=names, region_order=tuple(range(1, len(names))) if regions else None),
                configurations={"compared": configuration})


def nnunet_plans(plan: Plan) -> dict:
    """The same plan in nnU-Net's words, with the resampling of its default planner."""
    configuration = plan.configurations["compared"]
    names = [part.name for part in configuration.normalizers]
    words = {"spacing": list(configuration.spacing_mm), "patch_size": list(configuration.patch),
             "normalization_schemes": [SCHEMES[name] for name in names],
             "use_mask_for_norm": [name == "zscore_masked" for name in names],
             "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []}}
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        words[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        words[f"resampling_fn_{what}_kwargs"] = {"is_seg": what == "seg", "order": order, "order_z": 0,
                                                 "force_separate_z": None}
    stats = {str(c): {"mean": s.mean, "std": s.std, "min": s.min, "max": s.max, "median": s.median,
                      "percentile_00_5": s.percentile_00_5, "percentile_99_5": s.percentile_99_5}
             for c, s in enumerate(plan.intensities)}
    return {"dataset_name": plan.dataset, "plans_name": "compared", "transpose_forward": list(plan.transpose),
            "transpose_backward": [int(axis) for axis in np.argsort(plan.transpose)],
            "foreground_intensity_properties_per_channel": stats, "configurations": {"compared": words},
            "label_manager": "LabelManager"}


def nnunet_dataset(plan: Plan) -> dict:
    labels = {name: list(values) if len(values) > 1 else values[0] for name, values in plan.labels.names.items()}
    dataset = {"channel_names": {str(c): channel.name for c, channel in enumerate(plan.channels)}, "labels": labels,
               "file_ending": ".nii.gz"}
    return dataset | ({"regions_class_order": list(plan.labels.region_order)} if plan.labels.has_regions else {})


def make_logits(comparison: Comparison, shape: tuple[int, ...]) -> np.ndarray:
    """Random logits as multiples of LOGIT_STEP; of many heads, six stand out and the others are low everywhere."""
    regions = any(isinstance(values, tuple) for values in comparison.labels)
    heads = len(comparison.labels) - regions
    logits = np.full((heads, *shape), -9.0, dtype=np.float32)
    random = np.random.default_rng(7).normal(size=(min(heads, 6), *shape))
    logits[:6] = np.rint(random / LOGIT_STEP) * LOGIT_STEP
    return logits


def synthetic(comparison: Comparison) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """Two channels of a head-like ellipsoid with a hole, zero outside it, and three labels that leave it in places."""
    rng = np.random.default_rng(3)
    shape, spacing_mm = ((9, 22, 20), (4.0, 1.0, 1.0)) if "slices" in comparison.name else \
        ((15, 20, 18), (1.7, 1.0, 1.2))
    z, y, x = np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in shape), indexing="ij")
    radius = np.sqrt(z**2 + y**2 + (x - 0.1)**2)
    brain = radius < 0.95
    image = np.stack([80 + 40 * np.sin(5 * x) * np.cos(4 * y), 300 - 150 * radius]) + rng.integers(-9, 10, (2, *shape))
    image = np.where(brain & (radius > 0.12), np.rint(image), 0).astype(np.float32)
    label = np.where((radius < 0.7) & (x > 0), 1, 0) + np.where((radius < 0.45) & (y > -0.1), 1, 0)
    label = np.where((np.abs(y - 0.8) < 0.25) & (np.abs(z) < 0.3), 3, label).astype(np.int16)
    return image, label, Geometry(shape, spacing_mm)


def write_fixture(comparison: Comparison, ours: tuple, theirs: dict) -> None:
    """Synthetic: the case and all that nnU-Net makes of it. Real: shape, digest of the label, a sample of voxels."""
    prepared, _, case, plan, _, _ = ours
    label = np.maximum(theirs["label"], 0).astype(np.int16)
    arrays = {"plan": plan.model_dump_json(), "box": theirs["box"]}
    if comparison.image:
        rng = np.random.default_rng(11)
        where = rng.choice(theirs["image"].size, SAMPLED_VOXELS, replace=False)
        arrays |= {"where": where, "values": theirs["image"].reshape(-1)[where], "shape": theirs["image"].shape,
                 "label_digest": hashlib.blake2b(np.ascontiguousarray(label).tobytes()).hexdigest(),
                 "files": (comparison.image.format(_first(comparison)), comparison.label.format(_first(comparison)))}
    else:
        arrays |= {"case_image": case.image_CDHW.astype(np.int16), "case_label": case.label_DHW.astype(np.int8),
                 "spacing_mm": case.geometry.spacing_mm, "image": theirs["image"].astype(np.float32),
                 "label": label.astype(np.int8), "restored": theirs["restored"].astype(np.int8),
                 "logits": (make_logits(comparison, prepared.image_CDHW.shape[1:]) / LOGIT_STEP).astype(np.int16),
                 "logit_step": LOGIT_STEP}
    write_atomically(FIXTURES / f"{comparison.name}.npz", lambda path: np.savez_compressed(path, **arrays))


def _first(comparison: Comparison) -> str:
    return "membrane_00" if "Membrane" in comparison.image else "hippocampus_001"


def _find(comparison: Comparison, data: Path, scratch: Path) -> tuple[Comparison, list[Path], Path] | None:
    if comparison.image:
        image, label = (data / path.format(_first(comparison)) for path in (comparison.image, comparison.label))
        return (comparison, [image], label) if image.is_file() and label.is_file() else None
    image_CDHW, label_DHW, geometry = synthetic(comparison)
    folder = scratch / f"{comparison.name}_files"
    folder.mkdir()
    images = [folder / f"case_{c:04d}.nii.gz" for c in range(len(image_CDHW))]
    for path, channel in zip(images, image_CDHW, strict=True):
        write_array(path, channel[None], geometry)
    write_label(folder / "case.nii.gz", label_DHW, geometry)
    return comparison, images, folder / "case.nii.gz"


def _environment(scratch: Path) -> dict[str, str]:
    return os.environ | dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(scratch))


if __name__ == "__main__":
    main()
