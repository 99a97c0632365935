"""Planted leaks in codecs, with real networks: what was trained on is found by its rate and distortion, nothing else is.

A codec trained on 50 people must be found by the calibrated score; an untrained one and one trained on 50 others must not,
nor must that one when the members' pictures are easier than the others'. Each null is the others' placebo.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from fpray.attacks.compression import calibrated_score, rate_distortion_score
from fpray.data.synthetic import generate
from fpray.metrics.membership import auc_clustered, auc_difference
from fpray.metrics.rate import Rate
from fpray.models.codec import Codec
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Pictures, train
from fpray.training.rate_distortion import CodecLearner, measure

SIDE, PEOPLE, STEPS = 48, 50, 450
CONFIG = RateDistortionConfig(codec=CodecConfig(n=12, m=16), lmbda=0.01, lr=3e-3)
GROUPS = ('members', 'others', 'placebo', 'reference', 'population')


@dataclass
class World:
    """One seed's pictures, one a person, and the codecs trained on some of them."""

    pixels: np.ndarray
    codecs: dict[str, Codec]

    def rows(self, group: str) -> np.ndarray:
        first = GROUPS.index(group) * PEOPLE
        return np.arange(first, first + PEOPLE)

    def loss(self, codec: str, rows: np.ndarray, easier: bool = False) -> np.ndarray:
        pixels = self.pixels[rows]
        if easier:  # less contrast: a member's picture costs less whatever the codec has seen
            pixels = (128 + 0.8 * (pixels.astype(float) - 128)).astype(np.uint8)
        found = measure(self.codecs[codec], pixels)
        return found.bits / SIDE**2 + CONFIG.lmbda * found.mse

    def scores(self, codec: str, easier: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(calibrated, plain) of the members' pictures, then the others'."""
        def both(name: str) -> np.ndarray:
            return np.concatenate([self.loss(name, self.rows('members'), easier), self.loss(name, self.rows('others'))])

        out = self.rows('population')
        calibrated = calibrated_score(both(codec), both('reference'), population_loss=self.loss(codec, out),
                                      population_reference_loss=self.loss('reference', out))
        return calibrated, rate_distortion_score(both(codec))


def world(seed: int) -> World:
    pixels, _ = generate(2_000 + seed, range(len(GROUPS) * PEOPLE), 1, 1, SIDE)
    made = World(pixels, {})
    for name, group, steps in (('planted', 'members', STEPS), ('clean', 'placebo', STEPS), ('reference', 'reference', STEPS),
                               ('untrained', 'members', 0)):
        loop = LoopConfig(images=8 * max(steps, 1), batch=8, snapshot_every=0, device='cpu')
        learner = CodecLearner(CONFIG, loop, seed + 7 * len(made.codecs))
        if steps:
            train(loop, learner, Pictures(pixels, made.rows(group)), seed, on_progress=lambda progress: False)
        made.codecs[name] = learner.codec
    return made


LABEL, PERSON = np.repeat([True, False], PEOPLE), np.array([f'p{i}' for i in range(2 * PEOPLE)])


def auc(score: np.ndarray) -> Rate:
    return auc_clustered(score, LABEL, PERSON)


def check(seed: int) -> None:
    made = world(seed)
    planted, plain = made.scores('planted')
    clean, _ = made.scores('clean')
    untrained, _ = made.scores('untrained')
    harder, fooled = made.scores('clean', easier=True)
    rates = {'planted': auc(planted), 'plain': auc(plain), 'clean': auc(clean), 'untrained': auc(untrained),
             'clean, members easier': auc(harder), 'plain, members easier': auc(fooled)}
    print('\n' + '\n'.join(f'seed {seed}  {name:24} AUC {r.estimate:.3f} ({r.lower:.3f}-{r.upper:.3f})'
                           for name, r in rates.items()))
    minus = auc_difference(planted, clean, LABEL, PERSON)
    assert rates['planted'].lower > 0.5 and minus.lower > 0, 'the planted leak is found'
    assert rates['planted'].estimate > rates['plain'].estimate, 'calibration is what finds it'
    for null in ('clean', 'untrained', 'clean, members easier'):
        assert rates[null].lower <= 0.5 <= rates[null].upper or rates[null].upper < 0.5, f'{null}: nothing to find'
    assert rates['plain, members easier'].lower > 0.5, 'the plain score takes ease for membership'


def test_a_planted_leak_is_found_and_nothing_else():
    check(0)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize('seed', range(1, 5))
def test_a_planted_leak_is_found_and_nothing_else_whatever_the_seed(seed):
    check(seed)
