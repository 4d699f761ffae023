"""The passes of all models over one case, and what they say together on the grid of its file."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from autoseg.datasets.case import Case, PreparedCase
from autoseg.prediction.export import make_certain_outside, probability_slabs, restore_label, restore_probabilities
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.uncertainty import Votes
from autoseg.prediction.watch import Watch

# Of a case whose voxels are no longer needed.
NO_VOXELS = np.zeros((0, 0, 0, 0), np.float32)


def n_stages(members: Sequence[ConfigurationModel], votes: Votes | None) -> int:
    """The stages of a `Watch`: with votes, models predict one by one; a cascade has an earlier stage."""
    return sum((1 if votes is None else len(member.models)) + (member.previous is not None) for member in members)


def _logits(member: ConfigurationModel, prepared: PreparedCase, case: Case, votes: Votes | None, watch: Watch
            ) -> torch.Tensor:
    """Mean logits of a member; where votes are asked for, model by model, which costs one resampling each."""
    if votes is None:
        return member.logits(prepared, case, watch=watch)
    total: torch.Tensor | None = None
    for model in member.models:
        logits = member.logits(prepared, case, [model], watch)
        votes.add(probability_slabs(logits, prepared, member.plan, member.configuration))
        logits.div_(len(member.models))  # before they are added: half precision has a largest value
        # Where the device was too small for one of them, its logits are in the host's memory.
        total = logits if total is None else _sum(total, logits)
    if total is None:
        raise ValueError(f"{member.name} has no model")
    return total


def _sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b, on the CPU where one of them lies there."""
    device = a.device if a.device == b.device else torch.device("cpu")
    return a.to(device).add_(b.to(device))


def predict_alone(member: ConfigurationModel, prepared: PreparedCase, case: Case, *, probabilities: bool,
                  votes: Votes | None, watch: Watch) -> tuple[np.ndarray, np.ndarray | None]:
    """The label map of one configuration and, where they are asked for, its probabilities."""
    logits = _logits(member, prepared, case, votes, watch)
    prepared = replace(prepared, image_CDHW=NO_VOXELS, absent_CDHW=None)  # export needs the memory
    arguments = (logits, prepared, member.plan, member.configuration)
    return restore_label(*arguments), restore_probabilities(*arguments) if probabilities else None


def mean_probabilities(members: Sequence[tuple[ConfigurationModel, Case]], votes: Votes | None, watch: Watch) -> np.ndarray:
    """Mean probabilities (K, z, y, x; float16) of several configurations on the file's grid, each with the case as it sees
    it.
    """
    labels, share = members[0][0].plan.labels, 1 / len(members)
    mean_KDHW = np.zeros((labels.n_heads, *members[0][1].geometry.shape), np.float16)
    for member, case in members:
        prepared = member.prepare_all(case, watch)
        logits = _logits(member, prepared, case, votes, watch)
        for window, slab in probability_slabs(logits, prepared, member.plan, member.configuration):
            mean_KDHW[(slice(None), *window)] += (slab * share).astype(np.float16)
        if not labels.has_regions:
            make_certain_outside(mean_KDHW[0], prepared, share)
    return mean_KDHW
