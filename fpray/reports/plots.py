"""Plots of a study's sections as SVG text: curves, steps, clouds, matrices, bars, histograms and DET curves.

Each is a pure function of a stored plot (results.schema.json, 'plot'), drawn on the board that every figure stands on.
From the thirteenth series on, marks are hollow: colour, dash and mark together tell two dozen series apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Any

from fpray.reports.drawing import (
    DASHES,
    NB,
    Axis,
    Panel,
    Results,
    Ticks,
    estimate,
    interval,
    line_at,
    marker,
    number,
    path,
    svg,
    text_at,
    turned,
    wrap,
)

Plot = Mapping[str, Any]
Points = list[tuple[float, float]]

FEW = 12  # points of a series that get a mark each; more become a line with a band
APART = 24.0  # px between ticks at the measured values
SQUARE = (360.0, 282.0)
MARK_DASHES = ('3 3', '9 4', '1 4')
LETTER = 7.4  # px that a letter takes at most, on average
MOST_NAMED = 26  # letters of a matrix's row or column
SMALL_CELL, BROAD_CELLS, PAGE = 24.0, (20.0, 30.0), 846.0  # px: least side in a panel, sides in a broad one, the page's room
RATES = (1e-4, 1e-3, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)  # ticks of a DET
DEVIATE = NormalDist().inv_cdf


def of_sections(results: Results) -> dict[str, str]:
    """Every plot of every section, by '<section>-<plot>', in the page's order; before them who gets in, of an inversion."""
    found = {'endpoint': acceptance(results['primary'])} if 'acceptance' in results['primary'] else {}
    return found | {f'{section["id"]}-{plot["id"]}': draw(plot)
                    for section in results['sections'] for plot in section['plots']}


def acceptance(primary: Mapping[str, Any]) -> str:
    """Shares accepted at the threshold: an outsider with a reconstruction, the same as strangers, the person."""
    rates = [primary['acceptance'][key] for key in ('own', 'strangers', 'genuine')]
    names = ['An outsider, with a reconstruction', 'The same pictures, as strangers', 'The person, with another picture']
    return bars({'title': 'Who gets in', 'x': '', 'y': 'share accepted at the threshold, bars 95 % over people', 'series': [{
        'name': '', 'x': names, 'y': [rate['estimate'] for rate in rates],
        'low': [rate['interval'][0] for rate in rates], 'high': [rate['interval'][1] for rate in rates]}]})


def draw(plot: Plot) -> str:
    """One stored plot as SVG text, 360 px wide or, a large matrix, as wide as it must be."""
    return KINDS[plot['kind']](plot)


# What the kinds share.

def _colour(i: int) -> int:
    return i % 6


def _style(i: int) -> str:
    """Class of the mark of series i: filled, or hollow where the filled shapes are used up."""
    return f's{_colour(i)} ' + (f'f{_colour(i)}' if i < 12 else 'hollow thin')


def _dash(i: int) -> str:
    return DASHES[i % len(DASHES)]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis: whole tenths for shares, a little room for all else."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low >= 0 and 0.09 < high <= 1:
        return (0.0 if low < 0.4 else math.floor(low * 10 + 1e-9) / 10), (
            1.0 if high > 0.6 else math.ceil(high * 10 - 1e-9) / 10)
    room = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
    return (0.0 if 0 <= low < 0.4 * high else low - room), high + room


def _words(y: float, low: float | None = None, high: float | None = None) -> str:
    """'0.71 [0.62, 0.80]' of a share, '12.3 [11.8, 12.9]' of anything else."""
    ends = _known([low, high])
    ends = ends if len(ends) == 2 else []
    if all(abs(value) <= 1 for value in (y, *ends)):
        rate: dict[str, Any] = {'estimate': y, 'interval': ends or [None, None], 'chance': None}
        return estimate(rate) + (f' {interval(rate)}' if ends else '')
    return number(y) + (f' [{number(ends[0])},{NB}{number(ends[1])}]' if ends else '')


