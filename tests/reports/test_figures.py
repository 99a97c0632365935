"""The figures: valid XML, numbers where they belong, and words that follow the house's rules."""

import re
from xml.etree import ElementTree

import pytest

from fpray.reports import codec_figures, drawing, figures, html
from fpray.reports.results import plain

SVG = '{http://www.w3.org/2000/svg}'


@pytest.mark.parametrize('available', [True, False])
def test_every_figure_is_xml_with_a_name_and_stands_alone(make_results, tmp_path, available):
    results = make_results(available=available)
    expected = {'controls', 'controls-phone', 'search', 'patterns', 'roc-mia', 'sweep-iia',
                'histogram-shadow-mia', 'stopping-gan_40-score', 'stopping-gan_40-auc', 'losses-gan_10'}
    assert expected <= set(figures.all_figures(results))
    for figure in figures.all_figures(results).values():
        assert ElementTree.fromstring(figure).get('aria-label')
    paths = html.write_figures(results, tmp_path / 'figures')
    for path in paths:
        root = ElementTree.parse(path).getroot()
        assert root.tag == f'{SVG}svg' and path.suffix == '.svg'
        assert 'prefers-color-scheme' in path.read_text() and 'synthetic stand-in' in path.read_text()
    assert len(paths) == len(figures.all_figures(results))


@pytest.mark.parametrize('width', [350, 900])
def test_the_controls_figure_prints_each_rate_with_its_company(make_results, width):
    text = figures.controls(make_results(), width).replace(drawing.NB, ' ')
    for words in ('0.71 [0.62, 0.80]', '0.52 [0.43, 0.61]', '0.51 [0.42, 0.60]', '0.50 [0.38, 0.62]',
                  '0.74 [0.64, 0.84]', '0.19 [0.08, 0.30]', 'chance 0.5 · n 240 · 80 people · p = 0.001'):
        assert words in text


def test_a_missing_control_says_why_and_draws_no_bar(make_results):
    with_all, without = figures.controls(make_results()), figures.controls(make_results(available=False))
    assert without.count('not available') == 3 and 'too few for a placebo' in without.replace('</text>', ' ')
    assert with_all.count('<title>') - without.count('<title>') == 3


def test_bars_lie_where_their_numbers_say(make_results):
    figure = ElementTree.fromstring(figures.controls(make_results(), 900))
    ticks = {t.text: float(t.get('x')) for t in figure.iter('text') if re.fullmatch(r'0\.\d|1', t.text or '')}
    diamond = next(p for p in figure.iter('polygon') if 'Attack (' in p.find('title').text)
    xs = [float(pair.split(',')[0]) for pair in diamond.get('points').split()]
    middle = (min(xs) + max(xs)) / 2
    value = 0.5 + (middle - ticks['0.5']) / (ticks['1'] - ticks['0.5']) * 0.5
    assert value == pytest.approx(0.71, abs=0.002)


def test_people_are_fingers_where_no_person_is_known(make_results):
    text = figures.controls(make_results(subject_known=False)).replace(drawing.NB, ' ')
    assert '80 fingers as people' in text and '80 people' not in text


@pytest.mark.parametrize(('rate', 'words'), [
    ({'estimate': 0.714, 'interval': [0.62, 0.8], 'chance': 0.5}, '0.71 [0.62, 0.80]'),
    ({'estimate': 0.58, 'interval': [0.502, 0.66], 'chance': 0.5}, '0.580 [0.502, 0.660]'),
    ({'estimate': 0.998, 'interval': [0.9, 1.0], 'chance': 0.5}, '0.998 [0.900, 1.000]'),
    ({'estimate': 0.013, 'interval': [0.0, 0.04], 'chance': 0.01}, '0.013 [0.000, 0.040]'),
    ({'estimate': 0.0, 'interval': [None, None], 'chance': 0.0}, '0.00 no interval'),
    ({'estimate': None, 'interval': [None, None], 'chance': 0.5}, 'not available no interval')])
def test_rounding_never_moves_a_number_onto_chance(rate, words):
    assert f'{drawing.estimate(rate)} {drawing.interval(rate)}'.replace(drawing.NB, ' ') == words


def test_a_logarithmic_axis_puts_decades_at_equal_steps():
    axis = drawing.Axis(0.001, 1, 0, 300, log=True)
    assert [axis(v) for v in axis.ticks()] == [0, 100, 200, 300]
    assert axis(0) == 0  # held at the edge


def test_linear_ticks_are_round_and_inside():
    assert drawing.Axis(0.31, 1, 0, 1).ticks(4) == [0.4, 0.6, 0.8, 1.0]
    assert drawing.Axis(0, 48000, 0, 1).ticks() == [0, 10000, 20000, 30000, 40000]


def test_words_of_the_user_cannot_break_a_figure(make_results):
    results = make_results()
    results['controls']['placebo'] = {'not_available': 'a < b & "c" <script>'}
    root = ElementTree.fromstring(figures.controls(results))
    assert any('<script>' in (t.text or '') for t in root.iter('text'))


