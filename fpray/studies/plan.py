"""A study as a plan: stages with their inputs, from pictures to numbers. What every audit's plan begins with.

A plan is a value: a dry run prints it, the cluster runs it, the store knows which of it is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fpray.data.config import DataConfig, SplitConfig
from fpray.data.imageset import fingerprint
from fpray.errors import UserError
from fpray.store import Resources, Stage, canonical_json
from fpray.studies import steps
from fpray.studies.config import PEOPLES
from fpray.training.config import LoopConfig

# Family of a stage -> counted up when its function computes something else.
VERSIONS: dict[str, int] = {'people': 2, 'attack': 2, 'numbers': 5, 'rate-distortion': 2, 'real': 2,
                           'attacker': 2, 'pipeline': 2, 'reconstructor': 2, 'invert': 2, 'verify': 2,
                           'classifier': 2, 'unknown': 2, 'placebo': 2, 'pool': 2, 'guess': 2}
WORKER = Resources(cpus=1)
COORDINATOR = Resources(cpus=0, children=1)  # of a stage that waits for tasks, trials, workers or actors of its own
SEEDS = 2**31  # a seed that comes from the fingerprint lies below


@dataclass
class Plan:
    """An audit laid out.

    Attributes:
        config: with its seed filled in.
        folders: where the pictures lie, by name: a setting.
        prints: the fingerprint of each folder.
        stages: all, each after its inputs.
    """

    config: Any
    seed: int
    folders: dict[str, str]
    prints: dict[str, str]
    stages: list[Stage] = field(default_factory=list)

    @property
    def numbers(self) -> Stage:
        """The stage that ends the plan, whose results the report shows."""
        return self.stages[-1]

    @property
    def hash(self) -> str:
        """What identifies this audit: the key of its last stage."""
        return self.numbers.key

    @property
    def data(self) -> DataConfig:
        """The data's configuration without its paths: what lies there is known by its fingerprint."""
        return _data_key(self.config.data)

    def add(self, name: str, run: Any, config: Any, inputs: Mapping[str, Stage], weight: float,
            resources: Resources = WORKER) -> Stage:
        """Appends a stage; its configuration may hold dataclasses, `weight` is its share of the work, about."""
        stage = Stage(name, VERSIONS.get(name.split('/')[0], 1), config, inputs, run, resources, weight)
        self.stages.append(stage)
        return stage


def begin(config: Any, others: Mapping[str, str], cache: str | None) -> Plan:
    """A plan without stages, its folders known by what they hold and its seed filled in.

    Args:
        config: of any study, with `data` and `seed`.
        others: folders that are read beside those of the people, by name; '' is none.
        cache: folder for the index of the fingerprints.

    Raises:
        UserError: a folder is missing.
    """
    paths = {**{name: getattr(config.data, name) for name in PEOPLES}, **others}
    folders = {name: path for name, path in paths.items() if path}
    if config.data.resize != 'none' and not folders:
        raise UserError(f'--data.resize {config.data.resize} without --data.root: the stand-in is drawn at its size',
                        'name a folder of pictures')
    prints = {name: _file_hash(path) if path.endswith(('.npy', '.npz')) else fingerprint(path, cache)
              for name, path in folders.items()}
    seed = config.seed
    if seed is None:
        people = {name: value for name, value in prints.items() if name in PEOPLES}  # a second release: the same draws
        text = canonical_json({'folders': people, 'data': _data_key(config.data)})
        seed = int(hashlib.sha256(text.encode()).hexdigest(), 16) % SEEDS
    return Plan(replace(config, seed=seed), seed, folders, prints)


def add_pictures(laid: Plan) -> Stage:
    """The stage that reads or draws the set."""
    read = {name: value for name, value in laid.prints.items() if name in PEOPLES}
    return laid.add('pictures', steps.pictures, steps.PicturesConfig(
        laid.data, drawn_from(laid.config), read, steps.derive_seed(laid.seed, 'pictures')), {}, 30, COORDINATOR)


def drawn_from(config: Any) -> SplitConfig:
    """What the set of pictures depends on of the split, so that another division of the same people leaves it alone.

    The stand-in hangs on how many people there are in all; a real set on how many of its own are no learners, and on
    the learning groups, which are given out whole; an owner's folders on those groups alone.
    """
    split: SplitConfig = config.split
    most = max(split.sizes)
    if config.owner:
        return replace(split, sizes=(1,), headline=1, nonmembers=1)
    if config.data.root:
        return replace(split, sizes=(most,), headline=most)
    total = most + split.nonmembers + steps.learning_people(split)
    bare = replace(split, sizes=(1,), headline=1, nonmembers=1, scoring=0, placebo=0, rehearsal=0, reference=0)
    first = total - 1 - steps.learning_people(bare)
    return replace(bare, sizes=(first,), headline=first)


def in_process(loop: LoopConfig, trainer: bool = False) -> Resources:
    """What a training takes: in the stage's own process, or by workers of a trainer that the stage waits for."""
    if trainer:
        return Resources(cpus=0, children=loop.workers * loop.threads)
    return Resources(cpus=loop.threads, gpus=float(loop.device == 'cuda'))


def _data_key(data: DataConfig) -> DataConfig:
    return replace(data, root='.' if data.root or data.members else '', members='', nonmembers='', reference='')


def _file_hash(path: str) -> str:
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}', 'name a folder of pictures, or a file that holds them') from None
