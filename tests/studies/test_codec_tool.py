"""The codec as a tool: folders to files and back, training by the loop of all families, bad input in one line."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data.images import decode as read
from fpray.data.synthetic import generate
from fpray.errors import UserError
from fpray.models.codec import build_codec
from fpray.models.config import CodecConfig
from fpray.studies import codec_tasks
from fpray.studies.codec_tool import Train, run_command
from fpray.training.config import LoopConfig, RateDistortionConfig
from fpray.training.rate_distortion import codec_key, load_codec, measure, save_codec

ROOT = Path(__file__).resolve().parents[2]
SIZES = {'a.png': (64, 64), 'deep/b.bmp': (70, 45), 'deep/c.tif': (20, 130)}


@pytest.fixture(scope='module')
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('model')
    save_codec(build_codec(CodecConfig(n=8, m=12), seed=1), folder)
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        path = tmp_path / 'pictures' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return tmp_path / 'pictures'


def run(*arguments: object) -> str:
    return run_command([str(argument) for argument in arguments], 'a tool')


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def test_a_folder_comes_back(model, folder, tmp_path):
    """Every file under its name; the pictures are the codec's reconstructions, rounded."""
    said = run('compress', '--model', model, '--input', folder, '--output', tmp_path / 'files')
    assert said.startswith('3 pictures compressed')
    assert files(tmp_path / 'files') == {'a.fpc', 'deep/b.fpc', 'deep/c.fpc'}
    run('decompress', '--model', model, '--input', tmp_path / 'files', '--output', tmp_path / 'again')
    assert files(tmp_path / 'again') == {'a.png', 'deep/b.png', 'deep/c.png'}
    for name in SIZES:
        picture, again = read(folder / name), read((tmp_path / 'again' / name).with_suffix('.png'))
        expected = measure(load_codec(model), picture[None]).reconstructions[0]
        assert np.abs(again - expected).max() <= 0.501


def test_gray_saved_as_colour_is_gray(model, folder, tmp_path):
    Image.open(folder / 'a.png').convert('RGB').save(folder / 'd.png')
    run('compress', '--model', model, '--input', folder, '--output', tmp_path / 'files')
    assert (tmp_path / 'files/d.fpc').read_bytes() == (tmp_path / 'files/a.fpc').read_bytes()


def colour(folder):
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / 'z.png')


def deep(folder):
    Image.fromarray(np.full((64, 64), 40_000, dtype=np.uint16)).save(folder / 'z.png')


def clear(folder):
    Image.fromarray(np.full((64, 64, 4), 100, dtype=np.uint8)).save(folder / 'z.png')


def broken(folder):
    (folder / 'z.png').write_bytes((folder / 'a.png').read_bytes()[:200])


def twice(folder):
    Image.open(folder / 'a.png').save(folder / 'a.bmp')


@pytest.mark.parametrize(('spoil', 'part'), [
    (colour, 'z.png is in colour, the model compresses pictures gray'), (deep, '16 bits'), (clear, 'alpha'),
    (broken, 'z.png is not a readable picture'), (twice, 'would both become'),
])
def test_bad_pictures_leave_nothing(model, folder, tmp_path, spoil, part):
    spoil(folder)
    with pytest.raises(UserError, match=part):
        run('compress', '--model', model, '--input', folder, '--output', tmp_path / 'files')
    assert not (tmp_path / 'files').exists()


def test_bad_files_leave_nothing(model, folder, tmp_path):
    target, again = tmp_path / 'files', tmp_path / 'again'
    run('compress', '--model', model, '--input', folder, '--output', target)
    with pytest.raises(UserError, match='exists'):
        run('compress', '--model', model, '--input', folder, '--output', target)
    (tmp_path / 'other').mkdir()
    save_codec(build_codec(CodecConfig(n=8, m=12), seed=2), tmp_path / 'other')
    with pytest.raises(UserError, match=f'another model, {codec_key(model)}'):
        run('decompress', '--model', tmp_path / 'other', '--input', target, '--output', again)
    whole = (target / 'deep/c.fpc').read_bytes()
    for spoiled, part in ((whole[:-3], 'c.fpc is truncated'), (whole[:40] + b'?' + whole[41:], 'c.fpc is damaged'),
                          (b'PNG', 'c.fpc is no file')):
        (target / 'deep/c.fpc').write_bytes(spoiled)
        with pytest.raises(UserError, match=part):
            run('decompress', '--model', model, '--input', target, '--output', again)
    assert not again.exists()


def test_a_missing_model_is_said(folder, tmp_path):
    with pytest.raises(UserError, match='holds no codec'):
        run('compress', '--model', tmp_path / 'none', '--input', folder, '--output', tmp_path / 'files')


