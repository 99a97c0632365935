"""Figures of a codec's audit: rate and distortion, signed gaps, the attacks, training, and the frontier.

The shapes follow Figs. 4.9, 4.10 and 6.1 of Cavasin 2023; drawn from stored results alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fpray.reports.drawing import (
    CODEC_NAME,
    CONTRASTS,
    NB,
    Axis,
    Panel,
    Rate,
    Results,
    counts_of,
    detail,
    estimate,
    interval,
    label,
    line_at,
    marker,
    number,
    path,
    people_words,
    svg,
    text_at,
    victim_words,
    wrap,
)

UNCALIBRATED = ('rate-distortion', 'rate', 'distortion', 'psnr')  # scores that know no picture's difficulty
MEASURES = {  # what a side's mean is of: (name, its axis with what a gap below 0 says)
    'loss': ('Loss', 'bpp + λ · MSE; left of 0: members cost less'),
    'bpp': ('Rate', 'bpp; left of 0: members need fewer bits'),
    'mse': ('Distortion', 'MSE; left of 0: members come back closer'),
}
QUALITY = {'psnr': 'PSNR, dB', 'mse': 'MSE, 0-255 scale'}
ROLES = {'victim': 'The audited codecs', 'reference': 'Reference codecs', 'shadow': 'Shadow codecs',
         'control': 'Codecs of the controls', 'defence': 'Codecs of the defences'}
FEWEST_VICTIMS = 3  # under this a defence's row speaks of this run alone
BETTER = 'better ↘'
Box = tuple[float, float, float, float]  # left, top, right, bottom, px
CURVES = 6  # a training panel holds no more
NAMES = 5  # more marks than these are named in the legend, not beside them


def lambda_words(value: float) -> str:
    """'λ 0.01', which never breaks."""
    return f'λ{NB}{value:g}'


def family_of(results: Results, row: Mapping[str, Any]) -> str:
    """The codec family of a row: as stored, else by its victim's name ('0.01-scale'), else the audited one."""
    found = CODEC_NAME.fullmatch(row.get('victim', ''))
    named = found['rest'] if found and found['kind'] is None else None
    own: str = results['codec']['family']
    return row.get('family') or (own if named is None or named.isdigit() else named)


def codec_of(results: Results, row: Mapping[str, Any]) -> str:
    """'λ 0.01', with the family behind it where that is not the audited one."""
    family = family_of(results, row)
    return lambda_words(row['lmbda']) + ('' if family == results['codec']['family'] else f', {label(family)}')


def _primary(results: Results, row: Mapping[str, Any]) -> bool:
    return _own(results, row) and row['lmbda'] == results['codec']['primary_lmbda']


def _own(results: Results, row: Mapping[str, Any]) -> bool:
    """Whether a row is of the audited family: another one gets another mark in the same colour."""
    return family_of(results, row) == results['codec']['family']


def _lambda_series(results: Results) -> dict[float, int]:
    """Each lambda's series, the same in every figure: the primary one first, then from large to small."""
    found = {row['lmbda'] for row in results['codec']['lambdas']}
    found |= {row['lmbda'] for row in results['codec']['rate_distortion']['means']}
    primary = results['codec']['primary_lmbda']
    return {value: i for i, value in enumerate(sorted(found, key=lambda v: (v != primary, -v)))}


