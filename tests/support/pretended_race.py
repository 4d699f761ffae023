"""Races whose trainings only claim to have been: fixtures and helpers (tests/orchestrate/conftest.py)."""

import shutil
from types import SimpleNamespace

import pytest

from autoseg import pipeline
from autoseg.base.errors import TrainingFailed
from autoseg.orchestrate import race as race_module
from autoseg.orchestrate import total as total_module
from autoseg.orchestrate.run import ExecutionOptions
from autoseg.orchestrate.total import TotalOptions, run_within
from autoseg.planning import make
from autoseg.selection.race_types import Race
from autoseg.training import run as run_module
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import append_record, read_model, read_records, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET
from planners.rules.budget import with_budget
from planners.schema.base import Part
from planners.schema.hardware import KnownHardware
from planners.schema.plan import Plan
from tests_support import small_plan, write_spheres

TWO, THREE = "2d (budgeted)", "3d_fullres (budgeted)"
TOTAL = 3000.0
FASTEST = 1e13  # FLOP/s: nothing is too costly


class Clock:
    """Stands still until it is advanced."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


class Trainings:
    """Trainings that only claim to have been: `done` lists them, `dice` is what candidates reach, `stop_at` a number of
    trainings after which somebody presses Ctrl-C.
    """

    def __init__(self):
        self.done, self.dice, self.pair, self.stop_at, self.bad = [], {"2d": 0.6, "3d_fullres": 0.8}, 0.5, None, ()
        self.clock = Clock()

    def train_fold(self, job, task, runtime, started, on_epoch, *, pause=None, **_):
        if len(self.done) == self.stop_at:
            raise KeyboardInterrupt
        if job.name in self.bad:
            raise TrainingFailed("the loss is nan")
        before = [record["seconds"] for record in read_records(job.folder.metrics)]
        state = new_state(task, job.configuration, runtime, job.seed)
        budget = job.configuration.schedule.budget_seconds
        seconds = budget if pause is None else pause.seconds - 1
        done = round(1000 * seconds / budget)
        write_json(job.folder.schedule, state.schedule)
        append_record(job.folder.metrics, {"iteration": done, "iterations": 1000, "seconds": seconds, "seconds_left": 0.0,
                                           "train_loss": 1.0, "validation_dice": 0.5, "learning_rate": 1e-3})
        facts = {"iterations": done, "seconds": seconds, "training": list(job.training)}
        save_weights(job.folder.checkpoint if pause is None else pause.weights, state.model.state_dict(), facts)
        self.clock.seconds += seconds - max(before, default=0.0)
        self.done.append((job.name, job.fold, None if pause is None else pause.weights.parent.name))

    def rung_dice(self, dataset, names, members, workers):
        """Every case has the same Dice but for a tenth of a percent, so that the better one is better on each case."""
        values = [self.dice[path_of("x").parents[4].name] for path_of in members]
        mean = self.pair if len(values) > 1 else values[0]
        return tuple(mean + 0.001 * (i % 2) for i, _ in enumerate(names))


@pytest.fixture
def trainings(monkeypatch):
    pretended = Trainings()
    monkeypatch.setattr(run_module, "train_fold", pretended.train_fold)
    monkeypatch.setattr(race_module, "rung_dice", pretended.rung_dice)
    for module in (race_module, run_module):  # no time of this machine counts
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=pretended.clock))
    monkeypatch.setattr(pipeline, "draw_validation", lambda *_: None)
    monkeypatch.setattr(pipeline, "_postprocess_alone", lambda *_: None)  # of each fold, after the race: not what is tested
    return pretended


@pytest.fixture
def configurations():
    """What is planned; a test may change it."""
    augmentation = Part(name="light", options={"scaling": (0.85, 1.2)})  # a tuple, which JSON does not know
    return {"3d_fullres": small_plan(augmentation=augmentation).configurations["3d_fullres"],
            "2d": small_plan(2).configurations["2d"]}


@pytest.fixture(scope="session")
def spheres(tmp_path_factory):
    """A raw dataset of 30 cases, as large as a patch, which is copied. Fewer than 6 per fold cannot differ certainly."""
    folder = tmp_path_factory.mktemp("spheres") / DATASET
    write_spheres(folder, n_cases=30, shape=(16, 16, 16))
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch, configurations, spheres):
    """A raw dataset of 30 cases, for which tiny networks are planned and whose report is only noted."""
    shutil.copytree(spheres, tmp_path / "raw" / DATASET)
    make_plan = make.make_plan

    def tiny(workspace, dataset, planner, budget, device):
        measured = make_plan(workspace, dataset, planner, budget, device)
        return with_budget(measured.model_copy(update={"configurations": configurations}), budget.seconds_per_fold)

    monkeypatch.setattr(make, "make_plan", tiny)
    for module in (make, total_module):
        monkeypatch.setattr(module, "ProbedHardware", lambda device: KnownHardware(
            device="cpu", memory_bytes=2**33, flops_per_s=FASTEST, cores=1))
    monkeypatch.setattr(pipeline, "report", lambda dataset, *, home: Workspace(home).report(dataset))
    monkeypatch.setattr(pipeline, "find_best", lambda *_, **__: None)
    return tmp_path


def held(home, trainings, *, seed=0, **asked):
    options = TotalOptions(**{"seconds": TOTAL, "folds": ("0", "1"), **asked})
    return run_within(1, options, execution=ExecutionOptions(("cpu",), workers=1, seed=seed), home=home,
                      clock=trainings.clock)


def race_of(home) -> Race:
    return read_model(Workspace(home).race(DATASET), Race)


def plan_of(home, configuration) -> Plan:
    return Workspace(home).model(DATASET, "budgeted", configuration).read_plan()
