"""The comparison with nnU-Net measures, keeps and shows figures rightly; none of this needs nnU-Net."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.against.bench import Bench
from benchmarks.against.cases import anisotropic_measures, link_dataset, synthetic_ct
from benchmarks.against.measure import CommandFailed, folder_bytes, run_measured
from benchmarks.against.stages_train import epochs_to, seconds_to
from benchmarks.against.table import Row, number, report


def test_a_ratio_is_met_at_its_target_and_missed_above_it():
    assert Row("a", 1.0, 8.0, target=1 / 8).verdict == "met"
    assert Row("a", 1.1, 8.0, target=1 / 8).verdict == "missed"
    assert Row("a", 1.0, None, target=1 / 8).verdict == "not measured"
    assert Row("a", 1.0, 8.0).verdict == "-"


def test_a_target_in_its_own_unit_does_not_ask_nnunet():
    assert Row("a", 0.5, None, target=0.5, relative=False).verdict == "met"
    assert Row("a", 0.6, 60.0, target=0.5, relative=False).verdict == "missed"


def test_time_and_memory_are_judged_apart_where_they_differ():
    row = Row("a", 1.0, 4.0, target=1 / 4, our_peak=3e9, their_peak=4e9, memory_target=1 / 2)
    assert row.verdict == "time met, memory missed"
    assert row.line() == ("| a | 1 s | 4 s | 0.25 | <= 0.25; memory <= 0.5 | time met, memory missed | 3.00 | 4.00 | 0.75 "
                          "|  |")


def test_the_report_has_the_facts_and_a_line_a_row():
    text = report([Row("one", 61.26), Row("two", 1234.5)], {"date": "2030-01-02"})
    assert "- date: 2030-01-02\n" in text
    assert "| one | 61.3 s |" in text and "| two | 1234 s |" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {11}
    assert number(None) == "-"


def test_a_row_survives_the_disk():
    row = Row("a", 1.0, 4.0, target=0.25, our_peak=1e9, remark="x")
    assert Row(**json.loads(json.dumps(row.to_plain()))) == row


def test_the_peak_counts_the_children_of_a_process(tmp_path):
    child = "import time; held = bytearray(80_000_000); time.sleep(1.5)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    usage = run_measured([sys.executable, "-c", parent], {}, tmp_path / "log.txt", tmp_path)
    assert 80e6 < usage.peak_bytes < 200e6
    assert 1.2 < usage.seconds < 60 and 0 < usage.core_seconds < usage.seconds


def test_a_command_that_fails_says_its_last_lines(tmp_path):
    with pytest.raises(CommandFailed, match=r"ended with 3(?s:.)*no such thing"):
        run_measured([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], {}, tmp_path / "log", tmp_path)


def test_what_was_measured_is_not_measured_again(tmp_path):
    bench = Bench(home=tmp_path, data=tmp_path, reference=Path(sys.executable), repeats=2)
    order = []

    def side(name):
        return lambda: order.append(name) or {"seconds": len(order)}

    first = bench.sequential("stage", ours=side("a"), theirs=side("b"))
    assert order == ["a", "b", "a", "b"]
    assert first == bench.sequential("stage", ours=side("a"), theirs=side("b")) and len(order) == 4
    assert [result["seconds"] for result in first["theirs"]] == [2, 4]


def test_a_linked_dataset_has_the_first_cases_and_the_chosen_channels(tmp_path):
    source = tmp_path / "Dataset001_A"
    manifest = {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0}, "file_ending": ".nii.gz"}
    for folder, names in (("imagesTr", ("a_0000", "a_0001", "b_0000", "b_0001")), ("labelsTr", ("a", "b"))):
        (source / folder).mkdir(parents=True)
        for name in names:
            (source / folder / f"{name}.nii.gz").write_text(name)
    (source / "dataset.json").write_text(json.dumps(manifest))
    name = link_dataset(source, tmp_path / "raw", 1, "Dataset002_B", channels=[1])
    made = tmp_path / "raw" / name
    assert json.loads((made / "dataset.json").read_text())["channel_names"] == {"0": "PET"}
    assert [path.read_text() for path in (made / "imagesTr").iterdir()] == ["a_0001"]
    assert folder_bytes(made / "imagesTr") == len("a_0001")


def test_synthetic_ct_has_every_organ_and_is_the_same_for_a_seed():
    image, label = synthetic_ct((20, 64, 64), 1)
    assert set(np.unique(label)) == {0, 1, 2, 3}
    assert image.min() == -1024 and 20 < image[label == 1].mean() - image[label == 3].mean() < 60
    assert np.array_equal(image, synthetic_ct((20, 64, 64), 1)[0])


def test_the_measures_of_the_planned_set_are_anisotropic():
    shapes, spacings = anisotropic_measures(20)
    assert all(z > 2.5 * y and y == x for z, y, x in spacings)
    assert np.median([shape[0] for shape in shapes]) < 512 / 3


def test_the_time_to_a_dice_is_read_from_the_records_and_the_log():
    records = [{"seconds": 9.0, "validation_dice": None}, {"seconds": 20.0, "validation_dice": 0.86}]
    assert seconds_to(0.85, records) == 20.0
    assert seconds_to(0.9, records) is None
    log = "x: Pseudo dice [np.float32(0.81), np.float32(0.8)]\nx: Pseudo dice [np.float32(0.9), nan]"
    assert epochs_to(0.85, log) == 2
    assert epochs_to(0.95, log) is None


def test_an_interruption_ends_the_command_and_its_children(tmp_path, monkeypatch):
    child = f"import time; time.sleep(1.5); open({str(tmp_path / 'survived')!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    wait = subprocess.Popen.wait

    def interrupted(process, timeout=None):
        if process.poll() is None and not (tmp_path / "interrupted").exists():
            (tmp_path / "interrupted").touch()
            time.sleep(0.7)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_measured([sys.executable, "-c", parent], {}, tmp_path / "log.txt", tmp_path)
    time.sleep(2)
    assert not (tmp_path / "survived").exists()
