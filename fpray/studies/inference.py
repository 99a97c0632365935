"""Model inference as a plan: stages with their inputs, from pictures to numbers.

The candidates learn on public people, the owner adapts them on others, the attacker learns from the unadapted ones with
people of its own, and is asked about victims whom nobody else had. The controls are added here, so that no attack can
forget them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fpray.data.config import DataConfig
from fpray.errors import UserError
from fpray.models.config import LITE, ExtractorConfig
from fpray.models.pool import POOL, PoolRow
from fpray.store import Stage
from fpray.studies import inference_steps as steps
from fpray.studies import recognition_steps
from fpray.studies.embedding_config import NO_ADAPT, RUNGS
from fpray.studies.groups import add_set
from fpray.studies.inference_analysis import numbers
from fpray.studies.inference_config import (
    ALL,
    DIFF_PIPELINE,
    OWN_FOLDER,
    SAME_PIPELINE,
    Candidate,
    InferenceStudyConfig,
    PoolConfig,
    candidates_of,
)
from fpray.studies.plan import COORDINATOR, Plan, begin, in_process
from fpray.studies.steps import derive_seed
from fpray.training.config import LoopConfig, RecognitionConfig

LITE_LENGTH = 1280  # of the embeddings of LITE's networks
OTHER_PICTURES = (DIFF_PIPELINE, OWN_FOLDER)  # conditions whose pictures are not the set's own as they are


def plan(config: InferenceStudyConfig, cache: str | None = None) -> Plan:
    """Lays the study out; trains nothing and reads no picture but for its fingerprint.

    Args:
        config: what to do.
        cache: folder for the fingerprints' index.

    Raises:
        UserError: a folder is missing, a network of the pool is unknown.
    """
    pooled(config)
    laid = begin(config, {'other': config.attacker.other, 'folder': config.attacker.folder}, cache)
    for name in ('digits', 'mnist_net'):
        if place := getattr(config.zoo, name):
            laid.folders[name], laid.prints[name] = place, files_print(place, f'--zoo.{name.replace("_", "-")}')
    _Layout(laid).lay()
    return laid


def files_print(place: str, flag: str) -> str:
    """sha256 over names, sizes and first 64 KiB of a file, or of all under a folder: thousands of networks are many GB.

    Raises:
        UserError: there is nothing, or it cannot be read.
    """
    root, digest = Path(place), hashlib.sha256()
    try:
        files = [root] if not root.is_dir() else sorted(path for path in root.rglob('*') if path.is_file())
        for path in files:
            with open(path, 'rb') as file:
                name = path.relative_to(root).as_posix()
                digest.update(f'{name} {path.stat().st_size} {hashlib.sha256(file.read(1 << 16)).hexdigest()}\n'.encode())
    except OSError as error:
        raise UserError(f'{flag} {place}: {error.strerror}', 'name an existing folder') from None
    return digest.hexdigest()


@dataclass(frozen=True)
class Member:
    """A network of Table 4's pool."""

    name: str
    extractor: ExtractorConfig
    """Image size and channels are set from the pictures."""
    family: str
    weights: str
    """As the report says it."""


def pooled(config: InferenceStudyConfig) -> list[Member]:
    """The networks of Table 4's pool; those whose weights come with a package that is not installed are left out.

    Raises:
        UserError: one is unknown, or a length has a single network.
    """
    pool = config.pool
    known = {row.name: _of_pool(row, pool) for row in POOL} | {name: _lite(name, pool) for name in steps.installed(LITE)}
    names = list(known) if pool.names == (ALL,) else [name for name in pool.names if name in known or name not in LITE]
    if unknown := [name for name in names if name not in known]:
        near = [*get_close_matches(unknown[0], known, 5, 0), '...']
        raise UserError(f'--pool.names: unknown network {unknown[0]!r}', f'choose from all, none, {", ".join(near)}')
    found = [known[name] for name in names]
    lengths = [each.extractor.length for each in found]
    if alone := next((each for each in found if lengths.count(each.extractor.length) == 1), None):
        raise UserError(f'--pool.names: {alone.name} is the only network of length {alone.extractor.length}',
                        'name two or more of a length')
    return found


def _of_pool(row: PoolRow, pool: PoolConfig) -> Member:
    extractor = row.config()
    if pool.allow_download:
        extractor = replace(extractor, weights='hub', allow_download=True)
    trained = f', trained further on {pool.further:,} pictures' if pool.further else ''
    return Member(row.name, extractor, row.family, ("the hub's" if pool.allow_download else 'random') + trained)


