"""Each command on a tiny workspace: status 0, what it prints, and what it leaves."""

import json
import pickle
from contextlib import nullcontext

import pytest

from autoseg import pipeline
from autoseg.cli import (
    ablate,
    compare,
    demo,
    describe_inputs,
    evaluate,
    find_best_configuration,
    overlay,
    plan_and_preprocess,
    predict,
    report,
    train,
    verify,
)
from autoseg.orchestrate.distribute import Nodes
from folds_support import near, write_balls
from orchestrate_folds import DATASET
from tests_support import write_spheres


def test_verify_finds_no_fault_in_sound_data(trained, capsys):
    assert verify.main(["-d", "1", "--home", str(trained.home), "--workers", "1"]) == 0
    assert capsys.readouterr().out == "1: no fault found\n"


def test_verify_lists_all_faults_at_once(tmp_path, capsys):
    raw = write_spheres(tmp_path / "raw" / DATASET, n_cases=3)
    (raw / "labelsTr" / "ball_00.nii.gz").unlink()
    (raw / "imagesTr" / "ball_01_0000.nii.gz").write_bytes(b"damaged")
    assert verify.main(["-d", "1", "--home", str(tmp_path), "--workers", "1"]) == 2
    error = capsys.readouterr().err
    assert "ball_00" in error and "ball_01" in error and "Traceback" not in error


def test_describe_inputs_has_nothing_to_declare_for_one_channel(trained, capsys):
    assert describe_inputs.main(["-d", "1", "--home", str(trained.home)]) == 0
    assert "nothing to declare" in capsys.readouterr().out


def test_plan_and_preprocess_prints_reasons_folders_and_the_next_command(tmp_path, capsys):
    write_spheres(tmp_path / "raw" / DATASET, n_cases=2)
    assert plan_and_preprocess.main(["-d", "1", "-p", "classic", "-c", "3d_fullres", "--memory", "8G", "--home",
                                     str(tmp_path), "--workers", "1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{DATASET}, planned by classic:\n  ")
    assert f"\nprepared: {tmp_path / 'prepared' / DATASET}" in printed
    assert "\nnext: autoseg_train 1 3d_fullres 0 -p classic\n  3d_fullres first: " in printed


def test_train_prints_the_scores_of_the_fold(trained):
    assert f"{DATASET} 3d_fullres fold 0: 6 iterations" in trained.printed
    assert "sphere" in trained.printed and "core" in trained.printed
    assert trained.printed.endswith("next: autoseg_predict -i IMAGES -o MASKS -d 1\n")


def test_train_of_a_finished_fold_reads_its_result(trained, capsys):
    before = (trained.validation.parent / "metrics.jsonl").stat().st_mtime_ns
    assert train.main(["1", "3d_fullres", "0", "--home", str(trained.home), "--device", "cpu"]) == 0
    assert "3d_fullres fold 0: 6 iterations" in capsys.readouterr().out
    assert (trained.validation.parent / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("words", [["1"], ["1", "0"], ["1", "3d_fullres"]])
def test_train_takes_what_the_plan_advises_where_words_are_left_out(trained, capsys, words):
    assert train.main([*words, "--home", str(trained.home), "--device", "cpu"]) == 0
    assert "3d_fullres fold 0" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["1", "-p", "budgeted", "3d_fullres", "0"], ["1", "3d_fullres", "-p", "budgeted", "0"],
                                   ["1", "--seed", "0", "0"]])
def test_options_may_stand_between_the_words_of_train(trained, capsys, words):
    assert train.main([*words, "--home", str(trained.home), "--device", "cpu"]) == 0
    assert "3d_fullres fold 0" in capsys.readouterr().out


def test_train_deletes_nothing_that_nobody_named(trained, capsys):
    assert train.main(["1", "--restart", "--home", str(trained.home), "--device", "cpu"]) == 2
    assert "no configuration is named" in capsys.readouterr().err


def test_train_refuses_a_fold_that_the_dataset_does_not_have(trained, capsys):
    assert train.main(["1", "3d_fullres", "7", "--home", str(trained.home), "--device", "cpu"]) == 2
    assert "unknown fold '7'" in capsys.readouterr().err


def test_predict_writes_one_mask_per_case(trained, tmp_path, capsys):
    command = ["-i", str(trained.raw / "imagesTr"), "-o", str(tmp_path / "masks"), "-d", "1", "--mirroring", "off",
               "--home", str(trained.home), "--device", "cpu"]
    assert predict.main(command) == 0
    assert capsys.readouterr().out == f"5 masks written to {tmp_path / 'masks'}\n"
    assert sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz")) == [f"ball_0{i}.nii.gz" for i in range(5)]


