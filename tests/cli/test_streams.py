"""Commands and Python calls of programs without standard streams: services, windows without a console, `2>&-`."""

import io
import os
import subprocess
import sys

import pytest

import autoseg
from autoseg.cli import predict, verify
from autoseg.cli.streams import lasting_streams
from orchestrate_folds import DATASET
from tests_support import write_spheres


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


class Full(io.StringIO):
    """A log on a disk that is full, or a pipe that nobody reads."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    flush = close = lambda self: self.write("")


@pytest.mark.parametrize("stream", [None, closed(), Full()])
def test_a_command_predicts_without_a_usable_standard_error(trained, tmp_path, monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", None if stream is None else sys.stdout)
    assert predict.main(["-i", str(trained.raw / "imagesTr"), "-o", str(tmp_path / "masks"), "-d", "1", "--home",
                         str(trained.home), "--device", "cpu"]) == 0
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 5
    assert sys.stderr is stream


def test_python_predicts_and_verifies_without_standard_streams(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    autoseg.predict(trained.raw / "imagesTr", tmp_path / "masks", dataset=1, home=trained.home, device="cpu")
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 5
    assert autoseg.verify(1, home=trained.home).faults == ()


def test_output_that_cannot_be_written_is_no_success(trained, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full())
    assert verify.main(["-d", "1", "--home", str(trained.home), "--workers", "1"]) == 141
    assert "the output could not be written: [Errno 28]" in capsys.readouterr().err


def test_a_user_error_without_standard_error_keeps_its_status(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert verify.main(["-d", "9", "--home", str(tmp_path), "--workers", "1"]) == 2


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    code = ("import os, sys\nfrom autoseg.cli.streams import lasting_streams\n"
            f"with lasting_streams():\n    print(open({str(tmp_path / 'mask')!r}, 'w').fileno())\n")
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "$CODE" 2>&- <&-'], env={**os.environ, "CODE": code},
                          capture_output=True, text=True)
    assert int(done.stdout) > 2


def test_the_streams_are_as_before_afterwards():
    before = sys.stdout, sys.stderr
    with lasting_streams():
        assert sys.stderr is not before[1]
    assert (sys.stdout, sys.stderr) == before


def test_a_reader_that_stops_reading_is_no_traceback(tmp_path):
    write_spheres(tmp_path / "raw" / DATASET, n_cases=2)
    code = f"import sys; from autoseg.cli import verify; sys.exit(verify.main(['-d', '1', '--home', {str(tmp_path)!r}]))"
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "$CODE" | true; echo "${{PIPESTATUS[0]}}"'],
                          env={**os.environ, "CODE": code}, capture_output=True, text=True)
    assert done.stdout.strip() == "141" and "Traceback" not in done.stderr
