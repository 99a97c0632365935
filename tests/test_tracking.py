"""MLflow holds what the store holds, live or afterwards, and its absence stops nobody."""

import json
import logging
import shlex
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fpray.errors import UserError
from fpray.store import Event, Stage, Store, git_commit, write_curves
from fpray.tracking import NOTE, PARENT, VIEW, Tracker, backfill, flatten, ui_command

CONFIG = {'seed': 3, 'victim': {'gan': {'rate': 0.5}, 'sizes': [10, 20]}, 'long': 'x' * 900}


def train(context):
    write_curves(context.out, [{'step': s, 'loss': 1 / s, 'inception_score': 1.5} for s in (64, 128)])


def find(context):
    rows = [{'number': n, 'params': {'width': 8 * n}, 'value': None if n == 2 else 0.1 * n, 'images': 128,
             'state': ('complete', 'pruned', 'failed')[n], 'seconds': 1.5, 'extra': {'auc': 0.5}} for n in range(3)]
    (context.out / 'trials.json').write_text(json.dumps({'trials': rows}))
    (context.out / 'trials' / '001').mkdir(parents=True)
    write_curves(context.out / 'trials' / '001', [{'step': 64, 'loss': 0.25}])
    (context.out / 'best').mkdir()
    write_curves(context.out / 'best', [{'step': 64, 'loss': 0.125}])


def stages():
    victim = Stage('victim/10', 1, {'people': 10, 'seed': 3}, {}, train)
    return [victim, Stage('search/10', 1, {'trials': 3}, {'victim': victim}, find)]


def track(store, key, **more):
    return Tracker.open(store, study='mia', name='audit', config=CONFIG, tags={'key': key, 'preset': 'smoke'}, **more)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """A store with a finished study, recorded live; one file for the module because MLflow takes seconds to make its
    tables."""
    store = Store(tmp_path_factory.mktemp('store'))
    tracker = track(store, 'k1')
    for stage in stages():
        tracker.on_event(Event('start', stage))
        store.execute(stage)
    tracker.on_event(Event('metrics', stages()[0], step=64, values={'loss': 1 / 64, 'inception_score': 1.5}))
    tracker.on_event(Event('metrics', stages()[1], step=64, values={'loss': 0.25}, trial=1))
    for stage in stages():
        tracker.on_event(Event('done', stage, 2.5))
    tracker.on_event(Event('metrics', stages()[0], step=128, values={'loss': 1 / 128}))  # comes late
    report = Path(store.root) / 'reports' / 'k1'
    (report / 'figures').mkdir(parents=True)
    for name in ('report.html', 'figures/roc.png'):
        (report / name).write_text('<p>')
    tracker.finish({'auc': 0.75, 'nothing': float('nan')}, report, 'No leak was found.')
    assert not tracker.away
    return store, tracker


def told(client, tracker):
    """All that the study's runs hold: {(name, trial): (params, {metric: [(step, value)]}, tags, status)}."""
    found = {}
    for run in client.search_runs([tracker.experiment_id]):
        metrics = {name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                   for name in run.data.metrics}
        tags = {k: v for k, v in run.data.tags.items() if k.startswith('fpray.')}
        above = run.data.tags.get(PARENT)
        if tracker.run_id in (run.info.run_id, above, above and client.get_run(above).data.tags.get(PARENT)):
            found[run.info.run_name, above and client.get_run(above).info.run_name] = (
                run.data.params, metrics, tags, run.info.status)
    return found


def test_a_study_its_stages_and_its_trials(made):
    _, tracker = made
    runs = told(MlflowClient(tracker.uri), tracker)
    assert set(runs) == {('audit', None), ('victim/10', 'audit'), ('search/10', 'audit'),
                         *((f'trial {n}', 'search/10') for n in range(3))}
    assert {run[3] for run in runs.values()} == {'FINISHED'}
    params, metrics, _, _ = runs['audit', None]
    assert params['victim.gan.rate'] == '0.5' and params['victim.sizes'] == '[10, 20]' and len(params['long']) == 500
    assert metrics == {'auc': [(0, 0.75)]}
    _, metrics, tags, _ = runs['victim/10', 'audit']
    assert metrics['loss'] == [(64, 1 / 64), (128, 1 / 128)]  # live, from the store and late: each once
    assert metrics['inception_score'] == [(64, 1.5), (128, 1.5)] and tags['fpray.seed'] == '3'
    assert runs['search/10', 'audit'][1]['best/loss'] == [(64, 0.125)]
    params, metrics, tags, _ = runs['trial 1', 'search/10']
    assert params == {'width': '8'} and tags['fpray.state'] == 'pruned'
    assert metrics['loss'] == [(64, 0.25)] and metrics['value'] == [(128, 0.1)] and metrics['auc'] == [(128, 0.5)]
    assert 'value' not in runs['trial 2', 'search/10'][1]


