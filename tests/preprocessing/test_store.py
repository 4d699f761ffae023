"""Prepared cases on the disk: what is written is read back, and nothing damaged is believed."""

import dataclasses
import json

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.case import PreparedCase
from autoseg.formats import packed
from autoseg.formats.packed import Whole, chunks_and_blocks
from autoseg.grids.geometry import Geometry
from autoseg.preprocessing.store import (
    STEP,
    Steps,
    is_current,
    open_prepared,
    prepared_names,
    remove_prepared,
    write_prepared,
)

MADE_FROM = {"raw": "abc", "recipe": "def"}


def make(name="case_1.a", shape=(5, 12, 9), **changes):
    rng = np.random.default_rng(0)
    label = np.zeros(shape, dtype=np.int16)
    label[1:3, 2:4, 5] = 2
    case = PreparedCase(
        name=name, image_CDHW=rng.normal(size=(2, *shape)).astype(np.float32), present_C=np.array([True, False]),
        geometry=Geometry((9, 20, 30), (5.0, 0.7, 0.1 + 0.2), (1.5, -2.0, 1 / 3)), transpose=(2, 0, 1),
        box=((0, 9), (1, 18), (2, 28)), cropped_shape=(9, 17, 26), spacing_mm=(1.0, 1.1, 1.2), label_DHW=label,
        foreground={"liver": np.zeros((0, 3), np.int32), "tumour": np.argwhere(label == 2).astype(np.int32)},
        lesions={"liver": np.zeros(0, np.int32), "tumour": np.ones(4, np.int32)}, provenance=MADE_FROM)
    return dataclasses.replace(case, **changes)


