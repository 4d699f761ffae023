"""The training side of the service: the state of folds, and start and stop of them."""

import os
import signal
import socket
import sys
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("fastapi")
from autoseg import pipeline
from autoseg.formats import write_array
from autoseg.orchestrate.detached import Training, start_detached, training_command
from autoseg.serve.training.folds import curve_of
from autoseg.serve.training.launch import Launcher
from autoseg.workspace.files import append_record, tail, write_json, write_text
from autoseg.workspace.locks import holder, locked
from autoseg.workspace.names import Workspace
from folds_support import DATASET as BALLS
from folds_support import GEOMETRY, balls_plan, truth, write_balls
from pretended_training import pretend, until
from report_workspace import DATASET, EVIL, folder, records, write_workspace
from serve_support import client_to, service_in

FOLD = f"/v1/trainings/{BALLS}/budgeted/3d_fullres/0"


def plain(argument):
    """The words of a command that a fold was asked for with."""
    return argument[argument.index("--") + 1:]


@pytest.fixture
def started():
    """The commands that were asked for, with the processes that stand in for them; all end with the test."""
    processes = []
    yield processes
    for _, process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def balls(tmp_path, started):
    """A dataset that is planned, and a service whose trainings are pretended."""
    workspace = write_balls(tmp_path / "home").workspace
    write_json(workspace.plan(BALLS, "budgeted"), balls_plan())
    service = service_in(tmp_path, training=True)

    def start(command, log):
        write_json(workspace.model(BALLS, "budgeted", "3d_fullres").plan, balls_plan())
        process = pretend(log.parent, log)
        started.append((command, process))
        return process

    service.extras["launcher"] = Launcher(workspace, ("cpu",), start)
    return service


@contextmanager
def elsewhere(path):
    """A process that was not started by the service holds a folder."""
    process = pretend(path, path.parent / "held.txt", writes=False)
    try:
        until(lambda: holder(path) is not None)
        yield process
    finally:
        process.kill()
        process.wait()


def state(client, path):
    return client.get(path).json()["state"]


def ask_for(client, **changes):
    return client.post("/v1/trainings", json={"dataset": BALLS, "configuration": "3d_fullres", **changes})


def test_folds_are_not_started_stopped_or_finished_as_their_files_say(tmp_path):
    write_workspace(tmp_path / "home")
    with client_to(service_in(tmp_path)) as client:
        (shown,) = client.get("/v1/datasets").json()["datasets"]
    (model,) = [model for model in shown["models"] if model["configuration"] == "3d_fullres"]
    assert [(fold["fold"], fold["state"]) for fold in model["folds"]] == [
        ("0", "finished"), ("1", "finished"), ("2", "stopped")]
    assert model["folds"][2]["iteration"] == 60 and model["folds"][2]["dice"] == pytest.approx(0.6)
    assert model["mean_dice"] == pytest.approx(sum(fold["dice"] for fold in model["folds"][:2]) / 2)
    assert (shown["cases"], shown["channels"], shown["report"]) == (4, ["MR_0"], "none")


def test_a_fold_runs_while_a_process_holds_it_and_is_stopped_when_that_is_killed(tmp_path):
    write_workspace(tmp_path / "home")
    path = f"/v1/trainings/{DATASET}/budgeted/3d_fullres/2"
    workspace = Workspace(tmp_path / "home")
    with client_to(service_in(tmp_path, training=True)) as client:
        assert state(client, path) == "stopped"
        with elsewhere(folder(workspace, 2).path) as process:
            running = client.get(path).json()
            assert running["state"] == "running" and running["seconds_left"] == 120.0
            assert client.get("/v1/trainings").json()["trainings"][0]["fold"] == "2"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert state(client, path) == "stopped"


def test_who_only_looks_at_a_lock_leaves_none_and_takes_none(tmp_path):
    assert holder(tmp_path / "fold_0") is None and not list(tmp_path.iterdir())
    with locked(tmp_path / "fold_0"):
        found = holder(tmp_path / "fold_0")
        assert found is not None and found.process == os.getpid() and found.is_here
    dead = start_detached([sys.executable, "-S", "-c", ""], tmp_path / "log.txt")
    dead.wait()
    for note in ("process 1 on elsewhere\n", f"process {dead.pid} on {socket.gethostname()}\n", "no note"):
        (tmp_path / ".fold_1.lock").write_text(note)  # what a killed process leaves
        assert holder(tmp_path / "fold_1") is None


