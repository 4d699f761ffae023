"""How much memory is free, and how many processes fit into it. Every stage that starts processes asks. Needs no torch."""

import ctypes
import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

logger = logging.getLogger(__name__)

# What an interpreter with its libraries takes, and the share of free memory that workers may use together.
WORKER_BYTES = 400 * 2**20
_SHARE = 0.8
# Where the kernel says a container's limit, its use, and how much of the use are cached files that it can drop. The last
# value is the controller's name in /proc/self/cgroup, which is empty in version 2.
_CONTAINERS = (("/sys/fs/cgroup", "memory.max", "memory.current", ("inactive_file", "active_file"), ""),
               ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                ("total_inactive_file", "total_active_file"), "memory"))
_MEMBERSHIP = Path("/proc/self/cgroup")
_KERNEL_COUNTS = Path("/proc/vmstat")
# Numbers of malloc.h. A larger threshold than this one is refused; requests above it are always given back when freed.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEPT_REQUEST_BYTES, _USUAL_TRIM_BYTES, _USUAL_PAD_BYTES = 32 * 2**20, 128 * 2**10, 128 * 2**10
# Threads but the first have heaps of this size, of which glibc gives an empty one back unless the padding is as large.
_HEAP_BYTES = 64 * 2**20
_memory_is_kept = False  # within `freed_memory_kept`


def free_host_bytes() -> int:
    """Free memory of the machine, of the containers around this process, or what its own limits (ulimit) leave it."""
    import psutil

    return max(0, min([psutil.virtual_memory().available, *_left_in_containers(), *_left_of_own_limits()]))


def programs_ended_for_memory() -> int | None:
    """How many programs the system has ended for lack of memory since it started; None where it does not say (not Linux)."""
    try:
        counts = dict(line.split() for line in _KERNEL_COUNTS.read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within this context the C library keeps what is freed for the next request, and gives it back at the end: of several
    that lie in each other, at the end of the outermost.

    A training step asks for the same hundreds of MiB again and again. Where they went back to the system in between, it
    clears them page by page: 5,800 to 97,000 page faults per step, a tenth of its time (benchmarks/step_duel.py). Only
    glibc has these settings; with other C libraries nothing changes.
    """
    global _memory_is_kept
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" and not _memory_is_kept else None
    if library is not None:
        _memory_is_kept = True
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(_M_TOP_PAD, _HEAP_BYTES)
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_REQUEST_BYTES)
    try:
        yield
    finally:
        if library is not None:
            _memory_is_kept = False
            library.mallopt(_M_TOP_PAD, _USUAL_PAD_BYTES)
            library.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM_BYTES)
            library.malloc_trim(0)


def workers_that_fit(estimated_bytes: int | Sequence[int], wanted: int, what: str, extra_bytes: int = WORKER_BYTES) -> int:
    """How many of the `wanted` workers fit into the free memory at once; at least one. The choice is logged.

    `estimated_bytes` is what one worker takes beside its libraries, or what each piece of work takes; the largest pieces may
    be done at the same time. `extra_bytes` are those of a worker's libraries: threads share theirs.
    """
    estimates = [estimated_bytes] * wanted if isinstance(estimated_bytes, int) else sorted(estimated_bytes, reverse=True)
    wanted = max(1, min(wanted, len(estimates)))
    free = free_host_bytes()
    largest = estimates[0] if estimates else 0
    if wanted == 1:
        check_fits(largest, what, free)
        return 1
    together = accumulate(estimate + extra_bytes for estimate in estimates[:wanted])
    fitting = max(1, sum(used <= free * _SHARE for used in together))
    logger.info("%s: %s of about %s for %s free", what,
                f"{fitting} workers" if fitting == wanted else f"{fitting} instead of {wanted} workers",
                size(largest + extra_bytes), size(free))
    if fitting == 1:
        check_fits(largest, what, free)
    return fitting


def check_fits(estimated_bytes: int, what: str, free_bytes: int | None = None) -> bool:
    """Whether the estimate fits into what is free (default: now). Where it does not, a warning gives both."""
    free = free_host_bytes() if free_bytes is None else free_bytes
    if estimated_bytes <= free:
        return True
    logger.warning("%s takes about %s, but only %s are free: it may run out of memory", what, size(estimated_bytes),
                   size(free))
    return False


def size(n_bytes: float) -> str:
    """
    >>> size(3 * 2**30), size(200 * 2**20)
    ('3.0 GiB', '200 MiB')
    """
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def _left_in_containers() -> Iterator[int]:
    """What is left in each control group that this process is in, and in those around it."""
    for mount, limit, used, cached, controller in _CONTAINERS:
        for folder in _groups(Path(mount), controller):
            try:
                known = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                held = sum(int(known.get(key, 0)) for key in cached)
                yield int((folder / limit).read_text()) - int((folder / used).read_text()) + held
            except (OSError, ValueError):  # not there, or "max"
                continue


def _groups(mount: Path, controller: str) -> list[Path]:
    """The folder of this process's group and those above it; only the mount where the group is not visible from here."""
    try:
        lines = [line.split(":", 2) for line in _MEMBERSHIP.read_text().splitlines()]
    except OSError:
        lines = []
    own = next((path for _, names, path in lines if controller in names.split(",")), "/")
    group = mount / own.lstrip("/")
    return [group, *(folder for folder in group.parents if folder.is_relative_to(mount))]


def _left_of_own_limits() -> Iterator[int]:
    """What RLIMIT_AS (`ulimit -v`) and RLIMIT_DATA (`ulimit -d`) leave this process, where they are set."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    import psutil

    used = psutil.Process().memory_info()
    for limit, held in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, getattr(used, "data", 0))):
        allowed, _ = resource.getrlimit(limit)
        if allowed != resource.RLIM_INFINITY:
            yield allowed - held
