"""Model inference as a value: what the numbers of "which network made this vector?" depend on, and its presets. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fpray.attacks import INFERENCE_ATTACKS
from fpray.attacks.config import InferenceConfig
from fpray.data.config import AugmentConfig, DataConfig, GroupsConfig
from fpray.errors import UserError, one_of, whole
from fpray.models.config import EMBEDDINGS, LITE, TABLE_13, TARGETS, ExtractorConfig
from fpray.studies.config import check_data
from fpray.studies.embedding_config import (
    REFERENCES,
    SOURCE,
    TEMPLATE,
    AdaptConfig,
    CandidatesConfig,
    check_groups,
    no_address,
    once,
    rung_of,
)
from fpray.training.config import AttributeTraining, LoopConfig, RecognitionConfig

PRIMARY = 'auxiliary'
SAME_IDENT, SAME_PIPELINE, DIFF_PIPELINE, OWN_FOLDER = CONDITIONS = (
    'Same-Ident', 'Same-PreProc', 'Diff-PreProc', 'Unlabelled')
"""What the attacker's pictures are (section 5.3): others of the victims, other people's by the same pipeline, other people's
by another; and, beyond the source, a folder that belongs to nobody known."""
GROUPS_USED = ('adapt', 'attacker', 'threshold', 'victims')
ALL, NONE = 'all', 'none'
FAST = (
    'resnet14t', 'efficientnet_b0', 'hgnetv2_b0', 'mobileone_s2',
    'efficientnet_lite0', 'tf_efficientnet_b0', 'mobilenetv3_small_050', 'mobilenetv3_small_100',
    'resnet10t', 'resnet18', 'repvit_m1_1', 'ese_vovnet19b_slim_dw',
    'lcnet_050', 'tinynet_e', 'mnasnet_small', 'starnet_s050',
)  # of the pool, what two cores embed in seconds: four networks of each of its lengths


@dataclass(frozen=True)
class HeadlineConfig:
    """The one cell of Table 3 that gets controls and verdict, fixed before any score is seen, flags `--headline.*`."""

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
    """Share of the candidates' own vectors that may be called not as published; and of the vectors of the least unlike
    candidate, left out, that are not called 'none of these'."""
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
            no_address(f'--attacker.{name}', getattr(self, name))


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
        object.__setattr__(self, 'names', () if tuple(self.names) == (NONE,) else tuple(self.names))
        once('--pool.names', self.names)
        for name, low in (('images', 40), ('further', 0), ('twins', 0), ('batch', 2), ('threads', 1)):
            whole(f'--pool.{name}', getattr(self, name), low)
        if not 0 <= self.open <= 1:
            raise UserError(f'--pool.open {self.open}', 'give a share of the layers, 0 to 1')


@dataclass(frozen=True)
class ZooConfig:
    """The small digit networks whose attributes are inferred (Table 1), flags `--zoo.*`."""

    networks: int = 120
    """Networks, in turn of the embedding lengths 300, 500 and 1,000; 0: no such table."""
    digits: str = ''
    """Folder of MNIST's files; empty: scikit-learn's bundled 8 x 8 digits, labelled so."""
    mnist_net: str = ''
    """Folder of MNIST-NET, the source's own networks, of which so many are drawn; empty: the zoo is trained here."""
    folds: int = 4
    """Parts of the zoo; each is judged by what learnt from the others."""
    ranked: bool = True
    """Sort the values of an embedding: what a few hundred networks can teach; thousands can teach more unsorted."""
    training: AttributeTraining = field(default_factory=AttributeTraining)
    """What all networks share."""

    def __post_init__(self) -> None:
        whole('--zoo.networks', self.networks, 0)
        whole('--zoo.folds', self.folds, 2)
        if self.mnist_net and not self.digits:
            raise UserError('--zoo.mnist-net without --zoo.digits', 'its networks read MNIST: name the folder of its files')
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
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    headline: HeadlineConfig = field(default_factory=HeadlineConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    zoo: ZooConfig = field(default_factory=ZooConfig)
    lengths: tuple[int, ...] = (128,)
    """Lengths of vectors; one classifier serves one length."""
    table_13: Literal['none', 'face', 'finger'] = 'none'
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
        check_groups(data, self.augment, self.groups, GROUPS_USED, pictures)
        if self.groups.public:
            return check_groups(data, self.augment, self.groups, ('public',), pictures)
        if self.candidates.recognition.extractor.weights == 'random':
            raise UserError('--groups.public 0: the candidates must come trained',
                            'give people, or --candidates.recognition.extractor.weights package')
        if self.twins or self.pool.further:
            raise UserError('--groups.public 0: nobody is there to train twins and the pool on',
                            'give people, or --no-twins and --pool.further 0')
        if not self.pool.allow_download and (fresh := [name for name in self.pool.names if name not in LITE]):
            raise UserError(f'--groups.public 0: nobody is there to set the random weights of --pool.names {fresh[0]} on',
                            f'give people, or of the pool {" ".join(LITE)} alone')


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
    if config.table_13 == 'none':
        return [Candidate(name, config.candidates.of(name, length)) for name in config.candidates.names]
    mine = [row for row in TABLE_13 if row.modality == config.table_13]
    rows, base = [row for row in mine if row.length == length], config.candidates.recognition
    if not rows:
        raise UserError(f'--lengths {length}: Table 13 has no network of this length for a {config.table_13}',
                        f'choose from {" ".join(map(str, sorted({row.length for row in mine})))}')
    extractors = {row.target: replace(base.extractor, name=row.target, layer=row.layer, length=length) for row in rows}
    heads: dict[str, Any] = {row.target: TARGETS[row.target].head for row in rows}
    return [Candidate(name, replace(base, extractor=each, head=heads[name])) for name, each in extractors.items()]


def smoke() -> InferenceStudyConfig:
    """Seconds: three networks of a few channels, a dozen people. Shows that the path works, nothing about any network."""
    few = LoopConfig(images=160, batch=16, snapshot_every=0)
    return InferenceStudyConfig(
        data=DataConfig(size=48, fingers=1, impressions=3, query_impressions=1),
        groups=GroupsConfig(public=8, adapt=8, attacker=10, judge=0, threshold=10, victims=10),
        candidates=CandidatesConfig(names=('small-plain', 'small-residual', 'small-separable'), loop=few,
                                    recognition=RecognitionConfig(extractor=ExtractorConfig(length=32, width=8))),
        adapt=AdaptConfig(loop=replace(few, images=120)), lengths=(32,), headline=HeadlineConfig(length=32),
        attacker=AttackerConfig(classifier=_classifier(2_000), deals=3),
        pool=PoolConfig(names=FAST[-4:-2], images=80),
        zoo=ZooConfig(networks=24, folds=2, training=AttributeTraining(images=320)))


def desk() -> InferenceStudyConfig:
    """Minutes on two cores, real signal: four small networks of two lengths, their ladders, a pool, a small zoo.

    Lengths of 64 and 128, for the small networks have 128 features: a longer vector would lie in a plane of its own, which
    tells its network at once. The owner adapts at half the rate at which the networks were trained, and twice as long: FT-5
    is then about as far from the published network as the source's.
    """
    return InferenceStudyConfig(
        data=DataConfig(size=64, fingers=2, impressions=4, query_impressions=4),
        groups=GroupsConfig(public=48, adapt=48, attacker=40, judge=0, threshold=24, victims=40),
        candidates=CandidatesConfig(loop=LoopConfig(images=8_000, batch=32, snapshot_every=0)),
        adapt=AdaptConfig(loop=LoopConfig(images=16_000, batch=32, snapshot_every=0), lr=1e-3),
        attacker=AttackerConfig(classifier=_classifier(60_000), deals=10), lengths=(64, 128),
        pool=PoolConfig(names=(*FAST, *LITE), images=200, further=320, open=0.1), zoo=ZooConfig(networks=120))


def faces() -> InferenceStudyConfig:
    """Minutes, for few faces (40 people x 10): three networks with ImageNet's weights, which their owner adapts. Give
    --data.root and --data.layout; Diff-PreProc cuts the faces out by their landmarks."""
    return InferenceStudyConfig(
        data=DataConfig(size=64, fingers=1, impressions=6, query_impressions=4, resize='scale'),
        groups=GroupsConfig(public=0, adapt=10, attacker=10, judge=0, threshold=10, victims=10),
        candidates=CandidatesConfig(names=LITE, recognition=RecognitionConfig(
            extractor=ExtractorConfig(LITE[0], weights='package'))),
        adapt=AdaptConfig(loop=LoopConfig(images=1_600, batch=16, snapshot_every=0)),
        attacker=AttackerConfig(classifier=_classifier(20_000), deals=6, pipeline='landmarks'), twins=False,
        pool=PoolConfig(names=LITE, images=80, twins=0), zoo=ZooConfig(networks=0))


def paper() -> InferenceStudyConfig:
    """The source's own sizes (section 5), for a GPU cluster: its networks and layers, 105 in the pool, 5,000 in the zoo.

    Fingers by default: lengths 512, 1,024 and 2,048. PolyU (--data.impressions 4 --data.query-impressions 2) and SOCOFing
    (5 and 5: fingers of a person) are augmented as the source did; give --groups.*. For faces: --table-13 face --lengths 128
    512 2048 with --data.root.
    """
    base = desk()
    loop = LoopConfig(images=400_000, batch=64, snapshot_every=0, device='cuda')
    return replace(
        base, data=DataConfig(size=64, fingers=8, impressions=8, query_impressions=8),
        groups=GroupsConfig(public=100, adapt=470, attacker=100, judge=0, threshold=40, victims=50), augment=SOURCE,
        lengths=(512, 1024, 2048), table_13='finger', headline=HeadlineConfig(length=2048),
        candidates=replace(base.candidates, loop=loop),
        adapt=AdaptConfig(loop=replace(loop, images=57_500), lr=5e-4),
        attacker=replace(base.attacker, classifier=InferenceConfig()),
        pool=PoolConfig(images=20_000, further=20_000, open=1.0, twins=2, batch=64),
        zoo=ZooConfig(networks=5_000, ranked=False, training=AttributeTraining(images=300_000)))


def _classifier(vectors: int) -> InferenceConfig:
    """The attacker's classifiers, the auxiliary network trained on so many vectors, repeats counted."""
    return InferenceConfig(loop=LoopConfig(images=vectors, batch=128, snapshot_every=0))


PRESETS = {'smoke': smoke, 'desk': desk, 'faces': faces, 'paper': paper}
