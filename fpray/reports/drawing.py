"""How a report writes numbers and draws: the words, the palette and the board that every figure stands on.

Colours are CSS variables, so that a figure inside a page follows its light or dark theme; `standalone` makes
a file of its own. Every series differs in colour, dash and marker: no message hangs on colour alone."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any
from xml.sax.saxutils import escape

Results = Mapping[str, Any]
Rate = Mapping[str, Any]
Ticks = Sequence[float] | Mapping[float, str]  # values, or values with their words

PALETTE = {  # name: (light, dark); c0 is the audited victim and its members, c1 the people it never saw
    'paper': ('#faf8f4', '#151412'), 'card': ('#ffffff', '#1e1c19'), 'ink': ('#211f1b', '#ece8df'),
    'muted': ('#6a655b', '#a69f92'), 'rule': ('#e3ded3', '#38342d'), 'wash': ('#f1ede4', '#27241f'),
    'c0': ('#bf3f1c', '#ff8d66'), 'c1': ('#1f66ad', '#79b4f5'), 'c2': ('#0b7a5c', '#52cda3'),
    'c3': ('#7a46b3', '#c29ff2'), 'c4': ('#8a6300', '#dcb04a'), 'c5': ('#a1316f', '#f08fbd'),
}
NB = '\u00a0'  # no-break space
RAISED = str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹')
CODEC_NAME = re.compile(r'(?:(?P<kind>[a-z][a-z/-]*)-)?(?P<lmbda>\d+\.\d+(?:e-\d+)?)(?:-(?P<rest>[\w-]+))?')
NAMED = 308.0  # right end of a panel's axes, px, where a level is named beside them
DASHES = ('', '7 3', '2 3', '9 3 2 3', '4 2', '1 2', '12 4', '6 2 1 2', '3 6', '9 2 1 2 1 2', '5 5', '1 5')
CONTRASTS = {  # contrast: (short name, its positives, its negatives)
    'mia': ('MIA', 'trained pictures', 'unseen people'),
    'iia': ('IIA', 'unseen impressions of trained people', 'unseen people'),
    'memorisation': ('Memorisation', 'trained impressions', 'unseen impressions of the same fingers'),
}
DEEPEST = ('.75', '.5')  # opacity of a whole share in a matrix, light and dark: ink stays readable on it
_VARIABLES = [''.join(f'--{name}:{pair[side]};' for name, pair in (PALETTE | {'deep': DEEPEST}).items()) for side in (0, 1)]
THEME_CSS = (f':root{{{_VARIABLES[0]}}}'
             f'@media screen and (prefers-color-scheme:dark){{:root{{{_VARIABLES[1]}}}}}')
FIGURE_CSS = (
    '.fig{font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;'
    'display:block;width:100%;height:auto;font-variant-numeric:tabular-nums}.fig text{fill:var(--ink)}'
    '.fig .m{fill:var(--muted)}.fig .small{font-size:11.5px}.fig .tiny{font-size:9.5px}'
    '.fig .h{font-size:14px;font-weight:650}'
    '.fig .b{font-weight:650}.fig .k{font-size:10.5px;font-weight:650;letter-spacing:.06em;fill:var(--muted)}'
    '.fig .grid{stroke:var(--rule)}.fig .axis{stroke:var(--muted)}'
    '.fig .chance{stroke:var(--ink);stroke-dasharray:3 3}.fig .band{fill:var(--ink);opacity:.055}'
    '.fig .n{stroke:var(--muted);fill:var(--muted)}.fig .line{fill:none;stroke-width:2;stroke-linejoin:round}'
    '.fig .hollow{fill:var(--card);stroke-width:2}.fig .thin{stroke-width:1.4}.fig .area{opacity:.17;stroke:none}'
    '.fig .dots{fill:none;stroke-width:2.6;stroke-linecap:round;opacity:.5}'
    '.fig .plus{stroke-width:1.1;opacity:.6}'
    '.fig .pale{opacity:.5}.fig .ringed{stroke:var(--card);stroke-width:1.5}'
    '.fig .empty{fill:var(--wash)}.fig .own{fill:none;stroke:var(--ink)}'
    '.fig .halo{paint-order:stroke;stroke:var(--card);stroke-width:4}'
    + ''.join(f'.fig .s{i}{{stroke:var(--c{i})}}.fig .f{i}{{fill:var(--c{i})}}' for i in range(6))
)


# How numbers are written, in figures and pages alike.

def number(value: float | None, digits: int = 3) -> str:
    """A count or a measure: 12,400 or 0.0123 or 1.7 or, from a thousand millions on, 1.2 × 10¹²; a dash for None."""
    if value is None:
        return '–'
    if abs(value) >= 1e9:
        head, power = f'{value:.{digits - 1}e}'.split('e')
        return f'{float(head):g}{NB}×{NB}10{str(int(power)).translate(RAISED)}'
    if float(value).is_integer():
        return f'{int(value):,}'
    return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.{digits}g}'


def share(value: float | None, digits: int = 2) -> str:
    """A share or an AUC with two decimals (or as many as asked); a dash for None."""
    return '–' if value is None else f'{value:.{digits}f}'


def rate_digits(rate: Rate) -> int:
    """Two decimals, or three where two would round a number of this rate onto 0, 1 or its chance level.

    A difference (chance 0) may be small by nature, such as one of bits a pixel: it gets up to four.
    """
    marks = (0.0, 1.0, rate['chance'] or 0.0)
    near = min((abs(value - mark) for value in (rate['estimate'], *rate['interval']) if value is not None
                for mark in marks if value != mark), default=1.0)
    if near < 0.0005 and rate['chance'] == 0:
        return 4
    return 3 if near < 0.005 or abs(rate['estimate'] or 1) < 0.095 else 2


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
    chance = '–' if rate['chance'] is None else f'{rate["chance"]:.3g}'
    parts = [f'chance {chance}', f'n {rate["n"]:,}', f'{rate["n_people"]:,} {people}', p_value(rate['p'])]
    return f'{NB}· '.join(part.replace(' ', NB) for part in parts if part)


def counts_of(rates: Sequence[Rate], people: str) -> str:
    """'n 120-480 pictures of 40-160 people': what stands behind several rates, as ranges where they differ."""
    def span(key: str) -> str:
        values = [rate[key] for rate in rates] or [0]
        return f'{min(values):,}' if min(values) == max(values) else f'{min(values):,}–{max(values):,}'
    return f'n {span("n")} pictures of {span("n_people")} {people}'


def label(name: str) -> str:
    """A stored name as words: 'white_box' becomes 'white box'."""
    return name.replace('_', ' ')


def codec_words(name: str, shared: float | None = None) -> str:
    """A codec's stored name as words: '0.01-96' becomes 'codec λ 0.01, 96 people', 'none-0.01-1' 'none, again (1)'.

    Args:
        name: as the study stores it.
        shared: a lambda that goes without saying: behind a defence's name only another one is written.
    """
    found = CODEC_NAME.fullmatch(name)
    if not found:
        return f'shadow codec {int(name[7:]) + 1}' if re.fullmatch(r'shadow/\d+', name) else label(name)
    kind, weight, rest = found['kind'], f'λ{NB}{found["lmbda"]}', found['rest'] or ''
    if kind is None:
        what = f'{rest} people' if rest.isdigit() else rest
        return f'codec {weight}, {what}' if what else f'codec {weight}'
    words = kind.replace('reference/', 'reference ')
    words += '' if float(found['lmbda']) == shared and '/' not in kind else f', {weight}'
    return f'{words}, again ({rest})' if rest else words


def victim_words(results: Results, name: str) -> str:
    """A victim's stored name as words: a codec's with its lambda, which a defence's needs only where defences differ."""
    if results['study'] != 'codec':
        return label(name)
    weights = {row['lmbda'] for row in results['codec']['frontier']['rows']}
    return codec_words(name, weights.pop() if len(weights) == 1 else None)


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
        """Round values inside the axis: decades on a logarithmic one (or 1, 2, 5), steps of 1, 2 or 5 on a linear one."""
        if self.log:
            powers = range(math.floor(math.log10(self.lo)), math.floor(math.log10(self.hi) + 1e-9) + 1)
            fine = math.log10(self.hi / self.lo) < 2.5 and self.hi / self.lo < 900
            values = [m * 10.0 ** power for power in powers for m in ((1, 2, 5) if fine else (1,))]
            return [v for v in values if self.lo * (1 - 1e-9) <= v <= self.hi * (1 + 1e-9)]
        rough = (self.hi - self.lo) / about or 1
        magnitude = 10 ** math.floor(math.log10(rough))
        step = min((m * magnitude for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
        first = math.ceil(self.lo / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.hi / step + 1e-9) + 1)]


