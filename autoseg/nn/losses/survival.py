"""Losses of times to an event. N counts cases, E events, T intervals of time.

They compare the cases of a batch with each other: a batch holds whole cases, 32 or more of them, or all.
"""

from typing import Literal

import torch
import torch.nn.functional as F

Ties = Literal["efron", "breslow"]


def risk_weights(time_N: torch.Tensor, event_N: torch.Tensor, ties: Ties = "efron") -> torch.Tensor:
    """How much of each case is at risk at each event: (E, N) float64, in the order of the events among the cases.

    A case is at risk up to its own time, so that its row sums give the denominators of the partial likelihood. Of d events
    at one time Efron (1977) takes l/d of these d cases away from the l-th denominator (l = 0 ... d - 1); Breslow (1974)
    takes nothing away.
    """
    event_N = event_N.bool()
    time_E = time_N[event_N]
    weights_EN = (time_N[None, :] >= time_E[:, None]).double()
    if ties == "breslow":
        return weights_EN
    tied_EE = time_E[:, None] == time_E[None, :]
    share_E = tied_EE.tril(-1).sum(dim=1).double() / tied_EE.sum(dim=1)
    tied_EN = (time_N[None, :] == time_E[:, None]) & event_N[None, :]
    return weights_EN - share_E[:, None] * tied_EN


def cox_loss(log_hazard_N: torch.Tensor, time_N: torch.Tensor, event_N: torch.Tensor, ties: Ties = "efron") -> torch.Tensor:
    """The negative logarithm of Cox's partial likelihood (Cox 1972), summed over events.

    A constant added to all log hazards changes nothing. Without an event it is 0, and so are its gradients.
    """
    event_N = event_N.bool()
    weights_EN = risk_weights(time_N, event_N, ties).to(log_hazard_N)
    return torch.logsumexp(log_hazard_N[None, :] + weights_EN.log(), dim=1).sum() - log_hazard_N[event_N].sum()


def hazard_loss(logits_NT: torch.Tensor, interval_N: torch.Tensor, event_N: torch.Tensor) -> torch.Tensor:
    """The negative log-likelihood of discrete hazards, sigmoid(logits) per interval (Gensheimer & Narasimhan 2019, eq. 2-3).

    `interval_N`: the interval in which the event is or the follow-up ends; T: the patient was followed beyond the last.
    A censored patient counts as alive in the intervals before; the one in which the follow-up ends says nothing. The mean
    over cases; without a case 0.
    """
    step_T = torch.arange(logits_NT.shape[1], device=logits_NT.device)
    survived_NT = step_T < interval_N[:, None]
    died_NT = (step_T == interval_N[:, None]) & event_N.bool()[:, None]
    terms_NT = torch.where(died_NT, F.softplus(-logits_NT), F.softplus(logits_NT))
    return torch.where(survived_NT | died_NT, terms_NT, 0.0).sum() / max(len(logits_NT), 1)
