"""A run within a total time: the race is held, stopped, gone on with and refused; only the winner gets every fold."""

import re

import pytest
import torch

from autoseg import pipeline
from autoseg.base.errors import ManyFaults, TrainingFailed, UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import run as command
from autoseg.orchestrate import race as race_module
from autoseg.orchestrate import total as total_module
from autoseg.orchestrate.run import ExecutionOptions
from autoseg.orchestrate.stopwatch import Stopwatch, running
from autoseg.orchestrate.total import TotalOptions, run_within
from autoseg.planning import make
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.selection.race_types import Race
from autoseg.training import run as run_module
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import append_record, read_json, read_model, read_records, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET
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

    def train_fold(self, job, task, runtime, started, on_epoch, *, pause=None):
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
    monkeypatch.setattr(pipeline, "draw_validation", lambda *_: None)
    return pretended


@pytest.fixture
def configurations():
    """What is planned; a test may change it."""
    augmentation = Part(name="light", options={"scaling": (0.85, 1.2)})  # a tuple, which JSON does not know
    return {"3d_fullres": small_plan(augmentation=augmentation).configurations["3d_fullres"],
            "2d": small_plan(2).configurations["2d"]}


@pytest.fixture
def home(tmp_path, monkeypatch, configurations):
    """A raw dataset of 30 cases, for which tiny networks are planned and whose report is only noted."""
    write_spheres(tmp_path / "raw" / DATASET, n_cases=30)
    make_plan = make.make_plan

    def tiny(workspace, dataset, planner, budget, device):
        from planners.rules.budget import with_budget

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


def test_the_loser_is_dropped_and_the_winner_gets_the_rest_on_every_fold(home, trainings):
    result = held(home, trainings)
    assert trainings.done == [("3d_fullres", 0, "rung_0"), ("2d", 0, "rung_0"), ("3d_fullres", 0, None),
                              ("3d_fullres", 1, None)]
    race = race_of(home)
    assert result.race == race and race.winners == (THREE,)
    assert race.planned_fold_seconds == pytest.approx(0.98 * TOTAL / 2.5)
    # Two folds share what the loser left; what the winner had trained counts for its fold 0.
    assert race.fold_seconds == pytest.approx((0.98 * TOTAL - race.lost_seconds) / 2, rel=0.01)
    assert race.fold_seconds > race.planned_fold_seconds
    schedule = plan_of(home, "3d_fullres").configurations["3d_fullres"].schedule
    assert schedule.budget_seconds == race.fold_seconds and schedule.decay == "stable"


def test_the_race_is_held_up_to_the_last_rung_where_nobody_is_behind(home, trainings):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    held(home, trainings)
    race = race_of(home)
    assert len(race.rungs) == 3
    assert race.lost_seconds <= 0.5 * race.planned_fold_seconds
    assert race.fold_seconds == pytest.approx(race.planned_fold_seconds, rel=0.02)
    assert race.pair is not None and not race.pair.accepted


def test_an_ensemble_that_is_better_for_the_same_time_is_trained(home, trainings):
    trainings.dice, trainings.pair = {"2d": 0.8, "3d_fullres": 0.8}, 0.9
    held(home, trainings)
    race = race_of(home)
    assert set(race.winners) == {TWO, THREE} and race.lost_seconds == 0 and race.dropped == {}
    assert {(name, fold) for name, fold, rung in trainings.done if rung is None} == {
        (name, fold) for name in ("2d", "3d_fullres") for fold in (0, 1)}


@pytest.mark.parametrize("stop_at", range(5))
def test_stopped_at_any_moment_the_same_command_goes_on(home, trainings, stop_at):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    trainings.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    spent = read_json(Workspace(home).race_seconds(DATASET))["seconds"]
    trainings.stop_at = None
    held(home, trainings)
    assert len(set(trainings.done)) == len(trainings.done) == 8  # nothing was done twice
    assert race_of(home).spent_seconds >= spent
    done = list(trainings.done)
    held(home, trainings)
    assert trainings.done == done  # and what is finished stays


def test_what_only_the_race_kept_is_removed_and_the_paused_loser_stays(home, trainings):
    held(home, trainings)
    loser = Workspace(home).fold(DATASET, "budgeted", "2d", 0)
    assert loser.is_started and not loser.race.exists()


