"""The store: one key for one configuration, nothing published by halves, the same on a folder and on a bucket."""

import dataclasses
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpray import store as store_module
from fpray.errors import UserError
from fpray.store import (
    Context,
    Leases,
    Stage,
    Store,
    canonical,
    canonical_json,
    download,
    locate,
    parse_curves,
    upload,
    write_curves,
)


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 3
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    data: dict = dataclasses.field(default_factory=lambda: {'fingerprint': 'f' * 8})


def write_sum(context):
    total = context.config.seed + sum(int((p / 'sum').read_text()) for p in context.inputs.values())
    (context.out / 'deep').mkdir()
    (context.out / 'sum').write_text(str(total))
    (context.out / 'deep' / 'note').write_text(context.name)


def fail_after_a_checkpoint(context):
    (context.out / 'half').write_text('x')
    there = context.scratch / 'checkpoint'
    if there.exists():
        (context.out / 'whole').write_text(there.read_text())
        return
    there.write_text('resumed')
    context.keep(there)
    raise RuntimeError('killed')


def refuse(context):
    (context.scratch / 'x').write_text('x')
    raise UserError('a bad picture', 'remove it')


def stage(run=write_sum, name='data/a', version=1, inputs=None, **config):
    return Stage(name, version, Config(**config), inputs or {}, run)


@pytest.fixture(params=['folder', 'file', 'memory'])
def store(request, tmp_path):
    """The same store as a folder, and by two file systems that take a bucket's way."""
    root = {'folder': str(tmp_path / 'store'), 'file': f'file://{tmp_path}/store',
            'memory': f'memory://{uuid.uuid4().hex}'}[request.param]
    return Store(root, cache=tmp_path / 'cache')


# Keys

def test_the_canonical_form_is_one_a_value():
    assert canonical_json(Config()) == canonical_json(Config(sizes=[1, 2]))
    assert canonical_json({'b': 1.0, 'a': (True, None)}) == '{"a":[true,null],"b":1}'
    assert canonical_json(0.1 + 0.2) == '0.30000000000000004'
    assert canonical_json('Fréchet') == '"Fréchet"'


numbers = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(st.none() | numbers | st.text(),
                     lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(plain)
def test_the_canonical_form_survives_json(value):
    """What config.json holds has the key of what was run."""
    assert canonical_json(json.loads(json.dumps(canonical(value)))) == canonical_json(value)


@pytest.mark.parametrize('value', [{'a': Path('x')}, {'a': {1}}, [math.nan], (math.inf,), {1: 2}, object(), b'x', Config])
def test_what_has_no_faithful_encoding_is_refused(value):
    with pytest.raises(TypeError, match='config'):
        canonical(value)


def test_a_key_hangs_on_what_numbers_depend_on_and_nothing_else():
    key = stage().key
    assert len(key) == 20 and int(key, 16)
    assert key == stage(name='data/b').key == dataclasses.replace(stage(), weight=9).key
    others = [stage(name='victim/a'), stage(version=2), stage(seed=4), stage(inputs={'x': stage()}),
              stage(inputs={'y': stage()}), stage(inputs={'x': stage(seed=4)})]
    assert len({key, *(s.key for s in others)}) == 7


def test_keys_are_the_same_in_another_process():
    code = 'from fpray.store import Stage; print(Stage("a/b", 1, {"x": (1, 2.5)}, {}, print).key)'
    lines = {subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True,
                            env={**os.environ, 'PYTHONHASHSEED': str(i)}).stdout for i in (1, 2)}
    assert lines == {Stage('a', 1, {'x': [1, 2.5]}, {}, print).key + '\n'}


# Publishing

