"""Where voxels lie, against nibabel: the image as read, the case as prepared, the mask as written.

Spacing, axes, shear, origin, codes, units, byte order and version of the header are drawn at random from fixed seeds.
"""

import itertools

import nibabel
import numpy as np
import pytest
import torch

from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.raw import load_case
from autoseg.formats import read_header, read_image, write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import points_of
from autoseg.prediction.export import restore_label, restore_probabilities
from autoseg.preprocessing.prepare import prepare
from preprocess_plans import tiny_plan

ORIENTATIONS = ["".join(letters) for order in itertools.permutations(("LR", "PA", "SI")) for letters in
                itertools.product(*order)]
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
CODES = [(0, 0), (1, 0), (0, 1), (0, 4), (1, 1), (2, 2), (1, 2), (3, 1)]


def turn(random) -> np.ndarray:
    """Axes in any order and direction, a third of them oblique."""
    axes = np.eye(3)[random.permutation(3)] * random.choice((-1, 1), 3)
    if random.random() < 1 / 3:
        axes = np.linalg.qr(np.eye(3) + random.normal(0, 0.3, (3, 3)))[0] @ axes
    return axes


def image_at(path, seed: int) -> np.ndarray:
    """Write an image of which every voxel has a value of its own; these values along x, y, z."""
    random = np.random.default_rng(seed)
    shape = tuple(map(int, random.integers(2, 7, 3)))
    voxels = random.permutation(np.prod(shape)).reshape(shape) + 1
    kind = nibabel.Nifti2Header if seed % 5 == 0 else nibabel.Nifti1Header
    header = kind(endianness="<>"[seed % 7 == 0])
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    spacing, origin = 10 ** random.uniform(-3, 0.8, 3), random.normal(0, 1, 3) * 10 ** random.uniform(-1, 2.5)
    origin *= min(1.0, 1e4 * spacing.min())  # beyond, float32 itself leaves less than a voxel
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn(random) * spacing, origin
    qcode, scode = CODES[seed % len(CODES)]
    header.set_qform(affine, qcode)
    if seed % 3 == 0:  # the forms differ: another place, and a shear
        affine[:3, :3] = affine[:3, :3] @ (np.eye(3) + np.triu(random.normal(0, 0.2, (3, 3)), 1))
        affine[:3, 3] += random.normal(0, 5, 3) * spacing
    header.set_sform(affine, scode)
    if seed % 11 == 0 and not qcode:
        header["pixdim"][1:4] *= random.uniform(0.5, 2, 3)
    header["xyzt_units"] = seed % 4
    image = (nibabel.Nifti2Image if seed % 5 == 0 else nibabel.Nifti1Image)(voxels.astype(np.int16), None, header)
    image.header.set_qform(None if not qcode else header.get_qform(), qcode)
    nibabel.save(nibabel_as_said(image, header), path)
    return voxels


def nibabel_as_said(image, header):
    """The image with exactly the numbers of this header, which nibabel would correct."""
    for field in ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c",
                  "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"):
        image.header[field] = header[field]
    image._affine = None
    return image


def corners_mm(path) -> tuple[np.ndarray, np.ndarray]:
    """By nibabel: the centres of the corner voxels (8, 3; LPS) and the matrix from x, y, z to there, in mm."""
    image = nibabel.load(path)
    affine = image.header.get_best_affine() * MM_PER_UNIT[int(image.header["xyzt_units"]) & 7]
    affine = np.diag([-1, -1, 1]) @ affine[:3]
    corners = np.array(list(itertools.product((0, 1), repeat=3))) * (np.array(image.shape[:3]) - 1)
    return corners @ affine[:, :3].T + affine[:, 3], affine


def voxels_off(expected_mm, found_mm, affine) -> float:
    """The largest distance, in voxels along an axis."""
    return float(np.abs((found_mm - expected_mm) @ np.linalg.inv(affine[:, :3]).T).max())


@pytest.mark.parametrize("seed", range(320))
def test_image_prepared_case_and_mask_lie_where_nibabel_says(tmp_path, seed):
    path = tmp_path / f"c_0000.nii{'.gz' if seed % 2 else ''}"
    voxels_xyz = image_at(path, seed)
    expected_mm, affine = corners_mm(path)
    geometry = read_header(path).geometry
    last = np.array(geometry.shape) - 1
    corners_zyx = np.array(list(itertools.product((0, 1), repeat=3)))[:, ::-1] * last
    assert voxels_off(expected_mm, points_of(geometry, corners_zyx), affine) < 0.01

    orientation = ORIENTATIONS[seed % 48]
    transpose = list(itertools.permutations(range(3)))[seed % 6]
    plan = tiny_plan(geometry.axes_to(orientation).then(transpose).of_each(geometry.spacing_mm), normalizers=("none",),
                     transpose=transpose).model_copy(update={"orientation": orientation})
    loaded = load_case(CaseFiles("c", (path,)), plan.channels)
    np.testing.assert_array_equal(loaded.image_CDHW[0], voxels_xyz.T)
    prepared = prepare(loaded, plan, plan.configurations["tiny"])
    for corner in itertools.product(*((0, n - 1) for n in prepared.shape)):
        window = tuple(slice(i, i + 1) for i in corner)
        index = [side.start for side in prepared.axes.undo_window(window, prepared.shape)]
        own = np.argwhere(voxels_xyz == prepared.image_CDHW[0][corner])[0]
        found_mm = points_of(geometry, np.array([index]))
        assert voxels_off(affine[:, :3] @ own + affine[:, 3], found_mm, affine) < 0.01

    mask = tmp_path / "c.nii.gz"
    write_label(mask, voxels_xyz.T.astype(np.int16), geometry)
    written_mm, _ = corners_mm(mask)
    assert voxels_off(expected_mm, written_mm, affine) < 0.01
    said, says = (nibabel.load(p).header for p in (path, mask))
    for field in ("qform_code", "sform_code", "xyzt_units"):
        assert said[field] == says[field]
    np.testing.assert_allclose(says["pixdim"][:4], said["pixdim"][:4], rtol=1e-6)
    if geometry.nifti.qform_code:
        np.testing.assert_allclose(says.get_qform(), said.get_qform(), rtol=1e-4, atol=1e-4 * np.abs(affine).max())
    np.testing.assert_array_equal(nibabel.load(mask).get_fdata(), voxels_xyz)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("stored", ["RAS", "LPS", "SRP", "PIL"])
