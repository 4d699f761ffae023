"""How often the intervals of outcome scores hold the true value, and controls and tests their level, on simulated patients.

    python benchmarks/outcome_scores.py [--trials 400] [--seed 0]

Prints Markdown. Survival is drawn from a Cox model with one known risk, with censoring that does not depend on it; the true
C-index is that of 20,000 patients. Categories are two normal distributions; their true AUROC is known.
"""

import argparse
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from autoseg.evaluation.classification import auroc_of, positive_pairs
from autoseg.evaluation.ordering import delong, shuffled_shares
from autoseg.evaluation.resampling import Statistic, bootstrapped, draws, permutation_control, shuffles
from autoseg.evaluation.survival import concordance_ipcw_of, concordance_of

SIZES = ((31, 0.3), (60, 0.3), (300, 0.3), (300, 0.6))  # patients, share of them with an event
TAU = 1.0  # of the weighted C-index
N_TRUE = 20_000

Known = tuple[np.ndarray, np.ndarray, np.ndarray]  # times, events, risks


def patients(rng: np.random.Generator, n: int, share: float, effect: float = 1.0) -> Known:
    """Times, events and known risks; the scale of censoring is chosen so that about `share` have an event."""
    risk_N = effect * rng.normal(size=n)
    event_time_N, end_N = rng.exponential(np.exp(-risk_N)), rng.exponential(2 * share**2 / (1 - share), n)
    return np.minimum(event_time_N, end_N), event_time_N <= end_N, risk_N


def two_groups(rng: np.random.Generator, n: int, share: float, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    is_positive_N = np.arange(n) < round(share * n)
    return is_positive_N, rng.normal(size=n) + shift * is_positive_N


def coverage(trials: int, make: Callable[[np.random.Generator], tuple[Statistic, np.ndarray]], truth: float,
             seed: int) -> tuple[float, float, float]:
    """Shares of the intervals that hold the true value, ours and plain percentiles, and the mean width of ours."""
    ours, plain, widths = [], [], []
    for trial in range(trials):
        statistic, strata_N = make(np.random.default_rng([seed, trial]))
        if np.unique(strata_N, return_counts=True)[1].min() < 2:
            continue
        score = bootstrapped(statistic, strata_N, n_draws=500)
        drawn_R = np.concatenate([statistic(weight_RN) for weight_RN in draws(strata_N, 0, 500)])
        low, high = np.nanpercentile(drawn_R, (2.5, 97.5))
        if score.low is None or score.high is None:
            continue
        ours.append(score.low <= truth <= score.high)
        plain.append(low <= truth <= high)
        widths.append(score.high - score.low)
    return float(np.mean(ours)), float(np.mean(plain)), float(np.mean(widths))


def rows_of_intervals(trials: int, seed: int) -> list[str]:
    rows = []
    for n, share in SIZES:
        truth = true_concordance(n, share, seed)

        def survival(rng: np.random.Generator, n: int = n, share: float = share) -> tuple[Statistic, np.ndarray]:
            time_N, event_N, risk_N = patients(rng, n, share)
            return concordance_of(time_N, event_N, risk_N), event_N

        def weighted(rng: np.random.Generator, n: int = n, share: float = share) -> tuple[Statistic, np.ndarray]:
            time_N, event_N, risk_N = patients(rng, n, share)
            return concordance_ipcw_of(time_N, event_N, risk_N, tau=TAU), event_N

        def categories(rng: np.random.Generator, n: int = n, share: float = share) -> tuple[Statistic, np.ndarray]:
            is_positive_N, score_N = two_groups(rng, n, share)
            return auroc_of(is_positive_N, score_N), is_positive_N

        for name, make, value in (("C-index", survival, truth[0]), ("C-index, weighted", weighted, truth[1]),
                                  ("AUROC", categories, NormalDist().cdf(1 / np.sqrt(2)))):
            ours, plain, width = coverage(trials, make, value, seed)
            rows.append(f"| {name} | {n} | {share:.0%} | {value:.3f} | {ours:.1%} | {plain:.1%} | {width:.2f} |")
    return rows


def true_concordance(n: int, share: float, seed: int) -> tuple[float, float]:
    """C-indices of many patients, in groups of a size that a matrix holds."""
    rng = np.random.default_rng([seed, n])
    parts = [patients(rng, N_TRUE // 10, share) for _ in range(10)]
    once = np.ones((1, N_TRUE // 10))
    return (float(np.mean([concordance_of(*part)(once)[0] for part in parts])),
            float(np.mean([concordance_ipcw_of(*part, tau=TAU)(once)[0] for part in parts])))


def rows_of_levels(trials: int, seed: int) -> list[str]:
    """How often p is below 0.05 where there is nothing to find: the risk knows nothing; two models know equally much."""
    rows = []
    for n, share in SIZES[:3]:
        p_control, p_delong = [], []
        for trial in range(trials):
            rng = np.random.default_rng([seed, trial])
            is_positive_N, a_N = two_groups(rng, n, share, shift=0)
            pairs_NN = positive_pairs(is_positive_N)
            value = float(auroc_of(is_positive_N, a_N)(np.ones((1, n)))[0])
            p_control.append(permutation_control(value, shuffled_shares(a_N, pairs_NN, shuffles(np.zeros(n), trial, 200))).p)
            p_delong.append(delong(a_N + is_positive_N, rng.normal(size=n) + is_positive_N, pairs_NN))
        below = [np.mean(np.array(p, float) < 0.05) for p in (p_control, p_delong)]
        rows.append(f"| {n} | {share:.0%} | {below[0]:.1%} | {below[1]:.1%} |")
    return rows


def rows_of_folds(trials: int, seed: int) -> list[str]:
    """The mean AUROC of out-of-fold answers that know nothing: least squares on columns of noise, over five folds."""
    rows = []
    for n, share in SIZES[:3]:
        for n_columns in (0, 3):
            pooled, within, once = [], [], np.ones((1, n))
            for trial in range(trials):
                rng = np.random.default_rng([seed, trial])
                is_positive_N, fold_N = np.arange(n) < round(share * n), rng.permutation(n) % 5
                columns_NC = np.column_stack([np.ones(n), rng.normal(size=(n, n_columns))])
                answer_N = np.zeros(n)
                for fold in range(5):
                    train, held_out = fold_N != fold, fold_N == fold
                    weights_C = np.linalg.lstsq(columns_NC[train], is_positive_N[train], rcond=None)[0]
                    answer_N[held_out] = np.round(columns_NC[held_out] @ weights_C, 12)
                pooled.append(auroc_of(is_positive_N, answer_N)(once)[0])
                within.append(auroc_of(is_positive_N, answer_N, fold_N)(once)[0])
            rows.append(f"| {n} | {n_columns} | {np.mean(pooled):.3f} | {np.nanmean(within):.3f} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400, help="simulated groups of patients per row")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"{args.trials} trials per row; nominal 95 %.\n")
    print("| score | patients | events | true value | held by ours | held by plain percentiles | width of ours |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows_of_intervals(args.trials, args.seed)))
    print("\n| patients | positive | permutation p < 0.05 | DeLong p < 0.05 |\n|---:|---:|---:|---:|")
    print("\n".join(rows_of_levels(args.trials, args.seed)))
    print("\n| patients | columns of noise | AUROC over all pairs | AUROC within folds |\n|---:|---:|---:|---:|")
    print("\n".join(rows_of_folds(args.trials, args.seed)))


if __name__ == "__main__":
    main()
