"""Iterations a second: our step against a plain one, with data and without, compiled and not, resident and streamed."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream, make_batches
from autoseg.batches.store import store_cases
from autoseg.nn.losses.deep import build_loss
from autoseg.nn.model import build_model
from autoseg.nn.networks.norm import InstanceNorm
from autoseg.preprocessing.store import open_cases, write_prepared
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import Forward, train_step
from autoseg.training.tasks.segmentation import Segmentation
from gpu_parts.plans import Setting
from gpu_parts.table import NOT_MEASURED, Table, ratio
from gpu_parts.workers import worker_batches

Step = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How long is measured: seconds a row, steps before and between two readings of the clock, processes that load."""

    seconds: float
    warm_up: int
    at_once: int
    workers: int | None  # None: leave that row out


def measure_speed(table: Table, setting: Setting, runtime: Runtime, effort: Effort, *, modes: tuple[str, ...]) -> None:
    """All rows of one plan. `modes` are those of torch.compile that are tried; none on a CPU."""
    torch._dynamo.reset()
    configuration = setting.configuration
    title = f"{setting.title}, batch {configuration.batch} of {'x'.join(map(str, configuration.patch))}"
    cuda = runtime.device.type == "cuda"
    plain = per_second(plain_step(setting, runtime.device), runtime, effort)
    table.add(f"{title}: plain step ({'fp16' if cuda else 'float32'}, channels first), no data", f"{plain:.2f} it/s")
    state = endless(setting, runtime)
    ours, forward = _fastest(table, title, setting, state, runtime, effort, modes)
    table.add(f"{title}: ours (fastest) / plain (not compiled), no data", ratio(ours, plain), "target >= 1.5x on an H200")
    measured = (state, forward, ours)
    table.part(f"{title}: with data", lambda: _with_data(table, title, setting, measured, runtime, effort))
    what = f"{title}: plain step fed by CPU workers"
    if effort.workers is None:
        table.add(what, NOT_MEASURED, "with the small patch only, for time")
    else:
        table.part(what, lambda: _from_workers(table, title, setting, plain, runtime, effort))


def measure_compiled_plain(table: Table, setting: Setting, runtime: Runtime, effort: Effort) -> None:
    """nnU-Net compiles by default; the same plain step so."""
    torch._dynamo.reset()
    step = plain_step(setting, runtime.device, compiled=True)
    first = first_call(step, runtime)
    table.add(f"{setting.title}: plain step compiled, no data", f"{per_second(step, runtime, effort):.2f} it/s",
              f"first call {first:.0f} s")


def plain_step(setting: Setting, device: torch.device, *, compiled: bool = False, batches: Iterator | None = None) -> Step:
    """As nnU-Net trains: contiguous tensors, fp16 autocast and loss scaling, torch's own norm and SGD, the loss read."""
    configuration, cuda = setting.configuration, device.type == "cuda"
    torch.manual_seed(0)
    model = _with_torchs_norm(build_model(setting.plan, configuration), configuration.dimensions).to(device).train()
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.99, nesterov=True, weight_decay=3e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=cuda)
    loss = build_loss(setting.plan.labels, configuration, device)
    fixed = random_batch(setting, device)

    def step() -> torch.Tensor:
        image, label = (fixed.image_BCDHW, fixed.label_BDHW) if batches is None else (
            part.to(device, non_blocking=True) for part in next(batches))
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.float16, enabled=cuda):
            value = loss(forward(image), label)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 12)
        scaler.step(optimizer)
        scaler.update()
        return value.detach().cpu()

    return step


def endless(setting: Setting, runtime: Runtime) -> TrainState:
    """A new training with more iterations ahead than will be measured."""
    state = new_state(Segmentation(setting.plan, setting.configuration), setting.configuration, runtime, seed=0)
    state.schedule = state.schedule.model_copy(update={"iterations": 10**6})
    state.model.train()
    return state


def our_step(setting: Setting, state: TrainState, forward: Forward, runtime: Runtime, batches: Iterator[Batch] | None = None
             ) -> Step:
    loss = Segmentation(setting.plan, setting.configuration).build_loss(runtime.device)
    fixed = random_batch(setting, runtime.device)
    return lambda: train_step(state, forward, loss, fixed if batches is None else next(batches), runtime)


def random_batch(setting: Setting, device: torch.device) -> Batch:
    configuration = setting.configuration
    n_channels, generator = len(configuration.normalizers), torch.Generator().manual_seed(0)
    image = torch.randn(configuration.batch, n_channels, *configuration.patch, generator=generator)
    label = torch.randint(0, len(setting.plan.labels.names), (configuration.batch, *configuration.patch),
                          generator=generator)
    return Batch(image, label.to(torch.int16), torch.ones(configuration.batch, n_channels, dtype=torch.bool)).to(device)


