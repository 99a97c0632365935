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
from fpray.attacks.model_inference import calibrate, fit
from fpray.errors import UserError
from fpray.store import Context, Stage, Store
from fpray.studies.inference_identify import NONE, identify_file, read_vector, run_identify

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
        fitted = calibrate(fit('linear', learnt, labels, 3, 0, InferenceConfig()), held, labels)
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


def test_the_pool_is_asked_first_where_told(store, tmp_path):
    path = saved(tmp_path, source(1, 1, 9)[0])
    assert identify_file(path, store.root, pool=True).ranked[0][0] == 'pool-dense'


def test_a_stranger_is_none_of_these(store, tmp_path, capsys):
    stranger = saved(tmp_path, 4 * np.eye(LENGTH)[5] - 3 * np.eye(LENGTH)[6])
    assert identify_file(stranger, store.root).lines() == [NONE]
    run_identify(['--embedding', stranger, '--store', store.root])
    assert capsys.readouterr().out == f'{NONE}\n'


def test_a_row_of_one_and_whole_numbers_are_vectors(tmp_path):
    assert read_vector(saved(tmp_path, np.ones((1, 5), np.float16))).shape == (5,)
    assert read_vector(saved(tmp_path, np.arange(4))).tolist() == [0, 1, 2, 3]


def picture(path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


BAD = {
    'a NaN': (lambda p: np.save(p, np.array([1, np.nan, 2.0])), '1 of 3 values are not finite'),
    'an infinity': (lambda p: np.save(p, np.array([np.inf] * 3)), '3 of 3 values are not finite'),
    'objects': (lambda p: np.save(p, np.array([{}], object), allow_pickle=True), 'pickled objects, which are not read'),
    'a pickle': (lambda p: p.write_bytes(pickle.dumps([1.0, 2.0])), 'a pickle, which is not read'),
    'a picture': (picture, 'a picture, not a vector'),
    'a picture as an array': (lambda p: np.save(p, np.zeros((1, 8, 8), np.uint8)), 'a picture, an array of shape'),
    'a gray picture as an array': (lambda p: np.save(p, np.zeros((8, 8), np.uint8)), 'a picture, an array of shape'),
    'several vectors': (lambda p: np.save(p, np.zeros((3, 8))), 'not one vector'),
    'no numbers': (lambda p: np.save(p, np.array(['a', 'b'])), 'not one vector'),
    'nothing in it': (lambda p: np.save(p, np.zeros(0)), 'not one vector'),
    'one number': (lambda p: np.save(p, np.float64(3)), 'not one vector'),
    'an empty file': (lambda p: p.write_bytes(b''), 'no .npy file'),
    'text': (lambda p: p.write_text('0.1 0.2'), 'no .npy file'),
    'a cut-off file': (lambda p: p.write_bytes(b'\x93NUMPY\x01\x00'), 'damaged'),
    'an archive': (lambda p: np.savez(p.open('wb'), a=np.zeros(3)), 'archive of several arrays'),
    'too much': (lambda p: np.save(p, np.zeros(3_000_000)), 'more than one vector'),
    'no file': (lambda p: None, 'No such file'),
    'a folder': (lambda p: p.mkdir(), 'directory'),
}


@pytest.mark.parametrize('name', BAD)
def test_what_is_no_vector_is_refused_in_one_line(tmp_path, name):
    write, fault = BAD[name]
    path = tmp_path / ('vector.png' if name == 'a picture' else 'vector.npy')
    write(path)
    with pytest.raises(UserError, match=fault) as error:
        read_vector(str(path))
    assert '\n' not in str(error.value) and str(path) in str(error.value)


def test_a_picture_under_a_vectors_name_is_seen(tmp_path):
    picture(tmp_path / 'a.png')
    (tmp_path / 'a.png').rename(tmp_path / 'a.npy')
    with pytest.raises(UserError, match='a picture, not a vector'):
        read_vector(str(tmp_path / 'a.npy'))


def test_a_length_that_nobody_makes_is_named_with_those_that_are(store, tmp_path):
    with pytest.raises(UserError, match=f'length 7, which no network of the study makes; the lengths known are {LENGTH}'):
        identify_file(saved(tmp_path, np.ones(7)), store.root)


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
