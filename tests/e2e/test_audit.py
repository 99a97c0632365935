"""Whole audits on real Ray and real MLflow: from pictures to a report, again without training, from folders, after kills."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data.config import DataConfig
from fpray.data.synthetic import generate
from fpray.distributed.plan import order
from fpray.reports.results import load
from fpray.store import Store
from fpray.studies.config import AuditConfig, GeneratorQueryConfig, Settings, smoke
from fpray.studies.generator import GENERATOR, audit_generator
from fpray.studies.run import dry_run, prepare, run

ROOT = Path(__file__).parents[2]
REAL = os.environ.get('FPRAY_TEST_DATA', '')
real = pytest.mark.skipif(not REAL, reason='FPRAY_TEST_DATA is unset')
pytestmark = pytest.mark.timeout(1_200)  # a busy machine takes minutes for a whole audit


def tiny() -> AuditConfig:
    """Smoke with one size and one shadow: the path, not the numbers."""
    config = smoke()
    return replace(config, seed=3, split=replace(config.split, sizes=(10,)), shadow=replace(config.shadow, count=1),
                   search=replace(config.search, mode='off'))


def write_people(folder: Path, people: range, size: int = 48) -> None:
    pixels, records = generate(11, list(people), 1, 4, size)
    folder.mkdir(parents=True)
    for picture, record in zip(pixels, records, strict=True):
        Image.fromarray(picture[0]).save(folder / f'{int(record["subject"]) + 1}_{int(record["impression"]) + 1}.png')


@pytest.fixture(scope='module')
def finished(ray, tmp_path_factory):
    """One smoke audit of the stand-in, with its search, shared by the tests that look at it."""
    store = tmp_path_factory.mktemp('audit') / 'store'
    config = replace(smoke(), seed=3)
    outcome = run(GENERATOR, config, Settings(store=str(store)), preset='smoke', show=False)
    return config, store, outcome


def test_an_audit_ends_with_verdict_report_and_results(finished):
    config, _, outcome = finished
    assert outcome.verdict.startswith(('Found', 'Not found', 'Cannot say'))
    results = load(outcome.results)
    assert results['seed'] == 3 and results['config']['split']['headline'] == config.split.headline
    assert {row['people'] for row in results['sweep']} == set(config.split.sizes)
    assert results['search']['mode'] == 'rounds' and len(results['search']['trials']) == config.search.trials
    assert sum(trial['state'] == 'pruned' for trial in results['search']['trials']) == 1
    assert len(results['shadows']['aucs']) == config.shadow.count
    assert all('auc' in results['controls'][name] for name in ('placebo', 'rehearsal', 'pictures_alone'))
    page = outcome.report.read_text()
    assert 'synthetic stand-in' in page and '://' not in page and outcome.verdict.split(',')[0] in page


def test_what_the_store_holds_is_not_run_again(finished):
    config, store, outcome = finished
    before = {path: path.stat().st_mtime_ns for path in store.rglob('manifest.json')}
    begun = time.monotonic()
    again = run(GENERATOR, config, Settings(store=str(store), mlflow=False, actors=1), preset='smoke', show=False)
    assert time.monotonic() - begun < 10
    assert before == {path: path.stat().st_mtime_ns for path in store.rglob('manifest.json')}
    first, second = (json.loads(path.read_text()) for path in (outcome.results, again.results))
    assert first['primary'] == second['primary'] and all(stage['cached'] for stage in second['timing']['stages'])


def test_the_dry_run_prints_the_plan(finished):
    config, store, _ = finished
    laid, settings = prepare(GENERATOR, config, Settings(store=str(store)))
    text = dry_run(GENERATOR, laid, settings)
    assert text.count('  done ') == len(order([laid.numbers])) and laid.hash in text and 'parameters' in text
    other = dry_run(GENERATOR, *prepare(GENERATOR, replace(config, seed=4), Settings(store=str(store))))
    assert '  to do' in other and '  done ' not in other


def test_mlflow_holds_the_study_with_a_run_a_stage_and_a_trial(finished):
    from mlflow.tracking import MlflowClient

    config, store, outcome = finished
    client = MlflowClient(f'sqlite:///{store}/mlflow.db')
    runs = [run for experiment in client.search_experiments() for run in client.search_runs([experiment.experiment_id])]
    parents = [run for run in runs if 'mlflow.parentRunId' not in run.data.tags]
    names = [run.data.tags['mlflow.runName'] for run in runs]
    assert len(parents) == 1 and parents[0].info.status == 'FINISHED'
    assert 'auc' in parents[0].data.metrics and parents[0].data.params['split.headline'] == str(config.split.headline)
    assert any(name.startswith('victim/10') for name in names) and sum('trial' in name for name in names) == 2
    victim = next(run for run in runs if run.data.tags['mlflow.runName'].startswith('victim/10'))
    steps = [metric.step for metric in client.get_metric_history(victim.info.run_id, 'loss_d')]
    assert steps and steps == sorted(steps) and steps[-1] == config.victim.loop.images
    assert any(f.path.endswith('report.html') for f in client.list_artifacts(parents[0].info.run_id))
    assert str(store) in outcome.ui


def test_an_owners_folders_are_audited_without_a_victim_of_ours(ray, tmp_path):
    write_people(tmp_path / 'members', range(0, 10))
    write_people(tmp_path / 'others', range(20, 30))
    rng = np.random.default_rng(0)
    (tmp_path / 'generated').mkdir()
    for number in range(130):
        Image.fromarray(rng.integers(0, 256, (48, 48), np.uint8)).save(tmp_path / 'generated' / f'{number}.png')
    config = tiny()
    config = replace(config, data=replace(config.data, layout='fvc', members=str(tmp_path / 'members'),
                                          nonmembers=str(tmp_path / 'others')),
                     victim=replace(config.victim, samples=str(tmp_path / 'generated')))
    outcome = run(GENERATOR, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    results = load(outcome.results)
    assert results['primary']['victim'] == 'owner' and not results['data']['synthetic']
    assert 'stand-in' in ' '.join(results['warnings']) and results['verdict'].startswith('Cannot say')
    assert results['data']['altered_for_iia'] and 'white-box' not in {row['attack'] for row in results['attacks']
                                                                     if row['victim'] == 'owner'}


def test_any_callable_is_audited_in_three_lines(ray, tmp_path):
    write_people(tmp_path / 'members', range(0, 10))
    write_people(tmp_path / 'others', range(20, 30))

    def sample(n: int, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).random((n, 48, 48))

    outcome = audit_generator(sample, str(tmp_path / 'members'), str(tmp_path / 'others'), layout='fvc',
                              store=str(tmp_path / 'store'), config=tiny())
    assert load(outcome.results)['primary']['victim'] == 'owner'


def prints() -> AuditConfig:
    """Real prints at smoke's sizes: SOCOFing, one picture a finger, so that IIA asks about altered versions."""
    config = tiny()
    return replace(config, data=DataConfig(root=str(Path(REAL) / 'socofing' / 'Real'), layout='socofing', resize='crop',
                                           size=48, impressions=1, query_impressions=1))


