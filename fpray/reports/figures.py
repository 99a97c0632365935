"""Figures of a report as SVG text: pure functions of stored results, without a drawing library.

Here are those that every study shares and those of the generator's; codec_figures.py holds the codec's, plots.py draws
what a study's own sections ask for.
Every series differs in colour, dash and marker: no message hangs on colour alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fpray.reports import codec_figures, plots
from fpray.reports.drawing import (
    CONTRASTS,
    DASHES,
    NAMED,
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
    pictures_of,
    series_of,
    share,
    stamp_words,
    stamped,
    svg,
    text_at,
    wrap,
)
from fpray.reports.words import WORDS

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
    primary, controls, names = results['primary'], results['controls'], WORDS[results['study']].controls()
    unit = 'person' if results['data']['subject_known'] else 'finger'
    contrast = f'{CONTRASTS[primary["contrast"]][0]}, ' if 'contrast' in primary else ''
    name = f'{label(primary["attack"])}, {contrast}by {unit}'
    rows = [_Row('THE RESULT', f'Attack ({name})', primary['auc'], '', '0', 2),
            _Row('', 'Attack minus placebo (0 lies on the chance line)', primary['minus_placebo'], '', '0', 0,
                 0.5)]
    table = (('SHOULD LIE AT CHANCE', 'placebo', 'n', 1), ('', 'pictures_alone', 'n', 3), ('', 'permuted_null', 'n', 0),
             ('SHOULD LIE ABOVE CHANCE', 'rehearsal', '2', 1), ('REACH OF THIS AUDIT', 'smallest_detectable', '1', REACH))
    for group, key, series, kind in table:
        control = controls[key]
        rows.append(_Row(group, names[key][0], control.get('auc'), control.get('not_available', ''), series, kind))
    return rows


def _bar(row: _Row, axis: Axis, y: float, people: str) -> list[str]:
    """Interval and estimate of one row at height y; nothing where there is no estimate."""
    if row.rate is None or row.rate['estimate'] is None:
        return []
    stroke, fill = ('n', 'n') if row.series == 'n' else (f's{row.series}', f'f{row.series}')
    at = axis(row.rate['estimate'] + row.shift)
    if row.kind == REACH:
        dots = line_at(axis(0.5), y, at, y, stroke, 'stroke-dasharray="2 3" stroke-width="1.5"')
        return [dots, line_at(at, y - 8, at, y + 8, stroke, 'stroke-width="3"')]
    main, body = row.series == '0', []
    low, high = row.rate['interval']
    if low is not None and high is not None:
        a, b, thick = axis(low + row.shift), axis(high + row.shift), f'stroke-width="{3 if main else 2}"'
        body = [line_at(a, y, b, y, stroke, thick), *(line_at(end, y - 4, end, y + 4, stroke,
                                                          thick) for end in (a, b))]
    tip = f'{row.name}: {estimate(row.rate)} {interval(row.rate)}, {detail(row.rate, people)}'
    return [*body, marker(at, y, row.kind, fill, tip, 6 if main else 5)]


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
    body = [line_at(axis(0.5), top, axis(0.5), bottom, 'chance')]
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
            body.append(text_at(0, y, row.group, 'k'))
            y += 5 if wide else 9
        drawn, y = place(row, axis, y, people, reach)
        body += drawn
        if row is not rows[-1]:
            body.append(line_at(0, y, width, y, 'grid'))
            y += 20 if rows[rows.index(row) + 1].group else 2
    for value in axis.ticks(5):
        body += [line_at(axis(value), y, axis(value), y + 4, 'axis'),
                 text_at(axis(value), y + 18, f'{value:g}', 'm', 'middle')]
    words = 'AUC (0.5 is chance, 1 is perfect)'
    words += '; shaded: leaks too small for this audit' if reach else ''
    body.append(line_at(axis.start, y, axis.end, y, 'axis'))
    body += [text_at((axis.start + axis.end) / 2, y + 38 + 16 * i, line, 'm', 'middle')
             for i, line in enumerate(wrap(words, 340))]
    behind = _backdrop(axis, reach, 4, y) if wide else []
    return svg(width, y + 38 + 16 * len(wrap(words, 340)) - 8, behind + body,
                'The result beside its controls')


def _wide_row(row: _Row, axis: Axis, y: float, people: str, reach: float | None) -> tuple[list[str], float]:
    """Name left, bar in the middle, numbers right; with the y below."""
    first, second = _numbers(row, people)
    names, seconds = wrap(row.name, axis.start - 14), wrap(second, 296)
    height = 15.0 * max(len(names), 1 + len(seconds)) + 13
    middle = y + height / 2
    body = [text_at(0, middle + 4 - 7.5 * (len(names) - 1) + 15 * i, line, 'b' if row.series == '0' else '')
            for i, line in enumerate(names)]
    start, right = middle + 4 - 7.5 * len(seconds), axis.end + 22
    body.append(text_at(right, start, first, 'b' if first != 'not available' else 'm'))
    body += [text_at(right, start + 15 * (i + 1), line, 'm') for i, line in enumerate(seconds)]
    return body + _bar(row, axis, middle, people), y + height


def _narrow_row(row: _Row, axis: Axis, y: float, people: str, reach: float | None) -> tuple[list[str], float]:
    """Name above, then the bar on its own piece of the chance line, numbers under it; with the y below."""
    first, second = _numbers(row, people)
    names, seconds = wrap(row.name, axis.end), wrap(second, axis.end)
    body = [text_at(0, y + 12 + 15 * i, line, 'b' if row.series == '0' else '') for i, line in enumerate(names)]
    y += 15 * len(names) + 6
    bar = _bar(row, axis, y + 12, people)
    if bar:
        body += [*_backdrop(axis, reach, y, y + 24), *bar]
        y += 26
    body.append(text_at(0, y + 12, first, 'b' if bar else 'm'))
    body += [text_at(0, y + 27 + 15 * i, line, 'm') for i, line in enumerate(seconds)]
    return body, y + 22 + 15 * len(seconds)


# The small panels.

def roc(results: Results, contrast: str) -> str:
    """ROC curves of every attack in one contrast, both axes logarithmic, with the chance line."""
    curves = {key.rsplit('/', 1)[0]: curve for key, curve in results['roc'].items()
              if key.rsplit('/', 1)[1] == contrast}
    floor = _decade([v for curve in curves.values() for pair in zip(curve['fpr'], curve['tpr'],
                                                                    strict=True) for v in pair])
    panel = Panel(f'{CONTRASTS[contrast][0]}: {CONTRASTS[contrast][1]} against {CONTRASTS[contrast][2]}',
                   pictures_of(results, contrast), (floor, 1), (floor, 1),
                   ('false-positive rate (share of non-members flagged)', 'true-positive rate'), (True, True))
    panel.axes()
    panel.body.append(path([(panel.x(v), panel.y(v)) for v in (floor, 1.0)], 'line chance'))
    panel.legend.append((line_at(0, 0, 26, 0, 'chance'), 'chance'))
    for attack, curve in curves.items():
        points = [(f, t) for f, t in zip(curve['fpr'], curve['tpr'], strict=True) if f > 0 and t > 0]
        panel.line(points, series_of(results)[attack], label(attack))
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
    panel = Panel(f'{short}: scores of {label(attack)}', pictures_of(results, contrast),
                   (stored['edges'][0], stored['edges'][-1]), (0, top * 1.08),
                   ('membership score (larger: more member-like)', 'pictures a bin'))
    panel.axes()
    for series, side, words in ((1, 'negatives', negatives), (0, 'positives', positives)):
        steps = [(x, y) for a, b, y in zip(stored['edges'], stored['edges'][1:], stored[side], strict=False)
                 for x in (a, b) for y in (y,)]
        outline = [(panel.x(x), panel.y(y)) for x, y in [(stored['edges'][0], 0.0), *steps,
                                                         (stored['edges'][-1], 0.0)]]
        panel.body.append(path(outline, f'area f{series}', close=True))
        panel.line([(stored['edges'][0], 0.0), *steps, (stored['edges'][-1], 0.0)], series, words)
    return panel.svg()


def sweep(results: Results, contrast: str) -> str:
    """AUC against the number of people trained on, intervals over people; the headline size is filled."""
    rows = [row for row in results['sweep'] if row['contrast'] == contrast]
    rows = [row for row in rows if row['auc']['estimate'] is not None]
    sizes = sorted({row['people'] for row in rows}) or [1]
    ends = [v for row in rows for v in (*row['auc']['interval'], row['auc']['estimate']) if v is not None]
    panel = Panel(f'{CONTRASTS[contrast][0]}: leak against training-set size',
                   f'{counts_of([row["auc"] for row in rows], people_words(results))} a point',
                   (sizes[0] / 1.5, sizes[-1] * 1.5), (min(0.4, min(ends, default=0.4)), max([1.0, *ends])),
                   ('people in the training set', 'AUC by person, bars 95 % over people'), (True, False),
                   NAMED)
    panel.axes(sizes)
    panel.level(0.5)
    attacks = sorted({row['attack'] for row in rows}, key=series_of(results).__getitem__)
    for place, attack in enumerate(attacks):
        series, shift = series_of(results)[attack], min(11, 64 / len(attacks)) * (place - (len(attacks) - 1) / 2)
        mine = sorted((row for row in rows if row['attack'] == attack), key=lambda row: row['people'])
        spots = [(panel.x(row['people']) + shift, panel.y(row['auc']['estimate'])) for row in mine]
        panel.body.append(path(spots, f'line s{series % 6}', DASHES[series % len(DASHES)]))
        for (x, y), row in zip(spots, mine, strict=True):
            panel.bar(x, row['auc']['interval'], f's{series % 6}')
            style = f's{series % 6} ' + (f'f{series % 6}' if row['headline'] else 'hollow')
            tip = f'{label(attack)}, {row["people"]} in training: {estimate(row["auc"])} '
            tip += f'{interval(row["auc"])}, ' + detail(row['auc'], people_words(results))
            panel.body.append(marker(x, y, series, style, tip))
        dash = f'stroke-dasharray="{DASHES[series % len(DASHES)] or "none"}"'
        panel.legend.append((line_at(0, 0, 26, 0, f'line s{series % 6}', dash)
                             + marker(13, 0, series, f's{series % 6} f{series % 6}'), label(attack)))
    panel.legend.append((marker(13, 0, 0, 'n'), 'filled: headline size; hollow: this run, no verdict'))
    return panel.svg()


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
    panel = Panel(f'{label(victim)}: score matched by its shadows',
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
    panel = Panel(f'{label(victim)}: what the attack would have found',
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


def _stop_marks(panel: Panel, item: Mapping[str, Any], key: str, series: int) -> None:
    """A marker where the shadow stopped: filled if it reached the victim's score, else hollow."""
    at = next((p for p in item['trace'] if p['images_seen'] == item['stopped_at']), None)
    if at is not None and at.get(key) is not None:
        style = f's{series % 6} ' + (f'f{series % 6}' if item['reached'] else 'hollow')
        panel.body.append(marker(panel.x(at['images_seen']), panel.y(at[key]), series, style,
                                  _shadow_words(item), 5.5))


