"""Every result says what made it, in a file of its own; results of the same input stay the same files."""

import json

import pytest
import torch

from autoseg import pipeline
from autoseg.base.runtime import Runtime
from autoseg.cli import evaluate, predict
from autoseg.prediction.predictor import Predictor
from autoseg.training.run import run_fold
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from autoseg.workspace.provenance import PROVENANCE, Provenance, ProvenanceFile
from planners.schema.plan import content_hash_of
from tests_support import small_plan, write_spheres

DATASET, NAME = "Dataset001_Spheres", "3d_fullres"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with a fingerprint, a plan, a trained fold and masks that a command predicted and scored."""
    home = tmp_path_factory.mktemp("home")
    workspace, plan = Workspace(home), small_plan()
    raw = write_spheres(home / "raw" / DATASET, n_cases=5)
    pipeline.fingerprint(1, home=home, workers=1)
    pipeline.plan(1, planner="classic", home=home, device="cpu")
    write_json(workspace.plan(DATASET, plan.planner), plan)
    pipeline.preprocess(1, home=home, workers=1)
    run_fold(workspace, plan, NAME, 0, Runtime(torch.device("cpu"), torch.float32), seed=7)
    masks = home / "masks"
    assert predict.main(["-i", str(raw / "imagesTr"), "-o", str(masks), "--home", str(home), "--device", "cpu"]) == 0
    assert evaluate.main(["-r", str(raw / "labelsTr"), "-i", str(masks), "-d", "1", "--home", str(home)]) == 0
    return home


def made(folder, name) -> Provenance:
    return read_model(folder / PROVENANCE, ProvenanceFile).of(name)


def test_a_fingerprint_and_a_plan_say_what_made_them(home):
    prepared = home / "prepared" / DATASET
    assert made(prepared, "fingerprint.json").command == "autoseg.fingerprint"
    assert made(prepared, "plan_classic.json").command == "autoseg.plan"
    runs = read_model(prepared / PROVENANCE, ProvenanceFile).runs
    digests = {name: data for run in runs for name, data in run.results.items()}
    assert digests["fingerprint.json"] == digests["plan_classic.json"] != ""


def test_the_result_of_a_fold_says_seed_plan_weights_and_data(home):
    fold = home / "models" / DATASET / "budgeted" / NAME / "fold_0"
    result = made(fold, "result.json")
    assert result.seed == 7 and result.models and result.seconds > 0
    assert result.plan == content_hash_of(json.loads((fold.parent / "plan.json").read_text(encoding="utf-8")))
    assert read_model(fold / PROVENANCE, ProvenanceFile).runs[0].results["result.json"]


def test_masks_and_scores_say_the_command_without_paths_of_the_machine(home):
    mask, scores = made(home / "masks", "ball_00.nii.gz"), made(home / "masks", "summary.json")
    assert mask.command == ("autoseg_predict -i WORKSPACE/raw/Dataset001_Spheres/imagesTr -o WORKSPACE/masks "
                            "--home WORKSPACE --device cpu")
    assert scores.command.startswith("autoseg_evaluate -r WORKSPACE/") and mask.models and mask.seconds is not None
    assert str(home) not in (home / "masks" / PROVENANCE).read_text(encoding="utf-8")


def test_a_predictor_knows_its_weights_without_reading_them_again(home):
    model = home / "models" / DATASET / "budgeted" / NAME
    predictor, checkpoint = Predictor.open(folder=model, device="cpu"), model / "fold_0" / "checkpoint.safetensors"
    before = predictor.identity
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(b"others")
    try:
        assert predictor.identity == before and made(home / "masks", "ball_00.nii.gz").models == before
    finally:
        checkpoint.write_bytes(whole)


def test_masks_of_two_images_have_digests_of_their_images(home):
    runs = read_model(home / "masks" / PROVENANCE, ProvenanceFile).runs
    digests = [data for run in runs for name, data in run.results.items() if name.startswith("ball")]
    assert len(set(digests)) == len(digests) == 5 and all(digests)


def test_the_report_shows_what_made_each_result(home):
    pytest.importorskip("jinja2")
    text = pipeline.report(1, home=home).read_text(encoding="utf-8")
    assert "autoseg.fingerprint" in text and "fold_0: checkpoint.safetensors, result.json" in text
