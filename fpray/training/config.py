"""What a training run depends on: loop, GAN, codec, scoring network, stopping rule. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fpray.errors import UserError
from fpray.errors import above_zero as _above_zero
from fpray.errors import not_negative as _not_negative
from fpray.errors import one_of as _one_of
from fpray.errors import share as _share
from fpray.errors import whole as _whole
from fpray.models.config import (
    AuxiliaryConfig,
    CodecConfig,
    DiscriminatorConfig,
    ExtractorConfig,
    GeneratorConfig,
    ReconstructorConfig,
    ScorerConfig,
)

Loss = Literal['bce', 'lsgan', 'wgan', 'wgan-gp', 'hinge']
LOSSES = ('bce', 'lsgan', 'wgan', 'wgan-gp', 'hinge')
SMOOTHED = ('bce', 'lsgan')  # the losses with a label to smooth


@dataclass(frozen=True)
class LoopConfig:
    """How long and how a training runs; progress counts images seen, not epochs.

    Raises:
        UserError: a value out of its range.
    """

    images: int = 32_000
    """Images to see in all; the last batch is whole, so up to batch - 1 more are seen."""
    batch: int = 32
    """Images a step, over all workers."""
    snapshot_every: int = 3_200
    """Images between two snapshots (checkpoint, samples, evaluation); 0: none but the last."""
    snapshot_at: tuple[float, ...] = ()
    """Further snapshots, as shares of `images`, above 0 and at most 1."""
    report_every: int = 0
    """Images between two reports of the losses; 0: at snapshots alone."""
    threads: int = 1
    """Threads of a worker; results differ in the last bits between numbers of threads."""
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    """Where to train; auto: a GPU if there is one."""
    amp: Literal['no', 'bf16'] = 'no'
    """Mixed precision: forward passes in bfloat16. Faster on GPUs and on CPUs with AVX512_BF16 or AMX, slower on
    others.
    """
    channels_last: bool = True
    """Memory order of the maps: channels last."""
    compile: bool = False
    """torch.compile: minutes to start, needs a C++ compiler on a CPU; for long trainings."""
    workers: int = 1
    """Workers that train together (data-parallel); `batch` is divided among them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'snapshot_at', tuple(self.snapshot_at))
        for name in ('images', 'batch', 'threads', 'workers'):
            _whole(f'loop.{name}', getattr(self, name), 1)
        for name in ('snapshot_every', 'report_every'):
            _whole(f'loop.{name}', getattr(self, name), 0)
        if not all(0 < share <= 1 for share in self.snapshot_at):
            raise UserError(f'loop.snapshot_at {self.snapshot_at}', 'give shares above 0 and at most 1')
        _one_of('loop.device', self.device, ('auto', 'cpu', 'cuda'))
        _one_of('loop.amp', self.amp, ('no', 'bf16'))
        if self.batch % self.workers:
            raise UserError(
                f'loop.batch {self.batch} cannot be divided among {self.workers} workers',
                f'choose a multiple of {self.workers}',
            )


