"""Builders of a report's sections: what they make fits the schema, and what does not fit together is refused."""

import numpy as np
import pytest

from fpray.metrics.rate import Rate
from fpray.reports.published_tangari import PUBLISHED
from fpray.reports.results import faults, plain, schema
from fpray.studies import sections

RATE = Rate(0.5, (0.4, 0.6), 0.25, 12, 6)


def _against(name, value):
    """What one part of the schema finds wrong with a value."""
    jsonschema = pytest.importorskip('jsonschema')
    validator = jsonschema.Draft202012Validator({'$ref': f'#/$defs/{name}', '$defs': schema()['$defs']})
    return [error.message for error in validator.iter_errors(plain(value))]


def test_every_builder_fits_the_schema():
    drawn = [sections.series('a', [1, 2], [0.5, None], [0.4, None], [0.6, None])]
    plots = [
        sections.lines('lines', 'L', 'how', 'x', 'y', [sections.rates('r', ['No-Adapt', 'FT-1'], [RATE, RATE])],
                       marks=[sections.mark(0.25, 'guessing')]),
        sections.steps('steps', 'S', '', 'x', 'y', [sections.distribution('d', [3.0, 1.0, 2.0])], log=True),
        sections.scatter('scatter', 'C', '', '', '', drawn),
        sections.bars('bars', 'B', '', 'x', 'y', [sections.rates('', ['one', 'two'], [RATE, RATE])]),
        sections.histogram('histogram', 'H', '', 'x', 'y', [sections.counts('h', [0.1, 9.0], [0, 1, 2])]),
        sections.det('det', 'D', '', [sections.series('e', [0.1], [0.2])], diagonal=True),
        sections.matrix('matrix', 'M', '', [[1.0, np.nan]], ['a'], ['a', 'none of these'])]
    table = sections.table('t', 'Table', ['', 'Rate'], [['heading'], ['row', RATE], ['other', None], ['n', np.int64(3)],
                                                         ['lacking', sections.not_available('why')]], unit='networks')
    assert _against('section', sections.section('s', 'Section', 'text', [table], plots, fold=True, pictures='rec/')) == []
    assert {plot['kind'] for plot in plots} == set(schema()['$defs']['plot']['properties']['kind']['enum'])


def test_nan_is_nothing_and_numpy_is_plain():
    row = sections.table('t', 'T', ['', 'a', 'b'], [['x', float('nan'), np.float32(0.5)]])['rows'][0]
    assert row == ['x', None, 0.5] and type(row[2]) is float
    assert sections.matrix('m', 'M', '', np.array([[np.nan, 0.25]]), ['a'], ['a', 'b'])['values'] == [[None, 0.25]]


def test_a_distribution_ends_at_one_and_never_falls():
    values = np.random.default_rng(0).normal(size=5000)
    thin = sections.distribution('d', values)
    assert len(thin['x']) <= sections.MOST_POINTS and thin['y'][-1] == 1
    assert np.all(np.diff(thin['x']) >= 0) and np.all(np.diff(thin['y']) > 0)
    shares = [(values <= x).mean() for x in thin['x']]
    np.testing.assert_allclose(thin['y'], shares, atol=1e-12)


def test_counts_hold_what_lies_beyond_the_edges():
    assert sections.counts('h', [-5, 0.5, 1.5, 1.6, 99], [0, 1, 2])['y'] == [2, 3]


def test_row_shares_sum_to_one_and_leave_empty_rows_unknown():
    shares = sections.row_shares([[3, 1], [0, 0]])
    assert shares[0].tolist() == [0.75, 0.25] and np.isnan(shares[1]).all()


@pytest.mark.parametrize(('build', 'words'), [
    (lambda: sections.section('A b', 'A', ''), 'is no id'),
    (lambda: sections.section('s', 'S', '', [sections.table('t', 'T', ['a'], [])] * 2), 'holds an id twice'),
    (lambda: sections.table('t', 'T', ['a', 'b', 'c'], [['x', 1]]), '3 columns, and a row of 2: x'),
    (lambda: sections.table('t', 'T', ['a'], [], published='tangari-3'), 'come together'),
    (lambda: sections.table('t', 'T', ['a'], [], differs='data'), 'come together'),
    (lambda: sections.table('t', 'T', ['a'], [], published='tangari-99', differs='data'), 'tangari-99'),
    (lambda: sections.lines('l', 'L', '', 'x', 'y', []), 'has no series'),
    (lambda: sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', [1, 2], [1])]), "'x': 2"),
    (lambda: sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', [1], [1], [0, 0], [2])]), 'do not fit'),
    (lambda: sections.histogram('h', 'H', '', 'x', 'y', [sections.series('a', [1, 2], [1, 2])]), 'do not fit'),
    (lambda: sections.histogram('h', 'H', '', 'x', 'y', [sections.counts('a', [1], edges) for edges in ([0, 1], [0, 2])]),
     'different bins'),
    (lambda: sections.bars('b', 'B', '', 'x', 'y', [sections.series('a', ['p'], [1]), sections.series('b', ['q'], [1])]),
     'different bars'),
    (lambda: sections.matrix('m', 'M', '', [[0.5, 0.5]], ['a', 'b']), '2 rows and 2 columns'),
    (lambda: sections.matrix('m', 'M', '', [[7, 3], [1, 9]], ['a', 'b']), 'shares between 0 and 1'),
    (lambda: sections.distribution('d', []), 'd has no values'),
    (lambda: sections.controls(placebo=sections.control(RATE, '')), 'pictures_alone'),
    (lambda: sections.primary('e', 'a', RATE, RATE, RATE), 'an accuracy'),
    (lambda: sections.primary('e', 'a', RATE, RATE, RATE, accuracy=RATE, acceptance={}), 'an accuracy'),
])
def test_what_does_not_fit_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_every_published_table_can_be_named():
    for key, printed in PUBLISHED.items():
        made = sections.table('t', 'T', printed['columns'], printed['rows'], published=key, differs='nothing')
        assert _against('table', made) == []


def test_the_parts_of_a_verdict_fit_the_schema():
    control = sections.controls(**{name: sections.control(RATE, 'words', 0.5) for name in sections.CONTROLS[1:]},
                                placebo=sections.not_available('nobody'))
    for study, own in (('inference', {'accuracy': RATE}),
                       ('inversion', {'acceptance': sections.acceptance(RATE, RATE, RATE, RATE)})):
        body = {'study': study, 'primary': sections.primary('asked', 'attack', RATE, RATE, RATE, **own),
                'controls': control, 'sections': []}
        assert _against(f'of_{study}', body) == []
        other = 'inversion' if study == 'inference' else 'inference'
        assert any('is a required property' in message for message in _against(f'of_{other}', body))
    assert faults(plain(body))  # a body alone is no results.json
