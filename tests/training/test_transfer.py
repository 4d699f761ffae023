"""Training that begins from another model, end to end on small spheres: what is taken, refused, resumed, compared."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.base.stopping import Stopped
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.unlabelled import dataset_images, folder_images
from autoseg.formats import write_array, write_label
from autoseg.orchestrate.twin import train_twin
from autoseg.planning import like as like_module
from autoseg.planning.like import plan_like
from autoseg.planning.make import make_plan
from autoseg.planning.resolve import resolve_plan
from autoseg.planning.store import read_plan
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.sections_transfer import transfer_section
from autoseg.reporting.twins import compared
from autoseg.training import fold as fold_module
from autoseg.training.pretrain import run_pretraining
from autoseg.training.run import run_fold, start_model
from autoseg.training.source import transfer_from
from autoseg.training.splits import choose_fold, read_splits
from autoseg.training.transfer import TransferReport
from autoseg.workspace.checkpoint import load_weights, read_digest
from autoseg.workspace.files import read_json, read_model, write_json
from autoseg.workspace.names import Workspace
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.hardware import Budget
from planners.schema.labels import LabelSpec
from tests_support import SPHERES, small_plan, sphere_case, write_spheres

FIRST, SECOND, NAME = "Dataset001_Spheres", "Dataset002_Others", "3d_fullres"
CPU = Runtime(torch.device("cpu"), torch.float32)
SWAPPED = LabelSpec(names={"background": (0,), "core": (1,), "sphere": (2,)})


def add_dataset(home, name, labels=SPHERES, *, own_images=False, **changes):
    """A raw dataset with prepared cases and a tiny plan; `own_images`: other ones than every dataset has."""
    raw = write_spheres(home / "raw" / name)
    declared = read_json(raw / "dataset.json")
    write_json(raw / "dataset.json", {**declared, "labels": {k: v[0] for k, v in labels.names.items()}})
    for index in range(6 if own_images else 0):
        case = sphere_case(f"ball_{index:02}", 50 + index)
        write_array(raw / "imagesTr" / f"{case.name}_0000.nii.gz", case.image_CDHW, case.geometry)
        values = np.array([0, *labels.names["sphere"], *labels.names["core"]], np.int16)
        write_label(raw / "labelsTr" / f"{case.name}.nii.gz", values[case.label_DHW], case.geometry)
    return add_plan(home, name, small_plan(labels=labels, **changes))


def add_plan(home, name, plan, planner="budgeted"):
    """A plan of a dataset, and its cases prepared by it."""
    plan = plan.model_copy(update={"dataset": name, "channels": (ChannelSpec(name="MR"),), "planner": planner})
    workspace = Workspace(home)
    write_json(workspace.plan(name, planner), plan)
    for configuration in plan.configurations:
        preprocess_dataset(Dataset.open(workspace.raw(name)), plan, configuration,
                           workspace.cases(name, planner, configuration)).raise_faults()
    return plan


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a trained fold 0 of the first dataset, and a pre-training of its network."""
    home = tmp_path_factory.mktemp("home")
    add_dataset(home, FIRST)
    train(home, None, FIRST)
    workspace = Workspace(home)
    raw, plan = Dataset.open(workspace.raw(FIRST)), read_plan(workspace, FIRST, "budgeted")
    left_out = choose_fold(read_splits(workspace, FIRST, raw.names), 0, raw.names).validation
    run_pretraining(workspace, plan, NAME, Part(name="mae"), [dataset_images(raw, plan.channels, left_out)], CPU)
    return home


@pytest.fixture
def home(trained, tmp_path):
    """A copy of that workspace."""
    shutil.copytree(trained, tmp_path / "home")
    return tmp_path / "home"


def other_dataset(home, **changes):
    return add_dataset(home, SECOND, own_images=True, **changes)


def model(home, dataset=FIRST):
    return Workspace(home).model(dataset, "budgeted", NAME)


def train(home, source, dataset=SECOND, fold=0, planner="budgeted", name=NAME, restart=False, **options):
    """Train as `pipeline.train` does, without its pictures."""
    workspace = Workspace(home)
    plan = resolve_plan(workspace, dataset, name, planner=planner, restart=restart,
                        transfer=transfer_from(workspace, source, **options))
    return run_fold(workspace, plan, name, fold, CPU, restart=restart)


