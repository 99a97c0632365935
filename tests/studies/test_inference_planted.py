"""Planted networks under every step of model inference: footprints found where there are some, none where there are none.

Pictures are points of a person, a network is a linear map of them with an offset of its own. An adaptation moves a network
towards a place that has nothing to do with where it came from, so that accuracy must fall from rung to rung. In the null
world all candidates are one network.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fpray.attacks.config import InferenceConfig
from fpray.attacks.model_inference import load_fitted
from fpray.data.config import DataConfig, GroupsConfig
from fpray.data.groups import Groups, deal
from fpray.data.imageset import ImageSet
from fpray.store import Context
from fpray.studies import inference_steps as steps
from fpray.studies.embedding_config import NO_ADAPT, RUNGS
from fpray.studies.inference_analysis import InferenceStudy
from fpray.studies.inference_config import (
    CONDITIONS,
    DIFF_PIPELINE,
    SAME_IDENT,
    SAME_PIPELINE,
    HeadlineConfig,
)
from fpray.studies.sections import PUBLISHED
from fpray.training.config import LoopConfig

LENGTH, NAMES, KINDS = 12, ('one', 'two', 'three', 'four'), ('auxiliary', 'nearest')
CLASSIFIER = InferenceConfig(loop=LoopConfig(images=4_000, batch=64, snapshot_every=0, device='cpu'))
HEAD = HeadlineConfig(length=LENGTH, condition=SAME_PIPELINE, rung='FT-2')
SIZES = GroupsConfig(public=2, adapt=2, attacker=20, judge=0, threshold=14, victims=16)


def pictures(seed: int) -> ImageSet:
    """Five pictures of each of 54 people: noise, for nothing looks at them but the control."""
    rng = np.random.default_rng([seed, 1])
    rows = [{'subject': f's{s:02d}', 'identity': f's{s:02d}/1', 'impression': str(i), 'image_id': f'{s:03d}-{i}', 'path': '',
             'altered': False} for s in range(54) for i in range(5)]
    pixels = rng.integers(0, 256, (len(rows), 1, 16, 16), np.uint8)
    return ImageSet(pixels, pd.DataFrame(rows), {'name': 'planted', 'layout': 'synthetic', 'synthetic': True,
                                                 'subject_known': True, 'skipped': [], 'ignored': 0})


@dataclass
class World:
    """Folders as the stages before would have left them."""

    root: Path
    everyone: ImageSet
    groups: Groups
    seed: int

    def context(self, name: str, config: Any, **inputs: Path) -> Context:
        """A stage's, with an empty folder to write to."""
        out = self.root / 'out' / name
        out.mkdir(parents=True)
        base = {'pictures': self.root / 'pictures', 'people': self.root / 'people'}
        return Context(name, name, config, base | {key.replace('__', '/'): path for key, path in inputs.items()}, out,
                       self.root / 'scratch' / name)

    def vectors(self) -> dict[str, Path]:
        return {f'vectors__{number}': self.root / 'vectors' / str(number) for number in range(len(NAMES))}

    def learning(self, condition: str = SAME_PIPELINE) -> dict[str, Any]:
        return {'condition': condition, 'names': list(NAMES), 'vectors': 10_000, 'classifier': CLASSIFIER, 'alarms': 0.05,
                'seed': self.seed}


def write_network(folder: Path, groups: Groups, latent: np.ndarray, maps: np.ndarray, drift: np.ndarray, offset: np.ndarray,
                  rng: np.random.Generator) -> None:
    """rows, asked and the vectors of every rung and pipeline, as `inference_steps.vectors` would."""
    def made(rows: np.ndarray, moved: float, shift: float = 0.0) -> np.ndarray:
        own = latent[rows] @ maps + offset
        other = latent[rows] @ drift
        return ((1 - moved) * own + moved * other + shift + rng.normal(0, 0.3, (len(rows), LENGTH))).astype(np.float32)

    folder.mkdir(parents=True)
    rows = np.concatenate([groups.pictures(group) for group in steps.ASKING])
    asked = np.concatenate([steps.asked_rows(groups, group) for group in steps.ASKING[1:]])
    np.save(folder / 'rows.npy', rows)
    np.save(folder / 'asked.npy', asked)
    np.save(folder / f'{NO_ADAPT}.npy', made(rows, 0))
    for number, rung in enumerate(RUNGS[1:], 1):
        np.save(folder / f'{rung}.npy', made(asked, number / 5))
    for part, group in (('reference', 'attacker'), ('calibration', 'threshold')):
        np.save(folder / f'{DIFF_PIPELINE}-{part}.npy', made(groups.pictures(group), 0.15))


