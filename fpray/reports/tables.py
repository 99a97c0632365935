"""Tables of a study's sections: laid out with the published numbers beside ours, and what did not come out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fpray.reports.drawing import NB, Rate, Results
from fpray.reports.published_tangari import PUBLISHED, SOURCE, Printed
from fpray.reports.words import SECTIONS, WORDS

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """What stands in a cell: our value and, where the source has a row and a column of these names, its figure."""

    own: Any
    source: str


@dataclass(frozen=True)
class Row:
    """A row: its name and cells, or a heading over the rows below it, which has none."""

    name: Any
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Laid:
    """A table as the page shows it.

    Attributes:
        stored: as the study built it.
        rows: ours, the published figures beside them.
        title: 'Tangari et al. 2023, Table 3', '' where none is published.
        source: the published table, None where there is none.
        beside: some published figure stands beside one of ours.
    """

    stored: Table
    rows: tuple[Row, ...]
    title: str
    source: Printed | None
    beside: bool


def lay(table: Table) -> Laid:
    """Put the published figures beside ours: where heading, row's name and column's name are the same words."""
    source = PUBLISHED[table['published']] if table['published'] else None
    figures, rows = _figures(source) if source else {}, []
    for heading, row in _under_headings(table['rows']):
        beside = [figures.get((heading, row[0], column), '') for column in table['columns'][1:]]
        cells = zip(row[1:], beside, strict=True) if len(row) > 1 else ()
        rows.append(Row(row[0], tuple(Cell(own, figure) for own, figure in cells)))
    title = f'{SOURCE}, Table {table["published"].removeprefix("tangari-")}' if source else ''
    return Laid(table, tuple(rows), title, source, any(cell.source for row in rows for cell in row.cells))


def _under_headings(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each row with the heading that it stands under; a heading with itself."""
    heading = ''
    for row in rows:
        heading = row[0] if len(row) == 1 else heading
        yield heading, row


def _figures(source: Printed) -> dict[tuple[str, Any, str], str]:
    """What is printed, as `printed` writes it, by heading, row and column."""
    return {(heading, row[0], column): printed(value, source['unit'])
            for heading, row in _under_headings(source['rows']) if len(row) > 1
            for column, value in zip(source['columns'][1:], row[1:], strict=True)}


def printed(value: str | Mapping[str, str], unit: str) -> str:
    """'91.6 %' of '91.6' where the table counts percent, 'not available' where the text lacks it; words as they are."""
    if not isinstance(value, str):
        return 'not available'
    return f'{value}{NB}{unit}' if unit and re.fullmatch(r'[\d.,]+', value) else value


# What the page shows beside the study's own sections.

def endpoint(results: Results) -> list[tuple[str, Rate]]:
    """The endpoint's numbers with what each is, in the study's words."""
    rows = []
    for key, words in WORDS[results['study']].numbers:
        rate: Any = results['primary']
        for step in key.split('.'):
            rate = rate[step]
        rows.append((words, rate))
    return rows


def contents(results: Results) -> list[tuple[str, str]]:
    """Id and name of every section of the page, the study's own where its words leave room for them."""
    own = [(anchor(section), section['title']) for section in results.get('sections', [])]
    return [pair for id, name in WORDS[results['study']].contents for pair in (own if id == SECTIONS else [(id, name)])]


def anchor(section: Mapping[str, Any]) -> str:
    """Where links to a study's own section go: no other id of the page begins like this."""
    return f'part-{section["id"]}'


def place(results: Results, key: str, otherwise: str) -> str:
    """Id of the section that shows a picture: the one that asks for the longest beginning of its key."""
    wanted = [section for section in results.get('sections', ())
              if section['pictures'] and key.startswith(section['pictures'])]
    return anchor(max(wanted, key=lambda section: len(section['pictures']))) if wanted else otherwise


def negatives(results: Results) -> list[dict[str, Any]]:
    """What was not told from chance, not resolvable or not available, as `html.negatives`; cells of tables fold away."""
    primary = results['primary']
    first = [('The endpoint', primary['auc']), ('The endpoint minus its placebo', primary['minus_placebo'])]
    return [
        *({'kind': 'Not told from chance', 'what': words, 'rate': rate, 'text': ''}
          for words, rate in first if _at_chance(rate)),
        *({'kind': 'Not available', 'what': WORDS[results['study']].controls()[key][0], 'rate': None,
           'text': control['not_available']}
          for key, control in results['controls'].items() if 'not_available' in control),
        *(row for section in results['sections'] for table in section['tables'] for row in _cells_lacking(table)),
    ]


def _cells_lacking(table: Table) -> Iterator[dict[str, Any]]:
    for heading, row in _under_headings(table['rows']):
        for column, value in zip(table['columns'][1:], row[1:], strict=False):
            if not isinstance(value, Mapping):
                continue
            names = [table['caption'], heading, row[0], column]
            found = {'what': ' · '.join(str(name) for name in names if name), 'rate': None, 'more': True}
            if 'not_available' in value:
                yield found | {'kind': 'Not available', 'text': value['not_available']}
            elif value['estimate'] is None:
                yield found | {'kind': 'Not resolvable', 'text': value['note']}
            elif value['chance'] is not None and _at_chance(value):
                yield found | {'kind': 'Not told from chance', 'rate': value, 'text': ''}


def _at_chance(rate: Rate) -> bool:
    low, chance = rate['interval'][0], rate['chance']
    return low is None or chance is None or low <= chance
