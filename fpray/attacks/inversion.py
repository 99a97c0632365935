"""Inversion: what did the person behind a vector look like? (Tangari et al. 2023, sections 4.2, 6.2, 6.4, 7, appendix E)

Beside the trained reconstructor stand the baselines that any claim must beat: the mean training picture, the training
picture with the nearest vector, and a search for a picture in the input of the network itself. Pictures are (N, C, H,
W) uint8, vectors (N, length) raw.
"""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpray.attacks.model_inference import Ranges
from fpray.attacks.threat import INVERSION_THREATS, InversionAttack
from fpray.data.images import to_float, to_uint8
from fpray.errors import UserError
from fpray.metrics.lipschitz import (
    Factor,
    batch_norm_factor,
    dense_norm,
    inserted_norm,
    leaky_relu_factor,
    scale_factor,
    transposed_bound,
)
from fpray.models.extractors import Extractor
from fpray.models.reconstructor import Reconstructor
from fpray.training.loop import asked, derive, numerics, padded
from fpray.training.reconstruction import reconstruct

BLOCK = 1024  # vectors compared at a time


# Baselines ----------------------------------------------------------------------------------------------------


def mean_image(pixels: np.ndarray) -> np.ndarray:
    """The mean of (M, C, H, W) uint8 pictures, (C, H, W) uint8: what a guess without a vector looks like.

    Raises:
        UserError: no pictures.
    """
    if len(pixels) == 0:
        raise UserError('no pictures to take the mean of', 'give at least one')
    total = np.zeros(pixels.shape[1:], dtype=np.float64)
    for first in range(0, len(pixels), BLOCK):
        total += np.asarray(pixels[first : first + BLOCK], dtype=np.float64).sum(axis=0)
    return np.rint(total / len(pixels)).astype(np.uint8)


def nearest_image(vectors: np.ndarray, known_vectors: np.ndarray, known_pixels: np.ndarray) -> np.ndarray:
    """For each vector the known picture whose vector has the largest cosine; the first of equals.

    Args:
        vectors: (N, length).
        known_vectors: (M, length).
        known_pixels: (M, C, H, W) uint8, may be a memory map.

    Returns:
        (N, C, H, W) uint8.

    Raises:
        UserError: no known pictures, lengths that differ.
    """
    if len(known_vectors) == 0 or len(known_vectors) != len(known_pixels):
        raise UserError(f'{len(known_pixels)} known pictures with {len(known_vectors)} vectors', 'give one vector a picture')
    if vectors.shape[1] != known_vectors.shape[1]:
        raise UserError(f'vectors of length {vectors.shape[1]} beside {known_vectors.shape[1]}', "give one network's")
    ours, theirs = _unit(vectors), _unit(known_vectors)
    rows = [(ours[first : first + BLOCK] @ theirs.T).argmax(axis=1) for first in range(0, len(ours), BLOCK)]
    return np.asarray(known_pixels[np.concatenate(rows)])


def direct(
    network: Extractor,
    vectors: np.ndarray,
    *,
    start: np.ndarray,
    steps: int = 200,
    seconds: float = 0.0,
    lr: float = 0.05,
    smoothness: float = 0.1,
    noise: float = 0.0,
    seed: int = 0,
    batch: int = 64,
    threads: int = 1,
) -> np.ndarray:
    """Search for pictures that the network maps to the vectors, by Adam on the pixels (after MIFace, Fredrikson et al.
    2015).

    Minimises 1 - cosine plus the total variation. Pictures are searched for one by one, in batches for speed: none
    hangs on the others.

    Args:
        network: the extractor that the attacker takes the target for; its mode is restored.
        vectors: (N, length).
        start: (C, H, W) uint8, where the search starts: the mean training picture.
        steps: of each picture.
        seconds: above 0: the time for all pictures together, in place of `steps`; then results hang on the machine.
        lr: Adam's learning rate; pixels lie in [-1, 1].
        smoothness: weight of the mean absolute difference between neighbouring pixels.
        noise: standard deviation of what is added to the start, drawn from `seed` for each picture.
        batch, threads: pictures at a time, and threads on a CPU.

    Returns:
        (N, C, H, W) uint8.
    """
    device, training = next(network.parameters()).device, network.training
    wanted = torch.from_numpy(np.asarray(vectors, dtype=np.float32))
    origin = to_float(torch.from_numpy(np.array(start)))
    found = []
    network.eval()
    try:
        with numerics(threads, device):
            for first in range(0, len(wanted), batch):
                part = wanted[first : first + batch]
                begun = [_started(origin, noise, derive(seed, first + row)) for row in range(len(part))]
                limit = seconds * len(part) / len(wanted)
                found.append(_search(network, part.to(device), torch.stack(begun).to(device), steps, limit, lr, smoothness))
    finally:
        network.train(training)
    return np.concatenate(found)