def text_at(x: float, y: float, words: str, style: str = '', anchor: str = 'start') -> str:
    """Words at a point, in px of the figure."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def turned(x: float, y: float, words: str, style: str, degrees: float, anchor: str = 'end') -> str:
    """Words at a point, turned clockwise about it."""
    return (f'<text transform="translate({x:.1f} {y:.1f}) rotate({degrees:g})" class="{style}" '
            f'text-anchor="{anchor}">{escape(words)}</text>')


def line_at(x1: float, y1: float, x2: float, y2: float, style: str, more: str = '') -> str:
    """A straight line between two points, in px of the figure."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}" {more}/>'


def path(points: Iterable[tuple[float, float]], style: str, dash: str = '', close: bool = False) -> str:
    """A polyline; neighbours that fall on the same tenth of a pixel are drawn once."""
    steps = [step for step, _ in groupby(f'{x:.1f} {y:.1f}' for x, y in points)]
    shape = 'M' + 'L'.join(steps) + ('Z' if close else '')
    return f'<path d="{shape}" class="{style}" stroke-dasharray="{dash or "none"}"/>'


def marker(x: float, y: float, kind: int, style: str, tip: str = '', r: float = 4.5) -> str:
    """Marker shape `kind` (circle, square, diamond, triangle up, triangle down, cross) with a tooltip.

    From the seventh on they start elsewhere, so that a colour that comes again has another shape.
    """
    corners = (
        (), ((-1, -1), (1, -1), (1, 1), (-1, 1)), ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)), ((0, 1.3), (1.2, -0.9), (-1.2, -0.9)),
        ((-1.1, -0.6), (-0.6, -1.1), (0, -0.5), (0.6, -1.1), (1.1, -0.6), (0.5, 0), (1.1, 0.6), (0.6, 1.1),
         (0, 0.5),
         (-0.6, 1.1), (-1.1, 0.6), (-0.5, 0)),
    )[(kind + kind // 6 * 3) % 6]
    title = f'<title>{escape(tip)}</title>' if tip else ''
    if not corners:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" class="{style}">{title}</circle>'
    shape = ' '.join(f'{x + r * dx:.1f},{y + r * dy:.1f}' for dx, dy in corners)
    return f'<polygon points="{shape}" class="{style}">{title}</polygon>'


def tick(value: float) -> str:
    """A tick label: 0.5, 800, 20k, 1.5M."""
    scale, unit = (1e6, 'M') if abs(value) >= 1e6 else (1e3, 'k') if abs(value) >= 1e4 else (1, '')
    return f'{value / scale:g}{unit}'


def wrap(words: str, room: float, size: float = 12) -> list[str]:
    """Lines that fit into `room` px, by the mean width of a letter."""
    lines, fits = [''], max(int(room / (size * 0.56)), 8)
    for word in words.split(' '):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > fits:
            lines.append('')
        lines[-1] = f'{lines[-1]} {word}'.strip()
    return lines


def svg(width: float, height: float, body: Iterable[str], name: str) -> str:
    """The figure itself; its name is what a screen reader says."""
    return (f'<svg class="fig" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            f'aria-label="{escape(name, {chr(34): "&quot;"})}">{"".join(body)}</svg>')


def standalone(figure: str) -> str:
    """The figure as an SVG file of its own: margins, palette, background and name space included."""
    width, height = size_of(figure)
    frame = f'x="-16" y="-12" width="{width + 32:.0f}" height="{height + 24:.0f}"'
    head = (f'<svg class="fig" xmlns="http://www.w3.org/2000/svg" width="{1.5 * (width + 32):.0f}" '
            f'height="{1.5 * (height + 24):.0f}" viewBox="-16 -12 {width + 32:.0f} {height + 24:.0f}" ')
    ground = f'<style>{THEME_CSS}{FIGURE_CSS}</style><rect {frame} fill="var(--card)"/>'
    rest = figure.split('role=', 1)[1].split('>', 1)
    return f'{head}role={rest[0]}>{ground}{rest[1]}\n'


def stamped(figure: str, words: str) -> str:
    """The figure with the data's label under it, so that it stays with the figure wherever that goes."""
    width, height = size_of(figure)
    old, new = f'viewBox="0 0 {width:.0f} {height:.0f}"', f'viewBox="0 0 {width:.0f} {height + 24:.0f}"'
    return figure.replace(old, new).removesuffix('</svg>') + text_at(0, height + 18, words, 'm small') + '</svg>'


def size_of(figure: str) -> tuple[float, float]:
    """Width and height of a figure, px."""
    width, height = figure.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()
    return float(width), float(height)


class Panel:
    """A chart of 360 px, as wide as a phone: title, what was counted, axes, drawing, legend below.

    `size` is its width and the height of its axes, px; `right` ends the axes."""

    left = 42.0

    def __init__(self, title: str, counted: str, x: tuple[float, float], y: tuple[float, float],
                 names: tuple[str, str], log: tuple[bool, bool] = (False, False),
                 right: float = 338.0, size: tuple[float, float] = (360.0, 190.0)) -> None:
        self.width, self.plot = size
        heads, subs = wrap(title, self.width - 6, 14), wrap(counted, self.width - 6) if counted else []
        self.body = [text_at(0, 16 + 18 * i, line, 'h') for i, line in enumerate(heads)]
        below = 18 * len(heads)
        self.body += [text_at(0, below + 16 + 16 * i, line, 'm') for i, line in enumerate(subs)]
        self.right = right
        self.top = below + 16 * len(subs) + 42.0
        self.bottom = self.top + self.plot
        self.x = Axis(*x, self.left, self.right, log[0])
        self.y = Axis(*y, self.bottom, self.top, log[1])
        self.name, self.names, self.foot = title, names, 0.0
        self.legend: list[tuple[str, str]] = []

    def axes(self, x_ticks: Ticks | None = None, y_ticks: Ticks | None = None) -> None:
        """Grid, tick labels and the names of both axes; words that do not fit under their ticks stand aslant."""
        for value, words in _labelled(self.y.ticks() if y_ticks is None else y_ticks):
            at = self.y(value)
            self.body += [line_at(self.left, at, self.right, at, 'grid'),
                          text_at(self.left - 6, at + 4, words, 'm', 'end')]
        below = _labelled(self.x.ticks() if x_ticks is None else x_ticks)
        longest = max((len(words) for _, words in below), default=0) * 7.4
        gap = min((self.x(b) - self.x(a) for (a, _), (b, _) in pairwise(below)), default=self.right - self.left)
        aslant = longest > gap and isinstance(x_ticks, Mapping)
        self.foot = 0.66 * longest if aslant else 0.0
        for value, words in below:
            at = self.x(value)
            self.body.append(line_at(at, self.bottom, at, self.bottom + 4, 'axis'))
            self.body.append(turned(at + 4, self.bottom + 16, words, 'm', -40) if aslant else
                             text_at(at, self.bottom + 17, words, 'm', 'middle'))
        self.body += [line_at(self.left, self.bottom, self.right, self.bottom, 'axis'),
                      text_at(0, self.top - 13, self.names[1], 'm'),
                      text_at((self.left + self.right) / 2, self.bottom + 35 + self.foot, self.names[0], 'm', 'middle')]

    def level(self, value: float, words: str = 'chance') -> None:
        """A dashed line across at a value of y, named beside its right end."""
        at = self.y(value)
        self.body += [line_at(self.left, at, self.right, at, 'chance'),
                      text_at(self.right + 5, at + 4, words, 'm small')]

    def line(self, points: Sequence[tuple[float, float | None]], series: int, words: str = '') -> None:
        """A curve in the colour and dash of its series; points without y are left out."""
        known, dash = [(self.x(x), self.y(y)) for x, y in points if y is not None], DASHES[series % len(DASHES)]
        if known:
            self.body += [path(known, f'line s{series % 6}', dash), *_marked(known, series)]
        if words:
            key = line_at(0, 0, 26, 0, f'line s{series % 6}', f'stroke-dasharray="{dash or "none"}"')
            self.legend.append((key + ''.join(_marked([(13, 0)], series)), words))

    def bar(self, x: float, ends: Sequence[float | None], style: str) -> None:
        """An interval standing on end at x px; nothing where a bound is missing."""
        low, high = ends
        if low is not None and high is not None:
            self.body.append(line_at(x, self.y(low), x, self.y(high), style, 'stroke-width="1.5"'))

    def key(self, kind: int, style: str, words: str) -> None:
        """A legend entry with a marker."""
        self.legend.append((marker(13, 0, kind, style), words))

    def svg(self) -> str:
        """The finished figure."""
        y = self.bottom + self.foot + 60
        for sample, words in self.legend:
            lines = wrap(words, self.width - 46)
            self.body.append(f'<g transform="translate(0 {y - 4:.1f})">{sample}</g>')
            self.body += [text_at(36, y + 15 * i, line) for i, line in enumerate(lines)]
            y += 5 + 15 * len(lines)
        return svg(self.width, y - 12 if self.legend else self.bottom + self.foot + 42, self.body, self.name)


def _labelled(ticks: Ticks) -> list[tuple[float, str]]:
    return list(ticks.items()) if isinstance(ticks, Mapping) else [(value, tick(value)) for value in ticks]


def _marked(points: Sequence[tuple[float, float]], series: int, apart: float = 48.0) -> list[str]:
    """Hollow marks along a curve, from the seventh series on: six colours are used up there."""
    spots: list[tuple[float, float]] = []
    for point in points if series >= 6 else ():
        if not spots or math.dist(point, spots[-1]) >= apart:
            spots.append(point)
    return [marker(x, y, series, f's{series % 6} hollow thin', r=3.5) for x, y in spots]


def series_of(results: Results) -> dict[str, int]:
    """Each attack's series, the same in every figure: the primary one first."""
    order = [results['primary']['attack'], *(row['attack'] for row in results['attacks']),
             *(row['attack'] for row in results['sweep']), *(key.rsplit('/', 1)[0] for key in results['roc'])]
    return {attack: i for i, attack in enumerate(dict.fromkeys(order))}


def pictures_of(results: Results, contrast: str) -> str:
    """'n 240 pictures of 80 people' of the contrast's picture scores on the primary victim, as stored."""
    for row in results['attacks']:
        same = row['contrast'] == contrast and row['victim'] == results['primary']['victim']
        if same and row['unit'] == 'picture':
            return f'n {row["auc"]["n"]:,} pictures of {row["auc"]["n_people"]:,} {people_words(results)}'
    return 'n in the table'


def stamp_words(results: Results) -> str:
    """The data's label with study, preset and seed: what is stamped under every figure."""
    return f'{results["data"]["label"]} · {results["study"]}, preset {results["preset"]}, seed {results["seed"]}'
