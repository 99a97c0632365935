"""Extractors as black boxes: pictures go in, vectors (embeddings, templates) come out.

Here are an owner's own, a callable and a folder of templates, and dlib's face network as a real one. All answer with raw
vectors; who compares them takes the cosine.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from fpray.attacks.black_box import BlackBox, Kind
from fpray.data import faces
from fpray.data.images import image_id
from fpray.errors import UserError

PROBE = 16  # pictures of the calls that tell length and repeatability
ALIKE = 1e-3  # of a vector's norm; answers may differ by rounding from batch to batch
MOST = 65_536  # numbers in a vector; more is a picture


class EmbeddingBox(BlackBox, Protocol):
    """A black box of kind 'embeddings'."""

    @property
    def length(self) -> int:
        """Numbers in a vector."""

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, length) float32 vectors of (n, C, H, W) uint8 pictures, each by itself."""


@dataclass(frozen=True)
class CallableExtractor:
    """Any callable `embed(images) -> vectors`, for instance a network from elsewhere or a service.

    It is given (n, C, H, W) uint8 and returns (n, length) numbers: an array, a tensor on any device, or lists.

    The first use asks four times about its first 16 pictures at most: twice as they are, once in reverse and once about
    one of them alone. Answers must agree within a thousandth of a vector's norm.

    Raises UserError, at any use, for a wrong count, shape, length or type, values that are not finite, and answers that
    hang on chance or on the other pictures of a call.
    """

    function: Callable[[np.ndarray], Any]
    batch: int = 64
    """Pictures a call, at most."""
    _seen: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    kind: ClassVar[Kind] = 'embeddings'

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f'a batch of {self.batch} pictures', 'choose at least 1')

    @property
    def length(self) -> int:
        """Numbers in a vector. Raises UserError before a first picture has shown it."""
        if not self._seen:
            raise UserError('the length of the vectors is not known yet', 'embed a picture first')
        return self._seen[0]

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, length) float32 vectors of (n, C, H, W) uint8 pictures, n at least 1."""
        check_pictures(pixels)
        if not self._seen:
            self._seen.append(self._probe(np.asarray(pixels[:PROBE])))
        vectors = np.concatenate([self._ask(pixels[i:i + self.batch]) for i in range(0, len(pixels), self.batch)])
        return vectors

    def _probe(self, pixels: np.ndarray) -> int:
        """The vectors' length, after checking that a picture's vector is its own."""
        vectors = self._ask(pixels)
        for rows, fault, mend in (
            (slice(None), 'answered the same pictures twice with different vectors', 'let it draw no noise'),
            (slice(None, None, -1), 'answered the same pictures in another order with different vectors',
             'return vectors in the order of the pictures'),
            (slice(0, 1), 'answered differently for a picture alone and among others',
             'give each picture its own vector, and put the network in evaluation mode'),
        ):
            again, before = self._ask(pixels[rows]), vectors[rows]
            if again.shape != before.shape or not _alike(again, before):
                raise UserError(f'the extractor {fault}', mend)
        return vectors.shape[1]

    def _ask(self, pixels: np.ndarray) -> np.ndarray:
        """(n, length) float32 as the callable returned them, checked."""
        vectors = _array(self.function(np.array(pixels)))  # a copy: the callable may write into it
        if vectors.ndim != 2 or vectors.dtype.kind not in 'iuf' or not 2 <= vectors.shape[1] <= MOST:
            raise UserError(f'the extractor returned {vectors.dtype} of shape {vectors.shape}',
                            'return one vector of numbers a picture, (n, length)')
        if len(vectors) != len(pixels):
            raise UserError(f'the extractor returned {len(vectors)} vectors for {len(pixels)} pictures',
                            'return exactly one vector a picture')
        if self._seen and vectors.shape[1] != self._seen[0]:
            raise UserError(f'the extractor returned vectors of length {vectors.shape[1]} after {self._seen[0]} before',
                            'let it return vectors of one length')
        return _finite(vectors, 'the extractor returned a vector with', 'look for NaN in its output')


@dataclass(frozen=True, eq=False)
class FolderTemplates:
    """Templates that a system stored: one .npy file a picture, under the picture's relative name.

    The template of 's1/01.png' is 's1/01.npy'. Templates of other pictures are left alone. No new picture can be
    embedded: such a target can be inverted, and judged by another matcher, but not asked.

    Raises UserError: at the first use a template that is missing, unreadable, of another length than the first, or with
    values that are not finite; in `embed`, a picture that is not among the records.
    """

    folder: Path | str
    records: pd.DataFrame
    """Records of the pictures, columns path and image_id, as `ImageSet.records`."""
    pixels: np.ndarray | None = None
    """(N, C, H, W) uint8, the records' pictures as `embed` will be given them; needed where they are resized, since
    image_id speaks of the file."""

    kind: ClassVar[Kind] = 'embeddings'

    @property
    def length(self) -> int:
        """Numbers in a vector."""
        return int(self._vectors.shape[1])

    def of(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, length) float32 templates of these rows of the records."""
        return self._vectors[np.asarray(rows, np.int64)]

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, length) float32 templates of (n, C, H, W) uint8 pictures, found by their content."""
        check_pictures(pixels)
        known = [self._rows.get(image_id(picture)) for picture in pixels]
        if absent := known.count(None):
            raise UserError(f'{absent} of {len(pixels)} pictures have no template in {self.folder}',
                            'a folder of templates cannot embed new pictures: judge them by another matcher')
        return self.of([row for row in known if row is not None])

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Content of a picture -> its row; of identical pictures the first."""
        ids = self.records['image_id'] if self.pixels is None else [image_id(picture) for picture in self.pixels]
        rows: dict[str, int] = {}
        for row, name in enumerate(ids):
            rows.setdefault(name, row)
        return rows

    @cached_property
    def _vectors(self) -> np.ndarray:
        """(N, length) float32, every template read and checked before the first is used."""
        paths = [Path(self.folder) / Path(name).with_suffix('.npy') for name in self.records['path']]
        if not paths:
            raise UserError(f'no pictures beside the templates in {self.folder}', 'name the folder of their pictures')
        if missing := [path for path in paths if not path.is_file()]:
            more = f' (and {len(missing) - 1:,} more)' if len(missing) > 1 else ''
            raise UserError(f'the template {missing[0]}{more} is missing', 'give every picture one .npy of its name')
        vectors = [read_vector(path) for path in paths]
        for path, vector in zip(paths, vectors, strict=True):
            if len(vector) != len(vectors[0]):
                raise UserError(f'{path} has length {len(vector)}, {paths[0].name} has {len(vectors[0])}',
                                'keep templates of one network in a folder')
        return np.stack(vectors)


