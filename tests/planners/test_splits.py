"""Folds: as published without groups, never torn groups, even strata."""

from collections import Counter

import pytest

from planners.rules.splits import make_splits

TWELVE = [f"case_{i:02d}" for i in range(12)]
# what scikit-learn's KFold(5, shuffle=True, random_state=12345) validates of twelve sorted cases
PUBLISHED = [("00", "03", "08"), ("07", "10", "11"), ("06", "09"), ("01", "04"), ("02", "05")]


def test_plain_folds_are_the_published_ones_whatever_the_order():
    splits = make_splits(TWELVE[::-1])
    assert [split.validation for split in splits] == [tuple(f"case_{n}" for n in fold) for fold in PUBLISHED]


@pytest.mark.parametrize("options", [
    {}, {"seed": 1}, {"n_folds": 3}, {"groups": {name: str(i // 2) for i, name in enumerate(TWELVE)}},
    {"strata": {name: "ab"[i % 2] for i, name in enumerate(TWELVE)}}])
def test_every_case_is_validated_once_and_trained_otherwise(options):
    splits = make_splits(TWELVE, **options)
    assert sorted(name for split in splits for name in split.validation) == TWELVE
    for split in splits:
        assert sorted(split.train + split.validation) == TWELVE
    assert splits == make_splits(TWELVE, **options)


def test_seed_changes_the_folds():
    assert make_splits(TWELVE, seed=1) != make_splits(TWELVE)
    strata = dict.fromkeys(TWELVE, "a")
    assert make_splits(TWELVE, seed=1, strata=strata) != make_splits(TWELVE, strata=strata)


def test_fewer_cases_than_folds_leave_one_out():
    splits = make_splits(["c", "a", "b"])
    assert sorted(split.validation for split in splits) == [("a",), ("b",), ("c",)]
    assert all(len(split.train) == 2 for split in splits)


def test_cases_of_a_patient_share_a_fold():
    groups = {name: f"patient {i // 3}" for i, name in enumerate(TWELVE)}  # 4 patients: leave one out
    splits = make_splits(TWELVE, groups=groups)
    assert len(splits) == 4
    for split in splits:
        assert len(split.validation) == 3
        assert not {groups[name] for name in split.validation} & {groups[name] for name in split.train}


def test_large_groups_do_not_meet_while_a_fold_is_free():
    groups = {name: "big" if i < 5 else "second" if i < 8 else name for i, name in enumerate(TWELVE)}
    assert sorted(len(split.validation) for split in make_splits(TWELVE, n_folds=3, groups=groups)) == [3, 4, 5]


def test_strata_are_spread_evenly():
    cases = [f"{i:03d}" for i in range(50)]
    strata = {name: "rare" if i % 10 == 0 else "site b" if i % 3 else "site a" for i, name in enumerate(cases)}
    total = Counter(strata.values())
    for split in make_splits(cases, strata=strata):
        assert len(split.validation) == 10
        for kind, count in Counter(strata[name] for name in split.validation).items():
            assert abs(count - total[kind] / 5) < 1


def test_strata_are_spread_though_patients_stay_together():
    cases = [f"{i:02d}" for i in range(40)]
    groups = {name: str(i // 2) for i, name in enumerate(cases)}
    strata = {name: "with" if i < 20 else "without" for i, name in enumerate(cases)}
    for split in make_splits(cases, groups=groups, strata=strata):
        assert Counter(strata[name] for name in split.validation) == {"with": 4, "without": 4}


@pytest.mark.parametrize(("cases", "options", "message"), [
    (["a"], {}, "at least two groups of cases, got 1 of 1 case"),
    (["a", "b"], {"groups": {"a": "p", "b": "p"}}, "at least two groups of cases, got 1 of 2"),
    (["a", "b", "a"], {}, "named twice: a"),
    (["a", "b"], {"n_folds": 1}, "at least two folds, got 1"),
    (["a", "b"], {"groups": {"a": "p"}}, "no group is given for 1 case.*b"),
    (["a", "b"], {"strata": {"b": "s"}}, "no stratum is given for 1 case.*a")])
def test_bad_input_is_named(cases, options, message):
    with pytest.raises(ValueError, match=message):
        make_splits(cases, **options)
