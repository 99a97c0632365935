"""Defences that change what the codec is trained on, for how long, or how. The values are defaults, not advice.

Another strength is `dataclasses.replace(load_defence('early-stop'), change=Shorter(0.1))`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fpray.defences.config import Defence, PrivateConfig
from fpray.errors import UserError
from fpray.training.config import LoopConfig, RateDistortionConfig


def unchanged(config: RateDistortionConfig, loop: LoopConfig) -> tuple[RateDistortionConfig, LoopConfig]:
    """The training as it is."""
    return config, loop


@dataclass(frozen=True)
class Shorter:
    """Stop earlier. Raises UserError for a share out of its range."""

    share: float = 0.25
    """Share of the undefended training's images, above 0 and below 1."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UserError(f'early-stop: share {self.share}', 'give a share above 0 and below 1')

    def __call__(self, config: RateDistortionConfig, loop: LoopConfig) -> tuple[RateDistortionConfig, LoopConfig]:
        """The same training, `share` as long, at least one step."""
        return config, replace(loop, images=max(loop.batch, round(self.share * loop.images)))


@dataclass(frozen=True)
class Regularised:
    """Dropout of whole maps in the transforms, and decay of the kernels. The configurations check the values."""

    dropout: float = 0.1
    """See `CodecConfig.dropout`."""
    weight_decay: float = 0.1
    """See `RateDistortionConfig.weight_decay`: a kernel loses lr x this a step, at lr 1e-3 a tenth in 1,000 steps."""

    def __call__(self, config: RateDistortionConfig, loop: LoopConfig) -> tuple[RateDistortionConfig, LoopConfig]:
        """The same training with both."""
        return replace(config, codec=replace(config.codec, dropout=self.dropout), weight_decay=self.weight_decay), loop


@dataclass(frozen=True)
class Privately:
    """Train by `fpray.defences.dp_sgd.PrivateCodecLearner`."""

    private: PrivateConfig = field(default_factory=PrivateConfig)
    """How."""

    def __call__(self, config: RateDistortionConfig, loop: LoopConfig) -> tuple[RateDistortionConfig, LoopConfig]:
        """As many images in steps of as many as the people drawn are expected to bring, one worker."""
        return config, replace(loop, batch=self.private.batch, workers=1)


stand_in = Defence(
    name='stand-in',
    text='trained on synthetic prints, which no person is behind',
    data='stand-in',
    source='a baseline: a model of no private picture has nothing of them to give away',
    change=unchanged,
)
early_stop = Defence(
    name='early-stop',
    text='trained on the private pictures for a quarter as long',
    data='private',
    source='Yeom, Giacomelli, Fredrikson, Jha 2018, "Privacy risk in machine learning: analyzing the connection to '
           'overfitting", CSF 2018',
    change=Shorter(),
)
regularised = Defence(
    name='regularised',
    text='trained on the private pictures with dropout and weight decay',
    data='private',
    source='Shokri, Stronati, Song, Shmatikov 2017, "Membership inference attacks against machine learning models", '
           'S&P 2017, regularisation as mitigation; dropout: Srivastava et al. 2014; decay: Loshchilov & Hutter 2019',
    change=Regularised(),
)
dp_sgd = Defence(
    name='dp-sgd',
    text='trained on the private pictures with clipped gradients of whole people and noise on their sum',
    data='private',
    source='Abadi et al. 2016, "Deep learning with differential privacy", CCS 2016; per person: McMahan, Ramage, '
           'Talwar, Zhang 2018, "Learning differentially private recurrent language models", ICLR 2018',
    change=Privately(),
)
