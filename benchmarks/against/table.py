"""The rows of the comparison, and the Markdown table of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

GB = 1e9
HEAD = ("| what | autoseg | nnU-Net | ratio | target | verdict | peak memory, GB | nnU-Net's | ratio | remark |\n"
        "|---|---|---|---|---|---|---|---|---|---|")


@dataclass(frozen=True)
class Row:
    """One figure of both programs: `ours` and `theirs` in `unit`, `theirs` None where it was not measured.

    `target` is what `ours` may be, of nnU-Net's figure where `relative`, else in `unit`. Peaks are in bytes;
    `memory_target` is what ours may be of nnU-Net's.
    """

    what: str
    ours: float
    theirs: float | None = None
    unit: str = "s"
    target: float | None = None
    relative: bool = True
    our_peak: float | None = None
    their_peak: float | None = None
    memory_target: float | None = None
    remark: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None

    @property
    def memory_ratio(self) -> float | None:
        return self.our_peak / self.their_peak if self.our_peak and self.their_peak else None

    @property
    def verdict(self) -> str:
        """`met` or `missed`, and of what; `-` where there is no target, `not measured` where a ratio has no nnU-Net."""
        verdicts = {}
        if self.target is not None:
            verdicts["time" if self.unit == "s" else "size"] = (self.ratio if self.relative else self.ours, self.target)
        if self.memory_target is not None:
            verdicts["memory"] = (self.memory_ratio, self.memory_target)
        words = {name: "not measured" if measured is None else "met" if measured <= allowed else "missed"
                 for name, (measured, allowed) in verdicts.items()}
        if len(set(words.values())) <= 1:
            return next(iter(words.values()), "-")
        return ", ".join(f"{name} {word}" for name, word in words.items())

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """The row in Markdown."""
        allowed = "-"
        if self.target is not None:
            allowed = f"<= {self.target:.3g}" + ("" if self.relative else f" {self.unit}")
        if self.memory_target is not None:
            allowed += f"; memory <= {self.memory_target:.3g}"
        cells = (self.what, f"{number(self.ours)} {self.unit}",
                 "-" if self.theirs is None else f"{number(self.theirs)} {self.unit}", number(self.ratio), allowed,
                 self.verdict, _gigabytes(self.our_peak), _gigabytes(self.their_peak), number(self.memory_ratio),
                 self.remark)
        return "| " + " | ".join(cells) + " |"


def number(value: float | None) -> str:
    """Three figures, never with an exponent.

    >>> [number(v) for v in (None, 0.01234, 1.5, 61.26, 2345.6)]
    ['-', '0.0123', '1.5', '61.3', '2346']
    """
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def report(rows: Sequence[Row], facts: Mapping[str, str]) -> str:
    """The whole text: what was measured where, and the table."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    return "\n".join(["## Against nnU-Net (`benchmarks/against_nnunet.py`)", "", *lines, "", HEAD,
                      *(row.line() for row in rows)]) + "\n"


def _gigabytes(value: float | None) -> str:
    return "-" if value is None else f"{value / GB:.2f}"
