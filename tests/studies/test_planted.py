"""Planted leaks, with real networks: what was trained on is found through samples alone, and nothing else is.

A victim overfit on 24 pictures of 24 people must be found by shadows that saw its samples only; an untrained generator
and one trained on 24 other people must not be. All three are attacked alike and asked about the same people, so that
each null is the other's placebo.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fpray.attacks import load_attack
from fpray.data.config import DataConfig, SplitConfig
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet
from fpray.data.splits import draw_split, query
from fpray.data.synthetic import generate
from fpray.metrics.membership import arrays, auc_clustered, auc_difference
from fpray.metrics.rate import Rate
from fpray.models.config import DiscriminatorConfig, GeneratorConfig, ScorerConfig
from fpray.models.scorer import build_scorer
from fpray.store import Context
from fpray.studies import steps
from fpray.studies.tasks import ShadowTask, VictimTask, save_network
from fpray.training.config import GanConfig, LoopConfig, MatchingConfig
from fpray.training.loop import train

SIDE = 48  # px
PEOPLE = SplitConfig(sizes=(24,), headline=24, nonmembers=48, scoring=0, placebo=24, rehearsal=0, reference=0)
DATA = DataConfig(size=SIDE, fingers=1, impressions=1, query_impressions=0)
GAN = GanConfig(generator=GeneratorConfig(image=(SIDE, SIDE), noise=32, widths=(32, 16, 8)),
                discriminator=DiscriminatorConfig(image=(SIDE, SIDE), widths=(32, 64, 128), kernel=3), lr_g=4e-4, lr_d=4e-4)
BATCH, VICTIM_STEPS, SHADOW_STEPS, SHADOWS, SAMPLES = 16, 240, 70, 2, 3_000
ONCE = MatchingConfig(samples=64, splits=2, patience=1)  # one evaluation, at the end: the stopping point is fixed
KINDS = {'planted': 'members', 'untrained': 'members', 'others': 'placebo'}


def lay(root: Path, seed: int) -> None:
    """pictures/, people/ and scorer/: one finger and one impression a person, and a scoring network that decides nothing."""
    pixels, rows = generate(1_000 + seed, range(96), 1, 1, SIDE)
    records = pd.DataFrame(rows).assign(path='synthetic', image_id=[image_id(picture) for picture in pixels])
    everyone = ImageSet(pixels, records, {'name': 'planted', 'layout': 'synthetic', 'synthetic': True, 'subject_known': True,
                                          'skipped': [], 'ignored': 0})
    everyone.save(root / 'pictures')
    for name in ('people', 'scorer'):
        (root / name).mkdir()
    (root / 'people' / 'split.json').write_text(draw_split(records, DATA, PEOPLE, seed).to_json())
    config = ScorerConfig(image=(SIDE, SIDE), classes=4, widths=(8, 8))
    save_network(build_scorer(config, seed), config, root / 'scorer', 'network')


def loop(steps_: int) -> LoopConfig:
    """A training of so many steps on one thread, with a snapshot at its end alone."""
    return LoopConfig(images=BATCH * steps_, batch=BATCH, snapshot_every=0, device='cpu')


def finished(task: VictimTask | ShadowTask, seed: int, out: Path, untrained: bool = False) -> Path:
    """Trains a task in this process, as a worker does, and gives the folder of its results."""
    out.mkdir(parents=True)
    made = task.build(0, 1, 'cpu')
    if not untrained:
        train(task.loop, made.learner, made.data, seed, on_progress=lambda progress: bool(made.observer(progress) and False))
    made.observer.finish(out)
    return out


def samples(root: Path, kind: str, seed: int) -> Path:
    """What the attacker draws from a victim of one kind: the folder of samples.npy."""
    pictures, people, scorer = (str(root / name) for name in ('pictures', 'people', 'scorer'))
    task = VictimTask(pictures, people, scorer, KINDS[kind], 24, GAN, loop(VICTIM_STEPS), ONCE, seed)
    victim = finished(task, seed, root / kind / 'victim', untrained=kind == 'untrained')
    drawn = root / kind / 'samples'
    drawn.mkdir()
    steps.samples(Context('samples', '', {'draws': SAMPLES, 'seed': seed}, {'victim': victim}, drawn, root))
    return drawn


def attack(root: Path, kind: str, seed: int, asked: pd.DataFrame) -> pd.DataFrame:
    """The queries with their scores: the rank average of shadows trained on the samples alone."""
    drawn = samples(root, kind, seed)
    files = []
    for number in range(SHADOWS):
        one = 100 * seed + number
        task = ShadowTask(str(drawn), str(root / 'scorer'), replace(GAN, smoothing=0.2), loop(SHADOW_STEPS),
                          ONCE, one)
        shadow = finished(task, one, root / kind / f'shadow-{number}')
        files.append((str(shadow), 'discriminator'))
    pixels = ImageSet.load(root / 'pictures').pixels[asked['row'].to_numpy()]
    return asked.assign(score=load_attack('shadow').score(list(steps.discriminators(files)(pixels).T)))


def audit(root: Path, seed: int) -> dict[str, tuple[Rate, Rate]]:
    """For each kind of victim: its AUC over people, and that minus the AUC of its placebo."""
    lay(root, seed)
    split = steps.read_split(root / 'people')
    asked = query(split, ImageSet.load(root / 'pictures').records, 'mia')
    tables = {kind: attack(root, kind, seed, asked) for kind in KINDS}
    found = {}
    for kind, placebo in (('planted', 'others'), ('untrained', 'others'), ('others', 'untrained')):
        score, label, person = arrays(tables[kind], 'mia')
        found[kind] = (auc_clustered(score, label, person),
                       auc_difference(score, tables[placebo]['score'].to_numpy(), label, person))
    return found


def is_found(auc: Rate, minus_placebo: Rate) -> bool:
    """The rule of the verdict: both lower bounds above chance."""
    return auc.lower > 0.5 and minus_placebo.lower > 0


def table(seed: int, found: dict[str, tuple[Rate, Rate]]) -> str:
    """One line a victim."""
    return '\n'.join(f'seed {seed}  {kind:9}  AUC {auc.estimate:.3f} ({auc.lower:.3f}-{auc.upper:.3f})  minus placebo '
                     f'{minus.estimate:+.3f} ({minus.lower:+.3f} to {minus.upper:+.3f})  '
                     f'{"found" if is_found(auc, minus) else "not found"}' for kind, (auc, minus) in found.items())


def check(found: dict[str, tuple[Rate, Rate]], seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The planted leak of one seed is found; every outcome is printed, whatever it is."""
    with capsys.disabled():
        print(f'\n{table(seed, found)}')
    assert all(auc.n_people == 72 for auc, _ in found.values())
    assert is_found(*found['planted']), 'a victim overfit on 24 pictures'