def _started(origin: Tensor, noise: float, seed: int) -> Tensor:
    drawn = torch.randn(origin.shape, generator=torch.Generator().manual_seed(seed))
    return (origin + noise * drawn).clamp(-1, 1)


def _search(
    network: Extractor, wanted: Tensor, picture: Tensor, steps: int, seconds: float, lr: float, smoothness: float
) -> np.ndarray:
    picture = picture.clone().requires_grad_()
    optimiser, until, count = torch.optim.Adam([picture], lr), time.perf_counter() + seconds, 0
    while time.perf_counter() < until if seconds else count < steps:
        loss = (1 - F.cosine_similarity(network(picture), wanted)).sum()
        if smoothness:
            loss = loss + smoothness * _variation(picture).sum()
        (picture.grad,) = torch.autograd.grad(loss, picture)
        optimiser.step()
        with torch.no_grad():
            picture.clamp_(-1, 1)
        count += 1
    return np.asarray(to_uint8(picture.detach().cpu().numpy()))


def _variation(picture: Tensor) -> Tensor:
    """(N,) mean absolute difference between neighbours."""
    down = (picture[:, :, 1:] - picture[:, :, :-1]).abs().flatten(1).mean(dim=1)
    right = (picture[:, :, :, 1:] - picture[:, :, :, :-1]).abs().flatten(1).mean(dim=1)
    return (down + right) / 2


# Between embedding spaces ---------------------------------------------------------------------------------------


def match_ranges(vectors: np.ndarray, source: Ranges, target: Ranges) -> np.ndarray:
    """Stretch each dimension from one network's range to another's (section 7), (n, length) float32.

    Args:
        vectors: (n, length) of the network that is to be inverted.
        source: (low, high) of each dimension of that network; `fpray.attacks.model_inference.ranges_of`.
        target: the same of the network whose vectors the reconstructor knows.

    Returns:
        (n, length); a dimension without any range becomes the middle of the target's.
    """
    values, (low, high) = np.asarray(vectors, dtype=np.float64), (np.asarray(each, dtype=np.float64) for each in source)
    floor, ceiling = (np.asarray(each, dtype=np.float64) for each in target)
    span = high - low
    share = np.divide(values - low, span, out=np.full_like(values, 0.5), where=np.broadcast_to(span > 0, values.shape))
    return (floor + share * (ceiling - floor)).astype(np.float32)


def reordered(vectors: np.ndarray, seed: int) -> np.ndarray:
    """The numbers of each vector in one other order, half of them turned about their mean, (n, length) float32; every
    dimension keeps its mean and deviation.

    Vectors that are alike stay alike, and a long one long, but no network speaks them: another placebo at each seed.
    """
    values = np.asarray(vectors, dtype=np.float64)
    middle, scale = values.mean(axis=0), values.std(axis=0)
    standard = (values - middle) / np.where(scale > 0, scale, 1.0)
    rng, length = np.random.default_rng(seed), values.shape[1]
    order, sign = rng.permutation(length), rng.permutation(np.arange(length) % 2 * 2 - 1)
    return np.asarray(standard[:, order] * sign * scale + middle, dtype=np.float32)


# What moves how far -----------------------------------------------------------------------------------------------


def perceptual(network: Extractor, a: np.ndarray, b: np.ndarray, batch: int = 64, threads: int = 1) -> np.ndarray:
    """Euclidean distance of two pictures' vectors in one network (section 6.2), (n,) float64.

    Args:
        network: the extractor that judges, apart from the one in the loss; its mode is restored.
        a, b: (n, C, H, W) uint8, originals and reconstructions.
    """
    if a.shape != b.shape:
        raise ValueError(f'pictures of different shapes: {a.shape}, {b.shape}')
    distances = np.empty(len(a))
    with asked(network, threads) as device:
        for (first, ours), (_, theirs) in zip(padded(a, batch, device), padded(b, batch, device), strict=True):
            apart = (network(ours) - network(theirs)).double().norm(dim=1)
            distances[first : first + batch] = apart[: len(a) - first].cpu().numpy()
    return distances


