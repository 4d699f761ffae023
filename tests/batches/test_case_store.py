"""Cases on the device or on the disk: the same patches, and errors that name the case."""

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import store_cases
from autoseg.preprocessing.store import open_cases, write_prepared
from batch_phantoms import LABELS, Lazy, make_case, make_configuration


def lazy_case(name="case", broken=False):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 10, 12, 14)).astype(np.float32)
    case = make_case(rng.integers(0, 3, (10, 12, 14)), name, image_CDHW=image, present=(True, True))
    return type(case)(**{**vars(case), "image_CDHW": Lazy(image, broken), "label_DHW": Lazy(case.label_DHW)})


def sampler(store):
    return PatchSampler(store, make_configuration((4, 4, 4), channels=2), LABELS, (6, 6, 6), np.random.default_rng(0))


def test_cases_that_fit_are_resident_and_give_the_same_patches_as_streamed_ones():
    needed = 10 * 12 * 14 * (2 * 4 + 2)
    resident, streamed = store_cases([lazy_case()], "cpu", needed), store_cases([lazy_case()], "cpu", needed - 1)
    assert resident.resident and not streamed.resident
    for _ in range(5):
        kept, read = sampler(resident).draw(), sampler(streamed).draw()
        assert torch.equal(kept.image_BCDHW, read.image_BCDHW) and torch.equal(kept.label_BDHW, read.label_BDHW)


def test_streaming_reads_only_the_window_of_a_patch():
    case = lazy_case()
    store = store_cases([case], "cpu", 0)
    sampler(store).draw()
    assert 0 < case.image_CDHW.read <= 2 * 2 * 6**3


def test_half_precision_is_kept_on_request_and_patches_are_float32():
    half = store_cases([lazy_case()], "cpu", 10**9, torch.float16)
    full = store_cases([lazy_case()], "cpu", 10**9)
    assert half.cases[0].image_CDHW.dtype == torch.float16
    assert full.cases[0].image_CDHW.dtype == torch.float32
    patch = sampler(half).draw().image_BCDHW
    assert patch.dtype == torch.float32
    assert (patch - sampler(full).draw().image_BCDHW).abs().max() < 2e-3


def test_half_precision_halves_what_counts_against_the_limit():
    needed = 10 * 12 * 14 * (2 * 2 + 2)
    assert store_cases([lazy_case()], "cpu", needed, torch.bfloat16).resident
    assert not store_cases([lazy_case()], "cpu", needed).resident


def test_a_case_that_cannot_be_loaded_is_named():
    with pytest.raises(UserError, match=r"case_7.*bad chunk"):
        store_cases([lazy_case(), lazy_case("case_7", broken=True)], "cpu", 10**9)


def test_a_case_that_cannot_be_read_while_streaming_is_named():
    store = store_cases([lazy_case("case_7", broken=True)], "cpu", 0)
    with pytest.raises(UserError, match=r"case_7.*bad chunk"):
        sampler(store).draw()


def test_a_case_without_label_is_named():
    case = make_case(np.zeros((4, 4, 4)), "case_8")
    with pytest.raises(UserError, match=r"case_8.*no label"):
        store_cases([type(case)(**{**vars(case), "label_DHW": None})], "cpu", 10**9)


def test_no_cases_is_an_error():
    with pytest.raises(UserError, match="no case"):
        store_cases([], "cpu", 10**9)


def test_a_case_that_is_not_prepared_is_named(tmp_path):
    with pytest.raises(UserError, match="case_9"):
        store_cases(open_cases(tmp_path, ["case_9"]), "cpu", 10**9)


@pytest.mark.parametrize("limit_bytes", [0, 10**9])
def test_cases_on_the_disk_give_the_patches_of_the_cases_that_were_written(tmp_path, limit_bytes):
    rng = np.random.default_rng(0)
    cases = [make_case(rng.integers(0, 3, (9, 12, 14)), name, image_CDHW=rng.random((2, 9, 12, 14), np.float32),
                       present=(True, False), previous_DHW=rng.integers(0, 3, (9, 12, 14), np.int16),
                       absent_CDHW=None if name == "a" else rng.random((2, 9, 12, 14)) < 0.1)
             for name in ("a", "b", "c")]
    for case in cases:
        write_prepared(tmp_path, case, (4, 4, 4))
    configuration = make_configuration((4, 4, 4), channels=2, previous="3d_lowres")
    written, given = (PatchSampler(store, configuration, LABELS, (6, 6, 6), np.random.default_rng(0))
                      for store in (store_cases(open_cases(tmp_path, ["a", "b", "c"]), "cpu", limit_bytes),
                                    store_cases(cases, "cpu", 10**9)))
    for _ in range(5):
        one, other = written.draw(), given.draw()
        assert torch.equal(one.image_BCDHW, other.image_BCDHW) and torch.equal(one.label_BDHW, other.label_BDHW)
        assert torch.equal(one.present_BC, other.present_BC) and torch.equal(one.absent_BCDHW, other.absent_BCDHW)


def test_a_damaged_case_is_named(tmp_path):
    write_prepared(tmp_path, make_case(np.zeros((4, 4, 4)), "case_5"))
    (tmp_path / "case_5.arrays").write_bytes(b"")
    with pytest.raises(UserError, match="case_5"):
        store_cases(open_cases(tmp_path, ["case_5"]), "cpu", 10**9)
