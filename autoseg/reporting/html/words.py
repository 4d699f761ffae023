"""Numbers and choices as the report writes them."""

from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.statistics import BootstrapMean, PairedDifference, judge

VERDICTS = {"better": "better", "worse": "worse", "same": "the same", "unclear": "no difference seen",
            "few": "too few cases"}


def metric_title(metric: str) -> str:
    known = METRICS[metric]
    return known.title[0].upper() + known.title[1:] + (f" ({known.unit})" if known.unit else "")


def number(value: float | None, digits: int = 3) -> str:
    """
    >>> number(0.81651), number(None)
    ('0.817', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def short(value: float) -> str:
    """Four significant digits, without an exponent where it can be.

    >>> short(12345.6), short(0.00123), short(61.0)
    ('12346', '0.00123', '61')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}".replace("-", "−")


def percent(share: float) -> str:
    return f"{share:.0%}"


def with_interval(mean: BootstrapMean, digits: int = 3) -> str:
    """
    >>> with_interval(BootstrapMean(n=9, n_left_out=0, mean=0.8, low=0.7, high=0.9))
    '0.800 (0.700 to 0.900)'
    """
    if mean.low is None:
        return number(mean.mean, digits)
    return f"{number(mean.mean, digits)} ({number(mean.low, digits)} to {number(mean.high, digits)})"


def difference(paired: PairedDifference) -> str:
    if paired.low is None:
        return signed(paired.difference)
    return f"{signed(paired.difference)} ({signed(paired.low)} to {signed(paired.high)})"


def verdict(paired: PairedDifference) -> str:
    """The verdict on a comparison without a margin: any certain difference counts."""
    return VERDICTS[judge(paired, margin=0.0)]


def p_value(p: float | None) -> str:
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def counted(n: int, what: str) -> str:
    """
    >>> counted(1, "case"), counted(3, "case")
    ('1 case', '3 cases')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def by(sizes: tuple[float, ...], digits: int = 4) -> str:
    """
    >>> by((28, 40, 56))
    '28 × 40 × 56'
    """
    return " × ".join(f"{size:.{digits}g}" for size in sizes)
