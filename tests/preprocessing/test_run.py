"""A dataset prepared: resumed, in parallel, and in spite of cases that fail."""

import numpy as np
import pytest
import SimpleITK as sitk

from autoseg.base import memory, parallel
from autoseg.base.errors import ManyFaults
from autoseg.base.processes import load_plugin
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.grids.transform import Transform
from autoseg.preprocessing import run
from autoseg.preprocessing.run import preprocess_dataset, recipe_digest
from autoseg.preprocessing.store import open_prepared, prepared_names
from preprocess_plans import tiny_plan

DATASET = """{"channel_names": {"0": "MR_0"}, "labels": {"background": 0, "liver": 1, "tumour": 2},
              "numTraining": 3, "file_ending": ".nii.gz"}"""
# Kills its process where the image holds 666, as the system does when memory is short.
PLUGIN = """
import os
from autoseg.preprocessing.normalize import NORMALIZERS, without_options

@NORMALIZERS.register("deadly")
@without_options
def deadly(image_DHW, inside_DHW):
    if (image_DHW == 666).any():
        os._exit(9)
    return image_DHW.astype("float32")
"""


def write_case(folder, name, mark=5.0):
    image = np.random.default_rng(len(name)).uniform(1, 9, (6, 7, 8)).astype(np.float32)
    image[0, 0, 0] = mark
    label = np.zeros((6, 7, 8), dtype=np.uint8)
    label[2:4, 2:5, 3:6] = 2
    for part, array, suffix in (("imagesTr", image, "_0000"), ("labelsTr", label, "")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / part / f"{name}{suffix}.nii.gz"))


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "Dataset001_Tiny"
    for name in ("a", "b", "c"):
        write_case(folder, name)
    (folder / "dataset.json").write_text(DATASET)
    return folder


def prepare_all(raw, plan=None, **options):
    return preprocess_dataset(Dataset.open(raw), plan or tiny_plan(), "tiny", raw.parent / "out", **options)


def test_every_case_is_prepared_once(raw):
    calls = []
    first = prepare_all(raw, progress=lambda: calls.append(1))
    assert first.done == ("a", "b", "c") and first.current == () and first.faults == () and len(calls) == 3
    first.raise_faults()
    assert prepared_names(raw.parent / "out") == ["a", "b", "c"]
    again = prepare_all(raw, progress=lambda: calls.append(1))
    assert again.done == () and again.current == ("a", "b", "c") and len(calls) == 6


def test_a_changed_file_is_prepared_again_and_the_others_are_kept(raw):
    prepare_all(raw)
    write_case(raw, "b", mark=7.0)
    assert prepare_all(raw).done == ("b",)


def test_a_damaged_case_is_prepared_again(raw):
    prepare_all(raw)
    file = raw.parent / "out" / "c.arrays"
    file.write_bytes(file.read_bytes()[:-3])
    assert prepare_all(raw).done == ("c",)
    assert open_prepared(raw.parent / "out", "c").label_DHW[2, 2, 3] == 2


def test_what_does_not_touch_preparing_leaves_cases_current(raw):
    plan = tiny_plan()
    prepare_all(raw, plan)
    tiny = plan.configurations["tiny"]
    for changed, redone in (({"batch": 7, "patch": (4, 4, 4)}, 0), ({"spacing_mm": (2.0, 1.0, 1.0)}, 3)):
        other = plan.model_copy(update={"configurations": {"tiny": tiny.model_copy(update=changed)}})
        assert len(prepare_all(raw, other).done) == redone


def test_the_recipe_knows_labels_and_transposition():
    digests = {recipe_digest(plan, plan.configurations["tiny"]) for plan in (
        tiny_plan(), tiny_plan(transpose=(1, 0, 2)), tiny_plan(normalizers=("none",)),
        tiny_plan(labels=tiny_plan().labels.model_copy(update={"ignore": 3})))}
    assert len(digests) == 4


def test_a_bad_case_is_named_and_ends_nothing(raw):
    prepare_all(raw)
    (raw / "imagesTr" / "b_0000.nii.gz").write_bytes(b"no image")
    result = prepare_all(raw)
    assert result.done == () and result.current == ("a", "c") and len(result.faults) == 1
    assert result.faults[0].startswith("b: ") and "b_0000.nii.gz" in result.faults[0]
    assert prepared_names(raw.parent / "out") == ["a", "c"]  # what was made of the old file is not believed any more
    with pytest.raises(ManyFaults, match="1 fault found"):
        result.raise_faults()


def test_an_unforeseen_fault_is_reported_with_its_kind(raw, monkeypatch):
    def fail(case, plan, configuration):
        raise ZeroDivisionError("of the planets") if case.name == "a" else MemoryError
    monkeypatch.setattr(run, "prepare", fail)
    assert prepare_all(raw).faults == ("a: ZeroDivisionError: of the planets", "b: not enough memory",
                                       "c: not enough memory")


