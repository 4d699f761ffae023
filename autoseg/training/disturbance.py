"""What the machine lost to other work while a fold was trained, from what each epoch has recorded of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from autoseg.base.contention import DISTURBED, Watch
from autoseg.base.progress import duration
from autoseg.base.ranks import ranks
from autoseg.base.runtime import Runtime
from planners.schema.base import Frozen

# In a record of metrics.jsonl: the share of the cores that others took, and the seconds in which this was measured.
_SHARE, _SECONDS = "others_share", "others_watched_seconds"
_MOST = 0.95  # share that is believed: what remains is known too roughly to divide by


class Disturbance(Frozen):
    """Other work took `share` of the cores for so many seconds, validation included; what the training lost by it.

    Epochs in which others took less than a tenth count as undisturbed: all figures are 0 where every epoch was.
    """

    seconds: float
    share: float
    iterations_fewer: int

    def sentence(self) -> str:
        """For people; empty where nothing disturbed."""
        if not self.seconds:
            return ""
        fewer = f": about {self.iterations_fewer} iterations fewer" if self.iterations_fewer else ""
        return f"other work took {self.share:.0%} of the cores for {duration(self.seconds)}{fewer}".replace("%", " %")


class CoresWatch:
    """What others take of the cores on which a fold is computed. Nothing is known of a GPU, nor where several processes of
    one training share the cores.
    """

    def __init__(self, runtime: Runtime):
        self._watch = Watch() if runtime.device.type == "cpu" and ranks().n_local == 1 else None

    def record(self) -> dict[str, float]:
        """What a record says of the time since the last look; nothing where it is not known."""
        share, seconds = self._look()
        return {} if share is None else {_SHARE: round(share, 3), _SECONDS: round(seconds, 2)}

    def slowdown(self) -> float:
        """How many times as long as alone on its cores this process took since the last look; 1 where it is not known."""
        return 1 / (1 - min(self._look()[0] or 0.0, _MOST))

    def _look(self) -> tuple[float | None, float]:
        return (None, 0.0) if self._watch is None else self._watch.look()


def disturbance_of(records: Iterable[Mapping[str, Any]], validation: Mapping[str, float]) -> Disturbance | None:
    """What the records of a training, and what was measured during its validation, say together; None where they say
    nothing. With `s` of the cores lost, the iterations of an epoch are the 1 - s of those that it could have had.
    """
    seconds = weighted = fewer = 0.0
    is_known, done = False, 0
    for record in (*records, validation):
        iterations, done = record.get("iteration", done) - done, record.get("iteration", done)
        share = record.get(_SHARE)
        is_known |= share is not None
        if share is not None and share >= DISTURBED:
            seconds, weighted = seconds + record[_SECONDS], weighted + share * record[_SECONDS]
            fewer += iterations * share / (1 - min(share, _MOST))
    if not is_known:
        return None
    return Disturbance(seconds=round(seconds, 1), share=round(weighted / seconds, 3) if seconds else 0.0,
                       iterations_fewer=round(fewer))
