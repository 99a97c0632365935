"""Plots of sections: every value lies where the axis says, and what cannot be drawn is left out, not held at the edge."""

import math
import re
from statistics import NormalDist
from xml.etree import ElementTree

import numpy as np
import pytest

from fpray.metrics.rate import Rate
from fpray.reports import figures, html, plots
from fpray.reports.drawing import NB, size_of
from fpray.reports.results import plain
from fpray.studies import sections

NUMBER = re.compile(r'-?\d+(?:\.\d+)?')


def _drawn(stored):
    """The figure as XML, and as text."""
    text = plots.draw(plain(stored))
    return ElementTree.fromstring(text), text.replace(NB, ' ')


def _ticks(root, axis, scale=float):
    """How px become values along an axis, from two of its tick labels; `scale` reads a label as a place."""
    pairs = []
    for node in root.iter('text'):
        words = (node.text or '').replace(NB, ' ')
        anchored = node.get('text-anchor') == ('middle' if axis == 'x' else 'end')
        if anchored and re.fullmatch(r'-?[\d.,]+( %)?', words) and 'm' in node.get('class', '').split():
            at = float(node.get(axis)) - (0 if axis == 'x' else 4)
            pairs.append((at, scale(words)))
    (a, va), (b, vb) = pairs[0], pairs[-1]
    return lambda px: va + (px - a) / (b - a) * (vb - va)


def _spots(root, words):
    """Centres of the marks whose tip begins so."""
    found = []
    for node in [*root.iter('circle'), *root.iter('polygon')]:
        title = node.find('title')
        if title is not None and title.text.replace(NB, ' ').startswith(words):
            if node.tag == 'circle':
                found.append((float(node.get('cx')), float(node.get('cy'))))
            else:
                points = [tuple(map(float, pair.split(','))) for pair in node.get('points').split()]
                found.append(tuple(np.mean(points, axis=0)))
    return found


def _strokes(root, i):
    """Points of the line of series i."""
    lines = [node.get('d') for node in root.iter('path') if node.get('class') == f'line s{i}']
    return [[float(v) for v in NUMBER.findall(step)] for step in lines[0].removeprefix('M').split('L')]


def _percent(words):
    return NormalDist().inv_cdf(float(words.removesuffix(' %')) / 100)


@pytest.mark.parametrize('study', ['inference', 'inversion'])
def test_every_plot_is_xml_of_its_own_and_stamped(make_sectioned, tmp_path, study):
    results = plain(make_sectioned(study))
    drawn = figures.all_figures(results)
    wanted = [f'{s["id"]}-{p["id"]}' for s in results['sections'] for p in s['plots']]
    assert [name for name in drawn if name in wanted] == wanted and {'controls', 'controls-phone'} <= set(drawn)
    assert ('endpoint' in drawn) == (study == 'inversion')
    for path in html.write_figures(results, tmp_path):
        root = ElementTree.parse(path).getroot()
        assert root.get('aria-label') and 'synthetic stand-in' in path.read_text()
    for name in wanted:
        width = size_of(drawn[name])[0]
        for node in ElementTree.fromstring(drawn[name]).iter('text'):
            assert float(node.get('x', 0)) <= width


def test_points_and_bars_lie_where_their_numbers_say():
    rates = [Rate(0.9, (0.8, 0.95), 0.25, 9, 9), Rate(None, (None, None), 0.25, 9, 9), Rate(0.3, (0.2, 0.5), 0.25, 9, 9)]
    root, text = _drawn(sections.lines('l', 'L', '', 'x', 'y', [sections.rates('own', [1, 5, 10], rates)],
                                       marks=[sections.mark(0.25, 'guessing')]))
    x, y = _ticks(root, 'x'), _ticks(root, 'y')
    (first, ), (last, ) = _spots(root, 'own, 1:'), _spots(root, 'own, 10:')
    assert (x(first[0]), y(first[1])) == pytest.approx((1, 0.9), abs=0.005)
    assert (x(last[0]), y(last[1])) == pytest.approx((10, 0.3), abs=0.005)
    bars = [node for node in root.iter('line') if node.get('class') == 's0' and node.get('stroke-width') == '1.5']
    assert sorted(tuple(sorted(round(y(float(bar.get(end))), 2) for end in ('y1', 'y2'))) for bar in bars) == [
        (0.2, 0.5), (0.8, 0.95)]
    assert 'own, 10: 0.30 [0.20, 0.50]' in text and not _spots(root, 'own, 5')
    level = [node for node in root.iter('line') if node.get('class') == 'chance' and node.get('x1') != '0.0']
    assert y(float(level[0].get('y1'))) == pytest.approx(0.25, abs=0.005)


