"""Questions that every membership study puts to its tables of scores: rates over people, controls, contrasts, verdict.

`metrics` estimates, this module asks: which attack, contrast and unit, beside which control. Rules that hang on more than
one array (the primary endpoint, Holm over the controls, max-T over the family) are kept here, once for all
studies; a study adds what is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from fpray.attacks import load_attack
from fpray.data.imageset import ImageSet
from fpray.data.splits import Split, training_rows
from fpray.distributed import gauges
from fpray.metrics import epsilon, people, pictures
from fpray.metrics.membership import (
    LABELS,
    RECALIBRATED,
    TopK,
    arrays,
    auc_clustered,
    auc_difference,
    balanced_accuracy,
    by_unit,
    refits,
    roc,
    top_k,
    tpr_at_fpr,
)
from fpray.metrics.rate import Rate
from fpray.metrics.verdict import verdict
from fpray.store import Context
from fpray.studies.tasks import read_split

UNITS = (('picture', ''), ('identity', 'mean'), ('identity', 'max'), ('subject', 'mean'), ('subject', 'max'))
TOP: tuple[tuple[str, float], ...] = (('20', 20), ('200', 200), ('50%', 0.5))  # Table 5.1's columns
BINS = 30
CURVE_POINTS = 200  # of a stored ROC curve, at most
WARN_BELOW = 0.01
NO_CONTROL = 'no people were left for it'


def as_json(value: Any) -> Any:
    """What JSON cannot write by itself: a rate as a dictionary, a numpy scalar as a number; `json.dumps`' default."""
    if isinstance(value, Rate):
        return rate_dict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f'{type(value).__name__} in the results')


def rate_dict(rate: Rate) -> dict[str, Any]:
    """A rate as results.json holds it, without the counts that a top-k rate carries beside."""
    fields = ('estimate', 'interval', 'chance', 'n', 'n_people', 'p', 'note')
    return {name: value for name, value in rate.as_dict().items() if name in fields}


