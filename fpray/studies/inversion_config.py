"""The inversion of an extractor's vectors as a value: everything its numbers depend on, and its presets. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fpray.attacks.config import InferenceConfig
from fpray.data import LAYOUTS
from fpray.data.config import AugmentConfig, DataConfig, GroupsConfig
from fpray.errors import UserError, one_of, whole
from fpray.models.config import LINEAR, ExtractorConfig, ReconstructorConfig
from fpray.studies.config import check_data
from fpray.studies.embedding_config import (
    NO_ADAPT,
    REFERENCES,
    RUNGS,
    SOURCE,
    TEMPLATE,
    AdaptConfig,
    CandidatesConfig,
    augmentation,
    check_groups,
    no_address,
    once,
    rung_of,
)
from fpray.training.config import AuxiliaryTraining, LoopConfig, RecognitionConfig, ReconstructionConfig

SAME, IDENT, OTHER = CONDITIONS = ('Same-PreProc', 'Same-Ident', 'Diff-PreProc')
"""What the attacker's pictures are (section 5.3): other people's from the same pipeline, the victims' own other pictures
with these, other people's from another pipeline."""
BOXES = ('dlib', 'templates', 'callable')
JUDGES = ('trained', 'dlib', 'matcher')
END_TO_END, TOLD, PLACEBO, MEAN, NEAREST, DIRECT = (
    'end to end', 'right model given', 'placebo', 'mean image', 'nearest image', 'direct optimisation')
PLACEBOS = (PLACEBO, *(f'{PLACEBO} {number}' for number in range(2, 9)))
"""Draws of the placebo: the right reconstructor reads the stolen vectors with their numbers in eight other orders and signs.
What it makes of vectors that it cannot read is like the people or unlike them by a chance of its own, alike for all."""
WRONG = 'wrong network'
REHEARSAL, BASELINE, LINEAR_MAP = 'rehearsal', 'auto-encoder', 'linear map'
JUDGE = 'judge'


@dataclass(frozen=True)
class TargetConfig:
    """Whose vectors are stolen, flags `--target.*`: a network trained and adapted here, or a black box.

    Raises:
        UserError: an unknown kind or rung, a kind without its file.
    """

    model: str = ''
    """What the attacker is told: a candidate's name, or that of the black box (dlib, templates, callable); empty: it
    infers the model from each stolen vector."""
    network: str = 'small-plain'
    """kind trained: the candidate that the owner took; one of --candidates.names."""
    rung: str = 'FT-2'
    """kind trained: how far the owner adapted it: No-adapt, FT-1, ..., FT-5."""
    kind: Literal['trained', 'dlib', 'templates', 'callable'] = 'trained'
    """trained; dlib: its face network; templates: an owner's folder; callable: answers that `invert_extractor` kept."""
    templates: str = ''
    """An owner's folder with one .npy vector a picture of --data.root, under the picture's name."""
    answers: str = ''
    """What `invert_extractor` kept of a callable's answers about the pictures (.npz)."""
    replies: str = ''
    """What it kept of its answers about the reconstructions (.npz); empty: these are tried on the judge alone."""

    def __post_init__(self) -> None:
        one_of('--target.kind', self.kind, ('trained', *BOXES))
        rung_of('--target.rung', self.rung)
        if bool(self.templates) != (self.kind == 'templates'):
            raise UserError('--target.kind templates and --target.templates go together', 'give both, or neither')
        if bool(self.answers) != (self.kind == 'callable'):
            raise UserError('--target.kind callable and --target.answers go together',
                            'call fpray.studies.inversion_study.invert_extractor, which gives both')


