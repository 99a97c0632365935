"""The page of model inference: every table and plot of the study, built from what `inference_analysis` reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fpray.distributed.embed import read_records
from fpray.metrics.classification import calibration_error, confusion, reliability, seen
from fpray.metrics.membership import auc_clustered, roc
from fpray.metrics.rate import Rate
from fpray.models.config import ATTRIBUTES
from fpray.studies import sections as page
from fpray.studies.embedding_config import NO_ADAPT, RUNGS
from fpray.studies.inference_config import CONDITIONS, DIFF_PIPELINE, OWN_FOLDER, PRIMARY, SAME_IDENT, SAME_PIPELINE
from fpray.studies.inference_steps import Vectors
from fpray.studies.membership import CURVE_POINTS

if TYPE_CHECKING:
    from fpray.studies.inference_analysis import InferenceStudy

Row = Sequence[page.Cell]
PRINTED = {NO_ADAPT: 'No-Adapt', **{each: f'{each}.' for each in CONDITIONS[:3]}}  # as the source's Table 3 prints them
TABLE_1 = dict(zip(ATTRIBUTES, ('Activation', 'Dropout', 'Max pooling', 'Convolutional layers', 'Kernel', 'Dense layers',
                                'Optimiser', 'Batch size'), strict=True))
FAMILIES = ('ResNet', 'EfficientNet')  # of which the source states how many are confused
SEEN_AT = (NO_ADAPT, 'FT-3', 'FT-5')  # rungs of the table of vectors seen
OUTSIDERS = {'left out': 'another architecture', 'twin': 'a twin: a known architecture, other weights'}
HOLDS = {SAME_IDENT: 'other pictures of the victims themselves', SAME_PIPELINE: 'of other people, by the same pipeline',
         DIFF_PIPELINE: 'of other people, by another pipeline', OWN_FOLDER: 'of nobody known'}
PIPELINES = {'sensor': 'a simulated second sensor', 'landmarks': 'faces aligned by landmarks', 'box': 'faces cut out by box'}


def sections(study: InferenceStudy) -> Iterable[page.Body]:
    """Every table and plot, in the order of the page."""
    parts: list[Callable[[InferenceStudy], page.Body | None]] = [
        headline, table_3, depth, vectors_seen, strangers, twins, maps, table_4, table_1, networks]
    for number, part in enumerate(parts):
        study.context.progress(number, len(parts), 'sections')
        if (found := part(study)) is not None:
            yield found


def headline(study: InferenceStudy) -> page.Body:
    """The headline's confusions, and whether its confidence can be believed."""
    cell, names, head = study.cell(), study.names(), study.head
    drawn: list[page.Body] = []
    rows: list[Row] = []
    for rung in dict.fromkeys((NO_ADAPT, head.rung)):
        one = study.cell(rung=rung)
        confidence, right, _ = reliability(one.logs, one.right)
        drawn.append(page.series(rung, confidence.tolist(), right.tolist()))
        rows.append([rung, study.rate(one), float(np.exp(one.logs.max(axis=1)).mean()),
                     calibration_error(one.logs, one.right, one.person, study.seed)])
    text = (f'The attacker knows the published networks and learns from {study.learnt():,} vectors that they make of its '
            f'own pictures, {HOLDS[head.condition]}. It is asked about single vectors of {len(set(cell.person))} victims, '
            f'made by networks that their owner has adapted to {head.rung}.')
    return page.section('headline', 'The cell that decides', text, [
        page.table('confidence', 'Confidence, calibrated on the threshold people with the published networks', [
            'Adaptation', 'Accuracy', 'Mean confidence', 'Calibration error'], rows,
            note='After an adaptation confidence speaks of networks that the attacker never saw.')], [
        page.matrix('confusion', 'Who is taken for whom', 'Shares of the vectors of each network.',
                    page.row_shares(confusion(cell.right, cell.best, len(names))), names),
        page.lines('reliability', 'Confidence against accuracy', 'Vectors in ten bins of confidence.', 'mean confidence',
                   'accuracy', drawn, diagonal=True)])


