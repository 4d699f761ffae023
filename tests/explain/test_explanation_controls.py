"""Controls tell maps that find what counts from maps that only look like it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import fit_encoder
from autoseg.evaluation.statistics import BootstrapMean
from autoseg.explain.controls import SHARES, deletion_of, shuffled_of, steps_of
from autoseg.explain.explanations import Deletion, Shuffled, verdict_of
from autoseg.explain.occlusion import Occluded, blocks_of, occlusions
from autoseg.explain.smoothgrad import smooth_grad
from autoseg.explain.target import padded_mask, parse_request
from autoseg.nn.networks import NETWORKS, NetworkTraits
from autoseg.prediction.models import FoldModel
from autoseg.prediction.prepared import NOTHING_KNOWN
from explain_phantoms import FirstChannel, logits_of_all, plan_with, prepared_of, subject_with, targets_in, two_boxes
from planners.registry import Entry, NoOptions
from planners.schema.base import Part
from planners.schema.conditions import ConditionSpec, ConditionTable


@pytest.fixture(autouse=True)
def _stub(monkeypatch):
    monkeypatch.setitem(NETWORKS._entries, "first", Entry("first", FirstChannel, NoOptions, NetworkTraits()))


def looking_at_boxes():
    subject = subject_with(plan_with("first"), two_boxes())
    (target,) = targets_in(subject)
    return subject, target


def test_a_map_of_the_reason_deletes_more_than_the_same_pattern_elsewhere():
    subject, target = looking_at_boxes()
    found = deletion_of(subject, target, smooth_grad(subject, target, samples=1, seed=0), draws=4, seed=0)
    assert found.shares == SHARES and list(found.kept) == sorted(found.kept, reverse=True)
    assert found.kept[-1] < 0.1 < found.kept_at_random[-1]
    assert found.area.low > 0 and found.area.n == 4


def test_a_map_of_the_other_channel_deletes_nothing():
    subject, target = looking_at_boxes()
    wrong = torch.from_numpy(two_boxes()).float().flip(0)
    found = deletion_of(subject, target, wrong * torch.tensor([0.0, 1.0])[:, None, None, None], draws=4, seed=0)
    assert all(kept == pytest.approx(1) for kept in found.kept)
    assert found.area.mean <= 0


def test_a_map_that_does_not_depend_on_the_weights_fails():
    subject = subject_with(plan_with(), two_boxes())
    target = targets_in(subject_with(plan_with("first"), two_boxes()))[0]
    image = subject.image_CDHW[:1].abs()
    results = shuffled_of(subject, target, image, lambda other: other.image_CDHW[:1].abs(), seed=0)
    assert [result.correlation for result in results] == pytest.approx([1.0] * len(results))
    better = Deletion(shares=(0.1,), kept=(0.2,), kept_at_random=(0.9,),
                      area=BootstrapMean(n=4, n_left_out=0, mean=0.7, low=0.6, high=0.8))
    passed, sentence = verdict_of(better, results)
    assert not passed and sentence.startswith("FAILED its controls") and "much the same map" in sentence
    passed, sentence = verdict_of(better, [Shuffled(until="fusion", correlation=0.1)])
    assert passed and "0.70, 95 % 0.60 to 0.80" in sentence
    passed, sentence = verdict_of(better.model_copy(update={"area": BootstrapMean(n=4, n_left_out=0, mean=0.1, low=-0.1,
                                                                                  high=0.3)}), results[:0] or
                                  [Shuffled(until="fusion", correlation=0.0)])
    assert not passed and "hardly more than deleting others" in sentence


def test_weights_are_shuffled_from_the_output_on_and_the_model_stays_as_it_is():
    subject = subject_with(plan_with(fusion=Part(name="attention")), two_boxes())
    target = targets_in(subject_with(plan_with("first"), two_boxes()))[0]
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    found = smooth_grad(subject, target, samples=1, seed=0)
    results = shuffled_of(subject, target, found, lambda other: smooth_grad(other, target, samples=1, seed=0), seed=0)
    assert [result.until for result in results] == ["logits", "decoder 0", "encoder 0", "fusion"]
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())


@pytest.mark.parametrize("network", ["unet", "first"])
def test_every_weight_belongs_to_one_step(network):
    model = subject_with(plan_with(network, fusion=Part(name="window")), two_boxes()).model
    names = [name for step in steps_of(model).values() for name in step]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def occluded(regions, *, truth=None, encoder=None, conditions=NOTHING_KNOWN, plan=None):
    plan = plan or plan_with("first")
    subject = subject_with(plan, two_boxes(), encoder=encoder, conditions=conditions)
    return occlusions(Occluded(subject, FoldModel(subject.model, encoder), prepared_of(two_boxes()), conditions, plan,
                               logits_of_all(subject), truth), regions)


def test_without_the_channel_that_decides_there_is_no_lesion_and_without_the_other_all_stays():
    truth = (two_boxes()[0] > 0).astype(np.uint8)
    rows, fall = occluded("components", truth=truth)
    changes = {(row.kind, row.name): (row.effects[0].volume_ml - row.effects[0].volume_ml_before, row.effects[0].dice)
               for row in rows}
    whole = (6**3 + 3**3) / 1000
    assert changes["channel", "MR_0"] == (pytest.approx(-whole), 0.0)
    assert changes["channel", "MR_1"] == (pytest.approx(0), 1.0)
    assert changes["component", "lesion 1"][0] == pytest.approx(-6**3 / 1000)
    assert changes["component", "lesion 2"][0] == pytest.approx(-3**3 / 1000)
    assert changes["component", "lesion 2"][1] == pytest.approx(2 * 216 / (216 + 243))
    assert fall is None


def test_blocks_share_out_the_volume_of_what_lies_in_them():
    rows, fall = occluded("blocks")
    blocks = [row for row in rows if row.kind == "block"]
    assert len(blocks) == 64 and blocks[0].effects[0].dice is None
    total = sum(row.effects[0].volume_ml_before - row.effects[0].volume_ml for row in blocks)
    assert total == pytest.approx((6**3 + 3**3) / 1000)
    assert fall.shape == (1, 16, 16, 16) and float(fall[0, 4, 4, 4]) == pytest.approx(4**3 / 1000)


def test_blocks_divide_the_image():
    covered = np.zeros((5, 33, 40), int)
    for block in blocks_of(covered.shape):
        covered[block] += 1
    assert (covered == 1).all() and len(blocks_of((1, 2, 2))) == 4


def test_each_known_column_is_withheld():
    table = ConditionTable(table="t.csv", specs=(ConditionSpec(name="age", kind="number"),
                                                 ConditionSpec(name="sex", kind="category")))
    encoder = fit_encoder(table, [CaseConditions(values={"age": 40.0, "sex": "f"}),
                                  CaseConditions(values={"age": 60.0, "sex": "m"})])
    rows, _ = occluded("none", encoder=encoder, conditions=CaseConditions(values={"age": 50.0, "sex": None}),
                       plan=plan_with(conditioning=Part(name="film")))
    assert [row.name for row in rows if row.kind == "column"] == ["age"]


def test_random_deletions_stay_within_the_tiles_that_hold_the_target():
    subject, _ = looking_at_boxes()
    wide = subject_with(plan_with("first", patch=(8, 8, 8)), two_boxes())
    (small,) = targets_in(wide, parse_request("component:2"))  # voxels 10 to 12, in tiles that begin at 4 and 8
    assert wide.field(padded_mask(wide, small)) == (slice(4, 16),) * 3
    assert subject.field(padded_mask(subject, small)) == (slice(0, 16),) * 3
    found = deletion_of(wide, small, smooth_grad(wide, small, samples=1, seed=0), draws=8, seed=0)
    assert found.kept[-1] < 0.1 and found.area.low > 0


def test_a_deletion_that_hardly_matters_is_no_pass():
    hardly = Deletion(shares=(0.1,), kept=(0.99,), kept_at_random=(0.995,),
                      area=BootstrapMean(n=4, n_left_out=0, mean=0.005, low=0.004, high=0.006))
    assert not verdict_of(hardly, [Shuffled(until="fusion", correlation=0.0)])[0]


def test_that_all_maps_fall_with_the_distance_from_the_target_is_no_correlation():
    subject = subject_with(plan_with(), two_boxes())
    target = targets_in(subject_with(plan_with("first"), two_boxes()))[0]
    distance = torch.from_numpy(distance_transform_edt(~target.mask_DHW.numpy())).round()
    rng = np.random.default_rng(0)

    def falling() -> torch.Tensor:
        return torch.exp(-distance / 4)[None] * torch.from_numpy(rng.uniform(0.9, 1.1, (1, 16, 16, 16)))

    first = falling().float()
    results = shuffled_of(subject, target, first, lambda other: falling().float(), seed=0)
    assert all(abs(result.correlation) < 0.1 for result in results)
