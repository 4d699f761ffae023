"""Times a training step of the plain U-Net 16-32-64-128 on the CPU: precision, memory layout, waiting OpenMP threads.

    python benchmarks/step.py            # bf16 and float32, contiguous and channels last
    GOMP_SPINCOUNT=1000 python benchmarks/step.py

Batch 2 of 40x56x40, one channel, three labels; forward, loss, backward, clip, AdamW. Median of five steps.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

PATCH, BATCH, FEATURES = (40, 56, 40), 2, (16, 32, 64, 128)
LABELS = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})


def seconds_per_step(dtype: torch.dtype, layout: torch.memory_format) -> float:
    n = len(FEATURES)
    architecture = UNet(strides=((1, 1, 1), *((2, 2, 2),) * (n - 1)), kernel_sizes=((3, 3, 3),) * n, features=FEATURES,
                        blocks_encoder=(2,) * n, convs_decoder=(2,) * (n - 1))
    configuration = Configuration(
        spacing_mm=(1, 1, 1), median_shape=PATCH, patch=PATCH, batch=BATCH, batch_dice=True, architecture=architecture,
        network=Part(name="unet"), normalizers=(Part(name="zscore"),), augmentation=Part(name="none"),
        schedule=Schedule(learning_rate=1e-3, iterations=1))
    plan = Plan(dataset="step", planner="none", channels=(ChannelSpec(name="MR"),), labels=LABELS, transpose=(0, 1, 2),
                configurations={"3d_fullres": configuration})
    model = build_model(plan, configuration).to(memory_format=layout)
    loss = build_loss(LABELS, configuration, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    image = torch.randn(BATCH, 1, *PATCH).to(memory_format=layout)
    label = torch.randint(0, 3, (BATCH, *PATCH))
    taken = []
    for _ in range(6):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            logits = model(image)
        loss(logits, label).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        for dtype in (torch.bfloat16, torch.float32):
            print(f"{dtype!s:15} {layout!s:25} {1000 * seconds_per_step(dtype, layout):6.0f} ms", flush=True)
