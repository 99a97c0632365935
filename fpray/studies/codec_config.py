"""The audit of a learned codec as a value: everything its numbers depend on, and its presets. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fpray.attacks import CODEC_ATTACKS
from fpray.data.config import DataConfig, SplitConfig
from fpray.defences import DEFENCES
from fpray.defences.config import PrivateConfig
from fpray.errors import UserError, whole
from fpray.models.config import CodecConfig, GeneratorConfig, ScorerConfig
from fpray.studies.config import QueryConfig, ScoringConfig, ShadowConfig, architecture, check_data
from fpray.training.config import ClassifierConfig, GanConfig, LoopConfig, MatchingConfig, RateDistortionConfig

PRIMARY = 'calibrated'
LEAST_REFERENCE = 4  # people


@dataclass(frozen=True)
class CodecVictimConfig:
    """The audited codec, flags `--victim.*`: trained here at several lambdas, or an owner's, made elsewhere."""

    lambdas: tuple[float, ...] = (0.01, 0.003, 0.001, 0.0003)
    """Trade-offs between rate and distortion that are trained, weight of the MSE on the 0-255 scale."""
    primary: float = 0.01
    """The lambda that gets the controls and the verdict, fixed before any score is seen; an owner's codec: its own."""
    all_sizes: bool = False
    """Train every training-set size at every lambda; else the headline size alone, the others at the primary lambda."""
    families: tuple[Literal['scale', 'mean-scale'], ...] = ()
    """Further families trained at the same lambdas, beside that of --codec.codec.family: scale (bmshj2018), mean-scale."""
    decompressed: str = ''
    """An owner's codec: folder with members/ and nonmembers/ (and reference/), decompressed copies under the names of
    --data.members and --data.nonmembers; or what `audit_codec` kept of a callable (.npz)."""
    compressed: str = ''
    """An owner's codec: folder of the compressed files, laid out alike, whose sizes are the rate."""
    random_draw: bool = False
    """An owner states that chance decided who was trained on; without it a finding may be a capture difference."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'lambdas', tuple(float(each) for each in self.lambdas))
        object.__setattr__(self, 'families', tuple(self.families))
        if unknown := [name for name in self.families if name not in ('scale', 'mean-scale')]:
            raise UserError(f'--victim.families: unknown family {unknown[0]!r}', 'choose scale or mean-scale')
        for each in (*self.lambdas, self.primary):
            if not 0 < each < math.inf:
                raise UserError(f'--victim.lambdas {each}: out of range', 'give numbers above 0, e.g. 0.01 0.001')
        _once('--victim.lambdas', [f'{each:g}' for each in self.lambdas])
        _once('--victim.families', self.families)
        if bool(self.decompressed) != bool(self.compressed) and not self.decompressed.endswith('.npz'):
            raise UserError('an owner\'s codec needs --victim.decompressed and --victim.compressed together',
                            'give both folders, or neither')
        if not self.decompressed and self.primary not in self.lambdas:
            raise UserError(f'--victim.primary {self.primary:g}: none of --victim.lambdas',
                            f'choose one of {" ".join(f"{each:g}" for each in self.lambdas)}')


@dataclass(frozen=True)
class ShadowCodecsConfig:
    """The attacker's codecs for offline LiRA and RMIA, trained on halves of the reference people, flags `--shadow.*`."""

    count: int = 4
    """Shadow codecs; even, because every second one is trained on the people that the one before left out."""

    def __post_init__(self) -> None:
        if self.count < 0 or self.count % 2:
            raise UserError(f'--shadow.count {self.count}: not even', 'give an even number, 0 for no LiRA and RMIA')


