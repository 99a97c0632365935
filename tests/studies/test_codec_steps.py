"""The steps of a codec's audit: deals of the people, halves for shadows, the answers that attacks get, sides of a gap."""


import numpy as np
import pandas as pd
import pytest

from fpray.data.config import DataConfig, SplitConfig
from fpray.data.splits import GROUPS, Split, check_disjoint, draw_split
from fpray.metrics.membership import mean_gap
from fpray.studies.codec_steps import dealt, first_halves, fits
from fpray.studies.codec_tasks import half_of


def records(people: int = 40, impressions: int = 4) -> pd.DataFrame:
    rows = [{'subject': f's{s}', 'identity': f's{s}/1', 'impression': str(i), 'image_id': f'{s:03d}-{i}', 'path': ''}
            for s in range(people) for i in range(impressions)]
    return pd.DataFrame(rows)


@pytest.fixture(scope='module')
def split() -> Split:
    config = SplitConfig(sizes=(6, 8), headline=8, nonmembers=10, scoring=0, placebo=4, rehearsal=3, reference=9)
    return draw_split(records(), DataConfig(size=48, impressions=3, query_impressions=1), config, 5)


def test_a_deal_moves_members_and_nonmembers_alone(split):
    other = dealt(split, 1)
    assert dealt(split, 0) == split and dealt(split, 1) == other != dealt(split, 2)
    pool = {*split.people['members'], *split.people['nonmembers']}
    assert {*other.people['members'], *other.people['nonmembers']} == pool
    assert [len(other.people[g]) for g in GROUPS] == [len(split.people[g]) for g in GROUPS]
    assert all(other.people[g] == split.people[g] for g in GROUPS if g not in ('members', 'nonmembers'))
    check_disjoint(other, records())


def test_two_successive_shadows_divide_the_people_between_them():
    people = [f'p{i}' for i in range(11)]
    for pair in range(3):
        first, second = (set(half_of(people, 2 * pair + i, 3)) for i in range(2))
        assert not first & second and first | second == set(people) and abs(len(first) - len(second)) == 1
    assert half_of(people, 0, 3) == half_of(people, 0, 3) != half_of(people, 2, 3) != half_of(people, 2, 4)


def test_who_chooses_the_twin_does_not_judge_it(split):
    judges = first_halves(split, 6)
    own, others = set(split.people['members'][:6]), set(split.people['nonmembers'])
    assert len(judges & own) == 3 and len(judges & others) == 5 and judges <= own | others


def test_the_line_through_the_clusters_is_the_averages_own():
    points = [{'bpp': [b - 0.1, b + 0.1], 'psnr': [20 + 10 * b] * 2, 'mse': [50 - 30 * b] * 2} for b in (0.2, 0.5, 0.9)]
    found = fits(points)
    assert found['psnr'] == pytest.approx({'slope': 10, 'intercept': 20}) and found['mse']['slope'] == pytest.approx(-30)
    assert fits(points[:1]) == {'psnr': None, 'mse': None}


def test_a_gap_is_signed_and_its_interval_counts_people():
    value, label = np.array([1.0, 1.0, 3.0, 3.0, 5.0, 7.0]), np.array([1, 1, 1, 1, 0, 0], bool)
    rate = mean_gap(value, label, np.array(list('aabbcd')), 0)
    assert rate.estimate == -4 and rate.chance == 0 and (rate.n, rate.n_people) == (6, 4)
    assert mean_gap(value, ~label, np.array(list('aabbcd')), 0).estimate == 4


@pytest.mark.parametrize('people', [10, 40])
def test_a_gaps_interval_covers(people):
    covered = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(2 * people), 4)
        value = rng.normal(size=2 * people)[person] + rng.normal(size=len(person)) + 0.5 * (person < people)
        low, high = mean_gap(value, person < people, person, seed, draws=300).interval
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 120 <= 0.99
