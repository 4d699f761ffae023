"""One line for all folds: how many are finished, which run, and the time left."""

import logging
import threading

import pytest
from test_folds_chosen import result

from autoseg.orchestrate.folds import FoldTask
from autoseg.orchestrate.progress import Overview, fold_progress, shown
from autoseg.workspace.files import append_record, write_json
from autoseg.workspace.folders import FoldFolder
from orchestrate_folds import NAME
from planners.schema.plan import Schedule
from tests_support import small_plan


def tasks(folder, budget=None, n=4):
    schedule = Schedule(iterations=None if budget else 100, budget_seconds=budget, learning_rate=1e-3)
    plan = small_plan(schedule=schedule)
    return [FoldTask(plan, folder / "plan.json", NAME, fold, FoldFolder(folder / f"fold_{fold}")) for fold in range(n)]


def trained_for(task, seconds, left, iteration=50):
    append_record(task.folder.metrics, {"iteration": iteration, "iterations": 100, "seconds": seconds,
                                        "seconds_left": left, "validation_dice": 0.75})


def test_a_budget_tells_the_time_of_folds_to_come(tmp_path):
    folds = tasks(tmp_path, budget=600.0)
    write_json(folds[0].folder.result, result(0, 0.8))
    trained_for(folds[1], 400.0, 100.0)
    # 600 - 400 of the one that runs, validation included, and two that have not started
    text = Overview(folds).text()
    assert text == "folds 1/4 finished; 3d_fullres fold 1 50 %, Dice 0.750; 23 min 20 s left"
    # on two devices half of that, on ten what the longest takes
    assert Overview(folds, 2).text().endswith("11 min 40 s left")
    assert Overview(folds, 10).text().endswith("10 min 0 s left")


def test_without_a_budget_folds_take_as_long_as_the_others(tmp_path):
    folds = tasks(tmp_path)
    assert Overview(folds).text() == "folds 0/4 finished"
    trained_for(folds[0], 100.0, 300.0)
    assert Overview(folds).text().endswith("25 min 0 s left")  # 300 + 3 * 400


def test_what_is_not_known_is_not_hidden(tmp_path):
    task, other = tasks(tmp_path)[0], tasks(tmp_path)[1]
    trained_for(task, 100.0, 300.0)
    renamed = FoldTask(other.planned.model_copy(update={"configurations": {
        "2d": other.planned.configurations[NAME]}}), other.plan_file, "2d", 1, other.folder)
    assert Overview([task, renamed]).text().endswith("at least 5 min 0 s left")


def test_failed_folds_are_counted_and_take_no_time(tmp_path):
    folds = tasks(tmp_path, budget=600.0, n=2)
    trained_for(folds[0], 300.0, 200.0)
    overview = Overview(folds)
    overview.failed.add(folds[0].title)
    assert overview.text() == "folds 0/2 finished; 1 failed; 10 min 0 s left"


def test_nothing_is_left_when_all_is_finished(tmp_path):
    folds = tasks(tmp_path, n=1)
    write_json(folds[0].folder.result, result(0, 0.8))
    assert fold_progress(folds[0]).finished and Overview(folds).text() == "folds 1/1 finished; 0 s left"


def test_a_log_gets_a_line_now_and_then(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    three_lines = threading.Event()
    monkeypatch.setattr(caplog.handler, "emit", lambda record, emit=caplog.handler.emit: (
        emit(record), three_lines.set() if len(caplog.records) >= 3 else None))
    with caplog.at_level(logging.INFO, "autoseg"), shown(Overview(tasks(tmp_path)), every_seconds=0.02):
        assert three_lines.wait(60)
    assert len(caplog.messages) >= 4 and set(caplog.messages) == {"folds 0/4 finished"}


@pytest.mark.parametrize("n_devices", [1, 3])
def test_a_line_names_no_more_folds_than_can_run(tmp_path, n_devices):
    folds = tasks(tmp_path)
    for task in folds:
        trained_for(task, 1.0, 1.0)
    assert Overview(folds, n_devices).text().count("50 %") == n_devices
