"""`--part K/N`: several processes predict one folder together."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

import autoseg
from autoseg.base.errors import UserError
from autoseg.cli import predict
from autoseg.formats import read_label
from autoseg.prediction.shard import Shard


@dataclass(frozen=True)
class Named:
    name: str


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_parts_are_disjoint_and_hold_every_case_whatever_the_order_of_the_files(n):
    cases = [Named(name) for name in "dbaec"]
    parts = [Shard(number + 1, n).cases_of(cases) for number in range(n)]
    assert sorted(case.name for part in parts for case in part) == list("abcde")
    assert parts == [Shard(number + 1, n).cases_of(cases[::-1]) for number in range(n)]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "x", "1/0", "1", "-1/4", "1/4/2", "1.0/4", "", "1/", " 1/4", "1/٤"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(UserError, match=r"this is no part of a folder .*expected: K/N"):
        Shard.parse(text)


def test_all_parts_together_are_the_whole(trained_home, tmp_path, capsys):
    images = trained_home / "raw" / "Dataset001_Spheres" / "imagesTr"
    whole = autoseg.predict(images, tmp_path / "whole", dataset=1, home=trained_home, device="cpu")
    written = autoseg.predict(images, tmp_path / "parts", dataset=1, home=trained_home, device="cpu", part="2/2")
    for part in ("1/2", "7/7"):
        assert predict.main(["-i", str(images), "-o", str(tmp_path / "parts"), "--part", part, "--keep_existing",
                             "--home", str(trained_home), "--device", "cpu"]) == 0
    assert len(whole) == 5 and len(written) == 2
    assert "part 7/7 has no case: there are 5 cases" in capsys.readouterr().err
    notes = [json.loads((tmp_path / folder / "labels.json").read_text()) for folder in ("whole", "parts")]
    assert notes[0] == notes[1] and len(notes[1]["masks"]) == 5
    for mask in whole:
        assert np.array_equal(read_label(mask)[0], read_label(tmp_path / "parts" / mask.name)[0])


def test_a_bad_part_and_a_part_of_a_cluster_are_refused_before_anything_is_written(trained_home, tmp_path, capsys):
    words = ["-i", str(trained_home / "raw" / "Dataset001_Spheres" / "imagesTr"), "-o", str(tmp_path / "masks"), "--home",
             str(trained_home), "--device", "cpu", "--part"]
    assert predict.main([*words, "0/4"]) == 2
    assert predict.main([*words, "1/4", "--cluster", "auto"]) == 2
    said = capsys.readouterr().err
    assert "no part of a folder" in said and "--cluster divides the cases itself" in said
    assert not (tmp_path / "masks").exists()


def test_one_file_is_not_the_place_of_several_parts(trained_home, tmp_path):
    with pytest.raises(UserError, match="one file cannot hold the masks of several cases"):
        autoseg.predict(trained_home / "raw" / "Dataset001_Spheres" / "imagesTr", tmp_path / "mask.nii.gz", dataset=1,
                        home=trained_home, device="cpu", part="1/5")
