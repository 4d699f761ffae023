"""`autoseg_dicom convert` from the command line: what it asks, what it prints, how it ends."""

import pytest

from autoseg.cli import dicom

pytest.importorskip("pydicom")

from dicom_patients import square, write_patient


@pytest.fixture
def convert(tmp_path):
    def call(*words: str) -> int:
        return dicom.main(["convert", str(tmp_path / "scans"), "-d", "12", "--name", "Sarcoma", "--workers", "1",
                           "--home", str(tmp_path / "home"), *words])

    return call


def test_without_structures_all_of_them_are_listed_and_the_command_asks(convert, tmp_path, capsys):
    write_patient(tmp_path / "scans/a", "A1", structures={"GTV": [square(2, 4, 3, 6, 1)], "Heart": [square(0, 1, 0, 1, 1)]})
    write_patient(tmp_path / "scans/b", "B2")
    assert convert("--channel", "CT") == 2
    printed = capsys.readouterr()
    assert "structures of 2 studies:\n  GTV    2 studies\n  Heart  1 study\n" in printed.out
    assert "--structure 'GTV=tumour', or --structures FILE; or say --no-labels" in printed.err
    assert not (tmp_path / "home").exists()


def test_a_dataset_is_made_checked_and_the_next_command_named(convert, tmp_path, capsys):
    write_patient(tmp_path / "scans/a", "A1")
    write_patient(tmp_path / "scans/b", "B2", seed=1)
    who = tmp_path / "who.csv"
    assert convert("--channel", "CT", "--structure", "gtv=tumour", "--identities", str(who)) == 0
    printed = capsys.readouterr().out
    assert "2 cases: " in printed and "checked: no fault" in printed and "autoseg_plan_and_preprocess -d 12" in printed
    assert ",A1," in who.read_text()
    assert convert("--channel", "CT", "--structure", "gtv=tumour") == 0
    assert "2 cases, 2 of them there already" in capsys.readouterr().out


def test_a_study_at_fault_is_told_at_the_end_and_in_the_exit_status(convert, tmp_path, capsys):
    write_patient(tmp_path / "scans/a", "A1")
    write_patient(tmp_path / "scans/b", "B2", structures={"Heart": [square(0, 1, 0, 1, 1)]})
    assert convert("--channel", "CT", "--structure", "GTV") == 2
    printed = capsys.readouterr()
    assert "1 case: " in printed.out and "1 failed:" in printed.err and "none of the chosen structures" in printed.err


def test_images_alone_are_converted_for_pre_training(convert, tmp_path, capsys):
    write_patient(tmp_path / "scans/a", "A1")
    assert convert("--channel", "CT", "--no-labels") == 0
    assert "1 case without labels" in (printed := capsys.readouterr().out) and "autoseg_pretrain -d 12" in printed


@pytest.mark.parametrize(("words", "said"), [
    (["--structure", "GTV"], "the channels are not said"),
    (["--channel", "CT", "--structure", "GTV", "--no-labels"], "only one of"),
    (["--channel", "CT", "--structure", "GTV", "--priority", "GVT"], "found: priority names 'GVT', which is no label"),
    (["--channel", "CT", "--structures", "none.json"], "the file is missing"),
    (["--channel", "CT", "--structure", "GTV", "--key", "HOME/none.key"], "the secret of the pseudonyms cannot be read"),
    (["--channel", "MR", "--structure", "GTV"], "no series fits the channel 'MR'"),
    (["--channel", "CT", "--structure", "GTV", "--identities", "HOME/raw/who.csv"], "must not lie with the data")])
def test_what_cannot_be_done_is_a_sentence(convert, tmp_path, capsys, words, said):
    write_patient(tmp_path / "scans/a", "A1")
    assert convert(*(word.replace("HOME", str(tmp_path / "home")) for word in words)) == 2
    assert said in capsys.readouterr().err