def _span(values: Sequence[float], room: float = 0.06) -> tuple[float, float]:
    """Lowest and highest value with a little room; a range of its own where they are equal."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    more = (high - low) * room or abs(high) * room or 1.0
    return low - more, high + more


# Rate and distortion.

def _dots(panel: Panel, points: Sequence[tuple[float, float]], series: int, own: bool = True) -> None:
    """Every point of a cluster as one path of round dots, or of crosses: thousands of pictures stay a light figure."""
    shape, dx = ('h0', 0.0) if own else ('h3m-1.5-1.5v3', 1.5)
    steps = dict.fromkeys(f'M{panel.x(x) - dx:.1f} {panel.y(y):.1f}{shape}' for x, y in points)
    panel.body.append(f'<path d="{"".join(steps)}" class="dots {"" if own else "plus "}s{series % 6}"/>')


def clusters(results: Results, quality: str) -> str:
    """PSNR or MSE of every picture against its bits a pixel, coloured by lambda, with each cluster's mean (Fig. 4.9).

    Args:
        results: as results.schema.json describes, of the study 'codec'.
        quality: 'psnr' or 'mse'.
    """
    stored, series = results['codec']['rate_distortion'], _lambda_series(results)
    rates = [v for group in stored['points'] for v in group['bpp']]
    values = [v for group in stored['points'] for v in group[quality]]
    panel = Panel(f'{QUALITY[quality].split(",")[0]} against rate, picture by picture', _counted_means(results),
                  (0, _span([0, *rates])[1]), _span(values), ('rate, bits a pixel (bpp)', QUALITY[quality]))
    panel.axes()
    for group in stored['points']:
        _dots(panel, list(zip(group['bpp'], group[quality], strict=True)), series[group['lmbda']],
              _own(results, group))
    _means(panel, results, quality)
    return panel.svg()


def _counted_means(results: Results) -> str:
    means = results['codec']['rate_distortion']['means']
    counts = {(row['n'], row['n_people']) for row in means}
    if len(counts) != 1:
        return 'n in the table'
    n, people = counts.pop()
    return f'n {n:,} pictures of {people:,} {people_words(results)} at each λ'


def _means(panel: Panel, results: Results, quality: str, key: bool = True) -> None:
    """The mean of each lambda as a marker, named in the legend or else beside it."""
    series, spots = _lambda_series(results), []
    means = results['codec']['rate_distortion']['means']
    for row in sorted(means, key=lambda row: (not _own(results, row), series[row['lmbda']])):
        kind, words = series[row['lmbda']], codec_of(results, row)
        style = f'ringed f{kind % 6}' if _own(results, row) else f'hollow s{kind % 6}'
        spots.append((words, (panel.x(row['bpp']), panel.y(row[quality]))))
        tip = f'{words}: {row["bpp"]:.3g} bpp, {row[quality]:.4g} {QUALITY[quality]}'
        panel.body.append(marker(*spots[-1][1], kind, style, tip, 5.5))
        if key:
            panel.key(kind, style.replace('ringed', f's{kind % 6}'),
                      words + (', the primary one' if _primary(results, row) else ''))
    panel.body += [] if key else _names(spots, panel)


def averages(results: Results, quality: str) -> str:
    """The means with their fitted straight line (Fig. 4.10) and the classical codecs on the same pictures for scale."""
    stored = results['codec']['rate_distortion']
    most = 2.5 * max([row['bpp'] for row in stored['means']], default=1.0)
    shown = {row['codec']: sorted((p['bpp'], p[quality]) for p in row['points'] if p['bpp'] <= most)
             for row in stored['classical']}
    places = [(row['bpp'], row[quality]) for row in stored['means']] + [p for ps in shown.values() for p in ps]
    panel = Panel(f'{QUALITY[quality].split(",")[0]} against rate, averages', _counted_means(results),
                  (0, _span([0, *(x for x, _ in places)])[1]), _span([y for _, y in places]),
                  ('rate, bits a pixel (bpp)', QUALITY[quality]))
    panel.axes()
    _fitted(panel, stored, quality)
    for i, (name, points) in enumerate(shown.items()):
        panel.line(points, i + 3, name if points else f'{name}: over {most:.2g} bpp at its lowest rate')
    _means(panel, results, quality, key=len(stored['means']) > NAMES)
    return panel.svg()


def _fitted(panel: Panel, stored: Mapping[str, Any], quality: str) -> None:
    """The stored straight line over the range of the means, and its words."""
    fit, rates = stored['fit'].get(quality), [row['bpp'] for row in stored['means']]
    if fit and rates:
        ends = [(panel.x(x), panel.y(fit['intercept'] + fit['slope'] * x)) for x in (min(rates), max(rates))]
        panel.body.append(path(ends, 'line chance'))
        panel.legend.append((line_at(0, 0, 26, 0, 'chance'),
                             f'straight line: {number(fit["intercept"])} {"-" if fit["slope"] < 0 else "+"} '
                             f'{number(abs(fit["slope"]))} · bpp'))


# Rates under one another.

@dataclass(frozen=True)
class _Bar:
    """A row of a forest: group heading, name, rate, its series and whether its marker is filled."""

    group: str
    name: str
    rate: Rate
    series: int
    filled: bool = True


def _forest(results: Results, title: str, counted: str, bars: Sequence[_Bar], axis: str,
            mark: float, within: tuple[float, float] | None = None) -> str:
    """Rates with intervals under one another on one axis, each with its number above, beside a marked value."""
    ends = [v for bar in bars for v in (bar.rate['estimate'], *bar.rate['interval']) if v is not None]
    low, high = _span([mark, *ends])
    x = Axis(max(low, within[0]) if within else low, min(high, within[1]) if within else high, 8, 340)
    body = [text_at(0, 16 + 18 * i, words, 'h') for i, words in enumerate(wrap(title, 354, 14))]
    y = 18.0 * len(body) + 16
    for words in wrap(counted, 354):
        body.append(text_at(0, y, words, 'm'))
        y += 16
    y += 10
    for bar in bars:
        drawn, y = _forest_row(bar, x, y, mark, people_words(results))
        body += drawn
    body += [line_at(x(v), y, x(v), y + 4, 'axis') for v in x.ticks(4)]
    body += [text_at(x(v), y + 17, f'{v:g}', 'm', 'middle') for v in x.ticks(4)]
    body += [line_at(8, y, 340, y, 'axis'), text_at(174, y + 37, axis, 'm', 'middle')]
    return svg(360, y + 44, body, title)


def _forest_row(bar: _Bar, x: Axis, y: float, mark: float, people: str) -> tuple[list[str], float]:
    """One row at height y, under its group's heading where it has one; with the y below."""
    body = []
    if bar.group:
        body.append(text_at(0, y + 12, bar.group, 'k'))
        y += 20
    known = bar.rate['estimate'] is not None
    words = f'{estimate(bar.rate)} {interval(bar.rate)}' if known else 'not available'
    body += [text_at(0, y + 12, bar.name), text_at(360, y + 12, words, 'b' if known else 'm', 'end')]
    y += 28
    if known:
        body.append(line_at(x(mark), y - 10, x(mark), y + 10, 'chance'))
        low, high = bar.rate['interval']
        style = f's{bar.series % 6}'
        if low is not None and high is not None:
            body.append(line_at(x(low), y, x(high), y, style, 'stroke-width="2"'))
        fill = f'f{bar.series % 6}' if bar.filled else 'hollow'
        body.append(marker(x(bar.rate['estimate']), y, bar.series, f'{style} {fill}',
                           f'{bar.name}: {words}, {detail(bar.rate, people)}', 5))
    return body, y + 12