@dataclass(frozen=True)
class GanConfig:
    """The two networks of a GAN and how they are trained, with Adam.

    Raises:
        UserError: a value out of its range, or a loss that does not go with the networks.
    """

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator."""
    loss: Loss = 'bce'
    """bce (Goodfellow et al. 2014, non-saturating), lsgan, wgan, wgan-gp or hinge."""
    smoothing: float = 0.0
    """One-sided label smoothing: real pictures are labelled 1 - smoothing (thesis: shadows 0.2, Fig. 4.5)."""
    lr_g: float = 2e-4
    """Adam's learning rate, generator."""
    lr_d: float = 2e-4
    """Adam's learning rate, discriminator."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates of the first and second moment, both networks."""
    update: Literal['alternating', 'simultaneous'] = 'simultaneous'
    """simultaneous: both gradients from the same passes; alternating: the generator meets the updated discriminator."""
    d_steps: int = 1
    """Steps of the discriminator a step of the generator, each on a batch of its own."""
    ema: float = 0.0
    """Decay a step of the generator's exponential moving average, whose samples then count; 0: off."""
    clip: float = 0.01
    """wgan: the discriminator's weights are kept in [-clip, clip]."""
    penalty: float = 10.0
    """wgan-gp: weight of the gradient penalty."""
    feature_matching: float = 0.0
    """Weight of the distance between mean discriminator features, real and generated (Salimans et al. 2016); 0: off."""
    total_variation: float = 0.0
    """Weight of the pictures' total variation, mean a pixel (Finger-GAN, Minaee & Abdolrashidi 2018); 0: off."""
    identity: float = 0.0
    """Weight of the pictures' mean cosine similarity in an identity network (Mistry et al. 2020); 0: off."""

    def __post_init__(self) -> None:
        object.__setattr__(self, 'betas', tuple(self.betas))
        _one_of('gan.loss', self.loss, LOSSES)
        _one_of('gan.update', self.update, ('alternating', 'simultaneous'))
        _whole('gan.d_steps', self.d_steps, 1)
        for name in ('lr_g', 'lr_d', 'clip'):
            _above_zero(f'gan.{name}', getattr(self, name))
        for name in ('penalty', 'feature_matching', 'total_variation', 'identity'):
            _not_negative(f'gan.{name}', getattr(self, name))
        shares = [('smoothing', self.smoothing), ('ema', self.ema), *(('betas', beta) for beta in self.betas)]
        for name, value in shares:
            _share(f'gan.{name}', value)
        self._check_together()

    def _check_together(self) -> None:
        if self.smoothing and self.loss not in SMOOTHED:
            raise UserError(
                f'gan.smoothing {self.smoothing}: loss {self.loss} has no labels to smooth',
                f'give 0, or one of the losses {", ".join(SMOOTHED)}',
            )
        if self.loss == 'wgan-gp' and (self.discriminator.norm == 'batch' or self.discriminator.minibatch):
            raise UserError(
                "gan.loss wgan-gp: the penalty is one picture's, BatchNorm and minibatch discrimination mix "
                'pictures (Gulrajani et al. 2017, section 4)',
                'use discriminator.norm group or none',
            )
        for name in ('image', 'channels'):
            if getattr(self.generator, name) != getattr(self.discriminator, name):
                raise UserError(
                    f'gan: generator.{name} {getattr(self.generator, name)} is not discriminator.{name} '
                    f'{getattr(self.discriminator, name)}',
                    'give both networks the same pictures',
                )


@dataclass(frozen=True)
class ClassifierConfig:
    """The scoring network and how it is trained: cross-entropy, AdamW, a cosine from `lr` to 0 over the loop.

    Raises:
        UserError: a value out of its range.
    """

    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    """The network."""
    lr: float = 2e-3
    """AdamW's learning rate at the start."""
    weight_decay: float = 1e-2
    """AdamW's weight decay."""
    label_smoothing: float = 0.0
    """Share of a label that is spread over all classes."""
    shift: float = 0.06
    """Augmentation: largest shift, share of the side, either way along each axis."""
    rotation: float = 8.0
    """Augmentation: largest rotation, degrees, either way."""
    contrast: float = 0.2
    """Augmentation: largest change of contrast, share, and half of it of brightness."""

    def __post_init__(self) -> None:
        _above_zero('classifier.lr', self.lr)
        for name in ('weight_decay', 'shift', 'rotation', 'contrast'):
            _not_negative(f'classifier.{name}', getattr(self, name))
        _share('classifier.label_smoothing', self.label_smoothing)


