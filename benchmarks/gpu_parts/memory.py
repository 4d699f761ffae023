"""GPU memory of a training step: predicted by arithmetic against what the allocator held at most."""

from statistics import median

import torch

from autoseg.base.runtime import Runtime
from gpu_parts.plans import NAME, Setting, hippocampus_plan, ten_plans
from gpu_parts.steps import endless, our_step, wait
from gpu_parts.table import NOT_MEASURED, Table
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

_GIB = 2**30


def measure_memory(table: Table, runtime: Runtime, *, small: bool) -> None:
    """One row a plan, then how far off the predictions are. Plans whose need exceeds the device are left out."""
    errors = []
    for title, configuration, n_inputs, n_outputs in ten_plans(small):
        half = 2 if runtime.dtype != torch.float32 else 4
        predicted = configuration.architecture.training_bytes(configuration.patch, n_inputs, n_outputs,
                                                              batch=configuration.batch, bytes_per_value=half,
                                                              averaged=True)
        what = f"memory of {title}, batch {configuration.batch} of {'x'.join(map(str, configuration.patch))}"
        if runtime.device.type != "cuda":
            table.add(what, f"{NOT_MEASURED}; predicted {predicted / _GIB:.3f} GiB", "needs CUDA's allocator")
            continue
        try:
            peak = _peak_bytes(_setting(title, configuration, n_inputs, n_outputs), runtime)
        except torch.cuda.OutOfMemoryError:
            table.add(what, "out of memory", f"predicted {predicted / _GIB:.2f} GiB")
            continue
        errors.append(predicted / peak - 1)
        table.add(what, f"{peak / _GIB:.2f} GiB, predicted {predicted / _GIB:.2f} GiB", f"{errors[-1]:+.0%}")
    if errors:
        within = sum(abs(error) <= 0.15 for error in errors)
        table.add("memory predicted within 15 %", f"{within} of {len(errors)} plans",
                  f"median error {median(errors):+.0%}; target: all")


def _peak_bytes(setting: Setting, runtime: Runtime) -> int:
    """The most that tensors held in three steps with one random batch, what was held before left out."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(runtime.device)
    state = endless(setting, runtime)
    step = our_step(setting, state, state.model, runtime)
    with runtime.same_shapes():
        step()
        wait(runtime)  # cuDNN has tried its algorithms, whose workspaces no later step needs
        torch.cuda.reset_peak_memory_stats(runtime.device)
        for _ in range(2):
            step()
        wait(runtime)
    return torch.cuda.max_memory_allocated(runtime.device) - before


def _setting(title: str, configuration: Configuration, n_inputs: int, n_outputs: int) -> Setting:
    names = {"background": (0,), **{f"label {value}": (value,) for value in range(1, n_outputs)}}
    plan: Plan = hippocampus_plan().model_copy(update={
        "channels": tuple(ChannelSpec(name=f"MR {channel}") for channel in range(n_inputs)),
        "labels": LabelSpec(names=names), "configurations": {NAME: configuration}})
    return Setting(title, plan, ())
