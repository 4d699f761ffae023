"""What all commands have in common: help, wrong options, errors of a user, and a light start."""

import argparse
import importlib
import json
import keyword
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

sys.path.insert(0, str(ROOT / "docs"))
import make_commands  # noqa: E402  (a script beside the page that it writes)

PARSERS = make_commands.parsers()
MODULES = {name: importlib.import_module(f"autoseg.cli.{word}{'_' * keyword.iskeyword(word)}")
           for name, word in ((name, name.removeprefix("autoseg_")) for name in PARSERS)}

# What each command is given about a dataset, or files, that do not exist; {tmp} is an empty folder.
ABSENT = {
    "autoseg_plan_and_preprocess": ["-d", "9"], "autoseg_train": ["9", "3d_fullres", "0"],
    "autoseg_find_best_configuration": ["9"], "autoseg_run": ["9"], "autoseg_verify": ["-d", "9"],
    "autoseg_predict": ["-i", "{tmp}/none", "-o", "{tmp}/masks", "-d", "9"],
    "autoseg_evaluate": ["-r", "{tmp}/none", "-i", "{tmp}/none", "-d", "9"],
    "autoseg_compare": ["{tmp}/a", "{tmp}/b", "-r", "{tmp}/none", "-d", "9"], "autoseg_ablate": ["9", "3d_fullres", "0"],
    "autoseg_tokens": ["-d", "9", "--tiles", "{tmp}/none"], "autoseg_pretrain": ["-d", "9"],
    "autoseg_describe_inputs": ["-d", "9"],
    "autoseg_compare_inputs": ["9", "3d_fullres", "--inputs", "CT", "CT,PET"],
    "autoseg_report": ["9"], "autoseg_demo": ["--seed", "1"],
    "autoseg_import": ["recipe", "KiTS23", "{tmp}/none"], "autoseg_external": ["9", "--on", "7"],
    "autoseg_outcome": ["9", "os"], "autoseg_dicom": ["list", "{tmp}/none"],
    "autoseg_export": ["nnunet", "9", "-o", "{tmp}/out"],
    "autoseg_ensemble": ["-i", "{tmp}/a", "{tmp}/b", "-o", "{tmp}/out"],
    "autoseg_postprocess": ["-i", "{tmp}/a", "-o", "{tmp}/out", "--keep_largest_of_all"],
    "autoseg_import_model": ["nnunet", "{tmp}/none"],
    "autoseg_export_model": ["-d", "9", "-o", "{tmp}/model.zip"],
    "autoseg_serve": ["--tokens", "{tmp}/none"],
    "autoseg_explain": ["-i", "{tmp}/none", "-d", "9"],
    "autoseg_overlay": ["-i", "{tmp}/none.nii.gz", "-l", "{tmp}/none.nii.gz", "-o", "{tmp}/picture.png"]}


def arguments(name: str, home) -> list[str]:
    """The arguments of a mistake; the folder holds a demo of another seed, which the command of the demo refuses."""
    (home / "demo.json").write_text(json.dumps({"budget_seconds": 215.0, "seed": 0}))
    return [*(text.replace("{tmp}", str(home)) for text in ABSENT[name]), "--home", str(home)]


@pytest.mark.parametrize("name", PARSERS)
def test_every_console_script_has_a_main_and_a_parser(name):
    assert callable(MODULES[name].main)
    assert isinstance(PARSERS[name], argparse.ArgumentParser)
    assert PARSERS[name].description


@pytest.mark.parametrize("name", PARSERS)
def test_help_names_every_argument(name, capsys):
    with pytest.raises(SystemExit) as end:
        MODULES[name].main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    for action in PARSERS[name]._actions:
        assert all(flag in printed for flag in action.option_strings), action.option_strings
        assert action.option_strings or (action.metavar or action.dest) in printed
        assert action.help


@pytest.mark.parametrize("name", PARSERS)
def test_an_unknown_option_ends_with_2_and_the_usage(name, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        MODULES[name].main([*arguments(name, tmp_path), "--nonsense"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: ") and "unrecognized arguments: --nonsense" in error


@pytest.mark.parametrize(("name", "wrong", "message"), [
    ("autoseg_train", [], "the following arguments are required: dataset"),
    ("autoseg_train", ["1", "3d_fullres", "0", "--budget", "30"], "expected a time such as 90s, 30m or 4h, found '30'"),
    ("autoseg_run", ["1", "--memory", "8"], "expected a memory such as 800M or 8G, found '8'"),
    ("autoseg_verify", ["-d", "1", "--workers", "0"], "expected a whole number from 1, found '0'"),
    ("autoseg_predict", ["-i", "a", "-o", "b", "--mirroring", "maybe"], "invalid choice: 'maybe'"),
    ("autoseg_overlay", ["-i", "a", "-l", "b", "-o", "c.png", "-d", "1", "--dataset_json", "d"], "not allowed with"),
    ("autoseg_evaluate", ["-r", "a", "-i", "b", "--nsd_tolerance", "tumour=x"], "expected millimetres such as 2")])
def test_a_wrong_value_ends_with_2_and_says_what_is_expected(name, wrong, message, capsys):
    with pytest.raises(SystemExit) as end:
        MODULES[name].main(wrong)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", PARSERS)
def test_an_error_of_the_user_is_a_sentence_without_a_traceback(name, capsys, tmp_path):
    assert MODULES[name].main(arguments(name, tmp_path)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith(f"{PARSERS[name].prog}: ")
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("name", PARSERS)
def test_debug_shows_the_traceback_of_an_error(name, capsys, tmp_path):
    assert MODULES[name].main([*arguments(name, tmp_path), "--debug"]) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_plugin_that_is_not_there_is_an_error_of_the_user(capsys, tmp_path):
    assert MODULES["autoseg_verify"].main(["-d", "1", "--home", str(tmp_path), "--plugin", "no_such_module"]) == 2
    assert "no_such_module" in capsys.readouterr().err


def test_an_interruption_ends_with_130(capsys, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoseg.pipeline.report", interrupted)
    assert MODULES["autoseg_report"].main(["1", "--home", str(tmp_path)]) == 130
    assert "stopped by SIGINT; go on with: autoseg_report 1 --home" in capsys.readouterr().err


def test_parsers_need_no_package_but_the_standard_library():
    """So that `--help` answers at once: a measured time would depend on the machine."""
    program = ("import sys; sys.path[:0] = ['.', 'docs']; before = set(sys.modules); import make_commands; "
               "make_commands.parsers(); "
               "names = {name.partition('.')[0] for name in set(sys.modules) - before} - {'make_commands', 'autoseg'}; "
               "print(sorted(names - sys.stdlib_module_names))")
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_page_of_the_commands_is_up_to_date():
    assert make_commands.PAGE.read_text(encoding="utf-8") == make_commands.render(), "run python docs/make_commands.py"


@pytest.mark.parametrize("name", PARSERS)
def test_the_page_of_the_commands_has_every_flag(name):
    page = make_commands.PAGE.read_text(encoding="utf-8")
    shared, section = page.partition("## autoseg_")[0], page.split(f"\n## {name}\n")[1].partition("\n## ")[0]
    for action in PARSERS[name]._actions:
        if action.dest != "help":
            assert all(f"`{flag}`" in section + shared for flag in action.option_strings), action.option_strings


def test_the_groups_of_metrics_that_can_be_asked_for_are_those_that_exist():
    from autoseg.cli import scoring
    from autoseg.evaluation.types import GROUPS

    assert set(scoring.GROUPS) == set(GROUPS)
