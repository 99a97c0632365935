"""The audit of a learned codec as a plan: stages with their inputs, from pictures to numbers.

As in the generator's audit, membership is drawn and the controls are added here, so that no attack can forget them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fpray.defences import load_defence
from fpray.errors import UserError
from fpray.store import Stage
from fpray.studies import codec_steps, steps
from fpray.studies.codec_analysis import numbers
from fpray.studies.codec_config import CodecAuditConfig, named
from fpray.studies.config import SearchConfig
from fpray.studies.plan import COORDINATOR, Plan, add_pictures, begin, in_process
from fpray.studies.steps import PeopleConfig, derive_seed
from fpray.training.config import GanConfig

Family = Literal['scale', 'mean-scale']


@dataclass(frozen=True)
class CodecTarget:
    """A codec under attack: its name, what it was trained on, who is asked about, and why it is there."""

    name: str
    role: str
    """'victim', 'lambda', 'size', 'family', 'control' or 'defence'."""
    lmbda: float
    positives: str
    negatives: str
    group: str
    """The group that it was trained on; the placebo's is not the positives: it is asked about people it never saw."""
    people: int | None
    """People it was trained on, the first of the group; None: an owner's, whom nobody counts."""
    asked: int | None = None
    """People of `positives` who are asked about, the first of them; None: all."""
    family: Family = 'mean-scale'
    defence: str = ''
    deal: int = 0
    """Which deal of members and non-members it belongs to: 0 is the audit's own, further ones are other victims."""


def headline_of(config: CodecAuditConfig) -> str:
    """The name of the codec that gets the controls and the verdict."""
    return 'owner' if config.owner else f'{config.victim.primary:g}'


def targets(config: CodecAuditConfig) -> list[CodecTarget]:
    """The codecs to attack, the headline first: it and its controls decide, the rest may wait."""
    split, primary = config.split, config.victim.primary
    headline = None if config.owner else split.headline
    own = CodecTarget(headline_of(config), 'victim', primary, 'members', 'nonmembers', 'members', headline, headline,
                      config.codec.codec.family)
    found = [own]
    if split.rehearsal:
        found.append(replace(own, name='rehearsal', role='control', positives='rehearsal_in', negatives='rehearsal_out',
                             group='rehearsal_in', people=split.rehearsal, asked=None))
    if split.placebo:
        found.append(replace(own, name='placebo', role='control', group='placebo', people=split.placebo))
    if config.owner:
        return found
    found += [replace(own, name=f'{lmbda:g}', role='lambda', lmbda=lmbda) for lmbda in config.victim.lambdas
              if lmbda != primary]
    found += [replace(own, name=f'{lmbda:g}-{size}', role='size', lmbda=lmbda, people=size, asked=size)
              for size in split.sizes if size != split.headline
              for lmbda in (config.victim.lambdas if config.victim.all_sizes else (primary,))]
    found += [replace(own, name=f'{lmbda:g}-{family}', role='family', lmbda=lmbda, family=family)
              for family in config.victim.families if family != config.codec.codec.family
              for lmbda in config.victim.lambdas]
    return found + _defended(config, own)


def _defended(config: CodecAuditConfig, own: CodecTarget) -> list[CodecTarget]:
    """One codec a defence, lambda and deal; and the undefended one again for each deal after the first.

    Each defence has a placebo of its own, the same training on other people: a codec of another recipe than the reference's
    finds some pictures easier than the reference does, whoever they belong to. A codec on the stand-in knows nobody at all.
    """
    lambdas = config.victim.lambdas if config.defences.all_lambdas else (config.victim.primary,)
    found = []
    for deal in range(config.defences.victims):
        for defence in ('', *config.defences.names) if deal else config.defences.names:
            found += [replace(own, name=named(defence or 'none', lmbda, deal), role='defence', lmbda=lmbda, defence=defence,
                              deal=deal) for lmbda in lambdas]
            if defence and config.split.placebo and load_defence(defence).data != 'stand-in':
                found.append(replace(own, name=named(f'{defence}-placebo', own.lmbda, deal), role='control', group='placebo',
                                     people=config.split.placebo, defence=defence, deal=deal))
    return found


