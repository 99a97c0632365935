"""A pool embeds one set: the same vectors by any number of workers, what is done stays done, what fails is named."""

import gc
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from fpray.distributed.embed import RECORDS, Candidate, Tuning, embed_pool, read_records, read_vectors
from fpray.models.config import ExtractorConfig
from fpray.models.extractors import Extractor, build_extractor
from fpray.store import Stage, Store
from fpray.training.config import LoopConfig, RecognitionConfig
from fpray.training.loop import derive
from fpray.training.recognition import embed, save_extractor, settle

IMAGE = (16, 16)
ROWS = np.random.default_rng(1).permutation(50)[:37]  # no multiple of anything


def config(name: str, length: int = 12) -> ExtractorConfig:
    return ExtractorConfig(name, length=length, image=IMAGE, width=8)


POOL = [
    Candidate('plain', config('small-plain'), 1),
    Candidate('longer', config('small-plain', 20), 1),
    Candidate('broken', config('timm/no-such-network')),
    Candidate('dense', config('small-dense'), 2),
]


@pytest.fixture
def source(tmp_path) -> Path:
    np.save(tmp_path / 'pixels.npy', np.random.default_rng(0).integers(0, 256, (60, 1, *IMAGE), dtype=np.uint8))
    return tmp_path / 'pixels.npy'


def vectors_of(out: Path) -> dict[str, np.ndarray]:
    return {one['model']: read_vectors(out, one['length'], one['model']) for one in read_records(out) if not one['error']}


def test_the_vectors_are_the_networks(source, tmp_path):
    seen = []
    records = embed_pool(POOL, source, ROWS, tmp_path / 'out', workers=0, batch=8, seed=3,
                         progress=lambda *a: seen.append(a))
    assert [one['model'] for one in records] == ['plain', 'longer', 'broken', 'dense']
    assert seen == [(n, 4, 'models') for n in range(1, 5)]
    found = vectors_of(tmp_path / 'out')
    pixels = np.load(source)[ROWS]
    for candidate in (POOL[0], POOL[1], POOL[3]):
        network = build_extractor(candidate.config, derive(3, candidate.seed))
        assert np.array_equal(found[candidate.name], embed(network, pixels, 8))
    assert set(found) == {'plain', 'longer', 'dense'}
    broken = records[2]
    assert "no architecture 'no-such-network'" in broken['error'] and broken['images_per_s'] == 0
    plain = records[0]
    assert (plain['length'], plain['native'], plain['weights'], plain['tuned']) == (12, 32, 'random', 0)
    assert plain['parameters'] == sum(one.numel() for one in build_extractor(POOL[0].config).parameters())
    with pytest.raises(LookupError, match='broken'):
        read_vectors(tmp_path / 'out', 12, 'broken')


def test_one_row_group_a_network(source, tmp_path):
    embed_pool(POOL, source, ROWS, tmp_path / 'out', workers=0)
    with pq.ParquetFile(tmp_path / 'out' / 'length-12.parquet') as table:
        assert [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)] == [37, 37]
        second = table.read_row_group(1)
    assert second.column_names == ['model', 'row', 'vector']
    assert set(second['model'].to_pylist()) == {'dense'} and second['row'].to_pylist() == ROWS.tolist()
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'length-12.parquet', 'length-20.parquet', RECORDS}


def test_workers_give_the_same(ray, source, tmp_path):
    embed_pool(POOL, source, ROWS, tmp_path / 'alone', workers=0, batch=8)
    records = embed_pool(POOL, source, ROWS, tmp_path / 'many', workers=3, batch=8)
    assert [bool(one['error']) for one in records] == [False, False, True, False]
    alone, many = vectors_of(tmp_path / 'alone'), vectors_of(tmp_path / 'many')
    assert alone.keys() == many.keys() and all(np.array_equal(alone[name], many[name]) for name in alone)


class Stopped(Exception):
    pass


