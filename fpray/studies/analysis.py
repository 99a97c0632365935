"""The numbers of a generator's audit: what every membership study asks, and what shadows, search and samples add."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fpray.metrics.membership import by_unit, inclusion
from fpray.metrics.rate import Rate
from fpray.store import CURVES, Context, parse_curves
from fpray.studies.membership import TOP, MembershipStudy, as_json
from fpray.studies.tasks import SHADOW, TRACE

LEAST_SHADOWS = 3  # whose spread says how much hangs on the attacker's seed


def numbers(context: Context) -> None:
    """numbers.json: everything that the report of an audit shows, but for how long it took and where it lies."""
    study = GeneratorStudy(context)
    (context.out / 'numbers.json').write_text(json.dumps(study.results(), indent=1, allow_nan=False, default=as_json))


class GeneratorStudy(MembershipStudy):
    """The audit of a generator: the shadow attack decides, the score is the rank average of the matched shadows."""

    PRIMARY = 'shadow'
    CLAIM = ('From samples alone, the shadow attack ranks people whose pictures trained the generator ({people}) '
             'above others with {auc}; guessing has 0.5.')

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        return self.common() | {
            'table_4_1': self.table_4_1(), 'table_5_1': list(self.hits(self.swept())), 'stopping': list(self.stopping()),
            'search': self.search(), 'shadows': self.shadows(), 'victims': list(self.victims()),
            'pattern_shares': self.pattern_shares()}

    def missing(self) -> list[str]:
        """As every study's, and shadows enough to show how much hangs on the attacker's seed."""
        shadows = self.goals[self.headline].shadows
        few = [f'{LEAST_SHADOWS} shadows ({shadows} were trained)'] if shadows < LEAST_SHADOWS else []
        return [*super().missing(), *few]

    # Shadows and victims

    def stopping(self) -> Iterable[dict[str, Any]]:
        """How the attack moved along each shadow's training, and where other rules would have stopped it."""
        course = pd.read_parquet(self.context.inputs[f'attack/{self.headline}'] / 'course.parquet').sort_values('image_id')
        for name, folder in self.folders('shadow/').items():
            victim, number = name.rsplit('/', 1)
            shadow = json.loads((folder / SHADOW).read_text())
            along: dict[int, Rate] = {}
            if victim == self.headline:
                mine = course[course['shadow'] == f'shadow/{int(number):02d}']
                along = {int(images): self.auc(by_unit(part, 'subject', 'mean'), 'mia')
                         for images, part in mine.groupby('images_seen')}
            yield {'shadow': f'{victim}/{number}', 'victim': victim, 'target': shadow['target'],
                   'trace': [_point(point, along) for point in shadow['trace']], 'stopped_at': shadow['stopped_at'],
                   'reached': shadow['reached'], 'rules': self.rules(shadow, along, victim, number)}

    def rules(self, shadow: Mapping[str, Any], along: Mapping[int, Rate], victim: str, number: str) -> list[dict[str, Any]]:
        """The attack where each rule would have stopped the shadow; hindsight reads the labels and is optimistic."""
        if not along:
            return []
        own = self.units(victim, self.PRIMARY, 'mia', replicate=number)
        assert own is not None
        rows = [{'rule': 'matched IS', 'images_seen': shadow['stopped_at'], 'auc': self.auc(own, 'mia'),
                 'optimistic': False}]
        for name, rule in (('first', 'first'), ('first crossing', 'first_crossing'), ('last', 'last'),
                           ('nearest Frechet', 'nearest_frechet')):
            if (goal := shadow['rules'].get(rule)) is None:  # no evaluation came within the band
                continue
            at = min(along, key=partial(_distance, goal))
            rows.append({'rule': name, 'images_seen': at, 'auc': along[at], 'optimistic': False})
        best = max(along, key=lambda images: along[images].estimate or 0)
        hindsight = replace(along[best], interval=(None, None), note='chosen by the labels: optimistic, no interval')
        return [*rows, {'rule': 'best in hindsight', 'images_seen': best, 'auc': hindsight, 'optimistic': True}]

    def search(self) -> dict[str, Any] | None:
        """The trials of the search; None where there was none."""
        path = self.context.inputs['search'] / 'trials.json'
        if not path.exists():
            return None
        found = json.loads(path.read_text())
        keys = ('number', 'params', 'value', 'images', 'state', 'seconds')
        return {'trials': [{key: trial[key] for key in keys} for trial in found['trials']], 'best': found['best'],
                'mode': 'rounds' if found['reproducible'] else 'async (not reproducible)',
                'objective': '|IS(shadow) - IS(victim)| where the shadow stops'}

    def shadows(self) -> dict[str, Any]:
        """Each headline shadow on its own, and how far they lie apart."""
        rates = []
        for number in range(self.goals[self.headline].shadows):
            table = self.units(self.headline, self.PRIMARY, 'mia', replicate=str(number))
            if table is not None:
                rates.append(self.auc(table, 'mia'))
        values = [rate.estimate for rate in rates if rate.estimate is not None]
        return {'aucs': rates, 'spread': max(values) - min(values) if values else None}

    def victims(self) -> Iterable[dict[str, Any]]:
        """What was trained, with its losses and its Inception Score along the way."""
        folders = self.folders('victim/')
        for goal in self.goals.values():
            losses, trace = [], []
            if goal.name in folders:
                curves = parse_curves((folders[goal.name] / CURVES).read_text())
                losses = [{'images_seen': int(row['step']), **{k: v for k, v in row.items() if k.startswith('loss_')}}
                          for row in curves]
                trace = [{**point, 'frechet': None} for point in json.loads((folders[goal.name] / TRACE).read_text())]
            yield {'name': goal.name, 'people': self.trained_people(goal),
                   'images': self.images(goal), 'trained_images': losses[-1]['images_seen'] if losses else None,
                   'losses': losses, 'trace': trace}

    def table_4_1(self) -> list[dict[str, Any]]:
        """The generators' scores beside real pictures, the thesis's Table 4.1, and the headline shadows where they stop."""
        rows = json.loads((self.context.inputs['quality'] / 'quality.json').read_text())
        for number in range(self.goals[self.headline].shadows):
            shadow = json.loads((self.folders(f'shadow/{self.headline}/')[str(number)] / SHADOW).read_text())
            at = next(p for p in shadow['trace'] if p['images_seen'] == shadow['stopped_at'])
            rows.append({'name': f'shadow {self.headline}/{number}', 'role': 'shadow', 'people': 0, 'images': 0,
                         'impressions': None, 'is_mean': at['is_mean'], 'is_std': at['is_std'], 'frechet': None,
                         'precision': None, 'recall': None, 'distinct_identities': None})
        return list(rows)

    # Pictures of the scores

    def pattern_shares(self) -> dict[str, Any] | None:
        """Shares of the pattern classes among the highest scores against the query set; None where none are known."""
        table = self.table(self.headline, self.PRIMARY, 'mia')
        assert table is not None
        patterns = self.everyone.records['pattern'].iloc[table['row'].to_numpy()].fillna('').to_numpy().astype(str)
        if not (patterns != '').all():
            return None
        score, kinds = table['score'].to_numpy(), sorted(set(patterns))
        top = {name: inclusion(score, int(k) if k >= 1 else int(k * len(score))) for name, k in TOP
               if k < 1 or k <= len(score)}
        return {'set': _shares(patterns, kinds),
                'top': {name: _shares(patterns, kinds, weights) for name, weights in top.items()}}


def _point(point: Mapping[str, Any], along: Mapping[int, Rate]) -> dict[str, Any]:
    rate = along.get(point['images_seen'])
    return {**{key: point[key] for key in ('images_seen', 'is_mean', 'is_std', 'frechet')},
            'auc': None if rate is None else rate.estimate}


def _distance(goal: int, images: int) -> int:
    return abs(images - goal)


def _shares(found: np.ndarray, kinds: list[str], weights: np.ndarray | None = None) -> dict[str, float]:
    return {kind: float(np.average(found == kind, weights=weights)) for kind in kinds}
