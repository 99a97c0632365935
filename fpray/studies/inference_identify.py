"""One vector from outside: which of the networks of a finished study made it? `jobs/model_inference.py identify`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpray.data.images import EXTENSIONS
from fpray.errors import EXIT_CODE, UserError
from fpray.store import Store

MOST_BYTES = 1 << 24  # of a file that holds one vector
NONE = 'none of these'
ARRAY, ARCHIVE = b'\x93NUMPY', b'PK'  # how files of numpy begin
PICTURES = (b'\x89PNG', b'\xff\xd8\xff', b'BM', b'II*\0', b'MM\0*', b'GIF8')


@dataclass(frozen=True)
class Answer:
    """What is said about one vector: ranked candidates with their confidence, or nobody."""

    length: int
    source: str
    """'candidates' or 'pool'."""
    ranked: list[tuple[str, float]]
    """The likeliest first; empty: none of these."""

    def lines(self) -> list[str]:
        """As it is printed."""
        if not self.ranked:
            return [NONE]
        wide = max(len(name) for name, _ in self.ranked)
        return [f'{number:3d}  {name:{wide}}  {share:7.2%}' for number, (name, share) in enumerate(self.ranked, 1)]


def read_vector(path: str) -> np.ndarray:
    """(length,) numbers from a .npy file; nothing in it can run code.

    Raises:
        UserError: it is missing, no such file, holds objects that would have to be unpickled, or no single vector.
    """
    what, mend = f'--embedding {path}', 'give a .npy file of one vector, (length,) numbers'
    try:
        with open(path, 'rb') as file:
            start = file.read(8)
        if (size := Path(path).stat().st_size) > MOST_BYTES:
            raise UserError(f'{what}: {size:,} bytes are more than one vector', mend)
        if not start.startswith((ARRAY, ARCHIVE)):
            raise UserError(f'{what} {_kind(path, start)}', mend)
        found: Any = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(f'{what}: {error.strerror or error}', mend) from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        why = 'holds pickled objects, which are not read' if 'pickle' in str(error) else 'is a damaged .npy file'
        raise UserError(f'{what} {why}', mend) from None
    if not isinstance(found, np.ndarray):
        raise UserError(f'{what} is an archive of several arrays', mend)
    found = found[0] if found.ndim == 2 and found.shape[0] == 1 else found
    if found.ndim in (3, 4) or (found.ndim == 2 and found.dtype == np.uint8):
        raise UserError(f'{what} is a picture, an array of shape {found.shape}, not a vector', mend)
    if found.ndim != 1 or found.dtype.kind not in 'fiu' or not len(found):
        raise UserError(f'{what} holds {found.dtype} of shape {found.shape}, not one vector', mend)
    if not np.isfinite(found).all():
        raise UserError(f'{what}: {int((~np.isfinite(found)).sum())} of {len(found)} values are not finite', mend)
    return found.astype(np.float64)


def _kind(path: str, start: bytes) -> str:
    """What a file is that is no .npy, by its first bytes and its name."""
    if start.startswith(PICTURES) or Path(path).suffix.lower() in EXTENSIONS:
        return 'is a picture, not a vector'
    return 'is a pickle, which is not read' if start.startswith(b'\x80') else 'is no .npy file'


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
    from fpray.attacks.model_inference import identify, load_fitted  # torch comes in here

    vector, folder = read_vector(path), _classifiers(Store(store), run)
    names = json.loads((folder / 'names.json').read_text())
    order = ('pool', 'candidates') if pool else ('candidates', 'pool')
    source = next((each for each in order if str(len(vector)) in names[each]), None)
    if source is None:
        known = sorted({int(length) for each in names.values() for length in each})
        raise UserError(f'--embedding {path}: a vector of length {len(vector)}, which no network of the study makes',
                        f'the lengths known are {", ".join(map(str, known))}')
    fitted = load_fitted(folder / source / str(len(vector)))
    found = identify({len(vector): fitted}, vector, {len(vector): names[source][str(len(vector))]})
    return Answer(len(vector), source, [] if isinstance(found, str) else found)


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