def test_a_model_of_another_dataset_is_taken_over_with_its_labels_by_name(home):
    other_dataset(home, labels=SWAPPED)
    train(home, model(home).path)
    fold = model(home, SECOND).fold(0)
    report = read_model(fold.transfer, TransferReport)
    assert report.encoder_share == 1 and report.labels == ("background", "core", "sphere") and not report.left
    assert report.digest == read_digest(model(home).fold(0).checkpoint)
    assert {run["provenance"]["source"] for run in read_json(fold.path / "provenance.json")["runs"]} == {report.digest}
    schedule = read_json(fold.schedule)
    assert schedule["learning_rate"] == 5e-3 and schedule["warmup_iterations"] >= 1


def test_weights_start_as_those_of_the_source(home, monkeypatch):
    other_dataset(home)
    starts = {}

    def stopped(job, task, *_, **__):
        starts.update(task.build_model(job.layout).state_dict())
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("autoseg.training.run.train_fold", stopped)
    with pytest.raises(Stopped):
        train(home, model(home).fold(0).path)
    weights, _ = load_weights(model(home).fold(0).checkpoint)
    assert all(torch.equal(starts[name], weight) for name, weight in weights.items())


def test_a_pretraining_is_taken_over_without_its_heads(home):
    add_plan(home, FIRST, small_plan(), "second")
    result = train(home, model(home).pretraining("mae").path, FIRST, planner="second")
    report = read_model(Workspace(home).fold(FIRST, "second", NAME, 0).transfer, TransferReport)
    assert report.is_pretraining and not report.labels and not report.seen and result.scores is not None
    assert all(".heads." in name for name in report.left)


def test_a_fold_whose_cases_were_seen_is_refused_unless_allowed(home):
    add_plan(home, FIRST, small_plan(), "second")
    for source in (model(home).pretraining("mae").path, model(home).fold(0).path):
        with pytest.raises(UserError, match="too good"):
            train(home, source, FIRST, 1, "second")
    train(home, source, FIRST, 1, "second", allow_seen=True)
    assert read_model(Workspace(home).fold(FIRST, "second", NAME, 1).transfer, TransferReport).seen


def test_the_same_images_under_another_name_were_seen_too(home):
    add_dataset(home, SECOND)
    with pytest.raises(UserError, match="too good"):
        train(home, model(home).path, fold=1)


def test_validation_images_that_were_pretrained_on_from_a_folder_were_seen(home):
    workspace = Workspace(home)
    raw, plan = Dataset.open(workspace.raw(FIRST)), read_plan(workspace, FIRST, "budgeted")
    left_out = choose_fold(read_splits(workspace, FIRST, raw.names), 0, raw.names).validation
    (home / "scans").mkdir()
    for case in left_out:
        shutil.copy(raw.folder / "imagesTr" / f"{case}_0000.nii.gz", home / "scans" / f"scan_{case}_0000.nii.gz")
    sources = [dataset_images(raw, plan.channels, left_out), folder_images(home / "scans", plan.channels, ".nii.gz")]
    run_pretraining(workspace, plan, NAME, Part(name="genesis"), sources, CPU)
    add_plan(home, FIRST, small_plan(), "second")
    with pytest.raises(UserError, match="too good"):
        train(home, model(home).pretraining("genesis").path, FIRST, 0, "second")


def test_restarted_folds_are_kept_where_one_of_them_is_refused(home):
    add_plan(home, FIRST, small_plan(), "second")
    for fold in (0, 1):
        train(home, None, FIRST, fold, "second")
    workspace = Workspace(home)
    plan = resolve_plan(workspace, FIRST, NAME, planner="second", restart=True,
                        transfer=transfer_from(workspace, model(home).pretraining("mae").path))
    with pytest.raises(UserError, match="too good"):
        start_model(workspace, plan, NAME, (0, 1), restart=True)
    assert all(workspace.fold(FIRST, "second", NAME, fold).is_finished for fold in (0, 1))


def test_a_pre_training_is_followed_at_the_whole_rate_and_labels_at_half_of_it(home):
    add_plan(home, FIRST, small_plan(), "second")
    workspace = Workspace(home)

    def rate(source):
        transfer = transfer_from(workspace, source)
        plan = resolve_plan(workspace, FIRST, NAME, planner="second", transfer=transfer)
        return plan.configurations[NAME].schedule.learning_rate

    whole = small_plan().configurations[NAME].schedule.learning_rate
    assert rate(model(home).pretraining("mae").path) == pytest.approx(whole)
    assert rate(model(home).path) == pytest.approx(whole / 2)