def plan(config: CodecAuditConfig, cache: str | None = None) -> Plan:
    """Lays an audit out; trains nothing and reads no picture but for its fingerprint.

    Args:
        config: what to do.
        cache: folder for the fingerprints' index.

    Raises:
        UserError: a folder is missing.
    """
    check(config)
    laid = begin(config, {'decompressed': config.victim.decompressed, 'compressed': config.victim.compressed}, cache)
    _Layout(laid).lay()
    return laid


class _Layout:
    """Lays the stages of one audit, room by room."""

    def __init__(self, laid: Plan) -> None:
        self.laid = laid
        self.config: CodecAuditConfig = laid.config
        self.goals = targets(self.config)
        self.people: dict[int, Stage] = {}
        self.victims: dict[str, Stage] = {}

    def seed(self, *words: str) -> int:
        return derive_seed(self.laid.seed, *words)

    def lay(self) -> None:
        """All stages, each after its inputs."""
        config, seed = self.config, self.laid.seed
        self.pictures = add_pictures(self.laid)
        split = PeopleConfig(self.laid.data, config.split, seed)
        for deal in sorted({goal.deal for goal in self.goals}):
            self.people[deal] = self.laid.add('people' if not deal else f'people/{deal}', codec_steps.people, {
                'people': split, 'deal': deal}, {'pictures': self.pictures}, 0.1)
        rows = self.laid.add('rows', codec_steps.rows, {}, {'pictures': self.pictures, 'people': self.people[0]}, 1)
        self.references = {
            f'{family}-{lmbda:g}': self.codec(f'reference/{family}-{lmbda:g}', lmbda, family, 'reference',
                                              half=codec_steps.REFERENCE)
            for family, lmbda in dict.fromkeys((goal.family, goal.lmbda) for goal in self.goals)}
        self.shadows = [self.codec(f'shadow/{i}', config.victim.primary, config.codec.codec.family, 'reference', half=i)
                        for i in range(config.shadow.count)]
        samples, choices = self.twins()
        for goal in self.goals:
            if goal.people is not None:
                self.victims[goal.name] = self.victim(goal, samples)
        measures = {name: self.measure(name, stage, rows) for name, stage in self.measured().items()}
        attacks = {goal.name: self.attack(goal, rows, measures) for goal in self.goals}
        quality = self.rate_distortion(measures, choices)
        inputs = {'pictures': self.pictures, 'rows': rows, 'rate-distortion': quality} | {
            'people' if not deal else f'people/{deal}': stage for deal, stage in self.people.items()}
        self.laid.add('numbers', numbers, {
            'seed': seed, 'headline': headline_of(config), 'owner': config.owner, 'random_draw': config.victim.random_draw,
            'targets': self.goals, 'split': config.split, 'attacks': config.attacks, 'codec': config.codec},
            inputs | {f'attack/{name}': stage for name, stage in attacks.items()}
            | {f'measure/{name}': stage for name, stage in measures.items()}
            | {f'codec/{name}': stage for name, stage in self.trained().items()}
            | {f'choice/{deal}': stage for deal, stage in choices.items()}, 20)

    def trained(self) -> dict[str, Stage]:
        """Every codec that the audit trains, by name."""
        return (self.victims | {f'reference/{name}': stage for name, stage in self.references.items()}
                | {f'shadow/{i}': stage for i, stage in enumerate(self.shadows)})

    def measured(self) -> dict[str, Stage | None]:
        """Every codec whose answers an attack reads; None: an owner's, whose answers lie in its folders."""
        return ({'owner': None} if self.config.owner else {}) | dict(self.trained())

    # Codecs

    def codec(self, name: str, lmbda: float, family: Family, group: str, people: int | None = None, *,
              half: int | None = None, change: Any = None,
              inputs: Mapping[str, Stage] | None = None, deal: int = 0, trainer: bool = False) -> Stage:
        """One codec's training; `half`: on one half of the group's people alone, see `codec_tasks.half_of`."""
        config = self.config
        train = replace(config.codec, lmbda=lmbda, codec=replace(config.codec.codec, family=family))
        loop, trainer = config.loop, trainer or config.loop.workers > 1
        return self.laid.add(name, codec_steps.codec, {
            'train': train, 'loop': loop, 'group': group, 'people': people, 'half': half, 'trainer': trainer,
            'change': change, 'seed': self.seed('codec', name)},
            {'pictures': self.pictures, 'people': self.people[deal], **(inputs or {})}, 50,
            in_process(loop, trainer))

    def victim(self, goal: CodecTarget, samples: Mapping[tuple[str, int], Stage]) -> Stage:
        """The codec of a target, undefended or defended."""
        if not goal.defence:
            return self.codec(f'victim/{goal.name}', goal.lmbda, goal.family, goal.group, goal.people, deal=goal.deal,
                              trainer=goal.role in ('victim', 'lambda'))
        kind = 'twin placebo' if goal.defence == 'twin' and goal.role == 'control' else goal.defence
        drawn = samples.get((kind, goal.deal))
        return self.codec(f'victim/{goal.name}', goal.lmbda, goal.family, goal.group, goal.people, deal=goal.deal,
                          change=codec_steps.strength(goal.defence, self.config.defences),
                          inputs={'samples': drawn} if drawn is not None else {})

    # The twin

    def twins(self) -> tuple[dict[tuple[str, int], Stage], dict[int, Stage]]:
        """The pictures that codecs learn from instead of people's, by (defence, deal); and how each twin was chosen."""
        names = () if self.config.owner else self.config.defences.names
        samples, choices = {}, {}
        scorer = self.laid.add('scorer', steps.scorer, {
            'scorer': self.config.twin.scorer, 'seed': self.seed('scorer')}, {
            'pictures': self.pictures, 'people': self.people[0]}, 15,
            in_process(self.config.twin.scorer.loop)) if 'twin' in names else None
        for deal in self.people:
            if 'stand-in' in names:
                samples['stand-in', deal] = self.laid.add(f'stand-in/{deal}', codec_steps.stand_in, {
                    'people': self.config.defences.stand_in_people, 'data': self.laid.data,
                    'seed': self.seed('stand-in', str(deal))}, {'pictures': self.pictures}, 10, COORDINATOR)
            if scorer is not None:
                samples['twin', deal] = choices[deal] = self.twin(deal, scorer)
                if self.config.split.placebo:
                    samples['twin placebo', deal] = self.twin_placebo(deal, scorer, choices[deal])
        return samples, choices

    def twin(self, deal: int, scorer: Stage) -> Stage:
        """Candidate generators on the private pictures, the leak of each by shadows, and the choice among them."""
        config, twin = self.config, self.config.twin
        base = {'pictures': self.pictures, 'people': self.people[deal]}
        attacks, samples = {}, {}
        for name, gan in self.candidates(deal).items():
            victim = self.laid.add(f'gan/{name}', steps.victim, {
                'gan': gan, 'loop': twin.loop, 'group': 'members', 'people': config.split.headline,
                'measure': twin.shadow.matching.measure, 'seed': self.seed('gan', name)}, base | {'scorer': scorer}, 80,
                in_process(twin.loop, trainer=True))
            samples[name] = self.laid.add(f'samples/{name}', steps.samples, {
                'draws': twin.draws, 'seed': self.seed('samples', name)}, {'victim': victim}, 2)
            attacks[name] = self.generator_attack(name, samples[name], scorer, base)
        return self.laid.add(f'choice/{deal}', codec_steps.choose_twin, {
            'candidates': {f'{deal}-{i}': f'dropout {each:g}' for i, each in enumerate(twin.dropouts)},
            'people': config.split.headline, 'seed': self.seed('choice', str(deal))},
            base | {f'attack/{name}': stage for name, stage in attacks.items()}
            | {f'samples/{name}': stage for name, stage in samples.items()}, 1)

    def candidates(self, deal: int) -> dict[str, GanConfig]:
        """The recipes among which the twin is chosen, by name."""
        gan = self.config.twin.gan
        return {f'{deal}-{number}': replace(gan, discriminator=replace(gan.discriminator, dropout=dropout))
                for number, dropout in enumerate(self.config.twin.dropouts)}

    def twin_placebo(self, deal: int, scorer: Stage, choice: Stage) -> Stage:
        """Samples of a generator of the chosen recipe that learned from the placebo's people."""
        config, twin = self.config, self.config.twin
        generator = self.laid.add(f'gan-placebo/{deal}', codec_steps.placebo_generator, {
            'gans': self.candidates(deal), 'loop': twin.loop, 'group': 'placebo', 'people': config.split.placebo,
            'measure': twin.shadow.matching.measure, 'seed': self.seed('gan-placebo', str(deal))},
            {'pictures': self.pictures, 'people': self.people[deal], 'scorer': scorer, 'choice': choice}, 80,
            in_process(twin.loop, trainer=True))
        return self.laid.add(f'samples/placebo-{deal}', steps.samples, {
            'draws': twin.draws, 'seed': self.seed('samples', f'placebo-{deal}')}, {'victim': generator}, 2)

    def generator_attack(self, name: str, samples: Stage, scorer: Stage, base: Mapping[str, Stage]) -> Stage:
        """The shadow attack of the generators' audit on one candidate."""
        shadow = self.config.twin.shadow
        best = self.laid.add(f'search/{name}', steps.search_shadow, {
            'search': SearchConfig(mode='off'), 'shadow': replace(shadow, count=1, others=1), 'seed': 0},
            {'samples': samples, 'scorer': scorer}, 0.1)
        shadows = [self.laid.add(f'gan-shadow/{name}-{i}', steps.shadow, {
            'matching': shadow.matching, 'seed': self.seed('gan-shadow', name, str(i)), 'course': 0},
            {'samples': samples, 'scorer': scorer, 'search': best}, 40, in_process(shadow.loop))
            for i in range(shadow.count)]
        return self.laid.add(f'gan-attack/{name}', steps.attack, {
            'victim': name, 'attacks': ('shadow',), 'positives': 'members', 'negatives': 'nonmembers',
            'people': self.config.split.headline, 'course': False},
            {**base, 'samples': samples, **{f'shadow/{i:02d}': stage for i, stage in enumerate(shadows)}}, 4, COORDINATOR)

    # What attacks read

    def measure(self, name: str, codec: Stage | None, rows: Stage) -> Stage:
        """Rate, distortion and band errors of one codec on the pictures that are asked about."""
        if codec is None:
            return self.laid.add(f'measure/{name}', codec_steps.measure_owner, {
                'lmbda': self.config.victim.primary,
                'fingerprints': {n: v for n, v in self.laid.prints.items() if n.endswith('compressed')}},
                {'pictures': self.pictures, 'rows': rows}, 4)
        loop = self.config.loop
        return self.laid.add(f'measure/{name}', codec_steps.measure, {
            'lmbda': codec.config['train'].lmbda, 'device': loop.device},
            {'pictures': self.pictures, 'rows': rows, 'codec': codec}, 4, in_process(loop))

    def attack(self, goal: CodecTarget, rows: Stage, measures: Mapping[str, Stage]) -> Stage:
        """Every attack's scores of one codec."""
        inputs = {'rows': rows, 'pictures': self.pictures, 'people': self.people[goal.deal],
                  'victim': measures[goal.name], 'reference': measures[f'reference/{goal.family}-{goal.lmbda:g}']}
        if goal.lmbda == self.config.victim.primary and goal.family == self.config.codec.codec.family:
            inputs |= {f'shadow/{i:02d}': measures[f'shadow/{i}'] for i in range(self.config.shadow.count)}
        return self.laid.add(f'attack/{goal.name}', codec_steps.attack, {
            'goal': goal, 'attacks': self.config.attacks,
            'pictures': self.config.asked(goal.asked or 0) if goal.positives == 'members' else 0}, inputs, 2)

    def rate_distortion(self, measures: Mapping[str, Stage], choices: Mapping[int, Stage]) -> Stage:
        """The victims' rate and distortion beside classical codecs', real bitstreams and what becomes of the ridges."""
        config = self.config
        shown = {goal.name: (goal.lmbda, goal.family) for goal in self.goals if goal.role in ('victim', 'lambda', 'family')}
        return self.laid.add('rate-distortion', codec_steps.rate_distortion, {
            'victims': shown, 'headline': headline_of(config), 'seed': self.seed('rate-distortion'),
            'fidelity': config.fidelity, 'ppi': config.data.ppi, 'extras': codec_steps.extras() if config.fidelity else []},
            {'pictures': self.pictures, 'people': self.people[0]}
            | {f'measure/{name}': measures[name] for name in shown}
            | {f'codec/{name}': self.victims[name] for name in shown if name in self.victims}
            | ({'twin': choices[0]} if choices else {}), 15, COORDINATOR)


def check(config: CodecAuditConfig) -> None:
    """Faults that the pictures' size cannot mend."""
    if config.codec.crop > config.data.size and config.data.resize != 'none':
        raise UserError(f'--codec.crop {config.codec.crop} is larger than --data.size {config.data.size}',
                        'crop at most the pictures\' own size, or 0 for whole pictures')
