"""The numbers of a report from tables of scores made by hand: planted leaks, nulls, missing controls, the verdict."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fpray.attacks import load_attack
from fpray.data.config import DataConfig, SplitConfig
from fpray.data.images import image_id
from fpray.data.imageset import ImageSet
from fpray.data.splits import draw_split
from fpray.reports.results import write_results
from fpray.store import Context, write_curves
from fpray.studies import steps
from fpray.studies.analysis import numbers
from fpray.studies.audit import headline_of, targets
from fpray.studies.config import PRESETS, AuditConfig

SIDE, FINGERS, SHADOWS = 16, 2, 3
SIGMA = 0.5  # of a person, of a picture, and of a shadow alike
KINDS = ('arch', 'loop', 'whorl')


@dataclass(frozen=True)
class Case:
    """An audit whose outcome is known: leaks are shifts of the trained pictures' scores, in units of 1."""

    leak: float = 0.0
    rehearsal: float | None = 2.0
    placebo: float | None = 0.0
    people: int = 24
    swapped: bool = False
    shuffled: bool = False
    stand_in: bool = False
    given: bool = False
    random_draw: bool = False
    attacks: tuple[str, ...] = ('shadow',)
    sizes: tuple[int, ...] = ()
    unseen: int = 0
    """Unseen impressions a finger: 0 leaves the MIA contrast alone, and is faster."""
    seed: int = 0
    shadows: int = SHADOWS
    fewer: int = 0
    """People that the placebo was trained on less than the headline."""
    coarse: bool = False
    """Scores rounded to whole numbers."""

    @property
    def config(self) -> AuditConfig:
        """The configuration behind it."""
        base, n = PRESETS['smoke'](), self.people
        split = SplitConfig(sizes=(*self.sizes, n), headline=n, nonmembers=n, scoring=2, reference=0,
                            placebo=n - self.fewer if self.placebo is not None else 0,
                            rehearsal=n if self.rehearsal is not None else 0)
        return replace(base, data=DataConfig(impressions=2, query_impressions=self.unseen), split=split,
                       attacks=self.attacks, seed=self.seed, shadow=replace(base.shadow, count=self.shadows))


def make_set(people: int, stand_in: bool) -> ImageSet:
    """Noise for pictures: nothing but the names tells people apart."""
    rows = [(f'p{person:03d}', f'p{person:03d}/{finger}', str(touch), KINDS[(person + finger) % 3])
            for person in range(people) for finger in range(FINGERS) for touch in range(3)]
    pixels = np.random.default_rng(1).integers(0, 256, (len(rows), 1, SIDE, SIDE), np.uint8)
    records = pd.DataFrame(rows, columns=['subject', 'identity', 'impression', 'pattern']).assign(
        position='', path='synthetic', image_id=[image_id(picture) for picture in pixels])
    return ImageSet(pixels, records, {'name': 'made', 'layout': 'folder', 'synthetic': False, 'subject_known': True,
                                      'skipped': [], 'ignored': 0, 'stand_in': stand_in})


def planted(asked: pd.DataFrame, attack: str, victim: str, leak: float, seed: int, coarse: bool) -> pd.DataFrame:
    """Scores with a shift for trained pictures, half of it for other pictures of trained people; shadows by number."""
    rng = np.random.default_rng([seed, len(victim), sum(map(ord, victim + attack))])
    people = {subject: rng.normal(0, SIGMA) for subject in sorted(set(asked['subject']))}
    pictures = {row: rng.normal(0, SIGMA) for row in sorted(set(asked['row']))}
    base = asked['subject'].map(people) + asked['row'].map(pictures)
    base += leak * (0.5 * asked['is_member'] + 0.5 * asked['is_member_subject'])
    parts, singles = [], []
    for number in range(SHADOWS if attack == 'shadow' else 1):
        noise = {row: rng.normal(0, SIGMA) for row in sorted(set(asked['row']))}
        score = base + asked['row'].map(noise)
        singles.append((score.round(0) if coarse else score).to_numpy())
        parts.append(asked.assign(score=singles[-1], replicate=str(number) if attack == 'shadow' else ''))
    if attack == 'shadow':
        for contrast in asked['contrast'].unique():
            at = (asked['contrast'] == contrast).to_numpy()
            parts.append(asked[at].assign(score=load_attack('shadow').score([one[at] for one in singles]), replicate=''))
    return pd.concat(parts, ignore_index=True).assign(attack=attack, victim=victim)


