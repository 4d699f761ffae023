"""A cluster of two machines on this one, and work for it. Light, as every worker imports it."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.orchestrate.distribute import connected


@contextmanager
def two_machines():
    """A connected cluster of two machines of one core, and what kills the second of them."""
    from ray.cluster_utils import Cluster

    root, folder = Path(__file__).parents[2], Path(__file__).parent
    os.environ.update(PYTHONPATH=os.pathsep.join(map(str, (root, folder, root / "tests" / "support"))),
                      RAY_health_check_period_ms="500", RAY_health_check_failure_threshold="4")
    both = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    other = both.add_node(num_cpus=1, num_gpus=0)
    try:
        with connected(both.address) as nodes:
            yield nodes, lambda: both.remove_node(other, allow_graceful=False)
    finally:
        both.shutdown()


def work(item: int, folder: Path) -> int:
    """Say that the item is started, take a moment, say that it is done; item 9 fails."""
    import ray

    (folder / f"started_{item}_{time.time_ns()}").write_text(ray.get_runtime_context().get_node_id())
    if item == 9:
        raise UserError("this item is bad")
    time.sleep(3)
    (folder / f"done_{item}_{time.time_ns()}").touch()
    return item * 10


def started_on(folder: Path) -> dict[str, set[int]]:
    items: dict[str, set[int]] = {}
    for file in folder.glob("started_*"):
        items.setdefault(file.read_text(), set()).add(int(file.name.split("_")[1]))
    return items
