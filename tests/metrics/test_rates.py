"""Rates on the ROC curve and among the top k: closed forms, ties, edges, resolvability, the contract of every rate."""

import importlib
import inspect
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from fpray.metrics import RATES
from fpray.metrics.membership import (
    arrays,
    balanced_accuracy,
    bootstrap,
    by_unit,
    rank_average,
    refits,
    smallest_resolvable_fpr,
    top_k,
    tpr_at_fpr,
)
from fpray.metrics.people import bootstrap_weights, sample
from fpray.metrics.rate import Rate

LABEL = np.arange(400) < 200
PERSON = np.arange(400) // 5  # 40 people a side, 5 pictures each


def scores(seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=400) + shift * LABEL


@pytest.mark.parametrize('name', RATES)
def test_every_rate_keeps_the_contract(name):
    module, function = RATES[name].split(':')
    rate_of = getattr(importlib.import_module(module), function)
    wanted = inspect.signature(rate_of).parameters
    given = {k: v for k, v in {'seed': 7, 'threshold': 0.0, 'fpr': 0.1, 'k': 40}.items() if k in wanted}
    score, order = scores(1), np.random.default_rng(2).permutation(400)
    rate = rate_of(score, LABEL, PERSON, **given)
    assert isinstance(rate, Rate) and (rate.n, rate.n_people) == (400, 80)
    assert rate.estimate is not None and rate.chance is not None
    assert rate == rate_of(score, LABEL, PERSON, **given)
    moved = rate_of(score[order], LABEL[order], PERSON[order], **given)
    for ours, theirs in zip(
        (rate.estimate, *rate.interval, rate.p), (moved.estimate, *moved.interval, moved.p), strict=True
    ):
        assert ours == theirs or ours == pytest.approx(theirs, abs=1e-12)
    assert {'estimate', 'interval', 'chance', 'n', 'n_people', 'p', 'note'} <= set(json.loads(json.dumps(rate.as_dict())))


def test_bootstrap_of_weights_is_the_bootstrap_of_copied_pictures():
    """Second implementation: each draw's people copied out, scikit-learn's AUC, TPR counted by hand."""
    score = scores(3, 0.5).round(1)  # ties
    drawn = bootstrap(score, LABEL, PERSON, seed=5, fprs=(0.1,), draws=20)
    weights = bootstrap_weights(sample(score, LABEL, PERSON), 20, 5).astype(int)
    names = sample(score, LABEL, PERSON).names.astype(int)
    for row, w in zip(drawn, weights, strict=True):
        times = w[np.argsort(names)][PERSON]
        s, y = np.repeat(score, times), np.repeat(LABEL, times)
        assert w[names < 40].sum() == w[names >= 40].sum() == 40
        assert row[0] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        limit = int(0.1 * (~y).sum())
        cut = np.sort(s[~y])[::-1][limit - 1]
        ties, above = (s[~y] == cut).sum(), (s[~y] > cut).sum()
        expected = ((s[y] > cut).sum() + (s[y] == cut).sum() * (limit - above) / ties) / y.sum()
        assert row[1] == pytest.approx(expected, abs=1e-6)


def test_tpr_of_perfect_worst_and_tied_scores():
    perfect = tpr_at_fpr(scores() + 100 * LABEL, LABEL, PERSON, 0.05, 0)
    assert perfect.estimate == 1.0 and perfect.interval == (pytest.approx(0.025 ** (1 / 40)), 1.0)
    worst = tpr_at_fpr(scores() - 100 * LABEL, LABEL, PERSON, 0.05, 0)
    assert worst.estimate == 0.0 and worst.interval == (0.0, pytest.approx(1 - 0.025 ** (1 / 40)))
    assert perfect.p == 1 / 1_000 and worst.p == 1  # the smallest of 999 permutations
    score = np.zeros(400)
    score[200:230:5] = 1  # six false positives of six people, then nothing but ties
    tied = tpr_at_fpr(score, LABEL, PERSON, 0.05, 0)
    assert tied.estimate == pytest.approx((10 - 6) / 194)  # the chord of the tie
    blocked = tpr_at_fpr(np.zeros(400), LABEL, PERSON, 0.05, 0)  # no threshold has this FPR
    assert blocked.estimate is None and 'is: 1.0000' in blocked.note


