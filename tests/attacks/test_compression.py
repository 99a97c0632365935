"""Codec attacks: closed forms, and a world where pictures differ in difficulty far more than by membership."""

import io
import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from fpray.attacks import compression, load_attack
from fpray.errors import UserError
from fpray.metrics.membership import auc, auc_clustered
from fpray.metrics.pictures import simple_features

CALIBRATED = ('calibrated', 'lira', 'rmia')
PICTURES = 4  # a person


def score(name: str, world: dict[str, Any]) -> np.ndarray:
    attack = load_attack(name)
    return attack.score(**{need: world[need] for need in attack.needs})


def world(seed: int, leak: float = 0.0, harder: float = 0.0, people: int = 20, shadows: int = 2) -> dict[str, Any]:
    """Members' and non-members' losses under codecs that agree on what is hard and err by little on their own.

    Difficulty varies between people (0.5) and pictures (1), and is larger by `harder` for members, whose loss under
    the victim is smaller by `leak`; codecs differ by 0.1 a picture. The reference is worse all over, by a level of its
    own. PNG sizes follow difficulty with noise.
    """
    rng = np.random.default_rng(seed)

    def difficulty(count: int) -> np.ndarray:
        return np.repeat(rng.normal(0, 0.5, count), PICTURES) + rng.normal(0, 1, count * PICTURES)

    member = np.arange(2 * people * PICTURES) < people * PICTURES
    hard, others = difficulty(2 * people) + harder * member, difficulty(50)

    def losses(of: np.ndarray, level: float) -> np.ndarray:
        return level + of + rng.normal(0, 0.1, len(of))

    return {
        'member': member, 'person': np.arange(len(member)) // PICTURES,
        'loss': losses(hard, 8) - leak * member, 'reference_loss': losses(hard, 8.4),
        'shadow_losses': np.stack([losses(hard, 8.2) for _ in range(shadows)]),
        'png': np.exp(0.2 * hard + rng.normal(0, 0.02, len(hard))),
        'population_loss': losses(others, 8), 'population_png': np.exp(0.2 * others + rng.normal(0, 0.02, len(others))),
        'population_shadow_losses': np.stack([losses(others, 8.2) for _ in range(shadows)]),
        'population_out': rng.random((shadows, len(others))) < 0.8,
    }


# Closed forms


def test_plain_scores() -> None:
    two = np.array([1.0, 4.0])
    for name, need in (('rate-distortion', 'loss'), ('rate', 'bpp'), ('distortion', 'mse')):
        np.testing.assert_array_equal(score(name, {need: two}), [-1, -4])
    decibels = score('psnr', {'mse': np.array([1, 255**2, 0.0])})
    np.testing.assert_allclose(decibels, [20 * np.log10(255), 0, 108.13], atol=0.01)


def test_calibrated_scores() -> None:
    np.testing.assert_array_equal(compression.calibrated_score(np.array([1.0, 5]), np.array([3.0, 5])), [2, 0])
    size = np.array([1.0, 2, 4, 8])
    line = 3 + 2 * np.log(size)  # the population lies on a line; queries lie under it by 0.5 and over it by 1
    for of in (compression.png_score, compression.jpeg_score):
        np.testing.assert_allclose(of(3 + 2 * np.log([3, 5]) - [0.5, -1], np.array([3.0, 5]), line, size), [0.5, -1])
        alike = of(np.array([1.0, 2]), np.ones(2), np.array([2.0, 4]), np.ones(2))  # sizes that say nothing: the mean
        np.testing.assert_allclose(alike, [2, 1])


def test_bands_weigh_alike() -> None:
    reference = np.array([[100.0, 4, 0.5], [7, 7, 7], [0, 1, 1]])
    own = reference / np.array([[2, 1, 1], [1, 1, 2], [1, 1, 1]])
    np.testing.assert_allclose(compression.bands_score(own, reference), [np.log(2), np.log(2), 0], atol=1e-12)


def test_lira_is_a_z_with_a_pooled_variance() -> None:
    shadows = np.array([[3.0, 10], [5, 10]])  # variances 2 and 0, pooled 1; means 4 and 10
    np.testing.assert_allclose(compression.lira_score(np.array([1.0, 12]), shadows), [3, -2])


def test_lira_is_standard_normal_where_the_victim_is_one_more_shadow() -> None:
    clean = world(3, people=500, shadows=40)
    z = compression.lira_score(clean['loss'], clean['shadow_losses'])
    assert stats.kstest(z - z.mean(), 'norm').pvalue > 0.01 and z.std() == pytest.approx((1 + 1 / 40) ** 0.5, abs=0.03)


