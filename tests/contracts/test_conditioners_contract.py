"""Every registered conditioner, in two and three dimensions, through the same contract."""

import copy
from dataclasses import replace

import pytest
import torch

from autoseg.clinical.encoded import NO_CONDITIONS, BagBatch, ConditionBatch, ConditionInput, Layout
from autoseg.nn.conditioning import CONDITIONERS, ConditionerContext
from planners.schema.base import Part

CHANNELS = (4, 6, 16)
LAYOUT = Layout(inputs=(ConditionInput(name="age", width=1, start=0), ConditionInput(name="sex", width=3, start=1),
                        ConditionInput(name="tiles", width=5), ConditionInput(name="rna", width=4, start=4)))
TABLE = Layout(inputs=(LAYOUT.inputs[0], LAYOUT.inputs[1]))
EVERY = [(name, n) for name in CONDITIONERS.names() for n in (2, 3)]
TRAINED = [(name, n) for name, n in EVERY if CONDITIONERS.traits(name).reads_conditions]


def make(name: str, n: int, layout: Layout = LAYOUT, trained: bool = False) -> torch.nn.Module:
    """A conditioner; where it is to be `trained`, its zeros are gone, so that it changes something."""
    torch.manual_seed(0)
    conditioner = CONDITIONERS.make(Part(name=name), ConditionerContext(CHANNELS, layout, n))
    if trained:
        for parameter in conditioner.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return conditioner.eval()


def features_of(n: int, batch: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, c, *(edge,) * n, generator=generator) for c, edge in zip(CHANNELS, (8, 4, 2), strict=True)]