def attack_folder(folder: Path, case: Case, victim: str, asked: pd.DataFrame, leak: float) -> None:
    """scores.parquet and course.parquet of one victim."""
    folder.mkdir(parents=True)
    table = pd.concat([planted(asked, attack, victim, leak if attack == 'shadow' else 0.0, case.seed, case.coarse)
                       for attack in case.attacks], ignore_index=True)
    mia = asked[asked['contrast'] == 'mia']
    course = [planted(mia, 'one', victim, leak * share, 99, False).assign(shadow=f'shadow/{number:02d}', images_seen=images)
              for number in range(SHADOWS) for images, share in ((100, 0.2), (200, 1.0), (300, 0.5))]
    if case.swapped and victim == headline_of(case.config):
        for column in ('is_member', 'is_member_identity', 'is_member_subject'):
            table[column] = ~table[column]
    if case.shuffled:
        table = table.sample(frac=1, random_state=3)
        course = [part.sample(frac=1, random_state=4) for part in course[::-1]]
    table.to_parquet(folder / 'scores.parquet', index=False)
    pd.concat(course, ignore_index=True).to_parquet(folder / 'course.parquet', index=False)


CROSSED = {'shadow/24/0': {'first_crossing': 200}}  # the others never came within the band


def trained_folder(folder: Path, name: str) -> None:
    """What a victim's or a shadow's training leaves of numbers."""
    folder.mkdir(parents=True)
    trace = [{'images_seen': images, 'is_mean': 1.0 + images / 400, 'is_std': 0.05} for images in (100, 200, 300)]
    if name.startswith('victim'):
        losses = {'loss_d': 1.2, 'loss_g': 0.7, 'inception_score': 1.5}
        write_curves(folder, [{'step': point['images_seen'], **losses} for point in trace])
        (folder / 'trace.json').write_text(json.dumps(trace))
        return
    points = [{**p, 'frechet': 9.0 - n, 'gap': 0.1} for n, p in enumerate(trace)]
    points.append({'images_seen': 400, 'is_mean': None, 'is_std': None, 'frechet': None, 'gap': None})
    (folder / 'shadow.json').write_text(json.dumps({
        'stopped_at': 200, 'reached': True, 'gap': 0.01, 'band': 0.05, 'target': {'is_mean': 1.5, 'is_std': 0.05},
        'trace': points, 'rules': {
            'first': 100, 'last': 300, 'closest': 200, 'nearest_frechet': 300, **CROSSED.get(name, {})}}))


def lay(root: Path, case: Case) -> Context:
    """Every input folder of the stage 'numbers', and its context."""
    config, made = case.config, make_set(6 * case.people + 4, case.stand_in)
    split = draw_split(made.records, config.data, config.split, case.seed)
    split = replace(split, drawn=not case.given)
    inputs = {name: root / name for name in ('pictures', 'people', 'scorer', 'search', 'quality')}
    made.save(inputs['pictures'])
    for name in ('people', 'scorer', 'search', 'quality'):
        inputs[name].mkdir()
    (inputs['people'] / 'split.json').write_text(split.to_json())
    trials = [{'number': n, 'params': {'width': 16}, 'value': None if n == 2 else 0.1 * n, 'images': 300, 'seconds': 1.0,
               'state': 'failed' if n == 2 else 'complete', 'extra': {'reached': 1.0}} for n in range(3)]
    (inputs['search'] / 'trials.json').write_text(json.dumps({'trials': trials, 'best': 0, 'reproducible': True}))
    (inputs['quality'] / 'quality.json').write_text(json.dumps([{
        'name': 'training pictures', 'role': 'reference', 'people': case.people, 'images': 96, 'impressions': 2,
        'is_mean': 2.0, 'is_std': 0.1, 'frechet': 0.0, 'precision': None, 'recall': None, 'distinct_identities': 30}]))
    leaks = {'rehearsal': case.rehearsal, 'placebo': case.placebo}
    goals = targets(config)
    for goal in goals:
        asked_about = case.people if goal.name == 'placebo' else goal.people  # the placebo: about the headline's people
        asked = steps.queries(split, made.records, goal.positives, goal.negatives, asked_about)
        inputs[f'attack/{goal.name}'] = root / 'attack' / goal.name
        attack_folder(inputs[f'attack/{goal.name}'], case, goal.name, asked, leaks.get(goal.name, case.leak) or 0.0)
        for name in (f'victim/{goal.name}', *(f'shadow/{goal.name}/{n}' for n in range(goal.shadows))):
            inputs[name] = root / name
            trained_folder(root / name, name)
    for name in ('out', 'scratch'):
        (root / name).mkdir()
    stage = {'seed': case.seed, 'headline': headline_of(config), 'owner': False, 'random_draw': case.random_draw,
             'targets': goals, 'split': config.split, 'attacks': config.attacks}
    return Context('numbers', 'key', stage, inputs, root / 'out', root / 'scratch')


