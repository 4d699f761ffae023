"""Preprocessing over machines, one of which is killed half-way; folds and predictions over machines."""

import pytest
from cluster_nodes import two_machines

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.datasets.case import CaseFiles
from autoseg.orchestrate import cluster
from autoseg.orchestrate.distribute import Nodes, distribute
from autoseg.prediction.predictor import CasesToPredict
from autoseg.preprocessing.store import prepared_names
from orchestrate_folds import DATASET, NAME, prepared_spheres, tasks_of

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
            for number, answer in enumerate(distribute(*arguments)):
                if number == 0:
                    kill()
                yield answer

        monkeypatch.setattr(cluster, "distribute", killing)
        cluster.preprocess(nodes, DATASET, "budgeted", [NAME], workspace)
    names = [f"ball_{number:02}" for number in range(N_CASES)]
    assert sorted(prepared_names(folder)) == names
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    pipeline.preprocess(1, home=tmp_path, workers=1)  # finds nothing to do
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_folds_are_trained_and_cases_predicted_over_machines(tmp_path):
    pytest.importorskip("ray")
    workspace, plan = prepared_spheres(tmp_path)
    with two_machines() as (nodes, _):
        outcomes = list(cluster.train(nodes, tasks_of(workspace, plan, (0, 7)), home=tmp_path))
        masks = cluster.predict(nodes, workspace.raw(DATASET) / "imagesTr", tmp_path / "masks", home=tmp_path)
    by_fold = {outcome.task.fold: outcome for outcome in outcomes}
    assert by_fold[0].result.fold == 0 and "unknown fold 7" in by_fold[7].fault
    assert sorted(mask.name for mask in masks) == [f"ball_{number:02}.nii.gz" for number in range(5)]
    assert all(mask.is_file() for mask in masks)


def test_chunks_hold_every_case_once():
    names = [f"case_{number}" for number in range(21)]
    chunks = cluster._chunks(names, Nodes(2, 0, 4))
    assert [len(chunk) for chunk in chunks] == [3] * 7 and [name for chunk in chunks for name in chunk] == names
    assert cluster._chunks(names[:1], Nodes(2, 0, 4)) == [["case_0"]]


class Cases:
    """A predictor that finds cases and nothing else."""

    def find(self, source, table):
        return CasesToPredict(tuple(CaseFiles(name, ()) for name in ("a", "b", "c")), {})


@pytest.fixture
def predicted(monkeypatch):
    """What `predict_folder` was asked for: which cases, and whether masks that are there are kept."""
    asked = []

    def predict_folder(predictor, source, target, *, keep_existing, only=None, **_):
        asked.append((None if only is None else sorted(only), keep_existing))
        return []

    monkeypatch.setattr(cluster.Predictor, "open", lambda **_: Cases())
    monkeypatch.setattr(cluster, "predict_folder", predict_folder)
    return asked


def test_cases_that_no_machine_predicted_are_predicted_here_even_where_an_old_mask_lies(predicted, monkeypatch, tmp_path):
    def dying(work, chunks, resources):
        for chunk in chunks:
            yield chunk, work(chunk) if chunk != ["b"] else "its machines died"

    monkeypatch.setattr(cluster, "distribute", dying)
    cluster.predict(Nodes(2, 0, 1), tmp_path, tmp_path / "masks")
    # in chunks, then what is missing, and at last all that is there, which writes what the masks mean
    assert predicted == [(["a"], False), (["c"], False), (["b"], False), (None, True)]


def test_the_plan_is_made_on_a_machine_that_will_train(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(cluster.pipeline, "plan", lambda dataset, **options: asked.append((dataset, options)) or "the plan")
    monkeypatch.setattr(cluster, "distribute", lambda work, items, resources: ((item, work(item)) for item in items))
    with pytest.raises(UserError, match="could not be made on the cluster.*the plan"):  # a sentence is what went wrong
        cluster.plan(Nodes(2, 2, 1), DATASET, home=tmp_path, planner="budgeted")
    assert asked == [(DATASET, {"home": tmp_path, "device": "auto", "planner": "budgeted"})]