def test_the_loser_is_no_unfinished_model(home, trainings):
    held(home, trainings, folds=("all-folds",))
    workspace = Workspace(home)
    contenders, faults = gather(workspace, read_cross_validation(workspace, DATASET))
    assert [contender.member.configuration for contender in contenders] == ["3d_fullres"]
    (fault,) = faults
    assert fault.startswith("2d (budgeted): dropped in the race, since it is certainly behind: the whole 95 % interval of "
                            "the difference is below 0; to train it nevertheless:")


def test_a_candidate_that_fails_is_out_of_the_race(home, trainings):
    trainings.bad = ("3d_fullres",)
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert race_of(home).dropped == {THREE: "it failed: the loss is nan"}


def test_what_the_user_can_mend_drops_nobody(home, trainings, monkeypatch):
    def locked_by_another(*_, **__):
        raise UserError("another process works here")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train_fold", locked_by_another)
        with pytest.raises(UserError, match="another process works here"):
            held(home, trainings)
    held(home, trainings)
    assert race_of(home).winners == (THREE,)


def test_a_candidate_that_does_not_fit_the_memory_is_out_of_the_race(home, trainings, monkeypatch):
    train_fold = trainings.train_fold

    def exhausted(job, *arguments, **options):
        if job.name == "3d_fullres":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return train_fold(job, *arguments, **options)

    monkeypatch.setattr(run_module, "train_fold", exhausted)
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert "too little memory" in race_of(home).dropped[THREE]


def test_a_candidate_whose_predictions_are_not_finite_is_out_of_the_race(home, trainings, monkeypatch):
    load_model = run_module.load_model

    def broken(plan, configuration, *arguments):
        model = load_model(plan, configuration, *arguments)
        if configuration.dimensions == 3:
            for parameter in model.model.parameters():
                parameter.data.fill_(torch.nan)
        return model

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "load_model", broken)
        trainings.stop_at = 2
        with pytest.raises(KeyboardInterrupt):
            held(home, trainings)
    trainings.stop_at = None
    held(home, trainings)
    assert race_of(home).winners == (TWO,)
    assert "logits are not finite" in race_of(home).dropped[THREE]


def test_where_all_fail_each_says_why_and_the_same_command_tries_again(home, trainings):
    trainings.bad = ("2d", "3d_fullres")
    with pytest.raises(ManyFaults, match=r"every configuration failed; mend what is listed below and start the same command "
                                         r"again, or race again after(?s:.*)2d \(budgeted\): the loss is nan"):
        held(home, trainings)
    trainings.bad = ()
    held(home, trainings)
    assert race_of(home).winners == (THREE,)


def test_memory_is_given_back_after_every_candidate(home, trainings, monkeypatch):
    released = []
    monkeypatch.setattr(Runtime, "release_cache", lambda _: released.append(len(trainings.done)))
    held(home, trainings)
    assert released == [1, 2]


def test_only_what_a_pair_may_still_be_tested_with_is_kept(home, trainings):
    trainings.dice = {"2d": 0.8, "3d_fullres": 0.8}
    trainings.stop_at = 5  # both reached two rungs, and one the third
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    folders = [Workspace(home).fold(DATASET, "budgeted", name, 0).race for name in ("2d", "3d_fullres")]
    assert sorted(path.name for folder in folders for path in folder.iterdir()) == ["rung_1", "rung_1", "rung_2"]


def test_a_planner_that_is_left_out_prepares_nothing(home, trainings, monkeypatch):
    prepared = []
    preprocess = pipeline.preprocess

    def noted(dataset, *, planner, configurations, **options):
        prepared.append((planner, configurations))
        return preprocess(dataset, planner=planner, configurations=configurations, **options)

    costs = {"budgeted": 1.0, "classic": 1e6}
    monkeypatch.setattr(total_module, "least_fold_seconds", lambda plan, *_: costs[plan.planner])
    monkeypatch.setattr(pipeline, "preprocess", noted)
    held(home, trainings, planners=("budgeted", "classic"))
    assert prepared == [("budgeted", ["3d_fullres", "2d"])]


def test_no_configurations_are_not_all_of_them(home):
    pipeline.fingerprint(1, home=home, workers=1)
    pipeline.plan(1, home=home, device="cpu")
    assert pipeline.preprocess(1, configurations=[], home=home, workers=1) == []


