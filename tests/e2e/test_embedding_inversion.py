"""Whole inversions on real Ray: from pictures to a report, again without training, an owner's templates and function."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fpray.data.synthetic import generate
from fpray.errors import UserError
from fpray.models.config import ReconstructorConfig
from fpray.reports.results import load
from fpray.store import Context, Store
from fpray.studies.config import Settings
from fpray.studies.inversion import plan
from fpray.studies.inversion_analysis import numbers
from fpray.studies.inversion_config import (
    DIRECT,
    END_TO_END,
    JUDGE,
    LINEAR_MAP,
    PLACEBOS,
    REHEARSAL,
    SAME,
    BaselinesConfig,
    InversionConfig,
    LayerSearchConfig,
    TargetConfig,
    smoke,
)
from fpray.studies.inversion_evidence import Evidence
from fpray.studies.inversion_study import INVERSION, invert_extractor
from fpray.studies.run import dry_run, prepare, run
from tests.e2e.killed import resumed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1_200)  # a busy machine takes minutes for a whole inversion


def bare() -> InversionConfig:
    """Smoke with two candidates and the headline alone: the path, not the numbers."""
    config = smoke()
    return replace(config, seed=4, candidates=replace(config.candidates, names=('small-plain', 'small-separable')),
                   attacker=replace(config.attacker, conditions=(SAME,)), ladder=(), every=False, embeddings=(1,),
                   baselines=replace(config.baselines, autoencoder=False))


def write_people(folder: Path, people: int, size: int = 48) -> Path:
    """A folder of synthetic people with one finger each, six impressions."""
    pixels, records = generate(11, list(range(people)), 1, 6, size)
    folder.mkdir(parents=True)
    for picture, record in zip(pixels, records, strict=True):
        Image.fromarray(picture[0]).save(folder / f'{int(record["subject"]) + 1}_{int(record["impression"]) + 1}.png')
    return folder


def coarse(images: np.ndarray) -> np.ndarray:
    """An extractor of its own kind: 32 means over patches of a picture of 48 px."""
    return images.reshape(len(images), 8, 6, 4, 12).mean(axis=(2, 4)).reshape(len(images), 32) / 255


@pytest.fixture(scope='module')
def finished(ray, tmp_path_factory):
    """One smoke inversion of the stand-in, shared by the tests that look at it."""
    store = tmp_path_factory.mktemp('inversion') / 'store'
    config = replace(smoke(), seed=3)
    return config, store, run(INVERSION, config, Settings(store=str(store)), preset='smoke', show=False)


def last_stage(config: InversionConfig, store: Path, out: Path, **changed: Path) -> Context:
    """The context of the stage 'numbers', some inputs replaced."""
    stage, kept = plan(config).numbers, Store(store)
    inputs = {name: kept.folder(one) for name, one in stage.inputs.items()}
    out.mkdir()
    return Context('numbers', 'numbers', stage.config, {**inputs, **changed}, out, out)


def test_an_inversion_ends_with_verdict_report_and_results(finished):
    _, _, outcome = finished
    assert outcome.verdict.startswith(('Found', 'Not found', 'Cannot say'))
    results = load(outcome.results)
    assert results['study'] == 'inversion' and results['primary']['attack'] == END_TO_END
    ids = {section['id'] for section in results['sections']}
    assert ids >= {'acceptance', 'chain', 'recognition', 'adaptation', 'attacker', 'networks', 'embeddings', 'baseline',
                   'pool', 'errors', 'lipschitz', 'members', 'reconstructions'}
    published = {table['published'] for section in results['sections'] for table in section['tables']}
    assert published >= {f'tangari-{number}' for number in (2, 5, 6, 7, 8, 9, 10, 11, 12, 15)}
    assert 'gets in' in outcome.summary[0] and 'strangers' in outcome.summary[0]
    page = outcome.report.read_text()
    assert 'synthetic stand-in' in page and '://' not in page


def test_what_the_store_holds_is_not_run_again(finished):
    config, store, outcome = finished
    again = run(INVERSION, config, Settings(store=str(store), mlflow=False, actors=1), preset='smoke', show=False)
    first, second = (json.loads(path.read_text()) for path in (outcome.results, again.results))
    assert first['primary'] == second['primary'] and all(stage['cached'] for stage in second['timing']['stages'])


def test_the_dry_run_prints_the_plan(finished):
    config, store, _ = finished
    laid, settings = prepare(INVERSION, config, Settings(store=str(store)))
    text = dry_run(INVERSION, laid, settings)
    assert 'to do' not in text and laid.hash in text and 'parameters' in text and 'victims: 10 people' in text


def test_the_rates_are_those_of_the_tables_of_comparisons(finished, tmp_path):
    """A second way through the stored scores: thresholds, acceptance and ranks by hand."""
    config, store, outcome = finished
    evidence = Evidence(last_stage(config, store, tmp_path / 'out'))
    scores = pd.read_parquet(Store(store).folder(plan(config).numbers.inputs['verify/headline']) / 'scores.parquet')
    mine = scores[(scores['attack'] == END_TO_END) & (scores['condition'] == JUDGE)]
    other = mine['probe_subject'].astype(str) != mine['reference_subject'].astype(str)
    at = evidence.threshold(JUDGE).value
    real = evidence.real['threshold', JUDGE]
    once = ~(real['reference'].isin(real['probe']) & (real['reference'] < real['probe']))  # each pair of pictures
    false = real[once & (real['probe_subject'].astype(str) != real['reference_subject'].astype(str))]['similarity']
    assert (false >= at).mean() <= 0.01 < (false >= np.sort(false)[-int(0.01 * len(false)) - 1]).mean()
    accepted = load(outcome.results)['primary']['acceptance']
    assert accepted['own']['estimate'] == pytest.approx((mine[mine['genuine']]['similarity'] >= at).mean())
    assert accepted['strangers']['estimate'] == pytest.approx((mine[other]['similarity'] >= at).mean(), abs=1e-6)
    ranks = []
    for _, probe in mine.groupby('probe'):
        own, rest = (probe[side]['similarity'].to_numpy() for side in (probe['genuine'], other.loc[probe.index]))
        ranks += [((rest < each).mean() + (rest == each).mean() / 2) for each in own]
    assert load(outcome.results)['primary']['auc']['estimate'] == pytest.approx(np.mean(ranks), abs=1e-6)


def test_few_people_set_the_lowest_threshold_that_they_resolve(finished, tmp_path):
    config, store, outcome = finished
    evidence = Evidence(last_stage(config, store, tmp_path / 'out'))
    at = evidence.threshold(JUDGE)
    lowest = at.fmr if at.resolvable else at.smallest
    table = next((table for section in load(outcome.results)['sections'] for table in section['tables']
                  if table['id'] == 'resolved'), None)
    assert (table is None) == (at.resolvable and evidence.threshold(evidence.system).resolvable)
    assert not at.resolvable and table is not None and lowest is not None, 'ten people cannot set 1 %'
    own = dict(zip(table['columns'], table['rows'][0], strict=True))
    value = evidence.threshold(JUDGE, lowest).value
    mine = evidence.table('headline', END_TO_END, JUDGE)
    assert mine is not None
    assert own['Judge: same person']['estimate'] == pytest.approx((mine[mine['genuine']]['similarity'] >= value).mean())
    assert f'judge {lowest:.1%}' in table['caption']


def test_the_verification_tool_reads_the_table_of_comparisons(finished):
    config, store, _ = finished
    path = Store(store).folder(plan(config).numbers.inputs['verify/headline']) / 'scores.parquet'
    done = subprocess.run([sys.executable, '-m', 'fpray.metrics.verification', str(path)], env=os.environ | {
        'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and f'{END_TO_END} / {JUDGE}' in done.stdout, done.stderr


def planted(config: InversionConfig, store: Path, folder: Path, effect: dict[str, float]) -> dict[str, Any]:
    """The study's numbers where the judge's similarities of some arms are noise and so much for the own person."""
    source = Store(store).folder(plan(config).numbers.inputs['verify/headline'])
    scores = pd.read_parquet(source / 'scores.parquet')
    for number, (arm, size) in enumerate(effect.items()):
        mine = (scores['attack'] == arm) & (scores['condition'] == JUDGE)
        noise = np.random.default_rng(number).normal(size=int(mine.sum()))
        scores.loc[mine, 'similarity'] = noise + size * scores.loc[mine, 'genuine'].to_numpy()
    verify = folder / 'verify'
    verify.mkdir(parents=True)
    scores.to_parquet(verify / 'scores.parquet')
    for name in ('errors.parquet', 'same.parquet'):
        (verify / name).write_bytes((source / name).read_bytes())
    context = last_stage(config, store, folder / 'out', **{'verify/headline': verify})
    numbers(context)
    return dict(json.loads((context.out / 'numbers.json').read_text()))


def test_a_planted_attack_is_found_and_none_is_not(finished, tmp_path):
    config, store, _ = finished
    nothing = {END_TO_END: 0.0, **dict.fromkeys(PLACEBOS, 0.0), REHEARSAL: 4.0}
    found = planted(config, store, tmp_path / 'a', {**nothing, END_TO_END: 4.0})
    assert found['verdict'].startswith('Found: from one stolen template an outsider gets in')
    assert found['primary']['auc']['estimate'] > 0.95 and found['primary']['minus_placebo']['interval'][0] > 0
    missed = planted(config, store, tmp_path / 'b', nothing)
    assert missed['verdict'].startswith('Not found'), missed['verdict']
    pictures = planted(config, store, tmp_path / 'c', {**nothing, END_TO_END: 4.0, **dict.fromkeys(PLACEBOS, 4.0)})
    assert not pictures['verdict'].startswith('Found'), 'the placebo finds as much: it is no leak of this network'
    assert any('placebo' in warning for warning in pictures['warnings'])
    unlike = planted(config, store, tmp_path / 'e', {**nothing, **dict.fromkeys(PLACEBOS, -4.0)})
    assert not any('placebo' in warning for warning in unlike['warnings']), 'below 0.5 it resembles nobody'
    blunt = planted(config, store, tmp_path / 'd', {**nothing, END_TO_END: 4.0, REHEARSAL: 0.0})
    assert blunt['verdict'].startswith('Cannot say') and 'rehearsal' in blunt['verdict']


def test_an_owners_templates_are_inverted_and_judged_by_another_network(ray, tmp_path):
    pictures = write_people(tmp_path / 'set', 54)
    templates = tmp_path / 'templates'
    templates.mkdir()
    for path in pictures.iterdir():
        np.save(templates / f'{path.stem}.npy', coarse(np.asarray(Image.open(path))[None])[0].astype(np.float32))
    base = bare()
    config = replace(base, data=replace(base.data, root=str(pictures), layout='fvc'),
                     target=TargetConfig(kind='templates', templates=str(templates)))
    outcome = run(INVERSION, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    results = load(outcome.results)
    chain = next(table for section in results['sections'] for table in section['tables'] if table['id'] == 'chain')
    assert 'not_available' in chain['rows'][0][-1] and chain['rows'][0][1]['estimate'] is not None
    assert any('was not asked about reconstructions' in text for text in results['warnings'])
    other = replace(config, data=replace(config.data, root=str(write_people(tmp_path / 'other', 55))))
    with pytest.raises(UserError, match='missing'):
        run(INVERSION, other, Settings(store=str(tmp_path / 'none'), mlflow=False), show=False)
    assert not list((tmp_path / 'none').rglob('*')), 'nothing half-written'


def test_an_owners_function_is_inverted_where_it_is(ray, tmp_path):
    pictures, asked = write_people(tmp_path / 'set', 54), []

    def embed(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return coarse(images)

    outcome = invert_extractor(embed, str(pictures), layout='fvc', store=str(tmp_path / 'store'), config=bare(), show=False)
    results = load(outcome.results)
    table = next(t for section in results['sections'] for t in section['tables'] if t['id'] == 'headline')
    own = dict(zip(table['columns'], table['rows'][0], strict=True))
    assert 'estimate' in own['Target: same image'], 'it was asked about the reconstructions too'
    assert sum(asked) > 54 * 6 and results['config']['target']['kind'] == 'callable'


@pytest.mark.slow
def test_layers_are_searched_and_longer_vectors_inverted(ray, tmp_path):
    config = replace(bare(), lengths=(16,), search=LayerSearchConfig(mode='rounds', trials=3, rounds=1, holdout=0.4))
    outcome = run(INVERSION, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    stages = {stage.name: stage for stage in plan(load_config(outcome.results)).stages}
    folder = Store(tmp_path / 'store').folder(stages['search/small-plain'])
    found, trials = (json.loads((folder / name).read_text()) for name in ('layers.json', 'trials.json'))
    assert len(trials['trials']) == 3 and 0 <= found['value'] <= 1
    sections = {section['id']: section for section in load(outcome.results)['sections']}
    assert 'layers' in sections and [row[0] for row in sections['lengths']['tables'][0]['rows']] == [
        'small-plain', 'small-plain-16', 'small-separable-16']
    assert {plot['id'] for plot in sections['lengths']['plots']} == {'fig-6-dssim', 'fig-6-perceptual'}
    chosen = {name for name, taken in trials['trials'][trials['best']]['params'].items() if taken}
    trained = Store(tmp_path / 'store').folder(stages['reconstructor/small-plain']) / 'trained.json'
    assert set(found['layers']) == set(json.loads(trained.read_text())['layers']) == chosen


@pytest.mark.slow
def test_linear_reconstructors_go_the_whole_way(ray, tmp_path):
    """With every table that is had of them: the auto-encoder, which trains, the direct search at equal time, the bound."""
    config = bare()
    linear = replace(config.invert.training, reconstructor=ReconstructorConfig(family='linear', last='none'))
    config = replace(config, every=True, ladder=smoke().ladder, invert=replace(config.invert, training=linear),
                     baselines=BaselinesConfig(equal_time=True))
    outcome = run(INVERSION, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    tables = {table['id']: table for section in load(outcome.results)['sections'] for table in section['tables']}
    assert {row[0] for row in tables['headline']['rows']} >= {END_TO_END, DIRECT} and {'table-10', 'table-12'} <= set(tables)
    assert LINEAR_MAP not in {row[0] for row in tables['headline']['rows']}, 'it is the attack itself'


def load_config(results: Path) -> InversionConfig:
    """The configuration that a run left beside its results."""
    from fpray.studies.cli import merged

    return merged(smoke(), json.loads((results.parent / 'config.json').read_text()), 'config.json')


@pytest.mark.parametrize('arguments, fault', [
    (('--target.model', 'nosuch'), 'nosuch'), (('--data.impressions', '1', '--data.query-impressions', '0'), 'pictures'),
    (('--groups.victims', '1'), 'victims')])
def test_bad_input_is_one_line_and_exit_2(tmp_path, arguments, fault):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'jobs/embedding_inversion.py'), '--preset', 'smoke', '--store', str(tmp_path / 'store'),
         *arguments], cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2 and len(lines) == 1 and fault in lines[0] and 'Traceback' not in done.stderr
    assert not (tmp_path / 'store').exists()


@pytest.mark.slow
def test_a_killed_inversion_resumes_to_the_same_numbers(finished, tmp_path):
    """The driver, its Ray and its workers are killed in the middle; the same command again ends with the same numbers."""
    _, _, outcome = finished
    again, whole = resumed('embedding_inversion.py', outcome, tmp_path, 12, 50), load(outcome.results)
    for part in ('primary', 'controls', 'verdict', 'sections'):
        assert again[part] == whole[part], part
