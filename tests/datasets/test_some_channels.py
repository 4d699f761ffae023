"""A dataset as a plan sees it that takes some of its channels."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import transforms_of
from autoseg.datasets.headers import check_headers
from autoseg.datasets.raw import load_case
from autoseg.formats import write_array, write_label
from autoseg.formats.transforms import write_transforms
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Transform
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.preprocessing.store import open_prepared
from autoseg.workspace.files import write_json
from planners.schema.channels import ChannelSpec
from tests_support import small_plan

FINE, COARSE = Geometry((8, 8, 8), (1.0, 1.0, 1.0)), Geometry((4, 4, 4), (2.0, 2.0, 2.0))
PET = ChannelSpec(name="PET", registration="regrid")


@pytest.fixture
def folder(tmp_path):
    """Two cases of CT, PET on a coarser grid, and MR that one of them lacks; labels on the grid of CT."""
    raw = tmp_path / "Dataset001_Spheres"
    write_json(raw / "dataset.json", {
        "channel_names": {"0": "CT", "1": "PET", "2": "MR"}, "labels": {"background": 0, "sphere": 1, "core": 2},
        "file_ending": ".nii.gz", "reference_channel": "CT", "optional_channels": ["MR"]})
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for number, grid in enumerate((FINE, COARSE, FINE)):
            if (name, number) != ("b", 2):
                image = rng.uniform(1, 2, (1, *grid.shape)).astype(np.float32) * 10 ** number
                write_array(raw / "imagesTr" / f"{name}_{number:04}.nii.gz", image, grid)
        label = np.zeros(FINE.shape, np.int16)
        label[2:5, 2:5, 2:5] = 1
        write_label(raw / "labelsTr" / f"{name}.nii.gz", label, FINE)
    return raw


def plan_of(*numbers, channels=(PET,)):
    grid = 0 if channels == (PET,) else None
    return small_plan(n_channels=len(channels)).model_copy(update={"channels": channels, "channel_numbers": numbers,
                                                                   "grid_number": grid})


def test_files_of_other_channels_are_none_of_the_case(folder):
    whole, seen = Dataset.open(folder), Dataset.open(folder).seen_by(plan_of(0, 2, channels=(
        ChannelSpec(name="CT", reference=True), ChannelSpec(name="MR", required=False))))
    assert whole.seen_by(small_plan()) is whole
    assert [channel.name for channel in seen.manifest.channels] == ["CT", "MR"]
    assert [tuple(path and path.name for path in files.images) for files in seen.cases] == [
        ("a_0000.nii.gz", "a_0002.nii.gz"), ("b_0000.nii.gz", None)]
    assert seen.names == whole.names and all(files.grid is None for files in seen.cases)


def test_the_labels_keep_their_grid_where_the_reference_is_left_out(folder):
    seen = Dataset.open(folder).seen_by(plan_of(1))
    files = seen.case("a")
    assert files.grid == folder / "imagesTr" / "a_0000.nii.gz"
    case = load_case(files, (PET,), seen.manifest.labels)
    assert case.geometry == FINE and case.image_CDHW.shape == (1, *FINE.shape) and case.image_CDHW.min() > 9
    assert case.label_DHW.sum() == 27


def test_cases_of_a_channel_alone_are_prepared_on_the_grid_of_the_labels(folder, tmp_path):
    plan = plan_of(1)
    preprocess_dataset(Dataset.open(folder).seen_by(plan), plan, "3d_fullres", tmp_path / "cases").raise_faults()
    prepared = open_prepared(tmp_path / "cases", "b")
    assert prepared.geometry == FINE and prepared.image_CDHW.shape == (1, *FINE.shape)
    assert [file.name for file in prepared.raw_files] == ["b_0001.nii.gz", "b.nii.gz"]


def test_a_label_on_another_grid_than_the_reference_that_is_left_out_is_a_fault(folder):
    write_label(folder / "labelsTr" / "a.nii.gz", np.zeros(COARSE.shape, np.int16), COARSE)
    seen = Dataset.open(folder).seen_by(plan_of(1))
    with pytest.raises(UserError, match="the grid of the label differs from that of the reference channel"):
        load_case(seen.case("a"), (PET,), seen.manifest.labels)


def test_a_case_without_any_image_of_the_plan_says_what_was_expected():
    _, faults = check_headers(CaseFiles("b", (None,), numbers=(2,)), (ChannelSpec(name="MR"),), None)
    assert len(faults) == 1 and "the case has no image" in faults[0] and "channels MR" in faults[0]


def test_what_registration_found_follows_the_channel_to_its_place(tmp_path):
    moved = Transform(np.column_stack([np.eye(3), (1.0, 2.0, 3.0)]))
    write_transforms(tmp_path, "a", {2: Registered("rigid", moved)}, {2: "MR"}, "made of")
    files = CaseFiles("a", (tmp_path / "0", tmp_path / "1", tmp_path / "2"))
    assert set(transforms_of(tmp_path, files)) == {2}
    assert set(transforms_of(tmp_path, files.of_channels((0, 2)))) == {1}
    assert transforms_of(tmp_path, files.of_channels((0,))) == {} == transforms_of(None, files)
