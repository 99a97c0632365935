"""The source's numbers, and the arithmetic that is shown beside them."""

import math

import pytest

from fpray.reports import published


@pytest.mark.parametrize(('hits', 'looked_at', 'rate'), [(14, 20, 0.5), (19, 20, 0.5), (126, 200, 0.5),
                                                         (3, 9, 0.2)])
def test_binomial_p_is_the_sum_of_the_upper_tail(hits, looked_at, rate):
    tail = sum(math.comb(looked_at, k) * rate**k * (1 - rate)**(looked_at - k) for k in range(hits,
                                                                                              looked_at + 1))
    assert published.binomial_p(hits, looked_at, rate) == pytest.approx(tail, rel=1e-9)


def test_sizes_agree_between_the_tables():
    trained = {split.images: split.people for split in published.TABLE_4_1[1:]}
    for row in published.TABLE_5_1:
        assert trained[row.images] == row.people
        assert row.images == row.people * 8 * 3  # 8 fingers, 3 impressions
        for side in (row.mia, row.iia):
            assert [cell[1] for cell in side] == [20, 200, row.queries // 2]


def test_most_top_20_rows_are_not_significant():
    below = [published.binomial_p(*side[0]) < 0.05 for row in published.TABLE_5_1 for side in (row.mia,
                                                                                               row.iia)]
    assert below == [False, False, True, True, False, False, False, False]


def test_published_scores_exceed_their_bound():
    assert all(split.is_mean > 1000 for split in published.TABLE_4_1)


def test_table_6_1_is_sorted_as_printed_and_better_than_guessing():
    assert [row.lmbda for row in published.TABLE_6_1] == [0.01, 0.001, 0.003]
    for row in published.TABLE_6_1:
        assert [cell[1] for cell in row.mia] == [20, 200, row.queries // 2]
        assert all(hits > looked_at / 2 for hits, looked_at in row.mia)
    assert [row.mia[0][0] for row in published.TABLE_6_1] == [17, 14, 16]
