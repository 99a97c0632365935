"""Figures of a report as SVG text: pure functions of stored results, without a drawing library.

Colours are CSS variables, so that a figure inside a page follows its light or dark theme; `standalone` makes
a file of its own. Every series differs in colour, dash and marker: no message hangs on colour alone."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

Results = Mapping[str, Any]
Rate = Mapping[str, Any]

PALETTE = {  # name: (light, dark); c0 is the audited victim and its members, c1 the people it never saw
    'paper': ('#faf8f4', '#151412'), 'card': ('#ffffff', '#1e1c19'), 'ink': ('#211f1b', '#ece8df'),
    'muted': ('#6a655b', '#a69f92'), 'rule': ('#e3ded3', '#38342d'), 'wash': ('#f1ede4', '#27241f'),
    'c0': ('#bf3f1c', '#ff8d66'), 'c1': ('#1f66ad', '#79b4f5'), 'c2': ('#0b7a5c', '#52cda3'),
    'c3': ('#7a46b3', '#c29ff2'), 'c4': ('#8a6300', '#dcb04a'), 'c5': ('#a1316f', '#f08fbd'),
}
NB = '\u00a0'  # no-break space
DASHES = ('', '7 3', '2 3', '9 3 2 3', '4 2', '1 2')
CONTRASTS = {  # contrast: (short name, its positives, its negatives)
    'mia': ('MIA', 'trained pictures', 'unseen people'),
    'iia': ('IIA', 'unseen impressions of trained people', 'unseen people'),
    'memorisation': ('Memorisation', 'trained impressions', 'unseen impressions of the same fingers'),
}
_VARIABLES = [''.join(f'--{name}:{pair[side]};' for name, pair in PALETTE.items()) for side in (0, 1)]
THEME_CSS = (f':root{{{_VARIABLES[0]}}}'
             f'@media screen and (prefers-color-scheme:dark){{:root{{{_VARIABLES[1]}}}}}')
FIGURE_CSS = (
    '.fig{font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;'
    'display:block;width:100%;height:auto;font-variant-numeric:tabular-nums}.fig text{fill:var(--ink)}'
    '.fig .m{fill:var(--muted)}.fig .small{font-size:11.5px}.fig .h{font-size:14px;font-weight:650}'
    '.fig .b{font-weight:650}.fig .k{font-size:10.5px;font-weight:650;letter-spacing:.06em;fill:var(--muted)}'
    '.fig .grid{stroke:var(--rule)}.fig .axis{stroke:var(--muted)}'
    '.fig .chance{stroke:var(--ink);stroke-dasharray:3 3}.fig .band{fill:var(--ink);opacity:.055}'
    '.fig .n{stroke:var(--muted);fill:var(--muted)}.fig .line{fill:none;stroke-width:2;stroke-linejoin:round}'
    '.fig .hollow{fill:var(--card);stroke-width:2}.fig .area{opacity:.17;stroke:none}'
    + ''.join(f'.fig .s{i}{{stroke:var(--c{i})}}.fig .f{i}{{fill:var(--c{i})}}' for i in range(6))
)


# How numbers are written, in figures and pages alike.

def number(value: float | None, digits: int = 3) -> str:
    """A count or a measure: 12,400 or 0.0123 or 1.7; a dash for None."""
    if value is None:
        return '–'
    if float(value).is_integer() and abs(value) < 1e9:
        return f'{int(value):,}'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.{digits}g}'


def share(value: float | None, digits: int = 2) -> str:
    """A share or an AUC with two decimals (or as many as asked); a dash for None."""
    return '–' if value is None else f'{value:.{digits}f}'


def rate_digits(rate: Rate) -> int:
    """Two decimals, or three where two would round a number of this rate onto 0, 1 or its chance level."""
    chance = rate['chance'] if rate['chance'] is not None else 0.0
    for value in (rate['estimate'], *rate['interval']):
        if value is not None and any(0 < abs(value - mark) < 0.005 for mark in (0.0, 1.0, chance)):
            return 3
    return 3 if abs(rate['estimate'] or 1) < 0.095 else 2


def estimate(rate: Rate) -> str:
    """'0.71', or 'not available' where the rate has no estimate."""
    return 'not available' if rate['estimate'] is None else share(rate['estimate'], rate_digits(rate))


def interval(rate: Rate) -> str:
    """'[0.62, 0.79]', or 'no interval'; written with no-break spaces."""
    low, high = rate['interval']
    digits = rate_digits(rate)
    if low is None and high is None:
        return f'no{NB}interval'
    return f'[{share(low, digits)},{NB}{share(high, digits)}]'


def p_value(value: float | None) -> str:
    """'p = 0.031', 'p < 0.001', or nothing for None; written with no-break spaces."""
    if value is None:
        return ''
    return f'p{NB}<{NB}0.001' if value < 0.001 else f'p{NB}={NB}{value:.2g}'


def people_words(results: Results) -> str:
    """What n_people counts: 'people', or fingers where the layout knows no person (METHOD, "The unit")."""
    return 'people' if results['data']['subject_known'] else 'fingers as people'


def detail(rate: Rate, people: str) -> str:
    """'chance 0.5 · n 240 · 80 people · p = 0.002': what stands beside an estimate; breaks between parts."""
    chance = '–' if rate['chance'] is None else f'{rate["chance"]:g}'
    parts = [f'chance {chance}', f'n {rate["n"]:,}', f'{rate["n_people"]:,} {people}', p_value(rate['p'])]
    return f'{NB}· '.join(part.replace(' ', NB) for part in parts if part)


def label(name: str) -> str:
    """A stored name as words: 'white_box' becomes 'white box'."""
    return name.replace('_', ' ')


# The drawing board.

@dataclass(frozen=True)
class Axis:
    """Values lo..hi laid on start..end px, linear or logarithmic; values outside are held at the edge."""

    lo: float
    hi: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        value = min(max(value, self.lo), self.hi)
        low, high, at = (math.log10(v) for v in (self.lo, self.hi, value)) if self.log else (self.lo, self.hi,
                                                                                             value)
        return round(self.start + (self.end - self.start) * (at - low) / ((high - low) or 1), 2)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the axis: decades on a logarithmic one, steps of 1, 2 or 5 on a linear one."""
        if self.log:
            powers = range(math.ceil(math.log10(self.lo) - 1e-9), math.floor(math.log10(self.hi) + 1e-9) + 1)
            return [10.0 ** power for power in powers]
        rough = (self.hi - self.lo) / about or 1
        magnitude = 10 ** math.floor(math.log10(rough))
        step = min((m * magnitude for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
        first = math.ceil(self.lo / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.hi / step + 1e-9) + 1)]


