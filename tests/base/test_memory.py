"""What is free, and how many processes fit it."""

import threading
from types import SimpleNamespace

import psutil
import pytest

from autoseg.base import memory
from autoseg.base.memory import WORKER_BYTES, check_fits, free_host_bytes, freed_memory_kept, workers_that_fit

GIB = 2**30


@pytest.fixture
def free(monkeypatch):
    """Four GiB are free."""
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 4 * GIB)


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A control group `/outer/inner` of version 2, limited to 1000 bytes, in one of 500."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    write_group(inner, "1000", "900", 700)
    write_group(tmp_path / "outer", "500", "400", 30)
    (tmp_path / "membership").write_text("5:memory:/elsewhere\n0::/outer/inner\n")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(memory, "_CONTAINERS", ((str(tmp_path), "memory.max", "memory.current",
                                                 ("inactive_file", "active_file"), ""),))
    return tmp_path


def write_group(folder, limit, used, cached):
    files = f"inactive_file {cached - cached // 3}\nactive_file {cached // 3}\n"
    for name, text in (("max", limit), ("current", used), ("stat", f"anon 20\n{files}")):
        (folder / f"memory.{name}").write_text(text)


def test_the_tightest_of_the_groups_around_a_process_counts(group):
    assert free_host_bytes() == 130  # of the outer one: 500 less 400, and 30 of files that can be dropped


def test_files_that_a_container_read_count_as_free(group):
    write_group(group / "outer", "max", "400", 0)
    assert free_host_bytes() == 800


def test_a_container_that_does_not_see_its_own_group_reads_the_mount(group):
    (group / "membership").write_text("0::/not/here\n")
    write_group(group, "300", "100", 0)
    assert free_host_bytes() == 200


def test_a_limit_of_the_address_space_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    limits = {resource.RLIMIT_AS: 5000, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (limits[limit], resource.RLIM_INFINITY))
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(vms=3000, data=1)))
    assert free_host_bytes() == 2000
    limits[resource.RLIMIT_DATA] = 101
    assert free_host_bytes() == 100


def test_something_is_free():
    assert free_host_bytes() > 0


def test_fewer_workers_than_wanted_are_chosen_and_said_so(free, caplog):
    with caplog.at_level("INFO", "autoseg"):
        assert workers_that_fit(GIB - WORKER_BYTES, 8, "measuring") == 3
    assert caplog.messages == ["measuring: 3 instead of 8 workers of about 1.0 GiB for 4.0 GiB free"]


def test_all_workers_that_fit_are_taken(free, caplog):
    with caplog.at_level("INFO", "autoseg"):
        assert workers_that_fit(1000, 2, "measuring") == 2
    assert caplog.messages == ["measuring: 2 workers of about 400 MiB for 4.0 GiB free"]


def test_the_largest_pieces_of_work_may_meet(free):
    needs = [GIB // 2, GIB, 2 * GIB, GIB // 2]  # with the libraries 2.4 + 1.4 of the 3.2 that may be used
    assert workers_that_fit(needs, 4, "preparing") == 1
    assert workers_that_fit([GIB // 2, GIB, GIB], 4, "preparing") == 2
    assert workers_that_fit([], 4, "preparing") == 1


def test_what_does_not_fit_at_all_is_tried_with_a_warning(free, caplog):
    assert workers_that_fit(9 * GIB, 2, "scoring") == 1
    assert "scoring takes about 9.0 GiB, but only 4.0 GiB are free" in caplog.text
    assert check_fits(GIB, "scoring") and not check_fits(5 * GIB, "scoring")


def test_freed_memory_is_kept_within_the_context_and_given_back_after_it(monkeypatch):
    calls = []
    library = SimpleNamespace(mallopt=lambda *given: calls.append(given), malloc_trim=lambda pad: calls.append("trim"))
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    with freed_memory_kept():
        with freed_memory_kept():  # such as a prediction within a training
            pass
        assert (-1, 2**31 - 1) in calls and (-2, 64 * 2**20) in calls and "trim" not in calls
    assert (-2, 128 * 1024) in calls
    assert calls[-2:] == [(-1, 128 * 1024), "trim"]


@pytest.mark.skipif(memory.platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_a_thread_keeps_what_it_freed_too():
    import resource  # Windows has none

    faults = []

    def work():
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
            blocks = [b"x" * (2**23 + i) for i in range(12)]  # of 8 MiB, more than one heap of a thread
            del blocks
            faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

    with freed_memory_kept():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert faults[2] < faults[0] / 4


def test_another_c_library_is_told_nothing(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("asked for a library"))
    with freed_memory_kept() as nothing:
        assert nothing is None
