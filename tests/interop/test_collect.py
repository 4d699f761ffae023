"""Corrections that become training cases: what is stored, what is refused, what a later one replaces."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.base.errors import AutosegError, UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import verify
from autoseg.formats import read_image, read_label, write_array, write_label
from autoseg.interop.collect import GivenLabel, Source, add_correction, add_image, add_label, remove_image
from autoseg.interop.collected import collected_cases, collecting_folder, find_case, make_dataset, read_given
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from tests_support import small_plan

WHO = Source("anna", model="Dataset001_Tiny", identity="abc", comment="the tip was missing")


@pytest.fixture
def plan():
    return small_plan().model_copy(update={
        "channels": (ChannelSpec(name="MR"),), "labels": LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)}),
        "conditions": ConditionTable(table="other.csv", id="patient", specs=(ConditionSpec(name="age", kind="number"),
                                                                             ConditionSpec(name="sex", kind="category")))})


@pytest.fixture
def image(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "in" / "image.nii.gz", image_DHW[None], geometry)
    return tmp_path / "in" / "image.nii.gz"


@pytest.fixture
def label(tmp_path, geometry, label_DHW):
    write_label(tmp_path / "in" / "label.nii.gz", label_DHW, geometry)
    return tmp_path / "in" / "label.nii.gz"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "raw" / "Dataset050_Corrections"


def another(path: Path, geometry, image_DHW, number: int) -> Path:
    write_array(path.with_name(f"image{number}.nii.gz"), image_DHW[None] + number, geometry)
    return path.with_name(f"image{number}.nii.gz")


def test_a_correction_is_a_case_that_verification_has_nothing_against(folder, plan, image, label, label_DHW, image_DHW):
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {"age": 61, "sex": None}, WHO)
    report = verify(folder)
    assert report.faults == () and report.cases == (stored.case,)
    case = collected_cases(folder)[stored.case]
    np.testing.assert_array_equal(read_label(case.label)[0], label_DHW)
    np.testing.assert_array_equal(read_image(case.images[0])[0][0], image_DHW)
    assert (folder / "clinical.csv").read_text() == f"case,age,sex\n{stored.case},61,\n"
    given = case.given[0]
    assert (given.who, given.model, given.comment, stored.replaced) == ("anna", "Dataset001_Tiny", WHO.comment, False)


def test_a_later_correction_of_the_same_images_replaces_the_label_and_keeps_the_former_one(
        folder, plan, image, label, label_DHW, geometry):
    first = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {"age": 61}, WHO)
    write_label(label, np.ones_like(label_DHW), geometry)
    second = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {"sex": "f"}, replace(WHO, who="ben"))
    assert second.case == first.case and second.replaced and verify(folder).faults == ()
    case = collected_cases(folder)[first.case]
    assert (read_label(case.label)[0] == 1).all()
    given = read_given(folder)
    assert [g.who for g in given] == ["anna", "ben"] and given[0].time < given[1].time
    np.testing.assert_array_equal(read_label(folder / given[1].former)[0], label_DHW)
    assert (folder / "clinical.csv").read_text() == f"case,age,sex\n{first.case},61,f\n"


def test_a_table_with_decimal_commas_is_not_written_anew(folder, plan, image, label):
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {"age": 61}, WHO)
    table = folder / "clinical.csv"
    table.write_text(f"case;age;sex\n{stored.case};61,125;f\n")
    again = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {"age": 3.5}, WHO)
    assert "separated by semicolons" in again.notes[0]
    assert table.read_text() == f"case;age;sex\n{stored.case};61,125;f\n"


@pytest.mark.parametrize(("change", "says"), [
    (lambda label, grid: (label + 5, grid), "label values are not declared"),
    (lambda label, grid: (label[1:], replace(grid, shape=(3, 5, 6))), "the label lies on another grid than the image"),
    (lambda label, grid: (label, replace(grid, origin_mm=(0.0, 0.0, 0.0))), "the label lies on another grid than the image"),
    (lambda label, grid: (label, replace(grid, spacing_mm=(1.0, 1.0, 1.0))), "the label lies on another grid")])
def test_a_label_that_does_not_fit_is_refused_and_nothing_is_stored(folder, plan, image, label, label_DHW, geometry, change,
                                                                    says):
    write_label(label, *change(label_DHW, geometry))
    with pytest.raises(AutosegError, match=says) as raised:
        add_correction(folder, plan, {"MR": image}, GivenLabel(label), {}, WHO)
    assert ".partial_" not in str(raised.value)
    assert collected_cases(folder) == {} and read_given(folder) == []
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "dataset.json"]


def test_values_of_another_program_become_those_of_the_model(folder, plan, image, label, geometry, label_DHW):
    swapped = np.where(label_DHW == 1, 2, np.where(label_DHW == 2, 1, 0))
    write_label(label, swapped, geometry)
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(label, values={1: 2, 2: 1}), {}, WHO)
    np.testing.assert_array_equal(read_label(collected_cases(folder)[stored.case].label)[0], label_DHW)
    with pytest.raises(UserError, match="values that have no name"):
        add_correction(folder, plan, {"MR": image}, GivenLabel(label, values={1: 2}), {}, WHO)


@pytest.mark.parametrize("kind", [np.uint8, "<u2"])
def test_a_label_of_voxels_alone_lies_on_the_grid_of_the_image(folder, plan, image, tmp_path, label_DHW, kind):
    (tmp_path / "label.bin").write_bytes(label_DHW.astype(kind).tobytes())
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(tmp_path / "label.bin", raw=True), {}, WHO)
    np.testing.assert_array_equal(read_label(collected_cases(folder)[stored.case].label)[0], label_DHW)
    (tmp_path / "label.bin").write_bytes(b"12345")
    with pytest.raises(UserError, match="not as many as those of the image"):
        add_correction(folder, plan, {"MR": image}, GivenLabel(tmp_path / "label.bin", raw=True), {}, WHO)


def test_images_wait_for_a_label_under_the_name_that_the_client_has_for_them(folder, plan, image, label):
    waiting = add_image(folder, plan, {"MR": image}, replace(WHO, alias="Smith^John"))
    assert add_image(folder, plan, {"MR": image}, replace(WHO, alias="again")).case == waiting.case
    case = find_case(folder, "Smith^John")
    assert case is not None and case.label is None and case == find_case(folder, "again") == find_case(folder, waiting.case)
    assert add_label(folder, case, GivenLabel(label), WHO).case == waiting.case
    labelled = collected_cases(folder)[waiting.case]
    assert labelled.label is not None and labelled.images[0].parent.name == "imagesTr" and verify(folder).faults == ()
    assert not list((folder / "imagesTs").iterdir())
    assert "Smith" not in "".join(path.read_text(errors="replace") + path.name for path in folder.rglob("*")
                                  if path.is_file())
    with pytest.raises(UserError, match="part of the training set"):
        remove_image(folder, labelled)


def test_an_image_that_waits_can_be_removed(folder, plan, image):
    add_image(folder, plan, {"MR": image}, replace(WHO, alias="x"))
    remove_image(folder, find_case(folder, "x"))
    assert find_case(folder, "x") is None


def test_corrections_at_once_are_all_stored(folder, plan, image, label, geometry, image_DHW):
    images = [another(image, geometry, image_DHW, number) for number in range(4)]

    def collect(path):
        return add_correction(folder, plan, {"MR": path}, GivenLabel(label), {"age": 50}, WHO).case

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(collect, [*images, *images]))
    report = verify(folder)
    assert set(report.cases) == set(names) and len(set(names)) == 4 and report.faults == ()
    assert len(read_given(folder)) == 8 and len((folder / "clinical.csv").read_text().splitlines()) == 5


def test_what_a_killed_process_left_is_removed_by_the_next_one(folder, plan, image, label, geometry, image_DHW):
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {}, WHO)
    (folder / "imagesTr" / "corrected_0000000000000000_0000.nii.gz").write_bytes(image.read_bytes())
    add_correction(folder, plan, {"MR": another(image, geometry, image_DHW, 3)}, GivenLabel(label), {}, WHO)
    assert verify(folder).faults == () and stored.case in collected_cases(folder) and len(collected_cases(folder)) == 2


def test_a_case_goes_into_a_dataset_that_is_there_and_counts_its_cases(raw, plan, image, label):
    folder = raw(n_cases=1, channel_names={"0": "MR"})
    stored = add_correction(folder, plan, {"MR": image}, GivenLabel(label), {}, WHO)
    assert Dataset.open(folder).manifest.n_training == 2
    assert {stored.case, "case0"} == set(collected_cases(folder)) and verify(folder).faults == ()


@pytest.mark.parametrize(("keys", "says"), [({"channel_names": {"0": "CT"}}, "other channels"),
                                            ({"labels": {"background": 0, "liver": 1}}, "other labels")])
def test_a_dataset_of_another_kind_takes_no_corrections(raw, plan, image, label, keys, says):
    folder = raw(**({"channel_names": {"0": "MR"}} | keys))
    with pytest.raises(UserError, match=says):
        add_correction(folder, plan, {"MR": image}, GivenLabel(label), {}, WHO)


def test_regions_channels_and_modalities_of_a_plan_are_declared_as_it_has_them(folder, plan):
    regions = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2), ignore=3)
    channels = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", required=False, registration="rigid"))
    rich = plan.model_copy(update={"labels": regions, "channels": channels, "modality_columns": {"CT": "scanner"}})
    manifest = make_dataset(folder, rich).manifest
    assert manifest.labels.means_the_same_as(regions) and manifest.channels == channels
    assert manifest.modality_columns == {"CT": "scanner"}
    assert [(spec.name, spec.kind) for spec in manifest.conditions.specs] == [("age", "number"), ("sex", "category")]


def test_a_new_name_gets_a_free_number_and_a_taken_number_is_refused(tmp_path):
    (tmp_path / "raw" / "Dataset001_Liver").mkdir(parents=True)
    workspace = Workspace.open(tmp_path)
    assert collecting_folder(workspace, "Fixes") == tmp_path / "raw" / "Dataset002_Fixes"
    expected = tmp_path / "raw" / "Dataset001_Liver"
    assert collecting_folder(workspace, "Liver") == collecting_folder(workspace, "1") == expected
    assert collecting_folder(workspace, "Dataset007_X") == tmp_path / "raw" / "Dataset007_X"
    with pytest.raises(UserError, match="this number is taken"):
        collecting_folder(workspace, "Dataset001_Other")
    with pytest.raises(UserError, match="cannot be the name of a file"):
        collecting_folder(workspace, "../x")