def test_a_dying_worker_costs_no_case_but_its_own(raw, monkeypatch):
    (raw.parent / "deadly_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(raw.parent))
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)  # no case is tried in this process
    write_case(raw, "b", mark=666.0)
    load_plugin("deadly_plugin")
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)  # else the first cases are done in this process
    result = prepare_all(raw, tiny_plan(normalizers=("deadly",)), workers=2)
    assert result.done == ("a", "c")
    assert len(result.faults) == 1 and result.faults[0].startswith("b: a worker process ended abruptly, working alone")


def test_fewer_workers_are_started_where_memory_is_short(raw, monkeypatch, caplog):
    monkeypatch.setattr(run, "case_bytes", lambda job: 2**30)
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 2**31)
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)
    monkeypatch.setattr(parallel, "process_pool", lambda _: pytest.fail("a process was started"))
    with caplog.at_level("INFO", "autoseg"):
        assert len(prepare_all(raw, workers=3).done) == 3
    assert "preparing: 1 instead of 3 workers of about 1.4 GiB for 2.0 GiB free" in caplog.text


def test_workers_prepare_cases_as_one_process_does(raw, monkeypatch):
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)
    alone = prepare_all(raw)
    before = {path.name: path.read_bytes() for path in (raw.parent / "out").iterdir()}
    for name in alone.done:
        run.remove_prepared(raw.parent / "out", name)
    assert prepare_all(raw, workers=2).done == alone.done
    assert {path.name: path.read_bytes() for path in (raw.parent / "out").iterdir()} == before


def test_the_memory_of_a_case_grows_with_its_resampled_size(raw):
    files = Dataset.open(raw).cases[0]
    coarse, fine = (run.case_bytes(run.Job(files, plan, plan.configurations["tiny"], raw))
                    for plan in (tiny_plan(), tiny_plan((0.1, 0.1, 0.1))))
    assert fine - coarse == 4 * (1 + 3) * 6 * 7 * 8 * 999


@pytest.fixture
def two_grids(raw):
    """The same cases with an MR that covers the last five of the eight columns."""
    for name in ("a", "b", "c"):
        part = sitk.GetImageFromArray(np.random.default_rng(0).uniform(1, 9, (6, 7, 5)).astype(np.float32))
        part.SetOrigin((3.0, 0.0, 0.0))
        sitk.WriteImage(part, str(raw / "imagesTr" / f"{name}_0001.nii.gz"))
    declared = DATASET.replace('{"0": "MR_0"}', '{"0": "MR_0", "1": "MR_1"}')
    (raw / "dataset.json").write_text(declared[:-1] + ', "reference_channel": "MR_0"}')
    return raw


def plan_of(raw, **changes):
    plan = tiny_plan(normalizers=("zscore", "zscore"))
    return plan.model_copy(update={"channels": read_manifest(raw).channels} | changes)


def test_channels_on_their_own_grids_are_prepared_with_what_is_absent(two_grids):
    assert prepare_all(two_grids, plan_of(two_grids)).faults == ()
    absent_CDHW = open_prepared(two_grids.parent / "out", "b").absent_CDHW[:]
    assert not absent_CDHW[0].any() and absent_CDHW[1, 0, 0].tolist() == [True] * 3 + [False] * 5
    assert prepare_all(two_grids, plan_of(two_grids)).current == ("a", "b", "c")


def test_another_way_of_alignment_is_another_recipe(two_grids):
    plan = plan_of(two_grids)
    first, second = plan.channels
    others = [plan_of(two_grids, channels=(first, second.model_copy(update={"registration": "rigid"}))),
              plan_of(two_grids, channels=(first.model_copy(update={"reference": False}), second))]
    assert len({recipe_digest(one, one.configurations["tiny"]) for one in (plan, *others)}) == 3


def test_a_case_that_is_registered_anew_is_prepared_again(two_grids, monkeypatch, tmp_path):
    shifts = {"a": 0.0, "b": 0.0, "c": 0.0}

    def transforms_of(folder, files):
        assert folder == tmp_path / "registration"
        return {1: Transform(np.column_stack([np.eye(3), (shifts[files.name], 0.0, 0.0)]))}
    monkeypatch.setattr(run, "transforms_of", transforms_of)
    where = {"transforms": tmp_path / "registration"}
    assert len(prepare_all(two_grids, plan_of(two_grids), **where).done) == 3
    shifts["c"] = 2.0
    assert prepare_all(two_grids, plan_of(two_grids), **where).done == ("c",)
    rows = {name: open_prepared(two_grids.parent / "out", name).absent_CDHW[1, 0, 0].tolist() for name in shifts}
    assert rows["a"] == rows["b"] == [True] * 3 + [False] * 5
    assert rows["c"] == [True] + [False] * 5 + [True] * 2


def test_a_channel_on_a_grid_of_its_own_takes_memory_of_its_own(two_grids):
    files = Dataset.open(two_grids).cases[0]
    plan = plan_of(two_grids)
    alike = plan_of(two_grids, channels=tuple(c.model_copy(update={"registration": "none"}) for c in plan.channels))
    brought, there = (run.case_bytes(run.Job(files, one, one.configurations["tiny"], two_grids)) for one in (plan, alike))
    assert brought - there == 4 * 3 * 6 * 7 * 8 + 2 * 4 * 6 * 7 * 8
