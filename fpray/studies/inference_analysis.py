"""The numbers of model inference: the cell that decides with its controls, every rate over people; and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fpray.attacks.threat import INFERENCE_THREATS
from fpray.data.imageset import ImageSet
from fpray.metrics import people
from fpray.metrics.classification import accuracy
from fpray.metrics.identification import (
    choice_auc,
    choice_auc_difference,
    detectable_choice_auc,
    gallery,
    mean_detectable,
    permuted_choice_auc,
    rank_n,
)
from fpray.metrics.membership import RESOLVABLE, draws_variance, over_draws
from fpray.metrics.rate import Rate
from fpray.metrics.verdict import FEWEST, Words, decide
from fpray.store import Context
from fpray.studies import sections as page
from fpray.studies.embedding_config import NO_ADAPT, RUNGS
from fpray.studies.groups import copies_notice, described, group_notices, read_groups
from fpray.studies.inference_config import PRIMARY
from fpray.studies.inference_sections import sections
from fpray.studies.inference_steps import COPIES, Vectors, log_columns
from fpray.studies.membership import WARN_BELOW, as_json
from fpray.studies.recognition_steps import cosine

PERMUTED = 999  # permutations of the smallest detectable effect, which is found beside each placebo


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
    changed: np.ndarray
    """(n,) bool, called no candidate as it was published."""

    @property
    def best(self) -> np.ndarray:
        """(n,) the candidate that is named."""
        return np.asarray(self.logs.argmax(axis=1))

    @property
    def own(self) -> np.ndarray:
        """(n,) the right candidate's log-probability."""
        return np.asarray(self.logs[np.arange(len(self.right)), self.right])