def test_tpr_of_noise_is_chance_on_average():
    """Positives above the k-th of N negatives: k / (N + 1) under the null."""
    rates = [tpr_at_fpr(scores(seed), LABEL, PERSON, 0.05, 0, draws=50).estimate for seed in range(200)]
    assert np.mean(rates) == pytest.approx(10 / 201, abs=3 * np.std(rates) / 200**0.5)


def test_an_fpr_needs_five_false_positives_of_five_people():
    score = scores(4, 0.5)
    assert smallest_resolvable_fpr(score, LABEL, PERSON) >= 5 / 200
    fine = tpr_at_fpr(score, LABEL, PERSON, 0.01, 0)
    assert fine.estimate is None and fine.interval == (None, None) and 'not resolvable' in fine.note
    at = smallest_resolvable_fpr(score, LABEL, PERSON)
    there = tpr_at_fpr(score, LABEL, PERSON, at, 0)
    assert there.estimate is not None and f'{at:.4f}, TPR there {there.estimate:.3f}' in fine.note
    bunched = np.where(PERSON == 79, 10.0, score)  # the five highest negatives are one person's
    assert smallest_resolvable_fpr(bunched, LABEL, PERSON) >= 9 / 200
    four = np.where(LABEL, PERSON, 40 + PERSON % 4)
    assert smallest_resolvable_fpr(score, LABEL, four) is None
    assert tpr_at_fpr(score, LABEL, four, 0.5, 0).estimate is None


def test_resolvable_fpr_by_search():
    score = scores(8).round(1)
    negative, person = score[~LABEL], PERSON[~LABEL]
    cuts = np.unique(negative)[::-1]
    enough = (c for c in cuts if (negative >= c).sum() >= 5 and len(set(person[negative >= c])) >= 5)
    assert smallest_resolvable_fpr(score, LABEL, PERSON) == pytest.approx((negative >= next(enough)).mean())


def test_balanced_accuracy_of_a_foreign_threshold():
    rate = balanced_accuracy(scores(1, 2.0), LABEL, PERSON, 1.0, 0)
    assert rate.estimate == pytest.approx(stats.norm.cdf(1), abs=0.05) and rate.lower > 0.5 and rate.p < 0.01
    sure = balanced_accuracy(LABEL, LABEL, PERSON, 0.5, 0)
    assert sure.interval == pytest.approx((0.025 ** (1 / 40), 1.0))
    all_in = balanced_accuracy(LABEL, LABEL, PERSON, -1, 0)  # everybody said to be a member
    slack = (1 - 0.025 ** (1 / 40)) / 2
    assert all_in.estimate == 0.5 and all_in.interval == pytest.approx((0.5 - slack, 0.5 + slack)) and all_in.p == 1


def test_top_k_counts_hits_and_people():
    label, person = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 1, 2, 3, 4])
    best = top_k([6, 5, 1, 4, 3, 2], label, person, 3, 0)
    assert (best.k, best.hits, best.hit_people, best.chance) == (3, 2.0, 1.0, 0.5)
    assert best.estimate == pytest.approx(2 / 3)
    assert best.p_source == pytest.approx(0.5)  # P(2 or 3 of 3 coins)
    assert top_k([6, 5, 1, 4, 3, 2], label, person, 0.5, 0).k == 3
    with pytest.raises(ValueError, match='between 1 and the 6'):
        top_k([6, 5, 1, 4, 3, 2], label, person, 7, 0)


