"""From tables of scores to the numbers of a report: rates over people, controls, contrasts, the verdict.

`metrics` estimates, this module asks: which attack, contrast and unit, beside which control. METHOD's rules that hang on
more than one array (the primary endpoint, Holm over the controls, max-T over the family) are kept here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks import load_attack
from fpray.data.imageset import ImageSet
from fpray.data.splits import Split, training_rows
from fpray.distributed import gauges
from fpray.metrics import epsilon, people, pictures
from fpray.metrics.membership import (
    LABELS,
    TopK,
    arrays,
    auc_clustered,
    auc_difference,
    balanced_accuracy,
    by_unit,
    inclusion,
    roc,
    top_k,
    tpr_at_fpr,
)
from fpray.metrics.rate import Rate
from fpray.metrics.verdict import verdict
from fpray.store import CURVES, Context, parse_curves
from fpray.studies.tasks import SHADOW, TRACE, read_split

PRIMARY = 'shadow'
UNITS = (('picture', ''), ('identity', 'mean'), ('identity', 'max'), ('subject', 'mean'), ('subject', 'max'))
TOP: tuple[tuple[str, float], ...] = (('20', 20), ('200', 200), ('50%', 0.5))  # Table 5.1's columns
BINS = 30
CURVE_POINTS = 200  # of a stored ROC curve, at most
WARN_BELOW = 0.01
NO_CONTROL = 'no people were left for it'
LEAST_SHADOWS = 3  # whose spread says how much hangs on the attacker's seed


def numbers(context: Context) -> None:
    """numbers.json: everything that the report of an audit shows, but for how long it took and where it lies."""
    study = _Study(context)
    (context.out / 'numbers.json').write_text(json.dumps(study.results(), indent=1, allow_nan=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Rate):
        return rate_dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f'{type(value).__name__} in the results')


def rate_dict(rate: Rate) -> dict[str, Any]:
    """A rate as results.json holds it, without the counts that a top-k rate carries beside."""
    fields = ('estimate', 'interval', 'chance', 'n', 'n_people', 'p', 'note')
    return {name: value for name, value in rate.as_dict().items() if name in fields}


class _Study:
    """One audit's tables, read once, and the questions put to them."""

    def __init__(self, context: Context) -> None:
        self.context, self.config, self.seed = context, context.config, context.config['seed']
        self.headline: str = self.config['headline']
        self.everyone = ImageSet.load(context.inputs['pictures'])
        self.split: Split = read_split(context.inputs['people'])
        # in an order of their own: sums of floats, and with them ties, must not hang on the order of the rows
        self.tables = {name.removeprefix('attack/'): pd.read_parquet(folder / 'scores.parquet').sort_values('image_id')
                       for name, folder in context.inputs.items() if name.startswith('attack/')}
        self.goals = {goal.name: goal for goal in self.config['targets']}

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        controls, warnings = self.controls()
        primary = self.primary()
        attacks = list(self.attacks())
        return {
            'verdict': self.verdict(controls, primary), 'summary': self.summary(controls, primary),
            'warnings': [*self.notices(), *warnings], 'data': self.data(),
            'threat_models': [{name: getattr(load_attack(attack).threat, name) for name in
                               ('name', 'infers', 'sees', 'holds', 'source')} for attack in self.config['attacks']],
            'primary': {'attack': PRIMARY, 'contrast': 'mia', 'victim': self.headline, 'unit': 'subject',
                        'auc': primary, 'minus_placebo': self.minus_placebo(), 'threshold': self.primary_threshold()},
            'controls': controls, 'attacks': attacks, 'table_4_1': self.table_4_1(), 'table_5_1': self.table_5_1(),
            'sweep': list(self.sweep()), 'stopping': list(self.stopping()), 'search': self.search(),
            'shadows': self.shadows(), 'victims': list(self.victims()), 'pattern_shares': self.pattern_shares(),
            'roc': dict(self.curves()), 'histograms': dict(self.histograms()), 'epsilon': self.epsilon(),
        }

    # Tables of scores

    def table(self, victim: str, attack: str, contrast: str, replicate: str = '') -> pd.DataFrame | None:
        """The scores of one attack on one victim in one contrast; None where there are none."""
        table = self.tables.get(victim)
        if table is None:
            return None
        found = table[(table['attack'] == attack) & (table['contrast'] == contrast) & (table['replicate'] == replicate)]
        return found if len(found) else None

    def units(self, victim: str, attack: str, contrast: str, unit: str = 'subject', how: str = 'mean',
              replicate: str = '') -> pd.DataFrame | None:
        """The same by picture, finger or person."""
        table = self.table(victim, attack, contrast, replicate)
        return table if table is None or unit == 'picture' else by_unit(table, unit, how)

    def auc(self, table: pd.DataFrame, contrast: str, seed: int | None = None) -> Rate:
        """Its AUC over people."""
        return _counted(auc_clustered(*arrays(table, contrast), seed=seed), table)

    # The primary endpoint and its controls

    def primary_table(self, victim: str = '') -> pd.DataFrame | None:
        """One row a person: the mean of the rank-averaged shadow scores of the trained or unseen pictures."""
        return self.units(victim or self.headline, PRIMARY, 'mia')

    def primary(self) -> Rate:
        """The endpoint that was fixed before any score was seen."""
        table = self.primary_table()
        assert table is not None, 'the shadow attack always runs'
        return self.auc(table, 'mia', self.seed)

    def _beside_placebo(self) -> pd.DataFrame | None:
        """The primary endpoint's table with the placebo's score of the same people; None where there is no placebo."""
        own, other = self.primary_table(), self.primary_table('placebo')
        if own is None or other is None:
            return None
        return own.merge(other[['subject', 'score']], on='subject', suffixes=('', '_placebo'), validate='one_to_one')

    def minus_placebo(self) -> Rate:
        """Attack minus placebo, paired by person."""
        both = self._beside_placebo()
        if both is None:
            return Rate(None, (None, None), 0.0, 0, 0, note=f'not available: {NO_CONTROL}')
        score, label, person = arrays(both, 'mia')
        return _counted(auc_difference(score, both['score_placebo'].to_numpy(), label, person), both)

    def controls(self) -> tuple[dict[str, Any], list[str]]:
        """The controls beside the primary endpoint, and a warning for each that should not have seen anything."""
        table = self.primary_table()
        assert table is not None
        label = self.table(self.headline, PRIMARY, 'mia')
        looks = pictures.picture_control(*self._query_pictures(label), seed=self.seed, extra=self._file_features(label))
        alone = looks.pop('classifier')
        both = self._beside_placebo()
        found: dict[str, Any] = {
            'placebo': {'not_available': NO_CONTROL}, 'rehearsal': {'not_available': NO_CONTROL},
            'pictures_alone': {'auc': alone, 'features': looks},
            'permuted_null': {'auc': _counted(people.permuted_null(*arrays(table, 'mia'), seed=self.seed), table)},
            'smallest_detectable': {'auc': _counted(people.smallest_detectable(
                *arrays(table, 'mia'), seed=self.seed, placebo=None if both is None else both['score_placebo']), table),
                'power': 0.8, 'level': 0.05},
        }
        p_values = {'pictures_alone': float(alone.p or 1.0)}
        if both is not None:
            score, label_, person = arrays(both.assign(score=both['score_placebo']), 'mia')
            p_values['placebo'] = people.permutation_p(score, label_, person, self.seed, two_sided=True)
            found['placebo'] = {'victim': 'placebo', 'auc': replace(
                _counted(auc_clustered(score, label_, person), both), p=p_values['placebo'])}
        if (rehearsal := self.primary_table('rehearsal')) is not None:
            found['rehearsal'] = {'victim': 'rehearsal', 'auc': self.auc(rehearsal, 'mia', self.seed)}
        warnings = list(pictures.warnings({'classifier': alone, **looks}))
        for name, p in zip(p_values, people.holm(list(p_values.values())), strict=True):
            found[name]['p_holm'] = p
            if name == 'placebo' and p < WARN_BELOW:
                warnings.append(f'the placebo victim tells the two sides apart without having seen either (p {p:.2g})')
        return found, warnings

    def _query_pictures(self, table: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert table is not None
        return (np.asarray(self.everyone.pixels[table['row'].to_numpy()]), table['is_member'].to_numpy(bool),
                table['subject'].to_numpy().astype(str))

    def _file_features(self, table: pd.DataFrame | None) -> dict[str, np.ndarray]:
        """What a folder's files betray: size and format, where the pictures came from files."""
        records = self.everyone.records.iloc[table['row'].to_numpy() if table is not None else []]
        found = {}
        if 'file_bytes' in records and records['file_bytes'].notna().all():
            found['file_bytes'] = records['file_bytes'].to_numpy(float)
            found |= {f'format_{kind}': (records['file_format'] == kind).to_numpy(float)
                      for kind in sorted(set(records['file_format'])) if records['file_format'].nunique() > 1}
        return found

    def threshold(self, attack: str, unit: str, how: str) -> float | None:
        """The score from which the rehearsal victim's people are best told apart; None where there was no rehearsal."""
        table = self.units('rehearsal', attack, 'mia', unit, how)
        if table is None:
            return None
        fpr, tpr, at = roc(*arrays(table, 'mia')[:2])
        best = int(np.argmax(tpr - fpr))
        return float(at[best]) if np.isfinite(at[best]) else None

    def primary_threshold(self) -> dict[str, Any]:
        """The primary endpoint's threshold, set on the rehearsal victim, and what it yields."""
        table, value = self.primary_table(), self.threshold(PRIMARY, 'subject', 'mean')
        assert table is not None
        return {'value': value, 'source': 'rehearsal victim' if value is not None else f'none: {NO_CONTROL}',
                'balanced_accuracy': self.balanced(table, 'mia', value)}

    def balanced(self, table: pd.DataFrame, contrast: str, threshold: float | None) -> Rate:
        """Balanced accuracy at a threshold from elsewhere."""
        score, label, person = arrays(table, contrast)
        if threshold is None:
            none = Rate(None, (None, None), 0.5, len(score), len(set(person)), note='no rehearsal victim to set a threshold')
            return _counted(none, table)
        return _counted(balanced_accuracy(score, label, person, threshold, self.seed), table)

    # Verdict

    def missing(self) -> list[str]:
        """Controls that could not be had among people of this sensor."""
        found = [name for name, key in (('placebo', 'placebo'), ('positive control', 'rehearsal')) if key not in self.tables]
        split, shadows = self.config['split'], self.goals[self.headline].shadows
        if not self.config['owner']:
            found += [f'a {name} of as many people as the headline ({split.headline}, not {getattr(split, name)})'
                      for name in ('placebo', 'rehearsal') if name in self.tables and getattr(split, name) != split.headline]
        if shadows < LEAST_SHADOWS:
            found.append(f'{LEAST_SHADOWS} shadows ({shadows} were trained)')
        if self.everyone.meta.get('stand_in'):
            found.append('learning groups of this sensor (they come from the synthetic stand-in)')
        return found

    def verdict(self, controls: Mapping[str, Any], primary: Rate) -> str:
        """METHOD's one sentence."""
        sides = [len(self.split.people[g]) if g == 'nonmembers' or self.config['owner'] else
                 min(len(self.split.people[g]), self.config['split'].headline) for g in ('members', 'nonmembers')]
        minus = self.minus_placebo()
        return verdict(primary, None if minus.estimate is None else minus, controls['rehearsal'].get('auc'),
                       controls['smallest_detectable']['auc'], (sides[0], sides[1]), self.split.drawn,
                       self.config['random_draw'], self.missing())

    def summary(self, controls: Mapping[str, Any], primary: Rate) -> list[str]:
        """Two or three sentences for who signs."""
        goal = self.goals[self.headline]
        trained = f'{goal.people} people' if goal.people else 'an owner\'s own people'
        placebo = controls['placebo'].get('auc')
        lines = [f'From samples alone, the shadow attack ranks people whose pictures trained the generator ({trained}) '
                 f'above others with {_words(primary)}; guessing has 0.5.']
        if placebo is not None:
            lines.append(f'On the placebo victim, which saw none of these people, the same attack shows {_words(placebo)}.')
        iia = self.units(self.headline, PRIMARY, 'iia')
        if iia is not None:
            lines.append(f'Other {"versions" if self.split.altered else "impressions"} of the trained fingers: '
                         f'{_words(self.auc(iia, "iia"))}.')
        if self.everyone.meta['synthetic']:
            lines.append('These are synthetic fingers: the numbers say nothing about real people.')
        return lines

    def notices(self) -> list[str]:
        """What a reader must know about the data and the controls."""
        split, found = self.split, []
        if not self.everyone.meta['subject_known']:
            found.append('the layout knows no persons: a finger stands for its person in every interval')
        if split.left_out:
            found.append(f'{split.left_out} pictures left out: the same pixels stand under several identities')
        if split.short:
            found.append(f'{split.short} fingers left out for want of {split.impressions} different impressions')
        if split.altered:
            found.append('IIA asks about altered versions of the trained pictures, the same alterations on both sides')
        if self.everyone.meta.get('stand_in'):
            found.append('scoring network, placebo and rehearsal learn from the synthetic stand-in: '
                         'the set has too few people')
        elif split.borrowed:
            found.append(f'other people (--data.reference) fill the groups {", ".join(split.borrowed)}')
        return found

    def data(self) -> dict[str, Any]:
        """The set and how its people are divided."""
        records, meta, split = self.everyone.records, self.everyone.meta, self.split
        original = records[~records['altered'].astype(bool)] if 'altered' in records else records
        groups = {}
        for group, subjects in split.people.items():
            fingers = [finger for subject in subjects for finger in split.fingers[subject]]
            groups[group] = {'people': len(subjects), 'identities': len(fingers), 'images': len(training_rows(split, group))}
        label = 'synthetic stand-in' if meta['synthetic'] else meta['name']
        return {'name': meta['name'], 'layout': meta['layout'], 'synthetic': bool(meta['synthetic']), 'label': label,
                'subject_known': bool(meta['subject_known']), 'n_people': int(original['subject'].nunique()),
                'n_identities': int(original['identity'].nunique()), 'n_images': len(original),
                'image_size': [int(side) for side in self.everyone.pixels.shape[2:]],
                'duplicates_left_out': split.left_out, 'ignored': int(meta.get('ignored', 0)),
                'skipped': list(meta.get('skipped', [])), 'altered_for_iia': split.altered, 'groups': groups}

    # Attacks

    def attacks(self) -> Iterable[dict[str, Any]]:
        """Every attack, contrast and unit on the headline victim; pictures and people on the others."""
        family = self.family()
        rows = [(victim, attack, contrast, unit, how) for victim in self.tables for attack in self.config['attacks']
                for contrast in LABELS for unit, how in UNITS
                if victim == self.headline or (unit, how) in (('picture', ''), ('subject', 'mean'))]
        for done, (victim, attack, contrast, unit, how) in enumerate(rows):
            self.context.progress(done, len(rows), 'rates')
            table = self.units(victim, attack, contrast, unit, how)
            if table is not None:
                in_family = victim == self.headline and (unit, how) == ('subject', 'mean')
                row = self.row(table, victim, attack, contrast, unit, how,
                               family.get(f'{attack}/{contrast}') if in_family else None)
                if (contrast, unit, how) == ('mia', 'subject', 'mean'):
                    gauges.emit('fpray_auc', row['auc'].estimate, stage=f'attack/{victim}', attack=attack)
                yield row

    def row(self, table: pd.DataFrame, victim: str, attack: str, contrast: str, unit: str, how: str,
            max_t_p: float | None) -> dict[str, Any]:
        """All rates of one attack, contrast and unit."""
        sample = arrays(table, contrast)
        tops = self.tops(table, contrast) if unit == 'picture' else {}
        goal = self.goals[victim]
        return {'attack': attack, 'contrast': contrast, 'victim': victim,
                'people': goal.people or len(self.split.people['members']), 'unit': unit, 'how': how,
                'auc': self.auc(table, contrast, self.seed),
                'tpr_at_fpr_1pct': _counted(tpr_at_fpr(*sample, fpr=0.01, seed=self.seed), table),
                'tpr_at_fpr_0_1pct': _counted(tpr_at_fpr(*sample, fpr=0.001, seed=self.seed), table),
                'balanced_accuracy': self.balanced(table, contrast, self.threshold(attack, unit, how)),
                'top': [{'k': k, **top} for k, top in tops.items() if top is not None], 'max_t_p': max_t_p,
                'optimistic': False}

    def family(self) -> dict[str, float]:
        """Max-T over all attacks and contrasts on the headline victim but the primary endpoint, by person."""
        entries = {}
        for attack in self.config['attacks']:
            for contrast in LABELS:
                table = self.units(self.headline, attack, contrast)
                if table is not None and (attack, contrast) != (PRIMARY, 'mia'):
                    entries[f'{attack}/{contrast}'] = arrays(table, contrast)
        return people.max_t(entries, self.seed) if entries else {}

    def tops(self, table: pd.DataFrame, contrast: str) -> dict[str, dict[str, Any] | None]:
        """Hits among the highest scores, Table 5.1's columns; None where there are fewer pictures than that."""
        found: dict[str, dict[str, Any] | None] = {}
        for name, k in TOP:
            found[name] = None
            if k < 1 or k <= len(table):
                top: TopK = top_k(*arrays(table, contrast), k=k, seed=self.seed)
                found[name] = {'k_pictures': top.k, 'hits': top.hits, 'rate': rate_dict(top), 'binomial_p': top.p_source,
                               'distinct_people': round(top.hit_people)}
        return found

    def table_5_1(self) -> list[dict[str, Any]]:
        """Hits in the top by victim, the thesis's Table 5.1."""
        rows = []
        for goal in self._trained():
            row: dict[str, Any] = {'victim': goal.name, 'people': goal.people or len(self.split.people['members']),
                                   'images': self._images(goal)}
            for contrast in ('mia', 'iia'):
                table = self.table(goal.name, PRIMARY, contrast)
                row[contrast] = {'not_available': 'no unseen impressions'} if table is None else self.tops(table, contrast)
            rows.append(row)
        return rows

    def _trained(self) -> list[Any]:
        """The audited victims, smallest first; no controls."""
        return sorted((g for g in self.goals.values() if g.group == 'members'), key=lambda g: g.people or 0)

    def _images(self, goal: Any) -> int:
        return len(training_rows(self.split, goal.group, goal.people))

    def sweep(self) -> Iterable[dict[str, Any]]:
        """AUC by person against the size of the training set."""
        for goal in self._trained():
            for attack in self.config['attacks']:
                for contrast in LABELS:
                    table = self.units(goal.name, attack, contrast)
                    if table is not None:
                        yield {'people': goal.people or len(self.split.people['members']), 'images': self._images(goal),
                               'attack': attack, 'contrast': contrast, 'auc': self.auc(table, contrast),
                               'headline': goal.name == self.headline}

    # Shadows and victims

    def _folders(self, prefix: str) -> dict[str, Path]:
        return {name.removeprefix(prefix): path for name, path in self.context.inputs.items() if name.startswith(prefix)}

    def stopping(self) -> Iterable[dict[str, Any]]:
        """How the attack moved along each shadow's training, and where other rules would have stopped it."""
        course = pd.read_parquet(self.context.inputs[f'attack/{self.headline}'] / 'course.parquet').sort_values('image_id')
        for name, folder in self._folders('shadow/').items():
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
        own = self.units(victim, PRIMARY, 'mia', replicate=number)
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
            table = self.units(self.headline, PRIMARY, 'mia', replicate=str(number))
            if table is not None:
                rates.append(self.auc(table, 'mia'))
        values = [rate.estimate for rate in rates if rate.estimate is not None]
        return {'aucs': rates, 'spread': max(values) - min(values) if values else None}

    def victims(self) -> Iterable[dict[str, Any]]:
        """What was trained, with its losses and its Inception Score along the way."""
        folders = self._folders('victim/')
        for goal in self.goals.values():
            losses, trace = [], []
            if goal.name in folders:
                curves = parse_curves((folders[goal.name] / CURVES).read_text())
                losses = [{'images_seen': int(row['step']), **{k: v for k, v in row.items() if k.startswith('loss_')}}
                          for row in curves]
                trace = [{**point, 'frechet': None} for point in json.loads((folders[goal.name] / TRACE).read_text())]
            yield {'name': goal.name, 'people': goal.people or len(self.split.people['members']),
                   'images': self._images(goal), 'trained_images': losses[-1]['images_seen'] if losses else None,
                   'losses': losses, 'trace': trace}

    def table_4_1(self) -> list[dict[str, Any]]:
        """The generators' scores beside real pictures, the thesis's Table 4.1, and the headline shadows where they stop."""
        rows = json.loads((self.context.inputs['quality'] / 'quality.json').read_text())
        for number in range(self.goals[self.headline].shadows):
            shadow = json.loads((self._folders(f'shadow/{self.headline}/')[str(number)] / SHADOW).read_text())
            at = next(p for p in shadow['trace'] if p['images_seen'] == shadow['stopped_at'])
            rows.append({'name': f'shadow {self.headline}/{number}', 'role': 'shadow', 'people': 0, 'images': 0,
                         'impressions': None, 'is_mean': at['is_mean'], 'is_std': at['is_std'], 'frechet': None,
                         'precision': None, 'recall': None, 'distinct_identities': None})
        return list(rows)

    # Pictures of the scores

    def pattern_shares(self) -> dict[str, Any] | None:
        """Shares of the pattern classes among the highest scores against the query set; None where none are known."""
        table = self.table(self.headline, PRIMARY, 'mia')
        assert table is not None
        patterns = self.everyone.records['pattern'].iloc[table['row'].to_numpy()].fillna('').to_numpy().astype(str)
        if not (patterns != '').all():
            return None
        score, kinds = table['score'].to_numpy(), sorted(set(patterns))
        top = {name: inclusion(score, int(k) if k >= 1 else int(k * len(score))) for name, k in TOP
               if k < 1 or k <= len(score)}
        return {'set': _shares(patterns, kinds),
                'top': {name: _shares(patterns, kinds, weights) for name, weights in top.items()}}

    def _headline_tables(self) -> Iterable[tuple[str, str, pd.DataFrame]]:
        for attack in self.config['attacks']:
            for contrast in LABELS:
                table = self.table(self.headline, attack, contrast)
                if table is not None:
                    yield f'{attack}/{contrast}', contrast, table

    def curves(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """ROC curves by picture, thinned."""
        for name, contrast, table in self._headline_tables():
            fpr, tpr, _ = roc(*arrays(table, contrast)[:2])
            keep = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
            yield name, {'fpr': fpr[keep].tolist(), 'tpr': tpr[keep].tolist()}

    def histograms(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Score histograms by picture, both sides on the same bins."""
        for name, contrast, table in self._headline_tables():
            score, label, _ = arrays(table, contrast)
            edges = np.histogram_bin_edges(score, BINS)
            yield name, {'edges': edges.tolist(), 'positives': np.histogram(score[label], edges)[0].tolist(),
                         'negatives': np.histogram(score[~label], edges)[0].tolist()}

    def epsilon(self) -> dict[str, Any]:
        """Log-odds of a right guess: the members are a draw of fixed size, not a coin a person, so it is no epsilon."""
        table = self.primary_table()
        assert table is not None
        rate = epsilon.privacy_loss(table['score'], table[LABELS['mia']], coin=False)
        share = float(table[LABELS['mia']].mean())
        return {'kind': 'log_odds', 'value': rate.estimate, 'interval': list(rate.interval),
                'n': int(table['pictures'].sum()),
                'chance': float(np.log(share / (1 - share))), 'delta': None,
                'ceiling': epsilon.epsilon_ceiling(rate.n_people), 'n_people': rate.n_people, 'note': rate.note}


def _point(point: Mapping[str, Any], along: Mapping[int, Rate]) -> dict[str, Any]:
    rate = along.get(point['images_seen'])
    return {**{key: point[key] for key in ('images_seen', 'is_mean', 'is_std', 'frechet')},
            'auc': None if rate is None else rate.estimate}


def _distance(goal: int, images: int) -> int:
    return abs(images - goal)


def _counted(rate: Rate, table: pd.DataFrame) -> Rate:
    """The rate of a table of scores with n as its pictures, whatever the rows are."""
    return replace(rate, n=int(table['pictures'].sum())) if 'pictures' in table else rate


def _shares(found: np.ndarray, kinds: list[str], weights: np.ndarray | None = None) -> dict[str, float]:
    return {kind: float(np.average(found == kind, weights=weights)) for kind in kinds}


def _words(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return f'an AUC that cannot be given ({rate.note or "too few people"})'
    return f'AUC {rate.estimate:.2f} ({rate.interval[0]:.2f}-{rate.interval[1]:.2f}, {rate.n_people} people)'
