"""The circle: a model's corrected masks become cases, and the model is trained on them further."""

import pytest

from autoseg.cli import plan_and_preprocess, train, verify
from autoseg.formats import write_array, write_label
from autoseg.interop.collect import GivenLabel, Source, add_correction
from autoseg.interop.collected import collecting_folder
from autoseg.workspace.names import Workspace
from tests_support import sphere_case


@pytest.mark.slow
def test_a_model_is_trained_further_on_two_corrections(trained, tmp_path, capsys):
    workspace = Workspace.open(trained.home)
    model = next(model for model in workspace.models() if model.dataset.startswith("Dataset001"))
    folder = collecting_folder(workspace, "Corrections")
    for number in range(2):
        case = sphere_case(f"new{number}", 90 + number)
        image, label = tmp_path / f"{number}_image.nii.gz", tmp_path / f"{number}_label.nii.gz"
        write_array(image, case.image_CDHW, case.geometry)
        write_label(label, case.label_DHW, case.geometry)
        add_correction(folder, model.read_plan(), {model.read_plan().channels[0].name: image}, GivenLabel(label), {},
                       Source("anna", model=model.dataset))
    home = ["--home", str(trained.home)]
    assert verify.main(["-d", "Corrections", *home]) == 0
    assert plan_and_preprocess.main(["-d", "Corrections", "--like", str(model.path), "--device", "cpu", *home]) == 0
    planner = f"like_{model.planner}"
    assert train.main(["Corrections", model.configuration, "all", "-p", planner, "--from", str(model.path),
                       "--device", "cpu",
                       "--set", "schedule.iterations=4", "--set", "schedule.iterations_per_epoch=2", *home]) == 0
    further = workspace.model(folder.name, planner, model.configuration)
    assert further.folds == ("all",) and (further.fold("all").path / "transfer.json").is_file()
