"""Work over the machines of a Ray cluster, one of which is killed: done again elsewhere, nothing lost or doubled."""

import sys
import time
from functools import partial

import pytest
from cluster_nodes import started_on, two_machines, work

from autoseg.base.errors import UserError
from autoseg.orchestrate.distribute import Nodes, connected, distribute


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_a_dead_machine_had_started_is_done_elsewhere(tmp_path):
    pytest.importorskip("ray")
    with two_machines() as (nodes, kill):
        assert (nodes.n, nodes.n_gpus, nodes.cores, nodes.n_folds_at_once) == (2, 0, 1, 2)
        results = distribute(partial(work, folder=tmp_path), [9, 0, 1, 2, 3, 4], nodes.resources)
        answers = [next(results)]
        until = time.monotonic() + 60
        while len(started_on(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(started_on(tmp_path)) == 2  # both machines work, each on something that takes seconds
        kill()
        answers += results
    assert sorted(answers) == [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40), (9, "this item is bad")]
    assert {int(file.name.split("_")[1]) for file in tmp_path.glob("done_*")} == {0, 1, 2, 3, 4}
    assert len(list(tmp_path.glob("started_*"))) > len(answers)  # something was started again


def test_a_fold_takes_a_gpu_or_else_a_machine():
    assert Nodes(2, 8, 64).resources["num_gpus"] == 1 and Nodes(2, 8, 64).n_folds_at_once == 8
    assert Nodes(3, 0, 16).resources == {"num_cpus": 16} and Nodes(3, 0, 16).n_folds_at_once == 3


def test_without_ray_a_cluster_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"needs Ray.*cluster"), connected("auto"):
        pass


def test_without_an_address_there_is_no_cluster():
    with connected(None) as nodes:
        assert nodes is None
