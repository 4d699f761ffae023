import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import case_digest
from autoseg.datasets.measure import evenly, measure, weighted_percentile
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform
from planners.schema.fingerprint import Fingerprint


def measured(folder: Path, workers: int = 1) -> Fingerprint:
    return measure(Dataset.open(folder), "Dataset001_Tiny", workers)


def test_shapes_are_those_after_cropping(raw, geometry):
    folder = raw()
    image_CDHW = np.zeros((1, 4, 5, 6), np.float32)
    image_CDHW[0, 1:3, 0:5, 2:5] = 1
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_CDHW, geometry)
    label_DHW = np.zeros((4, 5, 6), np.int16)
    label_DHW[1, 1, 3] = 1
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW, geometry)
    first, second = measured(folder).cases
    assert (first.shape, first.spacing_mm, first.relative_size) == ((2, 5, 3), (3.0, 2.0, 1.0), 30 / 120)
    assert (second.shape, second.relative_size, second.left_right_axis) == ((4, 5, 6), 1.0, 2)


def test_intensities_are_of_foreground_and_each_case_weighs_the_same(raw, geometry, label_DHW):
    folder = raw()
    # case0: its three foreground voxels are 1, 2 and 120; case1 has one alone, of 1120.
    label_DHW[0, 0, :2] = 0
    write_label(folder / "labelsTr/case1.nii.gz", label_DHW, geometry)
    (stats,) = measured(folder).intensities
    assert stats.mean == pytest.approx((41 + 1120) / 2)
    assert stats.std == pytest.approx(np.sqrt(np.var([1, 2, 120]) / 2 + np.var([41, 1120])))
    assert (stats.min, stats.max) == (1, 1120)
    # Half of the weight is case1's; of the other half, a third each: 1 up to 16.7 %, 2 up to 33.3 %, 120 up to 50 %.
    assert stats.percentile_00_5 == 1 and stats.percentile_99_5 == 1120
    assert stats.median == pytest.approx((120 + 1120) / 2)


def test_a_foreground_voxel_outside_the_crop_does_not_count(raw, geometry, image_DHW):
    folder = raw(n_cases=1)
    image_DHW[0] = 0  # with it, the two voxels of label 1
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None], geometry)
    assert measured(folder).intensities[0].min == 120


def test_the_ignore_label_is_no_foreground(raw):
    (stats,) = measured(raw(n_cases=1, labels={"background": 0, "a": 1, "ignore": 2})).intensities
    assert (stats.min, stats.max) == (1, 2)


def test_a_channel_that_a_case_lacks_is_not_measured_there(raw):
    folder = raw(n_channels=2, optional_channels=["MR1"])
    (folder / "imagesTr/case1_0001.nii.gz").unlink()
    result = measured(folder)
    assert result.presence == (1.0, 0.5)
    assert result.intensities[1].mean == pytest.approx((101 + 102 + 220) / 3)


def test_voxels_volumes_and_components_of_labels(raw, geometry, label_DHW):
    folder = raw()
    label_DHW[0, 4, 5] = 1  # in case1, label 1 has a second component, of one voxel
    write_label(folder / "labelsTr/case1.nii.gz", label_DHW, geometry)
    a, b = measured(folder).label_stats
    assert (a.name, a.cases, a.voxels, a.components) == ("a", 2, 5, 3)
    assert a.volume_ml == pytest.approx(5 * 0.006)
    assert a.component_ml_percentiles == pytest.approx((0.006, 0.006, 0.012, 0.012, 0.012))
    assert (b.name, b.voxels, b.components) == ("b", 2, 2)


def test_a_region_is_measured_as_a_whole(raw):
    folder = raw(labels={"background": 0, "both": [1, 2], "b": 2}, regions_class_order=[1, 2])
    both, b = measured(folder).label_stats
    assert (both.voxels, both.components, b.voxels) == (6, 4, 2)


def test_a_label_of_no_case_has_no_size(raw):
    stats = measured(raw(labels={"background": 0, "a": 1, "b": 2, "c": 3})).label_stats[2]
    assert (stats.cases, stats.voxels, stats.components, stats.component_ml_percentiles) == (0, 0, 0, (0.0,) * 5)


def test_workers_measure_the_same(raw):
    folder = raw(n_cases=5, n_channels=2)
    assert measured(folder, workers=2) == measured(folder, workers=1)


