"""A case and predictors that have learned nothing."""

import torch

from autoseg.base.runtime import Runtime
from autoseg.nn.model import build_model
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from tests_support import SPHERES, small_plan, sphere_case

CASE = sphere_case("ball", 3)


def member_of(seed=0, n_models=1, labels=SPHERES, **changes) -> ConfigurationModel:
    """Networks that have learned nothing, each with weights of its own."""
    plan = small_plan(labels=labels, mirror_axes=(), **changes)
    torch.manual_seed(seed)
    models = [FoldModel(build_model(plan, plan.configurations["3d_fullres"]).eval()) for _ in range(n_models)]
    return ConfigurationModel(plan, "3d_fullres", models, Runtime(torch.device("cpu"), torch.float32))


def predictor_of(*arguments, **changes) -> Predictor:
    """A predictor of one such configuration."""
    return Predictor([member_of(*arguments, **changes)])
