"""Input dropout: as often as asked, never everything, each input by itself; and channels that are displaced."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.batches.batch import Batch
from autoseg.batches.input_dropout import displace, drop_inputs
from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from autoseg.clinical.encoded import BagBatch, ConditionBatch, ConditionInput, EncodedBag, EncodedConditions, Layout
from batch_phantoms import LABELS, make_batch, make_case, make_configuration, seeded
from planners.schema.plan import InputDropout

# A number, a category of three entries, a bag of tokens and a vector of two.
LAYOUT = Layout(inputs=(ConditionInput(name="age", width=1, start=0), ConditionInput(name="sex", width=3, start=1),
                        ConditionInput(name="tiles", width=4), ConditionInput(name="rna", width=2, start=4)))
COUNT = 4000


def within(found, p, count=COUNT):
    return abs(float(found) - count * p) < 4 * (count * p * (1 - p)) ** 0.5


def batch_of(n_samples, present, absent=None):
    return Batch(torch.zeros(n_samples, len(present), 2, 2), torch.zeros(n_samples, 2, 2, dtype=torch.int16),
                 torch.tensor([present] * n_samples), absent_BCDHW=absent)


def shown(p, present=(True, True, True), absent=None):
    """Presence after input dropout with probabilities `p`, of many samples."""
    return drop_inputs(batch_of(COUNT, present, absent), InputDropout(channels=p), seeded()).present_BC


def conditions(n_samples=COUNT, known=True):
    ones = torch.ones(n_samples, 6)
    tiles = BagBatch(torch.ones(n_samples, 5, 4), torch.tensor([True] * 4 + [False]).expand(n_samples, 5) & known)
    return ConditionBatch(ones, ones.bool() & known, {"tiles": tiles})


def forgotten(input_dropout, given):
    batch = make_batch((4, 4), n_samples=len(given.values_BK))
    batch = Batch(batch.image_BCDHW, batch.label_BDHW, batch.present_BC, conditions=given)
    return drop_inputs(batch, input_dropout, seeded(), LAYOUT).conditions


def test_each_channel_is_hidden_as_often_as_asked():
    present = shown((0.3, 0.0, 0.6))
    assert within((~present[:, 0]).sum(), 0.3) and present[:, 1].all() and within((~present[:, 2]).sum(), 0.6)
    assert within((~present[:, 0] & ~present[:, 2]).sum(), 0.3 * 0.6)


def test_one_channel_stays_each_as_likely():
    present = shown((1.0, 1.0, 1.0))
    assert (present.sum(1) == 1).all()
    assert all(within(count, 1 / 3) for count in present.sum(0))


def test_the_channel_that_stays_is_one_that_was_there():
    present = shown((1.0, 1.0, 1.0), present=(True, False, True))
    assert (present.sum(1) == 1).all() and not present[:, 1].any() and within(present[:, 0].sum(), 0.5)


def test_two_channels_of_a_half_are_both_lost_never():
    # Both are drawn in a quarter of the samples; then one of two comes back: each is dropped in 1/2 - 1/8.
    hidden = ~shown((0.5, 0.5), present=(True, True))
    assert not hidden.all(1).any() and all(within(count, 3 / 8) for count in hidden.sum(0))


def test_the_channel_that_stays_shows_something():
    absent = torch.zeros(COUNT, 3, 2, 2, dtype=torch.bool)
    absent[:, 0] = True  # its field of view is elsewhere
    assert shown((0.0, 1.0, 1.0), absent=absent)[:, 1:].any(1).all()
    absent[:] = True
    assert shown((1.0, 1.0, 1.0), absent=absent).any(1).all()


def test_dropping_a_row_forgets_all_conditions_of_a_sample():
    result = forgotten(InputDropout(row=0.3), conditions())
    known = torch.cat([result.known_BK, result.bags["tiles"].known_BT[:, :4]], dim=1)
    assert within((~known.any(1)).sum(), 0.3) and (known.any(1) == known.all(1)).all()


def test_dropping_a_column_forgets_one_input_at_a_time():
    result = forgotten(InputDropout(column=0.15), conditions())
    known, tokens = result.known_BK, result.bags["tiles"].known_BT
    sexes, rna = known[:, 1:4], known[:, 4:]
    assert (sexes.any(1) == sexes.all(1)).all() and (rna.any(1) == rna.all(1)).all()
    assert (tokens.any(1) == tokens[:, :4].all(1)).all() and not tokens[:, 4].any()
    lost = torch.stack([~known[:, 0], ~sexes[:, 0], ~tokens[:, 0], ~rna[:, 0]])
    assert all(within(count, 0.15) for count in lost.sum(1))
    assert within(lost[:2].all(0).sum(), 0.15**2)


def test_what_is_forgotten_is_zero():
    result = forgotten(InputDropout(row=0.5, column=0.5), conditions())
    assert torch.equal(result.values_BK != 0, result.known_BK)
    lost = ~result.bags["tiles"].known_BT.any(1)
    assert (result.bags["tiles"].tokens_BTE[lost] == 0).all() and (result.bags["tiles"].tokens_BTE[~lost] == 1).all()


def test_what_was_unknown_stays_unknown():
    result = forgotten(InputDropout(row=0.1), conditions(known=False))
    assert not result.known_BK.any() and not result.bags["tiles"].known_BT.any()


def distinct_conditions(n_samples=COUNT):
    """Every value is the number of its sample; every second sample knows nothing."""
    number = torch.arange(n_samples, dtype=torch.float32)
    known = (number % 2 == 0)[:, None]
    tiles = BagBatch(number[:, None, None].expand(n_samples, 5, 4), known.expand(n_samples, 5))
    return ConditionBatch(number[:, None].expand(n_samples, 6), known.expand(n_samples, 6), {"tiles": tiles})


def test_swapped_conditions_are_whole_inputs_of_the_sample_before():
    given = distinct_conditions()
    result = forgotten(InputDropout(swap=("sex", "tiles", "not in the table"), p_swap=0.5), given)
    number = given.values_BK[:, 0]
    assert torch.equal(result.values_BK[:, 0], number) and torch.equal(result.values_BK[:, 4:], given.values_BK[:, 4:])
    sexes, tokens = result.values_BK[:, 1:4], result.bags["tiles"].tokens_BTE.flatten(1)
    for values, known in ((sexes, result.known_BK[:, 1:4]), (tokens, result.bags["tiles"].known_BT)):
        swapped = values[:, 0] != number
        assert (values == values[:, :1]).all() and within(swapped.sum(), 0.5)
        assert torch.equal(values[swapped, 0], number.roll(1)[swapped])
        assert torch.equal(known, (values[:, :1] % 2 == 0).expand_as(known))
    assert within(((sexes[:, 0] != number) & (tokens[:, 0] != number)).sum(), 0.25)


def test_swapping_leaves_a_batch_of_one_and_the_input_as_they_are():
    given = distinct_conditions(1)
    result = forgotten(InputDropout(swap=("age", "sex", "tiles", "rna"), p_swap=1.0), given)
    assert torch.equal(result.values_BK, given.values_BK)
    given = distinct_conditions(4)
    before = given.values_BK.clone()
    assert forgotten(InputDropout(swap=("age",), p_swap=1.0), given).values_BK[:, 0].tolist() == [3, 0, 1, 2]
    assert torch.equal(given.values_BK, before)


def test_conditions_of_another_layout_are_refused():
    with pytest.raises(ValueError, match="5 values, their layout 6"):
        forgotten(InputDropout(row=0.5), replace(conditions(4), values_BK=torch.zeros(4, 5)))


@pytest.mark.parametrize("input_dropout", [InputDropout(channels=(0.5,)),
                                           InputDropout(shift_voxels=(0.0, 0.0, 1.0), p_shift=0.5)])
def test_a_list_without_one_entry_per_channel_is_refused(input_dropout):
    with pytest.raises(ValueError, match="for 2 channels"):
        drop_inputs(make_batch((4, 4), channels=2), input_dropout, seeded())


def test_a_channel_moves_by_its_offset_and_repeats_the_border():
    row = torch.tensor([[1.0, 2, 4, 8], [10, 20, 40, 80]])
    assert displace(row, [0, 1]).tolist() == [[1, 1, 2, 4], [10, 10, 20, 40]]
    assert displace(row, [0, -2]).tolist() == [[4, 8, 8, 8], [40, 80, 80, 80]]
    assert displace(row, [-1, 0.5]).tolist() == [[10, 15, 30, 60]] * 2


@pytest.mark.parametrize("patch", [(6, 7, 8), (7, 8)])
def test_misalignment_moves_only_its_channel(patch):
    batch = make_batch(patch, n_samples=40, channels=3, previous=1)
    image = batch.image_BCDHW.clone()
    result = drop_inputs(batch, InputDropout(shift_voxels=(0.0, 2.0, 0.0), p_shift=0.5), seeded()).image_BCDHW
    moved = (result != image).flatten(2).any(2)
    assert not moved[:, [0, 2, 3]].any() and within(moved[:, 1].sum(), 0.5, 40)
    assert torch.equal(batch.image_BCDHW, image)


@pytest.mark.parametrize("largest", [0.5, 3.0])
def test_offsets_fill_their_range_on_each_axis(largest):
    # Ramps along each axis: a voxel in the middle says where it came from.
    ramps = torch.stack(torch.meshgrid(*[torch.arange(11.0)] * 2, indexing="ij"))
    offsets = []
    for axis in (0, 1):
        image = ramps[axis].expand(500, 2, 11, 11)
        batch = Batch(image, torch.zeros(500, 11, 11), torch.ones(500, 2) > 0)
        result = drop_inputs(batch, InputDropout(shift_voxels=(0.0, largest), p_shift=1.0), seeded())
        offsets.append(5 - result.image_BCDHW[:, 1, 5, 5])
    for offset in offsets:
        assert -largest <= offset.min() < -0.95 * largest and 0.95 * largest < offset.max() <= largest
    assert not torch.equal(*offsets)


def test_absent_voxels_move_with_their_channel_and_taint_what_they_take_part_in():
    image = torch.ones(1, 2, 1, 6)
    absent = torch.zeros(1, 2, 1, 6, dtype=torch.bool)
    absent[0, :, 0, 3:] = True
    batch = Batch(image, torch.zeros(1, 1, 6), torch.ones(1, 2) > 0, absent_BCDHW=absent)
    starts = set()
    generator = seeded()
    for _ in range(50):
        result = drop_inputs(batch, InputDropout(shift_voxels=(0.0, 1.5), p_shift=1.0), generator).absent_BCDHW
        assert torch.equal(result[:, 0], absent[:, 0])
        starts.add("".join(str(int(one)) for one in result[0, 1, 0]))
    # To the left by 1 to 1.5, by less; to the right by less (the voxel between is tainted), by more than one.
    assert starts == {"011111", "001111", "000111", "000011"}


def test_what_is_off_draws_nothing_and_changes_nothing():
    batch = make_batch((4, 4), n_samples=3, channels=2)
    batch = Batch(batch.image_BCDHW, batch.label_BDHW, batch.present_BC, conditions=conditions(3))
    generator = seeded()
    before = generator.get_state()
    for input_dropout in (InputDropout(), InputDropout(channels=(0.0, 0.0), shift_voxels=(0.0, 0.0), p_shift=0.5),
                   InputDropout(shift_voxels=(1.0, 1.0))):
        assert drop_inputs(batch, input_dropout, generator, LAYOUT) is batch
    unconditioned = make_batch((4, 4))
    assert drop_inputs(unconditioned, InputDropout(row=0.5, column=0.5), generator) is unconditioned
    assert torch.equal(generator.get_state(), before)


DROPOUT = InputDropout(channels=(0.0, 0.5), row=0.3, column=0.3, shift_voxels=(0.0, 1.0), p_shift=0.5)


def stream(limit_bytes, *, input_dropout=DROPOUT, augmentation="light", seed=0):
    rng = np.random.default_rng(0)
    case = make_case(rng.integers(0, 3, (12, 12, 12)), image_CDHW=rng.random((2, 12, 12, 12), np.float32),
                     present=(True, True))
    known = EncodedConditions(np.ones(6, np.float32), np.ones(6, bool),
                              {"tiles": EncodedBag(np.ones((2, 4), np.float32), np.ones(2, bool))})
    store = store_cases([case], "cpu", limit_bytes, conditions={"case": known})
    configuration = make_configuration((8, 8, 8), batch=4, augmentation=augmentation, channels=2,
                                       input_dropout=input_dropout)
    return make_batches(store, configuration, LABELS, seed, "cpu", LAYOUT)


def contents(batches):
    return [tensor for batch in batches for tensor in (batch.image_BCDHW, batch.label_BDHW, batch.present_BC,
                                                      *batch.conditions.tensors())]


def take(batches, count):
    return contents(next(batches) for _ in range(count))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_stream_drops_as_its_configuration_says():
    batches = [next(stream(10**9, input_dropout=InputDropout(channels=(0.0, 1.0), row=1.0)))]
    assert batches[0].present_BC.tolist() == [[True, False]] * 4 and not batches[0].conditions.known_BK.any()
    plain = next(stream(10**9, input_dropout=InputDropout()))
    assert plain.present_BC.all() and plain.conditions.known_BK.all() and plain.conditions.bags["tiles"].known_BT.all()


def test_dropping_leaves_patches_and_their_first_augmentation_as_they_are():
    hidden = next(stream(10**9, input_dropout=InputDropout(channels=(0.0, 0.5), row=0.5)))
    plain = next(stream(10**9, input_dropout=InputDropout()))
    assert torch.equal(hidden.image_BCDHW, plain.image_BCDHW) and torch.equal(hidden.label_BDHW, plain.label_BDHW)


@pytest.mark.parametrize("limit_bytes", [10**9, 0])
def test_a_resumed_stream_drops_as_the_uninterrupted_one(limit_bytes):
    batches = stream(limit_bytes)
    take(batches, 3)
    saved = io.BytesIO()
    torch.save(batches.state_dict(), saved)
    expected = take(batches, 4)
    saved.seek(0)
    resumed = stream(limit_bytes, seed=5)
    take(resumed, 1)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    assert same(expected, take(resumed, 4))
    batches.close(), resumed.close()
