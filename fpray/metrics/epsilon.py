"""What a membership attack says about differential privacy: a one-run bound, its ceiling, and log-odds.

One predeclared rule turns one score a person into guesses: the higher-scoring half is said to be in, nothing
is said of the rest. It is fixed before any score is seen, so nothing is chosen on the data.
"""

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import brentq
from scipy.special import bdtrc, expit, logit

from fpray.metrics.rate import Rate

DELTA = 1e-5
_GRID = np.arange(0.0, 20.0, 0.05)


def one_run_p(people: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Largest probability of `right` or more right guesses about an (epsilon, delta)-private model.

    Steinke, Nasr & Jagielski 2023 ("Privacy auditing with one (1) training run", NeurIPS), the p-value of
    their approximate-DP theorem. It holds where each person was included by an independent fair coin.

    Args:
        people: whose inclusion was a coin.
        guesses: how many of them the attack guessed about.
        right: how many of these guesses were right.
    """
    i = np.arange(1, right + 1)
    reach = bdtrc(right - 1.0 - np.arange(right + 1), guesses, expit(epsilon))  # P(at least right - i right), i >= 0
    alpha = ((reach[1:] - reach[0]) / i).max() if right else 0.0
    return float(min(reach[0] + 2 * people * delta * alpha, 1.0))


def one_run_bound(people: int, guesses: int, right: int, delta: float = DELTA, level: float = 0.95) -> float:
    """Lower bound of epsilon: the largest value below which every value is rejected; 0 where not even 0 is.

    Args:
        people, guesses, right: as in `one_run_p`.
        delta: predeclared.
        level: of the two-sided interval whose lower end this is: each value is tested at (1 - level) / 2.
    """
    alpha = (1 - level) / 2

    def excess(epsilon: float) -> float:
        return one_run_p(people, guesses, right, epsilon, delta) - alpha

    kept = next((i for i, e in enumerate(_GRID) if excess(e) > 0), len(_GRID))
    if kept == 0:
        return 0.0
    return float(_GRID[-1] if kept == len(_GRID) else brentq(excess, _GRID[kept - 1], _GRID[kept]))


def epsilon_ceiling(n_people: int, delta: float = DELTA) -> float:
    """The largest epsilon that an audit of this many people could show: the bound of an attack that is always
    right.

    10 people show nothing (0), 25 about 1.0, 50 about 1.8, 100 about 2.6.
    """
    half = n_people // 2
    return one_run_bound(n_people, half, half, delta) if half else 0.0


def guesses(score: npt.ArrayLike, included: npt.ArrayLike) -> tuple[int, int]:
    """(guesses, right guesses) of the rule: the floor(n / 2) highest scores are said to be in.

    A tie across the cut is left unsaid, so that the order of the rows decides nothing.

    Args:
        score: (people,), one predeclared score a person, larger = more member-like.
        included: (people,) bool.
    """
    s, y = np.asarray(score, np.float64), np.asarray(included, bool)
    half = len(s) // 2
    said = s > np.sort(s)[::-1][half] if half < len(s) else np.zeros(len(s), bool)
    return int(said.sum()), int(y[said].sum())


def privacy_loss(score: npt.ArrayLike, included: npt.ArrayLike, coin: bool, delta: float = DELTA) -> Rate:
    """Epsilon at least, where inclusion was an independent coin a person; else the log-odds of a right guess.

    Args:
        score: (people,), one predeclared score a person.
        included: (people,) bool.
        coin: True only where each person was included by an independent fair coin. A draw of fixed size is
            not.
        delta: predeclared.

    Returns:
        Rate with chance 0 and `n` = `n_people`. With `coin`: estimate and lower bound are the one-run bound,
        there is no upper bound. Without: natural-log odds with Clopper and Pearson's 95 % interval, estimate
        None where every guess is right or wrong. The note names which of the two it is, and the ceiling.
    """
    n = len(np.asarray(score))
    said, right = guesses(score, included)
    top = f'a perfect attack on {n} people would show {epsilon_ceiling(n, delta):.1f}'
    if coin:
        bound = one_run_bound(n, said, right, delta) if said else 0.0
        note = f'epsilon at least, one run, delta {delta:g}, {right} of {said} guesses right; {top}'
        return Rate(bound, (bound, None), 0.0, n, n, note=note)
    note = f'log-odds of a right guess, not epsilon: {right} of {said} right; {top}'
    if not said:
        return Rate(None, (None, None), 0.0, n, n, note=note)
    low = logit(stats.beta.ppf(0.025, right, said - right + 1)) if right else None
    high = logit(stats.beta.ppf(0.975, right + 1, said - right)) if right < said else None
    estimate = float(logit(right / said)) if 0 < right < said else None
    interval = (None if low is None else float(low), None if high is None else float(high))
    return Rate(estimate, interval, 0.0, n, n, note=note)
