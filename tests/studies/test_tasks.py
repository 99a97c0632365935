"""Trainings and scorings leave for another machine: what a bucket's stages send works with no file of where it was made."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fpray.models.config import ScorerConfig
from fpray.store import Context, Stage, Store
from fpray.studies import steps
from fpray.studies.config import ScoringConfig, SearchConfig, ShadowConfig
from fpray.training.config import ClassifierConfig
from fpray.training.loop import train
from tests.studies.test_steps import DATA, GAN, LOOP, MATCHING, SET, SIDE, SIZES

ELSEWHERE = """
import pickle, sys
from pathlib import Path
from tests.studies.test_tasks import told
Path(sys.argv[2]).write_text(told(pickle.loads(Path(sys.argv[1]).read_bytes())))
"""


def pictures(context: Context) -> None:
    """The tiny set."""
    SET.save(context.out)


def samples(context: Context) -> None:
    """What no generator drew."""
    drawn = np.random.default_rng(0).integers(0, 256, (40, 1, SIDE, SIDE), np.uint8)
    np.save(context.out / 'samples.npy', drawn)


def told(sent: list[Any]) -> str:
    """What each training ends with (a digest of its network), and what each scoring finds: JSON."""
    return json.dumps([_scores(*one) if isinstance(one, tuple) else _trained(one) for one in sent])


def _scores(source: Any, scorer: Any, rows: np.ndarray) -> list[list[float]]:
    return list(steps.score(source, scorer, rows=rows, actors=0).scores.tolist())


def _trained(task: Any) -> str:
    made, digest = task.build(0, 1, 'cpu'), hashlib.sha256()
    train(task.loop, made.learner, made.data, task.seed,
          on_progress=lambda progress: bool(made.observer(progress) and False))
    with tempfile.TemporaryDirectory() as folder:
        made.observer.finish(Path(folder))
        for path in sorted(Path(folder).glob('*.pt')):
            for name, value in torch.load(path, weights_only=True).items():
                digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _plan() -> list[Stage]:
    """A chain of real steps: scoring network, victim, search, shadow, attack."""
    base = {'pictures': Stage('pictures', 1, {}, {}, pictures), 'samples': Stage('samples', 1, {}, {}, samples)}
    drawn = Stage('people', 1, steps.PeopleConfig(DATA, SIZES, 3), {'pictures': base['pictures']}, steps.people)
    people = {'pictures': base['pictures'], 'people': drawn}
    scoring = ScoringConfig(network=ClassifierConfig(scorer=ScorerConfig(widths=(8, 8))), loop=LOOP)
    scorer = Stage('scorer', 1, {'scorer': scoring, 'seed': 1}, people, steps.scorer)
    victim = Stage('victim', 1, {'gan': GAN, 'loop': LOOP, 'group': 'members', 'people': 5, 'measure': MATCHING.measure,
                                 'seed': 2}, people | {'scorer': scorer}, steps.victim)
    learned = {'samples': base['samples'], 'scorer': scorer}
    alike = ShadowConfig(gan=GAN, loop=LOOP, matching=MATCHING)
    search = Stage('search', 1, {'search': SearchConfig(mode='off'), 'shadow': alike, 'seed': 4}, learned,
                   steps.search_shadow)
    shadow = Stage('shadow', 1, {'matching': MATCHING, 'seed': 10, 'course': 2}, learned | {'search': search}, steps.shadow)
    attack = Stage('attack', 1, {'victim': '5', 'attacks': ('shadow', 'nearest'), 'positives': 'members',
                                 'negatives': 'nonmembers', 'people': 5, 'course': True},
                   people | {'samples': base['samples'], 'shadow/00': shadow}, steps.attack)
    return [*base.values(), drawn, scorer, victim, search, shadow, attack]


def _sent(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs the chain in this process and gives what its steps hand to the trainings and to the actors."""
    sent: list[Any] = []
    fit, score = steps.fit, steps.score

    def fit_here(task: Any, *given: Any, trainer: bool | None = None) -> Any:
        sent.append(task)
        return fit(task, *given, trainer=False)

    def score_here(source: Any, scorer: Any, *, rows: np.ndarray, **more: Any) -> Any:
        sent.append((source, scorer, rows))
        return score(source, scorer, rows=rows, **more)

    with monkeypatch.context() as patch:
        patch.setattr(steps, 'fit', fit_here)
        patch.setattr(steps, 'score', score_here)
        for stage in _plan():
            store.execute(stage, settings={'actors': 0})
    return sent


def test_what_a_bucket_sends_needs_nothing_of_the_machine_that_sent_it(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'here'))
    store = Store(f'file://{tmp_path}/bucket')
    sent = _sent(store, monkeypatch)
    assert [type(one).__name__ for one in sent] == ['ScorerTask', 'VictimTask', 'ShadowTask', 'tuple']
    here = told(sent)
    (tmp_path / 'sent').write_bytes(pickle.dumps(sent))
    assert (tmp_path / 'sent').stat().st_size < 16_000, 'no pictures travel'
    shutil.rmtree(tmp_path / 'here')
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'there')}
    subprocess.run([sys.executable, '-c', ELSEWHERE, tmp_path / 'sent', tmp_path / 'told'], env=environment, check=True,
                   cwd=Path(__file__).parents[2])
    assert (tmp_path / 'told').read_text() == here, 'the same networks and scores, bit for bit'
    assert (tmp_path / 'there').exists() and not (tmp_path / 'here').exists()
