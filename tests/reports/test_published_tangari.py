"""Tangari et al.'s figures: what the paper says of its tables in words, and tables that repeat one another."""

import pytest

from fpray.reports.published_tangari import CONDITIONS, PUBLISHED, RUNGS


def _blocks(key):
    """{heading: {row: {column: words}}} of a published table."""
    found, heading = {}, ''
    columns = PUBLISHED[key]['columns'][1:]
    for row in PUBLISHED[key]['rows']:
        heading = row[0] if len(row) == 1 else heading
        if len(row) > 1:
            found.setdefault(heading, {})[row[0]] = dict(zip(columns, row[1:], strict=True))
    return found


def _value(words):
    return float(words.rstrip('%').replace(',', '.'))


@pytest.mark.parametrize('key', sorted(PUBLISHED))
def test_every_row_has_its_columns_and_its_own_name(key):
    table = PUBLISHED[key]
    assert all(len(row) in (1, len(table['columns'])) and row[0] for row in table['rows'])
    for rows in _blocks(key).values():
        cells = [cell for row in rows.values() for cell in row.values()]
        assert all(cell if isinstance(cell, str) else cell['not_available'] for cell in cells)
    names = [(heading, name) for heading, rows in _blocks(key).items() for name in rows]
    assert len(names) == sum(len(row) > 1 for row in table['rows'])


def test_only_the_bodies_that_the_text_lacks_are_missing():
    lacking = {key for key in PUBLISHED for rows in _blocks(key).values() for row in rows.values() for cell in row.values()
               if not isinstance(cell, str)}
    assert lacking == {'tangari-2', 'tangari-4', 'tangari-9', 'tangari-15'}
    assert [row for row in _blocks('tangari-4')['']['128'].values() if isinstance(row, dict)] == [
        {'not_available': 'not in the text that we have; 105 models less the other rows are 11'}]
    assert 105 - sum(int(row[1]) for row in PUBLISHED['tangari-4']['rows'] if isinstance(row[1], str)) == 11


def test_model_inference_is_as_section_6_1_says():
    table = _blocks('tangari-3')
    assert len(table) == 6 and all(list(rows) == list(CONDITIONS) for rows in table.values())
    kept = {kind: [_value(row[rung]) for heading, rows in table.items() if heading.startswith(kind)
                   for row in rows.values() for rung in RUNGS[:-1]] for kind in ('Faces', 'Fingerprints')}
    assert sum(kept['Fingerprints']) / len(kept['Fingerprints']) > 85 and sum(kept['Faces']) / len(kept['Faces']) >= 79
    least = {kind: min(_value(rows['Diff-PreProc.']['No-Adapt']) for heading, rows in table.items()
                       if heading.startswith(kind)) for kind in kept}
    assert least == {'Faces': 78.66, 'Fingerprints': 91.88}
    for row in PUBLISHED['tangari-4']['rows']:
        classes = int(row[1]) if isinstance(row[1], str) else 11
        assert _value(row[2]) > 96 and _value(row[3]) == pytest.approx(100 / classes, abs=0.1)


def test_reconstruction_errors_grow_as_section_6_2_says():
    rows = _blocks('tangari-5')['']
    assert list(rows) == list(RUNGS)
    for kind, more in (('Faces', 165), ('Fingerprints', 93)):  # at FT-4
        none, four = (_value(rows[rung][f'{kind}: DSSIM']) for rung in ('No-Adapt', 'FT-4'))
        assert 100 * (four / none - 1) == pytest.approx(more, abs=0.6)
    data = _blocks('tangari-6')['']
    assert _value(data['Diff-PreProc.']['Fingerprints: DSSIM']) / _value(data['Same-Ident.']['Fingerprints: DSSIM']) == (
        pytest.approx(9, abs=0.1))
    assert {name: row['Length'] for name, row in _blocks('tangari-7')['Faces'].items()}['Facenet'] == '128'


def test_impersonation_is_as_section_6_3_says_and_tables_repeat_one_another():
    table, many, outside = _blocks('tangari-8'), _blocks('tangari-11'), _blocks('tangari-12')
    best = {kind: tuple(max(_value(row[column]) for heading, rows in table.items() if heading.startswith(kind)
                            for row in rows.values()) for column in ('Identification', 'Same image'))
            for kind in ('Faces', 'Fingerprints')}
    assert best == {'Faces': (73.3, 92.0), 'Fingerprints': (41.8, 73.0)}
    for data in CONDITIONS:
        own = table[f'Faces, {data}']['ResNet50']
        assert outside[data]['ResNet50'] == own
        assert many[data]['1'] == {key: own[key] for key in ('Identification', 'Same subject')}
    ours = _blocks('tangari-10')['']
    for column, share in (('Identification', 56), ('Same subject', 69)):
        assert 100 * _value(ours['Adversarial (No-Adapt)'][column]) / _value(ours['Baseline'][column]) == (
            pytest.approx(share, abs=0.5))
    kept = _value(outside['Same-Ident.']['ResNet50V2']['Identification']) / _value(
        outside['Same-Ident.']['ResNet50']['Identification'])
    assert 100 * kept == pytest.approx(65, abs=0.5)
