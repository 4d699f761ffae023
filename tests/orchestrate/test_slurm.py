"""Folds as jobs of Slurm, by submitit's executor of this machine; what is asked of Slurm, in its own words."""

import math
import os
import sys

import pytest

from autoseg.base.errors import UserError
from autoseg.cli import train
from autoseg.orchestrate import cluster
from autoseg.orchestrate.distribute import connected, distribute
from autoseg.orchestrate.slurm import SlurmJobs, _Job
from orchestrate_folds import prepared_spheres, tasks_of

WORDS = ("partition=gpu", "time=90m", "gpus=2", "memory=32G", "cpus=6", "parallel=3", "mail-user=a@b")


def local(folder, **changes):
    return SlurmJobs(folder, "slurm:local", gpus=0, minutes=5, **changes)


def test_parameters_are_understood_and_what_is_not_known_is_an_option_of_sbatch(tmp_path):
    jobs = SlurmJobs.parse("slurm", WORDS, tmp_path)
    assert (jobs.minutes, jobs.gpus, jobs.memory_gb, jobs.cpus, jobs.parallel) == (90, 2, 32.0, 6, 3)
    assert jobs.more == {"partition": "gpu", "mail-user": "a@b"} and jobs.without_gpu().gpus == 0
    with connected(jobs) as nodes:
        assert nodes.n_folds_at_once == 3 and nodes.resources is jobs and nodes.resources_without_gpu.gpus == 0


@pytest.mark.parametrize("word, sentence", [("gpu", "KEY=VALUE"), ("time=4", "time=90m, 4h or 2d"), ("time=xh", "time=90m"),
                                            ("memory=lots", "memory=32G"), ("gpus=-1", "a whole number from 0"),
                                            ("parallel=0", "a whole number from 1"), ("--wrap=rm", "KEY=VALUE")])
def test_a_parameter_that_is_not_understood_is_named(word, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        SlurmJobs.parse("slurm", [word], tmp_path)


def test_the_script_of_slurm_asks_for_what_was_said(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    executor = SlurmJobs.parse("slurm", WORDS, tmp_path)._executor(submitit)
    script = executor._executor._make_submission_file_text("command", "1")
    for line in ("--partition=gpu", "--time=90", "--gpus-per-node=2", "--mem=32GB", "--cpus-per-task=6", "--mail-user=a@b"):
        assert f"#SBATCH {line}\n" in script
    assert executor._executor.max_num_timeout == 100 and executor.parameters["array_parallelism"] == 3


def test_a_job_that_is_queued_again_does_the_same_work():
    pytest.importorskip("submitit")
    again = _Job(len).checkpoint(abs, -3, ())
    assert (again.function, again.args) == (_Job(len), (abs, -3, ()))


def test_jobs_answer_and_a_bad_one_does_not_end_the_others(tmp_path):
    pytest.importorskip("submitit")
    answers = dict(distribute(math.sqrt, [4, -1, 9], local(tmp_path)))
    assert (answers[4], answers[9]) == (2.0, 3.0) and "ValueError: math domain error" in answers[-1]


def test_a_job_that_is_killed_says_where_its_output_is(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 0)  # no slow network disk here
    ((item, sentence),) = distribute(sys.exit, [3], local(tmp_path))
    assert item == 3 and "ended without a result" in sentence and str(tmp_path) in sentence


def test_jobs_that_sbatch_refuses_are_an_error_that_says_why(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpuu' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    jobs = SlurmJobs.parse("slurm", ["partition=gpuu"], tmp_path / "jobs")
    with pytest.raises(UserError, match="Slurm does not take the jobs .*invalid partition specified: gpuu"):
        list(distribute(math.sqrt, [4, 9], jobs))
    assert list(distribute(math.sqrt, [], jobs)) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_folds_are_trained_as_jobs_and_the_same_command_finds_them_finished(tmp_path, capsys):
    pytest.importorskip("submitit")
    workspace, plan = prepared_spheres(tmp_path)
    jobs = local(workspace.jobs)
    with connected(jobs) as nodes:
        outcomes = {outcome.task.fold: outcome for outcome in cluster.train(nodes, tasks_of(workspace, plan, (0, 7)),
                                                                            home=tmp_path)}
    assert outcomes[0].result.fold == 0 and "unknown fold 7" in outcomes[7].fault
    command = ["1", "3d_fullres", "0", "--home", str(tmp_path), "--cluster", "slurm:local", "--slurm", "gpus=0"]
    assert train.main(command) == 0 and "mean over all" in capsys.readouterr().out


def test_without_slurm_or_submitit_the_command_says_what_to_do(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: -1))
    with pytest.raises(UserError, match="cannot be submitted from this machine.*sbatch works.*slurm:local"):
        next(distribute(abs, [1], SlurmJobs(tmp_path)))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"need submitit.*autoseg-pipeline\[slurm\]"):
        next(distribute(abs, [1], SlurmJobs(tmp_path)))


def test_parameters_without_slurm_are_refused(tmp_path, capsys):
    assert train.main(["1", "--home", str(tmp_path), "--slurm", "gpus=1", "--cluster", "auto", "3d_fullres", "0"]) == 2
    assert capsys.readouterr().err
