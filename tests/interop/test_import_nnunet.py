"""What is imported of nnU-Net's models, and what is refused."""

import copy
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import nnunet_layout as layout
from autoseg.base.errors import UserError
from autoseg.cli import import_model
from autoseg.datasets.manifest import parse_manifest
from autoseg.interop.imported import ImportedModel
from autoseg.interop.nnunet_model import Wanted, import_nnunet
from autoseg.interop.nnunet_plans import plan_of
from autoseg.interop.nnunet_results import _TRAINER
from autoseg.training.source import open_source
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.schema.base import Part

CONFIGURATION = layout.configuration(patch=(8, 8, 8))
PLANS = layout.plans({"3d_fullres": CONFIGURATION})
NETWORK = layout.random_unet(CONFIGURATION["architecture"]["arch_kwargs"], 1, 3)
FINAL = "fold_0/checkpoint_final.pth"


def written(tmp_path, *, plans=PLANS, dataset=None, network=NETWORK, **more) -> Path:
    """The results folder of a model with one fold."""
    checkpoint = layout.checkpoint(network, plans, "3d_fullres", **more)
    layout.write_model(tmp_path / "results", plans, dataset or layout.dataset_json(), {FINAL: checkpoint})
    return tmp_path / "results"


def imported(tmp_path, source: Path, **wanted):
    return import_nnunet(source, Workspace(tmp_path / "home"), Wanted(**wanted))


def changed(**changes):
    """The plans with other values of the configuration, or (`arch_`) of the network's arguments."""
    plans = copy.deepcopy(PLANS)
    configuration = plans["configurations"]["3d_fullres"]
    for key, value in changes.items():
        if key.startswith("arch_"):
            configuration["architecture"]["arch_kwargs"][key.removeprefix("arch_")] = value
        else:
            configuration[key] = value
    return plans


def test_a_zip_a_model_folder_and_prefixed_names_give_the_same_weights(tmp_path):
    source = written(tmp_path)
    model = next(source.iterdir())
    with zipfile.ZipFile(tmp_path / "m.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in model.rglob("*"):
            zipped.write(path, f"nnUNet_results/Dataset321_Tiny/{model.name}/{path.relative_to(model)}")
    plain = load_weights(imported(tmp_path / "a", source)[0].model.fold(0).checkpoint)
    for number, other in enumerate((model, tmp_path / "m.zip", written(tmp_path / "compiled", prefix="_orig_mod."),
                                    written(tmp_path / "ddp", prefix="module._orig_mod."))):
        weights = load_weights(imported(tmp_path / f"b{number}", other)[0].model.fold(0).checkpoint)
        assert weights[1] == plain[1] and all(torch.equal(plain[0][name], weights[0][name]) for name in plain[0])


def test_the_record_says_where_the_model_came_from(tmp_path):
    (model,) = imported(tmp_path, written(tmp_path))
    record = read_model(model.model.imported, ImportedModel)
    assert (record.program, record.trainer, record.plans) == ("nnU-Net v2", "nnUNetTrainer", "nnUNetPlans")
    assert record.folds["0"].checkpoint == "checkpoint_final.pth" and record.folds["0"].epoch == 1000
    assert (model.model.dataset, model.model.planner) == ("Dataset321_Tiny", "nnUNetTrainer__nnUNetPlans")


@pytest.mark.parametrize(("axes", "expected"), [((0, 1), (0, 1)), (None, ()), ((), ())])
def test_mirroring_is_along_the_axes_that_the_checkpoint_allows(tmp_path, axes, expected):
    (model,) = imported(tmp_path, written(tmp_path, axes=axes))
    assert model.model.read_plan().configurations["3d_fullres"].mirror_axes == expected


def test_the_best_checkpoint_is_taken_where_asked_for_or_where_no_fold_has_a_final_one(tmp_path):
    other = layout.random_unet(CONFIGURATION["architecture"]["arch_kwargs"], 1, 3, seed=5)
    best = layout.checkpoint(other, PLANS, "3d_fullres")
    source = written(tmp_path)
    layout.write_model(source, PLANS, layout.dataset_json(), {"fold_0/checkpoint_best.pth": best,
                                                              "fold_1/checkpoint_best.pth": best})
    (model,) = imported(tmp_path / "final", source)
    assert model.model.folds == ("0",) and model.record.remarks == ("fold 1 has no such checkpoint and is left out",)
    (model,) = imported(tmp_path / "best", source, kind="best")
    assert model.model.folds == ("0", "1")
    (next(source.iterdir()) / FINAL).unlink()
    (model,) = imported(tmp_path / "neither", source)
    assert {fold.checkpoint for fold in model.record.folds.values()} == {"checkpoint_best.pth"}


def test_validation_scores_of_nnunet_are_kept(tmp_path):
    source = written(tmp_path)
    validation = next(source.iterdir()) / "fold_0" / "validation"
    validation.mkdir()
    (validation / "summary.json").write_text(json.dumps({"foreground_mean": {"Dice": 0.75}}))
    assert imported(tmp_path, source)[0].model.mean_dice() == 0.75


def test_postprocessing_is_never_unpickled_and_said_to_be_left_out(tmp_path):
    source = written(tmp_path)
    (source / "postprocessing.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    (model,) = imported(tmp_path, source)
    assert "postprocessing.pkl of nnU-Net are not used" in model.record.remarks[0]


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainer_250epochs", "nnUNetTrainerNoMirroring",
                                     "nnUNetTrainerDA5", "nnUNetTrainer_4000epochs_NoMirroring",
                                     "nnUNetTrainer_DASegOrd0_NoMirroring",
                                     "nnUNetTrainer_onlyMirror01_1500ep", "nnUNetTrainerVanillaAdam3en4",
                                     "nnUNetTrainerDiceCELoss_noSmooth", "nnUNetTrainer_probabilisticOversampling_010"])
