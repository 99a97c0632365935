"""What an inversion measured, read once, and the questions that its tables put to it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fpray.data.imageset import ImageSet
from fpray.metrics.classification import accuracy, majority
from fpray.metrics.identification import Gallery, gallery, rank_auc, rank_n
from fpray.metrics.image import mean_rate, median_rate
from fpray.metrics.rate import Rate
from fpray.metrics.verification import Comparisons, Threshold, acceptance, any_of, tar_at_fmr, threshold_at_fmr
from fpray.store import Context
from fpray.studies.groups import read_groups
from fpray.studies.inversion_config import JUDGE, Arm
from fpray.studies.inversion_steps import IMAGE, IMPRESSION, UNUSED, read_guesses

FMR, STRICT = 0.01, 0.001


class Evidence:
    """Tables of comparisons by group of arms, and the questions put to them.

    `context.config` has what `fpray.studies.inversion._Layout.bare` gives, beside it arms, system, places, rungs,
    conditions, seed.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.config, self.seed = context, context.config, int(context.config['seed'])
        self.everyone = ImageSet.load(context.inputs['pictures'])
        self.groups = read_groups(context.inputs['asked'])  # of each person those identities that are asked about
        self.arms: dict[tuple[str, str], Arm] = {(group, arm.name): arm for group, arms in self.config['arms'].items()
                                                 for arm in arms}
        self.scores: dict[tuple[str, ...], pd.DataFrame] = {}
        parts = []
        for group in self.config['arms']:
            folder = context.inputs[f'verify/{group}']
            for against, file in ((IMPRESSION, 'scores.parquet'), (IMAGE, 'same.parquet')):
                table = pd.read_parquet(folder / file)
                for name, rows in table.groupby(['attack', 'condition'], observed=True, sort=False):
                    self.scores[group, *name, against] = rows
            parts.append(pd.read_parquet(folder / 'errors.parquet').assign(group=group))
        self.errors = pd.concat(parts, ignore_index=True)
        table = pd.read_parquet(context.inputs['real'] / 'scores.parquet')
        self.real: dict[tuple[str, ...], pd.DataFrame] = {
            (str(attack).rpartition(' ')[2], key): rows
            for (attack, key), rows in table.groupby(['attack', 'condition'], observed=True, sort=False)}
        self._kept: dict[Any, Any] = {}

    # Comparisons

    @property
    def system(self) -> str:
        """Key of the attacked system."""
        return str(self.config['system'])

    def matcher(self, group: str, arm: str, judge: bool) -> str:
        """Key of what compares: the judge, or the arm's own system."""
        return JUDGE if judge else self.arms[group, arm].system

    def table(self, group: str, arm: str, matcher: str, against: str = IMPRESSION, first: int = 1) -> pd.DataFrame | None:
        """Comparisons of one arm, of the first so many stolen vectors of each identity; None where there are none."""
        found = self.scores.get((group, arm, matcher, against))
        return found if found is None else found[found['number'] < first]

    def search(self, group: str, arm: str, matcher: str, against: str = IMPRESSION) -> Gallery | None:
        """One arm's reconstructions against the references."""
        table = self.table(group, arm, matcher, against)
        return None if table is None else searched(table)

    def threshold(self, matcher: str, fmr: float = FMR) -> Threshold:
        """Set on real pictures of the people who set thresholds: nobody trains on them, nobody is judged among them."""
        return self._once(('threshold', matcher, fmr), lambda: impostors(self.real['threshold', matcher], fmr))

    def source_threshold(self, matcher: str, fmr: float = FMR) -> Threshold:
        """As the source sets it: on the very people who are judged."""
        return self._once(('source', matcher, fmr), lambda: impostors(self.real['victims', matcher], fmr))

    def _once(self, key: Any, make: Any) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    # Rates

    def tar(self, group: str, arm: str, judge: bool = False, against: str = IMPRESSION, fmr: float = FMR) -> Rate | None:
        """True acceptance of one arm's reconstructions at a threshold set on others; None where nobody could be asked."""
        matcher = self.matcher(group, arm, judge)
        table = self.table(group, arm, matcher, against)
        if table is None:
            return None
        return self._once((group, arm, matcher, against, fmr), lambda: tar_at_fmr(
            table['similarity'], pairs_of(table), fmr, self.threshold(matcher, fmr), self.seed))

    def genuine(self, matcher: str, fmr: float = FMR, threshold: Threshold | None = None) -> Rate:
        """True acceptance of the victims' own real pictures, one impression against another."""
        table = self.real['victims', matcher]
        return tar_at_fmr(table['similarity'], pairs_of(table), fmr, threshold or self.threshold(matcher, fmr), self.seed)

    def accepted(self, group: str, arm: str, judge: bool = True, threshold: Threshold | None = None,
                 against: str = IMPRESSION, first: int = 1) -> dict[str, Rate] | None:
        """Acceptance as the own person, as strangers, and the difference; of several vectors, if any is accepted."""
        matcher = self.matcher(group, arm, judge)
        table = self.table(group, arm, matcher, against, first)
        if table is None:
            return None
        at = (threshold or self.threshold(matcher)).value
        if first == 1:
            return acceptance(table['similarity'], table['probe_subject'], table['reference_subject'], at, self.seed,
                              own=table['genuine'])
        best, subject, identity = merged(table)
        n, m = best.shape
        refs = table.iloc[:m]
        theirs, which = (np.tile(refs[f'reference_{name}'].to_numpy().astype(str), n) for name in ('subject', 'identity'))
        return acceptance(best.reshape(-1), np.repeat(subject, m), theirs, at, self.seed,
                          own=np.repeat(identity, m) == which)

    def auc(self, group: str, arm: str, judge: bool = True, against: str = IMPRESSION) -> Rate | None:
        """`rank_auc` of one arm; None where nobody could be asked."""
        search = self.search(group, arm, self.matcher(group, arm, judge), against)
        return None if search is None else rank_auc(search, self.seed)

    def identified(self, group: str, arm: str, judge: bool = False, first: int = 1) -> Rate | None:
        """Identification of reconstructions among the victims' references; of several vectors by majority."""
        table = self.table(group, arm, self.matcher(group, arm, judge), IMPRESSION, first)
        if table is None:
            return None
        search = searched(table)
        if first == 1:
            return rank_n(search, 1, self.seed)
        refs = table.iloc[:search.similarity.shape[1]]
        probes = table.iloc[::search.similarity.shape[1]]
        named = refs['reference_identity'].to_numpy().astype(str)[search.similarity.argmax(axis=1)]
        truth = probes['probe_identity'].to_numpy().astype(str)
        credit, at = majority(named, truth, truth)
        return accuracy(credit, probes['probe_subject'].to_numpy().astype(str)[at], 1 / len(search.owner), self.seed)

    def likeness(self, group: str, arm: str, name: str, mean: bool = False) -> Rate | None:
        """Median (or mean) of 'dssim', 'perceptual' or 'distance' over reconstructions; None where it was not measured."""
        mine = self.measured(group, arm)
        values = mine[name].to_numpy(float)
        if not np.isfinite(values).all():
            return None
        return (mean_rate if mean else median_rate)(values, mine['subject'].to_numpy().astype(str), self.seed)

    def measured(self, group: str, arm: str) -> pd.DataFrame:
        """The errors of one arm's reconstructions, of the first stolen vector of each identity."""
        found = self.errors
        return found[(found['group'] == group) & (found['arm'] == arm) & (found['number'] == 0)]

    # Guesses

    @cached_property
    def guesses(self) -> dict[str, Any]:
        """What `inversion_steps.guess` wrote."""
        return read_guesses(self.context.inputs['guess'])

    def guessed(self, rung: str) -> tuple[Rate, Rate]:
        """Share of the victims' vectors whose network is named rightly at a rung; share called 'none of these'."""
        answer, candidates = self.guesses['answers'][rung], len(self.guesses['candidates'])
        person = self.persons
        right = np.array(answer['named']) == self.config['right']
        return (accuracy(right, person, 1 / max(candidates, 1), self.seed),
                accuracy(np.array(answer['unknown'], bool), person, None, self.seed))

    @property
    def persons(self) -> np.ndarray:
        """(identities,) whose each of the victims' identities is, in the order of their templates."""
        return np.array([subject for subject in self.groups.people['victims'] for _ in self.groups.identities[subject]])

    # Facts of stages

    def facts(self, name: str, file: str = 'trained.json') -> dict[str, Any] | None:
        """What a stage wrote about its training; None where it did not run, or trained nothing."""
        folder = self.context.inputs.get(name)
        path = None if folder is None else folder / file
        return dict(json.loads(path.read_text())) if path is not None and path.exists() else None

    def ladder(self) -> dict[str, dict[str, Any]]:
        """Rung -> images seen and accuracy on held-out pictures of the people adapted to."""
        folder = self.context.inputs.get('ladder')
        rows = json.loads((folder / 'ladder.json').read_text()) if folder is not None else []
        return {row['name']: row for row in rows}

    def unused(self, key: str) -> bool:
        """Whether nobody's vector was taken for this network's, so that no reconstructor was trained."""
        return (self.context.inputs[f'reconstructor/{key}'] / UNUSED).exists()