def _text(x: float, y: float, words: str, style: str = '', anchor: str = 'start') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str, more: str = '') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}" {more}/>'


def _path(points: Iterable[tuple[float, float]], style: str, dash: str = '', close: bool = False) -> str:
    """A polyline; neighbours that fall on the same tenth of a pixel are drawn once."""
    steps = [step for step, _ in groupby(f'{x:.1f} {y:.1f}' for x, y in points)]
    shape = 'M' + 'L'.join(steps) + ('Z' if close else '')
    return f'<path d="{shape}" class="{style}" stroke-dasharray="{dash or "none"}"/>'


def _marker(x: float, y: float, kind: int, style: str, tip: str = '', r: float = 4.5) -> str:
    """Marker shape `kind` (circle, square, diamond, triangle up, triangle down, cross) with a tooltip."""
    corners = (
        (), ((-1, -1), (1, -1), (1, 1), (-1, 1)), ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)), ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
        ((-1.1, -0.6), (-0.6, -1.1), (0, -0.5), (0.6, -1.1), (1.1, -0.6), (0.5, 0), (1.1, 0.6), (0.6, 1.1),
         (0, 0.5),
         (-0.6, 1.1), (-1.1, 0.6), (-0.5, 0)),
    )[kind % 6]
    title = f'<title>{escape(tip)}</title>' if tip else ''
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" class="{style}">{title}</circle>'
    shape = ' '.join(f'{x + r * dx:.1f},{y + r * dy:.1f}' for dx, dy in corners)
    return f'<polygon points="{shape}" class="{style}">{title}</polygon>'


def _tick(value: float) -> str:
    """A tick label: 0.5, 800, 20k, 1.5M."""
    scale, unit = (1e6, 'M') if abs(value) >= 1e6 else (1e3, 'k') if abs(value) >= 1e4 else (1, '')
    return f'{value / scale:g}{unit}'


def _wrap(words: str, room: float, size: float = 12) -> list[str]:
    """Lines that fit into `room` px, by the mean width of a letter."""
    lines, fits = [''], max(int(room / (size * 0.56)), 8)
    for word in words.split(' '):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > fits:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines


