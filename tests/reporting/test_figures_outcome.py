"""Figures of outcomes: what they say in words, and what is not drawn."""

import base64

import numpy as np
import pytest

from autoseg.evaluation.classification import roc_curve
from autoseg.evaluation.outcome_calibration import category_calibration, no_calibration, survival_calibration
from autoseg.evaluation.outcome_scores import CategoryScore
from autoseg.evaluation.resampling import OutcomeScore
from autoseg.evaluation.survival_curves import no_groups, risk_groups
from autoseg.reporting.html.figures_outcome import (
    forest_figure,
    outcome_calibration_figure,
    roc_figure,
    scored,
    survival_figure,
)


def follow_up(n=40):
    rng = np.random.default_rng(0)
    risk_N = rng.normal(size=n)
    event_time_N, end_N = rng.exponential(20 * np.exp(-risk_N)), rng.exponential(30, n)
    return np.minimum(event_time_N, end_N), event_time_N <= end_N, risk_N


def svg(figure):
    assert figure.uri.startswith("data:image/svg+xml;base64,")
    return base64.b64decode(figure.uri.split(",")[1]).decode()


def test_curves_of_risk_groups_say_their_numbers_at_risk():
    figure = survival_figure(risk_groups(*follow_up()), "os, clinical", "months")
    text = svg(figure)
    assert "at risk" in text and "low risk (20)" in text and "Time (months)" in text
    assert "low risk: 20 cases" in figure.alt and "log-rank p" in figure.alt and "months" in figure.alt
    assert svg(survival_figure(risk_groups(*follow_up()), "os, clinical", "months")) == text


def test_groups_without_events_are_drawn_without_a_test():
    time_N, event_N, risk_N = follow_up()
    figure = survival_figure(risk_groups(time_N, np.zeros_like(event_N), risk_N), "os")
    assert "no log-rank test: no case has the event" in figure.alt and "median not reached" in figure.alt


def test_calibration_shows_the_number_of_cases_of_each_group():
    time_N, event_N, risk_N = follow_up(200)
    survival = outcome_calibration_figure(
        survival_calibration(time_N, event_N, np.exp(-0.5 * np.exp(risk_N)), at=10.0), "os", "months")
    assert "until 10 months" in survival.caption and "slope" in survival.alt
    is_positive_N = np.arange(40) % 2 == 0
    category = outcome_calibration_figure(category_calibration(is_positive_N, np.where(is_positive_N, 0.7, 0.2)), "response")
    assert ">20<" in svg(category) and "predicted 0.70, observed 1.00, n 20" in category.alt
    assert "separates the cases" in category.caption


def test_roc_curves_name_their_area():
    is_positive_N, score_N = np.arange(30) < 10, -np.arange(30.0)
    entry = CategoryScore(name="CR", n=10, prevalence=1 / 3, auroc=OutcomeScore(value=1.0, low=0.9, high=1.0),
                          average_precision=OutcomeScore(), calibration=no_calibration("none"),
                          roc=roc_curve(is_positive_N, score_N))
    figure = roc_figure([entry], "response")
    assert "CR: AUROC 1.000 (0.900 to 1.000), 10 cases" in figure.alt and ">CR<" in svg(figure)


def test_models_lie_beside_each_other_and_those_without_a_score_are_named():
    models = [("clinical", OutcomeScore(value=0.6, low=0.4, high=0.8)),
              ("volume", OutcomeScore(value=0.5, reason="no interval")),
              ("null", OutcomeScore(reason="the risk is the same for all cases that are compared"))]
    figure = forest_figure(models, "C-index", "os", 0.5)
    assert ">clinical<" in svg(figure) and ">null<" not in svg(figure)
    assert "Not drawn: null: the risk is the same" in figure.caption
    assert "Dotted: a model that knows nothing (0.5)" in figure.caption


@pytest.mark.parametrize("figure", [
    survival_figure(no_groups("none"), "os"), outcome_calibration_figure(no_calibration("none"), "os"),
    roc_figure([], "os"), forest_figure([("null", OutcomeScore(reason="none"))], "C-index", "os", 0.5)])
def test_what_has_nothing_to_show_is_not_drawn(figure):
    assert figure is None


def test_scores_in_words():
    assert scored(OutcomeScore(value=0.5, reason="no interval: x")) == "0.500"
    assert scored(OutcomeScore(reason="no case has the event")) == "no case has the event"
