"""Losses of survival against examples that can be computed by hand."""

import math

import pytest
import torch

from autoseg.nn.losses.survival import cox_loss, hazard_loss, risk_weights

# The first data set of "Validating the survival package" (Therneau, R package survival): two events are tied at 6.
TIME = torch.tensor([1.0, 1, 6, 6, 8, 9], dtype=torch.float64)
EVENT = torch.tensor([True, False, True, True, False, True])
R = math.exp(1.676857)
X = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)


@pytest.mark.parametrize(("ties", "beta", "likelihood"), [
    ("breslow", 0.0, -math.log(6) - 2 * math.log(4)),
    ("breslow", 1.475285, -3.824750),
    ("efron", 0.0, -math.log(6) - math.log(4) - math.log(3)),
    ("efron", 1.676857, 2 * 1.676857 - math.log(3 * R + 3) - math.log(R + 3) - math.log(R / 2 + 5 / 2))])
def test_ties_are_as_in_the_worked_example_of_the_survival_package(ties, beta, likelihood):
    assert float(cox_loss(beta * X, TIME, EVENT, ties)) == pytest.approx(-likelihood, abs=1e-6)


@pytest.mark.parametrize(("ties", "beta"), [("breslow", math.log((3 + math.sqrt(33)) / 2)), ("efron", 1.676857)])
def test_the_likelihood_is_largest_at_the_published_coefficient(ties, beta):
    at = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    cox_loss(at * X, TIME, EVENT, ties).backward()
    assert float(at.grad) == pytest.approx(0, abs=1e-6)


def test_efron_takes_half_of_two_tied_events_away_from_their_second_denominator():
    assert risk_weights(TIME, EVENT)[1:3].tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 0.5, 0.5, 1, 1]]


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_a_constant_changes_nothing(ties):
    log_hazard = torch.linspace(-2, 2, 6, dtype=torch.float64)
    torch.testing.assert_close(cox_loss(log_hazard + 700, TIME, EVENT, ties), cox_loss(log_hazard, TIME, EVENT, ties))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_an_event_the_loss_is_0_and_so_are_its_gradients(dtype):
    log_hazard = torch.tensor([1.0, -2, 300], dtype=dtype, requires_grad=True)
    loss = cox_loss(log_hazard, torch.tensor([1.0, 2, 3]), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and log_hazard.grad.tolist() == [0, 0, 0]


def test_large_hazards_keep_loss_and_gradients_finite():
    log_hazard = torch.tensor([500.0, -500, 80, -80, 0, 1e4], requires_grad=True)
    loss = cox_loss(log_hazard, TIME, EVENT)
    loss.backward()
    assert loss.isfinite() and log_hazard.grad.isfinite().all()


@pytest.mark.filterwarnings("ignore:Ties in")
@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_torchsurv_computes_the_same(ties):
    cox = pytest.importorskip("torchsurv.loss.cox")
    generator = torch.Generator().manual_seed(0)
    log_hazard = torch.randn(40, generator=generator, dtype=torch.float64)
    time = torch.randint(1, 12, (40,), generator=generator).double()
    event = torch.rand(40, generator=generator) < 0.6
    theirs = cox.neg_partial_log_likelihood(log_hazard, event, time, ties_method=ties, reduction="sum")
    torch.testing.assert_close(cox_loss(log_hazard, time, event, ties).float(), theirs.float())


def test_discrete_hazards_count_the_intervals_that_were_survived():
    logits = torch.tensor([[0.0, math.log(3)]] * 4, dtype=torch.float64)  # hazards 1/2 and 3/4
    interval, event = torch.tensor([0, 1, 1, 2]), torch.tensor([True, True, False, False])
    likelihoods = [1 / 2, 1 / 2 * 3 / 4, 1 / 2, 1 / 2 * 1 / 4]
    expected = -sum(math.log(likelihood) for likelihood in likelihoods) / 4
    assert float(hazard_loss(logits, interval, event)) == pytest.approx(expected)


def test_patients_censored_in_the_first_interval_say_nothing():
    logits = torch.randn(2, 3, requires_grad=True)
    loss = hazard_loss(logits, torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
