"""Damaged and mutated files: a small seeded sample of benchmarks/damaged_files.py and benchmarks/fuzz_inputs.py."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import damaged_files
import fuzz_inputs
from autoseg.base.errors import UserError
from autoseg.formats import read_header, read_image
from damage_parts.child import FAULTS
from damage_parts.samples import SAMPLES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CRASHES = {"nrrd": b"NRRD0004\n" + b"9" * 5000 + b"\n\n",
           "mha": b"ObjectType = Image\nNDims = 32767 32767\nDimSize = 1 1\nElementType = MET_UCHAR\n"
                  b"ElementDataFile = LOCAL\n"}


@pytest.fixture(autouse=True)
def _loggers_as_before(monkeypatch):
    monkeypatch.setattr("logging.disable", lambda level: None)  # the scripts silence them for good
    monkeypatch.setattr("os.dup2", lambda *descriptors: None)


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_damaged_file_is_refused_or_read_as_before_where_a_checksum_covers_it(tmp_path, kind):
    judge = damaged_files.judge_of(kind, tmp_path)
    outcomes = [judge(random.Random(f"1 {kind} {index}")) for index in range(12)]
    assert not [text for outcome, text in outcomes if outcome in FAULTS]


@pytest.mark.parametrize("kind", fuzz_inputs.MAKERS)
def test_a_mutated_input_is_read_or_refused_with_its_name(tmp_path, kind):
    judge = fuzz_inputs.judge_of(kind, tmp_path)
    outcomes = [judge(random.Random(f"1 {kind} {index}")) for index in range(12)]
    assert not [text for outcome, text in outcomes if outcome in FAULTS]


@pytest.mark.parametrize("ending", CRASHES)
def test_a_header_that_ends_the_process_within_itk_is_refused(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(CRASHES[ending])
    with pytest.raises(UserError, match="the file cannot be read"):
        read_header(path)


@pytest.mark.parametrize("kind", ["nii.gz", "png", "png, 1 bit"])
def test_every_bit_of_a_file_whose_checksum_covers_all_is_seen(tmp_path, kind):
    path = SAMPLES[kind].write(tmp_path)
    whole, expected = path.read_bytes(), read_image(path)[0]
    other = 0
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:])
        try:
            other += not np.array_equal(read_image(path)[0], expected)
        except UserError:
            continue
    assert other == 0


def test_the_script_goes_on_where_it_was_stopped_and_counts(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "damaged_files.py"), "--kind", "png", "--out", str(tmp_path), "--n"]
    first, second = (subprocess.run([*command, n], capture_output=True, text=True, check=True).stdout for n in ("3", "5"))
    assert "| png | 3 " in first and "| png | 5 " in second
    assert (tmp_path / "png.outcomes").read_text() == "r" * 5
