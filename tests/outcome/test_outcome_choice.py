"""Which model predicts: none that is not better than chance, and the simplest of equals."""

import pytest

from autoseg.base.errors import UserError
from autoseg.evaluation.outcome_scores import NumberScores
from autoseg.evaluation.resampling import OutcomeScore, PermutationControl, ScoreDifference
from autoseg.outcome.choose import choose_model, reference_of
from autoseg.outcome.report import NULL, ModelOfOutcome

NOTHING = OutcomeScore(reason="not of interest")


def model_of(name, value, low, blocks, gain=None) -> ModelOfOutcome:
    """A model with a rank correlation, and the lower end of its gain over the reference."""
    scores = NumberScores(n_cases=30, mean_absolute_error=NOTHING, root_mean_square_error=NOTHING, r_squared=NOTHING,
                          rank_correlation=OutcomeScore(value=value, low=low, high=0.9),
                          permutation=PermutationControl(chance=0.0), warnings=())
    difference = ScoreDifference(score="rank correlation", better="higher", difference=gain, low=gain)
    return ModelOfOutcome(name=name, baseline=True, blocks=blocks, scores=scores, against_reference=(difference,))


def test_without_a_model_above_chance_the_average_predicts():
    models = [model_of("linear_clinical", 0.3, -0.1, ("clinical",)), model_of("mlp", 0.4, -0.01, ("embedding",))]
    name, why = choose_model(models, "linear_clinical", None)
    assert name == NULL and "average of all patients" in why


def test_a_model_of_the_images_must_beat_a_reference_that_is_above_chance():
    volume = model_of("linear_volume", 0.4, 0.2, ("volume",))
    assert choose_model([volume, model_of("mlp", 0.5, 0.3, ("embedding",), gain=-0.1)], "linear_volume", None)[0] \
        == "linear_volume"
    assert choose_model([volume, model_of("mlp", 0.5, 0.3, ("embedding",), gain=0.05)], "linear_volume", None)[0] == "mlp"


def test_a_model_of_the_images_predicts_where_the_reference_knows_nothing():
    models = [model_of("linear_volume", 0.1, -0.2, ("volume",)), model_of("mlp", 0.5, 0.3, ("embedding",), gain=-0.1)]
    assert choose_model(models, "linear_volume", None)[0] == "mlp"


def test_the_reference_is_the_best_that_reads_the_table_or_the_volume_alone():
    models = [model_of("linear_volume", 0.1, 0, ("volume",)), model_of("linear_clinical", 0.3, 0, ("clinical",)),
              model_of("linear_radiomics", 0.6, 0.4, ("radiomics", "shape"))]
    assert reference_of(models) == "linear_clinical" and reference_of(models[2:]) == NULL


def test_the_model_that_is_asked_for_must_have_been_fitted():
    with pytest.raises(UserError, match="'mlp' was not fitted.*linear_volume"):
        choose_model([model_of("linear_volume", 0.1, 0, ("volume",))], NULL, "mlp")
