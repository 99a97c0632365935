"""Likeness of pictures against closed forms, curves against the package bjontegaard and against plain integration."""

import numpy as np
import pytest

from fpray.metrics.image import (
    bd_rate,
    cdf,
    dssim,
    mean_rate,
    median_rate,
    ms_ssim,
    mse,
    psnr,
    psnr_at,
    psnr_of,
    ssim,
)
from fpray.metrics.people import resampled

# The example in the manual of the package bjontegaard 1.3.0 (two HEVC encodings); its bd_rate with method 'pchip'.
ANCHOR = [9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851]
OTHER = [9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987]
PUBLISHED = -4.417485350589045


def pictures(n=3, channels=1, side=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side), np.uint8)


def test_mse_and_psnr_are_those_of_a_known_difference():
    a = np.full((2, 3, 20, 30), 100, np.uint8)
    b = a.copy()
    b[1, :, :10] = 90  # uint8 differences must not wrap
    assert mse(a, b) == pytest.approx([0, 50])
    assert psnr(a, b)[0] == np.inf
    assert psnr(a, b)[1] == pytest.approx(10 * np.log10(255**2 / 50))
    assert psnr_of(255.0**2) == pytest.approx(0)


def test_ssim_of_flat_pictures_has_a_closed_form():
    """Without variance only the luminance term is left: (2 a b + C1) / (a^2 + b^2 + C1)."""
    a, b = np.full((1, 1, 176, 192), 50.0), np.full((1, 1, 176, 192), 80.0)
    c1 = (0.01 * 255) ** 2
    luminance = (2 * 50 * 80 + c1) / (50**2 + 80**2 + c1)
    assert ssim(a, b) == pytest.approx([luminance], abs=2e-6)  # the window is float32: its sum is 1 - 1e-7
    assert ms_ssim(a, b) == pytest.approx([luminance**0.1333], abs=2e-6)  # the coarsest scale alone sees luminance


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise():
    for measure, a in ((ssim, pictures(18, side=48)), (ms_ssim, pictures(2, side=161))):  # 18: more than one block
        noise = np.random.default_rng(1).normal(size=a.shape)
        little, much = a + 2 * noise, a + 30 * noise
        assert measure(a, a) == pytest.approx(np.ones(len(a)))
        assert np.all(measure(a, little) > measure(a, much))
        assert measure(a[-1:], much[-1:]) == pytest.approx(measure(a, much)[-1:], abs=1e-12)


def test_small_pictures_have_no_ssim():
    a = pictures(side=10)
    assert ssim(a, a) is None
    assert ms_ssim(pictures(side=160), pictures(side=160)) is None
    assert ms_ssim(pictures(side=161), pictures(side=161)) is not None


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match='equally large'):
        mse(pictures(side=20), pictures(side=21))


def test_bd_rate_is_the_packages():
    assert bd_rate(*ANCHOR, *OTHER) == pytest.approx(PUBLISHED, abs=1e-9)
    order = [2, 0, 3, 1]
    shuffled = [[values[i] for i in order] for values in ANCHOR]
    assert bd_rate(*shuffled, *OTHER) == pytest.approx(PUBLISHED, abs=1e-9)


def test_bd_rate_is_near_the_classical_cubic_fit():
    """Second implementation: VCEG-M33's third-order polynomial, integrated numerically."""
    low = max(min(ANCHOR[1]), min(OTHER[1]))
    high = min(max(ANCHOR[1]), max(OTHER[1]))
    at = np.linspace(low, high, 20_001)
    logs = [np.polyval(np.polyfit(psnr_, np.log(rate), 3), at) for rate, psnr_ in (ANCHOR, OTHER)]
    cubic = 100 * np.expm1(np.mean(logs[1] - logs[0]))
    assert bd_rate(*ANCHOR, *OTHER) == pytest.approx(cubic, abs=0.02)


def test_bd_rate_of_a_scaled_curve_is_its_scale():
    rates, values = [0.1, 0.3, 0.6, 1.5], [25.0, 29, 32, 37]
    assert bd_rate(rates, values, np.multiply(rates, 0.8), values) == pytest.approx(-20)
    assert bd_rate(rates, values, rates, values) == pytest.approx(0, abs=1e-12)
    assert bd_rate(rates, values, rates, np.add(values, 20)) is None
    assert bd_rate(rates, values, [0.3], [29]) is None


def test_psnr_at_passes_through_the_points_and_stops_at_the_ends():
    rates, values = [1.5, 0.1, 0.6, 0.3], [37.0, 25, 32, 29]
    assert psnr_at(rates, values, 0.6) == pytest.approx(32)
    assert 29 < psnr_at(rates, values, 0.4) < 32
    assert psnr_at(rates, values, 0.09) is None and psnr_at(rates, values, 1.6) is None
    line = np.log([0.1, 0.3, 0.6, 1.5])
    assert psnr_at(np.exp(line), 30 + 4 * line, 0.4) == pytest.approx(30 + 4 * np.log(0.4))
    assert psnr_at([0.5], [30], 0.5) == 30 and psnr_at([], [], 0.5) is None


def test_dssim_is_half_of_what_ssim_lacks_to_one():
    a, b = np.full((1, 1, 40, 40), 50.0), np.full((1, 1, 40, 40), 80.0)
    c1 = (0.01 * 255) ** 2
    assert dssim(a, b) == pytest.approx([(1 - (8000 + c1) / (2500 + 6400 + c1)) / 2], abs=2e-6)
    stripes = np.tile([0, 255], (1, 1, 40, 20)).astype(np.uint8)
    assert dssim(stripes, stripes) == pytest.approx([0])
    assert 0.9 < dssim(stripes, 255 - stripes)[0] <= 1  # the opposite structure
    assert dssim(pictures(), pictures(seed=1)) == pytest.approx(0.5, abs=0.05)
    assert dssim(pictures(side=10), pictures(side=10)) is None


def test_cdf_climbs_by_counts():
    x, y = cdf([3, 1, 2, 2])
    assert (x.tolist(), y.tolist()) == ([1, 2, 3], [0.25, 0.75, 1])
    with pytest.raises(ValueError, match='needs values'):
        cdf([])
    with pytest.raises(ValueError, match='not finite'):
        cdf([1, np.nan])


def test_mean_and_median_are_numpys_in_every_draw_of_copied_people():
    person = np.repeat(np.arange(6), [1, 4, 2, 3, 5, 2])
    values = np.random.default_rng(0).normal(size=17).round(1)
    for rate_of, of in ((mean_rate, np.mean), (median_rate, np.median)):
        rate = rate_of(values, person, 4, 200)
        drawn = [of(np.repeat(values, w[person].astype(int))) for w in resampled(np.zeros(6), 200, 4)]
        assert rate.estimate == pytest.approx(drawn[0]) and rate.chance is None and (rate.n, rate.n_people) == (17, 6)
        assert min(drawn) - 1e-12 <= rate.lower < rate.upper <= max(drawn) + 1e-12
        assert rate.interval == pytest.approx(np.quantile(drawn[1:], (0.0113, 0.9887)), abs=0.12)
    with pytest.raises(ValueError, match='one person a row'):
        median_rate(values, person[1:], 0)
