"""One vector from outside: ranked candidates or nobody, and one clear line for whatever is no vector."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.attacks.config import InferenceConfig
from fpray.attacks.model_inference import calibrate, fit, outsiders
from fpray.errors import UserError
from fpray.store import Context, Stage, Store
from fpray.studies.inference_identify import CHANGED, NONE, identify_file, run_identify

ROOT = Path(__file__).parents[2]
LENGTH, NAMES = 8, ['plain', 'dense', 'wide']
CENTRES = 4 * np.eye(3, LENGTH)


def source(number: int, count: int, seed: int) -> np.ndarray:
    return (CENTRES[number] + np.random.default_rng([number, seed]).normal(0, 0.5, (count, LENGTH))).astype(np.float32)


def write_classifiers(context: Context) -> None:
    """As `inference_steps.gather`: candidates of one length, a pool of the same length in another order."""
    for kind, order in (('candidates', [0, 1, 2]), ('pool', [2, 1, 0])):
        learnt, held = (np.concatenate([source(number, 60, seed) for number in order]) for seed in (1, 2))
        labels = np.repeat(np.arange(3), 60)
        fitted = fit('linear', learnt, labels, 3, 0, InferenceConfig())
        fitted = calibrate(fitted, held, labels, away=outsiders(fitted, learnt, labels))
        fitted.save(context.out / kind / str(LENGTH))
    names = {'candidates': {str(LENGTH): NAMES}, 'pool': {str(LENGTH): [f'pool-{name}' for name in NAMES[::-1]]}}
    (context.out / 'names.json').write_text(json.dumps(names))


def nothing(context: Context) -> None:
    (context.out / 'numbers.json').write_text('{}')


@pytest.fixture(scope='module')
def store(tmp_path_factory) -> Store:
    """A store in which a study has ended, and other things beside it."""
    found = Store(tmp_path_factory.mktemp('store'))
    gathered = Stage('identify', 1, {}, {}, write_classifiers)
    numbers = Stage('numbers', 1, {}, {'identify': gathered}, nothing)
    for stage in (gathered, numbers, replace(numbers, config={'of': 'another study'}, inputs={})):
        found.execute(stage)
    return found


def saved(folder: Path, vector: np.ndarray) -> str:
    path = folder / 'vector.npy'
    np.save(path, vector)
    return str(path)


@pytest.mark.parametrize('number, name', list(enumerate(NAMES)))
def test_candidates_are_ranked_with_their_confidence(store, tmp_path, number, name):
    answer = identify_file(saved(tmp_path, source(number, 1, 9)[0]), store.root)
    assert answer.ranked[0][0] == name and answer.source == 'candidates'
    assert [share for _, share in answer.ranked] == sorted((share for _, share in answer.ranked), reverse=True)
    assert sum(share for _, share in answer.ranked) == pytest.approx(1)
    assert len(answer.lines()) == 3 and name in answer.lines()[0] and '%' in answer.lines()[0]


def test_an_adapted_candidate_is_ranked_and_said_to_have_changed(store, tmp_path):
    moved = source(0, 1, 9)[0] + 2.5 * np.eye(LENGTH)[5]
    answer = identify_file(saved(tmp_path, moved.astype(np.float32)), store.root)
    assert answer.ranked[0][0] == NAMES[0] and answer.changed and answer.lines()[-1] == CHANGED
    assert not identify_file(saved(tmp_path, CENTRES[0].astype(np.float32)), store.root).changed


def test_the_pool_is_asked_first_where_told(store, tmp_path):
    path = saved(tmp_path, source(1, 1, 9)[0])
    assert identify_file(path, store.root, pool=True).ranked[0][0] == 'pool-dense'


def test_a_stranger_is_none_of_these(store, tmp_path, capsys):
    stranger = saved(tmp_path, 4 * np.eye(LENGTH)[5] - CENTRES.sum(axis=0))
    assert identify_file(stranger, store.root).lines() == [NONE]
    run_identify(['--embedding', stranger, '--store', store.root])
    assert capsys.readouterr().out == f'{NONE}\n'


BAD = {
    'a NaN': (lambda p: np.save(p, np.array([np.nan] * LENGTH)), 'not finite'),
    'objects': (lambda p: np.save(p, np.array([{}], object), allow_pickle=True), 'pickle'),
    'a pickle': (lambda p: p.write_bytes(pickle.dumps([1.0, 2.0])), 'a pickle, which is never loaded'),
    'a picture': (lambda p: Image.fromarray(np.zeros((8, 8), np.uint8)).save(p, 'PNG'), 'a picture'),
    'a picture as an array': (lambda p: np.save(p, np.zeros((8, 8), np.uint8)), 'a picture or a table'),
    'another length': (lambda p: np.save(p, np.ones(7)), 'length 7, which no network of the study makes'),
    'no file': (lambda p: None, 'No such file'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_no_vector_of_these_networks_ends_in_one_line(store, tmp_path, capsys, name):
    write, fault = BAD[name]
    write(tmp_path / 'vector.npy')
    with pytest.raises(SystemExit) as end:
        run_identify(['--embedding', str(tmp_path / 'vector.npy'), '--store', store.root])
    said = capsys.readouterr()
    assert end.value.code == 2 and not said.out
    assert said.err.count('\n') == 1 and fault in said.err and str(tmp_path / 'vector.npy') in said.err


def test_a_store_without_a_study_is_refused(store, tmp_path):
    path = saved(tmp_path, np.ones(LENGTH))
    with pytest.raises(UserError, match='holds no finished study'):
        identify_file(path, str(tmp_path / 'empty'))
    with pytest.raises(UserError, match='--run nosuch: no such study'):
        identify_file(path, store.root, 'nosuch')
    assert not (tmp_path / 'empty').exists(), 'looking makes no folder'


@pytest.mark.parametrize('arguments, fault', [
    ([], '--embedding'), (['--embedding'], '--embedding'), (['--embedding', 'x.npy', '--nosuch'], '--nosuch'),
    (['--embedding', 'nosuch.npy'], 'nosuch.npy')])
def test_a_bad_command_line_ends_with_one_line_and_exit_2(arguments, fault, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / 'jobs/model_inference.py'), 'identify', *arguments], cwd=tmp_path,
                          capture_output=True, text=True, env={'PYTHONPATH': str(ROOT), 'PATH': ''})
    assert done.returncode == 2 and done.stderr.startswith('error: ') and fault in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout and not list(tmp_path.iterdir())