def test_rmia_counts_the_population_it_beats() -> None:
    shadows, others = np.array([[2.0, 2, 2]]), np.array([[2.0, 2, 2, 2]])
    arguments = (shadows, np.array([1.0, 1.5, 2.5, 3]), others)  # the population's log ratios: 1, 0.5, -0.5, -1
    loss = np.array([0.5, 2.0, 4.0])  # log ratios 1.5, 0, -2: they beat 4, 2 and 0 of the population
    whole = compression.rmia_score(loss, *arguments, np.ones((1, 4), bool))
    np.testing.assert_array_equal(np.floor(whole * 5), [4, 2, 0])
    strict = compression.rmia_score(loss, *arguments, np.ones((1, 4), bool), gamma=np.e)
    np.testing.assert_array_equal(np.floor(strict * 5), [3, 1, 0])
    left_out = compression.rmia_score(loss, *arguments, np.array([[True, False, True, True]]))
    np.testing.assert_array_equal(np.floor(left_out * 4), [3, 2, 0])


def test_rmia_reads_only_the_shadows_that_never_saw_z() -> None:
    plain = world(1, leak=0.2)
    spoiled = plain | {'population_shadow_losses': np.where(plain['population_out'], plain['population_shadow_losses'], -50)}
    np.testing.assert_array_equal(score('rmia', plain), score('rmia', spoiled))


def test_rmia_is_the_paper_s_formula_up_to_the_tie_break() -> None:
    """Second implementation: likelihoods, ratios and pairs in full."""
    given, heat = world(5, leak=0.3), 0.7

    def likelihood(loss: np.ndarray) -> np.ndarray:
        return np.exp(-heat * loss)
    of_x = likelihood(given['loss']) / likelihood(given['shadow_losses']).mean(axis=0)
    seen = np.ma.array(likelihood(given['population_shadow_losses']), mask=~given['population_out'])
    kept = given['population_out'].any(axis=0)
    of_z = (likelihood(given['population_loss']) / seen.mean(axis=0).filled(np.nan))[kept]
    share = (of_x[:, None] / of_z[None] >= 1.1).mean(axis=1)
    ours = compression.rmia_score(*(given[need] for need in load_attack('rmia').needs), temperature=heat, gamma=1.1)
    np.testing.assert_allclose(np.floor(ours * (kept.sum() + 1)) / kept.sum(), share)


def test_rmia_has_no_ties_where_all_members_beat_the_population() -> None:
    given = world(2, leak=5.0)
    values = score('rmia', given)
    assert len(np.unique(values)) == len(values) and values.min() > 0 and values.max() < 1
    assert values[given['member']].min() > values[~given['member']].max()


# The simulated world


@pytest.mark.parametrize('shadows', [2, 6])
def test_a_planted_leak_is_found_whatever_the_difficulty(shadows: int) -> None:
    for harder in (-1.0, 0.0, 1.0):
        given = world(7, leak=0.15, harder=harder, shadows=shadows)
        for name in CALIBRATED:
            rate = auc_clustered(score(name, given), given['member'], given['person'])
            assert rate.lower > 0.6, (name, harder, rate)
    # members are harder: the plain score finds the wrong side
    assert auc_clustered(score('rate-distortion', given), given['member'], given['person']).upper < 0.5


def test_difficulty_alone_fools_the_plain_score_and_not_the_calibrated() -> None:
    fooled, outside = 0, dict.fromkeys(CALIBRATED, 0)
    for seed in range(100):
        given = world(seed, harder=-1.0)
        sides = given['member'], given['person']
        fooled += auc_clustered(score('rate-distortion', given), *sides).lower > 0.5
        for name in CALIBRATED:
            rate = auc_clustered(score(name, given), *sides)
            outside[name] += not rate.lower <= 0.5 <= rate.upper
    print(f'of 100 worlds without a leak: plain score fooled in {fooled}, 0.5 outside the interval in {outside}')
    assert fooled > 90
    assert all(missed <= stats.binom.ppf(0.999, 100, 0.05) for missed in outside.values())


