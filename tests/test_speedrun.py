"""The search of recipes: resumable, paired, and honest about what it does not know."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import speedrun
from autoseg.base.errors import UserError
from autoseg.planning.check import check_plan
from autoseg.workspace.files import append_record, write_json
from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Schedule
from speedrun_parts.plans import changed, planned, prepare_task
from speedrun_parts.raw import link_dataset
from speedrun_parts.search import Search, blocks_of, known_results, run_search, scores_of
from speedrun_parts.table import report
from speedrun_parts.types import Block, Recipe, Result, Task, read_recipes, read_tasks
from speedrun_parts.verdict import bootstrap_interval, differences, noise_of_tasks, p_worse, survivors, verdict_of
from tests_support import small_plan, write_spheres

BENCHMARKS = Path(speedrun.__file__).parent
TASKS = {name: Task(raw=name, configuration="3d_fullres", budget_seconds=60, choose_folds=(0, 1), judge_folds=(2,))
         for name in ("DatasetA", "DatasetB")}
GAIN = {"baseline": 0.0, "better": 0.02, "worse": -0.1}
RECIPES = {name: Recipe(set={"schedule.clip_norm": 1.0 + i}) for i, name in enumerate(GAIN)}


class Trainings:
    """Runs that only claim to have been: each recipe has its gain over a noise that is the same for all in a block."""

    def __init__(self, gains=GAIN, stop_at=None, failing=()):
        self.gains, self.stop_at, self.failing, self.done = gains, stop_at, failing, []

    def __call__(self, name, recipe, task, block, role, key):
        if len(self.done) == self.stop_at:
            raise KeyboardInterrupt
        self.done.append((name, block))
        dice = None if name in self.failing else 0.8 + 0.01 * ((block.seed * 7 + block.fold * 3) % 5) + self.gains[name]
        return Result(key=key, recipe=name, block=block, role=role, version="1", dice=dice, iterations=100,
                      seconds_per_step=0.5, error="no memory" if dice is None else "", machine={"others": 0.0, "threads": 2})


@pytest.fixture
def search_of(tmp_path):
    def make(role="choose", seeds=3, recipes=RECIPES, version="1"):
        return Search(recipes, TASKS, seeds, role, version, tmp_path / "results.jsonl")

    return make


def scores(**values):
    """Scores of recipes on two tasks of three seeds each, in this order."""
    blocks = [Block(task=task, fold=0, seed=seed) for task in ("a", "b") for seed in range(3)]
    return {name: dict(zip(blocks, given, strict=True)) for name, given in values.items()}


BASE = [0.80, 0.81, 0.82, 0.60, 0.61, 0.62]  # noise over seeds 0.01 on both tasks


def test_what_was_stopped_goes_on_with_what_is_missing(search_of):
    stopped, rest, search = Trainings(stop_at=5), Trainings(), search_of()
    with pytest.raises(KeyboardInterrupt):
        run_search(search, stopped)
    run_search(search, rest)
    whole = Trainings()
    run_search(search_of(version="2"), whole)
    assert sorted(map(str, stopped.done + rest.done)) == sorted(map(str, whole.done))
    run_search(search, nothing := Trainings())
    assert nothing.done == []


def test_a_line_that_was_cut_short_is_run_again(search_of):
    search = search_of(seeds=1)
    run_search(search, Trainings())
    text = search.results.read_text()
    search.results.write_text(text[:-20])
    run_search(search, again := Trainings())
    assert len(again.done) == 1 and len(known_results(search)) == 12


def test_another_version_recipe_or_budget_is_another_run(search_of):
    run_search(search_of(seeds=1), Trainings())
    run_search(search_of(seeds=1, version="2"), other := Trainings())
    assert len(other.done) == 12
    renamed = {**RECIPES, "renamed": RECIPES["better"]}
    run_search(search_of(seeds=1, recipes=renamed), more := Trainings({**GAIN, "renamed": 0.02}))
    assert more.done == []  # the same recipe of another name


def test_the_hopeless_are_dropped_after_the_first_round_that_can_tell(search_of):
    trainings = Trainings()
    assert run_search(search_of(), trainings) == ["baseline", "better"]
    assert {block.seed for name, block in trainings.done if name == "worse"} == {0}
    assert sum(name == "better" for name, _ in trainings.done) == 12


def test_a_resume_drops_as_the_first_time(search_of):
    run_search(search_of(), Trainings())
    later = {**GAIN, "better": 0.0}
    assert run_search(search_of(), Trainings(later)) == ["baseline", "better"]


def test_nobody_is_dropped_while_judging_and_other_folds_judge(search_of):
    run_search(search_of(), Trainings())
    trainings = Trainings()
    assert len(run_search(search_of(role="judge"), trainings)) == 3
    assert {block.fold for _, block in trainings.done} == {2}


def test_a_recipe_that_fails_is_dropped_and_named(search_of):
    trainings = Trainings(failing=("worse",))
    assert run_search(search_of(), trainings) == ["baseline", "better"]
    assert sum(name == "worse" for name, _ in trainings.done) == 1
    search = search_of()
    assert "worse on DatasetA: no memory" in report(search, list(known_results(search).values()))


def test_only_what_is_asked_for_is_run_again(search_of):
    search = search_of(seeds=1)
    run_search(search, Trainings(failing=("better",)))
    run_search(search, again := Trainings(), speedrun.again_once(speedrun.AGAIN["failed"]))
    assert [name for name, _ in again.done if name == "better"] == ["better"] * 4
    assert scores_of(search, known_results(search).values())["better"]


def test_within_a_block_recipes_follow_each_other_in_turn(search_of):
    trainings = Trainings()
    run_search(search_of(seeds=1), trainings)
    assert [block for _, block in trainings.done[::3]] == blocks_of(search_of(seeds=1))[0]
    assert {name for name, _ in trainings.done[::3]} == {"baseline", "better"}


def test_the_noise_is_the_spread_of_the_baseline_over_seeds():
    assert noise_of_tasks(scores(x=BASE)["x"]) == pytest.approx({"a": 0.01, "b": 0.01})
    assert noise_of_tasks({Block(task="a", fold=0, seed=0): 0.8, Block(task="a", fold=1, seed=0): 0.9}) == {"a": None}


@pytest.mark.parametrize(("gain_a", "gain_b", "words"), [
    (0.03, 0.02, "accepted"), (0.03, -0.005, "accepted; the interval holds 0"),
    (0.05, -0.02, "refused: worse by more than the noise on b"), (0.001, -0.002, "refused: not better")])
def test_accepted_is_who_is_better_on_the_mean_and_on_no_task_worse_by_more_than_its_noise(gain_a, gain_b, words):
    tried = [value + (gain_a if i < 3 else gain_b) for i, value in enumerate(BASE)]
    verdict = verdict_of(scores(baseline=BASE, tried=tried), "tried")
    assert verdict.words.startswith(words) and verdict.is_accepted == words.startswith("accepted")


def test_nothing_is_accepted_without_all_runs_or_without_noise():
    known = scores(baseline=BASE, tried=[value + 0.03 for value in BASE])
    part = {**known, "tried": dict(list(known["tried"].items())[:5])}
    assert "runs are missing on b" in verdict_of(part, "tried").words
    one = {name: {block: value for block, value in blocks.items() if block.seed == 0} for name, blocks in known.items()}
    assert "one seed of the baseline on a, b" in verdict_of(one, "tried").words


def test_the_interval_holds_the_mean_and_is_wider_where_tasks_differ():
    same, apart = ({Block(task=t, fold=0, seed=s): gain for t, gain in gains.items() for s in range(3)}
                   for gains in ({"a": 0.02, "b": 0.02}, {"a": 0.05, "b": -0.01}))
    assert bootstrap_interval(same) == pytest.approx((0.02, 0.02))
    low, high = bootstrap_interval(apart)
    assert low == pytest.approx(-0.01) and high == pytest.approx(0.05)


def test_the_paired_test_counts_signs():
    assert p_worse([-0.1, -0.2, -0.3, -0.4]) == 1 / 16
    assert p_worse([0.1, 0.2, 0.3, 0.4]) == 1.0
    assert p_worse([-0.01] * 20) < 0.01 < p_worse([0.01, -0.01] * 10)


def test_who_is_worse_by_a_chance_goes_on():
    noisy = [value + gain for value, gain in zip(BASE, (0.01, -0.02, 0.01, -0.02, 0.01, 0.0), strict=True)]
    known = scores(baseline=BASE, noisy=noisy, bad=[value - 0.1 for value in BASE])
    assert survivors(known, ["baseline", "noisy", "bad"]) == ["baseline", "noisy"]
    assert len(differences(known, "bad")) == 6


def test_the_table_says_who_is_accepted_and_what_was_disturbed(search_of):
    search = search_of(role="judge")
    run_search(search, Trainings())
    record = next(iter(known_results(search).values())).model_dump(mode="json")
    append_record(search.results, {**record, "machine": {"others": 0.4, "threads": 2}})
    text = report(search, list(known_results(search).values()))
    row = next(line for line in text.splitlines() if line.startswith("| better"))
    assert "+0.0200" in row and "accepted" in row
    assert "others took over 10% of the cores in 1" in text


@pytest.mark.parametrize(("scaled", "path", "value"), [
    ({"schedule.learning_rate": 2.0}, lambda c: c.schedule.learning_rate, 0.02), ({"batch": 1.5}, lambda c: c.batch, 3),
    ({"architecture.features": 2.0}, lambda c: c.architecture.features, (16, 32))])
def test_a_recipe_scales_what_the_plan_has(scaled, path, value):
    plan = small_plan(schedule=Schedule(iterations=10, learning_rate=0.01))
    assert path(changed(plan, "3d_fullres", Recipe(scaled=scaled))) == pytest.approx(value)


def test_mirroring_is_of_all_axes_or_of_none():
    plan = small_plan()
    assert changed(plan, "3d_fullres", Recipe(mirroring="all")).mirror_axes == (0, 1, 2)
    assert changed(plan, "3d_fullres", Recipe(mirroring="none")).mirror_axes == ()


@pytest.mark.parametrize("name", read_recipes(BENCHMARKS / "speedrun_recipes.json"))
def test_every_recipe_that_is_shipped_fits_a_plan(name):
    cases = tuple(CaseMeasure(case=f"c{i}", shape=(36, 50, 35), spacing_mm=(1.0, 1.0, 1.0)) for i in range(40))
    measured = Fingerprint(dataset="Dataset001_X", channels=(ChannelSpec(name="CT"),), cases=cases,
                           labels=LabelSpec(names={"background": (0,), "organ": (1,)}))
    laptop = KnownHardware(device="cpu", memory_bytes=8 * GIB, flops_per_s=3e11, cores=2)
    plan = PLANNERS.get("budgeted")(measured, laptop, Budget(seconds_per_fold=600))
    recipe = read_recipes(BENCHMARKS / "speedrun_recipes.json")[name]
    configuration = changed(plan, "3d_fullres", recipe)
    check_plan(plan.model_copy(update={"configurations": {"3d_fullres": configuration}}), "3d_fullres")
    assert recipe.why


def test_no_case_that_judges_has_chosen(tmp_path):
    assert len(read_tasks(BENCHMARKS / "speedrun_tasks.json")) == 5
    assert len(read_tasks(BENCHMARKS / "speedrun_tasks_short.json")) == 4
    task = {"raw": "DatasetA", "configuration": "2d", "budget_seconds": 1, "choose_folds": [0], "judge_folds": [1]}
    write_json(tmp_path / "tasks.json", {"a": task, "b": {**task, "choose_folds": [1], "judge_folds": [2]}})
    with pytest.raises(SystemExit, match="fold 1 chooses in b and judges in a"):
        read_tasks(tmp_path / "tasks.json")


def test_recipes_without_a_baseline_are_refused(tmp_path):
    write_json(tmp_path / "recipes.json", {"muon": {}})
    with pytest.raises(SystemExit, match="baseline"):
        read_recipes(tmp_path / "recipes.json")


def test_a_task_may_declare_more_than_its_dataset(tmp_path):
    write_spheres(tmp_path / "data" / "Dataset001_Spheres", 3)
    link_dataset(tmp_path / "data" / "Dataset001_Spheres", tmp_path / "raw", {"reference_channel": "CT"})
    declared = json.loads((tmp_path / "raw" / "dataset.json").read_text())
    assert declared["reference_channel"] == "CT" and declared["numTraining"] == 3
    assert len(list((tmp_path / "raw" / "imagesTr").iterdir())) == 3
    with pytest.raises(UserError, match="no raw dataset"):
        link_dataset(tmp_path / "elsewhere", tmp_path / "other", {})


@pytest.mark.slow  # plans and prepares
def test_runs_of_a_task_share_prepared_cases_and_few_training_cases_are_a_fold(tmp_path):
    write_spheres(tmp_path / "data" / "Dataset001_Spheres", 10)
    task = Task(raw="Dataset001_Spheres", configuration="3d_fullres", training_cases=3, budget_seconds=20,
                choose_folds=(0,), judge_folds=(1,))
    home = tmp_path / "home"
    name = prepare_task(task, tmp_path / "data", home)
    folds = json.loads((home / "prepared" / name / "splits_final.json").read_text())
    assert [len(fold["train"]) for fold in folds] == [3] * 5 and [len(fold["val"]) for fold in folds] == [2] * 5
    first = planned(Recipe(), task, name, home, "cpu", "run_a")
    second = planned(Recipe(set={"schedule.ema": 0}), task, name, home, "cpu", "run_b")
    assert first.prepared_by == second.prepared_by and second.configurations["3d_fullres"].schedule.ema == 0
    assert len(list((home / "prepared" / name).glob("grid_*_3d_fullres"))) == 1
    assert (first.planner, first.configurations["3d_fullres"].schedule.budget_seconds) == ("run_a", 20)


@pytest.mark.slow
def test_a_search_runs_from_raw_data_to_its_table(tmp_path, capsys):
    write_spheres(tmp_path / "data" / "Dataset001_Spheres", 6)
    write_json(tmp_path / "tasks.json", {"spheres": {"raw": "Dataset001_Spheres", "configuration": "3d_fullres",
                                                     "budget_seconds": 15, "choose_folds": [0], "judge_folds": [1]}})
    write_json(tmp_path / "recipes.json", {"baseline": {}, "muon": {"set": {"schedule.optimizer": {"name": "muon"}}}})
    arguments = ["--out", str(tmp_path / "out"), "--tasks", str(tmp_path / "tasks.json"), "--recipes",
                 str(tmp_path / "recipes.json"), "--data", str(tmp_path / "data"), "--seeds", "1", "--device", "cpu"]
    assert speedrun.main(arguments) == 0
    assert "| muon" in capsys.readouterr().out
    results = [Result.model_validate({k: v for k, v in json.loads(line).items() if k in Result.model_fields})
               for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert len(results) == 2 and all(result.dice is not None and result.iterations for result in results)
    assert results[0].machine["load_before"] >= 0 and results[0].configuration != results[1].configuration