@dataclass(frozen=True)
class RateDistortionConfig:
    """A learned codec and how it is trained: bpp + lmbda * MSE with MSE on the 0-255 scale, by Adam.

    Raises:
        UserError: a value out of its range.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)
    """The codec."""
    lmbda: float = 0.01
    """Bits a pixel that one squared gray level of error is worth: larger, better pictures in larger files."""
    lr: float = 1e-3
    """Adam's learning rate, all but the quantiles (thesis: 1e-4)."""
    aux_lr: float = 1e-2
    """Learning rate of the Adam that moves the quantiles of the entropy bottleneck."""
    clip: float = 1.0
    """Largest norm of a step's gradient, which is scaled down to it."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) of the convolutions' kernels; 0: Adam itself."""
    crop: int = 0
    """Side of random square crops, px; 0: whole pictures."""

    def __post_init__(self) -> None:
        for name in ('lmbda', 'lr', 'aux_lr', 'clip'):
            _above_zero(f'rate_distortion.{name}', getattr(self, name))
        _not_negative('rate_distortion.weight_decay', self.weight_decay)
        _whole('rate_distortion.crop', self.crop, 0)


@dataclass(frozen=True)
class MeasureConfig:
    """How a generator's samples are scored, a victim's and a shadow's alike.

    Raises:
        UserError: a value out of its range.
    """

    samples: int = 1_000
    """Samples drawn for each evaluation, and from the victim: the counts are equal."""
    splits: int = 10
    """Parts that the samples are divided into; their scores' mean and deviation are the score and its band."""
    batch: int = 64
    """Pictures at a time while sampling and scoring."""

    def __post_init__(self) -> None:
        for name, low in (('samples', 2), ('splits', 1), ('batch', 1)):
            _whole(f'matching.{name}', getattr(self, name), low)
        if self.samples < 2 * self.splits:
            raise UserError(f'matching.samples {self.samples} for {self.splits} splits', 'give at least two a split')


@dataclass(frozen=True)
class MatchingConfig(MeasureConfig):
    """When a shadow has come as far as the victim: its Inception Score stays at the victim's.

    Raises:
        UserError: a value out of its range.
    """

    evaluate_every: int = 0
    """Images between two evaluations, counted at snapshots; 0: every snapshot."""
    patience: int = 3
    """Evaluations in a row within the band that count as reached."""
    band: float = 1.0
    """Width of the band each way, in standard deviations of the victim's splits."""
    stop: bool = True
    """End the training once reached; off: go on, to judge the rule against later steps."""

    @property
    def measure(self) -> MeasureConfig:
        """The part that a victim's own evaluations read: the rule is the shadow's affair."""
        return MeasureConfig(self.samples, self.splits, self.batch)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (('evaluate_every', 0), ('patience', 1)):
            _whole(f'matching.{name}', getattr(self, name), low)
        _above_zero('matching.band', self.band)


# Model inference (Tangari et al. 2023) ------------------------------------------------------------------------


@dataclass(frozen=True)
class AuxiliaryTraining:
    """The auxiliary classifier and how it is trained: cross-entropy, AdamW, a cosine from `lr` to 0 over the loop.

    Raises:
        UserError: a value out of its range.
    """

    network: AuxiliaryConfig = field(default_factory=AuxiliaryConfig)
    """The network; `length` and `classes` are taken from the vectors where an attack trains it."""
    lr: float = 2e-3
    """AdamW's learning rate at the start."""
    weight_decay: float = 1e-2
    """AdamW's weight decay."""
    noise: float = 0.1
    """Normal noise added to a vector while training, as a share of the standard deviation of its own values: the target
    may be an adapted copy of the candidate.
    """

    def __post_init__(self) -> None:
        _above_zero('auxiliary.lr', self.lr)
        for name in ('weight_decay', 'noise'):
            _not_negative(f'auxiliary.{name}', getattr(self, name))


@dataclass(frozen=True)
class AttributeTraining:
    """How a network of Table 1's zoo is trained; optimiser and batch are attributes, the rest is the same for all.

    Raises:
        UserError: a value out of its range.
    """

    images: int = 15_000
    """Digits to see in all."""
    lr: float = 2e-3
    """Learning rate of Adam; RMSprop takes half of it, SGD (momentum 0.9) 12 times as much."""
    threads: int = 1
    """Threads of a training."""

    def __post_init__(self) -> None:
        for name in ('images', 'threads'):
            _whole(f'attributes.{name}', getattr(self, name), 1)
        _above_zero('attributes.lr', self.lr)