def test_predict_on_a_cluster_sends_chunks_of_names_to_the_machines(trained, tmp_path, monkeypatch, capsys):
    chunks = []

    def distribute(work, items, resources):
        chunks.extend(items)
        return [(item, pickle.loads(pickle.dumps(work))(item)) for item in items]

    monkeypatch.setattr("autoseg.orchestrate.distribute.connected", lambda address: nullcontext(Nodes(1, 0, 1)))
    monkeypatch.setattr("autoseg.orchestrate.cluster.distribute", distribute)
    command = ["-i", str(trained.raw / "imagesTr"), "-o", str(tmp_path / "masks"), "-d", "1", "--mirroring", "off",
               "--home", str(trained.home), "--device", "cpu", "--cluster", "auto"]
    assert predict.main(command) == 0
    assert chunks == [["ball_00", "ball_01"], ["ball_02", "ball_03"], ["ball_04"]]
    assert capsys.readouterr().out == f"5 masks written to {tmp_path / 'masks'}\n"


def test_evaluate_prints_and_writes_scores(trained, masks, capsys, tmp_path):
    labels, predicted = masks
    command = ["-r", str(labels), "-i", str(predicted), "-d", "1", "-o", str(tmp_path / "summary.json"), "--workers", "1",
               "--home", str(trained.home)]
    assert evaluate.main(command) == 0
    printed = capsys.readouterr().out
    assert "sphere" in printed and "core" in printed
    assert json.loads((tmp_path / "summary.json").read_text())["n_cases"] == 1


def test_evaluate_refuses_options_of_a_metric_that_is_not_measured(trained, masks, capsys):
    labels, predicted = masks
    command = ["-r", str(labels), "-i", str(predicted), "-d", "1", "--nsd_tolerance", "2", "--home", str(trained.home)]
    assert evaluate.main(command) == 2
    assert "add surface to --metrics" in capsys.readouterr().err


def test_compare_sees_no_difference_between_a_folder_and_itself(trained, masks, capsys, tmp_path):
    labels, predicted = masks
    command = [str(predicted), str(predicted), "-r", str(labels), "-d", "1", "-o", str(tmp_path / "comparison.json"),
               "--workers", "1", "--home", str(trained.home)]
    assert compare.main(command) == 0
    assert "sphere" in capsys.readouterr().out
    assert (tmp_path / "comparison.json").is_file()


def test_find_best_configuration_prints_the_choice(tmp_path, capsys):
    balls = write_balls(tmp_path, 10)
    balls.model(near)
    assert find_best_configuration.main(["1", "--home", str(tmp_path), "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "1 candidate on 10 cross-validation cases" in printed and "chosen:\n  3d_fullres" in printed
    assert printed.endswith("next: autoseg_predict -i IMAGES -o MASKS -d 1\n")
    assert balls.workspace.inference_settings(balls.workspace.dataset(1)).is_file()


def test_report_prints_where_the_page_is(trained, capsys, tmp_path):
    pytest.importorskip("jinja2")
    assert report.main(["1", "-o", str(tmp_path / "report.html"), "--home", str(trained.home)]) == 0
    assert capsys.readouterr().out == f"report written: {tmp_path / 'report.html'}\n"
    assert DATASET in (tmp_path / "report.html").read_text()


def test_overlay_draws_a_case(trained, masks, capsys, tmp_path):
    labels, predicted = masks
    name = next(labels.glob("*.nii.gz")).name
    image = trained.raw / "imagesTr" / name.replace(".nii.gz", "_0000.nii.gz")
    command = ["-i", str(image), "-l", str(labels / name), "-p", str(predicted / name), "-d", "1", "--home",
               str(trained.home), "-o", str(tmp_path / "case.png")]
    assert overlay.main(command) == 0
    assert capsys.readouterr().out == f"picture written: {tmp_path / 'case.png'}\n"
    assert (tmp_path / "case.png").read_bytes().startswith(b"\x89PNG")


def test_ablate_without_an_input_that_may_be_absent_is_refused(trained, capsys):
    assert ablate.main(["1", "3d_fullres", "0", "--home", str(trained.home), "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ablate_prints_its_table(trained, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "ablate", lambda dataset, configuration, fold, **options: (configuration, fold))
    monkeypatch.setattr("autoseg.explain.ablation.as_text", lambda result: f"ablation of {' fold '.join(result)}")
    assert ablate.main(["1", "3d_fullres", "0", "--home", str(trained.home)]) == 0
    assert capsys.readouterr().out == "ablation of 3d_fullres fold 0\n"


@pytest.mark.slow
def test_the_demo_prints_scores_and_where_its_results_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_TRAINING_CASES", 5)
    monkeypatch.setattr(demo, "_TEST_CASES", 1)

    assert demo.main(["--budget", "20s", "--home", str(tmp_path / "demo"), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for text in ("1. data: 5 training and 1 held-out phantoms", "5. scores of the same model", "finished in"):
        assert text in printed
    assert (tmp_path / "demo" / "contact_sheet.png").is_file()
