"""The synthetic stand-in: what it promises about determinism, scale, people and identity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.linear_model import RidgeClassifier

from fpray.data import synthetic
from fpray.errors import UserError


def ridge_period(picture: NDArray[np.generic]) -> float:
    """Mean ridge period, px: the centroid of the power on rings of the spectrum, within 30 % of its peak."""
    values = picture.astype(float)
    h, w = values.shape
    window = np.hanning(h)[:, None] * np.hanning(w)
    values = values - np.average(values, weights=window)
    side = 512
    power = np.abs(np.fft.fft2(values * window, (side, side))) ** 2
    radius = side * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    ring = radius.astype(int).ravel()
    ring_power = ndimage.gaussian_filter1d(np.bincount(ring, power.ravel()), 3)
    rings = np.arange(len(ring_power)) + 0.5
    ring_power[(rings < side / 20) | (rings > side / 2.5)] = 0  # periods of 2.5 to 20 px
    near = np.abs(rings / rings[np.argmax(ring_power)] - 1) < 0.3
    return side / float(np.average(rings[near], weights=ring_power[near]))


def flow(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Smoothed ridge flow (N, features): the structure tensor's (cos, sin) of the doubled angle on a coarse grid."""
    features = []
    for picture in pixels[:, 0].astype(float):
        gy, gx = (ndimage.gaussian_filter(picture, 1.0, order) for order in ((1, 0), (0, 1)))
        parts = [ndimage.gaussian_filter(part, 4.0)[4::6, 4::6] for part in (gx * gx - gy * gy, 2 * gx * gy)]
        strength = ndimage.gaussian_filter(gx * gx + gy * gy, 4.0)[4::6, 4::6] + 1e-6
        features.append(np.concatenate([(part / strength).ravel() for part in parts]))
    return np.array(features)


@pytest.fixture(scope='module')
def people() -> list[tuple[synthetic.Master, synthetic.Master]]:
    """Two fingers, right and left index, of 40 people."""
    return [(synthetic.master(5, s, 0, 48), synthetic.master(5, s, 1, 48)) for s in range(40)]


def test_same_numbers_give_the_same_pictures_in_any_block() -> None:
    pixels, records = synthetic.generate(3, range(3), 2, 2, 48)
    alone, own = synthetic.generate(3, [2], 2, 2, 48)
    again, _ = synthetic.generate(3, [2, 0], 1, 3, 48)
    assert pixels.shape == (12, 1, 48, 48) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(alone, pixels[8:])
    assert own == records[8:]
    np.testing.assert_array_equal(again[:2], pixels[8:10])
    np.testing.assert_array_equal(again[3:5], pixels[:2])


def test_pictures_differ_by_seed_subject_finger_and_impression() -> None:
    pictures = [synthetic.impression(synthetic.master(seed, subject, finger, 48), n) for seed, subject, finger, n
                in ((0, 1, 1, 0), (1, 1, 1, 0), (0, 0, 1, 0), (0, 1, 0, 0), (0, 1, 1, 1))]
    assert len({p.tobytes() for p in pictures}) == 5


def test_records_name_every_picture() -> None:
    _, records = synthetic.generate(0, range(7, 9), 2, 3, 48)
    assert [r['subject'] for r in records[::6]] == ['00007', '00008']
    assert records[0]['identity'] == '00007/right_index' and records[3]['position'] == 'left_index'
    assert [r['impression'] for r in records[:3]] == ['0', '1', '2']
    assert len({(r['identity'], r['impression']) for r in records}) == len(records)
    patterns = {'arch', 'tented_arch', 'left_loop', 'right_loop', 'whorl'}
    assert {r['pattern'] for r in records} <= patterns


@pytest.mark.parametrize(('shape', 'ppi'), [(48, 0), (512, 0), ((356, 328), 500), ((64, 96), 150), (48, 1200)])
def test_any_shape_and_resolution(shape: int | tuple[int, int], ppi: float) -> None:
    picture = synthetic.impression(synthetic.master(0, 0, 0, shape, ppi), 0)
    assert picture.shape == (shape if isinstance(shape, tuple) else (shape, shape))
    assert picture.min() < 110 and np.percentile(picture, 95) > 160  # dark ridges and light valleys


@pytest.mark.parametrize('arguments', [
    {'size': 47}, {'size': 513}, {'ppi': 149}, {'ppi': 1201}, {'fingers': 0}, {'fingers': 11},
    {'impressions': 0}, {'seed': -1}, {'subjects': [-1]}])
def test_impossible_requests_are_refused_in_one_line(arguments: dict[str, Any]) -> None:
    usual: dict[str, Any] = {'seed': 0, 'subjects': [0], 'fingers': 1, 'impressions': 1, 'size': 48}
    with pytest.raises(UserError) as caught:
        synthetic.generate(**{**usual, **arguments})
    assert '\n' not in str(caught.value) and 'synthetic' in str(caught.value)


def test_resolution_zero_fills_the_picture_and_keeps_ridges_five_pixels_apart() -> None:
    assert synthetic.master(0, 0, 0, (356, 328)).ppi == pytest.approx(500)
    for size in (48, 64, 96):
        assert synthetic.master(0, 0, 0, size).ppi / 500 * synthetic.PERIOD == pytest.approx(5)
    pixels, _ = synthetic.generate(0, range(12), 1, 1, 64)
    dark = (ndimage.gaussian_filter(255.0 - pixels[:, 0], (0, 3, 3)) > 60).mean((1, 2))
    assert 0.3 < dark.mean() < 0.85 and dark.std() > 0.05  # the contact's shape varies


