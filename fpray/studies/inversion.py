"""The inversion of an extractor's vectors as a plan: stages with their inputs, from pictures to numbers.

The attack is one chain: which network made the vector, what did the picture look like, does it get in? Its controls are
added here, so that no study can forget them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fpray.attacks.embedding_box import FolderTemplates
from fpray.data.imageset import list_folder
from fpray.errors import UserError
from fpray.models.config import LINEAR, ReconstructorConfig
from fpray.store import Stage
from fpray.studies import inversion_steps as steps
from fpray.studies import recognition_steps
from fpray.studies.embedding_config import NO_ADAPT, REFERENCES, pictures_of
from fpray.studies.groups import add_set, foretold
from fpray.studies.inversion_analysis import numbers
from fpray.studies.inversion_config import (
    BASELINE,
    DIRECT,
    END_TO_END,
    IDENT,
    JUDGE,
    LINEAR_MAP,
    MEAN,
    NEAREST,
    OTHER,
    PLACEBOS,
    REHEARSAL,
    SAME,
    TOLD,
    WRONG,
    Arm,
    InversionConfig,
    key_of,
)
from fpray.studies.plan import COORDINATOR, Plan, begin, in_process
from fpray.studies.steps import derive_seed
from fpray.training.config import LoopConfig, RecognitionConfig

OWNER = 'owner'  # the reconstructor of the owner's own data


def plan(config: InversionConfig, cache: str | None = None) -> Plan:
    """Lays an inversion out; trains nothing and reads no picture but for its fingerprint.

    Args:
        config: what to do.
        cache: folder for the fingerprints' index.

    Raises:
        UserError: a folder or a file is missing.
    """
    target = config.target
    laid = begin(config, {'answers': target.answers, 'replies': target.replies, 'other': config.attacker.other,
                          'unknown': config.attacker.folder}, cache)
    check_early(laid)
    _Layout(laid).lay()
    return laid


def check_early(laid: Plan) -> None:
    """Refuses what the names of the pictures and an owner's files show, before any stage leaves something behind.

    Raises:
        UserError: the set cannot be divided as asked; a template is missing, no vector or of another length; no answers.
    """
    target = laid.config.target
    if laid.config.align != 'none' and 'root' not in laid.folders:
        raise UserError(f'--align {laid.config.align} without --data.root: faces are cut out of whole pictures',
                        'name a folder of faces, e.g. --data.root FOLDER --data.layout orl')
    if target.templates:
        laid.folders['templates'], laid.prints['templates'] = target.templates, vectors_print(target.templates)
    if (root := laid.folders.get('root')) and target.templates:
        steps.check_stored(foretold(laid))
        FolderTemplates(target.templates, list_folder(root, laid.config.data)).of([0])
    for name in ('answers', 'replies'):
        if path := laid.folders.get(name):
            steps.read_answers(path)


def vectors_print(folder: str) -> str:
    """Fingerprint of the .npy files under a folder: sha256 over relative paths and contents.

    Raises:
        UserError: the folder is missing or holds none.
    """
    paths = sorted(Path(folder).rglob('*.npy'))
    if not paths:
        raise UserError(f'no .npy template found in {folder}', 'give one a picture, under its name')
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f'{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n'.encode())
    return digest.hexdigest()


# What is tried ----------------------------------------------------------------------------------------------------


def system_of(config: InversionConfig) -> str:
    """Key of the system that is attacked: the adapted network, or the black box."""
    return config.right if config.box else key_of(config.target.network, config.target.rung)


def conditions_of(config: InversionConfig) -> tuple[str, ...]:
    """The attacker's kinds of pictures that can be had: stored templates know none from another pipeline, a folder of
    nobody known has none of the victims."""
    stored, strangers = config.target.kind in ('templates', 'callable'), bool(config.attacker.folder)
    return tuple(each for each in config.attacker.conditions if not (
        (stored and each == OTHER) or (strangers and each == IDENT)))


def rungs_of(config: InversionConfig) -> tuple[str, ...]:
    """Rungs at which the conditions are compared; the target's own among them."""
    return () if config.box else tuple(dict.fromkeys((NO_ADAPT, *config.ladder, config.target.rung)))


