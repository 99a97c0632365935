"""Likeness of pictures to their originals, and the two numbers that compare rate-distortion curves.

Pictures are (N, C, H, W) on the 0-255 scale, uint8 or float; one number a picture.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from pytorch_msssim import ms_ssim as _ms_ssim
from pytorch_msssim import ssim as _ssim
from scipy.interpolate import PchipInterpolator

from fpray.metrics.people import BOOTSTRAPS, Array, finite, people_of, percentiles, resampled
from fpray.metrics.rate import Rate

PEAK = 255.0
WINDOW = 11  # px, side of SSIM's Gaussian window
MS_SSIM_SIDE = 16 * (WINDOW - 1) + 1  # px: after four halvings the window must still fit
_BLOCK = 16  # pictures at a time: bounds the memory
_DRAWS = 128  # draws at a time, for the same reason


def mse(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Mean squared error over channels and pixels, (N,), on the 0-255 scale.

    Raises:
        ValueError: the pictures differ in number or size.
    """
    x, y = _pair(a, b)
    return np.array([np.mean((p.astype(np.float64) - q) ** 2) for p, q in zip(x, y, strict=True)])


def psnr(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Peak signal-to-noise ratio, (N,) dB: 10 log10(255^2 / MSE); infinite for equal pictures."""
    return psnr_of(mse(a, b))


def psnr_of(error: npt.ArrayLike) -> Array:
    """Peak signal-to-noise ratio (dB) of mean squared errors on the 0-255 scale."""
    with np.errstate(divide='ignore'):
        return np.asarray(10 * np.log10(PEAK**2 / np.asarray(error, np.float64)))


def ssim(a: npt.ArrayLike, b: npt.ArrayLike) -> Array | None:
    """Structural similarity (Wang et al. 2004), (N,), at most 1; None where a side is under 11 px.

    Gaussian window of 11 px and deviation 1.5, without padding; channels averaged.
    """
    x, y = _pair(a, b)
    return _blockwise(_ssim, x, y) if min(x.shape[2:]) >= WINDOW else None


def ms_ssim(a: npt.ArrayLike, b: npt.ArrayLike) -> Array | None:
    """Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003), (N,); None where a side is under
    161 px.

    Five scales with the published weights; smaller pictures would need other scales, which give other numbers.
    """
    x, y = _pair(a, b)
    return _blockwise(_ms_ssim, x, y) if min(x.shape[2:]) >= MS_SSIM_SIDE else None


def dssim(a: npt.ArrayLike, b: npt.ArrayLike) -> Array | None:
    """Structural dissimilarity (1 - SSIM) / 2, (N,), in [0, 1]: 0 for equal pictures, 0.5 for unrelated ones.

    None where a side is under 11 px. Tangari et al. (2023) print values above 1, which no such formula gives: theirs
    cannot be compared with these.
    """
    alike = ssim(a, b)
    return None if alike is None else (1 - alike) / 2


def cdf(values: npt.ArrayLike) -> tuple[Array, Array]:
    """Empirical distribution: the distinct values, rising, and the share of values at or below each.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    v = finite(values, 'values')
    if not v.size:
        raise ValueError('a distribution needs values')
    x, counts = np.unique(v, return_counts=True)
    return x, np.cumsum(counts) / v.size


def mean_rate(values: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = BOOTSTRAPS) -> Rate:
    """Mean of one number a picture, (n,), with a bootstrap over the people (n,) behind the pictures."""
    return _by_people(finite(values, 'values'), person, seed, draws, _mean)


def median_rate(values: npt.ArrayLike, person: npt.ArrayLike, seed: int, draws: int = BOOTSTRAPS) -> Rate:
    """Median of one number a picture, (n,), with a bootstrap over the people (n,) behind the pictures."""
    return _by_people(finite(values, 'values'), person, seed, draws, _median)


