"""Names that others chose become names of files: they lead to no other folder, and every one is harmless or refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from autoseg.base.errors import AutosegError, ManyFaults, UserError
from autoseg.base.processes import load_plugin
from autoseg.cli import verify
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.manifest import parse_manifest
from autoseg.formats import read_label, write_array, write_label
from autoseg.formats.transforms import write_transforms
from autoseg.grids.geometry import Geometry
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.inference_settings import InferenceSettings, Member
from autoseg.preprocessing.store import open_prepared, remove_prepared
from autoseg.workspace.folders import FoldFolder, ModelFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.paths import below
from planners.schema.names import fault_of_name
from planners.schema.plan import Plan
from predict_phantoms import predictor_of
from tests_support import small_plan, sphere_case

# Each leads elsewhere, is hidden, steers a terminal, is taken for an option, or is no file on one of the systems.
REFUSED = ("", ".", "..", "../x", "../../../../etc/cron.d/x", "/etc/passwd", "//server/share", "a/b", "a/../../b", "./x",
           "..\\x", "a\\b", "C:\\x", "\\\\server\\share\\x", ".hidden", ".partial_x", "...", "~/../x", "-rf", "--plugin=os",
           "-", "a\nb", "a\r", "a\tb", "a\0b", "\x1b[2Jx", "a\x7f", "a\x85b", "a\u2028b", "a\u2029b", "\u202egpj.exe",
           "a\u2066b", "\ud800", "a\udcff", "CON", "con", "NUL.txt", "aux ", "COM1", "lpt9.x", "a/" * 500,
           "x" * 256, "ä" * 128)
# Strange, but names of one file: they are escaped where they are shown.
HARMLESS = ("case_001", "x" * 200, "<script>alert(1)<script>", "a b", "ä", "患者", "a'b", 'a"b', "a;b", "$(reboot)",
            "`reboot`", "a&b", "100%", "%s%n", "a..b", "a.", "=1+1", "+1", "@SUM(A1)", "LIST", "null", "{{7*7}}", "${HOME}",
            "~", "~root", "a*b", "a?b", "[a]", "a#b", "a,b", "CONTROL", "nullus", "comb1")
GRID = Geometry((2, 3, 4), (1.0, 1.0, 1.0))
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no files of some of these names")


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def manifest_with(name: str) -> str:
    return json.dumps({"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz",
                       "dataset": {name: {"images": ["a.nii.gz"], "label": "b.nii.gz"}}})


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_is_more_than_a_name_is_refused_wherever_it_becomes_a_path(name, tmp_path):
    home = tmp_path / "a" / "b" / "home"
    workspace = Workspace(home)
    model = ModelFolder(home / "models" / "Dataset001_X" / "budgeted" / "2d")
    for path_of in (lambda: below(home, name), lambda: CaseFiles(name, ()), lambda: workspace.prepared(name),
                    lambda: workspace.raw(name), lambda: workspace.model("Dataset001_X", name, "2d"),
                    lambda: workspace.model("Dataset001_X", "budgeted", name), lambda: workspace.report(name),
                    lambda: model.beside(name)):
        with pytest.raises(UserError):
            path_of()
    assert not files_of(tmp_path)


@pytest.mark.parametrize("name", [name for name in REFUSED if any(mark in name for mark in "/\\\0\n\x1b")], ids=ascii)
def test_a_path_in_place_of_a_name_is_refused_with_every_ending(name, tmp_path):
    fold = FoldFolder(tmp_path / "fold_0")
    for path_of in (lambda: fold.probabilities(name), lambda: fold.rung_probabilities(0, name),
                    lambda: fold.mask(name, ".nii.gz"), lambda: fold.mask("a", name), lambda: open_prepared(tmp_path, name),
                    lambda: remove_prepared(tmp_path, name), lambda: write_transforms(tmp_path, name, {}, {}, ""),
                    lambda: ModelFolder(tmp_path).fold(name), lambda: Workspace(tmp_path).plan("Dataset001_X", name),
                    lambda: Workspace(tmp_path).cases("Dataset001_X", "budgeted", name)):
        with pytest.raises(UserError, match="name"):
            path_of()
    assert not files_of(tmp_path)


@pytest.mark.parametrize("name", ["x" * 201, "ä" * 101])
def test_a_name_leaves_room_for_the_endings_that_it_gets(name):
    assert "longer" in fault_of_name(name) and not fault_of_name(name[:-1])
    with pytest.raises(UserError, match="longer"):
        CaseFiles(name, ())


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_dataset_json_cannot_name_a_case_by_a_path(name):
    with pytest.raises(AutosegError, match="cannot be a name"):
        parse_manifest(manifest_with(name), Path("dataset.json"))


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_model_cannot_name_its_parts_by_a_path(name):
    plan = small_plan().model_dump()
    configuration = plan["configurations"]["3d_fullres"]
    changes = [{"dataset": name}, {"planner": name}, {"configurations": {name: configuration}},
               {"first": {"configuration": name, "reason": "it is small"}}]
    if name:  # empty: none
        changes += [{"configurations": {"3d_fullres": configuration | {key: name}}} for key in ("data", "previous")]
    for change in changes:
        with pytest.raises(ValidationError, match="cannot be a name|surrogates"):
            Plan.model_validate(plan | change)
    for key in ("planner", "configuration", "folds"):
        member = {"planner": "budgeted", "configuration": "2d", "folds": ["0"]}
        with pytest.raises(ValidationError):
            InferenceSettings(dataset="Dataset001_X", members=(Member.model_validate(
                member | {key: [name] if key == "folds" else name}),))


@pytest.mark.parametrize("ending", ["", "nii.gz", "/../x.nii.gz", ".nii/../../x", ".nii.gz\n", ".\0", ". .", ".a.b.c.d",
                                    ".*", "\\x.nii", ".<b>"], ids=ascii)
def test_a_model_cannot_hide_a_path_in_the_ending_of_its_files(ending):
    with pytest.raises(ValidationError, match="file_ending"):
        Plan.model_validate(small_plan().model_dump() | {"file_ending": ending})


@on_posix
@pytest.mark.parametrize("name", HARMLESS, ids=ascii)
def test_a_strange_name_is_the_name_of_one_file(name, tmp_path):
    assert fault_of_name(name) == "" and CaseFiles(name, ()).name == name
    assert parse_manifest(manifest_with(name), Path("dataset.json")).manifest.cases[0].name == name
    label_DHW = np.arange(24).reshape(2, 3, 4)
    for ending in (".nii.gz", ".mha", ".mhd", ".nrrd", ".tif"):
        path = below(tmp_path / "masks", f"{name}{ending}")
        write_label(path, label_DHW, GRID)
        assert np.array_equal(read_label(path)[0], label_DHW), ending
    assert {path.split("/")[0] for path in files_of(tmp_path)} == {"masks"}
    assert all(entry.startswith(f"masks/{name}.") for entry in files_of(tmp_path) - {"masks"})


@on_posix
@pytest.mark.parametrize("name", ["a\x1b[2Jb", "-rf", "a\nb", "x" * 201])
def test_a_file_of_such_a_name_is_refused_by_name_and_nothing_is_written(name, tmp_path):
    case = sphere_case("ball", 3)
    source = tmp_path / "images"
    write_array(source / f"{name}_0000.nii.gz", case.image_CDHW, case.geometry)
    with pytest.raises(ManyFaults, match="cannot have this name") as raised:
        predict_folder(predictor_of(), source, tmp_path / "masks")
    assert "\x1b" not in str(raised.value) and not (tmp_path / "masks").exists()


def test_two_cases_never_write_one_file(tmp_path):
    case = sphere_case("ball", 3)
    for name in ("a", "a_probabilities"):
        write_array(tmp_path / "images" / f"{name}_0000.nii.gz", case.image_CDHW, case.geometry)
    with pytest.raises(UserError, match=r"one name.*a_probabilities\.nii\.gz"):
        predict_folder(predictor_of(), tmp_path / "images", tmp_path / "masks", probabilities=True)
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize("name", ["../x", "/tmp/x.py", "a b", "-x", "", "a.", "x;y", "os\n"], ids=ascii)
def test_a_plugin_is_named_as_a_module(name):
    with pytest.raises(UserError, match="cannot be imported"):
        load_plugin(name)


def test_messages_do_not_steer_a_terminal(tmp_path, capsys):
    assert verify.main(["-d", "\x1b[2J\udcff", "--home", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and r"\x1b[2J" in printed
