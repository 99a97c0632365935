"""One vector from outside: which of the networks of a finished study made it? `jobs/model_inference.py identify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fpray.attacks.embedding_box import read_vector
from fpray.errors import EXIT_CODE, UserError
from fpray.store import Store

NONE = 'none of these'
CHANGED = 'it looks adapted further, or is another network much like the first'


@dataclass(frozen=True)
class Answer:
    """What is said about one vector: ranked candidates with their confidence, or nobody."""

    length: int
    source: str
    """'candidates' or 'pool'."""
    ranked: list[tuple[str, float]]
    """The likeliest first; empty: none of these."""
    changed: bool = False
    """No candidate makes such a vector as it was published."""

    def lines(self) -> list[str]:
        """As it is printed."""
        if not self.ranked:
            return [NONE]
        wide = max(len(name) for name, _ in self.ranked)
        return [*(f'{number:3d}  {name:{wide}}  {share:7.2%}' for number, (name, share) in enumerate(self.ranked, 1)),
                *([CHANGED] if self.changed else [])]


def identify_file(path: str, store: str, run: str = '', pool: bool = False) -> Answer:
    """Which network made the vector in a file, by the classifiers of a finished study.

    Args:
        path: .npy of one vector.
        store: where the study's results lie.
        run: key of the study, as its report names it; '': the latest finished one.
        pool: ask the pool's classifier first where both know this length.

    Raises:
        UserError: the vector or the store do not serve.
    """
    from fpray.attacks.model_inference import identify, load_fitted, unknown_score  # torch comes in here

    vector, folder = read_vector(path), _classifiers(Store(store), run)
    names = json.loads((folder / 'names.json').read_text())
    order = ('pool', 'candidates') if pool else ('candidates', 'pool')
    source = next((each for each in order if str(len(vector)) in names[each]), None)
    if source is None:
        known = sorted({int(length) for each in names.values() for length in each})
        raise UserError(f'{path} has length {len(vector)}, which no network of the study makes',
                        f'known lengths: {", ".join(map(str, known))}')
    fitted = load_fitted(folder / source / str(len(vector)))
    found = identify({len(vector): fitted}, vector, {len(vector): names[source][str(len(vector))]})
    changed = bool(unknown_score(fitted, vector[None])[0] > fitted.threshold)
    return Answer(len(vector), source, [] if isinstance(found, str) else found, changed)


def _classifiers(store: Store, run: str) -> Path:
    """The folder that `inference_steps.gather` wrote for a study."""
    finished = [each for each in store.published() if each['name'] == 'numbers' and 'identify' in each['inputs']]
    mine = [each for each in finished if each['key'].startswith(run)]
    if not mine:
        known = ', '.join(each['key'] for each in finished)
        what = f'--run {run}: no such study in {store.root}' if finished else f'--store {store.root} holds no finished study'
        raise UserError(what, f'choose from {known}' if finished else 'run jobs/model_inference.py with this --store first')
    return store.folder(mine[-1]['inputs']['identify'])


def run_identify(arguments: Sequence[str]) -> None:
    """What the job's subcommand does: prints the ranked candidates with confidence, or 'none of these', and exits."""
    try:
        given, rest = _parser().parse_known_args(list(arguments))
        if rest:
            raise UserError(f'identify: unknown argument {rest[0]!r}', 'see --help')
        if not given.embedding:
            raise UserError('identify without --embedding', 'give a .npy file of one vector')
        store = given.store if '://' in given.store else os.path.abspath(given.store)
        answer = identify_file(given.embedding, store, given.run, given.pool)
    except argparse.ArgumentError as error:
        _end(f'{error}; see --help')
    except UserError as error:
        _end(str(error))
    print('\n'.join(answer.lines()))


def _end(text: str) -> None:
    print(f'error: {text}', file=sys.stderr)
    sys.exit(EXIT_CODE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='model_inference.py identify', allow_abbrev=False, exit_on_error=False,
        description='Which of the networks of a finished study made this vector? Prints them ranked with their confidence, '
                    f'or "{NONE}". A length known to the trained candidates is asked there, any other in the pool.')
    parser.add_argument('--embedding', default='', help='.npy file of one vector')
    parser.add_argument('--store', default='runs', help='folder or address where a study has ended')
    parser.add_argument('--run', default='', help='key of the study, or its beginning; default: the latest finished one')
    parser.add_argument('--pool', action='store_true', help='ask the pool first where both know the length')
    return parser