def _lite(name: str, pool: PoolConfig) -> Member:
    trained = f', trained further on {pool.further:,} pictures' if pool.further else ''
    return Member(name, ExtractorConfig(name, '', LITE_LENGTH, weights='package'), 'EfficientNet', f'ImageNet\'s{trained}')


class _Layout:
    """Lays the stages, room by room."""

    def __init__(self, laid: Plan) -> None:
        self.laid = laid
        self.config: InferenceStudyConfig = laid.config
        self.candidates = {length: candidates_of(self.config, length) for length in self.config.lengths}

    def seed(self, *words: str) -> int:
        return derive_seed(self.laid.seed, *words)

    def lay(self) -> None:
        """All stages, each after its inputs."""
        self.pictures, self.people = add_set(self.laid)
        self.base = {'pictures': self.pictures, 'people': self.people}
        self.pipelines = {condition: self.pipeline(condition) for condition in self.config.conditions
                          if condition in OTHER_PICTURES}
        networks = {(length, each.name): self.candidate(length, each) for length in self.config.lengths
                    for each in self.candidates[length]}
        twins = {each.name: self.twin(each) for each in self.candidates[self.config.headline.length]
                 } if self.config.twins else {}
        ladders = {(length, each.name): self.ladder(length, each, networks[length, each.name])
                   for length in self.config.lengths for each in self.candidates[length]}
        vectors = {at: self.vectors('/'.join(map(str, at)), network, ladders[at]) for at, network in networks.items()}
        twin_vectors = {name: self.vectors(f'twin/{name}', twin) for name, twin in twins.items()}
        classifiers = {(length, condition): self.classifier(length, condition, vectors)
                       for length in self.config.lengths for condition in self.config.conditions}
        inputs = {f'answers/{length}': self.answers(length, classifiers, vectors) for length in self.config.lengths}
        inputs |= {f'unknown/{length}': self.unknown(length, vectors, twin_vectors) for length in self.config.lengths}
        inputs |= {f'map/{length}': self.map(length, vectors) for length in self.config.lengths}
        inputs['placebo'] = self.placebo(vectors)
        if twins:
            inputs['twins'] = self.twin_answers(classifiers, vectors, twin_vectors)
        pool = self.pool()
        inputs |= {'pool': pool} if pool else {}
        inputs |= {'attributes': self.attributes()} if self.config.zoo.networks else {}
        inputs['identify'] = self.identify(classifiers, pool)
        inputs |= {f'ladder/{"/".join(map(str, at))}': stage for at, stage in ladders.items()}
        inputs |= {f'candidate/{"/".join(map(str, at))}': stage for at, stage in networks.items()}
        inputs |= {f'classifier/{length}/{condition}': stage for (length, condition), stage in classifiers.items()}
        inputs |= {f'vectors/{length}/{number}': vectors[length, each.name] for length in self.config.lengths
                   for number, each in enumerate(self.candidates[length])}
        inputs |= {stage.name: stage for stage in self.pipelines.values() if stage.config['folder']}
        self.numbers(inputs)

    # Networks

    def candidate(self, length: int, each: Candidate) -> Stage:
        """One public network."""
        return self.extractor(f'candidate/{length}/{each.name}', each.recognition)

    def twin(self, each: Candidate) -> Stage:
        """The same training from other first weights, in another order."""
        return self.extractor(f'candidate-twin/{self.config.headline.length}/{each.name}', each.recognition)

    def extractor(self, name: str, recognition: RecognitionConfig) -> Stage:
        loop = self.config.candidates.loop
        if not self.config.groups.public:
            return self.laid.add(name, recognition_steps.ready_extractor, {
                'extractor': recognition.extractor, 'seed': self.seed(name)}, {'pictures': self.pictures}, 2)
        return self.laid.add(name, recognition_steps.train_extractor, {
            'recognition': recognition, 'loop': loop, 'group': 'public', 'people': None, 'seed': self.seed(name)},
            self.base, 20, in_process(loop, loop.workers > 1))

    def ladder(self, length: int, each: Candidate, network: Stage) -> Stage:
        """The owner's adaptation of it, rung by rung."""
        name, loop = f'ladder/{length}/{each.name}', self.config.adapt.loop
        return self.laid.add(name, recognition_steps.adapt_extractor, {
            'recognition': self.config.adapt.of(each.recognition), 'loop': loop, 'group': 'adapt', 'people': None,
            'seed': self.seed(name)}, {**self.base, 'extractor': network}, 15, in_process(loop, loop.workers > 1))

    # Pictures and vectors

    def pipeline(self, condition: str) -> Stage:
        """The attacker's pictures of another pipeline, or of nobody known."""
        attacker = self.config.attacker
        name = 'folder' if condition == OWN_FOLDER else 'other' if attacker.other else ''
        return self.laid.add(f'pipeline/{condition}', steps.pipeline, {
            'how': 'folder' if name else attacker.pipeline, 'data': _plain(self.laid.data), 'folder': name,
            'least': steps.least_pictures(attacker.alarms, min(map(len, self.candidates.values()))) if name else 0,
            'print': self.laid.prints.get(name, ''), 'seed': self.seed('pipeline', condition)}, self.base, 4)

    def vectors(self, name: str, network: Stage, ladder: Stage | None = None) -> Stage:
        """What one network, at each rung of its ladder, makes of the pictures that somebody asks or learns from."""
        loop = self.config.candidates.loop
        pipelines = {f'pipeline/{condition}': stage for condition, stage in self.pipelines.items()} if ladder else {}
        return self.laid.add(f'vectors/{name}', steps.vectors, {
            'threads': loop.threads, 'rungs': [rung for rung in RUNGS if rung != NO_ADAPT] if ladder else []},
            {**self.base, 'extractor': network, **pipelines, **({'ladder': ladder} if ladder else {})}, 6)

    def of_length(self, length: int, vectors: Mapping[tuple[int, str], Stage]) -> dict[str, Stage]:
        return {f'vectors/{number}': vectors[length, each.name] for number, each in enumerate(self.candidates[length])}

    def names(self, length: int) -> list[str]:
        return [each.name for each in self.candidates[length]]

    # The attacker's classifiers

    def learning(self, length: int, condition: str) -> dict[str, Any]:
        """What a classifier of this cell hangs on, beside its vectors."""
        attacker = self.config.attacker
        return {'condition': condition, 'names': self.names(length), 'vectors': attacker.vectors,
                'classifier': attacker.classifier, 'alarms': attacker.alarms}

    def classifier(self, length: int, condition: str, vectors: Mapping[tuple[int, str], Stage]) -> Stage:
        """All kinds of classifier of one length, learnt under one condition."""
        name = f'classifier/{length}/{condition}'
        return self.laid.add(name, steps.classifier, {
            **self.learning(length, condition), 'kinds': self.config.attacker.kinds, 'seed': self.seed(name)},
            {'people': self.people, **self.of_length(length, vectors)}, 6, in_process(self.config.attacker.classifier.loop))

    def answers(self, length: int, classifiers: Mapping[tuple[int, str], Stage],
                vectors: Mapping[tuple[int, str], Stage]) -> Stage:
        """What they say to the vectors of the victims, at every rung."""
        return self.laid.add(f'answers/{length}', steps.answers, {
            'conditions': self.config.conditions, 'kinds': self.config.attacker.kinds, 'rungs': RUNGS},
            {'people': self.people, **self.of_length(length, vectors),
             **{f'classifier/{condition}': classifiers[length, condition] for condition in self.config.conditions}}, 3)

    def unknown(self, length: int, vectors: Mapping[tuple[int, str], Stage], twins: Mapping[str, Stage]) -> Stage:
        """Each candidate in turn is left out of the pool; and the twins, which never were in it."""
        known = twins if length == self.config.headline.length else {}
        return self.laid.add(f'unknown/{length}', steps.unknown, {
            **self.learning(length, self.config.headline.condition), 'rung': self.config.headline.rung,
            'seed': self.seed('unknown', str(length))},
            {'people': self.people, **self.of_length(length, vectors),
             **{f'twin/{name}': stage for name, stage in known.items()}}, 2)

    def map(self, length: int, vectors: Mapping[tuple[int, str], Stage]) -> Stage:
        """Fig. 1: the victims' vectors on the plane."""
        return self.laid.add(f'map/{length}', steps.plane, {
            'axis': self.config.attacker.classifier.axis, 'seed': self.seed('map') % 2**32},
            {'people': self.people, **self.of_length(length, vectors)}, 3)

    def placebo(self, vectors: Mapping[tuple[int, str], Stage]) -> Stage:
        """The headline's cell, its classifier learnt from shuffled labels; and what pictures alone say."""
        headline, attacker = self.config.headline, self.config.attacker
        return self.laid.add('placebo', steps.placebo, {
            **self.learning(headline.length, headline.condition), 'rung': headline.rung, 'deals': attacker.deals,
            'seed': self.seed('placebo')}, {**self.base, **self.of_length(headline.length, vectors)}, 10,
            in_process(attacker.classifier.loop))

    def twin_answers(self, classifiers: Mapping[tuple[int, str], Stage], vectors: Mapping[tuple[int, str], Stage],
                     twins: Mapping[str, Stage]) -> Stage:
        """Twins under the headline's classifier, and twins and candidates as twice as many classes."""
        length = self.config.headline.length
        return self.laid.add('twins', steps.twins, {
            **self.learning(length, self.config.headline.condition), 'seed': self.seed('twins')},
            {'people': self.people, **self.of_length(length, vectors),
             'classifier': classifiers[length, self.config.headline.condition],
             **{f'twin/{name}': stage for name, stage in twins.items()}}, 4,
            in_process(self.config.attacker.classifier.loop))

    # The pool of Table 4, the zoo of Table 1

    def pool(self) -> Stage | None:
        """Embeds the pool, then fits and asks a classifier a length."""
        config, members = self.config.pool, pooled(self.config)
        if not members:
            return None
        twins = twins_of(members, config.twins)
        everyone = [*members, *(replace(each, name=f'{each.name} (twin)') for each in twins)]
        tuning = None
        if config.further:
            loop = LoopConfig(images=config.further, batch=config.batch, snapshot_every=0, threads=config.threads)
            recognition = replace(self.config.candidates.recognition, opening=((1.0, config.open),))
            tuning = {'loop': loop, 'recognition': recognition}
        embedded = self.laid.add('pool-vectors', steps.pool_vectors, {
            'members': [{'name': each.name, 'extractor': each.extractor, 'seed': self.seed('pool', each.name)}
                        for each in everyone],
            'images': config.images, 'batch': config.batch, 'threads': config.threads, 'tuning': tuning,
            'seed': self.seed('pool rows')}, self.base, 4 * len(everyone), COORDINATOR)
        return self.laid.add('pool', steps.pool, {
            'members': [{'name': each.name, 'length': each.extractor.length, 'family': each.family, 'weights': each.weights}
                        for each in members],
            'classifier': self.config.attacker.classifier, 'alarms': self.config.attacker.alarms,
            'seed': self.seed('pool classifier')},
            {'people': self.people, 'vectors': embedded}, 8, in_process(self.config.attacker.classifier.loop))

    def attributes(self) -> Stage:
        """Table 1: the zoo is trained, then its attributes are inferred."""
        zoo = self.config.zoo
        trained = self.laid.add('zoo', steps.zoo, {
            'networks': zoo.networks, 'training': zoo.training, 'digits': self.laid.prints.get('digits', ''),
            'mnist_net': self.laid.prints.get('mnist_net', ''),
            'seed': self.seed('zoo')}, {}, zoo.networks, COORDINATOR)
        return self.laid.add('attributes', steps.attributes, {
            'folds': zoo.folds, 'ranked': zoo.ranked, 'seed': self.seed('attributes') % 2**32}, {'zoo': trained}, 20)

    # The end

    def identify(self, classifiers: Mapping[tuple[int, str], Stage], pool: Stage | None) -> Stage:
        """The classifiers that answer about a vector from outside, one a length."""
        condition = SAME_PIPELINE if SAME_PIPELINE in self.config.conditions else self.config.headline.condition
        return self.laid.add('identify', steps.gather, {'condition': condition}, {
            **{f'classifier/{length}': classifiers[length, condition] for length in self.config.lengths},
            **({'pool': pool} if pool else {})}, 0.1)

    def numbers(self, inputs: Mapping[str, Stage]) -> None:
        """The stage that ends the study."""
        config = self.config
        self.laid.add('numbers', numbers, {
            'seed': self.laid.seed, 'headline': config.headline, 'lengths': config.lengths, 'conditions': config.conditions,
            'kinds': config.attacker.kinds, 'names': {str(length): self.names(length) for length in config.lengths},
            'seen': config.seen, 'alarms': config.attacker.alarms, 'attacker': _words(config), 'table_13': config.table_13,
            'pool': {'images': config.pool.images, 'further': config.pool.further}, 'adapted': config.adapt.loop.images},
            {**self.base, **inputs}, 15)


def twins_of(members: Sequence[Member], number: int) -> list[Member]:
    """The first so many networks of each length whose weights a seed draws: others have no twin."""
    found: dict[int, list[Member]] = {}
    for each in members:
        if each.extractor.weights == 'random':
            found.setdefault(each.extractor.length, []).append(each)
    return [each for mine in found.values() for each in mine[:number]]


def _plain(data: DataConfig) -> DataConfig:
    """How a further folder is read: as the set, but for where it lies and what its names mean."""
    return replace(data, root='.', layout='folder', pattern='', ppi=0)


def _words(config: InferenceStudyConfig) -> dict[str, Any]:
    """What the report says of the attacker."""
    attacker = config.attacker
    return {'pipeline': attacker.pipeline, 'other': bool(attacker.other), 'axis': attacker.classifier.axis,
            'vectors': attacker.vectors}