def test_everything_is_read_back(tmp_path, size):
    case = make(previous_DHW=np.full((5, 12, 9), 300, dtype=np.int16))
    write_prepared(tmp_path, case)
    back = open_prepared(tmp_path, case.name)
    for field in ("name", "geometry", "transpose", "box", "cropped_shape", "spacing_mm", "provenance"):
        assert getattr(back, field) == getattr(case, field)
    for field in ("image_CDHW", "label_DHW", "previous_DHW"):
        np.testing.assert_array_equal(getattr(back, field)[:], getattr(case, field))
    np.testing.assert_array_equal(back.present_C, case.present_C)
    for kind in ("foreground", "lesions"):
        assert list(getattr(back, kind)) == ["liver", "tumour"]
        for name in ("liver", "tumour"):
            np.testing.assert_array_equal(getattr(back, kind)[name], getattr(case, kind)[name])


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Small arrays are decompressed as a whole, large ones patch by patch; both read alike."""
    if request.param == "large":
        monkeypatch.setattr(packed, "_WHOLE_BYTES", 0)
    return request.param


def test_a_patch_is_read_without_the_rest(tmp_path, size):
    case = make()
    write_prepared(tmp_path, case, patch=(4, 4, 4))
    assert isinstance(open_prepared(tmp_path, case.name).label_DHW, Whole) == (size == "small")
    window = (slice(1, 3), slice(4, 9), slice(0, 5))
    np.testing.assert_array_equal(open_prepared(tmp_path, case.name).image_CDHW[(slice(None), *window)],
                                  case.image_CDHW[(slice(None), *window)])


def test_small_labels_take_one_byte_a_voxel_and_large_ones_two(tmp_path):
    write_prepared(tmp_path, make("small"))
    write_prepared(tmp_path, make("large", label_DHW=np.full((5, 12, 9), 128, dtype=np.int16)))
    assert open_prepared(tmp_path, "small").label_DHW.dtype == np.int8
    large = open_prepared(tmp_path, "large").label_DHW
    assert large.dtype == np.int16 and large[0, 0, 0] == 128


def test_a_case_without_label_has_none(tmp_path, size):
    write_prepared(tmp_path, make(label_DHW=None, foreground={}, lesions={}))
    back = open_prepared(tmp_path, "case_1.a")
    assert back.label_DHW is None and back.previous_DHW is None and back.foreground == {}


def test_an_opened_case_can_be_written_elsewhere(tmp_path, size):
    write_prepared(tmp_path / "a", make())
    write_prepared(tmp_path / "b", open_prepared(tmp_path / "a", "case_1.a"))
    np.testing.assert_array_equal(open_prepared(tmp_path / "b", "case_1.a").image_CDHW[:], make().image_CDHW)


def test_only_complete_cases_are_listed(tmp_path):
    write_prepared(tmp_path, make("b"))
    write_prepared(tmp_path, make("a"))
    (tmp_path / "a.json").unlink()
    assert prepared_names(tmp_path) == ["b"]
    assert prepared_names(tmp_path / "nothing") == []


@pytest.mark.parametrize("key", ["image", "label", "foreground"])
@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_a_damaged_array_is_found_out(tmp_path, key, harm):
    write_prepared(tmp_path, make())
    file = tmp_path / "case_1.a.arrays"
    content = bytearray(file.read_bytes())
    if harm == "flip":
        place = json.loads((tmp_path / "case_1.a.json").read_text())["arrays"][key]
        content[place["offset"] + place["size"] // 2] ^= 1
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    assert not is_current(tmp_path, "case_1.a", MADE_FROM)
    with pytest.raises(UserError, match=f"{file.name}.*damaged.*run autoseg_plan_and_preprocess"):
        open_prepared(tmp_path, "case_1.a")


@pytest.mark.parametrize("change", [("0.7", "0.8"), ('"transpose"', '"transposed"'), ("{", "")])
def test_a_damaged_record_is_found_out(tmp_path, change):
    write_prepared(tmp_path, make())
    file = tmp_path / "case_1.a.json"
    file.write_text(file.read_text().replace(*change, 1))
    assert not is_current(tmp_path, "case_1.a", MADE_FROM)
    with pytest.raises(UserError, match=f"{file.name}.*run autoseg_plan_and_preprocess again"):
        open_prepared(tmp_path, "case_1.a")


def test_a_case_is_current_only_for_what_it_was_made_from(tmp_path):
    write_prepared(tmp_path, make())
    assert is_current(tmp_path, "case_1.a", MADE_FROM)
    assert not is_current(tmp_path, "case_1.a", MADE_FROM | {"raw": "abd"})
    assert not is_current(tmp_path, "case_2", MADE_FROM)


def test_a_missing_case_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(UserError, match=r"case_9\.json"):
        open_prepared(tmp_path, "case_9")


def test_removing_leaves_nothing_of_the_case(tmp_path):
    write_prepared(tmp_path, make("a"))
    write_prepared(tmp_path, make("a.image"))
    remove_prepared(tmp_path, "a")
    assert prepared_names(tmp_path) == ["a.image"]
    assert is_current(tmp_path, "a.image", MADE_FROM)
    assert all(file.name.startswith("a.image.") for file in tmp_path.iterdir())


def test_chunks_are_patches_and_blocks_fit_a_cache():
    chunk, block = chunks_and_blocks((2, 200, 40, 300), (64, 128, 128), 4)
    assert chunk == (1, 64, 40, 128)
    assert np.prod(block) * 4 <= 128 * 1024
    assert chunks_and_blocks((1, 30, 500, 500), (256, 256), 4)[0] == (1, 1, 256, 256)


def test_absence_is_read_back_and_a_patch_of_it_too(tmp_path, size):
    absent_CDHW = np.random.default_rng(0).random((2, 5, 12, 9)) < 0.3
    write_prepared(tmp_path, make(absent_CDHW=absent_CDHW), patch=(4, 4, 4))
    back = open_prepared(tmp_path, "case_1.a").absent_CDHW
    assert back.dtype == bool
    np.testing.assert_array_equal(back[:], absent_CDHW)
    np.testing.assert_array_equal(back[:, 1:3, 4:9, :5], absent_CDHW[:, 1:3, 4:9, :5])
    write_prepared(tmp_path / "elsewhere", open_prepared(tmp_path, "case_1.a"))
    np.testing.assert_array_equal(open_prepared(tmp_path / "elsewhere", "case_1.a").absent_CDHW[:], absent_CDHW)


def test_where_nothing_is_absent_nothing_of_it_is_stored(tmp_path):
    write_prepared(tmp_path, make(absent_CDHW=np.ones((2, 5, 12, 9), dtype=bool)))
    assert open_prepared(tmp_path, "case_1.a").absent_CDHW[:].all()
    write_prepared(tmp_path, make())
    assert open_prepared(tmp_path, "case_1.a").absent_CDHW is None
    remove_prepared(tmp_path, "case_1.a")
    assert not list(tmp_path.iterdir())


def in_steps(shape=(5, 12, 9)) -> np.ndarray:
    return np.random.default_rng(1).integers(-20000, 20000, (2, *shape)).astype(np.float32) * np.float32(STEP)


def test_an_image_of_whole_steps_takes_two_bytes_a_voxel_and_comes_back_exactly(tmp_path):
    case = make(image_CDHW=in_steps())
    write_prepared(tmp_path, case)
    back = open_prepared(tmp_path, case.name).image_CDHW
    assert isinstance(back, Steps)
    assert back.stored.dtype == np.int16
    assert back[:].dtype == np.float32
    np.testing.assert_array_equal(back[:], case.image_CDHW)
    np.testing.assert_array_equal(back[:, 1:3, 4:9, 0:5], case.image_CDHW[:, 1:3, 4:9, 0:5])
    write_prepared(tmp_path / "again", open_prepared(tmp_path, case.name))
    np.testing.assert_array_equal(open_prepared(tmp_path / "again", case.name).image_CDHW[:], case.image_CDHW)


@pytest.mark.parametrize("value", [16.5, STEP / 2, np.float32(0.1)])
def test_an_image_with_one_other_value_is_stored_as_it_is(tmp_path, value):
    image = in_steps()
    image[1, 4, 11, 8] = value
    write_prepared(tmp_path, make(image_CDHW=image))
    back = open_prepared(tmp_path, "case_1.a").image_CDHW
    assert not isinstance(back, Steps)
    np.testing.assert_array_equal(back[:], image)