def world(root: Path, seed: int, effect: bool = True) -> World:
    """Planted networks and two twins each of other maps; without effect all candidates are one network."""
    everyone, rng = pictures(seed), np.random.default_rng([seed, 2])
    groups = deal(everyone.records, DataConfig(impressions=3, query_impressions=2), SIZES, seed)
    everyone.save(root / 'pictures')
    (root / 'people').mkdir()
    (root / 'people' / 'groups.json').write_text(groups.to_json())
    person = rng.normal(size=(54, 6))
    latent = person[everyone.records['subject'].str[1:].astype(int)] + 0.3 * rng.normal(size=(len(everyone), 6))
    drift = rng.normal(size=(6, LENGTH))
    shared = rng.normal(size=(6, LENGTH)), rng.normal(size=LENGTH)
    for kind in ('vectors', 'twin'):
        for number in range(len(NAMES)):
            maps, offset = (rng.normal(size=(6, LENGTH)), 2 * rng.normal(size=LENGTH)) if effect else shared
            write_network(root / kind / str(number), groups, latent, maps, drift, offset, rng)
    return World(root, everyone, groups, seed)


def run_steps(made: World) -> dict[str, Path]:
    """Every step after the vectors; name of the stage -> its folder."""
    vectors, found = made.vectors(), {}

    def step(name: str, run: Any, config: Any, **inputs: Path) -> Path:
        context = made.context(name, config, **inputs)
        run(context)
        found[name] = context.out
        return context.out

    conditions = CONDITIONS[:3]
    classifiers = {f'classifier__{condition}': step(
        f'classifier/{LENGTH}/{condition}', steps.classifier, {**made.learning(condition), 'kinds': KINDS}, **vectors)
        for condition in conditions}
    step(f'answers/{LENGTH}', steps.answers, {'conditions': conditions, 'kinds': KINDS, 'rungs': RUNGS}, **vectors,
         **classifiers)
    twins = {f'twin__{name}': made.root / 'twin' / str(number) for number, name in enumerate(NAMES)}
    step(f'unknown/{LENGTH}', steps.unknown, {**made.learning(), 'rung': HEAD.rung}, **vectors, **twins)
    step(f'map/{LENGTH}', steps.plane, {'axis': 'vector', 'seed': 1}, **vectors)
    step('placebo', steps.placebo, {**made.learning(), 'rung': HEAD.rung, 'deals': 8}, **vectors)
    step('twins', steps.twins, made.learning(), classifier=classifiers[f'classifier__{SAME_PIPELINE}'], **vectors, **twins)
    return found


def study(made: World, found: dict[str, Path]) -> InferenceStudy:
    """The analysis of such a world, with the little that it reads of trainings."""
    inputs = {name.replace('/', '__'): path for name, path in found.items()}
    inputs |= {f'vectors__{LENGTH}__{number}': made.root / 'vectors' / str(number) for number in range(len(NAMES))}
    for name in NAMES:
        for kind, file, facts in (('candidate', 'trained', {'accuracy': 0.9}), ('ladder', 'ladder', [
                {'name': 'FT-1', 'accuracy': 0.8}])):
            folder = made.root / kind / name
            folder.mkdir(parents=True)
            (folder / f'{file}.json').write_text(json.dumps(facts))
            inputs[f'{kind}__{LENGTH}__{name}'] = folder
    config = {'seed': made.seed, 'headline': HEAD, 'lengths': (LENGTH,), 'conditions': CONDITIONS[:3], 'kinds': KINDS,
              'names': {str(LENGTH): list(NAMES)}, 'seen': (1, 5, 200), 'alarms': 0.05, 'table_13': 'none', 'adapted': 100,
              'attacker': {'pipeline': 'sensor', 'other': False, 'axis': 'vector', 'vectors': 10_000},
              'pool': {'images': 9, 'further': 0}}
    return InferenceStudy(made.context('numbers', config, **inputs))


