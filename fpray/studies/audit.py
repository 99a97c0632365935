"""The audit of a fingerprint generator as a plan: stages with their inputs, from pictures to numbers.

A plan is a value: a dry run prints it, the cluster runs it, the store knows which of it is done. Membership is drawn and
the controls are added here, so that no attack can forget them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fpray.data.imageset import fingerprint
from fpray.errors import UserError
from fpray.store import Resources, Stage, canonical_json
from fpray.studies import steps
from fpray.studies.analysis import numbers
from fpray.studies.config import AuditConfig, Settings
from fpray.studies.steps import PeopleConfig, PicturesConfig, derive_seed
from fpray.training.config import LoopConfig

VERSIONS: dict[str, int] = {}  # family of a stage -> counted up when its function computes something else
WORKER = Resources(cpus=1)
COORDINATOR = Resources(cpus=0, children=1)  # of a stage that waits for tasks, trials, workers or actors of its own
SEEDS = 2**31  # a seed that comes from the fingerprint lies below


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


@dataclass
class Plan:
    """An audit laid out.

    Attributes:
        config: with its seed filled in.
        stages: all, each after its inputs.
        numbers: the last one, whose results the report shows.
        folders: where the pictures lie, by name: a setting.
    """

    config: AuditConfig
    seed: int
    folders: dict[str, str]
    stages: list[Stage] = field(default_factory=list)

    @property
    def numbers(self) -> Stage:
        """The stage that ends the plan."""
        return self.stages[-1]

    @property
    def hash(self) -> str:
        """What identifies this audit: the key of its last stage."""
        return self.numbers.key

    def add(self, name: str, run: Any, config: Any, inputs: Mapping[str, Stage], weight: float,
            resources: Resources = WORKER) -> Stage:
        """Appends a stage; its configuration may hold dataclasses, `weight` is its share of the work, about."""
        stage = Stage(name, VERSIONS.get(name.split('/')[0], 1), config, inputs, run, resources, weight)
        self.stages.append(stage)
        return stage


def _of(loop: LoopConfig) -> Resources:
    """What a training in the stage's own process takes."""
    return Resources(cpus=loop.threads, gpus=float(loop.device == 'cuda'))


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


def fingerprints(config: AuditConfig, cache: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """(path, fingerprint) of every folder that the audit reads, by name.

    Raises:
        UserError: a folder is missing.
    """
    data = config.data
    paths = {'root': data.root, 'members': data.members, 'nonmembers': data.nonmembers, 'reference': data.reference,
             'samples': config.victim.samples}
    paths = {name: path for name, path in paths.items() if path}
    return paths, {name: _file_hash(path) if name == 'samples' and path.endswith('.npy') else fingerprint(path, cache)
                   for name, path in paths.items()}


def _file_hash(path: str) -> str:
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise UserError(f'--victim.samples {path}: {error.strerror}', 'name a folder of pictures or an .npy file') from None


def plan(config: AuditConfig, settings: Settings, cache: str | None = None) -> Plan:
    """Lays an audit out; trains nothing and reads no picture but for its fingerprint.

    Args:
        config: what to do.
        settings: where the fingerprints' index is kept, beside the store.
        cache: folder for that index.

    Raises:
        UserError: a folder is missing, or the scoring network has nobody to learn from.
    """
    if not config.split.scoring:
        raise UserError('--split.scoring 0: no people to score with and to set thresholds on', 'give it some, e.g. 40')
    folders, prints = fingerprints(config, cache)
    seed = config.seed
    if seed is None:
        people = {name: value for name, value in prints.items() if name != 'samples'}  # a second release: the same draws
        text = canonical_json({'folders': people, 'data': _data_key(config)})
        seed = int(hashlib.sha256(text.encode()).hexdigest(), 16) % SEEDS
    laid = Plan(replace(config, seed=seed), seed, folders)
    _lay(laid, prints)
    return laid


def _data_key(config: AuditConfig) -> Any:
    """The data's configuration without its paths: what lies there is known by its fingerprint."""
    return replace(config.data, root='.' if config.data.root or config.data.members else '', members='', nonmembers='',
                   reference='')


def _lay(laid: Plan, prints: Mapping[str, str]) -> None:
    config, seed, data = laid.config, laid.seed, _data_key(laid.config)
    read = {name: value for name, value in prints.items() if name != 'samples'}
    pictures = laid.add('pictures', steps.pictures, PicturesConfig(
        data, config.split, read, derive_seed(seed, 'pictures')), {}, 30, COORDINATOR)
    people = laid.add('people', steps.people, PeopleConfig(data, config.split, seed), {'pictures': pictures}, 0.1)
    base = {'pictures': pictures, 'people': people}
    scorer = laid.add('scorer', steps.scorer, {'scorer': config.scorer, 'seed': derive_seed(seed, 'scorer')}, base, 20,
                      _of(config.scorer.loop))
    goals = targets(config)
    headline = goals[0].name
    victims = {goal.name: _victim(laid, goal, base | {'scorer': scorer}) for goal in goals if goal.people is not None}
    samples = {goal.name: _samples(laid, goal, prints, victims.get(goal.name), pictures) for goal in goals}
    search = laid.add('search', steps.search_shadow, {
        'search': config.search, 'shadow': replace(config.shadow, count=1, others=1), 'seed': derive_seed(seed, 'search')},
        {'samples': samples[headline], 'scorer': scorer}, 60 * config.search.trials, COORDINATOR)
    shadows = {goal.name: [_shadow(laid, goal, number, goal.name == headline,
                                   {'samples': samples[goal.name], 'scorer': scorer, 'search': search})
                           for number in range(goal.shadows)] for goal in goals}
    attacks = {goal.name: _attack(laid, goal, headline, victims, samples, shadows, base) for goal in goals}
    quality = laid.add('quality', steps.quality, {
        'matching': config.shadow.matching, 'headline': None if config.owner else config.split.headline,
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
        'matching': config.shadow.matching, 'seed': derive_seed(laid.seed, 'victim', goal.group, str(goal.people))},
        inputs, 100, Resources(cpus=0, children=config.victim.loop.workers * config.victim.loop.threads))


def _samples(laid: Plan, goal: Target, prints: Mapping[str, str], victim: Stage | None, pictures: Stage) -> Stage:
    seed, draws = derive_seed(laid.seed, 'samples', goal.name), laid.config.victim.draws
    name = f'samples/{goal.name}'
    if victim is not None:
        return laid.add(name, steps.samples, {'draws': draws, 'seed': seed}, {'victim': victim}, 4)
    return laid.add(name, steps.owner_samples, {
        'draws': draws, 'seed': seed, 'fingerprint': prints['samples'], 'data': _data_key(laid.config)},
        {'pictures': pictures}, 4)


def _shadow(laid: Plan, goal: Target, number: int, headline: bool, inputs: Mapping[str, Stage]) -> Stage:
    shadow = laid.config.shadow
    name, seed = f'shadow/{goal.name}/{number}', derive_seed(laid.seed, 'shadow', goal.name, str(number))
    if headline and number == 0 and laid.config.search.mode != 'off':
        return laid.add(name, steps.shadow, {'best': True, 'matching': shadow.matching}, inputs, 0.1)
    matching = shadow.matching if headline else replace(shadow.matching, stop=True)
    return laid.add(name, steps.shadow, {'matching': matching, 'seed': seed, 'course': shadow.course if headline else 0},
                    inputs, 60, _of(shadow.loop))


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