def test_names_stand_under_their_points_in_the_order_given():
    root, _ = _drawn(sections.lines('l', 'L', '', 'rung', 'y', [
        sections.series('a', ['No-Adapt', 'FT-1', 'FT-2'], [0.9, 0.8, 0.7]), sections.series('b', ['FT-2'], [0.5])]))
    turned = {node.text: float(NUMBER.findall(node.get('transform', 'translate(0 0)'))[0]) for node in root.iter('text')}
    at = {node.text: float(node.get('x')) for node in root.iter('text') if node.get('x')} | {
        name: x for name, x in turned.items() if name in ('No-Adapt', 'FT-1', 'FT-2') and x}
    assert at['No-Adapt'] < at['FT-1'] < at['FT-2']
    (a, ), (b, ) = _spots(root, 'a, 2:'), _spots(root, 'b, 2:')
    assert abs(a[0] - b[0]) < 1 and abs(a[0] - at['FT-2']) < 6


def test_many_points_become_a_band_and_a_logarithm_keeps_nothing_at_zero():
    x = np.linspace(0, 1, 50)
    root, _ = _drawn(sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', x, x, x / 2, (1 + x) / 2)], diagonal=True,
                                    log=True))
    assert not _spots(root, 'a')
    areas = [node.get('d') for node in root.iter('path') if node.get('class') == 'area f0']
    assert len(areas) == 1 and len(areas[0].split('L')) == 2 * 49  # x = 0 has no logarithm
    assert len(_strokes(root, 0)) == 49


def test_steps_stay_until_the_next_value():
    root, _ = _drawn(sections.steps('s', 'S', '', 'x', 'y', [sections.series('a', [1, 2, 4], [0.2, 0.5, 1.0])]))
    x, y = _ticks(root, 'x'), _ticks(root, 'y')
    found = [(x(px), y(py)) for px, py in _strokes(root, 0)]
    wanted = [(1, 0.2), (2, 0.2), (2, 0.5), (4, 0.5), (4, 1.0)]
    assert np.abs(np.array(found) - wanted).max() < 0.02


def test_histograms_of_different_sizes_are_shares_of_their_own():
    edges = [0, 1, 2]
    root, _ = _drawn(sections.histogram('h', 'H', '', 'x', 'share', [
        sections.series('few', edges, [1, 3]), sections.series('many', edges, [750, 250])]))
    y = _ticks(root, 'y')
    for i, wanted in enumerate(([0.25, 0.75], [0.75, 0.25])):
        heights = [y(py) for _, py in _strokes(root, i)]
        assert [heights[1], heights[3]] == pytest.approx(wanted, abs=0.005)


def test_det_axes_are_normal_deviates_with_percent_and_a_normal_pair_is_straight():
    normal, shift = NormalDist(), 2.5
    cut = np.linspace(-1, 4, 80)
    fmr, fnmr = [1 - normal.cdf(t) for t in cut], [normal.cdf(t - shift) for t in cut]
    root, text = _drawn(sections.det('d', 'D', '', [sections.series('a', [0.0, *fmr, 1.0], [1.0, *fnmr, 0.0])],
                                     diagonal=True, marks=[sections.mark(0.01, 'FMR 1 %', 'x')]))
    x, y = (_ticks(root, axis, _percent) for axis in ('x', 'y'))
    spots = np.array([(x(px), y(py)) for px, py in _strokes(root, 0)])
    np.testing.assert_allclose(spots.sum(1), -shift, atol=0.03)
    assert len(spots) < 80 and '0.1 %' in text and '20 %' in text and 'guessing' in text
    marks = [n for n in root.iter('line') if n.get('class') == 'chance' and n.get('x1') == n.get('x2')]
    assert x(float(marks[0].get('x1'))) == pytest.approx(normal.inv_cdf(0.01), abs=0.01)
    diagonal = [n for n in root.iter('line') if n.get('class') == 'chance' and 'stroke-dasharray:1 4' in n.get('style', '')
                and n.get('y1') != n.get('y2')]
    ends = [(x(float(diagonal[0].get(f'x{k}'))), y(float(diagonal[0].get(f'y{k}')))) for k in (1, 2)]
    assert all(a + b == pytest.approx(0, abs=0.02) for a, b in ends)  # rates that sum to one
    labels = [float(n.get('x')) for n in root.iter('text') if n.get('text-anchor') == 'middle' and '%' in (n.text or '')]
    assert min(np.diff(sorted(labels))) > 37


def test_a_matcher_without_errors_is_named_and_not_drawn():
    _, text = _drawn(sections.det('d', 'D', '', [sections.series('perfect', [0.0, 0.5], [0.0, 0.0])]))
    assert 'perfect: no errors to draw' in text


def test_a_cloud_keeps_every_point_and_tells_two_dozen_series_apart():
    rng = np.random.default_rng(0)
    root, _ = _drawn(sections.scatter('c', 'C', '', '', '', [
        sections.series(f's{i}', *rng.normal(i, 1, (2, 20))) for i in range(24)]))
    paths = [node for node in root.iter('path') if node.find('title') is not None]
    assert [node.get('d').count('M') for node in paths] == [20] * 24
    shapes = {(node.get('class'), re.sub(r'M[-\d. ]+', '', node.get('d'))[:40]) for node in paths}
    assert len(shapes) == 24