def _counted_rows(results: Results, rates: Sequence[Rate]) -> str:
    return f'{counts_of(rates, people_words(results))} a row, 95 % bars'


def gaps(results: Results, measure: str) -> str:
    """Mean of members minus mean of non-members at each lambda, signed, with its interval (Fig. 6.1's output).

    Args:
        results: as results.schema.json describes, of the study 'codec'.
        measure: 'loss', 'bpp' or 'mse'.
    """
    name, axis = MEASURES[measure]
    series = _lambda_series(results)
    bars = [_Bar('', f'{codec_of(results, row)}{" · primary" if row["primary"] else ""}', row['sides'][measure]['gap'],
                 series[row['lmbda']], _own(results, row)) for row in results['codec']['lambdas']]
    counted = _counted_rows(results, [bar.rate for bar in bars])
    return _forest(results, f'{name}: members minus non-members', counted, bars, axis, 0.0)


def leak_by_lambda(results: Results) -> str:
    """AUC of the calibrated score beside the thesis's own at each lambda."""
    bars = []
    for row in results['codec']['lambdas']:
        title = f'{codec_of(results, row)}{" · primary" if row["primary"] else ""}'
        bars += [_Bar(title, 'calibrated', row['auc'], 0),
                 _Bar('', 'as it is (thesis 6.1)', row['auc_uncalibrated'], 1, False)]
    return _forest(results, 'Leak at each lambda', _counted_rows(results, [bar.rate for bar in bars]), bars,
                   'AUC (dashed: chance)', 0.5, (0.0, 1.0))


def attacks(results: Results) -> str:
    """Every attack's AUC on the primary victim beside the others, calibrated and not, in the primary contrast."""
    primary = results['primary']
    rows = [row for row in results['attacks'] if row['contrast'] == primary['contrast']
            and row['victim'] == primary['victim'] and row['unit'] == primary['unit'] and row['how'] in ('', 'mean')]
    bars = []
    for heading, chosen, series in (
            ('CALIBRATED BY THE PICTURE\'S DIFFICULTY', [r for r in rows if r['attack'] not in UNCALIBRATED], 0),
            ('AS THEY ARE', [r for r in rows if r['attack'] in UNCALIBRATED], 1)):
        for i, row in enumerate(chosen):
            name = label(row['attack']) + (' (endpoint)' if row['attack'] == primary['attack'] else '')
            bars.append(_Bar(heading if i == 0 else '', name, row['auc'], series, series == 0))
    counted = f'{CONTRASTS[primary["contrast"]][0]}, by {primary["unit"]}; '
    return _forest(results, 'The attacks beside one another', counted + _counted_rows(results, [b.rate for b in bars]),
                   bars, 'AUC (dashed: chance)', 0.5, (0.0, 1.0))


