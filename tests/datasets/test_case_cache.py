"""What a worker keeps of its cases is what it would read again."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.cli import plan_and_preprocess
from autoseg.datasets import case_cache
from autoseg.datasets.case_cache import CaseCache, load_cached
from autoseg.datasets.dataset import Dataset, read_manifest
from autoseg.datasets.raw import load_case
from autoseg.formats import read_label, write_label
from tests_support import write_spheres


@pytest.fixture
def raw(tmp_path):
    write_spheres(tmp_path / "raw" / "Dataset001_Spheres", n_cases=3)
    return tmp_path / "raw" / "Dataset001_Spheres"


@pytest.fixture
def reads(monkeypatch):
    names = []
    monkeypatch.setattr(case_cache, "load_case", lambda files, *rest: names.append(files.name) or load_case(files, *rest))
    return names


def test_a_case_is_read_once_until_its_files_change(raw, reads):
    dataset = Dataset.open(raw)
    manifest = dataset.manifest
    cases, known = dataset.cases, CaseCache(2**30)
    for _ in range(2):
        for files in cases:
            case = known.load(files, manifest.channels, manifest.labels)
            np.testing.assert_array_equal(case.label_DHW, read_label(files.label)[0])
    assert reads == [files.name for files in cases]
    label_DHW, geometry = read_label(cases[1].label)
    write_label(cases[1].label, np.zeros_like(label_DHW), geometry)
    assert not known.load(cases[1], manifest.channels, manifest.labels).label_DHW.any()


def test_a_case_of_other_declarations_is_read_again(raw, reads):
    dataset = Dataset.open(raw)
    manifest = dataset.manifest
    files, known = dataset.cases[0], CaseCache(2**30)
    known.load(files, manifest.channels, manifest.labels)
    fewer = manifest.labels.model_copy(update={"names": dict(list(manifest.labels.names.items())[:1])})
    with pytest.raises(UserError, match="label values are not declared"):
        known.load(files, manifest.channels, fewer)
    assert len(reads) == 2


def test_no_more_is_kept_than_fits(raw, reads):
    dataset = Dataset.open(raw)
    manifest = dataset.manifest
    cases = dataset.cases
    case = load_case(cases[0], manifest.channels, manifest.labels)
    known = CaseCache(case.image_CDHW.nbytes + case.label_DHW.nbytes)
    for _ in range(2):
        for files in cases[:2]:
            known.load(files, manifest.channels, manifest.labels)
    assert reads == [cases[0].name, cases[1].name, cases[1].name]


def test_a_large_case_is_not_kept(raw, reads, monkeypatch):
    monkeypatch.setattr(case_cache, "_LARGEST_CASE_BYTES", 1)
    manifest, known = read_manifest(raw), CaseCache(2**30)
    for _ in range(2):
        known.load(Dataset.open(raw).cases[0], manifest.channels, manifest.labels)
    assert len(reads) == 2


def test_registered_cases_are_not_kept(raw, reads):
    dataset = Dataset.open(raw)
    manifest = dataset.manifest
    for _ in range(2):
        load_cached(dataset.cases[0], manifest.channels, manifest.labels, {0: "somewhere"})
    assert len(reads) == 2


def test_a_worker_pool_prepares_what_one_process_prepares(raw, tmp_path):
    written = []
    for workers in ("1", "2"):
        assert plan_and_preprocess.main(["-d", "1", "-p", "classic", "-c", "3d_fullres", "--workers", workers,
                                         "--home", str(tmp_path)]) == 0
        prepared = tmp_path / "prepared" / "Dataset001_Spheres"
        written.append({path.relative_to(prepared): path.read_bytes() for path in prepared.rglob("*.*")
                        if path.name != "provenance.json"})  # which says when
        prepared.rename(tmp_path / workers)
    assert written[0] == written[1] and len(written[0]) >= 8
