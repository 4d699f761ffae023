"""Worker processes, safe under `spawn`: each imports the plug-ins that its parent loaded.

On Linux they are forked from a server of Python's own, which has imported what most of them need and nothing that could
not be forked: a worker starts in milliseconds, while a new interpreter takes a second. Such a worker sees the
environment as it was when the server started.
"""

import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait

from autoseg.base.errors import UserError
from autoseg.base.stopping import end_worker_on_signals, remove_unfinished

_METHOD = "forkserver" if sys.platform == "linux" else "spawn"
# Nothing of torch or ITK, which may not be forked.
_IMPORTED_BEFORE = ["autoseg.preprocessing.run", "autoseg.evaluation.folders", "scipy.ndimage", "nibabel", "blosc2"]

_LARGEST_POOL = 32  # a pool of one takes nine file descriptors
# Exit status of a worker that would have started workers itself while it started, because it ran the user's script again.
SCRIPT_RUNS_AGAIN = 83

# The environment of a child process that imports nothing from the working directory, which may be anybody's. Python 3.10
# does not know it.
IMPORTS_NOTHING_FROM_HERE = {"PYTHONSAFEPATH": "1"}

_is_served = False
_plugins: list[str] = []  # modules that register parts, in the order in which this process loaded them


def load_plugin(name: str) -> None:
    """Import a module that registers parts, in this process and in every later worker; a UserError where that fails.

    A module that is not installed is looked for in the working directory. Nothing there takes the place of what is
    installed: the directory is the last that is searched.
    """
    try:
        if not all(word.isidentifier() for word in name.split(".")):
            raise ImportError("no name of a module")
        if "" not in sys.path and importlib.util.find_spec(name.partition(".")[0]) is None:
            sys.path.append("")
        importlib.import_module(name)
    except ImportError as error:
        raise UserError("the plug-in cannot be imported", where=name, found=error,
                        do="give a module's name, as in `import my_package.mine`, not a path") from error
    if name not in _plugins:
        _plugins.append(name)


def loaded_plugins() -> tuple[str, ...]:
    """The modules that `load_plugin` imported here."""
    return tuple(_plugins)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expect_workers() -> None:
    """Start the server of workers early: it imports what they use while this process does other things."""
    if cores() > 1:
        with suppress(OSError):  # such as a name of the temporary folder that is too long; each_case tells it
            _serve()


def start_at_once() -> bool:
    """Whether a worker starts in milliseconds."""
    return _is_served


def why_no_workers() -> str:
    """Why this process cannot have workers of its own, in words; empty where it can. A daemonic process, such as those of
    `multiprocessing.Pool`, may not, and a worker could not import a script that comes from standard input.

    A new worker imports the script of its parent. Where that script has no `if __name__ == "__main__":`, the worker comes
    here as well. It ends with the status SCRIPT_RUNS_AGAIN, from which its parent knows what happened.
    """
    this = multiprocessing.current_process()
    if getattr(this, "_inheriting", False):  # as multiprocessing itself notices it, in a RuntimeError of many lines
        os._exit(SCRIPT_RUNS_AGAIN)
    if this.daemon:
        return "this process is daemonic and may not start others"
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if script is None or getattr(main, "__spec__", None) is not None or not script.startswith("<"):
        return ""
    return f"the script {script} is no file, which workers would have to import"


def script_name() -> str:
    """The file of the script that runs, or what else is known of it."""
    return str(getattr(sys.modules["__main__"], "__file__", "the script"))


def stop_broken(pools: Sequence[ProcessPoolExecutor]) -> int | None:
    """Stop pools of which a worker died; its exit code (negative: the signal), None where it is not known.

    A pool that loses a worker ends the others by SIGTERM, so that this signal is given only where there is no other code.
    """
    workers = [worker for pool in pools for worker in (getattr(pool, "_processes", None) or {}).values()]
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)
    codes = [worker.exitcode for worker in workers if worker.exitcode]
    return min(codes, key=lambda code: code == -signal.SIGTERM, default=None)


def process_pool(workers: int, threads: int | None = None) -> ProcessPoolExecutor:
    """Processes with the plug-ins of this one. They share its cores, or take `threads` each."""
    why_no_workers()
    _serve()
    start = _start, (tuple(_plugins), threads or max(1, cores() // workers))
    return ProcessPoolExecutor(workers, multiprocessing.get_context(_METHOD), *start)


class WorkerPool:
    """Worker processes that stay from stage to stage. Each has cases of its own, and may cache what it read of them."""

    def __init__(self, workers: int):
        self._n = min(workers, _LARGEST_POOL)
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._worker_of_case: dict[str, int] = {}
        self.is_broken = False  # a worker has died

    def __len__(self) -> int:
        return self._n

    def pool_of(self, name: str) -> ProcessPoolExecutor:
        """The worker of a case. New cases are distributed in turn; a known case goes to its worker again."""
        number = self._worker_of_case.setdefault(name, len(self._worker_of_case) % self._n)
        if number not in self._pools:
            self._pools[number] = process_pool(1, max(1, cores() // self._n))
        return self._pools[number]

    def stop(self) -> int | None:
        """Stop all workers, because one has died, whose exit code this is: the others finish their case, and get no more."""
        self.is_broken = True
        return stop_broken(list(self._pools.values()))

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def _serve() -> None:
    global _is_served
    if _METHOD == "spawn":  # each worker is an interpreter of its own, which starts when it has work
        os.environ.update(IMPORTS_NOTHING_FROM_HERE)
    if _METHOD == "forkserver" and not _is_served:
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(_IMPORTED_BEFORE)
        with _server_environment():
            forkserver.ensure_running()
        _is_served = True


@contextmanager
def _server_environment() -> Iterator[None]:
    """A process that starts within this context imports nothing from the working directory, and ignores Ctrl-C."""
    safe = os.environ.get("PYTHONSAFEPATH")
    os.environ.update(IMPORTS_NOTHING_FROM_HERE)
    in_main = threading.current_thread() is threading.main_thread()  # no other may set signals
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, before)
        if safe is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe


def _start(plugins: tuple[str, ...], threads: int) -> None:
    end_worker_on_signals()  # without a traceback
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # torch reads it where it is imported later
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)
    for plugin in plugins:
        load_plugin(plugin)


def _end_with_the_parent() -> None:
    """End this worker with its parent. While it waits for work it holds its end of the pipe open, so it would not notice."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    wait([parent.sentinel])
    remove_unfinished()
    os._exit(1)
