"""Compactness of people's vectors: closed forms, the correction for few pictures, a planted effect."""

import numpy as np
import pytest
from scipy.special import gamma
from sklearn.metrics import roc_auc_score

from fpray.attacks import EXTRACTOR_ATTACKS, load_attack
from fpray.attacks.compactness import compactness
from fpray.errors import UserError


def test_two_pictures_lie_half_their_distance_from_the_middle():
    vectors = np.array([[0.0, 0], [6, 8], [1, 1], [1, 1]])
    names, score = compactness(vectors, ['b', 'b', 'a', 'a'], unit=False)
    assert names.tolist() == ['a', 'b']
    np.testing.assert_allclose(score, [0, -5 * np.sqrt(2)])


def test_only_directions_count_unless_asked_otherwise():
    vectors = np.random.default_rng(0).standard_normal((12, 5))
    person = np.repeat(list('abc'), 4)
    stretched = vectors * np.random.default_rng(1).uniform(0.1, 9, (12, 1))
    np.testing.assert_allclose(compactness(stretched, person)[1], compactness(vectors, person)[1])
    assert (compactness(stretched, person, unit=False)[1] != compactness(vectors, person, unit=False)[1]).all()


def test_fewer_pictures_do_not_look_more_compact():
    rng, means = np.random.default_rng(0), {}
    for count in (2, 3, 10):
        person = np.repeat(np.arange(2000), count)
        means[count] = compactness(rng.standard_normal((len(person), 16)), person, unit=False)[1].mean()
    chi = np.sqrt(2) * gamma(8.5) / gamma(8)  # mean length of a normal vector in 16 dimensions
    for count, mean in means.items():
        assert mean == pytest.approx(-chi, rel=0.01), count


def test_each_finger_has_its_own_centre():
    fingers = np.array([[0.0, 0], [0, 2], [100, 0], [100, 4]])
    together = compactness(fingers, ['a'] * 4, unit=False)[1]
    apart = compactness(fingers, ['a'] * 4, list('xxyy'), unit=False)[1]
    np.testing.assert_allclose(apart, -np.sqrt(2) * (1 + 1 + 2 + 2) / 4)
    assert together[0] < -50
    shift = np.array([[0, 0], [0, 0], [50, 0], [50, 0]])
    twins = compactness(np.tile(fingers[:2], (2, 1)) + shift, list('aabb'), list('xxxx'), unit=False)[1]
    np.testing.assert_allclose(twins, -np.sqrt(2), err_msg='two people may name their fingers alike')


def test_a_planted_effect_is_found_whatever_the_order():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 4)
    spread = np.where(np.arange(60) < 30, 0.6, 1.0)[person, None]
    vectors = rng.standard_normal((60, 20))[person] + spread * rng.standard_normal((240, 20))
    attack = load_attack('compact')
    score = attack.score(vectors=vectors, person=person)
    assert score.shape == (240,) and score.dtype == np.float64
    assert all(len(np.unique(score[person == one])) == 1 for one in range(60))
    assert roc_auc_score(np.arange(60) < 30, score[::4]) > 0.95
    order = rng.permutation(240)
    np.testing.assert_allclose(attack.score(vectors=vectors[order], person=person[order]), score[order])


def test_what_has_no_spread_or_does_not_fit_is_refused():
    with pytest.raises(UserError, match='1 of 2 identities have one picture only') as caught:
        compactness(np.eye(3), list('aab'))
    assert caught.value.mend
    for vectors, person in ((np.eye(3), list('aa')), (np.zeros((0, 3)), []), (np.full((2, 3), np.nan), list('aa'))):
        with pytest.raises(ValueError, match=r'equally long|not finite'):
            compactness(vectors, person)


def test_the_table_holds_it():
    assert list(EXTRACTOR_ATTACKS) == ['compact'] and load_attack('compact').needs == ('vectors', 'person')
