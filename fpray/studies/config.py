"""The audit of a fingerprint generator as a value: everything its numbers depend on, and the three presets. No torch.

`AuditConfig` is hashed into every stage's key; `Settings` holds what no number depends on and never is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fpray.attacks import ATTACKS
from fpray.data.config import DataConfig, SplitConfig
from fpray.errors import UserError
from fpray.errors import above_zero as _above_zero
from fpray.errors import one_of as _one_of
from fpray.errors import whole as _whole
from fpray.models.config import (
    GeneratorConfig,
    ScorerConfig,
    thesis_discriminator,
    thesis_generator,
)
from fpray.training.config import ClassifierConfig, GanConfig, LoopConfig, MatchingConfig

PEOPLES = ('root', 'members', 'nonmembers', 'reference')  # folders of people's pictures, of the data's fields
CLASSES = ('auto', 'position', 'pattern', 'identity')


@dataclass(frozen=True)
class ScoringConfig:
    """The scoring network that the attacker trains on people of its own, flags `--scorer.*`."""

    classes: Literal['auto', 'position', 'pattern', 'identity'] = 'auto'
    """What it tells apart: pattern class, finger position or identity; auto: the first of these that the layout knows."""
    network: ClassifierConfig = field(default_factory=ClassifierConfig)
    """The network and its training; image size and number of classes are set from the pictures."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long it trains."""
    holdout: float = 0.2
    """Share of its people (identity: of its impressions) kept out of training, on whom its accuracy is stated."""

    def __post_init__(self) -> None:
        _one_of('--scorer.classes', self.classes, CLASSES)
        if not 0 < self.holdout < 1:
            raise UserError(f'--scorer.holdout {self.holdout}', 'give a share above 0 and below 1')


@dataclass(frozen=True)
class VictimConfig:
    """The audited generator, flags `--victim.*`: trained here, or an owner's folder of generated pictures."""

    samples: str = ''
    """An owner's generator: folder of pictures that it generated, with --data.members and --data.nonmembers."""
    random_draw: bool = False
    """An owner states that chance decided who was trained on; without it a finding may be a capture difference."""
    gan: GanConfig = field(default_factory=GanConfig)
    """The victim's networks and losses; image size and channels are set from the pictures."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long it trains."""
    draws: int = 2_000
    """Samples that the attacker draws from a victim, pictures."""

    def __post_init__(self) -> None:
        _whole('--victim.draws', self.draws, 100)


@dataclass(frozen=True)
class ShadowConfig:
    """The attacker's own GANs, trained on a victim's samples alone, flags `--shadow.*`."""

    gan: GanConfig = field(default_factory=GanConfig)
    """Networks and losses where the search does not set them."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """The most that a shadow trains."""
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    """When it has come as far as the victim."""
    count: int = 3
    """Shadows of the headline victim, the placebo and the rehearsal; their rank average is the score."""
    others: int = 1
    """Shadows of each other training-set size."""
    course: int = 10
    """Points along a headline shadow's training at which the attack is measured, to judge the stopping rule."""

    def __post_init__(self) -> None:
        _whole('--shadow.count', self.count, 1)
        _whole('--shadow.others', self.others, 1)
        _whole('--shadow.course', self.course, 0)


