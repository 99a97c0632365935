"""Threat models: what each attack infers, sees and holds. Every report prints the one of each attack."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Box = Literal['black', 'white']


@dataclass(frozen=True)
class ThreatModel:
    """The adversary of one attack, in a privacy engineer's words."""

    name: str
    """Key of the attack in one of the tables of fpray.attacks."""
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

    and for codecs (units and K, Z, B: fpray.attacks.compression):

    - `loss`, `bpp`, `mse`: (N,) the victim's; `bands`: (N, B) its squared errors by spatial frequency
    - `reference_loss`, `reference_bands`: as these, of a codec of the same lambda trained on people who are neither
    - `png`, `jpeg`: (N,) bits a pixel of the query pictures' own files
    - `shadow_losses`: (K, N) of codecs that never saw the queries
    - `population_loss`, `population_png`, `population_jpeg`: (Z,) of reference people's pictures
    - `population_reference_loss`: (Z,) optional, of the reference codec on people that it did not see
    - `population_shadow_losses`: (K, Z); `population_out`: (K, Z) bool, shadow k was not trained on that person

    and for extractors:

    - `vectors`: (N, length) the victim's embeddings of the query pictures
    - `person`: (N,) whose picture each is
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
LIRA = ('Carlini, Chien, Nasr, Song, Terzis, Tramer 2022, "Membership Inference Attacks From First Principles", '
        'IEEE S&P 2022, arXiv:2112.03570')
RMIA = 'Zarifzadeh, Liu, Shokri 2024, "Low-Cost High-Power Membership Inference Attacks", ICML 2024'
CODEC = 'learned codecs by the quality of compression, thesis, section 6.1'
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


def _codec(name: str, sees: str, holds: str, source: str) -> ThreatModel:
    return ThreatModel(name, MEMBERSHIP, f'{sees} of each picture that it sends through the codec; no weights',
                       f'candidate pictures of people{holds}', 'black', source)


BOTH, QUALITY = 'the compressed size and the decompressed picture', 'the decompressed picture'
OTHERS = ', and pictures of other people'
CALIBRATED = f'{CODEC}; calibration by difficulty as in {GAN_LEAKS}'
CODEC_THREATS = (
    _codec('rate-distortion', BOTH, ", and the codec's lambda", CODEC),
    _codec('rate', 'the compressed size', '', CODEC),
    _codec('distortion', QUALITY, '', CODEC),
    _codec('psnr', QUALITY, '', CODEC),
    _codec('calibrated', BOTH, f'{OTHERS} to train a reference codec on', CALIBRATED),
    _codec('calibrated-png', BOTH, f'{OTHERS} to learn from what size under PNG lets expect', CALIBRATED),
    _codec('calibrated-jpeg', BOTH, f'{OTHERS} to learn from what size under JPEG lets expect', CALIBRATED),
    _codec('bands', QUALITY, f'{OTHERS} to train a reference codec on', CALIBRATED),
    _codec('lira', BOTH, f'{OTHERS} to train several shadow codecs on', f'{LIRA}, offline attack with a global variance'),
    _codec('rmia', BOTH, f'{OTHERS} to train several shadow codecs on, and to compare with', f'{RMIA}, offline attack'),
)
THREATS = {threat.name: threat for threat in (SHADOW, WHITE_BOX, NEAREST, NEAREST_CALIBRATED, *CODEC_THREATS)}

EMBEDDING_MEMBERSHIP = 'whether pictures of a person were used for training, though not which'
COMPACT = ThreatModel(
    name='compact',
    infers=EMBEDDING_MEMBERSHIP,
    sees="the extractor's vectors of pictures that the adversary sends in; no weights",
    holds='two or more pictures of each candidate person, none of them from the training set',
    box='black',
    source='Li, Rezaei, Liu 2022, "User-Level Membership Inference Attack against Metric Embedding Learning", '
           'arXiv:2203.02077; thesis, section 2.2',
)
THREATS[COMPACT.name] = COMPACT


# Model inference ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InferenceAttack:
    """A threat model with what learns to name the network behind a vector under it.

    `fit` takes (vectors, labels, classes, seed, config) and returns a fpray.attacks.model_inference.Fitted; see there.
    """

    threat: ThreatModel
    fit: Callable[..., Any]


