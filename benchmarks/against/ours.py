"""What is measured inside of a process of ours: python ours.py FUNCTION JOB.json RESULT.json, started by bench.py."""

import json
import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from autoseg import pipeline
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.batches.loader import BatchStream, make_batches
from autoseg.batches.store import store_cases
from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.prediction.export import restore_label
from autoseg.prediction.models import load_model
from autoseg.prediction.window import predict_logits
from autoseg.preprocessing.store import open_cases
from autoseg.training.assemble import assemble
from autoseg.training.job import FoldJob
from autoseg.training.state import new_state
from autoseg.training.step import train_step
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from benchmarks.against_nnunet_preprocessing import nnunet_dataset, nnunet_plans
from planners import PLANNERS
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.hardware import Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

NAME = "3d_fullres"
RESIDENT_BYTES = 4 * 2**30


def step(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of training steps, each with its batch; of them what the batch takes."""
    torch.set_num_threads(job["threads"])
    fold, runtime, stream = _training(job)
    task = Segmentation(fold.plan, fold.configuration)
    state, loss = new_state(task, fold.configuration, runtime, 0), task.build_loss(runtime.device)
    state.model.train()
    loading, whole = [], []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        batch = next(stream)
        loading.append(time.perf_counter() - start)
        train_step(state, state.model, loss, batch, runtime).item()
        whole.append(time.perf_counter() - start)
    counted = slice(job["warm_up"], None)
    return {"seconds": median(whole[counted]), "loading_seconds": median(loading[counted]), "each": whole,
            "batch": list(batch.image_BCDHW.shape), "precision": str(runtime.dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in state.model.network.parameters())}


def batch(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds to load and augment a batch on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    _, _, stream = _training(job)
    taken = []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        next(stream)
        taken.append(time.perf_counter() - start)
    return {"seconds": median(taken[job["warm_up"]:]), "each": taken}


def _training(job: dict[str, Any]) -> tuple[FoldJob, Runtime, BatchStream]:
    workspace = Workspace.open(job["home"])
    planned = read_model(workspace.plan(job["dataset"], "classic"), Plan)
    fold, _ = assemble(workspace, planned, NAME, 0)
    runtime = open_runtime("cpu")
    store = store_cases(open_cases(fold.cases, fold.training), runtime.device, RESIDENT_BYTES)
    return fold, runtime, make_batches(store, fold.configuration, planned.labels, 0, runtime.device)


def plan(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of planning from a fingerprint on the disk to a plan on the disk, and of the planners alone."""
    start = time.perf_counter()
    for name in job["planners"]:
        pipeline.plan(job["dataset"], planner=name, home=job["home"], device="cpu")
    seconds = time.perf_counter() - start
    fingerprint = read_model(Workspace.open(job["home"]).fingerprint(job["dataset"]), Fingerprint)
    hardware = KnownHardware(memory_bytes=8 * 2**30, flops_per_s=1e12, cores=2)
    start = time.perf_counter()
    for name in job["planners"]:
        PLANNERS.get(name)(fingerprint, hardware, Budget())
    return {"seconds": seconds, "planners_alone_seconds": time.perf_counter() - start}


def fingerprint(job: dict[str, Any]) -> dict[str, Any]:
    """Write the fingerprint that shapes and spacings describe."""
    written = _fingerprint(job["dataset"], job["labels"], job["shapes"], job["spacings"])
    write_json(Workspace.open(job["home"]).fingerprint(job["dataset"]), written)
    return {}


def _fingerprint(dataset: str, labels: dict[str, int], shapes: list, spacings: list) -> Fingerprint:
    stats = IntensityStats(mean=90, std=60, min=-800, max=1200, median=95, percentile_00_5=-60, percentile_99_5=260)
    cases = [CaseMeasure(case=f"ct_{i:03}", shape=shape, spacing_mm=spacing)
             for i, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True))]
    return Fingerprint(dataset=dataset, channels=(ChannelSpec(name="CT"),), cases=cases, intensities=(stats,),
                       labels=LabelSpec(names={name: (value,) for name, value in labels.items()}))


def model(job: dict[str, Any]) -> dict[str, Any]:
    """Write a model with random weights as a finished fold, of the classic plan that lies in the workspace."""
    planned = read_model(Workspace.open(job["home"]).plan(job["dataset"], "classic"), Plan)
    return _write_model(job, planned)


def small_model(job: dict[str, Any]) -> dict[str, Any]:
    """Likewise of a plan that is made here, with few channels; and that plan in nnU-Net's words."""
    planned = _made_plan(job["dataset"], job["labels"], job)
    written = _write_model(job, planned)
    compared = planned.model_copy(update={"configurations": {"compared": planned.configurations[NAME]}})
    words = nnunet_plans(compared)
    words["configurations"] = {NAME: {**words["configurations"]["compared"], "batch_size": 2, "batch_dice": False,
                                      "data_identifier": "nnUNetPlans_3d_fullres",
                                      "preprocessor_name": "DefaultPreprocessor",
                                      "architecture": _architecture(planned.configurations[NAME])}}
    words |= {"plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"}
    return {**written, "plans": words, "dataset_json": nnunet_dataset(compared)}