def _marks(panel: Panel, plot: Plot, first: int = 0) -> list[tuple[str, str]]:
    """Dashed lines at values of an axis, from the dash `first` on; gives their entries of the legend."""
    keys = []
    for i, mark in enumerate(plot.get('marks', ()), start=first):
        dash = f'style="stroke-dasharray:{MARK_DASHES[i % len(MARK_DASHES)]}"'
        at = (panel.y if mark['axis'] == 'y' else panel.x)(mark['at'])
        ends = (panel.left, at, panel.right, at) if mark['axis'] == 'y' else (at, panel.top, at, panel.bottom)
        panel.body.append(line_at(*ends, 'chance', dash))
        keys.append((line_at(0, 0, 26, 0, 'chance', dash), mark['name']))
    return keys


def _marked_at(plot: Plot, axis: str) -> list[float]:
    return [mark['at'] for mark in plot.get('marks', ()) if mark['axis'] == axis]


def _places(plot: Plot) -> tuple[Callable[[Any], float], Ticks | None, tuple[float, float]]:
    """How a stored x becomes a place, the ticks (None: as the axis likes) and the ends of the x axis."""
    stored = [x for each in plot['series'] for x in each['x']]
    if any(isinstance(x, str) for x in stored):
        names = list(dict.fromkeys(str(x) for x in stored))
        return (lambda x: float(names.index(str(x)))), {float(i): name for i, name in enumerate(names)}, (
            -0.5, len(names) - 0.5)
    log = plot.get('log', False)
    values = sorted({float(x) for x in stored if not log or x > 0}) or [0.1, 1.0]
    if log:
        wide = 1.12 if len(values) <= FEW else 1.0
        return float, None, (values[0] / wide, values[-1] * wide)
    room = (values[-1] - values[0]) * (0.04 if len(values) <= FEW else 0.0) or (0.5 if len(values) == 1 else 0.0)
    return float, None, (values[0] - room, values[-1] + room)


def _ticks_at_values(plot: Plot, x: Axis) -> Ticks | None:
    """The measured values as ticks, where they are few and stand apart."""
    values = sorted({float(value) for each in plot['series'] for value in each['x']})
    values = [value for value in values if value > 0] if x.log else values
    if not 1 < len(values) <= 8 or min(x(b) - x(a) for a, b in pairwise(values)) < APART:
        return None
    return {value: number(value) for value in values}


def _panel(plot: Plot) -> tuple[Panel, Callable[[Any], float], list[tuple[str, str]]]:
    """A panel with axes, marks and the line of guessing; how a stored x becomes a place; and the legend's last entries."""
    place, ticks, ends = _places(plot)
    heights = [v for each in plot['series'] for key in ('y', 'low', 'high') for v in _known(each.get(key, []))]
    across, up = [*ends, *_marked_at(plot, 'x')], _span([*heights, *_marked_at(plot, 'y')])
    log = plot.get('log', False)
    if plot['diagonal']:
        across, up = ([*across, 1.0] if log else [0.0, 1.0]), (0.0, 1.0)
    bounded = any('low' in each for each in plot['series'])
    panel = Panel(plot['title'], 'bars or bands: 95 % intervals' if bounded else '', (min(across), max(across)), up,
                  (plot['x'], plot['y']), (log, False))
    panel.axes(ticks or _ticks_at_values(plot, panel.x))
    keys = _marks(panel, plot)
    if plot['diagonal']:
        low, high = panel.x.lo, panel.x.hi
        steps = [low + (high - low) * (i / 60) ** (4 if log else 1) for i in range(61)]
        panel.body.append(path([(panel.x(v), panel.y(v)) for v in steps], 'line chance'))
        keys.append((line_at(0, 0, 26, 0, 'chance'), 'guessing'))
    return panel, place, keys