TANGARI = 'Tangari, Keskar, Asghar, Kaafar 2023, "On the Adversarial Inversion of Deep Biometric Representations"'


def _inference(name: str, holds: str, source: str, infers: str = '', sees: str = '') -> ThreatModel:
    return ThreatModel(
        name,
        infers or 'which of the known networks, before any adaptation to its task, made a template',
        sees or 'one template, or a few, and that it is of a face or of a finger; neither the network nor its pictures',
        holds,
        'black',
        source,
    )


_POOL = 'the candidate networks as published, and pictures of other people to pass through them'
_ZOO = 'digits, and computing time to train a zoo of small networks whose attributes it knows'
_ATTRIBUTES = 'the attributes of a network that it does not know: its layers and how it was trained'
INFERENCE_THREATS = {
    threat.name: threat
    for threat in (
        _inference('auxiliary', _POOL, f'{TANGARI}, sections 4.1 and 5.2'),
        _inference('linear', _POOL, 'logistic regression, beside the auxiliary network to show what depth buys'),
        _inference('nearest', _POOL, 'the nearest reference vector, beside the auxiliary network to show what depth buys'),
        _inference('attributes', _ZOO, f'{TANGARI}, Table 1', _ATTRIBUTES, 'one embedding of a digit'),
        _inference('kennen', _ZOO, 'Oh, Schiele, Fritz 2018, "Towards Reverse-Engineering Black-Box Neural Networks", '
                   'ICLR 2018, and the baseline of Table 1', _ATTRIBUTES,
                   'the class probabilities of a hundred pictures that it chose'),
    )
}


# Inversion ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InversionAttack:
    """A threat model with the function that makes pictures from vectors under it.

    `invert` returns (N, C, H, W) uint8 pictures, one a stolen vector. Its arguments without a default come from this
    vocabulary, so that a study can lay them out:

    - `vectors`: (N, length) the stolen templates
    - `network`: the extractor that the attacker takes the target for, its own copy
    - `reconstructor`: trained by the attacker on its own pictures with vectors of that network
    - `known_pixels`: (M, C, H, W) uint8 the attacker's pictures
    - `known_vectors`: (M, length) what that network makes of them
    """

    threat: ThreatModel
    invert: Callable[..., np.ndarray]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the arguments that `invert` cannot do without, in order."""
        parameters = inspect.signature(self.invert).parameters.values()
        return tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)


def _inversion(name: str, sees: str, holds: str, source: str, box: Box = 'black') -> ThreatModel:
    infers = 'the picture behind a template, and whether it is accepted as the person'
    return ThreatModel(name, infers, sees, holds, box, source)


_TEMPLATE = 'one template, or a few; neither the network nor its pictures'
_OTHERS = 'the network as published, before any adaptation, inferred or told, and pictures of other people'
INVERSION_THREATS = {
    threat.name: threat
    for threat in (
        _inversion('reconstructor', _TEMPLATE, _OTHERS, f'{TANGARI}, sections 4.2 and 6.2'),
        _inversion('adapter', 'one template, or a few, and the templates that the target makes of some of the '
                   "adversary's own pictures", 'another network, whose vectors it can invert, and pictures of other people',
                   'a linear map between embedding spaces, beside the matched ranges of ' + f'{TANGARI}, section 7'),
        _inversion('mean', 'nothing', 'pictures of other people', 'the mean training picture, as a baseline'),
        _inversion('nearest', _TEMPLATE, _OTHERS, 'the training picture whose vector is nearest, as a baseline'),
        _inversion('direct', _TEMPLATE, _OTHERS, 'Fredrikson, Jha, Ristenpart 2015, "Model Inversion Attacks that Exploit '
                   'Confidence Information and Basic Countermeasures", CCS 2015 (MIFace), on the cosine of vectors'),
        _inversion('auto-encoder', "the target's weights, which it may change, and the target's own pictures",
                   'nothing else; no attack, but a bound from above on what vectors can give away',
                   f'Dosovitskiy, Brox 2016, "Inverting Visual Representations with Convolutional Networks", CVPR 2016; '
                   f'{TANGARI}, section 6.4', 'white'),
    )
}
