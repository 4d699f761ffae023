"""Shares of pairs of cases that a score brings into the right order: what C-indices and AUROCs are made of.

A pair is a first case (event, positive) that should have the higher score, and a second one. Equal scores count half.
"""

import math

import numpy as np

_BLOCK = 2**22  # pairs that are held at a time


def same_fold(fold_N: np.ndarray) -> np.ndarray:
    """Whether two cases belong to one fold (N, N): only the scores of one model have one scale."""
    return fold_N[:, None] == fold_N[None, :]


def share_in_order(score_N: np.ndarray, comparable_NN: np.ndarray, first_RN: np.ndarray,
                   second_RN: np.ndarray) -> np.ndarray:
    """The share of pairs in the right order (R), weighted by the product of the weights as first and as second case.

    `comparable_NN`: whether the case of the row may be the first and that of the column the second of a pair. NaN where
    all weights are 0.
    """
    firsts = np.flatnonzero(comparable_NN.any(axis=1))
    rows = max(1, _BLOCK // max(1, len(score_N)))
    right_R, all_R = np.zeros(len(first_RN)), np.zeros(len(first_RN))
    for start in range(0, len(firsts), rows):
        first_I = firsts[start:start + rows]
        pairs_IN = comparable_NN[first_I].astype(np.float64)
        right_R += ((first_RN[:, first_I] @ (pairs_IN * _order(score_N, first_I))) * second_RN).sum(axis=1)
        all_R += ((first_RN[:, first_I] @ pairs_IN) * second_RN).sum(axis=1)
    return np.divide(right_R, all_R, out=np.full(len(first_RN), np.nan), where=all_R > 0)


def shuffled_shares(score_N: np.ndarray, comparable_NN: np.ndarray, order_PN: np.ndarray) -> np.ndarray:
    """The share of pairs in the right order (P), where each case takes over the score of another one."""
    rank_N = np.unique(score_N, return_inverse=True)[1].astype(np.int32)
    rank_NP = np.ascontiguousarray(rank_N[order_PN].T)
    twice_P = np.zeros(len(order_PN), np.int64)
    for first in np.flatnonzero(comparable_NN.any(axis=1)):
        second_JP = rank_NP[comparable_NN[first]]
        twice_P += (rank_NP[first] > second_JP).sum(axis=0) + (rank_NP[first] >= second_JP).sum(axis=0)
    return twice_P / (2 * comparable_NN.sum())


def why_no_order(score_N: np.ndarray, comparable_NN: np.ndarray, what: str) -> str:
    """Why there is no share of ordered pairs, in words; nothing if there is one."""
    if not comparable_NN.any():
        return "no two cases can be compared"
    firsts = np.flatnonzero(comparable_NN.any(axis=1))
    if all((score_N[comparable_NN[first]] == score_N[first]).all() for first in firsts):
        return f"the {what} is the same for all cases that are compared"
    return ""


def delong(a_N: np.ndarray, b_N: np.ndarray, comparable_NN: np.ndarray) -> float | None:
    """DeLong's two-sided p-value for the difference of two AUROCs of the same cases; None with one case of a kind.

    DeLong et al. 1988 (Biometrics 44:837). Over several folds the AUROC is a ratio of sums over the pairs within folds; its
    variance is that of the linearised ratio, which is DeLong's where there is one fold. 1 where the scores order alike.
    """
    firsts, seconds = np.flatnonzero(comparable_NN.any(axis=1)), np.flatnonzero(comparable_NN.any(axis=0))
    if min(len(firsts), len(seconds)) < 2:
        return None
    pairs_IJ = comparable_NN[np.ix_(firsts, seconds)].astype(np.float64)
    gain_IJ = pairs_IJ * (_order(a_N, firsts) - _order(b_N, firsts))[:, seconds]
    n_pairs = pairs_IJ.sum()
    difference = gain_IJ.sum() / n_pairs
    away_IJ = gain_IJ - difference * pairs_IJ
    variance = sum(len(total) / (len(total) - 1) * float((total**2).sum()) / n_pairs**2
                   for total in (away_IJ.sum(axis=1), away_IJ.sum(axis=0)))
    if variance <= 0:
        return 1.0 if difference == 0 else None
    return math.erfc(abs(difference) / math.sqrt(2 * variance))


def _order(score_N: np.ndarray, first_I: np.ndarray) -> np.ndarray:
    """1 where the first case has the higher score, one half where both have the same, else 0 (I, N)."""
    return (score_N[first_I, None] > score_N) + 0.5 * (score_N[first_I, None] == score_N)
