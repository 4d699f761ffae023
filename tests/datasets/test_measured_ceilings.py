"""What grids leave of labels, measured on phantoms and on real labels."""

import json

import numpy as np
import pytest

from autoseg.datasets.ceiling import LabelledCase, left_of_labels, sampled
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import verify
from autoseg.datasets.measure import measure
from autoseg.formats import write_array, write_label
from autoseg.grids.components import components
from autoseg.grids.geometry import Geometry
from autoseg.grids.label_vote import resample_label
from autoseg.grids.resize import Resize
from planners.rules.ceiling import ceiling, thickness
from planners.schema.labels import LabelSpec

EDGE = 64


def balls(shape=(EDGE, EDGE, EDGE), n=5, radius=(8, 14), seed=0) -> np.ndarray:
    random = np.random.default_rng(seed)
    label_DHW = np.zeros(shape, dtype=np.int16)
    z, y, x = np.ogrid[:shape[0], :shape[1], :shape[2]]
    for _ in range(n):
        r = random.uniform(*radius)
        centre = [random.uniform(min(r, edge / 2), max(edge - r, edge / 2)) for edge in shape]
        label_DHW[(z - centre[0])**2 + (y - centre[1])**2 + (x - centre[2])**2 < r**2] = 1
    return label_DHW


def dataset(folder, label_maps, spacings_mm=((1.0, 1.0, 1.0),), ending=".nii.gz", **keys) -> Dataset:
    content = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}, "numTraining": len(label_maps),
               "file_ending": ending} | keys
    for number, label_DHW in enumerate(label_maps):
        geometry = Geometry(label_DHW.shape, spacings_mm[number % len(spacings_mm)])
        image_CDHW = (1 + label_DHW + number)[None].astype(np.float32)
        write_array(folder / f"imagesTr/c{number:02}_0000{ending}", image_CDHW, geometry)
        write_label(folder / f"labelsTr/c{number:02}{ending}", label_DHW, geometry)
    (folder / "dataset.json").write_text(json.dumps(content))
    return Dataset.open(folder)


def measured(folder, label_maps, **keys):
    return measure(dataset(folder, label_maps, **keys), "Dataset001_X")


def test_the_ceiling_is_the_dice_of_the_label_that_went_to_the_grid_and_back(tmp_path):
    label_DHW = balls()
    fingerprint = measured(tmp_path, [label_DHW])
    for factor, edge in ((1.5, 43), (2.0, 32), (3.0, 21)):
        back = resample_label(resample_label(label_DHW, Resize((EDGE,) * 3, (edge,) * 3, (1, 1, 1))),
                              Resize((edge,) * 3, (EDGE,) * 3, (1, 1, 1)))
        dice = 2 * (label_DHW & back).sum() / (label_DHW.sum() + back.sum())
        (label,) = next(grid.labels for grid in fingerprint.ceilings if grid.factors == (factor,) * 3)
        assert label.dice == pytest.approx(dice, abs=1e-4)


def test_the_full_resolution_of_cases_with_one_spacing_loses_nothing(tmp_path):
    first = measured(tmp_path, [balls(seed=seed) for seed in range(3)]).ceilings[0]
    assert first.factors == (1.0, 1.0, 1.0)
    assert (first.labels[0].dice, first.labels[0].kept, first.labels[0].cases) == (1.0, 1.0, 3)


def test_cases_of_very_different_spacings_lose_at_the_full_resolution(tmp_path):
    maps = [balls(seed=seed, radius=(4, 6)) for seed in range(3)]
    fingerprint = measured(tmp_path, maps, spacings_mm=((0.4, 0.4, 0.4), (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)))
    assert fingerprint.ceilings[0].labels[0].dice < 1
    assert ceiling(fingerprint, (1.0, 1.0, 1.0), (0, 1, 2)).dice == fingerprint.ceilings[0].labels[0].dice


def test_a_label_of_one_voxel_is_lost_or_kept_as_a_component(tmp_path):
    label_DHW = np.zeros((24, 24, 24), np.int16)
    label_DHW[5, 5, 5] = 1
    fingerprint = measured(tmp_path, [label_DHW] * 2)
    left = {grid.factors: grid.labels[0] for grid in fingerprint.ceilings}
    assert (left[1.0, 1.0, 1.0].dice, left[1.0, 1.0, 1.0].kept) == (1.0, 1.0)
    assert left[2.0, 2.0, 2.0].dice == 0.0 and left[2.0, 2.0, 2.0].kept == 0.0
    assert left[2.0, 2.0, 2.0].components == 2
    assert fingerprint.label_stats[0].extent_mm == (1.0, 1.0, 1.0)
    assert ceiling(fingerprint, (2.5, 2.5, 2.5), (0, 1, 2)).dice <= 0.001


def test_a_single_slice_and_a_single_case_are_measured_in_plane(tmp_path):
    flat = balls((1, 96, 96), radius=(9, 14))
    fingerprint = measured(tmp_path, [flat], spacings_mm=((999.0, 1.0, 1.0),))
    assert ceiling(fingerprint, (1.0, 1.0), (0, 1, 2)).dice == 1.0
    assert 0.8 < ceiling(fingerprint, (2.0, 2.0), (0, 1, 2)).dice < 1.0


