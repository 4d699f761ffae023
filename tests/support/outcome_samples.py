"""Simulated patients for models of outcomes, and how well a risk orders their times."""

import numpy as np

from autoseg.outcome.targets import CategoryTarget, Features, NumberTarget, SurvivalTarget, Target

WEIGHTS = (1.0, -0.7, 0.5, 0.0, 0.0, 0.0)


def simulated_cox(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, SurvivalTarget]:
    """Features (n, 6), the log hazard that makes the times, and times that are censored at random (about four in ten)."""
    generator = np.random.default_rng(seed)
    x_NF = generator.normal(size=(n, len(WEIGHTS)))
    log_hazard_N = x_NF @ np.array(WEIGHTS)
    time_N = 10 * generator.exponential(np.exp(-log_hazard_N))
    censored_N = generator.exponential(15.0, size=n)
    return x_NF, log_hazard_N, SurvivalTarget(np.minimum(time_N, censored_N) + 1e-3, time_N <= censored_N)


def targets_of(log_hazard_N: np.ndarray, survival: SurvivalTarget) -> dict[str, Target]:
    """The same patients with a time, a category (three thirds of the hazard) and a number."""
    code_N = np.searchsorted(np.quantile(log_hazard_N, [1 / 3, 2 / 3]), log_hazard_N)
    return {"survival": survival, "category": CategoryTarget(code_N.astype(np.int64), ("low", "middle", "high")),
            "number": NumberTarget(log_hazard_N.copy())}


def table(block: str, x_NF: np.ndarray) -> Features:
    return Features(block, tuple(f"{block} {i}" for i in range(x_NF.shape[1])), x_NF)


def blocks_of(x_NF: np.ndarray, seed: int = 0) -> dict[str, Features]:
    """The same information in every block that models read."""
    generator = np.random.default_rng(seed)
    wide_NF = np.nan_to_num(x_NF) @ generator.normal(size=(x_NF.shape[1], 40))
    crop_NF = np.repeat(np.nan_to_num(x_NF[:, :2]), 27, axis=1) + generator.normal(size=(len(x_NF), 54))
    names = ("clinical", "shape", "radiomics")
    return {**{name: table(name, x_NF) for name in names}, "volume": table("volume", x_NF[:, :2]),
            "embedding": table("embedding", wide_NF), "crop": Features("crop", (), crop_NF, (2, 3, 3, 3))}


def concordance(risk_N: np.ndarray, target: SurvivalTarget) -> float:
    """Harrell's C: of the pairs in which the earlier time is an event, the share with the higher risk there."""
    earlier_NN = target.event_N[:, None] & (target.time_N[:, None] < target.time_N[None, :])
    higher_NN = (risk_N[:, None] > risk_N[None, :]) + 0.5 * (risk_N[:, None] == risk_N[None, :])
    return float(higher_NN[earlier_NN].mean())
