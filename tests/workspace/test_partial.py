"""What killed processes left is removed, and what others write is not."""

import os
import signal

import pytest

from autoseg.base.errors import CannotWrite
from autoseg.workspace.files import append_record, read_records, staged, write_text
from autoseg.workspace.locks import locked, remove_lock, remove_locks
from autoseg.workspace.partial import PARTIAL, partial_folder, remove_leftovers, remove_leftovers_below

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


def in_a_child(work) -> None:
    """Run what kills its process in another one."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def begin_to_write(folder) -> None:
    partial = partial_folder(folder)
    (partial.__enter__() / "file.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)


def begin_to_work(folder) -> None:
    with locked(folder):
        os.kill(os.getpid(), signal.SIGKILL)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs_fork
def test_what_a_killed_process_left_is_removed_and_what_is_written_now_is_not(tmp_path):
    in_a_child(lambda: begin_to_write(tmp_path / "cases"))
    (left,) = names(tmp_path / "cases")
    assert left.startswith(PARTIAL)
    with staged(tmp_path / "cases" / "mask.txt") as temporary:
        temporary.write_text("whole")
        remove_leftovers(tmp_path / "cases")
        assert names(tmp_path / "cases") == [temporary.parent.name]
    assert names(tmp_path / "cases") == ["mask.txt"]


@needs_fork
def test_leftovers_are_removed_from_all_folders_below(tmp_path):
    in_a_child(lambda: begin_to_write(tmp_path / "a" / "b"))
    remove_leftovers_below(tmp_path)
    assert names(tmp_path / "a" / "b") == []
    remove_leftovers_below(tmp_path / "not_there")


def test_what_another_machine_writes_is_left_alone_for_a_day(tmp_path):
    other = tmp_path / f"{PARTIAL}0_of_another"
    other.mkdir()
    remove_leftovers(tmp_path)
    assert other.is_dir()
    os.utime(other, (0, 0))
    remove_leftovers(tmp_path)
    assert not other.exists()


def test_a_link_that_is_named_like_a_leftover_is_not_followed(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file.txt").write_text("precious")
    with partial_folder(tmp_path / "cases") as folder:
        name = folder.name
    (tmp_path / "cases" / name).symlink_to(foreign)
    remove_leftovers(tmp_path / "cases")
    assert (foreign / "file.txt").read_text() == "precious"


def test_a_folder_that_was_held_leaves_no_file(tmp_path):
    with locked(tmp_path / "fold_0"):
        assert names(tmp_path) == [".fold_0.lock"]
    assert names(tmp_path) == []


@needs_fork
def test_the_lock_of_a_killed_process_is_removed(tmp_path):
    in_a_child(lambda: begin_to_work(tmp_path / "fold_0"))
    assert names(tmp_path) == [".fold_0.lock"]
    remove_lock(tmp_path / "fold_0")
    assert names(tmp_path) == []
    in_a_child(lambda: begin_to_work(tmp_path / "cases"))
    remove_locks(tmp_path)
    assert names(tmp_path) == []


def test_a_lock_that_is_held_is_not_removed(tmp_path):
    with locked(tmp_path / "fold_0"):
        remove_lock(tmp_path / "fold_0")
        assert names(tmp_path) == [".fold_0.lock"]


def test_a_write_that_fails_leaves_the_former_file_and_names_it(tmp_path, monkeypatch):
    write_text(tmp_path / "plan.json", "before")
    for name in ("mkdir", "fsync", "replace"):
        with monkeypatch.context() as context:
            context.setattr(os, name, full)
            with pytest.raises(CannotWrite, match=r"plan\.json: it cannot be written \(found: No space left on device\)"):
                write_text(tmp_path / "plan.json", "after")
        assert (tmp_path / "plan.json").read_text() == "before" and names(tmp_path) == ["plan.json"]


def test_a_line_that_cannot_be_flushed_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"iteration": 1})
    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        with pytest.raises(CannotWrite, match="metrics.jsonl"):
            append_record(path, {"iteration": 2})
    assert read_records(path) == [{"iteration": 1}]


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path):
    path = tmp_path / "ablation.jsonl"
    path.write_text('{"case": "a"}\n{"cas')
    append_record(path, {"case": "b"})
    assert read_records(path) == [{"case": "a"}, {"case": "b"}]


def full(*_, **__):
    raise OSError(28, os.strerror(28))
