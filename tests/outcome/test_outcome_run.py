"""Models of an outcome over the folds of a segmentation, from the files to the answer for a new patient."""

import json
import shutil

import numpy as np
import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import outcome as command
from autoseg.datasets.dataset import Dataset
from autoseg.formats import write_label
from autoseg.outcome import predict
from autoseg.outcome.fold_features import Segmenter
from autoseg.outcome.models import OUTCOME_MODELS
from autoseg.outcome.predict import predict_outcomes
from autoseg.outcome.predictor import open_predictor
from autoseg.outcome.report import OutcomeReport, order_of
from autoseg.outcome.run import FitSettings, _device_of_models, _postprocessing_of, fit_outcome
from autoseg.prediction.inference_settings import InferenceSettings, Member, Postprocessing
from autoseg.prediction.predictor import Predictor
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.sections_outcome import outcomes_section
from autoseg.workspace.checkpoint import load_weights, save_weights
from autoseg.workspace.files import read_model, write_json
from outcome_cohort import GEOMETRY, ball_of, radius_of

FEW = FitSettings(only=("linear_volume", "linear_clinical"), refits=3)


@pytest.fixture(scope="session")
def fitted(cohort) -> OutcomeReport:
    return fit_outcome(1, "os", FitSettings(only=("linear_volume", "linear_clinical", "linear_embedding"), refits=3),
                       home=cohort.home, device="cpu")


def test_what_decides_the_outcome_predicts_it_and_what_does_not_is_near_chance(fitted, cohort):
    volume, clinical = (order_of(fitted.model(f"linear_{name}").scores)[1] for name in ("volume", "clinical"))
    assert volume.value > 0.9 and volume.low > 0.75
    assert clinical.low < 0.5 < clinical.high
    assert fitted.predicts in ("linear_volume", "linear_embedding") and fitted.n_events == 18
    assert read_model(cohort.model.outcome("os"), OutcomeReport) == fitted


def test_the_null_model_runs_beside_and_knows_nothing(fitted):
    score = order_of(fitted.model("null").scores)[1]
    assert score.value is None and "the same for all cases" in score.reason


def test_a_score_that_is_too_good_is_warned_of(fitted):
    assert any("suspect leakage" in warning for warning in fitted.warnings)


def test_the_model_that_predicts_knows_nothing_after_the_outcomes_were_shuffled(fitted):
    assert fitted.refitted.low < 0.5 < fitted.refitted.high


def test_what_is_computed_is_kept_and_used_again(cohort, fitted):
    kept = [cohort.model.fold(fold).outcome_features for fold in range(cohort.n_folds)]
    before = [path.read_bytes() for path in kept]
    times = [path.stat().st_mtime_ns for path in kept]
    fit_outcome(1, "change", FEW, home=cohort.home, device="cpu")
    assert [path.read_bytes() for path in kept] == before and [path.stat().st_mtime_ns for path in kept] == times


def test_a_fold_that_is_not_trained_is_an_error_that_says_the_command(own_cohort):
    own_cohort.model.fold(1).result.unlink()
    with pytest.raises(UserError, match="fold 1 is not trained.*autoseg_train Dataset001_Balls 3d_fullres 1 -p budgeted"):
        fit_outcome(1, "os", FEW, home=own_cohort.home, device="cpu")


def test_a_mask_that_is_gone_is_an_error_that_says_the_command(own_cohort):
    own_cohort.model.fold(0).mask("case_02", ".nii.gz").unlink()
    with pytest.raises(UserError, match=r"mask of a validation case is missing.*autoseg_train"):
        fit_outcome(1, "os", FEW, home=own_cohort.home, device="cpu")


def test_a_case_that_was_removed_from_the_dataset_is_named(own_cohort):
    raw = own_cohort.home / "raw" / "Dataset001_Balls"
    (raw / "imagesTr" / "case_02_0000.nii.gz").unlink()
    (raw / "labelsTr" / "case_02.nii.gz").unlink()
    with pytest.raises(UserError, match="no longer in the dataset.*case_02"):
        fit_outcome(1, "os", FEW, home=own_cohort.home, device="cpu")