def table_3(study: InferenceStudy) -> page.Body:
    """Table 3: lengths and conditions by rung."""
    rows: list[Row] = []
    plots = []
    for length in study.config['lengths']:
        rows.append([f'{_modality(study)}, length {length}'])
        rates = {condition: [study.rate(study.cell(length, condition, PRIMARY, rung)) for rung in RUNGS]
                 for condition in study.config['conditions']}
        rows += [[PRINTED.get(condition, condition), *each] for condition, each in rates.items()]
        plots.append(page.lines(
            f'ladder-{length}', f'Length {length}', 'Rungs of the adaptation: 0 is No-adapt, 5 is FT-5.', 'rung', 'accuracy',
            [page.rates(condition, list(range(len(RUNGS))), each) for condition, each in rates.items()],
            marks=[page.mark(1 / len(study.names(length)), 'guessing')]))
    attacker = study.config['attacker']
    how = 'pictures of a second set' if attacker['other'] else PIPELINES[attacker['pipeline']]
    return page.section(
        'table-3', 'By length, attacker\'s data and adaptation (Table 3)', 'Accuracy of the auxiliary classifier, one '
        'vector at a time, intervals over people. The attacker always learns from the unadapted networks. Same-Ident shares '
        f'the victims themselves with the attacker, by its definition; Diff-PreProc is {how}.', [page.table(
            'table-3', 'Model inference accuracy', ['Attacker\'s data', *(PRINTED.get(rung, rung) for rung in RUNGS)], rows,
            note=f'Guessing has {1 / len(study.names()):.1%}.', differs=_scale(study), published='tangari-3')], plots)


def depth(study: InferenceStudy) -> page.Body | None:
    """What depth buys: the kinds of classifier, by rung."""
    if len(study.config['kinds']) < 2:
        return None
    rows: list[Row] = []
    for length in study.config['lengths']:
        rows.append([f'Length {length}, {study.head.condition}'])
        rows += [[kind, *(study.rate(study.cell(length, kind=kind, rung=rung)) for rung in RUNGS)]
                 for kind in study.config['kinds']]
    return page.section('depth', 'What depth buys', 'The source\'s network of five hidden layers, logistic regression, and '
                        'the nearest reference vector, all learnt from the same vectors.',
                        [page.table('kinds', 'Accuracy by classifier', ['Classifier', *RUNGS], rows)])


def vectors_seen(study: InferenceStudy) -> page.Body:
    """Accuracy against the number of vectors that are seen at once."""
    rows: list[Row] = []
    drawn = []
    for rung in dict.fromkeys((*SEEN_AT, study.head.rung)):
        cell = study.cell(rung=rung)
        found = seen(cell.logs, cell.right, cell.person, study.config['seen'], study.seed)
        rows.append([rung, *found.values()])
        if known := {count: rate for count, rate in found.items() if rate.estimate is not None}:
            drawn.append(page.rates(rung, list(known), list(known.values())))
    course = page.lines('seen-course', 'Accuracy against vectors seen', 'The log-probabilities of a set are added up.',
                        'vectors', 'accuracy', drawn, log=True) if drawn else None
    return page.section('seen', 'More vectors of one network', 'A stolen database holds many vectors of one network. Sets '
                        'of them are drawn at random, of whatever people.', [page.table(
                            'seen', 'Accuracy by vectors seen', ['Adaptation', *map(str, study.config['seen'])], rows)],
                        [course] if course else [])


# Outside the pool -------------------------------------------------------------------------------------------------