@pytest.mark.parametrize(('arguments', 'part'), [
    (['compress', '--model', 'none', '--input', 'x', '--output', 'y'], '--input x is no folder'),
    (['compress', '--input', 'x', '--output', 'y'], '--model'),
    (['shrink'], 'shrink'),
    (['train', '--out', 'm', '--lmbda', '0'], 'lmbda'),
    (['train', '--out', 'm', '--people', '0'], 'people'),
])
def test_bad_commands_are_refused_in_one_line(arguments, part):
    with pytest.raises(UserError, match=part) as fault:
        run(*arguments)
    assert '\n' not in str(fault.value)


def small(out: Path, data: Path) -> list[str]:
    return ['train', '--out', str(out), '--data.root', str(data), '--codec.n', '8', '--codec.m', '12', '--loop.images',
            '48', '--loop.batch', '4', '--loop.snapshot-every', '16', '--seed', '3']


@pytest.fixture(scope='module')
def prints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('prints')
    pixels, records = generate(1, range(4), 1, 3, 64)
    for picture, record in zip(pixels, records, strict=True):
        path = folder / record['identity'].replace('/', '-') / f'{record["impression"]}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture[0]).save(path)
    return folder


def test_training_writes_a_codec_and_nothing_else(prints, tmp_path):
    said = run(*small(tmp_path / 'model', prints))
    assert 'trained on 12 pictures' in said
    assert {path.name for path in tmp_path.iterdir()} == {'model'}
    assert files(tmp_path / 'model') == {'codec.json', 'codec.pt', 'curves.jsonl'}
    assert load_codec(tmp_path / 'model').config == CodecConfig(n=8, m=12)
    with pytest.raises(UserError, match='exists'):
        run(*small(tmp_path / 'model', prints))


def test_a_killed_training_goes_on_to_the_same_codec(prints, tmp_path, monkeypatch):
    run(*small(tmp_path / 'whole', prints))

    class Killed(codec_tasks.CodecWatch):
        def __call__(self, progress):
            if progress.images_seen > 32:
                raise KeyboardInterrupt
            return False

    monkeypatch.setattr('fpray.distributed.train.CHECKPOINT_S', 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(codec_tasks, 'CodecWatch', Killed)
        with pytest.raises(KeyboardInterrupt):
            run(*small(tmp_path / 'model', prints))
    assert not (tmp_path / 'model').exists()
    run(*small(tmp_path / 'model', prints))
    assert codec_key(tmp_path / 'model') == codec_key(tmp_path / 'whole')


def test_colour_pictures_for_a_gray_codec_are_refused(prints, tmp_path):
    with pytest.raises(UserError, match=r'codec\.channels 1'):
        run(*small(tmp_path / 'model', prints), '--codec.channels', '3')
    assert list(tmp_path.iterdir()) == []


def test_training_options_have_their_defaults():
    assert Train('m') == Train('m', RateDistortionConfig(), loop=LoopConfig(batch=16, snapshot_every=1_600))


def test_help_imports_no_heavy_library():
    """`--help` answers at once: no torch, no Ray, no CompressAI."""
    code = ('import sys; sys.argv = ["codec.py", "--help"]\n'
            'import runpy\ntry:\n    runpy.run_path("jobs/codec.py", run_name="__main__")\nexcept SystemExit as end:\n'
            '    assert end.code == 0\nassert not {"torch", "ray", "compressai", "mlflow"} & set(sys.modules)')
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'decompress' in done.stdout and time.perf_counter() - start < 30


def test_the_job_says_bad_input_in_one_line_and_exits_with_2(tmp_path):
    done = subprocess.run([sys.executable, 'jobs/codec.py', 'compress', '--model', str(tmp_path), '--input', 'x',
                           '--output', 'y'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.count('\n') == 1 and done.stderr.startswith('error: ')


def test_two_folders_of_prints_are_compared(ray, tmp_path):
    pixels, records = generate(3, range(4), 1, 2, 64)
    for name, change in (('before', 0), ('after', 3)):
        (tmp_path / name).mkdir()
        for picture, record in zip(pixels, records, strict=True):
            shown = np.clip(picture[0].astype(int) + change, 0, 255).astype(np.uint8)
            file = f'{int(record["subject"]) + 1}_{int(record["impression"]) + 1}.png'
            Image.fromarray(shown).save(tmp_path / name / file)
    command = ['fidelity', '--before', str(tmp_path / 'before'), '--after', str(tmp_path / 'after'), '--dpi', '0',
               '--out', str(tmp_path / 'found.json')]
    assert '8 prints before, 8 after' in run_command(command, '')
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['images'] == 8 and abs(found['ridge_frequency']['change']['estimate']) < 0.01
    assert 'not_available' in found['minutiae'], 'the resolution is unknown'
    with pytest.raises(UserError, match='exist'):
        run_command(command, '')
    (tmp_path / 'after' / '2_1.png').unlink()
    with pytest.raises(UserError, match='2_1'):
        run_command([*command[:-1], str(tmp_path / 'other.json')], '')
    assert not (tmp_path / 'other.json').exists()