# Reconstruction (Tangari et al. 2023) -------------------------------------------------------------------------


@dataclass(frozen=True)
class ReconstructionConfig:
    """The reconstructor and how it is trained: pixels, then pixels and what the inferred network sees in them (eq. 3).

    Raises:
        UserError: a value out of its range, or no loss at all.
    """

    reconstructor: ReconstructorConfig = field(default_factory=ReconstructorConfig)
    """The network."""
    optimiser: Literal['adam', 'adagrad'] = 'adam'
    """adagrad: the source's."""
    lr: float = 1e-3
    """Learning rate at the start; Adam's falls on a cosine to 0 over the loop, Adagrad's lowers itself."""
    pixel: Literal['l1', 'l2'] = 'l1'
    """Error of the pixels, which lie in [-1, 1]: mean absolute, or mean squared (the source's)."""
    pixel_weight: float = 1.0
    """Weight of the error of the pixels."""
    gradient_weight: float = 1.0
    """Weight of the mean absolute error of the differences between neighbouring pixels (the source has none); 0: off."""
    layers: tuple[str, ...] = ()
    """Names of `Extractor.layers` whose maps are compared (the source: 5 to 10); (): none."""
    perceptual_weight: float = 1.0
    """Weight of the compared layers, all together."""
    embedding_weight: float = 1.0
    """Weight of 1 - cosine of the vectors of original and reconstruction; 0: off."""
    realism_weight: float = 0.0
    """Weight of a critic's opinion, which learns along to tell the attacker's pictures from reconstructions, patch by patch
    (Isola et al. 2017; hinge loss and spectral norm as Miyato et al. 2018; the source has none); 0: off.
    """
    critic_width: int = 32
    """Channels of the critic's first convolution; each of the three halves the side and doubles them."""
    critic_lr: float = 4e-4
    """Adam's learning rate of the critic at the start."""
    normalise: bool = True
    """Whether each layer's error is divided by its running mean, so that all weigh alike (eq. 3)."""
    warmup: float = 0.12
    """Share of the images that are learnt by pixels and gradients alone."""
    noise: float = 0.0
    """Normal noise added to the standardised vectors while training, standard deviations: the target may be adapted."""
    shift: float = 0.0
    """Augmentation, where the network is at hand: largest shift, share of the side, either way along each axis."""
    rotation: float = 0.0
    """Augmentation: largest rotation, degrees, either way."""
    contrast: float = 0.0
    """Augmentation: largest change of contrast, share, and half of it of brightness."""

    @property
    def augments(self) -> bool:
        """Whether pictures are altered while training, so that their vectors must be made anew."""
        return any((self.shift, self.rotation, self.contrast))

    def __post_init__(self) -> None:
        object.__setattr__(self, 'layers', tuple(self.layers))
        _one_of('reconstruction.optimiser', self.optimiser, ('adam', 'adagrad'))
        _one_of('reconstruction.pixel', self.pixel, ('l1', 'l2'))
        _above_zero('reconstruction.lr', self.lr)
        _above_zero('reconstruction.critic_lr', self.critic_lr)
        _whole('reconstruction.critic_width', self.critic_width, 1)
        weights = ('pixel_weight', 'gradient_weight', 'perceptual_weight', 'embedding_weight', 'realism_weight')
        for name in (*weights, 'noise', 'shift', 'rotation', 'contrast'):
            _not_negative(f'reconstruction.{name}', getattr(self, name))
        _share('reconstruction.warmup', self.warmup)
        if self.pixel_weight + self.gradient_weight == 0 and (self.warmup or not self.embedding_weight):
            raise UserError('reconstruction: no weight for pixels or gradients', 'give one of them a weight above 0')
        if len(set(self.layers)) < len(self.layers):
            raise UserError(f'reconstruction.layers {", ".join(self.layers)}', 'name each layer once')


