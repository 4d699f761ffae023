"""One stage reads dataset.json, the folder of images, the clinical table and each raw file once."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.clinical.table import read_table
from autoseg.datasets import dataset as dataset_module
from autoseg.datasets import digests
from autoseg.datasets import raw as raw_module
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.raw import scan_training_cases
from autoseg.formats.files import digest, read_text
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training.assemble import assemble, known_folds
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.base import Part
from planners.schema.conditions import ConditionSpec, ConditionTable
from tests_support import small_plan, write_spheres

DATASET = "Dataset001_Spheres"
YEAR_2001 = 1_000_000_000


@pytest.fixture
def reads(monkeypatch):
    """How often each file was read, and how often folders were scanned for cases."""
    counts: Counter[str] = Counter()

    def counted(module, name, work):
        def count(path, *rest):
            counts[f"{name} {Path(path).name}"] += 1
            return work(path, *rest)
        monkeypatch.setattr(module, name, count)

    counted(dataset_module, "read_text", read_text)
    for module in (dataset_module, raw_module):
        counted(module, "scan_training_cases", scan_training_cases)
    counted(dataset_module, "read_table", read_table)
    counted(digests, "digest", digest)
    return counts


@pytest.fixture
def raw(tmp_path) -> Path:
    """Spheres whose files were written long ago, so that their time says whether they change."""
    folder = write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    for path in [*folder.glob("imagesTr/*"), *folder.glob("labelsTr/*")]:
        os.utime(path, (YEAR_2001, YEAR_2001))
    return folder


def add_table(folder: Path) -> None:
    (folder / "clinical.csv").write_text("case,age,who,annotated\n" + "".join(
        f"ball_{index:02},{40 + index},p{index},all\n" for index in range(5)))
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | {
        "conditions": {"table": "clinical.csv", "columns": {"age": {"kind": "number"}}}, "groups": {"patient": "who"},
        "labels_present": {"column": "annotated"}}))


def raw_digests(reads: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in reads.items() if name.startswith("digest ball_")}


def test_a_fingerprint_and_two_configurations_read_everything_once_per_stage(raw, reads, tmp_path):
    pipeline.fingerprint(DATASET, home=tmp_path, workers=1)
    assert reads["read_text dataset.json"] == 1 and reads[f"scan_training_cases {DATASET}"] == 1
    assert set(raw_digests(reads).values()) == {1} and len(raw_digests(reads)) == 10
    plan = small_plan()
    first = plan.configurations["3d_fullres"]
    both = {"3d_fullres": first, "3d_lowres": first.model_copy(update={"spacing_mm": (2.0, 2.0, 2.0)})}
    write_json(Workspace(tmp_path).plan(DATASET, "budgeted"), plan.model_copy(update={"configurations": both}))
    folders = pipeline.preprocess(DATASET, home=tmp_path, workers=1)
    assert [len(list(folder.glob("*.json"))) for folder in folders] == [5, 5]
    assert reads["read_text dataset.json"] == 2 and reads[f"scan_training_cases {DATASET}"] == 2
    assert set(raw_digests(reads).values()) == {1} and len(raw_digests(reads)) == 10


def test_a_fingerprint_that_is_up_to_date_hashes_nothing_again(raw, reads, tmp_path):
    first = pipeline.fingerprint(DATASET, home=tmp_path, workers=1)
    assert pipeline.fingerprint(DATASET, home=tmp_path, workers=1) == first
    assert set(raw_digests(reads).values()) == {1}


def test_what_workers_hashed_is_not_hashed_again(raw, reads, tmp_path, monkeypatch):
    monkeypatch.setattr("autoseg.base.parallel.start_at_once", lambda: True)
    monkeypatch.setattr("autoseg.datasets.measure._TRIED", 0)
    fingerprint = pipeline.fingerprint(DATASET, home=tmp_path, workers=2)
    assert Dataset.open(raw).digest() == fingerprint.digest
    assert raw_digests(reads) == {}


def test_a_file_that_changed_is_hashed_again(raw, reads):
    before = Dataset.open(raw).digest()
    assert Dataset.open(raw).digest() == before
    image = raw / "imagesTr" / "ball_00_0000.nii.gz"
    image.write_bytes((raw / "imagesTr" / "ball_01_0000.nii.gz").read_bytes())
    os.utime(image, (YEAR_2001 + 1, YEAR_2001 + 1))
    assert Dataset.open(raw).digest() != before
    assert raw_digests(reads).pop("digest ball_00_0000.nii.gz") == 2


def test_a_file_that_was_written_just_now_is_not_remembered(raw, reads):
    """Written again within the tick of a clock, it could have the same time."""
    image = raw / "imagesTr" / "ball_00_0000.nii.gz"
    os.utime(image, (4 * YEAR_2001, 4 * YEAR_2001))  # in the year 2096: later than now whenever this runs
    Dataset.open(raw).digest()
    Dataset.open(raw).digest()
    assert reads["digest ball_00_0000.nii.gz"] == 2 and reads["digest ball_01_0000.nii.gz"] == 1


def test_one_fold_parses_the_table_once(raw, reads, tmp_path):
    add_table(raw)
    conditions = ConditionTable(table="clinical.csv", specs=(ConditionSpec(name="age", kind="number"),))
    plan = small_plan(conditioning=Part(name="film")).model_copy(update={"conditions": conditions})
    workspace = Workspace(tmp_path)
    folder = workspace.cases(DATASET, "budgeted", "3d_fullres")
    preprocess_dataset(Dataset.open(raw), plan, "3d_fullres", folder).raise_faults()
    reads.clear()
    job, truths = assemble(workspace, plan, "3d_fullres", 0)
    assert reads["read_table clinical.csv"] == 1 and reads["read_text dataset.json"] == 1
    assert reads[f"scan_training_cases {DATASET}"] == 1
    assert job.conditions[job.training[0]].values["age"] >= 40 and len(job.annotated) == len(truths) == 5


def test_the_folds_are_known_from_one_reading(raw, reads, tmp_path):
    add_table(raw)
    assert known_folds(Workspace(tmp_path), DATASET) == [0, 1, 2, 3, 4]
    assert reads["read_table clinical.csv"] == 1 and reads["read_text dataset.json"] == 1


def test_a_check_parses_the_table_once(raw, reads, tmp_path):
    add_table(raw)
    assert pipeline.verify(DATASET, home=tmp_path, workers=1).faults == ()
    assert reads["read_table clinical.csv"] == 1 and reads["read_text dataset.json"] == 1


def test_conditions_of_another_table_than_the_declared_one_are_read_from_it(raw):
    add_table(raw)
    (raw / "older.csv").write_text("case,age\nball_00,77\n")
    declared = ConditionTable(table="older.csv", specs=(ConditionSpec(name="age", kind="number"),))
    dataset = Dataset.open(raw)
    assert dataset.conditions(["ball_00"]).cases["ball_00"].values["age"] == 40
    assert dataset.conditions(["ball_00"], declared).cases["ball_00"].values["age"] == 77


def test_cases_are_found_by_their_names(raw):
    dataset = Dataset.open(raw)
    assert dataset.names == [f"ball_{index:02}" for index in range(5)]
    assert dataset.case("ball_03").label == raw / "labelsTr" / "ball_03.nii.gz"
    assert dataset.cases[3] is dataset.case("ball_03")


def test_cases_have_the_faults_of_the_folder(raw):
    (raw / "labelsTr" / "ball_03.nii.gz").unlink()
    dataset = Dataset.open(raw)
    assert len(dataset.scanned.cases) == 5
    with pytest.raises(UserError, match="case ball_03: the case has no label"):
        _ = dataset.names


def test_a_fingerprint_refuses_outcomes_unless_they_are_allowed(raw, tmp_path):
    content = json.loads((raw / "dataset.json").read_text())
    (raw / "clinical.csv").write_text("case,OS\n" + "".join(f"ball_{index:02},{index}\n" for index in range(5)))
    (raw / "dataset.json").write_text(json.dumps(content | {
        "conditions": {"table": "clinical.csv", "columns": {"OS": {"kind": "number"}}}}))
    with pytest.raises(UserError, match=r"dataset.json, line 1, column \d+: an outcome as a condition: 'OS'"):
        pipeline.fingerprint(DATASET, home=tmp_path, workers=1)
    assert "an outcome as a condition" in pipeline.verify(DATASET, home=tmp_path, workers=1).faults[0]
    assert pipeline.verify(DATASET, home=tmp_path, workers=1, allow_outcomes=True).faults == ()
    allowed = pipeline.fingerprint(DATASET, home=tmp_path, workers=1, allow_outcomes=True)
    assert allowed.conditions.specs[0].name == "OS"
