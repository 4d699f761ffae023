"""dataset.json, tables and folds, damaged at random: a sentence or a value, never a traceback."""

import json
import logging

import numpy as np
import pytest

from autoseg.base.errors import AutosegError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import parse_manifest
from autoseg.training.splits import check_splits, read_splits
from autoseg.workspace.names import Workspace
from fuzzed import changed, damaged_json, damaged_text

RICH = {
    "channel_names": {"0": "CT", "1": "PET"}, "file_ending": ".nii.gz", "numTraining": 3, "name": "x",
    "labels": {"background": 0, "liver": [1, 2], "spleen": 2, "ignore": 3}, "regions_class_order": [1, 2],
    "optional_channels": ["PET"], "reference_channel": "CT", "registration": {"PET": "rigid"},
    "conditions": {"table": "clinical.csv", "id": "case", "match": "pattern", "pattern": "(.*)_x",
                   "columns": {"age": {"kind": "number", "transform": "log"},
                               "ecog": {"kind": "ordinal", "order": ["0", "1"]},
                               "sex": {"kind": "category", "available_at": "baseline"}},
                   "vectors": {"rna": "vectors"}, "tokens": {"tiles": "tokens"}},
    "groups": {"patient": "who", "site": "where"}, "labels_present": {"a_x": ["liver"]},
    "paired_labels": [["liver", "spleen"]],
    "dataset": {"a_x": {"images": ["a.nii.gz", None], "label": "l.nii.gz"}}}
PLAIN = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
TABLE = 'case,age,ecog,sex,who,where\na_x,59,0,f,p1,X\nb_x,"1,5",1,m,p1,Y\n095,>=90,,--,p2,X\n'
NAMES = ["a_x", "b_x", "095"]
FEW, MANY = 400, 30_000


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("n", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_damaged_dataset_json_is_read_or_refused(tmp_path, n):
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(n):
        text = damaged_json(rng, RICH if i % 2 else PLAIN)
        try:
            parse_manifest(text, tmp_path / "dataset.json")
        except AutosegError as error:
            refused += bool(str(error))
    assert refused > n / 4


@pytest.mark.parametrize("n", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_a_damaged_table_is_read_or_refused(tmp_path, n):
    rng = np.random.default_rng(1)
    refused = 0
    for i in range(n):
        match = ({}, {"match": "prefix"}, {"match": "pattern", "pattern": "([0-9a-z]+)"})[i % 3]
        conditions = {"table": "clinical.csv", "id": "case", "columns": RICH["conditions"]["columns"], **match}
        (tmp_path / "dataset.json").write_text(json.dumps(PLAIN | {"conditions": conditions, "groups": RICH["groups"]}))
        text = damaged_text(rng, TABLE)
        (tmp_path / "clinical.csv").write_bytes(text.encode(("utf-8", "utf-16", "cp1252")[rng.integers(3)], "replace"))
        raw = Dataset.open(tmp_path)
        for read in (raw.conditions, raw.groups, raw.table_warnings):
            try:
                read(NAMES)
            except AutosegError as error:
                refused += bool(str(error))
    assert refused > n / 4


@pytest.mark.parametrize("n", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_damaged_folds_are_read_or_refused(tmp_path, n):
    rng = np.random.default_rng(2)
    (tmp_path / "raw" / "Dataset001_X").mkdir(parents=True)
    workspace = Workspace(tmp_path)
    sound = [split.model_dump(mode="json") for split in read_splits(workspace, "Dataset001_X", NAMES)]
    own = workspace.raw("Dataset001_X") / "splits_final.json"
    refused = 0
    for i in range(n):
        users = [{"train": split["train"], "val": split["validation"]} for split in sound]
        own.unlink(missing_ok=True)
        path = own if i % 2 else workspace.splits("Dataset001_X")
        path.write_text(json.dumps(changed(rng, users if i % 2 else sound, int(rng.integers(1, 4)))), encoding="utf-8")
        faults, _ = check_splits(workspace, "Dataset001_X", NAMES)
        try:
            splits = read_splits(workspace, "Dataset001_X", NAMES)
            assert not faults and all(split.train and not {*split.train} & {*split.validation} for split in splits)
        except AutosegError:
            refused += 1
            assert faults
    assert refused > n / 4