def test_results_manifest_and_checksums(store):
    first, second = stage(), stage(name='victim', seed=5, inputs={'data': stage()})
    assert not store.has(second) and store.verify() == []
    with pytest.raises(LookupError, match='victim'):
        store.folder(second)
    store.execute(first)
    folder = store.execute(second)
    assert store.has(second) and store.folder(second) == folder
    assert (folder / 'sum').read_text() == '8' and (folder / 'deep' / 'note').read_text() == 'victim'
    assert json.loads((folder / 'config.json').read_text()) == canonical(second.config)
    manifest = store.manifest(second)
    assert manifest['files'].keys() == {'config.json', 'sum', 'deep/note'}
    assert manifest['inputs'] == {'data': first.key} and manifest['seed'] == 5
    assert manifest['fingerprint'] == 'f' * 8 and manifest['packages']['numpy']
    assert {m['name'] for m in store.published()} == {'data/a', 'victim'}
    assert store.verify() == [] and store.read_text(second, 'sum') == '8'
    assert store.read_text(second, 'none') is None


def test_a_changed_file_is_found(store):
    store.execute(stage())
    attempt = store._find(stage().key)
    store._write(f'{stage().key}/{attempt}/sum', '9')
    assert len(store.verify(stage())) == 1 and 'checksum' in store.verify(stage())[0]
    store._remove(f'{stage().key}/{attempt}/sum')
    assert 'missing' in store.verify()[0]


def test_a_damaged_bucket_is_no_input(tmp_path):
    bucket = Store(f'file://{tmp_path}/store', cache=tmp_path / 'cache')
    bucket.execute(stage())
    elsewhere = Store(bucket.root, cache=tmp_path / 'other')
    bucket._write(f'{stage().key}/{bucket._find(stage().key)}/sum', '9')
    with pytest.raises(UserError, match='damaged'):
        elsewhere.folder(stage())
    assert not list((tmp_path / 'other').rglob('sum'))


def test_without_a_manifest_it_is_not_there_and_scratch_is(store):
    broken = stage(fail_after_a_checkpoint)
    with pytest.raises(RuntimeError, match='killed'):
        store.execute(broken)
    assert not store.has(broken)
    store._write(f'{broken.key}/attempt-0/half', 'left by a kill')  # sorts before every real attempt
    assert not store.has(broken)
    elsewhere = Store(store.root, cache=store.cache / 'another machine')
    folder = elsewhere.execute(broken)
    assert (folder / 'whole').read_text() == 'resumed'
    assert store.has(broken) and not store._children('train')
    assert [n for n in store._children(broken.key) if n.startswith('attempt-')] == [store._find(broken.key)]