@dataclass(frozen=True)
class DlibFaces:
    """dlib's face network, a real and widely used black box: ResNet, length 128 (King 2017, dlib.net).

    A face that is found is aligned by its landmarks; else the whole picture's central square is taken for the aligned
    face. Pictures that are aligned already (and reconstructions of such) go in with detect=False, all by one rule.
    Its own decision: same person where the Euclidean distance is under 0.6.

    Raises UserError where the extra `faces` is not installed.
    """

    detect: bool = True
    upsample: int = 1
    """How often the detector doubles a picture first."""
    batch: int = 32

    kind: ClassVar[Kind] = 'embeddings'
    length: ClassVar[int] = 128
    chip: ClassVar[int] = 150
    """Side of an aligned face, px."""
    distance: ClassVar[float] = 0.6
    """Euclidean distance of two raw vectors under which dlib says: the same person."""

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """(n, 128) float32 vectors of (n, C, H, W) uint8 pictures, gray or RGB."""
        return self.embed_found(pixels)[0]

    def embed_found(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The vectors, and whether a face was found in each picture, (n,) bool: the others failed to acquire."""
        check_pictures(pixels)
        vectors, found = np.empty((len(pixels), self.length), np.float32), np.zeros(len(pixels), bool)
        for start in range(0, len(pixels), self.batch):
            rows = slice(start, start + self.batch)
            chips, found[rows] = self._chips(pixels[rows])
            vectors[rows] = np.asarray(_dlib_network().compute_face_descriptor(chips, 0))
        return vectors, found

    def _chips(self, pixels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        if self.detect:
            cut, found = faces.cut(pixels, 'landmarks', self.chip, self.upsample)
        else:
            cut, found = faces.whole(pixels, self.chip), np.zeros(len(pixels), bool)
        return [faces.colour(picture) for picture in cut], found


def read_vector(path: Path | str, lengths: Sequence[int] = ()) -> np.ndarray:
    """One vector from an .npy file, (length,) float32; (1, length) is taken for it.

    Args:
        path: written by `numpy.save`; integers and floats of any width.
        lengths: the lengths that are known; empty: any.

    Raises:
        UserError: no file, no .npy, one that needs pickle (never loaded), a picture or a table where a vector belongs, a
            length that is not known, values that are not finite, zeros only.
    """
    path = Path(path)
    values = _load(path)
    if values.dtype.kind not in 'iuf':
        raise UserError(f'{path} holds {values.dtype} values', 'save a vector of numbers')
    if values.ndim == 2 and len(values) == 1:
        values = values[0]
    if values.ndim != 1 or not 2 <= len(values) <= MOST:
        what = 'a picture or a table' if values.ndim > 1 else f'{values.size} numbers'
        raise UserError(f'{path} holds {what}, shape {values.shape}, where a vector belongs', 'save one vector, (length,)')
    if lengths and len(values) not in lengths:
        known = ', '.join(map(str, sorted(set(lengths))))
        raise UserError(f'{path} has length {len(values)}, which no network here has', f'known lengths: {known}')
    vector = _finite(np.asarray(values), f'{path} holds', 'save the vector again')
    if not vector.any():
        raise UserError(f'{path} holds zeros only', 'save the vector again')
    return vector


def _load(path: Path) -> np.ndarray:
    """The array of an .npy file, mapped: a header that promises too much costs no memory."""
    try:
        with open(path, 'rb') as file:
            start = file.read(6)
        if start == b'\x93NUMPY':
            return np.load(path, mmap_mode='r', allow_pickle=False)
    except OSError as fault:
        raise UserError(f'{path} cannot be read ({fault.strerror})', 'name an .npy file') from None
    except (ValueError, EOFError) as fault:
        if 'object' in str(fault).lower():
            raise UserError(f'{path} needs pickle, which can run code and is never loaded',
                            'save a plain array of floats with numpy.save') from None
        raise UserError(f'{path} is a broken .npy file', 'save the vector again') from None
    raise UserError(f'{path} is {_foreign(path, start)}, not an .npy file', 'save one vector with numpy.save')


def _foreign(path: Path, start: bytes) -> str:
    """What a file is that does not begin as .npy does."""
    if start[:2] == b'PK':
        return 'an archive (.npz)'
    if start[:1] == b'\x80':
        return 'a pickle, which is never loaded'
    try:
        with Image.open(path):
            return 'a picture'
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return 'something else'


def check_pictures(pixels: np.ndarray) -> None:
    """Raises UserError for what is not (N, C, H, W) uint8 with C 1 or 3 and N at least 1."""
    shape, dtype = pixels.shape, pixels.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        raise UserError(f'pictures to embed are {dtype} of shape {shape}', 'give uint8 of shape (N, C, H, W) with C 1 or 3')


@functools.cache
def _dlib_network() -> Any:
    return faces.dlib().face_recognition_model_v1(str(faces.weights(faces.RECOGNITION)))


def _array(answer: Any) -> np.ndarray:
    """An array of it, also of a torch tensor on any device, without importing torch."""
    try:
        return np.asarray(answer.detach().cpu().numpy() if hasattr(answer, 'detach') else answer)
    except ValueError:  # lists of several lengths
        raise UserError('the extractor returned vectors of several lengths', 'let it return vectors of one length') from None


def _finite(values: np.ndarray, what: str, mend: str) -> np.ndarray:
    with np.errstate(over='ignore'):  # what overflows float32 is refused as what is not finite
        vectors = values.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise UserError(f'{what} values that are not finite', mend)
    return vectors


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.linalg.norm(a - b, axis=1) <= ALIKE * np.linalg.norm(b, axis=1)).all())
