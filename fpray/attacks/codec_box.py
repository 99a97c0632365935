"""Codecs as black boxes: pictures go in, sizes in bits and decompressed pictures come out.

Here are an owner's own: a callable, and folders of files that a codec wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from fpray.attacks.black_box import BlackBox, Kind
from fpray.data.images import EXTENSIONS, decode, image_id
from fpray.data.imageset import Decoded, decode_all, find
from fpray.data.layouts import Place
from fpray.errors import UserError

Scale = Literal['auto', 'gray-levels', 'unit', 'symmetric']
LINES: dict[str, tuple[float, float]] = {'gray-levels': (1.0, 0.0), 'unit': (255.0, 0.0), 'symmetric': (127.5, 127.5)}
SLACK = 0.25  # gray levels; float rounding at the ends of the range
PROBE = 16  # pictures of the calls that tell scale and repeatability
BITS_ALIKE = 1e-3  # relative; estimated sizes may differ by rounding from batch to batch


@dataclass(frozen=True)
class Compressed:
    """What a codec made of N pictures."""

    bits: np.ndarray
    """(N,) float64, size of each compressed picture."""
    reconstructions: np.ndarray
    """(N, C, H, W) float32, the decompressed pictures on the 0-255 scale, not rounded unless the codec rounds."""


class CodecBox(BlackBox, Protocol):
    """A black box of kind 'bits'."""

    def compress(self, pixels: np.ndarray) -> Compressed:
        """Sizes and decompressed copies of (N, C, H, W) uint8 pictures, each by itself."""


@dataclass(frozen=True)
class CallableCodec:
    """Any callable `compress(images) -> (sizes in bits, reconstructions)`, for instance a network from elsewhere.

    It is given (n, C, H, W) uint8 and returns n sizes and as many reconstructions of the same shape: arrays, or tensors
    on any device. Reconstructions are uint8, or floats in 0-255 ('gray-levels'), [0, 1] ('unit') or [-1, 1]
    ('symmetric'); 'auto' takes the scale under which the first answer lies nearest to the pictures given, for all calls.

    The first use asks four times about its first 16 pictures at most: twice as they are, once in reverse and once about
    one of them alone. Sizes must agree within a thousandth and reconstructions within one gray level.

    Raises UserError, at any use, for a wrong number of answers, count, shape, type or range, values that are not
    finite, sizes that are not positive, and answers that hang on chance or on the other pictures of a call.
    """

    function: Callable[[np.ndarray], Any]
    scale: Scale = 'auto'
    batch: int = 64
    """Pictures a call, at most."""
    _seen: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    # the scale, once a first call has shown it: a generator can be asked beforehand, a codec must be given pictures

    kind: ClassVar[Kind] = 'bits'

    def __post_init__(self) -> None:
        if self.scale not in ('auto', *LINES):
            raise UserError(f'unknown scale {self.scale!r}', f"choose 'auto' or one of {', '.join(map(repr, LINES))}")
        if self.batch < 1:
            raise UserError(f'a batch of {self.batch} pictures', 'choose at least 1')

    def compress(self, pixels: np.ndarray) -> Compressed:
        """Sizes and decompressed copies of (N, C, H, W) uint8 pictures, N at least 1."""
        _check_pictures(pixels)
        if not self._seen:
            self._seen.append(self._probe(np.asarray(pixels[:PROBE])))
        parts = [self._ask(pixels[i:i + self.batch]) for i in range(0, len(pixels), self.batch)]
        levels = [_gray_levels(reconstructions, self._seen[0]) for _, reconstructions in parts]
        return Compressed(np.concatenate([bits for bits, _ in parts]), np.concatenate(levels))

    def _probe(self, pixels: np.ndarray) -> str:
        """The scale of the reconstructions, after checking that a picture's answer is its own."""
        bits, reconstructions = self._ask(pixels)
        scale = _nearest_scale(pixels, reconstructions) if self.scale == 'auto' else self.scale
        levels = _gray_levels(reconstructions, scale)
        for rows, fault, mend in (
            (slice(None), 'answered the same pictures twice with different results', 'let it draw no noise'),
            (slice(None, None, -1), 'answered the same pictures in another order with different results',
             'return results in the order of the pictures'),
            (slice(0, 1), 'answered differently for a picture alone and among others',
             'give each picture its own size, and put the network in evaluation mode'),
        ):
            again_bits, again = self._ask(pixels[rows])
            same = np.allclose(again_bits, bits[rows], rtol=BITS_ALIKE, atol=0)
            if not same or np.abs(_gray_levels(again, scale) - levels[rows]).max() > 1:
                raise UserError(f'the codec {fault}', mend)
        return scale

    def _ask(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) float64 sizes and the reconstructions as the callable returned them, checked."""
        answer = self.function(np.array(pixels))  # a copy: the callable may write into it
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise UserError(f'the codec returned a {type(answer).__name__}', 'return (sizes in bits, reconstructions)')
        bits, reconstructions = (_array(one) for one in answer)
        if bits.shape != (len(pixels),) or bits.dtype.kind not in 'iuf':
            raise UserError(f'the codec returned sizes of shape {bits.shape} ({bits.dtype}) for {len(pixels)} pictures',
                            'return one number of bits a picture')
        if not (np.isfinite(bits) & (bits > 0)).all():
            raise UserError('the codec returned sizes that are not positive numbers', 'return bits a picture')
        if reconstructions.shape != pixels.shape:
            raise UserError(f'the codec returned reconstructions of shape {reconstructions.shape} for pictures of shape '
                            f'{pixels.shape}', 'return one reconstruction a picture, of its size')
        if reconstructions.dtype != np.uint8 and reconstructions.dtype.kind != 'f':
            raise UserError(f'the codec returned {reconstructions.dtype} reconstructions', 'return uint8 or floats')
        if not np.isfinite(reconstructions).all():
            raise UserError('the codec returned reconstructions that are not finite', 'look for NaN in its output')
        return bits.astype(np.float64), reconstructions


@dataclass(frozen=True)
class FolderCodec:
    """What a codec wrote, in folders: pictures, their decompressed copies, and compressed files, whose size is the rate.

    Files belong together by their relative path without suffix ('s1/01.bmp', 's1/01.png' and 's1/01.wsq'). The first use
    opens every picture of both folders, so that a fault is said before anything is scored.

    Raises UserError: no folder of compressed files; at the first use a file missing on one side, empty, twice under one
    name, not a picture, of 16 bits, with transparency, or a copy of another size or in colour where its original is gray.
    """

    originals: str
    decompressed: str
    compressed: str | None

    kind: ClassVar[Kind] = 'bits'

    def __post_init__(self) -> None:
        if self.compressed is None:
            raise UserError('the rate is unknown without the compressed files',
                            'name the folder that holds one compressed file a picture')

    def compress(self, pixels: np.ndarray) -> Compressed:
        """Sizes and decompressed copies of (N, C, H, W) uint8 pictures, found by their content among the originals.

        Raises UserError: a picture that is not among the originals as they lie there (resized, for instance).
        """
        _check_pictures(pixels)
        found = [self._files[key] for key in map(image_id, pixels) if key in self._files]
        if len(found) < len(pixels):
            raise UserError(f'{len(pixels) - len(found)} of {len(pixels)} pictures are not in {self.originals} as they are',
                            'use the pictures of that folder, not resized')
        copies = np.empty(pixels.shape, np.float32)
        for row, (path, _) in enumerate(found):
            copies[row] = decode(path)[:pixels.shape[1]]  # gray saved as RGB is cut to one channel, one is spread over RGB
        return Compressed(np.array([bits for _, bits in found]), copies)

    @cached_property
    def _files(self) -> dict[str, tuple[Path, float]]:
        """image_id of an original -> its decompressed copy and its bits; of identical originals the first by path."""
        originals, copies, sizes = _pictures(self.originals), _pictures(self.decompressed), _sizes(str(self.compressed))
        for folder, keys in ((self.decompressed, set(copies)), (str(self.compressed), set(sizes))):
            _check_pairs(self.originals, set(originals), folder, keys)
        files: dict[str, tuple[Path, float]] = {}
        for key, original in originals.items():
            _check_alike(original, copies[key])
            files.setdefault(original.image_id, (Path(self.decompressed) / copies[key].path, sizes[key]))
        return files


def _check_pictures(pixels: np.ndarray) -> None:
    shape, dtype = pixels.shape, pixels.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or 0 in shape:
        raise UserError(f'pictures to compress are {dtype} of shape {shape}',
                        'give uint8 of shape (N, C, H, W) with C 1 or 3')


def _array(answer: Any) -> np.ndarray:
    """An array of it, also of a torch tensor on any device, without importing torch."""
    return np.asarray(answer.detach().cpu().numpy() if hasattr(answer, 'detach') else answer)


def _nearest_scale(pixels: np.ndarray, reconstructions: np.ndarray) -> str:
    """The scale under which the reconstructions lie nearest to the pictures."""
    if reconstructions.dtype == np.uint8:
        return 'gray-levels'
    errors = {scale: np.abs(reconstructions * factor + offset - pixels).mean() for scale, (factor, offset) in LINES.items()}
    return min(errors, key=lambda scale: float(errors[scale]))


def _gray_levels(reconstructions: np.ndarray, scale: str) -> np.ndarray:
    """Reconstructions on a named scale as float32 in 0-255; uint8 is in 0-255 whatever the scale."""
    factor, offset = LINES['gray-levels' if reconstructions.dtype == np.uint8 else scale]
    levels = reconstructions.astype(np.float32) * np.float32(factor) + np.float32(offset)
    if levels.min() < -SLACK or levels.max() > 255 + SLACK:
        ends = ' to '.join(f'{end:.4g}' for end in (reconstructions.min(), reconstructions.max()))
        raise UserError(f'the codec returned reconstructions from {ends}, outside the range of scale {scale!r}',
                        'clip them, and name the scale if the first pictures do not show it')
    return levels.clip(0, 255)


def _key(path: str) -> str:
    """Relative path without suffix; of 'a.png.fpc' too it is 'a'."""
    bare = PurePosixPath(path).with_suffix('')
    return str(bare.with_suffix('') if bare.suffix.lower() in EXTENSIONS else bare)


def _by_key(folder: str, paths: list[str]) -> dict[str, str]:
    """Key -> path. Raises UserError where two files have one key."""
    keyed: dict[str, str] = {}
    for path in paths:
        first = keyed.setdefault(_key(path), path)
        if first != path:
            raise UserError(f'{first} and {path} in {folder} differ in their suffix alone', 'keep one of them')
    return keyed


def _pictures(folder: str) -> dict[str, Decoded]:
    """Key -> what is known of each picture, its pixels let go. Raises UserError for one that cannot be read."""
    found = find(folder, lambda path: Place(str(path), str(path), '1', subject_known=False))
    keyed = _by_key(folder, list(found.places))
    known = {}
    for key, item in zip(keyed, decode_all(found), strict=True):
        if item.fault is not None:
            raise UserError(f'{folder}: {item.fault.what}',
                            'save it as 8-bit gray or RGB without transparency, or leave it out of all folders')
        known[key] = replace(item, picture=None)
    return known


def _sizes(folder: str) -> dict[str, float]:
    """Key -> bits of every file in a folder that is not hidden. Raises UserError for an empty or missing one."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'{root} is no folder', 'name the folder of the compressed files')
    paths = [path.relative_to(root) for path in sorted(root.rglob('*')) if path.is_file()]
    keyed = _by_key(folder, [path.as_posix() for path in paths if not any(part.startswith('.') for part in path.parts)])
    bits = {key: 8.0 * (root / path).stat().st_size for key, path in keyed.items()}
    empty = [keyed[key] for key, size in bits.items() if size == 0]
    if empty:
        raise UserError(f'{empty[0]} in {folder} is an empty file', 'compress that picture again')
    return bits


def _check_pairs(folder: str, keys: set[str], other: str, others: set[str]) -> None:
    """Raises UserError where one folder has files that the other lacks."""
    for have, lack, names in ((folder, other, keys - others), (other, folder, others - keys)):
        if names:
            more = f' (and {len(names) - 1:,} more)' if len(names) > 1 else ''
            raise UserError(f'{min(names)!r}{more} is in {have} but not in {lack}',
                            'give each picture one file of its name in every folder')


def _check_alike(original: Decoded, copy: Decoded) -> None:
    """Raises UserError where a decompressed copy has another size, or colour where the original is gray."""
    if (original.width, original.height) != (copy.width, copy.height):
        raise UserError(f'{copy.path} is {copy.width} x {copy.height} px, its original {original.width} x {original.height}',
                        'decompress to the size of the original')
    if copy.colour and not original.colour:
        raise UserError(f'{copy.path} is in colour, its original is gray', 'decompress gray pictures to gray')
