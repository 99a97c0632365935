"""Whole audits of codecs on real Ray: from pictures to a report, again without training, an owner's files and function."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fpray.data.synthetic import generate
from fpray.errors import UserError
from fpray.metrics.membership import arrays, auc_clustered, by_unit
from fpray.reports.results import load
from fpray.store import Store
from fpray.studies.codec_config import CodecAuditConfig, smoke
from fpray.studies.codec_study import CODEC, audit_codec
from fpray.studies.config import Settings
from fpray.studies.run import dry_run, prepare, run
from tests.e2e.killed import resumed

pytestmark = pytest.mark.timeout(1_200)  # a busy machine takes minutes for a whole audit


def plain() -> CodecAuditConfig:
    """Smoke without defences: the path, not the numbers."""
    config = smoke()
    return replace(config, seed=4, defences=replace(config.defences, names=()))


def write_people(folder: Path, people: range, size: int = 48) -> None:
    pixels, records = generate(11, list(people), 1, 4, size)
    folder.mkdir(parents=True)
    for picture, record in zip(pixels, records, strict=True):
        Image.fromarray(picture[0]).save(folder / f'{int(record["subject"]) + 1}_{int(record["impression"]) + 1}.png')


def coarse(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A codec of 16 gray levels: bits by the number of different bytes, the same for the same picture."""
    copies = (images // 16) * 16 + 8
    return np.array([64.0 * len(np.unique(copy)) for copy in copies]), copies.astype(np.uint8)


@pytest.fixture(scope='module')
def finished(ray, tmp_path_factory):
    """One smoke audit of the stand-in with a twin, shared by the tests that look at it."""
    store = tmp_path_factory.mktemp('codec') / 'store'
    config = replace(smoke(), seed=3)
    return config, store, run(CODEC, config, Settings(store=str(store)), preset='smoke', show=False)


def test_an_audit_ends_with_verdict_report_and_results(finished):
    config, _, outcome = finished
    assert outcome.verdict.startswith(('Found', 'Not found', 'Cannot say'))
    results = load(outcome.results)
    assert results['study'] == 'codec' and results['primary']['attack'] == 'calibrated'
    codec = results['codec']
    assert [row['lmbda'] for row in codec['lambdas']] == list(config.victim.lambdas)
    assert {row['defence'] for row in codec['frontier']['rows']} == {'none', *config.defences.names}
    assert codec['frontier']['choice']['chosen'] and {row['codec'] for row in codec['rate_distortion']['classical']}
    assert {row['attack'] for row in results['attacks']} == set(config.attacks), 'every attack had what it needs'
    assert codec['bitstream']['largest_excess_bytes'] < 200 and codec['fidelity'] is not None
    page = outcome.report.read_text()
    assert 'synthetic stand-in' in page and '://' not in page and 'this generator' not in page


def test_the_primary_interval_holds_the_error_of_its_calibration(finished):
    config, store, outcome = finished
    laid, _ = prepare(CODEC, config, Settings(store=str(store)))
    attacked = next(stage for stage in laid.stages if stage.name == f'attack/{laid.numbers.config["headline"]}')
    table = pd.read_parquet(Store(str(store)).folder(attacked) / 'scores.parquet').sort_values('image_id')
    own = by_unit(table[(table['attack'] == 'calibrated') & (table['contrast'] == 'mia')], 'subject', 'mean')
    bare, shown = auc_clustered(*arrays(own, 'mia')), json.loads(outcome.results.read_text())['primary']['auc']
    assert shown['estimate'] == pytest.approx(bare.estimate)
    assert shown['interval'][0] < bare.lower and bare.upper < shown['interval'][1]


def test_what_the_store_holds_is_not_run_again(finished):
    config, store, outcome = finished
    again = run(CODEC, config, Settings(store=str(store), mlflow=False, actors=1), preset='smoke', show=False)
    first, second = (json.loads(path.read_text()) for path in (outcome.results, again.results))
    assert first['primary'] == second['primary'] and all(stage['cached'] for stage in second['timing']['stages'])


def test_the_dry_run_prints_the_plan(finished):
    config, store, _ = finished
    laid, settings = prepare(CODEC, config, Settings(store=str(store)))
    text = dry_run(CODEC, laid, settings)
    assert 'to do' not in text and laid.hash in text and 'parameters' in text and 'reference' in text


def test_an_owners_files_are_audited_without_the_codec(ray, tmp_path):
    for side, people in (('members', range(12)), ('nonmembers', range(12, 24)), ('reference', range(24, 70))):
        write_people(tmp_path / side, people)
        if side != 'reference':
            for path in (tmp_path / side).iterdir():
                bits, copies = coarse(np.asarray(Image.open(path))[None, None])
                for kind in ('out', 'files'):
                    (tmp_path / kind / side).mkdir(parents=True, exist_ok=True)
                Image.fromarray(copies[0, 0]).save(tmp_path / 'out' / side / path.name)
                (tmp_path / 'files' / side / f'{path.stem}.bin').write_bytes(b'x' * int(bits[0] / 8))
    base = plain()
    config = replace(base, data=replace(base.data, layout='fvc', **{
        side: str(tmp_path / side) for side in ('members', 'nonmembers', 'reference')}),
        victim=replace(base.victim, decompressed=str(tmp_path / 'out'), compressed=str(tmp_path / 'files')))
    outcome = run(CODEC, config, Settings(store=str(tmp_path / 'store'), mlflow=False), show=False)
    results = load(outcome.results)
    assert 'rate-distortion' in {row['attack'] for row in results['attacks']} and not results['data']['synthetic']
    assert {row['victim'] for row in results['attacks']} == {'owner', 'placebo', 'rehearsal'}
    (tmp_path / 'out' / 'members' / '1_1.png').unlink()
    with pytest.raises(UserError, match='1_1'):
        run(CODEC, config, Settings(store=str(tmp_path / 'other'), mlflow=False), show=False)


def test_an_owners_function_is_audited_where_it_is(ray, tmp_path):
    for side, people in (('members', range(12)), ('others', range(12, 24)), ('more', range(24, 70))):
        write_people(tmp_path / side, people)
    outcome = audit_codec(coarse, str(tmp_path / 'members'), str(tmp_path / 'others'), lmbda=0.01, layout='fvc',
                          store=str(tmp_path / 'store'), config=plain(), reference=str(tmp_path / 'more'))
    assert outcome.report.exists() and load(outcome.results)['codec']['primary_lmbda'] == 0.01


@pytest.mark.slow
def test_a_killed_sweep_resumes_to_the_same_numbers(finished, tmp_path):
    """The driver, its Ray and its workers are killed in the middle; the same command again ends with the same numbers."""
    _, _, outcome = finished
    again, whole = resumed('codec_audit.py', outcome, tmp_path, 8, 30), load(outcome.results)
    for part in ('primary', 'controls', 'attacks', 'codec', 'verdict'):
        assert again[part] == whole[part], part