@dataclass(frozen=True)
class SearchConfig:
    """The search of the shadow's architecture and training, flags `--search.*`; it minimises |IS(shadow) - IS(victim)|."""

    mode: Literal['rounds', 'async', 'off'] = 'rounds'
    """rounds: reproducible, prunes at a round's half time; async: ASHA by arrival, not reproducible; off: no search."""
    trials: int = 6
    """Shadows tried."""
    rounds: int = 2
    """Rounds that the trials are asked for in; each learns from those before."""
    rung: float = 0.5
    """Share of the training after which the worse trials of a round lose."""
    keep: float = 0.67
    """Share of a round's trials that go on after the rung (rounded, at least one)."""
    blocks: tuple[int, ...] = (2, 3)
    """Convolution blocks of the generator; the discriminator has one more."""
    width: tuple[int, ...] = (32, 48, 64)
    """Channels of the generator's widest block; the discriminator's is twice as wide."""
    noise: tuple[int, ...] = (32, 64, 128)
    """Length of the noise vector."""
    batch: tuple[int, ...] = (16, 32)
    """Images a step."""
    lr_g: tuple[float, float] = (2e-4, 8e-4)
    """Adam's learning rate of the generator, from-to (logarithmic)."""
    lr_d: tuple[float, float] = (2e-4, 8e-4)
    """Adam's learning rate of the discriminator, from-to (logarithmic)."""
    smoothing: tuple[float, float] = (0.1, 0.3)
    """One-sided label smoothing, from-to."""

    def __post_init__(self) -> None:
        if self.mode not in ('rounds', 'async', 'off'):
            raise UserError(f'--search.mode: unknown mode {self.mode!r}', 'choose rounds, async or off')
        _whole('--search.trials', self.trials, 1)
        _whole('--search.rounds', self.rounds, 1)
        if self.rounds > self.trials:
            raise UserError(f'--search.rounds {self.rounds} for {self.trials} trials', 'give at most one round a trial')
        for name in ('rung', 'keep'):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f'--search.{name} {getattr(self, name)}', 'give a share above 0 and at most 1')
        for name in ('blocks', 'width', 'noise', 'batch', 'lr_g', 'lr_d', 'smoothing'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not getattr(self, name):
                raise UserError(f'--search.{name}: no value', 'give at least one')


@dataclass(frozen=True)
class QueryConfig:
    """How many pictures an attack is asked about, flags `--query.*`."""

    pictures: tuple[int, ...] = ()
    """Query pictures of each of --split.sizes, half of them of members (even numbers); 0, or none given: all there are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'pictures', tuple(self.pictures))
        for value in self.pictures:
            _whole('--query.pictures', value, 0)
        odd = next((value for value in self.pictures if value % 2), 0)
        if odd:
            raise UserError(f'--query.pictures {odd}: half of them are members\'', 'give even numbers')

    def check(self, sizes: tuple[int, ...]) -> None:
        """Refuses numbers that do not go with the training-set sizes."""
        if self.pictures and len(self.pictures) != len(sizes):
            raise UserError(f'--query.pictures {" ".join(map(str, self.pictures))} for --split.sizes '
                            f'{" ".join(map(str, sizes))}', 'give one number a size; 0 asks about all')

    def of(self, size: int, sizes: tuple[int, ...]) -> int:
        """Query pictures of a training-set size, 0: all."""
        return self.pictures[sizes.index(size)] if self.pictures and size in sizes else 0


@dataclass(frozen=True)
class GeneratorQueryConfig(QueryConfig):
    """The same, and the real pictures beside the generators, flags `--query.*`."""

    real: tuple[int, int] = (0, 0)
    """People and pictures of Table 4.1's row "real images", taken from the non-members; 0 0: no such row."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'real', tuple(self.real))
        for value in self.real:
            _whole('--query.real', value, 0)
        if len(self.real) != 2 or bool(self.real[0]) != bool(self.real[1]):
            raise UserError(f'--query.real {" ".join(map(str, self.real))}', 'give people and pictures, or 0 0')


@dataclass(frozen=True)
class AuditConfig:
    """What the numbers of an audit depend on; equal configurations give equal numbers."""

    data: DataConfig
    split: SplitConfig
    scorer: ScoringConfig
    victim: VictimConfig
    shadow: ShadowConfig
    search: SearchConfig
    query: GeneratorQueryConfig = field(default_factory=GeneratorQueryConfig)
    attacks: tuple[str, ...] = tuple(ATTACKS)
    """Attacks to run: shadow (always: the primary endpoint), white-box, nearest, nearest-calibrated."""
    seed: int | None = None
    """Seed of every draw and every training; empty: from the pictures' fingerprint."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'attacks', tuple(self.attacks))
        unknown = [name for name in self.attacks if name not in ATTACKS]
        if unknown:
            raise UserError(f'--attacks: unknown attack {unknown[0]!r}', f'choose from {", ".join(ATTACKS)}')
        if 'shadow' not in self.attacks:
            raise UserError('--attacks without shadow', 'the primary endpoint is the shadow attack: name it too')
        if bool(self.victim.samples) != bool(self.data.members):
            raise UserError('an owner\'s generator needs --victim.samples, --data.members and --data.nonmembers together',
                            'give all three, or none of them')
        check_data(self.data, self.seed)
        if self.victim.draws < self.shadow.matching.samples:
            raise UserError(f'--victim.draws {self.victim.draws} is below --shadow.matching.samples '
                            f'{self.shadow.matching.samples}', 'draw as many, or lower the latter')
        if self.victim.samples and self.data.root:
            raise UserError('--data.root beside --victim.samples', 'an owner\'s generator is audited without --data.root')
        self._check_query()

    def _check_query(self) -> None:
        """What can be seen before a picture is read; the split checks the rest."""
        people, _ = self.query.real
        if self.owner:  # everybody in the two folders is asked about
            return
        self.query.check(self.split.sizes)
        if people > self.split.nonmembers:
            raise UserError(f'--query.real {people} people, --split.nonmembers is {self.split.nonmembers}',
                            'give at most as many')

    @property
    def owner(self) -> bool:
        """Whether the victim is an owner's, made elsewhere."""
        return bool(self.victim.samples)

    def asked(self, size: int) -> int:
        """Query pictures of a training-set size, 0: all; about an owner's people always all."""
        return 0 if self.owner else self.query.of(size, self.split.sizes)


@dataclass(frozen=True)
class Settings:
    """What no number depends on: where results go and how they are shown. Never part of a key."""

    store: str = ''
    """Folder or address (s3://...) that holds everything a run leaves; empty: ./runs, in a submitted job ~/fpray-runs."""
    actors: int = 0
    """Scoring actors; 0: one a CPU of the cluster, at most 8."""
    cpus: int = 0
    """CPUs' worth of stages that run side by side; 0: what the cluster has. Give an autoscaling cluster its most."""
    checkpoint_seconds: float = 20.0
    """Seconds between checkpoints of a training, about."""
    mlflow: bool = True
    """Record the run in MLflow (MLFLOW_TRACKING_URI, by default SQLite in the store)."""

    def __post_init__(self) -> None:
        for name in ('actors', 'cpus'):
            _whole(f'--{name}', getattr(self, name), 0)
        _above_zero('--checkpoint-seconds', self.checkpoint_seconds)


@dataclass(frozen=True)
class ReportSettings:
    """What the report shows, flags `--report.*`."""

    show_images: bool = False
    """Show pictures of people: the highest-scored queries with the members marked (Fig. 5.2)."""


def check_data(data: DataConfig, seed: int | None) -> None:
    """What every study asks of its folders and its seed, before a picture is read."""
    if seed is not None:
        _whole('--seed', seed, 0)
    for name in PEOPLES:
        if '://' in getattr(data, name):
            raise UserError(f'--data.{name} {getattr(data, name)} is an address',
                            'give a folder that every machine sees under this path')
    if data.reference and not (data.root or data.members):
        raise UserError('--data.reference without --data.root', 'it adds other people to a set: name the set too')


def architecture(base: GanConfig, blocks: int, width: int) -> GanConfig:
    """The GAN family along two numbers, the discriminator wide against the generator and normalised, as the thesis's is.

    Args:
        base: what is not varied.
        blocks: doublings of the generator's map; the discriminator has one convolution more.
        width: channels of the generator's first two maps, halved with each doubling after; the discriminator goes from
            half of it to twice.
    """
    generator = replace(base.generator, family='scaled', norm='batch',
                        widths=tuple(max(8, width >> max(0, i - 1)) for i in range(blocks + 1)))
    discriminator = replace(base.discriminator, family='scaled', norm='batch', momentum=0.1, kernel=3,
                            widths=tuple(min(width * 2, width // 2 << i) for i in range(blocks + 1)))
    return replace(base, generator=generator, discriminator=discriminator)


def for_pictures(gan: GanConfig, image: tuple[int, int], channels: int) -> GanConfig:
    """The same networks for pictures of another size (height, width, px) or number of channels."""
    return replace(gan, generator=replace(gan.generator, image=image, channels=channels),
                   discriminator=replace(gan.discriminator, image=image, channels=channels))


def smoke() -> AuditConfig:
    """Seconds: two sizes, networks of a few channels. Shows that the path works, nothing about anybody."""
    small = architecture(GanConfig(lr_g=4e-4, lr_d=4e-4), 2, 16)
    loop = LoopConfig(images=256, batch=16, snapshot_every=128)
    return AuditConfig(
        data=DataConfig(size=48, fingers=1, impressions=3, query_impressions=1),
        split=SplitConfig(sizes=(6, 10), headline=10, nonmembers=10, scoring=10, placebo=10, rehearsal=10, reference=0),
        scorer=ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(8, 16, 16))),
                             loop=LoopConfig(images=480, batch=16, snapshot_every=0)),
        victim=VictimConfig(gan=small, loop=loop, draws=128),
        shadow=ShadowConfig(gan=replace(small, smoothing=0.2), loop=loop, count=2,
                            matching=MatchingConfig(samples=64, splits=2, patience=2)),
        search=SearchConfig(trials=2, rounds=1, blocks=(2,), width=(16,), noise=(16, 32), batch=(16,), keep=0.5),
    )


def desk() -> AuditConfig:
    """Minutes on two cores, real signal: the synthetic stand-in at 64 px, three sizes, search, placebo and rehearsal."""
    base = architecture(GanConfig(lr_g=4e-4, lr_d=4e-4, generator=GeneratorConfig(noise=64)), 3, 64)
    return AuditConfig(
        data=DataConfig(size=64, fingers=2, impressions=3, query_impressions=2),
        split=SplitConfig(sizes=(12, 24, 48), headline=24, nonmembers=48, scoring=60, placebo=24, rehearsal=24,
                          reference=0),
        scorer=ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(16, 32, 64, 64))),
                             loop=LoopConfig(images=12_000, batch=32, snapshot_every=0, report_every=1_600)),
        victim=VictimConfig(gan=base, loop=LoopConfig(images=16_000, batch=16, snapshot_every=2_000), draws=2_000),
        shadow=ShadowConfig(gan=replace(base, smoothing=0.2), loop=LoopConfig(images=9_600, batch=16, snapshot_every=960),
                            matching=MatchingConfig(samples=500, splits=5, patience=3, stop=False), count=3, others=1),
        search=SearchConfig(trials=6, rounds=2),
    )