@pytest.mark.parametrize('harder', [-1.0, 1.0])
def test_a_population_brings_a_reference_of_another_scale_to_the_victims(harder: float) -> None:
    plain, scaled = 0, 0
    for seed in range(60):
        given, rng = world(seed, harder=harder), np.random.default_rng(seed + 1000)
        given['reference_loss'] *= 1.1  # difficulty costs the reference more
        theirs = 1.1 * (given['population_loss'] + 0.4 + rng.normal(0, 0.1, len(given['population_loss'])))
        for known in ({}, {'population_loss': given['population_loss'], 'population_reference_loss': theirs}):
            values = compression.calibrated_score(given['loss'], given['reference_loss'], **known)
            rate = auc_clustered(values, given['member'], given['person'])
            outside = not rate.lower <= 0.5 <= rate.upper
            plain, scaled = plain + (not known and outside), scaled + (bool(known) and outside)
    print(f'of 60 worlds without a leak, 0.5 outside the interval: plain difference {plain}, scaled {scaled}')
    assert plain > 30 and scaled <= stats.binom.ppf(0.999, 60, 0.05)


def test_scaling_is_the_populations_mean_and_deviation() -> None:
    own, reference = np.array([1.0, 5.0]), np.array([20.0, 40.0])
    others = np.array([2.0, 4.0])  # mean 3, deviation 1; the reference's: 30 and 10
    scaled = compression.calibrated_score(own, reference, population_loss=others,
                                          population_reference_loss=np.array([20.0, 40.0]))
    np.testing.assert_allclose(scaled, [2 - 1, 4 - 5])
    flat = compression.calibrated_score(own, reference, population_loss=np.ones(2), population_reference_loss=np.ones(2))
    np.testing.assert_allclose(flat, reference - own)
    assert load_attack('calibrated').needs == ('loss', 'reference_loss')


def test_recalibrated_scores_are_those_of_populations_drawn_by_person() -> None:
    given = calibration(0, people=3)
    person = given.pop('population_person')
    found = compression.recalibrated_scores(person, 5, 40, **given)
    population = {name: given[name] for name in given if name.startswith('population')}
    possible = []
    for drawn in itertools.combinations_with_replacement(range(3), 3):
        rows = np.concatenate([np.flatnonzero(person == p) for p in drawn])
        possible.append(compression.calibrated_score(**given | {name: of[rows] for name, of in population.items()}))
    assert found.shape == (40, len(given['loss'])) and len(np.unique(found.round(9), axis=0)) > 5
    assert all(min(np.abs(row - each).max() for each in possible) < 1e-9 for row in found)
    np.testing.assert_array_equal(found, compression.recalibrated_scores(person, 5, 40, **given))
    rows = np.random.default_rng(0).permutation(len(person))
    shuffled = given | {name: of[rows] for name, of in population.items()}
    np.testing.assert_allclose(found, compression.recalibrated_scores(person[rows], 5, 40, **shuffled))


def test_the_interval_holds_the_calibrations_own_error() -> None:
    member, person = np.repeat([True, False], 40), np.arange(80)
    bare, whole = 0, 0
    for seed in range(100):
        given = calibration(seed)
        score = compression.calibrated_score(**{name: of for name, of in given.items() if name != 'population_person'})
        again = compression.recalibrated_scores(given.pop('population_person'), seed, **given)
        rates = auc_clustered(score, member, person), auc_clustered(score, member, person, recalibrated=again)
        missed = [not rate.lower <= 0.5 <= rate.upper for rate in rates]
        bare, whole = bare + missed[0], whole + missed[1]
    print(f'of 100 worlds without a leak, 0.5 outside the interval: {bare}, with the error of the calibration {whole}')
    assert whole <= stats.binom.ppf(0.999, 100, 0.05) < bare