def _by_people(
    values: Array, person: npt.ArrayLike, seed: int, draws: int, statistic: Callable[[Array, Array], Array]
) -> Rate:
    code, k = people_of(person, len(values))
    order = np.argsort(values, kind='stable')
    weight = resampled(np.zeros(k), draws, seed)
    drawn = np.concatenate([statistic(values[order], weight[i : i + _DRAWS][:, code[order]])
                            for i in range(0, len(weight), _DRAWS)])
    return Rate(float(drawn[0]), percentiles(drawn[1:], float(drawn[0]), k), None, len(values), k)


def _mean(values: Array, weight: Array) -> Array:
    return weight @ values / weight.sum(axis=1)


def _median(values: Array, weight: Array) -> Array:
    """(draws,) the middle of rising values (n,) that count as often as whole weights (draws, n) say."""
    total = np.cumsum(weight, axis=1)
    half = total[:, -1:] / 2
    return (values[(total < half).sum(axis=1)] + values[(total <= half).sum(axis=1)]) / 2


def bd_rate(
    bpp_anchor: npt.ArrayLike, psnr_anchor: npt.ArrayLike, bpp: npt.ArrayLike, psnr: npt.ArrayLike
) -> float | None:
    """Bjontegaard's delta rate: mean difference of rate at equal PSNR against the anchor, percent.

    log rate as a function of PSNR, integrated over the PSNR that both curves reach (Bjontegaard 2001, ITU-T
    VCEG-M33). The interpolation is the piecewise cubic Hermite one of the JCT-VC common test conditions, which
    unlike VCEG-M33's cubic does not overshoot between the points.

    Args:
        bpp_anchor, psnr_anchor: (n,) points of the anchor's curve in any order, bpp > 0, PSNR finite.
        bpp, psnr: (m,) points of the other curve.

    Returns:
        Negative where the second curve needs fewer bits; None where the curves share no PSNR or a curve has
        under two points.
    """
    anchor, other = _envelope(psnr_anchor, bpp_anchor), _envelope(psnr, bpp)
    if min(len(anchor[0]), len(other[0])) < 2:
        return None
    low, high = max(anchor[0][0], other[0][0]), min(anchor[0][-1], other[0][-1])
    if high <= low:
        return None
    areas = [PchipInterpolator(x, np.log(y)).integrate(low, high) for x, y in (anchor, other)]
    return float(np.expm1((areas[1] - areas[0]) / (high - low)) * 100)


def psnr_at(bpp_curve: npt.ArrayLike, psnr_curve: npt.ArrayLike, bpp: float) -> float | None:
    """PSNR (dB) of a rate-distortion curve at a rate, by the interpolation of `bd_rate` over log rate.

    Args:
        bpp_curve, psnr_curve: (n,) points in any order.
        bpp: the rate asked for.

    Returns:
        None outside the curve's rates: nothing is extrapolated.
    """
    rates, values = _envelope(bpp_curve, psnr_curve)
    if not len(rates) or not rates[0] <= bpp <= rates[-1]:
        return None
    if len(rates) == 1:
        return float(values[0])
    return float(PchipInterpolator(np.log(rates), values)(np.log(bpp)))


def _envelope(x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
    """Finite points by rising x; points of one x become their mean, since a curve has one value there."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f'a curve needs as many rates as values, got {a.shape} and {b.shape}')
    kept = np.isfinite(a) & np.isfinite(b)
    places, code = np.unique(a[kept], return_inverse=True)
    return places, np.bincount(code, b[kept]) / np.bincount(code)


def _pair(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 4 or x.shape != y.shape:
        raise ValueError(f'pictures must be (N, C, H, W) and equally large, got {x.shape} and {y.shape}')
    return x, y


def _blockwise(
    measure: Callable[..., torch.Tensor], x: npt.NDArray[np.generic], y: npt.NDArray[np.generic]
) -> Array:
    """A measure of pytorch_msssim, in float64: in float32 the variances of flat pictures cancel badly."""
    values = []
    for start in range(0, len(x), _BLOCK):
        pair = (torch.from_numpy(z[start : start + _BLOCK].astype(np.float64)) for z in (x, y))
        values.append(measure(*pair, data_range=PEAK, size_average=False).numpy())
    return np.concatenate(values) if values else np.zeros(0)