@pytest.mark.parametrize(('size', 'ppi'), [(356, 500), (256, 300), (96, 0), (64, 0)])
def test_ridges_are_as_far_apart_as_stated(size: int, ppi: float) -> None:
    fingers = [synthetic.master(1, s, 0, size, ppi) for s in range(3)]
    ratios = [ridge_period(synthetic.impression(f, n)) / f.period for f in fingers for n in range(2)]
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert min(ratios) > 0.85 and max(ratios) < 1.15


def test_fingers_of_a_person_share_their_ridge_period(
        people: list[tuple[synthetic.Master, synthetic.Master]]) -> None:
    measured = np.array([[ridge_period(f.ridges) / f.step for f in pair] for pair in people])
    planted = np.array([[f.period for f in pair] for pair in people])
    assert np.corrcoef(measured.ravel(), planted.ravel())[0, 1] > 0.6  # it shows in the ridges
    assert np.corrcoef(planted.T)[0, 1] > 0.5  # 0.69 planted
    assert np.corrcoef(measured.T)[0, 1] > 0.3
    others = [np.corrcoef(measured[:, 0], np.roll(measured[:, 1], k))[0, 1] for k in range(1, len(people))]
    assert abs(np.mean(others)) < 0.1


def test_fingers_of_a_person_share_their_class_law() -> None:
    shares = np.array([synthetic.person(0, s).shares for s in range(3000)])
    natural = np.array(list(synthetic.CLASS_SHARES.values()))
    assert natural.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares.mean(0), natural, atol=0.02)
    within = natural * (1 - natural) / (1 + synthetic.CLASS_CONCENTRATION)  # variance of the Dirichlet law
    np.testing.assert_allclose(shares.var(0), within, rtol=0.15)


def test_the_hand_decides_which_way_loops_open(people: list[tuple[synthetic.Master, synthetic.Master]]) -> None:
    for finger, usual in ((0, 'right_loop'), (1, 'left_loop')):
        loops = [pair[finger].pattern for pair in people if 'loop' in pair[finger].pattern]
        assert len(loops) > 15 and loops.count(usual) / len(loops) > 0.8


def test_skin_makes_prints_of_a_person_alike(people: list[tuple[synthetic.Master, synthetic.Master]]) -> None:
    light = np.array([[np.mean([synthetic.impression(f, n) for n in range(3)]) for f in pair] for pair in people])
    same, *others = (np.corrcoef(light[:, 0], np.roll(light[:, 1], k))[0, 1] for k in range(len(people)))
    assert same > np.quantile(others, 0.95) and abs(np.mean(others)) < 0.1


@pytest.mark.parametrize('pattern', ['tented_arch', 'left_loop', 'right_loop', 'whorl'])
def test_poincare_index_is_a_half_at_cores_and_minus_a_half_at_deltas(pattern: str) -> None:
    rng = np.random.default_rng(0)
    cores, deltas = synthetic._singularities(rng, pattern)
    for points, index in ((cores, 0.5), (deltas, -0.5)):
        for p in points:
            ring = (p + 4 * np.exp(2j * np.pi * np.arange(720) / 720))[None]
            theta = synthetic._orientation(rng, ring, np.zeros(ring.shape), cores, deltas, 1.0)[0]
            steps = np.diff(theta, append=theta[0])
            steps = (steps + np.pi / 2) % np.pi - np.pi / 2
            assert steps.sum() / (2 * np.pi) == pytest.approx(index)


def test_cores_are_round() -> None:
    """Beside a core the ridges run along the loop's axis, as legs do; confocal parabolas are 45 degrees off."""
    rng, off = np.random.default_rng(0), []
    beside = np.array([[0j, -15.0, 15.0]])
    for _ in range(40):
        theta = synthetic._orientation(rng, beside, np.zeros(beside.shape), [0j], [-100j], 1.0)[0, 1:]
        axis = -np.pi / 2  # the loop opens towards its delta
        off.append(np.abs((theta - axis + np.pi / 2) % np.pi - np.pi / 2))
    assert np.degrees(np.mean(off)) < 15


def test_creases_stay_with_the_finger() -> None:
    finger = synthetic.master(0, 3, 0, 96)
    bare = replace(finger, creases=np.zeros_like(finger.creases))
    band = np.zeros_like(finger.creases)
    middle = band.shape[0] // 2
    band[middle - 6:middle + 6] = 1
    creased = replace(finger, creases=band)
    for n in range(3):
        lighter = synthetic.impression(creased, n).astype(int) - synthetic.impression(bare, n)
        assert lighter[40:56, 30:66].mean() > 20 and abs(lighter[:16].mean()) < 5


def test_identity_holds_in_unseen_impressions() -> None:
    """A linear classifier of smoothed ridge flow, fitted on three impressions, names the finger of two others."""
    fingers = 40
    pixels, records = synthetic.generate(11, range(fingers), 1, 5, 64)
    names = np.repeat(np.arange(fingers), 5)
    seen = np.array([int(r['impression']) < 3 for r in records])
    features = flow(pixels)
    model = RidgeClassifier(alpha=30.0).fit(features[seen], names[seen])
    right = model.predict(features[~seen]) == names[~seen]
    assert right.mean() > 0.5  # chance 0.025
    loops = np.array([r['pattern'] == 'right_loop' for r in records])[~seen]
    assert right[loops].mean() > 0.4  # not told by its class alone