def test_trainers_that_keep_the_network_are_known(trainer):
    assert _TRAINER.fullmatch(trainer)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerBN", "nnUNetTrainerUMambaBot", "MyTrainer", "nnUNetTrainer_Mine"])
def test_a_custom_trainer_is_named_and_refused(tmp_path, trainer):
    with pytest.raises(UserError, match=f"by a trainer that is not known here.*found: {trainer};"):
        imported(tmp_path, written(tmp_path, trainer=trainer))
    assert not list(tmp_path.glob("home/models/*/*/*"))


def test_a_trainer_whose_name_can_be_read_in_a_billion_of_forms_is_refused_at_once(tmp_path):
    with pytest.raises(UserError, match="by a trainer that is not known here"):
        imported(tmp_path, written(tmp_path, trainer="nnUNetTrainer" + "Adam1en1111ep" * 60 + "Mine"))


def test_plans_of_another_form_are_refused(tmp_path):
    source = written(tmp_path)
    (path,) = source.rglob("plans.json")
    path.write_text(json.dumps({**PLANS, "configurations": {"3d_fullres": ["a"]}}))
    with pytest.raises(UserError, match="the plans are not as nnU-Net v2 writes them"):
        imported(tmp_path, source)


@pytest.mark.parametrize(("changes", "found"), [
    ({"arch_nonlin": "torch.nn.ReLU"}, "nonlin = ReLU"),
    ({"arch_nonlin_kwargs": {"negative_slope": 0.2}}, "slope of nonlin = 0.2"),
    ({"arch_norm_op": "torch.nn.modules.batchnorm.BatchNorm3d"}, "norm_op = BatchNorm3d"),
    ({"arch_norm_op_kwargs": {"eps": 1e-3}}, "eps of norm_op = 0.001"),
    ({"arch_squeeze_excitation": True}, "squeeze_excitation = True"),
    ({"architecture": {"network_class_name": "my.models.Mamba", "arch_kwargs": {}}}, "network my.models.Mamba"),
    ({"architecture": {"network_class_name": "my.PlainConvUNet", "arch_kwargs": {}}}, "network my.PlainConvUNet"),
    ({"normalization_schemes": ["MyNormalization"]}, "found: MyNormalization"),
    ({"resampling_fn_data": "resample_torch_fornnunet"}, "resampling of data .*found: resample_torch_fornnunet"),
    ({"preprocessor_name": "MyPreprocessor"}, "found: MyPreprocessor"), ({"spacing": None}, "plans are not as nnU-Net v2"),
    ({"normalization_schemes": []}, "other channels than dataset.json"), ({"arch_n_stages": 10**9}, "n_stages = 1000000000"),
    ({"spacing": [float("inf")] * 3, "patch_size": [float("inf")] * 3}, "plans are not as nnU-Net v2 writes them"),
    ({"arch_features_per_stage": [10**6, 10**6, 10**6]}, "is too large for the memory")])
