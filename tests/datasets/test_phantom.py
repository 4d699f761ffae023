"""Phantoms look like three phases of CT, and MR, to whoever measures them, and are the same for everybody."""

import numpy as np
import pytest
from scipy import ndimage

from autoseg.clinical.conditions import read_conditions
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.phantom import make_phantom, write_phantoms
from autoseg.datasets.raw import find_cases, load_case
from autoseg.formats import read_label
from autoseg.grids.regrid import regrid


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(0, index) for index in range(6)]


def test_a_phantom_is_a_function_of_its_seed(phantoms):
    again = make_phantom(0, 2)
    np.testing.assert_array_equal(again.ct_CDHW, phantoms[2].ct_CDHW)
    np.testing.assert_array_equal(again.label_DHW, phantoms[2].label_DHW)
    for other in (make_phantom(1, 2), make_phantom(0, 2, held_out=True), phantoms[3]):
        assert other.ct_CDHW.shape != again.ct_CDHW.shape or (other.ct_CDHW != again.ct_CDHW).any()


def test_grids_are_anisotropic_and_differ_from_case_to_case(phantoms):
    grids = {phantom.geometry.spacing_mm for phantom in phantoms}
    assert len(grids) == len(phantoms)
    assert all(z > y == x for z, y, x in grids)


def test_every_phantom_has_a_liver_of_a_plausible_volume_in_one_piece(phantoms):
    for phantom in phantoms:
        liver = phantom.label_DHW > 0
        assert 600 < liver.sum() * phantom.geometry.voxel_ml() < 2200
        pieces, n = ndimage.label(liver)
        assert np.bincount(pieces[pieces > 0], minlength=n + 1).max() > 0.97 * liver.sum()


def test_every_phantom_has_one_to_three_tumours_in_its_liver(phantoms):
    for phantom in phantoms:
        tumours, n = ndimage.label(phantom.label_DHW == 2)
        assert 1 <= n <= 3
        assert np.bincount(tumours.ravel())[1:].min() * phantom.geometry.voxel_ml() > 2
        around = ndimage.binary_dilation(phantom.label_DHW == 2) & (phantom.label_DHW != 2)
        assert (phantom.label_DHW[around] == 1).mean() > 0.6


def test_densities_are_those_of_ct(phantoms):
    for phantom in phantoms:
        arterial, venous, delayed = phantom.ct_CDHW
        liver = ndimage.binary_erosion(phantom.label_DHW == 1)
        assert np.median(arterial[:, 0, 0]) == pytest.approx(-1000, abs=40)
        assert np.median(arterial[liver]) == pytest.approx(72, abs=6)
        assert np.median(venous[liver]) == pytest.approx(112, abs=6)
        assert np.median(delayed[liver]) == pytest.approx(98, abs=6)
        assert arterial.max() > 400  # bone
        assert (arterial == np.rint(arterial)).all()


def test_some_tumours_show_in_one_phase_only(phantoms):
    """In the arterial and the venous phase, in the venous alone or, where the liver is cirrhotic, in the arterial alone."""
    seen = set()
    for phantom in phantoms:
        liver = ndimage.binary_erosion(phantom.label_DHW == 1)
        tumours, n = ndimage.label(phantom.label_DHW == 2)
        for number in range(1, n + 1):
            core = ndimage.binary_erosion(tumours == number)
            if core.sum() > 10:
                contrast = [abs(np.median(image[core]) - np.median(image[liver])) for image in phantom.ct_CDHW[:2]]
                assert max(contrast) > 30
                seen.add((*(value > 30 for value in contrast), phantom.row["cirrhosis"] == "yes"))
    assert {(True, True), (False, True), (True, False)} <= {kind[:2] for kind in seen}
    assert (True, False, False) not in seen


def test_magnetic_resonance_lies_on_a_coarser_grid_that_covers_a_part_of_the_body(phantoms):
    for phantom in phantoms:
        image_DHW, absent_DHW = regrid(phantom.mr_DHW[None], phantom.mr_geometry, phantom.geometry)
        assert phantom.mr_geometry.spacing_mm > phantom.geometry.spacing_mm
        assert 0.45 < (~absent_DHW).mean() < 0.85
        liver = ndimage.binary_erosion(phantom.label_DHW == 1, iterations=2) & ~absent_DHW
        kidney_like = (phantom.ct_CDHW[0] > 160) & (phantom.ct_CDHW[0] < 220) & ~absent_DHW
        assert np.median(image_DHW[0][liver]) < 0.7 * np.median(image_DHW[0][kidney_like])


def test_written_phantoms_are_a_raw_dataset_of_which_the_held_out_part_is_whole(tmp_path):
    write_phantoms(tmp_path, 4, seed=5, n_test=1)
    dataset = Dataset.open(tmp_path)
    manifest = dataset.manifest
    assert [channel.modality for channel in manifest.channels] == ["ct", "ct", "ct", "mr"]
    assert [channel.name for channel in manifest.channels if channel.required] == ["CT_venous"]
    assert manifest.labels.foreground == ("liver", "tumour")
    files = dataset.cases
    assert [case.name for case in files] == [f"phantom_{i:03}" for i in range(4)]
    assert any(path is None for case in files for path in case.images)
    case, made = load_case(files[1], manifest.channels, manifest.labels), make_phantom(5, 1)
    for channel in np.flatnonzero(case.present_C[:3]):
        np.testing.assert_array_equal(case.image_CDHW[channel], made.ct_CDHW[channel])
    np.testing.assert_array_equal(case.label_DHW, made.label_DHW)
    assert case.geometry.difference(made.geometry) == ""
    (held_out,) = find_cases(tmp_path / "imagesTs", manifest.channels, manifest.file_ending)
    assert None not in held_out.images
    label_DHW, _ = read_label(tmp_path / "labelsTs" / f"{held_out.name}{manifest.file_ending}")
    np.testing.assert_array_equal(label_DHW, make_phantom(5, 0, held_out=True).label_DHW)


def test_the_table_of_the_training_patients_has_holes_and_nothing_is_missing_of_the_held_out(tmp_path):
    write_phantoms(tmp_path, 8, seed=5, n_test=2)
    table = read_manifest(tmp_path).conditions
    known = read_conditions(tmp_path, table, [f"phantom_{i:03}" for i in range(8)]).cases
    cells = [value for case in known.values() for value in case.values.values()]
    assert len(cells) == 32
    assert 0 < sum(value is None for value in cells) < 16
    held_out = read_conditions(tmp_path / "imagesTs", table, ["phantom_test_000", "phantom_test_001"]).cases
    assert [case.values["cirrhosis"] for case in held_out.values()] == ["yes", "no"]
    assert None not in [value for case in held_out.values() for value in case.values.values()]
