"""The numbers of a codec's audit: what every membership study asks, and what rate, distortion and defences add."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks.compression import LEAST_MSE
from fpray.data.splits import training_rows
from fpray.defences import load_defence
from fpray.metrics.image import bd_rate, psnr_at, psnr_of
from fpray.metrics.membership import LABELS, mean_gap, over_victims
from fpray.metrics.rate import Rate
from fpray.models.config import codec_parameters
from fpray.store import CURVES, Context, parse_curves
from fpray.studies.codec_config import PRIMARY, named
from fpray.studies.codec_steps import first_halves, population_rows
from fpray.studies.membership import MembershipStudy, as_json, beside, difference
from fpray.studies.tasks import read_split

UNCALIBRATED = 'rate-distortion'
SIDES = ('loss', 'bpp', 'mse')


def numbers(context: Context) -> None:
    """numbers.json: everything that the report of a codec's audit shows, but for how long it took and where it lies."""
    study = CodecStudy(context)
    (context.out / 'numbers.json').write_text(json.dumps(study.results(), indent=1, allow_nan=False, default=as_json))


class CodecStudy(MembershipStudy):
    """The audit of a codec: the rate-distortion loss calibrated by a reference codec decides, at the primary lambda."""

    PRIMARY = PRIMARY
    CLAIM = ('From sizes and decompressed copies alone, the calibrated attack ranks people whose pictures trained the codec '
             '({people}) above others with {auc}; guessing has 0.5.')

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.deals = {int(name.partition('/')[2] or 0): read_split(folder) for name, folder in context.inputs.items()
                      if name.split('/')[0] == 'people'}
        self.measures = {name: pd.read_parquet(folder / 'measures.parquet').set_index('row')
                         for name, folder in self.folders('measure/').items()}
        self.refits = {name: pd.read_parquet(folder / 'recalibrated.parquet')
                       for name, folder in self.folders('attack/').items() if (folder / 'recalibrated.parquet').is_file()}
        self.quality = json.loads((context.inputs['rate-distortion'] / 'rate-distortion.json').read_text())

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        codec = self.config['codec']
        return self.common() | {
            'table_6_1': [{**row, 'lmbda': self.goals[row['victim']].lmbda} for row in self.hits(self.tabled())],
            'codec': {
                'primary_lmbda': self.goals[self.headline].lmbda, 'family': codec.codec.family,
                'parameters': codec_parameters(codec.codec), 'lambdas': list(self.lambdas()),
                'rate_distortion': {name: self.quality[name] for name in ('points', 'means', 'fit', 'classical')},
                'codecs': list(self.codecs()), 'frontier': {'rows': list(self.frontier()), 'choice': self.choice()},
                'fidelity': self.quality['fidelity'], 'bitstream': self.quality['bitstream']}}

    def table(self, victim: str, attack: str, contrast: str, replicate: str = '') -> pd.DataFrame | None:
        """As every study's, with the calibrated attack's scores after other draws of its calibration beside its own."""
        found, again = super().table(victim, attack, contrast, replicate), self.refits.get(victim)
        return found if found is None or again is None or attack != self.PRIMARY else found.join(again)

    def missing(self) -> list[str]:
        """As every study's; and an owner's codec must have been asked about reference people, to be calibrated as the
        controls are."""
        uncalibrated = self.config['owner'] and not np.isin(
            population_rows(self.split), self.measures['owner'].index).all()
        return [*super().missing(), *(['the owner\'s copies of reference people (reference/)'] if uncalibrated else [])]

    def swept(self) -> list[Any]:
        """The codecs at the primary lambda, smallest training set first; no controls, no defences."""
        primary = self.goals[self.headline].lmbda
        mine = (g for g in self.goals.values() if g.role in ('victim', 'size') and g.lmbda == primary)
        return sorted(mine, key=lambda g: g.people or 0)

    def tabled(self) -> list[Any]:
        """The codecs of Table 6.1's shape: the headline, the other lambdas, sizes and families."""
        return [g for g in self.goals.values() if g.role in ('victim', 'lambda', 'size', 'family')]

    # Rate and distortion by side

    def lambdas(self) -> Iterable[dict[str, Any]]:
        """Mean loss, bits and error of members and non-members at each lambda, with the signed gap (thesis, Fig. 6.1)."""
        for goal in self.tabled():
            if goal.role == 'size':
                continue
            rates = {attack: self.units(goal.name, attack, 'mia') for attack in (self.PRIMARY, UNCALIBRATED)}
            yield {'lmbda': goal.lmbda, 'victim': goal.name, 'primary': goal.name == self.headline,
                   'sides': self.sides(goal),
                   **{key: None if table is None else self.auc(table, 'mia')
                      for key, table in zip(('auc', 'auc_uncalibrated'), rates.values(), strict=True)}}

    def sides(self, goal: Any) -> dict[str, dict[str, Any]]:
        """Per quantity, the means of both sides and members minus non-members, its interval over people."""
        table = self.table(goal.name, self.PRIMARY, 'mia')
        assert table is not None
        label, person = table[LABELS['mia']].to_numpy(bool), table['subject'].to_numpy().astype(str)
        found = {}
        for name in SIDES:
            values = self.measures[goal.name].loc[table['row'], name].to_numpy()
            found[name] = {'members': float(values[label].mean()), 'nonmembers': float(values[~label].mean()),
                           'gap': mean_gap(values, label, person, self.seed)}
        return found

    # Codecs

    def codecs(self) -> Iterable[dict[str, Any]]:
        """What was trained, with its losses along the way."""
        for name, folder in self.folders('codec/').items():
            trained, goal = json.loads((folder / 'trained.json').read_text()), self.goals.get(name)
            curve = [{'images_seen': int(row['step']), **{key: row[key] for key in SIDES}}
                     for row in parse_curves((folder / CURVES).read_text()) if 'loss' in row]
            role = goal.role if goal is not None else name.split('/')[0]
            yield {'name': name, 'role': role if role in ('control', 'defence', 'reference', 'shadow') else 'victim',
                   'lmbda': trained['lmbda'], 'people': None if goal is None else goal.people,
                   'images': trained['pictures'], 'trained_images': trained['images'], 'curve': curve}

    # Defences

    def frontier(self) -> Iterable[dict[str, Any]]:
        """Leak against quality: the undefended codec and every defence, at the primary lambda."""
        primary, names = self.goals[self.headline].lmbda, dict.fromkeys(
            g.defence for g in self.goals.values() if g.role == 'defence' and g.defence)
        for defence in ('', *names):
            mine = [g for g in self.goals.values() if g.defence == defence and g.lmbda == primary
                    and (g.role == 'defence' or g.name == self.headline)]
            yield self.frontier_row(defence, mine)

    def frontier_row(self, defence: str, goals: list[Any]) -> dict[str, Any]:
        """One defence, over its victims: leaks, rate and distortion on the non-members of each."""
        leaks = {key: [self.leak(goal, attack, fresh) for goal in goals] for key, attack, fresh in (
            ('auc', self.PRIMARY, False), ('auc_fresh', self.PRIMARY, True), ('uncalibrated', UNCALIBRATED, False))}
        points = [self.operating_point(goal) for goal in goals]
        bpp, psnr = (float(np.mean([point[i] for point in points])) for i in (0, 1))
        placed = [undefended(self.anchor(goal.deal), point[0]) if defence else (point[1], False)
                  for goal, point in zip(goals, points, strict=True)]
        beyond = any(each for _, each in placed)
        lost = [point[1] - expected for point, (expected, _) in zip(points, placed, strict=True) if expected is not None]
        privacy = self.privacy(goals[0].name)
        notes = ['this run' if len(goals) < 3 else f'mean over {len(goals)} victims']
        if beyond:
            notes.append('beyond the undefended rates, their curve drawn on in a straight line')
        if defence and load_defence(defence).data == 'stand-in':
            notes.append('it knows nobody: what it shows is no leak but the difference of its recipe')
        if privacy:
            notes.append('epsilon by person, against whoever does not know the seed')
        return {'defence': defence or 'none', 'text': self.words_of(defence), 'victims': len(goals), 'lmbda': goals[0].lmbda,
                **{key: together(rates) for key, rates in leaks.items()},
                'minus_placebo': self.beside_placebo(defence, goals), 'bpp': bpp, 'psnr': psnr,
                'psnr_difference': float(np.mean(lost)) if len(lost) == len(points) else None,
                'bd_rate': self.loss_of_rate(defence, goals),
                'epsilon': privacy and privacy['epsilon'], 'delta': privacy and privacy['delta'],
                'note': '; '.join(notes)}

    def leak(self, goal: Any, attack: str, fresh: bool) -> Rate:
        """An attack's AUC over people; fresh: over those alone who had no say in choosing the twin."""
        table = self.units(goal.name, attack, 'mia')
        assert table is not None
        if fresh:
            table = table[~table['subject'].isin(first_halves(self.deals[goal.deal], goal.people))]
        return self.auc(table, 'mia', self.seed)

    def beside_placebo(self, defence: str, goals: list[Any]) -> Rate | None:
        """Attack minus the same attack on the defence's own placebo, paired by person; None where there is none."""
        if not defence:
            return self.minus_placebo()
        found = []
        for goal in goals:
            own = self.units(goal.name, self.PRIMARY, 'mia')
            other = self.units(named(f'{defence}-placebo', goal.lmbda, goal.deal), self.PRIMARY, 'mia')
            if own is None or other is None:
                return None
            found.append(difference(beside(own, other)))
        return together(found)

    def operating_point(self, goal: Any) -> tuple[float, float]:
        """(bits a pixel, PSNR in dB) of a codec on pictures of its deal's non-members, means over pictures."""
        table = self.measures[goal.name].loc[training_rows(self.deals[goal.deal], 'nonmembers')]
        return float(table['bpp'].mean()), float(psnr_of(np.maximum(table['mse'], LEAST_MSE)).mean())

    def curve(self, defence: str, deal: int) -> list[tuple[float, float]]:
        """(bits a pixel, PSNR) over the lambdas that one deal was trained at, growing."""
        own = ('victim', 'lambda') if not (defence or deal) else ('defence',)
        mine = [g for g in self.goals.values() if g.defence == defence and g.deal == deal and g.role in own]
        return sorted(self.operating_point(goal) for goal in mine)

    def anchor(self, deal: int) -> list[tuple[float, float]]:
        """The undefended curve of a deal; where it has the primary lambda alone, the first deal's, moved to its point."""
        own = self.curve('', deal)
        return own if len(own) > 1 else moved(self.curve('', 0), self.operating_point(self.goals[self.headline]), own[0])

    def loss_of_rate(self, defence: str, goals: list[Any]) -> float | None:
        """BD-rate against the undefended codec of the same deal, percent, mean over deals; None without four lambdas."""
        found = []
        for goal in goals if defence else ():
            own, anchor = self.curve(defence, goal.deal), self.curve('', goal.deal)
            if min(len(own), len(anchor)) < 4:
                return None
            (b0, p0), (b1, p1) = (np.array(curve).T for curve in (anchor, own))
            found.append(bd_rate(b0, p0, b1, p1))
        return float(np.mean([each for each in found if each is not None])) if found and None not in found else None

    def privacy(self, name: str) -> dict[str, Any] | None:
        """Epsilon and delta by person, where the codec was trained with DP-SGD."""
        folder = self.folders('codec/').get(name)
        return None if folder is None else json.loads((folder / 'trained.json').read_text())['privacy']

    def words_of(self, defence: str) -> str:
        """What the defence does, for who reads the table."""
        return load_defence(defence).text if defence else 'trained on the private pictures as they are'

    def choice(self) -> dict[str, Any] | None:
        """How the twin of the first deal was chosen; None where there is none."""
        folder = self.folders('choice/').get('0')
        return None if folder is None else dict(json.loads((folder / 'choice.json').read_text()))


