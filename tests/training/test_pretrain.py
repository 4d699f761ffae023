"""Pre-training end to end on a few small volumes: what is used, what is left out, and that it goes on."""

import json

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.formats import write_array
from autoseg.orchestrate.pretrain import pretrain
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from tests_support import small_plan, sphere_case, write_spheres

DATASET = "Dataset001_Spheres"


@pytest.fixture
def home(tmp_path):
    """A workspace with six labelled cases and a tiny plan."""
    write_spheres(tmp_path / "raw" / DATASET)
    write_json(tmp_path / "prepared" / DATASET / "plan_budgeted.json", small_plan())
    return tmp_path


def write_images(folder, n=3):
    for index in range(n):
        case = sphere_case(f"scan_{index}", 40 + index)
        write_array(folder / f"{case.name}_0000.nii.gz", case.image_CDHW, case.geometry)
    return folder


def run(home, **changes):
    return pretrain([1], configuration="3d_fullres", home=home, device="cpu", workers=1, **changes)


@pytest.mark.parametrize("method", ["mae", "genesis"])
def test_a_network_is_pretrained_on_a_dataset_and_a_folder_without_the_cases_of_the_fold(home, method):
    result = run(home, folders=[write_images(home / "more")], method=method)
    used, left_out = result.images[DATASET], result.left_out[DATASET]
    assert len(used) + len(left_out) == 6 and left_out and not set(used) & set(left_out)
    assert len(result.images["more"]) == 3
    folder = Workspace.open(home).model(DATASET, "budgeted", "3d_fullres").pretraining(method)
    assert all(path.is_file() for path in (folder.sheet, folder.curves, folder.path / "model_card.md"))
    text = (folder.path / "model_card.md").read_text()
    assert all(name in text for name in (*used, *left_out))
    records = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert records[-1]["validation_loss"] > 0 and records[-1]["mean_fill_loss"] > 0
    weights, facts = load_weights(folder.checkpoint)
    assert set(facts["training"]).isdisjoint(f"{DATASET}__{name}" for name in left_out)
    assert weights["network.decoder.heads.0.weight"].shape[0] == 1  # a head per channel, none per label


def test_no_label_is_read(home):
    for label in (home / "raw" / DATASET / "labelsTr").iterdir():
        label.write_bytes(b"not an image")
    assert run(home, fold=None).held_out_error is not None


def test_a_finished_pretraining_is_read_and_restarted_on_request(home):
    first = run(home)
    folder = Workspace.open(home).model(DATASET, "budgeted", "3d_fullres").pretraining("mae")
    before = folder.checkpoint.stat().st_mtime_ns
    assert run(home) == first and folder.checkpoint.stat().st_mtime_ns == before
    run(home, restart=True)
    assert folder.checkpoint.stat().st_mtime_ns > before


@pytest.mark.parametrize("asked", [{"seed": 1}, {"fold": 1}])
def test_a_pretraining_of_another_seed_or_fold_is_not_taken_for_this_one(home, asked):
    run(home)
    with pytest.raises(UserError, match="pre-trained otherwise"):
        run(home, **asked)


def test_an_image_that_cannot_be_read_costs_no_finished_pretraining(home):
    run(home)
    folder = Workspace.open(home).model(DATASET, "budgeted", "3d_fullres").pretraining("mae")
    (home / "raw" / DATASET / "imagesTr" / "ball_00_0000.nii.gz").write_bytes(b"no image")
    with pytest.raises((UserError, ManyFaults)):
        run(home, restart=True, all_images=True)
    assert folder.is_finished and folder.is_trained


def test_two_folders_of_one_name_are_a_users_error(home):
    folders = [write_images(home / site / "images", 1) for site in ("a", "b")]
    with pytest.raises(UserError, match="two sources of images have one name.*images"):
        run(home, folders=folders)


def test_a_pretraining_says_where_it_came_from(home):
    run(home)
    folder = Workspace.open(home).model(DATASET, "budgeted", "3d_fullres").pretraining("mae")
    (made,) = json.loads((folder.path / "provenance.json").read_text())["runs"]
    assert set(made["results"]) == {"result.json", "checkpoint.safetensors"} and made["provenance"]["seed"] == 0


def test_a_finished_pretraining_of_other_images_is_not_taken_for_this_one(home):
    run(home)
    with pytest.raises(UserError, match=r"pre-trained otherwise.*3 cases.*added.*--restart"):
        run(home, folders=[write_images(home / "more")])


def test_all_images_leave_out_none_and_take_the_test_images(home):
    write_images(home / "raw" / DATASET / "imagesTs", 2)
    result = run(home, all_images=True)
    assert len(result.images[DATASET]) == 8 and not result.left_out


def test_a_dataset_of_images_alone_is_measured_and_planned(tmp_path):
    folder = tmp_path / "raw" / "Dataset002_Images"
    write_images(folder / "imagesTr", 4)
    write_json(folder / "dataset.json", {"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1},
                                         "file_ending": ".nii.gz"})
    result = pretrain([2], configuration="3d_fullres", home=tmp_path, device="cpu", workers=1, budget_seconds=2)
    assert len(result.images["Dataset002_Images"]) == 4 and len(result.held_out) == 1


def test_no_image_is_a_users_error(home):
    (home / "empty").mkdir()
    with pytest.raises(UserError, match="no image"):
        run(home, folders=[home / "empty"])


def test_another_channel_is_a_users_error(home):
    plan = small_plan(n_channels=2)
    write_json(home / "prepared" / DATASET / "plan_budgeted.json", plan)
    with pytest.raises(UserError, match="no channel of this dataset"):
        run(home)


def test_an_unknown_configuration_is_a_users_error(home):
    with pytest.raises(UserError, match="3d_fullres"):
        pretrain([1], configuration="3d_fullress", home=home, device="cpu")
