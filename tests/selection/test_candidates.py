"""Which candidate is chosen, and what each costs."""

import pickle
from functools import partial

import numpy as np
import pytest

from autoseg.evaluation.types import CaseScore, LabelScore
from autoseg.formats.probabilities import read_probabilities, write_probabilities
from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import Member, Postprocessing
from autoseg.selection.candidates import choose, compare, score_candidates
from autoseg.selection.cases import cases_of, decision_dice, mean_label
from autoseg.selection.costs import prediction_cost
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.selection.steps import _dice_of
from folds_support import BALL, DATASET, LARGE, ball, balls_plan
from planners.schema.base import Part

GRID = [Geometry((24, 16, 16), (1.0, 1.0, 1.0))]


def scored_of(balls):
    dataset = read_cross_validation(balls.workspace, DATASET)
    return score_candidates(dataset, gather(balls.workspace, dataset)[0], 1)


def chosen_of(balls):
    incumbent, comparisons = choose(scored_of(balls)[0])
    return incumbent.candidate.title, [(entry.candidate, entry.accepted) for entry in comparisons]


def test_every_pair_is_an_ensemble(trained):
    trained.model(lambda _: ball(3.5), LARGE)
    scored, notes = scored_of(trained)
    assert notes == []
    assert [entry.candidate.title for entry in scored] == [
        "3d_fullres (budgeted)", "3d_large (budgeted)", "3d_fullres (budgeted) + 3d_large (budgeted)"]
    single, large, both = (entry.candidate.scores.foreground_means["dice"].value for entry in scored)
    assert large == 1.0
    assert single < both < large


def test_a_small_gain_that_is_certain_is_a_gain():
    before = [0.80, 0.82, 0.85, 0.88, 0.90, 0.91, 0.93]
    assert compare("b", [dice + 0.002 for dice in before], "a", before).accepted
    assert not compare("b", [dice + (-1) ** i / 50 for i, dice in enumerate(before)], "a", before).accepted


def test_a_dearer_candidate_that_is_better_is_chosen(trained):
    trained.model(lambda _: ball(3.5), LARGE)
    title, comparisons = chosen_of(trained)
    assert title == "3d_large (budgeted)"
    assert comparisons == [("3d_large (budgeted)", True), ("3d_fullres (budgeted) + 3d_large (budgeted)", False)]


def test_a_dearer_candidate_that_is_no_better_is_not(untrained):
    untrained.model(lambda i: ball(3.2))
    untrained.model(lambda i: ball(3.2 if i else 3.5), LARGE)  # better in one case, equal in nine
    title, comparisons = chosen_of(untrained)
    assert title == "3d_fullres (budgeted)"
    assert comparisons[0] == ("3d_large (budgeted)", False)


def test_a_cheaper_candidate_that_is_worse_does_not_win_by_its_price(untrained):
    untrained.model(lambda i: ball(3.5))
    untrained.model(lambda i: ball(2.5), LARGE)
    assert chosen_of(untrained)[0] == "3d_fullres (budgeted)"


def test_pairs_without_probabilities_are_noted_with_the_commands(trained):
    trained.model(lambda _: ball(3.5), LARGE, probabilities=False)
    scored, (note,) = scored_of(trained)
    assert len(scored) == 2
    assert note.startswith("ensembles with 3d_large (budgeted) were not scored")
    assert "autoseg_train Dataset001_Balls 3d_large 4 -p budgeted --save_probabilities" in note


def test_masks_of_an_ensemble_are_those_of_the_mean(tmp_path):
    first, other = ball(2.0, 0.5), ball(4.5, 1.5)
    for name, probabilities in (("a", first), ("b", other)):
        write_probabilities(tmp_path / name, probabilities, has_regions=False)
    label = mean_label([read_probabilities(tmp_path / name) for name in "ab"], BALL)
    expected = ((first + other)[1] > 1).astype(int)
    assert (label != expected).mean() < 0.01  # where both are equal to a level
    assert np.array_equal(mean_label([read_probabilities(tmp_path / "a")], BALL), first.argmax(0))


def test_a_label_that_is_rightly_absent_counts_as_found():
    volumes = {"truth_ml": 0, "predicted_ml": 0, "volume_error_ml": 0}
    absent = LabelScore(name="a", true_positives=0, false_positives=0, false_negatives=0, **volumes)
    half = LabelScore(name="b", true_positives=1, false_positives=1, false_negatives=1, dice=0.5, **volumes)
    score = CaseScore(name="x", labels=(absent, half))
    assert decision_dice(score, ("a", "b")) == 0.75
    assert decision_dice(score, ("b",)) == 0.5
    assert decision_dice(score, ()) is None


def test_cost_counts_tiles_mirrors_and_folds():
    plan = balls_plan(mirror_axes=())
    once = prediction_cost(plan, Member(planner="budgeted", configuration="3d_fullres", folds=("0",)), GRID)
    five = prediction_cost(plan, Member(planner="budgeted", configuration="3d_fullres", folds=tuple("01234")), GRID)
    assert five == pytest.approx(5 * once)
    mirrored = balls_plan(mirror_axes=(0, 1))
    assert prediction_cost(mirrored, Member(planner="budgeted", configuration="3d_fullres", folds=("0",)), GRID
                           ) == pytest.approx(4 * once)
    assert prediction_cost(plan, Member(planner="budgeted", configuration="3d_fullres", folds=("0",)),
                           [Geometry((16, 16, 16), (1.0, 1.0, 1.0))]) == pytest.approx(once / 2)  # one tile, not two


def test_a_network_of_a_plugin_has_the_cost_of_a_plain_one():
    member = Member(planner="budgeted", configuration="3d_fullres", folds=("0",))
    mine, plain = balls_plan(network=Part(name="mine")), balls_plan()
    assert prediction_cost(mine, member, GRID) == prediction_cost(plain, member, GRID)


def test_the_work_on_a_case_can_be_sent_to_another_process(trained):
    dataset = read_cross_validation(trained.workspace, DATASET)
    cases = cases_of(dataset, gather(trained.workspace, dataset)[0])
    work = partial(_dice_of, base=Postprocessing(), options=(Postprocessing(fill_holes=("ball",)),))
    again, case = pickle.loads(pickle.dumps((work, cases[3])))
    assert again(case) == work(cases[3])
