"""Training by Ray Train and a search, as stages of a plan whose store is a bucket (by a file system that takes its way)."""

import json
import shutil

import pytest

from fpray.distributed.plan import run_plan
from fpray.distributed.search import Float, Outcome, SearchConfig, search
from fpray.distributed.train import fit
from fpray.store import Resources, Stage, Store
from tests.distributed.test_train import LOOP, LineTask

NOTHING = Resources(cpus=0)


def train_stage(context):
    fit(LineTask(), LOOP, 5, context, trainer=True)


def trial(context, params, budget):
    assert (context.inputs['victim'] / 'weights.npy').exists()
    fitted = fit(LineTask(), type(LOOP)(**{**vars(LOOP), 'images': budget}), 5, context)
    return Outcome(params['x'] + fitted.metrics['fit'], fitted.images_seen)


def search_stage(context):
    found = search({'x': Float(0, 1)}, trial, SearchConfig(trials=2, rounds=1), LOOP.images, context)
    found.save(context.out)
    (context.out / 'weights.npy').write_bytes((found.folder / 'weights.npy').read_bytes())


@pytest.mark.slow
def test_a_plan_in_a_bucket(ray, tmp_path):
    victim = Stage('victim/2', 1, {'seed': 5}, {}, train_stage, NOTHING)
    hunt = Stage('search', 1, {'seed': 0}, {'victim': victim}, search_stage, NOTHING)
    store, events = Store(f'file://{tmp_path}/bucket', cache=tmp_path / 'cache'), []
    run_plan([victim, hunt], store, on_event=events.append, show=False)

    elsewhere = Store(store.root, cache=tmp_path / 'elsewhere')
    weights = [(elsewhere.folder(s) / 'weights.npy').read_bytes() for s in (victim, hunt)]
    assert weights[0] == weights[1]  # the same training by Ray Train and in a trial, the latter in two pieces
    table = json.loads(elsewhere.read_text(hunt, 'trials.json'))
    assert [t['state'] for t in table['trials']].count('pruned') == 1
    told = {(e.stage.name, e.trial) for e in events if e.kind == 'metrics'}
    assert told == {('victim/2', None), ('search', 0), ('search', 1)}
    assert store.verify() == [] and not list((tmp_path / 'bucket').glob('train/*'))


@pytest.mark.slow
def test_the_stages_machine_and_the_workers_share_no_folder_but_the_bucket(ray, tmp_path, monkeypatch):
    """The stages run in this process, whose cache is another than that of Ray's workers, as on two machines."""
    victim = Stage('victim/2', 1, {'seed': 5}, {}, train_stage, NOTHING)
    hunt = Stage('search', 1, {'seed': 0}, {'victim': victim}, search_stage, NOTHING)
    store = Store(f'file://{tmp_path}/bucket')
    workers = store.cache  # they were started before this process takes another
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'here'))
    try:
        folders = [store.execute(stage) for stage in (victim, hunt)]
        assert (workers / victim.key).exists() and tmp_path in store.cache.parents, 'two caches'
        assert (folders[0] / 'weights.npy').read_bytes() == (folders[1] / 'weights.npy').read_bytes()
        trials = json.loads((folders[1] / 'trials.json').read_text())['trials']
        assert all((folders[1] / 'trials' / f'{t["number"]:03d}' / 'curves.jsonl').exists() for t in trials)
    finally:
        shutil.rmtree(workers, ignore_errors=True)
