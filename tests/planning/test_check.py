"""A part that is not there, or does not take its options, is refused before anything is written."""

import pytest

from autoseg.base.errors import UserError
from autoseg.planning.resolve import apply_changes
from planners.architectures.vit import ViT
from planners.schema.base import Part
from tests_support import small_plan


@pytest.mark.parametrize(("change", "said"), [
    ("loss.name=foo", "unknown loss 'foo'; known: dice_ce"),
    ("loss.options.ce_wight=1", "expected: options: dice_weight, ce_weight, smooth"),
    ("network.name=unnet", "did you mean 'unet'"),
    ("network.options.width=1", "expected: options: none"),
    ("augmentation.name=nnune", "did you mean 'nnunet'"),
    ("schedule.optimizer.name=lion", "unknown optimizer 'lion'"),
    ("schedule.optimizer.options.betas=3", "betas"),
    ("patch=[16,15,16]", "the patch [16, 15, 16] must be divisible by [2, 2, 2]"),
    ("network.name=vit", "the network 'vit' wants an architecture of kind 'vit', this one is 'unet'"),
    ("architecture={\"kind\": \"vit\", \"token\": [8, 8, 8], \"width\": 50, \"depth\": 1, \"heads\": 3}",
     "must be a multiple of the heads"),
    ("architecture.kernel_sizes=[[3,3,3],[4,3,3]]", "kernel_sizes must be odd"),
    ("architecture.block=resdual", "'plain', 'residual', 'ghost' or 'mednext'"),
    ("architecture.skip=attention", "'plain' or 'gated'"),
    ("architecture.expansion=0", "expansion"),
    ("patch=[16,16]", "must all have 2 axes"),
    ("normalizers=[]", "0 normalizers for 1 channels"),
    ("prior=[0.1,0.1,0.1]", "3 values of prior for 2 foreground names"),
    ("mirror_axes=[0,3]", "from 0 to 2"),
    ("schedule.iterations=null", "neither iterations nor budget_seconds"),
    ("previous=3d_lowres", "no configuration '3d_lowres'")])
def test_a_plan_with_a_wrong_part_is_refused(change, said):
    with pytest.raises(UserError) as raised:
        apply_changes(small_plan(), "3d_fullres", [change])
    assert said in str(raised.value)


@pytest.mark.parametrize(("change", "said"), [
    ("patch=[16,20,16]", "the patch [16, 20, 16] must be divisible by [8, 8, 8], the edges of its tokens"),
    ("patch=[8,8,8]", "is a single token"), ("network.name=unet", "wants an architecture of kind 'unet', this one is 'vit'"),
    ("architecture.token=[8,8]", "must have 3 axes"), ("architecture.token=[6,6,6]", "powers of two")])
def test_a_transformer_that_does_not_fit_together_is_refused(change, said):
    plan = small_plan(architecture=ViT(token=(8, 8, 8), width=24, depth=2, heads=2), network=Part(name="vit"))
    with pytest.raises(UserError) as raised:
        apply_changes(plan, "3d_fullres", [change])
    assert said in str(raised.value)
