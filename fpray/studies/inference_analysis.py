"""The numbers of model inference: the headline's cell with its controls, then every table, each rate over people."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fpray.attacks.threat import INFERENCE_THREATS
from fpray.data.imageset import ImageSet
from fpray.metrics import people
from fpray.metrics.classification import accuracy, calibration_error, confusion, reliability, seen
from fpray.metrics.identification import (
    choice_auc,
    choice_auc_difference,
    detectable_choice_auc,
    gallery,
    permuted_choice_auc,
    rank_n,
)
from fpray.metrics.membership import auc_clustered, over_victims, roc
from fpray.metrics.rate import Rate
from fpray.models.config import ATTRIBUTES
from fpray.store import Context
from fpray.studies import sections as s
from fpray.studies.embedding_config import NO_ADAPT, RUNGS
from fpray.studies.groups import read_groups
from fpray.studies.inference_config import CONDITIONS, DIFF_PIPELINE, PRIMARY, SAME_IDENT, SAME_PIPELINE
from fpray.studies.inference_steps import Vectors, log_columns
from fpray.studies.membership import CURVE_POINTS, WARN_BELOW, as_json
from fpray.studies.recognition_steps import cosine

FEWEST = 10  # people, for a verdict
FALSE_POSITIVES = 5  # wrong candidates above a threshold, of as many people, that resolve its rate
SOURCE_NAMES = {NO_ADAPT: 'No-Adapt', **{each: f'{each}.' for each in CONDITIONS[:3]}}  # as the source's Table 3 prints them
TABLE_1 = dict(zip(ATTRIBUTES, ('Activation', 'Dropout', 'Max pooling', 'Convolutional layers', 'Kernel', 'Dense layers',
                                'Optimiser', 'Batch size'), strict=True))
FAMILIES = ('ResNet', 'EfficientNet')  # of which the source states how many are confused
SHOWN_VECTORS = (NO_ADAPT, 'FT-3', 'FT-5')  # rungs of the table of vectors seen
PAGE_WORDS = {
    SAME_IDENT: 'other pictures of the victims themselves', SAME_PIPELINE: 'other people, same pipeline',
    DIFF_PIPELINE: 'other people, another pipeline'}


def numbers(context: Context) -> None:
    """numbers.json: everything that the report shows, but for how long it took and where it lies."""
    study = InferenceStudy(context)
    (context.out / 'numbers.json').write_text(json.dumps(study.results(), indent=1, allow_nan=False, default=as_json))


@dataclass(frozen=True)
class Cell:
    """A classifier's answers about some vectors."""

    logs: np.ndarray
    """(n, k) log-probabilities."""
    right: np.ndarray
    """(n,) the candidate that made each."""
    person: np.ndarray
    """(n,) whose picture each is."""
    alarm: np.ndarray
    """(n,) bool, called none of these."""

    @property
    def best(self) -> np.ndarray:
        """(n,) the candidate that is named."""
        return np.asarray(self.logs.argmax(axis=1))

    @property
    def named_right(self) -> np.ndarray:
        """(n,) bool."""
        return np.asarray(self.best == self.right)


