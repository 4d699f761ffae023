"""The Dice of validation patches, by which the curve of a training and its warnings go."""

import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.training.tasks.segmentation import patch_dice
from planners.schema.labels import LabelSpec

CPU = Runtime(torch.device("cpu"), torch.float32)
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))


class Truth(torch.nn.Module):
    """Logits of the regions that the image holds as label values."""

    def forward(self, image, present, conditions, absent):
        return torch.cat([image > 0.5, image > 1.5], dim=1) * 20.0 - 10


def test_a_region_that_was_not_annotated_counts_neither_as_true_nor_as_predicted():
    label = torch.tensor([[[0, 1, 2, 2]], [[0, 0, 2, 2]]], dtype=torch.int16)  # the second case has its core alone
    annotated = torch.tensor([[True, True], [False, True]])
    batch = Batch(label[:, None].float(), label, torch.ones(2, 1, dtype=torch.bool), annotated_BK=annotated)
    assert patch_dice(Truth(), iter([batch]), 1, REGIONS, CPU) == {"whole": 1.0, "core": 1.0}