def test_the_fingerprint_survives_json(raw):
    result = measured(raw())
    assert Fingerprint.model_validate_json(json.dumps(result.model_dump(mode="json"), allow_nan=False)) == result


def test_faults_of_all_cases_are_told_together(raw):
    folder = raw(n_cases=3)
    for case in (0, 2):
        (folder / f"imagesTr/case{case}_0000.nii.gz").write_bytes(b"")
    with pytest.raises(ManyFaults, match="2 faults found"):
        measured(folder)


def test_a_dataset_without_foreground_is_an_error(raw, geometry):
    folder = raw(n_cases=1)
    write_label(folder / "labelsTr/case0.nii.gz", np.zeros((4, 5, 6), np.int16), geometry)
    with pytest.raises(UserError, match="channel 'MR0' has no foreground voxel in any case"):
        measured(folder)


def test_the_digest_follows_the_content_of_files_and_nothing_else(raw, geometry, label_DHW):
    folder = raw()
    dataset = Dataset.open(folder)
    before = dataset.digest()
    assert measured(folder).digest == before
    (folder / "imagesTr/case0_0000.nii.gz").touch()
    assert dataset.digest() == before
    other_words = dataset.manifest.model_copy(update={"description": "other words"})
    assert replace(dataset, manifest=other_words).digest() == before
    write_label(folder / "labelsTr/case1.nii.gz", np.where(label_DHW == 2, 1, label_DHW), geometry)
    changed = dataset.digest()
    assert changed != before
    no_channels = dataset.manifest.model_copy(update={"channels": ()})
    assert replace(dataset, manifest=no_channels).digest() != changed


def test_even_ranks_keep_the_distribution():
    assert evenly(np.arange(1, 7), 3).tolist() == [2, 4, 6]
    assert evenly(np.array([1, 2]), 4).tolist() == [1, 1, 2, 2]
    values = np.sort(np.random.default_rng(0).normal(size=1_000_000))
    kept = evenly(values, 10_000)
    assert np.percentile(kept, (0.5, 50, 99.5)) == pytest.approx(np.percentile(values, (0.5, 50, 99.5)), abs=5e-3)


def test_a_weighted_percentile_counts_weights():
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert [weighted_percentile(values, weights, q) for q in (25, 50, 75, 76, 100)] == [1, 1, 2, 3, 3]


def test_many_components_are_kept_in_part_and_counted_in_full(raw, tmp_path):
    folder = raw(n_cases=1, labels={"background": 0, "a": 1})
    shape = (1, 130, 130)  # every second pixel of every second row: 65 x 65 components
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    label_DHW = np.zeros(shape, np.int16)
    label_DHW[0, ::2, ::2] = 1
    write_array(folder / "imagesTr/case0_0000.nii.gz", np.ones((1, *shape), np.float32), grid)
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW, grid)
    (stats,) = measured(folder).label_stats
    assert stats.components == 65 * 65
    assert stats.component_ml_percentiles == pytest.approx((0.001,) * 5)


def test_the_hippocampi_are_measured_as_by_nnunet(shared_data):
    """nnU-Net 2.8.1's fingerprint of the same 200 cases; it samples, so its tail wavers by a fraction of a percent."""
    folder = shared_data / "Dataset004_Hippocampus"
    (stats,) = measured(folder).intensities
    assert stats.mean == pytest.approx(24455.7, rel=1e-3)
    assert stats.std == pytest.approx(62776.3, rel=1e-3)
    assert stats.median == pytest.approx(374.52, rel=1e-3)
    assert (stats.min, stats.max, stats.percentile_00_5) == (0.0, 486420.21875, 29.0)
    assert stats.percentile_99_5 == pytest.approx(279070.75, rel=3e-3)


def other_grid(folder, image_DHW, case: int, x_mm: float) -> None:
    """The second channel of a case, moved; the reference's columns lie at -7, -6, ..., -2 mm."""
    write_array(folder / f"imagesTr/case{case}_0001.nii.gz", image_DHW[None],
                Geometry((4, 5, 6), (3.0, 2.0, 1.0), (x_mm, 11.0, 30.0)))


def test_coverage_is_of_the_cases_that_have_the_channel(raw, image_DHW):
    folder = raw(n_cases=3, n_channels=2, reference_channel="MR0", optional_channels=["MR1"])
    other_grid(folder, image_DHW, 0, -4.0)  # covers three of six columns
    (folder / "imagesTr/case2_0001.nii.gz").unlink()
    result = measured(folder)
    assert result.coverage == (1.0, pytest.approx((0.5 + 1) / 2)) and result.presence == (1.0, pytest.approx(2 / 3))


