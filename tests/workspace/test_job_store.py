"""The database of jobs: what is accepted is done once, whatever dies meanwhile."""

import sqlite3
import threading

import pytest

from autoseg.base.errors import UserError
from autoseg.workspace.jobs.store import JobStore, QueueFull, QueueLimits, UnknownJob, WrongState
from autoseg.workspace.jobs.types import (
    InputFile,
    JobRequest,
    JobResult,
    LabelVolume,
    Problem,
    Progress,
    Question,
    SeriesChoice,
)

RESULT = JobResult(labels=(LabelVolume(name="liver", values=(1,), color="#56b4e9", voxels=8, volume_ml=0.008),),
                   spacing_mm=(1.0, 1.0, 1.0), shape=(4, 4, 4), files=("nifti",), images=("CT",))
ASKED = Question(text="Which one?", channels={"CT": (SeriesChoice(uid="1.2.3"), SeriesChoice(uid="1.2.4"))})


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return JobStore(tmp_path / "jobs.sqlite", result_seconds=100.0, attempts=2, now=clock)


def asked_by(client, **changes):
    return JobRequest(client=client, model="liver", kind="images",
                      files=(InputFile(number=0, channel="CT", n_bytes=8, ending=".nii.gz"),), **changes)


def accept(store, *names):
    """Jobs whose names begin with that of their client."""
    for name in names:
        store.accept(asked_by(name[0]), name)


def claimed(store):
    """The names of all jobs in the order in which one worker gets them."""
    names = []
    while (job := store.claim("worker")) is not None:
        names.append(job.id)
    return names


def test_a_job_is_what_was_asked_for_until_it_is_done(store, clock):
    assert store.accept(asked_by("a", row={"age": 61.0, "sex": None}), "a1") == store.get("a1")
    assert store.get("a1").request.row == {"age": 61.0, "sex": None}
    clock.seconds = 1010.0
    assert store.claim("worker").started == 1010.0
    store.progress("a1", Progress(stage="predicting", fraction=0.5, eta_seconds=3.0))
    assert store.get("a1").progress.fraction == 0.5
    clock.seconds = 1020.0
    store.finish("a1", RESULT)
    job = store.get("a1")
    assert (job.state, job.result, job.ended, job.expires) == ("done", RESULT, 1020.0, 1120.0)
    assert store.counts()["done"] == 1


def test_clients_have_turns_and_each_gets_its_jobs_in_their_order(store):
    accept(store, "a1", "a2", "a3", "b1", "c1", "b2")
    positions = [store.get(name).position for name in ("a1", "b1", "c1", "a2", "b2", "a3")]
    assert positions == [0, 1, 2, 3, 4, 5]
    assert claimed(store) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_client_that_had_no_turn_yet_comes_before_one_that_had(store):
    accept(store, "a1", "a2")
    store.claim("worker")
    accept(store, "b1")
    assert store.get("a2").position == 1
    assert claimed(store) == ["b1", "a2"]


def test_a_client_that_names_ever_new_parts_of_itself_has_no_more_turns_than_another(store):
    for number in range(4):
        store.accept(asked_by(f"anna/part_{number}"), f"anna_{number}")
    store.accept(asked_by("ben"), "ben_0")
    store.accept(asked_by("ben"), "ben_1")
    assert [store.get(name).position for name in ("anna_0", "ben_0", "anna_1", "ben_1", "anna_2", "anna_3")] == [*range(6)]
    assert store.claim("worker").id == "anna_0"
    store.accept(asked_by("anna/part_9"), "anna_9")  # a part that had no turn, of an owner that just had one
    assert claimed(store) == ["ben_0", "anna_1", "ben_1", "anna_2", "anna_3", "anna_9"]


def test_the_parts_of_a_client_share_its_turns(store):
    for name in ("anna/x", "anna/x", "anna/y", "ben"):
        store.accept(asked_by(name), f"{name}_{len(store.ids())}")
    assert claimed(store) == ["anna/x_0", "ben_3", "anna/y_2", "anna/x_1"]


