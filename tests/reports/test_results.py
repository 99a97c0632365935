"""results.json: what the schema takes and refuses, and that what is written is what is read."""

import json
import math

import numpy as np
import pytest

from fpray.errors import UserError
from fpray.reports import results as store

VARIANTS = [{}, {'available': False}, {'synthetic': False, 'subject_known': False}]


@pytest.mark.parametrize('variant', VARIANTS)
def test_a_whole_study_is_accepted_and_read_back(make_results, tmp_path, variant):
    pytest.importorskip('jsonschema')
    written = store.write_results(make_results(**variant), tmp_path / 'run' / 'results.json')
    assert store.load(tmp_path / 'run' / 'results.json') == written


def test_a_study_without_the_optional_parts_is_accepted(make_results, tmp_path):
    bare = make_results(available=False)
    bare.update(search=None, pattern_shares=None, epsilon=None, stopping=[], sweep=[], victims=[], roc={},
                histograms={}, table_5_1=[], attacks=[], shadows={'aucs': [], 'spread': None})
    assert store.write_results(bare, tmp_path / 'results.json')['search'] is None


@pytest.mark.parametrize('bad', [math.nan, math.inf, np.float32('nan')])
def test_nan_and_infinity_are_refused_by_name(make_results, tmp_path, bad):
    study = make_results()
    study['attacks'][2]['auc']['estimate'] = bad
    with pytest.raises(ValueError, match=r'results\.attacks\[2\]\.auc\.estimate'):
        store.write_results(study, tmp_path / 'results.json')
    assert not (tmp_path / 'results.json').exists()


@pytest.mark.parametrize(('where', 'value'), [
    (('verdict',), 'The generator is safe'), (('primary', 'auc', 'n'), None),
    (('primary', 'contrast'), 'both'),
    (('primary', 'auc', 'interval'), [0.6]), (('data', 'unheard_of'), 1), (('attacks', 0, 'unit'), 'row'),
    (('controls', 'placebo'), {}), (('seed',), 'one')])
def test_the_schema_is_strict(make_results, tmp_path, where, value):
    pytest.importorskip('jsonschema')
    study = make_results()
    spot = study
    for step in where[:-1]:
        spot = spot[step]
    spot[where[-1]] = value
    with pytest.raises(ValueError, match='schema'):
        store.write_results(study, tmp_path / 'results.json')


def test_every_rate_needs_its_company(make_results, tmp_path):
    pytest.importorskip('jsonschema')
    for key in ('estimate', 'interval', 'chance', 'n', 'n_people', 'p', 'note'):
        study = make_results()
        del study['controls']['rehearsal']['auc'][key]
        with pytest.raises(ValueError, match='rehearsal'):
            store.write_results(study, tmp_path / 'results.json')


def test_numpy_and_rate_objects_become_plain_and_rounding_keeps_order():
    class Rate:
        def as_dict(self):
            return {'estimate': np.float64(2 / 3), 'interval': (1 / 3, 2 / 3), 'n': np.int64(7)}

    plain = store.plain({'rate': Rate(), 'curve': np.array([0.0, 1 / 3]), 'p': 1.23456789e-9})
    assert plain == {'rate': {'estimate': 0.666667, 'interval': [0.333333, 0.666667], 'n': 7},
                     'curve': [0.0, 0.333333], 'p': 1.23457e-09}
    assert plain['rate']['estimate'] <= plain['rate']['interval'][1]
    assert type(plain['rate']['n']) is int


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match=r'results\.config\.when is a set'):
        store.plain({'config': {'when': {1}}})


@pytest.mark.parametrize(('text', 'words'), [
    ('{', 'is not a results.json'), ('{"schema_version": 1, "seed": NaN}', 'holds NaN'),
    ('{"schema_version": 99}', 'schema version 99'), ('[]', 'schema version None')])
def test_a_bad_file_is_the_users_error(tmp_path, text, words):
    (tmp_path / 'results.json').write_text(text)
    with pytest.raises(UserError, match=words):
        store.load(tmp_path / 'results.json')
    with pytest.raises(UserError, match='cannot read'):
        store.load(tmp_path / 'nothing.json')


def test_a_breach_in_a_read_file_is_the_users_error(make_results, tmp_path):
    pytest.importorskip('jsonschema')
    study = store.write_results(make_results(), tmp_path / 'results.json')
    del study['verdict']
    (tmp_path / 'results.json').write_text(json.dumps(study))
    with pytest.raises(UserError, match='verdict'):
        store.load(tmp_path / 'results.json')


# Two studies, one schema.

@pytest.mark.parametrize('variant', VARIANTS)
def test_a_whole_codec_study_is_accepted_and_read_back(make_codec_results, tmp_path, variant):
    written = store.write_results(make_codec_results(**variant), tmp_path / 'results.json')
    assert store.load(tmp_path / 'results.json') == written