# Recognition (Tangari et al. 2023, sections 5.2 and 5.3) ------------------------------------------------------

HEADS = ('softmax', 'arcface', 'cosface', 'sphereface', 'triplet')


@dataclass(frozen=True)
class RecognitionConfig:
    """A recognition network and how it is trained: AdamW, a cosine from `lr` to 0 over the loop.

    Raises:
        UserError: a value out of its range.
    """

    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    """The network."""
    head: Literal['softmax', 'arcface', 'cosface', 'sphereface', 'triplet'] = 'arcface'
    """What is learnt from: softmax over scaled cosines (Wang et al. 2017); the same with a margin added to the angle
    (arcface, Deng et al. 2019), taken from the cosine (cosface, Wang et al. 2018) or multiplied onto the angle (sphereface,
    Liu et al. 2022); triplet (Schroff et al. 2015), the hardest in the batch (Hermans et al. 2017).
    """
    scale: float = 30.0
    """What cosines are multiplied with before the softmax."""
    margin: float = 0.2
    """arcface: radians; cosface: cosine; sphereface: the angle becomes 1 + margin times as wide; triplet: squared distance
    of embeddings of norm 1.
    """
    lr: float = 4e-3
    """AdamW's learning rate at the start."""
    weight_decay: float = 1e-4
    """AdamW's weight decay."""
    shift: float = 0.06
    """Augmentation: largest shift, share of the side, either way along each axis."""
    rotation: float = 8.0
    """Augmentation: largest rotation, degrees, either way."""
    contrast: float = 0.2
    """Augmentation: largest change of contrast, share, and half of it of brightness."""
    opening: tuple[tuple[float, float], ...] = ()
    """Gradual unfreezing: (until which share of the training, share of the layers that learn, deepest first; 0: the
    embedding's layer alone), in order; after the last one its share holds on. Empty: all learn.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, 'opening', tuple((float(until), float(part)) for until, part in self.opening))
        _one_of('recognition.head', self.head, HEADS)
        for name in ('scale', 'lr'):
            _above_zero(f'recognition.{name}', getattr(self, name))
        for name in ('margin', 'weight_decay', 'shift', 'rotation', 'contrast'):
            _not_negative(f'recognition.{name}', getattr(self, name))
        untils = [until for until, _ in self.opening]
        if sorted(set(untils)) != untils or not all(0 < until <= 1 and 0 <= part <= 1 for until, part in self.opening):
            raise UserError(
                f'recognition.opening {self.opening}',
                'give pairs of shares, the first of each pair growing from above 0 to 1',
            )


@dataclass(frozen=True)
class Adaptation:
    """A rung of the adaptation ladder (section 5.3)."""

    name: str
    """As the source calls it."""
    images: tuple[int, int]
    """The source's new images, at least and at most."""
    share: float
    """Where a training of FT-5's length (57,500 images, the middle of its range) reaches the rung: by the middle of its
    own range.
    """
    open: float
    """Share of the layers that learn on the way to it, deepest first. Our own choice: the source opens 'a larger portion'
    for more images, its figures are not printed (Table 15).
    """


ADAPTATIONS = (
    Adaptation('No-adapt', (0, 0), 0.0, 0.0),
    Adaptation('FT-1', (5_000, 10_000), 7.5 / 57.5, 0.0),
    Adaptation('FT-2', (10_000, 15_000), 12.5 / 57.5, 0.25),
    Adaptation('FT-3', (20_000, 25_000), 22.5 / 57.5, 0.5),
    Adaptation('FT-4', (30_000, 35_000), 32.5 / 57.5, 0.75),
    Adaptation('FT-5', (55_000, 60_000), 1.0, 1.0),
)  # one training with gradual unfreezing, whose snapshots are the rungs
LADDER = tuple((rung.share, rung.open) for rung in ADAPTATIONS[1:])  # RecognitionConfig.opening of that training