def test_two_workers_never_get_the_same_job(store, tmp_path):
    accept(store, *[f"{'abcd'[number % 4]}{number}" for number in range(40)])
    got, stores = [], [JobStore(tmp_path / "jobs.sqlite") for _ in range(4)]
    threads = [threading.Thread(target=lambda own=own: got.extend(claimed(own))) for own in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(store.ids()) and len(got) == 40


def test_a_result_is_recorded_once(store):
    accept(store, "a1")
    store.claim("worker")
    store.finish("a1", RESULT)
    store.finish("a1", RESULT.model_copy(update={"seconds": 9.0}))
    store.fail("a1", Problem(what="too late"))
    assert store.get("a1").result == RESULT and store.get("a1").state == "done"


def test_a_job_whose_worker_died_is_tried_again_and_then_fails_in_words(store):
    accept(store, "a1", "a2")
    store.claim("first")
    store.claim("second")
    assert store.give_back(["first"]) == ["a1"]
    assert store.get("a1").state == "queued" and store.get("a2").state == "running"
    assert store.claim("third").attempts == 2
    store.give_back(["third"])
    job = store.get("a1")
    assert job.state == "failed" and "ended abruptly" in job.problem.what and job.problem.found == "2 attempts"


def test_a_service_that_dies_with_its_jobs_tries_them_more_often_but_not_for_ever(store):
    accept(store, "a1")
    for attempt in range(1, 6):
        assert store.claim("worker").attempts == attempt
        store.give_back()
    assert store.get("a1").state == "failed" and store.claim("worker") is None


def test_a_job_whose_result_was_whole_when_its_worker_died_is_done(store):
    accept(store, "a1")
    store.claim("worker")
    store.give_back(result_of={"a1": RESULT}.get)
    assert store.get("a1").state == "done" and store.get("a1").result == RESULT


def test_a_worker_that_was_given_up_ends_nothing_of_what_another_one_does_again(store, tmp_path):
    other = JobStore(tmp_path / "jobs.sqlite")
    accept(store, "a1")
    store.claim("slow")
    other.give_back(["slow"])
    other.claim("quick")
    assert store.is_cancelled("a1") and not other.is_cancelled("a1")
    store.finish("a1", RESULT)
    assert store.get("a1").state == "running"
    other.finish("a1", RESULT)
    assert store.get("a1").state == "done"


def test_a_job_that_waits_is_cancelled_at_once_and_a_running_one_by_its_worker(store):
    accept(store, "a1", "a2")
    assert store.cancel("a2").state == "cancelled"
    store.claim("worker")
    assert store.cancel("a1").state == "running" and store.is_cancelled("a1")
    store.finish("a1", RESULT)  # its worker did not look any more
    assert store.get("a1").state == "cancelled" and store.get("a1").result is None
    with pytest.raises(WrongState, match="ended already"):
        store.cancel("a1")
    assert store.claim("worker") is None


def test_a_cancelled_job_of_a_dead_worker_is_not_tried_again(store):
    accept(store, "a1")
    store.claim("worker")
    store.cancel("a1")
    store.give_back()
    assert store.get("a1").state == "cancelled"


def test_a_question_waits_for_its_answer_and_the_job_goes_on_with_it(store):
    accept(store, "a1", "a2")
    store.claim("worker")
    store.ask("a1", ASKED)
    assert store.get("a1").state == "question" and store.get("a1").question == ASKED
    assert store.claim("worker").id == "a2"
    with pytest.raises(WrongState, match="asked nothing"):
        store.answer("a2", {"CT": "1.2.3"})
    answered = store.answer("a1", {"CT": "1.2.4"})
    assert answered.state == "queued" and answered.request.series == {"CT": "1.2.4"} and answered.question is None


def test_a_job_expires_without_what_was_said_of_its_patient_and_is_forgotten_later(store, clock, tmp_path):
    store.accept(asked_by("a", row={"diagnosis": "Morbus-Unverwechselbar"}), "a1")
    store.claim("worker")
    store.finish("a1", RESULT)
    clock.seconds += 99
    assert store.expire() == []
    clock.seconds += 2
    assert store.expire() == ["a1"]
    job = store.get("a1")
    assert (job.state, job.request.row, job.request.files, job.result) == ("expired", {}, (), None)
    assert b"Unverwechselbar" not in b"".join(path.read_bytes() for path in tmp_path.glob("jobs.sqlite*"))
    clock.seconds += 101
    store.expire()
    assert store.get("a1") is None


def test_nothing_of_a_removed_job_stays_in_the_files_of_the_database(store, tmp_path):
    store.accept(asked_by("a", row={"diagnosis": "Morbus-Unverwechselbar"}), "a1")
    assert b"Unverwechselbar" in b"".join(path.read_bytes() for path in tmp_path.glob("jobs.sqlite*"))
    store.remove("a1")
    assert b"Unverwechselbar" not in b"".join(path.read_bytes() for path in tmp_path.glob("jobs.sqlite*"))
    assert store.get("a1") is None and store.is_cancelled("a1")
    with pytest.raises(UnknownJob, match="no such job"):
        store.cancel("a1")


def test_a_question_that_nobody_answers_expires(store, clock):
    accept(store, "a1")
    store.claim("worker")
    store.ask("a1", ASKED)
    clock.seconds += 101
    assert store.expire() == ["a1"] and store.get("a1").state == "expired"


def test_a_job_without_its_files_fails_in_words(store):
    accept(store, "a1")
    store.lose("a1", Problem(what="its files are gone"))
    assert store.get("a1").state == "failed" and store.claim("worker") is None


def test_a_database_of_a_later_version_and_a_damaged_one_are_refused_in_words(tmp_path):
    later = sqlite3.connect(tmp_path / "later.sqlite")
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(UserError, match="a later version made the database of jobs"):
        JobStore(tmp_path / "later.sqlite")
    (tmp_path / "damaged.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(UserError, match="cannot be opened"):
        JobStore(tmp_path / "damaged.sqlite")


def test_jobs_that_come_at_the_same_moment_do_not_pass_the_limits(store):
    """Twelve threads, four of each client: two jobs of a client are accepted, and five of all."""
    limits, refused_ids = QueueLimits(of_client=2, of_all=5), []
    barrier = threading.Barrier(12)

    def come(name):
        barrier.wait()
        try:
            store.accept(asked_by(name[0]), name, limits)
        except QueueFull:
            refused_ids.append(name)
        store.close()

    threads = [threading.Thread(target=come, args=(f"{'abc'[number % 3]}{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.ids()) == 5 and len(refused_ids) == 7
    assert max(len(store.of_client(client)) for client in "abc") == 2


def test_a_job_that_has_ended_takes_no_place_in_the_queue(store):
    limits = QueueLimits(of_client=1, of_all=1)
    store.accept(asked_by("a"), "a1", limits)
    store.claim("worker")
    with pytest.raises(QueueFull, match="1 jobs of the client, 1 of all"):
        store.accept(asked_by("a"), "a2", limits)
    store.finish("a1", RESULT)
    assert store.accept(asked_by("a"), "a2", limits).state == "queued"


def test_what_was_accepted_is_there_for_the_next_service(tmp_path, store):
    accept(store, "a1")
    store.close()
    assert JobStore(tmp_path / "jobs.sqlite").get("a1").state == "queued"
