"""Tables of sections: the published figure stands beside ours where the words agree, and lacks are listed."""

import pytest

from fpray.reports import tables
from fpray.reports.drawing import NB
from fpray.reports.published_tangari import PUBLISHED
from fpray.reports.results import plain
from fpray.studies import sections


def _laid(columns, rows, published='tangari-3'):
    return tables.lay(sections.table('t', 'T', columns, rows, published=published, differs='data'))


def test_a_figure_stands_beside_ours_where_heading_row_and_column_agree():
    laid = _laid(['Attacker\'s data', 'FT-5', 'elsewhere'], [
        ['Fingerprints, length 512'], ['Same-Ident.', 0.7, 0.1], ['another', 0.2, 0.3],
        ['Fingerprints, length 128'], ['Same-Ident.', 0.6, 0.1]])
    sources = [[cell.source for cell in row.cells] for row in laid.rows]
    assert sources == [[], [f'72.67{NB}%', ''], ['', ''], [], ['', '']]
    assert laid.title == 'Tangari et al. 2023, Table 3' and laid.beside


def test_figures_of_another_heading_or_none_stand_apart():
    assert not _laid(['Attacker\'s data', 'FT-5'], [['Same-Ident.', 0.7]]).beside
    bare = tables.lay(sections.table('t', 'T', ['a', 'b'], [['x', 1]]))
    assert (bare.title, bare.source, bare.beside) == ('', None, False)


def test_a_body_that_the_text_lacks_reads_not_available():
    laid = _laid(['Model', 'Identification'], [['Fingerprints'], ['ResNet', 0.9]], 'tangari-2')
    assert laid.rows[1].cells[0].source == 'not available'


@pytest.mark.parametrize('key', sorted(PUBLISHED))
def test_every_published_table_beside_itself_is_whole(key):
    printed = PUBLISHED[key]
    laid = _laid(printed['columns'], printed['rows'], key)
    for row, stored in zip(laid.rows, printed['rows'], strict=True):
        assert [cell.source for cell in row.cells] == [tables.printed(value, printed['unit']) for value in stored[1:]]


@pytest.mark.parametrize(('value', 'unit', 'words'), [
    ('91.6', '%', f'91.6{NB}%'), ('69,32', '%', f'69,32{NB}%'), ('97.62%', '', '97.62%'), ('Yes, No', '%', 'Yes, No'),
    ('23M', '', '23M'), ({'not_available': 'lost'}, '%', 'not available')])
def test_a_printed_figure_keeps_its_digits(value, unit, words):
    assert tables.printed(value, unit) == words


def test_the_contents_hold_the_studys_own_sections_in_their_place(make_sectioned):
    found = tables.contents(plain(make_sectioned('inversion')))
    keys = [key for key, _ in found]
    assert keys[:5] == ['result', 'meaning', 'endpoint', 'threat', 'controls'] and keys[-1] == 'glossary'
    assert keys[5:9] == ['part-chain', 'part-errors', 'part-impersonation', 'part-rebuilt']
    assert dict(found)['part-chain'] == 'One chain' and '' not in dict(found).values()


def test_a_picture_goes_where_the_longest_prefix_asks_for_it(make_sectioned):
    study = plain(make_sectioned('inversion'))
    assert tables.place(study, 'rec/rungs', 'pictures') == 'part-rebuilt'
    assert tables.place(study, 'grid/people', 'pictures') == 'pictures'
    study['sections'][1]['pictures'] = 'rec/rungs'
    assert tables.place(study, 'rec/rungs', 'pictures') == 'part-errors'
    assert tables.place(study, 'rec/conditions', 'pictures') == 'part-rebuilt'


def test_the_endpoints_numbers_are_the_studys(make_sectioned):
    assert len(tables.endpoint(plain(make_sectioned('inference')))) == 4
    rows = dict(tables.endpoint(plain(make_sectioned('inversion'))))
    assert rows['The person gets in with another picture']['estimate'] == 0.59 and len(rows) == 7


def test_lacks_of_tables_are_listed_once_each(make_sectioned):
    study = plain(make_sectioned('inference', available=False))
    rows = tables.negatives(study)
    assert [(row['kind'], row['what']) for row in rows if not row.get('more')] == [('Not available', 'Placebo')]
    found = {row['what']: row for row in rows if row.get('more')}
    assert found['Accuracy by length · 2048 · Accuracy']['text'] == 'timm is not installed'
    assert found['Accuracy by length · 512 · Accuracy']['kind'] == 'Not resolvable'
    study['primary']['auc'].update(estimate=0.52, interval=[0.44, 0.6])
    study['sections'][0]['tables'][0]['rows'][1][1].update(interval=[0.2, 0.98])
    now = tables.negatives(study)
    assert [row['what'] for row in now if row['kind'] == 'Not told from chance' and not row.get('more')] == ['The endpoint']
    own = 'Accuracy by length, attacker\'s data and adaptation · Fingerprints, length 128 · Same-Ident. · No-Adapt'
    assert own in [row['what'] for row in now if row.get('more')] and len(now) == len(rows) + 2
