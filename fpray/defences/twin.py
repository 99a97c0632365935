"""The generative twin (thesis 6.1): a codec that has only ever seen a generator's samples."""

from collections.abc import Mapping

from fpray.defences.config import Defence
from fpray.defences.training import unchanged
from fpray.metrics.rate import Rate

twin = Defence(
    name='twin',
    text='trained on samples of a generator that itself was trained on the private pictures',
    data='samples',
    source='the thesis, section 6.1',
    change=unchanged,
)


def choose(leaks: Mapping[str, Rate]) -> str:
    """The candidate with the least measured leakage; a leak below chance counts as none.

    The order is by estimate, floored at chance: an AUC of 0.4 is the luck of few people, no better protection than
    0.5. Ties go to the lower upper bound, then to the name, so that the choice does not hang on the mapping's order.
    What chose a candidate must not judge it: measure it again on people that had no part in the choice.

    Args:
        leaks: candidate -> its leakage, larger = worse, over one and the same people.

    Returns:
        The candidate's name.

    Raises:
        ValueError: no candidate has an estimate.
    """
    known = {name: rate for name, rate in leaks.items() if rate.estimate is not None}
    if not known:
        raise ValueError('no candidate whose leakage could be measured')
    return min(known, key=lambda name: (_above_chance(known[name]), known[name].upper, name))


def _above_chance(rate: Rate) -> float:
    assert rate.estimate is not None
    return rate.estimate if rate.chance is None else max(rate.estimate, rate.chance)