def test_a_cascade_on_what_is_left_out_is_not_prepared(home, trainings, configurations, monkeypatch):
    volume = configurations["3d_fullres"]
    configurations.update({"3d_lowres": volume, "3d_cascade_fullres": volume.model_copy(update={"previous": "3d_lowres"})})
    costs = {"3d_lowres": 1e6}
    monkeypatch.setattr(total_module, "least_fold_seconds", lambda plan, name, *_: costs.get(name, 1.0))
    held(home, trainings)
    names = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
    assert [Workspace(home).cases(DATASET, "budgeted", name).exists() for name in names] == [True, True, False, False]


def test_a_model_that_was_trained_before_is_refused_before_anything_is_prepared(home, trainings, monkeypatch):
    pipeline.fingerprint(1, home=home, workers=1)
    planned = pipeline.plan(1, budget_seconds=1800.0, home=home, device="cpu")
    workspace = Workspace(home)
    write_json(workspace.model(DATASET, "budgeted", "2d").plan, planned)
    write_json(workspace.fold(DATASET, "budgeted", "2d", 1).schedule, {})
    prepared = []
    monkeypatch.setattr(pipeline, "preprocess", lambda *_, **__: prepared.append(True))
    with pytest.raises(UserError, match=r"folds of this model were started with another plan \(found: fold 1\)"):
        held(home, trainings)
    assert not prepared and not workspace.race(DATASET).exists()


def test_the_time_of_an_attempt_on_other_data_does_not_count(home, trainings, monkeypatch, caplog):
    def stopped(*_, **__):
        trainings.clock.seconds += 100.0
        raise KeyboardInterrupt

    def attempt():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(pipeline, "preprocess", stopped)
            held(home, trainings)
        return read_json(Workspace(home).race_seconds(DATASET))["seconds"]

    caplog.set_level("INFO")
    assert (attempt(), attempt()) == (100, 200)
    assert "earlier starts have used 1 min 40 s of the total of 50 min 0 s" in caplog.text
    first, second = (home / "raw" / DATASET / "labelsTr" / f"ball_0{i}.nii.gz" for i in (0, 1))
    first.write_bytes(second.read_bytes())
    assert attempt() == 100


def test_one_candidate_needs_no_race_and_keeps_the_planners_schedule(home, trainings):
    held(home, trainings, configurations=("2d",))
    assert trainings.done == [("2d", 0, None), ("2d", 1, None)]
    schedule = plan_of(home, "2d").configurations["2d"].schedule
    assert schedule.decay == "cosine" and schedule.budget_seconds == pytest.approx(0.49 * TOTAL, rel=0.01)


def test_a_cascade_on_the_winner_shares_what_is_left(home, trainings, configurations):
    volume = configurations["3d_fullres"]
    configurations.update({"3d_lowres": volume, "3d_cascade_fullres": volume.model_copy(
        update={"previous": "3d_lowres", "data": "3d_fullres"})})
    trainings.dice["3d_lowres"] = 0.9
    held(home, trainings, folds=("all-folds",))
    race = race_of(home)
    assert race.winners == ("3d_lowres (budgeted)",)
    whole = [(name, fold) for name, fold, rung in trainings.done if rung is None]
    assert whole == [("3d_lowres", fold) for fold in range(5)] + [("3d_cascade_fullres", fold) for fold in range(5)]
    assert race.fold_seconds == pytest.approx((0.98 * TOTAL - race.lost_seconds) / 10, rel=0.1)


def test_a_total_that_is_too_short_says_the_least_that_makes_sense(home, trainings):
    with pytest.raises(UserError) as error:
        held(home, trainings, seconds=15.0)
    assert re.search(r"too short to train anything \(found: 15 s, of which 0 s are spent; expected: at least 1m for 2 folds "
                     r"of \S+ \(budgeted\), 100 iterations and a validation each\); give more time", str(error.value))
    assert trainings.done == []


def test_a_race_does_not_go_on_with_other_data(home, trainings):
    trainings.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings)
    for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        first, second = (home / "raw" / DATASET / folder / f"ball_0{i}{ending}" for i in (0, 1))
        first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match=r"started with other data \(found: changed since: images, labels or dataset.json\); "
                                        r"restore them, or race again after you have removed .*race.json"):
        held(home, trainings)


