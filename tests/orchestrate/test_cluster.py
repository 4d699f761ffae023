"""Preprocessing over machines, one of which is killed half-way."""

import pytest
from cluster_nodes import two_machines
from orchestrate_folds import DATASET, NAME, prepared_spheres

from autoseg import pipeline
from autoseg.data.readers.prepared import prepared_names
from autoseg.orchestrate import cluster
from autoseg.orchestrate.spread import Nodes, spread

N_CASES = 6


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_cases_are_prepared_over_machines_one_of_which_dies(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    workspace, _ = prepared_spheres(tmp_path, N_CASES)
    folder = workspace.cases(DATASET, "budgeted", NAME)
    for file in folder.iterdir():
        file.unlink()
    with two_machines() as (nodes, kill):
        def killing(*arguments):
            for number, answer in enumerate(spread(*arguments)):
                if number == 0:
                    kill()
                yield answer

        monkeypatch.setattr(cluster, "spread", killing)
        cluster.preprocess(nodes, DATASET, "budgeted", [NAME], workspace)
    names = [f"ball_{number:02}" for number in range(N_CASES)]
    assert sorted(prepared_names(folder)) == names
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    pipeline.preprocess(1, home=tmp_path, workers=1)  # finds nothing to do
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_chunks_hold_every_case_once():
    names = [f"case_{number}" for number in range(21)]
    chunks = cluster._chunks(names, Nodes(2, 0, 4))
    assert [len(chunk) for chunk in chunks] == [3] * 7 and [name for chunk in chunks for name in chunk] == names
    assert cluster._chunks(names[:1], Nodes(2, 0, 4)) == [["case_0"]]
