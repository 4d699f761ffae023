"""Every example runs, on balls that a tiny network learns in seconds, and does what its docstring says."""

import importlib
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.cli import plan_and_preprocess, predict, train, verify
from autoseg.datasets.integrity import verify as verify_folder
from autoseg.formats import write_array, write_label
from autoseg.nn.losses import LOSSES, LossContext
from autoseg.nn.losses.targets import TargetEncoder
from autoseg.nn.model import build_model
from autoseg.preprocessing.normalize import normalize
from autoseg.preprocessing.store import open_prepared
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners import PLANNERS
from planners.schema.base import Part
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import Budget, KnownHardware
from planners.schema.labels import LabelStats
from planners.schema.plan import Plan
from tests_support import SPHERES, small_plan, sphere_case, write_spheres

EXAMPLES = Path(__file__).parents[1] / "examples"
DATASET = "Dataset001_Spheres"
TINY = ["--set", "schedule.iterations=4", "--set", "schedule.iterations_per_epoch=4", "--set", "patch=[16,16,16]",
        "--set", "batch=2", "--set", "architecture.features=[4, 8]", "--set", "architecture.strides=[[1,1,1],[2,2,2]]",
        "--set", "architecture.kernel_sizes=[[3,3,3],[3,3,3]]", "--set", "architecture.blocks_encoder=[1,1]",
        "--set", "architecture.convs_decoder=[1]"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A workspace whose spheres are planned by `budgeted` and prepared; not to be changed."""
    home = tmp_path_factory.mktemp("home")
    write_spheres(home / "raw" / DATASET, n_cases=5)
    assert plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", "--home",
                                     str(home), "--device", "cpu"]) == 0
    return home


@pytest.fixture
def home(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "home")
    return tmp_path / "home"


def main_of(example: str):
    return runpy.run_path(str(EXAMPLES / f"{example}.py"))["main"]


def test_the_api_runs_end_to_end(home, capsys):
    main_of("api_end_to_end")(["--home", str(home), "-d", "1", "--iterations", "3", "--workers", "1"])
    assert "5 masks in" in capsys.readouterr().out
    assert sorted(path.name for path in (home / "masks").glob("*.nii.gz")) == [f"ball_{i:02}.nii.gz" for i in range(5)]


def test_a_network_and_a_loss_of_ones_own_train_and_predict(home, tmp_path):
    common = ["--home", str(home), "--device", "cpu", "--plugin", "plugin_network"]
    assert train.main(["1", "3d_fullres", "0", *TINY, *common, "--plugin", "plugin_loss",
                       "--set", "network.name=squeezing_unet", "--set", "network.options.reduction=2",
                       "--set", "loss.name=tversky_ce", "--set", "loss.options.missed=0.7"]) == 0
    image = home / "raw" / DATASET / "imagesTr" / "ball_00_0000.nii.gz"
    assert predict.main(["-i", str(image), "-o", str(tmp_path / "masks"), *common]) == 0
    assert (tmp_path / "masks" / "ball_00.nii.gz").is_file()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_network_is_at_first_the_plain_one(dimensions):
    importlib.import_module("plugin_network")
    plan = small_plan(dimensions, network=Part(name="squeezing_unet", options={"reduction": 2}))
    (configuration,) = plan.configurations.values()
    squeezing = build_model(plan, configuration).eval()
    plain = build_model(plan, configuration.model_copy(update={"network": Part(name="unet")})).eval()
    plain.network.load_state_dict(squeezing.network.unet.state_dict())
    image = torch.randn(2, 1, *(16,) * dimensions, generator=torch.Generator().manual_seed(0))
    assert torch.equal(squeezing(image), plain(image))


def loss_of(name: str, logits: torch.Tensor, label: torch.Tensor, batch_dice: bool = True, **options) -> float:
    importlib.import_module("plugin_loss")
    loss = LOSSES.make(Part(name=name, options=options), LossContext(regions=False, batch_dice=batch_dice))
    return float(loss(logits, TargetEncoder(SPHERES)(label)))


@pytest.mark.parametrize("batch_dice", [True, False])
def test_the_loss_is_dice_unless_it_is_told_otherwise(batch_dice):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, 4, generator=generator)
    label = torch.randint(0, 3, (2, 4, 4, 4), generator=generator)
    same = loss_of("dice_ce", logits, label, batch_dice)
    assert loss_of("tversky_ce", logits, label, batch_dice) == pytest.approx(same, rel=1e-5)


def test_the_loss_minds_missed_voxels_as_much_as_it_is_told():
    label = torch.tensor([[[[1, 1, 2, 2]]]])
    certain = 50.0 * torch.nn.functional.one_hot(torch.tensor([[[[1, 0, 2, 2]]]]), 3).movedim(-1, 1).float()
    # Class 1: one hit, one missed, so the index is 1 / (1 + missed); class 2 is perfect. Both share one cross-entropy.
    indices = [1 - (loss_of("tversky_ce", certain, label, missed=m) - loss_of("tversky_ce", certain, label, missed=0.0))
               for m in (0.5, 1.0)]
    assert indices == pytest.approx([(1 / 1.5 + 1) / 2, (1 / 2 + 1) / 2], abs=1e-4)


def test_the_normaliser_is_chosen_by_its_planner_and_known_to_worker_processes(home):
    assert plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "-p", "budgeted_robust", "--plugin",
                                     "plugin_normalizer", "--budget", "60s", "--workers", "2", "--home", str(home),
                                     "--device", "cpu"]) == 0
    case = open_prepared(Workspace.open(home).cases(DATASET, "budgeted_robust", "3d_fullres"), "ball_00")
    low, median, high = np.percentile(case.image_CDHW[:], (25, 50, 75))
    assert (median, high - low) == pytest.approx((0, 1), abs=1e-5)  # 1 mm voxels: nothing was resampled


def test_the_normaliser_measures_the_inside_and_changes_no_input():
    importlib.import_module("plugin_normalizer")
    image = np.array([[[0, 1, 2, 3, 4, 99]]], dtype=np.float32)
    kept = image.copy()
    # Quartiles of 0 to 4 are 1 and 3, their median is 2.
    assert normalize(Part(name="robust"), image, image < 99)[0, 0].tolist() == [-1, -0.5, 0, 0.5, 1, 48.5]
    assert np.array_equal(image, kept)
    assert not normalize(Part(name="robust"), np.full((1, 1, 6), 7.0), image < 99).any()


@pytest.mark.parametrize(("median_ml", "share"), [(0.2, 2 / 3), (50.0, 1 / 3)])
def test_the_planner_looks_at_foreground_more_often_where_lesions_are_small(median_ml, share):
    importlib.import_module("plugin_planner")
    stats = LabelStats(name="core", cases=4, voxels=100, volume_ml=1, components=9,
                       component_ml_percentiles=(0.01, 0.1, median_ml, 60, 70))
    (channel,) = small_plan().channels
    fingerprint = Fingerprint(dataset=DATASET, channels=(channel,), labels=SPHERES, label_stats=(stats,),
                              cases=(CaseMeasure(case="a", shape=(64, 64, 64), spacing_mm=(1, 1, 1)),))
    plan = PLANNERS.get("small_lesions")(fingerprint, KnownHardware(memory_bytes=2**33, flops_per_s=1e11, cores=2),
                                         Budget(seconds_per_fold=600))
    assert plan.configurations["3d_fullres"].schedule.foreground_share == pytest.approx(share)
    assert any("components of core" in reason for reason in plan.reasons) == (share > 0.5)


def test_the_planner_serves_the_command(home):
    assert plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "-p", "small_lesions", "--plugin", "plugin_planner",
                                     "--workers", "1", "--home", str(home), "--device", "cpu"]) == 0
    assert read_model(Workspace.open(home).plan(DATASET, "small_lesions"), Plan).planner == "small_lesions"


@pytest.fixture
def patients(tmp_path):
    """Four patients: whole, without a venous phase, without a mask, without images."""
    files = {"anna": ("arterial", "venous", "tumour"), "bert": ("arterial", "tumour"), "cora": ("arterial", "venous"),
             "dora": ("tumour",)}
    for seed, (patient, names) in enumerate(files.items()):
        case = sphere_case(patient, seed)
        for name in names:
            path = tmp_path / "source" / patient / f"{name}.nii.gz"
            if name == "tumour":
                write_label(path, (case.label_DHW > 0).astype(np.int16), case.geometry)
            else:
                write_array(path, case.image_CDHW + (name == "venous"), case.geometry)
    return tmp_path / "source"


def test_a_folder_a_patient_becomes_a_dataset_that_verifies(patients, tmp_path, capsys):
    target = tmp_path / "home" / "raw" / "Dataset007_Tumour"
    assert main_of("prepare_multiphase_dataset")([str(patients), str(target)]) == 0
    assert verify_folder(target).faults == ()
    assert json.loads((target / "dataset.json").read_text())["optional_channels"] == ["CT_venous"]
    assert sorted(path.name for path in target.glob("*Tr/*")) == [
        "anna.nii.gz", "anna_0000.nii.gz", "anna_0001.nii.gz", "bert.nii.gz", "bert_0000.nii.gz"]
    copied = target / "imagesTr" / "anna_0001.nii.gz"
    assert copied.read_bytes() == (patients / "anna" / "venous.nii.gz").read_bytes()
    said = capsys.readouterr().out
    assert "2 of 4 patients" in said
    assert "bert: venous.nii.gz missing, kept" in said
    assert "cora: tumour.nii.gz missing, left out" in said
    assert "dora: arterial.nii.gz, venous.nii.gz missing, left out" in said
    assert verify.main(["-d", "7", "--workers", "1", "--home", str(tmp_path / "home")]) == 0


@pytest.mark.parametrize("source", ["nowhere", "empty"])
def test_a_source_without_patients_writes_nothing(source, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main_of("prepare_multiphase_dataset")([str(tmp_path / source), str(tmp_path / "target")]) == 2
    assert "nothing was written" in capsys.readouterr().out
    assert not (tmp_path / "target").exists()