def test_a_fold_is_started_stopped_and_started_again(balls, started):
    with client_to(balls) as client:
        assert state(client, FOLD) == "not started"
        response = ask_for(client, fold="0", budget_seconds=90)
        assert response.status_code == 202 and response.json()["state"] in ("starting", "running")
        command, process = started[0]
        assert plain(command) == [BALLS, "3d_fullres", "0"] and "--budget=90s" in command and "--device=cpu" in command
        until(lambda: client.get(FOLD).json()["iteration"] == 20)
        running = client.get(FOLD).json()
        assert (running["state"], running["device"], running["curve"]["train_loss"]) == ("running", "cpu", [0.5])
        assert os.getsid(process.pid) != os.getsid(0)  # a signal to the service does not reach it
        busy = ask_for(client, fold="1")
        assert busy.status_code == 409 and f"{BALLS} 3d_fullres (budgeted) fold 0" in busy.json()["error"]["what"]
        assert ask_for(client, fold="0").status_code == 409
        assert client.post(f"{FOLD}/stop").status_code == 202
        until(lambda: state(client, FOLD) == "stopped")
        assert client.get(FOLD).json()["fault"] == ""
        assert client.get(f"{FOLD}/log").json()["lines"] == ["training", "stopped; the same command goes on"]
        assert client.post(f"{FOLD}/stop").status_code == 409
        assert ask_for(client, fold="0").status_code == 202 and len(started) == 2


def test_a_service_that_is_started_anew_knows_what_the_former_one_trains(balls, started):
    with client_to(balls) as client:
        ask_for(client)
        until(lambda: state(client, FOLD) == "running")
    former = balls.extras["launcher"]
    balls.extras["launcher"] = Launcher(former.workspace, ("cpu", "cuda:0"), former.start)
    with client_to(balls) as client:
        assert client.get(FOLD).json()["device"] == "cpu"
        assert ask_for(client, fold="1").status_code == 202 and "--device=cuda:0" in started[1][0]
        assert ask_for(client, fold="2").status_code == 409
        client.post(f"{FOLD}/stop")
        until(lambda: state(client, FOLD) == "stopped")


def test_a_running_fold_is_asked_to_finish_and_others_are_not(balls):
    with client_to(balls) as client:
        assert client.post(f"{FOLD}/finish").status_code == 409
        ask_for(client)
        until(lambda: state(client, FOLD) == "running")
        assert client.post(f"{FOLD}/finish").json()["is_asked_to_finish"]


def test_a_training_that_fails_at_once_says_why(balls):
    launcher = balls.extras["launcher"]
    script = "import sys; print('/srv/x/plan.json: no plan'); sys.exit(2)"
    launcher.start = lambda command, log: start_detached([sys.executable, "-S", "-c", script], log)
    with client_to(balls) as client:
        ask_for(client)
        until(lambda: client.get(FOLD).json()["fault"])
        assert client.get(FOLD).json()["fault"] == "its process ended: exit status 2. plan.json: no plan"
        assert client.get("/v1/trainings").json()["trainings"][0]["state"] == "not started"


HOSTILE = [
    {"planner": "--plugin"}, {"planner": "../../x"}, {"planner": "budgeted; rm -rf /"}, {"configuration": "--plugin=os"},
    {"configuration": "../3d_fullres"}, {"configuration": "$(id)"}, {"fold": "--restart"}, {"fold": "0,1"},
    {"fold": "all-folds"}, {"fold": "99"}, {"fold": "٠"}, {"budget_seconds": -1}, {"budget_seconds": "1; id"},
    {"budget_seconds": 1e12},
    {"dataset": "../raw"}, {"dataset": "--plugin"}, {"dataset": "x" * 300}, {"device": "cuda:0"}, {"plugin": "os"}]