@pytest.fixture(scope='module')
def planted(tmp_path_factory) -> tuple[World, dict[str, Path], InferenceStudy]:
    made = world(tmp_path_factory.mktemp('planted'), 3)
    found = run_steps(made)
    return made, found, study(made, found)


@pytest.fixture(scope='module')
def null(tmp_path_factory) -> InferenceStudy:
    made = world(tmp_path_factory.mktemp('null'), 4, effect=False)
    return study(made, run_steps(made))


def test_a_footprint_is_found_and_fades_from_rung_to_rung(planted):
    _, _, found = planted
    primary, (controls, warnings) = found.primary(), found.controls()
    assert found.verdict(primary, controls).startswith('Found') and warnings == []
    rates = [found.rate(found.cell(rung=rung)).estimate for rung in RUNGS]
    assert rates[0] > 0.95 and rates[-1] < 0.4 and all(a >= b - 0.05 for a, b in pairwise(rates)), rates
    assert controls['placebo']['auc'].lower < 0.5 < controls['placebo']['auc'].upper
    assert controls['pictures_alone']['auc'].estimate == pytest.approx(0.5)
    assert controls['rehearsal']['auc'].lower > 0.8
    assert primary['minus_placebo'].estimate == pytest.approx(primary['auc'].estimate - controls['placebo']['auc'].estimate)


def test_one_network_under_four_names_is_not_told_apart(null):
    primary, (controls, _) = null.primary(), null.controls()
    assert not null.verdict(primary, controls).startswith('Found')
    assert primary['accuracy'].interval[0] <= 0.25 <= primary['accuracy'].interval[1]
    assert controls['rehearsal']['auc'].lower <= 0.5 and null.verdict(primary, controls).startswith('Cannot say')


def test_every_section_is_built_and_names_rows_as_the_source(planted):
    _, _, found = planted
    results = json.loads(json.dumps(found.results(), default=lambda value: value.as_dict() if hasattr(value, 'as_dict')
                                    else value.item()))
    parts = {part['id']: part for part in results['sections']}
    assert list(parts) == ['headline', 'table-3', 'depth', 'seen', 'unknown', 'twins', 'map', 'networks'], 'no pool, no zoo'
    table, printed = parts['table-3']['tables'][0], PUBLISHED['tangari-3']
    assert table['columns'] == printed['columns'] and table['rows'][0] == [f'Fingerprints, length {LENGTH}']
    assert {row[0] for row in table['rows'][1:]} <= {row[0] for row in printed['rows']}
    assert parts['seen']['tables'][0]['rows'][0][3]['estimate'] is None, 'no class has 200 vectors'
    assert set(results['data']['groups']) == {'public', 'adapt', 'attacker', 'threshold', 'victims'}


def test_outsiders_are_called_none_of_these(planted):
    _, _, found = planted
    part = next(part for part in found.results()['sections'] if part['id'] == 'unknown')
    table = {(row[0], row[1]): row[2:] for row in part['tables'][0]['rows']}
    published, adapted = ({name: row for (name, at), row in table.items() if at == rung} for rung in (NO_ADAPT, HEAD.rung))
    for name, (auc, called, false) in published.items():
        assert auc.lower > 0.8 and called.estimate > 0.5 and false.estimate < 0.15
        assert adapted[name][0].estimate < auc.estimate, 'a candidate moves'
        assert adapted[name][1] == called, 'an outsider does not'
    assert len(table) == 4, 'another architecture and a twin, against candidates as published and adapted'


def test_a_twin_of_other_maps_is_no_sibling(planted):
    _, _, found = planted
    rows = {row[0]: row[1] for row in next(part for part in found.results()['sections'] if part['id'] == 'twins')[
        'tables'][0]['rows']}
    values = list(rows.values())
    assert values[1].estimate > 0.5 and values[2].estimate > 0.85 and values[3].estimate < 0.05


