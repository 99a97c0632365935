"""Whole studies of model inference on real Ray: from pictures to a report, again without training, a vector from outside."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fpray.data.synthetic import generate
from fpray.errors import UserError
from fpray.reports.results import load
from fpray.store import Store
from fpray.studies.config import Settings
from fpray.studies.inference_config import OWN_FOLDER, InferenceStudyConfig, smoke
from fpray.studies.inference_identify import identify_file
from fpray.studies.inference_study import INFERENCE
from fpray.studies.run import dry_run, prepare, run
from tests.e2e.killed import resumed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1_200)  # a busy machine takes minutes for a whole study


def plain() -> InferenceStudyConfig:
    """Smoke without pool, zoo and twins: the path, not the numbers."""
    config = smoke()
    return replace(config, seed=4, twins=False, pool=replace(config.pool, names=()), zoo=replace(config.zoo, networks=0))


def write_people(folder: Path, people: range, size: int = 48) -> Path:
    pixels, records = generate(11, list(people), 1, 4, size)
    folder.mkdir(parents=True)
    for picture, record in zip(pixels, records, strict=True):
        Image.fromarray(picture[0]).save(folder / f'{int(record["subject"]) + 1}_{int(record["impression"]) + 1}.png')
    return folder


@pytest.fixture(scope='module')
def finished(ray, tmp_path_factory):
    """One smoke study of the stand-in, shared by the tests that look at it."""
    store = tmp_path_factory.mktemp('inference') / 'store'
    config = replace(smoke(), seed=3)
    return config, store, run(INFERENCE, config, Settings(store=str(store)), preset='smoke', show=False)


def test_a_study_ends_with_verdict_report_and_results(finished):
    config, _, outcome = finished
    assert outcome.verdict.startswith(('Found', 'Not found', 'Cannot say'))
    results = load(outcome.results)
    assert results['study'] == 'inference' and results['primary']['attack'] == 'auxiliary'
    parts = {part['id']: part for part in results['sections']}
    assert list(parts) == ['headline', 'table-3', 'depth', 'seen', 'unknown', 'twins', 'map', 'table-4', 'table-1',
                           'networks']
    assert {table['published'] for part in parts.values() for table in part['tables']} == {
        None, 'tangari-1', 'tangari-3', 'tangari-4'}
    rows = parts['table-3']['tables'][0]['rows']
    assert len(rows) == len(config.lengths) * (1 + len(config.conditions)) and all(
        cell['n_people'] == config.groups.victims for row in rows[1:] for cell in row[1:])
    assert all(each['auc'] for each in results['controls'].values())
    page = outcome.report.read_text()
    assert 'synthetic stand-in' in page and '://' not in page


def test_what_the_store_holds_is_not_run_again(finished):
    config, store, outcome = finished
    again = run(INFERENCE, config, Settings(store=str(store), mlflow=False, actors=1), preset='smoke', show=False)
    first, second = (json.loads(path.read_text()) for path in (outcome.results, again.results))
    assert first['sections'] == second['sections'] and all(stage['cached'] for stage in second['timing']['stages'])


def test_the_dry_run_prints_the_plan(finished):
    config, store, _ = finished
    laid, settings = prepare(INFERENCE, config, Settings(store=str(store)))
    text = dry_run(INFERENCE, laid, settings)
    assert 'to do' not in text and laid.hash in text and 'decides' in text and 'victims: 10 people' in text


def test_a_vector_from_outside_is_identified(finished, tmp_path):
    config, store, _ = finished
    laid, _ = prepare(INFERENCE, config, Settings(store=str(store)))
    stages, right = {stage.name: stage for stage in laid.stages}, []
    for name in config.candidates.names:
        vectors = np.load(Store(store).folder(stages[f'vectors/32/{name}']) / 'No-adapt.npy')
        np.save(tmp_path / 'vector.npy', vectors[-1])  # a victim's
        answer = identify_file(str(tmp_path / 'vector.npy'), str(store))
        right.append(bool(answer.ranked) and answer.ranked[0][0] == name)
    assert sum(right) >= 2, 'one may be taken for none of these'
    assert identify_file(str(tmp_path / 'vector.npy'), str(store), laid.hash[:6]).length == 32
    command = [sys.executable, str(ROOT / 'jobs/model_inference.py'), 'identify', '--store', str(store), '--embedding',
               str(tmp_path / 'vector.npy')]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and ('%' in done.stdout or 'none of these' in done.stdout) and not done.stderr


def test_folders_of_people_of_another_sensor_and_of_nobody(ray, tmp_path):
    people = write_people(tmp_path / 'set', range(50))
    other, nobody = (write_people(tmp_path / name, who) for name, who in (('other', range(60, 80)), ('web', range(80, 100))))
    base = plain()
    config = replace(base, data=replace(base.data, root=str(people), layout='fvc'),
                     attacker=replace(base.attacker, other=str(other), folder=str(nobody)))
    config = replace(config, conditions=(*base.conditions, OWN_FOLDER))
    results = load(run(INFERENCE, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False).results)
    table = next(part for part in results['sections'] if part['id'] == 'table-3')
    names = [row[0] for row in table['tables'][0]['rows'][1:]]
    assert names == ['Same-Ident.', 'Same-PreProc.', 'Diff-PreProc.', OWN_FOLDER]
    assert 'pictures of a second set' in table['text'] and not results['data']['synthetic']
    assert any('knows no persons' in warning for warning in results['warnings'])


@pytest.mark.parametrize('people, impressions, fault', [(1, 4, '1 people can be used'), (50, 2, 'no identity has 4'),
                                                        (20, 4, '20 people can be used')])
def test_a_set_that_cannot_be_dealt_leaves_nothing_behind(ray, tmp_path, people, impressions, fault):
    folder = write_people(tmp_path / 'set', range(people))
    for path in folder.iterdir():
        if int(path.stem.split('_')[1]) > impressions:
            path.unlink()
    base = plain()
    config = replace(base, data=replace(base.data, root=str(folder), layout='fvc'))
    with pytest.raises(UserError, match=fault):
        run(INFERENCE, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    assert not [path for path in (tmp_path / 'store').rglob('*') if path.is_file()]


@pytest.mark.slow
def test_a_killed_study_resumes_to_the_same_numbers(finished, tmp_path):
    """The driver, its Ray and its workers are killed in the middle; the same command again ends with the same numbers."""
    _, _, outcome = finished
    again, whole = resumed('model_inference.py', outcome, tmp_path, 6, 28), load(outcome.results)
    for part in ('primary', 'controls', 'verdict'):
        assert again[part] == whole[part], part
    for one, other in zip(again['sections'], whole['sections'], strict=True):
        if one['id'] != 'table-4':  # it says how fast
            assert one == other, one['id']
