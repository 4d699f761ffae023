"""Vision transformers: cost against torch, positions, drop path, attention, conditions, and that one can learn."""

import copy

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autoseg.base.errors import UserError
from autoseg.base.ranks import Ranks, join
from autoseg.clinical.encoded import ConditionBatch, ConditionInput, Layout
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from autoseg.nn.networks import NETWORKS, NetworkContext
from autoseg.nn.networks.transformer import DropPath, turned, turns_of
from planners.architectures.unet import UNet
from planners.architectures.vit import ViT
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

TINY = ViT(token=(4, 4, 4), width=48, depth=3, heads=4)
LABELS = LabelSpec(names={"background": (0,), "ball": (1,)})


def made(shape=TINY, n_inputs=2, n_outputs=3):
    torch.manual_seed(0)
    return NETWORKS.make(Part(name="vit"), NetworkContext(shape, n_inputs, n_outputs))


def plan_of(shape, patch, **changes):
    configuration = Configuration(
        spacing_mm=(1.0,) * len(patch), median_shape=tuple(map(float, patch)), patch=patch, batch=2, batch_dice=True,
        architecture=shape, network=Part(name="vit"), normalizers=(Part(name="zscore"),), augmentation=Part(name="none"),
        schedule=Schedule(learning_rate=1e-3, iterations=1)).model_copy(update=changes)
    return Plan(dataset="Dataset001_X", planner="test", labels=LABELS, transpose=(0, 1, 2),
                channels=(ChannelSpec(name="a"),), configurations={"c": configuration})


SHAPES = [(TINY, (16, 24, 16)), (ViT(token=(2, 8, 8), width=60, depth=2, heads=2), (4, 40, 32)),
          (ViT(token=(16, 16), width=64, depth=2, heads=8), (96, 80)),
          (ViT(token=(8, 8), width=44, depth=2, heads=4), (64, 64))]


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_flops_are_what_torch_counts(shape, patch):
    network = made(shape).double()  # in float32 convolutions take fewer than by definition
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # torch counts no other on a CPU
        logits = network.decode(network.encode(torch.randn(2, 2, *patch).double()), every_stage=True)
    assert shape.cost(patch, 2, 3, batch=2).forward_flops * 2 == counter.get_total_flops()
    assert [stage.shape for stage in logits] == [(2, 3, *patch)]