NOWHERE = ["/v1/datasets/..%2f..%2fetc", "/v1/datasets/Dataset001_Balls%00", "/v1/datasets/9",
           "/v1/trainings/1/budgeted/3d_fullres/9999x", "/v1/trainings/1/..%2f/3d_fullres/0/log",
           "/v1/trainings/1/budgeted/..%2f..%2fx/0", "/v1/trainings/1/none/3d_fullres/0/events",
           "/v1/reports/" + "0" * 32, "/v1/datasets/1/report"]


def test_words_that_the_workspace_does_not_know_start_nothing(balls, started):
    with client_to(balls) as client:
        for changes in HOSTILE:
            response = ask_for(client, **changes)
            assert response.status_code in (404, 422) and response.json()["error"]["what"], changes
    assert not started


def test_what_the_workspace_does_not_have_is_404(balls):
    with client_to(balls) as client:
        for path in NOWHERE:
            assert client.get(path).status_code == 404, path


def test_a_command_has_no_word_that_could_be_an_option(tmp_path):
    command = training_command(Training("Dataset001_X", "-p", "3d_fullres", "0"), "cpu", tmp_path)
    assert "-p" not in command and "--planner=-p" in command
    assert plain(command) == ["Dataset001_X", "3d_fullres", "0"]


def test_without_training_nothing_is_started_or_stopped(balls, tmp_path, started):
    balls = service_in(tmp_path)
    with client_to(balls) as client:
        assert client.get("/v1/datasets").json()["can_train"] is False
        assert ask_for(client).status_code == 403
        for change in ("stop", "finish"):
            assert client.post(f"{FOLD}/{change}").status_code == 403
    assert not started


def test_all_of_it_is_behind_the_token_but_for_an_address_that_is_worth_one_look(tmp_path):
    workspace = write_workspace(tmp_path / "home")
    write_text(workspace.report(DATASET), "<h1>report</h1>")
    with client_to(service_in(tmp_path, training=True, tokens={"a" * 32: "anna"})) as client:
        for path in ("/v1/datasets", f"/v1/datasets/{DATASET}", f"/v1/datasets/{DATASET}/report", "/v1/trainings",
                     f"/v1/trainings/{DATASET}/budgeted/3d_fullres/2/log"):
            assert client.get(path).status_code == 401
        assert ask_for(client).status_code == 401 and client.post("/v1/datasets/1/report/link").status_code == 401
        bearing = {"Authorization": f"Bearer {'a' * 32}"}
        link = client.post("/v1/datasets/1/report/link", headers=bearing).json()["path"]
        shown = client.get(f"/{link}")
        assert shown.text == "<h1>report</h1>" and client.get(f"/{link}").status_code == 404
    policy = shown.headers["content-security-policy"]
    assert "sandbox" in policy and "allow-scripts" not in policy and "allow-same-origin" not in policy


def test_a_fingerprint_is_shown_in_quartiles_and_names_no_case(tmp_path):
    write_workspace(tmp_path / "home")
    with client_to(service_in(tmp_path)) as client:
        response = client.get("/v1/datasets/1")
    prints = response.json()["fingerprint"]
    assert [axis["median"] for axis in prints["spacing_mm"]] == [3.0, 1.0, 1.0] and prints["cases"] == 4
    assert prints["channels"][0]["intensities"]["median"] == 2.1 and prints["labels"][0]["volume_ml"] == 6.0
    assert "ball_00" not in response.text and EVIL not in response.text


def test_the_report_is_made_by_a_process_and_only_once_at_a_time(tmp_path, started):
    workspace = write_workspace(tmp_path / "home")
    service = service_in(tmp_path)

    def start(command, log):
        script = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('made')"
        started.append((command, start_detached([sys.executable, "-S", "-c", script, str(workspace.report(DATASET))], log)))
        return started[-1][1]

    service.extras["launcher"] = Launcher(workspace, ("cpu",), start)
    with client_to(service) as client:
        assert client.get("/v1/datasets/1/report").status_code == 404
        assert client.post("/v1/datasets/1/report").status_code == 202
        until(lambda: client.get("/v1/datasets/1").json()["dataset"]["report"] == "made")
        assert client.get("/v1/datasets/1/report").text == "made" and plain(started[0][0]) == [DATASET]