def test_ties_count_their_expectation_not_the_file_order():
    label, person = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 1, 1, 2, 3, 4])
    tied = top_k([9, 5, 5, 5, 5, 0], label, person, 3, 0)  # two places for two members and two others
    places = list(itertools.combinations([1, 2, 3, 4], 2))
    assert tied.hits == pytest.approx(1 + np.mean([label[list(p)].sum() for p in places]))
    people = [len({0} | {person[i] for i in p if label[i]}) for p in places]
    assert tied.hit_people == pytest.approx(np.mean(people))
    for order in itertools.islice(itertools.permutations(range(6)), 0, None, 37):
        index = list(order)
        again = top_k(np.array([9, 5, 5, 5, 5, 0])[index], label[index], person[index], 3, 0, draws=50)
        assert (again.hits, again.hit_people) == (pytest.approx(tied.hits), pytest.approx(tied.hit_people))


def test_top_k_p_permutes_people_where_the_source_counts_pictures():
    """Four alike people on top: 20 of 20 hits. The source's binomial sees 20 coins, the permutation four."""
    score = np.where(np.isin(PERSON, (3, 11, 20, 37)), 10.0, 0.0) + scores(0) / 100
    rate = top_k(score, LABEL, PERSON, 20, 0)
    assert (rate.hits, rate.hit_people) == (20.0, 4.0)
    assert rate.p_source < 1e-5
    assert rate.p == pytest.approx(stats.hypergeom.sf(3, 80, 40, 4), abs=0.01)  # C(40, 4) / C(80, 4)
    assert rate.lower <= 0.025 ** (1 / 4)


def test_top_k_finds_a_planted_leak():
    rate = top_k(scores(2, 1.5), LABEL, PERSON, 40, 0)
    assert rate.lower > rate.chance and rate.p < 0.001 and rate.hit_people > 15


def test_rank_average_is_the_mean_midrank():
    assert rank_average([[1, 2, 3, 4]]) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert rank_average([[1, 2, 2, 3], [10, 0, 0, 0]]) == pytest.approx(
        np.mean([[0.125, 0.5, 0.5, 0.875], [0.875, 0.375, 0.375, 0.375]], axis=0)
    )


def test_by_unit_joins_fingers_and_people_but_never_sides():
    frame = pd.DataFrame({
        'image_id': list('abcdef'),
        'subject': ['p', 'p', 'p', 'q', 'q', 'q'],
        'identity': ['p/1', 'p/1', 'p/2', 'q/1', 'q/1', 'q/1'],
        'score': [1.0, 3.0, 5.0, 0.0, 1.0, 5.0],
        'is_member': [True, True, True, False, False, False],
        'is_member_subject': [True, True, True, False, False, False],
        'attack': 'shadow', 'victim': 'v', 'replicate': 0, 'contrast': 'mia',
    })  # fmt: skip
    people = by_unit(frame, 'subject', 'mean')
    assert people['score'].tolist() == [3.0, 2.0] and people['pictures'].tolist() == [3, 3]
    assert by_unit(frame, 'identity', 'max')['score'].tolist() == [3.0, 5.0, 5.0]
    score, label, person = arrays(people, 'mia')
    assert label.tolist() == [True, False] and person.tolist() == ['p', 'q'] and score.tolist() == [3.0, 2.0]
    mixed = frame.assign(is_member=[True, False, True, True, False, False], contrast='memorisation')
    assert by_unit(mixed, 'subject', 'mean')[['subject', 'is_member', 'score']].values.tolist() == [
        ['p', False, 3.0], ['p', True, 3.0], ['q', False, 3.0], ['q', True, 0.0],
    ]  # fmt: skip
    assert refits(people) is None
    again = by_unit(frame.assign(recalibrated_0=frame['score'], recalibrated_1=-frame['score']), 'subject', 'max')
    assert refits(again).tolist() == [[5.0, 5.0], [-1.0, 0.0]] and refits(again, '_placebo') is None
    with pytest.raises(ValueError, match="unit is 'identity'"):
        by_unit(frame, 'finger', 'mean')