@dataclass(frozen=True)
class AttackerConfig:
    """What the attacker learns from, flags `--attacker.*`.

    Raises:
        UserError: an unknown condition, a folder that no machine sees.
    """

    conditions: tuple[str, ...] = CONDITIONS
    """Kinds of pictures that are compared: Same-PreProc (always: the headline's), Same-Ident, Diff-PreProc."""
    other: str = ''
    """Diff-PreProc: folder of other people's pictures from a real second sensor or set, of the set's size, in place of the
    simulated one."""
    layout: str = ''
    """Layout of --attacker.other, where that is a set of its own, all strangers; empty: that of --data.root, whose people
    it may show, and of these none but the attacker's are taken."""
    folder: str = ''
    """Folder of pictures of nobody known, of the set's size, from which the attacker learns instead of its own people."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'conditions', tuple(self.conditions))
        once('--attacker.conditions', self.conditions)
        for condition in self.conditions:
            one_of('--attacker.conditions', condition, CONDITIONS)
        if SAME not in self.conditions:
            raise UserError(f'--attacker.conditions without {SAME}', 'it is the headline\'s: name it too')
        for name in ('other', 'folder'):
            no_address(f'--attacker.{name}', getattr(self, name))
        if self.layout:
            one_of('--attacker.layout', self.layout, tuple(LAYOUTS))
            if not self.other:
                raise UserError('--attacker.layout without --attacker.other', 'name the folder that it speaks of')


@dataclass(frozen=True)
class InvertConfig:
    """The reconstructors, flags `--invert.*`: trained on the attacker's pictures with an unadapted candidate.

    Raises:
        UserError: a value out of its range.
    """

    training: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    """Network and losses; length, size and channels are set from the vectors and the pictures, the layers from `depths`."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long those train that decide: for the right network, for each guessed one."""
    depths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Where in the inferred network the perceptual loss looks, as shares of the depth of its layers; () nowhere."""
    brief: float = 0.25
    """Share of the images that further reconstructors see: the wrong network's, and those that only tables of comparisons
    need (Tables 6 to 8, 10, 12)."""
    wrong: str = 'small-separable'
    """kind trained: a wrong network, whose reconstructor shows beside the right one's what a wrong answer costs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'depths', tuple(float(each) for each in self.depths))
        if not all(0 < each <= 1 for each in self.depths):
            raise UserError(f'--invert.depths {self.depths}', 'give shares above 0 and at most 1')
        once('--invert.depths', [f'{each:g}' for each in self.depths])
        if not 0 < self.brief <= 1:
            raise UserError(f'--invert.brief {self.brief}', 'give a share above 0 and at most 1')


@dataclass(frozen=True)
class JudgeConfig:
    """The matcher that the attacker never saw, flags `--judge.*`.

    Raises:
        UserError: an unknown kind.
    """

    kind: Literal['trained', 'dlib', 'matcher'] = 'trained'
    """trained: another network, on people of its own; dlib: its face network; matcher: fingerprint-recognition, for
    prints near 500 pixels an inch."""
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    """trained: the network; of another family than the target's."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """trained: how long."""

    def __post_init__(self) -> None:
        one_of('--judge.kind', self.kind, JUDGES)


@dataclass(frozen=True)
class LayerSearchConfig:
    """The search for the layers of the perceptual loss, flags `--search.*`: by Ray Tune, on the attacker's data alone.

    Raises:
        UserError: a value out of its range.
    """

    mode: Literal['rounds', 'async', 'off'] = 'off'
    """off: --invert.depths as they stand; rounds: reproducible; async: proposed on arrival, not reproducible."""
    trials: int = 8
    """Subsets of layers tried."""
    rounds: int = 2
    """Rounds that the trials are asked for in."""
    holdout: float = 0.2
    """Share of the attacker's people whose reconstructions the inferred network must classify correctly."""

    def __post_init__(self) -> None:
        one_of('--search.mode', self.mode, ('rounds', 'async', 'off'))
        whole('--search.trials', self.trials, 1)
        whole('--search.rounds', self.rounds, 1, self.trials)
        if not 0 < self.holdout < 1:
            raise UserError(f'--search.holdout {self.holdout}', 'give a share above 0 and below 1')


@dataclass(frozen=True)
class BaselinesConfig:
    """What the attack is held against beside the mean image, the nearest image and a linear map, flags `--baselines.*`.

    Raises:
        UserError: a value out of its range.
    """

    autoencoder: bool = True
    """Table 10: a reconstructor that learns from the owner's own pictures with the owner's own network; left out where the
    network came trained, so that there are none."""
    equal_time: bool = False
    """Direct optimisation of the input for as long as the right reconstructor trained: it hangs on the machine."""
    steps: int = 0
    """Direct optimisation of the input for so many steps; 0: none."""

    def __post_init__(self) -> None:
        whole('--baselines.steps', self.steps, 0)