def strangers(study: InferenceStudy) -> page.Body:
    """'None of these': its ROC for networks outside the pool, and false alarms at every rung."""
    rows: list[Row] = []
    drawn = []
    for length, folder in study.folders('unknown/').items():
        table = pd.read_parquet(folder / 'unknown.parquet')
        for side, text in OUTSIDERS.items():
            both = table[table['pool'].isin(table.loc[table['side'] == side, 'pool'])]
            for rung in both['rung'].unique():
                some = both[(both['side'] == side) | ((both['side'] == 'known') & (both['rung'] == rung))]
                rates, curve = _apart(study, some, side)
                rows.append([f'Length {length}: {text}', rung, *rates])
                drawn.append(page.series(f'{length}, {side}, {rung}', *curve))
    cells = {length: [study.cell(length, rung=rung) for rung in RUNGS] for length in study.config['lengths']}
    share = study.config['alarms']
    alarms: list[Row] = [[f'Length {length}: {text}', *(study.share(getattr(one, name), one.person) for one in each)]
                         for length, each in cells.items()
                         for text, name in (('none of these', 'alarm'), ('not as published', 'changed'))]
    tables = [page.table('alarms', 'What is said of a candidate\'s own vectors', ['', *RUNGS], alarms, note=(
        f'Not as published: set to {share:.0%} on the threshold people with the published networks, from which an adapted '
        'one\'s vectors move away. None of these: farther away yet, see above.'))]
    if rows:
        tables.insert(0, page.table('unknown', 'Vectors of networks outside the pool', [
            'Network', 'Against candidates at', 'AUC', 'Called none of these', 'False alarms'], rows, note=(
                'Another architecture: each candidate in turn is left out of the pool that the attacker knows. Outsiders '
                'are as published.')))
    plots = [page.lines('unknown-roc', 'ROC of "none of these"', 'Positives are vectors of networks outside the pool.',
                        'false alarms', 'called none of these', drawn, diagonal=True)] if drawn else []
    return page.section('unknown', '"None of these"', 'How unlike all candidates a vector is: its Mahalanobis distance from '
                        'the nearest candidate\'s mean. No classifier has a part in it. The attacker has no network from '
                        'outside, but each candidate is one to the others, and is left out in turn: "none of these" is said '
                        f'of a vector that is not as published, and farther away than the nearest {share:.0%} of the least '
                        'unlike one\'s. A network that is more like a candidate than these are like each other is missed.',
                        tables, plots)


def _apart(study: InferenceStudy, table: pd.DataFrame, side: str) -> tuple[list[Rate], tuple[list[float], list[float]]]:
    """(AUC, share called none of these, false alarms) and the ROC of outsiders against candidates, over people."""
    label, person = (table['side'] == side).to_numpy(), study.subjects[table['row'].to_numpy()]
    score, alarm = table['score'].to_numpy(float), table['alarm'].to_numpy(bool)
    fpr, tpr, _ = roc(score, label)
    keep = np.unique(np.linspace(0, len(fpr) - 1, min(len(fpr), CURVE_POINTS)).astype(int))
    shares = [study.share(alarm[mine], person[mine]) for mine in (label, ~label)]
    return [auc_clustered(score, label, person), *shares], (fpr[keep].tolist(), tpr[keep].tolist())


def twins(study: InferenceStudy) -> page.Body | None:
    """Is it the architecture that is recognised, or the weights?"""
    if (folder := study.folder('twins')) is None:
        return None
    names, k = study.names(), len(study.names())
    asked = study.read(pd.read_parquet(folder / 'twins.parquet'), k)
    both = study.read(pd.read_parquet(folder / 'both.parquet'), 2 * k)
    everyone, sibling = f'Candidates and twins as {2 * k} networks', both.best == (both.right + k) % (2 * k)
    rows: list[Row] = [
        ['A twin\'s vector is called its sibling', study.rate(asked)],
        ['A twin\'s vector is called none of these', study.share(asked.alarm, asked.person)],
        [f'{everyone}: right', study.rate(both)],
        [f'{everyone}: taken for the sibling', study.share(sibling, both.person, 1 / (2 * k))]]
    return page.section(
        'twins', 'Architecture or weights?', 'A twin is a candidate\'s architecture, trained on the same people in another '
        'order from other first weights. Were it the architecture that shows, a twin would be called its sibling.',
        [page.table(
            'twins', f'Vectors of length {study.head.length}, networks as published', ['', 'Share'], rows,
            note=f'Guessing names the sibling in {1 / k:.0%}, among all in {1 / (2 * k):.1%}.')],
        [page.matrix('twins-confusion', 'Who is taken for whom', 'Shares of the vectors of each network.', page.row_shares(
            confusion(both.right, both.best, 2 * k)), [*names, *(f'{name} (twin)' for name in names)])])


def maps(study: InferenceStudy) -> page.Body:
    """Fig. 1: t-SNE."""
    plots = []
    for length, folder in study.folders('map/').items():
        with np.load(folder / 'places.npz') as kept:
            places, network = kept['places'].astype(float), kept['network']
        clouds = [(name, places[network == at]) for at, name in enumerate(study.names(int(length)))]
        plots.append(page.scatter(f'map-{length}', f'Length {length}', 'Every point is one vector of a victim.', '', '', [
            page.series(name, mine[:, 0].tolist(), mine[:, 1].tolist()) for name, mine in clouds]))
    return page.section('map', 'The vectors on a plane (Fig. 1)', 'By t-SNE, which sees no label: what clusters, clusters '
                        'by itself. Neither the axes nor the distances between clusters have a meaning.', plots=plots)


