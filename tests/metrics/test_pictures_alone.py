"""The control on pictures alone: features of known pictures, planted capture differences, and honest nulls."""

import numpy as np
import pytest

from fpray.metrics import people
from fpray.metrics.membership import auc
from fpray.metrics.pictures import _cross_fit, _predict, _standardise, picture_control, simple_features, warnings


def prints(seed, side, gamma=1.0, blur=False, px=32):
    """(pixels, label, person): striped pictures, 2 fingers x 3 impressions; tone is alike within a person."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(2 * side), 6)
    finger = np.repeat(np.arange(4 * side), 3)
    period, turn = rng.normal(0.12, 0.03, 4 * side)[finger], rng.uniform(0, np.pi, 4 * side)[finger]
    tone = 0.5 + rng.normal(0, 0.05, 2 * side)[person] + rng.normal(0, 0.03, len(person))
    y, x = np.mgrid[:px, :px]
    along = x * np.cos(turn)[:, None, None] + y * np.sin(turn)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (len(person), 1, 1))
    pictures = tone[:, None, None] + 0.35 * np.sin(2 * np.pi * period[:, None, None] * along + phase)
    pictures += rng.normal(0, 0.05, pictures.shape)
    if blur:
        soft = (pictures + np.roll(pictures, 1, axis=1) + np.roll(pictures, 1, axis=2)) / 3
        pictures[person < side] = soft[person < side]
    pictures[person < side] = pictures[person < side].clip(0, 1) ** gamma
    return (pictures.clip(0, 1) * 255).astype(np.uint8)[:, None], person < side, person


def test_simple_features_of_known_pictures():
    flat = np.full((1, 1, 16, 24), 51, np.uint8)
    steps = np.tile(np.array([0, 255], np.uint8), (1, 1, 16, 12))  # columns of black and white: half a cycle a pixel
    slow = (127.5 + 127.5 * np.cos(2 * np.pi * np.arange(24) / 24)).astype(np.uint8)
    slow = np.tile(slow, (1, 1, 16, 1))  # one cycle in 24 px: ring 0
    values, names = simple_features(np.concatenate([flat, steps, slow]))
    column = dict(zip(names, values.T, strict=True))
    assert column['mean'] == pytest.approx([0.2, 0.5, 0.5], abs=0.01)
    assert column['contrast'] == pytest.approx([0, 0.5, 0.5 / 2**0.5], abs=0.01)
    assert column['gradient'][:2] == pytest.approx([0, 1])
    rings = values[:, [names.index(f'spectrum_{i}') for i in range(6)]]
    assert rings[2].argmax() == 0 and (rings[0] == rings[0, 0]).all()
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 24), dtype=np.uint8)
    assert column['png_bytes'][0] < column['png_bytes'][1] <= 60 < simple_features(noise)[0][0, -1]
    colour = simple_features(np.repeat(noise, 3, axis=1))[0]
    assert colour[0, :-1] == pytest.approx(simple_features(noise)[0][0, :-1])


def test_fast_refit_is_ridge_regression_fold_by_fold():
    """Second implementation: scikit-learn's ridge, fitted afresh for each fold and each permuted label."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(12), 4)
    data = people.sample(np.zeros(48), person % 2, person)
    inputs = _standardise(rng.normal(size=(48, 6)))
    weights, tests = _cross_fit(data, inputs, 5, seed=1)
    sides = people.permuted_sides(data, people.permutation_keys(12, 3, 0))
    scores = _predict(data, inputs, weights, tests, sides)
    assert np.array(tests).sum(axis=0).tolist() == [1] * 48
    for row, label in zip(scores, people.permuted_labels(data, sides), strict=True):
        for test in tests:
            assert not set(person[test]) & set(person[~test])
            target = label[~test] - label[~test].mean()
            ridge = Ridge(alpha=float((~test).sum()), fit_intercept=False).fit(inputs[~test], target)
            assert row[test] == pytest.approx(ridge.predict(inputs[test]))


@pytest.mark.parametrize('planted', [{'gamma': 0.85}, {'blur': True}])
def test_a_capture_difference_is_warned_of(planted):
    pixels, label, person = prints(0, 15, **planted)
    control = picture_control(pixels, label, person, seed=0)
    assert control['classifier'].lower > 0.5 and control['classifier'].p < 0.01
    assert any('classifier' in w for w in warnings(control))
    assert control['classifier'].note.startswith('warning')


def test_no_difference_no_warning_and_holm_over_all_controls():
    pixels, label, person = prints(1, 15)
    control = picture_control(pixels, label, person, seed=0)
    assert warnings(control) == []
    assert list(control) == ['classifier', *simple_features(pixels)[1]]
    raw = [float(r.note.split('before Holm ')[1].split(';')[0]) for r in control.values()]
    assert people.holm(raw) == pytest.approx([r.p for r in control.values()], rel=0.1)
    mean = control['mean']
    assert mean.estimate == pytest.approx(auc(simple_features(pixels)[0][:, 0], label))
    assert (mean.n, mean.n_people, mean.chance) == (180, 30, 0.5)


def test_file_size_on_disk_can_be_the_only_difference():
    pixels, label, person = prints(2, 12)
    size = 1000.0 + 5 * label + np.random.default_rng(0).normal(0, 2, len(label))
    control = picture_control(pixels, label, person, seed=0, extra={'file_bytes': size})
    assert any('file_bytes' in w for w in warnings(control))
    assert control == picture_control(pixels, label, person, seed=0, extra={'file_bytes': size})


def test_constant_pictures_give_chance_and_no_interval():
    label, person = np.arange(40) < 20, np.arange(40) // 2
    control = picture_control(np.full((40, 1, 16, 16), 9, np.uint8), label, person, seed=0, draws=99)
    assert all(r.estimate == 0.5 and r.interval == (None, None) and r.p == 1 for r in control.values())


@pytest.mark.slow
def test_the_cross_fitted_interval_and_p_are_honest_under_the_null():
    outside = rejected = warned = 0
    for seed in range(200):
        pixels, label, person = prints(seed, 10, px=16)
        control = picture_control(pixels, label, person, seed, draws=1_999 if seed < 40 else 499)
        rate = control['classifier']
        outside += not rate.lower <= 0.5 <= rate.upper
        rejected += float(rate.note.split('before Holm ')[1].split(';')[0]) <= 0.05
        warned += bool(warnings(control))
    print(f'null pictures: interval without 0.5 {outside / 2} %, p <= 0.05 {rejected / 2} %, warned {warned / 2} %')
    assert outside <= 18 and rejected <= 18 and warned <= 4
