"""Times some validation cases between the epochs of a training: how long the validation takes is then measured, not guessed.

They are predicted, exported and scored as they will be after the training, with the averaged weights of the moment. Nothing
of it is kept, and the training goes on as if it had not been.
"""

import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autoseg.base.errors import AutosegError
from autoseg.base.memory import free_host_bytes
from autoseg.base.ranks import agreed, is_first, share_of
from autoseg.base.runtime import Runtime
from autoseg.base.stopping import is_asked_to_stop
from autoseg.nn.model import Model
from autoseg.prediction.memory_plan import PredictionMemory, bytes_of_logits
from autoseg.prediction.models import FoldModel
from autoseg.preprocessing.store import open_prepared
from autoseg.training.job import FoldJob
from autoseg.training.state import TrainState
from autoseg.training.step import AveragedWeights
from autoseg.training.throughput import Clock, work_of
from autoseg.training.validate import try_case
from planners.rules.budget import Throughput
from planners.rules.ending import TimedCase, seconds_for_timing, with_timed

logger = logging.getLogger(__name__)

# Share of the free memory that a case may take beside the training, whose own memory is needed again.
_MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class _Share:
    """What a case has of all validation cases of this process: of the tiles of one pass, and of all else that they cost."""

    one_pass: float
    rest: float


@dataclass
class Timing:
    """The timed cases of one training. `truths` are the raw label files, None where nothing is timed; `start` is the
    throughput that was measured first.
    """

    job: FoldJob
    truths: Mapping[str, Path] | None
    runtime: Runtime
    start: Throughput
    clock: Clock = time.monotonic
    timed: list[TimedCase] = field(default_factory=list)
    spent_seconds: float = 0.0
    memory: PredictionMemory = field(default_factory=PredictionMemory)

    def after_epoch(self, state: TrainState, throughput: Throughput, slowness: float) -> Throughput:
        """The throughput as the cases say it that were timed so far, where the budget leaves time with one more.

        `slowness` is how many times as long as at the start an iteration of this epoch took. Several processes each time a
        case of their own at once, and the first one's counts.
        """
        limit = seconds_for_timing(state.schedule, throughput, state.iteration, state.seconds, self.spent_seconds)
        if self.truths is None or not self.job.validation or limit <= 0:
            return with_timed(throughput, self.start, self.timed)
        began = self.clock()
        with AveragedWeights(state) as model:
            assert isinstance(model, Model)
            timed = self._timed(FoldModel(model, self.job.encoder), limit / slowness, state.schedule.validation_mirroring)
        case, seconds = agreed((timed, self.clock() - began))
        self.spent_seconds += seconds
        if case is None:
            return with_timed(throughput, self.start, self.timed)
        self.timed.append(TimedCase(one_pass=case.one_pass / slowness, rest=case.rest / slowness))
        corrected = with_timed(throughput, self.start, self.timed)
        if len(self.timed) == 1 and is_first():
            mirroring = state.schedule.validation_mirroring
            logger.info("predicting the validation cases will take %.0f s, by one that was timed; %.0f s were expected",
                        corrected.reserve_seconds(mirroring), throughput.reserve_seconds(mirroring))
        return corrected

    def _timed(self, model: FoldModel, limit: float, mirroring: bool) -> TimedCase | None:
        """A case that was predicted and scored, as multiples of what was expected; None where none is possible."""
        for passes in dict.fromkeys((self.start.mirrored_passes if mirroring else 1, 1)):
            seconds = {name: each for name in self._shares if (each := self._seconds(name, passes)) <= limit}
            if seconds:
                break
        else:
            return None
        mean = statistics.mean(self._seconds(name, passes) for name in self._shares)
        nearest = sorted(seconds, key=lambda name: abs(seconds[name] - mean))
        name = nearest[len(self.timed) % len(nearest)]
        try:
            smallest = min(seconds, key=seconds.__getitem__)
            if not self.timed and seconds[smallest] + seconds[name] <= limit:  # the first one loads libraries, too
                self._try(model, smallest, passes)
            predicting, rest = self._try(model, name, passes)
        except AutosegError:  # the validation says it
            return None
        share = self._shares[name]
        return TimedCase(one_pass=predicting / passes / (share.one_pass * self.start.validation_pass_seconds),
                         rest=rest / (share.rest * self.start.validation_rest_seconds))

    def _try(self, model: FoldModel, name: str, passes: int) -> tuple[float, float]:
        assert self.truths is not None
        return try_case(self.job, name, model, self.truths[name], self.runtime, mirroring=passes > 1, memory=self.memory,
                        clock=self.clock, progress=_refuse_if_asked_to_stop)

    def _seconds(self, name: str, passes: int) -> float:
        """What a case is expected to take at the speed of the start, by all that is known by now."""
        known, share = with_timed(self.start, self.start, self.timed), self._shares[name]
        return passes * share.one_pass * known.validation_pass_seconds + share.rest * known.validation_rest_seconds

    @cached_property
    def _shares(self) -> dict[str, _Share]:
        """Of the validation cases of this process that the memory suffices for beside the training."""
        opened = {name: open_prepared(self.job.cases, name) for name in share_of(self.job.validation)}
        work = {name: work_of(case, self.job.configuration) for name, case in opened.items()}
        tiles, rest = sum(each.tiles for each in work.values()), sum(each.rest_seconds for each in work.values())
        free, n_heads = _MEMORY_SHARE * free_host_bytes(), self.job.plan.labels.n_heads
        return {name: _Share(each.tiles / tiles, each.rest_seconds / rest) for name, each in work.items()
                if bytes_of_logits(n_heads, opened[name].shape) <= free}


def _refuse_if_asked_to_stop(done: int, total: int) -> None:
    if is_asked_to_stop():
        raise AutosegError("the training was asked to stop")
