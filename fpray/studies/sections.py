"""Sections of a report as values: tables, plots and the parts of a verdict, shaped as results.schema.json asks.

A study that shows many tables builds them here and hands the dictionaries on; numbers are any that
`fpray.reports.results.plain` takes. What does not fit together is refused at once, by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fpray.metrics.rate import Rate
from fpray.reports.published_tangari import PUBLISHED

Body = dict[str, Any]
"""A part of results.json."""
Cell = Rate | str | float | Mapping[str, Any] | None
"""Of a table: a rate, words, a number, None (a dash), or `not_available`."""

SLUG = re.compile('[a-z0-9][a-z0-9-]*')
CONTROLS = ('placebo', 'pictures_alone', 'permuted_null', 'rehearsal', 'smallest_detectable')
MOST_POINTS = 400  # of a distribution function: more make a page heavy and no line finer


# Sections and tables.

def section(id: str, title: str, text: str, tables: Iterable[Body] = (), plots: Iterable[Body] = (), *,
            fold: bool = False, pictures: str | None = None) -> Body:
    """A section of the page.

    Args:
        id: slug, of its own within the page.
        title: its heading.
        text: what is asked here and how, a paragraph.
        tables: of `table`.
        plots: of `lines` and its like.
        fold: it stands closed until a reader opens it.
        pictures: prefix of the keys of the pictures that stand here, e.g. 'rec'.

    Raises:
        ValueError: an id is no slug, or comes twice.
    """
    tables, plots = list(tables), list(plots)
    ids = [_slug(part['id']) for part in (*tables, *plots)]
    if len(set(ids)) < len(ids):
        raise ValueError(f'section {id} holds an id twice: {sorted(ids)}')
    return {'id': _slug(id), 'title': title, 'text': text, 'fold': fold, 'tables': tables, 'plots': plots,
            'pictures': pictures}


def table(id: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, note: str = '',
          differs: str = '', published: str | None = None, unit: str = '') -> Body:
    """A table; the first cell of a row names it, and a row of one cell is a heading over the rows below it.

    Where heading, row's name and column's name are those of the published table, the published number stands beside ours.

    Args:
        id: slug, of its own within the page.
        caption: what it shows.
        columns: names, that of the rows' names first; '' for none.
        rows: cells, see `Cell`.
        note: what stands under it.
        differs: how ours differs from the published table in data, weights and scale.
        published: key of the published table, 'tangari-3' for Table 3 of Tangari et al. 2023; its columns and rows
            are in `fpray.reports.published_tangari.PUBLISHED`.
        unit: what the rates' n_people counts where that is not people, e.g. 'networks'.

    Raises:
        ValueError: a row of another length, an unknown published table, or one without what differs.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    for row in cells:
        if len(row) not in (1, len(columns)):
            raise ValueError(f'table {id} has {len(columns)} columns, and a row of {len(row)}: {row[0]}')
    if (published is None) != (not differs) or published not in (None, *PUBLISHED):
        raise ValueError(f'table {id}: a published table ({published}) and what differs from it come together')
    return {'id': _slug(id), 'caption': caption, 'columns': list(columns), 'rows': cells, 'note': note,
            'differs': differs, 'published': published} | ({'unit': unit} if unit else {})


def not_available(why: str) -> Body:
    """A cell or a control that could not be had, and why."""
    return {'not_available': why}


# Plots.

def series(name: str, x: Sequence[Any], y: Sequence[float | None], low: Sequence[float | None] | None = None,
           high: Sequence[float | None] | None = None) -> Body:
    """A line, a cloud, a row of bars or a histogram's counts, with the interval of each y where there is one.

    Args:
        name: for the legend.
        x: values; of bars their names; of a histogram the edges of its bins, one more than there are counts.
        y: values, None where nothing was measured.
        low, high: ends of the intervals of y.
    """
    ends = {key: _list(value) for key, value in (('low', low), ('high', high)) if value is not None}
    return {'name': name, 'x': _list(x), 'y': _list(y), **ends}


def rates(name: str, x: Sequence[Any], values: Sequence[Rate]) -> Body:
    """A series of rates with their intervals."""
    return series(name, x, [rate.estimate for rate in values], [rate.interval[0] for rate in values],
                  [rate.interval[1] for rate in values])