def search(results: Results) -> str:
    """Trials of the shadow's search: the objective by trial number, by how each ended."""
    trials = results['search']['trials']
    values = [t['value'] for t in trials if t['value'] is not None]
    panel = Panel('Search for the shadow', f'{len(trials)} trials; no membership label enters',
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
        panel.body.append(marker(x, y, kind, style, tip, 5))
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
    panel = Panel(f'{label(victim)}: training', counted,
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
    panel = Panel('Pattern classes among the highest scores',
                   pictures_of(results, results['primary']['contrast']),
                   (0, top * 1.08), (0, 1), ('share of pictures', ''))
    step = panel.plot / max(len(classes), 1)
    panel.left = 92.0
    panel.x = Axis(0, top * 1.08, panel.left, panel.right)
    for value in panel.x.ticks():
        panel.body += [line_at(panel.x(value), panel.top, panel.x(value), panel.bottom, 'grid'),
                       text_at(panel.x(value), panel.bottom + 17, f'{value:g}', 'm', 'middle')]
    panel.body.append(text_at((panel.left + panel.right) / 2, panel.bottom + 35, panel.names[0], 'm', 'middle'))
    for i, name in enumerate(classes):
        y = panel.top + step * (i + 0.5)
        known = [panel.x(shares[name]) for shares in groups.values() if name in shares]
        panel.body += [text_at(0, y + 4, label(name)), line_at(min(known), y, max(known), y, 'axis')]
        for series, (group, shares) in enumerate(groups.items()):
            if name in shares:
                style = 'hollow n' if series == 0 else f's{series - 1} f{series - 1}'
                panel.body.append(marker(panel.x(shares[name]), y, series, style,
                                          f'{label(name)}, {group}: {share(shares[name])}',
                                          6 if series == 0 else 4.5))
    for series, group in enumerate(groups):
        panel.key(series, 'hollow n' if series == 0 else f's{series - 1} f{series - 1}', group)
    return panel.svg()


def _of_generator(results: Results) -> dict[str, str]:
    """What only a generator's audit shows: stopping, search, losses and pattern classes."""
    figures = {}
    for victim in dict.fromkeys(item['victim'] for item in results['stopping'] if item['trace']):
        figures[f'stopping-{victim}-score'] = stopping_score(results, victim)
        if any(p.get('auc') is not None for item in _shadows_of(results, victim) for p in item['trace']):
            figures[f'stopping-{victim}-auc'] = stopping_auc(results, victim)
    if results['search'] and results['search']['trials']:
        figures['search'] = search(results)
    figures |= {f'losses-{row["name"]}': losses(results, row['name']) for row in results['victims'] if row['losses']}
    if results['pattern_shares']:
        figures['patterns'] = patterns(results)
    return figures


def _of_membership(results: Results) -> dict[str, str]:
    """What every membership study shows, and what this one adds."""
    contrasts = [c for c in CONTRASTS if any(key.endswith(f'/{c}') for key in results['roc'])]
    swept = [c for c in CONTRASTS if any(row['contrast'] == c for row in results['sweep'])]
    figures = {f'sweep-{c}': sweep(results, c) for c in swept}
    figures |= {f'roc-{c}': roc(results, c) for c in contrasts}
    figures |= {f'histogram-{key.replace("/", "-")}': histogram(results, key) for key in results['histograms']}
    return figures | (codec_figures.of_codec(results) if results['study'] == 'codec' else _of_generator(results))


def all_figures(results: Results) -> dict[str, str]:
    """Every figure that these results can fill, stamped with the data's label, by file name in report order."""
    figures = {'controls': controls(results), 'controls-phone': controls(results, 350)}
    figures |= plots.of_sections(results) if 'sections' in results else _of_membership(results)
    return {name: stamped(figure, stamp_words(results)) for name, figure in figures.items()}
