"""The audit of a fingerprint generator as a plan: stages with their inputs, from pictures to numbers.

A plan is a value: a dry run prints it, the cluster runs it, the store knows which of it is done. Membership is drawn and
the controls are added here, so that no attack can forget them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fpray.errors import UserError
from fpray.store import Stage
from fpray.studies import steps
from fpray.studies.analysis import numbers
from fpray.studies.config import AuditConfig
from fpray.studies.plan import COORDINATOR, Plan, add_pictures, begin, in_process
from fpray.studies.steps import PeopleConfig, derive_seed


@dataclass(frozen=True)
class Target:
    """A generator under attack: its name, who it was trained on and who was not, and whether it is a control."""

    name: str
    positives: str
    negatives: str
    group: str
    """The group that it was trained on; the placebo's is not the positives: it is asked about people it never saw."""
    people: int | None
    """People it was trained on, the first of the group; None: an owner's, whom nobody counts."""
    shadows: int


def headline_of(config: AuditConfig) -> str:
    """The name of the victim that gets the search, the controls and the verdict."""
    return 'owner' if config.owner else str(config.split.headline)


def targets(config: AuditConfig) -> list[Target]:
    """The generators to attack, the headline first: it and its controls decide, the rest may wait."""
    split, shadow = config.split, config.shadow
    placebo, rehearsal = (split.placebo or None), (split.rehearsal or None)
    found = [Target(headline_of(config), 'members', 'nonmembers', 'members',
                    None if config.owner else split.headline, shadow.count)]
    if rehearsal:
        found.append(Target('rehearsal', 'rehearsal_in', 'rehearsal_out', 'rehearsal_in', rehearsal, shadow.count))
    if placebo:
        found.append(Target('placebo', 'members', 'nonmembers', 'placebo', placebo, shadow.count))
    if not config.owner:
        found += [Target(str(size), 'members', 'nonmembers', 'members', size, shadow.others)
                  for size in split.sizes if size != split.headline]
    return found


def plan(config: AuditConfig, cache: str | None = None) -> Plan:
    """Lays an audit out; trains nothing and reads no picture but for its fingerprint.

    Args:
        config: what to do.
        cache: folder for the index of the fingerprints.

    Raises:
        UserError: a folder is missing, or the scoring network has nobody to learn from.
    """
    if not config.split.scoring:
        raise UserError('--split.scoring 0: no people to score with and to set thresholds on', 'give it some, e.g. 40')
    laid = begin(config, {'samples': config.victim.samples}, cache)
    _lay(laid)
    return laid


def _lay(laid: Plan) -> None:
    config, seed = laid.config, laid.seed
    pictures = add_pictures(laid)
    people = laid.add('people', steps.people, PeopleConfig(laid.data, config.split, seed), {'pictures': pictures}, 0.1)
    base = {'pictures': pictures, 'people': people}
    scorer = laid.add('scorer', steps.scorer, {'scorer': config.scorer, 'seed': derive_seed(seed, 'scorer')}, base, 20,
                      in_process(config.scorer.loop))
    goals = targets(config)
    headline = goals[0].name
    victims = {goal.name: _victim(laid, goal, base | {'scorer': scorer}) for goal in goals if goal.people is not None}
    samples = {goal.name: _samples(laid, goal, victims.get(goal.name), pictures) for goal in goals}
    search = laid.add('search', steps.search_shadow, {
        'search': config.search, 'shadow': replace(config.shadow, count=1, others=1), 'seed': derive_seed(seed, 'search')},
        {'samples': samples[headline], 'scorer': scorer}, 60 * config.search.trials, COORDINATOR)
    shadows = {goal.name: [_shadow(laid, goal, number, goal.name == headline,
                                   {'samples': samples[goal.name], 'scorer': scorer, 'search': search})
                           for number in range(goal.shadows)] for goal in goals}
    attacks = {goal.name: _attack(laid, goal, headline, victims, samples, shadows, base) for goal in goals}
    quality = laid.add('quality', steps.quality, {
        'measure': config.shadow.matching.measure, 'headline': None if config.owner else config.split.headline,
        'sizes': {goal.name: goal.people or 0 for goal in goals}, 'seed': derive_seed(seed, 'quality'),
        **({'real': config.query.real} if config.query.real[0] and not config.owner else {})},
        base | {'scorer': scorer} | {f'samples/{name}': stage for name, stage in samples.items()}, 10)
    laid.add('numbers', numbers, {
        'seed': seed, 'headline': headline, 'owner': config.owner, 'random_draw': config.victim.random_draw,
        'targets': goals, 'split': config.split, 'attacks': config.attacks},
        base | {'scorer': scorer, 'search': search, 'quality': quality}
        | {f'attack/{name}': stage for name, stage in attacks.items()}
        | {f'victim/{name}': stage for name, stage in victims.items()}
        | {f'shadow/{name}/{i}': stage for name, each in shadows.items() for i, stage in enumerate(each)}, 30)