def calibration(seed: int, people: int = 20) -> dict[str, np.ndarray]:
    """What the calibrated attack is given about 40 easy pictures, then 40 harder by two deviations, one a person, on a clean
    victim; and a population of two pictures a person. One feature sees the difficulty."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), 2)
    hard, others = rng.normal(size=80) + np.repeat([0.0, 2.0], 40), rng.normal(size=people)[person]
    own, apart = (np.repeat(rng.normal(0, 0.3, of), each) for of, each in ((80, 1), (people, 2)))  # between the two codecs
    return {'loss': hard + own, 'reference_loss': 1.1 * hard, 'features': hard[:, None], 'population_loss': others + apart,
            'population_reference_loss': 1.1 * others, 'population_features': others[:, None], 'population_person': person}


def test_size_under_png_takes_most_of_the_difficulty_out() -> None:
    given = world(11, leak=0.4)
    assert auc(score('calibrated-png', given), given['member']) > auc(score('rate-distortion', given), given['member']) + 0.1


# From pictures


def pictures(n: int = 9, channels: int = 1, height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, channels, height, width), dtype=np.uint8)


@pytest.mark.parametrize(('channels', 'count'), [(1, 70), (3, 5)])
@pytest.mark.parametrize('bands', [1, 4, 7])
def test_bands_sum_to_the_mse(channels: int, count: int, bands: int) -> None:
    original = pictures(count, channels, 17, 32)
    copy = (original + np.random.default_rng(1).normal(0, 9, original.shape)).astype(np.float32)
    errors = compression.band_errors(original, copy, bands)
    mse = ((copy.astype(float) - original) ** 2).mean(axis=(1, 2, 3))
    assert errors.shape == (count, bands) and (errors > 0).all()
    np.testing.assert_allclose(errors.sum(axis=1), mse, rtol=1e-9)
    bpp, ours = compression.rate_and_distortion(original, np.full(count, 17 * 32 * 1.5), copy)
    np.testing.assert_allclose(ours, mse)
    np.testing.assert_allclose(bpp, 1.5)


@pytest.mark.parametrize(('cycles', 'band'), [(0, 0), (3, 0), (5, 1), (11, 2), (15, 3)])
def test_an_error_of_one_frequency_lies_in_its_band(cycles: int, band: int) -> None:
    original = np.full((1, 1, 32, 32), 128, np.uint8)
    wave = 10 * np.cos(2 * np.pi * cycles * np.arange(32) / 32)
    errors = compression.band_errors(original, (original + wave).astype(np.float32))[0]
    assert errors[band] == pytest.approx((wave**2).mean(), rel=1e-5) and np.delete(errors, band).max() < 1e-6


def test_sizes_under_png_and_jpeg_follow_difficulty() -> None:
    soft = np.repeat(np.repeat(pictures(3, 1, 6, 8), 4, axis=2), 4, axis=3)
    for of in (compression.png_bpp, compression.jpeg_bpp):
        for channels in (1, 3):
            hard, easy = of(np.repeat(pictures(3), channels, axis=1)), of(np.repeat(soft, channels, axis=1))
            assert hard.shape == (3,) and hard.dtype == np.float64 and hard.min() > easy.max() > 0
    names = simple_features(pictures())[1]
    sizes = simple_features(pictures())[0][:, names.index('png_bytes')]
    np.testing.assert_allclose(compression.png_bpp(pictures()) * 24 * 32, 8 * sizes)


def test_jpeg_s_tables_are_left_out_of_its_size() -> None:
    """The file is the tables, as long for every picture, and the scan."""
    tables = []
    for picture, bpp in zip(pictures(4), compression.jpeg_bpp(pictures(4), 60), strict=True):
        file = io.BytesIO()
        Image.fromarray(picture[0]).save(file, 'JPEG', quality=60)
        tables.append(len(file.getvalue()) - bpp * 24 * 32 / 8)
    assert len(set(tables)) == 1 and tables[0] > 300
    assert (compression.jpeg_bpp(pictures(4), 90) > compression.jpeg_bpp(pictures(4), 30)).all()


# What cannot be scored


TWO, ONES = np.ones(2), np.ones((2, 2))


@pytest.mark.parametrize(('of', 'arguments', 'word'), [
    (compression.rate_distortion_score, (np.array([1, np.nan]),), 'loss holds 1 values that are not finite'),
    (compression.rate_score, (np.ones((2, 1)),), 'bpp of shape'),
    (compression.distortion_score, (np.ones(0),), 'mse of shape'),
    (compression.calibrated_score, (TWO, np.ones(3)), 'loss and reference_loss of shape'),
    (compression.bands_score, (TWO, TWO), 'bands and reference_bands'),
    (compression.png_score, (TWO, np.zeros(2), TWO, TWO), '0 bits'),
    (compression.lira_score, (TWO, np.ones((1, 2))), '1 shadow codecs tell no spread'),
    (compression.lira_score, (TWO, ONES), 'one and the same loss'),
    (compression.lira_score, (np.ones(3), ONES), '3 pictures, shadow_losses of 2'),
    (compression.rmia_score, (TWO, ONES, TWO, ONES, np.zeros((2, 2), bool)), 'every shadow codec was trained'),
    (compression.rmia_score, (TWO, ONES, TWO, np.ones((3, 2)), np.ones((3, 2), bool)), '2 shadows and 2 population'),
    (compression.rmia_score, (TWO, ONES, TWO, ONES, np.ones((1, 2), bool)), 'marks of shape'),
    (compression.band_errors, (pictures(2), pictures(3)), 'one reconstruction a picture'),
])
def test_bad_input_is_one_line(of, arguments: tuple, word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        of(*arguments)
    assert caught.value.mend and '\n' not in str(caught.value)
