"""Model inference as a value: everything the numbers of "which network made this vector?" depend on, and its presets. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fpray.attacks import INFERENCE_ATTACKS
from fpray.attacks.config import InferenceConfig
from fpray.data.config import DataConfig, GroupsConfig
from fpray.errors import UserError, one_of, share, whole
from fpray.models.config import ATTRIBUTES, EMBEDDINGS, TABLE_13, ExtractorConfig
from fpray.studies.config import check_data
from fpray.studies.embedding_config import REFERENCES, TEMPLATE, AdaptConfig, CandidatesConfig, check_groups, once, rung_of
from fpray.training.config import AttributeTraining, AuxiliaryTraining, LoopConfig, RecognitionConfig

PRIMARY = 'auxiliary'
SAME_IDENT, SAME_PIPELINE, DIFF_PIPELINE, OWN_FOLDER = CONDITIONS = (
    'Same-Ident', 'Same-PreProc', 'Diff-PreProc', 'Unlabelled')
"""What the attacker's pictures are (section 5.3): others of the victims, other people's by the same pipeline, other people's by
another; and, beyond the source, a folder that belongs to nobody known."""
GROUPS_USED = ('public', 'adapt', 'attacker', 'threshold', 'victims')
LEAST_VECTORS = 19  # of the threshold people: what 5 % false alarms need
ALL = 'all'


@dataclass(frozen=True)
class HeadlineConfig:
    """The one cell of Table 3 that gets the controls and the verdict, fixed before any score is seen, flags `--headline.*`."""

    length: int = 128
    """Length of the vectors; one of --lengths."""
    condition: str = SAME_PIPELINE
    """What the attacker's pictures are; one of --conditions."""
    rung: str = 'FT-3'
    """How far the owner has adapted the network: No-adapt, FT-1, ..., FT-5."""

    def __post_init__(self) -> None:
        one_of('--headline.condition', self.condition, CONDITIONS)
        rung_of('--headline.rung', self.rung)