def per_second(step: Step, runtime: Runtime, effort: Effort) -> float:
    with runtime.same_shapes():
        for _ in range(effort.warm_up):
            step()
        wait(runtime)
        start, n = time.perf_counter(), 0
        while True:
            for _ in range(effort.at_once):
                step()
            wait(runtime)
            n += effort.at_once
            if time.perf_counter() - start >= effort.seconds:
                return n / (time.perf_counter() - start)


def first_call(step: Step, runtime: Runtime) -> float:
    start = time.perf_counter()
    step()
    wait(runtime)
    return time.perf_counter() - start


def wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)


def _fastest(table: Table, title: str, setting: Setting, state: TrainState, runtime: Runtime, effort: Effort,
             modes: tuple[str, ...]) -> tuple[float, Forward]:
    """The rate without data of the fastest form of the model, and that form."""
    best, forward = per_second(our_step(setting, state, state.model, runtime), runtime, effort), state.model
    precision = str(runtime.dtype).removeprefix("torch.")
    table.add(f"{title}: our step ({precision}, channels last), not compiled, no data", f"{best:.2f} it/s")
    if not modes:
        table.add(f"{title}: our step compiled, no data", NOT_MEASURED, "compiling is for CUDA")
    for mode in modes:
        what = f"{title}: our step compiled ({mode}), no data"
        try:
            compiled = torch.compile(state.model, mode=mode)
            step = our_step(setting, state, compiled, runtime)
            first = first_call(step, runtime)
            rate = per_second(step, runtime, effort)
        except Exception as error:  # the compiler raises what its many backends raise
            table.add(what, f"failed: {type(error).__name__}", str(error).splitlines()[0][:160] if str(error) else "")
            continue
        table.add(what, f"{rate:.2f} it/s", f"first call {first:.0f} s")
        if rate > best:
            best, forward = rate, compiled
    return best, forward


def _with_data(table: Table, title: str, setting: Setting, measured: tuple[TrainState, Forward, float], runtime: Runtime,
               effort: Effort) -> None:
    state, forward, without = measured
    resident = _stream(setting, store_cases(setting.training, runtime.device, 2**62), runtime)
    _synchronises(table, title, our_step(setting, state, forward, runtime, resident), runtime)
    rate = per_second(our_step(setting, state, forward, runtime, resident), runtime, effort)
    table.add(f"{title}: our step, data resident and augmented ({setting.configuration.augmentation.name})",
              f"{rate:.2f} it/s")
    table.add(f"{title}: ours with data / without", ratio(rate, without), "target >= 0.95x on an H200")
    with tempfile.TemporaryDirectory() as folder:
        for case in setting.training[:64]:
            write_prepared(Path(folder), case, setting.configuration.patch)
        store = store_cases(open_cases(Path(folder), [case.name for case in setting.training[:64]]), runtime.device, 0)
        streamed = _stream(setting, store, runtime)
        table.add(f"{title}: our step, data streamed from the disk",
                  f"{per_second(our_step(setting, state, forward, runtime, streamed), runtime, effort):.2f} it/s",
                  f"one reading thread; with resident data {rate:.2f} it/s")
        streamed.close()
    alone = per_second(lambda: next(resident), runtime, effort)
    table.add(f"{title}: cutting and augmenting alone", f"{1000 / alone:.1f} ms a batch",
              f"the step alone {1000 / without:.1f} ms")


def _stream(setting: Setting, store, runtime: Runtime) -> BatchStream:
    return make_batches(store, setting.configuration, setting.plan.labels, 0, runtime.device)


def _synchronises(table: Table, title: str, step: Step, runtime: Runtime) -> None:
    """Whether anything in the loop waits for the device."""
    what = f"{title}: the host waits for the device within the loop"
    if runtime.device.type != "cuda":
        table.add(what, NOT_MEASURED, "needs CUDA")
        return
    with runtime.same_shapes():
        for _ in range(3):
            step()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(10):
                step()
            table.add(what, "never in 10 iterations", "torch.cuda.set_sync_debug_mode")
        except RuntimeError as error:
            table.add(what, "yes", str(error).splitlines()[0][:160])
        finally:
            torch.cuda.set_sync_debug_mode("default")


def _from_workers(table: Table, title: str, setting: Setting, without: float, runtime: Runtime, effort: Effort) -> None:
    batches = worker_batches(setting, effort.workers, pinned=runtime.device.type == "cuda")
    rate = per_second(plain_step(setting, runtime.device, batches=iter(batches)), runtime, effort)
    table.add(f"{title}: plain step fed by {effort.workers} CPU workers", f"{rate:.2f} it/s",
              f"{rate / without:.2f} of it without data; our augmentation, on CPU cores")


def _with_torchs_norm(module: nn.Module, dimensions: int) -> nn.Module:
    kind = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}[dimensions]
    for name, child in module.named_children():
        if isinstance(child, InstanceNorm):
            setattr(module, name, kind(len(child.weight), eps=child.eps, affine=True))
        else:
            _with_torchs_norm(child, dimensions)
    return module


