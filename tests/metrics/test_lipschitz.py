"""Lipschitz bounds: closed forms, and dense matrices of the layers themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fpray.metrics.lipschitz import (
    Factor,
    batch_norm_factor,
    dense_norm,
    inserted_norm,
    leaky_relu_factor,
    network_bound,
    scale_factor,
    transposed_bound,
    transposed_singular_values,
)

CASES = [((2, 3, 5, 5), (4, 4), 2), ((3, 1, 5, 5), (4, 6), 2), ((2, 2, 4, 4), (3, 5), 2), ((2, 3, 3, 3), (5, 4), 1),
         ((1, 2, 3, 3), (3, 4), 3), ((4, 2, 2, 2), (4, 3), 2)]


def dense(kernel: np.ndarray, size: tuple[int, int], stride: int, torus: bool) -> np.ndarray:
    """The layer's matrix, a column for each value of its input; on a torus what lies outside comes in on the other side."""
    basis = torch.eye(kernel.shape[0] * size[0] * size[1], dtype=torch.float64).view(-1, kernel.shape[0], *size)
    full = F.conv_transpose2d(basis, torch.from_numpy(kernel), stride=stride)
    height, width = size[0] * stride, size[1] * stride
    if not torus:  # as the reconstructor has it: the sides exactly `stride` times as long
        top, left = (full.shape[2] - height) // 2, (full.shape[3] - width) // 2
        return full[:, :, top : top + height, left : left + width].flatten(1).T.numpy()
    wrapped = torch.zeros(*full.shape[:2], height, width, dtype=torch.float64)
    for row in range(full.shape[2]):
        for column in range(full.shape[3]):
            wrapped[:, :, row % height, column % width] += full[:, :, row, column]
    return wrapped.flatten(1).T.numpy()


def kernel_of(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(('shape', 'size', 'stride'), CASES)
def test_singular_values_are_those_of_the_dense_matrix(shape, size, stride):
    kernel = kernel_of(shape)
    wanted = np.linalg.svd(dense(kernel, size, stride, torus=True), compute_uv=False)
    found = transposed_singular_values(kernel, size, stride)
    np.testing.assert_allclose(found[: len(wanted)], wanted, atol=1e-9)
    np.testing.assert_allclose(found[len(wanted) :], 0, atol=1e-9)


def test_at_stride_1_they_are_the_convolution_s():
    """Sedghi, Gupta & Long's own lines: the singular values of the kernel's two-dimensional Fourier transform."""
    kernel, size = kernel_of((3, 2, 3, 3)), (6, 5)
    transforms = np.fft.fft2(kernel, size, axes=(2, 3)).transpose(2, 3, 0, 1)
    wanted = np.sort(np.linalg.svd(transforms, compute_uv=False).ravel())[::-1]
    np.testing.assert_allclose(transposed_singular_values(kernel, size, 1), wanted)


@pytest.mark.parametrize(('shape', 'size', 'stride'), CASES)
def test_the_bound_holds_for_layers_with_edges_and_is_near(shape, size, stride):
    for seed in range(5):
        kernel = kernel_of(shape, seed)
        norm = np.linalg.norm(dense(kernel, size, stride, torus=False), 2)
        bound = transposed_bound(kernel, size, stride)
        assert norm <= bound * (1 + 1e-12)
        assert bound < 2 * norm


def test_the_torus_alone_would_be_no_bound():
    """Two weights that meet across the edge of a torus of side 1 cancel; with edges they do not."""
    kernel = np.zeros((1, 1, 1, 4))
    kernel[..., 0], kernel[..., 2] = 1, -1
    assert transposed_singular_values(kernel, (1, 1), 2)[0] == pytest.approx(0)
    layer = F.conv_transpose2d(torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.from_numpy(kernel), stride=2)
    assert transposed_bound(kernel, (1, 1), 2) >= layer.norm().item() - 1e-12


@pytest.mark.parametrize(('shape', 'size', 'stride'), CASES)
def test_the_source_s_constant_is_never_smaller(shape, size, stride):
    kernel = kernel_of(shape)
    exact, theirs = transposed_singular_values(kernel, size, stride)[0], inserted_norm(kernel, size, stride)
    assert theirs >= exact * (1 - 1e-12)
    assert (theirs == pytest.approx(exact)) == (stride == 1)
    enlarged = (size[0] * stride, size[1] * stride)
    assert theirs == pytest.approx(np.linalg.norm(dense(kernel, enlarged, 1, torus=True), 2))


def test_dense_and_batch_norm_and_scale_by_their_matrices():
    rng = np.random.default_rng(0)
    for shape in ((3, 7), (7, 3)):
        weight = rng.standard_normal(shape)
        assert dense_norm(weight) == pytest.approx(np.linalg.norm(weight, 2))
    layer = torch.nn.BatchNorm2d(4, eps=0.01).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -3.0, 1.0, 0.1]))
        layer.running_var.copy_(torch.tensor([0.01, 4.0, 0.2, 0.0]))
    found = layer(torch.eye(4).view(4, 4, 1, 1)) - layer(torch.zeros(4, 4, 1, 1))
    factor = batch_norm_factor(layer.weight.detach(), layer.running_var, layer.eps)
    assert factor == pytest.approx(np.linalg.norm(found.detach().view(4, 4).numpy(), 2), rel=1e-6)
    assert factor > 1  # no contraction
    assert scale_factor([2.0, 0.5, 4.0]) == 2.0


def test_leaky_relu_and_products():
    assert [leaky_relu_factor(slope) for slope in (0.2, 1.0, -0.5, 3.0)] == [1, 1, 1, 3]
    assert network_bound([Factor('a', 'dense', 2.0, 2.0), Factor('b', 'batch-norm', 5.0, 1.0)]) == (10.0, 2.0)
