"""What is written of ensembles, cascades, conditions and transfers when a model is given away, and what is left behind."""

import csv
import json
import logging
import pickle
import zipfile

import numpy as np
import pytest
import torch

from autoseg.base.errors import ManyFaults, UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import fit_encoder
from autoseg.formats import write_array
from autoseg.formats.files import digest
from autoseg.interop.archive_import import import_archive
from autoseg.interop.share import HIDDEN, cleaned_encoder, mentions
from autoseg.nn.model import build_model
from autoseg.prediction.folder import QUALITY, predict_folder
from autoseg.prediction.inference_settings import InferenceSettings, Member, Postprocessing, QualityControl
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.trained_with import KEY, InitialWeights, TrainedWith
from autoseg.reporting.share import export_model
from autoseg.workspace.archive import opened
from autoseg.workspace.checkpoint import read_facts, save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from planners.schema.base import Part
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.plan import Transfer
from predict_phantoms import CASE
from tests_support import small_plan, write_spheres

DATASET = "Dataset001_Spheres"
CASES = ("mueller_hans", "smith_jane", "ball_00")
RULE = QualityControl(temperature=1.5, intercept=0.0, slope=1.0, review_below=2.0, correlation=0.7, n=12)
TABLE = ConditionTable(table="patients_of_doctor_x.csv", id="case", specs=(
    ConditionSpec(name="age", kind="number"), ConditionSpec(name="site", kind="category")))
SITES = ["north", "north", "north", "south", "south", "moon"]


def add_model(workspace, configuration, folds=(0,), *, encoder=None, transfer=None, conditions=TABLE, **changes):
    """Finished folds that have learned nothing and know the names of patients; the member that names them."""
    plan = small_plan(mirror_axes=(), transfer=transfer, **changes)
    plan = plan.model_copy(update={"configurations": {configuration: plan.configurations["3d_fullres"]},
                                   "conditions": conditions, "reasons": ("smith_jane is the largest case",)})
    write_json(workspace.model(DATASET, plan.planner, configuration).plan, plan.with_content_hash())
    digests = []
    for fold in folds:
        torch.manual_seed(fold)
        folder = workspace.fold(DATASET, plan.planner, configuration, fold)
        layout = () if encoder is None else (encoder.layout,)
        weights = build_model(plan, plan.configurations[configuration], *layout).state_dict()
        if encoder is not None:  # a conditioner starts as the identity
            weights = {name: tensor + 0.1 if name.startswith("conditioning") else tensor for name, tensor in weights.items()}
        trained = TrainedWith(plan=plan, training=CASES[:1], validation=CASES[1:],
                              cases={name: {"image": "secret_digest"} for name in CASES},
                              initial_weights=InitialWeights(digest="0123", seen=("Dataset002_Old__kim_lee",),
                                                             images=("old_image_digest",)))
        save_weights(folder.checkpoint, weights, {
            "configuration": configuration, "fold": fold, "training": list(CASES[:1]), "note": "of smith_jane",
            "encoder": None if encoder is None else encoder.model_dump(mode="json"), KEY: trained.model_dump(mode="json")})
        write_json(folder.result, {"mean_dice": 0.5})
        digests.append(digest(folder.checkpoint))
    return Member(planner=plan.planner, configuration=configuration, folds=tuple(map(str, folds)), digests=tuple(digests))


@pytest.fixture
def workspace(tmp_path):
    write_array(tmp_path / "images" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    return Workspace(tmp_path / "home")


def choose(workspace, *members):
    write_json(workspace.inference_settings(DATASET), InferenceSettings(
        dataset=DATASET, members=members, postprocessing=Postprocessing(keep_largest_of_all=True), quality_control=RULE,
        reasons=("it is better on mueller_hans", "it is the best")))


def exported(workspace, tmp_path, **options):
    return export_model(workspace, 1, tmp_path / "away" / "model.zip", **options)


def same_prediction(workspace, archive, tmp_path, table=None, **flags):
    """Masks, probabilities, uncertainties and quality are the same files, whichever of both predicts."""
    at_home = Predictor.open(home=workspace.home, device="cpu", **flags)
    away = Predictor.open(folder=archive, device="cpu", **flags)
    for predictor, target in ((at_home, "at_home"), (away, "away_masks")):
        predict_folder(predictor, tmp_path / "images", tmp_path / target, probabilities=True, uncertainty=True, table=table)
    files = {path.name: path.read_bytes() for path in (tmp_path / "at_home").glob("*.nii.gz")}
    assert len(files) == 4
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "away_masks").glob("*.nii.gz")}
    quality = [json.loads((tmp_path / target / QUALITY).read_text())["cases"] for target in ("at_home", "away_masks")]
    assert quality[0] == quality[1]
    return quality[0]