@real
def test_the_dry_run_foretells_an_audit_of_real_prints(tmp_path):
    config = replace(prints(), query=GeneratorQueryConfig(pictures=(100,), real=(5, 40)))
    text = dry_run(GENERATOR, *prepare(GENERATOR, config, Settings(store=str(tmp_path / 'store'))))
    assert 'the folders hold: 3,000 pictures, 300 people, 3,000 fingers' in text
    assert ('10 people: 100 pictures to train on; mia 50 pictures of 5 people against 50 of 5; iia 50 pictures of 5 people '
            'against 50 of 5') in text and 'memorisation' not in text.split('10 people: 100')[1]
    assert 'real images of Table 4.1: 40 pictures of 5 people' in text
    assert 'scoring network: 3,778 parameters' in text and not (tmp_path / 'store').exists()


@real
@pytest.mark.slow
def test_real_prints_are_audited_to_a_report(ray, tmp_path):
    outcome = run(GENERATOR, replace(prints(), attacks=('shadow', 'nearest')), Settings(store=str(tmp_path), mlflow=False),
                        show=False)
    results = load(outcome.results)
    data, primary = results['data'], results['primary']['auc']
    assert not data['synthetic'] and data['altered_for_iia'] and (data['n_people'], data['n_images']) == (300, 3000)
    assert data['duplicates_left_out'] == 7 and primary['n_people'] == 20 and 0 <= primary['estimate'] <= 1
    assert 'auc' in results['controls']['placebo'] and 'auc' in results['controls']['rehearsal']
    assert results['verdict'].startswith('Cannot say') and '3 shadows (1 were trained)' in results['verdict']
    page = outcome.report.read_text()
    assert 'synthetic stand-in' not in page and '://' not in page


@pytest.mark.slow
def test_a_killed_driver_goes_on_to_the_same_numbers(tmp_path):
    """The driver and all its Ray are killed in the middle; the second run ends with an unbroken run's numbers."""
    def run(store: Path) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(ROOT / 'jobs/mia_sweep.py'), '--preset', 'smoke', '--seed', '5',
                                 '--store', str(store), '--no-mlflow'], cwd=ROOT, start_new_session=True,
                                env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdout=subprocess.DEVNULL)

    unbroken = run(tmp_path / 'unbroken')
    assert unbroken.wait(timeout=900) == 0
    broken = run(tmp_path / 'broken')
    while not list((tmp_path / 'broken').glob('*/attempt-*/discriminator.pt')):
        assert broken.poll() is None, 'ended before the first victim was done'
        time.sleep(0.2)
    os.killpg(broken.pid, signal.SIGKILL)
    broken.wait()
    assert run(tmp_path / 'broken').wait(timeout=900) == 0
    first, second = ([json.loads(p.read_text()) for p in (tmp_path / name / 'reports').rglob('results.json')]
                     for name in ('unbroken', 'broken'))
    assert len(first) == len(second) == 1
    for part in ('primary', 'controls', 'attacks', 'table_4_1', 'stopping', 'verdict'):
        assert first[0][part] == second[0][part], part
    assert not Store(tmp_path / 'broken').verify()
