"""The folders of jobs: what is kept is whole, what is removed is gone, nothing from outside is a path."""

import os

import pytest

from autoseg.base.errors import UserError
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.types import JobResult
from autoseg.workspace.locks import Held

RESULT = JobResult(labels=(), spacing_mm=(1.0, 1.0, 1.0), shape=(4, 4, 4), files=("nifti",), images=())


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool")
    with spool.held():
        yield spool


def received(spool, **files):
    """The id of a job with these files."""
    with spool.receiving() as folder:
        for name, content in files.items():
            (folder / name).write_text(content)
        return spool.keep(folder)


def names_in(spool):
    return sorted(path.name for path in spool.jobs.iterdir())


def test_what_came_in_is_the_input_of_a_job_and_nothing_else_is_left(spool):
    job_id = received(spool, first="1", second="2")
    assert names_in(spool) == [job_id] and len(job_id) == 32
    assert (spool.job(job_id).input / "second").read_text() == "2"


def test_an_upload_that_breaks_off_leaves_nothing(spool):
    with pytest.raises(ConnectionError), spool.receiving() as folder:
        (folder / "0").write_text("half")
        raise ConnectionError
    assert names_in(spool) == []


def test_what_is_no_id_becomes_no_path(spool):
    for text in ("..", "../" * 3 + "etc", "A" * 32, "", "0" * 31 + "\n"):
        with pytest.raises(UserError, match="no id of a job"):
            spool.job(text)


def test_a_job_may_use_the_inputs_of_another_one_which_may_then_be_removed(spool):
    first = received(spool, image="voxels")
    with spool.receiving() as folder:
        spool.share_inputs(first, folder)
        second = spool.keep(folder)
    spool.remove(first)
    assert names_in(spool) == [second] and (spool.job(second).input / "image").read_text() == "voxels"
    with spool.receiving() as folder, pytest.raises(UserError):
        spool.share_inputs(first, folder)


def test_inputs_are_copied_where_the_disk_has_no_links(spool, monkeypatch):
    first = received(spool, image="voxels")

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with spool.receiving() as folder:
        spool.share_inputs(first, folder)
        assert (folder / "image").read_text() == "voxels"


def test_removed_inputs_leave_the_result(spool):
    job_id = received(spool, image="voxels")
    spool.job(job_id).result.mkdir()
    spool.remove_inputs(job_id)
    assert spool.job(job_id).result.is_dir() and spool.without_files([job_id]) == [job_id]
    spool.remove(job_id)
    spool.remove(job_id)  # twice is no fault
    assert names_in(spool) == []


def test_a_start_removes_what_nobody_knows_and_what_a_killed_service_received(spool):
    known, unknown = received(spool, image="1"), received(spool, image="2")
    with spool.receiving() as folder:
        left = folder.name
    (spool.jobs / left).mkdir()
    spool.remove_all_but({known})
    assert names_in(spool) == [known] != [unknown]


def test_one_service_holds_a_spool(spool):
    with pytest.raises(Held, match="another process works here"), Spool(spool.root).held():
        pass


def test_others_may_not_look_into_the_spool(spool):
    assert spool.root.stat().st_mode & 0o077 == 0


def test_a_result_counts_once_its_record_is_whole(spool):
    job_id = received(spool, image="1")
    record = spool.job(job_id).record
    assert spool.result_of(job_id) is None
    write_json(record, RESULT)
    assert spool.result_of(job_id) == RESULT
    record.write_text(record.read_text()[:40])
    assert spool.result_of(job_id) is None