def test_a_curve_has_at_most_500_points_and_its_last_one():
    curve = curve_of([{**record, "train_loss": float("nan")} for record in records(5000)])
    assert len(curve.iterations) == 500 and curve.iterations[-1] == 100_000 and curve.iterations[0] == 20
    assert set(curve.train_loss) == {None} and len(curve.learning_rate) == 500


def test_a_training_is_followed_until_nobody_trains(balls, started, monkeypatch):
    monkeypatch.setattr("autoseg.serve.routes.trainings._POLL_SECONDS", 0.05)
    with client_to(balls) as client:
        ask_for(client)
        until(lambda: state(client, FOLD) == "running")
        append_record(balls.extras["launcher"].workspace.fold(BALLS, "budgeted", "3d_fullres", 0).metrics,
                      {**records(2)[1], "seconds_left": 1.0})
        client.post(f"{FOLD}/stop")
        lines = [line for line in client.get(f"{FOLD}/events").text.splitlines() if line.startswith("data:")]
    assert '"state":"stopped"' in lines[-1]


def test_the_log_has_of_a_progress_bar_what_it_showed_last(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"first\r\n" + b"x" * 2**20 + b"\n 1 %\r 50 %\r100 %\n\nlast")
    assert tail(tmp_path / "log.txt", 2) == ["100 %", "last"]
    assert tail(tmp_path / "none.txt", 2) == []


def test_a_damaged_plan_is_shown_and_the_other_datasets_stay(balls, tmp_path):
    write_text(tmp_path / "home" / "prepared" / BALLS / "plan_mine.json", "{")
    with client_to(balls) as client:
        (shown,) = client.get("/v1/datasets").json()["datasets"]
    assert "plan_mine.json" in shown["fault"] and str(tmp_path) not in shown["fault"]
    assert shown["models"][0]["configuration"] == "3d_fullres" and len(shown["models"][0]["folds"]) == 5


@pytest.mark.slow
def test_a_real_training_is_started_stopped_and_goes_on_to_its_end(tmp_path, started):
    home = tmp_path / "home"
    write_balls(home)
    noise = np.random.default_rng(0)
    for path in (home / "raw" / BALLS / "imagesTr").iterdir():  # so that nothing of the images is cropped
        write_array(path, (truth() + noise.uniform(0.1, 0.3, truth().shape))[None].astype(np.float32), GEOMETRY)
    pipeline.fingerprint(BALLS, home=home, workers=1)
    pipeline.plan(BALLS, home=home, device="cpu", budget_seconds=600)
    pipeline.preprocess(BALLS, home=home, workers=1)
    service = service_in(tmp_path, training=True)

    def start(command, log):
        started.append((command, start_detached(command, log)))
        return started[-1][1]

    service.extras["launcher"] = Launcher(Workspace(home), ("cpu",), start)
    with client_to(service) as client:
        (shown,) = client.get("/v1/datasets").json()["datasets"]
        configuration = next(model["configuration"] for model in shown["models"] if model["is_advised"])
        path = f"/v1/trainings/{BALLS}/budgeted/{configuration}/0"
        assert ask_for(client, configuration=configuration).json()["state"] == "starting"
        until(lambda: client.get(path).json()["iteration"] > 0 or client.get(path).json()["fault"], 180, 0.5)
        running = client.get(path).json()
        assert (running["state"], running["device"], running["fault"]) == ("running", "cpu", "")
        client.post(f"{path}/stop")
        until(lambda: state(client, path) == "stopped", 60, 0.5)
        assert client.get(path).json()["fault"] == "" and client.get(f"{path}/log").json()["lines"]
        assert ask_for(client, configuration=configuration).status_code == 202
        until(lambda: state(client, path) == "running" or client.get(path).json()["fault"], 120, 0.5)
        assert client.post(f"{path}/finish").status_code == 202
        until(lambda: state(client, path) == "finished" or client.get(path).json()["fault"], 180, 0.5)
        assert client.get(path).json()["dice"] is not None