def test_a_race_does_not_go_on_with_other_folds_or_a_changed_plan_of_its_own(home, trainings):
    held(home, trainings)
    workspace = Workspace(home)
    plan = workspace.race_plan(DATASET, "budgeted")
    known = plan.read_text()
    plan.write_text(known.replace('"batch": 2', '"batch": 4'))
    with pytest.raises(UserError, match="changed since: .*race_plan_budgeted.json"):
        held(home, trainings)
    plan.write_text(known)
    splits = read_json(workspace.splits(DATASET))
    write_json(workspace.splits(DATASET), splits[1:] + splits[:1])
    with pytest.raises(UserError, match="changed since: the folds"):
        held(home, trainings)


def test_a_race_goes_on_by_its_own_plan_whatever_is_planned_meanwhile(home, trainings, configurations, monkeypatch):
    trainings.stop_at = 1
    with pytest.raises(KeyboardInterrupt):
        held(home, trainings, memory_bytes=2**33)
    trainings.stop_at = None
    for name, known in list(configurations.items()):  # speed is measured, and memory differs
        configurations[name] = known.model_copy(update={"step_seconds": 9.0, "batch": 4})
    pipeline.plan(1, budget_seconds=1800.0, home=home, device="cpu")
    planned = Workspace(home).plan(DATASET, "budgeted").read_text()
    held(home, trainings)
    assert race_of(home).winners == (THREE,)
    assert plan_of(home, "3d_fullres").configurations["3d_fullres"].batch == 2
    assert Workspace(home).plan(DATASET, "budgeted").read_text() == planned


def test_a_race_goes_on_only_as_it_was_started(home, trainings):
    held(home, trainings)
    with pytest.raises(UserError, match=r"other options \(found: a total of 50 min 0 s\); say the same again"):
        held(home, trainings, seconds=7200.0)
    with pytest.raises(UserError, match=r"found: the seed 0\)"):
        held(home, trainings, seed=1)
    with pytest.raises(UserError, match=r"found: no --memory\)"):
        held(home, trainings, memory_bytes=2**33)
    with pytest.raises(UserError, match=r"found: the folds 0, 1\)"):
        held(home, trainings, folds=("0",))
    with pytest.raises(UserError, match=r"found: the planners budgeted\)"):
        held(home, trainings, planners=("budgeted", "classic"))
    with pytest.raises(UserError, match=r"other configurations \(found: 2d \(budgeted\), 3d_fullres \(budgeted\)\)"):
        held(home, trainings, configurations=("2d",))


def test_without_validation_cases_nothing_can_race(home, trainings):
    with pytest.raises(UserError, match=r"no case is validated.*name one configuration with -c"):
        held(home, trainings, folds=("all",))


def test_a_total_is_no_budget_of_a_fold(home, capsys):
    with pytest.raises(SystemExit):
        command.main(["1", "--total", "2h", "--budget", "30m"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_cluster_and_several_planners_without_a_total_are_refused(home, capsys):
    assert command.main(["1", "--total", "2h", "--cluster", "auto", "--device", "cpu", "--home", str(home)]) == 2
    assert command.main(["1", "--planners", "budgeted", "classic", "--device", "cpu", "--home", str(home)]) == 2
    refusals = capsys.readouterr().err
    assert "a race runs on one machine" in refusals and "several planners need a total time" in refusals


def test_one_planner_or_several_are_named_not_both(home, trainings, capsys):
    with pytest.raises(SystemExit):
        command.main(["1", "--total", "2h", "-p", "classic", "--planners", "budgeted"])
    assert "--planners: not allowed with argument -p/--planner" in capsys.readouterr().err
    options = ["--total", "50m", "--folds", "0", "--device", "cpu", "--workers", "1", "--home", str(home)]
    assert command.main(["1", "-p", "classic", *options]) == 0
    assert {candidate.planner for candidate in race_of(home).candidates} == {"classic"}


def test_the_command_prints_the_race(home, trainings, capsys):
    options = ["--total", "50m", "--folds", "0", "--device", "cpu", "--workers", "1", "--home", str(home)]
    assert command.main(["1", *options]) == 0
    assert "race:\n  after 1/8 of a fold's time" in capsys.readouterr().out


def test_a_stopwatch_counts_on_where_it_was_stopped(tmp_path):
    clock, path = Clock(), tmp_path / "seconds.json"
    with pytest.raises(KeyboardInterrupt), running(Stopwatch(path, clock)):
        clock.seconds = 7.0
        raise KeyboardInterrupt
    clock.seconds = 100.0  # nobody counts this
    again = Stopwatch(path, clock)
    clock.seconds = 103.0
    assert again.seconds == 10