# The pool and the zoo ---------------------------------------------------------------------------------------------


def table_4(study: InferenceStudy) -> page.Body | None:
    """Table 4, with the confusions of the families and of twins."""
    if (folder := study.folder('pool')) is None:
        return None
    names, listed = (json.loads((folder / f'{name}.json').read_text()) for name in ('names', 'members'))
    members, records = {each['name']: each for each in listed}, read_records(folder)
    table = pd.read_parquet(folder / 'answers.parquet')
    table = table.assign(person=study.subjects[table['row'].to_numpy()], right=table['said'] == table['network'],
                         family=[members[name]['family'] for name in table['network']])
    rows: list[Row] = []
    for length in sorted(names, key=int, reverse=True):
        own, k = table[(table['length'] == int(length)) & ~table['twin']], len(names[length])
        rows.append([length, str(k), study.share(own['right'].to_numpy(), own['person'].to_numpy(), 1 / k), f'{1 / k:.1%}'])
    images, further = study.config['pool']['images'], study.config['pool']['further']
    failed = [row['model'] for row in records if row['error']]
    how = (f'each trained further on {further:,} pictures of the public people' if further else
           'random ones with batch statistics of the public people\'s pictures, none trained' if study.taught else
           'none trained further')
    text = f'{len(members)} networks and {len(records) - len(members)} twins embed {images} pictures, {how}.'
    return page.section('table-4', 'A large collection (Table 4)', text + (
        f' These failed and are left out: {", ".join(failed)}.' if failed else ''), [
            page.table('table-4', 'Model inference accuracy in a pool', ['Length', 'Classes', 'Accuracy', 'Chance'], rows,
                       differs=_pool_differs(study, members), published='tangari-4'),
            page.table('families', 'Confusions', ['', 'Share', 'Networks'], list(_confusions(study, table, members)),
                       note='The source: 2.88 % of ResNets\' vectors and 3.92 % of EfficientNets\' misclassified.'),
            page.table('pool', 'The networks', ['Network', 'Length', 'Family', 'Weights', 'Images/s'],
                       list(_listed(members, records)))])


def _pool_differs(study: InferenceStudy, members: Mapping[str, Mapping[str, Any]]) -> str:
    weights = '; '.join(sorted({each['weights'] for each in members.values()}))
    return (f'Networks of timm, not of TensorFlow Hub, {len(members)} of them (the source: 105). Weights: {weights} (the '
            f'source: ImageNet\'s, trained further on Facescrub). Data: {study.data()["label"]}.')


def _confusions(study: InferenceStudy, table: pd.DataFrame, members: Mapping[str, Mapping[str, Any]]) -> Iterable[Row]:
    """Within the families that the source speaks of, and of twins."""
    for family in FAMILIES:
        own = table[(table['family'] == family) & ~table['twin']]
        right, person, count = own['right'].to_numpy(), own['person'].to_numpy(), str(own['network'].nunique())
        if len(own):
            kin = np.array([members[name]['family'] == family for name in own['said']])
            yield [f'{family}s misclassified', study.share(~right, person), count]
            yield [f'{family}s taken for another {family}', study.share(~right & kin, person), count]
    own = table[table['twin']]
    if len(own):
        right, person, count = own['right'].to_numpy(), own['person'].to_numpy(), str(own['network'].nunique())
        yield ['A twin (same architecture, other weights) called its sibling', study.share(right, person), count]
        yield ['A twin called none of these', study.share(own['alarm'].to_numpy(), person), count]