def test_what_has_no_counterpart_is_named_and_refused(tmp_path, changes, found):
    with pytest.raises(UserError, match=found):
        imported(tmp_path, written(tmp_path, plans=changed(**changes)))


def test_another_reader_is_named_and_a_turning_one_turns_images(tmp_path):
    with pytest.raises(UserError, match="reader of images .*found: MyIO"):
        imported(tmp_path, written(tmp_path, plans={**PLANS, "image_reader_writer": "MyIO"}))
    (model,) = imported(tmp_path, written(tmp_path / "b", plans={**PLANS, "image_reader_writer": "NibabelIOWithReorient"}))
    assert model.model.read_plan().orientation == "RAS"


def test_weights_that_are_not_those_of_the_plans_are_refused(tmp_path):
    wider = changed(arch_features_per_stage=[4, 6, 10])
    with pytest.raises(UserError, match=r"fold 0 cannot be imported .*stages\.2\.0\.convs\.0\.conv\.weight has shape"):
        imported(tmp_path, written(tmp_path, plans=wider))
    network = copy.deepcopy(NETWORK)
    network.attention = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"attention\.weight is not known"):
        imported(tmp_path, written(tmp_path / "b", network=network))


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_missing_file_of_the_model_is_named(tmp_path, name):
    source = written(tmp_path)
    (next(source.iterdir()) / name).unlink()
    with pytest.raises(UserError, match=f"{name}: the file is missing"):
        imported(tmp_path, source)


def test_a_folder_without_a_model_says_what_was_expected(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(UserError, match="no trained model of nnU-Net v2 here .*found: 0 files"):
        imported(tmp_path, tmp_path / "results")


@pytest.mark.parametrize(("other", "found"), [
    ({"trainer": "nnUNetTrainer_50epochs"}, "trainer nnUNetTrainer_50epochs in fold 1, nnUNetTrainer in fold 0"),
    ({"axes": (0,)}, r"mirror axes \(0,\) in fold 1"),
    ({"plans": changed(patch_size=[16, 16, 16])}, "different: patch_size")])
def test_folds_that_disagree_are_refused_and_nothing_is_left(tmp_path, other, found):
    source = written(tmp_path)
    plans = other.pop("plans", PLANS)
    torch.save(layout.checkpoint(NETWORK, plans, "3d_fullres", 1, **other), _fold(source, 1))
    with pytest.raises(UserError, match=found):
        imported(tmp_path, source)
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def _fold(source: Path, number: int) -> Path:
    path = next(source.iterdir()) / f"fold_{number}" / "checkpoint_final.pth"
    path.parent.mkdir()
    return path


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    source = written(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}}, next(source.iterdir()) / FINAL)
    with pytest.raises(UserError, match=r"the checkpoint is not one of nnU-Net v2 .*found: keys state_dict"):
        imported(tmp_path, source)


def test_a_model_that_is_there_is_not_replaced_and_a_number_makes_room(tmp_path):
    source = written(tmp_path)
    imported(tmp_path, source)
    with pytest.raises(UserError, match="a model of this name is there already"):
        imported(tmp_path, source)
    assert imported(tmp_path, source, number=7)[0].model.dataset == "Dataset007_Tiny"
    (tmp_path / "home" / "raw" / "Dataset009_Mine").mkdir(parents=True)
    assert imported(tmp_path, source, number=9)[0].model.dataset == "Dataset009_Mine"


def test_a_number_that_another_dataset_has_is_a_question(tmp_path):
    (tmp_path / "home" / "raw" / "Dataset321_Other").mkdir(parents=True)
    with pytest.raises(UserError, match="another dataset has the number .*found: Dataset321_Other; expected: Dataset321_T"):
        imported(tmp_path, written(tmp_path))