@dataclass(frozen=True)
class TwinConfig:
    """The generative twin, flags `--twin.*`: generators trained on the private pictures, the least leaking one chosen."""

    dropouts: tuple[float, ...] = (0.0, 0.4)
    """One candidate generator for each of these dropouts of its discriminator; more dropout leaks less."""
    gan: GanConfig = field(default_factory=GanConfig)
    """The candidates' networks and losses."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """How long a candidate trains."""
    scorer: ScoringConfig = field(default_factory=ScoringConfig)
    """The scoring network by which the candidates' shadows are stopped."""
    shadow: ShadowConfig = field(default_factory=ShadowConfig)
    """The shadows that measure each candidate's leak; `count` a candidate."""
    draws: int = 1_000
    """Samples of the chosen generator that the codec learns from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'dropouts', tuple(float(each) for each in self.dropouts))
        if not self.dropouts or not all(0 <= each < 1 for each in self.dropouts):
            raise UserError(f'--twin.dropouts {self.dropouts}', 'give at least one share from 0 to below 1')
        if self.draws < self.shadow.matching.samples:
            raise UserError(f'--twin.draws {self.draws} is below --twin.shadow.matching.samples '
                            f'{self.shadow.matching.samples}', 'draw as many, or lower the latter')


@dataclass(frozen=True)
class DefencesConfig:
    """What the owner may do about the leak, flags `--defences.*`; each is audited like the codec itself."""

    names: tuple[str, ...] = tuple(DEFENCES)
    """Defences to try; each is compared with the codec on real pictures."""
    victims: int = 1
    """Victims a defence, each with new seeds and members dealt anew; words about a defence need 3."""
    all_lambdas: bool = False
    """Train each defence at every lambda, so that the loss of quality is a BD-rate; else at the primary one."""
    stop_at: float = 0.25
    """early-stop: share of the images after which the training ends."""
    dropout: float = 0.1
    """regularised: dropout of the transforms' channels."""
    weight_decay: float = 0.1
    """regularised: decay of the kernels, see --codec.weight-decay."""
    private: PrivateConfig = field(default_factory=PrivateConfig)
    """dp-sgd: noise, clipping and sampling by person."""
    stand_in_people: int = 24
    """stand-in: synthetic people that the codec learns from instead, as many fingers and pictures as the set's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'names', tuple(self.names))
        _once('--defences.names', self.names)
        if unknown := [name for name in self.names if name not in DEFENCES]:
            raise UserError(f'--defences.names: unknown defence {unknown[0]!r}', f'choose from {", ".join(DEFENCES)}')
        for name, low in (('victims', 1), ('stand_in_people', 2)):
            whole(f'--defences.{name}', getattr(self, name), low)
        if not 0 < self.stop_at < 1 or not 0 <= self.dropout < 1 or self.weight_decay < 0:
            raise UserError('--defences: stop_at, dropout or weight_decay out of range',
                            'give shares from 0 to below 1 and a decay of 0 or more')


@dataclass(frozen=True)
class CodecAuditConfig:
    """What the numbers of a codec's audit depend on; equal configurations give equal numbers."""

    data: DataConfig
    split: SplitConfig
    codec: RateDistortionConfig
    loop: LoopConfig
    victim: CodecVictimConfig
    shadow: ShadowCodecsConfig
    twin: TwinConfig
    defences: DefencesConfig
    query: QueryConfig = field(default_factory=QueryConfig)
    attacks: tuple[str, ...] = tuple(CODEC_ATTACKS)
    """Attacks to run; calibrated always: it is the primary endpoint."""
    fidelity: bool = True
    """Measure what compression does to ridges, minutiae and a matcher's answers, as far as the pictures' size allows."""
    seed: int | None = None
    """Seed of every draw and every training; empty: from the pictures' fingerprint."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'attacks', tuple(self.attacks))
        if unknown := [name for name in self.attacks if name not in CODEC_ATTACKS]:
            raise UserError(f'--attacks: unknown attack {unknown[0]!r}', f'choose from {", ".join(CODEC_ATTACKS)}')
        if PRIMARY not in self.attacks:
            raise UserError(f'--attacks without {PRIMARY}', 'it is the primary endpoint: name it too')
        if self.owner != bool(self.data.members):
            raise UserError('an owner\'s codec needs --victim.decompressed, --victim.compressed, --data.members and '
                            '--data.nonmembers together', 'give all four, or none of them')
        if self.owner and self.data.root:
            raise UserError('--data.root beside --victim.decompressed', 'an owner\'s codec is audited without --data.root')
        if self.owner and self.data.resize != 'none':
            raise UserError('--data.resize with an owner\'s codec', 'its decompressed copies have the pictures\' own size')
        if self.owner and self.data.query_impressions:  # an owner's files hold no altered versions to ask about
            object.__setattr__(self, 'data', replace(self.data, query_impressions=0))
        self.query.check(self.split.sizes)
        check_data(self.data, self.seed)
        if self.split.reference < LEAST_REFERENCE:
            raise UserError(f'--split.reference {self.split.reference}: half of them train the reference codec, half show '
                            'its scale', f'give at least {LEAST_REFERENCE}, e.g. 48')
        if self.split.scoring and (self.owner or 'twin' not in self.defences.names):  # nobody would be scored
            object.__setattr__(self, 'split', replace(self.split, scoring=0))
        if 'dp-sgd' in self.defences.names and not self.owner:
            self._check_private()
        if 'twin' in self.defences.names and not self.owner and not self.split.scoring:
            raise UserError('--split.scoring 0: the twin is chosen with a scoring network',
                            'give it people, e.g. 40, or leave twin out of --defences.names')

    def _check_private(self) -> None:
        """What DP-SGD by person asks of the number of people."""
        private, people = self.defences.private, self.split.headline
        if private.people > people or private.delta * people >= 1:
            raise UserError(f'--split.headline {people}: too few or too many people for dp-sgd with '
                            f'--defences.private.people {private.people} and --defences.private.delta {private.delta:g}',
                            'lower these, or leave dp-sgd out of --defences.names')

    @property
    def owner(self) -> bool:
        """Whether the codec is an owner's, made elsewhere."""
        return bool(self.victim.decompressed)

    def asked(self, size: int) -> int:
        """Query pictures of a training-set size, 0: all; about an owner's people always all."""
        return 0 if self.owner else self.query.of(size, self.split.sizes)


