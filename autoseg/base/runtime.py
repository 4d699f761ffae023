"""The device a run uses: what it is, how precisely it computes, how much memory is there."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from autoseg.base.errors import UserError
from autoseg.base.memory import free_host_bytes, freed_memory_kept

# Share of a host's free memory that a CPU training may plan with; the rest stays for the data and the system.
_CPU_MEMORY_SHARE = 0.5

S = TypeVar("S")


class Movable(Protocol):
    """A tensor or a module."""

    def to(self: S, *args: Any, **kwargs: Any) -> S: ...


X = TypeVar("X", bound=Movable)


@dataclass(frozen=True)
class Runtime:
    """A device and the dtype that autocast uses on it (float32: no autocast).

    A `deterministic` one uses, within `repeatable`, only algorithms that give the same bits for the same input.
    """

    device: torch.device
    dtype: torch.dtype
    deterministic: bool = False

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def arranged(self, module_or_image: X, dimensions: int) -> X:
        """A module or an image on this device, in the memory layout whose convolutions are fastest there.

        Tensor cores want channels last. On a CPU oneDNN's gradient of the weights takes a quarter to a third less time
        with it (docs/decisions/0003).
        """
        if self.device.type not in ("cuda", "cpu"):
            return module_or_image.to(self.device)
        layout = torch.channels_last_3d if dimensions == 3 else torch.channels_last
        return module_or_image.to(self.device, memory_format=layout)

    @contextmanager
    def same_shapes(self) -> Iterator[None]:
        """Within this context convolutions see the same shapes again and again.

        On CUDA cuDNN tries its algorithms once; on a CPU memory that is freed is kept for the next step.
        """
        before = torch.backends.cudnn.benchmark
        # The fastest algorithm of today is not always that of tomorrow.
        torch.backends.cudnn.benchmark = (self.device.type == "cuda" or before) and not self.deterministic
        try:
            with freed_memory_kept() if self.device.type == "cpu" else nullcontext():
                yield
        finally:
            torch.backends.cudnn.benchmark = before

    @contextmanager
    def repeatable(self) -> Iterator[None]:
        """Within this context a deterministic runtime computes what it computed before, bit for bit.

        On a CPU this holds for the same number of threads. Where CUDA has no such algorithm, torch warns.
        """
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums with it alone
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def release_cache(self) -> None:
        """Give memory that torch holds without use back to the device, for other processes."""
        gc.collect()  # tensors in reference cycles
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    @property
    def device_name(self) -> str:
        """What a GPU calls itself, else `cpu` or `mps`."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    @property
    def needs_loss_scaling(self) -> bool:
        return self.dtype == torch.float16


def named_device(device: str) -> str:
    """The device that `auto` means on this machine; every other name is as it was."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def open_runtime(device: str = "auto") -> Runtime:
    """The runtime of `auto`, `cpu`, `cuda`, `cuda:1` or `mps`; a UserError where the machine has no such device, or where
    the working directory is gone: MKL then ends the process at its first product.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working directory is gone, and torch cannot compute without one",
                        do="change to a directory that is there, and start again") from None
    device = named_device(device)
    kind = device.split(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in available:
        raise UserError("unknown device", found=device, expected="auto, cpu, cuda, cuda:N or mps")
    if not available[kind]:
        usable = ", ".join(name for name, is_available in available.items() if is_available)
        raise UserError(f"this machine has no {kind} device that torch can use", found=usable,
                        do="choose one of these with --device, or install a torch build for it")
    try:
        opened = torch.device(device)
    except RuntimeError:
        raise UserError("unknown device", found=device, expected="auto, cpu, cuda, cuda:N or mps") from None
    if kind == "cuda" and (opened.index or 0) >= torch.cuda.device_count():
        raise UserError("this machine has no such GPU", found=f"{device} of {torch.cuda.device_count()} GPUs")
    return Runtime(opened, _precision(kind))


def _precision(kind: str) -> torch.dtype:
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    # Processors with AVX512-BF16 or AMX convolve bfloat16 about twice as fast as float32; others emulate it, slower.
    has_mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch does not annotate it
    if kind == "cpu" and has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        # Private, and not in every torch since 2.4.
        native = any(getattr(torch.cpu, name, lambda: False)()
                     for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return torch.bfloat16 if native else torch.float32
    return torch.float32


def memory_bytes(device: torch.device) -> int:
    """Memory that a training on this device may plan with."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return int(free_host_bytes() * _CPU_MEMORY_SHARE)


def used_bytes(device: torch.device) -> int:
    """Memory in use: the most that tensors have held on a GPU so far, or what this process holds of the host now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss


def free_device_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process can still have: what is free, and what torch holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA, MPS and the CPU's allocator have no error type in common in every torch since 2.4."""
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "alloc_failed" in text