# Curves.

def lines(plot: Plot) -> str:
    """Curves with an interval at each point: bars where the points are few, else a band."""
    panel, place, keys = _panel(plot)
    several = [each for each in plot['series'] if 'low' in each]
    for i, each in enumerate(plot['series']):
        apart = min(7.0, 40 / len(several)) if len(several) > 1 and len(each['x']) <= FEW else 0.0
        shift = apart * (i - (len(plot['series']) - 1) / 2)
        _line(panel, each, i, [place(x) for x in each['x']], shift)
    panel.legend += keys
    return panel.svg()


def _line(panel: Panel, each: Mapping[str, Any], i: int, at: Sequence[float], shift: float) -> None:
    """One curve, its intervals and its legend."""
    few = len(at) <= FEW
    rows = [(panel.x(x) + shift, y, low, high, x) for x, y, low, high in zip(
        at, each['y'], each.get('low', [None] * len(at)), each.get('high', [None] * len(at)), strict=True)
        if y is not None and not (panel.x.log and x <= 0)]
    band = [(x, low, high) for x, _, low, high, _ in rows if low is not None and high is not None]
    if band and not few:
        around = [(x, panel.y(high)) for x, _, high in band] + [(x, panel.y(low)) for x, low, _ in reversed(band)]
        panel.body.append(path(around, f'area f{_colour(i)}', close=True))
    if rows:
        panel.body.append(path([(x, panel.y(y)) for x, y, *_ in rows], f'line s{_colour(i)}', _dash(i)))
    for x, y, low, high, value in rows if few else ():
        panel.bar(x, (low, high), f's{_colour(i)}')
        panel.body.append(marker(x, panel.y(y), i, _style(i), f'{each["name"]}, {number(value)}: {_words(y, low, high)}'))
    _key(panel, each['name'], _stroke(i) + (marker(13, 0, i, _style(i)) if few or i >= 6 else ''))


def _key(panel: Panel, name: str, sample: str) -> None:
    if name:
        panel.legend.append((sample, name))


def _stroke(i: int) -> str:
    """A legend's piece of the line of series i."""
    return line_at(0, 0, 26, 0, f'line s{_colour(i)}', f'stroke-dasharray="{_dash(i) or "none"}"')


def steps(plot: Plot) -> str:
    """Curves that keep their value until the next point: distribution functions and their like."""
    panel, place, keys = _panel(plot)
    for i, each in enumerate(plot['series']):
        points = [(panel.x(place(x)), panel.y(y)) for x, y in zip(each['x'], each['y'], strict=True)
                  if y is not None and not (panel.x.log and x <= 0)]
        corners = [(x, y) for (_, before), (x, after) in pairwise(points) for y in (before, after)]
        if points:
            panel.body.append(path([points[0], *corners], f'line s{_colour(i)}', _dash(i)))
        _key(panel, each['name'], _stroke(i))
    panel.legend += keys
    return panel.svg()


def histogram(plot: Plot) -> str:
    """Histograms over one another, each as shares of its own counts."""
    shown = [dict(each, y=[(y or 0) / (sum(_known(each['y'])) or 1) for y in each['y']]) for each in plot['series']]
    edges = [each['x'] for each in shown]
    across = [x for each in edges for x in (each[0], each[-1])] + _marked_at(plot, 'x')
    top = max((y for each in shown for y in each['y']), default=1.0) or 1.0
    panel = Panel(plot['title'], '', (min(across), max(across)), (0.0, top * 1.08), (plot['x'], plot['y']))
    panel.axes()
    for i, each in enumerate(shown):
        inner = [(x, y) for a, b, y in zip(each['x'], each['x'][1:], each['y'], strict=False) for x in (a, b)]
        outline = [(panel.x(x), panel.y(y)) for x, y in [(each['x'][0], 0.0), *inner, (each['x'][-1], 0.0)]]
        panel.body += [path(outline, f'area f{_colour(i)}', close=True), path(outline, f'line s{_colour(i)}', _dash(i))]
        _key(panel, each['name'], f'<rect x="0" y="-6" width="26" height="12" class="area f{_colour(i)}"/>'
             + _stroke(i))
    panel.legend += _marks(panel, plot)
    return panel.svg()