def test_the_same_pictures_teach_every_candidate_and_nobody_is_on_both_sides(planted):
    made, _, _ = planted
    candidates = [steps.Vectors(path) for path in made.vectors().values()]
    victims, attacker = (set(made.groups.people[group]) for group in ('victims', 'attacker'))
    assert not victims & attacker
    for condition, rows in ((SAME_IDENT, made.groups.others('victims')), (SAME_PIPELINE, made.groups.pictures('attacker'))):
        (learnt, labels), (held, _) = steps.material(made.learning(condition), made.groups, candidates)
        assert np.array_equal(learnt, np.concatenate([each.of(rows) for each in candidates]))
        assert np.array_equal(labels, np.repeat(np.arange(4), len(rows)))
        assert len(held) == 4 * len(made.groups.pictures('threshold'))
    asked = set(steps.asked_rows(made.groups, 'victims'))
    assert not asked & set(made.groups.others('victims')), 'what is asked about taught nobody'
    (few, labels), _ = steps.material({**made.learning(), 'vectors': 40}, made.groups, candidates)
    own = candidates[1].of(made.groups.pictures('attacker'))
    assert len(few) == 40 and all((own == each).all(axis=1).any() for each in few[labels == 1])


def test_vectors_are_found_by_row(planted):
    made, _, _ = planted
    each = steps.Vectors(made.root / 'vectors' / '0')
    rows = made.groups.pictures('attacker')[::-1]
    assert np.array_equal(each.of(rows), each.of(rows[::-1])[::-1])
    with pytest.raises(KeyError):
        each.of(made.groups.pictures('attacker'), 'FT-1')
    assert each.elsewhere('Unlabelled', 'reference') is None


def test_what_identify_asks_is_gathered(planted, tmp_path):
    made, found, _ = planted
    context = Context('identify', 'identify', {}, {f'classifier/{LENGTH}': found[f'classifier/{LENGTH}/{SAME_PIPELINE}']},
                      tmp_path, tmp_path)
    steps.gather(context)
    assert json.loads((tmp_path / 'names.json').read_text()) == {'candidates': {str(LENGTH): list(NAMES)}, 'pool': {}}
    fitted = load_fitted(tmp_path / 'candidates' / str(LENGTH))
    own = steps.Vectors(made.root / 'vectors' / '2').of(steps.asked_rows(made.groups, 'victims'))
    assert (fitted.log_probabilities(own).argmax(axis=1) == 2).mean() > 0.95


def test_a_thumbnail_is_a_grid_of_means():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 24), np.uint8)
    expected = pixels[:, 0].reshape(3, 8, 2, 8, 3).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(steps.thumbnails(pixels), expected, rtol=1e-5)


def test_a_pools_pictures_are_of_as_many_people_as_can_be(planted):
    made, _, _ = planted
    rows = steps.pool_rows(made.groups, 48, 1)
    subjects = made.everyone.records['subject'].to_numpy()
    assert {group: len(each) for group, each in rows.items()} == {'attacker': 24, 'threshold': 12, 'victims': 12}
    for group, each in rows.items():
        people = subjects[each]
        own = set(made.groups.people[group])
        assert set(people) <= own and len(set(people)) == min(len(each), len(own))
    again = steps.pool_rows(made.groups, 48, 1)
    assert all(np.array_equal(each, again[group]) for group, each in rows.items())


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_where_nothing_is_to_be_found_nothing_is(tmp_path):
    """Thirty null worlds: the interval of the accuracy holds guessing, and the placebo's holds one half, nearly always."""
    held, placebo, found = [], [], 0
    for seed in range(30):
        each = world_of_nothing(tmp_path / str(seed), 100 + seed)
        primary, (controls, _) = each.primary(), each.controls()
        held.append(primary['accuracy'].interval[0] <= 0.25 <= primary['accuracy'].interval[1])
        placebo.append(controls['placebo']['auc'].lower <= 0.5 <= controls['placebo']['auc'].upper)
        found += each.verdict(primary, controls).startswith('Found')
    assert found <= 1 and np.mean(held) >= 0.8 and np.mean(placebo) >= 0.86, (found, np.mean(held), np.mean(placebo))


def world_of_nothing(root: Path, seed: int) -> InferenceStudy:
    root.mkdir()
    made = world(root, seed, effect=False)
    return study(made, run_steps(made))