def test_what_a_source_began_with_counts_as_seen(home):
    other_dataset(home)
    train(home, model(home).path)
    add_plan(home, FIRST, small_plan(), "second")
    with pytest.raises(UserError, match="too good"):
        train(home, model(home, SECOND).path, FIRST, 1, "second")


def test_a_frozen_encoder_is_the_same_at_the_end(home):
    other_dataset(home)
    train(home, model(home).path, freeze="encoder")
    before, _ = load_weights(model(home).fold(0).checkpoint)
    after, _ = load_weights(model(home, SECOND).fold(0).checkpoint)
    same = {name: torch.equal(weight, after[name]) for name, weight in before.items()}
    assert all(same[name] for name in same if name.startswith(("network.encoder", "fusion")))
    assert not same["network.decoder.heads.0.weight"]


def test_a_stopped_training_goes_on_without_the_flag_and_without_its_source(home, monkeypatch):
    other_dataset(home)
    source = shutil.move(model(home).path, home / "models" / FIRST / "budgeted" / "elsewhere")
    real = fold_module.train_step
    steps = []

    def step(*arguments):
        steps.append(1)
        if len(steps) == 5:  # after the first epoch of three
            raise Stopped(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr("autoseg.training.throughput.train_step", real)
    monkeypatch.setattr(fold_module, "train_step", step)
    with pytest.raises(Stopped):
        train(home, source, freeze="encoder")
    fold = model(home, SECOND).fold(0)
    digest = read_json(fold.started_with)["initial_weights"]["digest"]
    with pytest.raises(UserError, match="did not begin so"):
        train(home, model(home).pretraining("mae").path)
    shutil.rmtree(source)
    train(home, None)
    _, facts = load_weights(fold.checkpoint)
    assert facts["trained_with"]["initial_weights"]["digest"] == digest
    assert read_json(fold.result)["schedule"]["learning_rate"] == 5e-3


@pytest.mark.parametrize(("change", "words"), [
    ({"architecture": UNet(strides=((1,) * 3, (2,) * 3), kernel_sizes=((3,) * 3,) * 2, features=(8, 32),
                           blocks_encoder=(1, 1), convs_decoder=(1,))}, "--like"),
    ({"network": Part(name="unet"), "architecture": UNet(strides=((1,) * 3, (2,) * 3), kernel_sizes=((5,) * 3,) * 2,
                                                         features=(8, 16), blocks_encoder=(1, 1), convs_decoder=(1,))},
     "at least 90 %")])
def test_less_than_90_percent_of_the_encoder_is_refused_with_the_command_that_fits(home, change, words):
    other_dataset(home, **change)
    with pytest.raises(UserError, match=words) as refused:
        train(home, model(home).path)
    assert "autoseg_plan_and_preprocess -d Dataset002_Others --like" in str(refused.value)
    assert not model(home, SECOND).fold(0).path.joinpath("started_with.json").exists()


def test_a_model_of_other_dimensions_is_refused(home):
    other_dataset(home, dimensions=2)
    with pytest.raises(UserError, match="other dimensions"):
        train(home, model(home).path, name="2d")


def test_a_model_does_not_replace_itself(home):
    with pytest.raises(UserError, match="from itself"):
        train(home, model(home).path, FIRST, restart=True)
    with pytest.raises(UserError, match="from scratch"):
        train(home, model(home).path, FIRST)
    assert model(home).fold(0).is_finished


@pytest.mark.parametrize("folder", ["nowhere", "models", f"models/{FIRST}/budgeted", f"raw/{FIRST}"])
def test_a_folder_without_a_model_is_a_users_error(home, folder):
    other_dataset(home)
    with pytest.raises(UserError, match="pretrained_mae"):
        train(home, home / folder)


def test_the_twin_lies_where_no_prediction_looks_and_is_compared(home, monkeypatch):
    monkeypatch.setattr("autoseg.orchestrate.twin.LiveCurves", lambda: lambda folder: None)
    plan = other_dataset(home)
    result = train(home, model(home).path)
    planned = resolve_plan(Workspace(home), SECOND, NAME, planner="budgeted")
    assert planned.configurations[NAME].transfer is not None
    twin = train_twin(Workspace(home), planned, NAME, 0, device="cpu")
    assert twin.schedule.learning_rate == plan.configurations[NAME].schedule.learning_rate
    assert (home / "twins" / SECOND / "budgeted" / NAME / "fold_0" / "result.json").is_file()
    assert {row.metric for row in compared(result, twin).rows} >= {"dice"}
    assert [model.dataset for model in Workspace(home).models()] == [FIRST, SECOND]
    section = transfer_section(gather(Workspace(home), SECOND))
    took, beside = section.blocks
    assert took.rows[0][3].text == "100.0%" and beside.head[-2] == "95 % interval"
    assert [row[0].text for row in beside.rows] == ["sphere", "core", "mean"]
    with pytest.raises(UserError, match="from scratch"):
        train_twin(Workspace(home), plan, NAME, 0, device="cpu")


def test_a_dataset_is_planned_like_a_model_with_its_own_labels(home, monkeypatch):
    # A planner that measures no speed.
    monkeypatch.setattr(like_module, "make_plan", lambda workspace, dataset, _, *rest: make_plan(
        workspace, dataset, "classic", *rest))
    other_dataset(home, labels=LabelSpec(names={"background": (0,), "sphere": (1,), "core": (2,)}))
    shutil.rmtree(home / "prepared" / SECOND)
    pipeline.fingerprint(2, home=home, workers=1)
    plan = plan_like(Workspace(home), SECOND, model(home).path, Budget(seconds_per_fold=60), "cpu")
    known, there = plan.configurations[NAME], read_plan(Workspace(home), FIRST, "budgeted").configurations[NAME]
    assert plan.planner == "like_budgeted" and plan.dataset == SECOND and list(plan.configurations) == [NAME]
    assert (known.architecture, known.patch, known.spacing_mm) == (there.architecture, there.patch, there.spacing_mm)
    assert known.schedule.budget_seconds == 60 and known.schedule.optimizer == there.schedule.optimizer
    assert plan.intensities != read_plan(Workspace(home), FIRST, "budgeted").intensities and known.prior
    pipeline.preprocess(2, planned=plan, home=home, workers=1)
    resolved = resolve_plan(Workspace(home), SECOND, NAME, planner="like_budgeted", changes=["schedule.iterations=2"],
                            transfer=transfer_from(Workspace(home), model(home).path))
    assert run_fold(Workspace(home), resolved, NAME, 0, CPU).scores is not None


def test_more_cases_are_learned_beside_the_older_model_with_its_grid_and_intensities(home, monkeypatch):
    monkeypatch.setattr(like_module, "make_plan", lambda workspace, dataset, _, *rest: make_plan(
        workspace, dataset, "classic", *rest))
    workspace, raw = Workspace(home), home / "raw" / FIRST
    before = choose_fold(read_splits(workspace, FIRST, Dataset.open(raw).names), 0, Dataset.open(raw).names)
    case = sphere_case("new", 99)
    write_array(raw / "imagesTr" / "new_0000.nii.gz", case.image_CDHW, case.geometry)
    write_label(raw / "labelsTr" / "new.nii.gz", case.label_DHW, case.geometry)
    write_json(raw / "dataset.json", {**read_json(raw / "dataset.json"), "numTraining": 7})
    (raw / "splits_final.json").write_text(json.dumps([{"train": [*before.train, "new"], "val": before.validation}]))
    pipeline.fingerprint(1, home=home, workers=1)
    plan = plan_like(workspace, FIRST, model(home).path, Budget(), "cpu")
    assert plan.intensities == read_plan(workspace, FIRST, "budgeted").intensities
    pipeline.preprocess(1, planned=plan, home=home, workers=1)
    resolved = resolve_plan(workspace, FIRST, NAME, planner="like_budgeted", changes=["schedule.iterations=2"],
                            transfer=transfer_from(workspace, model(home).path))
    assert run_fold(workspace, resolved, NAME, 0, CPU).scores is not None
    assert model(home).fold(0).is_finished
    assert "new" in load_weights(workspace.fold(FIRST, "like_budgeted", NAME, 0).checkpoint)[1]["training"]