def results(root: Path, case: Case) -> dict[str, Any]:
    """results.json of a case: the numbers with the words that a run puts around them, checked by the schema."""
    context = lay(root, case)
    numbers(context)
    body = json.loads((context.out / 'numbers.json').read_text(), parse_constant=_refuse)
    return write_results({
        'schema_version': 1, 'title': 'a test', 'study': 'mia', 'preset': 'smoke', 'seed': case.seed,
        'config': asdict(case.config), 'config_hash': 'key', 'fpray_version': '0',
        'created': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), **body,
        'rerun': {'command': 'python job.py', 'config_path': 'config.json'},
        'timing': {'wall_s': 1.0, 'stages': [{'name': 'numbers', 'key': 'key', 'seconds': 1.0, 'cached': False}]},
        'environment': {'packages': {}, 'python': '3', 'git': None, 'device': 'cpu', 'platform': 'x', 'cpus': 1},
    }, root / 'results.json')


def _refuse(constant: str) -> float:
    raise AssertionError(f'{constant} in the numbers')


def rates(value: Any, where: str = '') -> Iterator[tuple[str, dict[str, Any]]]:
    """Every rate in the results, with its place."""
    if isinstance(value, dict):
        if 'estimate' in value:
            yield where, value
        for name, each in value.items():
            yield from rates(each, f'{where}.{name}')
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from rates(each, f'{where}[{number}]')


