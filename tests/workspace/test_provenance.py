"""`provenance.json`: what made each result of a folder."""

import getpass
import json
import platform

import numpy as np

from autoseg.base.command import running
from autoseg.base.version import __version__
from autoseg.workspace.files import read_model
from autoseg.workspace.provenance import PROVENANCE, ProvenanceFile, note, note_result, now, provenance


def noted(folder) -> ProvenanceFile:
    return read_model(folder / PROVENANCE, ProvenanceFile)


def test_a_result_says_versions_command_seed_machine_and_time(tmp_path):
    with running("autoseg_train 1 2d 0"):
        note_result(tmp_path / "result.json", provenance(now(), 12.0, seed=3, plan="abc", models="def"), "data")
    made = noted(tmp_path).of("result.json")
    assert (made.autoseg_version, made.packages["numpy"]) == (__version__, np.__version__)
    assert made.python == platform.python_version()
    assert (made.command, made.seed, made.plan, made.models, made.seconds) == ("autoseg_train 1 2d 0", 3, "abc", "def", 12.0)
    assert made.machine.cores > 0 and made.machine.memory_gib > 0 and made.started.endswith("+00:00")
    assert noted(tmp_path).runs[0].results == {"result.json": "data"}


def test_no_name_of_a_person_or_a_machine_is_written(tmp_path):
    note_result(tmp_path / "result.json", provenance(now(), 1.0))
    values = json.loads((tmp_path / PROVENANCE).read_text(encoding="utf-8"))["runs"][0]["provenance"]
    words = json.dumps(values).replace('"', " ").split()
    assert platform.node() not in words and getpass.getuser() not in words


def test_a_result_belongs_to_the_last_run_that_wrote_it(tmp_path):
    path = tmp_path / PROVENANCE
    note(path, {"a": "1", "b": "2"}, provenance(now(), 1.0, models="old"))
    note(path, {"b": "2"}, provenance(now(), 1.0, models="new"))
    runs = [(run.provenance.models, run.results) for run in noted(tmp_path).runs]
    assert runs == [("old", {"a": "1"}), ("new", {"b": "2"})]
    assert noted(tmp_path).of("c") is None


def test_the_same_command_again_is_one_run(tmp_path):
    path = tmp_path / PROVENANCE
    for number in range(5):
        note(path, {f"case_{number}": ""}, provenance(now(), float(number)))
    (run,) = noted(tmp_path).runs
    assert len(run.results) == 5 and run.provenance.seconds == 4.0


def test_what_a_run_did_not_write_after_all_is_forgotten(tmp_path):
    path, started = tmp_path / PROVENANCE, now()
    note(path, {"good": "", "bad": ""}, provenance(started, None))
    note(path, {"good": "1"}, provenance(started, 2.0), forget=["good", "bad"])
    (run,) = noted(tmp_path).runs
    assert run.results == {"good": "1"} and run.provenance.seconds == 2.0


def test_a_file_of_somebody_else_keeps_a_copy(tmp_path):
    (tmp_path / PROVENANCE).write_text("{\"mine\": 1}", encoding="utf-8")
    note_result(tmp_path / "result.json", provenance(now(), 1.0))
    assert json.loads((tmp_path / "provenance_1.json").read_text(encoding="utf-8")) == {"mine": 1}
    assert noted(tmp_path).of("result.json") is not None