def conditions_of(layout: Layout = LAYOUT, batch: int = 3) -> ConditionBatch:
    """Known but for some columns of row 1 and some tokens of each; the bag of row 0 is missing."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(batch, layout.n_values, generator=generator)
    known = torch.ones(batch, layout.n_values, dtype=torch.bool)
    known[1, 1:4] = False
    known_tokens = torch.tensor([[False] * 4, [True] * 4, [True, True, False, False]])[:batch]
    return ConditionBatch(values, known, {bag.name: BagBatch(torch.randn(batch, 4, bag.width, generator=generator),
                                                             known_tokens) for bag in layout.bags})


def with_tiles(conditions: ConditionBatch, tokens: torch.Tensor, known: torch.Tensor | None = None) -> ConditionBatch:
    """The conditions with another bag of tokens."""
    known = conditions.bags["tiles"].known_BT if known is None else known
    return replace(conditions, bags={"tiles": BagBatch(tokens, known)})


def nothing_known(conditions: ConditionBatch) -> ConditionBatch:
    return conditions.map(lambda tensor: torch.zeros_like(tensor) if tensor.dtype == torch.bool else tensor)


def poisoned(conditions: ConditionBatch, garbage: float) -> ConditionBatch:
    """The conditions with garbage wherever they are not known."""
    tiles = conditions.bags["tiles"]
    return with_tiles(replace(conditions, values_BK=torch.where(conditions.known_BK, conditions.values_BK, garbage)),
                      torch.where(tiles.known_BT[..., None], tiles.tokens_BTE, garbage))


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_features_keep_their_shapes_and_the_input_is_left_unchanged(name, n):
    features, conditions = features_of(n), conditions_of()
    kept_features, kept_conditions = copy.deepcopy(features), copy.deepcopy(conditions)
    changed = make(name, n, trained=True)(features, conditions)
    assert [stage.shape for stage in changed] == [stage.shape for stage in features]
    assert same(features, kept_features)
    assert same(list(conditions.tensors()), list(kept_conditions.tensors()))


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_an_untrained_conditioner_changes_no_bit(name, n):
    features = features_of(n)
    assert same(make(name, n)(features, conditions_of()), features)


@pytest.mark.parametrize(("name", "n"), TRAINED)
def test_an_untrained_conditioner_is_reached_by_gradients(name, n):
    conditioner = make(name, n)
    sum((stage * torch.randn_like(stage)).sum() for stage in conditioner(features_of(n), conditions_of())).backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in conditioner.parameters())


@pytest.mark.parametrize(("name", "n"), TRAINED)
def test_gradients_are_finite_and_reach_every_parameter_and_the_features(name, n):
    conditioner, features = make(name, n, trained=True), features_of(n)
    for stage in features:
        stage.requires_grad_()
    sum(stage.square().mean() for stage in conditioner(features, conditions_of())).backward()
    for label, parameter in conditioner.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), label
    assert all(stage.grad.isfinite().all() for stage in features)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_the_state_survives_a_round_trip(name, n):
    conditioner, other = make(name, n, trained=True), make(name, n)
    other.load_state_dict(copy.deepcopy(conditioner.state_dict()))
    assert same(conditioner(features_of(n), conditions_of()), other(features_of(n), conditions_of()))


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_the_same_seed_gives_the_same_conditioner(name, n):
    first, second = make(name, n).state_dict(), make(name, n).state_dict()
    assert list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_no_conditions_all_missing_ones_and_untouched_features_are_the_same(name, n):
    conditioner, features = make(name, n, trained=True), features_of(n)
    assert same(conditioner(features, None), features)
    assert same(conditioner(features, nothing_known(conditions_of())), features)


@pytest.mark.parametrize(("name", "n"), TRAINED)
def test_what_is_known_changes_features(name, n):
    conditioner, features, conditions = make(name, n, trained=True), features_of(n), conditions_of()
    changed = conditioner(features, conditions)[-1]
    for other in (replace(conditions, values_BK=conditions.values_BK + 1),
                  with_tiles(conditions, conditions.bags["tiles"].tokens_BTE + 1)):
        others = conditioner(features, other)[-1]
        assert not torch.equal(changed, features[-1]) and not torch.equal(changed, others)


@pytest.mark.parametrize(("name", "n"), EVERY)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_what_is_not_known_is_not_read(name, n, garbage):
    conditioner, features, conditions = make(name, n, trained=True), features_of(n), conditions_of()
    assert same(conditioner(features, poisoned(conditions, garbage)), conditioner(features, conditions))


@pytest.mark.parametrize(("name", "n"), TRAINED)
def test_what_is_not_known_leaves_gradients_finite(name, n):
    conditioner = make(name, n, trained=True)
    sum(stage.sum() for stage in conditioner(features_of(n), poisoned(conditions_of(), float("nan")))).backward()
    assert all(parameter.grad.isfinite().all() for parameter in conditioner.parameters())


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_a_row_does_not_depend_on_the_others(name, n):
    conditioner, features, conditions = make(name, n, trained=True), features_of(n), conditions_of()
    together = conditioner(features, conditions)
    for row in range(3):
        alone = conditioner([stage[row : row + 1] for stage in features],
                            conditions.map(lambda tensor, row=row: tensor[row : row + 1]))
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[row])


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_more_padding_of_a_token_bag_changes_nothing(name, n):
    conditioner, features, conditions = make(name, n, trained=True), features_of(n), conditions_of()
    tiles = conditions.bags["tiles"]
    longer = with_tiles(conditions, torch.nn.functional.pad(tiles.tokens_BTE, (0, 0, 0, 3)),
                        torch.nn.functional.pad(tiles.known_BT, (0, 3)))
    for one, other in zip(conditioner(features, conditions), conditioner(features, longer), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_the_order_of_the_tokens_of_a_bag_does_not_matter(name, n):
    conditioner, features, conditions = make(name, n, trained=True), features_of(n), conditions_of()
    tiles = conditions.bags["tiles"]
    turned = with_tiles(conditions, tiles.tokens_BTE.flip(1), tiles.known_BT.flip(1))
    for one, other in zip(conditioner(features, conditions), conditioner(features, turned), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_a_layout_without_inputs_passes_features_unchanged(name, n):
    features = features_of(n)
    nothing = ConditionBatch(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool))
    assert same(make(name, n, layout=NO_CONDITIONS, trained=True)(features, nothing), features)


@pytest.mark.parametrize("name", [name for name, n in TRAINED if n == 3])
def test_a_compiled_conditioner_computes_the_same_in_one_graph(name):
    conditioner, features, conditions = make(name, 3, trained=True), features_of(3), conditions_of()
    compiled = torch.compile(conditioner, backend="aot_eager", fullgraph=True)
    for mine, theirs in zip(compiled(features, conditions), conditioner(features, conditions), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("name", "n"), EVERY)
def test_reduced_precision_keeps_the_type_of_the_features(name, n):
    features = [stage.bfloat16() for stage in features_of(n)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        changed = make(name, n, trained=True)(features, conditions_of())
    assert all(stage.dtype == torch.bfloat16 and stage.isfinite().all() for stage in changed)


@pytest.mark.parametrize("n", [2, 3])
def test_columns_that_change_places_with_their_parameters_change_nothing_for_tokens(n):
    swapped = Layout(inputs=(ConditionInput(name="sex", width=3, start=0), ConditionInput(name="age", width=1, start=3)))
    first, second = make("tokens", n, TABLE, trained=True), make("tokens", n, swapped)
    state = first.state_dict()
    places = {"patient.maps.0.weight": "patient.maps.1.weight", "patient.maps.1.weight": "patient.maps.0.weight"}
    moved = {places.get(key, key): value.flip(0) if key in ("patient.types", "patient.missing") else value
             for key, value in state.items()}
    second.load_state_dict(moved)
    conditions = conditions_of(TABLE)
    turned = conditions.map(lambda tensor: torch.cat([tensor[:, 1:], tensor[:, :1]], dim=1))
    for one, other in zip(first(features_of(n), conditions), second(features_of(n), turned), strict=True):
        torch.testing.assert_close(one, other)