class InferenceStudy:
    """A finished study's tables, read once, and the questions put to them."""

    def __init__(self, context: Context) -> None:
        self.context, self.config, self.seed = context, context.config, context.config['seed']
        self.everyone = ImageSet.load(context.inputs['pictures'])
        self.groups = read_groups(context.inputs['people'])
        self.subjects = self.everyone.records['subject'].to_numpy().astype(str)
        self.head = self.config['headline']
        self.tables = {length: pd.read_parquet(context.inputs[f'answers/{length}'] / 'answers.parquet')
                       for length in self.config['lengths']}

    # Answers

    def names(self, length: int) -> list[str]:
        """The candidates of a length, in the order of their labels."""
        return list(self.config['names'][str(length)])

    def cell(self, length: int | None = None, condition: str = '', kind: str = PRIMARY, rung: str = '',
             group: str = 'victims') -> Cell:
        """The answers of one cell of Table 3; by default the headline's."""
        length = length or self.head.length
        table = self.tables[length]
        wanted = {'condition': condition or self.head.condition, 'kind': kind, 'rung': rung or self.head.rung, 'group': group}
        mine = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
        return self.read(table[mine], len(self.names(length)))

    def read(self, table: pd.DataFrame, classes: int) -> Cell:
        """Answers as arrays."""
        return Cell(table[log_columns(classes)].to_numpy(float), table['network'].to_numpy(int),
                    self.subjects[table['row'].to_numpy()], table['alarm'].to_numpy(bool))

    def rate(self, cell: Cell) -> Rate:
        """Share of right answers."""
        return accuracy(cell.named_right, cell.person, 1 / cell.logs.shape[1], self.seed)

    # The primary endpoint and its controls

    def primary(self) -> dict[str, Any]:
        """The endpoint that was fixed before any score was seen."""
        cell, head = self.cell(), self.head
        what = (f'which of {cell.logs.shape[1]} networks made one vector of length {head.length}, the network adapted to '
                f'{head.rung}, the attacker\'s pictures {head.condition}')
        return s.primary(what, PRIMARY, choice_auc(cell.logs, cell.right, cell.person, self.seed), self.found_at_one_percent(),
                         self.minus_placebo(), accuracy=self.rate(cell))

    def found_at_one_percent(self) -> Rate:
        """Share of vectors whose right candidate passes a threshold that 1 % of wrong ones passed on other people."""
        cell, other = self.cell(), self.cell(group='threshold')
        wrong = np.ones(other.logs.shape, bool)
        wrong[np.arange(len(wrong)), other.right] = False
        scores, person = other.logs[wrong], np.repeat(other.person, other.logs.shape[1] - 1)
        threshold = np.quantile(scores, 0.99, method='higher')
        above = scores >= threshold
        found = accuracy(cell.logs[np.arange(len(cell.right)), cell.right] > threshold, cell.person, 0.01, self.seed)
        if above.sum() < FALSE_POSITIVES or len(set(person[above])) < FALSE_POSITIVES:
            return replace(found, estimate=None, interval=(None, None), note='too few people set the threshold for 1 %')
        return replace(found, note='threshold set on the threshold people')

    def placebo_cells(self) -> list[Cell]:
        """The headline's cell by classifiers that learnt shuffled labels."""
        table = pd.read_parquet(self.context.inputs['placebo'] / 'placebo.parquet')
        own = self.cell()
        found = [self.read(part, own.logs.shape[1]) for _, part in table.groupby('deal', sort=True)]
        assert all((each.person == own.person).all() and (each.right == own.right).all() for each in found)
        return found

    def placebo_auc(self) -> Rate:
        """Mean over the deals; p two-sided by t over the deals, which share no shuffle."""
        each = [choice_auc(cell.logs, cell.right, cell.person, self.seed, draws=1) for cell in self.placebo_cells()]
        found, values = over_deals(each), np.array([rate.estimate for rate in each], float)
        p = float(stats.ttest_1samp(values, 0.5).pvalue) if values.std() > 0 else 1.0
        return replace(found, p=p)

    def minus_placebo(self) -> Rate:
        """Attack minus placebo, paired by person, mean over the deals."""
        own = self.cell()
        return over_deals([choice_auc_difference(own.logs, cell.logs, own.right, own.person)
                           for cell in self.placebo_cells()])

    def detectable(self) -> Rate:
        """The smallest true area that most such studies would have found, beside all placebos at once."""
        own, others = self.cell(), self.placebo_cells()
        again = len(others)
        return detectable_choice_auc(np.tile(own.logs, (again, 1)), np.tile(own.right, again), np.tile(own.person, again),
                                     self.seed, placebo=np.concatenate([cell.logs for cell in others]), draws=999)

    def controls(self) -> tuple[dict[str, Any], list[str]]:
        """The controls beside the primary endpoint, and a warning for each that should not have seen anything."""
        own, known = self.cell(), self.cell(group='threshold')
        looks = self.read(pd.read_parquet(self.context.inputs['placebo'] / 'pictures.parquet'), own.logs.shape[1])
        alone = choice_auc(looks.logs, looks.right, looks.person, self.seed)
        placebo = self.placebo_auc()
        holm = dict(zip(('placebo', 'alone'), people.holm([float(placebo.p or 1), float(alone.p or 1)]), strict=True))
        deals = len(self.placebo_cells())
        found = s.controls(
            placebo=s.control(placebo, f'the same classifier, learnt from shuffled network labels, {deals} times anew',
                              holm['placebo']),
            pictures_alone=s.control(alone, 'a classifier of the pictures themselves, shrunk, in place of their vectors; every '
                                            'picture went through every network, so that it can say nothing', holm['alone']),
            permuted_null=s.control(permuted_choice_auc(own.logs, own.right, own.person, self.seed),
                                    'each person\'s candidates renamed at random: it checks the arithmetic'),
            rehearsal=s.control(choice_auc(known.logs, known.right, known.person, self.seed),
                                'the same attack on the threshold people, whom nobody else had either'),
            smallest_detectable=s.control(self.detectable(), 'what this attack would have shown in 4 of 5 such studies'))
        words = {'placebo': 'classifiers of shuffled labels tell the networks apart', 'alone': 'the pictures alone tell the '
                                                                                              'networks apart'}
        return found, [f'{words[name]} (p {p:.2g})' for name, p in holm.items() if p < WARN_BELOW]

    def verdict(self, primary: Mapping[str, Any], controls: Mapping[str, Any]) -> str:
        """One of three, with its uncertainty."""
        auc, minus, rehearsal = primary['auc'], primary['minus_placebo'], controls['rehearsal']['auc']
        shown, least = _range(auc), controls['smallest_detectable']['auc'].estimate
        if auc.n_people < FEWEST:
            return f'Cannot say, because there are too few people: {auc.n_people}, fewer than {FEWEST} ({shown}).'
        if rehearsal.lower <= 0.5:
            return ('Cannot say, because the same attack found nothing among the threshold people '
                    f'({_range(rehearsal)}); among the victims it shows {shown}.')
        if auc.lower > 0.5 and minus.lower > 0:
            return f'Found: one vector gives away the network that made it ({shown}).'
        if least is None:
            return f'Cannot say, because no effect, however large, would have shown with these people ({shown}).'
        least = np.ceil(least * 100) / 100
        return f'Not found by these attacks; they would have shown AUC >= {least:.2f} in 4 of 5 such audits ({shown}).'

    def summary(self, primary: Mapping[str, Any], controls: Mapping[str, Any]) -> list[str]:
        """Two or three sentences for who signs."""
        right, head, k = primary['accuracy'], self.head, len(self.names(self.head.length))
        plain, far = (self.rate(self.cell(rung=rung)) for rung in (NO_ADAPT, RUNGS[-1]))
        lines = [f'From one stolen vector of length {head.length} the attacker names the right one of {k} networks '
                 f'{_share(right)}; guessing has {1 / k:.0%}. The network had been adapted to {head.rung} meanwhile.',
                 f'Of the network as it was published: {_share(plain)}; adapted to {RUNGS[-1]}: {_share(far)}. '
                 f'A classifier of shuffled labels ranks the networks with AUC {_short(controls["placebo"]["auc"])}.']
        if self.everyone.meta['synthetic']:
            lines.append('These are synthetic fingers and small networks trained in this run: the numbers say nothing about '
                         'real people.')
        return lines

    # What stands around the tables

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        primary = self.primary()
        controls, warnings = self.controls()
        return {'verdict': self.verdict(primary, controls), 'summary': self.summary(primary, controls),
                'warnings': [*self.notices(), *warnings], 'data': self.data(), 'threat_models': self.threats(),
                'primary': primary, 'controls': controls, 'sections': list(self.sections())}

    def threats(self) -> list[dict[str, str]]:
        """The adversary of each attack."""
        names = [*self.config['kinds'], *(('attributes', 'kennen') if 'attributes' in self.context.inputs else ())]
        return [{field: getattr(INFERENCE_THREATS[name], field) for field in ('name', 'infers', 'sees', 'holds', 'source')}
                for name in names]

    def notices(self) -> list[str]:
        """What a reader must know about the data."""
        found, groups = [], self.groups
        if not self.everyone.meta['subject_known']:
            found.append('the layout knows no persons: a finger stands for its person in every interval')
        if groups.left_out:
            found.append(f'{groups.left_out} pictures left out: the same pixels stand under several identities')
        if groups.short:
            found.append(f'{groups.short} identities left out for want of pictures')
        if groups.altered:
            found.append('some pictures are altered versions of others of the same identity')
        return found

    def data(self) -> dict[str, Any]:
        """The set and how its people are divided."""
        records, meta = self.everyone.records, self.everyone.meta
        original = records[~records['altered'].astype(bool)] if 'altered' in records else records
        return {'name': meta['name'], 'layout': meta['layout'], 'synthetic': bool(meta['synthetic']),
                'label': 'synthetic stand-in' if meta['synthetic'] else meta['name'],
                'subject_known': bool(meta['subject_known']), 'n_people': int(original['subject'].nunique()),
                'n_identities': int(original['identity'].nunique()), 'n_images': len(original),
                'image_size': [int(side) for side in self.everyone.pixels.shape[2:]],
                'duplicates_left_out': self.groups.left_out, 'ignored': int(meta.get('ignored', 0)),
                'skipped': list(meta.get('skipped', [])), 'altered_for_iia': self.groups.altered,
                'groups': {group: {'people': len(subjects), 'identities': len(self.groups.of(group)),
                                   'images': len(self.groups.pictures(group))}
                           for group, subjects in self.groups.people.items() if subjects}}

    def folders(self, prefix: str) -> dict[str, Path]:
        """Inputs whose names begin so, by the rest of their names."""
        return {name.removeprefix(prefix): path for name, path in self.context.inputs.items() if name.startswith(prefix)}

    @property
    def modality(self) -> str:
        """As the source's tables head their rows."""
        return 'Faces' if self.everyone.meta['layout'] in ('orl', 'lfw') or self.config['table_13'] == 'face' else 'Fingerprints'

    def scale(self) -> str:
        """What differs from the source's setting."""
        data = self.data()
        where = 'networks and layers of Table 13, trained in this run' if self.config['table_13'] != 'none' else \
            'four small families trained in this run, not ImageNet\'s networks'
        return (f'Data: {data["label"]}, {len(self.groups.people["victims"])} victims. Weights: {where}. Scale: '
                f'{self.facts(self.head.length, self.head.condition)["vectors"]:,} reference vectors (the source: 10,000), '
                'adaptations by shares of one training as long as the configuration says (the source: 5,000 to 60,000 new '
                'images).')

    def facts(self, length: int, condition: str) -> dict[str, Any]:
        """How much a classifier learnt from."""
        return dict(json.loads((self.context.inputs[f'classifier/{length}/{condition}'] / 'learnt.json').read_text()))

    # Sections

    def sections(self) -> Iterable[dict[str, Any]]:
        """Every table and plot, in the order of the page."""
        parts: list[Callable[[], dict[str, Any] | None]] = [
            self.headline, self.table_3, self.depth, self.vectors_seen, self.strangers, self.twins, self.maps, self.table_4,
            self.table_1, self.networks]
        for number, part in enumerate(parts):
            self.context.progress(number, len(parts), 'sections')
            found = part()
            if found is not None:
                yield found

    def headline(self) -> dict[str, Any]:
        """The headline's confusions, and whether its confidence can be believed."""
        cell, names = self.cell(), self.names(self.head.length)
        counts = confusion(cell.right, cell.best, len(names))
        drawn, rows = [], []
        for rung in dict.fromkeys((NO_ADAPT, self.head.rung)):
            one = self.cell(rung=rung)
            confidence, right, count = reliability(one.logs, one.right)
            drawn.append(s.series(rung, confidence, right))
            rows.append([rung, self.rate(one), float(np.exp(one.logs.max(axis=1)).mean()),
                         calibration_error(one.logs, one.right, one.person, self.seed)])
        return s.section(
            'headline', 'The cell that decides', f'The attacker knows the published networks and learns from '
            f'{self.facts(self.head.length, self.head.condition)["vectors"]:,} vectors that they make of its own pictures '
            f'({PAGE_WORDS.get(self.head.condition, self.head.condition)}). It is asked about single vectors of '
            f'{len(set(cell.person))} victims, made by networks that their owner has adapted to {self.head.rung}.',
            [s.table('confidence', 'Confidence, calibrated on the threshold people with the published networks',
                     ['Adaptation', 'Accuracy', 'Mean confidence', 'Calibration error'], rows,
                     note='After an adaptation confidence stands on networks that the attacker never saw.')],
            [s.matrix('confusion', 'Who is taken for whom', 'Shares of the vectors of each network.',
                      counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), names),
             s.lines('reliability', 'Confidence against accuracy', 'Vectors in ten bins of confidence.',
                     'mean confidence', 'accuracy', drawn, diagonal=True)])

    def table_3(self) -> dict[str, Any]:
        """Table 3: lengths and conditions by rung."""
        rows: list[Sequence[s.Cell]] = []
        plots = []
        for length in self.config['lengths']:
            rows.append([f'{self.modality}, length {length}'])
            drawn = []
            for condition in self.config['conditions']:
                rates = [self.rate(self.cell(length, condition, PRIMARY, rung)) for rung in RUNGS]
                rows.append([SOURCE_NAMES.get(condition, condition), *rates])
                drawn.append(s.rates(condition, list(range(len(RUNGS))), rates))
            plots.append(s.lines(f'ladder-{length}', f'Length {length}', 'Rungs of the adaptation: 0 is No-adapt, 5 is FT-5.',
                                 'rung', 'accuracy', drawn, marks=[s.mark(1 / len(self.names(length)), 'guessing')]))
        how = ('a real second sensor' if self.config['attacker']['other'] else
               {'sensor': 'a simulated second sensor', 'landmarks': 'faces aligned by landmarks', 'box': 'faces cut by box'}[
                   self.config['attacker']['pipeline']])
        return s.section('table-3', 'By length, attacker\'s data and adaptation (Table 3)', 'Accuracy of the auxiliary '
                         'classifier, one vector at a time, interval over people. The attacker always learns from the '
                         f'unadapted networks. Diff-PreProc: {how}.',
                         [s.table('table-3', 'Model inference accuracy', [
                             'Attacker\'s data', *(SOURCE_NAMES.get(rung, rung) for rung in RUNGS)], rows,
                             note=f'Guessing has {1 / len(self.names(self.head.length)):.1%}.', differs=self.scale(),
                             published='tangari-3')], plots)

    def depth(self) -> dict[str, Any] | None:
        """What depth buys: the three kinds of classifier at three rungs."""
        if len(self.config['kinds']) < 2:
            return None
        rows: list[Sequence[s.Cell]] = []
        for length in self.config['lengths']:
            rows.append([f'Length {length}, {self.head.condition}'])
            rows += [[kind, *(self.rate(self.cell(length, self.head.condition, kind, rung)) for rung in RUNGS)]
                     for kind in self.config['kinds']]
        return s.section('depth', 'What depth buys', 'The source\'s network of five hidden layers, logistic regression, and '
                         'the nearest reference vector, all on the same vectors.',
                         [s.table('kinds', 'Accuracy by classifier', ['Classifier', *RUNGS], rows)])

    def vectors_seen(self) -> dict[str, Any]:
        """Accuracy against the number of vectors that are seen at once."""
        rows, drawn = [], []
        for rung in dict.fromkeys((*SHOWN_VECTORS, self.head.rung)):
            cell = self.cell(rung=rung)
            found = seen(cell.logs, cell.right, cell.person, self.config['seen'], self.seed)
            rows.append([rung, *found.values()])
            known = {count: rate for count, rate in found.items() if rate.estimate is not None}
            if known:
                drawn.append(s.rates(rung, list(known), list(known.values())))
        plots = [s.lines('seen-course', 'Accuracy against vectors seen', 'Log-probabilities are added up.', 'vectors', 'accuracy', drawn,
                         log=True)] if drawn else []
        return s.section('seen', 'More vectors of one network', 'A stolen database holds many vectors of one network: sets of '
                         'them are drawn at random, of whatever people.',
                         [s.table('seen', 'Accuracy by vectors seen', ['Adaptation', *map(str, self.config['seen'])], rows)],
                         plots)

    # Outside the pool

    def strangers(self) -> dict[str, Any]:
        """'None of these': its ROC for networks outside the pool, and false alarms at every rung."""
        rows, drawn = [], []
        words = {'left out': 'another architecture (each candidate left out in turn)',
                 'twin': 'a twin: a known architecture, other weights'}
        for length, folder in self.folders('unknown/').items():
            table = pd.read_parquet(folder / 'unknown.parquet')
            for side, text in words.items():
                both = table[table['pool'].isin(table.loc[table['side'] == side, 'pool'])]
                if len(both):
                    rate, false, caught, curve = self.apart(both, side)
                    rows.append([f'Length {length}: {text}', rate, caught, false])
                    drawn.append(s.series(f'{length}, {side}', *curve))
        alarms = [[f'Length {length}', *(accuracy((one := self.cell(length, self.head.condition, PRIMARY, rung)).alarm,
                                                  one.person, None, self.seed) for rung in RUNGS)]
                  for length in self.config['lengths']]
        tables = [s.table('alarms', '"None of these" said of a candidate\'s own vectors', ['', *RUNGS], alarms, note=(
            f'Set to {self.config["alarms"]:.0%} on the threshold people and the published networks; an adapted network is '
            'less and less like its own past.'))]
        if rows:
            tables.insert(0, s.table('unknown', 'Vectors of networks outside the pool', [
                'Network', 'AUC', 'Called none of these', 'False alarms'], rows))
        plots = [s.lines('unknown-roc', 'ROC of "none of these"', 'Positives are vectors of networks outside the pool.',
                         'false alarms', 'called none of these', drawn, diagonal=True)] if drawn else []
        return s.section('unknown', '"None of these"', 'How unlike all candidates a vector is: the Mahalanobis distance from '
                         'the nearest candidate\'s mean. No classifier has a part in it. Asked about unadapted networks.',
                         tables, plots)

    def apart(self, table: pd.DataFrame, side: str) -> tuple[Rate, Rate, Rate, tuple[list[float], list[float]]]:
        """(AUC, false alarms, share called none of these, ROC) of outsiders against candidates, over people."""
        label, person = (table['side'] == side).to_numpy(), self.subjects[table['row'].to_numpy()]
        score, alarm = table['score'].to_numpy(float), table['alarm'].to_numpy(bool)
        fpr, tpr, _ = roc(score, label)
        keep = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
        false, caught = (accuracy(alarm[mine], person[mine], None, self.seed) for mine in (~label, label))
        return auc_clustered(score, label, person), false, caught, (fpr[keep].tolist(), tpr[keep].tolist())

    def twins(self) -> dict[str, Any] | None:
        """Is it the architecture that is recognised, or the weights?"""
        folder = self.folders('twins').get('')
        if folder is None:
            return None
        names = self.names(self.head.length)
        k = len(names)
        asked = self.read(pd.read_parquet(folder / 'twins.parquet'), k)
        both = self.read(pd.read_parquet(folder / 'both.parquet'), 2 * k)
        sibling = accuracy(both.best == (both.right + k) % (2 * k), both.person, 1 / (2 * k), self.seed)
        rows = [['A twin\'s vector is called its sibling', self.rate(asked)],
                ['A twin\'s vector is called none of these', accuracy(asked.alarm, asked.person, None, self.seed)],
                [f'Candidates and twins as {2 * k} networks: right', self.rate(both)],
                [f'Candidates and twins as {2 * k} networks: taken for the sibling', sibling]]
        everyone = [*names, *(f'{name} (twin)' for name in names)]
        counts = confusion(both.right, both.best, 2 * k)
        return s.section('twins', 'Architecture or weights?', 'A twin is a candidate\'s architecture, trained on the same '
                         'people in another order from other first weights. Were it the architecture that shows, a twin '
                         'would be called its sibling; where its weights show, it is called anything, or none of these.',
                         [s.table('twins', f'Vectors of length {self.head.length}, unadapted', ['', 'Share'], rows,
                                  note=f'Guessing names the sibling in {1 / k:.0%}, among all in {1 / (2 * k):.1%}.')],
                         [s.matrix('twins-confusion', 'Who is taken for whom', 'Shares of the vectors of each network.',
                                   counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), everyone)])

    def maps(self) -> dict[str, Any]:
        """Fig. 1: t-SNE."""
        plots = []
        for length, folder in self.folders('map/').items():
            with np.load(folder / 'places.npz') as kept:
                places, network = kept['places'].astype(float), kept['network']
            drawn = [s.series(name, places[network == at, 0], places[network == at, 1])
                     for at, name in enumerate(self.names(int(length)))]
            plots.append(s.scatter(f'map-{length}', f'Length {length}', 'Every point is one vector of a victim.', '', '', drawn))
        return s.section('map', 'The vectors on a plane (Fig. 1)', 'By t-SNE, which sees no label: what clusters, clusters by '
                         'itself. Neither axes nor distances between clusters have a meaning.', plots=plots)

    # The pool and the zoo

    def table_4(self) -> dict[str, Any] | None:
        """Table 4, with the confusions of the families and of twins."""
        folder = self.folders('pool').get('')
        if folder is None:
            return None
        table = pd.read_parquet(folder / 'answers.parquet')
        names = json.loads((folder / 'names.json').read_text())
        members = {each['name']: each for each in json.loads((folder / 'members.json').read_text())}
        table = table.assign(person=self.subjects[table['row'].to_numpy()], right=table['said'] == table['network'],
                             family=[members[name]['family'] for name in table['network']])
        rows = []
        for length in sorted(names, key=int, reverse=True):
            own = table[(table['length'] == int(length)) & ~table['twin']]
            k = len(names[length])
            rows.append([length, str(k), accuracy(own['right'], own['person'], 1 / k, self.seed), f'{1 / k:.1%}'])
        speed = json.loads((folder / 'speed.json').read_text())
        return s.section('table-4', 'A large collection (Table 4)', self.pool_words(speed), [
            s.table('table-4', 'Model inference accuracy in a pool', ['Length', 'Classes', 'Accuracy', 'Chance'], rows,
                    differs=self.pool_differs(members), published='tangari-4'),
            s.table('families', 'Confusions', ['', 'Share', 'Networks'], list(self.confusions(table, members)),
                    note='The source: 2.88 % of the vectors of ResNets and 3.92 % of those of EfficientNets misclassified.'),
            s.table('pool', 'The networks', ['Network', 'Length', 'Family', 'Weights', 'Images/s'],
                    list(self.listed(members, speed)))], fold=False)

    def pool_words(self, speed: Sequence[Mapping[str, Any]]) -> str:
        """What was embedded."""
        pool, failed = self.config['pool'], [row['model'] for row in speed if row.get('fault')]
        further = (f'each trained further on {pool.further:,} pictures of the public people' if pool.further
                   else 'none of them trained further')
        text = f'{len(speed)} networks embedded about {pool.images} pictures each, {further}; twins are counted apart.'
        return text + (f' These failed and are left out: {", ".join(failed)}.' if failed else '')

    def pool_differs(self, members: Mapping[str, Mapping[str, Any]]) -> str:
        """What differs from the source's Table 4."""
        weights = sorted({each['weights'] for each in members.values()})
        return (f'Networks of timm, not of TensorFlow Hub, {len(members)} of them (the source: 105). Weights: '
                f'{"; ".join(weights)} (the source: ImageNet\'s, trained further on Facescrub). Data: {self.data()["label"]}.')

    def confusions(self, table: pd.DataFrame, members: Mapping[str, Mapping[str, Any]]) -> Iterable[Sequence[s.Cell]]:
        """Within the families that the source speaks of, and of twins."""
        for family in FAMILIES:
            own = table[(table['family'] == family) & ~table['twin']]
            count = str(own['network'].nunique())
            if len(own):
                kin = np.array([members[name]['family'] == family for name in own['said']])
                yield [f'{family}s misclassified', accuracy(~own['right'], own['person'], None, self.seed), count]
                yield [f'{family}s taken for another {family}', accuracy(~own['right'] & kin, own['person'], None, self.seed), count]
        twins = table[table['twin']]
        if len(twins):
            count = str(twins['network'].nunique())
            yield ['A twin (same architecture, other weights) called its sibling',
                   accuracy(twins['right'], twins['person'], None, self.seed), count]
            yield ['A twin called none of these', accuracy(twins['alarm'], twins['person'], None, self.seed), count]

    def listed(self, members: Mapping[str, Mapping[str, Any]], speed: Sequence[Mapping[str, Any]]) -> Iterable[Sequence[s.Cell]]:
        """A row a network."""
        rates = {row['model']: row for row in speed}
        for name, each in members.items():
            row = rates.get(name, {})
            per_second = s.not_available(str(row['fault'])[:120]) if row.get('fault') else row.get('images_per_second')
            yield [name, str(each['length']), each['family'], each['weights'], per_second]

    def table_1(self) -> dict[str, Any] | None:
        """Table 1: attributes of a zoo of small networks."""
        folder = self.folders('attributes').get('')
        if folder is None:
            return None
        facts = json.loads((folder / 'attributes.json').read_text())
        table = {name: {row: read_rate(rate) for row, rate in rows.items()} for name, rows in facts['table'].items()}
        names = list(next(iter(table.values())))
        rows: list[Sequence[s.Cell]] = [['Values', *(', '.join(map(_value, ATTRIBUTES[name])) for name in table)]]
        rows += [[f'Emb. {row}' if row.isdigit() else row, *(table[name][row] for name in table)] for row in names]
        rows.append(['Chance', *(f'{1 / len(ATTRIBUTES[name]):.1%}' for name in table)])
        stand_in = f' {facts["stand_in"]}.' if facts['stand_in'] else ''
        right = np.array(facts['accuracy'])
        return s.section('table-1', 'What kind of network made it? (Table 1)', f'{facts["networks"]} small networks trained on '
                         f'{facts["digits"]}.{stand_in} A classifier reads all attributes of a network from one embedding of '
                         'one digit; Kennen reads its probabilities of a hundred. No network and no digit is on both sides. '
                         'Intervals are over networks.',
                         [s.table('table-1', 'Accuracy by attribute', ['Seen', *TABLE_1.values()], rows, differs=(
                             f'{facts["networks"]} networks (the source: 5,000 of MNIST-NET) trained on {facts["digits"]}, '
                             f'which they tell apart with accuracy {right.mean():.2f} ({right.min():.2f}-{right.max():.2f}); '
                             f'{facts["folds"]} folds in place of a second half.'), published='tangari-1')])

    # The networks themselves

    def networks(self) -> dict[str, Any]:
        """How well the networks recognise people, at every rung."""
        rows, stated = [], []
        for length in self.config['lengths']:
            rows.append([f'Length {length}'])
            stated.append([f'Length {length}'])
            for number, name in enumerate(self.names(length)):
                vectors = Vectors(self.context.inputs[f'vectors/{length}/{number}'])
                rows.append([name, *(self.first_rank(vectors, rung) for rung in RUNGS)])
                trained = json.loads((self.context.inputs[f'candidate/{length}/{name}'] / 'trained.json').read_text())
                ladder = {row['name']: row['accuracy'] for row in json.loads(
                    (self.context.inputs[f'ladder/{length}/{name}'] / 'ladder.json').read_text())}
                stated.append([name, trained['accuracy'], *(ladder.get(rung) for rung in RUNGS[1:])])
        return s.section('networks', 'The networks, and how far they were adapted', 'Every candidate learns to tell the public '
                         'people\'s fingers or faces apart; its owner then goes on with the people of the group adapt, opening '
                         'more layers from rung to rung.', [
                             s.table('rank-1', 'Rank-1 identification of the victims, whom no network knows', [
                                 'Network', *RUNGS], rows),
                             s.table('held-out', 'Accuracy on pictures of the training\'s own people that it did not see', [
                                 'Network', *RUNGS], stated, note='No-adapt: public people; the others: people of the group '
                                                                 'adapt. Shares without intervals: the trainings state them.')],
                         fold=True)

    def first_rank(self, vectors: Vectors, rung: str) -> Rate:
        """Victims' references searched among their templates."""
        groups = self.groups
        templates, asked = groups.templates('victims'), groups.references('victims')
        identity = self.everyone.records['identity'].to_numpy().astype(str)
        search = gallery(cosine(vectors.of(asked, rung), vectors.of(templates, rung)), self.subjects[asked],
                         self.subjects[templates], identity[asked], identity[templates])
        return rank_n(search, 1, self.seed)


