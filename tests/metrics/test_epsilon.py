"""One-run bounds of epsilon: the ceiling's figures, the binomial closed form, coverage of randomised response."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logit

from fpray.metrics.epsilon import epsilon_ceiling, guesses, one_run_bound, one_run_p, privacy_loss


@pytest.mark.parametrize(('n', 'ceiling'), [(10, 0.0), (25, 1.0), (50, 1.8), (100, 2.6)])
def test_ceiling_of_a_perfect_attack(n, ceiling):
    assert round(epsilon_ceiling(n), 1) == ceiling
    score = np.arange(n, 0, -1)
    perfect = privacy_loss(score, score > (n + 1) // 2, coin=True)
    assert perfect.estimate == pytest.approx(epsilon_ceiling(n)) and perfect.interval[1] is None


def test_pure_bound_is_the_binomials():
    """delta 0: the largest epsilon whose randomised response reaches the right guesses with probability 0.025."""
    bound = one_run_bound(100, 50, 40, delta=0.0)
    assert bound == pytest.approx(logit(stats.beta.ppf(0.025, 40, 11)), abs=1e-6)
    assert one_run_bound(100, 50, 50, delta=0.0) == pytest.approx(logit(0.025 ** (1 / 50)), abs=1e-6)
    assert one_run_bound(100, 50, 25, delta=0.0) == 0.0


def test_p_by_enumeration_and_delta_only_lowers_the_bound():
    epsilon, delta = 0.7, 1e-3
    q = 1 / (1 + np.exp(-epsilon))
    pmf = [stats.binom.pmf(j, 8, q) for j in range(9)]
    beta = sum(pmf[6:])
    alpha = max(sum(pmf[max(6 - i, 0) : 6]) / i for i in range(1, 7))
    assert one_run_p(20, 8, 6, epsilon, delta) == pytest.approx(beta + 2 * 20 * delta * alpha)
    bounds = [one_run_bound(100, 50, 45, delta) for delta in (0.0, 1e-5, 1e-3, 1e-2, 0.5)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] == 0.0


def test_guesses_say_nothing_across_a_tie():
    assert guesses([4, 3, 2, 1], [1, 0, 1, 0]) == (2, 1)
    assert guesses([4, 3, 3, 1], [1, 1, 1, 0]) == (1, 1)
    assert guesses([0, 0, 0, 0], [1, 1, 0, 0]) == (0, 0)


def test_bound_stays_below_the_true_epsilon_of_randomised_response():
    """An (epsilon, 0)-private release of the coins: 97.5 % of bounds lie below epsilon."""
    epsilon, rng, above = 1.5, np.random.default_rng(0), 0
    for _ in range(400):
        coin = rng.random(60) < 0.5
        told = coin ^ (rng.random(60) > 1 / (1 + np.exp(-epsilon)))
        above += privacy_loss(told + rng.random(60) / 2, coin, coin=True).estimate > epsilon
    assert above / 400 <= 0.045


def test_without_a_coin_it_is_called_log_odds():
    score = np.arange(20, 0, -1)
    included = np.isin(score, [20, 19, 18, 17, 16, 15, 14, 13, 2, 1])
    rate = privacy_loss(score, included, coin=False)
    assert 'log-odds' in rate.note and 'not epsilon' in rate.note and rate.chance == 0.0
    assert rate.estimate == pytest.approx(np.log(8 / 2))
    assert rate.interval == pytest.approx(logit(stats.binomtest(8, 10).proportion_ci(method='exact')))
    perfect = privacy_loss(score, score > 10, coin=False)
    assert perfect.estimate is None and perfect.interval == (pytest.approx(logit(0.025 ** (1 / 10))), None)
    none = privacy_loss(np.zeros(6), np.arange(6) < 3, coin=False)
    assert none.estimate is None and none.interval == (None, None)
