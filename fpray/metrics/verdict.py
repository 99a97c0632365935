"""The one sentence that a release is signed on: found, not found by these attacks, or cannot say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fpray.metrics.rate import Rate

FEWEST = 10  # people a side


def verdict(
    primary: Rate,
    minus_placebo: Rate | None,
    positive_control: Rate | None,
    detectable: Rate,
    n_people: tuple[int, int],
    drawn_by_us: bool,
    randomised_by_owner: bool = False,
    missing_controls: Sequence[str] = (),
) -> str:
    """Exactly one of three verdicts, with its uncertainty.

    Found: the primary endpoint's lower bound is above 0.5 and the lower bound of attack minus placebo is
    above 0.
    Cannot say: under 10 people a side, a control is missing, the rehearsal (positive control) found nothing
    whatever the attack itself shows, or no leak, however large, could have been found. Not found: all else.

    Args:
        primary: AUC of people's mean rank-averaged score in the MIA contrast.
        minus_placebo: AUC of the attack minus AUC of the placebo's, paired by person; None where there is no
            placebo.
        positive_control: AUC of the same attack on the rehearsal victim; None where there is none.
        detectable: `people.smallest_detectable` of the primary endpoint, given the placebo's scores too.
        n_people: members, non-members.
        drawn_by_us: the product itself drew membership, by person, at random.
        randomised_by_owner: the owner states that the draw was random.
        missing_controls: names of controls that could not be had.
    """
    randomised = drawn_by_us or randomised_by_owner
    few = min(n_people) < FEWEST
    return decide(primary, minus_placebo, positive_control, detectable, Words(
        found='a leak of membership' if randomised else 'leak or capture difference; this audit cannot separate them',
        few=f'{n_people[0]} members and {n_people[1]} non-members, fewer than {FEWEST} a side' if few else '',
        rehearsal='in the rehearsal victim', audited='on the audited model', effect='leak'), missing_controls)


@dataclass(frozen=True)
class Words:
    """What the verdicts of one kind of study speak of."""

    found: str
    """What was found, where it was: 'a leak of membership'."""
    few: str
    """Why the people are too few: '8 victims, fewer than 10'; '' where they are enough."""
    rehearsal: str
    """Where the positive control was tried: 'in the rehearsal victim'."""
    audited: str
    """Where the attack was: 'on the audited model'."""
    effect: str
    """What is looked for: 'leak'."""


def decide(
    primary: Rate,
    minus_placebo: Rate | None,
    positive_control: Rate | None,
    detectable: Rate,
    words: Words,
    missing_controls: Sequence[str] = (),
) -> str:
    """The rules of `verdict`, in the words of any study; arguments as there."""
    numbers, missing = auc_words(primary), list(missing_controls)
    if words.few:
        return f'Cannot say, because there are too few people: {words.few} ({numbers}).'
    controls = {'placebo': minus_placebo, 'positive control': positive_control}
    missing += [name for name, rate in controls.items() if rate is None and name not in missing]
    if missing or minus_placebo is None or positive_control is None:
        return f'Cannot say, because these controls are not available: {", ".join(missing)} ({numbers}).'
    if positive_control.lower <= 0.5:
        rehearsal = f'the same attack found nothing {words.rehearsal} ({auc_words(positive_control)})'
        return f'Cannot say, because {rehearsal}; {words.audited} it shows {numbers}.'
    if primary.estimate is None or primary.interval[0] is None:
        why = primary.note or 'it could not be measured'
        return f'Cannot say, because the primary endpoint has no interval: {why}.'
    if primary.lower > 0.5 and minus_placebo.lower > 0:
        return f'Found: {words.found} ({numbers}).'
    if detectable.estimate is None:
        return f'Cannot say, because no {words.effect}, however large, would have shown with these people ({numbers}).'
    shown = math.ceil(detectable.estimate * 100) / 100
    return f'Not found by these attacks; they would have shown AUC >= {shown:.2f} in 4 of 5 such audits ({numbers}).'


def auc_words(rate: Rate) -> str:
    """'AUC 0.612-0.803, 40 people': the uncertainty that stands in every verdict."""
    if rate.interval[0] is None or rate.interval[1] is None:
        return f'AUC without interval, {rate.n_people} people'
    return f'AUC {rate.interval[0]:.3f}-{rate.interval[1]:.3f}, {rate.n_people} people'