def undefended(curve: list[tuple[float, float]], bpp: float) -> tuple[float | None, bool]:
    """(PSNR of the undefended codec at a rate, whether the rate lies beyond its lambdas).

    Beyond them the curve's first or last segment is drawn on over the logarithm of the rate: a defence at one lambda
    hardly ever has one of its rates. None where that segment does not rise.
    """
    rates, psnrs = (np.array(each) for each in zip(*curve, strict=True))
    inside = psnr_at(rates, psnrs, bpp)
    if inside is not None or len(curve) < 2:
        return inside, False
    a, b = (0, 1) if bpp < rates[0] else (-2, -1)
    run, rise = np.log(rates[b] / rates[a]), psnrs[b] - psnrs[a]
    if run <= 0 or rise <= 0:
        return None, False
    return float(psnrs[b] + rise / run * np.log(bpp / rates[b])), True


def moved(curve: list[tuple[float, float]], start: tuple[float, float],
          end: tuple[float, float]) -> list[tuple[float, float]]:
    """A curve of (rate, PSNR) carried from one of its points to another: rates by their ratio, PSNR by its difference."""
    return [(rate * end[0] / start[0], psnr + end[1] - start[1]) for rate, psnr in curve]


def together(rates: list[Rate]) -> Rate:
    """One victim's rate as it is; several victims' mean with an interval over victims."""
    return rates[0] if len(rates) == 1 else over_victims(rates)

