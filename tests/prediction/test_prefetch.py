"""The next case is read while one is predicted, and faults stay with their cases."""

import threading

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.formats import write_array
from autoseg.formats.source import FileWriter
from autoseg.prediction import folder
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.prefetch import prefetch
from predict_phantoms import CASE, member_of, predictor_of


def test_the_next_one_is_made_while_the_caller_has_this_one_and_never_two():
    started, second = [], threading.Event()

    def make(task):
        started.append(task)
        if task == 2:
            second.set()
        return 10 * task

    walk = prefetch([1, 2, 3], make, lambda this, following: True)
    assert next(walk) == (1, 10)
    assert second.wait(5)
    assert started == [1, 2]
    assert list(walk) == [(2, 20), (3, 30)]


def test_what_does_not_fit_is_made_when_its_turn_comes():
    started = []
    walk = prefetch("ab", lambda task: started.append(task) or task, lambda this, following: False)
    next(walk)
    assert started == ["a"]
    assert list(walk) == [("b", "b")]


def test_a_fault_belongs_to_its_task_and_ends_no_other():
    def make(task):
        if task == "b":
            raise UserError("is broken", where=task)
        return task

    (_, a), (_, b), (_, c) = prefetch("abc", make, lambda this, following: True)
    assert (a, str(b), c) == ("a", "b: is broken", "c")


def test_too_little_memory_beside_a_prediction_is_tried_again_alone():
    tried = []

    def make(task):
        tried.append(task)
        if tried.count("b") == 1 and task == "b":
            raise MemoryError
        return task

    assert [result for _, result in prefetch("ab", make, lambda this, following: True)] == ["a", "b"]
    assert tried == ["a", "b", "b"]


def test_another_error_is_not_hidden():
    def make(task):
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        list(prefetch("a", make, lambda this, following: True))


@pytest.fixture
def images(tmp_path):
    for name in ("a", "b", "c"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    return tmp_path / "images"


def test_a_broken_file_and_a_mask_that_cannot_be_written_are_faults_of_their_cases(tmp_path, images, monkeypatch):
    (images / "b_0000.nii.gz").write_bytes((images / "b_0000.nii.gz").read_bytes()[:900])
    write = FileWriter.write_label

    def full(writer, path, label_DHW):
        if path.name == "c.nii.gz":
            raise UserError("the disk is full", where=path)
        write(writer, path, label_DHW)

    monkeypatch.setattr(FileWriter, "write_label", full)
    with pytest.raises(ManyFaults, match="1 of 3 cases predicted") as raised:
        predict_folder(predictor_of(), images, tmp_path / "masks")
    broken, full_disk = raised.value.faults
    assert "b_0000" in broken and "the disk is full" in full_disk
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.nii.gz", "labels.json", "provenance.json"]


def test_without_memory_for_two_cases_each_is_read_in_its_turn(tmp_path, images, monkeypatch, caplog):
    monkeypatch.setattr(folder, "free_host_bytes", lambda: 1000)
    with caplog.at_level("INFO", logger="autoseg.prediction.folder"):
        assert len(predict_folder(predictor_of(), images, tmp_path / "masks")) == 3
    assert "b is not read ahead of time" in caplog.text


def test_a_case_made_ready_for_one_model_holds_no_voxels_of_the_file():
    opened = predictor_of()
    ready = opened.ready(CASE)
    assert ready.case.image_CDHW.size == 0
    assert (opened.predict_ready(ready).label_DHW == opened.predict(CASE).label_DHW).all()
    several = Predictor([member_of(1), member_of(2)])
    assert several.ready(CASE).case is CASE


def test_the_need_of_a_case_follows_from_its_header(images):
    opened = predictor_of()
    (files, *_) = opened.find(images).files
    n = CASE.image_CDHW.size
    assert opened.bytes_to_read(files) == 12 * n
    assert opened.bytes_to_predict(files) == (4 * opened.plan.labels.n_heads + 12) * n  # the plan's spacing is the case's
