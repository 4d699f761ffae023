"""Phases, a channel on its own grid, a clinical table with holes: through the console commands, with whatever is there."""

import json
import shutil

import numpy as np
import pytest

from autoseg.cli import ablate, plan_and_preprocess, predict, train, verify
from autoseg.datasets.phantom import write_phantoms
from autoseg.formats import read_header, read_label
from autoseg.workspace.files import read_json

DATASET = "Dataset003_Phases"
TINY = ["--set", "schedule.iterations=4", "--set", "schedule.iterations_per_epoch=2",
        "--set", "architecture.features=[4, 8, 8]", "--set", "architecture.strides=[[1,1,1],[1,2,2],[2,2,2]]",
        "--set", "architecture.kernel_sizes=[[1,3,3],[3,3,3],[3,3,3]]", "--set", "architecture.blocks_encoder=[1,1,1]",
        "--set", "architecture.convs_decoder=[1,1]", "--set", "patch=[8,32,32]", "--set", "architecture.block=plain",
        "--set", "batch=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with phantoms, most of which lack something, and fold 0 trained for a moment."""
    home = tmp_path_factory.mktemp("home")
    write_phantoms(home / "raw" / DATASET, n_cases=6, seed=3, n_test=1)
    common = ["--home", str(home), "--device", "cpu"]
    assert verify.main(["-d", "3", "--home", str(home), "--workers", "1"]) == 0
    assert plan_and_preprocess.main(["-d", "3", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", *common]) == 0
    assert train.main(["3", "3d_fullres", "0", *TINY, *common]) == 0
    return home


def images(home):
    return home / "raw" / DATASET / "imagesTs"


def predicted(home, source, target, *more):
    """Predict; the label map of the only case."""
    assert predict.main(["-i", str(source), "-o", str(target), "--home", str(home), "--device", "cpu", *more]) == 0
    label, geometry = read_label(target / "phantom_test_000.nii.gz")
    venous = read_header(images(home) / "phantom_test_000_0001.nii.gz").geometry
    assert geometry.difference(venous) == ""
    return label


def copied(home, target, *numbers, table=True):
    """A folder with some channels of the held-out case, and its table or none."""
    target.mkdir()
    for number in numbers:
        shutil.copy(images(home) / f"phantom_test_000_{number:04}.nii.gz", target)
    if table:
        shutil.copy(images(home) / "clinical.csv", target)
    return target


def test_the_plan_says_in_words_what_becomes_of_every_input(home):
    reasons = "\n".join(json.loads((home / "prepared" / DATASET / "plan_budgeted.json").read_text())["reasons"])
    for said in ("'MR_T2' is regridded to the grid of CT_venous", "CT_arterial, CT_delayed, MR_T2 hidden in 30%",
                 "cirrhosis, age, sex, afp condition the network by film"):
        assert said in reasons


def test_the_fingerprint_knows_what_is_missing(home):
    fingerprint = json.loads((home / "prepared" / DATASET / "fingerprint.json").read_text())
    presence = dict(zip(("CT_arterial", "CT_venous", "CT_delayed", "MR_T2"), fingerprint["presence"], strict=True))
    lacking = {name: 6 - len(list((home / "raw" / DATASET / "imagesTr").glob(f"*_{number:04}.nii.gz")))
               for number, name in enumerate(presence)}
    assert presence == {name: pytest.approx((6 - n) / 6) for name, n in lacking.items()}
    assert fingerprint["coverage"][1] == 1
    assert 0.3 < fingerprint["coverage"][3] < 0.9
    assert {stats["name"] for stats in fingerprint["condition_stats"]} == {"cirrhosis", "age", "sex", "afp"}


def test_any_subset_of_optional_channels_and_of_the_table_is_predicted(home, tmp_path):
    whole = predicted(home, images(home), tmp_path / "whole")
    for name, numbers, table in (("venous", (1,), True), ("no_mr", (0, 1, 2), True), ("no_table", (0, 1, 2, 3), False)):
        source = copied(home, tmp_path / name, *numbers, table=table)
        assert predicted(home, source, tmp_path / f"{name}_masks").shape == whole.shape


def test_a_column_that_is_gone_at_prediction_is_missing_and_said(home, tmp_path, capsys):
    source = copied(home, tmp_path / "images", 0, 1, 2, 3, table=False)
    (source / "clinical.csv").write_text("patient,age\nphantom_test_000,63\n")
    predicted(home, source, tmp_path / "masks")
    assert "cirrhosis" in capsys.readouterr().err


def test_a_category_that_training_never_saw_goes_to_other_with_a_warning(home, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("patient,sex,cirrhosis\nphantom_test_000,intersex,yes\n")
    predicted(home, images(home), tmp_path / "masks", "--table", str(table))
    said = capsys.readouterr().err
    assert "intersex" in said
    assert "other" in said


def test_a_number_far_from_those_of_training_is_said(home, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("patient,age\nphantom_test_000,780 months\n")
    predicted(home, images(home), tmp_path / "masks", "--table", str(table))
    assert "column age: the numbers of 1 of 1 cases lie more than 5 standard deviations from" in capsys.readouterr().err


def test_a_required_channel_that_is_missing_is_named_with_its_case(home, tmp_path, capsys):
    source = copied(home, tmp_path / "images", 0, 2)
    assert predict.main(["-i", str(source), "-o", str(tmp_path / "masks"), "--home", str(home), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "CT_venous" in said
    assert "phantom_test_000" in said


def test_the_encoder_travels_in_the_checkpoint(home, tmp_path):
    fold = home / "models" / DATASET / "budgeted" / "3d_fullres" / "fold_0"
    from autoseg.workspace.checkpoint import load_weights

    facts = load_weights(fold / "checkpoint.safetensors")[1]
    assert facts["encoder"] == read_json(fold / "encoder.json")
    moved = tmp_path / "3d_fullres"
    shutil.copytree(fold.parent, moved)
    (moved / "fold_0" / "encoder.json").unlink()
    predicted(home, images(home), tmp_path / "masks", "-m", str(moved))


def test_the_ablation_scores_every_subset_and_says_what_it_means(home, capsys):
    assert ablate.main(["3", "3d_fullres", "0", "--home", str(home), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for name in ("MR_T2", "CT_arterial", "shuffled", "cirrhosis"):
        assert name in said


def test_patients_of_one_group_share_a_fold(tmp_path):
    raw = tmp_path / "raw" / DATASET
    write_phantoms(raw, n_cases=4, seed=3, n_test=0)
    declared = json.loads((raw / "dataset.json").read_text())
    (raw / "dataset.json").write_text(json.dumps({**declared, "groups": {"patient": "person"}}))
    rows = (raw / "clinical.csv").read_text().splitlines()
    people = ["person", "a", "a", "b", "c"]
    (raw / "clinical.csv").write_text("\n".join(f"{row},{who}" for row, who in zip(rows, people, strict=True)))
    common = ["--home", str(tmp_path), "--device", "cpu"]
    assert plan_and_preprocess.main(["-d", "3", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", *common]) == 0
    assert train.main(["3", "3d_fullres", "0", *TINY, *common]) == 0
    splits = json.loads((tmp_path / "prepared" / DATASET / "splits.json").read_text())
    assert len(splits) == 3
    assert any(set(split["validation"]) == {"phantom_000", "phantom_001"} for split in splits)


def test_vectors_and_bags_of_tokens_condition_by_attention(tmp_path):
    raw = tmp_path / "raw" / DATASET
    write_phantoms(raw, n_cases=4, seed=3, n_test=1)
    declared = json.loads((raw / "dataset.json").read_text())
    conditions = {"vectors": {"rna": "vectors/rna"}, "tokens": {"histology": "tokens/histology"}}
    (raw / "dataset.json").write_text(json.dumps({**declared, "conditions": conditions}))
    random = np.random.default_rng(0)
    for kind, shape in (("vectors/rna", (7,)), ("tokens/histology", (5, 3))):
        for place, cases in ((raw, ["phantom_000", "phantom_001", "phantom_002"]), (raw / "imagesTs", ["phantom_test_000"])):
            (place / kind).mkdir(parents=True)
            for case in cases:  # phantom_003 has neither
                np.save(place / kind / f"{case}.npy", random.normal(size=shape).astype(np.float32))
    common = ["--home", str(tmp_path), "--device", "cpu"]
    assert plan_and_preprocess.main(["-d", "3", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", *common]) == 0
    assert train.main(["3", "3d_fullres", "0", *TINY, *common]) == 0
    plan = json.loads((tmp_path / "models" / DATASET / "budgeted" / "3d_fullres" / "plan.json").read_text())
    assert plan["configurations"]["3d_fullres"]["conditioning"]["name"] == "tokens"
    predicted(tmp_path, raw / "imagesTs", tmp_path / "masks")