def pairs_of(table: pd.DataFrame) -> Comparisons:
    """The pairs of a table of comparisons."""
    people = [table[name].to_numpy().astype(str) for name in ('probe_subject', 'reference_subject')]
    return Comparisons(table['genuine'].to_numpy(bool), np.stack(people, axis=1))


def searched(table: pd.DataFrame) -> Gallery:
    """A table of comparisons, written probe by probe, as a search."""
    m = int(table['reference'].nunique())
    probes, refs = table.iloc[::m], table.iloc[:m]
    return gallery(table['similarity'].to_numpy().reshape(-1, m), probes['probe_subject'].to_numpy().astype(str),
                   refs['reference_subject'].to_numpy().astype(str), probes['probe_identity'].to_numpy().astype(str),
                   refs['reference_identity'].to_numpy().astype(str))


def merged(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Several stolen vectors as one attempt: (identities, references) largest similarity; each one's subject, identity."""
    m = int(table['reference'].nunique())
    probes = table.iloc[::m]
    names = probes['probe_identity'].to_numpy().astype(str)
    best, first = any_of(table['similarity'].to_numpy().reshape(-1, m), names)
    return best, probes['probe_subject'].to_numpy().astype(str)[first], names[first]


def impostors(table: pd.DataFrame, fmr: float) -> Threshold:
    """The threshold at a false match rate, from a table's pairs of two people, each pair of pictures once."""
    pairs = pairs_of(table)
    probe, reference = table['probe'].to_numpy(), table['reference'].to_numpy()
    away = pairs.impostor & ~(np.isin(reference, probe) & (reference < probe))
    return threshold_at_fmr(table['similarity'].to_numpy()[away], fmr, pairs.people[away])

