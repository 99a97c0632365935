"""Handwritten digits for the zoo of small networks (Tangari et al. 2023, Table 1): MNIST, or scikit-learn's stand-in."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fpray.data.images import fit
from fpray.errors import UserError

STAND_IN = "scikit-learn's bundled 8 x 8 digits, which stand in for MNIST"
MAGIC = {'images': 2051, 'labels': 2049}  # of idx files: unsigned bytes in three dimensions and in one
MOST = 1_000_000  # digits in a file; more is taken for a broken header
_IDX = re.compile(r'(?P<part>train|t10k)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?')
_NPZ = (('x_train', 'y_train'), ('x_test', 'y_test'))


class Digits(NamedTuple):
    """Digits and their labels."""

    pixels: np.ndarray
    """(N, 1, S, S) uint8, bright strokes on black."""
    labels: np.ndarray
    """(N,) int64, 0 to 9."""
    name: str
    """'MNIST', or 'scikit-learn digits'."""
    stand_in: str
    """What a report must say where it is not MNIST; empty where it is."""


def load_digits(folder: Path | str = '', size: int = 0) -> Digits:
    """Digits from a folder of MNIST, training and test part behind each other, or scikit-learn's where none is named.

    MNIST is read from its idx files, packed (.gz) or not, or from one .npz with x_train, y_train and, if there, x_test,
    y_test. Nothing is unpickled.

    Args:
        folder: of the files, or the .npz itself; empty: scikit-learn's.
        size: side of the pictures, px; 0: as they are (28, scikit-learn's 8).

    Raises:
        UserError: no such folder or no digits in it, a file that is broken, pickled, or of the wrong kind, pictures and
            labels that are not equally many, labels beyond 0 to 9.
    """
    digits = _mnist(Path(folder)) if str(folder) else _bundled()
    if not size:
        return digits
    return digits._replace(pixels=np.stack([fit(picture, 'scale', size) for picture in digits.pixels]))


def _bundled() -> Digits:
    from sklearn.datasets import load_digits as bundled  # takes a second: only where it is asked for

    pixels, labels = bundled(return_X_y=True)
    levels = np.rint(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)  # 16 levels of ink
    return Digits(levels, labels.astype(np.int64), 'scikit-learn digits', STAND_IN)


def _mnist(path: Path) -> Digits:
    if not path.exists():
        raise UserError(f'{path} is missing', 'name the folder of the MNIST files')
    archives = [path] if path.is_file() else sorted(path.glob('*.npz'))
    parts = _idx(path) if path.is_dir() else []
    if not parts and archives:
        parts = _npz(archives[0])
    if not parts:
        raise UserError(f'no MNIST in {path}', 'put train-images-idx3-ubyte and train-labels-idx1-ubyte there (.gz or not), '
                                               'or one .npz with x_train and y_train')
    pixels, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Digits(pixels[:, None], labels.astype(np.int64), 'MNIST', '')


def _idx(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(pictures (n, S, S), labels (n,)) of the training and the test part, as far as they are there."""
    found: dict[str, dict[str, Path]] = {'train': {}, 't10k': {}}
    for path in sorted(folder.iterdir()):
        if (match := _IDX.fullmatch(path.name)) is not None:
            found[match['part']].setdefault(match['what'], path)
    parts = []
    for part, files in found.items():
        if len(files) == 1:
            (there,), (lacks,) = files, MAGIC.keys() - files.keys()
            raise UserError(f'{folder} has the {there} of {part} but not its {lacks}', 'put both files there')
        if files:
            pixels, labels = (_read_idx(files[what], what) for what in ('images', 'labels'))
            parts.append(_checked(pixels, labels, files['images']))
    return parts


def _read_idx(path: Path, what: str) -> np.ndarray:
    """The array of one idx file: big-endian magic number and sides, then the bytes."""
    dimensions = 3 if what == 'images' else 1
    try:
        with gzip.open(path) if path.suffix == '.gz' else open(path, 'rb') as file:
            header = np.frombuffer(file.read(4 + 4 * dimensions), '>i4')
            if len(header) != 1 + dimensions or header[0] != MAGIC[what] or (header[1:] < 1).any() or header[1] > MOST:
                raise UserError(f'{path} is no idx file of {what}', 'name the folder of the MNIST files')
            shape = tuple(int(side) for side in header[1:])
            if max(shape[1:], default=1) > 4096:
                raise UserError(f'{path} holds pictures of {shape[1:]} px', 'name the folder of the MNIST files')
            number = int(np.prod(shape))
            content = file.read(number)  # no more than the header promises, whatever a packed file holds
    except (OSError, EOFError, ValueError, zlib.error) as fault:
        raise UserError(f'{path} cannot be read ({fault})', 'fetch it again') from None
    if len(content) < number:
        raise UserError(f'{path} ends after {len(content):,} of {number:,} bytes', 'fetch it again')
    return np.frombuffer(content, np.uint8).reshape(shape)


def _npz(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = [pair for pair in _NPZ if set(pair) <= set(archive.files)]
            return [_checked(archive[x], archive[y], path) for x, y in keys]
    except UserError:
        raise
    except Exception as fault:  # zip, header and pickle faults are of many kinds
        raise UserError(f'{path} cannot be read ({" ".join(str(fault).split())[:100]})',
                        'give an .npz of plain arrays x_train, y_train, x_test, y_test') from None


def _checked(pixels: np.ndarray, labels: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[1] != pixels.shape[2]:
        raise UserError(f'{path} holds pictures of {pixels.dtype} and shape {pixels.shape}', 'give uint8 (n, side, side)')
    if labels.shape != (len(pixels),) or labels.dtype.kind not in 'iu':
        raise UserError(f'{path}: {len(pixels):,} pictures and labels of shape {labels.shape} ({labels.dtype})',
                        'give one whole number a picture')
    if labels.min() < 0 or labels.max() > 9:
        raise UserError(f'{path}: labels from {labels.min()} to {labels.max()}', 'give digits, 0 to 9')
    return pixels, labels