def test_prepared_axes_run_where_the_plan_says_and_masks_come_back(stored, orientation):
    random = np.random.default_rng(len(stored) + ORIENTATIONS.index(orientation))
    letters = ("LR", "PA", "SI")
    direction = np.zeros((3, 3))
    for axis, letter in enumerate(stored):
        world = next(i for i, pair in enumerate(letters) if letter in pair)
        direction[world, axis] = 1 if letters[world][0] == letter else -1
    geometry = Geometry((3, 4, 5), (3.0, 2.0, 1.0), (7.0, 8.0, 9.0), tuple(direction.ravel()))
    assert geometry.orientation() == stored
    label = random.integers(0, 3, geometry.shape).astype(np.int16)
    image = random.uniform(1, 2, (1, *geometry.shape)).astype(np.float32)
    image[:, 0] = 0  # cropped, unless it is labelled
    label[0] = 0
    transpose = (1, 2, 0)
    axes = geometry.axes_to(orientation).then(transpose)
    plan = tiny_plan(axes.of_each(geometry.spacing_mm), transpose=transpose).model_copy(update={"orientation": orientation})
    prepared = prepare(Case("c", image, np.ones(1, bool), geometry, label), plan, plan.configurations["tiny"])
    steps = direction @ np.diag(geometry.spacing_mm[::-1])
    for j, kept in enumerate(transpose):  # of the oriented array z, y, x
        letter = orientation[2 - kept]
        world = next(i for i, pair in enumerate(letters) if letter in pair)
        source = prepared.transpose[j]  # of the file
        along = steps[:, 2 - source] * (-1 if prepared.flipped[j] else 1)
        assert along[world] * (1 if letters[world][0] == letter else -1) == geometry.spacing_mm[source]
    logits = torch.nn.functional.one_hot(torch.from_numpy(prepared.label_DHW[:].astype(np.int64)), 3).movedim(-1, 0) * 9.0
    restored = restore_label(logits, prepared, plan, plan.configurations["tiny"])
    np.testing.assert_array_equal(restored, label)
    probabilities = restore_probabilities(logits, prepared, plan, plan.configurations["tiny"])
    np.testing.assert_array_equal(probabilities.argmax(axis=0), label)
    assert (probabilities[0, 0] == 1).all()


def test_the_same_scan_in_another_order_is_prepared_alike(tmp_path):
    random = np.random.default_rng(0)
    image = random.uniform(1, 2, (6, 5, 4)).astype(np.float32)
    first = nibabel.Nifti1Image(image, np.diag([1.0, 2, 3, 1]))
    plan = tiny_plan((3.0, 2.0, 1.0)).model_copy(update={"orientation": "RAS"})
    nibabel.save(first, tmp_path / "a_0000.nii.gz")
    prepared = []
    for name, codes in (("a", "RAS"), ("b", "PIR"), ("c", "LSA")):
        orientation = nibabel.orientations.axcodes2ornt(codes)
        nibabel.save(first.as_reoriented(nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), orientation)), tmp_path / f"{name}_0000.nii.gz")
        case = load_case(CaseFiles(name, (tmp_path / f"{name}_0000.nii.gz",)), plan.channels)
        assert case.geometry.orientation() == codes
        prepared.append(prepare(case, plan, plan.configurations["tiny"]).image_CDHW[:])
    np.testing.assert_array_equal(prepared[0], prepared[1])
    np.testing.assert_array_equal(prepared[0], prepared[2])


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("seed", range(8))
def test_other_formats_keep_shear_and_direction(tmp_path, seed, ending):
    random = np.random.default_rng(seed)
    direction = turn(random) @ (np.eye(3) + np.triu(random.normal(0, 0.2, (3, 3)), 1))
    direction /= np.linalg.norm(direction, axis=0)
    geometry = Geometry((3, 4, 5), tuple(10 ** random.uniform(-2, 1, 3)), tuple(random.normal(0, 50, 3)),
                        tuple(direction.ravel()))
    write_array(tmp_path / f"a{ending}", np.zeros((1, 3, 4, 5), np.float32), geometry)
    _, again = read_image(tmp_path / f"a{ending}")
    assert geometry.voxels_apart(again) < 0.01 and geometry.is_at(again)
    write_label(tmp_path / "a.nii.gz", np.zeros((3, 4, 5), np.int16), again)
    assert geometry.voxels_apart(read_header(tmp_path / "a.nii.gz").geometry) < 0.01