@dataclass(frozen=True)
class AttackerConfig:
    """What the attacker learns from, and how, flags `--attacker.*`."""

    kinds: tuple[str, ...] = tuple(INFERENCE_ATTACKS)
    """Classifiers: auxiliary (always: the primary endpoint), linear, nearest."""
    vectors: int = 10_000
    """Reference vectors that a classifier learns from, at most, over all candidates (the source: 10,000)."""
    classifier: InferenceConfig = field(default_factory=InferenceConfig)
    """Normalisation of the vectors, and the classifiers' own settings."""
    alarms: float = 0.05
    """Share of the candidates' own vectors that may be called 'none of these'."""
    deals: int = 6
    """Classifiers of the placebo, each learnt from network labels that were shuffled anew."""
    pipeline: Literal['sensor', 'landmarks', 'box'] = 'sensor'
    """Diff-PreProc: the attacker's pictures through another sensor (simulated), or faces aligned by landmarks or by box."""
    other: str = ''
    """Diff-PreProc: folder of pictures from a real second sensor or set, in place of the simulated one."""
    folder: str = ''
    """A further condition, Unlabelled: folder of pictures of nobody known, from which the attacker learns."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'kinds', tuple(self.kinds))
        once('--attacker.kinds', self.kinds)
        for kind in self.kinds:
            one_of('--attacker.kinds', kind, tuple(INFERENCE_ATTACKS))
        if PRIMARY not in self.kinds:
            raise UserError(f'--attacker.kinds without {PRIMARY}', 'it is the primary endpoint: name it too')
        one_of('--attacker.pipeline', self.pipeline, ('sensor', 'landmarks', 'box'))
        whole('--attacker.vectors', self.vectors, 16)
        whole('--attacker.deals', self.deals, 3)
        if not 0 < self.alarms < 1:
            raise UserError(f'--attacker.alarms {self.alarms}', 'give a share above 0 and below 1')
        for name in ('other', 'folder'):
            if '://' in getattr(self, name):
                raise UserError(f'--attacker.{name} {getattr(self, name)} is an address',
                                'give a folder that every machine sees under this path')


@dataclass(frozen=True)
class PoolConfig:
    """The large collection of Table 4, flags `--pool.*`."""

    names: tuple[str, ...] = (ALL,)
    """Networks, as `fpray.models.pool.POOL` names them; all: its 105; none: no such table."""
    images: int = 200
    """Pictures that every network embeds: half the attacker's to learn from, the rest to calibrate and to judge, about."""
    further: int = 0
    """Pictures that each network is trained further on, on the public people; 0: as it comes."""
    open: float = 0.0
    """Share of the layers that this further training opens, the deepest first; 0: the embedding layer alone."""
    twins: int = 1
    """Networks of each length that are there twice, with other first weights or another further training."""
    batch: int = 32
    """Pictures of a forward pass, and of a step of further training."""
    threads: int = 1
    """Threads of a network."""
    allow_download: bool = False
    """Let timm fetch weights from its hub; else they are an installed package's, or random and said to be."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'names', tuple(self.names))
        once('--pool.names', self.names)
        for name, low in (('images', 40), ('further', 0), ('twins', 0), ('batch', 2), ('threads', 1)):
            whole(f'--pool.{name}', getattr(self, name), low)
        share('--pool.open', self.open)


@dataclass(frozen=True)
class ZooConfig:
    """The small digit networks whose attributes are inferred (Table 1), flags `--zoo.*`."""

    networks: int = 120
    """Networks, in turn of the embedding lengths 300, 500 and 1,000; 0: no such table."""
    digits: str = ''
    """Folder of MNIST's files; empty: scikit-learn's bundled 8 x 8 digits, labelled so."""
    folds: int = 4
    """Parts of the zoo; each is judged by what learnt from the others."""
    ranked: bool = True
    """Sort the values of an embedding: what a few hundred networks can teach; thousands can teach more unsorted."""
    training: AttributeTraining = field(default_factory=AttributeTraining)
    """What all networks share."""

    def __post_init__(self) -> None:
        whole('--zoo.networks', self.networks, 0)
        whole('--zoo.folds', self.folds, 2)
        if self.networks and self.networks < self.folds * len(EMBEDDINGS):
            raise UserError(f'--zoo.networks {self.networks} for --zoo.folds {self.folds} and {len(EMBEDDINGS)} lengths',
                            f'give at least {self.folds * len(EMBEDDINGS)}, or 0')


@dataclass(frozen=True)
class InferenceStudyConfig:
    """What the numbers of model inference depend on; equal configurations give equal numbers."""

    data: DataConfig
    groups: GroupsConfig
    candidates: CandidatesConfig
    adapt: AdaptConfig
    attacker: AttackerConfig
    headline: HeadlineConfig = field(default_factory=HeadlineConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    zoo: ZooConfig = field(default_factory=ZooConfig)
    lengths: tuple[int, ...] = (128, 512)
    """Lengths of vectors; one classifier serves one length."""
    table_13: Literal['none', 'faces', 'fingers'] = 'none'
    """Take the source's own four networks and layers of each length (Table 13) instead of --candidates.names."""
    conditions: tuple[str, ...] = CONDITIONS[:3]
    """What the attacker's pictures are: Same-Ident, Same-PreProc, Diff-PreProc; --attacker.folder adds Unlabelled."""
    twins: bool = True
    """Train every candidate of the headline's length again with other first weights: is it the architecture that shows?"""
    seen: tuple[int, ...] = (1, 5, 10, 50)
    """Numbers of vectors of one network that the attacker may see at once."""
    seed: int | None = None
    """Seed of every draw and every training; empty: from the pictures' fingerprint."""

    def __post_init__(self) -> None:
        for name in ('lengths', 'conditions', 'seen'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            once(f'--{name}', [str(each) for each in getattr(self, name)])
            if not getattr(self, name):
                raise UserError(f'--{name}: nothing given', 'give at least one')
        for name in ('lengths', 'seen'):
            for each in getattr(self, name):
                whole(f'--{name}', each, 1)
        for condition in self.conditions:
            one_of('--conditions', condition, CONDITIONS)
        if self.attacker.folder and OWN_FOLDER not in self.conditions:
            object.__setattr__(self, 'conditions', (*self.conditions, OWN_FOLDER))
        if OWN_FOLDER in self.conditions and not self.attacker.folder:
            raise UserError(f'--conditions {OWN_FOLDER} without --attacker.folder', 'name a folder of pictures')
        self._check_headline()
        self._check_data()

    def _check_headline(self) -> None:
        if self.headline.length not in self.lengths:
            raise UserError(f'--headline.length {self.headline.length}: none of --lengths',
                            f'choose one of {" ".join(map(str, self.lengths))}')
        if self.headline.condition not in self.conditions:
            raise UserError(f'--headline.condition {self.headline.condition}: none of --conditions',
                            f'choose one of {" ".join(self.conditions)}')
        for length in self.lengths:
            candidates_of(self, length)

    def _check_data(self) -> None:
        data = self.data
        if data.members or data.reference:
            raise UserError('--data.members, --data.nonmembers and --data.reference have no place here',
                            'give one folder of labelled pictures with --data.root, or none')
        check_data(data, self.seed)
        pictures = TEMPLATE + REFERENCES + (SAME_IDENT in self.conditions)
        check_groups(data, self.groups, GROUPS_USED, pictures)


@dataclass(frozen=True)
class Candidate:
    """One network that the attacker knows."""

    name: str
    """As tables show it."""
    recognition: RecognitionConfig
    """How it is trained on the public people."""


def candidates_of(config: InferenceStudyConfig, length: int) -> list[Candidate]:
    """The candidates of one length, in the order of their labels.

    Raises:
        UserError: the source's Table 13 has no network of this length.
    """
    names, base = config.candidates.names, config.candidates.recognition
    if config.table_13 == 'none':
        return [Candidate(name, config.candidates.of(name, length)) for name in names]
    rows = [row for row in TABLE_13 if row.modality == config.table_13 and row.length == length]
    if not rows:
        known = sorted({row.length for row in TABLE_13 if row.modality == config.table_13})
        raise UserError(f'--lengths {length}: Table 13 has no network of this length for {config.table_13}',
                        f'choose from {" ".join(map(str, known))}')
    return [Candidate(row.network, replace(base, extractor=replace(
        base.extractor, name=row.network, layer=row.layer, length=length))) for row in rows]


def zoo_chance() -> dict[str, float]:
    """Attribute of Table 1 -> accuracy of guessing."""
    return {name: 1 / len(values) for name, values in ATTRIBUTES.items()}
