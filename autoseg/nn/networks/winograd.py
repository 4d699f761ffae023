"""Convolutions of kernel 3 with half of the multiplications (Winograd 1980; F(4, 3) of Lavin and Gray 2016).

Along the first axis of space, four neighbouring outputs are linear in six products of what six inputs and three weights
make, where the definition takes twelve. The products are convolutions over the two other axes. The result is that of the
definition up to rounding: twice the rounding of a direct convolution (tests/nn/test_winograd.py).
"""

from collections.abc import Sequence

import torch

from autoseg.nn.networks.pieces import shares, side_by_side

Piece = tuple[int, int]  # the number of a sample, and its first output of up to four
OUTPUTS, PRODUCTS = 4, 6
# Rows: products. What they read of the six inputs (first) and of the three weights (second); the third says what each of
# the four outputs takes of them. The points of the interpolation are 0, 1, -1, 2, -2 and infinity.
OF_INPUTS = torch.tensor([[4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0],
                           [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]])
OF_WEIGHTS = torch.tensor([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
                            [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])
TO_OUTPUTS = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_EVERYWHERE = 1  # the product that every output takes once: a bias that is added to it is added to them
_LEAST_CHANNELS, _LEAST_VOXELS = 16, 1024
# Values that are transformed at a time: larger pieces leave the cache, smaller ones keep convolutions short.
_VALUES_AT_ONCE = 2**23


def pays(x_BCDHW: torch.Tensor, c_out: int) -> bool:
    """Whether `convolved` is the faster way: enough channels and voxels for the products to be worth their sums, and few of
    the last outputs of four beyond the image (benchmarks/winograd.py).
    """
    n_samples, c_in, depth, height, width = x_BCDHW.shape
    return (min(c_in, c_out) >= _LEAST_CHANNELS and n_samples * depth * height * width >= _LEAST_VOXELS and fills(depth))


def fills(depth: int) -> bool:
    """Whether few of the last outputs of four are beyond the image: at most 0.6 of the definition's products are left."""
    n_products, n_by_definition = PRODUCTS * -(-depth // OUTPUTS), 3 * depth
    return 5 * n_products <= 3 * n_by_definition


def pieces_of(n_samples: int, depth: int) -> list[Piece]:
    return [(sample, first) for sample in range(n_samples) for first in range(0, depth, OUTPUTS)]


def pieces_at_once(n_values: int) -> int:
    """How many pieces are transformed at a time, where one slice of them has so many values."""
    return max(1, _VALUES_AT_ONCE // (PRODUCTS * n_values))


def transform_inputs(rows_DX: torch.Tensor, first: int, out: torch.Tensor) -> None:
    """What the products of the piece from the output `first` on read: (6, X)."""
    low, high = max(0, first - 1), min(len(rows_DX), first + OUTPUTS + 1)  # beyond them is padding
    torch.mm(OF_INPUTS[:, low - first + 1:high - first + 1], rows_DX[low:high], out=out)


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
            for place, (sample, first) in enumerate(part):
                transform_inputs(rows_BDX[sample], first, inputs[:, place])
            for number, (kernel_OHWC, input_TX) in enumerate(zip(kernels, inputs, strict=True)):
                seen = input_TX[:len(part)].view(-1, height, width, c_in).movedim(-1, 1)
                product = torch.ops.aten.mkldnn_convolution(
                    seen, kernel_OHWC.movedim(-1, 1), bias_O if number == _EVERYWHERE else None, (1, 1), (1, 1), (1, 1), 1)
                products[number, :len(part)] = product.movedim(1, -1).flatten(1)
            for place, (sample, first) in enumerate(part):
                n_rows = min(OUTPUTS, depth - first)
                torch.mm(TO_OUTPUTS[:n_rows], products[:, place], out=result_BDX[sample, first:first + n_rows])

    side_by_side(fill, shares(pieces_of(n_samples, depth), at_once))
    return result_BDX.view(n_samples, depth, height, width, c_out).movedim(-1, 1)