@dataclass(frozen=True)
class InversionConfig:
    """What the numbers of an inversion depend on; equal configurations give equal numbers."""

    data: DataConfig
    groups: GroupsConfig
    candidates: CandidatesConfig
    adapt: AdaptConfig
    invert: InvertConfig
    judge: JudgeConfig
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    attacker: AttackerConfig = field(default_factory=AttackerConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    search: LayerSearchConfig = field(default_factory=LayerSearchConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    ladder: tuple[str, ...] = RUNGS
    """kind trained: rungs of the adaptation that Tables 5 and 9 show."""
    every: bool = True
    """Invert every candidate, each as if it were the target (Tables 7 and 8), and what is not in the pool (Table 12)."""
    lengths: tuple[int, ...] = ()
    """Further lengths of vectors (Fig. 6): every candidate is trained and inverted once more for each."""
    identities: int = 2
    """Fingers or eyes of a person that are attacked, or set thresholds, at most; 0: all. A person's are alike: more of them
    cost much and tell little."""
    embeddings: tuple[int, ...] = (1, 5, 10)
    """Stolen vectors of an identity (Table 11), as far as it has pictures beside its references."""
    align: Literal['none', 'landmarks'] = 'none'
    """Faces: cut out by their landmarks to --data.size, before anything else; Diff-PreProc is then cut by the box."""
    seed: int | None = None
    """Seed of every draw and every training; empty: from the pictures' fingerprint."""

    def __post_init__(self) -> None:
        for name in ('ladder', 'lengths', 'embeddings'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            once(f'--{name}', [str(each) for each in getattr(self, name)])
        for rung in self.ladder:
            rung_of('--ladder', rung)
        for name in ('lengths', 'embeddings'):
            for each in getattr(self, name):
                whole(f'--{name}', each, 1)
        whole('--identities', self.identities, 0)
        one_of('--align', self.align, ('none', 'landmarks'))
        self._check_models()
        self._check_data()

    def _check_models(self) -> None:
        names, target = self.candidates.names, self.target
        for flag, name in (('--target.network', target.network), ('--invert.wrong', self.invert.wrong)):
            if not self.box and name not in names:
                raise UserError(f'{flag}: {name!r} is none of --candidates.names', f'choose from {", ".join(names)}')
        if target.model and target.model not in self.pool:
            raise UserError(f'--target.model: unknown model {target.model!r}', f'choose from {", ".join(self.pool)}')
        if not self.box and not self.candidates.recognition.extractor.length:
            raise UserError('--candidates.recognition.extractor.length 0: the networks\' own lengths may differ',
                            'give all candidates one, e.g. 128')
        if not self.box and self.invert.wrong == target.network:
            raise UserError(f'--invert.wrong {self.invert.wrong} is the target itself', 'name another candidate')
        if self.search.mode != 'off' and self.linear:
            raise UserError('--search.mode beside a linear reconstructor, which compares no layers', 'leave one of them out')
        if self.judge.kind == target.kind == 'dlib':
            raise UserError('--judge.kind dlib beside --target.kind dlib: the attacker knows it', 'choose another judge')
        if self.judge.kind == 'trained' and not self.box and self.judge.recognition.extractor.name == target.network:
            raise UserError(f'--judge.recognition.extractor.name {target.network} is the target\'s own family',
                            'choose another network')

    def _check_data(self) -> None:
        data = self.data
        if data.members or data.reference:
            raise UserError('--data.members, --data.nonmembers and --data.reference have no place here',
                            'give one folder of labelled pictures with --data.root, or none')
        check_data(data, self.seed)
        if self.box and not data.root:
            raise UserError(f'--target.kind {self.target.kind} without --data.root', 'name a folder of pictures')
        if self.align != 'none' and data.resize != 'none':
            raise UserError('--align landmarks cuts faces out of whole pictures', 'leave --data.resize out')
        augment = augmentation(data, self.augment)
        if augment.times > 1 and (self.target.kind == 'templates' or self.align != 'none'):
            raise UserError(f'--augment.times {augment.times} beside --target.templates or --align: altered prints have no '
                            'stored template, and faces are no prints', 'give --augment.times 1')
        if self.judge.kind == 'matcher' and augment.level == 'person':
            raise UserError('--judge.kind matcher beside identities of persons: it would compare different fingers',
                            'give --augment.level finger')
        if self.judge.kind == 'matcher' and not data.ppi:
            raise UserError('--judge.kind matcher needs prints near 500 pixels an inch', 'state it with --data.ppi')
        check_groups(data, self.augment, self.groups, self.needed,
                     TEMPLATE + REFERENCES + (IDENT in self.attacker.conditions))

    @property
    def box(self) -> bool:
        """Whether the target is a black box that fpray did not train."""
        return self.target.kind != 'trained'

    @property
    def linear(self) -> bool:
        """Whether the reconstructors are linear maps."""
        return self.invert.training.reconstructor.family == LINEAR

    @property
    def right(self) -> str:
        """The name of the right answer: the network that the owner took, or the black box."""
        return self.target.kind if self.box else self.target.network

    @property
    def pool(self) -> tuple[str, ...]:
        """What the attacker chooses from: the candidates, and a black box that it can ask."""
        return (*self.candidates.names, self.target.kind) if self.box else self.candidates.names

    @property
    def needed(self) -> tuple[str, ...]:
        """Groups that must have people; a network that comes trained needs none."""
        def fresh(extractor: ExtractorConfig) -> bool:
            return extractor.weights == 'random'

        own = {'public': fresh(self.candidates.recognition.extractor), 'adapt': not self.box and self.adapted,
               'judge': self.judge.kind == 'trained' and fresh(self.judge.recognition.extractor)}
        return (*(group for group, needed in own.items() if needed), 'attacker', 'threshold', 'victims')

    @property
    def adapted(self) -> bool:
        """Whether the owner adapts its network at all."""
        return any(rung != NO_ADAPT for rung in (self.target.rung, *self.ladder))


@dataclass(frozen=True)
class Arm:
    """One way from stolen vectors to pictures, and the system that these are to get into."""

    name: str
    system: str
    """Key of the extractor whose vectors are stolen, see `key_of`; its references are those to get in with."""
    how: Literal['network', 'guess', 'mean', 'nearest', 'direct']
    """network: one reconstructor for all; guess: each vector by the reconstructor of the network named for it."""
    network: str = ''
    """Key of the reconstructor; nearest, direct: of the candidate in whose space is searched."""
    space: Literal['', 'ranges', 'linear', 'reordered'] = ''
    """How vectors of another space are brought to that of the reconstructor: by ranges (section 7), by a linear map;
    reordered: not at all, their numbers are read in an order that the arm's name draws."""
    group: Literal['victims', 'threshold'] = 'victims'
    """Whose vectors."""
    number: int = 1
    """Stolen vectors an identity."""

    @property
    def judged_alone(self) -> bool:
        """Whether the system itself is not asked about its pictures: of the placebo's further draws no table needs that."""
        return self.name in PLACEBOS[1:]


def key_of(network: str, rung: str = '') -> str:
    """'small-residual@FT-2'; the unadapted network is 'small-residual'."""
    return network if rung in ('', NO_ADAPT) else f'{network}@{rung}'


def small(name: str, **fields: Any) -> RecognitionConfig:
    """The training of one of the small extractors; fields of the extractor."""
    return RecognitionConfig(extractor=ExtractorConfig(name=name, **fields))


def smoke() -> InversionConfig:
    """Seconds: networks of a few channels, few steps. Shows that the path works, nothing about anybody."""
    loop = LoopConfig(images=256, batch=16, snapshot_every=0)
    return InversionConfig(
        data=DataConfig(size=48, fingers=1, impressions=5, query_impressions=1),
        groups=GroupsConfig(public=8, adapt=6, attacker=10, judge=8, threshold=10, victims=10),
        candidates=CandidatesConfig(recognition=small('small-plain', width=8, length=32), loop=loop),
        adapt=AdaptConfig(loop=replace(loop, images=128)),
        judge=JudgeConfig(recognition=small('small-residual', width=8, length=32), loop=loop),
        invert=InvertConfig(training=ReconstructionConfig(reconstructor=ReconstructorConfig(width=32)), loop=loop,
                            depths=(0.5, 1.0), brief=0.5),
        inference=InferenceConfig(training=AuxiliaryTraining(), loop=LoopConfig(images=2_560, batch=64, snapshot_every=0)),
        ladder=(NO_ADAPT, 'FT-2'), embeddings=(1, 3))


def desk() -> InversionConfig:
    """Minutes on two cores, real signal: the synthetic stand-in at 64 px, four networks, every table."""
    return InversionConfig(
        data=DataConfig(size=64, fingers=2, impressions=8, query_impressions=4),
        groups=GroupsConfig(public=150, adapt=40, attacker=125, judge=150, threshold=30, victims=40),
        candidates=CandidatesConfig(recognition=small('small-plain'),
                                    loop=LoopConfig(images=40_000, batch=32, snapshot_every=0, report_every=4_000)),
        adapt=AdaptConfig(loop=LoopConfig(images=20_000, batch=32, snapshot_every=0, report_every=4_000)),
        judge=JudgeConfig(recognition=small('small-residual'),
                          loop=LoopConfig(images=60_000, batch=32, snapshot_every=0, report_every=6_000)),
        invert=InvertConfig(
            training=ReconstructionConfig(reconstructor=ReconstructorConfig(width=256), lr=1e-3, realism_weight=0.03,
                                          noise=1.0),  # of adapted targets other pictures get in more often for it
            loop=LoopConfig(images=80_000, batch=32, snapshot_every=0, report_every=8_000), brief=0.15),
        inference=InferenceConfig(loop=LoopConfig(images=100_000, batch=128, snapshot_every=0)))


def faces() -> InversionConfig:
    """Minutes, for few faces (40 people x 10): networks with ImageNet's weights, no people to train one on, and linear
    reconstructors, which learn more from 200 pictures than deep ones. Give --data.root and --data.layout, and --target.kind
    dlib or --judge.kind dlib; --align none where the faces are cut out already."""
    ready: dict[str, Any] = {'weights': 'package', 'length': 128}
    return InversionConfig(
        data=DataConfig(size=64, fingers=1, impressions=8, query_impressions=2),
        groups=GroupsConfig(public=0, adapt=0, attacker=20, judge=0, threshold=10, victims=10),
        candidates=CandidatesConfig(names=('efficientnet-lite0', 'efficientnet-lite1'),
                                    recognition=small('efficientnet-lite0', **ready)),
        adapt=AdaptConfig(loop=LoopConfig(images=1_600, batch=16, snapshot_every=0)),
        target=TargetConfig(network='efficientnet-lite0', rung=NO_ADAPT),
        judge=JudgeConfig(recognition=small('efficientnet-lite2', **ready)),
        invert=InvertConfig(training=ReconstructionConfig(reconstructor=ReconstructorConfig(family=LINEAR, last='none')),
                            loop=LoopConfig(images=9_600, batch=16, snapshot_every=0, report_every=1_600), brief=1.0,
                            wrong='efficientnet-lite1'),
        inference=InferenceConfig(loop=LoopConfig(images=40_000, batch=128, snapshot_every=0)),
        ladder=(NO_ADAPT,), embeddings=(1, 5), align='landmarks')


def paper() -> InversionConfig:
    """The source's own sizes (sections 5.1, 5.2), for a GPU cluster: ResNet and its like, 90,000 pictures, 200 epochs.

    The source has 336 identities of PolyU, augmented x 50 (--data.impressions 4 --data.query-impressions 2), and 600 of
    SOCOFing, x 10 (5 and 5: the fingers of a person): so are these here, given by --data.root and --groups.*; else people
    are drawn. Its networks start from ImageNet: give --candidates.recognition.extractor.weights, or --allow-download.
    """
    base = desk()
    cuda: dict[str, Any] = {'device': 'cuda', 'snapshot_every': 0}
    loop = LoopConfig(images=3_000_000, batch=64, report_every=100_000, **cuda)
    fingers = ('finger-resnet', 'finger-inception', 'finger-xception', 'finger-resnetv2')
    recognition = small('finger-resnet', length=2048, channels=1)
    return replace(
        base, data=DataConfig(size=64, fingers=2, impressions=20, query_impressions=10),
        groups=GroupsConfig(public=400, adapt=400, attacker=1_500, judge=400, threshold=100, victims=200), augment=SOURCE,
        candidates=CandidatesConfig(names=fingers, recognition=recognition, loop=loop),
        adapt=AdaptConfig(loop=LoopConfig(images=600_000, batch=64, report_every=60_000, **cuda)),
        target=TargetConfig(network='finger-resnet'),
        judge=JudgeConfig(recognition=small('finger-densenet', length=1024), loop=loop),
        invert=InvertConfig(
            training=ReconstructionConfig(
                reconstructor=ReconstructorConfig(family='table-14', length=2048, last='none'), optimiser='adagrad', lr=1e-2,
                pixel='l2', gradient_weight=0, embedding_weight=0),
            loop=LoopConfig(images=18_000_000, batch=16, report_every=900_000, **cuda), brief=1.0,
            wrong='finger-inception'),
        search=LayerSearchConfig(mode='rounds', trials=20, rounds=4), lengths=(512, 1024),
        baselines=BaselinesConfig(equal_time=True))


PRESETS = {'smoke': smoke, 'desk': desk, 'faces': faces, 'paper': paper}
