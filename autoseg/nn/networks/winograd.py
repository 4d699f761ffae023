"""Convolutions of kernel 3 with half of the multiplications (Winograd 1980; F(4, 3) of Lavin and Gray 2016).

Along the first axis of space, four neighbouring outputs are linear in six products of what six inputs and three weights
make, where the definition takes twelve. The products are convolutions over the two other axes. The result is that of the
definition up to rounding: twice the rounding of a direct convolution (tests/nn/test_winograd.py).
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch

from autoseg.base.threads import threads_to_share
from autoseg.nn.networks.pieces import in_threads, shares

Piece = tuple[int, int]  # the number of a sample, and the number of four outputs
OUTPUTS, PRODUCTS = 4, 6
# Rows: products. What they read of the six inputs (first) and of the three weights (second); the third says what each of
# the four outputs takes of them. The points of the interpolation are 0, 1, -1, 2, -2 and infinity.
OF_INPUTS = torch.tensor([[4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
                           [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]])
OF_WEIGHTS = torch.tensor([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
                            [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])
TO_OUTPUTS = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_EVERYWHERE = 1  # the product that every output takes once: a bias that is added to it is added to them
_LEAST_CHANNELS, _LEAST_MULTIPLICATIONS, _LEAST_VOXELS = 16, 2**23, 1024
# Values that are transformed at a time: larger pieces leave the cache, smaller ones keep convolutions short.
_VALUES_AT_ONCE = 2**23


def pays(x_BCDHW: torch.Tensor, c_out: int) -> bool:
    """Whether `convolved` is the faster way: enough channels and voxels for the products to be worth their sums, and few of
    the last outputs of four beyond the image (benchmarks/winograd.py).
    """
    return is_worth_it(x_BCDHW, c_out, _LEAST_CHANNELS, _LEAST_MULTIPLICATIONS)


def is_worth_it(x_BCDHW: torch.Tensor, c_out: int, least_channels: int, least_multiplications: int) -> bool:
    """Whether a layer has so many channels, enough voxels for the transforms of its weights, and so many multiplications of
    the definition for each weight of the kernel and thread; and at most 0.6 of all of them are left.
    """
    n_samples, c_in, *space = x_BCDHW.shape
    voxels, depth = n_samples * math.prod(space), space[0]
    n_products, n_by_definition = PRODUCTS * -(-depth // OUTPUTS), 3 * depth
    return (min(c_in, c_out) >= least_channels and voxels >= _LEAST_VOXELS
            and voxels * c_in * c_out >= least_multiplications * threads_to_share()
            and 5 * n_products <= 3 * n_by_definition)


def pieces_of(n_samples: int, depth: int) -> list[Piece]:
    return [(sample, number) for sample in range(n_samples) for number in range(-(-depth // OUTPUTS))]


def pieces_at_once(n_values: int) -> int:
    """How many pieces are transformed at a time, where one slice of them has so many values."""
    return max(1, _VALUES_AT_ONCE // (PRODUCTS * n_values))


def transform_inputs(rows_BDX: torch.Tensor, pieces: Sequence[Piece], result_PNX: torch.Tensor) -> None:
    """What the products of the pieces read of their inputs."""
    depth = rows_BDX.shape[1]
    for sample, first, places in _runs(pieces, 1, (depth - OUTPUTS - 1) // OUTPUTS + 1):
        start = OUTPUTS * first - 1
        low, high = max(0, start), min(depth, start + OUTPUTS * (places.stop - places.start) + 2)  # beyond them is padding
        _transform(OF_INPUTS[:, low - start:], rows_BDX[sample, low:high], result_PNX[:, places])


def transform_gradients(rows_BDX: torch.Tensor, pieces: Sequence[Piece], result_PNX: torch.Tensor) -> None:
    """What the products of the pieces read of the gradients of their outputs."""
    for sample, first, places in _runs(pieces, 0, rows_BDX.shape[1] // OUTPUTS):
        rows_RX = _outputs(rows_BDX[sample], first, places)
        _transform(TO_OUTPUTS.t(), rows_RX, result_PNX[:, places])


def transform_products(products_PNX: torch.Tensor, pieces: Sequence[Piece], result_BDX: torch.Tensor) -> None:
    """The outputs of the pieces, of their products."""
    for sample, first, places in _runs(pieces, 0, result_BDX.shape[1] // OUTPUTS):
        n, rows_RX = places.stop - places.start, _outputs(result_BDX[sample], first, places)
        n_outputs = len(rows_RX) // n
        torch.bmm(TO_OUTPUTS[:n_outputs].expand(n, -1, -1), products_PNX[:, places].transpose(0, 1),
                  out=rows_RX.view(n, n_outputs, -1))


def _runs(pieces: Sequence[Piece], low: int, stop: int) -> Iterator[tuple[int, int, slice]]:
    """Pieces that one call of torch can transform: sample, first number, and their places. Neighbours from number `low` to
    before `stop` come together, others alone.
    """
    def key(member: tuple[int, Piece]) -> tuple[int, int]:
        sample, number = member[1]
        return sample, -1 if low <= number < stop else number

    for _, members in itertools.groupby(enumerate(pieces), key):
        (place, (sample, first)), *others = members
        yield sample, first, slice(place, place + 1 + len(others))


def _outputs(rows_DX: torch.Tensor, first: int, places: slice) -> torch.Tensor:
    return rows_DX[OUTPUTS * first:OUTPUTS * (first + places.stop - places.start)]


def _transform(matrix_PK: torch.Tensor, rows_RX: torch.Tensor, result_PNX: torch.Tensor) -> None:
    """The matrix times the rows of each of n pieces, which begin four rows apart."""
    n = result_PNX.shape[1]
    n_rows = len(rows_RX) - OUTPUTS * (n - 1)
    rows_NKX = rows_RX.unfold(0, n_rows, OUTPUTS).transpose(1, 2)
    torch.bmm(matrix_PK[:, :n_rows].expand(n, -1, -1), rows_NKX, out=result_PNX.transpose(0, 1))


def convolved(x_BCDHW: torch.Tensor, weight_OC333: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    """The convolution of stride 1 that is padded by 1, (B, O, D, H, W; float32, channels last), without gradients."""
    n_samples, c_in, depth, height, width = x_BCDHW.shape
    c_out = len(weight_OC333)
    rows_BDX = x_BCDHW.movedim(1, -1).reshape(n_samples, depth, -1)
    kernels = torch.mm(OF_WEIGHTS, weight_OC333.permute(2, 0, 3, 4, 1).reshape(3, -1)).view(PRODUCTS, c_out, 3, 3, c_in)
    result_BDX = x_BCDHW.new_empty(n_samples, depth, height * width * c_out)
    at_once = pieces_at_once(rows_BDX.shape[2])

    def fill(parts: list[Sequence[Piece]]) -> None:
        inputs, products = (x_BCDHW.new_empty(PRODUCTS, len(parts[0]), height * width * n) for n in (c_in, c_out))
        for part in parts:
            transform_inputs(rows_BDX, part, inputs[:, :len(part)])
            for number, (kernel_OHWC, input_TX) in enumerate(zip(kernels, inputs, strict=True)):
                seen = input_TX[:len(part)].view(-1, height, width, c_in).movedim(-1, 1)
                product = torch.ops.aten.mkldnn_convolution(
                    seen, kernel_OHWC.movedim(-1, 1), bias_O if number == _EVERYWHERE else None, (1, 1), (1, 1), (1, 1), 1)
                products[number, :len(part)] = product.movedim(1, -1).flatten(1)
            transform_products(products[:, :len(part)], part, result_BDX)

    in_threads(fill, shares(pieces_of(n_samples, depth), at_once))
    return result_BDX.view(n_samples, depth, height, width, c_out).movedim(-1, 1)
