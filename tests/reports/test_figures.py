"""The figures: valid XML, numbers where they belong, and words that follow the house's rules."""

import re
from xml.etree import ElementTree

import pytest

from fpray.reports import figures, html

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
    text = figures.controls(make_results(), width).replace(figures.NB, ' ')
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
    text = figures.controls(make_results(subject_known=False)).replace(figures.NB, ' ')
    assert '80 fingers as people' in text and '80 people' not in text


@pytest.mark.parametrize(('rate', 'words'), [
    ({'estimate': 0.714, 'interval': [0.62, 0.8], 'chance': 0.5}, '0.71 [0.62, 0.80]'),
    ({'estimate': 0.58, 'interval': [0.502, 0.66], 'chance': 0.5}, '0.580 [0.502, 0.660]'),
    ({'estimate': 0.998, 'interval': [0.9, 1.0], 'chance': 0.5}, '0.998 [0.900, 1.000]'),
    ({'estimate': 0.013, 'interval': [0.0, 0.04], 'chance': 0.01}, '0.013 [0.000, 0.040]'),
    ({'estimate': 0.0, 'interval': [None, None], 'chance': 0.0}, '0.00 no interval'),
    ({'estimate': None, 'interval': [None, None], 'chance': 0.5}, 'not available no interval')])
def test_rounding_never_moves_a_number_onto_chance(rate, words):
    assert f'{figures.estimate(rate)} {figures.interval(rate)}'.replace(figures.NB, ' ') == words


def test_a_logarithmic_axis_puts_decades_at_equal_steps():
    axis = figures.Axis(0.001, 1, 0, 300, log=True)
    assert [axis(v) for v in axis.ticks()] == [0, 100, 200, 300]
    assert axis(0) == 0  # held at the edge


def test_linear_ticks_are_round_and_inside():
    assert figures.Axis(0.31, 1, 0, 1).ticks(4) == [0.4, 0.6, 0.8, 1.0]
    assert figures.Axis(0, 48000, 0, 1).ticks() == [0, 10000, 20000, 30000, 40000]


def test_words_of_the_user_cannot_break_a_figure(make_results):
    results = make_results()
    results['controls']['placebo'] = {'not_available': 'a < b & "c" <script>'}
    root = ElementTree.fromstring(figures.controls(results))
    assert any('<script>' in (t.text or '') for t in root.iter('text'))


def test_search_shows_failed_and_pruned_trials(make_results):
    root = ElementTree.fromstring(figures.search(make_results()))
    tips = [t.text for t in root.iter('title')]
    assert [sum(word in tip for tip in tips) for word in ('finished', 'failed', 'pruned')] == [5, 1, 2]