def arms_of(config: InversionConfig) -> dict[str, tuple[Arm, ...]]:
    """What is tried, in groups that one stage does: the headline with its controls, and each table's comparisons."""
    right, system = config.right, system_of(config)
    found = {'headline': _headline(config, right, system)}
    if not config.box:
        found['rungs'] = tuple(Arm(f'{rung}/{name}', key_of(right, rung), how, right)  # type: ignore[arg-type]
                               for rung in rungs_of(config) for name, how in ((END_TO_END, 'guess'), (TOLD, 'network')))
    places = [key_of(right, rung) for rung in rungs_of(config)] or [right]
    found['conditions'] = tuple(Arm(f'{condition}/{place}', place, 'network', f'{right}/{condition}')
                                for place in places for condition in conditions_of(config))
    if config.every and not config.box:
        others = [name for name in config.candidates.names if name != right]
        found['targets'] = tuple(Arm(name, name, 'network', f'{name}/{SAME}') for name in others)
        found['pool'] = tuple(Arm(f'{condition}/{name}/ranges', name, 'network', f'{right}/{condition}', 'ranges')
                              for name in others for condition in conditions_of(config)) + tuple(
            Arm(f'{SAME}/{name}/linear', name, 'network', f'{right}/{SAME}', 'linear') for name in others)
    if config.lengths and not config.box:
        base = [Arm(right, right, 'network', f'{right}/{SAME}'),
                *(Arm(name, name, 'network', f'{name}/{SAME}') for name in config.candidates.names if name != right)]
        found['lengths'] = (*(base if config.every else base[:1]), *(
            Arm(longer(name, length), longer(name, length), 'network', f'{longer(name, length)}/{SAME}')
            for length in config.lengths for name in config.candidates.names))
    if most := most_embeddings(config):
        found['several'] = (Arm(TOLD, system, 'network', right, number=most), *(
            Arm(condition, system, 'network', f'{right}/{condition}', number=most)
            for condition in conditions_of(config) if condition != IDENT))
    if config.baselines.autoencoder and not config.box and config.groups.public + config.groups.adapt:
        found['baseline'] = (Arm(BASELINE, system, 'network', OWNER),)
    return found


def _headline(config: InversionConfig, right: str, system: str) -> tuple[Arm, ...]:
    """The endpoint's attack, the same with the right model given, its controls and its baselines."""
    direct = config.baselines.equal_time or config.baselines.steps
    return (Arm(END_TO_END, system, 'guess'), Arm(TOLD, system, 'network', right),
            *(Arm(name, system, 'network', right, 'reordered') for name in PLACEBOS),
            *(() if config.box else (Arm(WRONG, system, 'network', f'{config.invert.wrong}/{SAME}'),)),
            Arm(MEAN, system, 'mean'), Arm(NEAREST, system, 'nearest', right),
            *(() if config.linear else (Arm(LINEAR_MAP, system, 'network', LINEAR),)),
            *((Arm(DIRECT, system, 'direct', right),) if direct and not config.box else ()),
            Arm(REHEARSAL, system, 'network', right, group='threshold'))


def longer(name: str, length: int) -> str:
    """Key of a candidate with another length: 'small-plain-512'."""
    return f'{name}-{length}'


def most_embeddings(config: InversionConfig) -> int:
    """The largest of the asked numbers of stolen vectors that an identity's pictures allow; 0: more than one is none."""
    return max((each for each in config.embeddings if 1 < each <= stealable(config)), default=0)


def stealable(config: InversionConfig) -> int:
    """Pictures of an identity beside its references."""
    return pictures_of(config.data, config.augment) - REFERENCES


# The stages -------------------------------------------------------------------------------------------------------