def test_a_label_that_no_case_has_is_in_no_ceiling(tmp_path):
    fingerprint = measured(tmp_path, [balls()], labels={"background": 0, "a": 1, "b": 2})
    assert all([label.name for label in grid.labels] == ["a"] for grid in fingerprint.ceilings)


def test_a_region_is_measured_as_one_label(tmp_path):
    label_DHW = balls()
    label_DHW[:, :, EDGE // 2:] *= 2
    fingerprint = measured(tmp_path, [label_DHW], labels={"background": 0, "whole": [1, 2], "half": 2},
                           regions_class_order=[1, 2])
    whole, half = next(grid.labels for grid in fingerprint.ceilings if grid.factors == (2.0, 2.0, 2.0))
    assert (whole.components, whole.cases) == (components(label_DHW > 0)[1], 1)
    assert half.components == components(label_DHW == 2)[1]
    assert whole.dice > 0.95


def test_what_is_ignored_is_not_counted_as_predicted(tmp_path):
    files = dataset(tmp_path, [np.pad(np.ones((4, 4, 4), np.int16), 7)]).cases[0]
    label_DHW = np.pad(np.ones((4, 4, 4), np.int16), 7, constant_values=2)
    write_label(files.label, label_DHW, Geometry(label_DHW.shape, (1.0, 1.0, 1.0)))
    case = LabelledCase(files, ((0, 18),) * 3, (1.0, 1.0, 1.0), ("a",))
    grids = [(3.0, 3.0, 3.0)]
    names = {"background": (0,), "a": (1,)}
    ignoring = left_of_labels(case, LabelSpec(names=names, ignore=2), (1.0,) * 3, grids)["a"].dice_G[0]
    counting = left_of_labels(case, LabelSpec(names=names | {"b": (2,)}), (1.0,) * 3, grids)["a"].dice_G[0]
    assert ignoring == 1 and counting < 0.6  # the coarse voxels reach beyond the label


def test_the_sample_is_spread_evenly_and_has_more_of_the_cases_with_a_rare_label():
    held = [("organ",) if i % 20 else ("organ", "lesion") for i in range(200)]
    chosen = sampled(held, ("organ", "lesion"))
    assert chosen == sampled(held, ("organ", "lesion")) and 20 <= len(chosen) <= 40
    assert (chosen[0], chosen[-1]) == (0, 199)
    assert sum("lesion" in held[i] for i in chosen) == 8


def test_every_rare_label_is_sampled_however_many_there_are():
    rare = [f"rare_{number}" for number in range(12)]
    held = [("organ", *(rare[i % 12 : i % 12 + 1] if i < 96 else ())) for i in range(1000)]
    chosen = sampled(held, ("organ", *rare))
    assert all(sum(name in held[i] for i in chosen) >= 2 for name in rare)


def test_a_small_dataset_is_measured_whole():
    assert sampled([("organ",)] * 7, ("organ",)) == list(range(7))


@pytest.mark.parametrize("thick", [1, 3, 5])
def test_slices_are_as_thick_as_the_structures_say_whatever_the_header_says(tmp_path, thick):
    # The objects are balls; every slice but one of `thick` is left out, and the header still says 1 mm.
    maps = [balls((117, 120, 120), n=6, radius=(18, 28), seed=seed)[thick // 2::thick] for seed in range(4)]
    known = thickness(measured(tmp_path, maps))
    assert known == pytest.approx(thick, rel=0.25)


def test_verify_warns_of_a_label_that_the_full_resolution_leaves_little_of(tmp_path):
    maps = [balls((32, 32, 32), radius=(1.2, 1.6), seed=seed) for seed in range(3)]
    dataset(tmp_path, maps, spacings_mm=((0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (1.5, 1.5, 1.5)))
    (warning,) = [line for line in verify(tmp_path).warnings if "full resolution" in line]
    assert "'a'" in warning and "components" in warning and "merge it" in warning


def test_real_labels_lose_more_on_coarser_grids(shared_data, tmp_path):
    source = shared_data / "Dataset004_Hippocampus"
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
        for path in sorted((source / part).glob("hippocampus_0[0-2]*")):
            (tmp_path / part / path.name).symlink_to(path)
    content = json.loads((source / "dataset.json").read_text())
    n_cases = len(list((tmp_path / "labelsTr").iterdir()))
    (tmp_path / "dataset.json").write_text(json.dumps({**content, "numTraining": n_cases}))
    fingerprint = measure(Dataset.open(tmp_path), "Dataset004_X")
    dice = [ceiling(fingerprint, (mm, mm, mm), (0, 1, 2)).dice for mm in (1.0, 1.5, 2.0, 3.0)]
    assert dice[0] == 1.0 and dice == sorted(dice, reverse=True)
    assert 0.86 < dice[2] < 0.90  # 20 of 200 cases: 0.881