def distribution(name: str, values: Sequence[float]) -> Body:
    """A series for `steps`: the share of values at or below x, thinned to a few hundred points."""
    ordered = np.sort(np.asarray(values, dtype=float))
    if not len(ordered):
        raise ValueError(f'{name} has no values')
    at = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_POINTS)).round().astype(int))
    return series(name, ordered[at], (at + 1) / len(ordered))


def counts(name: str, values: Sequence[float], edges: Sequence[float]) -> Body:
    """A series for `histogram`; what lies beyond the edges is held in the first and last bin."""
    held = np.clip(np.asarray(values, dtype=float), edges[0], edges[-1])
    return series(name, edges, np.histogram(held, edges)[0].tolist())


def mark(at: float, name: str, axis: str = 'y') -> Body:
    """A dashed line at a value of an axis, e.g. chance or a threshold."""
    return {'axis': axis, 'at': float(at), 'name': name}


def lines(id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], *, diagonal: bool = False,
          marks: Iterable[Body] = (), log: bool = False) -> Body:
    """Curves through points, with intervals where the series have them.

    Args:
        id: slug, of its own within the page.
        title: heading of the figure.
        text: how to read it.
        x, y: names of the axes with their units.
        drawn: of `series` or `rates`.
        diagonal: draws y = x, where guessing lies.
        marks: of `mark`.
        log: the x axis is logarithmic.
    """
    return _plot('lines', id, title, text, x, y, drawn, diagonal, marks, log)


def steps(id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], *, marks: Iterable[Body] = (),
          log: bool = False) -> Body:
    """Curves that stay until the next point, such as distribution functions; see `lines`."""
    return _plot('steps', id, title, text, x, y, drawn, False, marks, log)


def scatter(id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], *, marks: Iterable[Body] = ()) -> Body:
    """Clouds of points, one colour and shape a series; see `lines`."""
    return _plot('scatter', id, title, text, x, y, drawn, False, marks)


def bars(id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], *, marks: Iterable[Body] = ()) -> Body:
    """Values under one another with their intervals, by name; every series has the same names; see `lines`."""
    if len({tuple(each['x']) for each in drawn}) > 1:
        raise ValueError(f'plot {id}: the series name different bars')
    return _plot('bars', id, title, text, x, y, drawn, False, marks)


def histogram(id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], *,
              marks: Iterable[Body] = ()) -> Body:
    """Histograms over one another, drawn as shares of their own counts; the series are of `counts`; see `lines`."""
    if len({tuple(each['x']) for each in drawn}) > 1:
        raise ValueError(f'plot {id}: the histograms have different bins')
    return _plot('histogram', id, title, text, x, y, drawn, False, marks)


def det(id: str, title: str, text: str, drawn: Sequence[Body], *, x: str = 'false match rate',
        y: str = 'false non-match rate', diagonal: bool = False, marks: Iterable[Body] = ()) -> Body:
    """Detection error trade-off: shares of false matches (x) and of false non-matches (y), on normal deviates.

    The axes are those of ISO/IEC 19795-1; shares of 0 and 1 have no place on them and are left out. `diagonal` draws the
    line of guessing, on which both rates sum to 1. Curves come thinned (`metrics.verification.Curve.thinned`).
    """
    return _plot('det', id, title, text, x, y, drawn, diagonal, marks)


def matrix(id: str, title: str, text: str, values: Any, labels: Sequence[str], columns: Sequence[str] | None = None, *,
           x: str = 'answer', y: str = 'truth') -> Body:
    """Shares by truth (rows) and answer (columns), e.g. a confusion matrix.

    Args:
        id: slug, of its own within the page.
        title: heading of the figure.
        text: how to read it.
        values: (rows, columns), between 0 and 1; NaN where a row has nothing.
        labels: names of the rows.
        columns: names of the columns; those of the rows where not given.
        x, y: what columns and rows are.

    Raises:
        ValueError: names and values do not fit.
    """
    shares, columns = np.asarray(values, dtype=float), list(labels if columns is None else columns)
    if shares.shape != (len(labels), len(columns)):
        raise ValueError(f'plot {id}: values {shares.shape} for {len(labels)} rows and {len(columns)} columns')
    if np.nanmin(shares, initial=0) < 0 or np.nanmax(shares, initial=0) > 1 + 1e-9:
        raise ValueError(f'plot {id}: values of a matrix are shares between 0 and 1')
    return _plot('matrix', id, title, text, x, y, []) | {
        'labels': list(labels), 'columns': columns, 'values': [_list(row) for row in shares]}


