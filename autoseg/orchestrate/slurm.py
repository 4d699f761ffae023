"""Work as jobs of Slurm, through submitit: one array per stage, one job per fold, per chunk of cases, or per plan.

Submitit is imported only here, when jobs are submitted (the extra `slurm`). What it writes lies in the workspace, which all
machines share. A job that reaches its time limit, or that another one displaces, is queued again and goes on from its files;
so does the same command after any other end.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.base.processes import loaded_plugins

logger = logging.getLogger(__name__)

SLURM, LOCAL = "slurm", "slurm:local"  # the second: the same jobs as processes of this machine, to try them

_MEMORY_GB = {"M": 2**-10, "G": 1.0, "T": 2.0**10}
_MINUTES = {"m": 1, "h": 60, "d": 60 * 24}
_DEFAULT_MINUTES = 4 * 60
_REQUEUES = 100  # after the time limit; folds keep their own time budget
_SECONDS = {SLURM: 10.0, LOCAL: 0.2}  # between two looks at the jobs
_KEY = re.compile(r"[a-z][a-z0-9_-]*")

Answer = Callable[[Callable[[Any], Any], Any, Sequence[str]], Any]


@dataclass(frozen=True)
class SlurmJobs:
    """How jobs are submitted: what each may take, how many run at a time, and where submitit keeps its files.

    `more` are further options of sbatch by their long names. `gpus` are those of a fold or a prediction; cases are prepared
    without one.
    """

    folder: Path
    address: str = SLURM
    parallel: int = 8
    gpus: int = 1
    cpus: int = 4
    minutes: int = _DEFAULT_MINUTES
    memory_gb: float | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.address

    @classmethod
    def parse(cls, address: str, words: Sequence[str], folder: Path) -> "SlurmJobs":
        """The jobs of `slurm` or `slurm:local` with KEY=VALUE words. Raises UserError where one is not understood."""
        jobs = cls(folder, address)
        for word in words:
            key, sign, value = word.partition("=")
            if not sign or not value or not _KEY.fullmatch(key):
                raise UserError("a parameter of --slurm is not of the form KEY=VALUE", found=word, expected="partition=gpu")
            jobs = jobs._with(key, value)
        return jobs

    def _with(self, key: str, value: str) -> "SlurmJobs":
        if key == "time":
            return replace(self, minutes=max(1, int(_number(key, value, _MINUTES, "90m, 4h or 2d"))))
        if key == "memory":
            return replace(self, memory_gb=_number(key, value.upper().removesuffix("B"), _MEMORY_GB, "32G"))
        if key == "parallel":
            return replace(self, parallel=_count(key, value, 1))
        if key == "gpus":
            return replace(self, gpus=_count(key, value, 0))
        if key == "cpus":
            return replace(self, cpus=_count(key, value, 1))
        return replace(self, more={**self.more, key: value})

    def without_gpu(self) -> "SlurmJobs":
        return replace(self, gpus=0)

    def distribute(self, answer: Answer, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Pairs of each item and `answer(work, item, plugins)` of its job, in the order in which they end; a sentence where
        a job ended without one. Jobs that still run are cancelled where the caller stops: they go on another time.

        Raises UserError where jobs cannot be submitted from here, or sbatch refuses them.
        """
        if not items:
            return
        submitit = _submitit()
        executor = self._executor(submitit)
        try:
            with executor.batch():
                jobs = [executor.submit(_Job(answer), work, item, loaded_plugins()) for item in items]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise UserError("Slurm does not take the jobs", where="sbatch", found=_last_line(error),
                            do="correct the parameters of --slurm, such as partition and time") from None
        logger.info("%d jobs (%s to %s); their output is in %s", len(jobs), jobs[0].job_id, jobs[-1].job_id, self.folder)
        item_of = {job.job_id: item for job, item in zip(jobs, items, strict=True)}
        try:
            for job in submitit.helpers.as_completed(jobs, poll_frequency=_SECONDS[self.address]):
                yield item_of[job.job_id], _result(job)
        finally:
            for job in jobs:
                if not job.done():
                    job.cancel(check=False)

    def _executor(self, submitit: Any) -> Any:
        try:
            executor = submitit.AutoExecutor(self.folder, cluster="local" if self.address == LOCAL else "slurm",
                                             slurm_max_num_timeout=_REQUEUES)
        except RuntimeError as error:
            raise UserError("jobs cannot be submitted from this machine", where="--cluster slurm", found=error,
                            do=f"start the command where sbatch works; --cluster {LOCAL} tries the jobs here") from None
        memory = {} if self.memory_gb is None else {"mem_gb": self.memory_gb}
        executor.update_parameters(name="autoseg", timeout_min=self.minutes, cpus_per_task=self.cpus, tasks_per_node=1,
                                   gpus_per_node=self.gpus, slurm_array_parallelism=self.parallel,
                                   slurm_additional_parameters=dict(self.more), **memory)
        return executor


@dataclass(frozen=True)
class _Job:
    """What a job runs; submitit calls `checkpoint` where it is to be queued again."""

    answer: Answer

    def __call__(self, work: Callable[[Any], Any], item: Any, plugins: Sequence[str]) -> Any:
        return self.answer(work, item, plugins)

    def checkpoint(self, work: Callable[[Any], Any], item: Any, plugins: Sequence[str]) -> Any:
        return _submitit().helpers.DelayedSubmission(self, work, item, plugins)


def _result(job: Any) -> Any:
    try:
        return job.result()
    except Exception:  # the job was killed, or submitit cannot read what it left; other jobs go on
        logger.debug("job %s", job.job_id, exc_info=True)
        return f"job {job.job_id} ended without a result; see {job.paths.stderr}; the same command goes on with it"


def _last_line(error: Exception) -> str:
    """What sbatch says last, which is what is wrong."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


def _count(key: str, value: str, least: int) -> int:
    if not value.isdecimal() or int(value) < least:
        raise UserError("a parameter of --slurm is no such number", found=f"{key}={value}",
                        expected=f"a whole number from {least}")
    return int(value)


def _number(key: str, value: str, units: Mapping[str, float], example: str) -> float:
    unit = units.get(value[-1:])
    try:
        number = float(value[:-1])
    except ValueError:
        number = 0.0
    if unit is None or not 0 < number < float("inf"):
        raise UserError("a parameter of --slurm is not understood", found=f"{key}={value}", expected=f"{key}={example}")
    return number * unit


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UserError("jobs of Slurm need submitit, which is not installed",
                        do="pip install 'autoseg-pipeline[slurm]'") from None
    return submitit
