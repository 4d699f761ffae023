"""Which configurations take part, and what is said of those that do not."""

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.workspace.files import write_json
from folds_support import BALL, DATASET, ball, balls_plan, name_of


def gathered(balls):
    return gather(balls.workspace, read_cross_validation(balls.workspace, DATASET))


def fault_of(balls) -> str:
    with pytest.raises(ManyFaults, match="no configuration was validated on every case") as raised:
        gathered(balls)
    (fault,) = raised.value.faults
    return fault


def test_every_case_has_the_fold_that_validated_it(trained):
    (contender,), faults = gathered(trained)
    assert faults == []
    assert contender.member.folds == ("0", "1", "2", "3", "4")
    assert contender.fold_of[name_of(7)] == "2"
    assert contender.mask(name_of(7)) == trained.fold(2).validation / "case_07.nii.gz"
    assert contender.folds_without_probabilities() == []


def test_nothing_trained_says_what_to_do(untrained):
    with pytest.raises(UserError, match="nothing was trained.*autoseg_train"):
        gathered(untrained)


def test_unfinished_folds_are_named_with_the_commands_that_finish_them(untrained):
    untrained.model(lambda _: ball(3.5), folds=(0, 2, 4))
    assert fault_of(untrained) == (
        "3d_fullres (budgeted): folds 1, 3 are not finished; finish with "
        "autoseg_train Dataset001_Balls 3d_fullres 1 -p budgeted; autoseg_train Dataset001_Balls 3d_fullres 3 -p budgeted")


def test_a_finished_configuration_is_compared_though_another_is_not(trained):
    trained.model(lambda _: ball(3.5), balls_plan("2d", "classic"), folds=(0, 1, 2, 3))
    (contender,), (fault,) = gathered(trained)
    assert contender.member.configuration == "3d_fullres"
    assert fault == ("2d (classic): fold 4 is not finished; finish with "
                     "autoseg_train Dataset001_Balls 2d 4 -p classic")


def test_cases_that_no_fold_validates_are_named(untrained):
    own = untrained.workspace.raw(DATASET) / "splits_final.json"
    names = [name_of(i) for i in range(10)]
    write_json(own, [{"train": names[5:], "val": names[:2]}, {"train": names[:5], "val": names[8:]}])
    untrained.model(lambda _: ball(3.5), folds=(0, 1))
    for fold, cases in ((0, (0, 1)), (1, (8, 9))):
        scores = [score(name_of(i)) for i in cases]
        untrained.result(untrained.fold(fold), balls_plan(), fold, scores)
    assert "case_02, case_03, case_04, case_05, case_06 and 1 others were validated by no fold" in fault_of(untrained)


def test_a_case_that_two_folds_validated_is_named(untrained):
    untrained.model(lambda _: ball(3.5))
    untrained.result(untrained.fold(0), balls_plan(), 0, [score(name_of(i)) for i in (0, 5, 6)])
    assert "case_06 were validated by more than one fold (fold 0, 1)" in fault_of(untrained)


def test_a_case_that_could_not_be_scored_is_told_with_the_reason(untrained):
    untrained.model(lambda _: ball(3.5))
    untrained.result(untrained.fold(0), balls_plan(), 0, [score(name_of(0))], unscored=("case_05: it is damaged",))
    assert "case_05: it is damaged" in fault_of(untrained)
    assert "fold_0/result.json" in fault_of(untrained)


def test_folds_of_other_splits_are_left_out_though_they_cover_every_case(untrained):
    untrained.model(lambda _: ball(3.5))
    names = [name_of(i) for i in range(10)]
    pairs = [names[i : i + 2] for i in range(0, 10, 2)]
    write_json(untrained.workspace.raw(DATASET) / "splits_final.json",
               [{"train": sorted(set(names) - set(pair)), "val": pair} for pair in pairs])
    assert "the splits were changed since fold 0, 1, 2, 3, 4 was trained" in fault_of(untrained)


def test_a_mask_that_is_gone_is_told(untrained):
    untrained.model(lambda _: ball(3.5))
    (untrained.fold(1).validation / "case_01.nii.gz").unlink()
    assert "the masks of case_01 are missing; remove" in fault_of(untrained)


def test_a_case_that_is_gone_from_the_dataset_is_told(untrained):
    untrained.model(lambda _: ball(3.5))
    untrained.result(untrained.fold(0), balls_plan(), 0, [score(name) for name in ("case_00", "case_05", "gone")])
    assert "gone were validated, but are no longer training cases" in fault_of(untrained)


def test_a_model_of_other_labels_is_left_out(untrained):
    plan = balls_plan()
    swapped = plan.labels.model_copy(update={"names": {"background": (0,), "bubble": (1,)}})
    untrained.model(lambda _: ball(3.5), plan.model_copy(update={"labels": swapped}))
    assert "trained with other labels" in fault_of(untrained)


def score(name):
    from autoseg.evaluation.score import score_case
    from folds_support import truth

    return score_case(truth(), truth(), BALL, (1.0, 1.0, 1.0), name)
