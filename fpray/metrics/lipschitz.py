"""How far a reconstruction can move when its vector moves: Lipschitz bounds, layer by layer (Tangari et al. 2023,
appendix E).

A network's constant is at most the product of its layers' constants, each a largest singular value. Weights come in as
arrays; `fpray.attacks.inversion.lipschitz` takes them from a network. All distances are Euclidean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """One layer's part of a bound."""

    name: str
    kind: str
    """'scale', 'dense', 'transposed', 'batch-norm' or 'activation'."""
    bound: float
    """No change of the layer's input changes its output by more than this many times as much."""
    source: float
    """What the source's method puts here; 1 for BatchNorm, which it calls contractive, and for the scale, which it has
    not.
    """


def network_bound(factors: Sequence[Factor]) -> tuple[float, float]:
    """The product of the layers' bounds (eq. 6), ours and the source's."""
    return math.prod(factor.bound for factor in factors), math.prod(factor.source for factor in factors)


def dense_norm(weight: npt.ArrayLike) -> float:
    """The largest singular value of a dense layer's (out, in) weights."""
    return float(_largest(np.asarray(weight, dtype=np.float64)))


def batch_norm_factor(gamma: npt.ArrayLike, variance: npt.ArrayLike, eps: float) -> float:
    """max |gamma| / sqrt(variance + eps) of a BatchNorm in eval mode; above 1 it is no contraction.

    Args:
        gamma: (C,) scales.
        variance: (C,) running variances.
        eps: what is added to them.
    """
    scale = np.abs(np.asarray(gamma, dtype=np.float64))
    return float((scale / np.sqrt(np.asarray(variance, dtype=np.float64) + eps)).max())


def leaky_relu_factor(slope: float) -> float:
    """The steeper of the two halves of LeakyReLU: 1 for slopes from -1 to 1."""
    return max(1.0, abs(slope))


def scale_factor(deviation: npt.ArrayLike) -> float:
    """Of standardising by (length,) deviations: what the least of them stretches its dimension by."""
    return float(1 / np.asarray(deviation, dtype=np.float64).min())


def transposed_singular_values(kernel: npt.ArrayLike, size: tuple[int, int], stride: int = 2) -> Array:
    """All singular values of a transposed convolution on a grid whose edges meet (a torus), the largest first.

    Sedghi, Gupta & Long (2019, theorem 6) for stride 1. With a stride s the picture's frequencies that differ by a
    multiple of the input's sides come from one frequency of the input, so that their s^2 matrices stand on one another;
    their common singular values over s are the operator's. At stride 1 these are those of the convolution as well.

    Args:
        kernel: (in, out, height, width) as torch keeps the weights of ConvTranspose2d.
        size: height and width of the input's map.
        stride: the output's sides are as many times the input's.

    Returns:
        (height * width * min(in, s^2 * out),) float64.
    """
    values = [np.linalg.svd(matrix, compute_uv=False) for matrix, _ in _by_frequency(kernel, size, stride, half=False)]
    return np.sort(np.concatenate(values))[::-1]


def transposed_bound(kernel: npt.ArrayLike, size: tuple[int, int], stride: int = 2) -> float:
    """A bound of the norm of a transposed convolution as networks have it, with edges and any padding.

    It is the norm on a torus so large that nothing meets across its edges: there the layer is the torus's operator
    on inputs that are 0 outside `size`, of whose output padding cuts off a part. See `transposed_singular_values`.
    """
    sides = np.asarray(kernel).shape[2:]
    height, width = (side + max(-(-(span - stride) // stride), 0) for side, span in zip(size, sides, strict=True))
    return max(_largest(matrix) for matrix, _ in _by_frequency(kernel, (height, width), stride, half=True))


def inserted_norm(kernel: npt.ArrayLike, size: tuple[int, int], stride: int = 2) -> float:
    """The source's constant of a transposed convolution: the norm of the convolution of stride 1 with the same kernel.

    It sees the layer as that convolution on an input with zeros in between (appendix E), and so counts inputs that
    are not 0 there: never below the layer's own norm on the same torus. Arguments: see `transposed_singular_values`.
    """
    enlarged = (size[0] * stride, size[1] * stride)
    return max(_largest(matrix) for matrix, _ in _by_frequency(kernel, enlarged, 1, half=True))


def _by_frequency(
    kernel: npt.ArrayLike, size: tuple[int, int], stride: int, half: bool
) -> Iterator[tuple[npt.NDArray[np.complex128], tuple[int, int]]]:
    """The operator's block (s^2 * out, in) at each frequency of the input; half: one of two conjugate ones."""
    weights = np.asarray(kernel, dtype=np.float64)
    before, after, *sides = weights.shape
    flat = weights.reshape(before * after, -1)
    turns = [-2j * np.pi * np.arange(span) / (side * stride) for span, side in zip(sides, size, strict=True)]
    steps = np.arange(stride)
    for row in range(size[0] // 2 + 1 if half else size[0]):
        for column in range(size[1]):
            down = np.exp((row + steps * size[0])[:, None] * turns[0])
            right = np.exp((column + steps * size[1])[:, None] * turns[1])
            waves = np.einsum('ia,jb->ijab', down, right).reshape(stride**2, -1)
            block = (flat @ waves.T).reshape(before, after * stride**2).T
            yield block / stride, (row, column)


def _largest(matrix: npt.NDArray[np.complex128] | Array) -> float:
    """The largest singular value, by the smaller of the two Gram matrices."""
    turned = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.conj().T
    return float(np.sqrt(max(np.linalg.eigvalsh(turned @ turned.conj().T)[-1], 0.0)))
