"""Worker processes, safe under `spawn`: each imports the plug-ins that its parent loaded."""

import importlib
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

from autoseg.base.errors import UserError

_plugins: list[str] = []  # modules that register parts, in the order in which this process loaded them


def load_plugin(name: str) -> None:
    """Import a module that registers parts, here and in every worker started from now on; a UserError if it cannot be.

    Modules beside the user are found, as `python -m` finds them.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
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


def worker_pool(workers: int, threads: int | None = None) -> ProcessPoolExecutor:
    """Processes that know this one's plug-ins; with `threads`, torch uses that many in each."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (tuple(_plugins), threads))


def _start(plugins: tuple[str, ...], threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    for plugin in plugins:
        load_plugin(plugin)
