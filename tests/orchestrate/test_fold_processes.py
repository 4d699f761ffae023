"""Folds in parallel in processes of their own, one per device; the processes only pretend to train."""

import os
import signal
import sys
import time

import pytest
from test_folds_chosen import result

from autoseg.base.errors import UserError
from autoseg.base.stopping import Stopped
from autoseg.cli import train
from autoseg.orchestrate import processes
from autoseg.orchestrate.processes import devices_of, parallel
from autoseg.workspace.files import write_json
from orchestrate_folds import NAME, prepared_spheres, tasks_of


@pytest.fixture(scope="module")
def spheres(tmp_path_factory):
    return prepared_spheres(tmp_path_factory.mktemp("spheres"))


def acting(monkeypatch, scripts: dict) -> list:
    """Let the process of each fold run a line of Python; the list of (fold, device) as they began."""
    started = []

    def command(task, device, home, seed):
        started.append((task.fold, device))
        write_json(task.folder.path / "ready.json", result(task.fold, 0.5))
        return [sys.executable, "-I", "-S", "-c", f"import os, time; folder = {str(task.folder.path)!r}; "
                                                  + scripts[task.fold]]

    monkeypatch.setattr(processes, "_command", command)
    return started


FINISH = "print('done'); os.rename(folder + '/ready.json', folder + '/result.json')"


@pytest.fixture
def tasks(spheres):
    fold_tasks = tasks_of(*spheres)
    yield fold_tasks
    for task in fold_tasks:
        task.folder.clear()


def test_folds_share_the_devices_and_a_failed_one_shows_the_end_of_its_log(spheres, tasks, monkeypatch):
    started = acting(monkeypatch, {0: FINISH, 1: "print('out of luck'); raise SystemExit(3)", 2: FINISH})
    outcomes = {outcome.task.fold: outcome for outcome in parallel(tasks, ["cpu", "cpu"], home=spheres[0].home)}
    assert {fold: bool(outcome.fault) for fold, outcome in outcomes.items()} == {0: False, 1: True, 2: False}
    assert "ended with status 3" in outcomes[1].fault and "out of luck" in outcomes[1].fault
    assert outcomes[0].result.mean_dice == 0.5
    assert [fold for fold, _ in started] == [0, 1, 2] and tasks[0].folder.log.read_text() == "done\n"


def test_two_devices_work_at_the_same_time(spheres, tasks, monkeypatch):
    other = f"{tasks[1].folder.path}/result.json"
    acting(monkeypatch, {0: f"[time.sleep(.02) for _ in range(2000) if not os.path.exists({other!r})]; " + FINISH,
                         1: FINISH})
    outcomes = list(parallel(tasks[:2], ["cpu", "cpu"], home=spheres[0].home))
    assert [outcome.task.fold for outcome in outcomes] == [1, 0]  # fold 0 waits for fold 1, which runs beside it


def test_who_stops_stops_the_processes(spheres, tasks, monkeypatch):
    endless = "print('started', flush=True); time.sleep(60); print('ended by itself', flush=True)"
    acting(monkeypatch, {0: FINISH, 1: endless, 2: endless})
    outcomes = parallel(tasks, ["cpu", "cpu"], home=spheres[0].home)
    assert next(outcomes).task.fold == 0
    outcomes.close()  # returns when no process runs any more
    logs = [task.folder.log for task in tasks[1:] if task.folder.log.is_file()]
    assert logs and all("ended by itself" not in log.read_text() for log in logs)


def test_a_process_is_told_the_plan_that_all_folds_share(spheres, tasks):
    words = processes._command(tasks[1], "cuda:1", spheres[0].home, 7)
    assert words[1:3] == ["-m", "autoseg.cli.train"]
    assert words[words.index("--plan") + 1] == str(tasks[1].plan_file) and words[words.index("--device") + 1] == "cuda:1"
    assert tasks[1].plan_file.is_file()


def test_devices_are_named_by_a_list():
    assert devices_of("cpu,cpu", "auto") == ["cpu", "cpu"] and devices_of(None, "cpu") == ["cpu"]
    for unusable in ("", "tpu", "99"):
        with pytest.raises(UserError, match="device|GPU"):
            devices_of(unusable, "auto")


@pytest.mark.slow
def test_two_folds_are_trained_in_two_real_processes(tmp_path, capsys):
    workspace, _ = prepared_spheres(tmp_path)
    assert train.main(["1", NAME, "0,1", "--devices", "cpu,cpu", "--home", str(workspace.home)]) == 0
    assert "mean over all 2 cases" in capsys.readouterr().out


def test_a_plain_kill_while_folds_run_stops_them_and_is_what_it_was_afterwards(spheres, tasks, monkeypatch):
    endless = "print('started', flush=True); time.sleep(60); print('ended by itself', flush=True)"
    acting(monkeypatch, {0: FINISH, 1: endless, 2: endless})
    before = signal.getsignal(signal.SIGTERM)
    outcomes = parallel(tasks, ["cpu", "cpu"], home=spheres[0].home)
    assert next(outcomes).task.fold == 0
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)  # the signal arrives between two steps of Python
    outcomes.close()
    logs = [task.folder.log for task in tasks[1:] if task.folder.log.is_file()]
    assert logs and all("ended by itself" not in log.read_text() for log in logs)
    assert signal.getsignal(signal.SIGTERM) is before
