"""Registration recovers what is known, keeps what proves better, and believes no pair that does not belong together."""

import json
import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import ndimage

from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.raw import load_case
from autoseg.formats import write_array, write_label
from autoseg.formats.transforms import read_record, read_transforms, write_transforms
from autoseg.grids.transform import Registered, Stage, Transform
from autoseg.preprocessing.registration import register_channel, register_dataset
from autoseg.reporting.registration import draw_registration
from registration_phantoms import Anatomy, cube, first_contrast, grid_points, offset_pair, picture


def point_errors_mm(transform: Transform, truth: np.ndarray, anatomy: Anatomy) -> np.ndarray:
    """How far each point of the body lands from where it belongs."""
    points = grid_points(cube(24, (2.0, 2.0, 2.0)))
    points = points[anatomy.inside(points)]
    return np.linalg.norm(transform.apply(points) - (points @ truth[:, :3].T + truth[:, 3]), axis=1)


def test_five_degrees_and_eight_millimetres_between_two_contrasts_are_recovered_within_a_voxel():
    pair, truth = offset_pair(seed=0)
    found = register_channel(*pair, kind="rigid")
    assert found.kept == "rigid"
    assert point_errors_mm(Transform.identity(), truth, Anatomy(0)).mean() > 5
    assert point_errors_mm(found.transform, truth, Anatomy(0)).max() < 1
    again = register_channel(*pair, kind="rigid")
    np.testing.assert_array_equal(found.transform.matrix, again.transform.matrix)


def test_an_unrelated_pair_is_rejected_with_the_reason():
    fixed, grid = picture(cube(), lambda p: first_contrast(Anatomy(0).density(p)), 20, 0), cube()
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=grid.shape), 3).astype(np.float32)
    found = register_channel(fixed, grid, noise, grid, kind="affine")
    assert found.kept == "identity"
    assert found.transform.is_identity
    assert "not more alike than unrelated ones" in found.reason


def test_a_pair_that_is_aligned_stays_where_it_is():
    pair, _ = offset_pair(seed=2, degrees=0.0, shift_mm=0.0)
    found = register_channel(*pair, kind="rigid")
    assert point_errors_mm(found.transform, np.eye(3, 4), Anatomy(2)).max() < 0.5


def test_a_coarse_grid_such_as_that_of_pet_is_registered_too():
    pair, truth = offset_pair(seed=3, moving_grid=cube(48, (4.0, 4.0, 4.0)))
    found = register_channel(*pair, kind="rigid")
    assert point_errors_mm(found.transform, truth, Anatomy(3)).mean() < 2


def test_a_constant_image_is_not_registered():
    grid = cube(16)
    image = picture(grid, lambda p: first_contrast(Anatomy(0).density(p)), 20, 0)
    found = register_channel(image, grid, np.ones(grid.shape, np.float32), grid, kind="rigid")
    assert found.reason == "an image is constant"


def record(transform: Transform, reason: str = "") -> Registered:
    stages = (Stage(kind="rigid", before=0.1, after=0.3, accepted=not reason, reason=reason),)
    return Registered("rigid", transform, stages, 2.0, reason)


def test_what_was_found_survives_the_disk(tmp_path):
    lattice = cube(4, (8.0, 8.0, 8.0)).__class__((2, 3, 4), (8.0, 8.0, 8.0))
    bent = Transform(np.eye(3, 4) + 0.25, np.arange(72.0).reshape(3, 2, 3, 4), lattice)
    write_transforms(tmp_path, "a", {1: record(Transform(np.eye(3, 4))), 2: record(bent)}, {1: "PET", 2: "MR"}, "digest")
    found = read_transforms(tmp_path, "a")
    assert found[1].is_identity
    np.testing.assert_array_equal(found[2].matrix, bent.matrix)
    points = np.array([[3.0, 4.0, 5.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(found[2].apply(points), bent.apply(points))
    assert read_record(tmp_path, "a").channels[2].kept == "rigid"
    assert read_transforms(tmp_path, "b") == {}


def test_damaged_displacements_are_a_users_error(tmp_path):
    lattice = cube(4).__class__((2, 2, 2), (8.0, 8.0, 8.0))
    bent = Transform(np.eye(3, 4), np.zeros((3, 2, 2, 2)), lattice)
    write_transforms(tmp_path, "a", {1: record(bent)}, {1: "MR"}, "digest")
    (tmp_path / "a_0001.displacement.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="displacements of a registered channel cannot be read"):
        read_transforms(tmp_path, "a")


@pytest.fixture
def dataset(tmp_path):
    """Two cases of two contrasts; the second channel of case 0 is moved, that of case 1 is missing."""
    (fixed, grid, moving, moving_grid), truth = offset_pair(seed=0)
    raw = tmp_path / "raw"
    for case in ("case_0", "case_1"):
        write_array(raw / "imagesTr" / f"{case}_0000.nii.gz", fixed[None], grid)
        write_label(raw / "labelsTr" / f"{case}.nii.gz", (fixed > 500).astype(np.int16), grid)
    write_array(raw / "imagesTr" / "case_0_0001.nii.gz", moving[None], moving_grid)
    (raw / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "MR_T1", "1": "MR_T2"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz",
        "reference_channel": "MR_T1", "optional_channels": ["MR_T2"], "registration": {"MR_T2": "rigid"}}))
    return raw, truth


def test_a_dataset_is_registered_once_drawn_and_used_when_a_case_is_loaded(dataset, tmp_path):
    raw, truth = dataset
    target = tmp_path / "registration"
    assert register_dataset(Dataset.open(raw), target).done == ("case_0", "case_1")
    assert register_dataset(Dataset.open(raw), target).done == ()
    found = read_transforms(target, "case_0")
    assert point_errors_mm(found[1], truth, Anatomy(0)).max() < 1
    assert read_transforms(target, "case_1") == {}
    files = Dataset.open(raw).cases
    (drawn,) = draw_registration(target, files[0], read_manifest(raw).channels)
    assert drawn.name == "case_0_0001.png"
    assert imread(drawn).shape[1] == 900
    moved, still = (load_case(files[0], read_manifest(raw).channels, transforms=by) for by in (found, None))
    dark = [np.corrcoef(case.image_CDHW[:, ~case.absent_CDHW[1]])[0, 1] if case.absent_CDHW is not None else
            np.corrcoef(case.image_CDHW.reshape(2, -1))[0, 1] for case in (moved, still)]
    assert abs(dark[0]) > abs(dark[1])


def test_a_case_is_registered_anew_when_its_file_changes_and_a_bad_one_ends_nothing(dataset, tmp_path):
    raw, _ = dataset
    target = tmp_path / "registration"
    register_dataset(Dataset.open(raw), target)
    shutil.copy(raw / "imagesTr" / "case_0_0000.nii.gz", raw / "imagesTr" / "case_0_0001.nii.gz")
    (raw / "imagesTr" / "case_1_0001.nii.gz").write_bytes(b"")
    result = register_dataset(Dataset.open(raw), target)
    assert result.done == ("case_0",)
    assert "case_1" in result.faults[0]
