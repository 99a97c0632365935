"""Fidelity of prints: the same pictures agree wholly, compressed ones less, and what cannot be measured says why."""

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from fpray.data import synthetic
from fpray.data.classical import encode
from fpray.errors import UserError
from fpray.studies import fidelity
from fpray.studies.fidelity import comparisons, scale_of, study_fidelity


def prints(people, side):
    pixels, records = synthetic.generate(1, range(people), 1, 2, side, 500)
    return pixels, pd.DataFrame(records)


@pytest.fixture(scope='module')
def small():
    """Four people, one finger each, two pictures of 96 px."""
    return prints(4, 96)


@pytest.fixture(scope='module')
def large():
    """Five people, one finger each, two pictures of 320 px at 500 dpi."""
    return prints(5, 320)


def estimate(found, *names):
    for name in names:
        found = found[name]
    return found['estimate']


def test_equal_pictures_agree_and_compression_shows(ray, small):
    pixels, records = small
    seen = []
    same = study_fidelity(pixels, pixels, records, seed=0, progress=lambda *at: seen.append(at))
    worse = study_fidelity(pixels, encode(pixels, 'JPEG', 5)[1], records, seed=0)
    assert seen[-1] == (8, 8, 'pictures')
    assert json.loads(json.dumps(same)) == same and same['people'] == 4
    assert estimate(same, 'orientation_difference') == 0 < estimate(worse, 'orientation_difference') < 45
    assert estimate(same, 'ridge_frequency', 'wasserstein') == estimate(same, 'coherence', 'ks') == 0
    assert 1 / 13 < estimate(same, 'ridge_frequency', 'before') < 1 / 6  # 9 px at 500 dpi, more or less
    assert estimate(same, 'singular_points', 'kept') in (1, None)
    assert estimate(worse, 'coherence', 'change') != 0


def test_numbers_do_not_depend_on_the_order_of_the_tasks(ray, small, monkeypatch):
    pixels, records = small
    after = encode(pixels, 'WebP', 5)[1]
    first = study_fidelity(pixels, after, records, seed=3)
    monkeypatch.setattr(fidelity, 'PICTURES', 3)
    assert study_fidelity(pixels, after, records, seed=3) == first


def test_generated_pictures_are_compared_as_distributions(ray, small):
    pixels, records = small
    found = study_fidelity(pixels, np.flip(pixels, axis=3)[:5], records, seed=0, paired=False, dpi=500)
    assert 'orientation_difference' not in found and 'change' not in found['coherence']
    assert found['coherence']['ks']['n_people'] == 4 + 5
    assert 'not_available' in found['matcher']


def test_what_cannot_be_measured_says_why(ray, small):
    pixels, records = small
    unknown = study_fidelity(pixels, pixels, records, seed=0)
    assert 'resolution is unknown' in unknown['minutiae']['not_available'] == unknown['matcher']['not_available']
    assert '1000 dpi' in unknown['pores']['not_available']
    assert '96 px a side' in study_fidelity(pixels, pixels, records, seed=0, dpi=500)['minutiae']['not_available']
    assert '96 dpi' in study_fidelity(pixels, pixels, records, seed=0, dpi=96)['matcher']['not_available']


def test_pictures_that_are_no_pairs_are_refused(small):
    pixels, records = small
    for after, of, what in ((pixels[:3], records, 'no pairs'), (pixels[..., :90], records, 'no pairs'),
                            (pixels.astype(float), records, 'float64'), (pixels, records[:3], '3 records')):
        with pytest.raises(UserError, match=what):
            study_fidelity(pixels, after, of, seed=0)


@pytest.mark.parametrize(('extra', 'module'), [('fingerprint', 'pyfing'), ('matcher', 'fingerprint_recognition')])
def test_a_missing_extra_is_one_line_that_names_it(extra, module):
    if find_spec(module):
        assert fidelity._missing(extra, optional=False) == ''
        return
    with pytest.raises(UserError, match=f'{module} is missing.*pip install "fpray\\[{extra}\\]"') as fault:
        fidelity._missing(extra, optional=False)
    assert fidelity._missing(extra, optional=True) == str(fault.value) and '\n' not in str(fault.value)


def test_a_set_of_unknown_resolution_is_measured_in_its_own_ridges(small):
    pixels, _ = small
    known, measured = scale_of(pixels, 500), scale_of(pixels, None)
    assert known.period == pytest.approx(9.06, abs=0.01) and measured.period == pytest.approx(9.06, rel=0.2)
    assert measured.dpi is None and known.length(8) == pytest.approx(8)
    half = pixels.reshape(8, 1, 48, 2, 48, 2).mean(axis=(3, 5)).astype(np.uint8)
    assert scale_of(half, None).length(8) == pytest.approx(measured.length(8) / 2, rel=0.1)
    assert scale_of(np.full((2, 1, 40, 40), 99, np.uint8), None).period == known.period  # no ridges at all


def test_comparisons_are_of_one_finger_and_of_two_people():
    records = pd.DataFrame({'subject': list('aaaabb'), 'identity': ['a1', 'a1', 'a2', 'a2', 'b1', 'b1']})
    first, second, genuine = comparisons(records, 100, 0)
    assert sorted(zip(first[genuine], second[genuine], strict=True)) == [(0, 1), (2, 3), (4, 5)]
    assert (~genuine).sum() == 4 * 2  # two fingers of one person are neither
    drawn = comparisons(records, 2, 0)
    assert drawn[2].tolist() == [True, True, False, False]
    assert all(np.array_equal(a, b) for a, b in zip(drawn, comparisons(records, 2, 0), strict=True))


@pytest.mark.parametrize('people', [['a', 'a', 'b', 'b', 'c'], ['a', 'b', 'a', 'c', 'b', 'c'], list('abcd')])
def test_strangers_are_other_people(people):
    other = fidelity._strangers(np.array(people))
    assert all(people[i] != people[j] for i, j in enumerate(other))


def test_the_extras_opencv_has_its_thinning():
    """Both extras install one folder cv2; the build without ximgproc, installed last, leaves an empty module behind."""
    if not find_spec('pyfing'):
        pytest.skip('the extra `fingerprint` is not installed')
    import cv2.ximgproc

    line = np.zeros((9, 20), np.uint8)
    line[3:6, 3:17] = 255
    assert (cv2.ximgproc.thinning(line) > 0).sum(axis=0).max() == 1


@pytest.mark.slow
def test_minutiae_and_matcher_where_the_extras_are_installed(ray, large):
    if not (find_spec('pyfing') and find_spec('fingerprint_recognition')):
        pytest.skip('the extras `fingerprint` and `matcher` are not installed')
    pixels, records = large
    same = study_fidelity(pixels, pixels, records, seed=0, dpi=500)
    assert estimate(same, 'minutiae', 'precision') == estimate(same, 'minutiae', 'recall') == 1
    assert estimate(same, 'minutiae', 'type_agreement') == 1 and estimate(same, 'minutiae', 'displacement_px') == 0
    assert same['minutiae']['precision']['chance'] < 0.5 < estimate(same, 'minutiae', 'count', 'before')
    assert estimate(same, 'matcher', 'change', 'eer') == 0 and same['matcher']['genuine'] == 5
    worse = study_fidelity(pixels, encode(pixels, 'JPEG', 5)[1], records, seed=0, dpi=500)
    assert 0.3 < estimate(worse, 'minutiae', 'recall') < 1
