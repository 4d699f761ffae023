"""Distribute work over the machines of a Ray cluster, or as jobs of Slurm. When a machine dies, its unfinished work runs
again on another one.

Ray is imported only where a cluster is used (the extra `cluster`), and a worker imports only what its work needs.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autoseg.base.errors import AutosegError, UserError
from autoseg.base.processes import load_plugin, loaded_plugins
from autoseg.orchestrate.slurm import SlurmJobs

logger = logging.getLogger(__name__)

Cluster = str | SlurmJobs  # the address of a Ray cluster, or how jobs are submitted
Resources = dict[str, float] | SlurmJobs  # of one item: in Ray's words, or the job that it becomes

_RETRIES = 5  # of a task whose machine died; a task that fails by itself is not tried again


@dataclass(frozen=True)
class Nodes:
    """What a connected cluster offers: machines, GPUs in all, and the cores of its smallest machine. Of Slurm a machine is a
    job, of which so many run at a time.
    """

    n: int
    n_gpus: int
    cores: int
    jobs: SlurmJobs | None = None

    @property
    def n_folds_at_once(self) -> int:
        return self.n_gpus or self.n

    @property
    def resources(self) -> Resources:
        """The resources of one fold: a GPU, or a whole machine where there is no GPU."""
        if self.jobs is not None:
            return self.jobs
        return {"num_gpus": 1, "num_cpus": 1} if self.n_gpus else {"num_cpus": self.cores}

    @property
    def resources_without_gpu(self) -> Resources:
        """The resources of a machine without its GPUs."""
        return {"num_cpus": self.cores} if self.jobs is None else self.jobs.without_gpu()


@contextmanager
def connected(address: Cluster | None) -> Iterator[Nodes | None]:
    """The cluster of an address (`auto`, `ray://HOST:PORT` or `HOST:PORT`), or the one that jobs are submitted to, within
    this context; None where none is given.
    """
    if address is None:
        yield None
        return
    if isinstance(address, SlurmJobs):
        yield Nodes(address.parallel, address.parallel * min(1, address.gpus), address.cpus, address)
        return
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError("the cluster cannot be reached", where=address, found=str(error).splitlines()[0],
                        do="start it with `ray start --head`, and name its address") from error
    try:
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        if not alive:
            raise UserError("the cluster has no machine that works", where=address)
        nodes = Nodes(len(alive), int(sum(node.get("GPU", 0) for node in alive)), int(min(node["CPU"] for node in alive)))
        logger.info("cluster of %d machines, %d GPUs", nodes.n, nodes.n_gpus)
        yield nodes
    finally:
        ray.shutdown()


def distribute(work: Callable[[Any], Any], items: Sequence[Any], resources: Resources) -> Iterator[tuple[Any, Any]]:
    """Pairs of each item and `work(item)`, which runs once somewhere in the cluster; in the order in which they end.

    When a machine dies, its items run again on another one. The result is a sentence where the work could not be done.
    """
    if isinstance(resources, SlurmJobs):
        yield from resources.distribute(_answer, work, items)
        return
    ray = _ray()
    # `_answer` returns the exceptions of the work; Ray retries only machines and processes that died.
    remote = ray.remote(max_retries=_RETRIES, **resources)(_answer)
    waiting = {remote.remote(work, item, loaded_plugins()): item for item in items}
    while waiting:
        for done in ray.wait(list(waiting), num_returns=1)[0]:
            item = waiting.pop(done)
            try:
                yield item, ray.get(done)
            except ray.exceptions.RayError as error:
                yield item, f"its machines died {_RETRIES + 1} times ({type(error).__name__})"


def _answer(work: Callable[[Any], Any], item: Any, plugins: Sequence[str]) -> Any:
    for plugin in plugins:
        load_plugin(plugin)
    try:
        return work(item)
    except AutosegError as error:
        return str(error)
    except Exception as error:  # one failure must not end the other items; the traceback is in the worker's log
        logger.error("the work failed", exc_info=True)
        return f"{type(error).__name__}: {error}"


def _ray():
    try:
        import ray
    except ImportError:
        raise UserError("a cluster needs Ray, which is not installed",
                        do="pip install 'autoseg-pipeline[cluster]' on every machine") from None
    return ray
