"""`import autoseg` offers the stages by name, whatever else was imported before."""

import importlib

import pytest

import autoseg
from autoseg.base.errors import UserError


@pytest.mark.parametrize("arguments", [("fingerprint",), ("plan",), ("preprocess",), ("train", "3d_fullres", 0),
                                       ("report",)])
def test_every_stage_can_be_called_although_rooms_bear_the_same_names(tmp_path, arguments):
    importlib.import_module("autoseg.pipeline")  # and with it autoseg.preprocessing, autoseg.training, autoseg.evaluation
    verb, *others = arguments
    with pytest.raises(UserError, match="unknown dataset '7'"):
        getattr(autoseg, verb)(7, *others, home=tmp_path)


def test_evaluation_can_be_called_too(tmp_path):
    with pytest.raises(UserError, match="folder is missing"):
        autoseg.evaluate(tmp_path / "a", tmp_path / "b", tmp_path / "c")


def test_everything_that_is_public_is_there():
    assert all(getattr(autoseg, name) is not None for name in autoseg.__all__)