def test_what_a_new_patient_lacks_is_named_and_the_outcome_is_told_all_the_same(cohort, tmp_path, caplog):
    fit_outcome(1, "os", FitSettings(only=("linear_clinical",), predicts="linear_clinical", refits=3), home=cohort.home,
                device="cpu")
    image = cohort.home / "raw" / "Dataset001_Balls" / "imagesTr" / "case_03_0000.nii.gz"
    (tmp_path / "new").mkdir()
    for name in ("known", "unknown"):
        shutil.copyfile(image, tmp_path / "new" / f"{name}_0000.nii.gz")
        write_label(tmp_path / "masks" / f"{name}.nii.gz", ball_of(4), GEOMETRY)
    (tmp_path / "table.csv").write_text("case,age,sex\nknown,60,f\n")
    predicted = predict_outcomes(Predictor.open(home=cohort.home, device="cpu"), tmp_path / "new", tmp_path / "masks",
                                 table=tmp_path / "table.csv")
    os = next(outcome for outcome in predicted.outcomes if outcome.outcome == "os")
    assert "it is not shown to be better than chance" in os.rests_on
    known, unknown = os.cases
    assert known.present == ("clinical",) and known.missing == ()
    assert unknown.present == () and unknown.missing == ("clinical",) and len(unknown.answers) == len(known.answers)
    assert "is not read" not in caplog.text  # the segmentation takes no table, but the outcome does


def test_an_outcome_that_is_not_declared_lists_those_that_are(own_cohort):
    with pytest.raises(UserError, match="unknown outcome 'pfs'.*os, response, change"):
        fit_outcome(1, "pfs", FEW, home=own_cohort.home, device="cpu")


def test_with_fewer_than_five_events_only_models_of_one_feature_run(own_cohort):
    report = fit_outcome(1, "os", FitSettings(refits=1), home=own_cohort.home, device="cpu")
    assert report.n_events < 5 and {model.name for model in report.models} == {"null", "linear_volume"}
    assert any("linear_clinical was not fitted: 4 events are fewer than 5" in text for text in report.skipped)
    assert any("has 4 events, fewer than 10" in warning for warning in report.warnings)
    assert report.predicts in ("null", "linear_volume")


def test_a_condition_that_says_the_outcome_is_refused_by_name(cohort, tmp_path):
    shutil.copytree(cohort.home, tmp_path / "home")
    raw = tmp_path / "home" / "raw" / "Dataset001_Balls"
    lines = (raw / "clinical.csv").read_text().splitlines()
    leaky = [lines[0] + ",stage", *(f"{line},{'late' if line.split(',')[5] == 'no' else 'early'}" for line in lines[1:])]
    (raw / "clinical.csv").write_text("\n".join(leaky) + "\n")
    declared = json.loads((raw / "dataset.json").read_text())
    declared["conditions"]["columns"]["stage"] = {"kind": "category"}
    (raw / "dataset.json").write_text(json.dumps(declared))
    with pytest.raises(UserError, match="function of the condition 'stage'"):
        fit_outcome(1, "response", FEW, home=tmp_path / "home", device="cpu")


def trained_with(cohort, home, column, cells):
    """A copy of the cohort whose segmentation was trained with a column that dataset.json has dropped since."""
    shutil.copytree(cohort.home, home)
    table = home / "raw" / "Dataset001_Balls" / "clinical.csv"
    lines = table.read_text().splitlines()
    if cells is not None:
        rows = [f"{line},{cells(line.split(','))}" for line in lines[1:]]
        table.write_text("\n".join([f"{lines[0]},{column}", *rows]) + "\n")
    model = type(cohort)(home, cohort.n_cases, cohort.n_folds).model
    plan = json.loads(model.plan.read_text())
    plan["conditions"] = {"table": "clinical.csv", "specs": [{"name": column, "kind": "category"}]}
    plan["configurations"]["3d_fullres"]["conditioning"] = {"name": "film"}
    model.plan.write_text(json.dumps(plan))
    return home


def test_a_segmentation_that_was_trained_with_a_column_of_the_outcome_is_refused(cohort, tmp_path):
    home = trained_with(cohort, tmp_path / "home", "CR", None)
    with pytest.raises(UserError, match=r"trained with columns of the outcome 'response'.*CR.*train it again"):
        fit_outcome(1, "response", FEW, home=home, device="cpu")


def test_a_segmentation_that_was_trained_with_a_condition_that_says_the_outcome_is_refused(cohort, tmp_path):
    home = trained_with(cohort, tmp_path / "home", "stage", lambda cells: "late" if cells[5] == "no" else "early")
    with pytest.raises(UserError, match=r"segmentation was trained with a condition that says the outcome.*'stage'"):
        fit_outcome(1, "response", FEW, home=home, device="cpu")


