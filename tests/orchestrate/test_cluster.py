"""Work over the machines of a Ray cluster, one of which is killed: done again elsewhere, nothing lost or doubled."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from orchestrate_folds import DATASET, NAME, prepared_spheres

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.data.readers.prepared import prepared_names
from autoseg.orchestrate import cluster

N_CASES = 6


@pytest.fixture
def nodes(monkeypatch):
    """A cluster of two machines of one core, of which the second can be killed by calling the third value."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    root, here = Path(__file__).parents[2], Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (root, here, root / "tests" / "support"))))
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "4")
    both = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    other = both.add_node(num_cpus=1, num_gpus=0)
    try:
        with cluster.connected(both.address) as connected:
            yield connected, lambda: both.remove_node(other, allow_graceful=False)
    finally:
        both.shutdown()


def work(item: int, folder: Path) -> int:
    """Say that the item is begun, take a moment, say that it is done; item 9 fails."""
    import ray

    (folder / f"begun_{item}_{time.time_ns()}").write_text(ray.get_runtime_context().get_node_id())
    if item == 9:
        raise UserError("this item is bad")
    time.sleep(3)
    (folder / f"done_{item}_{time.time_ns()}").touch()
    return item * 10


def begun_on(folder: Path) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for file in folder.glob("begun_*"):
        found.setdefault(file.read_text(), set()).add(int(file.name.split("_")[1]))
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_dead_machine_had_begun_is_done_elsewhere(nodes, tmp_path):
    connected, kill = nodes
    assert (connected.n, connected.n_gpus, connected.cores, connected.n_folds_at_once) == (2, 0, 1, 2)
    results = cluster.spread(partial(work, folder=tmp_path), [0, 1, 2, 3, 9], connected.resources)
    answers = [next(results)]
    until = time.monotonic() + 60
    while len(begun_on(tmp_path)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    assert len(begun_on(tmp_path)) == 2  # both machines work
    kill()
    answers += results
    assert sorted(answers, key=lambda answer: answer[0]) == [(0, 0), (1, 10), (2, 20), (3, 30), (9, "this item is bad")]
    assert {int(file.name.split("_")[1]) for file in tmp_path.glob("done_*")} == {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cases_are_prepared_over_machines_one_of_which_dies(nodes, tmp_path):
    connected, kill = nodes
    workspace, _ = prepared_spheres(tmp_path, N_CASES)
    folder = workspace.cases(DATASET, "budgeted", NAME)
    for file in folder.iterdir():
        file.unlink()
    spread = cluster.spread

    def killing(*arguments):
        for number, answer in enumerate(spread(*arguments)):
            if number == 0:
                kill()
            yield answer

    cluster.spread = killing
    try:
        cluster.preprocess(connected, DATASET, "budgeted", [NAME], workspace)
    finally:
        cluster.spread = spread
    names = [f"ball_{number:02}" for number in range(N_CASES)]
    assert sorted(prepared_names(folder)) == names
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    pipeline.preprocess(1, home=tmp_path, workers=1)  # finds nothing to do
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_chunks_hold_every_case_once():
    names = [f"case_{number}" for number in range(21)]
    chunks = cluster._chunks(names, cluster.Nodes(2, 0, 4))
    assert [len(chunk) for chunk in chunks] == [3] * 7 and [name for chunk in chunks for name in chunk] == names
    assert cluster._chunks(names[:1], cluster.Nodes(2, 0, 4)) == [["case_0"]]


def test_a_fold_takes_a_gpu_or_else_a_machine():
    assert cluster.Nodes(2, 8, 64).resources["num_gpus"] == 1 and cluster.Nodes(2, 8, 64).n_folds_at_once == 8
    assert cluster.Nodes(3, 0, 16).resources == {"num_cpus": 16} and cluster.Nodes(3, 0, 16).n_folds_at_once == 3


def test_without_ray_a_cluster_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray.*cluster"), cluster.connected("auto"):
        pass


def test_without_an_address_there_is_no_cluster():
    with cluster.connected(None) as connected:
        assert connected is None