def kept_bytes(network, image):
    """Bytes of all storages that autograd keeps, weights excluded, and of the logits."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network.decode(network.encode(image), every_stage=True)
    kept |= {one.untyped_storage().data_ptr(): one.untyped_storage() for one in logits}
    return sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in weights)


@pytest.mark.parametrize(("shape", "patch"), SHAPES)
def test_activations_are_what_autograd_keeps(shape, patch):
    image = torch.randn(2, 2, *patch)
    assert shape.cost(patch, 2, 3, batch=2).activation_bytes == pytest.approx(kept_bytes(made(shape), image), rel=0.05)


def test_a_patch_that_tokens_do_not_divide_is_a_user_error_that_names_the_divisor():
    with pytest.raises(UserError, match=r"cannot be divided into tokens.*\[16, 18, 16\].*\[4, 4, 4\]"):
        made().encode(torch.zeros(1, 2, 16, 18, 16))


def test_a_network_for_another_architecture_is_a_user_error():
    unet = UNet(strides=((1, 1), (2, 2)), kernel_sizes=((3, 3), (3, 3)), features=(4, 8), blocks_encoder=(1, 1),
                convs_decoder=(1,))
    with pytest.raises(UserError, match="does not fit the architecture.*plain U-Net.*'vit'"):
        made(unet)
    with pytest.raises(UserError, match="does not fit the architecture.*transformer of 3 layers.*'unet'"):
        NETWORKS.make(Part(name="unet"), NetworkContext(TINY, 1, 2))


@pytest.mark.parametrize("grid", [(7,), (4, 5), (3, 4, 5)])
def test_scores_depend_on_how_far_apart_tokens_are_alone(grid):
    turns = turns_of(grid, 26, torch.device("cpu"))
    query, key = (torch.randn(26, generator=torch.Generator().manual_seed(seed)).expand(1, 1, turns.shape[1], 26)
                  for seed in (0, 1))
    scores = (turned(query, turns) @ turned(key, turns).transpose(2, 3))[0, 0].view(*grid, *grid)
    here, there = tuple(0 for _ in grid), tuple(1 for _ in grid)
    moved = tuple(n - 2 for n in grid), tuple(n - 1 for n in grid)
    torch.testing.assert_close(scores[here + there], scores[moved[0] + moved[1]])
    assert not torch.isclose(scores[here + there], scores[there + here])


def test_a_larger_grid_keeps_the_turns_of_a_smaller_one():
    small, large = (turns_of(grid, 24, torch.device("cpu")).unflatten(1, grid) for grid in ((2, 3), (4, 5)))
    assert torch.equal(large[:, :2, :3], small)


def test_drop_path_goes_on_from_its_saved_counter():
    first, second = DropPath(12, 0.5), DropPath(12, 0.5)
    draws = [first(8) for _ in range(4)]
    second.load_state_dict({"counter": torch.tensor(2)})
    assert torch.equal(second(8), draws[2]) and not torch.equal(draws[2], draws[3])


def test_drop_path_of_several_processes_is_that_of_one():
    whole, parts = DropPath(6, 0.6)(8), []
    for rank in range(2):
        with join(Ranks(rank=rank, n=2, n_local=2)):
            parts.append(DropPath(6, 0.6)(4))
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_drop_path_leaves_out_as_many_as_it_should_and_keeps_the_mean():
    dropping = DropPath(5, 0.4)
    draws = torch.stack([dropping(16) for _ in range(400)])
    left_out = (draws == 0).double().mean((0, 2, 3))
    torch.testing.assert_close(left_out, torch.tensor([0, 0.1, 0.2, 0.3, 0.4], dtype=torch.double), atol=0.02, rtol=0)
    torch.testing.assert_close(draws.mean((0, 2, 3)), torch.ones(5), atol=0.05, rtol=0)
    flat = (draws[:, 4] == 0).double().flatten(1)
    assert torch.corrcoef(flat.T).fill_diagonal_(0).abs().max() < 0.25  # samples and branches are drawn by themselves


def test_evaluation_leaves_nothing_out_and_draws_nothing():
    network, image = made().eval(), torch.randn(1, 2, 16, 16, 16)
    assert torch.equal(network.encode(image)[0], network.encode(image)[0])
    assert int(network.drop_path.counter) == 0


def test_attention_maps_are_shares_from_which_attention_follows():
    network = made().eval()
    maps = list(network.attention_maps(torch.randn(2, 2, 16, 8, 8)))
    assert [scores.shape for scores in maps] == [(2, 4, 16, 16)] * 3
    torch.testing.assert_close(maps[0].sum(-1), torch.ones(2, 4, 16))
    attention, x, turns = network.layers[0].attention, torch.randn(2, 16, 48), turns_of((4, 2, 2), 12, torch.device("cpu"))
    values = attention.to_value(x).unflatten(2, (4, 12)).transpose(1, 2)
    torch.testing.assert_close(attention.to_result((attention.scores(x, turns) @ values).transpose(1, 2).flatten(2)),
                               attention(x, turns))


def test_half_precision_gives_nearly_the_same():
    network, image = made().eval(), torch.randn(1, 2, 16, 16, 16)
    exact = network.decode(network.encode(image), every_stage=False)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network.decode(network.encode(image), every_stage=False)[0]
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.15)


def test_a_compiled_network_computes_the_same():
    network, image = made(TINY.model_copy(update={"depth": 1})).eval(), torch.randn(1, 2, 8, 8, 8)
    compiled = torch.compile(network.encode, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(image)[0], network.encode(image)[0])


@pytest.mark.parametrize("conditioner", ["film", "daft", "tokens"])
@pytest.mark.parametrize("fusion", ["concat", "hemis", "attention"])
def test_conditions_and_fusions_work_as_with_a_unet(conditioner, fusion):
    plan = plan_of(TINY, (16, 16, 16), conditioning=Part(name=conditioner), fusion=Part(name=fusion))
    torch.manual_seed(0)
    model = build_model(plan, plan.configurations["c"], Layout(inputs=(ConditionInput(name="age", width=1, start=0),)))
    age = ConditionBatch(torch.ones(2, 1), torch.ones(2, 1, dtype=torch.bool))
    image = torch.randn(2, 1, 16, 16, 16)
    assert torch.equal(model.eval()(image, None, age), model(image))  # it starts as the identity
    model.train()(image, None, age)[0].square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.conditioning.parameters())


def ball(n: int, edge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A bright ball beside the middle, in noise: image (1, 1, *space) and label (1, *space)."""
    axes = torch.meshgrid(*[torch.arange(edge, dtype=torch.float32)] * n, indexing="ij")
    label = (sum((axis - edge * 0.4) ** 2 for axis in axes).sqrt() < edge / 4).long()[None]
    noise = torch.randn(1, 1, *(edge,) * n, generator=torch.Generator().manual_seed(0))
    return label[None].float() + 0.7 * noise, label


def overfitted_dice(shape: ViT, edge: int, steps: int) -> float:
    """Dice of a patch that a transformer was trained on alone."""
    plan = plan_of(shape, (edge,) * shape.dimensions)
    torch.manual_seed(0)
    model = build_model(plan, plan.configurations["c"])
    loss = build_loss(plan.labels, plan.configurations["c"], "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3 if shape.width < 100 else 3e-4, betas=(0.9, 0.98))
    image, label = ball(shape.dimensions, edge)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(image), label).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
    with torch.inference_mode():
        predicted = model.eval()(image).argmax(1)
    return float(2 * (predicted * label).sum() / (predicted + label).sum())


@pytest.mark.parametrize("shape", [TINY, ViT(token=(8, 8), width=48, depth=3, heads=4)])
def test_a_tiny_transformer_overfits_a_patch(shape):
    assert overfitted_dice(shape, 16 if shape.dimensions == 3 else 48, steps=40) > 0.9


@pytest.mark.slow
def test_primus_s_overfits_a_patch():
    assert overfitted_dice(ViT(token=(8, 8, 8), width=396, depth=12, heads=6), 48, steps=60) > 0.9


def test_the_state_of_a_training_holds_the_counter():
    network = made()
    network.encode(torch.randn(1, 2, 8, 8, 8))
    other = made()
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    assert int(other.drop_path.counter) == 1