def test_neither_study_takes_the_others_parts_or_lacks_its_own(make_results, make_codec_results):
    thin = {'attacks': [], 'roc': {}, 'histograms': {}, 'sweep': []}
    generator, codec = store.plain(make_results() | thin), store.plain(make_codec_results() | thin)
    assert store.faults(generator) == store.faults(codec) == []
    assert store.faults({k: v for k, v in generator.items() if k != 'scoring_network'}) == []  # the one optional part
    for key in set(generator) - set(codec) - {'scoring_network'}:
        assert store.faults({k: v for k, v in generator.items() if k != key}) == [f"$: '{key}' is a required property"]
    for key in set(generator) - set(codec):
        assert any('unexpected' in line and key in line for line in store.faults(codec | {key: generator[key]}))
    for key in set(codec) - set(generator):
        assert store.faults({k: v for k, v in codec.items() if k != key}) == [f"$: '{key}' is a required property"]
        assert any('unexpected' in line and key in line for line in store.faults(generator | {key: codec[key]}))
    assert store.faults(codec | {'study': 'mia'}) and store.faults(generator | {'study': 'faces'})


@pytest.mark.parametrize(('where', 'value'), [
    (('family',), None), (('unheard_of',), 1), (('lambdas', 0, 'sides', 'psnr'), {}), (('lambdas', 0, 'auc'), 0.7),
    (('lambdas', 0, 'sides', 'loss', 'gap'), -0.1), (('lambdas', 0, 'lmbda'), 0), (('codecs', 0, 'role'), 'twin'),
    (('frontier', 'rows', 0, 'bd_rate'), '3 %'), (('frontier', 'rows', 0, 'price'), 1), (('rate_distortion', 'fit'), None),
    (('fidelity', 'minutiae'), {'recall': {'estimate': 0.8}}), (('fidelity',), {}), (('bitstream', 'files'), -1)])
def test_the_codecs_part_is_strict(make_codec_results, where, value):
    study = store.plain(make_codec_results())
    spot = study['codec']
    for step in where[:-1]:
        spot = spot[step]
    spot[where[-1]] = value
    assert store.faults(study)


# Studies whose tables and plots come as sections.

@pytest.mark.parametrize('study', ['inference', 'inversion'])
@pytest.mark.parametrize('variant', VARIANTS)
def test_a_whole_study_of_sections_is_accepted_and_read_back(make_sectioned, tmp_path, study, variant):
    written = store.write_results(make_sectioned(study, **variant), tmp_path / 'results.json')
    assert store.load(tmp_path / 'results.json') == written


def test_a_study_of_sections_takes_no_membership_parts_and_lacks_none_of_its_own(make_results, make_sectioned):
    thin = {'attacks': [], 'roc': {}, 'histograms': {}, 'sweep': []}
    generator, study = store.plain(make_results() | thin), store.plain(make_sectioned('inversion'))
    for key in set(generator) - set(study) - {'scoring_network'}:
        assert any('unexpected' in line and key in line for line in store.faults(study | {key: generator[key]}))
    for key in study:
        assert f"$: '{key}' is a required property" in store.faults({k: v for k, v in study.items() if k != key})
    assert any('unexpected' in line for line in store.faults(generator | {'sections': []}))
    assert store.faults(study | {'study': 'inference'}) == ["$.primary: 'accuracy' is a required property"]


@pytest.mark.parametrize(('where', 'value'), [
    (('primary', 'unit'), 'picture'), (('primary', 'acceptance', 'own'), 0.4), (('controls', 'placebo', 'text'), None),
    (('controls', 'placebo'), {}), (('sections', 0, 'id'), 'A B'), (('sections', 0, 'fold'), 'yes'),
    (('sections', 0, 'unheard_of'), 1), (('sections', 0, 'tables', 0, 'published'), '3'),
    (('sections', 0, 'tables', 0, 'rows', 0), []), (('sections', 0, 'tables', 0, 'rows', 0, 1), [0.5]),
    (('sections', 0, 'tables', 0, 'rows', 0, 1), {'estimate': 0.5}), (('sections', 1, 'plots', 0, 'kind'), 'pie'),
    (('sections', 1, 'plots', 0, 'kind'), 'matrix'), (('sections', 1, 'plots', 0, 'series'), []),
    (('sections', 1, 'plots', 0, 'marks'), [{'axis': 'z', 'at': 1, 'name': ''}])])
def test_the_sections_are_strict(make_sectioned, where, value):
    study = store.plain(make_sectioned('inversion'))
    assert store.faults(study) == []
    spot = study
    for step in where[:-1]:
        spot = spot[step]
    spot[where[-1]] = value
    assert store.faults(study)