def test_foreground_outside_a_field_of_view_is_not_measured(raw, image_DHW):
    folder = raw(n_cases=1, n_channels=2, reference_channel="MR0")
    other_grid(folder, image_DHW, 0, -6.0)  # the labelled voxels of columns 0, 1 and 5 are: absent, its 1, its 119
    first, second = measured(folder).intensities
    assert (first.min, first.max) == (1, 120)
    assert (second.min, second.max, second.mean) == (1, 119, 60)


def test_a_field_of_view_cuts_nothing_off(raw, image_DHW):
    folder = raw(n_cases=1, n_channels=2, reference_channel="MR0")
    other_grid(folder, image_DHW, 0, -4.0)
    assert measured(folder).cases[0].shape == (4, 5, 6)


def with_table(raw):
    folder = raw(n_channels=1, conditions={"table": "clinical.csv", "columns": {"age": {"kind": "number"}},
                                           "vectors": {"rna": "vectors"}})
    (folder / "clinical.csv").write_text("case,age\ncase0,40\ncase1,60\n")
    (folder / "vectors").mkdir()
    np.save(folder / "vectors" / "case1.npy", np.arange(5.0))
    return folder


def test_conditions_are_measured_with_the_images(raw):
    result = measured(with_table(raw))
    age, rna = result.condition_stats
    assert (age.name, age.missing, age.mean, age.std) == ("age", 0, 50, 10)
    assert (rna.name, rna.missing) == ("rna", 0.5)
    assert [spec.width for spec in result.conditions.specs] == [None, 5]


def test_the_digest_follows_the_table_and_the_vectors(raw):
    folder = with_table(raw)
    digests = [measured(folder).digest, Dataset.open(folder).digest()]
    assert digests[0] == digests[1]
    (folder / "clinical.csv").write_text("case,age\ncase0,40\ncase1,61\n")
    digests.append(Dataset.open(folder).digest())
    np.save(folder / "vectors" / "case0.npy", np.arange(5.0))
    digests.append(Dataset.open(folder).digest())
    assert len(set(digests)) == 3


def test_a_fault_of_the_table_is_told_before_images_are_read(raw):
    folder = with_table(raw)
    (folder / "clinical.csv").write_text("case,age\ncase0,young\n")
    with pytest.raises(UserError, match="text in the number column 'age'"):
        measured(folder)


def test_a_digest_knows_how_channels_were_registered(raw):
    folder = raw(n_cases=1)
    files = Dataset.open(folder).cases[0]
    moved = Transform(np.column_stack([np.eye(3), (1.0, 0.0, 0.0)]))
    lattice = Geometry((2, 2, 2), (9.0, 9.0, 9.0))
    bent = [Transform(np.eye(3, 4), np.full((3, 2, 2, 2), value), lattice) for value in (0.0, 1.0)]
    digests = {case_digest(files), case_digest(files, {1: moved}), case_digest(files, {2: moved}),
               *(case_digest(files, {1: one}) for one in bent)}
    assert len(digests) == 5 and case_digest(files, {}) == case_digest(files)


def test_the_sarcomas_cover_what_is_known_of_them(sarcomas):
    """PET sees nearly the whole CT, MR a half of these two; the tumours take up FDG."""
    result = measured(sarcomas("STS_019", "STS_025"))
    ct, pet, mr = result.coverage
    assert ct == 1 and pet > 0.9 and 0.3 < mr < 0.7
    assert 2 < result.intensities[1].mean < 15 and result.intensities[2].min > 0


def test_spikes_are_warned_of_once_for_the_dataset(raw, geometry, caplog):
    folder = raw(n_cases=3)
    image_DHW = np.random.default_rng(0).normal(0.1, 0.02, geometry.shape).astype(np.float32)
    image_DHW[0, 0, 0] = 1e6
    for case in (0, 2):
        write_array(folder / f"imagesTr/case{case}_0000.nii.gz", image_DHW[None], geometry)
    measured(folder)
    (warning,) = [record.message for record in caplog.records if "spikes" in record.message]
    assert warning.startswith("Dataset001_Tiny: 2 of 3 cases hold intensity spikes; the first is case0, channel MR0: 1 of")