def _listed(members: Mapping[str, Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> Iterable[Row]:
    """A row a network."""
    rows = {row['model']: row for row in records}
    for name, each in members.items():
        pace = page.not_available(rows[name]['error']) if rows[name]['error'] else rows[name]['images_per_s']
        yield [name, str(each['length']), each['family'], each['weights'], pace]


def table_1(study: InferenceStudy) -> page.Body | None:
    """Table 1: attributes of a zoo of small networks."""
    if (folder := study.folder('attributes')) is None:
        return None
    facts = json.loads((folder / 'attributes.json').read_text())
    table = {name: {row: read_rate(rate) for row, rate in rows.items()} for name, rows in facts['table'].items()}
    rows: list[Row] = [['Values', *(', '.join(map(_value, ATTRIBUTES[name])) for name in table)]]
    rows += [[f'Emb. {row}' if row.isdigit() else row, *(table[name][row] for name in table)]
             for row in next(iter(table.values()))]
    rows.append(['Chance', *(f'{1 / len(ATTRIBUTES[name]):.1%}' for name in table)])
    right = np.array(facts['accuracy'])
    stand_in = f' ({facts["stand_in"]})' if facts['stand_in'] else ''
    which = f'{facts["networks"]} networks of MNIST-NET' if facts['mnist_net'] else (
        f'{facts["networks"]} small networks trained on {facts["digits"]}{stand_in}')
    text = (f'{which}. A classifier reads all attributes of a network from one embedding of one digit; Kennen reads its '
            'probabilities of a hundred. No network and no digit is on both sides. Intervals are over networks.')
    differs = (f'{which} (the source: 5,000 of MNIST-NET). They tell digits apart with accuracy {right.mean():.2f} '
               f'({right.min():.2f}-{right.max():.2f}); each is judged by what learnt from the other '
               f'{facts["folds"] - 1} of {facts["folds"]} parts.')
    return page.section('table-1', 'What kind of network made it? (Table 1)', text, [page.table(
        'table-1', 'Accuracy by attribute', ['Seen', *TABLE_1.values()], rows, differs=differs, published='tangari-1',
        unit='networks')])


# The networks themselves ------------------------------------------------------------------------------------------


def networks(study: InferenceStudy) -> page.Body:
    """How well the networks recognise people, at every rung."""
    ranks: list[Row] = []
    stated: list[Row] = []
    for length in study.config['lengths']:
        ranks.append([f'Length {length}'])
        stated.append([f'Length {length}'])
        for number, name in enumerate(study.names(length)):
            vectors = Vectors(study.context.inputs[f'vectors/{length}/{number}'])
            ranks.append([name, *[study.first_rank(vectors, rung) for rung in RUNGS]])
            trained, ladder = (study.context.inputs[f'{stage}/{length}/{name}'] for stage in ('candidate', 'ladder'))
            stated.append([name, json.loads((trained / 'trained.json').read_text())['accuracy'], *_rungs(ladder)])
    first = ('Every candidate learns to tell the public people\'s fingers or faces apart' if study.taught else
             'Every candidate comes trained; nobody of this set taught it')
    return page.section(
        'networks', 'The networks, and how far they were adapted', f'{first}; its owner goes on with those of the group '
        'adapt, with more layers from rung to rung.', [
            page.table('rank-1', 'Rank-1 identification of the victims, whom no network knows', ['Network', *RUNGS], ranks),
            page.table('held-out', 'Accuracy on pictures that the training did not see, of its own people', [
                'Network', *RUNGS], stated, note=f'No-adapt: {"the public people" if study.taught else "nobody"}; the '
                'others: the people of the group adapt. Shares without intervals: the trainings state them.')], fold=True)


def _rungs(ladder: Path) -> list[float | None]:
    known = {row['name']: row['accuracy'] for row in json.loads((ladder / 'ladder.json').read_text())}
    return [known.get(rung) for rung in RUNGS[1:]]


def read_rate(stored: Mapping[str, Any]) -> Rate:
    """A rate from what `membership.rate_dict` made of it."""
    low, high = stored['interval']
    return Rate(**{**stored, 'interval': (low, high)})


def _modality(study: InferenceStudy) -> str:
    """As the source's tables head their rows."""
    faces = study.everyone.meta['layout'] in ('orl', 'lfw') or study.config['table_13'] == 'face'
    return 'Faces' if faces else 'Fingerprints'


def _scale(study: InferenceStudy) -> str:
    """What differs from the source's setting."""
    where = ('networks and layers of Table 13, trained in this run' if study.config['table_13'] != 'none' else
             f'{len(study.names())} small networks trained in this run, not ImageNet\'s' if study.taught else
             f'{len(study.names())} networks as they come, not trained further on faces')
    return (f'Data: {study.data()["label"]}, {len(study.groups.people["victims"])} victims. Weights: {where}. Scale: '
            f'{study.learnt():,} reference vectors (the source: 10,000), rungs by their shares of one training of '
            f'{study.config["adapted"]:,} new images (the source: 5,000 to 60,000).')


def _value(value: Any) -> str:
    return {True: 'yes', False: 'no'}[value] if isinstance(value, bool) else str(value)