def test_search_shows_failed_and_pruned_trials(make_results):
    root = ElementTree.fromstring(figures.search(make_results()))
    tips = [t.text for t in root.iter('title')]
    assert [sum(word in tip for tip in tips) for word in ('finished', 'failed', 'pruned')] == [5, 1, 2]


# The codec's own figures.

def _spots(figure, words):
    """Centre of every marker whose tooltip holds the words."""
    spots = []
    for shape in ElementTree.fromstring(figure).iter():
        tip = shape.find('title')
        if tip is not None and words in tip.text:
            if shape.get('cx'):
                spots.append((float(shape.get('cx')), float(shape.get('cy'))))
            else:
                pairs = [[float(v) for v in pair.split(',')] for pair in shape.get('points').split()]
                spots.append(tuple((min(axis) + max(axis)) / 2 for axis in zip(*pairs, strict=True)))
    return spots


def _scale(figure, words):
    """Position in px of a value on the figure's x axis, from the tick labels."""
    ticks = {float(t.text): float(t.get('x')) for t in ElementTree.fromstring(figure).iter('text')
             if t.get('text-anchor') == 'middle' and re.fullmatch(r'-?[\d.]+', t.text or '')}
    (a, x), (b, y) = min(ticks.items()), max(ticks.items())
    return lambda value: x + (value - a) / (b - a) * (y - x)


@pytest.mark.parametrize('available', [True, False])
def test_every_figure_of_a_codec_is_xml_and_stands_alone(make_codec_results, tmp_path, available):
    results = plain(make_codec_results(available=available))
    expected = {'controls', 'gaps-loss', 'gaps-bpp', 'gaps-mse', 'leak-lambda', 'attacks', 'clusters-psnr', 'clusters-mse',
                'averages-psnr', 'averages-mse', 'frontier', 'frontier-phone', 'roc-mia', 'histogram-calibrated-mia',
                'training-victim-1', 'training-shadow-1', 'training-shadow-2'}
    assert expected <= set(figures.all_figures(results))
    assert not any(name.startswith(('stopping', 'losses', 'search')) for name in figures.all_figures(results))
    for path in html.write_figures(results, tmp_path / 'figures'):
        assert ElementTree.parse(path).getroot().get('aria-label') and 'synthetic stand-in' in path.read_text()


@pytest.mark.parametrize('measure', ['loss', 'bpp', 'mse'])
def test_gaps_keep_their_sign(make_codec_results, measure):
    results = plain(make_codec_results())
    figure = codec_figures.gaps(results, measure)
    at = _scale(figure, measure)
    for row in results['codec']['lambdas']:
        (x, _), = _spots(figure, f'{codec_figures.lambda_words(row["lmbda"])}{" · primary" if row["primary"] else ":"}')
        assert x == pytest.approx(at(row['sides'][measure]['gap']['estimate']), abs=0.2)


def test_a_small_gap_is_not_rounded_onto_none(make_codec_results):
    text = codec_figures.gaps(plain(make_codec_results()), 'bpp').replace(drawing.NB, ' ')
    assert '-0.0021 [-0.0039, -0.0003]' in text


def test_means_lie_at_their_rate_and_every_picture_is_drawn(make_codec_results):
    results = plain(make_codec_results())
    figure = codec_figures.clusters(results, 'psnr')
    at = _scale(figure, 'bpp')
    for row in results['codec']['rate_distortion']['means']:
        (x, _), = _spots(figure, f'{codec_figures.lambda_words(row["lmbda"])}: ')
        assert x == pytest.approx(at(row['bpp']), abs=0.2)
    dots = [p.get('d').count('M') for p in ElementTree.fromstring(figure).iter('path') if 'dots' in p.get('class')]
    assert len(dots) == 4 and all(220 < n <= 240 for n in dots)  # twins on the same tenth of a px are drawn once


def test_the_fitted_line_is_the_stored_one(make_codec_results):
    results = plain(make_codec_results())
    fit = results['codec']['rate_distortion']['fit']['psnr']
    fit.update(slope=2.0, intercept=21.5)
    text = codec_figures.averages(results, 'psnr')
    assert 'straight line: 21.5 + 2 · bpp' in text and 'WebP: over' in text  # WebP starts beyond the codec's rates


def test_a_defence_lies_where_its_numbers_say_and_few_victims_are_hollow(make_codec_results):
    results = plain(make_codec_results())
    figure = codec_figures.frontier(results)
    at = _scale(figure, 'dB')
    rows = {row['defence']: row for row in results['codec']['frontier']['rows']}
    for name in ('none', 'twin', 'stand-in', 'early-stop', 'regularised'):
        (x, _), = _spots(figure, f'{name}, ')
        assert x == pytest.approx(at(rows[name]['psnr_difference']), abs=0.2)
    heights = [_spots(figure, f'{name}, ')[0][1] for name in ('none', 'regularised', 'early-stop', 'twin', 'stand-in')]
    assert heights == sorted(heights)  # more leakage lies higher
    assert figure.count('hollow"><title>') == 3 and 'dp-sgd: not placed' in figure