def test_a_bucket_is_cached_where_it_is_asked(tmp_path, monkeypatch):
    """A context and its places travel: on another machine they name that machine's folders."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'here'))
    store, first = Store(f'file://{tmp_path}/bucket'), stage()
    folder, key = store.execute(first), first.key
    context = Context('b', 'b0', {}, {'a': folder}, tmp_path, store.scratch('b0'), scratch_uri=store.scratch_uri('b0'),
                      store=store, input_keys={'a': key})
    sent = pickle.dumps((context.within('part'), context.place('a')))
    shutil.rmtree(tmp_path / 'here')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'there'))
    part, place = pickle.loads(sent)
    here = part.here()
    assert (locate(place) / 'sum').read_text() == (here.inputs['a'] / 'sum').read_text() == '3'
    assert all((tmp_path / 'there') in path.parents for path in (locate(place), here.inputs['a'], here.scratch))
    assert here.scratch == here.store.scratch('b0') / 'part' and not (tmp_path / 'here').exists()
    plain = Context('b', 'b0', {}, {'a': folder}, tmp_path, tmp_path, store=Store(tmp_path), input_keys={'a': key})
    assert locate(plain.place('a')) == folder, 'a folder is the same everywhere'


def test_a_users_error_leaves_nothing(store, tmp_path):
    with pytest.raises(UserError, match='a bad picture; remove it'):
        store.execute(stage(refuse))
    assert not [p for p in tmp_path.rglob('*') if p.is_file()] and store._children('train') == []


def test_the_first_of_two_attempts_is_read(tmp_path):
    folder = Store(tmp_path)
    first = folder.execute(stage())
    assert folder.execute(stage()) == first and folder.folder(stage()) == first


def test_a_done_stage_is_recognised_in_milliseconds(tmp_path):
    folder = Store(tmp_path)
    for seed in range(20):
        folder.execute(stage(seed=seed))
    many = [stage(seed=seed) for seed in range(20)]
    start = time.perf_counter()
    assert all(folder.has(s) for s in many)
    assert (time.perf_counter() - start) / 20 < 0.01


def test_making_a_store_touches_nothing(tmp_path):
    assert not Store(tmp_path / 'new').has('k' * 20) and not (tmp_path / 'new').exists()


def test_curves_and_copies(tmp_path):
    rows = [{'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 0.25}]
    write_curves(tmp_path, rows)
    assert parse_curves((tmp_path / 'curves.jsonl').read_text()) == rows
    uri = f'memory://{uuid.uuid4().hex}'
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'a' / 'b' / 'c').write_text('1')
    upload(tmp_path, uri, [tmp_path / 'a' / 'b' / 'c'])
    download(uri, tmp_path / 'copy')
    assert (tmp_path / 'copy' / 'a' / 'b' / 'c').read_text() == '1'
    download(f'{uri}/none', tmp_path / 'copy')


# Leases

def test_a_key_has_one_driver(store):
    with Leases(store) as mine, Leases(store) as his:
        assert mine.take('k') and mine.take('k')
        assert not his.take('k') and his.take('l')
        mine.release('k')
        assert his.take('k') and not mine.take('k')
        mine.release('k')  # not mine: stays his
        assert his.holder('k')['owner'] == his.owner
    assert mine.holder('k') is None


def test_a_lease_is_kept_fresh_and_goes_stale(tmp_path):
    folder = Store(tmp_path)
    with Leases(folder, stale=0.4) as mine, Leases(folder, stale=0.4) as his:
        assert mine.take('k')
        time.sleep(0.8)
        assert not his.take('k')
        mine._end.set()  # the driver hangs
        time.sleep(0.8)
        assert his.take('k')


def test_a_dead_drivers_lease_is_free_at_once(tmp_path):
    code = ('import os, signal, sys; from fpray.store import Leases, Store; '
            'assert Leases(Store(sys.argv[1])).take("k"); os.kill(os.getpid(), signal.SIGKILL)')
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=False)
    folder = Store(tmp_path)
    with Leases(folder) as mine:
        assert mine.holder('k')['owner'] != mine.owner
        assert mine.take('k')


def test_a_lease_cut_off_while_written_is_held_until_stale(tmp_path):
    (tmp_path / 'k').mkdir()
    (tmp_path / 'k' / 'lease.json').write_text('{"own')
    with Leases(Store(tmp_path)) as mine:
        assert not mine.take('k')
        os.utime(tmp_path / 'k' / 'lease.json', (0, 0))
        assert mine.take('k')


@pytest.mark.parametrize('left', [False, True], ids=['free', 'left by the dead'])
def test_processes_racing_for_keys_never_share_one(tmp_path, left):
    for i in range(40 if left else 0):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / 'lease.json').write_text('{"owner": "dead", "time": 0}')
    code = ('import sys, time; from fpray.store import Leases, Store\n'
            'with Leases(Store(sys.argv[1])) as l:\n'
            '    time.sleep(max(0, float(sys.argv[2]) - time.time()))\n'
            '    print([k for k in map(str, range(40)) if l.take(k)], flush=True)\n'
            '    sys.stdin.read()')
    at = str(time.time() + 1.5)
    runs = [subprocess.Popen([sys.executable, '-c', code, str(tmp_path), at], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE) for _ in range(3)]
    took = [json.loads(run.stdout.readline().replace("'", '"')) for run in runs]
    for run in runs:
        run.communicate()
    assert sorted((key for keys in took for key in keys), key=int) == [str(i) for i in range(40)]


def test_the_commit_is_told_or_found(monkeypatch):
    monkeypatch.setenv('FPRAY_GIT_COMMIT', 'abc')
    store_module.git_commit.cache_clear()
    assert store_module.git_commit() == 'abc'
    store_module.git_commit.cache_clear()
