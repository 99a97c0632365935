"""Error rates of a matcher from a table of comparisons: FMR, FNMR, TAR, EER and d', with intervals over people."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from fpray.errors import EXIT_CODE, UserError
from fpray.metrics.verification import Comparisons, Threshold, d_prime, rates_at, separation, threshold_at_fmr

NEEDED = ('similarity', 'genuine', 'probe_subject', 'reference_subject')
GROUPS = ('attack', 'condition')


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, f'see {self.prog} --help')


@dataclass(frozen=True)
class Group:
    """The comparisons of one attack and condition; `name` is empty where the table has neither."""

    name: str
    scores: np.ndarray
    pairs: Comparisons


def read_scores(path: str) -> pd.DataFrame:
    """The table of comparisons: `similarity, genuine, probe_subject, reference_subject`, and where it has them
    `attack, condition`.

    Raises:
        UserError: no such file, no Parquet table, a column is missing, a similarity is not finite, `genuine` is not
            True or False, a person is missing, one person only, a genuine pair of two people.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such file', 'give a Parquet table of comparisons')
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as fault:  # pyarrow's own faults are among these
        raise UserError(f'{path}: not a Parquet table', 'write it with pandas.DataFrame.to_parquet') from fault
    if missing := [c for c in NEEDED if c not in table]:
        raise UserError(f'{path}: no column {", ".join(missing)}', f'the table needs {", ".join(NEEDED)}')
    _check(table, path)
    return table


def _check(table: pd.DataFrame, path: str) -> None:
    similarity = pd.to_numeric(table['similarity'], errors='coerce').to_numpy(float)
    if lost := int((~np.isfinite(similarity)).sum()):
        raise UserError(f'{path}: {lost} of {len(table)} similarities are NaN or infinite', 'leave these pairs out')
    if not table['genuine'].isin((0, 1)).all():
        raise UserError(f'{path}: genuine holds something else than True and False', 'True: both show one finger')
    subjects = table[['probe_subject', 'reference_subject']]
    if subjects.isna().any(axis=None):
        raise UserError(f'{path}: {int(subjects.isna().any(axis=1).sum())} comparisons without a person',
                        'fill probe_subject and reference_subject')
    if len(pd.unique(subjects.astype(str).to_numpy().ravel())) < 2:
        raise UserError(f'{path}: fewer than two people', 'compare pictures of several people')
    crossed = table['genuine'].astype(bool) & (subjects['probe_subject'].astype(str)
                                               != subjects['reference_subject'].astype(str))
    if crossed.any():
        raise UserError(f'{path}: {int(crossed.sum())} genuine pairs of two people', 'genuine pairs show one person')


def groups_of(table: pd.DataFrame) -> Iterator[Group]:
    """One `Group` for each attack and condition of the table, sorted by name."""
    keys = [c for c in GROUPS if c in table]
    if not keys:
        yield _group('', table)
        return
    names = [table[c].astype(object).where(table[c].notna(), '').astype(str) for c in keys]
    for values, rows in table.groupby(names, sort=True):
        yield _group(' / '.join(v for v in values if v), rows)


def _group(name: str, rows: pd.DataFrame) -> Group:
    people = rows[['probe_subject', 'reference_subject']].astype(str).to_numpy().astype(str)
    return Group(name, rows['similarity'].to_numpy(float), Comparisons(rows['genuine'].to_numpy(bool), people))


def _usable(group: Group, path: str) -> None:
    where = f'{path}, {group.name}' if group.name else path
    if not group.pairs.genuine.any():
        raise UserError(f'{where}: no genuine pairs', 'compare two pictures of one finger as well')
    if not group.pairs.impostor.any():
        raise UserError(f'{where}: no pairs of two people', 'compare pictures of different people as well')


def measure(group: Group, others: Group | None, fmrs: list[float]) -> dict[str, Any]:
    """The rates of one group, as JSON takes them.

    Args:
        group: with genuine and impostor pairs.
        others: whose impostor pairs set the thresholds; None: the group's own, which flatters it.
        fmrs: false match rates to set thresholds at.
    """
    g, i = group.pairs.genuine, group.pairs.impostor
    spread = d_prime(group.scores[g], group.scores[i])
    source = group if others is None else others
    found: dict[str, Any] = {
        'group': group.name, 'genuine': int(g.sum()), 'impostor': int(i.sum()),
        'people': len(np.unique(group.pairs.people)), 'd_prime': spread if np.isfinite(spread) else None,
        'eer': separation(group.scores, group.pairs, seed=0)['eer'].as_dict(),
        'thresholds_from': 'its own impostor pairs' if others is None else others.name,
        'people_in_both': 0 if others is None else len(np.intersect1d(group.pairs.people, source.pairs.people)),
        'at': [],
    }
    apart = source.pairs.impostor
    for fmr in fmrs:
        at = threshold_at_fmr(source.scores[apart], fmr, source.pairs.people[apart])
        rates = rates_at(group.scores, group.pairs, at.value)
        found['at'].append({'fmr_asked': fmr, 'threshold': asdict(at), **{k: r.as_dict() for k, r in rates.items()}})
    return found


