"""Against what nnU-Net made of the same cases, kept by benchmarks/against_nnunet_preprocessing.py --write-fixtures."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from autoseg.datasets.case import Case
from autoseg.formats import read_image, read_label
from autoseg.grids.geometry import Geometry
from autoseg.prediction.export import restore_label
from autoseg.preprocessing.prepare import prepare
from planners.schema.plan import Plan

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nnunet_preprocessed"
SYNTHETIC = sorted(FIXTURES.glob("synthetic_*.npz"))
REAL = sorted(set(FIXTURES.glob("*.npz")) - set(SYNTHETIC))
TOLERANCE = 1e-3  # of the normalised image


def load(path):
    with np.load(path) as file:
        kept = {key: file[key] for key in file.files}
    plan = Plan.model_validate_json(str(kept["plan"]))
    return kept, plan, plan.configurations["compared"]


def as_nnunet_crops(label_DHW, kept, plan):
    """The label without what lies outside nnU-Net's crop, which it loses; here the crop is widened to hold it."""
    cropped_DHW = np.zeros_like(label_DHW)
    inside = tuple(slice(*side) for side in kept["box"])
    cropped_DHW.transpose(plan.transpose)[inside] = label_DHW.transpose(plan.transpose)[inside]
    return cropped_DHW


def name_of(path):
    return path.stem


def test_there_are_fixtures():
    assert len(SYNTHETIC) >= 5 and len(REAL) >= 10


@pytest.mark.parametrize("path", SYNTHETIC, ids=name_of)
def test_synthetic_cases_equal_nnunet_voxel_by_voxel(path):
    kept, plan, configuration = load(path)
    image = kept["case_image"].astype(np.float32)
    geometry = Geometry(image.shape[1:], tuple(map(float, kept["spacing_mm"])))
    label = as_nnunet_crops(kept["case_label"], kept, plan)
    prepared = prepare(Case(path.stem, image, np.ones(len(image), dtype=bool), geometry, label), plan, configuration)
    np.testing.assert_array_equal(prepared.box, kept["box"])
    np.testing.assert_array_equal(prepared.label_DHW, kept["label"])
    assert prepared.image_CDHW.shape == kept["image"].shape
    assert np.abs(prepared.image_CDHW - kept["image"]).max() < TOLERANCE
    logits = torch.from_numpy(kept["logits"].astype(np.float32) * float(kept["logit_step"]))
    np.testing.assert_array_equal(restore_label(logits, prepared, plan, configuration), kept["restored"])


@pytest.mark.parametrize("path", REAL, ids=name_of)
def test_real_cases_equal_nnunet(path, shared_data):
    kept, plan, configuration = load(path)
    image_path, label_path = (shared_data / file for file in kept["files"])
    image_CDHW, geometry = read_image(image_path)
    label_DHW, _ = read_label(label_path)
    prepared = prepare(Case(path.stem, image_CDHW, np.ones(len(image_CDHW), dtype=bool), geometry, label_DHW), plan,
                       configuration)
    np.testing.assert_array_equal(prepared.box, kept["box"])
    assert prepared.image_CDHW.shape == tuple(kept["shape"])
    assert np.abs(prepared.image_CDHW.reshape(-1)[kept["where"]] - kept["values"]).max() < TOLERANCE
    label = np.ascontiguousarray(prepared.label_DHW, dtype=np.int16)
    assert hashlib.blake2b(label.tobytes()).hexdigest() == str(kept["label_digest"])