def test_artifacts_lie_under_the_store(made):
    store, tracker = made
    client = MlflowClient(tracker.uri)
    assert [a.path for a in client.list_artifacts(tracker.run_id)] == ['figures', 'report.html']
    assert len(list(Path(store.root, 'mlflow').rglob('roc.png'))) == 1
    assert client.get_run(tracker.run_id).data.tags['fpray.preset'] == 'smoke'


def test_the_pages_say_what_was_found_and_by_which_code(made):
    _, tracker = made
    tags = MlflowClient(tracker.uri).get_run(tracker.run_id).data.tags
    assert tags[NOTE] == 'No leak was found.' and tags.get('fpray.git') == git_commit()


def test_backfill_gives_what_was_recorded_live(made):
    store, tracker = made
    later = backfill(store.root, stages(), study='mia', name='audit', config=CONFIG, tags={'key': 'k1'})
    client = MlflowClient(tracker.uri)
    live, filled = told(client, tracker), told(client, later)
    assert later.run_id != tracker.run_id and live.keys() == filled.keys()
    for name in live:
        if name != ('audit', None):
            assert live[name][:2] == filled[name][:2] and filled[name][3] == 'FINISHED'
    assert filled['victim/10', 'audit'][2]['fpray.cached'] == 'true'


def test_a_killed_study_goes_on_in_its_run(made):
    store, _ = made
    first = track(store, 'k2')
    first.on_event(Event('start', stages()[0]))
    first.on_event(Event('metrics', stages()[0], step=64, values={'loss': 1 / 64}))
    first._flush()
    with pytest.raises(ZeroDivisionError), track(store, 'k2') as again:  # the first was killed and closed nothing
        again.on_event(Event('done', stages()[0], 1.0))
        again.on_event(Event('start', stages()[1]))
        again.on_event(Event('failed', stages()[1], text='out of luck'))
        raise ZeroDivisionError
    assert again.run_id == first.run_id
    runs = told(MlflowClient(again.uri), again)
    assert runs['victim/10', 'audit'][1]['loss'] == [(64, 1 / 64), (128, 1 / 128)]
    assert runs['search/10', 'audit'][2]['fpray.error'] == 'out of luck'
    assert {k[0]: v[3] for k, v in runs.items()} == {'audit': 'FAILED', 'victim/10': 'FINISHED', 'search/10': 'FAILED'}


def test_what_fails_at_once_leaves_no_trace(tmp_path):
    with pytest.raises(UserError), track(tmp_path, 'k') as tracker:
        tracker.on_event(Event('start', stages()[0]))
        tracker.on_event(Event('failed', stages()[0], text='no picture'))
        raise UserError('no picture')
    with track(tmp_path, 'k', enabled=False) as tracker:
        tracker.on_event(Event('done', stages()[0]))
        tracker.finish({'auc': 0.5})
    assert tracker.ui_command() == '' and not list(tmp_path.iterdir())


def test_a_server_that_is_away_is_one_warning(made, monkeypatch, caplog):
    store, _ = made
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://127.0.0.1:9')
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, 'fpray.tracking'), track(store, 'k3') as tracker:
        tracker.on_event(Event('hit', stages()[0]))
        tracker.on_event(Event('hit', stages()[1]))
        tracker.finish({'auc': 0.5}, Path(store.root) / 'reports')
    assert time.monotonic() - start < 15
    assert tracker.away and tracker.ui_command() == ''
    assert len([r for r in caplog.records if 'is away' in r.message]) == 1


def test_the_command_that_opens_the_ui(made):
    _, tracker = made
    words = shlex.split(tracker.ui_command(), comments=True)
    assert words[0].endswith('mlflow') and words[1:4] == ['ui', '--backend-store-uri', tracker.uri]
    assert f'runs/{tracker.run_id}' in tracker.ui_command()
    page = f'https://mlflow.example/#/experiments/4/runs/abc{VIEW}'
    assert ui_command('https://mlflow.example', '4', 'abc') == page


def test_parameters_are_flat_and_of_allowed_names():
    assert flatten({'a': {'b': [1, 2.0]}, 'c (px)': None, 'd': {}}) == {'a.b': '[1, 2]', 'c _px_': 'null', 'd': '{}'}