def paper() -> AuditConfig:
    """The source's own sizes (Tables 4.1, 5.1), for a GPU cluster: 356 x 328 px, 400/200/100/50 people x 8 fingers x 3.

    16,000 pictures of 400 people (8 fingers x 5), of which 3 a finger train; 4,000 of 100 others are asked about beside
    them. Queries of 4,000/4,000/3,200/1,600, half of members; "real images" are 2,000 pictures of 50 people. Where the
    thesis contradicts itself: its 5,400 unseen impressions are 400 x 8 x 2 = 6,400, and its 40 pictures "per finger" are
    a person's. Where we leave it: every finger asked about has as many pictures on one side as on the other, so 100
    non-members with two unseen impressions a finger give 1,600, and IIA asks about 3,200 where it says 4,000.
    """
    gan = GanConfig(generator=thesis_generator(), discriminator=thesis_discriminator(), lr_g=1e-4, lr_d=1e-4)
    loop = LoopConfig(images=960_000, batch=32, snapshot_every=19_200, device='cuda', amp='bf16')
    return AuditConfig(
        data=DataConfig(size=356, fingers=8, impressions=3, query_impressions=2),
        split=SplitConfig(sizes=(50, 100, 200, 400), headline=200, nonmembers=100, scoring=100, placebo=200,
                          rehearsal=200, reference=0),
        scorer=ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(32, 64, 128, 256, 256))),
                             loop=LoopConfig(images=384_000, batch=64, snapshot_every=0, report_every=9_600, device='cuda')),
        victim=VictimConfig(gan=gan, loop=loop, draws=50_000),
        shadow=ShadowConfig(gan=replace(gan, smoothing=0.2), loop=loop, count=3, others=3,
                            matching=MatchingConfig(samples=5_000, splits=10, patience=3)),
        search=SearchConfig(trials=40, rounds=5, blocks=(3, 4, 5), width=(64, 96, 128), noise=(128, 256, 512),
                            batch=(32, 64), smoothing=(0.0, 0.3)),
        query=GeneratorQueryConfig(pictures=(1_600, 3_200, 4_000, 4_000), real=(50, 2_000)),
    )


PRESETS = {'smoke': smoke, 'desk': desk, 'paper': paper}


def paths_of(config: Any, others: tuple[str, ...]) -> dict[str, str]:
    """Flag -> folder or address, of all that a study's configuration names; `others` are fields such as 'victim.samples'."""
    names = [*(f'data.{name}' for name in PEOPLES), *others]
    return {f'--{name}': getattr(getattr(config, name.split('.')[0]), name.split('.')[1]) for name in names}


def with_absolute_paths(config: Any, others: tuple[str, ...]) -> Any:
    """The configuration with its folders as absolute paths, so that it means the same on every machine and next time."""
    for flag, path in paths_of(config, others).items():
        part, name = flag.removeprefix('--').split('.')
        full = os.path.abspath(path) if path and '://' not in path else path
        config = replace(config, **{part: replace(getattr(config, part), **{name: full})})
    return config