# Clouds.

GLYPHS = ('m-2.2 0a2.2 2.2 0 1 0 4.4 0a2.2 2.2 0 1 0-4.4 0', 'm-2-2h4v4h-4z', 'm0-2.9l2.9 2.9l-2.9 2.9l-2.9-2.9z',
          'm0-2.8l2.6 4.6h-5.2z', 'm0 2.8l2.6-4.6h-5.2z',
          'm-2.6-1.4l1.2-1.2l1.4 1.4l1.4-1.4l1.2 1.2l-1.4 1.4l1.4 1.4l-1.2 1.2l-1.4-1.4l-1.4 1.4l-1.2-1.2l1.4-1.4z')
# as `marker`, small


def scatter(plot: Plot) -> str:
    """Clouds of points, each series one path of small marks: thousands of points stay a light figure."""
    points = [list(zip(each['x'], each['y'], strict=True)) for each in plot['series']]
    xs, ys = ([p[k] for ps in points for p in ps if p[1] is not None] for k in (0, 1))
    panel = Panel(plot['title'], '', _span([*xs, *_marked_at(plot, 'x')]), _span([*ys, *_marked_at(plot, 'y')]),
                  (plot['x'], plot['y']), size=SQUARE)
    panel.axes() if plot['x'] or plot['y'] else panel.axes({}, {})
    for i, (each, mine) in enumerate(zip(plot['series'], points, strict=True)):
        glyph = GLYPHS[(i + i // 6 * 3) % 6]
        spots = dict.fromkeys(f'M{panel.x(x):.1f} {panel.y(y):.1f}{glyph}' for x, y in mine if y is not None)
        style = f's{_colour(i)} hollow thin' if i >= 12 else f'f{_colour(i)}'
        panel.body.append(f'<path d="{"".join(spots)}" class="{style}" opacity="0.75">'
                          f'<title>{_escaped(each["name"])}</title></path>')
        if each['name']:
            panel.key(i, _style(i), each['name'])
    panel.legend += _marks(panel, plot)
    return panel.svg()


def _escaped(words: str) -> str:
    return words.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


# Errors on normal deviates.

def det(plot: Plot) -> str:
    """Detection error trade-off (Martin et al. 1997, ISO/IEC 19795-1): both rates on normal-deviate axes.

    The dashed line marks equal rates; `diagonal` adds the line of guessing, where they sum to one.
    """
    inside = [[(x, y) for x, y in zip(each['x'], each['y'], strict=True) if y is not None and 0 < x < 1 and 0 < y < 1]
              for each in plot['series']]
    low = max(1e-4, min([0.05, *(v for points in inside for p in points for v in p)]))
    high = min(0.99, max([0.5, *(y for points in inside for x, y in points if low <= x <= 0.5)]))
    panel = Panel(plot['title'], '', (DEVIATE(low), 0.0), (DEVIATE(low), DEVIATE(high)), (plot['x'], plot['y']),
                  size=SQUARE)
    panel.axes(_deviates(panel.x), _deviates(panel.y, 17.0))
    keys = [_through_half(panel, DEVIATE(low), 1, 'equal error rates')]
    if plot['diagonal']:
        keys.append(_through_half(panel, max(DEVIATE(low), -panel.y.hi), -1, 'guessing'))
    for i, (each, points) in enumerate(zip(plot['series'], inside, strict=True)):
        shown = [(DEVIATE(x), DEVIATE(y)) for x, y in points]
        kept = [(panel.x(x), panel.y(y)) for x, y in shown
                if panel.x.lo <= x <= panel.x.hi and panel.y.lo <= y <= panel.y.hi]
        if kept:
            panel.body.append(path(kept, f'line s{_colour(i)}', _dash(i)))
        _key(panel, each['name'] + ('' if kept else ': no errors to draw'), _stroke(i))
    marks = [dict(mark, at=DEVIATE(min(max(mark['at'], low), high))) for mark in plot.get('marks', ())]
    panel.legend += _marks(panel, {'marks': marks}, 1) + keys
    return panel.svg()


def _through_half(panel: Panel, start: float, slope: int, words: str) -> tuple[str, str]:
    """A dashed line from x = `start` to the point where both rates are one half; gives its entry of the legend."""
    dash = '' if slope == 1 else 'style="stroke-dasharray:1 4"'
    panel.body.append(line_at(panel.x(start), panel.y(slope * start), panel.x(0), panel.y(0), 'chance', dash))
    return line_at(0, 0, 26, 0, 'chance', dash), words


def _deviates(axis: Axis, apart: float = 45.0) -> dict[float, str]:
    """Ticks at round rates in percent, so far apart that their words do not touch."""
    ticks: dict[float, str] = {}
    for rate in RATES:
        z = DEVIATE(rate)
        if axis.lo - 1e-9 <= z <= axis.hi + 1e-9 and all(abs(axis(z) - axis(other)) >= apart for other in ticks):
            ticks[z] = f'{100 * rate:g}{NB}%'
    return ticks


# Bars.

def bars(plot: Plot) -> str:
    """Values under one another by name, each with its number and interval; several series stand together."""
    shown = plot['series']
    ends = [v for each in shown for key in ('y', 'low', 'high') for v in _known(each.get(key, []))]
    low, high = _span([0.0, *ends, *_marked_at(plot, 'y')])
    x = Axis(low, high, 4.0, 232.0)
    body = [text_at(0, 16 + 18 * i, words, 'h') for i, words in enumerate(wrap(plot['title'], 354, 14))]
    y = top = 18.0 * len(body) + 10
    for row, name in enumerate(shown[0]['x']):
        for words in wrap(str(name), 354):
            body.append(text_at(0, y + 14, words))
            y += 16
        for i, each in enumerate(shown):
            body += _bar(each, row, i, x, y + 10)
            y += 17
        y += 6
    for mark in plot.get('marks', ()):
        if mark['axis'] == 'y':
            body.append(line_at(x(mark['at']), top, x(mark['at']), y, 'chance'))
    body += [part for v in x.ticks(4) for part in (line_at(x(v), y, x(v), y + 4, 'axis'),
                                                   text_at(x(v), y + 17, f'{v:g}', 'm', 'middle'))]
    body += [line_at(x.start, y, x.end, y, 'axis')]
    body += [text_at(0, y + 38 + 16 * i, words, 'm') for i, words in enumerate(wrap(plot['y'], 354))]
    y += 38 + 16 * len(wrap(plot['y'], 354))
    keys = [(line_at(0, 0, 26, 0, 'chance'), m['name']) for m in plot.get('marks', ()) if m['axis'] == 'y']
    keys += [(marker(13, 0, i, _style(i)), each['name']) for i, each in enumerate(shown) if len(shown) > 1]
    for sample, words in keys:
        body += [f'<g transform="translate(0 {y:.1f})">{sample}</g>', text_at(36, y + 4, words)]
        y += 20
    return svg(360, y + 2 - (0 if keys else 14), body, plot['title'])


def _bar(each: Mapping[str, Any], row: int, i: int, x: Axis, y: float) -> list[str]:
    """One bar at height y: from zero, with its interval, its mark and its number."""
    value, low, high = (each[key][row] if key in each else None for key in ('y', 'low', 'high'))
    if value is None:
        return [text_at(360, y + 4, 'not available', 'm small', 'end')]
    left, right = sorted((x(0.0), x(value)))
    body = [f'<rect x="{left:.1f}" y="{y - 4:.1f}" width="{right - left:.1f}" height="8" class="area f{_colour(i)}"/>']
    if low is not None and high is not None:
        body.append(line_at(x(low), y, x(high), y, f's{_colour(i)}', 'stroke-width="2"'))
    words = _words(value, low, high)
    tip = f'{each["x"][row]}{", " if each["name"] else ""}{each["name"]}: {words}'
    return [*body, marker(x(value), y, i, _style(i), tip, 4), text_at(360, y + 4, words, 'small', 'end')]


# Matrices.

def matrix(plot: Plot) -> str:
    """Shares by row and column with their percent, the deeper the more; what is right has a frame."""
    rows, columns = ([_short(name) for name in plot[key]] for key in ('labels', 'columns'))
    left = 8 + LETTER * max(map(len, rows), default=1)
    longest = LETTER * max(map(len, columns), default=1)
    cell = min(46.0, (356 - left - 0.6 * longest) / max(len(columns), 1))
    small = cell >= SMALL_CELL
    if not small:
        cell = min(max((PAGE - left) / len(columns), BROAD_CELLS[0]), BROAD_CELLS[1])
    plain = small and longest <= cell - 2
    width = 360.0 if small else max(360.0, left + cell * len(columns) + 6)
    heads = wrap(plot['title'], width - 6, 14)
    subs = wrap(f'Rows: {plot["y"]}; columns: {plot["x"]}. Percent of a row; blank is 0.', width - 6)
    body = [text_at(0, 16 + 18 * i, words, 'h') for i, words in enumerate(heads)]
    body += [text_at(0, 18 * len(heads) + 16 + 16 * i, words, 'm') for i, words in enumerate(subs)]
    top = 18 * len(heads) + 16 * len(subs) + (28 if plain else 20 + longest * (0.72 if small else 1.0))
    for j, words in enumerate(columns):
        x = left + cell * (j + 0.5)
        body.append(text_at(x, top - 7, words, '', 'middle') if plain else
                    turned(x + (0 if small else 4), top - 7, words, '', -45 if small else -90, 'start'))
    for i, words in enumerate(rows):
        body.append(text_at(left - 8, top + cell * (i + 0.5) + 4, words, '', 'end'))
        body += [_cell(plot, i, j, left + cell * j, top + cell * i, cell) for j in range(len(columns))]
    return svg(width, top + cell * len(rows) + 6, body, plot['title'])


def _cell(plot: Plot, i: int, j: int, x: float, y: float, side: float) -> str:
    """One share: a square as deep as the share, its percent, and a frame where the answer is right."""
    value, right = plot['values'][i][j], plot['labels'][i] == plot['columns'][j]
    words = '–' if value is None else '' if value == 0 else '<1' if value < 0.01 else f'{100 * value:.0f}'
    tip = f'{plot["labels"][i]}, {plot["columns"][j]}: ' + ('nothing asked' if value is None else f'{value:.1%}')
    box = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{side - 2:.1f}" height="{side - 2:.1f}" rx="2"'
    return (f'<g><title>{_escaped(tip)}</title><rect {box} class="empty"/>'
            + (f'<rect {box} class="f1" style="opacity:calc(var(--deep)*{value:.3f})"/>' if value else '')
            + (f'<rect {box} class="own"/>' if right else '')
            + (text_at(x + side / 2, y + side / 2 + 4, words, 'small' if side >= SMALL_CELL else 'tiny', 'middle')
               if words else '') + '</g>')


def _short(name: str) -> str:
    return name if len(name) <= MOST_NAMED else f'{name[:MOST_NAMED - 1]}…'


KINDS: dict[str, Callable[[Plot], str]] = {
    'lines': lines, 'steps': steps, 'scatter': scatter, 'matrix': matrix, 'bars': bars, 'histogram': histogram, 'det': det}