def named(what: str, lmbda: float, deal: int) -> str:
    """A defended codec's name: 'twin-0.01', and of a further deal 'twin-0.01-1'."""
    return '-'.join([what, f'{lmbda:g}', *([str(deal)] if deal else [])])


def smoke() -> CodecAuditConfig:
    """Seconds: codecs of a few channels, two lambdas. Shows that the path works, nothing about anybody."""
    gan = architecture(GanConfig(lr_g=4e-4, lr_d=4e-4), 2, 16)
    loop = LoopConfig(images=256, batch=16, snapshot_every=128)
    return CodecAuditConfig(
        data=DataConfig(size=48, fingers=1, impressions=3, query_impressions=1),
        split=SplitConfig(sizes=(10,), headline=10, nonmembers=10, scoring=6, placebo=10, rehearsal=10, reference=10),
        codec=RateDistortionConfig(codec=CodecConfig(n=8, m=12)), loop=LoopConfig(images=320, batch=16, snapshot_every=160),
        victim=CodecVictimConfig(lambdas=(0.01, 0.001)), shadow=ShadowCodecsConfig(count=2),
        twin=TwinConfig(dropouts=(0.0,), gan=gan, loop=loop, draws=64, shadow=ShadowConfig(
            gan=replace(gan, smoothing=0.2), loop=loop, count=1, course=0,
            matching=MatchingConfig(samples=64, splits=2, patience=2)),
            scorer=ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(8, 16, 16))),
                                 loop=LoopConfig(images=320, batch=16, snapshot_every=0))),
        defences=DefencesConfig(names=('twin', 'early-stop'), stand_in_people=6))


