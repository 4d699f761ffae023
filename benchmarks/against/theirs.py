"""What is measured inside of nnU-Net's interpreter: python theirs.py FUNCTION JOB.json RESULT.json, started by bench.py.

Its folders and nnUNet_n_proc_DA come by the environment.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import torch


def step(job: dict) -> dict:
    """Seconds of training steps as nnU-Net's trainer takes them, each with its batch; of them the waiting for the batch."""
    torch.set_num_threads(job["threads"])
    trainer = _trainer(job["dataset"])
    batches, validation = trainer.get_dataloaders()
    trainer.set_deep_supervision_enabled(True)
    trainer.network.train()
    loading, whole = [], []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        batch = next(batches)
        loading.append(time.perf_counter() - start)
        trainer.train_step(batch)
        whole.append(time.perf_counter() - start)
    for augmenter in (batches, validation):
        if hasattr(augmenter, "_finish"):
            augmenter._finish()
    counted = slice(job["warm_up"], None)
    return {"seconds": median(whole[counted]), "loading_seconds": median(loading[counted]), "each": whole,
            "batch": list(batch["data"].shape), "precision": str(batch["data"].dtype).replace("torch.", ""),
            "parameters": sum(p.numel() for p in trainer.network.parameters())}


def batch(job: dict) -> dict:
    """Seconds to load and augment a batch on one core, in this process."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    batches, _ = _trainer(job["dataset"]).get_dataloaders()
    taken = []
    for _ in range(job["warm_up"] + job["steps"]):
        start = time.perf_counter()
        next(batches)
        taken.append(time.perf_counter() - start)
    return {"seconds": median(taken[job["warm_up"]:]), "each": taken}


def _trainer(dataset: str):
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args(dataset, "3d_fullres", 0, device=torch.device("cpu"))
    trainer.initialize()
    return trainer


def plan(job: dict) -> dict:
    """Seconds of planning from a fingerprint on the disk to a plan on the disk."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners as residual
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    planners = {"classic": ExperimentPlanner, "resenc_m": residual.nnUNetPlannerResEncM,
                "resenc_l": residual.nnUNetPlannerResEncL, "resenc_xl": residual.nnUNetPlannerResEncXL}
    start = time.perf_counter()
    plan_experiment_dataset(job["number"], planners[job["planner"]])
    return {"seconds": time.perf_counter() - start}


def model(job: dict) -> dict:
    """Write a model with random weights as a trained fold; of the plan that was made, or of one that is given."""
    from batchgenerators.utilities.file_and_folder_operations import join, load_json, save_json
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    prepared = join(str(nnUNet_preprocessed), job["dataset"])
    plans = job.get("plans") or load_json(join(prepared, "nnUNetPlans.json"))
    dataset = job.get("dataset_json") or load_json(join(prepared, "dataset.json"))
    manager = PlansManager(plans)
    labels = manager.get_label_manager(dataset)
    configuration = manager.get_configuration("3d_fullres")
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(manager, configuration, len(dataset["channel_names"]),
                                                       labels.num_segmentation_heads, True)
    folder = Path(str(nnUNet_results), job["dataset"], "nnUNetTrainer__nnUNetPlans__3d_fullres")
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    save_json(plans, str(folder / "plans.json"))
    save_json(dataset, str(folder / "dataset.json"))
    torch.save({"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
                "init_args": {"configuration": "3d_fullres"},
                "inference_allowed_mirroring_axes": tuple(job["mirror_axes"])}, folder / "fold_0" / "checkpoint_final.pth")
    return {"parameters": sum(p.numel() for p in network.parameters()), "patch": list(configuration.patch_size)}


if __name__ == "__main__":
    answer = globals()[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    Path(sys.argv[3]).write_text(json.dumps(answer), encoding="utf-8")