@pytest.mark.parametrize('k', [4, 24, 39])
def test_a_matrix_writes_each_percent_once_and_frames_what_is_right(k):
    values = np.full((k, k + 1), 0.0)
    values[np.arange(k), np.arange(k)], values[:, k], values[0, 1], values[1, 0] = 0.93, 0.06, 0.004, np.nan
    names = [f'timm/network-{i}' for i in range(k)]
    root, text = _drawn(sections.matrix('m', 'M', '', values, names, [*names, 'none of these']))
    words = [node.text for node in root.iter('text')]
    assert words.count('93') == k and words.count('6') == k and words.count('<1') == 1 and words.count('–') == 1
    assert sum(node.get('class') == 'own' for node in root.iter('rect')) == k
    assert f'{names[0]}, {names[0]}: 93.0%' in text and f'{names[1]}, {names[0]}: nothing asked' in text
    width = float(root.get('viewBox').split()[2])
    assert width == 360 if k == 4 else 700 < width < 1100
    sides = {node.get('width') for node in root.iter('rect')}
    assert len(sides) == 1 and float(sides.pop()) >= 18


def test_bars_start_at_zero_and_carry_their_numbers():
    root, text = _drawn(sections.bars('b', 'B', '', '', 'share', [
        sections.rates('own', ['first', 'second'], [Rate(0.5, (0.4, 0.6), 0.1, 9, 9), Rate(None, (None, None), 0.1, 0, 0)]),
        sections.series('other', ['first', 'second'], [12.5, -4.0])], marks=[sections.mark(0.1, 'chance')]))
    x = _ticks(root, 'x')
    boxes = [node for node in root.iter('rect')]
    starts = [(x(float(b.get('x'))), x(float(b.get('x')) + float(b.get('width')))) for b in boxes]
    assert starts[0] == pytest.approx((0, 0.5), abs=0.1) and starts[2] == pytest.approx((-4, 0), abs=0.1)
    assert '0.50 [0.40, 0.60]' in text and 'not available' in text and '12.5' in text


def test_who_gets_in_is_drawn_from_the_endpoint(make_sectioned):
    root = ElementTree.fromstring(plots.acceptance(plain(make_sectioned('inversion'))['primary']))
    words = [node.text.replace(NB, ' ') for node in root.iter('text')]
    assert [w for w in words if re.match(r'0\.\d+ \[', w)] == [
        '0.44 [0.35, 0.53]', '0.012 [0.006, 0.018]', '0.59 [0.51, 0.67]']


def test_words_of_the_user_cannot_break_a_plot():
    bad = '</svg><script>&'
    for stored in (sections.scatter('c', bad, '', bad, bad, [sections.series(bad, [1, 2], [1, 2])]),
                   sections.matrix('m', bad, '', [[1.0]], [bad]), sections.bars('b', bad, '', '', bad, [
                       sections.series(bad, [bad], [0.5])]),
                   sections.lines('l', bad, '', bad, bad, [sections.series(bad, [bad], [0.5])],
                                  marks=[sections.mark(0, bad)])):
        assert '<script' not in plots.draw(plain(stored))
        _drawn(stored)


def test_a_single_point_and_equal_values_have_an_axis():
    for values in ([0.5], [3.0], [0.0], [-7.0]):
        root, _ = _drawn(sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', [3], values)]))
        (x, y), = _spots(root, 'a')
        assert math.isfinite(x) and math.isfinite(y) and 42 <= x <= 338


@pytest.mark.parametrize('make', [
    lambda: sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', [1, 2], [None, None], [None] * 2, [None] * 2)]),
    lambda: sections.lines('l', 'L', '', 'x', 'y', [sections.series('a', [], [])], log=True, diagonal=True),
    lambda: sections.steps('s', 'S', '', 'x', 'y', [sections.series('a', [0, 0], [0, 0])], log=True),
    lambda: sections.scatter('c', 'C', '', 'x', 'y', [sections.series('a', [], [])]),
    lambda: sections.histogram('h', 'H', '', 'x', 'y', [sections.series('a', [0, 1], [0])]),
    lambda: sections.det('d', 'D', '', [sections.series('a', [], [])], diagonal=True),
    lambda: sections.bars('b', 'B', '', 'x', 'y', [sections.series('a', ['p'], [None])]),
    lambda: sections.matrix('m', 'M', '', np.zeros((0, 0)), [])], ids=lambda make: make()['kind'])
def test_nothing_measured_is_an_empty_plot(make):
    root, text = _drawn(make())
    assert 'nan' not in text and not _spots(root, 'a')