def as_text(found: dict[str, Any]) -> str:
    """The rates of one group as lines to read."""
    spread = 'not defined' if found['d_prime'] is None else f'{found["d_prime"]:.3f}'
    lines = [f'{found["group"] or "all comparisons"}: {found["genuine"]:,} genuine and {found["impostor"]:,} impostor '
             f'pairs of {found["people"]:,} people', f"  EER {_percent(found['eer'])}, d' {spread}"]
    lines += [f'  FMR {at["fmr_asked"]:.4g} asked: threshold {at["threshold"]["value"]:.6g}{_doubt(at["threshold"])}\n'
              f'    FMR {_percent(at["fmr"])}\n    FNMR {_percent(at["fnmr"])}\n    TAR {_percent(at["tar"])}'
              for at in found['at']]
    own, both = found['thresholds_from'] == 'its own impostor pairs', found['people_in_both']
    if own:
        lines.append('  thresholds set on the very people that are judged: --thresholds-from names another condition')
    if both:
        lines.append(f'  {both:,} people set the thresholds and are judged as well: these rates flatter the matcher')
    return '\n'.join(lines)


def _percent(rate: dict[str, Any]) -> str:
    low, high = rate['interval']
    between = 'no interval' if low is None else f'{low:.2%} to {high:.2%}'
    return f'{rate["estimate"]:.2%} ({between}; {rate["n_people"]:,} people)'


def _doubt(threshold: dict[str, Any]) -> str:
    at = Threshold(**threshold)
    if at.resolvable:
        return ''
    smallest = 'no FMR is' if at.smallest is None else f'the smallest FMR that is: {at.smallest:.2%}'
    return f' (not resolvable: {at.false_matches} false matches of {at.n_people} people; {smallest})'


def _fmrs(words: list[str]) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as fault:
        raise UserError(f'--fmr {" ".join(words)}: not a number', 'give rates such as 0.01') from fault
    if wrong := [v for v in values if not 0 < v < 1]:
        raise UserError(f'--fmr {wrong[0]:g}: out of range', 'give rates above 0 and below 1')
    return values


def _others(table: pd.DataFrame, condition: str, path: str) -> tuple[Group, pd.DataFrame]:
    """The comparisons of the condition that sets the thresholds, and the rest of the table, which is judged."""
    if 'condition' not in table:
        raise UserError(f'{path}: no column condition', 'leave --thresholds-from out, or name the conditions')
    there = table['condition'].astype(str) == condition
    if not there.any():
        known = ', '.join(sorted(table['condition'].dropna().astype(str).unique()))
        raise UserError(f'{path}: no condition {condition!r}', f'choose one of {known}')
    if there.all():
        raise UserError(f'{path}: no other condition than {condition!r}', 'there is nothing left to judge')
    others = _group(condition, table[there])
    if not others.pairs.impostor.any():
        raise UserError(f'{path}, {condition}: no pairs of two people', 'a threshold needs them')
    return others, table[~there]


def run(arguments: list[str] | None) -> None:
    """Read, measure, print.

    Raises:
        UserError: bad input.
    """
    parser = _Parser(prog='python -m fpray.metrics.verification', description=__doc__)
    parser.add_argument('scores', help=f'Parquet table with the columns {", ".join(NEEDED)}; attack and condition group it')
    parser.add_argument('--fmr', nargs='+', default=['0.01', '0.001'], help='false match rates to set thresholds at')
    parser.add_argument('--thresholds-from', default='', metavar='CONDITION',
                        help='the condition whose impostor pairs set the thresholds: other people than are judged')
    parser.add_argument('--json', default='', metavar='OUT', help='write the numbers there as well')
    options = parser.parse_args(arguments)
    fmrs = _fmrs(options.fmr)
    table = read_scores(options.scores)
    others = None
    if options.thresholds_from:
        others, table = _others(table, options.thresholds_from, options.scores)
    groups = list(groups_of(table))
    for group in groups:
        _usable(group, options.scores)
    found = [measure(group, others, fmrs) for group in groups]
    print('\n'.join(map(as_text, found)))
    if options.json:
        _write(options.json, {'scores': Path(options.scores).name, 'groups': found})


def _write(path: str, values: dict[str, Any]) -> None:
    try:
        Path(path).write_text(json.dumps(values, indent=1, allow_nan=False) + '\n', encoding='utf-8')
    except OSError as fault:
        raise UserError(f'{path}: cannot be written ({fault.strerror})', 'give another path to --json') from fault


def main(arguments: list[str] | None = None) -> int:
    """Command line of the rates. Returns the exit code: 0, or 2 for bad input, with one line on stderr."""
    try:
        run(arguments)
    except UserError as fault:
        print(fault, file=sys.stderr)
        return EXIT_CODE
    return 0