def test_plans_of_the_first_releases_give_the_same_configuration():
    new, old = changed(), changed()
    configuration = old["configurations"]["3d_fullres"]
    arguments = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 6,
                      "conv_kernel_sizes": arguments["kernel_sizes"], "pool_op_kernel_sizes": arguments["strides"],
                      "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
                      "num_pool_per_axis": [2, 2, 2]}
    arguments = new["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments |= {"features_per_stage": [4, 6, 6], "strides": [1, 2, 2]}
    assert _planned(old) == _planned(new)


def _planned(plans, dataset=None, names=("3d_fullres",)):
    manifest = parse_manifest(json.dumps(dataset or layout.dataset_json()), Path("dataset.json")).manifest
    return plan_of(plans, manifest, names, dataset="Dataset321_Tiny", planner="p")


def test_outputs_are_in_the_order_of_the_values_of_labels():
    plan = _planned(PLANS, layout.dataset_json({"background": 0, "tumour": 2, "organ": 1}))
    assert plan.labels.heads == ("background", "organ", "tumour")


def test_a_configuration_inherits_from_another_and_not_from_itself():
    big = {"inherits_from": "3d_fullres", "batch_size": 9}
    plans = {**PLANS, "configurations": {**PLANS["configurations"], "big": big}}
    assert _planned(plans, names=["big"]).configurations["big"].batch == 9
    plans["configurations"]["a"] = {"inherits_from": "b"}
    plans["configurations"]["b"] = {"inherits_from": "a"}
    with pytest.raises(UserError, match="the plans lack a configuration"):
        _planned(plans, names=["a"])


def test_normalisation_keeps_spikes_and_takes_the_mask_of_the_plans():
    plan = _planned(changed(use_mask_for_norm=[True]))
    assert plan.configurations["3d_fullres"].normalizers == (Part(name="zscore_masked", options={"spikes": "kept"}),)
    assert np.isclose(plan.intensities[0].percentile_99_5, 400)


def test_a_training_can_begin_from_an_imported_model(tmp_path):
    (model,) = imported(tmp_path, written(tmp_path))
    source = open_source(model.model.path, 0)
    assert source.name == "3d_fullres" and source.meaning.heads == ("background", "organ", "tumour")
    assert not source.names_its_cases  # so that a training warns: its score may be too good


def test_the_command_says_what_was_imported_and_how_to_predict(tmp_path, capsys):
    home = str(tmp_path / "home")
    assert import_model.main(["nnunet", str(written(tmp_path)), "--home", home]) == 0
    printed = capsys.readouterr().out
    assert "Dataset321_Tiny 3d_fullres (nnUNetTrainer__nnUNetPlans) of nnU-Net v2, fold 0 (checkpoint_final.pth)" in printed
    assert "autoseg_predict -i IMAGES -o MASKS -d 321 -c 3d_fullres -p nnUNetTrainer__nnUNetPlans" in printed


@pytest.mark.parametrize(("words", "message"), [
    (["nnunet"], "one path is needed"),
    (["torchvision", "x"], "found: torchvision; expected: a zip of autoseg_export_model, or nnunet, nnssl"),
    (["nnunet", "none", "-c", "2d"], "there is nothing to import")])
def test_the_command_refuses_in_a_sentence(tmp_path, capsys, words, message):
    assert import_model.main([*words, "--home", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_one_configuration_is_chosen_by_its_name(tmp_path):
    source = written(tmp_path)
    with pytest.raises(UserError, match="this configuration is not among the models here .*expected: 2d"):
        imported(tmp_path, source, configuration="2d")
    assert len(imported(tmp_path, source, configuration="3d_fullres")) == 1


def test_a_pickle_in_place_of_a_checkpoint_is_refused(tmp_path):
    source = written(tmp_path)
    (next(source.iterdir()) / FINAL).write_bytes(pickle.dumps({"network_weights": print}))
    with pytest.raises(UserError, match=r"checkpoint_final\.pth: the (checkpoint holds more|file is no checkpoint)"):
        imported(tmp_path, source)
