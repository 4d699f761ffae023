"""Gradients of convolutions of kernel 3 with half of the multiplications: the same products as `winograd.py`, transposed.

Where outputs are A'[(G w) (B' x)], the gradient of the weights is G'[(A g) (B' x)], summed over all pieces of four outputs:
six products of slices in place of twelve. The gradient of the input is a convolution with the reversed kernel.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch.autograd.function import once_differentiable

from autoseg.nn.networks import winograd
from autoseg.nn.networks.pieces import in_threads, shares

_LEAST_CHANNELS, _LEAST_MULTIPLICATIONS = 8, 2**22
_ONES = (1, 1, 1)


def pays(x_BCDHW: torch.Tensor, c_out: int) -> bool:
    """Whether `Convolution` is faster than torch's (benchmarks/winograd.py): enough channels and voxels, few of the last
    outputs of four beyond the image; two pieces at least, since torch leaves oneDNN for a single thin one.
    """
    n_pieces = len(x_BCDHW) * -(-x_BCDHW.shape[2] // winograd.OUTPUTS)
    return n_pieces > 1 and winograd.is_worth_it(x_BCDHW, c_out, _LEAST_CHANNELS, _LEAST_MULTIPLICATIONS)


class Convolution(torch.autograd.Function):
    """A convolution of stride 1 that is padded by 1, with its gradients: (x_BCDHW, weight_OC333, bias_O or None) -> BODHW.

    Float32 on a CPU; has no second derivatives.
    """

    @staticmethod
    def forward(ctx, x_BCDHW, weight_OC333, bias_O):
        ctx.save_for_backward(x_BCDHW, weight_OC333)
        return _convolved(x_BCDHW, weight_OC333, bias_O)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient_BODHW):
        x_BCDHW, weight_OC333 = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (_convolved(gradient_BODHW, weight_OC333.flip(2, 3, 4).transpose(0, 1), None) if of_x else None,
                weight_gradient(x_BCDHW, gradient_BODHW) if of_weight else None,
                gradient_BODHW.sum((0, 2, 3, 4)) if of_bias else None)


def _convolved(x_BCDHW: torch.Tensor, weight_OC333: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    if winograd.pays(x_BCDHW, len(weight_OC333)):
        return winograd.convolved(x_BCDHW, weight_OC333, bias_O)
    directly: torch.Tensor = torch.ops.aten.mkldnn_convolution(x_BCDHW, weight_OC333, bias_O, _ONES, _ONES, _ONES, 1)
    return directly


def weight_gradient(x_BCDHW: torch.Tensor, gradient_BODHW: torch.Tensor) -> torch.Tensor:
    """The gradient of the weights, (O, C, 3, 3, 3), of a convolution of stride 1 padded by 1; float32, channels last."""
    n_samples, c_in, depth, height, width = x_BCDHW.shape
    c_out = gradient_BODHW.shape[1]
    x_BDX, gradient_BDX = (values.movedim(1, -1).reshape(n_samples, depth, -1) for values in (x_BCDHW, gradient_BODHW))
    at_once = winograd.pieces_at_once(x_BDX.shape[2] + gradient_BDX.shape[2])

    def products_of(parts: list[Sequence[winograd.Piece]]) -> torch.Tensor:
        inputs, gradients = (x_BCDHW.new_empty(winograd.PRODUCTS, len(parts[0]), height * width * n) for n in (c_in, c_out))
        sums_POCHW = x_BCDHW.new_zeros(winograd.PRODUCTS, c_out, c_in, 3, 3)
        for part in parts:
            winograd.transform_inputs(x_BDX, part, inputs[:, :len(part)])
            winograd.transform_gradients(gradient_BDX, part, gradients[:, :len(part)])
            for sum_OCHW, input_NX, gradient_NX in zip(sums_POCHW, inputs, gradients, strict=True):
                sum_OCHW += _of_slices(*(values[:len(part)].view(-1, height, width, n).movedim(-1, 1)
                                         for values, n in ((input_NX, c_in), (gradient_NX, c_out))))
        return sums_POCHW

    products_POCHW = reduce(torch.add, in_threads(products_of, shares(winograd.pieces_of(n_samples, depth), at_once)))
    return torch.tensordot(winograd.OF_WEIGHTS.t(), products_POCHW, 1).movedim(0, 2)


def _of_slices(x_NCHW: torch.Tensor, gradient_NOHW: torch.Tensor) -> torch.Tensor:
    """The gradient of a kernel 3x3, (O, C, 3, 3)."""
    weight_OCHW = x_NCHW.new_empty(gradient_NOHW.shape[1], x_NCHW.shape[1], 3, 3)
    gradient: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient_NOHW, x_NCHW, weight_OCHW, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [False, True, False])[1]
    return gradient
