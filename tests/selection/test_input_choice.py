"""The rule that chooses among sets of inputs."""

import pytest

from autoseg.evaluation.statistics import holm
from autoseg.selection.inputs import judge_inputs

CT = [0.60, 0.70, 0.65, 0.80, 0.55, 0.75, 0.68, 0.72]


def shifted(by, values=CT):
    return tuple(value + by for value in values)


def chosen(dice, sizes=None):
    """The scores, and the title of the choice; a late fusion is a pair of names."""
    sizes = {"CT": 1, "PET": 1, "CT,PET": 2, ("CT", "PET"): 2, **(sizes or {})}
    dice = {(name,) if isinstance(name, str) else name: tuple(values) for name, values in dice.items()}
    scores, choice = judge_inputs(dice, {names: sizes[names if len(names) > 1 else names[0]] for names in dice})
    return scores, choice.title


def test_an_input_that_helps_nothing_is_left_out():
    barely = tuple(value + (0.03 if index % 2 else -0.02) for index, value in enumerate(CT))
    scores, title = chosen({"CT": CT, "CT,PET": barely})
    assert scores[0].difference.difference == pytest.approx(-0.005) and scores[0].p > 0.05 and title == "CT"


def test_an_input_that_pays_is_kept():
    scores, title = chosen({"CT": CT, "CT,PET": shifted(0.10)})
    assert title == "CT,PET"
    assert scores[0].difference.difference == pytest.approx(-0.10) and not scores[0].is_as_good


def test_a_small_loss_that_is_certain_is_a_loss():
    values = tuple(value - 0.004 - 0.0005 * index for index, value in enumerate(CT))
    scores, title = chosen({"CT": values, "CT,PET": CT})
    assert -0.01 < scores[0].difference.difference < 0 and scores[0].p < 0.05 and title == "CT,PET"


def test_a_loss_beyond_the_margin_is_a_loss_however_uncertain():
    noisy = tuple(value + (0.3 if index % 2 else -0.34) for index, value in enumerate(CT))
    scores, title = chosen({"CT": noisy, "CT,PET": CT})
    assert scores[0].p > 0.05 and title == "CT,PET"


def test_the_more_comparisons_the_weaker_is_each():
    values = tuple(value - 0.004 - 0.0005 * index for index, value in enumerate(CT))
    dice = {"CT": values, "CT,PET": CT}
    alone = chosen(dice)[0][0].p
    many = chosen({**dice, **{f"set {n}": CT for n in range(9)}}, {f"set {n}": 5 for n in range(9)})[0][0].p
    assert many == pytest.approx(min(1.0, 10 * alone))


def test_of_equally_many_inputs_one_model_is_simpler_than_two():
    close = tuple(value + (0.01 if index % 2 else -0.008) for index, value in enumerate(CT))
    assert chosen({("CT", "PET"): close, "CT,PET": CT, "CT": shifted(-0.2)})[1] == "CT,PET"
    assert chosen({("CT", "PET"): shifted(0.05), "CT,PET": CT, "CT": shifted(-0.2)})[1] == "CT & PET"


def test_of_equally_many_inputs_the_higher_mean_counts():
    close = tuple(value + (0.01 if index % 2 else -0.008) for index, value in enumerate(CT))
    assert chosen({"CT": CT, "PET": close})[1] == "PET"


def test_few_cases_are_decided_by_the_margin_alone():
    assert chosen({"CT": (0.70, 0.60), "CT,PET": (0.705, 0.605)})[1] == "CT"
    assert chosen({"CT": (0.70, 0.60), "CT,PET": (0.72, 0.62)})[1] == "CT,PET"


def test_a_candidate_without_a_dice_is_never_chosen():
    assert chosen({"CT": (None,) * 8, "CT,PET": CT})[1] == "CT,PET"
    with pytest.raises(ValueError, match="no candidate has a Dice"):
        chosen({"CT": (None,), "PET": (None,)})


def test_holm_corrects_the_smallest_most_and_keeps_the_order():
    assert holm([0.01, 0.02, 0.5]) == [pytest.approx(0.03), pytest.approx(0.04), 0.5]
    assert holm([0.04, 0.03]) == [0.06, 0.06] and holm([None]) == [None] and holm([0.9, 0.8]) == [1.0, 1.0]