def test_the_frontier_falls_back_to_bd_rate_mirrored(make_codec_results):
    results = plain(make_codec_results())
    for row in results['codec']['frontier']['rows']:
        row['psnr_difference'] = None
    figure = codec_figures.frontier(results)
    assert 'BD-rate' in figure
    assert _spots(figure, 'twin, ')[0][0] < _spots(figure, 'none, ')[0][0]  # 19 % more bits lie to the left
    for row in results['codec']['frontier']['rows']:
        row['bd_rate'] = None
    assert 'frontier' not in figures.all_figures(results)


def test_names_on_the_frontier_do_not_cover_one_another(make_codec_results):
    results = plain(make_codec_results())
    for row in results['codec']['frontier']['rows'][:5]:
        row['psnr_difference'], row['auc']['estimate'] = -1.0, 0.6
    results['codec']['frontier']['rows'][0]['psnr_difference'] = 0.0
    root = ElementTree.fromstring(codec_figures.frontier(results))
    names = [t for t in root.iter('text') if t.get('class') == 'b halo']
    boxes = [(float(t.get('x')), float(t.get('y')), 6.9 * len(t.text)) for t in names]
    assert len(names) == 5
    for i, (x, y, room) in enumerate(boxes):
        assert all(abs(y - v) >= 13 or x + room <= u or u + more <= x for u, v, more in boxes[:i])


def test_attacks_are_split_by_calibration(make_codec_results):
    figure = codec_figures.attacks(plain(make_codec_results()))
    first, second = figure.split('AS THEY ARE')
    assert all(f'{name}:' in first for name in ('calibrated (endpoint)', 'calibrated-png', 'bands', 'lira', 'rmia'))
    assert all(f'{name}:' in second for name in codec_figures.UNCALIBRATED)


def test_a_bare_codec_study_draws_what_it_has(make_codec_results):
    bare = plain(make_codec_results())
    bare['attacks'], bare['roc'], bare['histograms'] = [], {}, {}
    bare['codec'].update(lambdas=[], codecs=[], frontier={'rows': [], 'choice': None})
    bare['codec']['rate_distortion'].update(points=[], means=[], classical=[])
    assert set(figures.all_figures(bare)) == {'controls', 'controls-phone'}


def test_a_short_logarithmic_axis_counts_one_two_five():
    assert drawing.Axis(0.4, 30, 0, 1, log=True).ticks() == pytest.approx([0.5, 1, 2, 5, 10, 20])


def test_two_families_share_a_colour_and_differ_in_mark(make_codec_results, two_families):
    results = plain(two_families(make_codec_results()))
    root = ElementTree.fromstring(codec_figures.clusters(results, 'psnr'))
    dots = [p.get('class') for p in root.iter('path') if 'dots' in p.get('class')]
    assert sorted(c.split()[-1] for c in dots) == sorted(2 * [f's{i}' for i in range(4)])
    assert sum('plus' in c.split() for c in dots) == 4
    legend = [t.text.replace(drawing.NB, ' ') for t in root.iter('text')]
    assert {'λ 0.01, the primary one', 'λ 0.01, scale', 'λ 0.0003, scale'} <= set(legend)
    assert len(_spots(codec_figures.gaps(results, 'loss'), '0.003, scale:')) == 1
    assert 'halo">λ' not in codec_figures.averages(results, 'psnr')  # eight names would cover one another
    assert 'halo"' in codec_figures.averages(plain(make_codec_results()), 'psnr')


def test_attacks_are_listed_once(make_codec_results):
    results = plain(make_codec_results())
    results['attacks'] += [row | {'how': 'max'} for row in results['attacks'] if row['unit'] == 'subject']
    names = [t.text for t in ElementTree.fromstring(codec_figures.attacks(results)).iter('text')]
    assert all(names.count(name) == 1 for name in ('calibrated (endpoint)', 'bands', 'lira', 'rate', 'psnr'))


def test_no_two_of_twelve_curves_look_alike():
    panel = drawing.Panel('', '', (0, 1), (0, 1), ('', ''))
    for series in range(12):
        panel.line([(0, 0), (1, 1)], series, str(series))
    assert len({key for key, _ in panel.legend}) == 12
    assert len({re.search(r'stroke-dasharray="([^"]*)"', key)[1] for key, _ in panel.legend}) == 12  # without colour


@pytest.mark.parametrize(('name', 'shared', 'words'), [
    ('0.01', None, 'codec λ 0.01'), ('0.01-96', None, 'codec λ 0.01, 96 people'),
    ('0.01-scale', None, 'codec λ 0.01, scale'),
    ('twin-0.01', 0.01, 'twin'), ('twin-0.01', None, 'twin, λ 0.01'), ('dp-sgd-0.003', 0.01, 'dp-sgd, λ 0.003'),
    ('none-0.01-1', 0.01, 'none, again (1)'), ('shadow/0', None, 'shadow codec 1'), ('placebo', None, 'placebo'),
    ('reference/mean-scale-0.01', 0.01, 'reference mean-scale, λ 0.01'), ('early-stop-1e-05', None, 'early-stop-1e-05')])
def test_a_codecs_name_is_words(name, shared, words):
    assert drawing.codec_words(name, shared).replace(drawing.NB, ' ') == words