def over_deals(rates: Sequence[Rate]) -> Rate:
    """Mean of one rate over shuffles of the labels, of the same people: its interval holds both.

    Half its width is the root of the summed squares of the t interval over the deals and the mean half-width over people.
    """
    mean = over_victims(rates)
    assert mean.estimate is not None and mean.interval[1] is not None
    deals = mean.interval[1] - mean.estimate
    halves = [(r.interval[1] - r.interval[0]) / 2 for r in rates if r.interval[0] is not None and r.interval[1] is not None]
    half = float(np.hypot(deals, np.mean(halves) if halves else 0.0))
    low, high = (0.0, 1.0) if mean.chance == 0.5 else (-1.0, 1.0)
    return Rate(mean.estimate, (max(mean.estimate - half, low), min(mean.estimate + half, high)), mean.chance, rates[0].n,
                rates[0].n_people, note=f'mean over {len(rates)} shuffles; the interval holds shuffles and people')


def read_rate(stored: Mapping[str, Any]) -> Rate:
    """A rate from what `membership.rate_dict` wrote."""
    low, high = stored['interval']
    return Rate(**{**stored, 'interval': (low, high)})


def _value(value: Any) -> str:
    return {True: 'yes', False: 'no'}[value] if isinstance(value, bool) else str(value)


def _range(rate: Rate) -> str:
    if rate.interval[0] is None or rate.interval[1] is None:
        return f'AUC without interval, {rate.n_people} people'
    return f'AUC {rate.interval[0]:.3f}-{rate.interval[1]:.3f}, {rate.n_people} people'


def _share(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return 'a share that cannot be given'
    return f'{rate.estimate:.0%} of the time ({rate.interval[0]:.0%}-{rate.interval[1]:.0%})'


def _short(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return 'that cannot be given'
    return f'{rate.estimate:.2f} ({rate.interval[0]:.2f}-{rate.interval[1]:.2f})'

