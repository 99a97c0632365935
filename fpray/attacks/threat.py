"""Threat models: what each attack infers, sees and holds. Every report prints the one of each attack."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Box = Literal['black', 'white']


@dataclass(frozen=True)
class ThreatModel:
    """The adversary of one attack, in a privacy engineer's words."""

    name: str
    """Key of the attack in fpray.attacks.ATTACKS."""
    infers: str
    """What the adversary wants to know about a person."""
    sees: str
    """What of the victim the adversary can reach."""
    holds: str
    """What else the adversary must have: data, models, computing time."""
    box: Box
    """'black': the victim's outputs only; 'white': its weights too."""
    source: str
    """The publication that describes the attack."""


@dataclass(frozen=True)
class Attack:
    """A threat model with the function that ranks pictures under it.

    `score` returns (N,) float64 membership scores of the N query pictures, larger = more member-like, and
    sees no membership. Its arguments without a default come from this vocabulary, so that a study can lay
    them out:

    - `queries`: (N, C, H, W) uint8 pictures, or (N, d) features of them
    - `samples`: (M, ...) the victim's samples, alike in kind and shape
    - `reference`: (R, ...) samples of a generator trained on people who are neither members nor non-members
    - `outputs`: a sequence of (N,) arrays, the raw outputs of shadow discriminators, one a shadow
    - `own_output`: (N,) the raw outputs of the victim's own discriminator
    """

    threat: ThreatModel
    score: Callable[..., np.ndarray]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that `score` cannot do without, in order."""
        parameters = inspect.signature(self.score).parameters.values()
        return tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)


LOGAN = 'Hayes, Melis, Danezis, De Cristofaro 2019, "LOGAN", PoPETs 2019(1)'
GAN_LEAKS = 'Chen, Yu, Zhang, Fritz 2020, "GAN-Leaks", CCS 2020, doi:10.1145/3372297.3417238'
MEMBERSHIP = 'whether a picture, or another picture of the same finger or person, was used for training'

SHADOW = ThreatModel(
    name='shadow',
    infers=MEMBERSHIP,
    sees='as many generated pictures as wanted; neither weights nor architecture',
    holds='candidate pictures of people, and computing time to train generative networks of its own on the '
          'generated pictures',
    box='black',
    source=f'{LOGAN}, black-box attack without auxiliary knowledge',
)
WHITE_BOX = ThreatModel(
    name='white-box',
    infers=MEMBERSHIP,
    sees='the trained victim with its discriminator, as an insider or a thief would; an upper bound for the '
         'attacks by shadows',
    holds='candidate pictures of people',
    box='white',
    source=f'{LOGAN}, white-box attack',
)
NEAREST = ThreatModel(
    name='nearest',
    infers=MEMBERSHIP,
    sees='a fixed number of generated pictures, for example a published synthetic data set',
    holds='candidate pictures of people',
    box='black',
    source=f'{GAN_LEAKS}, full black-box generator',
)
NEAREST_CALIBRATED = ThreatModel(
    name='nearest-calibrated',
    infers=MEMBERSHIP,
    sees='a fixed number of generated pictures, for example a published synthetic data set',
    holds='candidate pictures of people, and pictures of other people to train a reference generator on',
    box='black',
    source=f'{GAN_LEAKS}, full black-box generator with attack calibration',
)
