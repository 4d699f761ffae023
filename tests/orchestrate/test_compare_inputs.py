"""Sets of inputs, compared from a raw dataset to a prediction that asks for the files of the chosen ones alone."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import ManyFaults, UserError
from autoseg.cli import compare_inputs as command
from autoseg.formats import write_array, write_label
from autoseg.orchestrate import inputs as inputs_module
from autoseg.orchestrate.inputs import InputOptions, compare_inputs
from autoseg.orchestrate.run import ExecutionOptions
from autoseg.prediction.decision import decided
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.prediction.predictor import Predictor
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.sections_fusion import fusion_section
from autoseg.selection.inputs import InputComparison
from autoseg.selection.types import Selection
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import pretend_to_train
from planners.rules.input_sets import InputSet
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from tests_support import SPHERES, small_plan, sphere_case

DATASET, NAME = "Dataset003_Fused", "3d_fullres"
CHANNELS = ("CT", "PET", "MR_T1")  # noise, the spheres, and noise that some cases lack
FOLDS = 2
CPU = ExecutionOptions(("cpu",), workers=1)


def write_case(folder, index, images="imagesTr", lacks=False):
    case = sphere_case(f"ball_{index:02}", index)
    rng = np.random.default_rng(1000 + index)
    for number, name in enumerate(CHANNELS):
        image = case.image_CDHW if name == "PET" else rng.normal(0, 1, case.image_CDHW.shape).astype(np.float32)
        if not (lacks and name == "MR_T1"):
            write_array(folder / images / f"{case.name}_{number:04}.nii.gz", image, case.geometry)
    if images == "imagesTr":
        write_label(folder / "labelsTr" / f"{case.name}.nii.gz", case.label_DHW, case.geometry)
    return case.name


def written(home, iterations=6):
    """A dataset whose spheres the second of three channels shows, its folds, and a plan for it."""
    folder, workspace = home / "raw" / DATASET, Workspace(home)
    names = [write_case(folder, index, lacks=index == 1) for index in range(4)]
    write_case(folder, 9, "imagesTs")
    lines = ["case,Age", *(f"{name},{30 + 7 * index}" for index, name in enumerate([*names, "ball_09"]))]
    (folder / "clinical.csv").write_text("\n".join(lines) + "\n")
    write_json(folder / "dataset.json", {
        "channel_names": dict(enumerate(CHANNELS)), "labels": {name: values[0] for name, values in SPHERES.names.items()},
        "file_ending": ".nii.gz", "optional_channels": ["MR_T1"],
        "conditions": {"table": "clinical.csv", "columns": {"Age": {"kind": "number"}}}})
    (folder / "splits_final.json").write_text(json.dumps(
        [{"train": names[:2], "val": names[2:]}, {"train": names[2:], "val": names[:2]}]))
    plan = small_plan(n_channels=3)
    chosen = plan.configurations[NAME]
    schedule = chosen.schedule.model_copy(update={"iterations": iterations, "iterations_per_epoch": iterations})
    write_json(workspace.plan(DATASET, "mine"), plan.model_copy(update={
        "dataset": DATASET, "planner": "mine",
        "channels": tuple(ChannelSpec(name=name, required=name != "MR_T1") for name in CHANNELS),
        "conditions": ConditionTable(table="clinical.csv", specs=(ConditionSpec(name="Age", kind="number"),)),
        "configurations": {NAME: chosen.model_copy(update={"schedule": schedule})}}))
    return workspace


@pytest.fixture
def workspace(tmp_path):
    return written(tmp_path)


@pytest.fixture
def trained(monkeypatch):
    """The folds that were trained, without training them; without a report."""
    monkeypatch.setattr(pipeline, "report", lambda *_, **__: None)
    monkeypatch.setattr(pipeline, "_postprocess_alone", lambda *_: None)
    return pretend_to_train(monkeypatch)


def compared(workspace, *sets, **options):
    return compare_inputs(3, InputOptions(NAME, sets, planner="mine", **options), execution=CPU, home=workspace.home)


def planners_of(workspace):
    return sorted(model.planner for model in workspace.models(DATASET))


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Three sets compared in earnest: noise, spheres, both; and their late fusions."""
    workspace = written(tmp_path_factory.mktemp("home"), iterations=40)
    options = ["--late", "-p", "mine", "--home", str(workspace.home), "--device", "cpu", "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:  # pictures take longer than all trainings
        patch.setattr(pipeline, "draw_validation", lambda *_: None)
        patch.setattr(pipeline, "LiveCurves", lambda: lambda folder: None)
        patch.setattr(pipeline, "report", lambda *_, **__: workspace.report(DATASET))
        assert command.main(["3", NAME, "--inputs", "CT", "PET", *options]) == 0
    return workspace


def test_what_decides_is_kept_and_what_does_not_pay_is_left_out(learnt):
    comparison = read_model(learnt.input_comparison(DATASET), InputComparison)
    assert [score.title for score in comparison.scores] == ["CT", "PET", "CT,PET", "CT & PET", "CT & CT,PET", "PET & CT,PET"]
    assert comparison.score("PET").mean.mean > 0.6 > comparison.score("CT").mean.mean
    chosen = comparison.score(comparison.chosen)
    assert chosen.mean.mean >= max(comparison.score(name).mean.mean for name in ("CT", "PET")) - 0.01
    assert len(comparison.cases) == 4 and comparison.failed == {}


def test_the_report_has_the_figures(learnt):
    section = fusion_section(gather(learnt, DATASET))
    bullets, rows, *_ = section.blocks
    assert {row[0].text for row in rows.rows} == {"CT", "PET", "CT,PET", "CT & PET", "CT & CT,PET", "PET & CT,PET"}
    assert [row[1].text for row in rows.rows].count("chosen") == 1
    chosen = read_model(learnt.input_comparison(DATASET), InputComparison).chosen
    assert bullets.items[0].startswith(f"{chosen}: mean Dice 0.")


def test_a_comparison_that_is_not_finished_names_the_command(learnt):
    data = gather(learnt, DATASET)
    (block,) = fusion_section(replace(data, inputs=data.inputs.model_copy(update={"scores": ()}))).blocks
    folds = " ".join(map(str, data.inputs.folds))
    assert block.command == ('autoseg_compare_inputs 3 3d_fullres --inputs "CT" "PET" "CT,PET" --late -p mine '
                             f"--folds {folds}")
    asked = {"scores": (), "total_seconds": 5400.0, "memory_bytes": 2**30, "changes": ("batch=4",), "seed": 7}
    (block,) = fusion_section(replace(data, inputs=data.inputs.model_copy(update=asked))).blocks
    assert block.command.endswith(f'--folds {folds} --total 5400s --memory 1024M --set "batch=4" --seed 7')
    assert fusion_section(replace(data, inputs=None)) is None


def settings_of(workspace, *planners):
    """`inference.json` that takes these models in place of what was chosen."""
    settings = read_model(workspace.inference_settings(DATASET), InferenceSettings)
    members = [next(member for candidate in read_selection(workspace) for member in candidate.members
                    if member.planner == planner) for planner in planners]
    return settings.model_copy(update={"members": tuple(members), "quality_control": None})


def read_selection(workspace):
    return read_model(workspace.selection(DATASET), Selection).candidates


def images_with(workspace, folder, *numbers):
    folder.mkdir()
    for number in numbers:
        shutil.copy(workspace.raw(DATASET) / "imagesTs" / f"ball_09_{number:04}.nii.gz", folder)
    return folder


def opened(workspace, *planners):
    return Predictor.from_settings(workspace, settings_of(workspace, *planners), device="cpu")


def test_a_prediction_asks_for_the_chosen_channels_alone(learnt, tmp_path):
    predictor = opened(learnt, "mine_of_PET")
    alone, every = images_with(learnt, tmp_path / "alone", 1), images_with(learnt, tmp_path / "every", 0, 1, 2)
    masks = [predictor.predict_file(folder).label_DHW for folder in (alone, every)]
    np.testing.assert_array_equal(*masks)
    np.testing.assert_array_equal(predictor.predict_file(alone / "ball_09_0001.nii.gz").label_DHW, masks[0])
    assert masks[0].any()
    with pytest.raises(UserError, match="the case has no image"):
        predictor.predict_file(images_with(learnt, tmp_path / "without", 0))


def test_a_late_fusion_is_the_mean_of_both_models(learnt, tmp_path):
    images = images_with(learnt, tmp_path / "images", 0, 1)
    single = [opened(learnt, planner).predict_file(images, probabilities=True).probabilities_KDHW.astype(np.float32)
              for planner in ("mine_of_CT", "mine_of_PET")]
    late = opened(learnt, "mine_of_CT", "mine_of_PET").predict_file(images, probabilities=True)
    np.testing.assert_allclose(late.probabilities_KDHW, (single[0] + single[1]) / 2, atol=2e-3)
    np.testing.assert_array_equal(late.label_DHW, decided(late.probabilities_KDHW, SPHERES))
    with pytest.raises(UserError, match=r"channel 1 'PET' is missing.*ball_09_0001"):
        opened(learnt, "mine_of_CT", "mine_of_PET").predict_file(images_with(learnt, tmp_path / "half", 0))


def test_the_choice_predicts_without_a_word_about_inputs(learnt, tmp_path):
    images = images_with(learnt, tmp_path / "images", 0, 1)
    pipeline.predict(images, tmp_path / "masks", dataset=3, home=learnt.home, device="cpu")
    assert (tmp_path / "masks" / "ball_09.nii.gz").is_file()


def test_finished_sets_are_kept_and_new_ones_are_trained(workspace, trained):
    compared(workspace, "CT", "CT,PET")
    assert len(trained) == 2 * FOLDS and planners_of(workspace) == ["mine_of_CT", "mine_of_CT-PET"]
    compared(workspace, "CT", "CT,PET")
    assert len(trained) == 2 * FOLDS
    result = compared(workspace, "CT", "CT,PET+Age", "CT,MR")
    assert len(trained) == 4 * FOLDS
    assert [score.title for score in result.comparison.scores] == ["CT", "CT,PET+Age", "CT,MR_T1"]
    prepared = {path.name for path in workspace.prepared(DATASET).iterdir() if path.is_dir()}
    assert prepared == {f"mine_of_CT_{NAME}", f"mine_of_CT-PET_{NAME}", f"mine_of_CT-MR_T1_{NAME}"}  # one for +Age and none


def test_all_channels_take_the_cases_that_the_plan_has_prepared(workspace, trained):
    pipeline.preprocess(3, planner="mine", home=workspace.home, workers=1)
    compared(workspace, "CT,PET,MR", "CT")
    prepared = {path.name for path in workspace.prepared(DATASET).iterdir() if path.is_dir()}
    assert prepared == {f"mine_{NAME}", f"mine_of_CT_{NAME}"}


@pytest.fixture
def quick_machine(monkeypatch):
    """A fold takes half a minute at least; nothing is measured."""
    monkeypatch.setattr(inputs_module, "ProbedHardware", lambda device: SimpleNamespace(speed=None))
    monkeypatch.setattr(inputs_module, "least_fold_seconds", lambda *_: 30.0)


def test_every_set_gets_the_same_share_of_the_total(workspace, trained, quick_machine):
    with pytest.raises(UserError, match=r"too short to train every set(?s:.*)at least 3m for 2 sets on 2 folds"):
        compared(workspace, "CT", "PET", total_seconds=100.0)
    assert trained == []
    compared(workspace, "CT", "PET", total_seconds=4000.0)
    seconds = {model.read_plan().configurations[NAME].schedule.budget_seconds for model in workspace.models(DATASET)}
    assert len(seconds) == 1 and 0.9 * 1000 < seconds.pop() <= 0.98 * 1000
    with pytest.raises(UserError, match=r"started with other options or data(?s:.*)different: --total(?s:.*)removed"):
        compared(workspace, "CT", "PET", total_seconds=8000.0)


def test_late_fusions_that_could_not_predict_as_they_were_scored_are_no_candidates(learnt):
    known = read_model(learnt.input_comparison(DATASET), InputComparison)
    ct, pet, mr = known.plan.channels
    brought = tuple(channel.model_copy(update={"registration": "regrid"}) for channel in (pet, mr))
    plan = known.plan.model_copy(update={"channels": (ct.model_copy(update={"reference": True}), *brought)})
    sets = tuple(InputSet(channels=(name,)) for name in CHANNELS)
    faults = inputs_module._not_together(known.model_copy(update={"plan": plan, "sets": sets}),
                                         [("PET",), ("CT", "PET"), ("PET", "MR_T1")])
    assert list(faults) == ["PET & MR_T1"] and "leaves out CT" in faults["PET & MR_T1"]


@pytest.mark.parametrize(("sets", "options", "message"), [
    (("CT", "US"), {}, "unknown channel 'US'; known: CT, PET, MR_T1"),
    (("CT,PET", "PET,CT"), {}, "named twice"),
    (("CT",), {}, "one set of inputs has nothing to be compared with"),
    (("CT", "+table"), {}, "has no image"),
    (("CT", "PET"), {"folds": ("0",)}, "two folds or more"), (("CT", "PET"), {"folds": ("all",)}, "two folds or more")])
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(workspace, trained, sets, options, message):
    with pytest.raises(UserError, match=message):
        compared(workspace, *sets, **options)
    assert trained == [] and not workspace.input_comparison(DATASET).exists()


def test_a_set_of_which_a_case_has_no_image_is_refused(workspace, trained):
    with pytest.raises(ManyFaults, match="the set MR_T1 has no image of ball_01"):
        compared(workspace, "CT", "MR")
    assert trained == []


def test_a_set_that_fails_is_named_and_the_others_are_compared(workspace, trained, monkeypatch):
    train = pipeline.train

    def failing(*arguments, planner, **options):
        if planner == "mine_of_PET":
            raise UserError("the disk is slow")
        return train(*arguments, planner=planner, **options)

    monkeypatch.setattr(pipeline, "train", failing)
    result = compared(workspace, "CT", "PET", "CT,PET")
    assert len(trained) == 2 * FOLDS and "the disk is slow" in result.comparison.failed["PET"]
    assert [score.title for score in result.comparison.scores] == ["CT", "CT,PET"]