def row(found: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """The one row of the attacks' table with these fields."""
    rows = [each for each in found['attacks'] if all(each[name] == value for name, value in wanted.items())]
    assert len(rows) == 1, f'{len(rows)} rows for {wanted}'
    return rows[0]


# One audit looked at from all sides

FULL = Case(leak=1.0, attacks=('shadow', 'nearest'), sizes=(12,), unseen=1)


@pytest.fixture(scope='module')
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the full audit."""
    return tmp_path_factory.mktemp('full')


@pytest.fixture(scope='module')
def full(root: Path) -> dict[str, Any]:
    """Its results: a leak of 1.0 in the shadow attack alone, two sizes, both controls."""
    return results(root, FULL)


def table(root: Path, victim: str, contrast: str = 'mia', replicate: str = '', attack: str = 'shadow') -> pd.DataFrame:
    """The table of scores as the attack left it."""
    scores = pd.read_parquet(root / 'attack' / victim / 'scores.parquet')
    return scores[(scores['contrast'] == contrast) & (scores['replicate'] == replicate) & (scores['attack'] == attack)]


def test_the_primary_endpoint_is_the_auc_of_peoples_mean_rank(root: Path, full: dict[str, Any]) -> None:
    """Against scikit-learn on a plain group-by, and against the size of the leak that was planted."""
    people = table(root, '24').groupby('subject').agg(score=('score', 'mean'), member=('is_member', 'first'))
    primary = full['primary']
    assert (primary['attack'], primary['contrast'], primary['victim'], primary['unit']) == ('shadow', 'mia', '24', 'subject')
    assert primary['auc']['estimate'] == pytest.approx(roc_auc_score(people['member'], people['score']), rel=1e-5)
    pictures = FINGERS * 2
    spread = np.sqrt(SIGMA**2 * (1 + 1 / pictures + 1 / (pictures * SHADOWS)))
    expected = norm.cdf(FULL.leak / (np.sqrt(2) * spread))
    assert primary['auc']['interval'][0] < expected < primary['auc']['interval'][1]
    assert abs(primary['auc']['estimate'] - expected) < 0.1
    assert primary['auc']['n_people'] == 48 and primary['auc']['n'] == 48 * pictures and primary['auc']['p'] < 0.01


def test_the_placebo_is_paired_by_person(root: Path, full: dict[str, Any]) -> None:
    aucs = {}
    for victim in ('24', 'placebo', 'rehearsal'):
        people = table(root, victim).groupby('subject').agg(score=('score', 'mean'), member=('is_member', 'first'))
        aucs[victim] = roc_auc_score(people['member'], people['score'])
    difference, controls = full['primary']['minus_placebo'], full['controls']
    assert difference['estimate'] == pytest.approx(aucs['24'] - aucs['placebo'], rel=1e-4) and difference['chance'] == 0
    assert difference['interval'][0] > 0
    assert controls['placebo']['auc']['estimate'] == pytest.approx(aucs['placebo'], rel=1e-5)
    low, high = controls['placebo']['auc']['interval']
    assert low < 0.5 < high and controls['placebo']['p_holm'] >= controls['placebo']['auc']['p']
    assert controls['rehearsal']['auc']['estimate'] == pytest.approx(aucs['rehearsal'], rel=1e-5)
    assert controls['rehearsal']['auc']['interval'][0] > 0.5 and controls['rehearsal']['victim'] == 'rehearsal'


def test_a_planted_leak_is_found_and_said_with_its_uncertainty(full: dict[str, Any]) -> None:
    low, high = full['primary']['auc']['interval']
    assert full['verdict'] == f'Found: a leak of membership (AUC {low:.3f}-{high:.3f}, 48 people).'
    text = ' '.join(full['summary'])
    assert f'({low:.2f}-{high:.2f}, 48 people)' in text and '24 people' in text and 'placebo' in text
    assert not full['warnings'] and 'synthetic' not in text


def test_controls_that_know_no_model_see_nothing(full: dict[str, Any]) -> None:
    controls = full['controls']
    alone = controls['pictures_alone']
    assert alone['auc']['interval'][0] < 0.5 < alone['auc']['interval'][1] and alone['p_holm'] > 0.01
    assert {'mean', 'contrast', 'gradient', 'png_bytes'} <= set(alone['features'])
    null = controls['permuted_null']['auc']
    assert null['estimate'] == pytest.approx(0.5, abs=0.01) and null['interval'][0] < 0.5 < null['interval'][1]
    smallest = controls['smallest_detectable']
    assert 0.6 < smallest['auc']['estimate'] < 0.85 and smallest['power'] == 0.8 and smallest['level'] == 0.05


def test_every_rate_is_whole(full: dict[str, Any]) -> None:
    found = list(rates(full))
    assert len(found) > 150
    for where, rate in found:
        assert set(rate) == {'estimate', 'interval', 'chance', 'n', 'n_people', 'p', 'note'}, where
        assert rate['chance'] is not None and rate['n'] >= rate['n_people'] > 0, f'{where}: {rate}'
        low, high = rate['interval']
        if low is None or high is None:
            assert rate['note'], f'{where} has no interval and does not say why'
        if rate['estimate'] is not None and low is not None and high is not None:
            assert low <= rate['estimate'] <= high, where


def test_counts_are_pictures_whatever_the_unit(full: dict[str, Any]) -> None:
    per = FINGERS * 2
    for each in full['attacks']:
        people = 36 if each['victim'] == '12' else 48
        if each['contrast'] == 'memorisation':
            people -= 24  # only trained people
        pictures = people * per if each['contrast'] == 'mia' else people * FINGERS * (1 + (each['contrast'] != 'iia'))
        for name in ('auc', 'tpr_at_fpr_1pct', 'tpr_at_fpr_0_1pct', 'balanced_accuracy'):
            assert (each[name]['n'], each[name]['n_people']) == (pictures, people), f'{name} of {each}'
    for rate in (full['primary']['auc'], full['primary']['minus_placebo'], full['primary']['threshold']['balanced_accuracy'],
                 *(control['auc'] for control in full['controls'].values()), *full['shadows']['aucs']):
        assert (rate['n'], rate['n_people']) == (48 * per, 48), rate


def test_every_attack_contrast_and_unit_has_a_row(full: dict[str, Any]) -> None:
    units = [('picture', ''), ('identity', 'mean'), ('identity', 'max'), ('subject', 'mean'), ('subject', 'max')]
    expected = {('24', attack, contrast, *unit) for attack in FULL.attacks for contrast in ('mia', 'iia', 'memorisation')
                for unit in units}
    expected |= {(victim, attack, contrast, *unit) for victim in ('12', 'placebo', 'rehearsal') for attack in FULL.attacks
                 for contrast in ('mia', 'iia', 'memorisation') for unit in (units[0], units[3])}
    found = [(each['victim'], each['attack'], each['contrast'], each['unit'], each['how']) for each in full['attacks']]
    assert len(found) == len(set(found)) and set(found) == expected
    assert [threat['name'] for threat in full['threat_models']] == list(FULL.attacks)
    family = [each for each in full['attacks'] if each['max_t_p'] is not None]
    others = {(a, c) for a in FULL.attacks for c in ('mia', 'iia', 'memorisation')} - {('shadow', 'mia')}
    assert {(each['attack'], each['contrast']) for each in family} == others, 'not the endpoint itself'
    assert all(each['victim'] == '24' and each['unit'] == 'subject' for each in family)


def test_a_leak_shows_where_it_was_planted_and_nowhere_else(full: dict[str, Any]) -> None:
    shadow = {c: row(full, attack='shadow', victim='24', contrast=c, unit='subject', how='mean')['auc'] for c in
              ('mia', 'iia', 'memorisation')}
    assert shadow['mia']['interval'][0] > 0.5 and shadow['mia']['estimate'] > shadow['iia']['estimate'] > 0.5
    assert shadow['memorisation']['interval'][0] > 0.5
    for contrast in ('mia', 'iia', 'memorisation'):
        blind = row(full, attack='nearest', victim='24', contrast=contrast, unit='subject', how='mean')
        assert blind['auc']['interval'][0] < 0.5 and blind['max_t_p'] > 0.05


def test_thresholds_come_from_the_rehearsal(root: Path, full: dict[str, Any]) -> None:
    def people(victim: str) -> pd.DataFrame:
        return table(root, victim).groupby('subject').agg(score=('score', 'mean'), member=('is_member', 'first'))

    rehearsal, own = people('rehearsal'), people('24')
    threshold = full['primary']['threshold']
    assert threshold['source'] == 'rehearsal victim'

    def balanced(frame: pd.DataFrame, cut: float) -> float:
        said = frame['score'] >= cut
        return (said[frame['member']].mean() + (~said[~frame['member']]).mean()) / 2

    best = max(balanced(rehearsal, cut) for cut in rehearsal['score'])
    near = threshold['value'] - 1e-6  # the file keeps six digits
    assert balanced(rehearsal, near) == pytest.approx(best)
    assert threshold['balanced_accuracy']['estimate'] == pytest.approx(balanced(own, near), abs=0.03)


def test_sweep_and_tables_hold_the_trained_victims_smallest_first(full: dict[str, Any]) -> None:
    assert [(each['victim'], each['people'], each['images']) for each in full['table_5_1']] == [
        ('12', 12, 12 * FINGERS * 2), ('24', 24, 24 * FINGERS * 2)]
    for each in full['table_5_1']:
        pictures = (each['people'] + 24) * FINGERS * 2
        assert each['mia']['20']['k_pictures'] == 20 and each['mia']['50%']['k_pictures'] == pictures // 2
        assert each['mia']['200'] is None, 'fewer pictures than that'
        chance = each['people'] / (each['people'] + 24)
        assert each['mia']['20']['rate']['chance'] == pytest.approx(chance, rel=1e-4)
        assert each['mia']['20']['hits'] > 20 * chance
    assert {(each['people'], each['headline']) for each in full['sweep']} == {(12, False), (24, True)}
    assert len(full['sweep']) == 2 * 2 * 3
    names = [each['name'] for each in full['table_4_1']]
    assert names == ['training pictures', *(f'shadow 24/{n}' for n in range(SHADOWS))]
    assert full['table_4_1'][1]['is_mean'] == pytest.approx(1.5), 'where it stopped'
    assert [each['name'] for each in full['victims']] == ['24', 'rehearsal', 'placebo', '12']
    assert full['victims'][0]['trained_images'] == 300 and full['victims'][0]['losses'][0]['loss_d'] == 1.2


def test_stopping_is_judged_along_the_headline_shadows(full: dict[str, Any]) -> None:
    stopping = {each['shadow']: each for each in full['stopping']}
    assert set(stopping) == {*(f'{v}/{n}' for v in ('24', 'rehearsal', 'placebo') for n in range(SHADOWS)), '12/0'}
    mine = stopping['24/0']
    along = {point['images_seen']: point['auc'] for point in mine['trace']}
    assert along[400] is None and along[200] > along[300] > along[100], 'as the course was planted'
    rules = {each['rule']: each for each in mine['rules']}
    assert {name: each['images_seen'] for name, each in rules.items()} == {
        'matched IS': 200, 'first': 100, 'first crossing': 200, 'last': 300, 'nearest Frechet': 300,
        'best in hindsight': 200}
    assert [name for name, each in rules.items() if each['optimistic']] == ['best in hindsight']
    hindsight = rules['best in hindsight']['auc']
    assert hindsight['interval'] == [None, None] and 'optimistic' in hindsight['note']
    assert hindsight['estimate'] == pytest.approx(max(value for value in along.values() if value is not None))
    assert stopping['placebo/1']['rules'] == []
    assert 'first crossing' not in {each['rule'] for each in stopping['24/1']['rules']}, 'never within the band'


def test_shadows_are_shown_each_and_with_their_spread(root: Path, full: dict[str, Any]) -> None:
    each = []
    for number in range(SHADOWS):
        people = table(root, '24', replicate=str(number)).groupby('subject').agg(
            score=('score', 'mean'), member=('is_member', 'first'))
        each.append(roc_auc_score(people['member'], people['score']))
    assert [rate['estimate'] for rate in full['shadows']['aucs']] == pytest.approx(each, rel=1e-5)
    assert full['shadows']['spread'] == pytest.approx(max(each) - min(each), abs=1e-5)


def test_curves_and_histograms_hold_all_pictures(root: Path, full: dict[str, Any]) -> None:
    assert set(full['roc']) == set(full['histograms']) == {f'{a}/{c}' for a in FULL.attacks
                                                         for c in ('mia', 'iia', 'memorisation')}
    histogram = full['histograms']['shadow/mia']
    assert sum(histogram['positives']) == sum(histogram['negatives']) == 24 * FINGERS * 2
    curve = full['roc']['shadow/mia']
    assert curve['fpr'][0] == curve['tpr'][0] == 0 and curve['fpr'][-1] == curve['tpr'][-1] == 1
    mine = table(root, '24')
    area = np.trapezoid(curve['tpr'], curve['fpr']) if hasattr(np, 'trapezoid') else np.trapz(curve['tpr'], curve['fpr'])
    assert area == pytest.approx(roc_auc_score(mine['is_member'], mine['score']), abs=0.01)


def test_search_patterns_and_log_odds(full: dict[str, Any]) -> None:
    assert [trial['state'] for trial in full['search']['trials']] == ['complete', 'complete', 'failed']
    assert full['search']['best'] == 0 and full['search']['mode'] == 'rounds'
    shares = full['pattern_shares']
    for part in (shares['set'], *shares['top'].values()):
        assert set(part) == set(KINDS) and sum(part.values()) == pytest.approx(1, abs=1e-4)
    assert full['epsilon']['kind'] == 'log_odds' and 'not epsilon' in full['epsilon']['note']
    assert full['epsilon']['ceiling'] == pytest.approx(1.77, abs=0.1), '48 people: about 1.8'
    assert full['epsilon']['chance'] == 0 and full['epsilon']['n_people'] == 48, 'half of them are members'
    low, high = full['epsilon']['interval']
    assert 0 < low < full['epsilon']['value'] < high


def test_data_are_described_by_group(full: dict[str, Any]) -> None:
    groups = full['data']['groups']
    assert groups['members'] == {'people': 24, 'identities': 48, 'images': 96} and groups['reference']['people'] == 0
    assert full['data']['n_people'] == 6 * 24 + 4 and full['data']['image_size'] == [SIDE, SIDE]
    assert full['data']['label'] == 'made' and not full['data']['altered_for_iia']


# Verdicts


def test_without_a_leak_it_is_not_found_and_says_what_would_have_been(tmp_path: Path) -> None:
    found = results(tmp_path, Case(leak=0.0))
    low, high = found['primary']['auc']['interval']
    assert low < 0.5 < high
    shown = np.ceil(found['controls']['smallest_detectable']['auc']['estimate'] * 100) / 100
    assert found['verdict'].startswith(f'Not found by these attacks; they would have shown AUC >= {shown:.2f} in 4 of 5')


def test_without_a_rehearsal_leak_it_cannot_say(tmp_path: Path) -> None:
    found = results(tmp_path, Case(leak=1.0, rehearsal=0.0))
    assert found['verdict'].startswith('Cannot say, because the same attack found nothing in the rehearsal victim')


def test_a_difference_that_the_placebo_shows_too_is_no_leak(tmp_path: Path) -> None:
    found = results(tmp_path, Case(leak=1.0, placebo=1.0))
    assert found['primary']['auc']['interval'][0] > 0.5 and not found['verdict'].startswith('Found')
    assert any('placebo' in warning for warning in found['warnings']) and found['controls']['placebo']['p_holm'] < 0.01


def test_too_few_people_get_numbers_and_no_verdict(tmp_path: Path) -> None:
    found = results(tmp_path, Case(leak=3.0, people=9))
    assert found['verdict'].startswith('Cannot say, because there are too few people: 9 members and 9 non-members')
    assert found['primary']['auc']['estimate'] > 0.9
    assert row(found, victim='9', contrast='mia', unit='picture')['tpr_at_fpr_0_1pct']['note'].startswith('not resolvable')


def test_labels_swapped_are_no_leak(tmp_path: Path) -> None:
    """The sign of a score is never chosen by the labels."""
    found = results(tmp_path, Case(leak=1.0, swapped=True))
    assert found['primary']['auc']['estimate'] < 0.5 and found['primary']['auc']['interval'][1] < 0.5
    assert found['verdict'].startswith('Not found') and found['primary']['auc']['p'] > 0.9


def test_learning_from_the_stand_in_cannot_say(tmp_path: Path) -> None:
    found = results(tmp_path, Case(leak=1.0, stand_in=True))
    assert found['verdict'].startswith('Cannot say, because these controls are not available')
    assert 'synthetic stand-in' in found['verdict'] and any('stand-in' in warning for warning in found['warnings'])


@pytest.mark.parametrize(('missing', 'named'), [('placebo', ['placebo']), ('rehearsal', ['positive control'])])
def test_a_control_that_cannot_be_had_is_not_available(missing: str, named: list[str], tmp_path: Path) -> None:
    found = results(tmp_path, replace(Case(leak=1.0), **{missing: None}))
    assert found['verdict'].startswith('Cannot say, because these controls are not available')
    assert all(name in found['verdict'] for name in named)
    assert set(found['controls'][missing]) == {'not_available'} and found['controls'][missing]['not_available']
    if missing == 'placebo':
        assert found['primary']['minus_placebo']['estimate'] is None
        assert 'not available' in found['primary']['minus_placebo']['note'] and 'placebo' not in ' '.join(found['summary'])
    else:
        assert found['primary']['threshold']['value'] is None
        assert all(each['balanced_accuracy']['estimate'] is None and each['balanced_accuracy']['note']
                   for each in found['attacks'])


@pytest.mark.parametrize(('case', 'words'), [
    (Case(leak=1.0, shadows=2), '3 shadows (2 were trained)'),
    (Case(leak=1.0, fewer=4), 'a placebo of as many people as the headline (24, not 20)'),
])
def test_controls_of_another_kind_than_the_headline_cannot_say(case: Case, words: str, tmp_path: Path) -> None:
    found = results(tmp_path, case)
    assert found['verdict'].startswith('Cannot say') and words in found['verdict']
    assert found['primary']['auc']['interval'][0] > 0.5, 'the numbers are shown'


def test_given_membership_may_be_a_capture_difference(tmp_path: Path) -> None:
    found = results(tmp_path / 'given', Case(leak=1.0, given=True))
    assert found['verdict'].startswith('Found: leak or capture difference; this audit cannot separate them')
    stated = results(tmp_path / 'stated', Case(leak=1.0, given=True, random_draw=True))
    assert stated['verdict'].startswith('Found: a leak of membership')


# Order


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    """Ties too: with scores rounded to whole numbers most pictures share theirs with others."""
    case = Case(leak=1.0, coarse=True, unseen=1)
    one, two = (results(tmp_path / str(shuffled), replace(case, shuffled=shuffled)) for shuffled in (False, True))
    one.pop('created'), two.pop('created')
    assert one == two
    mine, patterns = table(tmp_path / 'False', '24'), make_set(6 * 24 + 4, False).records['pattern']
    rng, k = np.random.default_rng(0), 20
    drawn = [mine.sample(frac=1, random_state=rng).nlargest(k, 'score')['row'] for _ in range(400)]
    shares = patterns.iloc[np.concatenate(drawn)].value_counts(normalize=True)
    assert one['pattern_shares']['top']['20'] == pytest.approx(shares.to_dict(), abs=0.02), 'ties count their expectation'
    assert mine['score'].eq(mine['score'].nlargest(k).min()).sum() > 1, 'there are ties at the cut'