def _svg(width: float, height: float, body: Iterable[str], name: str) -> str:
    return (f'<svg class="fig" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            f'aria-label="{escape(name, {chr(34): "&quot;"})}">{"".join(body)}</svg>')


def standalone(figure: str) -> str:
    """The figure as an SVG file of its own: margins, palette, background and name space included."""
    width, height = _size(figure)
    frame = f'x="-16" y="-12" width="{width + 32:.0f}" height="{height + 24:.0f}"'
    head = (f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" width="{1.5 * (width + 32):.0f}" '
            f'height="{1.5 * (height + 24):.0f}" viewBox="-16 -12 {width + 32:.0f} {height + 24:.0f}" ')
    ground = f'<style>{THEME_CSS}{FIGURE_CSS}</style><rect {frame} fill="var(--card)"/>'
    rest = figure.split('role=', 1)[1].split('>', 1)
    return f'{head}role={rest[0]}>{ground}{rest[1]}\n'


def stamped(figure: str, words: str) -> str:
    """The figure with the data's label under it, so that it stays with the figure wherever that goes."""
    width, height = _size(figure)
    old, new = f'viewBox="0 0 {width:.0f} {height:.0f}"', f'viewBox="0 0 {width:.0f} {height + 24:.0f}"'
    return figure.replace(old, new).removesuffix('</svg>') + _text(0, height + 18, words, 'm small') + '</svg>'


def _size(figure: str) -> tuple[float, float]:
    width, height = figure.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()
    return float(width), float(height)


class _Panel:
    """A chart of 360 px, as wide as a phone: title, what was counted, axes, drawing, legend below."""

    width, left, plot = 360.0, 42.0, 190.0

    def __init__(self, title: str, counted: str, x: tuple[float, float], y: tuple[float, float],
                 names: tuple[str, str], log: tuple[bool, bool] = (False, False),
                 right: float = 338.0) -> None:
        heads, subs = _wrap(title, self.width - 6, 14), _wrap(counted, self.width - 6)
        self.body = [_text(0, 16 + 18 * i, line, 'h') for i, line in enumerate(heads)]
        below = 18 * len(heads)
        self.body += [_text(0, below + 16 + 16 * i, line, 'm') for i, line in enumerate(subs)]
        self.right = right
        self.top = below + 16 * len(subs) + 42.0
        self.bottom = self.top + self.plot
        self.x = Axis(*x, self.left, self.right, log[0])
        self.y = Axis(*y, self.bottom, self.top, log[1])
        self.name, self.names = title, names
        self.legend: list[tuple[str, str]] = []

    def axes(self, x_ticks: Sequence[float] | None = None) -> None:
        """Grid, tick labels and the names of both axes."""
        for value in self.y.ticks():
            at = self.y(value)
            self.body += [_line(self.left, at, self.right, at, 'grid'),
                          _text(self.left - 6, at + 4, _tick(value), 'm', 'end')]
        for value in self.x.ticks() if x_ticks is None else x_ticks:
            at = self.x(value)
            self.body += [_line(at, self.bottom, at, self.bottom + 4, 'axis'),
                          _text(at, self.bottom + 17, _tick(value), 'm', 'middle')]
        self.body += [_line(self.left, self.bottom, self.right, self.bottom, 'axis'),
                      _text(0, self.top - 13, self.names[1], 'm'),
                      _text((self.left + self.right) / 2, self.bottom + 35, self.names[0], 'm', 'middle')]

    def level(self, value: float, words: str = 'chance') -> None:
        """A dashed line across at a value of y, named beside its right end."""
        at = self.y(value)
        self.body += [_line(self.left, at, self.right, at, 'chance'),
                      _text(self.right + 5, at + 4, words, 'm small')]

    def line(self, points: Sequence[tuple[float, float | None]], series: int, words: str = '') -> None:
        """A curve in the colour and dash of its series; points without y are left out."""
        known = [(self.x(x), self.y(y)) for x, y in points if y is not None]
        if known:
            self.body.append(_path(known, f'line s{series % 6}', DASHES[series % 6]))
        if words:
            dash = DASHES[series % 6] or 'none'
            key = _line(0, 0, 26, 0, f'line s{series % 6}', f'stroke-dasharray="{dash}"')
            self.legend.append((key, words))

    def key(self, kind: int, style: str, words: str) -> None:
        """A legend entry with a marker."""
        self.legend.append((_marker(13, 0, kind, style), words))

    def svg(self) -> str:
        """The finished figure."""
        y = self.bottom + 60
        for sample, words in self.legend:
            lines = _wrap(words, self.width - 46)
            self.body.append(f'<g transform="translate(0 {y - 4:.1f})">{sample}</g>')
            self.body += [_text(36, y + 15 * i, line) for i, line in enumerate(lines)]
            y += 5 + 15 * len(lines)
        return _svg(self.width, y - 12 if self.legend else self.bottom + 42, self.body, self.name)


def _series(results: Results) -> dict[str, int]:
    """Each attack's colour, the same in every figure: the primary one first."""
    order = [results['primary']['attack'], *(row['attack'] for row in results['attacks']),
             *(row['attack'] for row in results['sweep']), *(key.rsplit('/', 1)[0] for key in results['roc'])]
    return {attack: i for i, attack in enumerate(dict.fromkeys(order))}


def _counted(results: Results, contrast: str) -> str:
    """'n 240 pictures of 80 people' of the contrast's picture scores on the primary victim, as stored."""
    for row in results['attacks']:
        same = row['contrast'] == contrast and row['victim'] == results['primary']['victim']
        if same and row['unit'] == 'picture':
            return f'n {row["auc"]["n"]:,} pictures of {row["auc"]["n_people"]:,} {people_words(results)}'
    return 'n in the table'


# The figure that people look at first.

REACH = -1  # marker of the smallest detectable leak: a tick, not an estimate

@dataclass(frozen=True)
class _Row:
    """A line of the controls figure: group heading, name, rate (or why there is none), colour and marker."""

    group: str
    name: str
    rate: Rate | None
    missing: str
    series: str
    kind: int
    shift: float = 0.0  # a difference is drawn from the chance line on


def _control_rows(results: Results) -> list[_Row]:
    primary, controls = results['primary'], results['controls']
    unit = 'person' if results['data']['subject_known'] else 'finger'
    name = f'{label(primary["attack"])}, {CONTRASTS[primary["contrast"]][0]}, by {unit}'
    rows = [_Row('THE RESULT', f'Attack ({name})', primary['auc'], '', '0', 2),
            _Row('', 'Attack minus placebo (0 lies on the chance line)', primary['minus_placebo'], '', '0', 0,
                 0.5)]
    table = (('SHOULD LIE AT CHANCE', 'Placebo victim', 'placebo', 'n', 1),
             ('', 'Pictures alone', 'pictures_alone', 'n', 3),
             ('', 'Permuted people', 'permuted_null', 'n', 0),
             ('SHOULD LIE ABOVE CHANCE', 'Rehearsal victim', 'rehearsal', '2', 1),
             ('REACH OF THIS AUDIT', 'Smallest detectable leak', 'smallest_detectable', '1', REACH))
    for group, words, key, series, kind in table:
        control = controls[key]
        rows.append(_Row(group, words, control.get('auc'), control.get('not_available', ''), series, kind))
    return rows


def _bar(row: _Row, axis: Axis, y: float, people: str) -> list[str]:
    """Interval and estimate of one row at height y; nothing where there is no estimate."""
    if row.rate is None or row.rate['estimate'] is None:
        return []
    stroke, fill = ('n', 'n') if row.series == 'n' else (f's{row.series}', f'f{row.series}')
    at = axis(row.rate['estimate'] + row.shift)
    if row.kind == REACH:
        dots = _line(axis(0.5), y, at, y, stroke, 'stroke-dasharray="2 3" stroke-width="1.5"')
        return [dots, _line(at, y - 8, at, y + 8, stroke, 'stroke-width="3"')]
    main, body = row.series == '0', []
    low, high = row.rate['interval']
    if low is not None and high is not None:
        a, b, thick = axis(low + row.shift), axis(high + row.shift), f'stroke-width="{3 if main else 2}"'
        body = [_line(a, y, b, y, stroke, thick), *(_line(end, y - 4, end, y + 4, stroke,
                                                          thick) for end in (a, b))]
    tip = f'{row.name}: {estimate(row.rate)} {interval(row.rate)}, {detail(row.rate, people)}'
    return [*body, _marker(at, y, row.kind, fill, tip, 6 if main else 5)]


def _numbers(row: _Row, people: str) -> tuple[str, str]:
    """The two lines of words beside a bar: the number, and what stands beside it (or why there is none)."""
    if row.rate is None or row.rate['estimate'] is None:
        return 'not available', row.missing or (row.rate or {}).get('note', '')
    bare = row.kind == REACH and row.rate['interval'][0] is None
    return estimate(row.rate) + ('' if bare else f' {interval(row.rate)}'), detail(row.rate, people)


def _reach(rows: Sequence[_Row]) -> float | None:
    """The smallest detectable AUC, where there is one above chance."""
    value = rows[-1].rate['estimate'] if rows[-1].rate else None
    return value if value is not None and value > 0.5 else None


def _auc_axis(rows: Sequence[_Row], start: float, end: float) -> Axis:
    """From the lowest bound drawn, 0.3 or lower, to 1."""
    ends = [v + row.shift for row in rows if row.rate for v in (*row.rate['interval'], row.rate['estimate'])
            if v is not None]
    return Axis(max(0.0, min(0.3, math.floor(min(ends, default=0.3) * 10) / 10)), 1.0, start, end)


def _backdrop(axis: Axis, reach: float | None, top: float, bottom: float) -> list[str]:
    """The chance line, and the leaks too small for this audit as a shaded band beside it."""
    body = [_line(axis(0.5), top, axis(0.5), bottom, 'chance')]
    if reach is not None:
        body.insert(0, f'<rect x="{axis(0.5)}" y="{top:.1f}" width="{axis(reach) - axis(0.5):.1f}" '
                       f'height="{bottom - top:.1f}" class="band"/>')
    return body


def controls(results: Results, width: int = 900) -> str:
    """Forest plot of the primary endpoint and every control on one AUC axis, with intervals over people.

    Args:
        results: as results.schema.json describes.
        width: px; below 600 the words stand above and under each bar instead of beside it (a phone).
    """
    rows, people, wide = _control_rows(results), people_words(results), width >= 600
    axis = _auc_axis(rows, 262.0, width - 296.0) if wide else _auc_axis(rows, 12.0, width - 8.0)
    place, reach = (_wide_row if wide else _narrow_row), _reach(rows)
    body, y = [], 16.0
    for row in rows:
        if row.group:
            body.append(_text(0, y, row.group, 'k'))
            y += 5 if wide else 9
        drawn, y = place(row, axis, y, people, reach)
        body += drawn
        if row is not rows[-1]:
            body.append(_line(0, y, width, y, 'grid'))
            y += 20 if rows[rows.index(row) + 1].group else 2
    for value in axis.ticks(5):
        body += [_line(axis(value), y, axis(value), y + 4, 'axis'),
                 _text(axis(value), y + 18, f'{value:g}', 'm', 'middle')]
    words = 'AUC (0.5 is chance, 1 is perfect)'
    words += '; shaded: leaks too small for this audit' if reach else ''
    body.append(_line(axis.start, y, axis.end, y, 'axis'))
    body += [_text((axis.start + axis.end) / 2, y + 38 + 16 * i, line, 'm', 'middle')
             for i, line in enumerate(_wrap(words, 340))]
    behind = _backdrop(axis, reach, 4, y) if wide else []
    return _svg(width, y + 38 + 16 * len(_wrap(words, 340)) - 8, behind + body,
                'The result beside its controls')


def _wide_row(row: _Row, axis: Axis, y: float, people: str, reach: float | None) -> tuple[list[str], float]:
    """Name left, bar in the middle, numbers right; with the y below."""
    first, second = _numbers(row, people)
    names, seconds = _wrap(row.name, axis.start - 14), _wrap(second, 296)
    height = 15.0 * max(len(names), 1 + len(seconds)) + 13
    middle = y + height / 2
    body = [_text(0, middle + 4 - 7.5 * (len(names) - 1) + 15 * i, line, 'b' if row.series == '0' else '')
            for i, line in enumerate(names)]
    start, right = middle + 4 - 7.5 * len(seconds), axis.end + 22
    body.append(_text(right, start, first, 'b' if first != 'not available' else 'm'))
    body += [_text(right, start + 15 * (i + 1), line, 'm') for i, line in enumerate(seconds)]
    return body + _bar(row, axis, middle, people), y + height


def _narrow_row(row: _Row, axis: Axis, y: float, people: str, reach: float | None) -> tuple[list[str], float]:
    """Name above, then the bar on its own piece of the chance line, numbers under it; with the y below."""
    first, second = _numbers(row, people)
    names, seconds = _wrap(row.name, axis.end), _wrap(second, axis.end)
    body = [_text(0, y + 12 + 15 * i, line, 'b' if row.series == '0' else '') for i, line in enumerate(names)]
    y += 15 * len(names) + 6
    bar = _bar(row, axis, y + 12, people)
    if bar:
        body += [*_backdrop(axis, reach, y, y + 24), *bar]
        y += 26
    body.append(_text(0, y + 12, first, 'b' if bar else 'm'))
    body += [_text(0, y + 27 + 15 * i, line, 'm') for i, line in enumerate(seconds)]
    return body, y + 22 + 15 * len(seconds)


# The small panels.

NAMED = 308.0  # right end of the axes, px, where a level is named beside them

def roc(results: Results, contrast: str) -> str:
    """ROC curves of every attack in one contrast, both axes logarithmic, with the chance line."""
    curves = {key.rsplit('/', 1)[0]: curve for key, curve in results['roc'].items()
              if key.rsplit('/', 1)[1] == contrast}
    floor = _decade([v for curve in curves.values() for pair in zip(curve['fpr'], curve['tpr'],
                                                                    strict=True) for v in pair])
    panel = _Panel(f'{CONTRASTS[contrast][0]}: {CONTRASTS[contrast][1]} against {CONTRASTS[contrast][2]}',
                   _counted(results, contrast), (floor, 1), (floor, 1),
                   ('false-positive rate (share of non-members flagged)', 'true-positive rate'), (True, True))
    panel.axes()
    panel.body.append(_path([(panel.x(v), panel.y(v)) for v in (floor, 1.0)], 'line chance'))
    panel.legend.append((_line(0, 0, 26, 0, 'chance'), 'chance'))
    for attack, curve in curves.items():
        points = [(f, t) for f, t in zip(curve['fpr'], curve['tpr'], strict=True) if f > 0 and t > 0]
        panel.line(points, _series(results)[attack], label(attack))
    return panel.svg()


def _decade(values: Sequence[float]) -> float:
    """The power of ten at or under the smallest positive value, between 0.0001 and 0.1."""
    smallest = min((v for v in values if v > 0), default=0.01)
    return 10.0 ** min(max(math.floor(math.log10(smallest) + 1e-9), -4), -1)


def histogram(results: Results, key: str) -> str:
    """Scores of the two sides of one attack and contrast ('attack/contrast'), as counts of pictures a bin."""
    attack, contrast = key.rsplit('/', 1)
    stored = results['histograms'][key]
    short, positives, negatives = CONTRASTS[contrast]
    top = max([*stored['positives'], *stored['negatives'], 1])
    panel = _Panel(f'{short}: scores of {label(attack)}', _counted(results, contrast),
                   (stored['edges'][0], stored['edges'][-1]), (0, top * 1.08),
                   ('membership score (larger: more member-like)', 'pictures a bin'))
    panel.axes()
    for series, side, words in ((1, 'negatives', negatives), (0, 'positives', positives)):
        steps = [(x, y) for a, b, y in zip(stored['edges'], stored['edges'][1:], stored[side], strict=False)
                 for x in (a, b) for y in (y,)]
        outline = [(panel.x(x), panel.y(y)) for x, y in [(stored['edges'][0], 0.0), *steps,
                                                         (stored['edges'][-1], 0.0)]]
        panel.body.append(_path(outline, f'area f{series}', close=True))
        panel.line([(stored['edges'][0], 0.0), *steps, (stored['edges'][-1], 0.0)], series, words)
    return panel.svg()


def sweep(results: Results, contrast: str) -> str:
    """AUC against the number of people trained on, intervals over people; the headline size is filled."""
    rows = [row for row in results['sweep'] if row['contrast'] == contrast]
    rows = [row for row in rows if row['auc']['estimate'] is not None]
    sizes = sorted({row['people'] for row in rows}) or [1]
    ends = [v for row in rows for v in (*row['auc']['interval'], row['auc']['estimate']) if v is not None]
    panel = _Panel(f'{CONTRASTS[contrast][0]}: leak against training-set size',
                   _spread_of_n(rows, people_words(results)),
                   (sizes[0] / 1.5, sizes[-1] * 1.5), (min(0.4, min(ends, default=0.4)), max([1.0, *ends])),
                   ('people in the training set', 'AUC by person, bars 95 % over people'), (True, False),
                   NAMED)
    panel.axes(sizes)
    panel.level(0.5)
    attacks = sorted({row['attack'] for row in rows}, key=_series(results).__getitem__)
    for place, attack in enumerate(attacks):
        series, shift = _series(results)[attack], 11 * (place - (len(attacks) - 1) / 2)
        mine = sorted((row for row in rows if row['attack'] == attack), key=lambda row: row['people'])
        spots = [(panel.x(row['people']) + shift, panel.y(row['auc']['estimate'])) for row in mine]
        panel.body.append(_path(spots, f'line s{series % 6}', DASHES[series % 6]))
        for (x, y), row in zip(spots, mine, strict=True):
            low, high = row['auc']['interval']
            if low is not None and high is not None:
                panel.body.append(_line(x, panel.y(low), x, panel.y(high), f's{series % 6}',
                                        'stroke-width="1.5"'))
            style = f's{series % 6} ' + (f'f{series % 6}' if row['headline'] else 'hollow')
            tip = f'{label(attack)}, {row["people"]} in training: {estimate(row["auc"])} '
            tip += f'{interval(row["auc"])}, ' + detail(row['auc'], people_words(results))
            panel.body.append(_marker(x, y, series, style, tip))
        panel.key(series, f's{series % 6} f{series % 6}', label(attack))
    panel.legend.append((_marker(13, 0, 0, 'n'), 'filled: headline size; hollow: this run, no verdict'))
    return panel.svg()


def _spread_of_n(rows: Sequence[Mapping[str, Any]], people: str) -> str:
    """'n 120-480 pictures of 40-160 people a point', from the stored rates."""
    def span(key: str) -> str:
        values = [row['auc'][key] for row in rows] or [0]
        return f'{min(values):,}' if min(values) == max(values) else f'{min(values):,}–{max(values):,}'
    return f'n {span("n")} pictures of {span("n_people")} {people} a point'


def _shadows_of(results: Results, victim: str) -> list[Mapping[str, Any]]:
    return [item for item in results['stopping'] if item['victim'] == victim and item['trace']]


def stopping_score(results: Results, victim: str) -> str:
    """Inception Score against images seen: the victim, its shadows, the level to reach and the stops."""
    shadows = _shadows_of(results, victim)
    own: Sequence[Mapping[str, Any]] = next(
        (row['trace'] for row in results['victims'] if row['name'] == victim), [])
    target = next((item['target'] for item in shadows if item.get('target')), None)
    points = [p for item in shadows for p in item['trace']] + list(own)
    scores = [p['is_mean'] for p in points if p['is_mean'] is not None]
    scores += [target['is_mean'] + target['is_std']] if target else []
    panel = _Panel(f'{label(victim)}: score matched by its shadows',
                   f'{len(shadows)} shadow{"s" if len(shadows) > 1 else ""}, equal sample counts',
                   (0, max([p['images_seen'] for p in points], default=1)),
                   (min([1.0, *scores]), max([1.1, *scores]) * 1.04),
                   ('images seen in training', 'Inception Score (a matching rule)'), right=NAMED)
    if target:
        low, high = (panel.y(target['is_mean'] + sign * target['is_std']) for sign in (-1, 1))
        panel.body.append(f'<rect x="{panel.left}" y="{high}" width="{panel.right - panel.left}" '
                          f'height="{max(low - high, 1):.1f}" class="area f0"/>')
    panel.axes()
    if target:
        panel.level(target['is_mean'], 'victim')
        panel.legend.append(('<rect x="0" y="-6" width="26" height="12" class="area f0"/>',
                             'level to reach, ± its split deviation'))
    if own:
        panel.line([(p['images_seen'], p['is_mean']) for p in own], 0, f'{label(victim)}, its own training')
    for i, item in enumerate(shadows, start=1):
        panel.line([(p['images_seen'], p['is_mean']) for p in item['trace']], i, _shadow_words(item))
        _stop_marks(panel, item, 'is_mean', i)
    return panel.svg()


def stopping_auc(results: Results, victim: str) -> str:
    """The attack's AUC along each shadow's training, so that the matching rule can be judged."""
    shadows = _shadows_of(results, victim)
    aucs = [p['auc'] for item in shadows for p in item['trace'] if p.get('auc') is not None]
    panel = _Panel(f'{label(victim)}: what the attack would have found',
                   'n as in the table of rules; curves carry no interval',
                   (0, max([p['images_seen'] for item in shadows for p in item['trace']], default=1)),
                   (min([0.4, *aucs]), max([0.8, *aucs])), ('images seen in training', 'AUC by person'),
                   right=NAMED)
    panel.axes()
    panel.level(0.5)
    for i, item in enumerate(shadows, start=1):
        panel.line([(p['images_seen'], p.get('auc')) for p in item['trace']], i, _shadow_words(item))
        _stop_marks(panel, item, 'auc', i)
    return panel.svg()


def _shadow_words(item: Mapping[str, Any]) -> str:
    ending = 'reached' if item['reached'] else 'closest, never reached'
    return f'{label(item["shadow"])}, stopped at {item["stopped_at"]:,} ({ending})'


def _stop_marks(panel: _Panel, item: Mapping[str, Any], key: str, series: int) -> None:
    """A marker where the shadow stopped: filled if it reached the victim's score, else hollow."""
    at = next((p for p in item['trace'] if p['images_seen'] == item['stopped_at']), None)
    if at is not None and at.get(key) is not None:
        style = f's{series % 6} ' + (f'f{series % 6}' if item['reached'] else 'hollow')
        panel.body.append(_marker(panel.x(at['images_seen']), panel.y(at[key]), series, style,
                                  _shadow_words(item), 5.5))


def search(results: Results) -> str:
    """Trials of the shadow's search: the objective by trial number, by how each ended."""
    trials = results['search']['trials']
    values = [t['value'] for t in trials if t['value'] is not None]
    panel = _Panel('Search for the shadow', f'{len(trials)} trials; no membership label enters',
                   (min([t['number'] for t in trials], default=0) - 0.5,
                    max([t['number'] for t in trials], default=0) + 0.5),
                   (0, max([*values, 1e-6]) * 1.15), ('trial', 'objective (smaller is better)'))
    panel.axes([t['number'] for t in trials] if len(trials) <= 20 else None)
    ends = {'complete': (0, 's1 f1', 'finished'), 'pruned': (4, 's4 hollow', 'pruned at a round\'s end'),
            'failed': (5, 's5 f5', 'failed (at the top: it has no value)')}
    for trial in trials:
        kind, style, words = ends[trial['state']]
        value = panel.y.hi * 0.97 if trial['value'] is None else trial['value']
        tip = f'trial {trial["number"]}: {number(trial["value"])}, {words}, {trial["images"]:,} images'
        x, y = panel.x(trial['number']), panel.y(value)
        if trial['number'] == results['search']['best']:
            panel.body.append(f'<circle cx="{x}" cy="{y}" r="10" class="line s0"/>')
        panel.body.append(_marker(x, y, kind, style, tip, 5))
    for state in dict.fromkeys(t['state'] for t in trials):
        panel.key(ends[state][0], ends[state][1], ends[state][2])
    panel.legend.append(('<circle cx="13" cy="0" r="6" class="line s0"/>', 'the trial that was taken'))
    return panel.svg()


def losses(results: Results, victim: str) -> str:
    """Training losses of one victim against images seen."""
    row = next(row for row in results['victims'] if row['name'] == victim)
    names = list(dict.fromkeys(key for point in row['losses'] for key in point if key != 'images_seen'))
    values = [point[name] for point in row['losses'] for name in names if point.get(name) is not None]
    counted = f'n {row["images"]:,} pictures of {row["people"]:,} {people_words(results)}'
    panel = _Panel(f'{label(victim)}: training', counted,
                   (0, max([point['images_seen'] for point in row['losses']], default=1)),
                   (min([0.0, *values]), max([*values, 0.1]) * 1.05), ('images seen in training', 'loss'))
    panel.axes()
    for i, name in enumerate(names):
        panel.line([(point['images_seen'], point.get(name)) for point in row['losses']], i + 1, label(name))
    return panel.svg()


def patterns(results: Results) -> str:
    """Shares of the pattern classes among the highest scores against the whole query set."""
    stored = results['pattern_shares']
    groups = {'whole query set': stored['set'], **{f'top {k}': stored['top'][k] for k in stored['top']}}
    classes = list(dict.fromkeys(name for shares in groups.values() for name in shares))
    top = max([v for shares in groups.values() for v in shares.values()], default=1)
    panel = _Panel('Pattern classes among the highest scores',
                   _counted(results, results['primary']['contrast']),
                   (0, top * 1.08), (0, 1), ('share of pictures', ''))
    step = panel.plot / max(len(classes), 1)
    panel.left = 92.0
    panel.x = Axis(0, top * 1.08, panel.left, panel.right)
    for value in panel.x.ticks():
        panel.body += [_line(panel.x(value), panel.top, panel.x(value), panel.bottom, 'grid'),
                       _text(panel.x(value), panel.bottom + 17, f'{value:g}', 'm', 'middle')]
    panel.body.append(_text((panel.left + panel.right) / 2, panel.bottom + 35, panel.names[0], 'm', 'middle'))
    for i, name in enumerate(classes):
        y = panel.top + step * (i + 0.5)
        known = [panel.x(shares[name]) for shares in groups.values() if name in shares]
        panel.body += [_text(0, y + 4, label(name)), _line(min(known), y, max(known), y, 'axis')]
        for series, (group, shares) in enumerate(groups.items()):
            if name in shares:
                style = 'hollow n' if series == 0 else f's{series - 1} f{series - 1}'
                panel.body.append(_marker(panel.x(shares[name]), y, series, style,
                                          f'{label(name)}, {group}: {share(shares[name])}',
                                          6 if series == 0 else 4.5))
    for series, group in enumerate(groups):
        panel.key(series, 'hollow n' if series == 0 else f's{series - 1} f{series - 1}', group)
    return panel.svg()


def all_figures(results: Results) -> dict[str, str]:
    """Every figure that these results can fill, stamped with the data's label, by file name in report order."""
    contrasts = [c for c in CONTRASTS if any(key.endswith(f'/{c}') for key in results['roc'])]
    swept = [c for c in CONTRASTS if any(row['contrast'] == c for row in results['sweep'])]
    victims = list(dict.fromkeys(item['victim'] for item in results['stopping'] if item['trace']))
    figures = {'controls': controls(results), 'controls-phone': controls(results, 350)}
    figures |= {f'sweep-{c}': sweep(results, c) for c in swept}
    figures |= {f'roc-{c}': roc(results, c) for c in contrasts}
    figures |= {f'histogram-{key.replace("/", "-")}': histogram(results,
                                                                key) for key in results['histograms']}
    for victim in victims:
        figures[f'stopping-{victim}-score'] = stopping_score(results, victim)
        if any(p.get('auc') is not None for item in _shadows_of(results, victim) for p in item['trace']):
            figures[f'stopping-{victim}-auc'] = stopping_auc(results, victim)
    if results['search'] and results['search']['trials']:
        figures['search'] = search(results)
    figures |= {f'losses-{row["name"]}': losses(results,
                                                row['name']) for row in results['victims'] if row['losses']}
    if results['pattern_shares']:
        figures['patterns'] = patterns(results)
    words = f'{results["data"]["label"]} · {results["study"]}, preset {results["preset"]}, seed {results["seed"]}'
    return {name: stamped(figure, words) for name, figure in figures.items()}