def _victim(laid: Plan, goal: Target, inputs: Mapping[str, Stage]) -> Stage:
    config = laid.config
    return laid.add(f'victim/{goal.name}', steps.victim, {
        'gan': config.victim.gan, 'loop': config.victim.loop, 'group': goal.group, 'people': goal.people,
        'measure': config.shadow.matching.measure, 'seed': derive_seed(laid.seed, 'victim', goal.group, str(goal.people))},
        inputs, 100, in_process(config.victim.loop, trainer=True))


def _samples(laid: Plan, goal: Target, victim: Stage | None, pictures: Stage) -> Stage:
    seed, draws = derive_seed(laid.seed, 'samples', goal.name), laid.config.victim.draws
    name = f'samples/{goal.name}'
    if victim is not None:
        return laid.add(name, steps.samples, {'draws': draws, 'seed': seed}, {'victim': victim}, 4)
    return laid.add(name, steps.owner_samples, {
        'draws': draws, 'seed': seed, 'fingerprint': laid.prints['samples'], 'data': laid.data},
        {'pictures': pictures}, 4)


def _shadow(laid: Plan, goal: Target, number: int, headline: bool, inputs: Mapping[str, Stage]) -> Stage:
    shadow = laid.config.shadow
    name, seed = f'shadow/{goal.name}/{number}', derive_seed(laid.seed, 'shadow', goal.name, str(number))
    if headline and number == 0 and laid.config.search.mode != 'off':
        return laid.add(name, steps.shadow, {'best': True}, inputs, 0.1)
    matching = shadow.matching if headline else replace(shadow.matching, stop=True)
    return laid.add(name, steps.shadow, {'matching': matching, 'seed': seed, 'course': shadow.course if headline else 0},
                    inputs, 60, in_process(shadow.loop))


def _attack(laid: Plan, goal: Target, headline: str, victims: Mapping[str, Stage], samples: Mapping[str, Stage],
            shadows: Mapping[str, list[Stage]], base: Mapping[str, Stage]) -> Stage:
    config = laid.config
    inputs = {**base, 'samples': samples[goal.name],
              **{f'shadow/{number:02d}': stage for number, stage in enumerate(shadows[goal.name])}}
    if goal.name in victims and 'white-box' in config.attacks:
        inputs['victim'] = victims[goal.name]
    if goal.name != 'rehearsal' and 'rehearsal' in samples and 'nearest-calibrated' in config.attacks:
        inputs['reference'] = samples['rehearsal']
    asked_about = goal.people if goal.positives == 'members' else None
    if goal.name == 'placebo':  # about the people of the headline, none of whom it saw
        asked_about = None if config.owner else config.split.headline
    pictures = config.asked(goal.people if goal.group == 'members' and goal.people else config.split.headline)
    return laid.add(f'attack/{goal.name}', steps.attack, {
        'victim': goal.name, 'attacks': config.attacks, 'positives': goal.positives, 'negatives': goal.negatives,
        'people': asked_about, 'course': goal.name == headline, **({'pictures': pictures} if pictures else {})},
        inputs, 10, COORDINATOR)
