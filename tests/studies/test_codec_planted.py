"""Planted leaks in codecs, with real networks: what was trained on is found by its rate and distortion, nothing else is.

A codec trained on 50 people must be found by the calibrated score; an untrained one and one trained on 50 others must not.
All are asked about the same people, so that each null is the other's placebo. Over many draws of people whom a clean codec
never saw, its calibrated interval must hold 0.5 as often as it says, also when the easiest pictures are put on one side.
Several groups of people calibrate it in turn: the error of one calibration moves all audits that share it.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from fpray.attacks.compression import calibrated_score, plain_features, png_bpp, rate_distortion_score, recalibrated_scores
from fpray.data.synthetic import generate
from fpray.metrics.membership import auc_clustered, auc_difference
from fpray.metrics.rate import Rate
from fpray.models.codec import Codec
from fpray.models.config import CodecConfig
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.loop import Pictures, train
from fpray.training.rate_distortion import CodecLearner, measure

SIDE, PEOPLE, STEPS = 48, 50, 400
CONFIG = RateDistortionConfig(codec=CodecConfig(n=12, m=16), lmbda=0.01, lr=3e-3)
GROUPS = ('members', 'others', 'placebo', 'reference', 'population', 'more', 'and more', 'still more')
LEARNERS = {'planted': 'members', 'clean': 'placebo', 'reference': 'reference', 'untrained': ''}


@dataclass
class World:
    """One seed's pictures, one a person, and what each codec's loss on each of them is."""

    pixels: np.ndarray
    losses: dict[str, np.ndarray]
    features: np.ndarray

    @staticmethod
    def rows(*groups: str) -> np.ndarray:
        return np.concatenate([np.arange(PEOPLE) + GROUPS.index(group) * PEOPLE for group in groups])

    def calibrated(self, codec: str, rows: np.ndarray, population: str = 'population') -> tuple[np.ndarray, np.ndarray]:
        """Scores, and those after other draws of the population."""
        own, reference, out = self.losses[codec], self.losses['reference'], self.rows(population)
        given = {'loss': own[rows], 'reference_loss': reference[rows], 'features': self.features[rows],
                 'population_loss': own[out], 'population_reference_loss': reference[out],
                 'population_features': self.features[out]}
        return calibrated_score(**given), recalibrated_scores(out, 0, **given)


def trained(pixels: np.ndarray, rows: np.ndarray, seed: int) -> Codec:
    """A codec after STEPS steps on some rows, or fresh without any."""
    loop = LoopConfig(images=8 * STEPS, batch=8, snapshot_every=0, device='cpu')
    learner = CodecLearner(CONFIG, loop, seed)
    if len(rows):
        train(loop, learner, Pictures(pixels, rows), seed, on_progress=lambda progress: False)
    return learner.codec


def world(seed: int) -> World:
    pixels, _ = generate(2_000 + seed, range(len(GROUPS) * PEOPLE), 1, 1, SIDE)
    losses = {}
    for number, (name, group) in enumerate(LEARNERS.items()):
        found = measure(trained(pixels, World.rows(group) if group else np.empty(0, int), 10 * seed + number), pixels)
        losses[name] = found.bits / SIDE**2 + CONFIG.lmbda * found.mse
    return World(pixels, losses, plain_features(pixels))


LABEL, PERSON = np.repeat([True, False], PEOPLE), np.array([f'p{i}' for i in range(2 * PEOPLE)])


def auc(score: np.ndarray, recalibrated: np.ndarray | None = None) -> Rate:
    return auc_clustered(score, LABEL, PERSON, recalibrated=recalibrated)


def clean_audits(made: World, easier: bool, draws: int = 40) -> np.ndarray:
    """The clean codec asked about 50 against 50 of 250 people whom it never saw, `draws` times by each of six calibrations:
    share of intervals that leave out 0.5 (calibrated, the same as if its one calibration were true, the thesis's score), and
    mean AUC (calibrated, the thesis's). Easier: the pictures that PNG finds easy lie on the positive side."""
    unseen, rng, found = ('others', 'more', 'and more', 'still more', 'members', 'population'), np.random.default_rng(0), []
    for population in unseen:
        pool = World.rows(*(group for group in unseen if group != population))
        size, plain = png_bpp(made.pixels[pool]), rate_distortion_score(made.losses['clean'][pool])
        score, again = made.calibrated('clean', pool, population)
        for _ in range(draws):
            order = np.argsort(size + (2 * size.std() if easier else 1e9) * rng.normal(size=len(pool)))  # easy ones first
            asked = np.concatenate([order[:PEOPLE], order[-PEOPLE:]])
            rates = auc(score[asked], again[:, asked]), auc(score[asked]), auc(plain[asked])
            found.append([*(not rate.lower <= 0.5 <= rate.upper for rate in rates), rates[0].estimate,
                          rates[2].estimate])
    return np.mean(found, axis=0)


def check(seed: int) -> None:
    made = world(seed)
    asked = World.rows('members', 'others')
    scores = {name: made.calibrated(name, asked) for name in ('planted', 'clean', 'untrained')}
    rates = {name: auc(*score) for name, score in scores.items()}
    rates['thesis'] = auc(rate_distortion_score(made.losses['planted'][asked]))
    found = {name: rates[name].lower > 0.5 and auc_difference(
        score, scores[placebo][0], LABEL, PERSON, recalibrated=(again, scores[placebo][1])).lower > 0
        for (name, (score, again)), placebo in zip(scores.items(), ('clean', 'untrained', 'clean'), strict=True)}
    print('\n' + '\n'.join(f'seed {seed}  {name:10} AUC {r.estimate:.3f} ({r.lower:.3f}-{r.upper:.3f})  '
                           f'{"found" if found.get(name) else ""}' for name, r in rates.items()))
    alike, unlike = clean_audits(made, False).round(3), clean_audits(made, True).round(3)
    print(f'seed {seed}  clean codec, intervals that leave out 0.5 (calibrated, the same as if its calibration were true, '
          f'thesis), mean AUC (calibrated, thesis): {alike}; easy pictures on one side: {unlike}')
    assert found['planted'] and not found['clean'] and not found['untrained']
    assert rates['planted'].estimate > rates['thesis'].estimate, 'calibration is what finds it'
    assert max(alike[0], unlike[0]) <= 0.1, 'a clean codec is within its interval of 0.5, whatever the difficulty'
    assert unlike[0] < unlike[1] and unlike[2] > 0.5, 'which it owes to the error of the calibration, and to calibration'
    assert abs(unlike[3] - 0.5) < abs(unlike[4] - 0.5) / 2, 'calibration takes most of difficulty away'


def test_a_planted_leak_is_found_and_nothing_else():
    check(0)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize('seed', range(1, 5))
def test_a_planted_leak_is_found_and_nothing_else_whatever_the_seed(seed):
    check(seed)