def desk() -> CodecAuditConfig:
    """Minutes on two cores, real signal: the synthetic stand-in at 64 px, four lambdas, controls, one victim a defence."""
    gan = architecture(GanConfig(lr_g=4e-4, lr_d=4e-4, generator=GeneratorConfig(noise=64)), 3, 48)
    return CodecAuditConfig(
        data=DataConfig(size=64, fingers=2, impressions=3, query_impressions=2),
        split=SplitConfig(sizes=(24, 80), headline=24, nonmembers=48, scoring=40, placebo=24, rehearsal=24, reference=48),
        codec=RateDistortionConfig(codec=CodecConfig(n=24, m=36)),
        loop=LoopConfig(images=8_000, batch=8, snapshot_every=800),
        victim=CodecVictimConfig(), shadow=ShadowCodecsConfig(count=4),
        twin=TwinConfig(
            gan=gan, loop=LoopConfig(images=12_800, batch=16, snapshot_every=3_200),
            shadow=ShadowConfig(gan=replace(gan, smoothing=0.2), count=1, course=0,
                                loop=LoopConfig(images=6_400, batch=16, snapshot_every=1_600),
                                matching=MatchingConfig(samples=500, splits=5, patience=3)),
            scorer=ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(16, 32, 64, 64))),
                                 loop=LoopConfig(images=6_400, batch=32, snapshot_every=0))),
        defences=DefencesConfig())


def frontier() -> CodecAuditConfig:
    """Desk with the whole frontier: three victims a defence, each at every lambda. Hours on two cores."""
    base = desk()
    return replace(base, defences=replace(base.defences, victims=3, all_lambdas=True), shadow=ShadowCodecsConfig(count=8),
                   twin=replace(base.twin, dropouts=(0.0, 0.2, 0.4)))


def paper() -> CodecAuditConfig:
    """The source's own sizes (thesis, section 4.2), for a GPU cluster: 400 and 50 people x 8 fingers x 5, 192 filters.

    All five pictures of a finger train, as the source's 16,000 and 2,000 do: no impression is left for IIA.
    """
    base = desk()
    cuda: dict[str, Any] = {'device': 'cuda'}
    loop = LoopConfig(images=1_600_000, batch=8, snapshot_every=80_000, **cuda)
    gan = architecture(GanConfig(lr_g=2e-4, lr_d=2e-4, generator=GeneratorConfig(noise=256)), 4, 128)
    gan_loop = LoopConfig(images=480_000, batch=32, snapshot_every=19_200, amp='bf16', **cuda)
    return replace(
        base, data=DataConfig(size=256, fingers=8, impressions=5, query_impressions=0),
        query=QueryConfig(pictures=(4_000, 4_000)),
        split=SplitConfig(sizes=(50, 400), headline=50, nonmembers=50, scoring=40, placebo=50, rehearsal=50, reference=100),
        codec=RateDistortionConfig(codec=CodecConfig(n=192, m=192), lr=1e-4, aux_lr=1e-3, crop=256), loop=loop,
        victim=CodecVictimConfig(families=('scale',), all_sizes=True), shadow=ShadowCodecsConfig(count=8),
        defences=replace(base.defences, victims=3, all_lambdas=True, stand_in_people=50),
        twin=replace(base.twin, gan=gan, loop=gan_loop, draws=16_000,
                     scorer=replace(base.twin.scorer, loop=replace(base.twin.scorer.loop, images=192_000, **cuda)),
                     shadow=replace(base.twin.shadow, loop=gan_loop, count=3)))


def _once(flag: str, names: Sequence[str]) -> None:
    """Refuses a list in which something stands twice: a stage's name would."""
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise UserError(f'{flag}: {twice} stands there twice', 'name each once')


PRESETS = {'smoke': smoke, 'desk': desk, 'frontier': frontier, 'paper': paper}
