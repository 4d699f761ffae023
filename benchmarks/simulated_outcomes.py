"""Models of outcomes on simulated patients: how near they come to the hazard that made the times, and permuted times.

    python benchmarks/simulated_outcomes.py
    python benchmarks/simulated_outcomes.py --seeds 10 --models linear_clinical mlp --n 300

Times are drawn from a Cox model of six columns, three of which count; about four in ten are censored. Each model is fitted
over five folds, nested, to the times and to the same times in random order. Prints Markdown: Harrell's C of out-of-fold
risks, means over seeds with 95 % intervals.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.outcome.inner import stratified_folds
from autoseg.outcome.nested import out_of_fold
from autoseg.outcome.targets import Features, SurvivalTarget
from outcome_samples import concordance, simulated_cox, table

MODELS = ("null", "linear_volume", "linear_clinical", "linear_radiomics", "linear_embedding", "forest_clinical",
          "boosting_radiomics", "mlp", "hazards")
N_FOLDS = 5


def blocks_for(model: str, x_NF: np.ndarray) -> dict[str, Features]:
    """The six columns, in the block that the model reads; of `linear_embedding` forty mixtures of them, with noise."""
    if model == "linear_embedding":
        generator = np.random.default_rng(0)
        mixed_NF = x_NF @ generator.normal(size=(x_NF.shape[1], 40)) + 0.3 * generator.normal(size=(len(x_NF), 40))
        return {"embedding": table("embedding", mixed_NF)}
    block = {"linear_volume": "volume", "linear_radiomics": "radiomics", "boosting_radiomics": "radiomics"}
    name = block.get(model, "clinical")
    return {name: table(name, x_NF)}


def measured(model: str, n: int, seeds: Sequence[int]) -> str:
    """A row of the table."""
    differences, permuted, started = [], [], time.perf_counter()
    for seed in seeds:
        x_NF, log_hazard_N, target = simulated_cox(n, seed)
        other = target.take(np.random.default_rng(seed + 1000).permutation(n))
        differences.append(cross_validated(model, x_NF, target, seed) - concordance(log_hazard_N, target))
        permuted.append(cross_validated(model, x_NF, other, seed))
    seconds = (time.perf_counter() - started) / (2 * len(seeds))
    return f"| {model} | {interval(differences, '+.3f')} | {interval(permuted, '.3f')} | {seconds:.1f} |"


def cross_validated(model: str, x_NF: np.ndarray, target: SurvivalTarget, seed: int) -> float:
    estimate = out_of_fold(model, blocks_for(model, x_NF), target, stratified_folds(target, N_FOLDS, seed), seed)
    return concordance(estimate.risk_N, target)


def interval(values: Sequence[float], digits: str) -> str:
    mean = bootstrap_mean(values)
    if mean.low is None or mean.high is None:
        return format(mean.mean, digits)
    return f"{mean.mean:{digits}} ({mean.low:{digits}} to {mean.high:{digits}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=300, help="patients")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    arguments = parser.parse_args()
    seeds = range(arguments.seeds)
    generating = [concordance(risk, target) for _, risk, target in (simulated_cox(arguments.n, seed) for seed in seeds)]
    print(f"{arguments.n} patients, {arguments.seeds} seeds; C of the hazard itself: {interval(generating, '.3f')}\n")
    print("| model | C minus that of the hazard | C of permuted times | seconds per model |\n|---|---|---|---|")
    for model in arguments.models:
        print(measured(model, arguments.n, seeds), flush=True)


if __name__ == "__main__":
    main()
