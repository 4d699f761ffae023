"""Which validation cases of a fold are predicted without mirroring, because its time budget would not be kept with it."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from autoseg.base.errors import AutosegError
from autoseg.preprocessing.store import open_prepared
from autoseg.training.job import FoldJob
from autoseg.training.throughput import Clock
from autoseg.workspace.files import append_record, read_records
from autoseg.workspace.folders import FoldFolder
from planners.rules.ending import PredictedCase, affords_mirroring

logger = logging.getLogger(__name__)

_CASE = "case"


def unmirrored_cases(folder: FoldFolder) -> tuple[str, ...]:
    """The validation cases that were predicted without mirroring although the schedule has it."""
    return tuple(sorted({record[_CASE] for record in read_records(folder.unmirrored)}))


class Mirroring:
    """Decides before each case whether it is mirrored, and remembers it: a case that is predicted again is so as before.

    `seconds_left` of the budget is the time for the cases `names`; None: no time is set.
    """

    def __init__(self, job: FoldJob, names: Sequence[str], is_wanted: bool, seconds_left: float | None,
                 clock: Clock = time.monotonic):
        self._folder, self._clock, self._is_wanted = job.folder, clock, is_wanted
        self._end = None if seconds_left is None or not is_wanted else clock() + seconds_left
        self._voxels = {} if self._end is None else {name: _voxels(job, name) for name in names}
        self._unmirrored = set(unmirrored_cases(job.folder))
        self._mirrored: list[PredictedCase] = []

    def of(self, name: str) -> bool:
        """Whether a case is to be mirrored. Before its mask is written a file says where it is not."""
        if not self._is_wanted or name in self._unmirrored:
            return False
        if self._end is None or affords_mirroring(self._mirrored, sum(self._voxels.values()), self._end - self._clock()):
            return True
        if not self._unmirrored:
            logger.warning("the time budget ends: from %s on, cases are predicted without mirroring as far as needed", name)
        self._unmirrored.add(name)
        append_record(self._folder.unmirrored, {_CASE: name})
        return False

    @contextmanager
    def timed(self, name: str, *, is_predicted: bool) -> Iterator[None]:
        """Within this context a case is predicted and scored, or only scored."""
        start, voxels = self._clock(), self._voxels.get(name, 0)
        try:
            yield
        finally:
            self._voxels.pop(name, None)
        if is_predicted and name not in self._unmirrored:
            self._mirrored.append(PredictedCase(voxels=voxels, seconds=self._clock() - start))


def _voxels(job: FoldJob, name: str) -> int:
    """Of a prepared case; 0 of one that cannot be read, which its prediction says."""
    try:
        return math.prod(open_prepared(job.cases, name).shape)
    except AutosegError:
        return 0