def row_shares(tallies: Any) -> Any:
    """(rows, columns) counts, such as `metrics.classification.confusion`, as shares of each row; NaN in an empty one."""
    count = np.asarray(tallies, dtype=float)
    total = count.sum(1, keepdims=True)
    return np.divide(count, total, out=np.full_like(count, np.nan), where=total > 0)


def _plot(kind: str, id: str, title: str, text: str, x: str, y: str, drawn: Sequence[Body], diagonal: bool = False,
          marks: Iterable[Body] = (), log: bool = False) -> Body:
    more = int(kind == 'histogram')
    if not drawn and kind != 'matrix':
        raise ValueError(f'plot {id} has no series')
    for each in drawn:
        lengths = {key: len(each[key]) for key in ('x', 'y', 'low', 'high') if key in each}
        if {size - more * (key == 'x') for key, size in lengths.items()} != {len(each['y'])}:
            raise ValueError(f'plot {id}, {each["name"]}: lengths {lengths} do not fit')
    return {'id': _slug(id), 'kind': kind, 'title': title, 'text': text, 'x': x, 'y': y, 'series': list(drawn),
            'diagonal': diagonal, 'marks': list(marks), 'log': log}


# What the verdict stands on.

def primary(endpoint: str, attack: str, auc: Rate, tpr_at_fpr_1pct: Rate, minus_placebo: Rate, *,
            accuracy: Rate | None = None, acceptance: Body | None = None) -> Body:
    """The endpoint, fixed before any score was seen; its unit is the person.

    Args:
        endpoint: what is asked of whom, in plain words.
        attack: name of the attack that answers.
        auc: its AUC over people.
        tpr_at_fpr_1pct: share found, or accepted, where 1 % of the others are.
        minus_placebo: AUC minus the placebo's, paired by person.
        accuracy: of model inference, the share of vectors whose network is named rightly.
        acceptance: of inversion, see `acceptance`.

    Raises:
        ValueError: neither or both of accuracy and acceptance are given.
    """
    if (accuracy is None) == (acceptance is None):
        raise ValueError('an endpoint has an accuracy (inference) or an acceptance (inversion)')
    own = {'accuracy': accuracy} if acceptance is None else {'acceptance': acceptance}
    return {'endpoint': endpoint, 'attack': attack, 'unit': 'person', 'auc': auc, 'tpr_at_fpr_1pct': tpr_at_fpr_1pct,
            'minus_placebo': minus_placebo, **own}


def acceptance(own: Rate, strangers: Rate, difference: Rate, genuine: Rate) -> Body:
    """Shares accepted at the threshold: reconstructions as their own person and as others, and the person's own pictures."""
    return {'own': own, 'strangers': strangers, 'difference': difference, 'genuine': genuine}


def control(auc: Rate, text: str, p_holm: float | None = None) -> Body:
    """A control beside the endpoint: its AUC, what it was here, and its p after Holm's correction over the controls."""
    return {'auc': auc, 'text': text} | ({} if p_holm is None else {'p_holm': p_holm})


def controls(**each: Body) -> Body:
    """All five controls; each of `control`, or `not_available`.

    Raises:
        ValueError: one is missing, or is none of the five.
    """
    if set(each) != set(CONTROLS):
        raise ValueError(f'controls are {", ".join(CONTROLS)}; these differ: {", ".join(sorted(set(each) ^ set(CONTROLS)))}')
    return {name: each[name] for name in CONTROLS}


def _slug(id: str) -> str:
    if not SLUG.fullmatch(id):
        raise ValueError(f'{id!r} is no id: small letters, digits and hyphens')
    return id


def _list(values: Any) -> list[Any]:
    """Plain values; NaN becomes None."""
    plain = values.tolist() if hasattr(values, 'tolist') else [
        value.item() if hasattr(value, 'item') else value for value in values]
    return [None if isinstance(value, float) and value != value else value for value in plain]


def _cell(value: Any) -> Any:
    return _list([value])[0] if not isinstance(value, Rate | Mapping) else value
