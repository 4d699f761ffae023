"""A model of spheres, judged on spheres of somebody else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import external as command
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.evaluation.types import Mean
from autoseg.formats import read_image, read_label, write_array, write_label
from autoseg.interop import validate
from autoseg.interop.external import ExternalValidation, Shift, as_text, sentence_of
from autoseg.interop.matching import match_channels, match_labels
from autoseg.interop.seen import _same_voxels, seen_cases
from autoseg.interop.validate import _forget_masks_of_others, _with_modality, validate_external
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.sections_external import external_section
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, prepared_spheres
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from predict_phantoms import predictor_of
from tests_support import sphere_case

OTHER = "Dataset007_Balls"
NEW, SEEN_FILE, SEEN_VOXELS = ("new_0", "new_1"), "copied", "packed_otherwise"


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Workspace:
    """Fold 0 of a tiny network, and another dataset with two new cases and two that it was trained on: one with the same
    file, one with the same voxels in another file.
    """
    home = tmp_path_factory.mktemp("external")
    workspace, _ = prepared_spheres(home)
    pipeline.train(DATASET, "3d_fullres", 0, home=home, device="cpu")
    write_balls(workspace)
    return workspace


def write_balls(workspace: Workspace) -> Path:
    raw, folder = workspace.raw(DATASET), workspace.home / "raw" / OTHER
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "MRI T2"}, "labels": {"background": 0, "lesion": 1, "Core": 2}, "numTraining": 4,
        "file_ending": ".nii.gz"})
    for index, name in enumerate(NEW):
        case = sphere_case(name, 50 + index)
        write_array(folder / f"imagesTr/{name}_0000.nii.gz", case.image_CDHW, case.geometry)
        write_label(folder / f"labelsTr/{name}.nii.gz", case.label_DHW, case.geometry)
    seen = trained_names(workspace)
    for name, source in ((SEEN_FILE, seen[0]), (SEEN_VOXELS, seen[1])):
        image, geometry = read_image(raw / f"imagesTr/{source}_0000.nii.gz")
        shutil.copy(raw / f"labelsTr/{source}.nii.gz", folder / f"labelsTr/{name}.nii.gz")
        if name == SEEN_FILE:
            shutil.copy(raw / f"imagesTr/{source}_0000.nii.gz", folder / f"imagesTr/{name}_0000.nii.gz")
        else:
            write_array(folder / f"imagesTr/{name}_0000.nii.gz", image.astype("float64"), geometry)
    return folder


def trained_names(workspace: Workspace) -> list[str]:
    """The training cases of fold 0: all but the one that it validated."""
    masks = workspace.fold(DATASET, "budgeted", "3d_fullres", 0).validation
    return sorted(set(Dataset.open(workspace.raw(DATASET)).names) - {path.name.split(".")[0] for path in masks.iterdir()})


def test_new_cases_are_scored_beside_the_cross_validation_and_seen_ones_are_left_out(trained):
    result = validate_external(trained, 1, 7, labels=["sphere=lesion"], device="cpu")
    assert [case.name for case in result.external.cases] == list(NEW)
    assert set(result.seen) == {SEEN_FILE, SEEN_VOXELS}
    assert result.seen[SEEN_FILE] == "the weights name its images"
    assert "has the voxels of the training case" in result.seen[SEEN_VOXELS]
    assert result.channels == {"MR_0": "MRI T2"} and not result.not_scored
    assert [match.title for match in result.labels] == ["sphere (lesion there)", "core (Core there)"]
    assert result.internal is not None and result.internal.n_cases == 1
    assert {(shift.label, shift.metric) for shift in result.shifts} >= {("sphere", "dice"), ("mean", "dice")}
    assert not any(shift.metric.startswith("volume") for shift in result.shifts)  # an error has a sign, and no better end
    assert read_model(trained.external_result(DATASET, OTHER), ExternalValidation) == result


def test_the_scores_are_those_of_the_masks_that_were_written(trained):
    result = validate_external(trained, 1, 7, labels=["sphere+core=lesion+Core"], device="cpu")
    assert [label.name for label in result.external.labels] == ["sphere+core"] and result.not_scored == ()
    mask, _ = read_label(trained.external(DATASET, OTHER) / "masks" / "new_0.nii.gz")
    truth, _ = read_label(trained.raw(OTHER) / "labelsTr" / "new_0.nii.gz")
    both, total = ((mask > 0) & (truth > 0)).sum(), (mask > 0).sum() + (truth > 0).sum()
    assert result.external.cases[0].labels[0].dice == pytest.approx(2 * both / total)
    assert not (trained.external(DATASET, OTHER) / "inputs").exists()


def test_the_command_prints_the_difference_and_the_report_shows_it(trained, capsys):
    assert command.main(["1", "--on", "7", "--map", "sphere=lesion", "--home", str(trained.home), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "external" in printed and "sphere (lesion there), " in printed
    assert "2 cases are left out, because the model was trained on them" in printed
    section = external_section(gather(trained, DATASET))
    assert section is not None and section.title == "On other datasets"
    assert any(OTHER in getattr(block, "caption", "") for block in section.blocks)


def test_a_dataset_of_seen_cases_alone_is_refused(trained):
    folder = trained.home / "raw" / "Dataset008_Seen"
    shutil.copytree(trained.raw(OTHER), folder)
    for name in NEW:
        (folder / f"imagesTr/{name}_0000.nii.gz").unlink()
        (folder / f"labelsTr/{name}.nii.gz").unlink()
    with pytest.raises(UserError, match="the model was trained on all cases of this dataset"):
        validate_external(trained, 1, 8, labels=["sphere=lesion"], device="cpu")
    shutil.rmtree(folder)


def test_the_dataset_of_the_model_is_refused(trained):
    with pytest.raises(UserError, match="this is the dataset that the model was trained on"):
        validate_external(trained, 1, 1, device="cpu")


def test_a_label_that_was_not_annotated_there_is_left_out_of_its_case(trained):
    folder = trained.home / "raw" / "Dataset009_Partly"
    shutil.copytree(trained.raw(OTHER), folder)
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "labels_present": {"new_0": ["lesion"]}}))
    result = validate_external(trained, 1, 9, labels=["sphere=lesion"], device="cpu")
    assert [label.annotated for label in result.external.cases[0].labels] == [True, False]
    assert [mean.means["dice"].n for mean in result.external.labels] == [2, 1]
    shutil.rmtree(folder)


SPEC = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})


def test_labels_match_by_name_whatever_the_spelling():
    other = LabelSpec(names={"background": (0,), "Tumour": (1,), "LIVER_": (3,), "spleen": (2,)})
    assert [match.other for match in match_labels(SPEC, other, [])] == [("LIVER_",), ("Tumour",)]


@pytest.mark.parametrize(("told", "message"), [
    (["tumour=mass"], "'mass' is none of the other dataset's labels"), (["tumor=lesion"], "did you mean 'tumour'"),
    (["tumour"], "--map says no pair"), (["tumour=lesion", "tumour=lesion"], "mapped twice"),
    ([], "no label of the same name")])
def test_labels_that_do_not_fit_are_refused_with_those_that_there_are(told, message):
    with pytest.raises(UserError, match=message):
        match_labels(SPEC, LabelSpec(names={"background": (0,), "lesion": (1,)}), told)


def channels(*names: str, optional: tuple[str, ...] = ()) -> tuple[ChannelSpec, ...]:
    return tuple(ChannelSpec(name=name, required=name not in optional) for name in names)


def test_channels_match_by_name_in_whatever_order():
    assert match_channels(channels("CT", "PET"), channels("pet", "CT"), {}).slots == (1, 0)


def test_a_channel_of_the_same_modality_is_taken_where_there_is_no_other():
    match = match_channels(channels("CT_venous"), channels("PET", "CT"), {})
    assert match.slots == (1,) and "both are ct" in match.warnings[0]


@pytest.mark.parametrize(("wanted", "known"), [(("CT",), ("MR_T1",)), (("CT_a",), ("CT_b", "CT_c")), (("x",), ("y",))])
def test_a_channel_without_counterpart_is_refused(wanted, known):
    with pytest.raises(UserError, match="the other dataset has no channel for what the model takes"):
        match_channels(channels(*wanted), channels(*known), {})


def test_an_optional_channel_may_be_missing_and_a_channel_can_be_told():
    match = match_channels(channels("CT", "MR", optional=("MR",)), channels("image"), {"CT": "image"})
    assert match.slots == (0, None) and "'MR' is not there" in match.warnings[0]
    with pytest.raises(UserError, match="'imge' is none of the other dataset's channels, did you mean 'image'"):
        match_channels(channels("CT"), channels("image"), {"CT": "imge"})


def test_one_channel_is_never_taken_for_two():
    with pytest.raises(UserError, match="taken for several of the model's.*a channel each for T1, T2"):
        match_channels(channels("T1", "T2"), channels("T2", "T3"), {"T1": "T2"})


def test_masks_of_another_channel_are_made_anew_and_those_of_the_same_images_are_kept(tmp_path):
    _forget_masks_of_others(tmp_path, ".nii.gz", {"a": "1", "b": "2"})
    for name in ("a", "b"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / f"masks/{name}.nii.gz").write_bytes(b"mask")
    _forget_masks_of_others(tmp_path, ".nii.gz", {"a": "1", "b": "3"})
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.nii.gz"]
    (tmp_path / "taken.json").write_text("damaged")
    _forget_masks_of_others(tmp_path, ".nii.gz", {"a": "1"})
    assert not any((tmp_path / "masks").iterdir())


def test_other_images_under_the_same_names_are_predicted_again(trained):
    folder = trained.home / "raw" / "Dataset006_Changing"
    shutil.copytree(trained.raw(OTHER), folder)
    before = validate_external(trained, 1, 6, labels=["sphere=lesion"], device="cpu")
    mask = trained.external(DATASET, folder.name) / "masks" / "new_1.nii.gz"
    kept, changed = mask.stat().st_mtime_ns, mask.with_name("new_0.nii.gz").stat().st_mtime_ns
    case = sphere_case("new_0", 77)
    write_array(folder / "imagesTr/new_0_0000.nii.gz", case.image_CDHW, case.geometry)
    after = validate_external(trained, 1, 6, labels=["sphere=lesion"], device="cpu")
    assert mask.stat().st_mtime_ns == kept
    assert mask.with_name("new_0.nii.gz").stat().st_mtime_ns != changed
    assert after.external.cases[1] == before.external.cases[1]
    shutil.rmtree(folder)


def test_the_reference_of_the_labels_lies_beside_a_channel_that_is_brought_to_its_grid(trained, tmp_path, monkeypatch):
    known, other, linked = predictor_of(), Dataset.open(trained.raw(OTHER)), []
    plan = known.plan.model_copy(update={"channel_numbers": (1,), "grid_number": 0})
    predictor = Predictor([ConfigurationModel(plan, known.members[0].name, known.models, known.runtime)])
    monkeypatch.setattr(validate, "predict_folder",
                        lambda predictor, source, *_, **__: linked.extend(sorted(path.name for path in source.iterdir())))
    files = other.case("new_0")
    assert validate._predict(predictor, other, [files], [0], tmp_path) == []
    assert linked == ["new_0_0000.nii.gz", "new_0_0001.nii.gz"]


def test_a_difference_is_said_in_words():
    def shift(low, high, metric="dice"):
        known = {"n_a": 5, "n_b": 5, "difference": (low + high) / 2, "low": low, "high": high}
        mean = Mean(value=0.5, n=5)
        return sentence_of(Shift.model_validate({"label": "a", "metric": metric, "external": mean, "internal": mean,
                                                 "difference": known}))

    assert shift(-0.2, -0.1) == "worse than in cross-validation"
    assert shift(0.1, 0.2) == "better than in cross-validation"
    assert shift(1, 2, "hd95_mm") == "worse than in cross-validation"
    assert shift(-0.1, 0.1) == "no difference was seen, and none is excluded"


def test_voxels_tell_seen_cases_where_the_weights_of_an_earlier_version_do_not(trained):
    own, other = Dataset.open(trained.raw(DATASET)), Dataset.open(trained.raw(OTHER))
    model = FoldModel(predictor_of().models[0].model)
    assert set(seen_cases([model], own, other.cases, [0])) == {SEEN_FILE, SEEN_VOXELS}
    assert seen_cases([model], None, other.cases, [0]) == {}


def test_a_seen_image_is_known_by_the_weights_under_another_number_of_its_channel(trained):
    other = Dataset.open(trained.raw(OTHER))
    predictor = Predictor.open(dataset=1, home=trained.home, device="cpu")
    moved = [replace(files, images=(None, *files.images)) for files in other.cases]
    assert seen_cases(predictor.models, None, moved, [1]) == {SEEN_FILE: "the weights name its images"}


def test_images_that_are_empty_are_nobodys(tmp_path):
    geometry = sphere_case("a", 0).geometry
    files = []
    for name in ("a", "b"):
        write_array(tmp_path / f"{name}.nii.gz", np.zeros((1, *geometry.shape), np.uint8), geometry)
        files.append(CaseFiles(name, (tmp_path / f"{name}.nii.gz",)))
    assert _same_voxels(files[:1], files[1:]) == {}


def test_a_channel_of_one_modality_tells_a_model_of_several(trained):
    predictor = predictor_of()
    other = Dataset.open(trained.raw(OTHER))
    assert _with_modality(predictor, other, [0]) is predictor
    plan = predictor.plan.model_copy(update={"modality_columns": {"MR_0": "modality"}})
    member = predictor.members[0]
    several = Predictor([ConfigurationModel(plan, member.name, member.models, member.runtime)])
    assert _with_modality(several, other, [0]).modality == "mr"


def test_the_text_says_what_is_not_known(trained):
    result = validate_external(trained, 1, 7, labels=["sphere=lesion"], device="cpu")
    text = as_text(result.model_copy(update={"internal": None, "internal_of": "not known", "not_scored": ("spleen",)}))
    assert "internal: not known" in text and "not scored, because the other dataset has no such label: spleen" in text