def _write_model(job: dict[str, Any], planned: Plan) -> dict[str, Any]:
    workspace, configuration = Workspace.open(job["home"]), planned.configurations[NAME]
    torch.manual_seed(0)
    model = build_model(planned, configuration)
    folder = workspace.fold(planned.dataset, planned.planner, NAME, 0)
    write_json(workspace.model(planned.dataset, planned.planner, NAME).plan, planned)
    save_weights(folder.checkpoint, model.state_dict(), {"configuration": NAME, "fold": 0, "training": []})
    write_json(folder.result, FoldResult(
        dataset=planned.dataset, planner=planned.planner, configuration=NAME, fold=0, seed=0, training_seconds=0,
        schedule=configuration.schedule, total_seconds=0, mean_dice=None, scores=None))
    return {"parameters": sum(p.numel() for p in model.network.parameters()), "planner": planned.planner,
            "patch": list(configuration.patch), "mirror_axes": list(configuration.mirror_axes)}


def _made_plan(dataset: str, labels: dict[str, int], job: dict[str, Any]) -> Plan:
    measured = _fingerprint(dataset, labels, [job["shape"]] * 8, [job["spacing_mm"]] * 8)
    planned = PLANNERS.get("classic")(measured, KnownHardware(memory_bytes=2**33, flops_per_s=1e12, cores=2), Budget())
    n = len(job["features"])
    architecture = UNet(strides=((1, 1, 1), *((2, 2, 2),) * (n - 1)), kernel_sizes=((3, 3, 3),) * n,
                        features=tuple(job["features"]), blocks_encoder=(2,) * n, convs_decoder=(2,) * (n - 1))
    full = planned.configurations[NAME].model_copy(update={
        "spacing_mm": tuple(job["planned_mm"]), "patch": tuple(job["patch"]), "architecture": architecture,
        "network": Part(name="unet")})
    return planned.model_copy(update={"configurations": {NAME: full}})


def _architecture(configuration: Configuration) -> dict[str, Any]:
    shape = configuration.architecture
    words = {"n_stages": len(shape.features), "features_per_stage": shape.features,
             "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": shape.kernel_sizes, "strides": shape.strides,
             "n_conv_per_stage": shape.blocks_encoder, "n_conv_per_stage_decoder": shape.convs_decoder,
             "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
             "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
             "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}}
    return {"network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet", "arch_kwargs": words,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}


def tile(job: dict[str, Any]) -> dict[str, Any]:
    """Predict a single tile with the model of a fold: its memory is the network's own."""
    workspace, runtime = Workspace.open(job["home"]), open_runtime("cpu")
    planned = read_model(workspace.model(job["dataset"], "classic", NAME).plan, Plan)
    configuration = planned.configurations[NAME]
    folder = workspace.fold(job["dataset"], "classic", NAME, 0)
    loaded = load_model(planned, configuration, folder.checkpoint, runtime)
    for _ in range(3):
        predict_logits(loaded.model, torch.zeros(1, *configuration.patch), configuration, runtime, mirror_axes=())
    return {"maximum_bytes": _maximum_bytes()}


def export(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds from logits to labels in the file's grid, and the most that this process ever held."""
    classes, low, shape = job["classes"], tuple(job["logits"]), tuple(job["file"])
    spacing = (1.5, 0.8, 0.8)
    coarse = tuple(mm * n / few for mm, n, few in zip(spacing, shape, low, strict=True))
    labels = {"background": 0} | {f"organ_{k}": k for k in range(1, classes)}
    planned = _made_plan("Dataset505_Export", labels, {"shape": shape, "spacing_mm": spacing, "planned_mm": coarse,
                                                       "patch": (128,) * 3, "features": (8, 16)})
    logits = _blobs(classes, low, getattr(torch, job["dtype"]))
    prepared = PreparedCase(
        name="export", image_CDHW=np.zeros((1, 1, 1, 1), np.float32), present_C=np.ones(1, bool), transpose=(0, 1, 2),
        geometry=Geometry(shape, spacing), box=tuple((0, n) for n in shape), cropped_shape=shape, spacing_mm=coarse)
    before = _maximum_bytes()
    start = time.perf_counter()
    label = restore_label(logits, prepared, planned, planned.configurations[NAME])
    return {"seconds": time.perf_counter() - start, "logit_bytes": logits.nbytes, "maximum_bytes": _maximum_bytes(),
            "maximum_bytes_before": before, "classes_found": len(np.unique(label[::4, ::4, ::4])),
            "background": float((label == 0).mean()), "shape": list(label.shape)}


def _blobs(classes: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Logits (K, D, H, W) of smooth round organs in background, as a trained network gives them."""
    random = np.random.default_rng(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape), indexing="ij")
    logits = torch.empty(classes, *shape, dtype=dtype)
    logits[0] = 0
    for k in range(1, classes):
        centre, radius = random.uniform(-0.85, 0.85, 3), random.uniform(0.08, 0.3)
        distance = sum((axis - c)**2 for axis, c in zip(axes, centre, strict=True)).sqrt()
        logits[k] = (40 * (radius - distance)).clamp(-15, 12)
    return logits


def _maximum_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")
