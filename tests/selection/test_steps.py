"""Which postprocessing is accepted, and that each step is tested."""

import numpy as np

from autoseg.prediction.inference_settings import FoldPostprocessing, Postprocessing
from autoseg.selection.cases import cases_of
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.selection.single_fold import choose_fold_postprocessing
from autoseg.selection.steps import choose_steps, describe
from autoseg.workspace.files import read_model
from folds_support import BALL, DATASET, ball


def spotted(index: int) -> np.ndarray:
    """A ball with false findings of 16 voxels beside it, in every case."""
    probabilities = ball(3.5)
    probabilities[:, :4, :4, 0] = np.array([0.1, 0.9])[:, None, None]
    return probabilities


def hollow(index: int) -> np.ndarray:
    probabilities = ball(3.5)
    probabilities[:, 4:7, 4:7, 4:7] = np.array([0.9, 0.1])[:, None, None, None]
    return probabilities


def steps_of(balls, predict):
    balls.model(predict)
    dataset = read_cross_validation(balls.workspace, DATASET)
    (contender,), _ = gather(balls.workspace, dataset)
    return choose_steps(cases_of(dataset, [contender]), BALL, 1)


def test_false_findings_beside_the_ball_are_removed(untrained):
    steps, comparisons = steps_of(untrained, spotted)
    assert steps == Postprocessing(keep_largest_of_all=True)
    first, *others = comparisons
    assert (first.candidate, first.incumbent) == ("keep the largest component of the foreground", "no postprocessing")
    assert first.difference.mean_a == 1.0
    assert not any(comparison.accepted for comparison in others)
    assert {comparison.incumbent for comparison in others} == {"keep the largest component of the foreground"}


def test_holes_are_filled(untrained):
    steps, _ = steps_of(untrained, hollow)
    assert steps == Postprocessing(fill_holes=("ball",))


def test_nothing_is_done_to_perfect_masks(untrained):
    steps, comparisons = steps_of(untrained, lambda _: ball(3.5))
    assert steps == Postprocessing()
    assert len(comparisons) >= 3
    assert all(comparison.difference.difference <= 0 for comparison in comparisons)


def test_false_findings_in_empty_cases_count(untrained):
    """Where nothing is to be found and something was, removing it makes a Dice of 0 one of 1."""
    from autoseg.formats import write_label
    from folds_support import GEOMETRY, name_of, truth

    def truth_of(index):
        return truth() if index < 4 else np.zeros_like(truth())

    labels = untrained.workspace.raw(DATASET) / "labelsTr"
    for index in range(10):
        write_label(labels / f"{name_of(index)}.nii.gz", truth_of(index), GEOMETRY)
    steps, _ = steps_of(untrained, lambda index: ball(3.5) if index < 4 else ball(1.5))
    assert list(steps.minimum_ml) == ["ball"]
    assert 0.03 < steps.minimum_ml["ball"] <= truth().sum() / 1000


def test_steps_are_told_in_words():
    assert describe(Postprocessing()) == "no postprocessing"
    assert describe(Postprocessing(keep_largest=("a", "b"), minimum_ml={"b": 0.25})) == (
        "keep the largest component of a, keep the largest component of b, remove components of b under 0.25 mL")


def test_a_single_fold_gets_a_postprocessing_that_its_validation_cases_prove(untrained):
    untrained.model(spotted)
    dataset = read_cross_validation(untrained.workspace, DATASET)
    (contender,), _ = gather(untrained.workspace, dataset)
    folder = contender.model.fold("0")
    # All cases are given to one fold: six pairs at least are needed.
    for name in dataset.truths:
        target = folder.validation / contender.mask(name).name
        if not target.is_file():
            target.write_bytes(contender.mask(name).read_bytes())
    choice = choose_fold_postprocessing(folder, contender.plan, dataset.truths, {})
    assert choice.postprocessing == Postprocessing(keep_largest_of_all=True)
    assert len(choice.reasons) == 1 and "keep the largest component of the foreground" in choice.reasons[0]
    assert read_model(folder.postprocessing, FoldPostprocessing) == choice


def test_a_fold_with_few_validation_cases_gets_no_postprocessing(untrained):
    untrained.model(spotted)
    dataset = read_cross_validation(untrained.workspace, DATASET)
    (contender,), _ = gather(untrained.workspace, dataset)
    folder = contender.model.fold("0")
    validated = {name: path for name, path in dataset.truths.items() if contender.fold_of[name] == "0"}
    assert len(validated) < 6
    assert choose_fold_postprocessing(folder, contender.plan, validated, {}).postprocessing == Postprocessing()
