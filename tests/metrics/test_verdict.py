"""The verdict: METHOD's three forms, each rule alone, and words that never appear."""

import itertools

import pytest

from fpray.metrics.rate import Rate
from fpray.metrics.verdict import verdict


def rate(low, high, chance=0.5):
    return Rate((low + high) / 2, (low, high), chance, 240, 40)


DETECTABLE = Rate(0.7312, (None, None), 0.5, 240, 40)
LEAK = {
    'primary': rate(0.6, 0.8), 'minus_placebo': rate(0.05, 0.3, 0.0), 'positive_control': rate(0.6, 0.9),
    'detectable': DETECTABLE, 'n_people': (20, 20), 'drawn_by_us': True,
}  # fmt: skip


def test_found():
    assert verdict(**LEAK) == 'Found: a leak of membership (AUC 0.600-0.800, 40 people).'


@pytest.mark.parametrize(
    'change', [{'primary': rate(0.5, 0.8)}, {'minus_placebo': rate(0.0, 0.3, 0.0)}, {'primary': rate(0.3, 0.6)}]
)
def test_not_found_unless_both_bounds_clear_chance(change):
    text = verdict(**(LEAK | change))
    start = 'Not found by these attacks; they would have shown AUC >= 0.74 in 4 of 5 such audits'
    assert text.startswith(start)  # rounded up: never a smaller leak than would have shown


def test_an_owners_folders_cannot_separate_leak_from_capture():
    unclear = 'Found: leak or capture difference; this audit cannot separate them (AUC 0.600-0.800, 40 people).'
    assert verdict(**(LEAK | {'drawn_by_us': False})) == unclear
    stated = LEAK | {'drawn_by_us': False, 'randomised_by_owner': True}
    assert verdict(**stated) == verdict(**LEAK)


@pytest.mark.parametrize(
    ('change', 'because'),
    [
        ({'n_people': (9, 20)}, 'too few people'),
        ({'missing_controls': ['placebo']}, 'not available: placebo'),
        ({'minus_placebo': None}, 'not available: placebo'),
        ({'positive_control': None}, 'not available: positive control'),
        ({'positive_control': rate(0.5, 0.9)}, 'rehearsal'),
        ({'positive_control': Rate(0.5, (None, None), 0.5, 9, 9)}, 'rehearsal'),
        ({'primary': Rate(0.5, (None, None), 0.5, 240, 40, note='the people do not vary')}, 'do not vary'),
        ({'primary': rate(0.4, 0.6), 'detectable': Rate(None, (None, None), 0.5, 240, 40)}, 'however large'),
    ],
)
def test_cannot_say(change, because):
    text = verdict(**(LEAK | change))
    assert text.startswith('Cannot say, because ') and because in text


def test_forbidden_words_never_appear():
    primaries, controls = [rate(0.6, 0.8), rate(0.3, 0.6)], [rate(0.6, 0.9), rate(0.4, 0.6), None]
    people, ours = [(20, 20), (4, 20)], [True, False]
    for primary, control, sides, drawn in itertools.product(primaries, controls, people, ours):
        changed = {'primary': primary, 'positive_control': control, 'n_people': sides, 'drawn_by_us': drawn}
        text = verdict(**(LEAK | changed))
        assert text.startswith(('Found: ', 'Not found by these attacks; ', 'Cannot say, because '))
        assert not any(word in text.lower() for word in ('safe', 'private', 'no leak was', 'no privacy'))