def lipschitz(network: Reconstructor) -> list[Factor]:
    """Each layer's part of the bound on how far a reconstruction moves when its vector does, in eval mode (appendix E).

    Pictures are floats in [-1, 1]; `fpray.metrics.lipschitz.network_bound` multiplies.
    """
    size = network.base[1:]
    dense = dense_norm(_array(network.dense.weight))
    factors = [Factor('scale', 'scale', scale_factor(_array(network.std)), 1.0), Factor('dense', 'dense', dense, dense)]
    for number, layer in enumerate(network.body):
        name = f'body.{number}'
        if isinstance(layer, nn.ConvTranspose2d):
            kernel, stride = _array(layer.weight), layer.stride[0]
            bounds = transposed_bound(kernel, size, stride), inserted_norm(kernel, size, stride)
            factors.append(Factor(name, 'transposed', *bounds))
            size = (size[0] * stride, size[1] * stride)
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_var is not None
            bound = batch_norm_factor(_array(layer.weight), _array(layer.running_var), layer.eps)
            factors.append(Factor(name, 'batch-norm', bound, 1.0))
        else:
            slope = leaky_relu_factor(network.config.slope)
            factors.append(Factor(name, 'activation', slope, slope))
    steepest = 0.5 if network.config.last == 'sigmoid' else 1.0
    return [*factors, Factor('last', 'activation', steepest, 1.0)]


def change(network: Reconstructor, a: np.ndarray, b: np.ndarray, batch: int = 64, threads: int = 1) -> np.ndarray:
    """How many times as far as the vectors lie apart, their pictures do: (n,) float64, pictures as floats in [-1, 1].

    Args:
        a, b: (n, length) vectors, such as one picture's in a network before and after an adaptation; nan where equal.
    """
    ratios = np.empty(len(a))
    a, b = (np.asarray(each, dtype=np.float32) for each in (a, b))
    with asked(network, threads) as device:
        for (first, ours), (_, theirs) in zip(padded(a, batch, device), padded(b, batch, device), strict=True):
            moved = (network(ours).double() - network(theirs).double()).flatten(1).norm(dim=1)
            ratio = moved / (ours.double() - theirs.double()).norm(dim=1)
            ratios[first : first + batch] = ratio[: len(a) - first].cpu().numpy()
    return ratios


def measured_change(network: Reconstructor, vectors: np.ndarray, eps: float, seed: int) -> np.ndarray:
    """`change` in a random direction of each vector, (N,).

    Args:
        vectors: (N, length).
        eps: length of the step, as a share of the vector's own.
        seed: of the directions.
    """
    values = np.asarray(vectors, dtype=np.float64)
    drawn = np.random.default_rng(seed).standard_normal(values.shape)
    drawn *= eps * np.linalg.norm(values, axis=1, keepdims=True) / np.linalg.norm(drawn, axis=1, keepdims=True)
    return change(network, values, values + drawn)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _unit(vectors: np.ndarray) -> np.ndarray:
    values = np.asarray(vectors, dtype=np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


# Entries ----------------------------------------------------------------------------------------------------------


def _mean(vectors: np.ndarray, known_pixels: np.ndarray) -> np.ndarray:
    picture = mean_image(known_pixels)
    return np.broadcast_to(picture, (len(vectors), *picture.shape)).copy()


def _reconstructed(vectors: np.ndarray, reconstructor: Reconstructor) -> np.ndarray:
    return reconstruct(reconstructor, vectors)


def _searched(vectors: np.ndarray, network: Extractor, known_pixels: np.ndarray) -> np.ndarray:
    return direct(network, vectors, start=mean_image(known_pixels))


reconstructor = InversionAttack(INVERSION_THREATS['reconstructor'], _reconstructed)
mean = InversionAttack(INVERSION_THREATS['mean'], _mean)
nearest = InversionAttack(INVERSION_THREATS['nearest'], nearest_image)
direct_search = InversionAttack(INVERSION_THREATS['direct'], _searched)
