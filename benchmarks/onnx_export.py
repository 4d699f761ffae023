"""Graphs of ONNX against our own networks: difference of logits, size, and seconds per patch on a CPU.

    python benchmarks/onnx_export.py [--threads 2] [--repeats 5]

Networks have learned nothing; their time does not depend on it. Ours runs as `autoseg_predict` runs it (channels last, in
the precision that the processor is fast in) and in float32. Prints a Markdown table. Needs the extra `onnx`.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from autoseg.base.runtime import Runtime, open_runtime
from autoseg.interop.onnx_export import onnx_bytes
from autoseg.nn.model import Model, build_model
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

LABELS = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})


def unet(block: str, features: tuple[int, ...], n: int) -> UNet:
    stages, per_stage = len(features), 1 if block == "residual" else 2
    return UNet(block=block, strides=((1,) * n, *((2,) * n,) * (stages - 1)), kernel_sizes=((3,) * n,) * stages,
                features=features, blocks_encoder=(2,) * stages, convs_decoder=(per_stage,) * (stages - 1))


NETWORKS = (
    ("plain U-Net, 4 stages of 32 to 256", unet("plain", (32, 64, 128, 256), 3), (40, 56, 40)),
    ("residual U-Net, 4 stages of 32 to 256", unet("residual", (32, 64, 128, 256), 3), (40, 56, 40)),
    ("Ghost U-Net, 4 stages of 16 to 128", unet("ghost", (16, 32, 64, 128), 3), (40, 56, 40)),
    ("plain U-Net of slices, 6 stages of 32 to 512", unet("plain", (32, 64, 128, 256, 512, 512), 2), (256, 256)),
)


def plan_of(shape: UNet, patch: tuple[int, ...]) -> tuple[Plan, Configuration]:
    n = len(patch)
    configuration = Configuration(
        spacing_mm=(1.0,) * n, median_shape=tuple(map(float, patch)), patch=patch, batch=2, batch_dice=True,
        architecture=shape, network=Part(name="unet"), normalizers=(Part(name="zscore"),), augmentation=Part(name="none"),
        schedule=Schedule(iterations=1, learning_rate=0.01))
    return Plan(dataset="Dataset001_Timed", planner="classic", labels=LABELS, transpose=(0, 1, 2),
                channels=(ChannelSpec(name="CT"),), configurations={"timed": configuration}), configuration


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Median over the repeats; the first run is not counted."""
    measured = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        function()
        measured.append(time.perf_counter() - started)
    return statistics.median(measured[1:])


def ours(model: Model, image: torch.Tensor, runtime: Runtime) -> Callable[[], torch.Tensor]:
    arranged, given = runtime.arranged(model, image.ndim - 2), runtime.arranged(image, image.ndim - 2)

    def run() -> torch.Tensor:
        with torch.inference_mode(), runtime.autocast():
            return arranged(given).float()

    return run


def row(title: str, shape: UNet, patch: tuple[int, ...], threads: int, repeats: int) -> list[str]:
    import onnxruntime

    plan, configuration = plan_of(shape, patch)
    torch.manual_seed(0)
    model, image = build_model(plan, configuration).eval(), torch.randn(1, 1, *patch)
    started = time.perf_counter()
    content = onnx_bytes(model, plan, configuration, title)
    export = time.perf_counter() - started
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {"image": image.numpy()}
    with torch.inference_mode():
        difference = np.abs(session.run(None, given)[0] - model(image).numpy()).max()
    graph = seconds(lambda: session.run(None, given), repeats)
    native = open_runtime("cpu")
    fast = seconds(ours(model, image, native), repeats)
    full = seconds(ours(model, image, Runtime(torch.device("cpu"), torch.float32)), repeats)
    return [title, "x".join(map(str, patch)), f"{len(content) / 2**20:.0f} MiB", f"{export:.1f} s", f"{difference:.1e}",
            f"{graph:.3f} s", f"{full:.3f} s", f"{fast:.3f} s ({str(native.dtype).removeprefix('torch.')})",
            f"{fast / graph:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| network | patch | graph | export | largest difference of logits | onnxruntime | ours, float32 | ours | ours / "
          "onnxruntime |\n|---|---|---|---|---|---|---|---|---|")
    for title, shape, patch in NETWORKS:
        print(f"| {' | '.join(row(title, shape, patch, options.threads, options.repeats))} |", flush=True)


if __name__ == "__main__":
    main()
