"""What the service offers of a workspace and of models in one file."""

import json
import logging

import pytest
import torch

pytest.importorskip("fastapi")
from autoseg.base.errors import UserError
from autoseg.clinical.encoders import CategoryEncoder, ConditionEncoder, NumberEncoder
from autoseg.nn.model import build_model
from autoseg.prediction.inference_settings import InferenceSettings, Member, QualityControl
from autoseg.serve.catalogue import Catalogue
from autoseg.serve.served import channels_of, columns_of
from autoseg.workspace.archive import ArchiveManifest, write_archive
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from tests_support import small_plan

NAME = "Dataset001_Spheres"
LABELS = [{"name": "sphere", "means": {"dice": {"value": 0.9}}}, {"name": "core", "means": {"dice": {"value": None}}}]


def trained(home, planner="budgeted", dice=0.8):
    """A model of one fold that has learned nothing, as a training leaves it."""
    plan = small_plan().model_copy(update={"planner": planner})
    model = Workspace.open(home).model(NAME, planner, "3d_fullres")
    write_json(model.plan, plan)
    fold = model.fold(0)
    torch.manual_seed(0)
    weights = build_model(plan, plan.configurations["3d_fullres"]).state_dict()
    save_weights(fold.checkpoint, weights, {})
    write_json(fold.result, {"mean_dice": dice, "scores": {"labels": LABELS}})
    return model


def test_the_best_configuration_of_a_dataset_is_offered_under_its_name_and_each_under_its_own(tmp_path):
    trained(tmp_path, dice=0.8)
    trained(tmp_path, "classic", dice=0.9)
    catalogue = Catalogue(tmp_path)
    best, *others = catalogue.served()
    assert best.name == NAME
    assert [model.name for model in others] == [f"{NAME}.budgeted.3d_fullres", f"{NAME}.classic.3d_fullres"]
    assert (best.title, best.dimensions, best.models, best.scores) == ("Spheres", 3, 1, {"sphere": 0.9})
    assert [(channel.name, channel.number, channel.required, channel.modality) for channel in best.channels] == [
        ("MR_0", 0, True, "MR")]
    assert [(label.name, label.values, label.color) for label in best.labels] == [
        ("sphere", (1,), "#56b4e9"), ("core", (2,), "#e69f00")]
    assert "classic" in str(catalogue.predictor(NAME, "cpu").members[0].folder)


def test_the_choice_of_cross_validation_is_offered_with_its_quality_control(tmp_path):
    trained(tmp_path)
    trained(tmp_path, "classic", dice=0.7)
    control = QualityControl(temperature=1, intercept=0, slope=1, review_below=0.5, correlation=None, n=9)
    member = Member(planner="budgeted", configuration="3d_fullres", folds=("0",))
    write_json(tmp_path / "models" / NAME / "inference.json",
               InferenceSettings(dataset=NAME, members=(member,), quality_control=control))
    chosen, *single = Catalogue(tmp_path).served()
    assert (chosen.name, chosen.quality, [model.quality for model in single]) == (NAME, True, [False, False])


def test_a_model_that_is_alone_is_offered_once(tmp_path):
    trained(tmp_path)
    assert [model.name for model in Catalogue(tmp_path).served()] == [NAME]


def test_a_damaged_model_is_left_out_with_a_sentence_and_the_others_stay(tmp_path, caplog):
    trained(tmp_path)
    broken = trained(tmp_path, "classic")
    broken.plan.write_text("{")
    with caplog.at_level(logging.WARNING):
        assert [model.name for model in Catalogue(tmp_path).served()] == [NAME]
    assert "classic/3d_fullres is not offered" in caplog.text


def test_what_is_trained_meanwhile_is_offered_and_what_is_removed_is_not(tmp_path):
    catalogue = Catalogue(tmp_path)
    assert catalogue.served() == []
    model = trained(tmp_path)
    assert len(catalogue.served()) == 1
    model.fold(0).result.write_text(json.dumps({"mean_dice": 0.5, "scores": {"labels": []}}))
    assert catalogue.find(NAME).scores == {}
    model.fold(0).checkpoint.unlink()
    assert catalogue.served() == []


def test_a_model_in_one_file_is_offered_under_the_name_of_the_file(tmp_path, caplog):
    trained(tmp_path / "inside")
    path = tmp_path / "my liver.zip"
    write_archive(path, tmp_path / "inside", ArchiveManifest(dataset=NAME))
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(path.read_bytes()[:-100])
    catalogue = Catalogue(tmp_path / "home", (path, damaged, path))
    assert [model.name for model in catalogue.served()] == ["my_liver", "my_liver-2"]
    assert "damaged.zip is not offered" in caplog.text
    assert catalogue.predictor("my_liver", "cpu").channels == ("MR_0",)


def test_a_model_that_is_not_there_is_said_with_those_that_are(tmp_path):
    trained(tmp_path)
    with pytest.raises(UserError, match="did you mean 'Dataset001_Spheres'"):
        Catalogue(tmp_path).predictor("Dataset001_Sphere", "cpu")


def test_a_channel_that_training_never_did_without_is_required():
    plan = small_plan(n_channels=3).model_copy(update={"channels": (
        ChannelSpec(name="CT"), ChannelSpec(name="PET", required=False),
        ChannelSpec(name="MR_T1", required=False, reference=True)), "modality_columns": {"CT": "Scanner"}})
    assert [(channel.name, channel.required, channel.modality, channel.unit) for channel in channels_of(plan)] == [
        ("CT", True, "", ""), ("PET", False, "PT", "SUV"), ("MR_T1", True, "MR", "")]


def test_columns_are_those_that_a_network_knows_with_no_rare_category():
    specs = tuple(ConditionSpec(name=name, kind=kind) for name, kind in (
        ("age", "number"), ("sex", "category"), ("genes", "vector"), ("unused", "number")))
    plan = small_plan().model_copy(update={"conditions": ConditionTable(specs=specs)})
    encoder = ConditionEncoder(parts=(NumberEncoder(name="age", median=60, std=1),
                                      CategoryEncoder(name="sex", categories=("f", "m"), rare=("x",))))
    assert [(column.name, column.kind, column.categories) for column in columns_of(plan, [encoder])] == [
        ("age", "number", ()), ("sex", "category", ("f", "m"))]
