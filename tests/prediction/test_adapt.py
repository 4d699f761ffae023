"""Test-time adaptation: a copy of the network changes, for one case, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_predictor import DATASET, trained_home

from autoseg.cli import predict as predict_command
from autoseg.formats import read_label, write_array
from autoseg.formats.files import digest
from autoseg.prediction.adapt import CaseToAdapt, _Views, _warped, adapted, soft_dice_loss
from autoseg.prediction.inference_settings import Adaptation
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.sidecar import Sidecar
from autoseg.workspace.files import read_json
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration
from predict_phantoms import CASE, member_of, predictor_of
from tests_support import SPHERES, small_plan

REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
FAST = Adaptation(epochs=2, patches=1, learning_rate=1e-2)


def weights(member):
    return [parameter.detach().clone() for model in member.models for parameter in model.model.parameters()]


def logits(member, case=CASE):
    return member.logits(member.prepare(case), case).numpy()


def test_probabilities_that_are_equal_agree_and_those_of_different_voxels_do_not():
    a = torch.zeros(1, 2, 8, 8, 8)
    a[:, 0, :4], a[:, 1, 4:] = 1, 1
    everywhere = torch.ones(1, 1, 8, 8, 8)
    assert float(soft_dice_loss(a, a, everywhere)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(a, a.flip(1), everywhere)) > 0.99
    assert float(soft_dice_loss(a, a.flip(1), 0 * everywhere)) == pytest.approx(0)  # what no view saw does not count


@pytest.mark.parametrize("size", [(12, 16, 20), (16, 24)])
def test_a_view_is_brought_back_to_where_it_was(size):
    views = _Views(CaseToAdapt("a", np.zeros((1, 12, 16, 24), np.float32), np.array([True])),
                   configuration(len(size)).model_copy(update={"patch": size}), predictor_of().runtime, Adaptation())
    matrix = views._random_matrix(torch.Generator().manual_seed(3))
    axes = torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij")
    ramp = sum((k + 1) * axis for k, axis in enumerate(axes))[None, None]
    back = _warped(_warped(ramp, matrix), np.linalg.inv(matrix))
    seen = _warped(_warped(torch.ones_like(ramp), matrix), np.linalg.inv(matrix)) > 0.999
    assert seen.float().mean() > 0.4 and (back - ramp)[seen].abs().max() < 0.05


def configuration(dimensions: int) -> Configuration:
    return next(iter(small_plan(dimensions).configurations.values()))


@pytest.mark.parametrize("labels", [SPHERES, REGIONS])
def test_a_copy_changes_the_same_way_for_the_same_seed_and_the_model_stays(labels):
    member = member_of(labels=labels)
    before, plain = weights(member), logits(member)
    first, again, other = (logits(member.adapting(FAST.model_copy(update={"seed": seed}))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 1e-3 and np.abs(first - other).max() > 1e-4
    assert all(torch.equal(old, new) for old, new in zip(before, weights(member), strict=True))
    np.testing.assert_array_equal(logits(member), plain)


def test_two_views_agree_better_afterwards():
    member = member_of()
    prepared = member.prepare(CASE)
    case = CaseToAdapt(CASE.name, prepared.image_CDHW, prepared.present_C)
    settings = Adaptation(epochs=8, patches=2, learning_rate=3e-3)
    (changed,) = adapted(member.models, [None], case, member.configuration, member.runtime, settings, regions=False)

    def disagreement(model):
        generator = torch.Generator().manual_seed(5)
        views = _Views(case, member.configuration, member.runtime, settings)
        with torch.no_grad():
            return np.mean([float(views.disagreement(model, None, False, generator)) for _ in range(6)])

    assert disagreement(changed.model) < 0.9 * disagreement(member.models[0].model)


def test_what_is_absent_never_matters():
    member = member_of().adapting(FAST)
    absent = np.zeros(CASE.image_CDHW.shape, bool)
    absent[:, :4] = True
    filled = CASE.image_CDHW.copy()
    filled[absent] = 1e6
    results = [logits(member, replace(CASE, image_CDHW=image, absent_CDHW=absent)) for image in (CASE.image_CDHW, filled)]
    np.testing.assert_array_equal(*results)


def test_mirroring_and_quality_control_are_off_and_the_identity_is_another():
    plain = predictor_of()
    other = Predictor(plain.members).adapting(FAST)
    assert not other.members[0].mirroring and plain.members[0].mirroring and other.quality_control is None
    assert len({plain.identity, other.identity, plain.adapting(Adaptation(seed=9)).identity}) == 3


def test_the_command_writes_the_mask_and_says_that_it_adapted(tmp_path, capsys):
    workspace = trained_home(tmp_path, 0)
    weights_file = workspace.fold(DATASET, "budgeted", "3d_fullres", 0).checkpoint
    before = digest(weights_file)
    write_array(tmp_path / "in" / "ball_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    common = ["-i", str(tmp_path / "in"), "--home", str(tmp_path), "--device", "cpu"]
    assert predict_command.main([*common, "-o", str(tmp_path / "plain")]) == 0
    assert predict_command.main([*common, "-o", str(tmp_path / "adapted"), "--adapt", "--seed", "4"]) == 0
    plain, other = (Sidecar.model_validate(read_json(tmp_path / name / "labels.json")) for name in ("plain", "adapted"))
    assert plain.adaptation is None and other.adaptation == Adaptation(seed=4)
    assert plain.model != other.model and digest(weights_file) == before
    assert read_label(tmp_path / "adapted" / "ball.nii.gz")[0].shape == CASE.geometry.shape
    assert predict_command.main([*common, "-o", str(tmp_path / "none"), "--adapt", "--cluster", "auto"]) == 2
    assert "--adapt predicts on one machine" in capsys.readouterr().err