def test_the_command_prints_the_table_and_predict_adds_the_outcome_of_a_new_case(cohort, tmp_path, capsys):
    arguments = ["1", "os", "--models", "linear_volume", "--predict_with", "linear_volume", "--home", str(cohort.home),
                 "--device", "cpu"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "18 events" in printed and "linear_volume  volume" in printed and "What predicts: linear_volume" in printed
    raw = cohort.home / "raw" / "Dataset001_Balls" / "imagesTr"
    source = tmp_path / "new"
    source.mkdir()
    for index in (3, 5):
        (source / f"new{index}_0000.nii.gz").write_bytes((raw / f"case_{index:02}_0000.nii.gz").read_bytes())
        write_label(tmp_path / "masks" / f"new{index}.nii.gz", ball_of(radius_of(index)), GEOMETRY)
    predict_outcomes(Predictor.open(home=cohort.home, device="cpu"), source, tmp_path / "masks")
    written = json.loads((tmp_path / "masks" / "outcomes.json").read_text())
    (os,) = [outcome for outcome in written["outcomes"] if outcome["outcome"] == "os"]
    assert [case["case"] for case in os["cases"]] == ["new3", "new5"]
    assert "18 events of 24 patients" in os["rests_on"] and "C-index" in os["rests_on"]
    first = os["cases"][0]
    assert first["present"] == ["volume"] and first["missing"] == []
    told = [answer for answer in first["answers"] if answer["low"] is not None]
    assert told and all(0 <= answer["low"] <= answer["value"] <= answer["high"] <= 1 for answer in told)
    risks = [case["answers"][-1] for case in os["cases"]]
    assert risks[0]["what"] == "share of the patients with a lower risk"
    assert (risks[0]["value"] > risks[1]["value"]) == (radius_of(3) > radius_of(5))


def test_a_model_of_a_plugin_that_is_not_loaded_is_named(cohort, monkeypatch):
    fit_outcome(1, "change", FEW, home=cohort.home, device="cpu")
    monkeypatch.setattr(OUTCOME_MODELS, "_entries", {"null": OUTCOME_MODELS.entry("null")})
    with pytest.raises(UserError, match="unknown outcome model .*--plugin"):
        open_predictor(cohort.model, "change")


def test_a_predictor_of_a_later_version_is_an_error_that_says_what_to_do(cohort, tmp_path):
    fit_outcome(1, "change", FEW, home=cohort.home, device="cpu")
    shutil.copytree(cohort.home, tmp_path / "home")
    model = type(cohort)(tmp_path / "home", cohort.n_cases, cohort.n_folds).model
    weights, facts = load_weights(model.outcome_predictor("change"))
    save_weights(model.outcome_predictor("change"), weights, {"predictor": {**facts["predictor"], "schema_version": 99}})
    with pytest.raises(UserError, match="what predicts the outcome cannot be read.*fit it again: autoseg_outcome"):
        open_predictor(model, "change")


def test_masks_are_postprocessed_as_those_of_new_patients_and_a_change_is_warned_of(cohort, tmp_path, caplog):
    shutil.copytree(cohort.home, tmp_path / "home")
    own = type(cohort)(tmp_path / "home", cohort.n_cases, cohort.n_folds)
    mask = own.model.fold(0).mask("case_03", ".nii.gz")
    label = ball_of(radius_of(3))
    label[0, 0, 0] = 1  # an island
    write_label(mask, label, GEOMETRY)
    member = Member(planner="budgeted", configuration="3d_fullres", folds=("0", "1", "2"))
    settings = InferenceSettings(dataset="Dataset001_Balls", members=(member,),
                                 postprocessing=Postprocessing(keep_largest=("ball",)))
    write_json(own.workspace.inference_settings("Dataset001_Balls"), settings)
    raw = Dataset.open(own.workspace.raw("Dataset001_Balls"))
    segmenter = Segmenter(own.model, raw, own.model.read_plan(), None, "ball", "cpu",
                          _postprocessing_of(own.workspace, own.model))
    assert segmenter.load("case_03")[1][0, 0, 0] == 0 and segmenter.load("case_03")[1].any()
    fit_outcome(1, "change", FEW, home=own.home, device="cpu")
    assert open_predictor(own.model, "change").facts.postprocessing == settings.postprocessing
    image = own.home / "raw" / "Dataset001_Balls" / "imagesTr" / "case_03_0000.nii.gz"
    for chosen in (settings, settings.model_copy(update={"postprocessing": Postprocessing()})):
        assert "change was fitted to masks with another postprocessing" not in caplog.text
        write_json(own.workspace.inference_settings("Dataset001_Balls"), chosen)
        pipeline.predict(image, tmp_path / "masks", home=own.home, device="cpu")
    assert "change was fitted to masks with another postprocessing" in caplog.text


def test_an_error_in_one_case_leaves_the_outcomes_of_the_others(cohort, tmp_path, monkeypatch, caplog):
    fit_outcome(1, "os", FEW, home=cohort.home, device="cpu")
    image = cohort.home / "raw" / "Dataset001_Balls" / "imagesTr" / "case_03_0000.nii.gz"
    (tmp_path / "new").mkdir()
    for name in ("bad", "good"):
        shutil.copyfile(image, tmp_path / "new" / f"{name}_0000.nii.gz")
        write_label(tmp_path / "masks" / f"{name}.nii.gz", ball_of(4), GEOMETRY)
    seen = predict.seen_by

    def seen_by(member, case, lesion_DHW):
        if case.name == "bad":
            raise MemoryError("no room")
        return seen(member, case, lesion_DHW)

    monkeypatch.setattr(predict, "seen_by", seen_by)
    predicted = predict_outcomes(Predictor.open(home=cohort.home, device="cpu"), tmp_path / "new", tmp_path / "masks")
    assert [case.case for case in predicted.outcomes[0].cases] == ["good"]
    assert "bad: its outcomes are not predicted: MemoryError: no room" in caplog.text


def test_a_model_that_is_to_predict_but_does_not_run_is_refused_before_anything_is_fitted(cohort, monkeypatch):
    monkeypatch.setattr("autoseg.outcome.run.out_of_fold", lambda *_: pytest.fail("a model was fitted"))
    with pytest.raises(UserError, match="'mlp' is to predict, but is not fitted.*null, linear_volume"):
        fit_outcome(1, "os", FitSettings(only=("linear_volume",), predicts="mlp"), home=cohort.home, device="cpu")


def test_networks_of_outcomes_run_on_the_cpu_where_the_device_has_no_float64():
    assert [_device_of_models(torch.device(name)) for name in ("mps", "cpu", "cuda:1")] == ["cpu", "cpu", "cuda:1"]


def test_an_outcome_of_other_weights_is_not_predicted(cohort, fitted, tmp_path, caplog):
    shutil.copytree(cohort.home, tmp_path / "home")
    model = type(cohort)(tmp_path / "home", cohort.n_cases, cohort.n_folds).model
    weights, facts = load_weights(model.fold(0).checkpoint)
    save_weights(model.fold(0).checkpoint, {name: torch.ones_like(tensor) for name, tensor in weights.items()}, facts)
    image = tmp_path / "home" / "raw" / "Dataset001_Balls" / "imagesTr" / "case_03_0000.nii.gz"
    pipeline.predict(image, tmp_path / "masks", home=tmp_path / "home", device="cpu")
    assert "was trained again since the outcome was fitted" in caplog.text


@pytest.mark.parametrize("kind", ["response", "change"])
def test_categories_and_numbers_are_fitted_and_predicted_with_an_interval(cohort, kind, tmp_path):
    report = fit_outcome(1, kind, FEW, home=cohort.home, device="cpu")
    assert report.predicts == "linear_volume" and order_of(report.model("linear_volume").scores)[1].value > 0.9
    image = cohort.home / "raw" / "Dataset001_Balls" / "imagesTr" / "case_03_0000.nii.gz"
    pipeline.predict(image, tmp_path, home=cohort.home, device="cpu")
    written = json.loads((tmp_path / "outcomes.json").read_text())
    (found,) = [outcome for outcome in written["outcomes"] if outcome["outcome"] == kind]
    for answer in found["cases"][0]["answers"]:
        assert np.isfinite(answer["value"]) and answer["low"] <= answer["value"] <= answer["high"]


def test_the_report_has_a_section_with_the_table_and_what_predicts(cohort, fitted):
    section = outcomes_section(gather(cohort.workspace, "Dataset001_Balls"))
    texts = str(section.blocks)
    assert "os by 3d_fullres (budgeted)" in texts and "linear_volume" in texts and "What predicts: " in texts
    assert "suspect leakage" in texts