class _Layout:
    """Lays the stages of one inversion, room by room."""

    def __init__(self, laid: Plan) -> None:
        self.laid = laid
        self.config: InversionConfig = laid.config
        self.arms = arms_of(self.config)
        self.networks: dict[str, tuple[Stage, str]] = {}  # key of an extractor -> its stage and rung
        self.vectors: dict[str, Stage] = {}  # key -> vectors of whoever is asked about
        self.place = '' if self.config.box else self.config.target.rung
        self.places = {rung: key_of(self.config.right, rung) for rung in rungs_of(self.config)} or {'': self.config.right}
        self.known: dict[tuple[str, str], Stage] = {}  # (condition, network) -> vectors of the attacker's pictures

    def seed(self, *words: str) -> int:
        return derive_seed(self.laid.seed, *words)

    def lay(self) -> None:
        """All stages, each after its inputs."""
        config = self.config
        self.read()
        self.train()
        self.asked = self.subset('asked', ('adapt', 'threshold', 'victims'), config.identities)
        for key in (*self.networks, *((config.right,) if config.box else ())):
            self.vectors[key] = self.embed(f'vectors/{key}', key, self.asked)
        if config.judge.kind == 'dlib':
            self.vectors[JUDGE] = self.laid.add(f'vectors/{JUDGE}', steps.embed_by_box, {'kind': 'dlib'},
                                                {'pictures': self.asked}, 6)
        self.attackers = {condition: self.attacker(condition) for condition in conditions_of(config)}
        for name in config.pool:
            self.know(SAME, name)
        guess = self.guess()
        self.reconstructors = self.invert_networks(guess)
        real = self.laid.add('real', steps.real, {
            'systems': sorted(self.vectors), 'matcher': config.judge.kind == 'matcher'},
            {'asked': self.asked, **{f'vectors/{key}': stage for key, stage in self.vectors.items()}},
            60 if config.judge.kind == 'matcher' else 4)
        tried = {group: self.attempt(group, arms, guess) for group, arms in self.arms.items()}
        self.end(guess, real, tried)

    def end(self, guess: Stage, real: Stage, tried: Mapping[str, tuple[Stage, Stage]]) -> None:
        config = self.config
        trained = {f'network/{key}': stage for key, (stage, rung) in self.networks.items() if not rung}
        first = {f'reconstructor/{config.right}': self.reconstructors[config.right]}
        inputs = {'pictures': self.set, 'people': self.people, **first,  # the longest training begins as soon as it can
                  'asked': self.asked, 'guess': guess, 'real': real,
                  **{f'verify/{group}': both[1] for group, both in tried.items()}, **trained,
                  **{f'reconstructor/{key}': stage for key, stage in self.reconstructors.items()},
                  **{f'vectors/{key}': stage for key, stage in self.vectors.items()}}
        if self.ladder is not None:
            inputs['ladder'] = self.ladder
        inputs |= {stage.name: stage for stage in self.laid.stages if stage.family == 'search'}
        inputs |= {f'folder/{stage.config["folder"]}': stage for stage in self.attackers.values() if stage.config['folder']}
        self.laid.add('numbers', numbers, {
            'seed': self.laid.seed, **self.bare(), 'arms': self.arms, 'system': system_of(config), 'places': self.places,
            'rungs': rungs_of(config), 'conditions': conditions_of(config), 'perceptual': self.perceptual}, inputs, 20)

    def bare(self) -> dict[str, Any]:
        """The configuration as the numbers need it: without paths, which no key may hold."""
        config = self.config
        return {'kind': config.target.kind, 'right': config.right, 'pool': config.pool, 'told': config.target.model,
                'network': config.target.network, 'rung': config.target.rung, 'groups': config.groups,
                'candidates': config.candidates, 'judge': config.judge, 'invert': config.invert,
                'embeddings': config.embeddings, 'most': most_embeddings(config), 'stealable': stealable(config),
                'baselines': config.baselines,
                'search': config.search.mode, 'unknown': bool(config.attacker.folder), 'align': config.align,
                'other': bool(config.attacker.other)}

    # Pictures

    def read(self) -> None:
        """The set, its people; faces cut out."""
        raw, self.people = add_set(self.laid)
        self.set = self.raw = raw
        if self.config.align != 'none':
            self.set = self.laid.add('faces', steps.cut_faces, {'how': self.config.align, 'size': self.config.data.size},
                                     {'pictures': raw}, 30)

    def subset(self, name: str, groups: Iterable[str], identities: int = 0) -> Stage:
        return self.laid.add(name, steps.subset, {'groups': tuple(groups), 'identities': identities},
                             {'pictures': self.set, 'people': self.people}, 0.5)

    def attacker(self, condition: str) -> Stage:
        """The pictures that the attacker holds under a condition."""
        config, laid = self.config, self.laid
        given = {OTHER: 'other' if config.attacker.other else ''}
        folder = given.get(condition, 'unknown' if config.attacker.folder else '')
        foreign = folder == 'other' and bool(config.attacker.layout)
        inputs = {'pictures': self.raw if condition == OTHER else self.set, 'people': self.people}
        return laid.add(f'attacker/{condition}', steps.attacker, {
            'condition': condition, 'folder': folder, 'print': laid.prints.get(folder, ''), 'foreign': foreign,
            'data': replace(laid.data, layout=config.attacker.layout, pattern=laid.data.pattern if
                            config.attacker.layout == 'pattern' else '') if foreign else laid.data,
            'align': config.align, 'size': config.data.size}, inputs, 2)

    # Networks

    def train(self) -> None:
        """The public candidates, the owner's adaptation of one of them, and the judge."""
        config = self.config
        for name in config.candidates.names:
            self.networks[name] = self.extractor(f'candidate/{name}', config.candidates.of(name), config.candidates.loop,
                                                 'public'), ''
            for length in () if config.box else config.lengths:
                key = longer(name, length)
                self.networks[key] = self.extractor(f'candidate/{key}', config.candidates.of(name, length),
                                                    config.candidates.loop, 'public'), ''
        self.ladder: Stage | None = None
        if not config.box and config.adapted:
            network = config.target.network
            self.ladder = self.laid.add(f'ladder/{network}', recognition_steps.adapt_extractor, {
                'recognition': config.adapt.of(config.candidates.of(network)), 'loop': config.adapt.loop, 'group': 'adapt',
                'people': None, 'held_out': steps.HELD_OUT, 'seed': self.seed('ladder', network)},
                {'pictures': self.set, 'people': self.people, 'extractor': self.networks[network][0]}, 30,
                in_process(config.adapt.loop))
            for rung in rungs_of(config):
                if rung != NO_ADAPT:
                    self.networks[key_of(network, rung)] = self.ladder, rung
        if config.judge.kind == 'trained':
            self.networks[JUDGE] = self.extractor(JUDGE, config.judge.recognition, config.judge.loop, 'judge'), ''

    def extractor(self, name: str, recognition: RecognitionConfig, loop: LoopConfig, group: str) -> Stage:
        """One network, trained on a group; or as it comes, where the group has nobody."""
        seed = self.seed('extractor', name)
        if not getattr(self.config.groups, group):
            return self.laid.add(name, recognition_steps.ready_extractor, {'extractor': recognition.extractor, 'seed': seed},
                                 {'pictures': self.set}, 2)
        return self.laid.add(name, recognition_steps.train_extractor, {
            'recognition': recognition, 'loop': loop, 'group': group, 'people': None, 'seed': seed},
            {'pictures': self.set, 'people': self.people}, 60, in_process(loop))

    def embed(self, name: str, key: str, pictures: Stage) -> Stage:
        """The vectors of a set of pictures by one extractor, or by the black box."""
        if key in self.networks:
            stage, rung = self.networks[key]
            return self.laid.add(name, recognition_steps.embed_set, {'rung': rung, 'threads': 1},
                                 {'pictures': pictures, 'extractor': stage}, 4)
        kind = self.config.target.kind
        prints = {each: self.laid.prints[each] for each in ('templates', 'answers') if each in self.laid.prints}
        return self.laid.add(name, steps.embed_by_box, {'kind': kind, 'prints': prints}, {'pictures': pictures}, 6)

    def know(self, condition: str, key: str) -> Stage:
        """The vectors of the attacker's pictures under a condition by a network that it can ask."""
        if (condition, key) not in self.known:
            self.known[condition, key] = self.embed(f'known/{condition}/{key}', key, self.attackers[condition])
        return self.known[condition, key]

    # The attack

    def guess(self) -> Stage:
        """Which network made each stolen vector, at every rung."""
        config = self.config
        return self.laid.add('guess', steps.guess, {
            'pool': config.pool, 'told': config.target.model, 'inference': config.inference, 'places': self.places,
            'seed': self.seed('guess')},
            {'asked': self.asked, **{f'known/{name}': self.known[SAME, name] for name in config.pool},
             **{f'vectors/{key}': self.vectors[key] for key in sorted({*config.pool, *self.places.values()})}}, 15,
            in_process(config.inference.loop))

    def invert_networks(self, guess: Stage) -> dict[str, Stage]:
        """The reconstructors by their keys: those that decide, and the brief ones of the comparisons."""
        config, found = self.config, {}
        used = {arm.network for arms in self.arms.values() for arm in arms if arm.how == 'network'}
        for name in config.pool:
            found[name] = self.reconstructor(name, name, SAME, guess=None if name in used else guess)
        for key in sorted(used - set(found)):
            name, _, condition = key.partition('/')
            if key == LINEAR:
                found[key] = self.reconstructor(key, config.right, SAME)
            elif key == OWNER:
                found[key] = self.own()
            elif config.linear and condition == SAME and name in used:
                found[key] = found[name]  # a map that is solved has no brief form
            else:
                found[key] = self.reconstructor(key, name, condition, brief=True)
        return found

    def reconstructor(self, key: str, name: str, condition: str, *, guess: Stage | None = None,
                      brief: bool = False) -> Stage:
        """One reconstructor: of a network's vectors, on the attacker's pictures."""
        inputs = {'pictures': self.attackers[condition], 'vectors': self.know(condition, name)}
        return self.inverted(key, name, inputs, guess, brief)

    def own(self) -> Stage:
        """The upper bound: what the owner itself could train, on its own pictures and with its own network."""
        pictures = self.subset('own', ('public', 'adapt'))
        system = system_of(self.config)
        return self.inverted(OWNER, system, {
            'pictures': pictures, 'vectors': self.embed('own-vectors', system, pictures)}, None, True)

    def inverted(self, key: str, name: str, inputs: Mapping[str, Stage], guess: Stage | None, brief: bool) -> Stage:
        config = self.config
        loop, invert = config.invert.loop, config.invert
        waits = {'place': self.place, 'needed': name} if guess is not None else {'place': '', 'needed': ''}
        asked = {'guess': guess} if guess is not None else {}
        if key == LINEAR or (config.linear and key != OWNER):
            return self.laid.add(f'reconstructor/{key}', steps.linear_reconstructor, {
                'reconstructor': ReconstructorConfig(family=LINEAR, last='none'), **waits}, {**inputs, **asked}, 2)
        if brief:
            loop = replace(loop, images=max(loop.batch, round(loop.images * invert.brief)))
        stage, rung = self.networks.get(name, (None, ''))
        if stage is not None:
            asked['network'] = stage
            if config.search.mode != 'off':
                asked['search'] = self.search(name)
        return self.laid.add(f'reconstructor/{key}', steps.reconstructor, {
            'training': invert.training, 'loop': loop, 'depths': invert.depths, 'rung': rung, 'joint': key == OWNER, **waits,
            'seed': self.seed('reconstructor', key)}, {**inputs, **asked},
            (60 if guess is None else 10) * (invert.brief if brief else 1), in_process(loop))

    def search(self, name: str) -> Stage:
        """Which layers of a network the perceptual loss should look at; on the attacker's data alone."""
        config = self.config
        stage, rung = self.networks[name]
        found = next((each for each in self.laid.stages if each.name == f'search/{name}'), None)
        return found or self.laid.add(f'search/{name}', steps.search_layers, {
            'search': config.search, 'training': config.invert.training, 'rung': rung, 'loop': replace(
                config.invert.loop, images=max(config.invert.loop.batch, round(
                    config.invert.loop.images * config.invert.brief))), 'seed': self.seed('search', name)},
            {'pictures': self.attackers[SAME], 'vectors': self.know(SAME, name), 'network': stage}, 200, COORDINATOR)

    # Getting in

    def attempt(self, group: str, arms: tuple[Arm, ...], guess: Stage) -> tuple[Stage, Stage]:
        """Reconstructions of one group of arms, and how they fare in each system and with the judge."""
        config = self.config
        base = {'asked': self.asked}
        systems = sorted({arm.system for arm in arms})
        vectors = {f'vectors/{key}': self.vectors[key] for key in systems}
        made = self.laid.add(f'invert/{group}', steps.invert, {
            'arms': arms, 'pool': config.pool, 'seed': self.seed('invert', group), 'steps': config.baselines.steps,
            'equal_time': config.baselines.equal_time, 'places': self.places},
            {**base, **vectors, **self.sources(arms, guess)}, 3)
        judges = {'network/judge': self.networks[JUDGE][0]} if JUDGE in self.networks else {}
        if JUDGE in self.vectors:
            judges[f'vectors/{JUDGE}'] = self.vectors[JUDGE]
        perceptual = self.perceptual
        asked = {key: self.networks[key][1] for key in sorted({*systems, perceptual} - {JUDGE})
                 if key in self.networks}
        replies = {'replies': self.laid.prints['replies']} if 'replies' in self.laid.prints else {}
        return made, self.laid.add(f'verify/{group}', steps.verify, {
            'arms': arms, 'rungs': asked, 'kind': config.target.kind, 'judge': config.judge.kind, 'replies': replies,
            'perceptual': perceptual},
            {**base, **vectors, 'invert': made, **judges, **{f'network/{key}': self.networks[key][0] for key in asked},
             f'vectors/{perceptual}': self.vectors[perceptual]}, 4)

    @property
    def perceptual(self) -> str:
        """The one network by which likeness is measured, apart from every training: the judge, or a candidate."""
        if JUDGE in self.vectors:
            return JUDGE
        return next(name for name in self.config.candidates.names if name != self.config.right)

    def sources(self, arms: tuple[Arm, ...], guess: Stage) -> dict[str, Stage]:
        """What the arms need beside the stolen vectors."""
        found: dict[str, Stage] = {}
        for arm in arms:
            if arm.how in ('network', 'guess'):
                keys = [arm.network] if arm.how == 'network' else [
                    key for name in self.config.pool for key in (name, f'{name}/{SAME}') if key in self.reconstructors]
                found |= {f'reconstructor/{key}': self.reconstructors[key] for key in keys}
            if arm.how == 'guess':
                found['guess'] = guess
            if arm.how in ('guess', 'mean', 'nearest'):
                found['attacker'] = self.attackers[SAME]
            if arm.how == 'nearest':
                found[f'known/{arm.network}'] = self.know(SAME, arm.network)
            if arm.how == 'direct':
                found |= {'network': self.networks[arm.network][0], 'attacker': self.attackers[SAME],
                          f'reconstructor/{arm.network}': self.reconstructors[arm.network]}
            if arm.space in ('ranges', 'linear'):
                name, _, condition = arm.network.partition('/')
                found[f'known/{arm.network}'] = self.know(condition or SAME, name)
                if arm.space == 'linear':
                    found[f'known/{arm.system}'] = self.know(condition or SAME, arm.system)
        return found
