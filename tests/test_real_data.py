"""Real data through the commands: geometry survives, grids that differ are named, every format trains."""

import shutil
from pathlib import Path

from autoseg.cli import plan_and_preprocess, predict, train
from autoseg.formats import read_image, read_label
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan
from real_cases import some_cases

SHORT = ["--set", "schedule.iterations=4", "--set", "schedule.iterations_per_epoch=4",
         "--set", "schedule.validation_mirroring=false"]


def run_all(home: Path, configuration: str, masks: Path, images: Path) -> None:
    common = ["--home", str(home), "--device", "cpu"]
    assert plan_and_preprocess.main(["-d", "1", "-c", configuration, "--budget", "60s", "--workers", "1", *common]) == 0
    workspace = Workspace(home)
    plan = read_model(workspace.plan(workspace.dataset(1), "budgeted"), Plan)
    narrow = [4] * len(plan.configurations[configuration].architecture.channels)  # a network that trains in seconds
    assert train.main(["1", configuration, "0", *SHORT, "--set", f"architecture.features={narrow}", *common]) == 0
    assert predict.main(["-i", str(images), "-o", str(masks), "--mirroring", "off", *common]) == 0


def test_a_ct_of_thick_slices_comes_back_on_its_own_grid(shared_data, tmp_path):
    sample = shared_data / "samples" / "spleen_crop"
    image = next(path for path in sorted(sample.rglob("*.nii.gz")) if "label" not in path.name and "seg" not in path.name)
    label = next(path for path in sorted(sample.rglob("*.nii.gz")) if path != image)
    raw = tmp_path / "raw" / "Dataset001_Spleen"
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for index in range(5):
        shutil.copy(image, raw / "imagesTr" / f"spleen_{index}_0000.nii.gz")
        shutil.copy(label, raw / "labelsTr" / f"spleen_{index}.nii.gz")
    write_json(raw / "dataset.json", {"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1},
                                      "numTraining": 5, "file_ending": ".nii.gz"})
    run_all(tmp_path, "3d_fullres", tmp_path / "masks", raw / "imagesTr" / "spleen_0_0000.nii.gz")
    predicted, geometry = read_label(tmp_path / "masks" / "spleen_0.nii.gz")
    original = read_image(image)[1]
    assert geometry == original
    assert predicted.shape == original.shape


def test_hippocampi_train_and_predict(shared_data, tmp_path):
    raw = tmp_path / "raw" / "Dataset001_Hippocampus"
    some_cases(shared_data / "Dataset004_Hippocampus", raw, 6, ".nii.gz")
    run_all(tmp_path, "3d_fullres", tmp_path / "masks", raw / "imagesTr")
    for mask in (tmp_path / "masks").glob("*.nii.gz"):
        image = raw / "imagesTr" / mask.name.replace(".nii.gz", "_0000.nii.gz")
        assert read_label(mask)[1] == read_image(image)[1]


def test_membranes_train_and_predict_as_flat_png(shared_data, tmp_path):
    raw = tmp_path / "raw" / "Dataset001_Membrane"
    some_cases(shared_data / "Dataset020_Membrane", raw, 5, ".png")
    run_all(tmp_path, "2d", tmp_path / "masks", next((raw / "imagesTr").iterdir()))
    assert read_label(next((tmp_path / "masks").glob("*.png")))[0].shape == (1, 512, 512)


def test_channels_on_different_grids_are_named(shared_data, tmp_path, capsys):
    raw = tmp_path / "raw" / "Dataset001_STS"
    some_cases(shared_data / "Dataset010_STS", raw, 1, ".nii.gz")
    assert plan_and_preprocess.main(["-d", "1", "--home", str(tmp_path), "--workers", "1"]) == 2
    message = capsys.readouterr().err
    assert "PET" in message and "MR" in message and "spacing" in message
    assert "Traceback" not in message
    assert not list((tmp_path / "prepared").rglob("*"))