# Training.

def training(results: Results, role: str, part: int = 0) -> str:
    """Loss against images seen of up to six codecs of one role; part 1 shows the next six, and so on."""
    codecs = _trained(results, role)[part * CURVES:(part + 1) * CURVES]
    points = [p for codec in codecs for p in codec['curve']]
    values = [p['loss'] for p in points if p['loss'] is not None and p['loss'] > 0]
    wide = max(values, default=1) > 8 * min(values, default=1)
    ends = (min(values) * 0.85, max(values) * 1.15) if wide else _span(values)
    panel = Panel(f'{ROLES[role]}: training', f'{len(codecs)} codec{"s" if len(codecs) > 1 else ""}; pictures in the legend',
                  (0, max([p['images_seen'] for p in points], default=1)), ends,
                  ('images seen in training', 'loss, bpp + λ · MSE' + (' (logarithmic)' if wide else '')), (False, wide))
    panel.axes()
    for i, codec in enumerate(codecs):
        panel.line([(p['images_seen'], p['loss']) for p in codec['curve']], i,
                   f'{victim_words(results, codec["name"])}, {codec["images"]:,} pictures')
    return panel.svg()


def _trained(results: Results, role: str) -> list[Mapping[str, Any]]:
    return [codec for codec in results['codec']['codecs'] if codec['role'] == role and codec['curve']]


# The frontier.

UTILITIES = {  # column: (axis, 1 or -1 so that better lies to the right)
    'psnr_difference': ('dB against the undefended codec, at equal bpp (right: better pictures)', 1),
    'bd_rate': ('% bits against the undefended codec, BD-rate (right: fewer)', -1),
}


def utility_of(results: Results) -> str | None:
    """Which measure the frontier is drawn against: the one that more defences have; None where none has any."""
    rows = results['codec']['frontier']['rows']
    counts = {key: sum(row[key] is not None for row in rows) for key in UTILITIES}
    best = max(counts, key=lambda key: counts[key])
    return best if counts[best] else None


def frontier(results: Results, width: float = 760) -> str:
    """Leakage (AUC with interval) against utility, one named point a defence; hollow where under three victims.

    Args:
        results: as results.schema.json describes, of the study 'codec'.
        width: px; 360 for a phone.
    """
    rows, key = results['codec']['frontier']['rows'], utility_of(results)
    placed = [row for row in rows if key and row[key] is not None and row['auc']['estimate'] is not None]
    words, sign = UTILITIES[key or 'psnr_difference']
    ends = [v for row in placed for rate in (row['auc'], row['auc_fresh']) if rate
            for v in (rate['estimate'], *rate['interval']) if v is not None]
    low, high = _span([sign * row[key] for row in placed] if key else [], 0.14)
    panel = Panel('Leakage against utility', f'{counts_of([row["auc"] for row in placed], people_words(results))} a point, '
                  '95 % bars', (low, high), (min([0.4, *ends]), max([1.0, *ends])),
                  (words if width >= 600 else words.split(' (')[0], 'leak, AUC (lower: less is given away)'),
                  right=width - 52, size=(width, 190 if width < 600 else 300))
    _frontier_axes(panel, sign)
    panel.body.append(text_at(panel.right - 6, panel.bottom - 8, BETTER, 'm halo', 'end'))
    spots = [(panel.x(sign * row[key]), panel.y(row['auc']['estimate'])) for row in placed] if key else []
    for i, (row, (x, _)) in enumerate(zip(placed, spots, strict=True)):
        _point(panel, row, x, i, people_words(results))
    panel.body += _names([(_defence(row, rows), spot) for row, spot in zip(placed, spots, strict=True)], panel,
                         _reserved(panel), [box for row, (x, _) in zip(placed, spots, strict=True)
                                            for box in _bars(panel, row, x)])
    panel.legend.append((marker(13, 0, 0, 'n'), f'filled: at least {FEWEST_VICTIMS} victims; hollow: this run only'))
    if any(row['auc_fresh'] for row in placed):
        panel.legend.append((line_at(4, 0, 22, 0, 'n', 'stroke-width="2"'),
                             'pale bar and tick beside a point: people not used to choose'))
    panel.legend += [(text_at(13, 4, '–', 'm', 'middle'), f'{_defence(row, rows)}: not placed, no utility at equal bpp')
                     for row in rows if row not in placed]
    return panel.svg()