class MembershipStudy:
    """One study's tables, read once, and the questions put to them. A study names its primary attack and its own words.

    `context.config` has 'headline' (the audited victim's name), 'targets' (values with name, people, group), 'attacks',
    'split', 'seed', 'owner', 'random_draw'; `context.inputs` has 'pictures', 'people' and 'attack/NAME' folders.
    """

    PRIMARY: ClassVar[str]
    CLAIM: ClassVar[str]
    """The first sentence of the summary, with places for `people` and `auc`."""

    def __init__(self, context: Context) -> None:
        self.context, self.config, self.seed = context, context.config, context.config['seed']
        self.headline: str = self.config['headline']
        self.everyone = ImageSet.load(context.inputs['pictures'])
        self.split: Split = read_split(context.inputs['people'])
        # in an order of their own: sums of floats, and with them ties, must not hang on the order of the rows
        self.tables = {name.removeprefix('attack/'): pd.read_parquet(folder / 'scores.parquet').sort_values('image_id')
                       for name, folder in context.inputs.items() if name.startswith('attack/')}
        self.goals = {goal.name: goal for goal in self.config['targets']}

    def common(self) -> dict[str, Any]:
        """What the body of results.json holds in every membership study."""
        controls, warnings = self.controls()
        primary = self.primary()
        return {
            'verdict': self.verdict(controls, primary), 'summary': self.summary(controls, primary),
            'warnings': [*self.notices(), *warnings], 'data': self.data(),
            'threat_models': [{name: getattr(load_attack(attack).threat, name) for name in
                               ('name', 'infers', 'sees', 'holds', 'source')} for attack in self.config['attacks']],
            'primary': {'attack': self.PRIMARY, 'contrast': 'mia', 'victim': self.headline, 'unit': 'subject',
                        'auc': primary, 'minus_placebo': self.minus_placebo(), 'threshold': self.primary_threshold()},
            'controls': controls, 'attacks': list(self.attacks()), 'sweep': list(self.sweep()),
            'roc': dict(self.curves()), 'histograms': dict(self.histograms()), 'epsilon': self.epsilon()}

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
        return counted(auc_clustered(*arrays(table, contrast), seed=seed, recalibrated=refits(table)), table)

    # The primary endpoint and its controls

    def primary_table(self, victim: str = '') -> pd.DataFrame | None:
        """One row a person: the mean of the primary attack's scores of the trained or unseen pictures."""
        return self.units(victim or self.headline, self.PRIMARY, 'mia')

    def primary(self) -> Rate:
        """The endpoint that was fixed before any score was seen."""
        table = self.primary_table()
        assert table is not None, 'the primary attack always runs'
        return self.auc(table, 'mia', self.seed)

    def _beside_placebo(self) -> pd.DataFrame | None:
        """The primary endpoint's table with the placebo's score of the same people; None where there is no placebo."""
        own, other = self.primary_table(), self.primary_table('placebo')
        if own is None or other is None:
            return None
        return beside(own, other)

    def minus_placebo(self) -> Rate:
        """Attack minus placebo, paired by person."""
        both = self._beside_placebo()
        if both is None:
            return Rate(None, (None, None), 0.0, 0, 0, note=f'not available: {NO_CONTROL}')
        return difference(both)

    def controls(self) -> tuple[dict[str, Any], list[str]]:
        """The controls beside the primary endpoint, and a warning for each that should not have seen anything."""
        table = self.primary_table()
        assert table is not None
        label = self.table(self.headline, self.PRIMARY, 'mia')
        looks = pictures.picture_control(*self.query_pictures(label), seed=self.seed, extra=self._file_features(label))
        alone = looks.pop('classifier')
        both = self._beside_placebo()
        found: dict[str, Any] = {
            'placebo': {'not_available': NO_CONTROL}, 'rehearsal': {'not_available': NO_CONTROL},
            'pictures_alone': {'auc': alone, 'features': looks},
            'permuted_null': {'auc': counted(people.permuted_null(*arrays(table, 'mia'), seed=self.seed), table)},
            'smallest_detectable': {'auc': counted(people.smallest_detectable(
                *arrays(table, 'mia'), seed=self.seed, placebo=None if both is None else both['score_placebo'],
                recalibrated=(refits(table), None if both is None else refits(both, '_placebo'))), table),
                'power': 0.8, 'level': 0.05},
        }
        p_values = {'pictures_alone': float(alone.p or 1.0)}
        if both is not None:
            score, label_, person = arrays(both.assign(score=both['score_placebo']), 'mia')
            p_values['placebo'] = people.permutation_p(score, label_, person, self.seed, two_sided=True)
            found['placebo'] = {'victim': 'placebo', 'auc': replace(counted(auc_clustered(
                score, label_, person, recalibrated=refits(both, '_placebo')), both), p=p_values['placebo'])}
        if (rehearsal := self.primary_table('rehearsal')) is not None:
            found['rehearsal'] = {'victim': 'rehearsal', 'auc': self.auc(rehearsal, 'mia', self.seed)}
        warnings = list(pictures.warnings({'classifier': alone, **looks}))
        for name, p in zip(p_values, people.holm(list(p_values.values())), strict=True):
            found[name]['p_holm'] = p
            if name == 'placebo' and p < WARN_BELOW:
                warnings.append(f'the placebo victim tells the two sides apart without having seen either (p {p:.2g})')
        return found, warnings

    def query_pictures(self, table: pd.DataFrame | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        table, value = self.primary_table(), self.threshold(self.PRIMARY, 'subject', 'mean')
        assert table is not None
        return {'value': value, 'source': 'rehearsal victim' if value is not None else f'none: {NO_CONTROL}',
                'balanced_accuracy': self.balanced(table, 'mia', value)}

    def balanced(self, table: pd.DataFrame, contrast: str, threshold: float | None) -> Rate:
        """Balanced accuracy at a threshold from elsewhere."""
        score, label, person = arrays(table, contrast)
        if threshold is None:
            none = Rate(None, (None, None), 0.5, len(score), len(set(person)), note='no rehearsal victim to set a threshold')
            return counted(none, table)
        return counted(balanced_accuracy(score, label, person, threshold, self.seed), table)

    # Verdict

    def missing(self) -> list[str]:
        """Controls that could not be had among people of this sensor."""
        found = [name for name, key in (('placebo', 'placebo'), ('positive control', 'rehearsal')) if key not in self.tables]
        split = self.config['split']
        if not self.config['owner']:
            found += [f'a {name} of as many people as the headline ({split.headline}, not {getattr(split, name)})'
                      for name in ('placebo', 'rehearsal') if name in self.tables and getattr(split, name) != split.headline]
        if self.everyone.meta.get('stand_in'):
            found.append('learning groups of this sensor (they come from the synthetic stand-in)')
        return found

    def verdict(self, controls: Mapping[str, Any], primary: Rate) -> str:
        """One of three sentences, with its uncertainty."""
        table = self.primary_table()
        assert table is not None
        inside = int(table[LABELS['mia']].sum())
        sides = (inside, len(table) - inside)  # those who are asked about: the split may hold more
        minus = self.minus_placebo()
        return verdict(primary, None if minus.estimate is None else minus, controls['rehearsal'].get('auc'),
                       controls['smallest_detectable']['auc'], sides, self.split.drawn,
                       self.config['random_draw'], self.missing())

    def summary(self, controls: Mapping[str, Any], primary: Rate) -> list[str]:
        """Two or three sentences for who signs."""
        goal = self.goals[self.headline]
        trained = f'{goal.people} people' if goal.people else 'an owner\'s own people'
        placebo = controls['placebo'].get('auc')
        lines = [self.CLAIM.format(people=trained, auc=words(primary))]
        if placebo is not None:
            lines.append(f'On the placebo victim, which saw none of these people, the same attack shows {words(placebo)}.')
        iia = self.units(self.headline, self.PRIMARY, 'iia')
        if iia is not None:
            lines.append(f'Other {"versions" if self.split.altered else "impressions"} of the trained fingers: '
                         f'{words(self.auc(iia, "iia"))}.')
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
            found.append('groups that the attacker learns from come from the synthetic stand-in: the set has too few people')
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
                'people': self.trained_people(goal), 'unit': unit, 'how': how,
                'auc': self.auc(table, contrast, self.seed),
                'tpr_at_fpr_1pct': counted(tpr_at_fpr(*sample, fpr=0.01, seed=self.seed), table),
                'tpr_at_fpr_0_1pct': counted(tpr_at_fpr(*sample, fpr=0.001, seed=self.seed), table),
                'balanced_accuracy': self.balanced(table, contrast, self.threshold(attack, unit, how)),
                'top': [{'k': k, **top} for k, top in tops.items() if top is not None], 'max_t_p': max_t_p,
                'optimistic': False}

    def family(self) -> dict[str, float]:
        """Max-T over all attacks and contrasts on the headline victim but the primary endpoint, by person."""
        entries = {}
        for attack in self.config['attacks']:
            for contrast in LABELS:
                table = self.units(self.headline, attack, contrast)
                if table is not None and (attack, contrast) != (self.PRIMARY, 'mia'):
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

    def hits(self, goals: Iterable[Any]) -> Iterable[dict[str, Any]]:
        """Hits in the top of the primary attack by victim, the shape of the thesis's Tables 5.1 and 6.1."""
        for goal in goals:
            row: dict[str, Any] = {'victim': goal.name, 'people': self.trained_people(goal), 'images': self.images(goal)}
            for contrast in ('mia', 'iia'):
                table = self.table(goal.name, self.PRIMARY, contrast)
                row[contrast] = {'not_available': 'no unseen impressions'} if table is None else self.tops(table, contrast)
            yield row

    def swept(self) -> list[Any]:
        """The audited victims, smallest first; no controls."""
        return sorted((g for g in self.goals.values() if g.group == 'members'), key=lambda g: g.people or 0)

    def trained_people(self, goal: Any) -> int:
        """People that a victim was trained on; an owner's: those of the members' folder."""
        return int(goal.people or len(self.split.people['members']))

    def images(self, goal: Any) -> int:
        """Pictures that a victim was trained on."""
        return len(training_rows(self.split, goal.group, goal.people))

    def sweep(self) -> Iterable[dict[str, Any]]:
        """AUC by person against the size of the training set."""
        for goal in self.swept():
            for attack in self.config['attacks']:
                for contrast in LABELS:
                    table = self.units(goal.name, attack, contrast)
                    if table is not None:
                        yield {'people': self.trained_people(goal), 'images': self.images(goal),
                               'attack': attack, 'contrast': contrast, 'auc': self.auc(table, contrast),
                               'headline': goal.name == self.headline}

    # Curves

    def folders(self, prefix: str) -> dict[str, Path]:
        return {name.removeprefix(prefix): path for name, path in self.context.inputs.items() if name.startswith(prefix)}

    def headline_tables(self) -> Iterable[tuple[str, str, pd.DataFrame]]:
        for attack in self.config['attacks']:
            for contrast in LABELS:
                table = self.table(self.headline, attack, contrast)
                if table is not None:
                    yield f'{attack}/{contrast}', contrast, table

    def curves(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """ROC curves by picture, thinned."""
        for name, contrast, table in self.headline_tables():
            fpr, tpr, _ = roc(*arrays(table, contrast)[:2])
            keep = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
            yield name, {'fpr': fpr[keep].tolist(), 'tpr': tpr[keep].tolist()}

    def histograms(self) -> Iterable[tuple[str, dict[str, Any]]]:
        """Score histograms by picture, both sides on the same bins."""
        for name, contrast, table in self.headline_tables():
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


def beside(own: pd.DataFrame, placebo: pd.DataFrame) -> pd.DataFrame:
    """One row a person: a table of scores with the placebo's of the same people, recalibrated ones too, as `*_placebo`."""
    other = placebo.filter(regex=rf'^(subject|score|{RECALIBRATED}\d+)$')
    return own.merge(other, on='subject', suffixes=('', '_placebo'), validate='one_to_one')


def difference(both: pd.DataFrame) -> Rate:
    """Attack minus placebo, paired by person, of such a table."""
    score, label, person = arrays(both, 'mia')
    return counted(auc_difference(score, both['score_placebo'].to_numpy(), label, person,
                                  recalibrated=(refits(both), refits(both, '_placebo'))), both)


def counted(rate: Rate, table: pd.DataFrame) -> Rate:
    """The rate of a table of scores with n as its pictures, whatever the rows are."""
    return replace(rate, n=int(table['pictures'].sum())) if 'pictures' in table else rate



def words(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return f'an AUC that cannot be given ({rate.note or "too few people"})'
    return f'AUC {rate.estimate:.2f} ({rate.interval[0]:.2f}-{rate.interval[1]:.2f}, {rate.n_people} people)'
