"""`pretrained`: the encoder of a 2D network that `autoseg_pretrain` has trained, pooled over each tile."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.datasets.case import Case
from autoseg.formats.files import digest
from autoseg.nn.model import Model, build_model
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.tokens.registry import TILE_ENCODERS, Tile, TileEncoder, TileEncoderContext
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import FoldFolder
from planners.schema.base import Frozen
from planners.schema.plan import Configuration, Plan

_LEAST_FEATURES = 2  # along each axis of the deepest map: the normalisation of a single one has no deviation


class PretrainedOptions(Frozen):
    """`model` is the folder of a pre-training, such as `models/Dataset001_X/budgeted/2d/pretrained_mae`; `weights` the
    digest of its checkpoint, empty for any.
    """

    model: str
    weights: str = ""


@TILE_ENCODERS.register("pretrained", PretrainedOptions)
def pretrained(options: PretrainedOptions, context: TileEncoderContext) -> TileEncoder:
    """Mean and deviation of the deepest feature maps; tiles are prepared as the plan of the pre-training says.

    Raises UserError where the folder holds no finished pre-training, or one of other images than 2D pictures in colour.
    """
    folder = FoldFolder(Path(options.model))
    plan, name, model = _loaded(folder)
    if options.weights not in ("", digest(folder.checkpoint)):
        raise UserError("the pre-training has other weights than before", where=folder.path, do="choose another --name")
    configuration = plan.configurations[name]
    model = model.to(context.device)

    def encode(tiles: Sequence[Tile]) -> np.ndarray:
        return np.stack([_features(tile, plan, configuration, model, context.device) for tile in tiles])

    return encode


def _loaded(folder: FoldFolder) -> tuple[Plan, str, Model]:
    plan = read_model(folder.path / "plan.json", Plan)
    name = next(iter(plan.configurations))
    if len(plan.configurations) != 1 or not folder.path.name.startswith("pretrained_"):
        raise UserError("the folder is not that of a pre-training", where=folder.path,
                        do="name one that autoseg_pretrain has written: models/DATASET/PLANNER/2d/pretrained_METHOD")
    if plan.configurations[name].dimensions != 2 or len(plan.channels) != 3:
        raise UserError("the network does not encode 2D pictures in colour", where=folder.path,
                        found=f"{name} of {len(plan.channels)} channels", expected="a 2d network of three channels",
                        do="pre-train one: autoseg_pretrain -d D -c 2d, of a dataset of pictures in colour")
    model = build_model(plan, plan.configurations[name], n_outputs=len(plan.channels))
    weights, _ = load_weights(folder.checkpoint)
    model.load_state_dict(weights)
    return plan, name, model.eval()


@torch.inference_mode()
def _features(tile: Tile, plan: Plan, configuration: Configuration, model: Model, device: str) -> np.ndarray:
    case = Case(tile.name, tile.image_CDHW, np.ones(3, dtype=bool), tile.geometry)
    image_CYX = prepare(case, plan, configuration, device).image_CDHW[:][:, 0]
    edges = [max(_LEAST_FEATURES, -(-edge // step)) * step
             for edge, step in zip(image_CYX.shape[1:], configuration.architecture.divisor, strict=True)]
    padding = [(0, 0), *((0, edge - length) for edge, length in zip(edges, image_CYX.shape[1:], strict=True))]
    whole = torch.from_numpy(np.pad(image_CYX, padding, mode="symmetric"))[None].to(device)
    deepest_CN = model.network.encode(model.fusion(whole, None))[-1][0].flatten(1)
    return torch.cat([deepest_CN.mean(1), deepest_CN.std(1, correction=0)]).float().cpu().numpy()