class InferenceStudy:
    """A finished study's tables, read once, and the questions put to them."""

    def __init__(self, context: Context) -> None:
        self.context, self.config, self.seed = context, context.config, context.config['seed']
        self.everyone = ImageSet.load(context.inputs['pictures'])
        self.groups = read_groups(context.inputs['people'])
        self.subjects = self.everyone.records['subject'].to_numpy().astype(str)
        self.identities = self.everyone.records['identity'].to_numpy().astype(str)
        self.head = self.config['headline']
        self.tables = {length: pd.read_parquet(context.inputs[f'answers/{length}'] / 'answers.parquet')
                       for length in self.config['lengths']}

    def results(self) -> dict[str, Any]:
        """The body of results.json."""
        primary = self.primary()
        controls, warnings = self.controls()
        return {'verdict': self.verdict(primary, controls), 'summary': self.summary(primary, controls),
                'warnings': [*self.notices(), *warnings], 'data': self.data(), 'threat_models': self.threats(),
                'primary': primary, 'controls': controls, 'sections': list(sections(self))}

    @property
    def taught(self) -> bool:
        """Whether the public people taught the candidates; else these came trained."""
        return bool(self.groups.people['public'])

    # Answers

    def names(self, length: int = 0) -> list[str]:
        """The candidates of a length, by default the headline's, in the order of their labels."""
        return list(self.config['names'][str(length or self.head.length)])

    def cell(self, length: int = 0, condition: str = '', kind: str = PRIMARY, rung: str = '',
             group: str = 'victims') -> Cell:
        """The answers of one cell of Table 3; by default the headline's."""
        length, head = length or self.head.length, self.head
        wanted = {'condition': condition or head.condition, 'kind': kind, 'rung': rung or head.rung, 'group': group}
        table = self.tables[length]
        mine = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
        return self.read(table[mine], len(self.names(length)))

    def read(self, table: pd.DataFrame, classes: int) -> Cell:
        """Answers as arrays."""
        return Cell(table[log_columns(classes)].to_numpy(float), table['network'].to_numpy(int),
                    self.subjects[table['row'].to_numpy()], *(table[name].to_numpy(bool) for name in ('alarm', 'changed')))

    def rate(self, cell: Cell) -> Rate:
        """Share of right answers."""
        return accuracy(cell.best == cell.right, cell.person, 1 / cell.logs.shape[1], self.seed)

    def share(self, true: np.ndarray, person: np.ndarray, chance: float | None = None) -> Rate:
        """Share of what is true, over people."""
        return accuracy(true, person, chance, self.seed)

    def first_rank(self, vectors: Vectors, rung: str) -> Rate:
        """Rank-1 identification: victims' references searched among their templates."""
        templates, asked = self.groups.templates('victims'), self.groups.references('victims')
        search = gallery(cosine(vectors.of(asked, rung), vectors.of(templates, rung)), self.subjects[asked],
                         self.subjects[templates], self.identities[asked], self.identities[templates])
        return rank_n(search, 1, self.seed)

    # The primary endpoint

    def primary(self) -> dict[str, Any]:
        """The endpoint that was fixed before any score was seen."""
        cell, head = self.cell(), self.head
        what = (f'which of {cell.logs.shape[1]} networks made one vector of length {head.length}, the network adapted to '
                f'{head.rung}, the attacker\'s pictures {head.condition}')
        auc = choice_auc(cell.logs, cell.right, cell.person, self.seed)
        return page.primary(what, PRIMARY, auc, self.found_at_one_percent(), self.minus_placebo(), accuracy=self.rate(cell))

    def found_at_one_percent(self) -> Rate:
        """Share of vectors whose right candidate passes a threshold that 1 % of wrong ones passed on other people."""
        cell, other = self.cell(), self.cell(group='threshold')
        wrong = np.ones(other.logs.shape, bool)
        wrong[np.arange(len(wrong)), other.right] = False
        scores, person = other.logs[wrong], np.repeat(other.person, other.logs.shape[1] - 1)
        threshold = np.quantile(scores, 0.99, method='higher')
        above = scores >= threshold
        found = self.share(cell.own > threshold, cell.person, 0.01)
        if min(above.sum(), len(set(person[above]))) < RESOLVABLE:
            return replace(found, estimate=None, interval=(None, None), note='too few people set the threshold for 1 %')
        return replace(found, note='threshold set on the threshold people')

    # Its controls

    @cached_property
    def placebos(self) -> list[Cell]:
        """The headline's cell by classifiers that learnt shuffled labels."""
        table, own = pd.read_parquet(self.context.inputs['placebo'] / 'placebo.parquet'), self.cell()
        found = [self.read(part, own.logs.shape[1]) for _, part in table.groupby('deal', sort=True)]
        assert all((each.person == own.person).all() and (each.right == own.right).all() for each in found)
        return found

    @cached_property
    def placebo_aucs(self) -> list[Rate]:
        """One a shuffle."""
        return [choice_auc(cell.logs, cell.right, cell.person, self.seed, draws=1) for cell in self.placebos]

    def minus_placebo(self) -> Rate:
        """Attack minus placebo, paired by person, mean over the shuffles."""
        own = self.cell()
        return over_draws([choice_auc_difference(own.logs, cell.logs, own.right, own.person) for cell in self.placebos])

    def detectable(self) -> Rate:
        """The smallest true area that most such studies would have found, mean over the placebos."""
        own, spread = self.cell(), draws_variance(self.placebo_aucs)
        return mean_detectable([detectable_choice_auc(own.logs, own.right, own.person, self.seed, placebo=cell.logs,
                                                      spread=spread, draws=PERMUTED) for cell in self.placebos])

    def controls(self) -> tuple[dict[str, Any], list[str]]:
        """The controls beside the primary endpoint, and a warning for each that should not have seen anything."""
        own, known, placebo = self.cell(), self.cell(rung=NO_ADAPT, group='threshold'), over_draws(self.placebo_aucs)
        looks = self.read(pd.read_parquet(self.context.inputs['placebo'] / 'pictures.parquet'), own.logs.shape[1])
        alone = choice_auc(looks.logs, looks.right, looks.person, self.seed)
        alike = people.holm([float(rate.p if rate.p is not None else 1) for rate in (placebo, alone)])
        held = dict(zip(('placebo', 'pictures_alone'), alike, strict=True))
        found = page.controls(
            placebo=page.control(placebo, f'the same classifier, learnt from shuffled labels, {len(self.placebos)} '
                                          'times anew', held['placebo']),
            pictures_alone=page.control(alone, 'a classifier of the pictures themselves, shrunk, in place of their vectors; '
                                               'every picture went through every network, so that it can say nothing',
                                        held['pictures_alone']),
            permuted_null=page.control(permuted_choice_auc(own.logs, own.right, own.person, self.seed),
                                       'each person\'s candidates renamed at random: it checks the arithmetic'),
            rehearsal=page.control(choice_auc(known.logs, known.right, known.person, self.seed),
                                   'the same attack on the threshold people, where nothing was adapted'),
            smallest_detectable=page.control(self.detectable(), 'what this attack would have shown in 4 of 5 such studies'))
        words = {'placebo': 'classifiers of shuffled labels tell', 'pictures_alone': 'the pictures alone tell'}
        return found, [f'{words[name]} the networks apart (p {p:.2g})' for name, p in held.items()
                       if p < WARN_BELOW and found[name]['auc'].lower > 0.5]

    # Words

    def verdict(self, primary: Mapping[str, Any], controls: Mapping[str, Any]) -> str:
        """One of three, with its uncertainty."""
        auc = primary['auc']
        few = f'{auc.n_people}, fewer than {FEWEST}' if auc.n_people < FEWEST else ''
        return decide(auc, primary['minus_placebo'], controls['rehearsal']['auc'], controls['smallest_detectable']['auc'],
                      Words(found='one vector gives away the network that made it', few=few, effect='trace',
                            rehearsal='where nothing was adapted', audited='at the cell that decides'))

    def summary(self, primary: Mapping[str, Any], controls: Mapping[str, Any]) -> list[str]:
        """Two or three sentences for who signs."""
        head, k = self.head, len(self.names())
        plain, far = (self.rate(self.cell(rung=rung)) for rung in (NO_ADAPT, RUNGS[-1]))
        lines = [f'From one stolen vector of length {head.length} the attacker names the right one of {k} networks '
                 f'{_share(primary["accuracy"])}; guessing has {1 / k:.0%}. Its owner had adapted it to {head.rung}.',
                 f'Of the network as it was published: {_share(plain)}; adapted to {RUNGS[-1]}: {_share(far)}. '
                 f'Learnt from shuffled labels, the classifier has AUC {_short(controls["placebo"]["auc"])}.']
        if self.everyone.meta['synthetic']:
            lines.append('These are synthetic fingers, and networks trained in this run: the numbers say nothing about real '
                         'people.')
        return lines

    def notices(self) -> list[str]:
        """What a reader must know about the data."""
        altered = ['some pictures are altered versions of others of the same identity'] if self.groups.altered else []
        copies = sum(json.loads((path / COPIES).read_text()) for path in self.folders('pipeline/').values())
        return group_notices(self.everyone, self.groups) + altered + ([copies_notice(copies)] if copies else [])

    def threats(self) -> list[dict[str, str]]:
        """The adversary of each attack."""
        zoo = ('attributes', 'kennen') if 'attributes' in self.context.inputs else ()
        return [{field: getattr(INFERENCE_THREATS[name], field) for field in ('name', 'infers', 'sees', 'holds', 'source')}
                for name in (*self.config['kinds'], *zoo)]

    def data(self) -> dict[str, Any]:
        """The set and how its people are divided."""
        return described(self.everyone, self.groups)

    # Folders

    def folder(self, name: str) -> Path | None:
        """An input's folder; None: this study has none of that name."""
        return self.context.inputs.get(name)

    def folders(self, prefix: str) -> dict[str, Path]:
        """Inputs whose names begin so, by the rest of their names."""
        return {name.removeprefix(prefix): path for name, path in self.context.inputs.items() if name.startswith(prefix)}

    def learnt(self) -> int:
        """Reference vectors of the headline's classifier."""
        folder = self.context.inputs[f'classifier/{self.head.length}/{self.head.condition}']
        return int(json.loads((folder / 'learnt.json').read_text())['vectors'])


def _share(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return 'in a share of the time that cannot be given'
    return f'{rate.estimate:.0%} of the time ({rate.interval[0]:.0%}-{rate.interval[1]:.0%})'


def _short(rate: Rate) -> str:
    if rate.estimate is None or rate.interval[0] is None or rate.interval[1] is None:
        return 'that cannot be given'
    return f'{rate.estimate:.2f} ({rate.interval[0]:.2f}-{rate.interval[1]:.2f})'