@pytest.mark.timeout(1800)
def test_a_planted_leak_is_found_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audit(tmp_path, 0)
    check(found, 0, capsys)
    for kind in ('untrained', 'others'):
        auc, minus_placebo = found[kind]
        assert not is_found(auc, minus_placebo) and auc.lower < 0.5 < auc.upper, kind


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, tuple[Rate, Rate]]]:
    """The audit of a seed, once a session."""
    return cache(lambda seed: audit(tmp_path_factory.mktemp(f'seed-{seed}'), seed))


SEEDS = (1, 2, 3, 4, 5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('seed', SEEDS)
def test_planted_leaks_are_found(seed: int, outcomes, capsys: pytest.CaptureFixture[str]) -> None:
    check(outcomes(seed), seed, capsys)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nulls_are_not_found(outcomes) -> None:
    """Of ten audits without a leak one may be found by chance: at 2.5 % each, two would be one case in forty."""
    nulls = {kind: [outcomes(seed)[kind] for seed in SEEDS] for kind in ('untrained', 'others')}
    assert sum(is_found(*each) for found in nulls.values() for each in found) <= 1
    for kind, found in nulls.items():
        areas = np.array([auc.estimate for auc, _ in found], float)
        standard_error = np.sqrt((24 + 48 + 1) / (12 * 24 * 48) / len(areas))  # Mann-Whitney's, one picture a person
        assert abs(areas.mean() - 0.5) < 3 * standard_error, f'{kind}: {areas}'


def test_the_samples_of_an_untrained_generator_are_its_own(tmp_path: Path) -> None:
    """The nulls are what they claim: no gradient step, and no member among the 24 others."""
    lay(tmp_path, 0)
    split = steps.read_split(tmp_path / 'people')
    groups = [set(split.people[group]) for group in ('members', 'nonmembers', 'placebo')]
    assert [len(group) for group in groups] == [24, 48, 24] and len(set.union(*groups)) == 96
    drawn = np.load(samples(tmp_path, 'untrained', 0) / 'samples.npy')
    fresh = VictimTask(*(str(tmp_path / name) for name in ('pictures', 'people', 'scorer')), 'members', 24, GAN,
                       loop(VICTIM_STEPS), ONCE, 0).build(0, 1, 'cpu')
    other = tmp_path / 'again'
    other.mkdir()
    fresh.observer.finish(other)
    (tmp_path / 'drawn').mkdir()
    steps.samples(Context('samples', '', {'draws': 8, 'seed': 0}, {'victim': other}, tmp_path / 'drawn', tmp_path))
    np.testing.assert_array_equal(np.load(tmp_path / 'drawn' / 'samples.npy'), drawn[:8])