def test_what_is_done_stays_done(source, tmp_path):
    def stop(done: int, total: int, text: str) -> None:
        if done == 2:
            raise Stopped

    out = tmp_path / 'out'
    with pytest.raises(Stopped):
        embed_pool(POOL, source, ROWS, out, workers=0, progress=stop)
    before = read_records(out)
    assert [one['model'] for one in before] == ['plain', 'longer']
    seen = []
    records = embed_pool(POOL, source, ROWS, out, workers=0, progress=lambda *a: seen.append(a[0]))
    assert seen == [3, 4] and records[:2] == before  # taken as they are, their seconds too
    first = vectors_of(out)

    seen.clear()
    wider = [Candidate('new', config('small-separable'), 5), *POOL]
    embed_pool(wider, source, ROWS, out, workers=0, progress=lambda *a: seen.append(a[0]))
    assert seen == [4, 5]  # the new one, and the broken one is tried again
    assert all(np.array_equal(vectors_of(out)[name], first[name]) for name in first)

    records = embed_pool(wider, source, ROWS, out, workers=0, seed=1)
    assert not any(np.array_equal(vectors_of(out)[name], first[name]) for name in first)  # another seed: all anew
    assert records[1]['key'] != before[0]['key']


def test_a_dead_process_takes_one_network_with_it(ray, source, tmp_path):
    rows = np.tile(np.arange(60), 100)
    slow = Candidate('slow', ExtractorConfig('small-residual', length=12, image=IMAGE, width=48))
    killed = []

    def kill(done: int, total: int, text: str) -> None:
        if not killed:
            below = psutil.Process().children(recursive=True)
            for worker in [one for one in below if '_Worker.answer' in ' '.join(one.cmdline())][:1]:
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    pool = [POOL[2], slow]
    records = embed_pool(pool, source, rows, tmp_path / 'out', workers=1, progress=kill)
    assert killed and 'its process died' in records[1]['error'] and 'no architecture' in records[0]['error']
    again = embed_pool([slow, POOL[0]], source, ROWS, tmp_path / 'out', workers=1)
    assert not any(one['error'] for one in again)


def test_saved_networks_from_folders_and_stages(source, tmp_path):
    network = build_extractor(config('small-plain'), 8)
    settle(network, np.load(source))
    folder = tmp_path / 'saved'
    folder.mkdir()
    save_extractor(network, folder)
    store = Store(tmp_path / 'store')
    stage = Stage('candidate/a', 1, {}, {}, lambda context: save_extractor(network, context.out))
    store.execute(stage)
    pool = [Candidate('folder', network.config, weights=folder), Candidate('stage', network.config, 3, (store, stage.key))]
    records = embed_pool(pool, source, ROWS, tmp_path / 'out', workers=0)
    found = vectors_of(tmp_path / 'out')
    assert np.array_equal(found['folder'], embed(network, np.load(source)[ROWS]))
    assert np.array_equal(found['folder'], found['stage']) and records[0]['weights'] == 'saved'


def test_a_labelled_set_settles_and_trains(source, tmp_path):
    rows = np.setdiff1d(np.arange(60), ROWS)
    labels = np.arange(len(rows)) % 3
    found = {}
    for name, loop in (('none', None), ('trained', LoopConfig(images=48, batch=8))):
        tuning = Tuning(rows, labels, loop, RecognitionConfig(opening=((1.0, 0.0),)))
        records = embed_pool(POOL[:1], source, ROWS, tmp_path / name, workers=0, batch=8, tuning=tuning)
        found[name] = vectors_of(tmp_path / name)['plain']
        assert records[0]['tuned'] == (6 if loop else 0)
    settled = build_extractor(POOL[0].config, derive(0, 1))
    settle(settled, np.load(source)[rows], 8)
    pixels = np.load(source)[ROWS]
    assert np.array_equal(found['none'], embed(settled, pixels, 8))
    assert not np.allclose(found['trained'], found['none'])


def test_no_network_is_left_in_memory(source, tmp_path):
    def living() -> int:
        return sum(type(one) is Extractor for one in gc.get_objects())

    gc.collect()
    before, alive = living(), []
    embed_pool(POOL, source, ROWS, tmp_path / 'out', workers=0, progress=lambda *a: alive.append(living() - before))
    assert alive == [0, 0, 0, 0]


@pytest.mark.parametrize(('pool', 'rows', 'tuning', 'what'), [
    ([POOL[0], POOL[0]], ROWS, None, 'two candidates are called plain'),
    (POOL, ROWS[:0], None, 'no pictures'),
    (POOL, ROWS, Tuning(ROWS[:3], np.array([0, 1, 1])), 'shares pictures'),
    (POOL, ROWS[:3], Tuning(ROWS[3:5], np.array([0, 1]), LoopConfig(workers=2)), 'one worker'),
])
def test_what_is_no_pool(source, tmp_path, pool, rows, tuning, what):
    with pytest.raises(ValueError, match=what):
        embed_pool(pool, source, rows, tmp_path / 'out', workers=0, tuning=tuning)