def _frontier_axes(panel: Panel, sign: int) -> None:
    """The panel's axes; a mirrored one (BD-rate) carries its own values."""
    ticks = panel.x.ticks(4 if panel.width < 600 else 7)
    panel.axes([])
    for value in ticks:
        at = panel.x(value)
        panel.body += [line_at(at, panel.bottom, at, panel.bottom + 4, 'axis'),
                       text_at(at, panel.bottom + 17, f'{sign * value + 0:g}', 'm', 'middle')]
    panel.level(0.5)


def _point(panel: Panel, row: Mapping[str, Any], x: float, series: int, people: str) -> None:
    """One defence: its interval, its marker, and beside it the AUC on people not used to choose it."""
    style = f's{series % 6}'
    fill = f'f{series % 6}' if row['victims'] >= FEWEST_VICTIMS else 'hollow'
    panel.bar(x, row['auc']['interval'], style)
    fresh = row['auc_fresh']
    if fresh and fresh['estimate'] is not None:
        panel.bar(x + 7, fresh['interval'], f'{style} pale')
        at = panel.y(fresh['estimate'])
        panel.body.append(line_at(x + 3, at, x + 11, at, style, 'stroke-width="2"'))
    tip = f'{label(row["defence"])}, {lambda_words(row["lmbda"])}: {estimate(row["auc"])} {interval(row["auc"])}, '
    tip += detail(row['auc'], people)
    panel.body.append(marker(x, panel.y(row['auc']['estimate']), series, f'{style} {fill}', tip, 5.5))


def _reserved(panel: Panel) -> list[Box]:
    """Where the frontier's own words stand: the chance line's name and the better corner."""
    chance = panel.y(0.5)
    return [(panel.right + 2, chance - 9, panel.width, chance + 9),
            (panel.right - 6 - 6.9 * len(BETTER), panel.bottom - 22, panel.right, panel.bottom)]


def _bars(panel: Panel, row: Mapping[str, Any], x: float) -> list[Box]:
    """The boxes of a defence's intervals, which a name covers only where nothing else is free."""
    ends = [(x, row['auc']['interval']), *([(x + 7, row['auc_fresh']['interval'])] if row['auc_fresh'] else [])]
    return [(at - 2, panel.y(high), at + 2, panel.y(low)) for at, (low, high) in ends
            if low is not None and high is not None]


def _names(spots: Sequence[tuple[str, tuple[float, float]]], panel: Panel, reserved: Sequence[Box] = (),
           bars: Sequence[Box] = ()) -> list[str]:
    """Each point's name beside it, on the side and at the height where it covers no other name or marker, nor a bar."""
    taken = [*reserved, *((x - 7, y - 7, x + 14, y + 7) for _, (x, y) in spots)]
    body = []
    for words, (x, y) in spots:
        room = 6.9 * len(words)
        places = [(x + dx if dx > 0 else x + dx - room, y + dy) for dy in (0, -14, 14, -28, 28, -42, 42)
                  for dx in (16, -10)]
        boxes = [(a, b - 7, a + room, b + 7) for a, b in places]
        fitting = [box for box in boxes if box[0] >= panel.left and box[2] <= panel.width and box[1] >= panel.top - 7
                   and box[3] <= panel.bottom and not any(_overlap(box, other) for other in taken)]
        clear = [box for box in fitting if not any(_overlap(box, bar) for bar in bars)]
        box = (clear or fitting or boxes)[0]
        taken.append(box)
        body.append(text_at(box[0], box[1] + 11, words, 'b halo'))
    return body


def _defence(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A defence's name, with its lambda where the rows differ in that."""
    alone = len({other['lmbda'] for other in rows}) == 1
    return label(row['defence']) + ('' if alone else f', {lambda_words(row["lmbda"])}')


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def of_codec(results: Results) -> dict[str, str]:
    """What only a codec's audit shows, by file name in report order."""
    stored = results['codec']
    figures: dict[str, str] = {}
    if stored['lambdas']:
        figures |= {f'gaps-{measure}': gaps(results, measure) for measure in MEASURES}
        figures['leak-lambda'] = leak_by_lambda(results)
    if stored['rate_distortion']['points']:
        figures |= {f'clusters-{quality}': clusters(results, quality) for quality in QUALITY}
    if stored['rate_distortion']['means']:
        figures |= {f'averages-{quality}': averages(results, quality) for quality in QUALITY}
    if results['attacks']:
        figures['attacks'] = attacks(results)
    if utility_of(results):
        figures |= {'frontier': frontier(results), 'frontier-phone': frontier(results, 360)}
    for role in ROLES:
        for part in range(-(-len(_trained(results, role)) // CURVES)):
            figures[f'training-{role}-{part + 1}'] = training(results, role, part)
    return figures