def test_an_ensemble_with_a_cascade_predicts_the_same_bits_with_the_same_quality(workspace, tmp_path):
    low = add_model(workspace, "3d_lowres", (0, 1), spacing_mm=(2.0, 2.0, 2.0))
    cascade = add_model(workspace, "3d_cascade", (0, 1), previous="3d_lowres").model_copy(update={"previous": low})
    choose(workspace, add_model(workspace, "3d_fullres", (0, 1)), cascade)
    (quality,) = same_prediction(workspace, exported(workspace, tmp_path), tmp_path)
    assert quality["needs_review"] is True


def test_a_model_in_one_file_is_opened_from_python_and_again_in_another_process(workspace, tmp_path):
    other = add_model(workspace, "3d_lowres", spacing_mm=(2.0, 2.0, 2.0))
    choose(workspace, add_model(workspace, "3d_fullres", (0, 1)), other)
    predictor = Predictor.open(exported(workspace, tmp_path), device="cpu")
    again = pickle.loads(pickle.dumps(predictor))
    assert again.identity == predictor.identity
    assert np.array_equal(again.predict(CASE).label_DHW, predictor.predict(CASE).label_DHW)


def test_messages_name_the_file_of_a_model_and_never_a_temporary_folder(workspace, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    caplog.set_level(logging.INFO)
    choose(workspace, add_model(workspace, "3d_fullres", (0, 1)))
    archive = exported(workspace, tmp_path)
    Predictor.open(archive, device="cpu")
    Predictor.open(archive, device="cpu", folds=["1"])
    assert f"as {archive}/models/{DATASET}/inference.json says" in caplog.text
    with pytest.raises(UserError, match="model.zip") as error:
        Predictor.open(archive, device="cpu", folds=["7"])
    with pytest.raises(ManyFaults, match="model.zip/models: 2 faults") as faults, opened(archive) as (inside, _):
        raise ManyFaults(inside.models_root, [f"{inside.models_root}/a is bad", "b is bad"])
    shown = "\n".join([caplog.text, str(error.value), str(faults.value)])
    assert "scratch" not in shown and ".partial" not in shown
    logging.getLogger("autoseg").warning("see %s", tmp_path / "scratch")
    assert f"see {tmp_path / 'scratch'}" in caplog.text, "afterwards nothing is renamed"


@pytest.mark.parametrize("flags", [{"configuration": "3d_cascade"}, {"configuration": "3d_cascade", "folds": ["1"]}])
def test_what_is_named_is_exported_as_it_would_be_predicted(workspace, tmp_path, flags):
    add_model(workspace, "3d_lowres", (0,), spacing_mm=(2.0, 2.0, 2.0))
    add_model(workspace, "3d_cascade", (0, 1), previous="3d_lowres")
    add_model(workspace, "3d_fullres")
    archive = exported(workspace, tmp_path, **flags)
    same_prediction(workspace, archive, tmp_path, **flags)
    with opened(archive) as (inside, _):
        assert {model.configuration for model in inside.models()} == {"3d_cascade", "3d_lowres"}


def encoder_of(sites=SITES):
    return fit_encoder(TABLE, [CaseConditions(values={"age": 40.0 + number, "site": site})
                               for number, site in enumerate(sites)])


def with_table(workspace, tmp_path):
    raw = write_spheres(workspace.home / "raw" / DATASET, n_cases=6)
    for path, rows in ((raw / TABLE.table, [(f"ball_{n:02}", 40 + n, site) for n, site in enumerate(SITES)]),
                       (tmp_path / "new.csv", [("ball", 47, "south")]), (tmp_path / "known.csv", [("ball", 47, "north")])):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([("case", "age", "site"), *rows])


def test_a_model_with_conditions_predicts_the_same_bits_from_a_table(workspace, tmp_path):
    with_table(workspace, tmp_path)
    choose(workspace, add_model(workspace, "3d_fullres", encoder=encoder_of(), conditioning=Part(name="film")))
    archive = exported(workspace, tmp_path)
    same_prediction(workspace, archive, tmp_path, table=tmp_path / "known.csv")


def test_values_of_fewer_than_three_cases_are_not_named_unless_one_asks_for_it(workspace, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    with_table(workspace, tmp_path)
    choose(workspace, add_model(workspace, "3d_fullres", encoder=encoder_of(), conditioning=Part(name="film")))
    archive = exported(workspace, tmp_path)
    assert "column site: 1 values of fewer than 3 patients are not named" in caplog.text
    content = every_byte(archive)
    assert b"north" in content and b"south" not in content and b"moon" not in content
    assert b"taken for any other value: 1 of site" in content
    assert b"south" in every_byte(exported(workspace, tmp_path, rare_values="name"))
    same_prediction(workspace, tmp_path / "away" / "model.zip", tmp_path, table=tmp_path / "new.csv")


def test_several_cases_of_one_patient_are_one_where_rare_values_are_counted(workspace, tmp_path):
    with_table(workspace, tmp_path)
    raw = workspace.home / "raw" / DATASET
    rows = (raw / TABLE.table).read_text().splitlines()
    patients = ["patient", "Ms_Noether", "Ms_Noether", "ms_noether", "b", "c", "d"]
    (raw / TABLE.table).write_text("\n".join(f"{row},{patient}" for row, patient in zip(rows, patients, strict=True)) + "\n")
    description = json.loads((raw / "dataset.json").read_text())
    write_json(raw / "dataset.json", {**description, "groups": {"patient": "patient"}, "conditions": {
        "table": TABLE.table, "id": "case", "columns": {"age": {"kind": "number"}, "site": {"kind": "category"}}}})
    choose(workspace, add_model(workspace, "3d_fullres", encoder=encoder_of(), conditioning=Part(name="film")))
    content = every_byte(exported(workspace, tmp_path))
    assert b"north" not in content, "three cases have it, of one patient"
    reasons = {"reasons": ("it is better on MS_NOETHER",)}
    settings = read_model(workspace.inference_settings(DATASET), InferenceSettings)
    write_json(workspace.inference_settings(DATASET), settings.model_copy(update=reasons))
    with pytest.raises(UserError, match=r"would name a case, a patient.*Ms_Noether"):
        exported(workspace, tmp_path)


def test_a_folder_of_this_machine_is_found_as_json_spells_it(tmp_path):
    write_array(tmp_path / "images" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    workspace = Workspace(tmp_path / "h\u00f4me")
    choose(workspace, add_model(workspace, "3d_fullres"))
    settings = read_model(workspace.inference_settings(DATASET), InferenceSettings)
    write_json(workspace.inference_settings(DATASET), settings.model_copy(update={
        "reasons": (f"as {workspace.home} says",)}))
    with pytest.raises(UserError, match="or a folder of this machine"):
        exported(workspace, tmp_path)


def test_the_card_counts_the_cases_of_the_dataset_and_not_those_of_a_pre_training(workspace, tmp_path):
    choose(workspace, add_model(workspace, "3d_fullres", (0, 1)))
    assert b"## Training data\n\n3 cases." in every_byte(exported(workspace, tmp_path))


def test_without_the_table_nobody_knows_which_values_are_rare(workspace, tmp_path):
    choose(workspace, add_model(workspace, "3d_fullres", encoder=encoder_of(), conditioning=Part(name="film")))
    with pytest.raises(UserError, match=r"how many patients have each is not known.*column site.*--rare_values name"):
        exported(workspace, tmp_path)


def test_a_hidden_category_is_any_other_value_and_widths_stay():
    encoder = encoder_of()
    cleaned = cleaned_encoder(encoder, {"site": frozenset({"south"})})
    assert cleaned.layout == encoder.layout
    site = cleaned.parts[1]
    assert site.categories[0] == "north" and "south" not in site.categories and site.rare == (HIDDEN,)
    other = encoder.parts[1].encode("mars")
    assert all(np.array_equal(a, b) for a, b in zip(site.encode("south"), other, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(site.encode("north"), encoder.parts[1].encode("north"), strict=True))


def every_byte(archive) -> bytes:
    with zipfile.ZipFile(archive) as file:
        return b"\n".join(entry.filename.encode() + file.read(entry) for entry in file.infolist())


def test_no_patient_is_in_the_file_and_what_a_prediction_needs_is(workspace, tmp_path):
    transfer = Transfer(source="/data/hospital/models/Dataset002_Old")
    choose(workspace, add_model(workspace, "3d_fullres", (0, 1), transfer=transfer))
    archive = exported(workspace, tmp_path)
    content = every_byte(archive)
    for word in (*CASES, "kim_lee", "secret_digest", "hospital", "patients_of_doctor_x", str(tmp_path), "old_image_digest"):
        assert word.encode() not in content, word
    assert b"it is the best" in content and b"0123" in content
    with opened(archive) as (inside, manifest):
        settings = read_model(inside.inference_settings(DATASET), InferenceSettings)
        assert (settings.quality_control, settings.postprocessing.keep_largest_of_all) == (RULE, True)
        facts = read_facts(inside.fold(DATASET, "budgeted", "3d_fullres", 0).checkpoint)
        assert facts[KEY]["training"] == [] and facts["fold"] == 0
        assert manifest.plugins == ()
    same_prediction(workspace, archive, tmp_path)


def test_a_label_with_the_name_of_a_case_elsewhere_stops_the_export(workspace, tmp_path):
    member = add_model(workspace, "3d_fullres", conditions=TABLE.model_copy(update={"id": "smith_jane"}))
    choose(workspace, member)
    with pytest.raises(UserError, match=r"would name a case.*smith_jane"):
        exported(workspace, tmp_path)
    assert not (tmp_path / "away" / "model.zip").exists() and not list((tmp_path / "away").iterdir())


def test_names_are_found_as_words():
    assert all(mentions(text, "liver_1") for text in ('"liver_1"', "a liver_1.", '\\"liver_1\\"'))
    assert not any(mentions(text, "liver_1") for text in ("liver_10", "miliver_1"))


def test_an_imported_cascade_finds_its_earlier_stage(workspace, tmp_path):
    low = add_model(workspace, "3d_lowres", (0,), spacing_mm=(2.0, 2.0, 2.0))
    choose(workspace, add_model(workspace, "3d_cascade", (0,), previous="3d_lowres").model_copy(update={"previous": low}))
    other = Workspace(tmp_path / "other")
    folder = import_archive(exported(workspace, tmp_path), other, 7)
    assert folder == other.models_root / "Dataset007_Spheres"
    opened_model = Predictor.open(home=other.home, dataset=7, device="cpu")
    assert opened_model.members[0].previous is not None and opened_model.plan.dataset == "Dataset007_Spheres"
    assert opened_model.identity == Predictor.open(folder=tmp_path / "away" / "model.zip", device="cpu").identity


def test_a_part_of_a_plugin_is_named_with_its_module_and_asked_for(workspace, tmp_path, monkeypatch):
    from autoseg.nn.networks import NETWORKS
    from planners.registry import NoOptions

    def factory(options, context):
        return NETWORKS.make(Part(name="unet"), context)

    factory.__module__ = "a_module_of_mine"
    monkeypatch.setattr(NETWORKS, "_entries", dict(NETWORKS._entries))
    NETWORKS.register("mine", NoOptions)(factory)
    choose(workspace, add_model(workspace, "3d_fullres", network=Part(name="mine")))
    archive = exported(workspace, tmp_path)
    with pytest.raises(UserError, match=r"never loaded by itself.*a_module_of_mine.*--plugin a_module_of_mine"):
        Predictor.open(folder=archive, device="cpu")
    monkeypatch.setitem(__import__("sys").modules, "a_module_of_mine", logging)
    assert Predictor.open(folder=archive, device="cpu").models
