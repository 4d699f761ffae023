"""Paired differences, their intervals and what is read from them; numbers that can be checked by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from autoseg.evaluation.statistics import FEWEST_PAIRS, bootstrap_mean, judge, paired_difference
from autoseg.explain.ablation import Ablation, as_text, findings_of, row_of

TEN = [0.05 * i for i in range(10)]


def shifted(values, by):
    return [value + by for value in values]


def test_a_constant_difference_has_an_interval_of_one_point():
    measured = paired_difference(shifted(TEN, 0.1), TEN)
    assert (measured.n, measured.n_left_out) == (10, 0)
    assert (measured.difference, measured.low, measured.high) == pytest.approx((0.1, 0.1, 0.1))
    assert measured.mean_a - measured.mean_b == pytest.approx(0.1)


def test_differences_of_both_signs_span_zero():
    signs = [0.1 if i % 2 else -0.1 for i in range(10)]
    measured = paired_difference([a + s for a, s in zip(TEN, signs, strict=True)], TEN)
    assert measured.difference == pytest.approx(0) and measured.low < 0 < measured.high
    assert measured.p_wilcoxon > 0.5 and judge(measured) == "unclear"


def test_the_difference_changes_its_sign_with_the_order():
    rng = np.random.default_rng(0)
    a, b = rng.random(12), rng.random(12)
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == (pytest.approx(-other.high, abs=0.02), pytest.approx(-other.low, abs=0.02))


def test_a_seed_gives_one_interval_and_another_seed_nearly_the_same():
    values = np.random.default_rng(1).random(15)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    one, other = bootstrap_mean(values, seed=3), bootstrap_mean(values, seed=4)
    assert one != other and one.low == pytest.approx(other.low, abs=0.01)


def test_the_interval_does_not_depend_on_how_many_resamples_are_held_at_a_time(monkeypatch):
    values = np.random.default_rng(1).random(15)
    whole = bootstrap_mean(values)
    monkeypatch.setattr("autoseg.evaluation.statistics._BLOCK", 15 * 7)
    assert bootstrap_mean(values) == whole


def test_pairs_of_which_one_is_not_defined_are_left_out_and_counted():
    measured = paired_difference([0.9, None, 0.7, math.nan], [0.8, 0.5, None, 0.4])
    assert (measured.n, measured.n_left_out) == (1, 3)
    assert (measured.mean_a, measured.mean_b) == (0.9, 0.8)


def test_what_lacks_pairs_is_none():
    one, none = paired_difference([0.9], [0.8]), paired_difference([None], [0.8])
    assert one.difference == pytest.approx(0.1) and one.low is None and one.high is None
    assert none.n == 0 and none.difference is None and none.mean_a is None and none.p_wilcoxon is None
    assert none.model_validate_json(none.model_dump_json()) == none


def test_pairs_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([0.1, 0.2], [0.1])


def test_the_interval_of_ten_normal_values_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(5)
    drawn = (bootstrap_mean(rng.normal(size=10), n_resamples=1000) for _ in range(600))
    hits = [measured.low <= 0 <= measured.high for measured in drawn]
    assert 0.92 < np.mean(hits) < 0.98


def test_of_many_values_the_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(2).normal(size=4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    measured = bootstrap_mean(values, n_resamples=4000)
    assert measured.high - measured.mean == pytest.approx(half, rel=0.1)
    assert measured.mean - measured.low == pytest.approx(half, rel=0.1)


def test_the_p_value_is_that_of_wilcoxon_and_rounding_errors_do_not_break_ties():
    # 0.7 - 0.6 and 0.3 - 0.2 differ in their last digit.
    measured = paired_difference([0.7, 0.3, 0.5, 0.9, 0.8, 0.4], [0.6, 0.2, 0.7, 0.6, 0.4, 0.1])
    assert measured.p_wilcoxon == pytest.approx(stats.wilcoxon([0.1, 0.1, -0.2, 0.3, 0.4, 0.3]).pvalue)


@pytest.mark.parametrize("n", [5, 20, 50])
def test_the_p_value_of_ranks_without_ties_is_scipys(n):
    difference = np.random.default_rng(n).normal(0.3, 1, n)
    assert paired_difference(difference, np.zeros(n)).p_wilcoxon == pytest.approx(stats.wilcoxon(difference).pvalue)


def test_the_p_value_of_tied_ranks_can_be_counted():
    # Ranks 1.5, 1.5, 3: of 8 sums of signs (0, 1.5, 1.5, 3, 3, 4.5, 4.5, 6) two are at least as far as 4.5 on its side.
    assert paired_difference([0.1, -0.1, 0.2, 0.0], [0.0] * 4).p_wilcoxon == pytest.approx(2 * 3 / 8)


def test_six_pairs_of_one_sign_are_the_fewest_that_the_rank_test_finds():
    assert paired_difference(TEN[1:7], [0] * 6).p_wilcoxon == pytest.approx(2 * 0.5**6)
    assert 2 * 0.5**FEWEST_PAIRS < 0.05 < 2 * 0.5 ** (FEWEST_PAIRS - 1)


def test_of_equal_measurements_the_rank_test_says_nothing():
    measured = paired_difference(TEN, TEN)
    assert measured.p_wilcoxon == 1.0 and (measured.low, measured.high) == (0, 0)


@pytest.mark.parametrize(("by", "verdict"), [(0.1, "better"), (-0.1, "worse"), (0.0, "same"), (0.005, "same")])
def test_an_interval_is_judged_by_zero_and_the_margin(by, verdict):
    assert judge(paired_difference(shifted(TEN, by), TEN)) == verdict


def test_of_five_pairs_nothing_is_said():
    assert judge(paired_difference([0.9] * 5, [0.1] * 5)) == "few"
    assert judge(paired_difference([0.9] * 6, [0.1] * 6)) == "better"


def conditions_finding(own: float, shuffled: float, missing: float, n: int = 8):
    """What is said of conditions with these Dice of every case."""
    full = {f"case_{i}": own + 0.01 * (i % 3) for i in range(n)}
    rows = [row_of(name, kind, (), {case: dice + value - own for case, dice in full.items()}, full, 0)
            for name, kind, value in (("all", "all", own), ("shuffled", "shuffled", shuffled),
                                      ("missing", "missing", missing))]
    finding, = findings_of(rows, 0)
    return finding


@pytest.mark.parametrize(("own", "shuffled", "missing", "verdict", "words"), [
    (0.9, 0.7, 0.7, "helps", "The conditions help (Dice with a case's own minus none +0.200"),
    (0.9, 0.4, 0.6, "helps", "Wrong ones are worse than none (+0.200"),
    (0.8, 0.8, 0.8, "nothing", "do nothing"),
    (0.8, 0.5, 0.8, "shortcut", "against the image"),
    (0.8, 0.8, 0.6, "nothing", "another case's conditions are as good"),
    (0.7, 0.6, 0.8, "harms", "harm (Dice with a case's own minus none -0.100 [-0.100 to -0.100]"),
    (0.7, 0.8, 0.8, "harms", "harm")])
def test_conditions_are_judged_against_none_and_against_wrong_ones(own, shuffled, missing, verdict, words):
    finding = conditions_finding(own, shuffled, missing)
    assert finding.verdict == verdict
    assert words in finding.sentence


def test_of_the_conditions_of_five_cases_nothing_is_said():
    finding = conditions_finding(0.9, 0.4, 0.6, n=5)
    assert finding.verdict == "few" and "5 cases are too few to say, 6 are needed" in finding.sentence


def test_the_report_says_what_was_compared_how_often_and_what_it_means():
    full = {f"case_{i}": 0.8 + 0.01 * i for i in range(7)} | {"empty": None}
    without = {case: None if dice is None else dice - 0.25 for case, dice in full.items()}
    rows = (row_of("all that each case has", "all", (), full, full, 0),
            row_of("without PET", "channels", ("PET",), without, full, 0),
            row_of("without MR", "channels", ("MR",), {"case_0": 0.7}, full, 0),
            row_of("without T2", "channels", ("T2",), {}, full, 0))
    ablation = Ablation(dataset="Dataset010_STS", planner="budgeted", configuration="3d_fullres", fold=0, seed=0,
                        mirroring=False, every_subset=True, permutations=0, rows=rows,
                        findings=findings_of(rows, 0), unscored=("case_9: damaged",))
    text = as_text(ablation)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert cells[2][:3] == ["all that each case has", "7 (1 out)", "0.830"]
    assert cells[3] == ["without PET", "7 (1 out)", "0.580", "0.830", "+0.250", "+0.250 to +0.250", "0.016"]
    assert "- PET helps: with it the Dice is 0.250 higher (95 % interval +0.250 to +0.250, 7 cases)." in text
    assert "- MR: 1 case is too few to say" in text and "- T2: nothing can be said" in text
    assert "not scored: case_9: damaged" in text and "without mirroring" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1
    assert Ablation.model_validate_json(ablation.model_dump_json()) == ablation
