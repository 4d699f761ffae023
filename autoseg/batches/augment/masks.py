"""Masks and parameters, drawn on the CPU, and the rows of a batch that they change."""

from collections.abc import Callable

import torch


def draw_mask(count: int, probability: float, generator: torch.Generator) -> list[bool]:
    """For each of `count` items whether it changes."""
    return (torch.rand(count, generator=generator) < probability).tolist()


def draw_uniform(interval: tuple[float, float], shape: int | tuple[int, ...],
                 generator: torch.Generator) -> torch.Tensor:
    """Float32 values on the CPU, uniform in the interval."""
    low, high = interval
    return low + (high - low) * torch.rand(shape, generator=generator)


def draw_factor(interval: tuple[float, float], count: int, generator: torch.Generator) -> torch.Tensor:
    """Factors that lie below and above 1 equally often, uniform on either side (batchgenerators' rule).

    Where the interval has no side below 1, all lie above.
    """
    low, high = interval
    below = torch.rand(count, generator=generator) < (0.5 if low < 1 else 0.0)
    smaller = draw_uniform((low, 1.0), count, generator)
    larger = draw_uniform((max(low, 1.0), high), count, generator)
    return torch.where(below, smaller, larger)


def choose_rows(size: tuple[int, int], n_all: int, p: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    """Rows of an image (B, n_all, ...) seen as (B * n_all, ...): p[0] per sample, then p[1] per channel.

    `size` is B and the number of leading channels that may be chosen; int64 on the CPU.
    """
    samples = torch.rand(size[0], 1, generator=generator) < p[0]
    channels = torch.rand(size, generator=generator) < p[1]
    sample, channel = (samples & channels).nonzero(as_tuple=True)
    return sample * n_all + channel


def change_rows(image_BCDHW: torch.Tensor, rows_N: torch.Tensor,
                change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replace rows of a contiguous image by `change` of them (N, *space), in place; the others are not touched."""
    if len(rows_N) == 0:
        return
    flat = image_BCDHW.view(-1, *image_BCDHW.shape[2:])
    index = rows_N.to(flat.device, non_blocking=True)
    flat.index_copy_(0, index, change(flat.index_select(0, index)))


def per_row(values_N: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """One value per row, on the rows' device, shaped to broadcast over their space."""
    return values_N.to(rows.device, rows.dtype, non_blocking=True).view(-1, *[1] * (rows.ndim - 1))


def draw_noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard normal values on the device of `like`, determined by the CPU generator."""
    if like.device.type == "cpu":
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)
    seed = int(torch.randint(2**62, (), generator=generator))
    on_device = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=on_device, dtype=like.dtype, device=like.device)
